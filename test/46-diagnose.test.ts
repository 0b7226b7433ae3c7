// The doctor: every finding has a planted fault that raises it and a healthy twin that does not, and ten healthy networks raise no
// alarm. Trials train for real: rates and epochs are those of the library's defaults.
import { describe, expect, test } from 'vitest';
import { diagnose, type DiagnoseOptions, type Finding, type FindingCode, preflight } from '../src/diagnostics/index.js';
import {
  activation,
  type ActivationName,
  adam,
  batchNormalization,
  type CompileOptions,
  constant,
  dense,
  dropout,
  type InitializerInput,
  type Layer,
  layerNormalization,
  type LossName,
  normal,
  sequential,
  sgd,
  tensor,
  type TensorLike,
} from '../src/index.js';
import { callOn, copyOf } from '../src/model.js';
import { pruneByMagnitude } from '../src/pruning/index.js';
import { Random } from './engines.js';
import { refusal } from './refusal.js';

// ── Data ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Data {
  readonly x: TensorLike;
  readonly y: TensorLike;
}

/** Sum of twelve uniforms: near enough to N(0, 1). */
const gaussian = (random: Random) => Array.from({ length: 12 }, () => random.uniform()).reduce((sum, u) => sum + u, -6);

/** Classes as clouds round centres. */
function blobs({ rows = 600, columns = 8, classes = 4, seed = 1, spread = 1 } = {}): Data {
  const random = new Random(seed);
  const centres = Float32Array.from({ length: classes * columns }, () => 1.5 * gaussian(random));
  const labels = random.labels(rows, classes);
  const x = Float32Array.from({ length: rows * columns }, (_, i) => centres[labels[Math.floor(i / columns)] * columns + (i % columns)] + spread * gaussian(random)); // prettier-ignore
  return { x: standardized(x, columns), y: tensor(labels, [rows]) };
}

function standardized(x: Float32Array, columns: number): TensorLike {
  const rows = x.length / columns;
  for (let j = 0; j < columns; j++) {
    const values = Array.from({ length: rows }, (_, i) => x[i * columns + j]);
    const mean = values.reduce((sum, value) => sum + value, 0) / rows;
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / rows) || 1;
    values.forEach((value, i) => (x[i * columns + j] = (value - mean) / deviation));
  }
  return tensor(x, [rows, columns]);
}

/** A smooth function of some inputs, with a little noise; unit variance. */
function curve({ rows = 500, columns = 4, outputs = 1, seed = 2 } = {}): Data {
  const random = new Random(seed);
  const x = Float32Array.from({ length: rows * columns }, () => gaussian(random));
  const y = Float32Array.from({ length: rows * outputs }, (_, i) => {
    const at = Math.floor(i / outputs) * columns;
    return Math.sin(1.5 * x[at] + (i % outputs)) + 0.6 * x[at + 1] + 0.05 * gaussian(random);
  });
  return { x: tensor(x, [rows, columns]), y: standardized(y, outputs) };
}

function spirals(rows = 600): Data {
  const random = new Random(5);
  const x = new Float32Array(rows * 2);
  const labels = Int32Array.from({ length: rows }, (_, i) => i % 2);
  for (let i = 0; i < rows; i++) {
    const t = 0.3 + 2.7 * random.uniform();
    const angle = 2 * t + Math.PI * (i % 2);
    x[2 * i] = 0.6 * t * Math.cos(angle) + 0.03 * gaussian(random);
    x[2 * i + 1] = 0.6 * t * Math.sin(angle) + 0.03 * gaussian(random);
  }
  return { x: standardized(x, 2), y: tensor(labels, [rows]) };
}

