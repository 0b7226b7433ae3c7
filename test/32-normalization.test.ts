// Weights that no gradient reaches, and the layers that normalise. What single instructions compute is in 10-ops, gradients in
// 30-gradients, whole runs against PyTorch in 50-golden.
import { describe, expect, test } from 'vitest';
import {
  adam,
  batchNormalization,
  constant,
  dense,
  type Layer,
  layerNormalization,
  loadModel,
  ones,
  rmsNormalization,
  type Sequential,
  sequential,
  sgd,
} from '../src/index.js';
import { decodeSafetensors, encodeSafetensors } from '../src/safetensors.js';
import { allowThreads, expectSameBits, Random, strictTables } from './engines.js';
import { Network } from './networks.js';
import { refusal } from './refusal.js';

allowThreads(4);

// ── Weights that are not trainable ─────────────────────────────────────────────────────────────────────────────────────

/** y = x + shift, shift fixed; `steps` counts what plans that update have done. */
const shifted = (shift: number): Layer => ({
  kind: 'shifted',
  name: 'shifted',
  config: {},
  build(units, declare) {
    const fixed = declare('shift', [units], constant({ value: shift }), { trainable: false });
    const steps = declare('steps', [1], constant({ value: 0 }), { trainable: false, min: 0 });
    const one = declare('one', [1], ones(), { trainable: false });
    return {
      units,
      record(plan, x) {
        const y = plan.addBias(x, fixed.value);
        plan.backward(x, y, (dY) => dY);
        plan.afterLoss(() => plan.emit('addBias', [1, 1], { x: steps.value, bias: one.value, y: steps.value }));
        return y;
      },
    };
  },
});

const options = { optimizer: adam({ learningRate: 0.01, clipGlobalNorm: 0.5, weightDecay: 0.1 }), loss: 'meanSquaredError' } as const;

function examples(rows: number, columns: number, units: number, seed = 1) {
  const random = new Random(seed);
  return {
    x: { data: random.floats(rows * columns), shape: [rows, columns] },
    y: { data: random.floats(rows * units), shape: [rows, units] },
  };
}

describe('weights that are not trainable', () => {
  const make = (shift: number) => {
    const model = sequential({ inputShape: [5], layers: [dense({ units: 7, name: 'a' }), shifted(shift), dense({ units: 3, name: 'b' })] });
    model.compile(options);
    return model;
  };
  const { x, y } = examples(40, 5, 3);

  test('are listed, counted and given back, without a gradient', async () => {
    const model = make(0.5);
    expect(model.weights.map(({ name, trainable }) => [name, trainable])).toEqual([
      ['a/kernel', true],
      ['a/bias', true],
      ['shifted/shift', false],
      ['shifted/steps', false],
      ['shifted/one', false],
      ['b/kernel', true],
      ['b/bias', true],
    ]);
    expect(model.summary().split('\n').at(-1)).toBe('75 weights: 66 trainable, 9 fixed');
    const gradients = await model.gradients(x, y);
    expect(gradients.weights.map(({ name }) => name)).toEqual(['a/kernel', 'a/bias', 'b/kernel', 'b/bias']);
  });

  test('the optimizer does not see them: training equals that of a network without', async () => {
    const model = make(0);
    const plain = sequential({ inputShape: [5], layers: [dense({ units: 7, name: 'a' }), dense({ units: 3, name: 'b' })] });
    plain.compile(options);
    plain.setWeights(model.weights.filter(({ trainable }) => trainable));
    for (const each of [model, plain]) await each.fit(x, y, { epochs: 3, batchSize: 8 });
    const trained = model.weights.filter(({ trainable }) => trainable);
    plain.weights.forEach(({ name, data }, i) => expectSameBits(name, trained[i].data, data));
    expect(model.weights[2].data).toEqual(new Float32Array(7));
  });

  test('change with every step of training, and with nothing else', async () => {
    const model = make(0.5);
    const steps = () => model.weights[3].data[0];
    await model.fit(x, y, { epochs: 2, batchSize: 8, validationSplit: 0.2 });
    expect(steps()).toBe(8);
    await model.trainOnBatch(x, y);
    expect(steps()).toBe(9);
    await model.gradients(x, y);
    await model.evaluate(x, y);
    await model.predict(x);
    expect(steps()).toBe(9);
    model.compile({ optimizer: sgd({ learningRate: 0 }), loss: 'meanSquaredError' });
    expect(steps()).toBe(9);
    expect(model.weights[2].data).toEqual(new Float32Array(7).fill(0.5));
  });

  test('do not change in a step whose loss is not finite', async () => {
    const model = make(0.5);
    await model.trainOnBatch(x, y);
    model.setWeights([{ name: 'b/bias', data: [3e38, 3e38, 3e38] }]);
    expect(await refusal(() => model.trainOnBatch(x, y))).toMatch(/^diverged: the loss/);
    expect(model.weights[3].data[0]).toBe(1);
  });

  test('can be set, within their range', async () => {
    const model = make(0.5);
    const before = model.weights;
    expect(await refusal(() => model.setWeights([{ name: 'shifted/steps', data: [-1] }]))).toBe(
      "invalid-argument: setWeights: 'shifted/steps': element 0: expected at least 0, got -1",
    );
    expect(model.weights).toEqual(before);
    model.setWeights([
      { name: 'shifted/steps', data: [4] },
      { name: 'shifted/shift', data: new Float32Array(7), trainable: false },
    ]);
    expect(model.weights[3].data[0]).toBe(4);
    expect(model.weights[2].data).toEqual(new Float32Array(7));
  });

  test('may be all that a network has', async () => {
    const model = sequential({ inputShape: [3], layers: [shifted(1)] });
    model.compile(options);
    const { loss } = await model.fit(examples(6, 3, 3).x, examples(6, 3, 3).y, { epochs: 2, batchSize: 6 });
    expect(loss[1]).toBe(loss[0]);
    expect(model.weights[1].data[0]).toBe(2);
  });
});

