// What a network is fed: statistics of columns, columns that say nothing or the same, and how unequal the directions are that
// gradient descent has to walk (docs/theory.md, scaling of inputs).
import { architecture } from '../architecture.js';
import { DataSets, MemoryPool } from '../dataset.js';
import { symmetricEigenvalues } from '../eigen.js';
import { engine } from '../engine.js';
import { GradmillError } from '../errors.js';
import { Jobs } from '../jobs.js';
import { activation } from '../layers/activation.js';
import { checkOptions } from '../options.js';
import { Runtime } from '../runtime.js';
import { checkScaling, type InputScaling } from '../scaling/input-scaling.js';
import { type NumericArray, type Rows, type TensorInput, toRows } from '../tensor.js';
import { type ColumnStatistics, measure, recordColumns, Totals } from './columns.js';
import { firstRows } from './rows.js';

export interface InputReportOptions {
  /** What the model will do to x as it reads it; the report is of the result. Default: none. */
  readonly inputScaling?: InputScaling;
}

export interface InputColumnReport {
  /** Of the column's finite numbers. */
  readonly mean: number;
  /** Mean square deviation. */
  readonly variance: number;
  readonly min: number;
  readonly max: number;
  /** Numbers that are NaN or infinite, in float32. */
  readonly nonFinite: number;
}

export interface InputReport {
  readonly rows: number;
  readonly columns: InputColumnReport[];
  /** Numbers that are NaN or infinite. */
  readonly nonFinite: number;
  /** Columns, from 0, that hold one number only. */
  readonly constant: number[];
  /** Groups of equal columns, constant ones left out. */
  readonly duplicates: number[][];
  /** Pairs that are a multiple of each other but for an offset (|correlation| > 0.9999), equal ones left out; the first 100. */
  readonly collinear: [number, number][];
  /** Columns of 3 to 20 different whole numbers, among the first 1,000 rows: names rather than amounts, perhaps. */
  readonly categorical: number[];
  /** Share of the columns without a number below 0, or without one above: 1 makes all weights of a unit move alike. */
  readonly sameSignShare: number;
  /**
   * Largest eigenvalue over smallest, constant columns left out; Infinity where columns depend on each other linearly. Steps of
   * gradient descent grow with it. Absent for more than 512 columns, for fewer rows than columns, or where a number is not finite.
   */
  readonly conditionNumber?: {
    /** Of xᵀx / rows. */
    readonly raw: number;
    /** Of the covariance: what centring leaves. */
    readonly centred: number;
    /** Of the correlation: what standardising leaves. */
    readonly standardized: number;
  };
}

/** Wider inputs would wait for n³ operations in JavaScript. */
const WIDEST = 512;
/** The correlation is summed in float32: smaller eigenvalues are noise. */
const SINGULAR = 1e-5;
/** Rows in which different numbers are counted. */
const SAMPLE = 1000;
const MOST_PAIRS = 100;

/**
 * Statistics of inputs, by the engine: one pass over the rows, and one for what columns have in common.
 * Rejects with GradmillError 'shape-mismatch', 'empty-data', 'invalid-argument', 'buffer-detached', 'out-of-memory'.
 */
export async function inputReport(x: TensorInput, options: InputReportOptions = {}): Promise<InputReport> {
  const { inputScaling } = checkOptions('inputReport', options, ['inputScaling']);
  const rows = toRows('x', x);
  if (rows.rows === 0 || rows.columns === 0) throw new GradmillError('empty-data', 'inputReport: x is empty');
  const scaling = inputScaling === undefined ? undefined : checkScaling(inputScaling, rows.columns);
  const columns = await columnsOf(rows, scaling);
  const constant = indices(columns, ({ min, max }) => min === max);
  const nonFinite = columns.reduce((all, { finite }) => all + rows.rows - finite, 0);
  const wanted = rows.columns <= WIDEST && rows.rows >= rows.columns && nonFinite === 0;
  const correlation = wanted ? await correlationOf(rows, columns, scaling) : undefined;
  const duplicates = duplicatesOf(rows, columns, constant, correlation);
  return {
    rows: rows.rows,
    columns: columns.map(({ mean, variance, min, max, finite }) => ({ mean, variance, min, max, nonFinite: rows.rows - finite })),
    nonFinite,
    constant,
    duplicates,
    collinear: correlation ? collinearOf(correlation, rows.columns, new Set(constant), duplicates) : [],
    categorical: categoricalOf(rows),
    sameSignShare: columns.filter(({ min, max }) => min >= 0 || max <= 0).length / columns.length,
    ...(correlation && { conditionNumber: conditionNumbers(correlation, columns, new Set(constant)) }),
  };
}

/** A model without weights reads the rows. */
async function reading<T>(rows: Rows, scaling: InputScaling | undefined, call: (jobs: Jobs, sets: DataSets) => Promise<T>): Promise<T> {
  const jobs = new Jobs(new Runtime(engine(), architecture([rows.columns], [activation('linear')]), 0, scaling));
  const pool = new MemoryPool(engine());
  const sets = new DataSets(pool);
  try {
    return await call(jobs, sets);
  } finally {
    sets.release();
    pool.clear();
    jobs.runtime.dispose();
  }
}

async function columnsOf(rows: Rows, scaling: InputScaling | undefined): Promise<readonly ColumnStatistics[]> {
  return reading(rows, scaling, async (jobs, sets) => {
    jobs.runtime.define('columns', { unchecked: true, record: (plan, [x]) => recordColumns(plan, x) });
    const totals = new Totals();
    await measure(jobs, 'measure:columns', { x: await sets.load(rows) }, rows.rows, (measured) => {
      totals.add(measured);
    });
    return totals.columns;
  });
}

