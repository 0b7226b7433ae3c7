// What users pass as data: { data, shape } over any numeric typed array, or nested arrays. Normalised here once to rows of
// `columns` elements of one type; values are checked by the engine while it reads them.
import { GradmillError } from './errors.js';
import { show } from './options.js';

export type NumericArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;

/** Numbers in rows: the first dimension counts examples. */
export interface TensorLike {
  readonly data: NumericArray;
  readonly shape: readonly number[];
}

type NestedNumbers = readonly number[] | readonly (readonly number[])[] | readonly (readonly (readonly number[])[])[];

/** `tensor(data, shape)`, `{ data, shape }`, a typed array (one number an example), or nested arrays of numbers. */
export type TensorInput = TensorLike | NumericArray | NestedNumbers;

/** A predicted or read-out tensor. */
export interface FloatTensor {
  readonly data: Float32Array;
  readonly shape: number[];
}

/** Rows as the engine reads them. */
export interface Rows {
  readonly data: NumericArray;
  readonly rows: number;
  readonly columns: number;
}

/** In the order of the engine's ElementType. */
const ELEMENT_TYPES = [
  [Int8Array],
  [Uint8Array, Uint8ClampedArray],
  [Int16Array],
  [Uint16Array],
  [Int32Array],
  [Uint32Array],
  [Float32Array],
  [Float64Array],
] as const;

/** The engine's number for an array's element type, or −1. */
export function elementType(data: unknown): number {
  return ELEMENT_TYPES.findIndex(classes => classes.some(type => data instanceof type));
}

/**
 * Numbers with a shape, rows first. The data is used as it is, not copied.
 * @throws GradmillError 'invalid-argument', 'shape-mismatch' when the shape does not hold the data, 'size-overflow'
 */
export function tensor(data: NumericArray | readonly number[], shape: readonly number[]): TensorLike {
  const array = Array.isArray(data) ? Float32Array.from(data as readonly number[]) : (data as NumericArray);
  if (elementType(array) < 0) throw new GradmillError('invalid-argument', `tensor: expected a numeric typed array or an array of numbers, got ${show(data)}`);
  checkShape('tensor', array, shape);
  return { data: array, shape: [...shape] };
}

function checkShape(what: string, data: NumericArray, shape: unknown): asserts shape is readonly number[] {
  if (!Array.isArray(shape) || shape.length === 0 || !shape.every(size => Number.isSafeInteger(size) && size >= 0))
    throw new GradmillError('invalid-argument', `${what}: expected a shape of whole numbers, got ${Array.isArray(shape) ? `[${shape.join(', ')}]` : show(shape)}`);
  const elements = (shape as number[]).reduce((all, size) => all * size, 1);
  if (!Number.isSafeInteger(elements)) throw new GradmillError('size-overflow', `${what}: shape [${shape.join(', ')}] is too large`);
  if (elements !== data.length)
    throw new GradmillError(
      data.length === 0 && data.buffer.byteLength === 0 ? 'buffer-detached' : 'shape-mismatch',
      `${what}: shape [${shape.join(', ')}] holds ${String(elements)} numbers, the data ${String(data.length)}`,
    );
}

/**
 * Rows of a data set, whatever form it came in.
 * @param what 'x' or 'y', for messages
 * @throws GradmillError 'invalid-argument', 'shape-mismatch' (ragged rows, shape that does not hold the data)
 */
export function toRows(what: string, input: TensorInput): Rows {
  if (Array.isArray(input)) return fromNested(what, input as readonly unknown[]);
  if (elementType(input) >= 0) return { data: input as NumericArray, rows: (input as NumericArray).length, columns: 1 };
  if (typeof input !== 'object' || (input as unknown) === null || elementType((input as TensorLike).data) < 0)
    throw new GradmillError('invalid-argument', `${what}: expected tensor(data, shape), a numeric typed array or nested arrays, got ${show(input)}`);
  const { data, shape } = input as TensorLike;
  checkShape(what, data, shape);
  const [rows = 0, ...rest] = shape;
  return { data, rows, columns: rest.reduce((all, size) => all * size, 1) };
}

function fromNested(what: string, rows: readonly unknown[]): Rows {
  const flat = (value: unknown): readonly unknown[] => (Array.isArray(value) ? (value as unknown[]).flat(Infinity) : [value]);
  const columns = rows.length === 0 ? 0 : flat(rows[0]).length;
  const data = new Float32Array(rows.length * columns);
  rows.forEach((row, i) => {
    const values = flat(row);
    if (values.length !== columns)
      throw new GradmillError('shape-mismatch', `${what}: row ${String(i)} has ${String(values.length)} numbers, row 0 has ${String(columns)}`);
    values.forEach((value, j) => {
      if (typeof value !== 'number') throw new GradmillError('invalid-argument', `${what}: row ${String(i)}, column ${String(j)}: expected a number, got ${show(value)}`);
      data[i * columns + j] = value;
    });
  });
  return { data, rows: rows.length, columns };
}
