// `gradmill doctor`: what is in a table's columns, and what would keep the network that `gradmill train` makes from learning it.

import { inputReport, type InputReport } from '../diagnostics/index.js';
import { encodeInputs, selectRows } from './encode.js';
import { exitCodes } from './exit-codes.js';
import { paletteOf, showFindings } from './findings.js';
import { describeFlags, parseCommandLine, UsageError } from './flags.js';
import { inputNames, type NumericColumn } from './schema.js';
import { oneLine, type Io } from './terminal.js';
import { commonFlags, tableFlags, trainFlags } from './train-flags.js';
import { describeTable, prepareTable, type PreparedTable } from './train-table.js';
import { configureEngine } from './train.js';

const usage = `usage: gradmill doctor DATA.csv --target COLUMN [flags]

Says what keeps a network from learning a table, before it is trained for long: looks at the columns as they are in the file, at the
inputs, targets and weights of the network that gradmill train would make with the same flags, and trains copies of it for some
seconds. Nothing is saved. With --raw it looks at a network that takes the numbers as they are.

Exit codes: 0 no errors were found (there may be warnings), 1 errors were found or the file cannot be read, 2 wrong command line.

flags, as of gradmill train
${describeFlags(commonFlags)}

flags for CSV files
${describeFlags(tableFlags)}
`;

export async function doctor(args: readonly string[], { out }: Io): Promise<number> {
  const { flags, positionals } = parseCommandLine(args, trainFlags);
  if (flags.help) {
    out.write(usage);
    return exitCodes.success;
  }
  if (positionals.length !== 1)
    throw new UsageError(`doctor takes one CSV file, got ${positionals.length}: gradmill doctor DATA.csv --target COLUMN`);
  const [source] = positionals;
  configureEngine(flags);
  const prepared = await prepareTable(source, flags);
  const { x, y, split, schema, model, batchSize, epochs } = prepared;
  out.write(describeTable(source, { learningRate: flags['learning-rate'], seed: flags.seed }, prepared));
  const text = await describeColumns(prepared);
  if (text !== '') out.write(`${paletteOf(out).heading('numeric columns, as they are in the file')}\n${text}\n`);
  const data = { x: selectRows(x, split.training), y: selectRows(y, split.training) };
  const { findings } = await showFindings(model, data, { columns: inputNames(schema.columns), batchSize, epochs }, out);
  return findings.some(({ severity }) => severity === 'error') ? exitCodes.failure : exitCodes.success;
}

/** A table of the numeric columns, with remarks, and what standardising them does. */
async function describeColumns({ table, schema }: PreparedTable): Promise<string> {
  const numeric = schema.columns.filter((column): column is NumericColumn => column.kind === 'numeric');
  if (numeric.length === 0) return '';
  const unscaled = numeric.map((column) => ({ ...column, mean: 0, standardDeviation: 1 }));
  const report = await inputReport(encodeInputs(table, unscaled));
  const names = numeric.map(({ name }) => oneLine(name));
  const rows = report.columns.map(({ mean, variance, min, max }, j) => [
    names[j],
    ...[mean, Math.sqrt(variance), min, max].map(shortNumber),
    remarks(report, j, names).join('; '),
  ]);
  const header = ['column', 'mean', 'deviation', 'least', 'most', ''];
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
  const lines = [header, ...rows].map((row) =>
    `  ${row.map((cell, i) => (i === 0 || i === 5 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ')}`.trimEnd(),
  );
  return `${lines.join('\n')}\n${conditions(report, numeric)}`;
}

/** Standardised or not, gradient descent takes about as many steps as the condition number says. */
function conditions({ conditionNumber, columns }: InputReport, numeric: readonly NumericColumn[]): string {
  if (!conditionNumber || columns.length < 2) return '';
  const { raw, standardized } = conditionNumber;
  const asRead = numeric.every(({ mean, standardDeviation }) => mean === 0 && standardDeviation === 1);
  const after = asRead ? 'standardising (train without --raw) makes it' : 'gradmill train standardises them, which makes it';
  if (raw === Infinity) return '  some of them are sums or multiples of others: their condition number is infinite\n';
  return `  their condition number is ${shortNumber(raw)}: about as many steps of plain gradient descent; ${after} ${shortNumber(standardized)}\n`;
}

function remarks(report: InputReport, j: number, names: readonly string[]): string[] {
  const { mean, variance, min, max } = report.columns[j];
  const deviation = Math.sqrt(variance);
  if (report.constant.includes(j)) return [`the same in every row: --ignore ${names[j]}`];
  const found: string[] = [];
  const copies = report.duplicates.find((group) => group.includes(j));
  if (copies && copies[0] !== j) found.push(`equal to ${names[copies[0]]}: --ignore ${names[j]}`);
  for (const [a, b] of report.collinear) if (b === j) found.push(`follows from ${names[a]} by a straight line`);
  if (report.categorical.includes(j)) found.push(`few whole numbers; if they are names: --categorical ${names[j]}`);
  if (deviation > 10 || deviation < 0.01) found.push(deviation > 10 ? 'large' : 'tiny');
  if (Math.abs(mean) > 3 * deviation) found.push('far from 0');
  // As every row's own number has.
  if (max - min === report.rows - 1 && Number.isInteger(min) && Math.abs(variance / ((report.rows ** 2 - 1) / 12) - 1) < 1e-3)
    found.push(`perhaps row numbers: --ignore ${names[j]}`);
  return found;
}

function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return String(value);
  if (value !== 0 && (size >= 1e9 || size < 1e-3)) return value.toExponential(2);
  return Number(value.toPrecision(4)).toLocaleString('en-US', { maximumFractionDigits: 6 });
}