// ── Batch normalisation ────────────────────────────────────────────────────────────────────────────────────────────────

const still = { optimizer: sgd({ learningRate: 0 }), loss: 'meanSquaredError' } as const;

/** A network of one batch normalisation of two columns, trained on in steps that change no trainable weight. */
function normalizing(given: Parameters<typeof batchNormalization>[0] = {}) {
  const model = sequential({ inputShape: [2], layers: [batchNormalization({ name: 'norm', ...given }), dense({ units: 1 })] });
  model.compile(still);
  return model;
}

const moving = (model: Sequential) => {
  const [mean, variance] = model.weights.filter(({ trainable }) => !trainable);
  return { mean: [...mean.data], variance: [...variance.data] };
};

/** Columns of mean 5 and −300, standard deviation 3 and 0.1. */
function skewed(rows: number, seed = 3) {
  const random = new Random(seed);
  const uniform = (mean: number, deviation: number) => random.uniform(mean - Math.sqrt(3) * deviation, mean + Math.sqrt(3) * deviation);
  const data = Float32Array.from({ length: rows * 2 }, (_, i) => (i % 2 === 0 ? uniform(5, 3) : uniform(-300, 0.1)));
  return { x: { data, shape: [rows, 2] }, y: { data: random.floats(rows), shape: [rows, 1] } };
}

/** In float64. */
function statisticsOf(data: Float32Array) {
  const columns = [0, 1].map((column) => [...data].filter((_, i) => i % 2 === column));
  const mean = columns.map((values) => values.reduce((sum, value) => sum + value, 0) / values.length);
  const square = columns.map((values, j) => values.reduce((sum, value) => sum + (value - mean[j]) ** 2, 0));
  return {
    mean,
    variance: square.map((sum, j) => sum / columns[j].length),
    unbiased: square.map((sum, j) => sum / (columns[j].length - 1)),
  };
}

function expectNear(actual: readonly number[], expected: readonly number[], relative: number): void {
  expected.forEach((value, i) =>
    expect(Math.abs(actual[i] - value), `${actual[i]}, expected ${value}`).toBeLessThan(relative * Math.abs(value)),
  );
}

