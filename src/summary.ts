// The table that model.summary() returns.
import type { NamedLayer } from './architecture.js';
import type { Parameter } from './plan.js';

export function summaryOf(inputShape: readonly number[], layers: readonly NamedLayer[]): string {
  const counts = layers.map(({ parameters }) => count(parameters));
  const rows = layers.map(({ name, layer, built }, i) => {
    const { activation, rate } = layer.config;
    const detail = typeof activation === 'string' && activation !== 'linear' ? activation : rate;
    const kind = typeof detail === 'string' || typeof detail === 'number' ? `${layer.kind} (${detail})` : layer.kind;
    return [name, kind, `[batch, ${built.units}]`, grouped(counts[i])];
  });
  const header = ['layer', 'kind', 'output', 'weights'];
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map((cells) => cells[column].length)));
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i === cells.length - 1 ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join('   ');
  const rule = '─'.repeat(line(header).length);
  return [`input [${inputShape.join(', ')}]`, line(header), rule, ...rows.map(line), rule, totals(layers)].join('\n');
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

/** 1234567 → '1,234,567' */
function grouped(count: number): string {
  return count.toLocaleString('en-US');
}
