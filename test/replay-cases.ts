// Recorded cases: what the engine was asked to run, with what it had then computed in strict mode. 40-replay.test.ts records
// them through an Engine that writes everything down; native/replay.cpp, which states the same format, runs them without Node.
//
// A case is one arena with the programs, data sets and runs that work on it, as little-endian 32-bit words:
//   magic, version, bytes of the arena, number of programs, data sets, runs
//   program:   number of instructions, 16 words each
//   data set:  element type, rows, columns, then its bytes
//   the arena's bytes before the first run
//   run:       program, from, to, firstRow, rowCount, batch, of watched batches every, phase, from, to, figures, data set bound to
//              each of the six feeds (from 1; 0 is none), fault, two words of hash
// Bytes are padded with zeros to whole words. The hash is of the arena after its control block, then of the run's order, output and
// samples feeds; a run that ends in a fault has none, and ends its case.
import type { Engine, EngineMemory, EngineProgram, GemmCall, WatchedBatches } from '../src/engine.js';
import { ALIGNMENT, FEED } from '../src/plan.js';

const MAGIC = 0x63726d67; // "gmrc"
const VERSION = 2;

/** Bytes of an element, in the order of the engine's ElementType. */
const ELEMENT_BYTES = [1, 1, 2, 2, 4, 4, 4, 8];

/** Faults from this one on say that the loss, or a weight, has overflowed. */
const NON_FINITE_LOSS = 4;

/** How a run is watched; empty at its start. */
function controlBlock(arena: EngineMemory): Uint32Array {
  return new Uint32Array(arena.bytes().buffer, arena.bytes().byteOffset, ALIGNMENT / 4);
}
const FAULT_WORD = 2;

export interface RecordedRun {
  readonly program: number;
  readonly from: number;
  readonly to: number;
  readonly firstRow: number;
  readonly rowCount: number;
  readonly batch: number;
  readonly watch: Partial<WatchedBatches>;
  /** For each feed the data set's index plus one, or 0. */
  readonly feeds: readonly number[];
  readonly fault: number;
  readonly hash: readonly [number, number];
}

type Arguments = [from: number, to: number, firstRow: number, rowCount: number, batch: number, ...watch: Partial<WatchedBatches>];

interface RecordedData {
  readonly type: number;
  readonly rows: number;
  readonly columns: number;
  readonly bytes: Uint8Array;
}

export interface RecordedCase {
  readonly arena: Uint8Array;
  readonly programs: Uint32Array[];
  readonly dataSets: RecordedData[];
  readonly runs: RecordedRun[];
}

interface Binding {
  readonly memory: EngineMemory;
  readonly type: number;
  readonly rows: number;
  readonly columns: number;
}

const byteLength = ({ type, rows, columns }: { type: number; rows: number; columns: number }): number =>
  ELEMENT_BYTES[type] * rows * columns;

/** What a run has computed: everything but how the run was watched. */
function results(arena: EngineMemory, bindings: readonly (Binding | undefined)[]): Uint8Array[] {
  const fed = [FEED.order, FEED.output, FEED.samples].map((slot) => bindings[slot]).filter((binding) => binding !== undefined);
  return [arena.bytes().subarray(ALIGNMENT), ...fed.map((binding) => binding.memory.bytes().subarray(0, byteLength(binding)))];
}

/** `a` folds the words as a lane of xxHash32 does; `b` folds every value of `a`. */
function hash(blocks: readonly Uint8Array[]): [number, number] {
  const rotate = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits));
  let [a, b] = [0, 0];
  for (const bytes of blocks)
    for (const word of words(bytes)) {
      a = Math.imul(rotate((a + Math.imul(word, 0x85ebca77)) | 0, 13), 0x9e3779b1);
      b = Math.imul(rotate(b, 7) ^ a, 0x27d4eb2f);
    }
  return [a >>> 0, b >>> 0];
}

