// Regularisers: what they do to a step, exactly; that L1 and the group lasso reach 0 itself; that they are saved.
import { describe, expect, test } from 'vitest';
import {
  adagrad,
  adam,
  adamW,
  dense,
  groupLasso,
  l1,
  l2,
  loadModel,
  type Optimizer,
  type RegularizerInput,
  rmsprop,
  sequential,
  sgd,
  tensor,
} from '../src/index.js';
import { bitsOf } from './bits.js';
import { Random } from './engines.js';
import { refusal } from './refusal.js';

const ROWS = 48;
const random = new Random(3);
const x = tensor(random.floats(ROWS * 6), [ROWS, 6]);
const y = tensor(random.floats(ROWS * 3), [ROWS, 3]);

/** Learning rates are floats, so that tests can tell limits to the bit. */
const optimizers: Record<string, { readonly rate: number; readonly make: () => Optimizer }> = {
  sgd: { rate: 0.125, make: () => sgd({ learningRate: 0.125 }) },
  'sgd with momentum': { rate: 0.125, make: () => sgd({ learningRate: 0.125, momentum: 0.9, nesterov: true }) },
  rmsprop: { rate: 0.0625, make: () => rmsprop({ learningRate: 0.0625 }) },
  adagrad: { rate: 0.0625, make: () => adagrad({ learningRate: 0.0625 }) },
  adam: { rate: 0.03125, make: () => adam({ learningRate: 0.03125 }) },
  adamW: { rate: 0.03125, make: () => adamW({ learningRate: 0.03125, weightDecay: 0.25 }) },
};

function network(kernelRegularizer: RegularizerInput | undefined, optimizer: Optimizer, useBias = true) {
  const model = sequential({
    inputShape: [6],
    seed: 2,
    layers: [
      dense({ units: 9, activation: 'tanh', useBias, ...(kernelRegularizer && { kernelRegularizer }) }),
      dense({ units: 3, useBias, ...(kernelRegularizer && { kernelRegularizer }) }),
    ],
  });
  model.compile({ optimizer, loss: 'meanSquaredError' });
  return model;
}
type Model = ReturnType<typeof network>;

const weightsOf = (model: Model) => Object.fromEntries(model.weights.map(({ name, data }) => [name, data]));
const isKernel = (name: string) => name.endsWith('/kernel');

/** One step without a regulariser: what proximal steps start from. */
async function plainStep(optimizer: Optimizer) {
  const plain = network(undefined, optimizer);
  await plain.trainOnBatch(x, y);
  return weightsOf(plain);
}

describe.each(Object.entries(optimizers))('a step of %s', (_, { rate, make }) => {
  test('with L1 is the step without, then the soft threshold at learning rate times lambda', async () => {
    const model = network(l1(2), make());
    await model.trainOnBatch(x, y);
    const limit = Math.fround(rate * 2);
    const plain = await plainStep(make());
    let zeros = 0;
    for (const [name, weights] of Object.entries(weightsOf(model))) {
      const expected = plain[name].map((w) => (isKernel(name) ? Math.fround(w - Math.min(Math.max(w, -limit), limit)) : w));
      expect(bitsOf(weights), name).toEqual(bitsOf(expected));
      zeros += weights.filter((w) => Object.is(w, 0)).length;
    }
    expect(zeros).toBeGreaterThan(0);
  });

  test('with the group lasso is the step without, then whole columns shortened or gone', async () => {
    const plain = await plainStep(make());
    const column = (kernel: Float32Array, unit: number) => Array.from({ length: 6 }, (_, i) => kernel[i * 9 + unit]);
    const norms = Array.from({ length: 9 }, (_, unit) => Math.hypot(...column(plain['dense1/kernel'], unit)));
    // Four of the nine columns are shorter.
    const [below, above] = [...norms].sort((a, b) => a - b).slice(3, 5);
    const limit = (below + above) / 2;
    const model = network(groupLasso(limit / rate), make());
    await model.trainOnBatch(x, y);
    const { 'dense1/kernel': kernel, 'dense1/bias': bias } = weightsOf(model);
    expect(bitsOf(bias)).toEqual(bitsOf(plain['dense1/bias']));
    norms.forEach((norm, unit) => {
      const [before, after] = [plain['dense1/kernel'], kernel].map((values) => column(values, unit));
      if (norm < limit) expect(after.every((w) => Object.is(w, 0))).toBe(true);
      else after.forEach((w, i) => expect(w).toBeCloseTo(before[i] * (1 - limit / norm), 5));
    });
  });
});

describe('L2', () => {
  const twins: Record<string, (weightDecay: number) => Optimizer> = {
    sgd: (weightDecay) => sgd({ learningRate: 0.1, momentum: 0.9, weightDecay }),
    rmsprop: (weightDecay) => rmsprop({ weightDecay }),
    adagrad: (weightDecay) => adagrad({ weightDecay }),
    adam: (weightDecay) => adam({ weightDecay }),
  };
  test.each(Object.entries(twins))('is the weight decay of %s, to the bit', async (_, make) => {
    const [penalised, decayed] = [network(l2(0.25), make(0), false), network(undefined, make(0.25), false)];
    for (const model of [penalised, decayed]) await model.fit(x, y, { epochs: 3, batchSize: 16 });
    for (const [name, weights] of Object.entries(weightsOf(penalised)))
      expect(bitsOf(weights), name).toEqual(bitsOf(weightsOf(decayed)[name]));
  });

  test('is added before gradients are clipped, as a term of the loss would be', async () => {
    const step = async (optimizer: Optimizer, regularizer?: RegularizerInput) => {
      const model = network(regularizer, optimizer);
      const before = model.weights;
      await model.trainOnBatch(x, y);
      return Math.hypot(...model.weights.flatMap(({ data }, i) => Array.from(data, (w, j) => w - before[i].data[j])));
    };
    expect(await step(sgd({ learningRate: 1, clipGlobalNorm: 0.01 }), l2(100))).toBeCloseTo(0.01, 5);
    expect(await step(sgd({ learningRate: 1, clipGlobalNorm: 0.01, weightDecay: 100 }))).toBeGreaterThan(1);
  });
});

