// What targets say by themselves, and with their inputs: the best constant prediction, and whether neighbours agree.
import type { Loss } from '../losses.js';
import type { InputReport } from './inputs.js';
import type { Sample } from './trials.js';

export interface TargetFacts {
  /** Of the sample's targets: one column, or one an output. */
  readonly columns: number;
  readonly mean: number;
  /** Root of the mean square, and of the mean square deviation from each column's mean. */
  readonly rms: number;
  readonly deviation: number;
  readonly min: number;
  readonly max: number;
  /** All 0 or 1. */
  readonly binary: boolean;
  /** All whole numbers. */
  readonly whole: boolean;
  /** Largest distance of a row's sum from 1; rows of class shares have 0. */
  readonly offShares: number;
  /** Share of the rows of each class; of labels or rows of shares. */
  readonly frequencies: readonly number[];
  /** Loss per term of the best constant prediction; of 0 for errors; of equal shares for cross-entropies. */
  readonly constantLoss: number;
  readonly ignorantLoss: number;
}

export function targetFacts({ y, rows, kind }: Sample, loss: Loss, units: number): TargetFacts {
  const { data } = y;
  const columns = data.length / rows;
  const means = new Float64Array(columns);
  let [squares, min, max, binary, whole, offShares] = [0, Infinity, -Infinity, true, true, 0];
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++) {
      const value = data[i * columns + j];
      means[j] += value / rows;
      squares += value * value;
      sum += value;
      min = Math.min(min, value);
      max = Math.max(max, value);
      binary &&= value === 0 || value === 1;
      whole &&= Number.isInteger(value);
    }
    offShares = Math.max(offShares, Math.abs(sum - 1));
  }
  const rms = Math.sqrt(squares / data.length);
  const meanSquares = means.reduce((sum, mean) => sum + mean * mean, 0) / columns;
  const frequencies = loss.classes ? classFrequencies(data, rows, kind === 'labels', units, means) : [];
  const mean = means.reduce((sum, value) => sum + value, 0) / columns;
  const shared = { columns, mean, rms, deviation: Math.sqrt(Math.max(0, rms * rms - meanSquares)), min, max, binary, whole, offShares };
  return { ...shared, frequencies, ...constantLosses(data, columns, loss, means, frequencies) };
}

function classFrequencies(data: ArrayLike<number>, rows: number, labels: boolean, units: number, means: Float64Array): number[] {
  if (!labels) return [...means];
  const counts = new Array<number>(units).fill(0);
  for (let i = 0; i < rows; i++) counts[data[i]] += 1 / rows;
  return counts;
}

function constantLosses(
  data: ArrayLike<number>,
  columns: number,
  { name, immediates }: Loss,
  means: Float64Array,
  frequencies: readonly number[],
): Pick<TargetFacts, 'constantLoss' | 'ignorantLoss'> {
  const entropy = (shares: readonly number[]): number => shares.reduce((sum, share) => sum - (share > 0 ? share * Math.log(share) : 0), 0);
  if (name === 'softmaxCrossEntropy' || name === 'categoricalCrossEntropy')
    return { constantLoss: entropy(frequencies), ignorantLoss: Math.log(frequencies.length) };
  if (name === 'binaryCrossEntropy') {
    const shares = [...means].map((mean) => Math.min(Math.max(mean, 0), 1));
    return { constantLoss: shares.reduce((sum, p) => sum + entropy([p, 1 - p]), 0) / columns, ignorantLoss: Math.log(2) };
  }
  const { delta } = immediates;
  const term = (off: number): number => {
    if (name === 'meanSquaredError') return off * off;
    if (name === 'huber') return Math.abs(off) > delta ? delta * (Math.abs(off) - delta / 2) : (off * off) / 2;
    return Math.abs(off);
  };
  let [constantLoss, ignorantLoss] = [0, 0];
  for (let i = 0; i < data.length; i++) {
    constantLoss += term(data[i] - means[i % columns]) / data.length;
    ignorantLoss += term(data[i]) / data.length;
  }
  return { constantLoss, ignorantLoss };
}

export interface Neighbours {
  /** Share of rows whose nearest row has the same class, or the correlation of their targets. */
  readonly agreement: number;
  /** The same for rows drawn at random. */
  readonly chance: number;
  /** (agreement − chance) in standard errors of independent targets. */
  readonly errors: number;
  readonly rows: number;
}

/** Rows compared with all others of them. */
const COMPARED = 512;
/** Inputs beyond these are left out: distances of 512 rows over 1,000 columns take a third of a second. */
const WIDEST = 1000;

/** Whether rows with like inputs have like targets: the nearest of at most 512 rows, inputs standardised. */
export function neighbours(sample: Sample, inputs: InputReport, classes: boolean): Neighbours {
  const rows = Math.min(sample.rows, COMPARED);
  const all = inputs.columns.length;
  const kept = inputs.columns.flatMap(({ mean, variance }, j) =>
    variance > 0 && j < WIDEST ? [{ j, mean, scale: 1 / Math.sqrt(variance) }] : [],
  );
  const x = new Float32Array(rows * kept.length);
  for (let i = 0; i < rows; i++)
    kept.forEach(({ j, mean, scale }, k) => (x[i * kept.length + k] = (sample.x.data[i * all + j] - mean) * scale));
  const nearest = Array.from({ length: rows }, (_, i) => nearestTo(x, i, rows, kept.length));
  const columns = sample.y.data.length / sample.rows;
  const target = (i: number): number => classOf(sample.y.data, i, columns, classes);
  if (classes) {
    const counts = new Map<number, number>();
    for (let i = 0; i < rows; i++) counts.set(target(i), (counts.get(target(i)) ?? 0) + 1);
    const chance = [...counts.values()].reduce((sum, count) => sum + (count / rows) ** 2, 0);
    const agreement = nearest.filter((other, i) => target(other) === target(i)).length / rows;
    return { agreement, chance, errors: (agreement - chance) / Math.sqrt((chance * (1 - chance)) / rows || Infinity), rows };
  }
  const mean = nearest.reduce((sum, _, i) => sum + target(i), 0) / rows;
  let [covariance, variance] = [0, 0];
  nearest.forEach((other, i) => {
    covariance += (target(i) - mean) * (target(other) - mean);
    variance += (target(i) - mean) ** 2;
  });
  const agreement = variance === 0 ? 0 : covariance / variance;
  return { agreement, chance: 0, errors: agreement * Math.sqrt(rows), rows };
}

function classOf(data: ArrayLike<number>, row: number, columns: number, classes: boolean): number {
  if (columns === 1 || !classes) return data[row * columns];
  let best = 0;
  for (let j = 1; j < columns; j++) if (data[row * columns + j] > data[row * columns + best]) best = j;
  return best;
}

function nearestTo(x: Float32Array, row: number, rows: number, columns: number): number {
  let [best, least] = [row === 0 ? 1 : 0, Infinity];
  for (let other = 0; other < rows; other++) {
    if (other === row) continue;
    let distance = 0;
    for (let j = 0; j < columns && distance < least; j++) distance += (x[row * columns + j] - x[other * columns + j]) ** 2;
    if (distance < least) [best, least] = [other, distance];
  }
  return best;
}
