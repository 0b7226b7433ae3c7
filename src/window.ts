// A data set too large for the engine's memory passes through two buffers, a piece at a time: while the engine runs over one on
// its threads, JavaScript fills the other, in the run's order. dataset.ts decides which data sets are that large; jobs.ts runs a
// piece as it runs a whole data set.
import type { AnySet, DataSet, MemoryPool } from './dataset.js';
import type { EngineMemory } from './engine.js';
import { GradmillError } from './errors.js';
import { platform } from './platform.js';
import { bytesPerElement, SLICE_BYTES, viewOf } from './tensor.js';

/** Data sets of one run. */
export interface RunSets {
  readonly x: AnySet;
  readonly y?: AnySet;
  readonly order?: DataSet;
  readonly output?: AnySet;
  /** What a run adds its instructions' nanoseconds to, a row a batch; of runs that do not stream. */
  readonly times?: DataSet;
}

/** A stretch of a run, whose rows are in the engine's memory. */
export interface Piece {
  readonly sets: RunSets & { readonly [Name in keyof RunSets]: DataSet };
  /** In the order of `sets`. */
  readonly firstRow: number;
  readonly rows: number;
  /** The whole data set's row that is this row of `sets`. */
  readonly originOf: (row: number) => number;
}

interface Stretch {
  /** In the run's order. */
  readonly firstRow: number;
  readonly rows: number;
  readonly signal?: AbortSignal | undefined;
}

/** The buffers that one call streams its data sets through; run after run uses the same. */
export class Window {
  /**
   * A data set of more bytes streams, and so many stream at a time, half of them in each buffer. Half takes tens of
   * milliseconds to fill, beside which starting a run is nothing; the whole is a sixteenth of what WebAssembly has. Smaller
   * data sets are copied once, which costs less than copying rows in each epoch. A static, so that tests can narrow it.
   */
  static bytes = 256 * 2 ** 20;

  readonly #pool: MemoryPool;
  readonly #halves: readonly Map<string, EngineMemory>[] = [new Map(), new Map()];

  constructor(pool: MemoryPool) {
    this.#pool = pool;
  }

  /**
   * Cuts a run at ends of batches. A piece may be used until the next is asked for; nothing is read once the loop is left.
   * @throws the signal's reason; GradmillError 'buffer-detached', 'out-of-memory', 'size-overflow'
   */
  async *pieces({ x, y, order, output }: RunSets, batch: number, { firstRow, rows, signal }: Stretch): AsyncGenerator<Piece, void> {
    const inputs = { x, ...(y && { y }) };
    const passing = { ...inputs, ...(output && { output }) };
    const bytesOfRow = Object.values(passing).reduce((sum, set) => sum + rowBytes(set), 0);
    const most = batch * Math.max(1, Math.floor(Window.bytes / 2 / bytesOfRow / batch));
    const count = Math.ceil(rows / most);
    const buffers = this.#halves.slice(0, count).map((half) => this.#buffers(half, passing, Math.min(most, rows)));
    let left = false;

    const piece = (n: number): Piece => {
      const start = firstRow + n * most;
      return {
        sets: buffers[n % 2],
        firstRow: 0,
        rows: Math.min(most, rows - n * most),
        originOf: (row) => (order ? positions(order)[start + row] : start + row),
      };
    };
    /** Slice by slice, so that the event loop never waits long. */
    const transfer = async ({ rows }: Piece, bytes: number, copy: (from: number, to: number) => void): Promise<void> => {
      const slice = Math.min(SLICE_ROWS, Math.max(1, Math.floor(SLICE_BYTES / bytes)));
      for (let from = 0; from < rows; from += slice) {
        await platform().pause();
        if (left) return;
        signal?.throwIfAborted();
        copy(from, Math.min(from + slice, rows));
      }
    };
    const fill = async (n: number): Promise<void> => {
      const { sets: into } = piece(n);
      for (const [name, set] of Object.entries(inputs) as [keyof typeof inputs, AnySet][])
        await transfer(piece(n), rowBytes(set), (from, to) => {
          gather(set, into[name] as DataSet, { order, first: firstRow + n * most, from, to });
        });
    };
    const empty = async (n: number): Promise<void> => {
      if (!output) return;
      const bytes = rowBytes(output);
      const start = firstRow + n * most;
      await transfer(piece(n), bytes, (from, to) => {
        const written = bytesOf(buffers[n % 2].output as DataSet).subarray(from * bytes, to * bytes);
        bytesOf(output).set(written, (start + from) * bytes);
      });
    };

    // Beside piece n run what used its other buffer before, n − 1, and what uses it next, n + 1.
    let beside = fill(0);
    try {
      for (let n = 0; n < count; n++) {
        await beside;
        beside = (async () => {
          if (n > 0) await empty(n - 1);
          if (n + 1 < count) await fill(n + 1);
        })();
        // Whoever runs piece n hears of it when the next is asked for.
        beside.catch(() => undefined);
        yield piece(n);
      }
      await beside;
      await empty(count - 1);
    } finally {
      left = true;
      await beside.catch(() => undefined);
    }
  }

