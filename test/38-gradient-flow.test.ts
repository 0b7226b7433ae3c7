// gradientFlow and activationStats: their figures against a float64 computation from the model's own gradients, THEORY's
// reference figures on deep networks, and that a model does not change by being looked at.
import { describe, expect, test } from 'vitest';
import { activationStats, gradientFlow, type LayerActivations, type LayerFlow } from '../src/diagnostics/index.js';
import {
  activation,
  type ActivationName,
  adam,
  batchNormalization,
  dense,
  glorotNormal,
  heNormal,
  type Initializer,
  type Layer,
  normal,
  sequential,
  type Sequential,
  tensor,
} from '../src/index.js';
import { activations } from '../src/reference.js';
import { bitsOf } from './bits.js';
import { Random } from './engines.js';
import { refusal } from './refusal.js';
import { singularValues } from './singular-values.js';

const rms = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0) / values.length);
const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;

/** Standard normal numbers. */
function gaussian(length: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from(
    { length },
    () => Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform()), // Box and Muller
  );
}

function compiled(inputs: number, layers: readonly Layer[], loss: 'meanSquaredError' | 'softmaxCrossEntropy' = 'meanSquaredError') {
  const model = sequential({ inputShape: [inputs], seed: 3, layers });
  model.compile({ optimizer: adam(), loss });
  return model;
}

/** Relative to the wanted number. */
const expectNear = (what: string, actual: number, wanted: number, tolerance = 1e-4) => {
  if (!(Math.abs(actual - wanted) <= tolerance * Math.abs(wanted))) expect.fail(`${what}: ${actual}, expected ${wanted} ± ${tolerance}`);
};

