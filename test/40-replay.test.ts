// Every op on every instruction set of this machine and with one to four threads: in strict mode the same bits. What runs here is
// written to test/.replay/, where native/replay.cpp finds it: sanitizers and ARM under emulation must compute those bits too.
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { ACTIVATION_NAMES } from '../src/activations.js';
import { type Engine, engine } from '../src/engine.js';
import { GradmillError } from '../src/errors.js';
import {
  activation,
  adagrad,
  adam,
  adamW,
  batchNormalization,
  constant,
  dense,
  groupLasso,
  type DiagnosticsOptions,
  heNormal,
  l1,
  l2,
  dropout,
  layerNormalization,
  normal,
  rmsNormalization,
  rmsprop,
  type Sequential,
  sequential,
  sgd,
  tensor,
  truncatedNormal,
  uniform,
} from '../src/index.js';
import type { Layer } from '../src/layers/layer.js';
import { LOSS_NAMES, type LossName, type LossOptions, resolveLoss } from '../src/losses.js';
import type { Optimizer } from '../src/optimizers.js';
import type { ElementType } from '../src/ops.js';
import { ALIGNMENT, FEED, Plan, Tensor } from '../src/plan.js';
import { pruneByMagnitude } from '../src/pruning/index.js';
import { elementType, type NumericArray } from '../src/tensor.js';
import { encodeCase, opsOf, type RecordedCase, Recorder, replay } from './replay-cases.js';

// Models that are made while a case is recorded run on the recorder.
const recording = vi.hoisted((): { engine: Engine | undefined } => ({ engine: undefined }));
vi.mock(import('../src/engine.js'), async (original) => {
  const actual = await original();
  return { ...actual, engine: () => recording.engine ?? actual.engine() };
});

const folder = fileURLToPath(new URL('.replay/', import.meta.url));
const recorded: RecordedCase[] = [];
const { isas, ops } = engine();

beforeAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
});

/** Runs it once, recording; then again on every instruction set and number of threads; then writes its files. */
async function check(name: string, run: (recorder: Recorder) => Promise<void>): Promise<RecordedCase[]> {
  const recorder = new Recorder(engine());
  recording.engine = recorder;
  try {
    await run(recorder);
  } finally {
    recording.engine = undefined;
  }
  for (const [i, recordedCase] of recorder.cases.entries()) {
    for (const isa of isas)
      for (const threads of [1, 2, 3, 4]) {
        const different = await replay(engine(), recordedCase, { isa, threads });
        expect(different, `case ${i}, ${isa}, ${threads} threads: the first run that differs`).toBe(-1);
      }
    recorded.push(recordedCase);
    await writeFile(`${folder}${name.replaceAll(/\W+/g, '-')}-${i}.case`, encodeCase(recordedCase));
  }
  return recorder.cases;
}

/** Uniform in [low, high), the same in every run. */
function generator(seed: number): (low: number, high: number) => number {
  let state = seed;
  return (low, high) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return low + ((high - low) * state) / 2 ** 32;
  };
}

function numbers(count: number, seed: number, low = -1, high = 1): Float32Array {
  const random = generator(seed);
  return Float32Array.from({ length: count }, () => random(low, high));
}

interface Network {
  readonly layers: readonly Layer[];
  readonly columns: number;
  readonly units: number;
  readonly rows: number;
  readonly batch: number;
  readonly x?: NumericArray;
  /** Labels, or rows like the prediction's. Default: labels where the loss takes them. */
  readonly y?: NumericArray;
  readonly loss?: LossName | LossOptions;
  readonly optimizer?: Optimizer;
  readonly epochs?: number;
  readonly shuffle?: boolean;
  readonly fuse?: boolean;
  readonly scaled?: boolean;
  /** Before anything runs. */
  readonly prepare?: (model: Sequential) => Promise<unknown>;
  readonly diagnostics?: DiagnosticsOptions;
}

