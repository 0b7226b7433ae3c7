// Median and a range between quantiles: what outliers do not move.
import { GradmillError } from '../errors.js';
import { checkOptions, finiteNumber, list } from '../options.js';
import type { TensorInput } from '../tensor.js';
import { type Affine, divisor, Scaler, storedNumbers, trainingRows } from './scaler.js';
import { notFinite } from './standardizer.js';

export interface RobustOptions {
  /** Shares of the rows, between 0 and 1, ascending. Default [0.25, 0.75]: the interquartile range. */
  readonly quantiles?: readonly [number, number];
}

export interface RobustJSON {
  readonly kind: 'robust';
  readonly quantiles: readonly [number, number];
  readonly median: readonly number[];
  readonly range: readonly number[];
}

interface Quantiles {
  readonly median: Float64Array;
  /** From the lower quantile to the upper. */
  readonly range: Float64Array;
}

/** Use robustScaler(). */
export class RobustScaler extends Scaler {
  readonly kind = 'robust';
  readonly #quantiles: readonly [number, number];
  #learned: Quantiles | undefined;

  constructor(options: RobustOptions = {}) {
    super();
    const { quantiles = [0.25, 0.75] } = checkOptions('robustScaler', options, ['quantiles']);
    const given = list('robustScaler: quantiles', quantiles);
    if (given.length !== 2)
      throw new GradmillError('invalid-argument', `robustScaler: quantiles: expected two numbers, got ${given.length}`);
    const low = finiteNumber('robustScaler: quantiles[0]', given[0], { min: 0, below: 1 });
    this.#quantiles = [low, finiteNumber('robustScaler: quantiles[1]', given[1], { above: low, max: 1 })];
  }

  /** @throws GradmillError 'invalid-argument', 'shape-mismatch', 'unknown-name' */
  static fromJSON(json: RobustJSON): RobustScaler {
    const { quantiles, median: center, range: spread } = checkOptions('robust', json, ['kind', 'quantiles', 'median', 'range']);
    const made = new RobustScaler({ quantiles });
    const median = storedNumbers('robust: median', center);
    const range = storedNumbers('robust: range', spread, median.length);
    if (range.some((value) => value < 0)) throw new GradmillError('invalid-argument', 'robust: range: expected numbers of at least 0');
    made.#learned = { median, range };
    return made;
  }

  override fit(x: TensorInput): this {
    const { what, data, rows, columns } = trainingRows('robust: x', x);
    const [median, range] = [new Float64Array(columns), new Float64Array(columns)];
    const column = new Float64Array(rows);
    for (let j = 0; j < columns; j++) {
      for (let row = 0; row < rows; row++) {
        const value = data[row * columns + j];
        if (value - value !== 0) throw notFinite(what, row, j, value);
        column[row] = value;
      }
      column.sort();
      median[j] = quantile(column, 0.5);
      range[j] = quantile(column, this.#quantiles[1]) - quantile(column, this.#quantiles[0]);
      if (!Number.isFinite(range[j]))
        throw new GradmillError('non-finite-input', `${what}: column ${j}: its range is too wide for a number`);
    }
    this.#learned = { median, range };
    return this;
  }

  protected override get affine(): Affine | undefined {
    return this.#learned && { offset: this.#learned.median.slice(), scale: this.#learned.range.map(divisor) };
  }

  override toJSON(): RobustJSON {
    if (!this.#learned) throw this.notFitted();
    const { median, range } = this.#learned;
    return { kind: this.kind, quantiles: this.#quantiles, median: Array.from(median), range: Array.from(range) };
  }
}

/** Of ascending numbers, between neighbours in proportion (Hyndman & Fan's seventh, as NumPy). */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

/**
 * Gives each column median 0 and interquartile range 1, which a few wild values do not move. A column without range is divided by 1.
 * It has no partialFit: quantiles of pieces do not add up.
 * @throws GradmillError 'invalid-argument', 'unknown-name'
 */
export function robustScaler(options: RobustOptions = {}): RobustScaler {
  return new RobustScaler(options);
}
