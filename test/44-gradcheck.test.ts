// The public gradcheck: sound models pass, a wrong derivative planted in a custom layer is found and named, points at kinks are
// passed over and counted, and the model does not change.
import { describe, expect, test } from 'vitest';
import { gradcheck, type GradcheckFailure, initReport } from '../src/diagnostics/index.js';
import {
  activation,
  adam,
  batchNormalization,
  dense,
  dropout,
  heNormal,
  layerNormalization,
  rmsNormalization,
  sequential,
  sgd,
  tensor,
  zeros,
} from '../src/index.js';
import type { ActivationName, Layer, LossName } from '../src/index.js';
import { Random } from './engines.js';
import { refusal } from './refusal.js';

const COLUMNS = 5;

function data(rows: number, units: number, seed = 1) {
  const random = new Random(seed);
  return {
    x: tensor(random.floats(rows * COLUMNS, -2, 2), [rows, COLUMNS]),
    y: tensor(random.floats(rows * units, 0, 1), [rows, units]),
    labels: tensor(random.labels(rows, units), [rows]),
  };
}

function compiled(layers: readonly Layer[], loss: LossName = 'meanSquaredError') {
  const model = sequential({ inputShape: [COLUMNS], layers, seed: 3 });
  model.compile({ optimizer: sgd(), loss });
  return model;
}

/** Y = X·W, with mistakes to order in what its backward rule does. */
function linear(units: number, mistake: 'none' | 'kernel' | 'oneElement' | 'input' | 'noRule'): Layer {
  return {
    kind: 'linear',
    name: 'mine',
    config: {},
    build(fanIn, declare) {
      const kernel = declare('kernel', [fanIn, units], heNormal());
      return {
        units,
        record(plan, x) {
          const y = plan.gemm(x, kernel.value);
          if (mistake === 'noRule') return y;
          plan.backward(x, y, (dY) => {
            if (mistake === 'kernel') {
              // As if tanh lay between.
              const wrong = plan.activationGradient(dY, y, activation('tanh').activation);
              plan.gemm(x.T, wrong, kernel.grad);
            } else plan.gemm(x.T, dY, kernel.grad);
            if (mistake === 'oneElement') plan.emit('fill', [1], { y: firstOf(kernel.grad) }, { value: 0 });
            return plan.gemm(mistake === 'input' ? y : dY, kernel.value.T);
          });
          return y;
        },
      };
    },
  };
}

/** The tensor's first element, as one of its own. */
function firstOf<T extends { readonly offset: number }>(tensor: T): T {
  return Object.create(tensor, { shape: { value: [1] } }) as T;
}

async function failures(layers: readonly Layer[]): Promise<GradcheckFailure[]> {
  const model = compiled(layers);
  const { x, y } = data(8, 3);
  const report = await gradcheck(model, x, y);
  expect(report.passed).toBe(report.failures.length === 0);
  return report.failures;
}