/** What a model does in its life: it draws weights, checks its data, trains, evaluates, takes gradients, predicts. */
async function live(network: Network): Promise<void> {
  const { layers, columns, units, rows, batch, loss = 'meanSquaredError', optimizer = sgd({ learningRate: 0.05 }) } = network;
  const inputScaling = { mean: [...numbers(columns, 1, 0, 100)], standardDeviation: [...numbers(columns, 2, 50, 100)] };
  const model = sequential({ inputShape: [columns], seed: 11, layers, ...(network.scaled && { inputScaling }) });
  model.compile({ optimizer, loss, metrics: ['accuracy'], fuse: network.fuse ?? true });
  await network.prepare?.(model);
  const y = network.y ?? (resolveLoss(loss).classes ? numbers(rows, 5, 0, units).map(Math.floor) : numbers(rows * units, 5, 0, 1));
  const [inputs, targets] = [network.x ?? numbers(rows * columns, 3), y].map((data) => tensor(data, [rows, data.length / rows]));
  const { epochs = 1, shuffle = false, diagnostics } = network;
  await model.fit(inputs, targets, { epochs, batchSize: batch, shuffle, ...(diagnostics && { diagnostics }) });
  await model.evaluate(inputs, targets, { batchSize: batch });
  await model.gradients(inputs, targets);
  await model.predict(inputs);
}

/** Instructions of one's own over tensors of one's own, each filled with numbers. */
async function instructions(
  recorder: Recorder,
  batch: number,
  record: (plan: Plan, state: (shape: readonly (number | 'batch')[], type?: ElementType) => Tensor) => void,
): Promise<void> {
  const plan = new Plan(recorder.ops, batch, false);
  let end = ALIGNMENT;
  const tensors: Tensor[] = [];
  record(plan, (shape, type = 'f32') => {
    const tensor = new Tensor(`tensor${tensors.length}`, shape, 'state', type);
    tensor.offset = end;
    end += tensor.bytes(batch);
    tensors.push(tensor);
    return tensor;
  });
  const arena = recorder.allocate(plan.finish(end, { fuse: false }));
  for (const [i, tensor] of tensors.entries()) {
    const values = numbers(tensor.elements(batch), i + 1);
    const place = [arena.bytes().buffer, arena.bytes().byteOffset + tensor.offset, values.length] as const;
    if (tensor.type === 'f64') new Float64Array(...place).set(values.map(Math.abs));
    else if (tensor.type !== 'f32') new Int32Array(...place).set(values.map((value) => value * 100));
    else new Float32Array(...place).set(values);
  }
  const program = recorder.load(arena, plan.encode(), { threads: 1 });
  const run = (rows: number) => program.start(0, plan.instructions.length, 0, rows, batch);
  await run(batch);
  await run(Math.ceil(batch / 2));
}

describe('products', () => {
  const shapes = [
    [1, 1, 1],
    [1, 33, 7],
    [2, 17, 19],
    [3, 8, 1],
    [5, 16, 300],
    [6, 15, 31],
    [7, 31, 5],
    [17, 1, 23],
    [13, 47, 64],
    [64, 65, 40],
    [130, 20, 3],
  ] as const;

  test.each([0, 1, 2, 3])('transposed: %i', async (transpose) => {
    await check(`gemm-${transpose}`, (recorder) =>
      instructions(recorder, 1, (plan, state) => {
        for (const [m, n, k] of shapes)
          for (const beta of [0, 1, -0.5]) {
            const a = state(transpose & 1 ? [k, m] : [m, k]);
            const b = state(transpose & 2 ? [n, k] : [k, n]);
            plan.emit('gemm', [m, n, k], { a, b, c: state([m, n]) }, { transpose, beta, activation: 0, parameter: 0 });
          }
      }),
    );
  });

  test('the batch as each of its sizes', async () => {
    await check('gemm-batch', (recorder) =>
      instructions(recorder, 21, (plan, state) => {
        const [x, w, dZ] = [state(['batch', 18]), state([18, 9]), state(['batch', 9])];
        plan.gemm(x, w, state(['batch', 9]));
        plan.gemm(x.T, dZ, state([18, 9]));
        plan.gemm(dZ, w.T, state(['batch', 18]));
        plan.sumRows(dZ, state([9]));
        plan.gemm(w.T, x.T, state([9, 'batch']));
      }),
    );
  });

  test('larger than its blocks', async () => {
    await check('gemm-blocks', (recorder) =>
      instructions(recorder, 1, (plan, state) => {
        plan.gemm(state([9, 600]), state([600, 33]), state([9, 33]));
        plan.gemm(state([4, 5]), state([5, 1100]), state([4, 1100]));
        plan.gemm(state([5, 210]).T, state([20, 5]).T, state([210, 20]));
        plan.gemm(state([300, 1]), state([1, 300]), state([300, 300]));
      }),
    );
  });
});

