// Whole training runs against PyTorch: golden/golden.json holds small networks, five steps each, computed in float64
// by golden/make_golden.py. Each runs here fused and unfused, on one and two threads: one answer, bit for bit, and
// that answer is PyTorch's.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ACTIVATION_NAMES } from '../src/activations.js';
import {
  activation,
  adagrad,
  adam,
  adamW,
  batchNormalization,
  dense,
  layerNormalization,
  rmsNormalization,
  rmsprop,
  sequential,
  sgd,
} from '../src/index.js';
import { LOSS_NAMES } from '../src/losses.js';

interface Reference {
  shape: number[];
  data: number[];
}
interface NamedReference extends Reference {
  name: string;
}
interface Source extends Reference {
  type: keyof typeof arrays;
}
interface ActivationSpec {
  name: string;
  negativeSlope?: number;
  alpha?: number;
}
interface LayerSpec {
  type: 'dense' | 'activation' | keyof typeof normalizations;
  activation?: string | ActivationSpec;
  [option: string]: unknown;
}
interface Case {
  name: string;
  inputShape: number[];
  layers: LayerSpec[];
  loss: { name: string; reduction?: 'mean' | 'sum' };
  optimizer: { name: keyof typeof optimizers; options: Record<string, number | boolean> };
  batchSize: number;
  batches: [from: number, to: number][];
  x: Source;
  y: Source;
  weights: NamedReference[];
  losses: number[];
  gradients: NamedReference[];
  inputGradient?: Reference;
  lossGradients?: Reference[];
  weightsAfter: NamedReference[];
  output: Reference;
}

const arrays = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
const optimizers = { sgd, rmsprop, adagrad, adam, adamW };
const normalizations = { batchNormalization, layerNormalization, rmsNormalization };
const { cases } = JSON.parse(readFileSync(new URL('golden/golden.json', import.meta.url), 'utf8')) as { cases: Case[] };

// Rounding, in units of a tensor's largest magnitude. PyTorch's own float32 run of these cases stays within 4.3e-7 (loss)
// and 2.4e-6 (all else) of the references, as make_golden.py prints; some room is left for another order of summation.
// The mistakes one makes (another framework's epsilon, a mean over rows, decay before clipping) are far outside.
const LOSS_TOLERANCE = 2e-6;
const TOLERANCE = 1e-5;
// A weight is rounded when each step is added to it: half a unit in the last place, whatever the size of the step.
const ROUNDING_PER_STEP = 2 ** -24;

function expectLoss(what: string, actual: number, reference: number): void {
  const error = Math.abs(actual - reference) / Math.abs(reference);
  expect(error, `${what}: ${actual}, PyTorch ${reference}`).toBeLessThanOrEqual(LOSS_TOLERANCE);
}

function expectTensor(what: string, actual: Tensor, reference: Reference, start?: Reference): void {
  expect(actual.shape, what).toEqual(reference.shape);
  expect(actual.data.length, what).toBe(reference.data.length);
  // Weights are judged by how they changed: a small step must be right too.
  const scale = Math.max(...reference.data.map((value, i) => Math.abs(value - (start?.data[i] ?? 0))));
  for (const [i, value] of reference.data.entries()) {
    const stored = start ? Math.max(Math.abs(value), Math.abs(start.data[i])) : 0;
    const allowed = TOLERANCE * scale + 5 * ROUNDING_PER_STEP * stored;
    const error = Math.abs(actual.data[i] - value);
    if (!(error <= allowed)) expect.fail(`${what}[${i}]: ${actual.data[i]}, PyTorch ${value}, off by ${error}, allowed ${allowed}`);
  }
}

function build(golden: Case, options: { fuse?: boolean; threads?: number } = {}) {
  const activationOf = (spec: string | ActivationSpec) =>
    typeof spec === 'string' ? spec : activation(spec as Parameters<typeof activation>[0]);
  const layers = golden.layers.map(({ type, activation: spec, ...rest }) => {
    if (type === 'activation') return activation(spec as Parameters<typeof activation>[0]);
    if (type === 'dense') return dense({ ...rest, ...(spec && { activation: activationOf(spec) }) } as Parameters<typeof dense>[0]);
    return normalizations[type](rest);
  });
  const model = sequential({ inputShape: golden.inputShape, layers });
  const optimizer = optimizers[golden.optimizer.name](golden.optimizer.options);
  model.compile({ optimizer, loss: golden.loss, ...options } as Parameters<typeof model.compile>[0]);
  model.setWeights(golden.weights.map(({ name, shape, data }) => ({ name, shape, data: Float32Array.from(data) })));
  return model;
}