/** Bytes as 32-bit words, padded with zeros. */
function words(bytes: Uint8Array): Uint32Array {
  const padded = new Uint32Array(Math.ceil(bytes.length / 4));
  new Uint8Array(padded.buffer).set(bytes);
  return padded;
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** An engine in strict mode that writes down what it runs. Where a script changed the arena between two runs, a new case begins. */
export class Recorder implements Engine {
  readonly strict = true;
  readonly cases: RecordedCase[] = [];
  readonly #memories = new Map<object, EngineMemory>();
  /** What is computed on these is of no interest any more. */
  readonly #overflowed = new Set<EngineMemory>();
  /** The arena's open case, and its bytes as the last run left them. */
  readonly #open = new Map<EngineMemory, { readonly recorded: RecordedCase; left: Uint8Array }>();
  /** By case, each data set as it is bound, and its contents as the last run left them. */
  readonly #known = new Map<RecordedCase, Map<EngineMemory, { readonly index: number; readonly binding: Binding; left: Uint8Array }>>();

  constructor(readonly engine: Engine) {}

  get name() {
    return this.engine.name;
  }
  get isa() {
    return this.engine.isa;
  }
  get isas() {
    return this.engine.isas;
  }
  get threads() {
    return this.engine.threads;
  }
  get reason() {
    return this.engine.reason;
  }
  get ops() {
    return this.engine.ops;
  }

  allocate(bytes: number): EngineMemory {
    const memory = this.engine.allocate(bytes);
    this.#memories.set(memory.handle, memory);
    return memory;
  }

  load(arena: EngineMemory, words: Uint32Array, options: { readonly isa?: string; readonly threads: number }): EngineProgram {
    const program = this.engine.load(arena, words, { ...options, strict: true });
    const bindings: (Binding | undefined)[] = [];
    const record = (run: Arguments, done: () => void) => {
      if (this.#overflowed.has(arena)) {
        done();
        return;
      }
      const before = this.#begin(arena, bindings);
      const feeds = Object.values(FEED).map((slot) => this.#dataSet(before, bindings[slot]));
      controlBlock(arena).fill(0);
      done();
      this.#end(arena, before, words, bindings, feeds, run);
    };
    return {
      feed: (slot, handle, type, rows, columns) => {
        program.feed(slot, handle, type, rows, columns);
        const memory = handle && this.#memories.get(handle);
        bindings[slot] = memory && { memory, type, rows, columns };
      },
      run: (...run: Arguments) => {
        let ended = true;
        record(run, () => (ended = program.run(...run)));
        return ended;
      },
      // Here too on this thread: nothing else may run meanwhile, and the bits are the same.
      start: (...run: Arguments) => {
        record(run, () => program.run(...run));
        return Promise.resolve();
      },
      // Nothing is brief: what is handed over is recorded.
      estimate: () => Infinity,
      predict: () => {
        throw new Error('a prediction into the caller’s own arrays is not recorded');
      },
    };
  }

  gemm(call: GemmCall, options: { readonly isa?: string; readonly strict: boolean }): void {
    this.engine.gemm(call, options);
  }

  #begin(arena: EngineMemory, bindings: readonly (Binding | undefined)[]): RecordedCase {
    const open = this.#open.get(arena);
    const now = arena.bytes().subarray(ALIGNMENT);
    if (open && open.recorded.runs.at(-1)?.fault === 0 && equal(open.left, now)) return open.recorded;
    const recorded: RecordedCase = { arena: arena.bytes().slice(), programs: [], dataSets: [], runs: [] };
    recorded.arena.fill(0, 0, ALIGNMENT);
    this.cases.push(recorded);
    this.#open.set(arena, { recorded, left: now.slice() });
    this.#known.set(recorded, new Map());
    for (const binding of bindings) this.#dataSet(recorded, binding);
    return recorded;
  }

  #dataSet(recorded: RecordedCase, binding: Binding | undefined): number {
    if (!binding) return 0;
    const known = this.#known.get(recorded)!;
    const now = binding.memory.bytes().subarray(0, byteLength(binding));
    const last = known.get(binding.memory);
    const { type, rows, columns } = binding;
    const same = last?.binding.type === type && last.binding.rows === rows && last.binding.columns === columns;
    if (same && equal(last.left, now)) return last.index;
    const index = recorded.dataSets.push({ type, rows, columns, bytes: now.slice() });
    known.set(binding.memory, { index, binding, left: now.slice() });
    return index;
  }

  #end(
    arena: EngineMemory,
    recorded: RecordedCase,
    words: Uint32Array,
    bindings: readonly (Binding | undefined)[],
    feeds: readonly number[],
    [from, to, firstRow, rowCount, batch, ...watch]: Arguments,
  ): void {
    this.#open.get(arena)!.left = arena.bytes().slice(ALIGNMENT);
    for (const binding of bindings) {
      const known = binding && this.#known.get(recorded)!.get(binding.memory);
      if (known) known.left = binding.memory.bytes().slice(0, byteLength(binding));
    }
    let program = recorded.programs.indexOf(words);
    if (program < 0) program = recorded.programs.push(words) - 1;
    const fault = controlBlock(arena)[FAULT_WORD];
    if (fault >= NON_FINITE_LOSS) this.#overflowed.add(arena);
    const computed = fault === 0 ? hash(results(arena, bindings)) : ([0, 0] as const);
    recorded.runs.push({ program, from, to, firstRow, rowCount, batch, watch, feeds, fault, hash: computed });
  }
}

