// What an instruction costs on paper: float operations and bytes, from its op, its sizes and which operands it has. The step
// models and shares of a machine's limits (profile.ts, bench/) are made of these.
//
// Operations are those of the op's formula as the kernels compute it: additions, subtractions, multiplications, divisions, roots,
// minima and maxima count 1 each, a fused multiply-add 2; selects, bit operations, conversions, integers and checks for finite
// numbers count nothing. What is done once a row or a column, or not in every run (weight decay), is left out, and so is
// drawing again. Elementary functions count the operations of their polynomials in native/vmath.h.
//
// Bytes are those that must move at the least: each operand once, however many passes a kernel makes over it.
import { ACTIVATION_NAMES, type ActivationName } from './activations.js';
import type { Limits } from './limits.js';
import type { OpName } from './ops.js';
import { BYTES, type Instruction } from './plan.js';

export interface Cost {
  /** Float operations. */
  readonly flops: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** What it touches: bytes that are read and written count once. */
  readonly workingSet: number;
}

/** An instruction at its running sizes. */
interface Sized {
  /** 1 where the op has no such dim. */
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly immediates: Readonly<Record<string, number>>;
  readonly has: (operand: string) => boolean;
}

/** Operations of the elementary functions on one number. */
const [EXP, EXP_IN_RANGE, LOG, LOG1P] = [23, 20, 27, 33];
const [EXPM1, SIGMOID] = [EXP + 1, EXP + 2];
/** sin and cos of one angle, which share their work. */
const SIN_AND_COS = 22;
/** The normal distribution's tail as a ratio of polynomials, and times the bell curve. */
const [TAIL_RATIO, TIMES_BELL] = [19, 30];

/** a(z) and a'(v), operations an element. */
const activations: Record<Exclude<ActivationName, 'softmax'>, readonly [value: number, derivative: number]> = {
  linear: [0, 0],
  sigmoid: [SIGMOID, 2],
  tanh: [EXP_IN_RANGE + 17, 3],
  relu: [1, 0],
  leakyRelu: [1, 0],
  elu: [EXPM1 + 1, 1],
  selu: [EXPM1 + 2, 1],
  gelu: [TAIL_RATIO + TIMES_BELL + 4, TAIL_RATIO + TIMES_BELL + 4],
  geluTanh: [SIGMOID + 5, EXP + 15],
  silu: [SIGMOID + 1, EXP + 6],
  mish: [EXP + 6, EXP + 13],
  softplus: [EXP + LOG1P + 2, SIGMOID],
  softsign: [2, 2],
  hardSigmoid: [4, 0],
  hardSwish: [5, 2],
};

/** Of an instruction with an activation's number. */
function activationOf({ activation }: Sized['immediates']): readonly [value: number, derivative: number] {
  return activations[ACTIVATION_NAMES[activation] as keyof typeof activations];
}

type Count = (given: Sized) => number;

/** So many operations an element of a row-major [m, n]. */
const each =
  (count: number | Count): Count =>
  (given) =>
    given.m * given.n * (typeof count === 'number' ? count : count(given));
/** Where an optional operand is there. */
const where = (given: Sized, operand: string, count: number): number => (given.has(operand) ? count : 0);
const update = (count: Count): Count => each((given) => count(given) + where(given, 'clip', 1));

const products: Count = ({ m, n, k }) => 2 * m * n * k;

const flops: Record<OpName, Count> = {
  gemm: (given) => {
    const { m, n, immediates } = given;
    const [value, derivative] = activationOf(immediates);
    const scaled = immediates.beta !== 0 && immediates.beta !== 1 ? 1 : 0;
    return products(given) + m * n * (scaled + where(given, 'bias', 1) + (given.has('v') ? derivative + 1 : value));
  },
  addBias: each(1),
  activate: each(({ immediates }) => activationOf(immediates)[0]),
  activationGradient: each(({ immediates }) => activationOf(immediates)[1] + 1),
  softmax: each(EXP + 4),
  softmaxGradient: each(4),
  sumRows: each(1),
  columnStatistics: each(6),
  batchNormalization: each(9),
  batchNormalizationInference: each(3),
  batchNormalizationGradient: each(11),
  updateStatistics: ({ n }) => 7 * n,
  layerNormalization: each((given) => 7 + where(given, 'mean', 3)),
  layerNormalizationGradient: each((given) => 12 + where(given, 'mean', 2)),
  layerNormalizationScaleGradient: each(4),
  dropout: each(2),
  dropoutGradient: each(1),
  meanSquaredError: each((given) => 3 + where(given, 'dX', 2)),
  meanAbsoluteError: each((given) => 2 + where(given, 'dX', 1)),
  huber: each((given) => 6 + where(given, 'dX', 1)),
  binaryCrossEntropy: each((given) => EXP + LOG1P + 6 + where(given, 'dX', SIGMOID + 2)),
  softmaxCrossEntropy: each((given) => {
    const smoothing = given.immediates.labelSmoothing ? 2 : 0;
    const terms = given.has('t') ? 5 + smoothing : smoothing && 4 + smoothing;
    return EXP + 3 + terms + where(given, 'dX', 4 + smoothing);
  }),
  categoricalCrossEntropy: each((given) => LOG + 5 + where(given, 'dX', 2)),
  lossTotal: ({ m }) => m,
  accuracy: each((given) => 1 + where(given, 't', 1)),
  resetTotals: () => 0,
  gather: each((given) => where(given, 'mean', 2)),
  gatherLabels: () => 0,
  scatter: () => 0,
  shuffle: () => 0,
  clipValue: each(2),
  globalNormScale: each(2),
  sgd: update((given) => 2 + where(given, 'moment1', given.immediates.nesterov ? 4 : 2)),
  rmsprop: update(() => 9),
  adagrad: update(() => 7),
  adam: update(() => 13),
  advance: () => 3,
  applyMask: () => 0,
  addScaled: each(2),
  softThreshold: each(3),
  shrinkColumns: each(4),
  fill: () => 0,
  randomUniform: each(3),
  // Of a pair of numbers: the radius, both coordinates, and what makes them of words.
  randomNormal: each((LOG + 3 + SIN_AND_COS + 8) / 2),
  randomTruncatedNormal: each((LOG + 3 + SIN_AND_COS + 8) / 2),
  // Every vector without its shares of those before it, twice.
  orthogonalize: ({ m, n }) => 4 * m * n * Math.min(m, n),
  statistics: each((given) => 12 + where(given, 'minus', 3)),
  histogram: each(2),
  columnDistances: each(3),
  spectralNorm: each(({ immediates }) => 4 * immediates.iterations),
  multiplyAdd: each(({ immediates }) => 2 * immediates.times),
  sumWords: () => 0,
};

