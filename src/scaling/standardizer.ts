// Mean and standard deviation of each column, in one pass over data that may come in pieces.
import { GradmillError } from '../errors.js';
import { checkOptions, wholeNumber } from '../options.js';
import type { NumericMatrix, TensorInput } from '../tensor.js';
import { type Affine, divisor, Scaler, storedNumbers, trainingRows } from './scaler.js';

/** What has been seen of each column. */
export interface Moments {
  readonly rows: number;
  /** The first row. All else is relative to it, so that a large offset costs no digits. */
  readonly origin: Float64Array;
  /** Of x − origin. */
  readonly mean: Float64Array;
  /** Σ (x − mean)² */
  readonly squares: Float64Array;
}

export interface StandardizerJSON {
  readonly kind: 'standardizer';
  readonly rows: number;
  readonly origin: readonly number[];
  readonly mean: readonly number[];
  readonly squares: readonly number[];
}

/** Rows of a chunk: it is read twice while it is in cache. */
const CHUNK = 256;

/**
 * The moments with more rows: each chunk's by two passes, merged as Welford's method does by Chan, Golub & LeVeque's formula
 * (1979). Float64 throughout.
 * @throws GradmillError 'non-finite-input'
 */
export function withRows(known: Moments | undefined, { what, data, rows, columns }: NumericMatrix): Moments {
  const origin = known?.origin ?? Float64Array.from(data.subarray(0, columns));
  const [mean, squares] = known ? [known.mean.slice(), known.squares.slice()] : [new Float64Array(columns), new Float64Array(columns)];
  const [average, rest, square] = [new Float64Array(columns), new Float64Array(columns), new Float64Array(columns)];
  let count = known?.rows ?? 0;
  for (let start = 0; start < rows; start += CHUNK) {
    const end = Math.min(start + CHUNK, rows);
    const size = end - start;
    average.fill(0);
    for (let row = start, at = start * columns; row < end; row++)
      for (let j = 0; j < columns; j++, at++) {
        const value = data[at] - origin[j];
        // 0 for what is finite, else NaN.
        if (value - value !== 0) throw notFinite(what, row, j, data[at]);
        average[j] += value;
      }
    for (let j = 0; j < columns; j++) average[j] /= size;
    rest.fill(0);
    square.fill(0);
    for (let row = start, at = start * columns; row < end; row++)
      for (let j = 0; j < columns; j++, at++) {
        const deviation = data[at] - origin[j] - average[j];
        rest[j] += deviation;
        square[j] += deviation * deviation;
      }
    for (let j = 0; j < columns; j++) {
      const delta = average[j] - mean[j];
      // `rest` would be 0 but for the average's rounding.
      squares[j] += Math.max(square[j] - (rest[j] * rest[j]) / size, 0) + delta * delta * ((count * size) / (count + size));
      mean[j] += (delta * size) / (count + size);
    }
    count += size;
  }
  const large = squares.findIndex((value) => !Number.isFinite(value));
  if (large >= 0) throw new GradmillError('non-finite-input', `${what}: column ${large}: its numbers are too large to be squared`);
  return { rows: count, origin, mean, squares };
}

/** Code that reads numbers itself names the first that is none. */
export function notFinite(what: string, row: number, column: number, value: number): GradmillError {
  const problem = Number.isFinite(value) ? `${value} is too far from the first row` : `expected a finite number, got ${value}`;
  return new GradmillError('non-finite-input', `${what}: row ${row}, column ${column}: ${problem}`);
}

/**
 * Gives each column mean 0 and variance 1: (x − mean) / standardDeviation. Statistics are of all rows (divided by their number,
 * not one less), gathered in float64 in one pass, and agree with those of two passes. A constant column has standard deviation
 * 0 and is divided by 1: it becomes 0.
 *
 * `sequential({ inputScaling: new Standardizer().fit(x), … })` keeps it with the model. Fit it on training rows only.
 */
export class Standardizer extends Scaler {
  readonly kind = 'standardizer';
  #moments: Moments | undefined;

  /** @throws GradmillError 'invalid-argument', 'shape-mismatch', 'unknown-name' */
  static fromJSON(json: StandardizerJSON): Standardizer {
    const known = ['kind', 'rows', 'origin', 'mean', 'squares'];
    const { rows, origin: first, mean, squares } = checkOptions('standardizer', json, known);
    const origin = storedNumbers('standardizer: origin', first);
    const made = new Standardizer();
    made.#moments = {
      rows: wholeNumber('standardizer: rows', rows, 1),
      origin,
      mean: storedNumbers('standardizer: mean', mean, origin.length),
      squares: storedNumbers('standardizer: squares', squares, origin.length),
    };
    if (made.#moments.squares.some((value) => value < 0))
      throw new GradmillError('invalid-argument', 'standardizer: squares: expected numbers of at least 0');
    return made;
  }

  override fit(x: TensorInput): this {
    this.#moments = withRows(undefined, trainingRows('standardizer: x', x));
    return this;
  }

  /**
   * Learns from more rows: fit on pieces, in order, gives what fit on all of them gives, to rounding.
   * @returns this scaler
   * @throws as fit
   */
  partialFit(x: TensorInput): this {
    this.#moments = withRows(this.#moments, trainingRows('standardizer: x', x, this.columns));
    return this;
  }

  /** Rows learned from. */
  get rows(): number {
    return this.#moments?.rows ?? 0;
  }

  /** Of each column. @throws GradmillError 'invalid-argument' before fit */
  get mean(): number[] {
    return Array.from(this.fitted().offset);
  }

  /** Of each column; 0 for a constant one. @throws GradmillError 'invalid-argument' before fit */
  get standardDeviation(): number[] {
    const { scale } = this.fitted();
    return Array.from(scale, (value, j) => (this.#moments?.squares[j] === 0 ? 0 : value));
  }

  protected override get affine(): Affine | undefined {
    const moments = this.#moments;
    if (!moments) return undefined;
    const { rows, origin, mean, squares } = moments;
    return { offset: origin.map((first, j) => first + mean[j]), scale: squares.map((square) => divisor(Math.sqrt(square / rows))) };
  }

  override toJSON(): StandardizerJSON {
    if (!this.#moments) throw this.notFitted();
    const { rows, origin, mean, squares } = this.#moments;
    return { kind: this.kind, rows, origin: Array.from(origin), mean: Array.from(mean), squares: Array.from(squares) };
  }
}