describe('the smallest and the largest parts', () => {
  test('one element, and one more than a vector, a reduction chunk, a part', async () => {
    await check('sizes', (recorder) =>
      instructions(recorder, 1, (plan, state) => {
        for (const n of [1, 3, 17, 4097, 9000]) {
          const [x, y, hyper] = [state([2, n]), state([2, n]), state([16], 'f64')];
          plan.emit('softmax', [2, n], { x, y });
          plan.emit('softmaxGradient', [2, n], { dY: x, y, dX: state([2, n]) });
          plan.emit('addBias', [2, n], { x, bias: state([n]), y: state([2, n]) });
          plan.emit('meanSquaredError', [2, n], { x, t: y, rowLoss: state([2]), seed: state([1]), dX: state([2, n]) }, { reduction: 0 });
          plan.emit('softmaxCrossEntropy', [2, n], { x, t: y, rowLoss: state([2]), seed: state([1]), dX: state([2, n]) }, { reduction: 1 });
          plan.emit('sumRows', [2, n], { x, y: state([n]) });
          const [mean, variance, low, high] = [state([n]), state([n]), state([n]), state([n])];
          const [positive, negative, finite] = [state([n]), state([n]), state([n])];
          plan.emit('columnStatistics', [2, n], { x, mean, variance, low, high, positive, negative, finite });
          plan.emit('clipValue', [n], { g: state([n]), hyper });
          plan.emit('globalNormScale', [n], { g: state([n]), partials: state([Math.ceil(n / 4096)]), scale: state([1]), hyper });
          plan.emit('fill', [n], { y: state([n]) }, { value: 0.1 });
          plan.emit('shrinkColumns', [2, n], { x: state([2, n]), hyper }, { lambda: 0.9 });
          const mask = state([n]);
          plan.emit('softThreshold', [n], { x: mask, hyper }, { lambda: 0.9 });
          plan.emit('applyMask', [n], { x: state([n]), mask });
          plan.emit('addScaled', [n], { y: state([n]), x: state([n]) }, { scale: 0.3 });
          const statistics = state([8], 'f64');
          plan.emit('statistics', [2, n], { x, minus: y, statistics }, { threshold: 0.5 });
          plan.emit('histogram', [2, n], { x, statistics, counts: state([32], 'u32') });
          plan.emit('columnDistances', [2, n], { x, from: y, squares: state([n], 'f64') });
          const [v, next, work] = [state([n]), state([n]), state([n])];
          plan.emit('spectralNorm', [2, n], { x, v, square: state([1], 'f64'), next, work }, { iterations: 3 });
          plan.emit('multiplyAdd', [n], { y: state([n]) }, { times: 5, factor: 0.7 });
          plan.emit('sumWords', [2, n], { x: state([2, n], 'u32'), y: state([2], 'u32') }, { times: 3 });
        }
      }),
    );
  });

  test('many rows of few columns', async () => {
    await check('rows', (recorder) =>
      instructions(recorder, 12001, (plan, state) => {
        const [x, t, rowLoss, seed] = [state(['batch', 2]), state(['batch', 2]), state(['batch']), state([1])];
        plan.emit('softmax', x.shape, { x, y: state(x.shape) });
        plan.emit('softmaxGradient', x.shape, { dY: x, y: t, dX: state(x.shape) });
        for (const loss of ['meanSquaredError', 'meanAbsoluteError', 'binaryCrossEntropy', 'categoricalCrossEntropy'] as const)
          plan.emit(loss, x.shape, { x, t, rowLoss, seed, dX: state(x.shape) }, { reduction: 1 });
        plan.emit(
          'huber',
          ['batch', 1],
          { x: rowLoss, t: state(['batch']), rowLoss: state(['batch']), seed },
          { reduction: 0, delta: 0.3 },
        );
        plan.emit('huber', x.shape, { x, t, rowLoss, seed, dX: state(x.shape) }, { reduction: 0, delta: 0.3 });
        plan.emit('sumRows', x.shape, { x, y: state([2]) });
      }),
    );
  });

  test('more vectors than a panel, in columns and in rows', async () => {
    await check('orthogonalize', (recorder) =>
      instructions(recorder, 1, (plan, state) => {
        for (const [m, n] of [
          [1, 1],
          [5, 3],
          [75, 40],
          [40, 75],
          [33, 33],
        ])
          // prettier-ignore
          plan.emit('orthogonalize', [m, n], { y: state([m, n]) }, { gain: 1.5 });
      }),
    );
  });

  test('what networks seldom make large enough for parts', async () => {
    await check('parts', async (recorder) => {
      await instructions(recorder, 1, (plan, state) => {
        const [p, g, hyper] = [state([60_003]), state([60_003]), state([16], 'f64')];
        plan.emit('sgd', p.shape, { p, g, moment1: state(p.shape), hyper }, { nesterov: 1 });
        // Squares are not negative.
        const moment2 = state(p.shape);
        plan.emit('activate', [60_003, 1], { x: g, y: moment2 }, { activation: 3, parameter: 0 });
        plan.emit('rmsprop', p.shape, { p, g, moment2, hyper });
        plan.emit('adagrad', p.shape, { p, g, moment2, hyper });
        plan.emit('activate', [60_003, 1], { x: g, y: p }, { activation: 2, parameter: 0 });
        plan.emit('clipValue', p.shape, { g, hyper });
        plan.emit('fill', p.shape, { y: state(p.shape) }, { value: 0.1 });
        plan.emit('softThreshold', p.shape, { x: g, hyper }, { lambda: 0.5 });
        plan.emit('applyMask', p.shape, { x: p, mask: g });
        plan.emit('addScaled', p.shape, { y: p, x: g }, { scale: 0.3 });
        plan.emit('shrinkColumns', [3, 10_001], { x: state([3, 10_001]), hyper }, { lambda: 0.5 });
        const [w, from] = [state([300, 101]), state([300, 101])];
        plan.emit('columnDistances', [300, 101], { x: w, from, squares: state([101], 'f64') });
        plan.emit('multiplyAdd', [3000], { y: state([3000]) }, { times: 100, factor: 0.7 });
        plan.emit('sumWords', [9, 1001], { x: state([9, 1001], 'u32'), y: state([9], 'u32') }, { times: 30 });
        const epsilon = 1e-5;
        const [x, dY, y, dX] = Array.from({ length: 4 }, () => state([200, 150]));
        const [gamma, beta, dGamma, dBeta, mean, variance] = Array.from({ length: 6 }, () => state([150]));
        plan.emit('batchNormalization', x.shape, { x, gamma, beta, y, mean, variance }, { epsilon });
        plan.emit('batchNormalizationInference', x.shape, { x, mean, variance, gamma, beta, y }, { epsilon });
        plan.emit('batchNormalizationGradient', x.shape, { dY, x, mean, variance, gamma, dX, dGamma, dBeta }, { epsilon });
        const [means, inverse] = [state([200]), state([200])];
        plan.emit('layerNormalization', x.shape, { x, gamma, beta, y, inverse, mean: means }, { epsilon });
        plan.emit('layerNormalizationGradient', x.shape, { dY, x, inverse, mean: means, gamma, dX });
        plan.emit('layerNormalizationScaleGradient', x.shape, { dY, x, inverse, mean: means, dGamma });
        const wide = Array.from({ length: 4 }, () => state([10_001]));
        const statistics = { mean: wide[0], variance: wide[1], movingMean: wide[2], movingVariance: wide[3] };
        plan.emit('updateStatistics', [3, 10_001], statistics, { momentum: 0.9 });
        const seed = state([4], 'u32');
        plan.emit('dropout', x.shape, { x, state: seed, hyper, y, mask: dX }, { stream: 5, rate: 0.3 });
        plan.emit('dropoutGradient', x.shape, { dY, mask: dX, dX: y });
        for (const op of ['randomNormal', 'randomTruncatedNormal'] as const)
          plan.emit(op, p.shape, { y: state(p.shape), state: seed }, { stream: 3, mean: 0.1, standardDeviation: 2 });
        plan.emit('randomUniform', p.shape, { y: state(p.shape), state: seed }, { stream: 3, low: -1, high: 2 });
      });
      await live({ layers: [dense({ units: 301 })], columns: 101, units: 301, rows: 260, batch: 200 });
    });
  });
});

