// What the tests of kernels stand on: the kernel tables that this machine runs, one instruction on any of them or on the
// float64 interpreter, and seeded numbers. The arena of `onEngine` has guards between tensors: a kernel that writes past its
// operand fails, one that reads past it finds NaN.
import { expect } from 'vitest';
import { engine, type EngineMemory, type EngineProgram } from '../src/engine.js';
import '../src/index.js'; // names the platform, of which engine() asks its engine
import type { ElementType, OpName } from '../src/ops.js';
import { ALIGNMENT, FEED, Plan, Tensor } from '../src/plan.js';
import { Reference } from '../src/reference.js';
import type { Fault } from '../src/runtime.js';
import { elementType, type NumericArray } from '../src/tensor.js';

/** Compiled kernels of one instruction set. SSE2 and WebAssembly have no fma: their one table is strict. */
export interface Table {
  readonly isa: string;
  readonly strict: boolean;
  readonly name: string;
}

const NO_FMA = ['sse2', 'simd128'];
export const tables: readonly Table[] = engine().isas.flatMap((isa) =>
  NO_FMA.includes(isa)
    ? [{ isa, strict: true, name: isa }]
    : [false, true].map((strict) => ({ isa, strict, name: strict ? `${isa} strict` : isa })),
);
export const strictTables = tables.filter(({ strict }) => strict);

const compiled = engine().name === 'wasm' ? [] : process.arch === 'arm64' ? ['neon'] : ['sse2', 'avx2', 'avx512'];
const absent = compiled.filter((isa) => !engine().isas.includes(isa));
/** For test names: what ran, and what this machine cannot run. */
export const ran = [tables.map(({ name }) => name).join(', '), ...absent.map((isa) => `not ${isa}: this processor lacks it`)].join('; ');

/** From now on models are compiled for so many threads where they ask: steps are split into as many parts, whoever computes them. */
export function allowThreads(count: number): void {
  Object.defineProperty(engine(), 'threads', { value: Math.max(count, engine().threads) });
}

export type Numbers = Float32Array | Float64Array | Int32Array | Uint32Array;
export const ARRAYS: Record<ElementType, new (buffer: ArrayBufferLike, offset: number, length: number) => Numbers> = {
  f32: Float32Array,
  f64: Float64Array,
  i32: Int32Array,
  u32: Uint32Array,
};

/** One instruction. What is written and not read may be left out. */
export interface OpCase {
  readonly op: OpName;
  readonly dims: readonly number[];
  readonly immediates?: Readonly<Record<string, number>>;
  readonly operands: Readonly<Record<string, Numbers | undefined>>;
  /** Optional operands that the instruction writes. */
  readonly writes?: readonly string[];
  readonly feeds?: Partial<Record<keyof typeof FEED, { readonly data: NumericArray; readonly columns: number }>>;
  /** The dimension that holds the batch's rows; each run has `rows` of them. */
  readonly batch?: { readonly dim: number; readonly rows: number; readonly firstRow?: number };
}

interface Recorded {
  readonly plan: Plan;
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly bytes: number;
}

/** In the order of the engine's codes. */
const FAULTS: Fault['kind'][] = ['none', 'nonFiniteInput', 'labelOutOfRange', 'rowOutOfRange', 'nonFiniteLoss', 'nonFiniteWeight'];

/** A quiet NaN that no kernel makes. */
const GUARD = 0x7fc0dead;

/** The instruction in a plan of its own, each operand with a line of guards behind it. */
export function record({ op: name, dims, immediates, operands, writes = [], batch }: OpCase): Recorded {
  const { ops } = engine();
  const op = ops.get(name)!;
  const plan = new Plan(ops, batch ? dims[batch.dim] : 1, false);
  const tensors: Record<string, Tensor> = {};
  let end = 2 * ALIGNMENT;
  for (const { name, extent, type, written, optional } of op.operands) {
    if (!operands[name] && !(written && (!optional || writes.includes(name)))) continue;
    const tensor = (tensors[name] = new Tensor(name, [extent(dims)], 'state', type));
    tensor.offset = end;
    end += tensor.bytes(1) + ALIGNMENT;
  }
  const shape = dims.map((size, d) => (d === batch?.dim ? ('batch' as const) : size));
  plan.emit(name, shape, tensors, immediates);
  return { plan, tensors, bytes: end };
}