describe('batch normalisation', () => {
  test('one step moves the averages by 1 − momentum towards the batch: its mean, its unbiased variance', async () => {
    const { x, y } = skewed(9);
    const { mean, unbiased } = statisticsOf(x.data);
    const model = normalizing({ momentum: 0.75 });
    expect(moving(model)).toEqual({ mean: [0, 0], variance: [1, 1] });
    await model.trainOnBatch(x, y);
    expectNear(moving(model).mean, mean.map((value) => 0.25 * value), 1e-6); // prettier-ignore
    expectNear(moving(model).variance, unbiased.map((value) => 0.75 + 0.25 * value), 1e-5); // prettier-ignore
  });

  test('with the batch as their whole past, predictions are what training saw', async () => {
    const { x, y } = skewed(9);
    const { mean, variance } = statisticsOf(x.data);
    const model = normalizing();
    model.setWeights([
      { name: 'norm/gamma', data: [1.5, -0.5] },
      { name: 'norm/beta', data: [0.25, 3] },
      { name: 'norm/movingMean', data: mean },
      { name: 'norm/movingVariance', data: variance },
    ]);
    const { loss } = await model.gradients(x, y);
    expectNear([(await model.evaluate(x, y)).loss], [loss], 1e-5);
    const kernel = model.weights.find(({ name }) => name.endsWith('kernel'))!.data;
    const expected = Array.from({ length: 9 }, (_, i) =>
      [0, 1].reduce((sum, j) => {
        const normal = (x.data[2 * i + j] - mean[j]) / Math.sqrt(variance[j] + 1e-5);
        return sum + kernel[j] * (normal * [1.5, -0.5][j] + [0.25, 3][j]);
      }, 0),
    );
    const { data } = await model.predict(x);
    expected.forEach((value, i) => expect(data[i]).toBeCloseTo(value, 3));
  });

  test('in training, statistics converge to those of the data; predicting, evaluating and gradients() leave them alone', async () => {
    const { x, y } = skewed(600);
    const { mean, unbiased } = statisticsOf(x.data);
    const model = normalizing({ momentum: 0.99 });
    await model.fit(x, y, { epochs: 150, batchSize: 60 });
    const trained = moving(model);
    expectNear(trained.mean, mean, 0.02);
    expectNear(trained.variance, unbiased, 0.05);
    await model.evaluate(x, y);
    await model.predict(x);
    await model.gradients(x, y);
    expect(moving(model)).toEqual(trained);
  });

  test('a column that is constant, however large, differs from its mean by exactly 0', async () => {
    for (const rows of [2, 7, 100, 1001]) {
      const constant = Math.fround(16777213.4 / 3);
      const data = Float32Array.from({ length: rows * 2 }, (_, i) => (i % 2 === 0 ? constant : -1e-3));
      const model = normalizing({ momentum: 0 });
      await model.trainOnBatch({ data, shape: [rows, 2] }, { data: new Float32Array(rows), shape: [rows, 1] });
      expect(moving(model), `${rows} rows`).toEqual({ mean: [constant, Math.fround(-1e-3)], variance: [0, 0] });
    }
  });

  test('a prediction does not depend on the rows beside it', async () => {
    const { x, y } = skewed(100);
    const model = normalizing();
    await model.fit(x, y, { batchSize: 10 });
    const all = await model.predict(x);
    for (const i of [0, 17, 99])
      expectSameBits(`row ${i}`, model.predictSync({ data: x.data.subarray(2 * i, 2 * i + 2), shape: [1, 2] }).data, all.data.subarray(i, i + 1)); // prettier-ignore
  });

  test('a step that diverges leaves the averages as they were; they may be what diverges', async () => {
    const { x, y } = skewed(10);
    const model = normalizing();
    await model.trainOnBatch(x, y);
    const before = moving(model);
    model.setWeights([{ name: 'dense1/bias', data: [3e38] }]);
    expect(await refusal(() => model.trainOnBatch(x, y))).toMatch(/^diverged: the loss stopped being finite in step 1/);
    expect(moving(model)).toEqual(before);
    model.setWeights([{ name: 'dense1/bias', data: [0] }]);
    const wide = { data: x.data.map((value) => value * 1e20), shape: [10, 2] };
    expect(await refusal(() => model.trainOnBatch(wide, y))).toMatch(
      /^diverged: a weight stopped being finite in step 1; the first tensor that did: weight 'norm\/movingVariance' of layer 'norm'/,
    );
  });

  describe('a training batch of one row is refused before a weight changes', () => {
    const { x, y } = skewed(65);
    const rows = (count: number) => [
      { data: x.data.subarray(0, 2 * count), shape: [count, 2] },
      { data: y.data.subarray(0, count), shape: [count, 1] },
    ] as const; // prettier-ignore
    const reason = "layer 'norm' takes statistics over the batch and needs at least 2 rows";

    test.each([
      [65, { batchSize: 32 }, `batchSize 32 makes a last batch of 1 out of 65 rows; ${reason}: batchSize 33 would do`],
      [65, { batchSize: 64 }, `batchSize 64 makes a last batch of 1 out of 65 rows; ${reason}: batchSize 65 would do`],
      [65, { batchSize: 1 }, `batchSize 1 makes batches of 1 out of 65 rows; ${reason}: batchSize 3 would do`],
      [64, { batchSize: 7 }, `batchSize 7 makes a last batch of 1 out of 64 rows; ${reason}: batchSize 8 would do`],
      [33, {}, `batchSize 32 makes a last batch of 1 out of 33 rows; ${reason}: batchSize 33 would do`],
      [1, {}, `${reason}, got 1`],
      [11, { validationSplit: 0.1, batchSize: 3 }, `batchSize 3 makes a last batch of 1 out of 10 rows; ${reason}: batchSize 4 would do`],
    ])('fit of %i rows, %o', async (count, options, message) => {
      const model = normalizing();
      const before = model.weights;
      expect(await refusal(() => model.fit(...rows(count), options))).toBe(`invalid-argument: fit: ${message}`);
      expect(model.weights).toEqual(before);
    });

    test('fit of fewer rows than any batch size would help', async () => {
      const layer = shifted(0);
      const model = sequential({
        inputShape: [2],
        layers: [{ ...layer, build: (...given) => ({ ...layer.build(...given), leastRows: 5 }) }, dense({ units: 1 })],
      });
      model.compile(still);
      expect(await refusal(() => model.fit(...rows(3), { batchSize: 2 }))).toBe(
        "invalid-argument: fit: layer 'shifted' takes statistics over the batch and needs at least 5 rows, got 3",
      );
      await model.fit(...rows(5), { batchSize: 5 });
    });

    test('trainOnBatch, gradients', async () => {
      const model = normalizing();
      expect(await refusal(() => model.trainOnBatch(...rows(1)))).toBe(`invalid-argument: trainOnBatch: ${reason}, got 1`);
      expect(await refusal(() => model.gradients(...rows(1)))).toBe(`invalid-argument: gradients: ${reason}, got 1`);
    });

    test('one row can be evaluated and predicted, and two trained on', async () => {
      const model = normalizing();
      await model.fit(...rows(2), { batchSize: 2, validationData: [...rows(1)] });
      await model.evaluate(...rows(1));
      await model.predict(rows(1)[0]);
      const other = sequential({ inputShape: [2], layers: [layerNormalization(), rmsNormalization(), dense({ units: 1 })] });
      other.compile(still);
      await other.fit(...rows(3), { batchSize: 1 });
    });
  });
});