/** All there are. */
export const OP_NAMES = Object.keys(flops) as OpName[];

/** Operands that an op writes and also reads; of every other one the old content does not matter. */
const updated: Partial<Record<OpName, readonly string[]>> = {
  updateStatistics: ['movingMean', 'movingVariance'],
  lossTotal: ['totals'],
  accuracy: ['totals'],
  shuffle: ['state'],
  clipValue: ['g'],
  sgd: ['p', 'moment1'],
  rmsprop: ['p', 'moment2'],
  adagrad: ['p', 'moment2'],
  adam: ['p', 'moment1', 'moment2'],
  advance: ['hyper'],
  applyMask: ['x'],
  addScaled: ['y'],
  softThreshold: ['x'],
  shrinkColumns: ['x'],
  orthogonalize: ['y'],
  multiplyAdd: ['y'],
};

function sized({ op, dims, immediates, operands }: Instruction, rows: number): Sized & { readonly sizes: readonly number[] } {
  const sizes = dims.map((dim) => (dim === 'batch' ? rows : dim));
  const [m = 1, n = 1, k = 1] = sizes;
  const given = Object.fromEntries(op.immediates.map(({ name }) => [name, immediates[name] ?? 0]));
  return { m, n, k, sizes, immediates: given, has: (operand) => operand in operands };
}

/**
 * The cost of one run of an instruction.
 * @param rows of the batch: what the plan's 'batch' dims are
 * @param feedBytes bytes of an element of each data set, by FEED; 4 where not given. The order of a shuffled run does not count.
 */
export function costOf(instruction: Instruction, rows: number, feedBytes: Readonly<Record<number, number>> = {}): Cost {
  const { op, operands, immediates } = instruction;
  const given = sized(instruction, rows);
  let [bytesRead, bytesWritten, workingSet] = [0, 0, 0];
  for (const { name, type, extent, written } of op.operands) {
    if (!(name in operands)) continue;
    const bytes = extent(given.sizes) * BYTES[type];
    const addsTo = op.name === 'gemm' && name === 'c' && !!immediates.beta;
    if (!written || addsTo || updated[op.name]?.includes(name)) bytesRead += bytes;
    if (written) bytesWritten += bytes;
    workingSet += bytes;
  }
  const outside = (elements: number): number => elements * (feedBytes[given.immediates.feed] ?? 4);
  if (op.name === 'gather') bytesRead += outside(given.m * given.n);
  if (op.name === 'gatherLabels') bytesRead += outside(given.m);
  if (op.name === 'scatter') bytesWritten += outside(given.m * given.n);
  if (op.name === 'gather' || op.name === 'gatherLabels' || op.name === 'scatter') workingSet = bytesRead + bytesWritten;
  return { flops: flops[op.name](given), bytesRead, bytesWritten, workingSet };
}

/** Float operations of the matrix product alone: 2·m·n·k, and 0 for all that is no product. */
export function productFlops(instruction: Instruction, rows: number): number {
  return instruction.op.name === 'gemm' ? products(sized(instruction, rows)) : 0;
}

/** What keeps an instruction from being faster: the arithmetic, or the way to its operands. */
export type Bound = 'flops' | 'bytes';

/**
 * The least time that a machine could take for it, in seconds: its operations at the peak, or its bytes at the bandwidth of the
 * level of memory that holds them all, whichever is longer (Williams, Waterman, Patterson 2009, Roofline). Wherever its operands really
 * lie, it cannot be faster but by writing while it reads, for bandwidths are those of reads.
 */
export function leastTime(
  { flops, bytesRead, bytesWritten, workingSet }: Cost,
  { flops: peak, bandwidth }: Limits,
): { readonly seconds: number; readonly bound: Bound } {
  // A level was measured where it was half full.
  const level = bandwidth.find(({ bytes }) => workingSet <= 2 * bytes) ?? bandwidth[bandwidth.length - 1];
  const [computing, moving] = [flops / peak, (bytesRead + bytesWritten) / level.perSecond];
  return computing > moving ? { seconds: computing, bound: 'flops' } : { seconds: moving, bound: 'bytes' };
}