export interface Outcome {
  /** Every operand after the run. */
  readonly operands: Readonly<Record<string, Numbers>>;
  readonly feeds: Readonly<Record<string, NumericArray>>;
  readonly fault: Reference['fault'];
}

/** An arena, one instruction, and the program of it. */
class LoadedCase {
  readonly program: EngineProgram;
  readonly #arena: EngineMemory;
  readonly #feeds = new Map<string, { memory: EngineMemory; data: NumericArray }>();
  readonly #recorded: Recorded;

  constructor(
    readonly given: OpCase,
    { isa, strict }: Table,
    threads: number,
  ) {
    this.#recorded = record(given);
    const { plan, tensors, bytes } = this.#recorded;
    this.#arena = engine().allocate(bytes);
    const words = new Uint32Array(this.#arena.bytes().buffer, this.#arena.bytes().byteOffset, bytes / 4);
    words.fill(GUARD, ALIGNMENT / 4);
    for (const [name, tensor] of Object.entries(tensors)) if (given.operands[name]) this.#view(tensor).set(given.operands[name]);
    this.program = engine().load(this.#arena, plan.encode(), { isa, strict, threads });
    for (const [slot, { data, columns }] of Object.entries(given.feeds ?? {})) {
      const memory = engine().allocate(data.byteLength);
      memory.bytes().set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      this.#feeds.set(slot, { memory, data });
      this.program.feed(FEED[slot as keyof typeof FEED], memory.handle, elementType(data), data.length / columns, columns);
    }
  }

  get range(): [from: number, to: number, firstRow: number, rowCount: number, batch: number] {
    const { batch } = this.given;
    return batch ? [0, 1, batch.firstRow ?? 0, batch.rows, batch.rows] : [0, 1, 0, 0, 0];
  }

  outcome(): Outcome {
    const { tensors, bytes } = this.#recorded;
    const { buffer, byteOffset } = this.#arena.bytes();
    const owned = new Uint8Array(bytes / 4);
    owned.fill(1, 0, ALIGNMENT / 4); // the control block
    const operands: Record<string, Numbers> = {};
    for (const [name, tensor] of Object.entries(tensors)) {
      const values = this.#view(tensor);
      owned.fill(1, tensor.offset / 4, (tensor.offset + values.byteLength) / 4);
      operands[name] = values.slice();
    }
    new Uint32Array(buffer, byteOffset, bytes / 4).forEach((word, i) => {
      if (!owned[i] && word !== GUARD) expect.fail(`${this.given.op} wrote outside its operands, at byte ${i * 4} of the arena`);
    });
    const control = new Uint32Array(buffer, byteOffset, ALIGNMENT / 4);
    const feeds = Object.fromEntries(
      [...this.#feeds].map(([slot, { memory, data }]) => {
        const copy = data.slice();
        new Uint8Array(copy.buffer).set(memory.bytes());
        return [slot, copy];
      }),
    );
    return { operands, feeds, fault: control[2] === 0 ? undefined : { kind: FAULTS[control[2]], row: control[4] } };
  }

  #view(tensor: Tensor): Numbers {
    const { buffer, byteOffset } = this.#arena.bytes();
    return new ARRAYS[tensor.type](buffer, byteOffset + tensor.offset, tensor.elements(1));
  }
}

/** On this thread, the parts that `threads` would share run one after another. */
export function onEngine(given: OpCase, table: Table, threads = 1): Outcome {
  const loaded = new LoadedCase(given, table, threads);
  loaded.program.run(...loaded.range);
  return loaded.outcome();
}

/** On the engine's threads. */
export async function onThreads(given: OpCase, table: Table, threads: number): Promise<Outcome> {
  const loaded = new LoadedCase(given, table, threads);
  await loaded.program.start(...loaded.range);
  return loaded.outcome();
}