describe('sound models pass', () => {
  test.each<[string, Layer]>([
    ['batch normalisation', batchNormalization()],
    ['layer normalisation', layerNormalization()],
    ['RMS normalisation', rmsNormalization()],
    ['dropout', dropout({ rate: 0.3 })],
  ])('%s between dense layers', async (_, layer) => {
    const { x, y } = data(20, 4);
    const report = await gradcheck(compiled([dense({ units: 9, activation: 'tanh', useBias: false }), layer, dense({ units: 4 })]), x, y);
    expect(report.failures).toEqual([]);
    expect(report.passed).toBe(true);
    expect(report.tensors.every(({ engine }) => engine.checked > 0)).toBe(true);
  });

  test.each<ActivationName>(['tanh', 'sigmoid', 'relu', 'leakyRelu', 'gelu', 'silu', 'mish', 'selu', 'softsign', 'hardSwish', 'softmax'])(
    'dense layers with %s',
    async (name) => {
      const { x, y } = data(20, 4);
      const report = await gradcheck(compiled([dense({ units: 7, activation: name }), dense({ units: 6 }), activation(name), dense({ units: 4 })]), x, y); // prettier-ignore
      expect(report.failures).toEqual([]);
      expect(report).toMatchObject({ passed: true, rows: 8 });
      expect(report.tensors.map((tensor) => tensor.name)).toEqual([
        'input of loss',
        'dense3/kernel',
        'dense3/bias',
        'input of dense3',
        'input of activation1',
        'dense2/kernel',
        'dense2/bias',
        'input of dense2',
        'dense1/kernel',
        'dense1/bias',
        'input of dense1',
      ]);
      for (const { name, elements, differences, engine } of report.tensors) {
        expect(differences.checked + differences.atKinks + differences.unresolved, name).toBe(Math.min(24, elements));
        expect(engine.checked + engine.unresolved, name).toBe(elements);
        // It looked, and what it allows is not so much that anything passes.
        expect(engine.checked, name).toBeGreaterThan(0.9 * elements);
        expect(differences.checked, name).toBeGreaterThan(0);
        expect(differences.worst, name).toBeLessThan(1);
      }
    },
  );

  test.each<[LossName, 'labels' | 'y']>([
    ['meanAbsoluteError', 'y'],
    ['huber', 'y'],
    ['binaryCrossEntropy', 'y'],
    ['softmaxCrossEntropy', 'labels'],
    ['softmaxCrossEntropy', 'y'],
    ['categoricalCrossEntropy', 'labels'],
  ])('loss %s on %s', async (loss, target) => {
    const { x, ...targets } = data(10, 3);
    const last = loss === 'categoricalCrossEntropy' ? 'softmax' : 'linear';
    const { failures, passed } = await gradcheck(compiled([dense({ units: 6, activation: 'tanh' }), dense({ units: 3, activation: last })], loss), x, targets[target]); // prettier-ignore
    expect({ failures, passed }).toEqual({ failures: [], passed: true });
  });

  test('input scaling, nested arrays, bytes, and weights that were trained', async () => {
    const random = new Random(5);
    const model = sequential({
      inputShape: [3],
      layers: [dense({ units: 8, activation: 'tanh' }), dense({ units: 2 })],
      inputScaling: { mean: [100, 90, 80], standardDeviation: 60 },
    });
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    const x = tensor(Uint8Array.from({ length: 90 }, () => random.integer(256)), [30, 3]); // prettier-ignore
    const y = Array.from({ length: 30 }, () => random.integer(2));
    await model.fit(x, y, { epochs: 3 });
    expect((await gradcheck(model, x, y)).failures).toEqual([]);
  });

  test('a custom layer without a mistake', async () => {
    expect(await failures([dense({ units: 6, activation: 'tanh' }), linear(4, 'none'), dense({ units: 3 })])).toEqual([]);
  });
});

