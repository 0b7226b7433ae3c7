// A plan loaded into the linear memory, and its runs.
import { POOLED_BYTES } from '../dataset.js';
import type { EngineMemory, EngineProgram, WatchedBatches } from '../engine.js';
import { GradmillError } from '../errors.js';
import { FEED } from '../plan.js';
import { elementType, FLOAT32, type NumericArray, viewOf } from '../tensor.js';
import type { WasmEngine } from './engine.js';
import type { WasmMemory } from './heap.js';

/** Estimated length of the parts that steps are cut into where runs take turns on the calling thread. */
const SLICE_NANOSECONDS = 500_000;

/** One for all: predictSync allocates nothing. */
const UNWATCHED = [] as const;

export class WasmProgram implements EngineProgram {
  readonly #engine: WasmEngine;
  readonly #arena: WasmMemory;
  readonly #block: WasmMemory;
  readonly #count: number;
  readonly #threads: number;
  readonly #feeds: (WasmMemory | undefined)[] = [];
  /** Whether the steps are cut for taking turns. */
  #sliced: boolean;
  #running = false;
  /** predict's copies of the caller's arrays. */
  #staging: { x: WasmMemory; out: WasmMemory } | undefined;
  readonly #views: Partial<Record<'input' | 'output', { bytes: Uint8Array; type: number; numbers: NumericArray }>> = {};

  constructor(engine: WasmEngine, arena: WasmMemory, words: Uint32Array, threads: number) {
    this.#engine = engine;
    this.#arena = arena;
    this.#threads = threads;
    this.#count = Math.floor(words.length / 16);
    this.#block = engine.allocate(engine.exports.programBytes(this.#count));
    const start = engine.exports.instructions(this.#address) >>> 0;
    new Uint32Array(engine.heap.memory.buffer, start, this.#count * 16).set(words.subarray(0, this.#count * 16));
    this.#sliced = engine.takesTurns;
    this.#load();
  }

  get #address(): number {
    return this.#block.start;
  }

  #load(): void {
    const { exports, heap } = this.#engine;
    const { start, size } = this.#arena;
    const [threads, slice] = this.#sliced ? [1, SLICE_NANOSECONDS] : [this.#threads, 0];
    const error = exports.load(this.#address, this.#count, start, size, threads, slice) >>> 0;
    if (error === 0) return;
    const [instruction, reason, operand] = new Uint32Array(heap.memory.buffer, error, 3);
    const name = operand === 0 ? '' : `: ${this.#engine.text(operand)}`;
    throw new GradmillError('backend-unavailable', `the engine refused a plan: instruction ${instruction}: ${this.#engine.text(reason)}${name}`);
  }

  feed(slot: number, memory: EngineMemory['handle'] | undefined, type: number, rows: number, columns: number): void {
    if (this.#running) throw new Error('the program is running');
    const data = memory as WasmMemory | undefined;
    if (this.#engine.exports.feed(this.#address, slot, data?.start ?? 0, data?.size ?? 0, type, rows, columns) === 0)
      throw new Error('the data set is larger than its memory');
    this.#feeds[slot] = data;
  }

  #begin(from: number, to: number, firstRow: number, rowCount: number, batch: number, watch: Partial<WatchedBatches>): void {
    if (this.#running) throw new Error('the program is running');
    if (this.#engine.failure) throw this.#engine.failure;
    const [every = 0, phase = 0, watchFrom = 0, watchTo = 0, figures = 0] = watch;
    const run = [from, to, firstRow, rowCount, batch, every, phase, watchFrom, watchTo, figures] as const;
    const reason = this.#engine.exports.begin(this.#address, ...run);
    if (reason !== 0) throw new Error(this.#engine.text(reason));
  }

  estimate(from: number, to: number, rows: number): number {
    return this.#engine.exports.estimate(this.#address, from, to, rows);
  }

  run(from: number, to: number, firstRow: number, rowCount: number, batch: number, ...watch: Partial<WatchedBatches>): boolean {
    this.#begin(from, to, firstRow, rowCount, batch, watch);
    return this.#runHere();
  }

  #runHere(): boolean {
    return this.#engine.exports.run(this.#address, this.#engine.scratch) !== 0;
  }

  predict(rows: number, batch: number, x: NumericArray, columns: number, out: Float32Array, outColumns: number): boolean {
    const staging = this.#stage(rows * columns * x.BYTES_PER_ELEMENT, rows * outColumns * 4);
    const numbers = this.#view('input', staging.x, elementType(x), rows * columns);
    numbers.set(x.length === numbers.length ? x : x.subarray(0, numbers.length));
    this.feed(FEED.input, staging.x, elementType(x), rows, columns);
    this.feed(FEED.output, staging.out, FLOAT32, rows, outColumns);
    this.#begin(0, this.#count, 0, rows, batch, UNWATCHED);
    const finished = this.#runHere();
    if (finished) out.set(this.#view('output', staging.out, FLOAT32, rows * outColumns));
    // What the pool of data sets would not keep is not kept here.
    if (Math.max(staging.x.size, staging.out.size) > POOLED_BYTES) this.#unstage();
    return finished;
  }

  #stage(xBytes: number, outBytes: number): { x: WasmMemory; out: WasmMemory } {
    const known = this.#staging;
    if (known && known.x.size >= xBytes && known.out.size >= outBytes) return known;
    this.#unstage();
    return (this.#staging = { x: this.#engine.allocate(xBytes), out: this.#engine.allocate(outBytes) });
  }

  /** Whatever runs next binds data sets of its own. */
  #unstage(): void {
    this.#staging?.x.release();
    this.#staging?.out.release();
    this.#staging = undefined;
  }

  /** The last one again where it serves: predictSync allocates nothing. */
  #view(of: 'input' | 'output', memory: WasmMemory, type: number, length: number): NumericArray {
    const bytes = memory.bytes();
    const known = this.#views[of];
    if (known?.bytes === bytes && known.type === type && known.numbers.length === length) return known.numbers;
    const numbers = viewOf(type, bytes, length, 0);
    this.#views[of] = { bytes, type, numbers };
    return numbers;
  }

  async start(
    from: number,
    to: number,
    firstRow: number,
    rowCount: number,
    batch: number,
    ...watch: Partial<WatchedBatches>
  ): Promise<void> {
    this.#slice();
    this.#begin(from, to, firstRow, rowCount, batch, watch);
    this.#running = true;
    try {
      await this.#engine.finish(this.#address);
    } finally {
      this.#running = false;
    }
  }

  release(): void {
    this.#unstage();
    this.#block.release();
  }

  /** Workers may have failed since this program was loaded. */
  #slice(): void {
    if (this.#sliced || !this.#engine.takesTurns) return;
    this.#sliced = true;
    this.#load();
  }
}