/** The same on the interpreter: operands before and after, in float64. */
export function onReference(given: OpCase): {
  plan: Plan;
  before: Record<string, Float64Array>;
  after: Record<string, Float64Array>;
  feeds: Record<string, number[]>;
  fault: Reference['fault'];
} {
  const { plan, tensors } = record(given);
  const reference = new Reference(plan);
  for (const [name, tensor] of Object.entries(tensors)) if (given.operands[name]) reference.values(tensor).set(given.operands[name]);
  const feeds: Record<string, number[]> = {};
  for (const [slot, { data, columns }] of Object.entries(given.feeds ?? {})) {
    feeds[slot] = Array.from(data);
    reference.feed(slot as keyof typeof FEED, { data: feeds[slot], rows: data.length / columns, columns });
  }
  const values = () => Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, reference.values(tensor).slice()]));
  const before = values();
  const rows = given.batch?.rows ?? 0;
  reference.run(0, 1, given.batch?.firstRow ?? 0, rows, rows);
  return { plan, before, after: values(), feeds, fault: reference.fault };
}

/** Finishes a plan of several instructions, gives its state these values, and runs it. Returns what tensors then hold. */
export function runPlan(
  plan: Plan,
  state: ReadonlyMap<Tensor, Float32Array>,
  { fuse, table: { isa, strict } }: { readonly fuse: boolean; readonly table: Table },
): (tensor: Tensor) => Float32Array {
  let start = ALIGNMENT;
  for (const tensor of state.keys()) {
    tensor.offset = start;
    start += tensor.bytes(plan.batch);
  }
  const end = plan.finish(start, { fuse });
  const arena = engine().allocate(end);
  // Anew each time: WebAssembly's memory may have grown.
  const view = (tensor: Tensor) =>
    new Float32Array(arena.bytes().buffer, arena.bytes().byteOffset + tensor.offset, tensor.elements(plan.batch));
  new Uint32Array(arena.bytes().buffer, arena.bytes().byteOffset, end / 4).fill(GUARD, ALIGNMENT / 4);
  for (const [tensor, values] of state) view(tensor).set(values);
  engine().load(arena, plan.encode(), { isa, strict, threads: 1 }).run(0, plan.instructions.length, 0, plan.batch, plan.batch);
  return (tensor) => view(tensor).slice();
}

/** Fails where two arrays differ in a bit: NaN is NaN, −0 is not 0. */
export function expectSameBits(what: string, actual: Numbers, expected: Numbers): void {
  const [a, b] = [actual, expected].map((values) => new Uint32Array(values.buffer, values.byteOffset, values.byteLength / 4));
  if (a.length !== b.length) expect.fail(`${what}: ${actual.length} numbers, expected ${expected.length}`);
  for (let i = 0; i < a.length; i++)
    if (a[i] !== b[i]) expect.fail(`${what}: word ${i} is 0x${a[i].toString(16)}, expected 0x${b[i].toString(16)}`);
}

/** xorshift32 of Marsaglia 2003: numbers that a failing test can be run again with. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed, 0x9e3779b9) ^ 0x5bd1e995) >>> 0 || 1;
    for (let i = 0; i < 8; i++) this.#next();
  }

  #next(): number {
    let s = this.#state;
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return (this.#state = s >>> 0);
  }

  /** In [low, high). */
  uniform(low = 0, high = 1): number {
    return low + ((high - low) * this.#next()) / 2 ** 32;
  }

  integer(below: number): number {
    return Math.floor(this.uniform(0, below));
  }

  floats(length: number, low = -1, high = 1): Float32Array {
    const values = new Float32Array(length);
    for (let i = 0; i < length; i++) values[i] = this.uniform(low, high);
    return values;
  }

  labels(length: number, classes: number): Int32Array {
    return Int32Array.from({ length }, () => this.integer(classes));
  }

  /** Rows of shares that add up to 1. */
  shares(rows: number, classes: number): Float32Array {
    const values = this.floats(rows * classes, 0, 1);
    for (let i = 0; i < rows; i++) {
      const row = values.subarray(i * classes, (i + 1) * classes);
      const total = row.reduce((sum, value) => sum + value, 0);
      row.forEach((value, j) => (row[j] = value / total));
    }
    return values;
  }
}