/** Rows [from, to) as gradmill takes them. */
function rows({ shape, data, type }: Source, from = 0, to = shape[0]) {
  const width = data.length / shape[0];
  return { data: arrays[type].from(data.slice(from * width, to * width)), shape: [to - from, ...shape.slice(1)] };
}

interface Tensor {
  data: Float32Array;
  shape: readonly number[];
}

async function run(golden: Case, options: { fuse: boolean; threads: number }) {
  const model = build(golden, options);
  const [from, to] = golden.batches[0];
  const gradients = await model.gradients(rows(golden.x, from, to), rows(golden.y, from, to));
  const losses: number[] = [];
  for (const [from, to] of golden.batches) losses.push((await model.trainOnBatch(rows(golden.x, from, to), rows(golden.y, from, to))).loss);
  const weights = model.weights;
  const output = await model.predict(rows(golden.x));
  model.dispose();
  return { gradients, losses, weights, output };
}

/** Every number of a run, as its bits. */
function bitsOf({ gradients, losses, weights, output }: Awaited<ReturnType<typeof run>>) {
  const bits = ({ data }: Tensor) => [...new Uint32Array(Float32Array.from(data).buffer)];
  return {
    losses: [gradients.loss, ...losses],
    inputGradient: bits(gradients.inputGradient),
    lossGradients: gradients.lossGradients.map(bits),
    gradients: gradients.weights.map(bits),
    weights: weights.map(bits),
    output: bits(output),
  };
}

test('every activation, normalisation, loss and optimizer has a golden run', () => {
  const layers = cases.flatMap((golden) => golden.layers);
  const activations = layers.map(({ activation = 'linear' }) => (typeof activation === 'string' ? activation : activation.name));
  expect(new Set(activations)).toEqual(new Set(ACTIVATION_NAMES));
  expect(new Set(layers.map(({ type }) => type))).toEqual(new Set(['dense', 'activation', ...Object.keys(normalizations)]));
  expect(new Set(cases.map(({ loss }) => loss.name))).toEqual(new Set(LOSS_NAMES));
  expect(new Set(cases.map(({ optimizer }) => optimizer.name))).toEqual(new Set(Object.keys(optimizers)));
});

describe('five training steps equal those of PyTorch', () => {
  test.each(cases)('$name', async (golden) => {
    const result = await run(golden, { fuse: true, threads: 1 });

    expectLoss('loss of gradients()', result.gradients.loss, golden.losses[0]);
    if (golden.inputGradient) expectTensor('gradient of the input', result.gradients.inputGradient, golden.inputGradient);
    expect(result.gradients.lossGradients.length).toBe(golden.layers.length);
    for (const [layer, reference] of golden.lossGradients?.entries() ?? [])
      expectTensor(`loss gradient of layer ${layer + 1}`, result.gradients.lossGradients[layer], reference);
    expect(result.gradients.weights.map(({ name }) => name)).toEqual(golden.gradients.map(({ name }) => name));
    for (const [i, reference] of golden.gradients.entries())
      expectTensor(`gradient of ${reference.name}`, result.gradients.weights[i], reference);

    for (const [step, loss] of golden.losses.entries()) expectLoss(`loss of step ${step + 1}`, result.losses[step], loss);
    expect(result.weights.map(({ name }) => name)).toEqual(golden.weightsAfter.map(({ name }) => name));
    for (const [i, reference] of golden.weightsAfter.entries())
      expectTensor(`${reference.name} after five steps`, result.weights[i], reference, golden.weights[i]);
    expectTensor('output', result.output, golden.output);

    const bits = bitsOf(result);
    for (const options of [
      { fuse: true, threads: 2 },
      { fuse: false, threads: 1 },
      { fuse: false, threads: 2 },
    ])
      expect(bitsOf(await run(golden, options)), JSON.stringify(options)).toEqual(bits);
  });
});

describe('fit takes the same steps as trainOnBatch', () => {
  // Where the five batches are each row once.
  const epochs = cases.filter(({ batches, x }) => batches.reduce((sum, [from, to]) => sum + to - from, 0) === x.shape[0]);

  test.each(epochs)('$name', async (golden) => {
    const { losses, weights } = await run(golden, { fuse: true, threads: 1 });
    const model = build(golden);
    const history = await model.fit(rows(golden.x), rows(golden.y), {
      epochs: 1,
      batchSize: golden.batchSize,
      shuffle: false,
    });
    expect(model.weights).toEqual(weights);
    if (golden.loss.reduction !== 'sum') {
      const total = golden.batches.reduce((sum, [from, to], step) => sum + losses[step] * (to - from), 0);
      expectLoss('loss of the epoch', history.loss[0], total / golden.x.shape[0]);
    }
    model.dispose();
  });
});