// ── Layer and root-mean-square normalisation ───────────────────────────────────────────────────────────────────────────

describe('normalisation along rows', () => {
  const random = new Random(8);
  const [rows, columns] = [6, 37];
  const x = random.floats(rows * columns, 2, 5);
  const [gamma, beta] = [random.floats(columns), random.floats(columns)];
  const row = (i: number) => [...x.subarray(i * columns, (i + 1) * columns)];
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

  test('layerNormalization: every row has mean 0 and variance 1, times gamma plus beta', async () => {
    const model = sequential({ inputShape: [columns], layers: [layerNormalization({ name: 'norm' })] });
    model.setWeights([
      { name: 'norm/gamma', data: gamma },
      { name: 'norm/beta', data: beta },
    ]);
    const { data } = await model.predict({ data: x, shape: [rows, columns] });
    for (let i = 0; i < rows; i++) {
      const centre = mean(row(i));
      const deviation = Math.sqrt(mean(row(i).map((value) => (value - centre) ** 2)) + 1e-5);
      row(i).forEach((value, j) => expect(data[i * columns + j]).toBeCloseTo(((value - centre) / deviation) * gamma[j] + beta[j], 5));
    }
  });

  test('rmsNormalization: every row has mean square 1, times gamma', async () => {
    const model = sequential({ inputShape: [columns], layers: [rmsNormalization({ name: 'norm' })] });
    model.setWeights([{ name: 'norm/gamma', data: gamma }]);
    const { data } = await model.predict({ data: x, shape: [rows, columns] });
    for (let i = 0; i < rows; i++) {
      const root = Math.sqrt(mean(row(i).map((value) => value ** 2)) + 1e-6);
      row(i).forEach((value, j) => expect(data[i * columns + j]).toBeCloseTo((value / root) * gamma[j], 5));
    }
  });

  test('a large constant row becomes beta; a row of zeros stays finite', async () => {
    const model = sequential({ inputShape: [100], layers: [layerNormalization(), rmsNormalization()] });
    const data = Float32Array.from({ length: 200 }, (_, i) => (i < 100 ? 1234567.1 : 0));
    expect([...(await model.predict({ data, shape: [2, 100] })).data].every((value) => value === 0)).toBe(true);
  });
});

