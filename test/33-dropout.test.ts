// Dropout: what is dropped, how much of it, and that only seed, layer, step and place in the batch decide. The instruction itself
// is in 10-ops, its gradients in 30-gradients.
import { describe, expect, test } from 'vitest';
import { adam, dense, dropout, type Layer, loadModel, ones, sequential, sgd } from '../src/index.js';
import { allowThreads, expectSameBits, Random, strictTables } from './engines.js';
import { Network } from './networks.js';
import { refusal } from './refusal.js';

allowThreads(4);

const still = { optimizer: sgd({ learningRate: 0 }), loss: { name: 'meanAbsoluteError', reduction: 'sum' } } as const;

/** Inputs go through `layers` of dropout into a sum, which is far above its target: the input's gradient is the product of the masks. */
function watched(columns: number, layers: readonly Layer[], { seed = 1, threads = 1 } = {}) {
  const model = sequential({ inputShape: [columns], layers: [...layers, dense({ units: 1, kernelInitializer: ones() })], seed });
  model.compile({ ...still, threads });
  const masks = async (rows: number) => {
    const x = { data: new Float32Array(rows * columns).fill(1), shape: [rows, columns] };
    const y = { data: new Float32Array(rows).fill(-1), shape: [rows, 1] };
    return (await model.gradients(x, y)).inputGradient.data;
  };
  const step = (rows: number) =>
    model.trainOnBatch(
      { data: new Float32Array(rows * columns), shape: [rows, columns] },
      { data: new Float32Array(rows), shape: [rows, 1] },
    );
  return { model, masks, step };
}

const differing = (a: Float32Array, b: Float32Array) => a.filter((value, i) => value !== b[i]).length / a.length;

describe('what is dropped', () => {
  test.each([0.1, 0.5, 0.9])('a share of %d of the elements; the rest is multiplied by 1/(1 − rate)', async (rate) => {
    const [rows, columns] = [200, 50];
    const { masks } = watched(columns, [dropout({ rate })]);
    const mask = await masks(rows);
    const scale = Math.fround(1 / (1 - Math.fround(rate)));
    expect(new Set(mask)).toEqual(new Set([0, scale]));
    const dropped = (values: Float32Array) => values.filter((value) => value === 0).length / values.length;
    // Four standard errors of the share.
    const error = (count: number) => 4 * Math.sqrt((rate * (1 - rate)) / count);
    expect(Math.abs(dropped(mask) - rate)).toBeLessThan(error(rows * columns));
    // No row or column is special.
    const deviations = (lines: Float32Array[]) => lines.map((line) => Math.abs(dropped(line) - rate) / (error(line.length) / 4));
    const byRow = deviations(Array.from({ length: rows }, (_, i) => mask.subarray(i * columns, (i + 1) * columns)));
    const byColumn = deviations(Array.from({ length: columns }, (_, j) => mask.filter((__, i) => i % columns === j)));
    expect(Math.max(...byRow, ...byColumn)).toBeLessThan(5);
  });

  test('changes from step to step, layer to layer and seed to seed, as if drawn anew', async () => {
    const half = () => dropout({ rate: 0.5 });
    const { masks, step } = watched(100, [half()]);
    const first = await masks(40);
    expect(differing(first, await masks(40))).toBe(0);
    await step(40);
    const second = await masks(40);
    expect(Math.abs(differing(first, second) - 0.5)).toBeLessThan(0.04);
    expect(Math.abs(differing(first, await watched(100, [half()], { seed: 2 }).masks(40)) - 0.5)).toBeLessThan(0.04);
    // Both layers keep a quarter, and no two masks agree more than chance makes them.
    const two = await watched(100, [half(), half()]).masks(40);
    expect(Math.abs(two.filter((value) => value === 4).length / two.length - 0.25)).toBeLessThan(0.04);
  });

  test('does not depend on the number of rows, on threads, or on what was computed before', async () => {
    const layer = () => dropout({ rate: 0.3 });
    const { masks, model } = watched(333, [layer()]);
    const expected = await masks(64);
    expectSameBits('fewer rows', (await masks(7)), expected.subarray(0, 7 * 333)); // prettier-ignore
    await model.predict({ data: new Float32Array(333), shape: [1, 333] });
    expectSameBits('after a prediction', await masks(64), expected);
    for (const threads of [2, 3, 4]) expectSameBits(`${threads} threads`, await watched(333, [layer()], { threads }).masks(64), expected);
  });

  test('is the same in gradients() and in the step that follows, and begins anew when the model is compiled', async () => {
    const random = new Random(4);
    const x = { data: random.floats(20 * 6), shape: [20, 6] };
    const y = { data: random.floats(20), shape: [20, 1] };
    const model = sequential({ inputShape: [6], layers: [dense({ units: 30 }), dropout({ rate: 0.5 }), dense({ units: 1 })] });
    const compile = () => model.compile({ optimizer: sgd({ learningRate: 0 }), loss: 'meanSquaredError' });
    const losses = async () => {
      const found: number[] = [];
      for (let step = 0; step < 4; step++) {
        const { loss } = await model.gradients(x, y);
        expect((await model.gradients(x, y)).loss).toBe(loss);
        expect(Math.fround((await model.trainOnBatch(x, y)).loss)).toBe(loss);
        found.push(loss);
      }
      return found;
    };
    compile();
    const first = await losses();
    expect(new Set(first).size).toBe(4);
    compile();
    expect(await losses()).toEqual(first);
  });
});