describe('what they are for', () => {
  /** The output is 2·x₀ − x₃; six inputs in all. */
  const wide = new Random(9).floats(256 * 6);
  const inputs = tensor(wide, [256, 6]);
  const target = Float32Array.from({ length: 256 }, (_, i) => 2 * wide[i * 6] - wide[i * 6 + 3]);

  async function regress(kernelRegularizer: RegularizerInput) {
    const model = sequential({ inputShape: [6], seed: 4, layers: [dense({ units: 1, kernelRegularizer })] });
    model.compile({ optimizer: sgd({ learningRate: 0.1 }), loss: 'meanSquaredError' });
    await model.fit(inputs, target, { epochs: 40, batchSize: 32 });
    return Array.from(model.weights[0].data);
  }

  test('L1 keeps the inputs that matter, and no other', async () => {
    const weights = await regress(l1(0.05));
    expect(weights.map((w) => w !== 0)).toEqual([true, false, false, true, false, false]);
    expect(weights[0]).toBeGreaterThan(1.8);
    expect(weights[3]).toBeLessThan(-0.8);
  });

  test('L2 makes weights small, and none 0', async () => {
    const weights = await regress(l2(0.5));
    expect(weights.every((w) => w !== 0)).toBe(true);
    expect(weights[0]).toBeLessThan(1.6);
  });

  test('the group lasso removes whole units, and no single weight', async () => {
    const model = sequential({
      inputShape: [6],
      seed: 4,
      layers: [dense({ units: 24, activation: 'relu', kernelRegularizer: groupLasso(0.02) }), dense({ units: 1 })],
    });
    model.compile({ optimizer: sgd({ learningRate: 0.1 }), loss: 'meanSquaredError' });
    const history = await model.fit(inputs, target, { epochs: 60, batchSize: 32 });
    const kernel = model.weights[0].data;
    const zeros = Array.from({ length: 24 }, (_, unit) => [0, 1, 2, 3, 4, 5].filter((i) => kernel[i * 24 + unit] === 0).length);
    expect(zeros.filter((count) => count === 6).length).toBeGreaterThan(8);
    expect(zeros.every((count) => count === 6 || count === 0)).toBe(true);
    expect(history.loss.at(-1)).toBeLessThan(0.05);
  });
});

describe('in a model', () => {
  test('the loss and the gradients that are told are those of the data', async () => {
    const [plain, penalised] = [undefined, l2(3)].map((regularizer) => network(regularizer, sgd()));
    expect((await penalised.gradients(x, y)).weights).toEqual((await plain.gradients(x, y)).weights);
    expect((await penalised.trainOnBatch(x, y)).loss).toBe((await plain.trainOnBatch(x, y)).loss);
  });

  test('the plan has one instruction for each kernel that has one, and none else', () => {
    const count = (regularizer: RegularizerInput | undefined) =>
      network(regularizer, adam()).plan.instructions.flatMap(({ op: { name } }) =>
        ['addScaled', 'softThreshold', 'shrinkColumns', 'applyMask'].includes(name) ? [name] : [],
      );
    expect(count(undefined)).toEqual([]);
    expect(count(l1(1))).toEqual(['softThreshold', 'softThreshold']);
    expect(count(l2(1))).toEqual(['addScaled', 'addScaled']);
    expect(count(groupLasso(1))).toEqual(['shrinkColumns', 'shrinkColumns']);
  });

  test.each([l1(0.25), l2(0.5), groupLasso(0.125)])('$config.name is saved with its layer', async (regularizer) => {
    const model = network(regularizer, sgd({ learningRate: 0.1 }));
    const loaded = await loadModel(await model.serialize());
    for (const one of [model, loaded]) await one.fit(x, y, { epochs: 2, batchSize: 16, shuffle: false });
    expect(bitsOf(loaded.weights[0].data)).toEqual(bitsOf(model.weights[0].data));
    const plain = network(undefined, sgd({ learningRate: 0.1 }));
    await plain.fit(x, y, { epochs: 2, batchSize: 16, shuffle: false });
    expect(bitsOf(plain.weights[0].data)).not.toEqual(bitsOf(model.weights[0].data));
  });

  test('what is no regulariser is refused', async () => {
    const any = (value: unknown) => value as never;
    expect(await refusal(() => l1(-1))).toBe('invalid-argument: l1: lambda: expected at least 0, got -1');
    expect(await refusal(() => l2(NaN))).toMatch(/^invalid-argument: l2: lambda: expected a finite number/);
    expect(await refusal(() => groupLasso(any('1')))).toMatch(/^invalid-argument: groupLasso: lambda/);
    const given = (kernelRegularizer: unknown) => () => dense({ units: 1, kernelRegularizer: any(kernelRegularizer) });
    expect(await refusal(given('l1'))).toMatch(/^invalid-argument: .*expected l1\(…\), l2\(…\) or groupLasso\(…\), got 'l1'$/);
    expect(await refusal(given({ name: 'l3', lambda: 1 }))).toMatch(/^unknown-name: .*'l3', did you mean 'l1'\?$/);
    expect(await refusal(given({ name: 'l1', lambda: 1, beta: 2 }))).toMatch(/^unknown-name: .*'beta'/);
    expect(await refusal(given({ name: 'l1' }))).toMatch(/^invalid-argument: l1: lambda/);
  });
});