describe('activations', () => {
  const optimizer = sgd({ learningRate: 1e-3 });
  const spread = Float32Array.from({ length: 37 * 6 }, (_, i) => (i - 111) / 7);

  test.each(ACTIVATION_NAMES.flatMap((name) => [true, false].map((fuse) => [name, fuse] as const)))('%s, fused: %s', async (name, fuse) => {
    await check(`activation-${name}${fuse ? '' : '-unfused'}`, () =>
      live({
        layers: [activation(name), dense({ units: 9, activation: name }), dense({ units: 3, useBias: false, activation: name })],
        columns: 6,
        units: 3,
        rows: 37,
        batch: 16,
        x: spread,
        optimizer,
        fuse,
      }),
    );
  });

  test('with parameters', async () => {
    await check('activation-parameters', () =>
      live({
        layers: [activation({ name: 'leakyRelu', negativeSlope: 0.3 }), dense({ units: 19, activation: { name: 'elu', alpha: 0.7 } })],
        columns: 6,
        units: 19,
        rows: 37,
        batch: 37,
        x: spread,
        optimizer,
      }),
    );
  });
});

describe('what is measured', () => {
  test.each([{ every: 2 }, { every: 1, paths: true }])('%o', async (diagnostics) => {
    await check(`measured-${diagnostics.every}`, () =>
      live({
        layers: [dense({ units: 33, activation: 'relu' }), activation('gelu'), dense({ units: 3, activation: 'softmax' })],
        columns: 18,
        units: 3,
        rows: 45,
        batch: 10,
        loss: 'categoricalCrossEntropy',
        diagnostics,
      }),
    );
  });
});