// ── All three ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const everyKind = () => [
  batchNormalization({ momentum: 0.8, epsilon: 1e-3 }),
  dense({ units: 33, activation: 'relu', useBias: false }),
  batchNormalization({ scale: false }),
  dense({ units: 20, activation: 'gelu' }),
  layerNormalization({ epsilon: 1e-4 }),
  dense({ units: 17 }),
  rmsNormalization(),
  batchNormalization({ center: false }),
  dense({ units: 4 }),
];

describe('normalised networks', () => {
  test('train: the loss of a deep network falls', async () => {
    const { x, y } = examples(64, 6, 4);
    const model = sequential({ inputShape: [6], layers: everyKind() });
    model.compile({ optimizer: adam({ learningRate: 0.01 }), loss: 'meanSquaredError' });
    const { loss } = await model.fit(x, y, { epochs: 60, batchSize: 16 });
    expect(loss.at(-1)).toBeLessThan(loss[0] / 4);
    expect((await model.evaluate(x, y)).loss).toBeLessThan(loss[0] / 2);
  });

  test.each([true, false])('the same bits on one to four threads, fused and not; strict: %s', async (strict) => {
    const { x, y } = examples(150, 60, 4);
    const life = async (threads: number, fuse: boolean) => {
      const model = sequential({ inputShape: [60], layers: everyKind(), seed: 3 });
      model.compile({ optimizer: adam(), loss: 'meanSquaredError', threads, fuse, strict });
      const { loss } = await model.fit(x, y, { epochs: 3, batchSize: 64 });
      return { loss, weights: model.weights, output: (await model.predict(x)).data };
    };
    const [one, ...others] = await Promise.all([life(1, true), life(2, false), life(3, true), life(4, false)]);
    for (const other of others) {
      expect(other.loss).toEqual(one.loss);
      one.weights.forEach(({ name, data }, i) => expectSameBits(name, other.weights[i].data, data));
      expectSameBits('output', other.output, one.output);
    }
  });

  test('twenty strict steps, the same bits on every instruction set', () => {
    const network = new Network(
      { layers: everyKind(), loss: 'meanSquaredError', rows: 37, columns: 19, optimizer: adam({ clipGlobalNorm: 1 }) },
      'train',
    );
    const [first, ...others] = strictTables;
    const expected = network.onEngine(first, { steps: 20 });
    for (const { name, value } of network.runtime.parameters) {
      expect(
        expected(value).some((weight, i) => weight !== network.runtime.floats(value)[i]),
        name,
      ).toBe(true);
      for (const table of others)
        expectSameBits(`${name} on ${table.name}`, network.onEngine(table, { steps: 20 })(value), expected(value));
    }
  });

  test('a file holds the averages, and the options', async () => {
    const { x, y } = examples(40, 6, 4);
    const model = sequential({ inputShape: [6], layers: everyKind() });
    model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    await model.fit(x, y, { batchSize: 8 });
    const loaded = await loadModel(await model.serialize());
    expect(loaded.weights).toEqual(model.weights);
    expect(loaded.summary()).toBe(model.summary());
    expectSameBits('output', (await loaded.predict(x)).data, (await model.predict(x)).data);
    // The optimizer starts afresh in both.
    model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    for (const each of [model, loaded]) await each.trainOnBatch(x, y);
    expect(loaded.weights).toEqual(model.weights);
  });

  test('a file with a negative variance is refused', async () => {
    const model = normalizing();
    const { tensors, metadata } = decodeSafetensors(await model.serialize(), 'model');
    const changed = tensors.map(({ name, shape, data }) => ({
      name,
      shape,
      dtype: 'F32' as const,
      data: name === 'norm/movingVariance' ? Float32Array.of(1, -1e-9) : Float32Array.from(data),
    }));
    const bytes = Buffer.concat(encodeSafetensors(changed, metadata));
    expect(await refusal(() => loadModel(new Uint8Array(bytes)))).toMatch(
      /^file-invalid: 'model bytes': setWeights: 'norm\/movingVariance': element 1: expected at least 0, got -/,
    );
  });

  test('the summary counts what is trained and what is not', () => {
    const model = sequential({
      inputShape: [6],
      layers: [dense({ units: 8, activation: 'relu' }), batchNormalization(), dense({ units: 2 })],
    });
    expect(model.summary()).toMatchInlineSnapshot(`
      "input [6]
      layer                 kind                 output       weights
      ───────────────────────────────────────────────────────────────
      dense1                dense (relu)         [batch, 8]        56
      batchNormalization1   batchNormalization   [batch, 8]        32
      dense2                dense                [batch, 2]        18
      ───────────────────────────────────────────────────────────────
      106 weights: 90 trainable, 16 fixed"
    `);
  });
});

