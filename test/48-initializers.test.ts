// Initialisers that do more than draw: orthogonal kernels, weights fitted to data (LSUV), gains; and what theory promises of depth.
// What each draw promises of its spread and shape is in 13-random.test.ts.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ACTIVATION_NAMES, type ActivationName, type ActivationOptions } from '../src/activations.js';
import {
  activation,
  constant,
  dense,
  gain,
  glorotNormal,
  heNormal,
  type InitializerInput,
  loadModel,
  lsuv,
  orthogonal,
  sequential,
  type Sequential,
  sgd,
  tensor,
  varianceScaling,
  whitening,
} from '../src/index.js';
import { setMasks } from '../src/pruning/index.js';
import { activations } from '../src/reference.js';
import { expectSameBits, onEngine, type OpCase, ran, Random, strictTables, tables } from './engines.js';
import { refusal } from './refusal.js';

const any = (value: unknown) => value as never;

const kernelOf = (fanIn: number, units: number, kernelInitializer: InitializerInput, seed = 3) =>
  sequential({ inputShape: [fanIn], seed, layers: [dense({ units, kernelInitializer, useBias: false })] }).weights[0].data;

/** How far WᵀW (WWᵀ of a wide one) is from gain²·I, at most. */
function defect(kernel: Float32Array, fanIn: number, units: number, gain = 1): number {
  const [count, length, next, along] = fanIn < units ? [fanIn, units, units, 1] : [units, fanIn, 1, units];
  let worst = 0;
  for (let a = 0; a < count; a++)
    for (let b = 0; b <= a; b++) {
      let sum = 0;
      for (let i = 0; i < length; i++) sum += kernel[a * next + i * along] * kernel[b * next + i * along];
      worst = Math.max(worst, Math.abs(sum / gain ** 2 - (a === b ? 1 : 0)));
    }
  return worst;
}

/** Of a sum over a vector's elements, in float32. */
const rounding = (fanIn: number, units: number) => (Math.sqrt(Math.max(fanIn, units)) + 4) * 2 ** -23;