  release(): void {
    for (const half of this.#halves) {
      for (const memory of half.values()) this.#pool.give(memory);
      half.clear();
    }
  }

  /** Memory of a run before serves again if it is large enough. */
  #buffers(half: Map<string, EngineMemory>, sets: Readonly<Record<string, AnySet>>, rows: number): Piece['sets'] {
    const bound = Object.entries(sets).map(([name, set]) => {
      const bytes = rows * rowBytes(set);
      let memory = half.get(name);
      if (!memory || memory.bytes().length < bytes) {
        if (memory) this.#pool.give(memory);
        half.delete(name);
        half.set(name, (memory = this.#pool.take(bytes)));
      }
      const { what, type, columns } = set;
      return [name, { what, memory, type, rows, columns }];
    });
    return Object.fromEntries(bound) as Piece['sets'];
  }
}

/** Gathered between two pauses at most: rows in random order come slowly. */
const SLICE_ROWS = 2 ** 13;

/** Below, a loop is faster than a view of each row (measured). */
const NARROW_BYTES = 16;

function rowBytes({ type, columns }: AnySet): number {
  return columns * bytesPerElement(type);
}

/** A view for immediate use. @throws GradmillError 'buffer-detached' */
function bytesOf(set: AnySet): Uint8Array {
  const length = set.rows * rowBytes(set);
  if ('memory' in set) return set.memory.bytes().subarray(0, length);
  const { what, data } = set;
  if (data.byteLength !== length)
    throw new GradmillError('buffer-detached', `${what}: its buffer was transferred or resized while it was read`);
  return new Uint8Array(data.buffer, data.byteOffset, length);
}

function positions(order: DataSet): Uint32Array {
  return viewOf(order.type, order.memory.bytes(), order.rows) as Uint32Array;
}

interface Places {
  readonly order: DataSet | undefined;
  /** Of the run's order, what becomes row 0 of the buffer. */
  readonly first: number;
  /** Rows of the buffer, `to` excluded. */
  readonly from: number;
  readonly to: number;
}

function gather(set: AnySet, into: DataSet, { order, first, from, to }: Places): void {
  const [source, target, bytes] = [bytesOf(set), bytesOf(into), rowBytes(set)];
  if (!order) {
    target.set(source.subarray((first + from) * bytes, (first + to) * bytes), from * bytes);
    return;
  }
  const rows = positions(order);
  for (let row = from; row < to; row++) {
    const start = rows[first + row] * bytes;
    if (bytes > NARROW_BYTES) target.set(source.subarray(start, start + bytes), row * bytes);
    else for (let i = 0; i < bytes; i++) target[row * bytes + i] = source[start + i];
  }
}