describe('a wrong derivative is found and named', () => {
  test("the kernel's gradient", async () => {
    const [first, ...others] = await failures([dense({ units: 6, activation: 'tanh' }), linear(4, 'kernel'), dense({ units: 3 })]);
    expect(first).toMatchObject({ link: 'differences', layer: 'mine', name: 'mine/kernel' });
    expect(first.element).toHaveLength(2);
    expect(Math.abs(first.expected - first.got)).toBeGreaterThan(1e-4);
    expect(first.message).toMatch(/^layer 'mine': ∂loss\/∂\(mine\/kernel\)\[\d, \d\] is \S+ by central differences, .*gives \S+$/);
    // What it hands back is right: no other layer is blamed.
    expect(others).toEqual([]);
  });

  test('a single element', async () => {
    const [first] = await failures([linear(3, 'oneElement')]);
    expect(first).toMatchObject({ link: 'differences', name: 'mine/kernel', element: [0, 0], got: 0 });
    expect(first.expected).not.toBe(0);
  });

  test('what a layer hands back: its own input is named first, then whatever passes the error on', async () => {
    const [first, ...others] = await failures([dense({ units: 3, activation: 'tanh' }), linear(3, 'input'), dense({ units: 3 })]);
    expect(first).toMatchObject({ link: 'differences', layer: 'mine', name: 'input of mine' });
    expect(others.map(({ name }) => name)).toEqual(['dense1/kernel', 'dense1/bias', 'input of dense1']);
  });

  test('a layer without a rule', async () => {
    const { x, y } = data(8, 3);
    const model = compiled([dense({ units: 3 }), linear(3, 'noRule'), dense({ units: 3 })]);
    const refused = /^invalid-argument: layer 'mine' records no backward rule/;
    expect(await refusal(() => gradcheck(model, x, y))).toMatch(refused);
    expect(await refusal(() => model.gradients(x, y))).toMatch(refused);
    const { layers } = await initReport(model, x);
    expect(layers.map(({ layer, backward }) => [layer, backward > 0])).toEqual([['dense1', false], ['mine', true], ['dense2', true]]); // prettier-ignore
    expect(layers[2].backward).toBe(1);
  });
});

describe('kinks', () => {
  test('rows at a kink are passed over for others, and counted', async () => {
    // z = 0 exactly, for every unit, in every second row.
    const { x, y } = data(40, 3);
    for (let row = 0; row < 40; row += 2) x.data.fill(0, row * COLUMNS, (row + 1) * COLUMNS);
    const report = await gradcheck(compiled([dense({ units: 6, activation: 'relu' }), dense({ units: 3 })]), x, y);
    expect(report).toMatchObject({ passed: true, rows: 8, failures: [] });
    expect(report.rowsAtKinks).toBeGreaterThanOrEqual(8);
  });

  test('where there are no others, elements that move a kink are passed over one by one', async () => {
    const { y } = data(4, 3);
    const x = tensor(new Float32Array(4 * COLUMNS), [4, COLUMNS]);
    const report = await gradcheck(compiled([dense({ units: 6, activation: 'relu' }), dense({ units: 3 })]), x, y);
    expect(report).toMatchObject({ passed: true, rows: 4, failures: [] });
    const bias = report.tensors.find(({ name }) => name === 'dense1/bias')!;
    expect(bias.differences).toMatchObject({ checked: 0, atKinks: 6 });
  });
});

test('the model stays as it is, and may be at work', async () => {
  const { x, labels } = data(40, 3);
  const model = compiled([dense({ units: 6, activation: 'tanh' }), dense({ units: 3 })], 'softmaxCrossEntropy');
  const trained = model.fit(x, labels, { epochs: 2 });
  const checked = gradcheck(model, x, labels);
  await trained;
  expect((await checked).passed).toBe(true);
  const before = model.weights;
  expect((await gradcheck(model, x, labels)).passed).toBe(true);
  expect(model.weights).toEqual(before);
});

test('bad arguments', async () => {
  const { x, y } = data(4, 3);
  const model = sequential({ inputShape: [COLUMNS], layers: [dense({ units: 3, kernelInitializer: zeros() })] });
  expect(await refusal(() => gradcheck(model, x, y))).toMatch(/^not-compiled/);
  model.compile({ optimizer: sgd(), loss: 'meanSquaredError' });
  expect(await refusal(() => gradcheck(model, x, tensor([1, 2, 3, 4], [4, 1])))).toMatch(/^shape-mismatch/);
  expect(await refusal(() => gradcheck(model, [], []))).toMatch(/^empty-data/);
  expect(await refusal(() => gradcheck(model, x, y, { rows: 0 }))).toMatch(/^invalid-argument/);
  expect(await refusal(() => gradcheck(model, x, y, { element: 3 } as object))).toMatch(/did you mean 'elements'/);
  x.data[3] = NaN;
  expect(await refusal(() => gradcheck(model, x, y))).toMatch(/^non-finite-input/);
});
