// Whitening: inputs turned and stretched until their covariance is the identity.
import { GradmillError } from '../errors.js';
import { badNumber } from '../faults.js';
import { gemm } from '../gemm.js';
import type { Layer } from '../layers/layer.js';
import { whiteningLayer } from '../layers/whitening.js';
import { checkOptions, finiteNumber, oneOf, size } from '../options.js';
import { type FloatTensor, type NumericMatrix, type TensorInput, zeroed } from '../tensor.js';
import { symmetricEigen } from '../eigen.js';
import { type DoubleTensor, divisor, rowsOf, trainingRows } from './scaler.js';
import { withRows } from './standardizer.js';

export interface WhiteningOptions {
  /**
   * 'pca': outputs are principal components, the largest variance first. 'zca': the whitened data that are closest to the data,
   * column by column (Bell & Sejnowski 1997), so that an image stays one.
   */
  readonly kind: 'pca' | 'zca';
  /**
   * Added to every variance, in x's units squared, at least 0: directions in which x hardly varies are stretched less. Default 0:
   * directions in which it does not vary, to rounding, become 0.
   */
  readonly epsilon?: number;
  /** 'pca' only: how many of the first to keep. Default: as many as there are columns. */
  readonly components?: number;
}

interface Learned {
  readonly mean: Float64Array;
  /** Of the data along each direction, descending. */
  readonly variances: Float64Array;
  readonly columns: number;
  /** y = (x − mean)·forward [columns, units], and back: x = y·backward [units, columns] + mean. */
  readonly units: number;
  readonly forward: Float32Array;
  readonly backward: Float32Array;
}

/** Rows that are centred at a time, for a product. */
const CHUNK = 256;
/** Multiplications that JavaScript does in float64; for more the engine sums in float32. */
const IN_DOUBLE = 2 ** 28;

/** Use whitening(). */
export class Whitening {
  readonly kind: 'pca' | 'zca';
  readonly #epsilon: number;
  readonly #components: number | undefined;
  #learned: Learned | undefined;

  constructor(options: WhiteningOptions) {
    const { kind, epsilon = 0, components } = checkOptions('whitening', options, ['kind', 'epsilon', 'components']);
    this.kind = oneOf('kind of whitening', kind, ['pca', 'zca']);
    this.#epsilon = finiteNumber('whitening: epsilon', epsilon, { min: 0 });
    this.#components = components === undefined ? undefined : size('whitening: components', components);
    if (this.kind === 'zca' && components !== undefined)
      throw new GradmillError('invalid-argument', `whitening: components: 'zca' keeps all columns`);
  }