test('normalisation and dropout', async () => {
  await check('normalisation', async () => {
    const layers = [
      batchNormalization(),
      dense({ units: 21, activation: 'tanh' }),
      dropout({ rate: 0.3 }),
      layerNormalization(),
      dense({ units: 18 }),
      rmsNormalization(),
      batchNormalization({ scale: false, center: false }),
      dropout({ rate: 0.5 }),
      dense({ units: 3 }),
    ];
    await live({ layers, columns: 6, units: 3, rows: 37, batch: 16 });
  });
});

describe('losses', () => {
  const losses: readonly LossOptions[] = [
    ...LOSS_NAMES.flatMap((name) => (['mean', 'sum'] as const).map((reduction) => ({ name, reduction }))),
    { name: 'huber', delta: 0.2 },
    { name: 'softmaxCrossEntropy', labelSmoothing: 0.1 },
  ];
  const cases = losses.flatMap((loss) =>
    [resolveLoss(loss).classes ? 2 : 1, 5].map((units) => [JSON.stringify(loss), units, loss] as const),
  );

  test.each(cases)('%s of %i', async (name, units, loss) => {
    await check(`loss-${name}-${units}`, async () => {
      const probabilities = loss.name === 'categoricalCrossEntropy';
      const network = {
        layers: [dense({ units, activation: probabilities ? 'softmax' : 'linear' })],
        columns: 7,
        units,
        rows: 25,
        batch: 8,
        loss,
      };
      await live({ ...network, y: numbers(25 * units, 5, 0, 1) });
      if (resolveLoss(loss).classes) await live(network);
    });
  });
});

describe('optimizers', () => {
  const clips = { clipValue: 0.05, clipGlobalNorm: 0.1 };
  const optimizers: readonly Optimizer[] = [
    sgd(),
    sgd({ momentum: 0.9, weightDecay: 0.01 }),
    sgd({ momentum: 0.9, nesterov: true, ...clips }),
    rmsprop({ weightDecay: 0.01 }),
    rmsprop(clips),
    adagrad({ weightDecay: 0.01 }),
    adagrad(clips),
    adam({ weightDecay: 0.01 }),
    adam(clips),
    adamW(),
    adamW({ weightDecay: 0.1, ...clips }),
  ];

  test.each(optimizers.map((optimizer) => [JSON.stringify(optimizer.config), optimizer] as const))('%s', async (name, optimizer) => {
    await check(`optimizer-${name}`, () =>
      live({
        layers: [dense({ units: 70, activation: 'tanh' }), dense({ units: 61 })],
        columns: 11,
        units: 61,
        rows: 20,
        batch: 8,
        optimizer,
        epochs: 2,
      }),
    );
  });

  test('with regularisers, and with masks', async () => {
    const layers = [l1(0.01), l2(0.1), groupLasso(0.1)].map((kernelRegularizer) =>
      dense({ units: 61, activation: 'tanh', kernelRegularizer }),
    );
    const network = { layers, columns: 11, units: 61, rows: 20, batch: 8, optimizer: adam(clips), epochs: 2 };
    await check('regularizers', () => live(network));
    await check('masks', () => live({ ...network, prepare: (model) => pruneByMagnitude(model, { share: 0.5 }) }));
  });
});

