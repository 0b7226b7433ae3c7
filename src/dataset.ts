// Data sets in the engine's memory, in the element type they came in, never a second float copy; and the memory they borrow.
// jobs.ts and fit.ts load them; a call gives its memory back when it has ended.
import type { Engine, EngineMemory, EngineProgram } from './engine.js';
import { bytesPerElement, FLOAT32, type NumericArray, type Rows, SLICE_BYTES, UINT32, viewOf, writeRows, zeroed } from './tensor.js';

/** Rows in the engine's memory. */
export interface DataSet {
  /** 'x', 'y' …, for messages. */
  readonly what: string;
  readonly memory: EngineMemory;
  /** The engine's number for the elements' type. */
  readonly type: number;
  readonly rows: number;
  readonly columns: number;
}

/** One row, for immediate use. */
export function rowOf({ memory, type, columns }: DataSet, row: number): NumericArray {
  return viewOf(type, memory.bytes(), columns, row * columns);
}

export function feed(program: EngineProgram, slot: number, set: DataSet | undefined): void {
  if (set) program.feed(slot, set.memory.handle, set.type, set.rows, set.columns);
  else program.feed(slot, undefined, 0, 0, 0);
}

/** Larger pieces are left to the garbage collector. */
const POOLED_BYTES = 4 * 2 ** 20;
const POOLED_PIECES = 4;

/** Engine memory that a model uses again and again, so that thousands of small calls ask for it once. */
export class MemoryPool {
  #free: EngineMemory[] = [];

  constructor(readonly engine: Engine) {}

  /** At least so many bytes, with any content. @throws GradmillError 'out-of-memory', 'size-overflow' */
  take(bytes: number): EngineMemory {
    if (bytes > POOLED_BYTES) return this.engine.allocate(bytes);
    const at = this.#free.findIndex((memory) => memory.bytes().length >= bytes);
    if (at >= 0) return this.#free.splice(at, 1)[0];
    // A power of two, so that batches of slightly different sizes share it.
    return this.engine.allocate(bytes <= 4096 ? 4096 : 1 << (32 - Math.clz32(bytes - 1)));
  }

  clear(): void {
    this.#free = [];
  }

  give(memory: EngineMemory): void {
    if (memory.bytes().length > POOLED_BYTES) return;
    this.#free.push(memory);
    this.#free.sort((a, b) => a.bytes().length - b.bytes().length);
    if (this.#free.length > POOLED_PIECES) this.#free.shift();
  }
}

/** The data sets of one call. */
export class DataSets {
  #held: EngineMemory[] = [];

  constructor(readonly pool: MemoryPool) {}

  /**
   * Copies rows in, in slices, so that the event loop never waits long.
   * @throws what writeRows throws; the signal's reason; GradmillError 'out-of-memory', 'size-overflow'
   */
  async load(rows: Rows, signal?: AbortSignal): Promise<DataSet> {
    const set = this.#add(rows.what, rows.type, rows.rows, rows.columns);
    for (const slice of writeRows(rows, set.memory.bytes())) {
      await new Promise((resolve) => setImmediate(resolve, slice));
      signal?.throwIfAborted();
    }
    return set;
  }

  /** A permutation of `rows` rows, for the engine to write. */
  order(rows: number): DataSet {
    return this.#add('order', UINT32, rows, 1);
  }

  /** Floats for the engine to write. */
  output(rows: number, columns: number): DataSet {
    return this.#add('output', FLOAT32, rows, columns);
  }

  /** Gives all memory back; no program may be bound to it any more. */
  release(): void {
    for (const memory of this.#held.splice(0)) this.pool.give(memory);
  }

  #add(what: string, type: number, rows: number, columns: number): DataSet {
    const memory = this.pool.take(rows * columns * bytesPerElement(type));
    this.#held.push(memory);
    return { what, memory, type, rows, columns };
  }
}

/** The numbers of a float32 data set, copied in slices. */
export async function readFloats({ memory, rows, columns }: DataSet): Promise<Float32Array> {
  const result = zeroed('the result', Float32Array, rows * columns);
  const slice = SLICE_BYTES / Float32Array.BYTES_PER_ELEMENT;
  for (let at = 0; at < result.length; at += slice) {
    if (at > 0) await new Promise((resolve) => setImmediate(resolve));
    result.set(viewOf(FLOAT32, memory.bytes(), Math.min(slice, result.length - at), at), at);
  }
  return result;
}
