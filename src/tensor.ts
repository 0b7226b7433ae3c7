// What users pass as data: { data, shape } over any numeric typed array, or nested arrays. Described here once as rows of
// `columns` elements of one type; dataset.ts copies them, and the engine checks the values while it reads them.
import { GradmillError } from './errors.js';
import { reading, show, showShape, unreadable } from './options.js';

export type NumericArray =
  Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array | Float32Array | Float64Array;

/** Numbers in rows: the first dimension counts examples. */
export interface TensorLike {
  readonly data: NumericArray;
  readonly shape: readonly number[];
}

type Nested<Leaf> = readonly Leaf[] | readonly (readonly Leaf[])[] | readonly (readonly (readonly Leaf[])[])[];

/**
 * `tensor(data, shape)`, `{ data, shape }`, or nested arrays of numbers; the innermost arrays may be typed. A flat array
 * holds one number an example.
 */
export type TensorInput = TensorLike | NumericArray | Nested<number> | Nested<NumericArray>;

/** A predicted or read-out tensor. */
export interface FloatTensor {
  readonly data: Float32Array;
  readonly shape: number[];
}

/** Numbers in rows, seen but not yet read. */
export interface Rows {
  /** 'x', 'y' …, for messages. */
  what: string;
  /** The caller's own array: typed, or nested arrays whose shape must be as their first elements promise. */
  data: NumericArray | readonly unknown[];
  rows: number;
  columns: number;
  /** The engine's number for the elements' type. */
  type: number;
}

/** In the order of the engine's ElementType. */
const ARRAYS = [Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array] as const;
const TYPES = new Map(ARRAYS.map(({ name }, type) => [name, type])).set('Uint8ClampedArray', ARRAYS.indexOf(Uint8Array));
export const [UINT32, FLOAT32, FLOAT64] = [Uint32Array, Float32Array, Float64Array].map((type) => ARRAYS.indexOf(type));

/** Deeper nesting is a cycle, or an attack. */
const DEEPEST = 16;

// The getter of %TypedArray% itself: no object can pretend to it, and arrays of other realms (vm, Jest) have it too.
const tag = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Int8Array.prototype), Symbol.toStringTag) as {
  readonly get: (this: unknown) => string | undefined;
};

/** The engine's number for an array's element type, or −1. */
export function elementType(data: unknown): number {
  const name = tag.get.call(data);
  return name === undefined ? -1 : (TYPES.get(name) ?? -1);
}

export function isFloats(data: unknown): data is Float32Array {
  return elementType(data) === FLOAT32;
}

export function bytesPerElement(type: number): number {
  return ARRAYS[type].BYTES_PER_ELEMENT;
}

/** A view of engine memory, for immediate use. */
export function viewOf(type: number, bytes: Uint8Array, elements: number, firstElement = 0): NumericArray {
  return new ARRAYS[type](bytes.buffer as ArrayBuffer, bytes.byteOffset + firstElement * bytesPerElement(type), elements);
}

/** Whether the array lost its data because its buffer was transferred. */
export function isDetached(data: ArrayBufferView): boolean {
  if (data.byteLength > 0) return false;
  try {
    return new Uint8Array(data.buffer as ArrayBuffer, 0, 0).length > 0;
  } catch {
    return true;
  }
}

export function overlaps(a: ArrayBufferView, b: ArrayBufferView): boolean {
  return a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength && b.byteOffset < a.byteOffset + a.byteLength;
}

/**
 * Numbers with a shape, rows first. A typed array is used as it is, not copied; an array of numbers becomes float32.
 * @throws GradmillError 'invalid-argument', 'shape-mismatch' when the shape does not hold the data, 'size-overflow', 'buffer-detached'
 */
export function tensor(data: NumericArray | readonly number[], shape: readonly number[]): TensorLike {
  const [array, sizes] = reading('tensor', () => [
    Array.isArray(data) ? floatsOf('tensor', data) : (data as NumericArray),
    Array.isArray(shape) ? Array.from(shape as readonly number[]) : shape,
  ]);
  toRows('tensor', { data: array, shape: sizes });
  return { data: array, shape: sizes };
}

function floatsOf(what: string, numbers: readonly unknown[]): NumericArray {
  const rows = toRows(what, numbers as readonly number[]);
  if (shapeOf(numbers).length > 1)
    throw new GradmillError('invalid-argument', `${what}: expected a flat array of numbers, got nested arrays`);
  return flattened(rows);
}

