// What scalers have in common: each column's affine map, learned from data, forwards and back.
import { GradmillError } from '../errors.js';
import { badNumber } from '../faults.js';
import { list, reading, show } from '../options.js';
import { type FloatTensor, type NumericMatrix, numbersOf, type TensorInput, zeroed } from '../tensor.js';

/** In float64: float32 would lose the digits of a large offset. */
export interface DoubleTensor {
  readonly data: Float64Array;
  readonly shape: number[];
}

/** Column j becomes (x − offset[j]) / scale[j]. */
export interface Affine {
  readonly offset: Float64Array;
  readonly scale: Float64Array;
}

export abstract class Scaler {
  abstract readonly kind: string;

  /** Undefined before fit. */
  protected abstract get affine(): Affine | undefined;

  /**
   * Learns from x [rows, …] alone, whatever was learned before. Numbers are read in the type they have, nested arrays in float64.
   * @returns this scaler
   * @throws GradmillError 'non-finite-input', 'empty-data', 'shape-mismatch', 'invalid-argument', 'buffer-detached'; nothing is changed then
   */
  abstract fit(x: TensorInput): this;

  /** As JSON; scalerFromJSON makes the same again. */
  abstract toJSON(): object;

  /** Columns that one row of x has; undefined before fit. */
  get columns(): number | undefined {
    return this.affine?.offset.length;
  }

  /**
   * The same map for sequential({ inputScaling }), which takes the scaler itself too: applied to each batch as it is read, in
   * float32. A column whose values differ by less than a millionth of their size is better transformed here, in float64.
   * @throws GradmillError 'invalid-argument' before fit
   */
  get inputScaling(): { readonly mean: number[]; readonly standardDeviation: number[] } {
    const { offset, scale } = this.fitted();
    return { mean: Array.from(offset), standardDeviation: Array.from(scale) };
  }

  /**
   * Scaled rows, computed in float64 and rounded once; shape [rows, columns]. One row may come flat.
   * @throws GradmillError 'non-finite-input', 'shape-mismatch', 'invalid-argument' before fit
   */
  transform(x: TensorInput): FloatTensor {
    const { offset, scale } = this.fitted();
    const { what, data, rows, columns } = rowsOf(`${this.kind}: x`, x, offset.length);
    const scaled = zeroed(what, Float32Array, data.length);
    for (let row = 0, at = 0; row < rows; row++)
      for (let j = 0; j < columns; j++, at++) {
        scaled[at] = (data[at] - offset[j]) / scale[j];
        // 0 for what is finite, else NaN.
        if (scaled[at] - scaled[at] !== 0) throw badNumber(what, row, data.subarray(row * columns, (row + 1) * columns));
      }
    return { data: scaled, shape: [rows, columns] };
  }

  /** What transform made, in x's own units again; shape [rows, columns]. @throws as transform */
  inverse(y: TensorInput): DoubleTensor {
    const { offset, scale } = this.fitted();
    const { what, data, rows, columns } = rowsOf(`${this.kind}: y`, y, offset.length);
    const original = zeroed(what, Float64Array, data.length);
    for (let row = 0, at = 0; row < rows; row++)
      for (let j = 0; j < columns; j++, at++) {
        original[at] = data[at] * scale[j] + offset[j];
        if (original[at] - original[at] !== 0) throw badNumber(what, row, data.subarray(row * columns, (row + 1) * columns));
      }
    return { data: original, shape: [rows, columns] };
  }

  protected fitted(): Affine {
    const { affine } = this;
    if (!affine) throw this.notFitted();
    return affine;
  }

  protected notFitted(): GradmillError {
    return new GradmillError('invalid-argument', `${this.kind}: fit it first`);
  }
}

/** @throws GradmillError 'empty-data', what numbersOf throws, and 'shape-mismatch' unless there are `columns`, where that is known */
export function trainingRows(what: string, x: TensorInput, columns?: number): NumericMatrix {
  const matrix = numbersOf(what, x);
  if (matrix.data.length === 0) throw new GradmillError('empty-data', `${what} is empty`);
  return columns === undefined ? matrix : ofColumns(matrix, columns);
}

/** One row of several columns may come flat. @throws what numbersOf throws; GradmillError 'shape-mismatch' */
export function rowsOf(what: string, x: TensorInput, columns: number): NumericMatrix {
  const matrix = numbersOf(what, x);
  if (matrix.rows === columns && matrix.columns === 1) return { ...matrix, rows: 1, columns };
  return matrix.rows === 0 ? { ...matrix, columns } : ofColumns(matrix, columns);
}

function ofColumns(matrix: NumericMatrix, columns: number): NumericMatrix {
  if (matrix.columns === columns) return matrix;
  throw new GradmillError('shape-mismatch', `${matrix.what}: expected ${columns} numbers a row, got ${matrix.columns}`);
}

/** A factor for a spread: a column that does not vary is not scaled. */
export function divisor(spread: number): number {
  return spread > 0 ? spread : 1;
}

/** Finite numbers out of untrusted JSON. @throws GradmillError 'invalid-argument', 'shape-mismatch' */
export function storedNumbers(what: string, value: unknown, length?: number): Float64Array {
  const numbers = list(what, value, Infinity);
  if (length !== undefined && numbers.length !== length)
    throw new GradmillError('shape-mismatch', `${what}: expected ${length} numbers, got ${numbers.length}`);
  return reading(what, () =>
    Float64Array.from(numbers, (number, i) => {
      if (typeof number !== 'number' || !Number.isFinite(number))
        throw new GradmillError('invalid-argument', `${what}[${i}]: expected a finite number, got ${show(number)}`);
      return number;
    }),
  );
}
