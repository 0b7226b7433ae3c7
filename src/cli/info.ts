// `gradmill info`: what a model file holds, for a reader.

import { describeFlags, parseCommandLine, toggle, UsageError } from './flags.js';
import { schemaFromMetadata, type InputColumn } from './schema.js';
import { formatFacts, printable, type Io } from './terminal.js';

const flagTable = { help: toggle('show this help') };

const usage = `usage: gradmill info MODEL.safetensors

Shows the layers of a saved model and, for a model trained on a table, its columns and target.

flags
${describeFlags(flagTable)}
`;

export async function info(args: readonly string[], { out }: Io): Promise<number> {
  const { flags, positionals } = parseCommandLine(args, flagTable);
  if (flags.help) {
    out.write(usage);
    return 0;
  }
  if (positionals.length !== 1) throw new UsageError('info needs one model: gradmill info MODEL.safetensors');
  const [path] = positionals;

  const { loadModel } = await import('../index.js');
  const model = await loadModel(path);
  const schema = schemaFromMetadata(model.metadata, path);
  out.write(`${printable(path)}\n\n${printable(model.summary().trimEnd())}\n`);
  if (schema === undefined) return 0;
  const { columns, target } = schema;
  const meaning =
    target.task === 'classification'
      ? `classification of '${target.name}': ${target.classes.join(', ')}`
      : `regression of '${target.name}', mean ${shortNumber(target.mean)}, deviation ${shortNumber(target.standardDeviation)}`;
  const facts = [...columns.map((column) => ['input', describeColumn(column)] as const), ['target', meaning] as const];
  out.write(`\n${formatFacts(facts)}`);
  return 0;
}

function describeColumn(column: InputColumn): string {
  return column.kind === 'numeric'
    ? `'${column.name}', mean ${shortNumber(column.mean)}, deviation ${shortNumber(column.standardDeviation)}`
    : `'${column.name}', one of ${column.categories.join(', ')}`;
}

function shortNumber(value: number): number {
  return Number(value.toPrecision(6));
}