describe('prediction', () => {
  test('and evaluation drop nothing: the same bits as without the layer', async () => {
    const random = new Random(5);
    const x = { data: random.floats(30 * 6), shape: [30, 6] };
    const y = { data: random.floats(30 * 2), shape: [30, 2] };
    const between = (...layers: Layer[]) =>
      sequential({ inputShape: [6], layers: [dense({ units: 9, activation: 'relu' }), ...layers, dense({ units: 2 })] });
    const [dropping, plain] = [between(dropout({ rate: 0.9 })), between()];
    for (const model of [dropping, plain]) model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    plain.setWeights(dropping.weights);
    expectSameBits('predict', (await dropping.predict(x)).data, (await plain.predict(x)).data);
    expectSameBits('predictSync', dropping.predictSync(x).data, plain.predictSync(x).data);
    expect(await dropping.evaluate(x, y)).toEqual(await plain.evaluate(x, y));
    expect((await dropping.gradients(x, y)).loss).not.toBe((await plain.gradients(x, y)).loss);
  });

  test('equals the mean over masks, where all is linear', async () => {
    const [columns, steps] = [40, 400];
    const layers = [dropout({ rate: 0.5 }), dense({ units: 1, kernelInitializer: ones() })];
    const model = sequential({ inputShape: [columns], layers });
    model.compile({ optimizer: sgd({ learningRate: 0 }), loss: { name: 'meanAbsoluteError', reduction: 'sum' } });
    const x = { data: new Float32Array(columns).fill(1), shape: [1, columns] };
    let sum = 0;
    for (let step = 0; step < steps; step++) sum += (await model.trainOnBatch(x, { data: new Float32Array(1), shape: [1, 1] })).loss;
    expect((await model.predict(x)).data[0]).toBe(columns);
    // Each of 40 elements is 0 or 2: variance 40 a step.
    expect(Math.abs(sum / steps - columns)).toBeLessThan(4 * Math.sqrt(columns / steps));
  });
});

const network = () => [
  dropout({ rate: 0.2 }),
  dense({ units: 61, activation: 'relu' }),
  dropout({ rate: 0.5 }),
  dense({ units: 40, activation: 'gelu' }),
  dropout({ rate: 0.1 }),
  dense({ units: 3 }),
];

