// `gradmill train DATA.csv --target COLUMN`: types the columns, splits the rows, trains, and reports in the user's units.

import { GradmillError, nearestName } from '../errors.js';
import { adam, dense, sequential } from '../index.js';
import { readRegularFile } from '../node/files.js';
import { parseCsv, type Table } from './csv.js';
import { decodeClasses, decodeValues, encodeInputs, encodeTarget, type Matrix, selectRows } from './encode.js';
import { showFindings } from './findings.js';
import { conclude, describeBackend, logOf, type Model, trainLive } from './fit.js';
import { UsageError } from './flags.js';
import { inferSchema } from './infer.js';
import { inputNames, inputWidth, outputWidth, schemaToMetadata, type InputColumn, type TableSchema, type Target } from './schema.js';
import { splitRows, type Split } from './split.js';
import { formatCount, formatFacts, formatPercent, type Io } from './terminal.js';
import type { TrainFlags } from './train-flags.js';

/** A table read and encoded, its rows split, and a model for it, compiled and untrained. */
export interface PreparedTable {
  readonly table: Table;
  readonly schema: TableSchema;
  /** How the columns were understood; the first is the target's. */
  readonly notes: readonly string[];
  readonly split: Split;
  readonly x: Matrix;
  readonly y: ReturnType<typeof encodeTarget>;
  readonly model: Model;
  readonly epochs: number;
  readonly batchSize: number;
}