describe('options', () => {
  const wrong: [() => unknown, string][] = [
    [() => batchNormalization({ momentum: -0.1 }), 'invalid-argument: batchNormalization: momentum: expected at least 0 and at most 1, got -0.1'],
    [() => batchNormalization({ momentum: 1.5 }), 'invalid-argument: batchNormalization: momentum: expected at least 0 and at most 1, got 1.5'],
    [() => batchNormalization({ momentum: NaN }), 'invalid-argument: batchNormalization: momentum: expected a finite number, got NaN'],
    [() => batchNormalization({ epsilon: 0 }), 'invalid-argument: batchNormalization: epsilon: expected at least 1e-30, got 0'],
    [() => batchNormalization({ scale: 1 as unknown as boolean }), 'invalid-argument: batchNormalization: scale: expected true or false, got 1'],
    [() => batchNormalization({ center: 'no' as unknown as boolean }), "invalid-argument: batchNormalization: center: expected true or false, got 'no'"],
    [() => batchNormalization({ name: 'a/b' }), "invalid-argument: batchNormalization: name: expected a name of 1 to 100 characters without '/', got 'a/b'"],
    [() => batchNormalization({ epsilom: 1 } as object), "unknown-name: unknown option of batchNormalization 'epsilom', did you mean 'epsilon'?"],
    [() => batchNormalization(0.9 as unknown as object), 'invalid-argument: batchNormalization: expected an object of options, got 0.9'],
    [() => layerNormalization({ epsilon: -1 }), 'invalid-argument: layerNormalization: epsilon: expected at least 1e-30, got -1'],
    [() => layerNormalization({ scale: null as unknown as boolean }), 'invalid-argument: layerNormalization: scale: expected true or false, got null'],
    [() => layerNormalization({ momentum: 0.9 } as object), "unknown-name: unknown option of layerNormalization 'momentum' (known: epsilon, scale, center, name)"],
    [() => rmsNormalization({ epsilon: Infinity }), 'invalid-argument: rmsNormalization: epsilon: expected a finite number, got Infinity'],
    [() => rmsNormalization({ center: true } as object), "unknown-name: unknown option of rmsNormalization 'center' (known: epsilon, scale, name)"],
  ]; // prettier-ignore

  test.each(wrong)('%s', async (call, message) => {
    expect(await refusal(call)).toBe(message);
  });
});
