// Every op alone, against the roofline: its operations at the peak or its bytes at the bandwidth of the level that holds them,
// whichever takes longer (src/cost.ts, src/limits.ts). Each is a plan of one instruction, replayed many times in one native call.
import { ACTIVATION_NAMES } from '../src/activations.js';
import { type Cost, costOf, leastTime, OP_NAMES } from '../src/cost.js';
import { type Engine, type EngineMemory } from '../src/engine.js';
import { type Limits, measureLimits } from '../src/limits.js';
import type { ElementType, OpName } from '../src/ops.js';
import { ALIGNMENT, FEED, type Instruction, Plan, Tensor } from '../src/plan.js';
import { elementType } from '../src/tensor.js';
import { LAYERS, PRODUCTS, layouts } from './gemm.js';
import { engineWith } from './limits.js';
import { print, printTable, range, show, sizeOf } from './report.js';
import { type Quartiles, quartiles, repeated, takeTurns } from './slices.js';
import { layoutOf } from './targets.js';

export interface KernelsOptions {
  readonly ops: readonly OpName[];
  readonly isas: readonly string[];
  readonly threads: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
}

export interface KernelMeasurement {
  readonly op: OpName;
  /** What sets it apart from other rows of its op: an activation, a layout; else ''. */
  readonly variant: string;
  /** '128×64×10' */
  readonly size: string;
  /** Of memory, that holds its operands. */
  readonly level: (typeof LEVELS)[number];
  readonly isa: string;
  readonly threads: number;
  /** Float operations of a run, and bytes that it must move. */
  readonly flops: number;
  readonly bytes: number;
  /** Operations a byte. */
  readonly intensity: number;
  readonly seconds: Quartiles;
  /** Float operations a second: what was reached, and what the roofline allows. */
  readonly achieved: number;
  readonly limit: number;
  readonly bound: 'flops' | 'bytes';
  /** Least time over time. */
  readonly shareOfLimit: Quartiles;
}

export interface KernelsReport {
  readonly limits: readonly Limits[];
  readonly results: readonly KernelMeasurement[];
}

interface Case {
  readonly op: OpName;
  readonly variant: string;
  readonly dims: readonly number[];
  readonly immediates: Readonly<Record<string, number>>;
}

export const LEVELS = ['L1', 'L2', 'L3', 'memory'] as const;

/** What the limits are measured by. */
const PROBES: readonly OpName[] = ['multiplyAdd', 'sumWords'];

/** What there is to measure. */
export const kernelOps = OP_NAMES.filter((op) => !PROBES.includes(op));

/** Operands that the usual instruction does not have. */
const ABSENT: Partial<Record<OpName, readonly string[]>> = {
  gemm: ['bias', 'y', 'v'],
  softmaxCrossEntropy: ['t'],
  categoricalCrossEntropy: ['t'],
  accuracy: ['t'],
  gather: ['mean', 'scale'],
  statistics: ['minus'],
  sgd: ['clip'],
  rmsprop: ['clip'],
  adagrad: ['clip'],
  adam: ['clip'],
};

const IMMEDIATES: Readonly<Record<string, number>> = {
  ...{ epsilon: 1e-5, momentum: 0.9, rate: 0.5, stream: 1, delta: 1, threshold: 0.5, scale: 1e-6, lambda: 1e-6 },
  ...{ value: 1, low: -1, high: 1, standardDeviation: 1, gain: 1, iterations: 8 },
};

const FEEDS: Partial<Record<OpName, keyof typeof FEED>> = { gather: 'input', gatherLabels: 'target', scatter: 'output', shuffle: 'order' };

/** Columns of an [m, n]. */
const WIDTH = 128;
/** Rows that a run over data sets takes at most. */
const ORDER_ROWS = 2 ** 20;

export async function kernels(options: KernelsOptions): Promise<KernelsReport> {
  const allLimits: Limits[] = [];
  const results: KernelMeasurement[] = [];
  for (const isa of options.isas) {
    const owner = await engineWith(isa);
    const limits = new Map<number, Limits>();
    for (const threads of options.threads) limits.set(threads, await measureLimits(owner, { threads, isa }));
    allLimits.push(...limits.values());
    for (const op of owner.ops.keys()) if (options.ops.includes(op)) results.push(...(await measureOp(op, owner, limits, options)));
  }
  printResults(results);
  return { limits: allLimits, results };
}