/** Pixels: 100 of them, most dark, bytes. */
function images(rows = 800): Data {
  const random = new Random(6);
  const prints = Array.from({ length: 10 }, () => random.floats(100, -0.6, 1));
  const labels = random.labels(rows, 10);
  const x = Uint8Array.from({ length: rows * 100 }, (_, i) => {
    // The corners stay black, as MNIST's do, and some pixels are lit in one image only.
    if (i % 100 < 8) return i === 503 || i === 1206 ? 200 : 0;
    return Math.max(0, Math.min(255, 255 * (prints[labels[Math.floor(i / 100)]][i % 100] + 0.3 * gaussian(random))));
  });
  return { x: tensor(x, [rows, 100]), y: tensor(labels, [rows]) };
}

const mapped = ({ data, shape }: TensorLike, change: (value: number, i: number) => number): TensorLike =>
  tensor(Float32Array.from(data, change), shape);

// ── Networks ───────────────────────────────────────────────────────────────────────────────────────────────────────────

type Compile = Partial<CompileOptions> & { readonly loss: LossName };

function network(columns: number, layers: readonly Layer[], compile: Compile, options: object = {}) {
  const model = sequential({ inputShape: [columns], layers, seed: 7, ...options });
  model.compile({ optimizer: adam(), ...compile });
  return model;
}

const stack = (depth: number, units: number, name: ActivationName, kernelInitializer: InitializerInput = 'glorotUniform') =>
  Array.from({ length: depth }, () => dense({ units, activation: name, kernelInitializer }));

const classifier = (name: ActivationName = 'relu', kernelInitializer: InitializerInput = 'heNormal', depth = 2) => [
  ...stack(depth, 32, name, kernelInitializer),
  dense({ units: 4 }),
];

/** At most: a slow machine must not cut trials short. */
const OPTIONS: DiagnoseOptions = { seconds: 30 };

async function found(layers: readonly Layer[], { x, y }: Data, compile: Compile, options: object = {}): Promise<Finding[]> {
  return diagnose(network(x.shape[1], layers, compile, options), x, y, OPTIONS);
}

const alarms = (findings: readonly Finding[]) =>
  findings.filter(({ severity }) => severity !== 'note').map(({ code, layer, message }) => `${code} ${layer ?? ''}: ${message}`);
const codes = (findings: readonly Finding[]): FindingCode[] => findings.map(({ code }) => code);
const get = (findings: readonly Finding[], code: FindingCode): Finding =>
  findings.find((finding) => finding.code === code) ?? expect.fail(`${code} was not found, but ${alarms(findings).join('; ')}`);

const CLASSES: Compile = { loss: 'softmaxCrossEntropy' };
const SQUARES: Compile = { loss: 'meanSquaredError' };