const spreadOf = (values: ArrayLike<number>) => {
  const mean = Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(Array.from(values).reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
};

describe('orthogonal', () => {
  test('WᵀW = gain²·I, WWᵀ of a wide kernel; any shape', () => {
    const size = fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(31, 32, 33, 64, 65, 130));
    fc.assert(
      fc.property(size, size, fc.constantFrom(1, 0.1, Math.SQRT2), fc.nat(), (fanIn, units, gain, seed) => {
        const kernel = kernelOf(fanIn, units, orthogonal({ gain }), seed);
        expect(defect(kernel, fanIn, units, gain)).toBeLessThan(rounding(fanIn, units));
      }),
      { numRuns: 60 },
    );
  });

  test.each([
    [300, 300],
    [784, 300],
    [100, 500],
  ])('%i inputs, %i units', (fanIn, units) => {
    expect(defect(kernelOf(fanIn, units, 'orthogonal'), fanIn, units)).toBeLessThan(rounding(fanIn, units));
  });

  test(`the same bits in strict mode on every instruction set (${ran})`, () => {
    for (const [m, n] of [
      [90, 70],
      [70, 90],
      [257, 33],
      [1, 5],
    ]) {
      const given: OpCase = { op: 'orthogonalize', dims: [m, n], immediates: { gain: 1.3 }, operands: { y: new Random(m).floats(m * n) } };
      const first = onEngine(given, strictTables[0]).operands.y;
      for (const table of strictTables) expectSameBits(table.name, onEngine(given, table).operands.y, first);
    }
  });

  test('vectors are made in order, each turned as little as can be; zeros become unit vectors', () => {
    for (const table of tables) {
      const run = (m: number, n: number, y: readonly number[]) =>
        Array.from(
          onEngine({ op: 'orthogonalize', dims: [m, n], immediates: { gain: 1 }, operands: { y: Float32Array.from(y) } }, table).operands.y,
        );
      expect(run(2, 3, [0, 4, 0, 3, 4, 0])).toEqual([0, 1, 0, 1, 0, 0]);
      expect(run(3, 2, [0, 3, 4, 4, 0, 0])).toEqual([0, 1, 1, 0, 0, 0]);
      expect(run(1, 1, [-0.25])).toEqual([-1]);
      expect(run(2, 3, [0, 0, 0, 0, 0, 0])).toEqual([1, 0, 0, 0, 1, 0]);
      expect(run(3, 2, [0, 0, 0, 0, 0, 0])).toEqual([1, 0, 0, 1, 0, 0]);
    }
  });

  test('no direction is preferred: the signs and sizes of corners', () => {
    // Of a uniformly distributed rotation, an element has variance 1/n, and its sign is a coin's.
    const n = 4;
    const draws = Array.from({ length: 600 }, (_, seed) => kernelOf(n, n, 'orthogonal', seed));
    for (const at of [0, 3, 5, 15]) {
      const corner = draws.map((kernel) => kernel[at]);
      // Three standard errors; the squares' kurtosis is 3·n/(n + 2) = 2.
      expect(Math.abs(corner.reduce((sum, value) => sum + value, 0) / 600)).toBeLessThan((3 * 0.5) / Math.sqrt(600));
      expect(Math.abs(corner.reduce((sum, value) => sum + value ** 2, 0) / 600 - 1 / n)).toBeLessThan((3 * (1 / n)) / Math.sqrt(600));
    }
  });

  test('is drawn from the seed, each kernel of its own, and comes back from a model file', async () => {
    const build = (seed: number) =>
      sequential({ inputShape: [20], seed, layers: [dense({ units: 20, kernelInitializer: orthogonal({ gain: 2 }) }), dense({ units: 20, kernelInitializer: 'orthogonal' })] }); // prettier-ignore
    const kernels = (model: Sequential) => model.weights.filter(({ name }) => name.endsWith('kernel')).map(({ data }) => data.join());
    expect(kernels(build(1))).toEqual(kernels(build(1)));
    expect(new Set([...kernels(build(1)), ...kernels(build(2))]).size).toBe(4);
    const model = build(1);
    const bytes = await model.serialize();
    const loaded = await loadModel(bytes);
    model.weights.forEach(({ name, data }, i) => expectSameBits(name, loaded.weights[i].data, data));
    expect(await loaded.serialize()).toEqual(bytes);
  });

  test.each<[string, () => unknown, RegExp]>([
    ['a gain of 0', () => orthogonal({ gain: 0 }), /^invalid-argument: orthogonal: gain: expected more than 0, got 0$/],
    ['a gain that is no number', () => orthogonal({ gain: NaN }), /^invalid-argument: /],
    ['a misspelt option', () => orthogonal(any({ gian: 1 })), /^unknown-name: .*did you mean 'gain'\?$/],
    [
      'a bias',
      () => sequential({ inputShape: [2], layers: [dense({ units: 3, biasInitializer: 'orthogonal' })] }),
      /^shape-mismatch: orthogonal: expected a kernel \[fanIn, units\], got 'dense1\/bias' \[3\]$/,
    ],
  ])('refuses %s', async (_, call, message) => {
    expect(await refusal(call)).toMatch(message);
  });
});

describe('gain', () => {
  /** E[a(z)²]: the trapezoidal rule on pieces between kinks, each mapped so that it converges at their ends too. */
  function secondMoment(given: ActivationName | ActivationOptions): number {
    const { name, negativeSlope, alpha } = typeof given === 'string' ? { name: given } as ActivationOptions : given; // prettier-ignore
    const { value } = activations[name as keyof typeof activations];
    const parameter = negativeSlope ?? alpha ?? (name === 'leakyRelu' ? 0.01 : 1);
    const kinks = [-40, -3, 0, 3, 40];
    let total = 0;
    for (let piece = 0; piece + 1 < kinks.length; piece++) {
      const [low, high] = [kinks[piece], kinks[piece + 1]];
      const steps = 4000;
      // Gauss–Legendre of five points in each step.
      const [points, weights] = [[0, 0.5384693101056831, 0.9061798459386640], [0.5688888888888889, 0.4786286704993665, 0.2369268850561891]]; // prettier-ignore
      const width = (high - low) / steps;
      for (let i = 0; i < steps; i++) {
        const center = low + (i + 0.5) * width;
        for (const [k, point] of points.entries())
          for (const z of point === 0 ? [center] : [center - (point * width) / 2, center + (point * width) / 2])
            total += ((weights[k] * width) / 2) * value(z, parameter) ** 2 * Math.exp((-z * z) / 2);
      }
    }
    return total / Math.sqrt(2 * Math.PI);
  }

  const cases: (ActivationName | ActivationOptions)[] = [
    ...ACTIVATION_NAMES.filter((name) => name !== 'softmax'),
    { name: 'leakyRelu', negativeSlope: 0.3 },
    { name: 'elu', alpha: 0.4 },
  ];
  test.each(cases)('%j: 1/√E[a(z)²]', (given) => {
    expect(Math.abs(gain(given) * Math.sqrt(secondMoment(given)) - 1)).toBeLessThan(1e-12);
  });

  test('known ones', () => {
    expect(gain('linear')).toBe(1);
    expect(gain('relu')).toBe(Math.SQRT2);
    expect(gain('selu')).toBe(1);
    expect(gain({ name: 'leakyRelu', negativeSlope: 0.2 })).toBeCloseTo(Math.sqrt(2 / 1.04), 14);
    expect([gain('tanh'), gain('gelu'), gain('silu')].map((value) => value.toFixed(3))).toEqual(['1.593', '1.534', '1.677']);
  });

  test('softmax has none', async () => {
    expect(await refusal(() => gain('softmax'))).toMatch(/^invalid-argument: gain: 'softmax'/);
    expect(await refusal(() => gain(any('rellu')))).toMatch(/^unknown-name: /);
    expect(await refusal(() => gain(any(undefined)))).toMatch(/^invalid-argument: /);
  });
});