export async function prepareTable(source: string, flags: TrainFlags): Promise<PreparedTable> {
  const { hidden = [64, 64], activation = 'relu', 'learning-rate': learningRate = 1e-3 } = flags;
  const { seed = 1, categorical = [], ignore = [], raw = false, 'validation-split': validationSplit = 0.2 } = flags;
  const table = parseCsv(await readRegularFile(source), source);
  const target = checkColumnFlags(table, flags);
  if (table.rows.length === 0) throw new GradmillError('empty-data', `${source}: there are no rows below the header`);
  const split = splitRows(table.rows.length, validationSplit, seed);
  const batchSize = flags['batch-size'] ?? Math.min(32, split.training.length);
  if (batchSize > split.training.length) {
    throw new UsageError(`--batch-size ${batchSize} is larger than the ${split.training.length} rows to train on`);
  }
  const { schema, notes } = inferSchema(table, { target, task: flags.task, categorical, ignore, raw }, split.training);
  const x = encodeInputs(table, schema.columns);
  const y = encodeTarget(table, schema.target);
  const epochs = flags.epochs ?? sensibleEpochs(split.training.length, batchSize);

  const model = sequential({
    inputShape: [inputWidth(schema.columns)],
    seed,
    layers: [...hidden.map((units) => dense({ units, activation })), dense({ units: outputWidth(schema.target) })],
  });
  if (schema.target.task === 'regression') model.compile({ optimizer: adam({ learningRate }), loss: 'meanSquaredError' });
  else model.compile({ optimizer: adam({ learningRate }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
  return { table, schema, notes, split, x, y, model, epochs, batchSize };
}

/** What is about to be trained, and on what. */
export function describeTable(source: string, { learningRate = 1e-3, seed = 1 }: DescribedFlags, prepared: PreparedTable): string {
  const { schema, notes, split, epochs, batchSize, model } = prepared;
  const facts = formatFacts([
    ['backend', describeBackend()],
    ['data', `${source}, ${formatCount(split.training.length)} training and ${formatCount(split.validation.length)} validation rows`],
    ['inputs', describeInputs(schema.columns)],
    ['target', notes[0]],
    ...notes.slice(1).map((note) => ['note', note] as const),
    ['training', `${epochs} epoch${epochs === 1 ? '' : 's'}, batch ${batchSize}, Adam ${learningRate}, seed ${seed}`],
    ...(schema.target.task === 'regression' ? [['loss', 'mean squared error of the standardised target'] as const] : []),
  ]);
  return `${facts}\n${model.summary().trimEnd()}\n\n`;
}

interface DescribedFlags {
  readonly learningRate?: number | undefined;
  readonly seed?: number | undefined;
}

export async function trainTable(source: string, flags: TrainFlags, path: string, { out }: Io): Promise<number> {
  const prepared = await prepareTable(source, flags);
  const { schema, split, x, y, model, epochs, batchSize } = prepared;
  out.write(describeTable(source, { learningRate: flags['learning-rate'], seed: flags.seed }, prepared));
  const data = {
    x: selectRows(x, split.training),
    y: selectRows(y, split.training),
    ...(split.validation.length === 0
      ? {}
      : { validationData: [selectRows(x, split.validation), selectRows(y, split.validation)] as const }),
  };
  if (flags.doctor) await showFindings(model, data, { columns: inputNames(schema.columns), batchSize, epochs }, out);
  const training = await trainLive(model, data, { epochs, batchSize }, logOf(flags), { path, metadata: schemaToMetadata(schema) }, out);
  const { data: outputs } = await model.predict(x);
  out.write(report(outputs, y.data, schema.target, split));
  return conclude(training, out);
}

/** Returns the target's name. Flags that name no column are mistakes of the command line, not of the file. */
function checkColumnFlags(table: Table, { target, categorical = [], ignore = [] }: TrainFlags): string {
  const columns = `columns of ${table.source}: ${table.header.join(', ')}`;
  if (target === undefined) throw new UsageError(`--target is needed: which column is to be predicted? ${columns}`);
  const named = { target: [target], categorical, ignore };
  for (const [flag, list] of Object.entries(named)) {
    for (const name of list) {
      if (table.header.includes(name)) continue;
      const nearest = nearestName(name, table.header);
      throw new UsageError(`--${flag}: there is no column '${name}'; ${nearest === undefined ? columns : `did you mean '${nearest}'?`}`);
    }
  }
  const contradiction = ignore.find((name) => name === target || categorical.includes(name));
  if (contradiction !== undefined) throw new UsageError(`--ignore: '${contradiction}' cannot be left out, another flag needs it`);
  return target;
}

/** 100 epochs for a small table; a large one learns as much from about 20,000 steps. */
function sensibleEpochs(rows: number, batchSize: number): number {
  return Math.max(5, Math.min(100, Math.round(20_000 / Math.ceil(rows / batchSize))));
}

function describeInputs(columns: readonly InputColumn[]): string {
  const numeric = columns.filter(({ kind }) => kind === 'numeric').length;
  const categorical = columns.flatMap((column) => (column.kind === 'categorical' ? [`${column.name}: ${column.categories.length}`] : []));
  const kinds = [
    `${numeric} numeric`,
    `${categorical.length} categorical${categorical.length === 0 ? '' : ` (${categorical.join(', ')})`}`,
  ];
  return `${kinds.join(', ')} columns, ${inputWidth(columns)} inputs`;
}

/** How good the model is on the rows it learned from, on the others, and on the whole file. */
function report(outputs: Float32Array, expected: Float32Array | Int32Array, target: Target, { training, validation }: Split): string {
  const quality =
    target.task === 'regression' ? regressionQuality(outputs, expected, target) : classificationQuality(outputs, expected, target);
  const lines = [`training ${quality(training)} (${formatCount(training.length)} rows)`];
  if (validation.length > 0) lines.push(`validation ${quality(validation)} (${formatCount(validation.length)} rows)`);
  const all = [...expected.keys()];
  lines.push(`${quality(all)} (all ${formatCount(all.length)} rows)`);
  return lines.map((line) => `${line}\n`).join('');
}

type Quality = (rows: readonly number[]) => string;

function classificationQuality(
  outputs: Float32Array,
  expected: Float32Array | Int32Array,
  target: Extract<Target, { task: 'classification' }>,
): Quality {
  const right = decodeClasses(outputs, target).map(({ best }, row) => best === expected[row]);
  return (rows) => `accuracy ${formatPercent(rows.filter((row) => right[row]).length / rows.length)}`;
}

/** Root mean squared error in the target's unit, and R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)². */
function regressionQuality(
  outputs: Float32Array,
  expected: Float32Array | Int32Array,
  target: Extract<Target, { task: 'regression' }>,
): Quality {
  const predicted = decodeValues(outputs, target);
  const actual = Array.from(expected, (value) => value * target.standardDeviation + target.mean);
  return (rows) => {
    const mean = rows.reduce((sum, row) => sum + actual[row], 0) / rows.length;
    const errors = rows.reduce((sum, row) => sum + (actual[row] - predicted[row]) ** 2, 0);
    const spread = rows.reduce((sum, row) => sum + (actual[row] - mean) ** 2, 0);
    const determination = spread === 0 ? 'R² undefined' : `R² ${(1 - errors / spread).toFixed(4)}`;
    return `RMSE ${Number(Math.sqrt(errors / rows.length).toPrecision(4))} ${determination}`;
  };
}