describe('figures equal a float64 computation from gradients()', () => {
  const [rows, inputs] = [37, 6];
  const random = new Random(1);
  const x = tensor(random.floats(rows * inputs, -2, 2), [rows, inputs]);

  /** Of dense layers: z, a'(z) and the loss gradients, from the model's weights and gradients. */
  async function expected(model: Sequential, names: readonly Exclude<ActivationName, 'softmax'>[], y: ReturnType<typeof tensor>) {
    const gradients = await model.gradients(x, y);
    const { weights } = model;
    const find = (list: readonly { readonly name: string; readonly data: Float32Array }[], name: string) =>
      list.find((weight) => weight.name === name)?.data;
    let below: { data: ArrayLike<number>; gradient: Float32Array } = { data: x.data, gradient: gradients.inputGradient.data };
    return names.map((name, i) => {
      const [kernel, bias] = [find(weights, `dense${i + 1}/kernel`)!, find(weights, `dense${i + 1}/bias`)!];
      const [units, fanIn] = [bias.length, kernel.length / bias.length];
      const z = Float64Array.from({ length: rows * units }, (_, at) => {
        let sum = bias[at % units];
        for (let k = 0; k < fanIn; k++) sum += below.data[Math.floor(at / units) * fanIn + k] * kernel[k * units + (at % units)];
        return sum;
      });
      const { value, slope } = activations[name];
      const alpha = 1; // elu's, the only parameter here
      const output = z.map((number) => value(number, alpha));
      const slopes = z.map((number, at) => slope(['gelu', 'silu'].includes(name) ? number : output[at], alpha));
      const gradient = gradients.lossGradients[i].data;
      const delta = gradient.map((number, at) => number * slopes[at]);
      const input = below.gradient;
      below = { data: output, gradient };
      return { kernel, units, fanIn, z, output, slopes, gradient, delta, input, change: find(gradients.weights, `dense${i + 1}/kernel`)! };
    });
  }

  test.each([
    ['tanh', 'gelu', 'linear'],
    ['relu', 'sigmoid', 'linear'],
    ['silu', 'softsign', 'elu'],
  ] as const)('%s, %s, %s', async (...names) => {
    const units = [9, 17, 3];
    const layers = names.map((name, i) =>
      dense({ units: units[i], activation: name, biasInitializer: normal({ standardDeviation: 0.5 }) }),
    );
    const model = compiled(inputs, layers);
    const y = tensor(random.floats(rows * 3), [rows, 3]);
    const wanted = await expected(model, names, y);
    const flow = await gradientFlow(model, x, y);
    const stats = await activationStats(model, x);
    const { loss, inputGradient } = await model.gradients(x, y);

    expect(flow.loss).toBe(loss);
    expectNear('input gradient', flow.inputGradientRms, rms(inputGradient.data));
    expect(flow.layers.map(({ layer }) => layer)).toEqual(['dense1', 'dense2', 'dense3']);
    wanted.forEach(({ kernel, units, fanIn, z, output, slopes, gradient, delta, input, change }, i) => {
      const { layer, activationFactor, weightFactor, ...rest }: LayerFlow = flow.layers[i];
      expectNear(`${layer} loss gradient`, rest.lossGradientRms, rms(gradient));
      expectNear(`${layer} its norm`, rest.lossGradientNorm, rms(gradient) * Math.sqrt(gradient.length));
      expectNear(`${layer} activation factor`, activationFactor.measured, rms(delta) / rms(gradient));
      expectNear(`${layer} predicted`, activationFactor.predicted, rms(slopes));
      expectNear(`${layer} weight factor`, weightFactor.measured, rms(input) / rms(delta));
      expectNear(`${layer} predicted`, weightFactor.predicted, rms(kernel) * Math.sqrt(units));
      expectNear(`${layer} kernel`, rest.kernelRms, rms(kernel));
      expectNear(`${layer} its gradient`, rest.kernelGradientRms, rms(change));
      expectNear(`${layer} gradient to weight`, rest.gradientToWeight, rms(change) / rms(kernel));
      expectNear(`${layer} spectral norm`, rest.spectralNorm, singularValues(kernel, fanIn, units)[0], 0.01);
      expect(rest).not.toHaveProperty('updateToWeight');

      const { before, after, saturation, meanShift }: LayerActivations = stats[i];
      expect(stats[i].layer).toBe(layer);
      const deviation = Math.sqrt(mean(output.map((value) => (value - mean(output)) ** 2)));
      expect(after.mean).toBeCloseTo(mean(output), 5);
      expectNear(`${layer} deviation`, after.standardDeviation, deviation);
      expectNear(`${layer} rms`, after.rms, rms(output));
      expect(after.min).toBeCloseTo(Math.min(...output), 4);
      expect(after.max).toBeCloseTo(Math.max(...output), 4);
      expect(after.histogram.counts.reduce((sum, count) => sum + count, 0)).toBe(output.length);
      expect(meanShift).toBeCloseTo(Math.abs(mean(output)) / deviation, 4);
      expect(saturation).toBe(names[i] === 'linear' ? 0 : slopes.filter((slope) => Math.abs(slope) < 0.01).length / slopes.length);
      if (names[i] === 'linear') expect(before).toBeUndefined();
      else expect(before?.mean).toBeCloseTo(mean(z), 5);
      if (names[i] === 'relu') expect(after.zeros).toBe(output.filter((value) => value === 0).length / output.length);
    });
  });

  test('what the factors multiply to is the whole gain', async () => {
    const model = compiled(inputs, [dense({ units: 9, activation: 'tanh' }), activation('sigmoid'), dense({ units: 3 })]);
    const { layers, firstOverLast, inputGradientRms } = await gradientFlow(model, x, tensor(random.floats(rows * 3), [rows, 3]));
    const gain = layers.reduce((all, { activationFactor, weightFactor }) => all * activationFactor.measured * weightFactor.measured, 1);
    expectNear('gain', gain, inputGradientRms / layers[2].lossGradientRms, 1e-6);
    expectNear('first over last', firstOverLast, gain, 1e-6);
    // The activation in a layer of its own has no kernel.
    expect(layers[1]).toMatchObject({ layer: 'activation1', weightFactor: { measured: 1, predicted: 1 }, kernelRms: 0, spectralNorm: 0 });
  });

  test('softmax, a linear layer that does nothing, and a layer of one’s own that activates', async () => {
    const own: Layer = {
      kind: 'double',
      name: undefined,
      config: {},
      build: (units, declare) => {
        const matrix = declare('matrix', [units, 4], normal());
        return {
          units: 4,
          record(plan, x) {
            const z = plan.gemm(x, matrix.value);
            plan.backward(x, z, (dZ) => {
              plan.gemm(x.T, dZ, matrix.grad);
              return plan.gemm(dZ, matrix.value.T);
            });
            const tanh = { name: 'tanh', code: 2, parameter: 0, derivativeNeedsInput: false } as const;
            const y = plan.activate(z, tanh);
            plan.backward(z, y, (dY) => plan.activationGradient(dY, y, tanh));
            return y;
          },
        };
      },
    };
    const model = compiled(inputs, [own, activation('linear'), dense({ units: 3, activation: 'softmax' })]);
    const y = tensor(random.floats(rows * 3), [rows, 3]);
    const [first, nothing, last] = (await gradientFlow(model, x, y)).layers;
    const { lossGradients, weights } = await model.gradients(x, y);
    expect(nothing).toMatchObject({ activationFactor: { measured: 1, predicted: 1 }, weightFactor: { measured: 1, predicted: 1 } });
    expect(last.activationFactor).toEqual({ measured: 1, predicted: 1 });
    expectNear('own kernel', first.kernelGradientRms, rms(weights[0].data));
    expectNear('own loss gradient', first.lossGradientRms, rms(lossGradients[0].data));
    expect(first.activationFactor.measured).toBeLessThan(1);
    const [ownStats, nothingStats] = await activationStats(model, x);
    expect(ownStats.before).toBeDefined();
    expect(nothingStats.before).toBeUndefined();
    expect(nothingStats.after).toEqual(ownStats.after);
  });
});

