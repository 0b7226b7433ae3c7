// Each column's range, stretched to another.
import { GradmillError } from '../errors.js';
import { checkOptions, finiteNumber } from '../options.js';
import type { TensorInput } from '../tensor.js';
import { type Affine, divisor, Scaler, storedNumbers, trainingRows } from './scaler.js';
import { notFinite } from './standardizer.js';

export interface MinMaxOptions {
  /** Where each column's least number goes. Default 0. */
  readonly low?: number;
  /** Where its largest goes; more than low. Default 1. */
  readonly high?: number;
}

export interface MinMaxJSON {
  readonly kind: 'minMax';
  readonly low: number;
  readonly high: number;
  readonly min: readonly number[];
  readonly max: readonly number[];
}

interface Ranges {
  readonly min: Float64Array;
  readonly max: Float64Array;
}

/** Use minMaxScaler(). */
export class MinMaxScaler extends Scaler {
  readonly kind = 'minMax';
  readonly #low: number;
  readonly #high: number;
  #ranges: Ranges | undefined;

  constructor(options: MinMaxOptions = {}) {
    super();
    const { low = 0, high = 1 } = checkOptions('minMaxScaler', options, ['low', 'high']);
    this.#low = finiteNumber('minMaxScaler: low', low);
    this.#high = finiteNumber('minMaxScaler: high', high, { above: this.#low });
  }

  /** @throws GradmillError 'invalid-argument', 'shape-mismatch', 'unknown-name' */
  static fromJSON(json: MinMaxJSON): MinMaxScaler {
    const { low, high, min: least, max: most } = checkOptions('minMax', json, ['kind', 'low', 'high', 'min', 'max']);
    const made = new MinMaxScaler({ low, high });
    const min = storedNumbers('minMax: min', least);
    const max = storedNumbers('minMax: max', most, min.length);
    if (max.some((value, j) => value < min[j])) throw new GradmillError('invalid-argument', 'minMax: max: expected at least min');
    made.#ranges = { min, max };
    return made;
  }

  override fit(x: TensorInput): this {
    return this.#widen(undefined, x);
  }

  /** Learns from more rows. @returns this scaler @throws as fit */
  partialFit(x: TensorInput): this {
    return this.#widen(this.#ranges, x);
  }

  #widen(known: Ranges | undefined, x: TensorInput): this {
    const { what, data, rows, columns } = trainingRows('minMax: x', x, known?.min.length);
    const min = known ? known.min.slice() : new Float64Array(columns).fill(Infinity);
    const max = known ? known.max.slice() : new Float64Array(columns).fill(-Infinity);
    for (let row = 0, at = 0; row < rows; row++)
      for (let j = 0; j < columns; j++, at++) {
        const value = data[at];
        if (value - value !== 0) throw notFinite(what, row, j, value);
        if (value < min[j]) min[j] = value;
        if (value > max[j]) max[j] = value;
      }
    const wide = min.findIndex((value, j) => !Number.isFinite(max[j] - value));
    if (wide >= 0) throw new GradmillError('non-finite-input', `${what}: column ${wide}: its range is too wide for a number`);
    this.#ranges = { min, max };
    return this;
  }

  protected override get affine(): Affine | undefined {
    if (!this.#ranges) return undefined;
    const { min, max } = this.#ranges;
    const scale = min.map((value, j) => divisor((max[j] - value) / (this.#high - this.#low)));
    return { offset: min.map((value, j) => value - this.#low * scale[j]), scale };
  }

  override toJSON(): MinMaxJSON {
    if (!this.#ranges) throw this.notFitted();
    const { min, max } = this.#ranges;
    return { kind: this.kind, low: this.#low, high: this.#high, min: Array.from(min), max: Array.from(max) };
  }
}

/**
 * Maps each column's range to [low, high]: for inputs that have bounds, as pixels have. One outlier squeezes all the rest. A
 * constant column becomes low.
 * @throws GradmillError 'invalid-argument', 'unknown-name'
 */
export function minMaxScaler(options: MinMaxOptions = {}): MinMaxScaler {
  return new MinMaxScaler(options);
}