/** Normal draws: rows of inputs of unit variance. */
function normals(rows: number, columns: number, seed = 1) {
  const random = new Random(seed);
  const draw = () => Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform());
  return tensor(Float32Array.from({ length: rows * columns }, draw), [rows, columns]);
}

/** Mean square of a network's last output. */
async function depth(layers: number, units: number, given: ActivationName, kernelInitializer: InitializerInput): Promise<number> {
  const stack = Array.from({ length: layers }, () => dense({ units, activation: given, kernelInitializer }));
  const { data } = await sequential({ inputShape: [units], seed: 7, layers: stack }).predict(normals(100, units));
  return data.reduce((sum, value) => sum + value ** 2, 0) / data.length;
}

describe('what theory promises', () => {
  test('Glorot, 784 inputs to 300 units: standard deviation 0.0430', () => {
    const kernel = kernelOf(784, 300, glorotNormal());
    expect(Math.sqrt(2 / (784 + 300)).toFixed(4)).toBe('0.0430');
    expect(Math.abs(spreadOf(kernel) / Math.sqrt(2 / 1084) - 1)).toBeLessThan(3 / Math.sqrt(2 * kernel.length));
  });

  test('a product of fanIn terms of unit variance has variance fanIn·Var(W)', async () => {
    const [fanIn, units, rows] = [400, 50, 400];
    const layers = [dense({ units, kernelInitializer: varianceScaling({ scale: 3 }) })];
    const { data } = await sequential({ inputShape: [fanIn], seed: 2, layers }).predict(normals(rows, fanIn));
    // Of 400·50 outputs in 50 units, whose own variances differ by √(2/fanIn).
    expect(Math.abs(spreadOf(data) ** 2 / 3 - 1)).toBeLessThan(3 * (Math.sqrt(2 / fanIn / units) + Math.sqrt(2 / (rows * units))));
  });

  test('20 layers keep the mean square where the gain is right, and lose it where it is not', async () => {
    // Twenty layers of 256: each multiplies the mean square by 1 ± √(5/256), as measured over seeds.
    const near = (value: number) => expect(Math.abs(Math.log(value))).toBeLessThan(1.5);
    near(await depth(20, 256, 'relu', heNormal()));
    near(await depth(20, 256, 'tanh', varianceScaling({ scale: gain('tanh') ** 2 })));
    near(await depth(20, 256, 'relu', orthogonal({ gain: gain('relu') })));
    near(await depth(20, 256, 'selu', 'lecunNormal'));
    expect(await depth(20, 256, 'relu', glorotNormal())).toBeLessThan(2 ** -16);
    expect(await depth(20, 256, 'relu', { name: 'normal', standardDeviation: 0.01 })).toBeLessThan(1e-30);
  });

  test('orthogonal keeps the length of every row through any depth of linear layers', async () => {
    const x = normals(30, 64);
    const layers = Array.from({ length: 100 }, () => dense({ units: 64, kernelInitializer: 'orthogonal' }));
    const { data } = await sequential({ inputShape: [64], seed: 1, layers }).predict(x);
    const norm = (values: ArrayLike<number>, row: number) => Math.hypot(...Array.from(values).slice(row * 64, row * 64 + 64));
    for (let row = 0; row < 30; row++) expect(Math.abs(norm(data, row) / norm(x.data, row) - 1)).toBeLessThan(1e-5);
  });
});