describe('data sets', () => {
  const types = [Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array];

  test.each(types.map((type) => [type.name, type] as const))('%s', async (name, type) => {
    const random = generator(8);
    const values = (count: number, high: number): NumericArray => new type(count).map(() => Math.floor(random(0, high)));
    await check(`data-${name}`, () =>
      live({
        layers: [dense({ units: 4 })],
        columns: 21,
        units: 4,
        rows: 23,
        batch: 10,
        x: values(21 * 23, 100),
        y: values(23, 4),
        loss: 'softmaxCrossEntropy',
        shuffle: true,
        scaled: true,
      }),
    );
  });
});

describe('initial weights', () => {
  const initializers = { normal: normal(), truncatedNormal: truncatedNormal(), uniform: uniform(), constant: constant({ value: 0.3 }) };

  test.each(Object.entries(initializers))('%s', async (name, kernelInitializer) => {
    await check(`initial-${name}`, async () => {
      const layers = [1, 3, 50].map((units) => dense({ units, kernelInitializer, biasInitializer: kernelInitializer }));
      await sequential({ inputShape: [431], layers }).predict(new Float32Array(431));
    });
  });
});

describe('training runs', () => {
  test('xor, until it is learned', async () => {
    const cases = await check('xor', () =>
      live({
        layers: [dense({ units: 8, activation: 'tanh' }), dense({ units: 1 })],
        columns: 2,
        units: 1,
        rows: 4,
        batch: 4,
        x: Uint8Array.of(0, 0, 0, 1, 1, 0, 1, 1),
        y: Uint8Array.of(0, 1, 1, 0),
        loss: 'binaryCrossEntropy',
        optimizer: adam({ learningRate: 0.05 }),
        epochs: 60,
        shuffle: true,
      }),
    );
    expect(Math.max(...cases.map(({ runs }) => runs.length))).toBeGreaterThan(180);
  });

  test('images, shuffled, the last batch short, in parts, and often enough to try without helpers', async () => {
    const [rows, columns] = [210, 200];
    await check('images', () =>
      live({
        layers: [
          dense({ units: 96, activation: 'relu', kernelInitializer: heNormal() }),
          dense({ units: 64, activation: 'gelu' }),
          dense({ units: 10 }),
        ],
        columns,
        units: 10,
        rows,
        batch: 100,
        x: Uint8Array.from(numbers(rows * columns, 4, 0, 256)),
        loss: 'softmaxCrossEntropy',
        optimizer: adamW({ clipGlobalNorm: 1 }),
        epochs: 20,
        shuffle: true,
        scaled: true,
      }),
    );
  });
});

test('a run that keeps time, the last batch short', async () => {
  const cases = await check('times', async (recorder) => {
    const plan = new Plan(recorder.ops, 8, false);
    const [x, y] = [new Tensor('x', ['batch', 4], 'state'), new Tensor('y', [4], 'state')];
    [x.offset, y.offset] = [ALIGNMENT, ALIGNMENT + x.bytes(8)];
    plan.emit('gather', x.shape, { y: x }, { feed: FEED.input });
    plan.emit('sumRows', x.shape, { x, y });
    const program = recorder.load(recorder.allocate(y.offset + y.bytes(8)), plan.encode(), { threads: 1 });
    for (const [slot, data, rows] of [
      [FEED.input, numbers(80, 1), 20],
      [FEED.times, new Float64Array(6), 3],
    ] as const) {
      const memory = recorder.allocate(data.byteLength);
      memory.bytes().set(new Uint8Array(data.buffer));
      program.feed(slot, memory.handle, elementType(data), rows, data.length / rows);
    }
    await program.start(0, 2, 0, 20, 8);
  });
  expect(cases.map(({ runs }) => runs.map(({ feeds, fault }) => [feeds, fault]))).toEqual([[[[1, 0, 0, 0, 0, 2], 0]]]);
});

