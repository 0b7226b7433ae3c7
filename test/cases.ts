// One random instruction of every op, its variants drawn too: what the tests of ops, of equal bits and of bounds share.
// Values are those of a network at work; what is special (NaN, kinks, empty sizes) has tests of its own.
import { ACTIVATION_NAMES } from '../src/activations.js';
import type { OpName } from '../src/ops.js';
import type { NumericArray } from '../src/tensor.js';
import type { OpCase, Random } from './engines.js';

export interface Sizes {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** Softmax's place is among the names, but not among the engine's numbers. */
export const ELEMENTWISE = ACTIVATION_NAMES.filter((name) => name !== 'softmax');

/** An activation, with a parameter where it takes one. */
export function activationImmediates(name: (typeof ELEMENTWISE)[number], random: Random): { activation: number; parameter: number } {
  const parameter = name === 'leakyRelu' ? random.uniform(0, 0.5) : name === 'elu' ? random.uniform(0.3, 2) : 0;
  return { activation: ELEMENTWISE.indexOf(name), parameter };
}

export const OPS = (): OpName[] => Object.keys(makers) as OpName[];

export function randomCase(op: OpName, random: Random, sizes: Sizes): OpCase {
  return { op, ...makers[op](random, sizes) };
}

type Maker = (random: Random, sizes: Sizes) => Omit<OpCase, 'op'>;

const none = (): Record<string, number> => ({});
const pick = <T>(random: Random, choices: readonly T[]): T => choices[random.integer(choices.length)];
const seed = (random: Random) => Float32Array.of(pick(random, [1, 1, -2, 0.37]));
const state = (random: Random) => Uint32Array.from({ length: 4 }, (_, i) => (i < 3 ? random.integer(2 ** 32) : 0));

/** Numbers of which a fifth are 0. */
const spiked = (random: Random, count: number) => random.floats(count, -3, 3).map((value) => (random.integer(5) === 0 ? 0 : value));

/** Half of the cases run fewer rows than there is room for. */
function batchOf(random: Random, dim: number, size: number): Pick<OpCase, 'batch'> {
  return size === 0 || random.integer(2) === 0 ? {} : { batch: { dim, rows: 1 + random.integer(size) } };
}

const rowwise =
  (op: (random: Random, m: number, n: number) => Omit<OpCase, 'op' | 'dims'>): Maker =>
  (random, { m, n }) => ({ dims: [m, n], ...batchOf(random, 0, m), ...op(random, m, n) });

/** Rows need a column: engines refuse these ops without. */
const withColumns =
  (maker: Maker): Maker =>
  (random, sizes) =>
    maker(random, { ...sizes, n: Math.max(sizes.n, 1) });

const elementwiseLoss = (
  immediates: (random: Random) => Record<string, number> = none,
  target = (random: Random, count: number) => random.floats(count, -3, 3),
) =>
  withColumns(
    rowwise((random, m, n) => ({
      immediates: { reduction: random.integer(2), ...immediates(random) },
      operands: { x: random.floats(m * n, -3, 3), t: target(random, m * n), seed: seed(random) },
      writes: random.integer(2) === 0 ? [] : ['dX'],
    })),
  );

const classTargets = (random: Random, m: number, n: number) =>
  random.integer(2) === 0 ? { labels: random.labels(m, n) } : { t: random.shares(m, n) };

/** learningRate, momentum or rho, weightDecay, epsilon, beta1, beta2, beta1ᵗ, beta2ᵗ, two limits, t */
export function hyper(random: Random): Float64Array {
  const [beta1, beta2, step] = [random.uniform(0.5, 0.95), random.uniform(0.9, 0.9995), 1 + random.integer(20)];
  const weightDecay = pick(random, [0, random.uniform(0, 0.1)]);
  const limits = [random.uniform(0.1, 1), random.uniform(0.1, 10)];
  const values = [
    random.uniform(1e-4, 0.5),
    random.uniform(0, 0.99),
    weightDecay,
    1e-8,
    beta1,
    beta2,
    beta1 ** step,
    beta2 ** step,
    ...limits,
    step,
  ];
  return Float64Array.from({ length: 16 }, (_, i) => values[i] ?? 0);
}

const optimizer =
  (moments: readonly ('moment1' | 'moment2')[], immediates: (random: Random) => Record<string, number>): Maker =>
  (random, { m, n }) => {
    const count = m * Math.max(n, 1);
    return {
      dims: [count],
      immediates: immediates(random),
      operands: {
        p: random.floats(count),
        g: random.floats(count),
        moment1: moments.includes('moment1') ? random.floats(count) : undefined,
        moment2: moments.includes('moment2') ? random.floats(count, 0, 1) : undefined,
        hyper: hyper(random),
        clip: random.integer(2) === 0 ? undefined : random.floats(1, 0.1, 1),
      },
    };
  };

const draws =
  (immediates: (random: Random) => Record<string, number>): Maker =>
  (random, { m, n }) => ({
    dims: [m * Math.max(n, 1)],
    immediates: { stream: random.integer(2 ** 32), ...immediates(random) },
    operands: { state: state(random) },
  });

const ARRAYS = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array];

