// Data sets in the engine's memory, in the element type they came in, never a second float copy; and the memory they borrow.
// jobs.ts and fit.ts load them; a call gives its memory back when it has ended. Those too large stay where they are, and
// window.ts streams them.
import type { Engine, EngineMemory, EngineProgram } from './engine.js';
import { platform } from './platform.js';
import {
  bytesPerElement,
  FLOAT32,
  FLOAT64,
  type NumericArray,
  type Rows,
  SLICE_BYTES,
  UINT32,
  viewOf,
  writeRows,
  zeroed,
} from './tensor.js';
import { Window } from './window.js';

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

/** Rows too many for that: runs stream them from or to an array outside, which must not change meanwhile. */
export interface LargeSet extends Omit<DataSet, 'memory'> {
  readonly data: NumericArray;
  readonly window: Window;
}

export type AnySet = DataSet | LargeSet;

/** One row, for immediate use. */
export function rowOf({ memory, type, columns }: DataSet, row: number): NumericArray {
  return viewOf(type, memory.bytes(), columns, row * columns);
}

export function feed(program: EngineProgram, slot: number, set: DataSet | undefined): void {
  if (set) program.feed(slot, set.memory.handle, set.type, set.rows, set.columns);
  else program.feed(slot, undefined, 0, 0, 0);
}

/** Larger pieces are not kept. */
export const POOLED_BYTES = 4 * 2 ** 20;
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
    for (const memory of this.#free.splice(0)) memory.release();
  }

  /** No program may be bound to it any more. */
  give(memory: EngineMemory): void {
    if (memory.bytes().length > POOLED_BYTES) {
      memory.release();
      return;
    }
    this.#free.push(memory);
    this.#free.sort((a, b) => a.bytes().length - b.bytes().length);
    if (this.#free.length > POOLED_PIECES) this.#free.shift()?.release();
  }
}

/** Of samples that one job writes. Tens of a small network's: beside so many steps, starting a job is nothing. */
const SAMPLES_BYTES = 2 ** 17;

/** The data sets of one call. */
export class DataSets {
  #held: EngineMemory[] = [];
  readonly #window: Window;

  constructor(readonly pool: MemoryPool) {
    this.#window = new Window(pool);
  }

  /**
   * Copies rows in, in slices, so that the event loop never waits long; or leaves them outside if they are too many. Nested
   * arrays are always copied: checking and converting them is slow, and is done once.
   * @throws what writeRows throws; the signal's reason; GradmillError 'out-of-memory', 'size-overflow'
   */
  async load(rows: Rows, signal?: AbortSignal): Promise<AnySet> {
    const { what, data, type, columns } = rows;
    if (isLarge(rows) && !Array.isArray(data))
      return { what, data: data as NumericArray, type, rows: rows.rows, columns, window: this.#window };
    return this.copy(rows, signal);
  }

  /** The same, however many they are. */
  async copy(rows: Rows, signal?: AbortSignal): Promise<DataSet> {
    const set = this.#add(rows.what, rows.type, rows.rows, rows.columns);
    const slices = writeRows(rows, set.memory.bytes());
    while (slices.next().done !== true) {
      await platform().pause();
      signal?.throwIfAborted();
    }
    return set;
  }

  /** Zeros, for the engine to add the times of a run's batches to. */
  times(batches: number, instructions: number): DataSet {
    const set = this.#add('times', FLOAT64, batches, instructions);
    viewOf(FLOAT64, set.memory.bytes(), batches * instructions).fill(0);
    return set;
  }

  /** For the engine to write what watched batches have measured: as many rows as take few bytes, at least one. */
  samples(columns: number, most: number): DataSet {
    const rows = Math.max(1, Math.floor(SAMPLES_BYTES / bytesPerElement(FLOAT64) / columns));
    return this.#add('samples', FLOAT64, Math.min(rows, most), columns);
  }

  /** A permutation of `rows` rows, for the engine to write. */
  order(rows: number): DataSet {
    return this.#add('order', UINT32, rows, 1);
  }

  /** Floats for the engine to write. @throws GradmillError 'out-of-memory', 'size-overflow' */
  output(rows: number, columns: number): AnySet {
    const [what, type] = ['output', FLOAT32];
    if (!isLarge({ type, rows, columns })) return this.#add(what, type, rows, columns);
    return { what, data: zeroed('the result', Float32Array, rows * columns), type, rows, columns, window: this.#window };
  }

  /** Gives all memory back; no program may be bound to it any more. */
  release(): void {
    for (const memory of this.#held.splice(0)) this.pool.give(memory);
    this.#window.release();
  }

  #add(what: string, type: number, rows: number, columns: number): DataSet {
    const memory = this.pool.take(rows * columns * bytesPerElement(type));
    this.#held.push(memory);
    return { what, memory, type, rows, columns };
  }
}

function isLarge({ type, rows, columns }: Pick<DataSet, 'type' | 'rows' | 'columns'>): boolean {
  return rows * columns * bytesPerElement(type) > Window.bytes;
}

/** The numbers of an output, copied in slices; of a large one its own array. */
export async function readFloats(output: AnySet): Promise<Float32Array> {
  if ('window' in output) return output.data as Float32Array;
  const { memory, rows, columns } = output;
  const result = zeroed('the result', Float32Array, rows * columns);
  const slice = SLICE_BYTES / Float32Array.BYTES_PER_ELEMENT;
  for (let at = 0; at < result.length; at += slice) {
    if (at > 0) await platform().pause();
    result.set(viewOf(FLOAT32, memory.bytes(), Math.min(slice, result.length - at), at), at);
  }
  return result;
}
