// The table that model.summary() returns.
import type { NamedLayer } from './architecture.js';
import type { Parameter } from './plan.js';
import { grouped, tableLines } from './table.js';

export function summaryOf(inputShape: readonly number[], layers: readonly NamedLayer[]): string {
  const counts = layers.map(({ parameters }) => count(parameters));
  const rows = layers.map(({ name, layer, built }, i) => {
    const { activation, rate } = layer.config;
    const detail = typeof activation === 'string' && activation !== 'linear' ? activation : rate;
    const kind = typeof detail === 'string' || typeof detail === 'number' ? `${layer.kind} (${detail})` : layer.kind;
    return [name, kind, `[batch, ${built.units}]`, grouped(counts[i])];
  });
  const [header, ...lines] = tableLines([['layer', 'kind', 'output', 'weights'], ...rows], 3);
  const rule = '─'.repeat(header.length);
  return [`input [${inputShape.join(', ')}]`, header, rule, ...lines, rule, totals(layers)].join('\n');
}

function count(parameters: readonly Parameter[]): number {
  return parameters.reduce((all, { value }) => all + value.elements(1), 0);
}

function totals(layers: readonly NamedLayer[]): string {
  const parameters = layers.flatMap(({ parameters }) => parameters);
  const [all, trainable] = [count(parameters), count(parameters.filter(({ trainable }) => trainable))];
  const parts = all === trainable ? '' : `: ${grouped(trainable)} trainable, ${grouped(all - trainable)} fixed`;
  return `${grouped(all)} weights${parts}`;
}