describe('training', () => {
  test.each([true, false])('gives the same bits on one to four threads, fused and not; strict: %s', async (strict) => {
    const random = new Random(6);
    const x = { data: random.floats(300 * 120), shape: [300, 120] };
    const y = random.labels(300, 3);
    const life = async (threads: number, fuse: boolean) => {
      const model = sequential({ inputShape: [120], layers: network(), seed: 3 });
      model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', threads, fuse, strict });
      const { loss } = await model.fit(x, y, { epochs: 3, batchSize: 128 });
      return { loss, weights: model.weights };
    };
    const [one, ...others] = await Promise.all([life(1, true), life(2, false), life(3, true), life(4, false)]);
    for (const other of others) {
      expect(other.loss).toEqual(one.loss);
      one.weights.forEach(({ name, data }, i) => expectSameBits(name, other.weights[i].data, data));
    }
  });

  test('twenty strict steps, the same bits on every instruction set; every step drops others', () => {
    const options = { layers: network(), loss: 'softmaxCrossEntropy', target: 'labels', rows: 37, columns: 19 } as const;
    const trained = new Network({ ...options, optimizer: adam() }, 'train');
    const [first, ...others] = strictTables;
    const expected = trained.onEngine(first, { steps: 20 });
    for (const table of others) {
      const actual = trained.onEngine(table, { steps: 20 });
      for (const { name, value } of trained.runtime.parameters) expectSameBits(`${name} on ${table.name}`, actual(value), expected(value));
    }
    const resting = new Network({ ...options, optimizer: sgd({ learningRate: 0 }) }, 'train');
    const losses = Array.from({ length: 20 }, (_, i) => resting.onEngine(first, { steps: i + 1 })(resting.loss)[0]);
    expect(new Set(losses).size).toBe(20);
  });

  test('a rate of 0 records nothing', async () => {
    const model = sequential({ inputShape: [4], layers: [dropout({ rate: 0 }), dense({ units: 2 }), dropout({ rate: 0 })] });
    model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    expect(model.plan.toString()).not.toContain('dropout');
    const x = { data: new Float32Array(8).fill(1), shape: [2, 4] };
    const { lossGradients } = await model.gradients(x, { data: new Float32Array(4), shape: [2, 2] });
    expect(lossGradients.map(({ shape }) => shape)).toEqual([
      [2, 4],
      [2, 2],
      [2, 2],
    ]);
  });
});

describe('options and files', () => {
  test('a file holds the rate', async () => {
    const model = sequential({ inputShape: [4], layers: network(), seed: 9 });
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    const loaded = await loadModel(await model.serialize());
    expect(loaded.summary()).toBe(model.summary());
    expect(model.summary()).toContain('dropout2   dropout (0.5)   [batch, 61]');
    const x = { data: new Random(7).floats(80), shape: [20, 4] };
    for (const each of [model, loaded]) await each.trainOnBatch(x, new Int32Array(20));
    expect(loaded.weights).toEqual(model.weights);
  });

  const wrong: [() => unknown, string][] = [
    [() => dropout({ rate: 1 }), 'invalid-argument: dropout: rate: expected at least 0 and less than 1, got 1'],
    [() => dropout({ rate: -0.1 }), 'invalid-argument: dropout: rate: expected at least 0 and less than 1, got -0.1'],
    [() => dropout({ rate: 0.99999999 }), 'invalid-argument: dropout: rate: 0.99999999 is 1 in float32: nothing would be left'],
    [() => dropout({} as { rate: number }), 'invalid-argument: dropout: rate: expected a finite number, got undefined'],
    [() => dropout(0.5 as unknown as { rate: number }), 'invalid-argument: dropout: expected an object of options, got 0.5'],
    [() => dropout({ rate: 0.5, seed: 1 } as { rate: number }), "unknown-name: unknown option of dropout 'seed' (known: rate, name)"],
    [() => dropout({ rate: 0.5, name: '' }), "invalid-argument: dropout: name: expected a name of 1 to 100 characters without '/', got ''"],
  ]; // prettier-ignore

  test.each(wrong)('%s', async (call, message) => {
    expect(await refusal(call)).toBe(message);
  });
});