/** Zeros where no batch is watched. */
function watched([every = 0, phase = 0, from = 0, to = 0, figures = 0]: Partial<WatchedBatches>): WatchedBatches {
  return [every, phase, from, to, figures];
}

/** The case as a file. */
export function encodeCase({ arena, programs, dataSets, runs }: RecordedCase): Buffer {
  const parts = [
    Uint32Array.of(MAGIC, VERSION, arena.length, programs.length, dataSets.length, runs.length),
    ...programs.flatMap((program) => [Uint32Array.of(program.length / 16), program]),
    ...dataSets.flatMap(({ type, rows, columns, bytes }) => [Uint32Array.of(type, rows, columns), words(bytes)]),
    words(arena),
    ...runs.map(({ program, from, to, firstRow, rowCount, batch, watch, feeds, fault, hash }) =>
      Uint32Array.of(program, from, to, firstRow, rowCount, batch, ...watched(watch), ...feeds, fault, ...hash),
    ),
  ];
  return Buffer.concat(parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength)));
}

/** Codes of the ops that a case runs. */
export function opsOf({ programs, runs }: RecordedCase): number[] {
  const codes = (program: Uint32Array, from: number, to: number): number[] =>
    Array.from({ length: to - from }, (_, i) => program[(from + i) * 16] & 0xffff);
  return runs.flatMap(({ program, from, to, watch: [, , watchFrom = 0, watchTo = 0] }) => [
    ...codes(programs[program], from, to),
    ...codes(programs[program], watchFrom, watchTo),
  ]);
}

/** Runs a case on the engine's threads. Returns the first run that came out differently, or −1. */
export async function replay(
  engine: Engine,
  { arena, programs, dataSets, runs }: RecordedCase,
  options: { readonly isa: string; readonly threads: number },
): Promise<number> {
  const memory = (bytes: Uint8Array) => {
    const copy = engine.allocate(bytes.length);
    copy.bytes().set(bytes);
    return copy;
  };
  const state = memory(arena);
  const control = controlBlock(state);
  const sets = dataSets.map((set) => ({ ...set, memory: memory(set.bytes) }));
  const loaded = programs.map((program) => engine.load(state, program, { ...options, strict: true }));
  for (const [i, run] of runs.entries()) {
    const program = loaded[run.program];
    const bindings = run.feeds.map((index) => (index > 0 ? sets[index - 1] : undefined));
    bindings.forEach((set, slot) => {
      if (set) program.feed(slot, set.memory.handle, set.type, set.rows, set.columns);
      else program.feed(slot, undefined, 0, 0, 0);
    });
    control.fill(0);
    await program.start(run.from, run.to, run.firstRow, run.rowCount, run.batch, ...run.watch);
    if (control[FAULT_WORD] !== run.fault) return i;
    if (run.fault === 0 && hash(results(state, bindings)).some((word, j) => word !== run.hash[j])) return i;
  }
  return -1;
}