describe('lsuv', () => {
  /** Standard deviation of what each dense layer hands on, before its activation: by models of the first layers. */
  async function deviations(
    model: Sequential,
    widths: readonly number[],
    given: ActivationName,
    x: ReturnType<typeof tensor>,
    inputs: number,
  ) {
    const weights = model.weights;
    const result: number[] = [];
    for (let count = 1; count <= widths.length; count++) {
      const layers = widths.slice(0, count).map((units, i) => dense({ units, activation: i === count - 1 ? 'linear' : given }));
      const part = sequential({ inputShape: [inputs], layers });
      part.setWeights(weights.slice(0, 2 * count));
      result.push(spreadOf((await part.predict(x)).data));
    }
    return result;
  }

  const names: ActivationName[] = ['relu', 'tanh', 'sigmoid', 'gelu', 'silu', 'softplus'];
  test.each(names)('20 layers of %s: variance 1 before every activation', async (given) => {
    const widths = Array.from({ length: 20 }, (_, i) => 40 + 3 * (i % 5));
    const x = normals(300, 30);
    const model = sequential({ inputShape: [30], seed: 4, layers: widths.map((units) => dense({ units, activation: given, kernelInitializer: 'glorotUniform' })) }); // prettier-ignore
    const report = await lsuv(model, x, { tolerance: 1e-4 });
    expect(report.map(({ layer }) => layer)).toEqual(widths.map((_, i) => `dense${i + 1}`));
    for (const { standardDeviation, iterations } of report) {
      expect(Math.abs(standardDeviation ** 2 - 1)).toBeLessThanOrEqual(1e-4);
      expect(iterations).toBeLessThanOrEqual(2);
    }
    const measured = await deviations(model, widths, given, x, 30);
    measured.forEach((value, i) => {
      expect(Math.abs(value - 1)).toBeLessThan(1e-3);
      expect(Math.abs(value - report[i].standardDeviation)).toBeLessThan(1e-4);
    });
    // Orthogonal but for the factor.
    expect(defect(model.weights[2].data, widths[0], widths[1], report[1].factor)).toBeLessThan(1e-5);
  });

  test('weights that are there, an activation of its own layer, input scaling, biases', async () => {
    const layers = [
      dense({ units: 30, biasInitializer: constant({ value: 3 }) }),
      activation('relu'),
      dense({ units: 20, activation: 'softmax', biasInitializer: 'normal', kernelInitializer: 'ones' }),
    ];
    const model = sequential({ inputShape: [10], seed: 4, layers, inputScaling: { mean: 5, standardDeviation: 0.1 } });
    model.compile({ optimizer: sgd(), loss: 'categoricalCrossEntropy' });
    const before = model.weights;
    const report = await lsuv(model, normals(600, 10), { weights: 'present' });
    expect(report.map(({ layer }) => layer)).toEqual(['dense1', 'dense2']);
    report.forEach(({ standardDeviation, factor }, i) => {
      expect(Math.abs(standardDeviation ** 2 - 1)).toBeLessThanOrEqual(0.01);
      model.weights[2 * i].data.forEach((value, j) => expect(Math.abs(value / (before[2 * i].data[j] * factor) - 1)).toBeLessThan(1e-5));
    });
    for (const i of [1, 3]) expectSameBits('bias', model.weights[i].data, before[i].data);
  });

  test('what is not trained stays: a whitening layer is measured through', async () => {
    const x = normals(400, 6);
    const layers = [whitening({ kind: 'zca' }).fit(x).layer(), dense({ units: 12, activation: 'tanh' }), dense({ units: 2 })];
    const model = sequential({ inputShape: [6], seed: 8, layers });
    const before = model.weights;
    const report = await lsuv(model, x);
    expect(report.map(({ layer }) => layer)).toEqual(['dense1', 'dense2']);
    for (const i of [0, 1]) expectSameBits(before[i].name, model.weights[i].data, before[i].data);
    // Orthonormal columns of half as many inputs: rows of unit length, for white inputs outputs of variance ½.
    expect(Math.abs(report[0].factor - Math.SQRT2)).toBeLessThan(1e-3);
  });

  test('what is pruned stays 0', async () => {
    const model = sequential({ inputShape: [6], seed: 8, layers: [dense({ units: 12, activation: 'relu' }), dense({ units: 2 })] });
    const mask = Uint8Array.from({ length: 72 }, (_, i) => (i % 3 === 0 ? 0 : 1));
    await setMasks(model, [{ name: 'dense1/kernel', data: mask }]);
    for (const weights of ['orthogonal', 'present'] as const) {
      const [{ standardDeviation }] = await lsuv(model, normals(300, 6), { weights });
      expect(Math.abs(standardDeviation - 1)).toBeLessThan(0.01);
      expect(model.weights[0].data.every((value, i) => (value === 0) === (mask[i] === 0))).toBe(true);
    }
  });

  test('one seed, one result, for any number of threads', async () => {
    const run = async (threads: number) => {
      const model = sequential({ inputShape: [50], seed: 9, layers: [dense({ units: 60, activation: 'gelu' }), dense({ units: 5 })] });
      model.compile({ optimizer: sgd(), loss: 'meanSquaredError', threads });
      await lsuv(model, normals(700, 50));
      return model.weights;
    };
    const [one, two] = [await run(1), await run(2)];
    one.forEach(({ name, data }, i) => expectSameBits(name, two[i].data, data));
  });

  test('waits its turn behind calls made before', async () => {
    const model = sequential({ inputShape: [4], layers: [dense({ units: 3 })] });
    const x = normals(20, 4);
    const [before, , after] = await Promise.all([model.predict(x), lsuv(model, x), model.predict(x)]);
    expect(spreadOf(after.data)).toBeCloseTo(1, 5);
    expect(spreadOf(before.data)).not.toBeCloseTo(1, 5);
  });

  const make = (kernelInitializer: InitializerInput = 'glorotUniform') =>
    sequential({ inputShape: [3], layers: [dense({ units: 4, activation: 'relu', kernelInitializer }), dense({ units: 2 })] });
  const dead = () => {
    const model = make();
    model.setWeights([{ name: 'dense1/bias', data: [-1e3, -1e3, -1e3, -1e3] }]);
    return model;
  };
  test.each<[string, (model: Sequential) => unknown, RegExp, (() => Sequential)?]>([
    [
      'inputs that never change',
      (model) => lsuv(model, tensor(new Float32Array(30), [10, 3])),
      /^invalid-argument: lsuv: layer 'dense1' gives the same number/,
    ],
    ['a layer that is dead', (model) => lsuv(model, normals(20, 3)), /^invalid-argument: lsuv: layer 'dense2' gives the same number/, dead],
    ['NaN', (model) => lsuv(model, [[1, 2, NaN]]), /^non-finite-input: x: row 0, column 2/],
    ['another width', (model) => lsuv(model, [[1, 2]]), /^shape-mismatch: x: the model's input has 3 numbers/],
    ['no rows', (model) => lsuv(model, []), /^empty-data: lsuv: x is empty$/],
    ['a tolerance of 0', (model) => lsuv(model, [[1, 2, 3]], { tolerance: 0 }), /^invalid-argument: lsuv: tolerance/],
    ['no iterations', (model) => lsuv(model, [[1, 2, 3]], { maxIterations: 0 }), /^invalid-argument: lsuv: maxIterations/],
    ['weights of another kind', (model) => lsuv(model, [[1, 2, 3]], { weights: any('orthogonel') }), /^unknown-name: .*'orthogonal'\?$/],
    ['a misspelt option', (model) => lsuv(model, [[1, 2, 3]], any({ tolerence: 1 })), /^unknown-name: .*'tolerance'\?$/],
    ['what is no model', () => lsuv(any({}), [[1, 2, 3]]), /^invalid-argument: lsuv: expected a model/],
    [
      'numbers that overflow',
      (model) => lsuv(model, normals(20, 3), { weights: 'present' }),
      /^non-finite-input: lsuv: what layer 'dense1' gives/,
      () => make({ name: 'constant', value: 3e38 }),
    ],
  ])('refuses %s, and leaves the weights', async (_, call, message, from = make) => {
    const model = from();
    const before = model.weights;
    expect(await refusal(() => call(model))).toMatch(message);
    model.weights.forEach(({ name, data }, i) => expectSameBits(name, data, before[i].data));
  });

  test('a disposed model', async () => {
    const model = make();
    model.dispose();
    expect(await refusal(() => lsuv(model, [[1, 2, 3]]))).toMatch(/^disposed: /);
  });
});