describe('runs that stop', () => {
  const network: Network = { layers: [dense({ units: 3 })], columns: 4, units: 3, rows: 40, batch: 16, loss: 'softmaxCrossEntropy' };

  /** Faults that a model's life, or one step of it, meets. */
  async function faults(name: string, stopped: Network): Promise<Set<number>> {
    const cases = await check(name, async () => {
      await expect(live(stopped)).rejects.toThrow(GradmillError);
      const model = sequential({ inputShape: [4], layers: stopped.layers });
      model.compile({ optimizer: stopped.optimizer ?? sgd(), loss: stopped.loss! });
      const step = () =>
        model.trainOnBatch(tensor(stopped.x ?? numbers(160, 3), [40, 4]), stopped.y ?? numbers(40, 5, 0, 3).map(Math.floor));
      await step()
        .then(step)
        .catch(() => undefined);
    });
    return new Set(cases.flatMap(({ runs }) => runs.map(({ fault }) => fault)).filter((fault) => fault > 0));
  }

  test('at a number that is not finite', async () => {
    const x = numbers(160, 1);
    x[150] = NaN;
    expect(await faults('fault-input', { ...network, x })).toEqual(new Set([1]));
  });

  test('at a label out of range', async () => {
    const y = new Float64Array(40);
    y[39] = 3;
    expect(await faults('fault-label', { ...network, y })).toEqual(new Set([2]));
  });

  test.each(['softmaxCrossEntropy', 'categoricalCrossEntropy'] as const)('at a label that %s cannot have', async (loss) => {
    const cases = await check(`fault-${loss}`, (recorder) =>
      instructions(recorder, 5, (plan, state) => {
        const labels = state(['batch'], 'i32');
        plan.emit(loss, ['batch', 3], { x: state(['batch', 3]), labels, rowLoss: state(['batch']), seed: state([1]) }, { reduction: 0 });
      }),
    );
    expect(cases[0].runs[0].fault).toBe(2);
  });

  test('at a row that the data set does not have', async () => {
    const cases = await check('fault-row', async (recorder) => {
      const plan = new Plan(recorder.ops, 8, false);
      const x = new Tensor('x', ['batch', 4], 'state');
      x.offset = ALIGNMENT;
      plan.emit('gather', x.shape, { y: x }, { feed: FEED.input });
      plan.emit('scatter', x.shape, { x }, { feed: FEED.output });
      const program = recorder.load(recorder.allocate(ALIGNMENT + x.bytes(8)), plan.encode(), { threads: 1 });
      const feed = (slot: number, data: Float32Array | Uint32Array, type: number, columns: number) => {
        const memory = recorder.allocate(data.byteLength);
        memory.bytes().set(new Uint8Array(data.buffer));
        program.feed(slot, memory.handle, type, data.length / columns, columns);
      };
      feed(FEED.input, numbers(32, 1), elementType(numbers(0, 1)), 4);
      feed(FEED.output, new Float32Array(32), elementType(numbers(0, 1)), 4);
      await program.start(0, 2, 0, 8, 8);
      await program.start(0, 2, 1, 8, 8);
      await program.start(1, 2, 3, 8, 8);
      feed(FEED.order, Uint32Array.of(7, 6, 5, 4, 3, 2, 8, 1), elementType(new Uint32Array()), 1);
      await program.start(0, 2, 0, 8, 8);
    });
    expect(cases.flatMap(({ runs }) => runs.map(({ fault }) => fault))).toEqual([0, 3, 3, 3]);
  });

  test('at a loss, and at a weight, that is not finite', async () => {
    const single: Network = { ...network, units: 1, layers: [dense({ units: 1 })], loss: 'meanSquaredError' };
    const far = numbers(160, 1, 1e25, 1e26);
    expect(await faults('fault-loss', { ...single, x: far })).toEqual(new Set([4]));
    const steep = sgd({ learningRate: 1e38 });
    expect(await faults('fault-weight', { ...network, x: numbers(160, 1, 1e6, 1e7), optimizer: steep })).toEqual(new Set([5]));
  });
});

afterAll(() => {
  const run = new Set(recorded.flatMap(opsOf));
  const unrun = [...ops.values()].filter(({ code }) => !run.has(code)).map(({ name }) => name);
  expect(unrun, 'ops that no case runs').toEqual([]);
});