describe('THEORY 8: 20 layers of 256, the loss gradient’s first RMS over its last', () => {
  const cases: [name: 'sigmoid' | 'relu', initializer: Initializer, gain: number, each: number][] = [
    ['sigmoid', normal({ standardDeviation: 1 / 16 }), 2.5e-13, 0.235],
    ['relu', glorotNormal(), 1.3e-3, 0.717],
    ['relu', heNormal(), 1.07, 1.003],
  ];

  test.each(cases)('%s, %o', async (name, kernelInitializer, gain, each) => {
    const layers = Array.from({ length: 20 }, () => dense({ units: 256, activation: name, kernelInitializer }));
    const x = tensor(gaussian(256 * 256, 1), [256, 256]);
    // Targets far beyond any output: the loss gradient there is noise, whatever the outputs are.
    const y = tensor(gaussian(256 * 256, 2).map((value) => value * 1000), [256, 256]); // prettier-ignore
    const figures = await Promise.all(
      [1, 2, 3, 4].map(async (seed) => {
        const model = sequential({ inputShape: [256], seed, layers });
        model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
        return gradientFlow(model, x, y);
      }),
    );
    // Their spread over seeds is that of a product of 20 random factors: of ReLU with He, about a third.
    const over = Math.exp(mean(figures.map(({ firstOverLast }) => Math.log(firstOverLast))));
    const decay = mean(figures.map(({ decayPerLayer }) => decayPerLayer));
    expectNear('decay per layer', decay, each, 0.03);
    expectNear('first over last', over, gain, 0.4);
    for (const { layers } of figures)
      for (const { layer, activationFactor, weightFactor } of layers) {
        expectNear(`${layer} activation factor`, activationFactor.measured, activationFactor.predicted, 0.1);
        expectNear(`${layer} weight factor`, weightFactor.measured, weightFactor.predicted, 0.1);
      }
  });
});

test.each([
  ['relu', 0.399],
  ['sigmoid', 0.5],
  ['gelu', 0.282],
  ['silu', 0.207],
  ['tanh', 0],
] as const)('THEORY 13: the mean after %s of N(0, 1) is %f', async (name, wanted) => {
  const [{ before, after }] = await activationStats(
    sequential({ inputShape: [100], layers: [activation(name)] }),
    tensor(gaussian(200_000, 5), [2000, 100]),
  );
  expect(before?.standardDeviation).toBeCloseTo(1, 2);
  expect(Math.abs(after.mean - wanted)).toBeLessThan(0.005);
});

