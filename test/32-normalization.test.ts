// Weights that no gradient reaches, and the layers that normalise. What single instructions compute is in 10-ops, gradients in
// 30-gradients, whole runs against PyTorch in 50-golden.
import { describe, expect, test } from 'vitest';
import { adam, constant, dense, type Layer, ones, sequential, sgd } from '../src/index.js';
import { expectSameBits, Random } from './engines.js';
import { refusal } from './refusal.js';

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