/** The rows' numbers in one array, at once: nested ones are copied, a typed array is used as it is. */
export function flattened(rows: Rows): NumericArray {
  const { what, data, type } = rows;
  if (!Array.isArray(data)) return data as NumericArray;
  const length = rows.rows * rows.columns;
  const bytes = zeroed(what, Uint8Array, length * bytesPerElement(type));
  const slices = writeRows(rows, bytes);
  while (slices.next().done !== true);
  return viewOf(type, bytes, length);
}

/** Numbers in rows, in one array. */
export interface NumericMatrix {
  readonly what: string;
  readonly data: NumericArray;
  readonly rows: number;
  readonly columns: number;
}

/** For code that reads numbers itself, in float64: nested ones are copied to it, a typed array is used as it is. @throws what toRows throws */
export function numbersOf(what: string, input: TensorInput): NumericMatrix {
  const rows = toRows(what, input);
  if (rows.type === FLOAT32) rows.type = FLOAT64;
  return { what, data: flattened(rows), rows: rows.rows, columns: rows.columns };
}

/** @throws GradmillError 'out-of-memory' */
export function zeroed<T>(what: string, type: new (length: number) => T, length: number): T {
  try {
    return new type(length);
  } catch (cause) {
    throw new GradmillError('out-of-memory', `${what}: no memory for ${length} numbers`, { cause });
  }
}

/**
 * Rows of a data set, whatever form it came in.
 * @param what 'x' or 'y', for messages
 * @param into filled and returned for typed data: a caller that must not allocate passes its own. Not for nested arrays: their getters
 * may call the caller again before all is read
 * @throws GradmillError 'invalid-argument', 'shape-mismatch' (a shape that does not hold the data), 'size-overflow', 'buffer-detached'
 */
export function toRows(what: string, input: TensorInput, into: Rows = { what, data: [], rows: 0, columns: 0, type: 0 }): Rows {
  try {
    if (elementType(input) >= 0) return fromShape(what, input as NumericArray, undefined, into);
    if (Array.isArray(input)) return fromNested(what, input);
    return fromTensor(what, input as TensorLike, into);
  } catch (cause) {
    throw unreadable(what, cause);
  }
}

/** All at once: the caller's getters may call us again while they are read. */
function fill(into: Rows, what: string, data: Rows['data'], rows: number, columns: number, type: number): Rows {
  into.what = what;
  into.data = data;
  into.rows = rows;
  into.columns = columns;
  into.type = type;
  return into;
}

function fromTensor(what: string, input: TensorLike, into: Rows): Rows {
  const expected = 'expected tensor(data, shape), a numeric typed array or nested arrays';
  if (typeof input !== 'object' || (input as unknown) === null)
    throw new GradmillError('invalid-argument', `${what}: ${expected}, got ${show(input)}`);
  const { data, shape } = input;
  if (elementType(data) < 0)
    throw new GradmillError('invalid-argument', `${what}: ${expected}, got ${show(input)} whose data is ${show(data)}`);
  if (!Array.isArray(shape) || shape.length === 0)
    throw new GradmillError('invalid-argument', `${what}: expected a shape such as [rows, columns], got ${show(shape)}`);
  return fromShape(what, data, shape, into);
}

/** Each size is read once: an array that changes while it is read cannot get past the check. */
function fromShape(what: string, data: NumericArray, shape: readonly number[] | undefined, into: Rows): Rows {
  let [rows, columns] = [data.length, 1];
  for (let i = 0; shape !== undefined && i < shape.length; i++) {
    const size: unknown = shape[i];
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
      throw new GradmillError('invalid-argument', `${what}: expected a shape of whole numbers, got ${show(size)} for dimension ${i}`);
    if (i === 0) rows = size;
    else columns *= size;
  }
  if (!Number.isSafeInteger(rows * columns))
    throw new GradmillError('size-overflow', `${what}: shape ${showShape(shape ?? [])} is too large`);
  if (data.length === 0 && isDetached(data)) throw new GradmillError('buffer-detached', `${what}: its buffer was transferred or resized`);
  if (rows * columns !== data.length)
    throw new GradmillError(
      'shape-mismatch',
      `${what}: shape ${showShape(shape ?? [])} holds ${rows * columns} numbers, the data ${data.length}`,
    );
  return fill(into, what, data, rows, columns, elementType(data));
}