async function measureOp(
  op: OpName,
  owner: Engine,
  limits: ReadonlyMap<number, Limits>,
  options: KernelsOptions,
): Promise<KernelMeasurement[]> {
  const results: KernelMeasurement[] = [];
  for (const [threads, limit] of limits)
    for (const given of casesOf(op, owner, limit)) {
      const prepared = prepare(given, owner, limit);
      const figures = await takeTurns([{ name: 'op', slice: prepared.slice }], options);
      prepared.release();
      const seconds = figures.get('op') ?? [];
      const { flops, bytesRead, bytesWritten } = prepared.cost;
      const bytes = bytesRead + bytesWritten;
      const { seconds: least, bound } = leastTime(prepared.cost, limit);
      results.push({
        ...{ op, variant: given.variant, size: given.dims.join('×'), level: levelOf(prepared.cost, limit) },
        ...{ isa: limit.isa, threads, flops, bytes, intensity: flops / bytes, seconds: quartiles(seconds) },
        ...{ achieved: flops / quartiles(seconds).median, limit: flops / least, bound },
        shareOfLimit: quartiles(seconds.map((s) => least / s)),
      });
    }
  return results;
}

/** As leastTime takes it. */
function levelOf({ workingSet }: Cost, { bandwidth }: Limits): (typeof LEVELS)[number] {
  return LEVELS[bandwidth.findIndex(({ bytes }) => workingSet <= 2 * bytes)] ?? 'memory';
}

/** Usual variants, at sizes that fill what is measured of L1, L2 and memory; products of the grid. */
function casesOf(op: OpName, owner: Engine, limits: Limits): Case[] {
  const names = owner.ops.get(op)?.dims ?? [];
  const immediates = { ...IMMEDIATES, feed: FEED[FEEDS[op] ?? 'input'] };
  if (op === 'gemm')
    return [LAYERS[9], LAYERS[4], LAYERS[6]].flatMap((layer) =>
      layouts.map((layout) => {
        const shape = PRODUCTS[layout](layer);
        const transpose = (shape.transposeA ? 1 : 0) | (shape.transposeB ? 2 : 0);
        return { op, variant: layoutOf(shape), dims: [shape.m, shape.n, shape.k], immediates: { ...immediates, transpose } };
      }),
    );
  if (op === 'orthogonalize') return [64, 256].map((n) => ({ op, variant: '', dims: [n, n], immediates }));
  const variants = op === 'activate' || op === 'activationGradient' ? (['relu', 'tanh', 'gelu'] as const) : [''];
  const sized = (rows: number): readonly number[] => {
    if (names.length === 0) return [];
    if (op === 'updateStatistics') return [2, rows * WIDTH];
    return names.length === 1 ? [rows * WIDTH] : [rows, WIDTH];
  };
  const perRow =
    costOf(instructionOf({ op, variant: '', dims: sized(4096), immediates }, owner).plan.instructions[0], 4096).workingSet / 4096;
  // What is scattered goes to other rows in every run.
  const levels = names.length === 0 ? [0] : op === 'scatter' ? [3] : [0, 1, 3];
  return levels.flatMap((level) => {
    const rows = Math.max(1, Math.floor((limits.bandwidth[level]?.bytes ?? 0) / perRow));
    return variants.map((variant) => ({
      ...{ op, variant, dims: sized(rows) },
      immediates: {
        ...immediates,
        activation: variant === '' ? 0 : ACTIVATION_NAMES.indexOf(variant as (typeof ACTIVATION_NAMES)[number]),
      },
    }));
  });
}

interface Recorded {
  readonly plan: Plan;
  readonly tensors: readonly Tensor[];
  readonly bytes: number;
}

function instructionOf({ op: name, dims, immediates }: Case, owner: Engine): Recorded {
  const op = owner.ops.get(name);
  if (!op) throw new Error(`the engine has no op '${name}'`);
  const overFeed = name === 'gather' || name === 'gatherLabels' || name === 'scatter';
  const plan = new Plan(owner.ops, overFeed ? (dims[0] ?? 1) : 1, false);
  const tensors = op.operands
    .filter((operand) => !ABSENT[name]?.includes(operand.name))
    .map((operand) => new Tensor(operand.name, [operand.extent(dims)], 'state', operand.type));
  let end = ALIGNMENT;
  for (const tensor of tensors) {
    tensor.offset = end;
    end += tensor.bytes(1);
  }
  const shape = dims.map((size, d) => (overFeed && d === 0 ? ('batch' as const) : size));
  plan.emit(name, shape, Object.fromEntries(tensors.map((tensor) => [tensor.name, tensor])), immediates);
  return { plan, tensors, bytes: end };
}

interface Prepared {
  readonly cost: Cost;
  /** Seconds of a run. */
  readonly slice: (seconds: number) => Promise<number>;
  release(): void;
}