describe('healthy networks raise no alarm', () => {
  const xor: Data = { x: tensor([0, 0, 0, 1, 1, 0, 1, 1], [4, 2]), y: tensor([0, 1, 1, 0], [4, 1]) };
  const binary = blobs({ classes: 2, seed: 3 });
  const cases: [string, readonly Layer[], Data, Compile, object?][] = [
    ['XOR with sigmoid', [dense({ units: 8, activation: 'tanh' }), dense({ units: 1, activation: 'sigmoid' })], xor, { ...SQUARES, optimizer: adam({ learningRate: 0.05 }) }],
    ['two spirals', [...stack(2, 32, 'relu', 'heNormal'), dense({ units: 2 })], spirals(), { ...CLASSES, optimizer: adam({ learningRate: 0.01 }) }],
    ['regression with tanh', [...stack(2, 24, 'tanh'), dense({ units: 1 })], curve(), SQUARES],
    ['images as bytes, scaled as they are read', [...stack(2, 64, 'relu', 'heNormal'), dense({ units: 10 })], images(), CLASSES, { inputScaling: { mean: 50, standardDeviation: 70 } }],
    ['images in [0, 1]', [...stack(2, 64, 'relu', 'heNormal'), dense({ units: 10 })], images(), CLASSES, { inputScaling: { mean: 0, standardDeviation: 255 } }],
    ['GELU', classifier('gelu', 'heNormal'), blobs(), CLASSES],
    ['deep tanh, LeCun', [...stack(12, 48, 'tanh', 'lecunNormal'), dense({ units: 4 })], blobs(), CLASSES],
    ['ten classes, softmax and labels', [dense({ units: 40, activation: 'selu', kernelInitializer: 'lecunNormal' }), dense({ units: 10, activation: 'softmax' })], blobs({ classes: 10, columns: 12, rows: 1000 }), { loss: 'categoricalCrossEntropy' }],
    ['one logit, yes or no', [...stack(2, 16, 'leakyRelu', 'heNormal'), dense({ units: 1 })], { x: binary.x, y: tensor(Float32Array.from(binary.y.data), [600, 1]) }, { loss: 'binaryCrossEntropy' }],
    ['Huber, two outputs, SGD with momentum', [...stack(2, 32, 'silu', 'heNormal'), dense({ units: 2 })], curve({ outputs: 2 }), { loss: 'huber', optimizer: sgd({ learningRate: 0.05, momentum: 0.9 }) }],
    ['softmax regression without hidden layers', [dense({ units: 4 })], blobs(), { ...CLASSES, optimizer: sgd({ learningRate: 0.1 }) }],
    ['few rows', classifier(), blobs({ rows: 40 }), CLASSES],
    ['batch normalisation', [dense({ units: 32, useBias: false }), batchNormalization(), activation('relu'), dense({ units: 4 })], blobs(), CLASSES],
    ['layer normalisation and dropout', [dense({ units: 32, activation: 'gelu' }), layerNormalization(), dropout({ rate: 0.2 }), dense({ units: 4 })], blobs(), CLASSES],
    ['two different rows', [...stack(2, 64, 'relu'), dense({ units: 1 })], { x: tensor(Float32Array.from({ length: 80 }, (_, i) => (i % 4 === 0 || i % 4 === 3 ? 1 : 0)), [40, 2]), y: tensor(Float32Array.from({ length: 40 }, (_, i) => 2 * (i % 2) - 1), [40, 1]) }, SQUARES],
  ]; // prettier-ignore
  test.each(cases)('%s', async (_, layers, data, compile, options) => {
    const findings = await found(layers, data, compile, options);
    expect(alarms(findings)).toEqual([]);
  });
});