test('batch normalisation: batch statistics in training, moving ones in inference', async () => {
  const model = sequential({ inputShape: [5], layers: [batchNormalization()] });
  const x = tensor(gaussian(4000, 3).map((value) => 7 + 3 * value), [800, 5]); // prettier-ignore
  const [[training], [inference]] = [await activationStats(model, x), await activationStats(model, x, { mode: 'inference' })];
  expect(training.after.mean).toBeCloseTo(0, 5);
  expect(training.after.standardDeviation).toBeCloseTo(1, 3);
  // The moving mean is still 0, the moving variance 1: looking has not moved them.
  expect(inference.after.mean).toBeCloseTo(7, 0);
  expect(inference.after.standardDeviation).toBeCloseTo(3, 0);
});

test('a histogram of N(0, 1) is a bell', async () => {
  const model = sequential({ inputShape: [100], layers: [activation('tanh')] });
  const [{ before }] = await activationStats(model, tensor(gaussian(200_000, 6), [2000, 100]));
  const { low, high, counts } = before!.histogram;
  const width = (high - low) / 32;
  counts.forEach((count, bin) => {
    const centre = low + (bin + 0.5) * width;
    const density = Math.exp((-centre * centre) / 2) / Math.sqrt(2 * Math.PI);
    // Five standard errors, and the curve's bend within a bin.
    expect(Math.abs(count - 200_000 * width * density)).toBeLessThan(
      5 * Math.sqrt(200_000 * width * density) + 0.04 * 200_000 * width * 0.4 + 5,
    );
  });
});

describe('looking changes nothing', () => {
  const x = tensor(gaussian(64 * 5, 1), [64, 5]);
  const labels = new Random(1).labels(64, 3);
  const life = async (looked: boolean) => {
    const model = compiled(5, [dense({ units: 12, activation: 'relu' }), dense({ units: 3 })], 'softmaxCrossEntropy');
    const look = async () => {
      if (!looked) return;
      await gradientFlow(model, x, labels);
      await activationStats(model, x);
      await activationStats(model, x, { mode: 'inference' });
    };
    await look();
    const history = await model.fit(x, labels, { epochs: 2, batchSize: 16, onBatch: ({ batch }) => (batch === 2 ? look() : undefined) });
    return { weights: bitsOf(model.weights), loss: history.loss };
  };

  test('weights, moments, order, totals: training goes on with the same bits', async () => {
    expect(await life(true)).toEqual(await life(false));
  });
});

test('what is refused', async () => {
  const model = sequential({ inputShape: [2], layers: [dense({ units: 1 })] });
  expect(await refusal(() => gradientFlow(model, [[1, 2]], [1]))).toMatch(/^not-compiled: /);
  expect(await refusal(() => activationStats(model, []))).toBe('empty-data: x is empty');
  expect(await refusal(() => activationStats(model, [[1, 2, 3]]))).toMatch(/^shape-mismatch: /);
  expect(await refusal(() => activationStats(model, [[1, NaN]]))).toMatch(/^non-finite-input: /);
  expect(await refusal(() => activationStats(model, [[1, 2]], { mode: 'both' as 'training' }))).toMatch(/^unknown-name: /);
  const normalised = compiled(2, [batchNormalization()]);
  const oneRow = "layer 'batchNormalization1' takes statistics over the batch and needs at least 2 rows, got 1";
  expect(await refusal(() => activationStats(normalised, [[1, 2]]))).toBe(`invalid-argument: activationStats: ${oneRow}`);
  expect(await refusal(() => gradientFlow(normalised, [[1, 2]], [[1, 2]]))).toBe(`invalid-argument: gradientFlow: ${oneRow}`);
  expect(await activationStats(normalised, [[1, 2]], { mode: 'inference' })).toHaveLength(1);
  model.dispose();
  expect(await refusal(() => activationStats(model, [[1, 2]]))).toMatch(/^disposed: /);
});