function prepare(given: Case, owner: Engine, { isa, strict, threads }: Limits): Prepared {
  const { plan, tensors, bytes } = instructionOf(given, owner);
  const [instruction] = plan.instructions as [Instruction];
  const arena = owner.allocate(bytes);
  for (const tensor of tensors) fill(arena, tensor, given.dims[1] ?? 1);
  const program = owner.load(arena, plan.encode(), { isa, strict, threads });
  const memories = feed(given, owner, program);
  const [rows = 1] = given.dims;
  const runsOverRows = instruction.dims[0] === 'batch';
  const most = runsOverRows && given.op !== 'scatter' ? Math.max(1, Math.floor(ORDER_ROWS / rows)) : 1;
  const run = async (times: number): Promise<void> => {
    if (!runsOverRows) return program.start(0, 1, 0, times, 1);
    for (let left = times; left > 0; left -= most) await program.start(0, 1, 0, Math.min(left, most) * rows, rows);
  };
  const slice = repeated(run);
  return {
    cost: costOf(instruction, rows),
    async slice(seconds) {
      const mean = await slice(seconds);
      const fault = new Uint32Array(arena.bytes().buffer, arena.bytes().byteOffset + 8, 1)[0];
      if (fault !== 0) throw new Error(`${given.op} stopped with fault ${fault}`);
      return mean;
    },
    release() {
      program.release?.();
      for (const memory of [arena, ...memories]) memory.release();
    },
  };
}

const ARRAYS: Record<
  ElementType,
  new (buffer: ArrayBufferLike, offset: number, length: number) => Float32Array | Float64Array | Int32Array | Uint32Array
> = {
  ...{ f32: Float32Array, f64: Float64Array, i32: Int32Array, u32: Uint32Array },
};

/** learningRate, momentum, weightDecay, epsilon, beta1, beta2, beta1ᵗ, beta2ᵗ, two limits, t: of steps that change little, so many there are. */
const HYPER = [1e-6, 0.9, 0, 1e-8, 1 - 2 ** -20, 1 - 2 ** -20, 0.5, 0.5, 1, 1, 1];

/** Numbers as an op may meet them, all above 0: variances and probabilities among them. */
function fill(memory: EngineMemory, tensor: Tensor, classes: number): void {
  const { buffer, byteOffset } = memory.bytes();
  const values = new ARRAYS[tensor.type](buffer, byteOffset + tensor.offset, tensor.elements(1));
  if (tensor.name === 'hyper') values.set(HYPER);
  else if (tensor.name === 'statistics') values.set([0.5, 0.1, 0.3, 0.1, 1, 0, 0, values.length]);
  else if (tensor.name === 'labels') for (let i = 0; i < values.length; i++) values[i] = i % classes;
  else if (tensor.type === 'f32') for (let i = 0; i < values.length; i++) values[i] = 0.1 + (Math.imul(i, 0x9e3779b1) >>> 0) / 2 ** 32;
  else values.fill(1);
}

/** Data sets, in an order that is no order. */
function feed({ op, dims }: Case, owner: Engine, program: ReturnType<Engine['load']>): EngineMemory[] {
  const slot = FEEDS[op];
  if (slot === undefined) return [];
  const memories: EngineMemory[] = [];
  const bind = (name: keyof typeof FEED, data: Float32Array | Int32Array | Uint32Array, columns: number): void => {
    const memory = owner.allocate(data.byteLength);
    memory.bytes().set(new Uint8Array(data.buffer));
    program.feed(FEED[name], memory.handle, elementType(data), data.length / columns, columns);
    memories.push(memory);
  };
  const [rows = ORDER_ROWS, columns = 1] = dims;
  if (op === 'gatherLabels')
    bind(
      slot,
      Int32Array.from({ length: rows }, (_, i) => i % columns),
      1,
    );
  else if (op !== 'shuffle') bind(slot, new Float32Array(rows * columns).fill(0.5), columns);
  // A step that shares no factor with the number of rows meets them all.
  const stride = coprime(rows);
  bind(
    'order',
    Uint32Array.from({ length: Math.max(ORDER_ROWS, rows) }, (_, i) => (i * stride) % rows),
    1,
  );
  return memories;
}

function coprime(rows: number): number {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));
  let step = Math.max(1, Math.floor(rows * 0.618));
  while (divisor(rows, step) !== 1) step++;
  return step;
}

function printResults(results: readonly KernelMeasurement[]): void {
  print('\nEvery op, and its share of the roofline: least time ÷ time');
  printTable([
    ['op', '', 'size', 'in', 'isa', 'threads', 'bytes', 'FLOP a byte', 'µs', 'GFLOP/s', 'GB/s', 'bound by', '% of limit (quartiles)'],
    ...results.map(({ op, variant, size, level, isa, threads, bytes, flops, intensity, seconds, bound, shareOfLimit }) => [
      ...[op, variant, size, level, isa, `${threads}`, sizeOf(bytes), show(intensity), show(seconds.median * 1e6)],
      ...[flops === 0 ? '–' : show(flops / seconds.median / 1e9), show(bytes / seconds.median / 1e9), bound],
      range(shareOfLimit, percent),
    ]),
  ]);
}

function percent(share: number): string {
  return (100 * share).toFixed(0);
}