  /**
   * Learns from x [rows, …]: as many rows as columns at least, better ten times as many. Statistics are of all rows (divided by
   * their number). Takes a time that grows with rows · columns² and with columns³.
   * @returns this
   * @throws GradmillError 'non-finite-input', 'empty-data', 'shape-mismatch', 'invalid-argument'; nothing is changed then
   */
  fit(x: TensorInput): this {
    const matrix = trainingRows('whitening: x', x);
    const { columns } = matrix;
    const units = this.#components ?? columns;
    if (units > columns)
      throw new GradmillError('shape-mismatch', `whitening: components: expected at most the ${columns} columns of x, got ${units}`);
    const moments = withRows(undefined, matrix);
    const mean = moments.origin.map((first, j) => first + moments.mean[j]);
    const deviation = moments.squares.map((square) => divisor(Math.sqrt(square / matrix.rows)));
    const inDouble = matrix.rows * columns * columns <= IN_DOUBLE;
    const covariance = inDouble ? covarianceInDouble(matrix, mean) : covarianceOnEngine(matrix, mean, deviation);
    const { values, vectors } = symmetricEigen(covariance, columns);
    const variances = values.map((value) => Math.max(value, 0));
    // What rounding leaves of a variance of 0.
    const noise = variances[0] * (inDouble ? columns * Number.EPSILON : Math.sqrt(columns) / 2 ** 23);
    const stretch = variances.map((variance) => {
      const stretched = variance + this.#epsilon;
      return stretched > (this.#epsilon > 0 ? 0 : noise) ? 1 / Math.sqrt(stretched) : 0;
    });
    const shrink = stretch.map((factor) => (factor === 0 ? 0 : 1 / factor));
    this.#learned =
      this.kind === 'pca'
        ? { mean, variances, columns, units, forward: turned(vectors, stretch, units), backward: stretched(vectors, shrink, units) }
        : { mean, variances, columns, units, forward: between(vectors, stretch), backward: between(vectors, shrink) };
    return this;
  }

  /** Columns that one row of x has; undefined before fit. */
  get columns(): number | undefined {
    return this.#learned?.columns;
  }

  /** Variance of the data along each principal direction, descending. @throws GradmillError 'invalid-argument' before fit */
  get variances(): number[] {
    return Array.from(this.#fitted().variances);
  }

  /**
   * Whitened rows [rows, columns], or [rows, components]; the product is the engine's, in float32, on the calling thread.
   * @throws GradmillError 'non-finite-input', 'shape-mismatch', 'invalid-argument' before fit
   */
  transform(x: TensorInput): FloatTensor {
    const { mean, columns, units, forward } = this.#fitted();
    const matrix = rowsOf('whitening: x', x, columns);
    const { what, rows } = matrix;
    const data = zeroed(what, Float32Array, rows * units);
    for (const { chunk, first, count } of centred(matrix, mean)) {
      const c = data.subarray(first * units, (first + count) * units);
      gemm({ m: count, n: units, k: columns, a: chunk, b: forward, c });
      const bad = c.findIndex((value) => value - value !== 0);
      if (bad >= 0) throw badNumber(what, first + Math.floor(bad / units), rowAt(matrix, first + Math.floor(bad / units)));
    }
    return { data, shape: [rows, units] };
  }

  /** Rows in x's own units again; what fewer components left out, and directions that became 0, are at their mean. @throws as transform */
  inverse(y: TensorInput): DoubleTensor {
    const { mean, columns, units, backward } = this.#fitted();
    const matrix = rowsOf('whitening: y', y, units);
    const { what, rows } = matrix;
    const data = zeroed(what, Float64Array, rows * columns);
    for (const { chunk, first, count } of centred(matrix, new Float64Array(units))) {
      const c = gemm({ m: count, n: columns, k: units, a: chunk, b: backward });
      for (let i = 0; i < c.length; i++) {
        const value = (data[first * columns + i] = c[i] + mean[i % columns]);
        if (value - value !== 0) throw badNumber(what, first + Math.floor(i / columns), rowAt(matrix, first + Math.floor(i / columns)));
      }
    }
    return { data, shape: [rows, columns] };
  }

  /**
   * The same as a layer, usually a model's first: its weights `name/shift` and `name/kernel` are not trained, and saved with the
   * model. In float32: x of a large offset is better transformed beforehand.
   * @throws GradmillError 'invalid-argument' before fit and for a wrong name
   */
  layer(options: { readonly name?: string } = {}): Layer {
    const { mean, units, forward } = this.#fitted();
    const { name } = checkOptions('whitening: layer', options, ['name']);
    return whiteningLayer({ units, name }, { shift: Float32Array.from(mean, (value) => -value), kernel: forward });
  }

  #fitted(): Learned {
    if (!this.#learned) throw new GradmillError('invalid-argument', 'whitening: fit it first');
    return this.#learned;
  }
}

/** @throws GradmillError 'invalid-argument', 'unknown-name', 'size-overflow' */
export function whitening(options: WhiteningOptions): Whitening {
  return new Whitening(options);
}

function rowAt({ data, columns }: NumericMatrix, row: number): NumericMatrix['data'] {
  return data.subarray(row * columns, (row + 1) * columns);
}

/** Rows less their mean, divided by `scale` where given, a chunk at a time in the same memory. */
function* centred(
  { data, rows, columns }: NumericMatrix,
  mean: Float64Array,
  scale?: Float64Array,
): Generator<{ readonly chunk: Float32Array; readonly first: number; readonly count: number }> {
  const whole = new Float32Array(Math.min(rows, CHUNK) * columns);
  for (let first = 0; first < rows; first += CHUNK) {
    const count = Math.min(CHUNK, rows - first);
    const chunk = whole.subarray(0, count * columns);
    for (let i = 0, at = first * columns; i < count; i++)
      for (let j = 0; j < columns; j++, at++) chunk[i * columns + j] = (data[at] - mean[j]) / (scale ? scale[j] : 1);
    yield { chunk, first, count };
  }
}

function covarianceInDouble({ data, rows, columns }: NumericMatrix, mean: Float64Array): Float64Array {
  const covariance = new Float64Array(columns * columns);
  const row = new Float64Array(columns);
  for (let at = 0; at < rows * columns; at += columns) {
    for (let j = 0; j < columns; j++) row[j] = data[at + j] - mean[j];
    for (let i = 0; i < columns; i++) {
      const value = row[i];
      for (let j = 0; j <= i; j++) covariance[i * columns + j] += value * row[j];
    }
  }
  for (let i = 0; i < columns; i++) for (let j = 0; j <= i; j++) covariance[j * columns + i] = covariance[i * columns + j] /= rows;
  return covariance;
}

/** Of columns brought to the same size, so that float32 serves all alike; the sums of chunks add up in float64. */
function covarianceOnEngine(matrix: NumericMatrix, mean: Float64Array, deviation: Float64Array): Float64Array {
  const { rows, columns } = matrix;
  const covariance = new Float64Array(columns * columns);
  const c = new Float32Array(columns * columns);
  for (const { chunk, count } of centred(matrix, mean, deviation)) {
    // Strict: the same weights on every machine.
    gemm({ m: columns, n: columns, k: count, a: chunk, b: chunk, c, transposeA: true, strict: true });
    for (let i = 0; i < c.length; i++) covariance[i] += c[i];
  }
  for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) covariance[i * columns + j] *= (deviation[i] * deviation[j]) / rows;
  return covariance;
}

/** Vᵀ·diag(factor), its first columns: [columns, units] of eigenvectors in V's rows. */
function turned(vectors: Float64Array, factor: Float64Array, units: number): Float32Array {
  const columns = factor.length;
  return Float32Array.from(
    { length: columns * units },
    (_, at) => vectors[(at % units) * columns + Math.floor(at / units)] * factor[at % units],
  );
}

/** diag(factor)·V, its first rows: [units, columns]. */
function stretched(vectors: Float64Array, factor: Float64Array, units: number): Float32Array {
  const columns = factor.length;
  return Float32Array.from({ length: units * columns }, (_, at) => vectors[at] * factor[Math.floor(at / columns)]);
}

/** Vᵀ·diag(factor)·V, symmetric. */
function between(vectors: Float64Array, factor: Float64Array): Float32Array {
  const columns = factor.length;
  const sum = new Float64Array(columns * columns);
  for (let k = 0; k < columns; k++)
    for (let i = 0; i < columns; i++) {
      const value = vectors[k * columns + i] * factor[k];
      for (let j = 0; j < columns; j++) sum[i * columns + j] += value * vectors[k * columns + j];
    }
  return Float32Array.from(sum);
}