/** Numbers that fit every integer type, and fractions where they are kept. */
function dataSet(random: Random, elements: number): NumericArray {
  const type = pick(random, ARRAYS);
  const fractions = type === Float32Array || type === Float64Array;
  return new type(Array.from({ length: elements }, () => (fractions ? random.uniform(-100, 100) : random.integer(128))));
}

/** Rows of a run inside a data set, in an order of their own or as they come. */
function read(random: Random, rows: number, m: number) {
  const firstRow = random.integer(4);
  const order = { data: Uint32Array.from({ length: firstRow + m }, () => random.integer(rows)), columns: 1 };
  return { batch: { dim: 0, rows: 1 + random.integer(m), firstRow }, order: random.integer(2) === 0 ? {} : { order } };
}

const EPSILONS = [1e-5, 1e-3, 0.1];
/** A weight of a normalisation layer, or none. */
const perhaps = (random: Random, n: number) => (random.integer(2) === 0 ? undefined : random.floats(n, -2, 2));

const normalizedRows = (random: Random, m: number, n: number) => ({
  dY: random.floats(m * n),
  x: random.floats(m * n, -3, 3),
  inverse: random.floats(m, 0.3, 3),
  mean: perhaps(random, m),
});

const makers: Record<OpName, Maker> = {
  gemm(random, { m, n, k }) {
    const transpose = random.integer(4);
    const beta = pick(random, [0, 0, 1, 0.5]);
    const epilogue = pick(random, ['none', 'none', 'activation', 'kept', 'derivative'] as const);
    const { activation, parameter } =
      epilogue === 'none' ? { activation: 0, parameter: 0 } : activationImmediates(pick(random, ELEMENTWISE), random);
    return {
      dims: [m, n, k],
      ...pick(random, [batchOf(random, 0, m), batchOf(random, 2, k)]),
      immediates: { transpose, beta, activation, parameter },
      operands: {
        a: random.floats(m * k),
        b: random.floats(k * n),
        c: beta === 0 ? undefined : random.floats(m * n),
        bias: random.integer(2) === 0 ? undefined : random.floats(n),
        v: epilogue === 'derivative' ? random.floats(m * n) : undefined,
      },
      // Kept beside y: c before the activation.
      writes: epilogue === 'kept' ? ['y'] : [],
    };
  },

  addBias: rowwise((random, m, n) => ({ operands: { x: random.floats(m * n), bias: random.floats(n) } })),
  activate: rowwise((random, m, n) => ({
    immediates: activationImmediates(pick(random, ELEMENTWISE), random),
    operands: { x: random.floats(m * n, -8, 8) },
  })),
  activationGradient: rowwise((random, m, n) => ({
    immediates: activationImmediates(pick(random, ELEMENTWISE), random),
    operands: { dY: random.floats(m * n), v: random.floats(m * n) },
  })),
  softmax: withColumns(rowwise((random, m, n) => ({ operands: { x: random.floats(m * n, -10, 10) } }))),
  softmaxGradient: withColumns(rowwise((random, m, n) => ({ operands: { dY: random.floats(m * n), y: random.shares(m, n) } }))),
  sumRows: rowwise((random, m, n) => ({ operands: { x: random.floats(m * n) } })),

  columnStatistics: rowwise((random, m, n) => {
    const x = random.floats(m * n, -2, 3);
    // Some columns hold zeros, some what is not finite.
    for (let i = 0; i < x.length; i += 1 + random.integer(9)) x[i] = pick(random, [0, 0, NaN, Infinity, -Infinity]);
    return { operands: { x } };
  }),
  batchNormalization: rowwise((random, m, n) => ({
    immediates: { epsilon: pick(random, EPSILONS) },
    operands: { x: random.floats(m * n, -3, 3), gamma: perhaps(random, n), beta: perhaps(random, n) },
  })),
  batchNormalizationInference: rowwise((random, m, n) => ({
    immediates: { epsilon: pick(random, EPSILONS) },
    operands: {
      x: random.floats(m * n, -3, 3),
      mean: random.floats(n),
      variance: random.floats(n, 0, 2),
      gamma: perhaps(random, n),
      beta: perhaps(random, n),
    },
  })),
  batchNormalizationGradient: rowwise((random, m, n) => ({
    immediates: { epsilon: pick(random, EPSILONS) },
    operands: {
      dY: random.floats(m * n),
      x: random.floats(m * n, -3, 3),
      mean: random.floats(n),
      variance: random.floats(n, 0.1, 2),
      gamma: perhaps(random, n),
    },
    writes: ['dGamma', 'dBeta'].filter(() => random.integer(2) === 0),
  })),
  updateStatistics: (random, { m, n }) => ({
    dims: [m + 2, n],
    batch: { dim: 0, rows: 2 + random.integer(m + 1) },
    immediates: { momentum: pick(random, [0, 0.9, 0.99, 1]) },
    operands: {
      mean: random.floats(n),
      variance: random.floats(n, 0, 2),
      movingMean: random.floats(n),
      movingVariance: random.floats(n, 0, 2),
    },
  }),
  layerNormalization: withColumns(
    rowwise((random, m, n) => ({
      immediates: { epsilon: pick(random, EPSILONS) },
      operands: { x: random.floats(m * n, -3, 3), gamma: perhaps(random, n), beta: perhaps(random, n) },
      writes: ['mean'].filter(() => random.integer(2) === 0),
    })),
  ),
  layerNormalizationGradient: withColumns(
    rowwise((random, m, n) => ({ operands: { ...normalizedRows(random, m, n), gamma: perhaps(random, n) } })),
  ),
  layerNormalizationScaleGradient: rowwise((random, m, n) => ({ operands: normalizedRows(random, m, n) })),
  dropout: rowwise((random, m, n) => ({
    immediates: { stream: random.integer(2 ** 32), rate: pick(random, [0, 0.1, 0.5, 0.99]) },
    operands: { x: random.floats(m * n), state: state(random), hyper: hyper(random) },
  })),
  dropoutGradient: rowwise((random, m, n) => ({ operands: { dY: random.floats(m * n), mask: random.floats(m * n, 0, 2) } })),

  meanSquaredError: elementwiseLoss(),
  meanAbsoluteError: elementwiseLoss(),
  huber: elementwiseLoss((random) => ({ delta: random.uniform(0.1, 2) })),
  binaryCrossEntropy: elementwiseLoss(none, (random, count) => random.floats(count, 0, 1)),
  softmaxCrossEntropy: withColumns(
    rowwise((random, m, n) => ({
      immediates: { reduction: random.integer(2), labelSmoothing: pick(random, [0, random.uniform(0, 0.5)]) },
      operands: { x: random.floats(m * n, -10, 10), ...classTargets(random, m, n), seed: seed(random) },
      writes: random.integer(2) === 0 ? [] : ['dX'],
    })),
  ),
  categoricalCrossEntropy: withColumns(
    rowwise((random, m, n) => ({
      immediates: { reduction: random.integer(2) },
      operands: { x: random.shares(m, n), ...classTargets(random, m, n), seed: seed(random) },
      writes: random.integer(2) === 0 ? [] : ['dX'],
    })),
  ),
  lossTotal: withColumns(
    rowwise((random, m) => ({
      immediates: { reduction: random.integer(2) },
      operands: { rowLoss: random.floats(m, 0, 3), totals: Float64Array.from(random.floats(8, 0, 100)) },
    })),
  ),
  accuracy: withColumns(
    rowwise((random, m, n) => ({
      immediates: { threshold: pick(random, [0, 0.5]) },
      operands: {
        x: random.floats(m * n),
        ...(n === 1 && random.integer(2) === 0
          ? { t: random.floats(m, 0, 1) }
          : n === 1
            ? { labels: random.labels(m, 2) }
            : classTargets(random, m, n)),
        totals: new Float64Array(8),
      },
    })),
  ),
  resetTotals: (random) => ({ dims: [], operands: { totals: Float64Array.from(random.floats(8)) } }),

  gather(random, { m, n }) {
    const rows = Math.max(m, 1);
    const { batch, order } = read(random, rows + 5, rows);
    const columns = Math.max(n, 1);
    const scaled = random.integer(2) === 0 ? {} : { mean: random.floats(columns), scale: random.floats(columns) };
    return {
      dims: [rows, columns],
      batch,
      immediates: { feed: 0, unchecked: random.integer(2) },
      operands: scaled,
      feeds: { input: { data: dataSet(random, (rows + 5) * columns), columns }, ...order },
    };
  },
  gatherLabels(random, { m, n }) {
    const [rows, classes] = [Math.max(m, 1), Math.min(Math.max(n, 1), 128)];
    const { batch, order } = read(random, rows + 5, rows);
    const data = new (pick(random, ARRAYS))(Array.from({ length: rows + 5 }, () => random.integer(classes)));
    return { dims: [rows, classes], batch, immediates: { feed: 1 }, operands: {}, feeds: { target: { data, columns: 1 }, ...order } };
  },
  scatter(random, { m, n }) {
    const [rows, columns, firstRow] = [Math.max(m, 1), Math.max(n, 1), random.integer(3)];
    return {
      dims: [rows, columns],
      batch: { dim: 0, rows: 1 + random.integer(rows), firstRow },
      immediates: { feed: 3 },
      operands: { x: random.floats(rows * columns) },
      feeds: { output: { data: new Float32Array((firstRow + rows) * columns), columns } },
    };
  },
  shuffle: (random, { m, n }) => ({
    dims: [],
    immediates: { feed: 2 },
    operands: { state: state(random) },
    feeds: { order: { data: new Uint32Array(m * Math.max(n, 1)), columns: 1 } },
  }),

  clipValue: (random, { m, n }) => ({
    dims: [m * Math.max(n, 1)],
    operands: { g: random.floats(m * Math.max(n, 1)), hyper: hyper(random) },
  }),
  globalNormScale: (random, { m, n }) => ({
    dims: [m * Math.max(n, 1)],
    operands: { g: random.floats(m * Math.max(n, 1)), hyper: hyper(random) },
  }),
  sgd: (random, sizes) => optimizer(random.integer(2) === 0 ? [] : ['moment1'], () => ({ nesterov: random.integer(2) }))(random, sizes),
  rmsprop: optimizer(['moment2'], none),
  adagrad: optimizer(['moment2'], none),
  adam: optimizer(['moment1', 'moment2'], (random) => ({ decoupled: random.integer(2) })),
  advance: (random) => ({ dims: [], operands: { hyper: hyper(random) } }),

  applyMask: (random, { m, n }) => ({
    dims: [m * Math.max(n, 1)],
    operands: {
      x: random.floats(m * Math.max(n, 1)),
      mask: Float32Array.from({ length: m * Math.max(n, 1) }, () => random.integer(2)),
    },
  }),
  addScaled: (random, { m, n }) => ({
    dims: [m * Math.max(n, 1)],
    immediates: { scale: random.uniform(-1, 1) },
    operands: { y: random.floats(m * Math.max(n, 1)), x: random.floats(m * Math.max(n, 1)) },
  }),
  softThreshold: (random, { m, n }) => ({
    dims: [m * Math.max(n, 1)],
    immediates: { lambda: random.uniform(0, 2) },
    operands: { x: random.floats(m * Math.max(n, 1)), hyper: hyper(random) },
  }),
  shrinkColumns: (random, { m, n }) => ({
    dims: [m, n],
    immediates: { lambda: random.uniform(0, 4) },
    operands: { x: random.floats(m * n), hyper: hyper(random) },
  }),

  fill: (random, { m, n }) => ({ dims: [m * Math.max(n, 1)], immediates: { value: random.uniform(-1, 1) }, operands: {} }),
  randomUniform: draws((random) => ({ low: random.uniform(-1, 0), high: random.uniform(0, 1) })),
  randomNormal: draws((random) => ({ mean: random.uniform(-1, 1), standardDeviation: random.uniform(0, 2) })),
  randomTruncatedNormal: draws((random) => ({ mean: random.uniform(-1, 1), standardDeviation: random.uniform(0, 2) })),
  orthogonalize(random, { m, n }) {
    const y = random.floats(m * n);
    // Far from dependent: the condition is below 5, whatever the sizes.
    for (let i = 0; i < Math.min(m, n); i++) y[i * n + i] += 2 * Math.sqrt(Math.max(m, n));
    return { dims: [m, n], immediates: { gain: random.uniform(0.5, 2) }, operands: { y } };
  },
  statistics: rowwise((random, m, n) => ({
    immediates: { threshold: random.uniform(0, 1) },
    operands: { x: spiked(random, m * n), minus: random.integer(2) === 0 ? undefined : random.floats(m * n, -2, 2) },
  })),
  histogram: rowwise((random, m, n) => {
    const x = random.floats(m * n, -3, 5);
    // Of the elements themselves, or of some others.
    const [low, high] = random.integer(2) === 0 ? [Math.min(...x), Math.max(...x)] : [random.uniform(-4, 1), random.uniform(1, 6)];
    return { operands: { x, statistics: Float64Array.of(0, 1, 1, low, high, 0, 0, m * n) } };
  }),
  columnDistances: rowwise((random, m, n) => ({ operands: { x: random.floats(m * n), from: random.floats(m * n) } })),
  spectralNorm: rowwise((random, m, n) => ({
    immediates: { iterations: 1 + random.integer(3) },
    operands: { x: random.floats(m * n), v: random.floats(n) },
  })),
  multiplyAdd: (random, { m, n }) => ({
    dims: [m * Math.max(n, 1)],
    immediates: { times: random.integer(20), factor: random.uniform(-1, 1) },
    operands: { y: random.floats(m * Math.max(n, 1)) },
  }),
  sumWords: rowwise((random, m, n) => ({
    immediates: { times: random.integer(5) },
    operands: { x: Uint32Array.from({ length: m * n }, () => random.integer(2 ** 32)) },
  })),
};