describe('planted faults are found, and their healthy twins are not accused', () => {
  interface Fault {
    readonly code: FindingCode;
    readonly sick: () => Promise<Finding[]>;
    readonly well: () => Promise<Finding[]>;
    readonly severity?: Finding['severity'];
    readonly layer?: string;
    readonly evidence?: object;
  }
  const data = blobs();
  const smooth = curve();
  const scaledBy = (factor: (j: number) => number, shift: (j: number) => number = () => 0): Data => ({
    ...data,
    x: mapped(data.x, (value, i) => value * factor(i % 8) + shift(i % 8)),
  });
  const well = () => found(classifier(), data, CLASSES);
  const shuffledLabels = new Random(9);
  const faults: readonly Fault[] = [
    { code: 'non-finite-inputs', sick: () => found(classifier(), { ...data, x: mapped(data.x, (value, i) => (i === 77 ? NaN : value)) }, CLASSES), well, severity: 'error', evidence: { numbers: 1, firstColumn: 5 } },
    { code: 'unscaled-inputs', sick: () => found(classifier(), scaledBy((j) => 10 ** j), CLASSES), well, severity: 'error' },
    { code: 'unscaled-inputs', sick: () => found(classifier(), scaledBy(() => 1e-4), CLASSES), well },
    { code: 'uncentred-inputs', sick: () => found(classifier(), scaledBy(() => 1, () => 6), CLASSES), well, severity: 'warning', evidence: { sameSignShare: 1 } },
    { code: 'constant-inputs', sick: () => found(classifier(), { ...data, x: mapped(data.x, (value, i) => (i % 8 === 3 ? 1 : value)) }, CLASSES), well, severity: 'note', evidence: { columns: 1, firstColumn: 3 } },
    { code: 'duplicate-inputs', sick: () => found(classifier(), { ...data, x: mapped(data.x, (value, i) => (i % 8 === 3 ? data.x.data[i - 2] : value)) }, CLASSES), well, evidence: { groups: 1, columns: 2 } },
    { code: 'unscaled-targets', sick: () => found([...stack(2, 24, 'tanh'), dense({ units: 1 })], { ...smooth, y: mapped(smooth.y, (value) => 300 + 20 * value) }, SQUARES), well: () => found([...stack(2, 24, 'tanh'), dense({ units: 1 })], smooth, SQUARES) },
    { code: 'wrong-loss', sick: () => found([...stack(2, 32, 'relu', 'heNormal'), dense({ units: 4, activation: 'softmax' })], data, CLASSES), well, severity: 'error' },
    { code: 'wrong-loss', sick: () => found(classifier(), data, { loss: 'categoricalCrossEntropy' }), well: () => found([...stack(2, 32, 'relu', 'heNormal'), dense({ units: 4, activation: 'softmax' })], data, { loss: 'categoricalCrossEntropy' }), severity: 'error' },
    { code: 'wrong-loss', sick: () => found([...stack(2, 24, 'tanh'), dense({ units: 1, activation: 'sigmoid' })], smooth, SQUARES), well: () => found([...stack(2, 24, 'tanh'), dense({ units: 1 })], smooth, SQUARES), severity: 'error' },
    { code: 'wrong-loss', sick: () => found([...stack(2, 24, 'tanh'), dense({ units: 1 })], { x: data.x, y: tensor(Float32Array.from(data.y.data), [600, 1]) }, SQUARES), well, severity: 'note' },
    { code: 'wrong-loss', sick: () => found([...stack(2, 24, 'tanh'), dense({ units: 1 })], smooth, { loss: 'binaryCrossEntropy' }), well, severity: 'error' },
    { code: 'labels-shuffled', sick: () => found(classifier(), { ...data, y: tensor(shuffledLabels.labels(600, 4), [600]) }, CLASSES), well, severity: 'warning' },
    { code: 'identical-units', sick: () => found(classifier('tanh', constant({ value: 0.05 })).map((layer, l) => (l === 2 ? dense({ units: 4, kernelInitializer: 'zeros' }) : layer)), data, CLASSES), well, severity: 'error', layer: 'dense1', evidence: { inseparableCopies: 31 } },
    { code: 'init-too-large', sick: () => found(classifier('tanh', normal({ standardDeviation: 1 })), data, CLASSES), well, layer: 'dense2' },
    { code: 'init-too-small', sick: () => found(classifier('tanh', normal({ standardDeviation: 0.01 })), data, CLASSES), well, layer: 'dense1' },
    { code: 'saturated-layer', sick: () => found(classifier('tanh', normal({ standardDeviation: 4 })), data, CLASSES), well: () => found(classifier('tanh', 'glorotNormal'), data, CLASSES), layer: 'dense1' },
    { code: 'vanishing-gradient', sick: () => found([...stack(14, 32, 'sigmoid'), dense({ units: 4 })], data, CLASSES), well: () => found([...stack(14, 32, 'relu', 'heNormal'), dense({ units: 4 })], data, CLASSES) },
    { code: 'exploding-gradient', sick: () => found([...stack(10, 32, 'relu', normal({ standardDeviation: 1 })), dense({ units: 4 })], data, CLASSES), well: () => found([...stack(10, 32, 'relu', 'heNormal'), dense({ units: 4 })], data, CLASSES) },
    { code: 'dead-units', sick: () => found([dense({ units: 32, activation: 'relu', biasInitializer: constant({ value: -20 }) }), dense({ units: 4 })], data, CLASSES), well, severity: 'error', evidence: { neverActive: 32, dead: 32 } },
    { code: 'loss-at-init', sick: () => found(classifier('relu', normal({ standardDeviation: 1 })), data, CLASSES), well },
    { code: 'class-imbalance', sick: () => found(classifier(), { ...data, y: tensor(Int32Array.from(data.y.data, (label, i) => (i % 10 === 0 ? label : 0)), [600]) }, CLASSES), well, severity: 'note' },
    { code: 'learning-rate-too-high', sick: () => found(classifier(), data, { ...CLASSES, optimizer: adam({ learningRate: 5 }) }), well },
    { code: 'learning-rate-too-high', sick: () => found([...stack(2, 24, 'tanh'), dense({ units: 1 })], smooth, { ...SQUARES, optimizer: sgd({ learningRate: 100 }) }), well: () => found([...stack(2, 24, 'tanh'), dense({ units: 1 })], smooth, { ...SQUARES, optimizer: sgd({ learningRate: 0.05 }) }) },
    { code: 'learning-rate-too-low', sick: () => found(classifier(), data, { ...CLASSES, optimizer: adam({ learningRate: 1e-6 }) }), well, severity: 'warning' },
    { code: 'overfit-subset-failed', sick: () => found([...stack(20, 16, 'sigmoid'), dense({ units: 4 })], data, CLASSES), well, severity: 'error' },
  ]; // prettier-ignore
  test.each(faults)('$code, as $severity in $layer', async ({ code, sick, well, severity, layer, evidence }) => {
    const finding = get(await sick(), code);
    if (severity) expect(finding.severity).toBe(severity);
    if (layer) expect(finding.layer).toBe(layer);
    if (evidence) expect(finding.evidence).toMatchObject(evidence);
    for (const text of [finding.message, finding.advice, finding.theory]) expect(text).toMatch(/^\S.{20,400}$/s);
    expect(finding.message).not.toMatch(/undefined|(?<!are )NaN|\[object/);
    expect(codes(await well())).not.toContain(code);
  });
});

test('findings are ranked: errors, warnings, notes; and causes before effects', async () => {
  const data = blobs();
  const findings = await found(classifier('tanh', normal({ standardDeviation: 4 })), { ...data, x: mapped(data.x, (value, i) => value * 1000 ** (i % 2)) }, CLASSES); // prettier-ignore
  const ranks = findings.map(({ severity }) => ['error', 'warning', 'note'].indexOf(severity));
  expect(ranks).toEqual([...ranks].sort());
  expect(findings[0].code).toBe('unscaled-inputs');
  expect(codes(findings)).toEqual(expect.arrayContaining(['unscaled-inputs', 'saturated-layer', 'init-too-large']));
});

test('the model does not change, its optimizer neither', async () => {
  const { x, y } = blobs();
  const [diagnosed, untouched] = [0, 1].map(() => network(8, [...classifier(), activation('linear')], CLASSES));
  for (const model of [diagnosed, untouched]) await model.fit(x, y, { epochs: 2 });
  await diagnose(diagnosed, x, y, { seconds: 1 });
  expect(diagnosed.weights).toEqual(untouched.weights);
  for (const model of [diagnosed, untouched]) await model.fit(x, y, { epochs: 1 });
  expect(diagnosed.weights).toEqual(untouched.weights);
});

test('a pruned model is examined as it is: copies keep its masks', async () => {
  const { x, y } = blobs();
  const model = network(8, classifier(), CLASSES);
  await pruneByMagnitude(model, { sparsity: 0.5 });
  const before = model.weights;
  expect(alarms(await diagnose(model, x, y, OPTIONS))).toEqual([]);
  expect(model.weights).toEqual(before);
  const copy = await callOn(model, () => Promise.resolve(copyOf(model)));
  await copy.fit(x, y, { epochs: 2 });
  for (const [i, { name, data }] of copy.weights.entries())
    for (const [j, value] of data.entries())
      if (name.endsWith('kernel') && before[i].data[j] === 0 && value !== 0) expect.fail(`${name}[${j}] was pruned and is ${value}`);
});

test('columns are called by their names, and without time nothing is trained', async () => {
  const data = blobs();
  const names = ['age', 'income', 'c', 'd', 'e', 'f', 'g', 'h'];
  const x = mapped(data.x, (value, i) => (i % 8 === 1 ? 50_000 + 20_000 * value : value));
  const findings = await diagnose(network(8, classifier(), { ...CLASSES, optimizer: adam({ learningRate: 10 }) }), x, data.y, {
    columns: names,
    seconds: 0,
  });
  expect(get(findings, 'unscaled-inputs').message).toMatch(/'income'/);
  expect(codes(findings)).not.toContain('learning-rate-too-high');
  const model = network(8, classifier(), CLASSES);
  expect(await refusal(() => diagnose(model, x, data.y, { columns: ['one'] }))).toMatch(
    /^invalid-argument: diagnose: columns: expected 8 names/,
  );
  expect(await refusal(() => diagnose(model, x, data.y, { second: 1 } as object))).toMatch(/did you mean 'seconds'/);
  const uncompiled = sequential({ inputShape: [8], layers: classifier() });
  expect(await refusal(() => diagnose(uncompiled, x, data.y))).toMatch(/^not-compiled/);
});

describe('preflight', () => {
  test('a sound model passes every check, with an estimate that a run confirms', async () => {
    const { x, y } = blobs({ rows: 1500 });
    const model = network(8, classifier(), CLASSES);
    const report = await preflight(model, x, y, { epochs: 10, seconds: 30 });
    expect(report).toMatchObject({ passed: true });
    expect(report.checks.map(({ name, passed }) => [name, passed])).toEqual([
      ['inputs are finite and scaled', true],
      ['loss at the start', true],
      ['gradients reach the first layer', true],
      ['loss falls in the first steps', true],
      ['small subset learnt by heart', true],
    ]);
    const { secondsPerEpoch, seconds, modelBytes, dataBytes } = report.estimate;
    expect(seconds).toBeCloseTo(10 * secondsPerEpoch, 10);
    expect(secondsPerEpoch).toBeGreaterThan(0);
    expect(dataBytes).toBe(1500 * 8 * 4 + 1500 * 4);
    // Weights, gradients and two moments of Adam.
    expect(modelBytes).toBeGreaterThan(4 * 4 * (8 * 32 + 32 + 32 * 32 + 32 + 32 * 4 + 4));
    // An epoch takes half a millisecond: whatever else the machine does may spoil a measurement, but not each of ten.
    const ratios: number[] = [];
    while (ratios.length < 10 && !ratios.some((ratio) => ratio > 0.1 && ratio < 20)) {
      const { estimate } = await preflight(model, x, y, { seconds: 30 });
      const { epochs } = await model.fit(x, y, { epochs: 10 });
      ratios.push(estimate.secondsPerEpoch / Math.min(...epochs.map((epoch) => epoch.seconds)));
    }
    expect(ratios.at(-1)).toSatisfy((ratio) => ratio > 0.1 && ratio < 20, ratios.join(', '));
  });

  test('a fault fails its check', async () => {
    const { x, y } = blobs();
    const report = await preflight(network(8, classifier('relu', normal({ standardDeviation: 2 })), CLASSES), x, y, { seconds: 2 });
    expect(report.passed).toBe(false);
    expect(report.checks.find(({ name }) => name === 'loss at the start')).toMatchObject({ passed: false });
    const bad = await preflight(
      network(8, classifier(), CLASSES),
      mapped(x, () => Infinity),
      y,
    );
    expect(bad).toMatchObject({ passed: false, checks: [{ name: 'inputs are finite and scaled', passed: false }] });
  });
});