/** The shape that the first elements have; writeRows finds out whether all others agree. */
function fromNested(what: string, input: readonly unknown[]): Rows {
  let [columns, type] = [input.length === 0 ? 0 : 1, FLOAT32];
  let level = input;
  for (let depth = 1; level.length > 0 && typeof level[0] !== 'number'; depth++) {
    const first = level[0] as ArrayLike<unknown>;
    const typed = elementType(first);
    if (typed < 0 && !Array.isArray(first))
      throw new GradmillError('invalid-argument', `${what}: row 0: expected a number, got ${show(first)}`);
    if (depth > DEEPEST) throw new GradmillError('invalid-argument', `${what}: arrays are nested more than ${DEEPEST} deep`);
    columns *= first.length;
    if (typed >= 0) {
      type = typed;
      break;
    }
    level = first as readonly unknown[];
  }
  return { what, data: input, rows: input.length, columns, type };
}

/** Copied between two yields: about a millisecond, new memory being slow to touch. */
export const SLICE_BYTES = 2 ** 20;
/** The same of nested arrays. */
const SLICE_NUMBERS = 2 ** 16;

/**
 * Copies the rows' numbers, in the type they have. Yields after every slice, so that a caller can let the event loop run.
 * @throws GradmillError 'buffer-detached' when the caller's array loses data meanwhile, 'shape-mismatch' for ragged rows, 'invalid-argument'
 */
export function* writeRows({ what, data, rows, columns, type }: Rows, target: Uint8Array): Generator<undefined, void> {
  const bytes = rows * columns * bytesPerElement(type);
  if (!Array.isArray(data)) {
    const source = data as NumericArray;
    for (let at = 0; at < bytes; at += SLICE_BYTES) {
      if (at > 0) yield;
      if (source.byteLength !== bytes)
        throw new GradmillError('buffer-detached', `${what}: its buffer was transferred or resized while it was read`);
      target.set(new Uint8Array(source.buffer, source.byteOffset + at, Math.min(SLICE_BYTES, bytes - at)), at);
    }
    return;
  }
  const nested = data as readonly unknown[];
  const shape = shapeOf(nested);
  let sinceYield = 0;
  for (let row = 0; row < rows; row++) {
    const into = viewOf(type, target, columns, row * columns);
    const written = reading(what, () => writeRow(into, type, nested[row], shape, 1, 0, what, row));
    if (written !== columns) throw new GradmillError('shape-mismatch', `${what}: row ${row} has ${written} numbers, expected ${columns}`);
    sinceYield += columns;
    if (sinceYield < SLICE_NUMBERS) continue;
    sinceYield = 0;
    yield;
  }
}

/** Sizes of nested arrays, by their first elements. */
function shapeOf(nested: readonly unknown[]): number[] {
  const shape: number[] = [];
  for (
    let level: unknown = nested;
    shape.length <= DEEPEST && (Array.isArray(level) || elementType(level) >= 0);
    level = (level as ArrayLike<unknown>)[0]
  )
    shape.push((level as ArrayLike<unknown>).length);
  return shape;
}

/** Writes one row's numbers from `at` on; returns where they end. */
function writeRow(
  into: NumericArray,
  type: number,
  value: unknown,
  shape: readonly number[],
  depth: number,
  at: number,
  what: string,
  row: number,
): number {
  if (depth === shape.length) {
    if (typeof value !== 'number')
      throw new GradmillError('invalid-argument', `${what}: row ${row}, column ${at}: expected a number, got ${show(value)}`);
    into[at] = value;
    return at + 1;
  }
  const innermost = depth === shape.length - 1;
  const typed = innermost && elementType(value) >= 0;
  if (!typed && !Array.isArray(value))
    throw new GradmillError('shape-mismatch', `${what}: row ${row}: expected an array of ${shape[depth]}, got ${show(value)}`);
  const { length } = value as ArrayLike<unknown>;
  if (length !== shape[depth])
    throw new GradmillError('shape-mismatch', `${what}: row ${row} has an array of ${length} where row 0 has ${shape[depth]}`);
  // Other integers would be wrapped, fractions cut.
  if (innermost && type !== FLOAT32 && type !== FLOAT64 && elementType(value) !== type)
    throw new GradmillError('invalid-argument', `${what}: row ${row}: expected ${ARRAYS[type].name} as in row 0, got ${show(value)}`);
  if (typed) {
    into.set(value as NumericArray, at);
    return at + length;
  }
  for (let i = 0; i < length; i++) at = writeRow(into, type, (value as readonly unknown[])[i], shape, depth + 1, at, what, row);
  return at;
}