/** Of all columns with all; 0 for constant ones. */
async function correlationOf(rows: Rows, columns: readonly ColumnStatistics[], scaling: InputScaling | undefined): Promise<Float64Array> {
  const n = columns.length;
  // The statistics are of scaled inputs, the rows are not yet.
  const at = (values: number | readonly number[], j: number): number => (typeof values === 'number' ? values : values[j]);
  const deviation = columns.map(({ variance }, j) => Math.sqrt(variance || 1) * (scaling ? at(scaling.standardDeviation, j) : 1));
  const mean = columns.map((column, j) => (scaling ? at(scaling.mean, j) + column.mean * at(scaling.standardDeviation, j) : column.mean));
  const sums = new Float64Array(n * n);
  await reading(rows, { mean, standardDeviation: deviation }, async (jobs, sets) => {
    jobs.runtime.define('products', { record: (plan, [x]) => [plan.gemm(x.T, x)] });
    await measure(jobs, 'measure:products', { x: await sets.load(rows) }, rows.rows, ([products]) => {
      products.forEach((product, i) => (sums[i] += product));
    });
  });
  return sums.map((sum) => sum / rows.rows);
}

function duplicatesOf(
  rows: Rows,
  columns: readonly ColumnStatistics[],
  constant: readonly number[],
  correlation: Float64Array | undefined,
): number[][] {
  const groups = new Map<string, number[][]>();
  const skipped = new Set(constant);
  for (const [j, { mean, variance, min, max, positive, negative, finite }] of columns.entries()) {
    if (skipped.has(j)) continue;
    const key = [mean, variance, min, max, positive, negative, finite].join();
    // Where statistics are equal, the rows decide: two columns may hold the same numbers in another order.
    const alike = groups.get(key) ?? [];
    const group = alike.find(([first]) =>
      correlation ? correlation[first * columns.length + j] > 1 - SINGULAR : equalColumns(rows, first, j),
    );
    if (group) group.push(j);
    else groups.set(key, [...alike, [j]]);
  }
  return [...groups.values()].flat().filter((group) => group.length > 1);
}

/** Of inputs too wide for their correlation; only asked of columns with equal statistics. */
function equalColumns({ data, rows, columns }: Rows, a: number, b: number): boolean {
  for (let i = 0; i < rows; i++) {
    const [row, at] = Array.isArray(data) ? [(data as readonly ArrayLike<number>[])[i], 0] : [data as NumericArray, i * columns];
    if (row[at + a] !== row[at + b]) return false;
  }
  return true;
}

function collinearOf(correlation: Float64Array, n: number, constant: ReadonlySet<number>, duplicates: number[][]): [number, number][] {
  const copies = new Set(duplicates.flatMap((group) => group.slice(1)));
  const pairs: [number, number][] = [];
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n && pairs.length < MOST_PAIRS; j++)
      if (Math.abs(correlation[i * n + j]) > 0.9999 && ![i, j].some((column) => constant.has(column) || copies.has(column)))
        pairs.push([i, j]);
  return pairs;
}

function categoricalOf(rows: Rows): number[] {
  const values = firstRows(rows, SAMPLE);
  const count = values.length / rows.columns;
  return Array.from({ length: rows.columns }, (_, j) => j).filter((j) => {
    const seen = new Set<number>();
    for (let i = 0; i < count && seen.size <= 20; i++) {
      const value = values[i * rows.columns + j];
      if (!Number.isInteger(value)) return false;
      seen.add(value);
    }
    // Fewer rows for each could be amounts that happen to be whole.
    return seen.size >= 3 && seen.size <= 20 && count >= 5 * seen.size;
  });
}

function conditionNumbers(
  correlation: Float64Array,
  columns: readonly ColumnStatistics[],
  constant: ReadonlySet<number>,
): NonNullable<InputReport['conditionNumber']> {
  const kept = columns.flatMap((column, j) => (constant.has(j) ? [] : [{ ...column, j, deviation: Math.sqrt(column.variance) }]));
  const n = kept.length;
  if (n === 0) return { raw: 1, centred: 1, standardized: 1 };
  const ratio = (element: (a: (typeof kept)[number], b: (typeof kept)[number], r: number) => number): number => {
    const matrix = Float64Array.from({ length: n * n }, (_, at) => {
      const [a, b] = [kept[Math.floor(at / n)], kept[at % n]];
      return element(a, b, correlation[a.j * columns.length + b.j]);
    });
    const values = symmetricEigenvalues(matrix, n);
    return values[0] > 0 ? values[n - 1] / values[0] : Infinity;
  };
  const correlations = symmetricEigenvalues(
    Float64Array.from({ length: n * n }, (_, at) => correlation[kept[Math.floor(at / n)].j * columns.length + kept[at % n].j]),
    n,
  );
  if (correlations[0] < SINGULAR) return { raw: Infinity, centred: Infinity, standardized: Infinity };
  return {
    raw: ratio((a, b, r) => r * a.deviation * b.deviation + a.mean * b.mean),
    centred: ratio((a, b, r) => r * a.deviation * b.deviation),
    standardized: correlations[n - 1] / correlations[0],
  };
}

function indices<T>(values: readonly T[], matches: (value: T) => boolean): number[] {
  return values.flatMap((value, i) => (matches(value) ? [i] : []));
}
