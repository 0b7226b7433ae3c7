// fit({ diagnostics }): what is measured while a model trains is what happened, and training does not change by a bit.
import { afterEach, describe, expect, test } from 'vitest';
import { type DiagnosticsSample, gradientFlow } from '../src/diagnostics/index.js';
import {
  activation,
  adam,
  batchNormalization,
  type DiagnosticsOptions,
  dense,
  dropout,
  type FitOptions,
  type History,
  l1,
  l2,
  layerNormalization,
  type LogRecord,
  type Optimizer,
  sequential,
  type Sequential,
  sgd,
  tensor,
} from '../src/index.js';
import { pruneByMagnitude } from '../src/pruning/index.js';
import { Window } from '../src/window.js';
import { bitsOf } from './bits.js';
import { allowThreads, ran, Random } from './engines.js';
import { refusal } from './refusal.js';
import { singularValues } from './singular-values.js';
import { onWhile, wasmEngine } from './two-engines.js';

allowThreads(4);

const [rows, columns, classes] = [130, 7, 4];
const random = new Random(2);
const x = tensor(random.floats(rows * columns, -2, 2), [rows, columns]);
const labels = random.labels(rows, classes);
const targets = tensor(random.floats(rows * classes), [rows, classes]);

interface Setting {
  readonly threads?: number;
  readonly fuse?: boolean;
  readonly strict?: boolean;
  readonly optimizer?: Optimizer;
  readonly wide?: number;
}

function network({ threads = 1, fuse = true, strict = false, optimizer = adam({ learningRate: 0.01 }), wide = 19 }: Setting = {}) {
  const layers = [dense({ units: wide, activation: 'gelu' }), dense({ units: 11, activation: 'relu' }), dense({ units: classes })];
  const model = sequential({ inputShape: [columns], seed: 5, layers });
  model.compile({ optimizer, loss: 'softmaxCrossEntropy', metrics: ['accuracy'], threads, fuse, strict });
  return model;
}

const rms = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0) / values.length);
/** The same numbers, whatever the clock said. */
const numbersOf = ({ loss, accuracy, valLoss }: History) => ({ loss, accuracy, valLoss });
const kernelsOf = (model: Sequential) => model.weights.filter(({ name }) => name.endsWith('/kernel')).map(({ data }) => data);

const usual = Window.bytes;
afterEach(() => {
  Window.bytes = usual;
});

describe(`training does not change by a bit (${ran})`, () => {
  const life = async (setting: Setting, options: FitOptions) => {
    const model = network(setting);
    const history = await model.fit(x, labels, { epochs: 3, batchSize: 16, validationSplit: 0.1, ...options });
    return { weights: bitsOf(model.weights), figures: numbersOf(history), evaluation: await model.evaluate(x, labels) };
  };

  const settings: Setting[] = [true, false].flatMap((fuse) => [true, false].map((strict) => ({ fuse, strict })));
  const optimizers = [adam({ clipGlobalNorm: 0.5 }), sgd({ learningRate: 0.1, momentum: 0.9, clipValue: 0.01 })];

  test.each(settings)('%o', async (setting) => {
    for (const optimizer of optimizers) {
      const off = await life({ ...setting, optimizer }, {});
      for (const threads of [1, 2, 3, 4])
        for (const every of [1, 3, 1000])
          expect(await life({ ...setting, optimizer, threads }, { diagnostics: { every } }), `${threads} threads, every ${every}`).toEqual(
            off,
          );
    }
  });

  test('on layers wide enough for parts', async () => {
    const off = await life({ wide: 700 }, { batchSize: 64 });
    for (const threads of [1, 2, 4]) expect(await life({ wide: 700, threads }, { batchSize: 64, diagnostics: { every: 2 } })).toEqual(off);
  });

  test('with regularisers and pruned weights, which stay 0', async () => {
    const run = async (diagnostics?: DiagnosticsOptions) => {
      const layers = [
        dense({ units: 20, activation: 'relu', kernelRegularizer: l1(0.01) }),
        dense({ units: classes, kernelRegularizer: l2(0.1) }),
      ];
      const model = sequential({ inputShape: [columns], seed: 2, layers });
      model.compile({ optimizer: adam({ learningRate: 0.01 }), loss: 'softmaxCrossEntropy' });
      await pruneByMagnitude(model, { share: 0.5 });
      await model.fit(x, labels, { epochs: 2, batchSize: 16, ...(diagnostics && { diagnostics }) });
      return bitsOf(model.weights);
    };
    const off = await run();
    expect(off[0].data.filter((bits) => bits === 0).length).toBeGreaterThanOrEqual(60);
    for (const every of [1, 4]) expect(await run({ every })).toEqual(off);
    expect(await run({ every: 1, paths: true })).toEqual(off);
  });

  test('with batch statistics, their moving averages, and dropout', async () => {
    const run = async (threads: number, diagnostics?: DiagnosticsOptions) => {
      const layers = [
        dense({ units: 20, useBias: false }),
        batchNormalization(),
        activation('relu'),
        dropout({ rate: 0.3 }),
        layerNormalization(),
        dense({ units: classes }),
      ];
      const model = sequential({ inputShape: [columns], seed: 2, layers });
      model.compile({ optimizer: adam({ learningRate: 0.01 }), loss: 'softmaxCrossEntropy', threads });
      const history = await model.fit(x, labels, { epochs: 2, batchSize: 16, ...(diagnostics && { diagnostics }) });
      return { weights: bitsOf(model.weights), figures: numbersOf(history), flow: await gradientFlow(model, x, labels) };
    };
    const off = await run(1);
    for (const every of [1, 4]) for (const threads of [1, 3]) expect(await run(threads, { every })).toEqual(off);
    expect(off.flow.layers.map(({ layer }) => layer)).toHaveLength(6);
    expect(off.flow.layers[1].weightFactor.predicted).toBe(1);
  });

  test('rows targets, no shuffling, a callback a batch; data that streams', async () => {
    const run = async (options: FitOptions, bytes = usual) => {
      Window.bytes = bytes;
      const model = sequential({
        inputShape: [columns],
        seed: 1,
        layers: [dense({ units: 9, activation: 'tanh' }), dense({ units: classes })],
      });
      model.compile({ optimizer: sgd(), loss: 'meanSquaredError' });
      const { diagnostics, ...history } = await model.fit(x, targets, { epochs: 2, batchSize: 8, ...options });
      return { weights: bitsOf(model.weights), figures: numbersOf(history), steps: diagnostics?.map(({ step }) => step) };
    };
    const steps = [1, 6, 11, 16, 21, 26, 31];
    for (const options of [{ shuffle: false }, { shuffle: true }]) {
      const off = await run(options);
      expect(await run({ ...options, diagnostics: { every: 5 } })).toEqual({ ...off, steps });
      expect(await run({ ...options, diagnostics: { every: 5 }, onBatch: () => undefined })).toEqual({ ...off, steps });
      expect(await run({ ...options, diagnostics: { every: 5 } }, 2000)).toEqual({ ...off, steps });
    }
  });
});

describe('samples', () => {
  test('every n-th step from the first on, over all epochs; their losses are the batches’ own', async () => {
    const losses: number[] = [];
    const { diagnostics } = await network().fit(x, labels, {
      epochs: 3,
      batchSize: 16,
      diagnostics: { every: 4 },
      onBatch: ({ loss }) => losses.push(loss),
    });
    // 9 batches an epoch, the last of 2 rows.
    expect(diagnostics?.map(({ epoch, step }) => [epoch, step])).toEqual([
      [1, 1],
      [1, 5],
      [1, 9],
      [2, 13],
      [2, 17],
      [3, 21],
      [3, 25],
    ]);
    expect(diagnostics?.map(({ loss }) => loss)).toEqual([1, 5, 9, 13, 17, 21, 25].map((step) => losses[step - 1]));
    const short = diagnostics![2].layers[0];
    expect(short.lossGradientNorm).toBeCloseTo(short.lossGradientRms * Math.sqrt(2 * 19), 12);
    expect(short.after.histogram.counts.reduce((sum, count) => sum + count, 0)).toBe(2 * 19);
  });

  test('say what the step did: gradients before it, the update, the ratio of both to the weights', async () => {
    const model = network({ optimizer: sgd({ learningRate: 0.1 }) });
    const before = kernelsOf(model);
    const gradients = await model.gradients(x, labels);
    const flow = await gradientFlow(model, x, labels);
    const { diagnostics } = await model.fit(x, labels, { batchSize: rows, shuffle: false, diagnostics: {} });
    expect(diagnostics).toHaveLength(1);
    const [{ loss, layers, step, epoch }] = diagnostics!;
    expect({ loss, step, epoch }).toEqual({ loss: gradients.loss, step: 1, epoch: 1 });
    const after = kernelsOf(model);
    layers.forEach(({ updateToWeight, spectralNorm, before: z, after: y, saturation, meanShift, ...rest }, i) => {
      const change = after[i].map((value, at) => value - before[i][at]);
      expect(updateToWeight! / (rms(change) / rms(before[i]))).toBeCloseTo(1, 4);
      // Plain gradient descent: the update is the gradient times 0.1.
      expect(updateToWeight! / (0.1 * rest.gradientToWeight)).toBeCloseTo(1, 3);
      const { spectralNorm: exact, ...same } = flow.layers[i];
      expect(rest).toEqual(same);
      expect(spectralNorm / exact).toBeGreaterThan(0.85);
      expect(spectralNorm / exact).toBeLessThan(1 + 1e-5);
      expect(rest.lossGradientRms / rms(gradients.lossGradients[i].data)).toBeCloseTo(1, 5);
      expect(z === undefined).toBe(i === 2);
      expect(y.histogram.counts).toHaveLength(32);
      expect([saturation, meanShift].every(Number.isFinite)).toBe(true);
    });
  });

  describe('are the same, whether the whole epoch is one job or each has its own', () => {
    const samplesOf = async (setting: Setting, options: FitOptions) =>
      (await network(setting).fit(x, labels, { epochs: 3, batchSize: 16, ...options })).diagnostics;

    test.each([1, 2, 3, 7, 9, 100])('every %i', async (every) => {
      const one = await samplesOf({}, { diagnostics: { every } });
      expect(one?.map(({ step }) => step)).toEqual(Array.from({ length: Math.ceil(27 / every) }, (_, i) => 1 + i * every));
      const seen: DiagnosticsSample[] = [];
      const heard = { diagnostics: { every, onSample: (sample: DiagnosticsSample) => void seen.push(sample) } };
      expect(await samplesOf({}, heard)).toEqual(one);
      expect(seen).toEqual(one);
      expect(await samplesOf({}, { diagnostics: { every }, onBatch: () => undefined })).toEqual(one);
      for (const threads of [2, 3]) expect(await samplesOf({ threads }, { diagnostics: { every } })).toEqual(one);
      Window.bytes = 2000;
      expect(await samplesOf({ threads: 2 }, { diagnostics: { every } })).toEqual(one);
    });

    test('more than a job has room for', async () => {
      const one = await samplesOf({}, { batchSize: 1, diagnostics: { every: 1 } });
      expect(one).toHaveLength(3 * rows);
      expect(await samplesOf({}, { batchSize: 1, diagnostics: { every: 1, onSample: () => undefined } })).toEqual(one);
    });

    test('on WebAssembly that takes turns on this thread', async () => {
      const alone = (options: FitOptions) =>
        onWhile(wasmEngine({}, { sharedMemory: 'not in this test' }), () => samplesOf({ wide: 300 }, { batchSize: 64, ...options }));
      const one = await alone({ diagnostics: { every: 2 } });
      expect(one?.map(({ step }) => step)).toEqual([1, 3, 5, 7, 9]);
      expect(await alone({ diagnostics: { every: 2, onSample: () => undefined } })).toEqual(one);
      expect(one).toEqual(
        await onWhile(wasmEngine(), () => samplesOf({ wide: 300, threads: 2 }, { batchSize: 64, diagnostics: { every: 2 } })),
      );
    });

    test('whatever the model was used for before, and in between', async () => {
      const options = { batchSize: 16, diagnostics: { every: 4 } };
      const model = network();
      const weights = model.weights;
      const first = (await model.fit(x, labels, { ...options, shuffle: false })).diagnostics;
      model.compile({ optimizer: adam({ learningRate: 0.01 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'], threads: 1 });
      model.setWeights(weights);
      const onEpoch = () => gradientFlow(model, x, labels);
      expect((await model.fit(x, labels, { ...options, shuffle: false, onEpoch })).diagnostics).toEqual(first);
    });
  });

  test('are the same when they are read late, after the model went on and is gone', async () => {
    const options = { batchSize: 16, diagnostics: { every: 4 } };
    const first = (await network().fit(x, labels, options)).diagnostics;
    expect(first).toHaveLength(3);
    const model = network();
    const late = await model.fit(x, labels, options);
    await model.fit(x, labels, options);
    model.dispose();
    expect(JSON.parse(JSON.stringify(late))).toHaveProperty('diagnostics.2.layers.0.after.histogram.counts');
    expect(late.diagnostics).toEqual(first);
    expect(late.diagnostics).toBe(late.diagnostics);
    expect({ ...late }).toHaveProperty('diagnostics', first);
  });

  test('follow the spectral norm of weights that move', async () => {
    const fitted = async (epochs: number) => {
      const model = network({ wide: 60 });
      return { model, ...(await model.fit(x, labels, { epochs, batchSize: rows, shuffle: false, diagnostics: { every: 10 } })) };
    };
    const { diagnostics } = await fitted(101);
    const { model } = await fitted(100);
    const kernels = kernelsOf(model);
    diagnostics!.at(-1)!.layers.forEach(({ spectralNorm }, i) => {
      const units = [60, 11, classes][i];
      const exact = singularValues(kernels[i], kernels[i].length / units, units)[0];
      expect(spectralNorm / exact).toBeGreaterThan(0.99);
      expect(spectralNorm / exact).toBeLessThan(1 + 1e-5);
    });
  });

  test('find a direction that becomes the longest, of which the one before has no share', async () => {
    const model = sequential({ inputShape: [2], layers: [dense({ units: 2, useBias: false })] });
    model.compile({ optimizer: sgd({ learningRate: 0.05 }), loss: 'meanSquaredError' });
    model.setWeights(model.weights.map((weight) => ({ ...weight, data: Float32Array.of(2, 0, 0, 0) })));
    // The first unit shrinks, the second grows.
    const [inputs, wanted] = [tensor([1, 0, 0, 1], [2, 2]), tensor([0, 0, 0, 4], [2, 2])];
    const { diagnostics } = await model.fit(inputs, wanted, { epochs: 300, shuffle: false, diagnostics: { every: 20 } });
    const norms = diagnostics!.map(({ layers }) => layers[0].spectralNorm);
    expect(norms[0]).toBeCloseTo(2, 3);
    expect(norms.at(-1)).toBeCloseTo(4, 1);
  });

  test('go into the log', async () => {
    const records: LogRecord[] = [];
    const options = { batchSize: 32, diagnostics: { every: 3 }, log: (record: LogRecord) => void records.push(record) };
    const { diagnostics } = await network().fit(x, labels, options);
    expect(records.map(({ type }) => type)).toEqual(['start', 'diagnostics', 'diagnostics', 'epoch', 'end']);
    expect(records.filter(({ type }) => type === 'diagnostics')).toEqual(
      diagnostics?.map((sample) => ({ type: 'diagnostics', ...sample })),
    );
  });

  test('come in the log in the order of what happened, and before what ended the fit', async () => {
    const said: string[] = [];
    const log = (record: LogRecord) => void said.push(record.type === 'diagnostics' ? `step ${record.step}` : record.type);
    await network().fit(x, labels, { epochs: 2, batchSize: 32, diagnostics: { every: 2 }, log });
    expect(said.splice(0)).toEqual(['start', 'step 1', 'step 3', 'step 5', 'epoch', 'step 7', 'step 9', 'epoch', 'end']);
    const steep = network({ optimizer: sgd({ learningRate: 1e4 }) });
    const message = await refusal(() => steep.fit(x, labels, { epochs: 9, batchSize: 8, diagnostics: { every: 2 }, log }));
    const [, step] = /in step (\d+);/.exec(message) ?? [];
    expect(Number(step)).toBeGreaterThan(1);
    const measured = Array.from({ length: Math.ceil((Number(step) - 1) / 2) }, (_, i) => `step ${1 + 2 * i}`);
    expect(said.filter((type) => type !== 'epoch')).toEqual(['start', ...measured, 'error']);
  });

  test('a log that throws ends the fit, and hears nothing more of it but that', async () => {
    const failure = new Error('full');
    const said: string[] = [];
    const log = ({ type }: LogRecord) => {
      said.push(type);
      if (type === 'diagnostics') throw failure;
    };
    await expect(network().fit(x, labels, { batchSize: 16, diagnostics: { every: 2 }, log })).rejects.toBe(failure);
    expect(said).toEqual(['start', 'diagnostics', 'error']);
  });

  test('an abort stops a job that measures, and leaves the model ready', async () => {
    const many = tensor(random.floats(40_000 * columns, -2, 2), [40_000, columns]);
    const stop = new AbortController();
    const steps: number[] = [];
    const log = (record: LogRecord) => {
      if (record.type === 'diagnostics') steps.push(record.step);
    };
    const model = network();
    const options = { epochs: 1000, batchSize: 8, signal: stop.signal, diagnostics: { every: 50 }, log };
    const fit = model.fit(many, random.labels(40_000, classes), options);
    const reason = new Error('enough');
    setTimeout(() => stop.abort(reason), 100);
    await expect(fit).rejects.toBe(reason);
    expect(steps).toEqual(steps.map((_, i) => 1 + 50 * i));
    expect((await model.fit(x, labels, { batchSize: 16, diagnostics: { every: 4 } })).diagnostics).toHaveLength(3);
  });

  test('onSample is told of each, may use the model, and is awaited', async () => {
    const model = network();
    const seen: [step: number, loss: number][] = [];
    const onSample: DiagnosticsOptions['onSample'] = async ({ step, loss }) => {
      await new Promise((resolve) => setTimeout(resolve, 2));
      await model.evaluate(x, labels);
      await gradientFlow(model, x, labels);
      seen.push([step, loss]);
    };
    const options = { epochs: 2, batchSize: 32 };
    const { diagnostics, loss } = await model.fit(x, labels, { ...options, diagnostics: { every: 2, onSample } });
    expect(seen).toEqual(diagnostics?.map(({ step, loss }) => [step, loss]));
    expect(loss).toEqual((await network().fit(x, labels, options)).loss);
  });

  test('what onSample throws ends the fit; so does an abort from it', async () => {
    const failure = new Error('enough');
    const throws = () => Promise.reject(failure);
    await expect(network().fit(x, labels, { diagnostics: { onSample: throws } })).rejects.toBe(failure);
    const stop = new AbortController();
    const aborts = () => stop.abort(failure);
    await expect(network().fit(x, labels, { signal: stop.signal, diagnostics: { onSample: aborts } })).rejects.toBe(failure);
  });

  test('a watched step that diverges says so like any other', async () => {
    const message = async (every?: number, learningRate = 1e30) => {
      const model = network({ optimizer: sgd({ learningRate }) });
      const said = await refusal(() => model.fit(x, labels, { batchSize: 16, ...(every !== undefined && { diagnostics: { every } }) }));
      // A fused product shows y alone, one that is measured its z too.
      return said.replace(/\.[yz] \[/, ' [');
    };
    const off = await message();
    expect(off).toMatch(/^diverged: .* in step \d+; /);
    expect(await message(1)).toBe(off);
    // Later than the first step, whether measured or not.
    const late = await message(undefined, 1e3);
    expect(late).toMatch(/in step ([2-9]|\d\d);/);
    for (const every of [1, 2, 3, 4]) expect(await message(every, 1e3)).toBe(late);
  });
});

describe('paths of units', () => {
  test('equal float64 sums over the steps', async () => {
    const model = network();
    const [start] = [kernelsOf(model)];
    const visited = [start];
    const { paths, diagnostics } = await model.fit(x, labels, {
      epochs: 2,
      batchSize: 32,
      diagnostics: { every: 1, paths: true },
      onBatch: () => visited.push(kernelsOf(model)),
    });
    expect(diagnostics).toHaveLength(10);
    expect(paths?.map(({ layer }) => layer)).toEqual(['dense1', 'dense2', 'dense3']);
    paths?.forEach(({ length, displacement, lengthOverDisplacement }, i) => {
      const units = length.length;
      const between = (a: Float32Array, b: Float32Array, unit: number) =>
        Math.sqrt(a.reduce((sum, value, at) => (at % units === unit ? sum + (value - b[at]) ** 2 : sum), 0));
      length.forEach((way, unit) => {
        const steps = visited.slice(1).map((kernels, step) => between(kernels[i], visited[step][i], unit));
        expect(way).toBeCloseTo(
          steps.reduce((sum, step) => sum + step, 0),
          9,
        );
        expect(displacement[unit]).toBeCloseTo(between(visited.at(-1)![i], start[i], unit), 9);
        expect(lengthOverDisplacement[unit]).toBe(way === 0 ? 0 : way / displacement[unit]);
        // No way is shorter than the straight one.
        expect(way).toBeGreaterThanOrEqual(displacement[unit] * (1 - 1e-12));
      });
    });
  });

  test('weights are those of a fit without', async () => {
    const [traced, plain] = [network({ threads: 2 }), network()];
    await traced.fit(x, labels, { batchSize: 16, diagnostics: { every: 1, paths: true } });
    const history = await plain.fit(x, labels, { batchSize: 16 });
    expect(bitsOf(traced.weights)).toEqual(bitsOf(plain.weights));
    expect(history).not.toHaveProperty('paths');
  });
});

describe('off', () => {
  test('nothing is measured, kept or said', async () => {
    const model = network();
    const history = await model.fit(x, labels, {});
    expect(history).not.toHaveProperty('diagnostics');
    expect(model.plan.toString()).not.toMatch(/statistics|histogram|spectralNorm/);
  });

  test('options that make no sense are refused', async () => {
    const fit = (diagnostics: unknown) => refusal(() => network().fit(x, labels, { diagnostics: diagnostics as DiagnosticsOptions }));
    expect(await fit({ every: 0 })).toBe('invalid-argument: fit: diagnostics: every: expected at least 1, got 0');
    expect(await fit({ every: 1.5 })).toBe('invalid-argument: fit: diagnostics: every: expected a whole number, got 1.5');
    expect(await fit({ every: 2 ** 31 })).toBe('size-overflow: fit: diagnostics: every: expected at most 2147483647, got 2147483648');
    expect(await fit({ every: 2, paths: true })).toBe(
      'invalid-argument: fit: diagnostics: paths needs every: 1, as a path has all steps; got every: 2',
    );
    expect(await fit({ each: 5 })).toMatch(/^unknown-name: /);
    expect(await fit({ onSample: 3 })).toBe('invalid-argument: fit: diagnostics: onSample: expected a function, got 3');
    expect(await fit(true)).toMatch(/^invalid-argument: fit: diagnostics: expected an object of options, got true/);
  });
});

test('a watched step, printed', () => {
  const model = sequential({ inputShape: [3], layers: [dense({ units: 2, activation: 'tanh' }), dense({ units: 1 })] });
  model.compile({ optimizer: sgd(), loss: 'meanSquaredError' });
  return model.fit([[1, 2, 3]], [1], { diagnostics: {} }).then(() => {
    expect(model.plan.toString()).toMatchInlineSnapshot(`
      "  0  input        gather               m=batch n=3 → y=x
        1  target       gather               m=batch n=1 feed=1 → y=t
        2  dense1       gemm                 m=batch n=2 k=3 activation=2 a=x b=dense1/kernel bias=dense1/bias → c=dense1.z y=dense1.y
        3  dense1       statistics           m=batch n=2 x=dense1.z → statistics=dense1.statistics
        4  dense1       histogram            m=batch n=2 x=dense1.z statistics=dense1.statistics → counts=dense1.histogram
        5  dense1       statistics           m=batch n=2 x=dense1.y → statistics=dense1.statistics2
        6  dense1       histogram            m=batch n=2 x=dense1.y statistics=dense1.statistics2 → counts=dense1.histogram2
        7  dense1       fill                 m=2 value=1 → y=dense1.one
        8  dense1       activationGradient   m=batch n=2 activation=2 dY=dense1.one v=dense1.y → dX=dense1.slope
        9  dense1       statistics           m=batch n=2 threshold=0.01 x=dense1.slope → statistics=dense1.statistics3
       10  dense2       gemm                 m=batch n=1 k=2 a=dense1.y b=dense2/kernel bias=dense2/bias → c=dense2.z
       11  dense2       statistics           m=batch n=1 x=dense2.z → statistics=dense2.statistics
       12  dense2       histogram            m=batch n=1 x=dense2.z statistics=dense2.statistics → counts=dense2.histogram
       13  loss         meanSquaredError     m=batch n=1 x=dense2.z t=t seed=lossSeed → rowLoss=loss.rowLoss dX=loss.dX
       14  loss         lossTotal            m=batch n=1 rowLoss=loss.rowLoss → loss=loss totals=totals
       15  dense2       gemm                 m=2 n=1 k=batch transpose=1 a=dense1.y b=loss.dX → c=dense2/kernel.grad
       16  dense2       sumRows              m=batch n=1 x=loss.dX → y=dense2/bias.grad
       17  dense2       gemm                 m=batch n=2 k=1 transpose=2 a=loss.dX b=dense2/kernel → c=dense2.product2
       18  dense1       activationGradient   m=batch n=2 activation=2 dY=dense2.product2 v=dense1.y → dX=dense1.dZ
       19  dense1       gemm                 m=3 n=2 k=batch transpose=1 a=x b=dense1.dZ → c=dense1/kernel.grad
       20  dense1       sumRows              m=batch n=2 x=dense1.dZ → y=dense1/bias.grad
       21  dense1       gemm                 m=batch n=3 k=2 transpose=2 a=dense1.dZ b=dense1/kernel → c=dense1.product2
       22  dense1       statistics           m=batch n=2 x=dense2.product2 → statistics=dense1.statistics4
       23  dense1       statistics           m=batch n=2 x=dense1.dZ → statistics=dense1.statistics5
       24  dense1       statistics           m=batch n=3 x=dense1.product2 → statistics=dense1.statistics6
       25  dense1       statistics           m=3 n=2 x=dense1/kernel → statistics=dense1.statistics7
       26  dense1       statistics           m=3 n=2 x=dense1/kernel.grad → statistics=dense1.statistics8
       27  dense1       randomNormal         m=2 stream=4294967294 standardDeviation=1 state=seed → y=dense1.nudge
       28  dense1       addScaled            m=2 scale=0.035355339059327376 x=dense1.nudge → y=dense1/kernel.direction
       29  dense1       spectralNorm         m=3 n=2 iterations=2 x=dense1/kernel v=dense1/kernel.direction → square=dense1.square next=dense1/kernel.direction work=dense1.work
       30  dense2       statistics           m=batch n=1 x=loss.dX → statistics=dense2.statistics2
       31  dense2       statistics           m=2 n=1 x=dense2/kernel → statistics=dense2.statistics3
       32  dense2       statistics           m=2 n=1 x=dense2/kernel.grad → statistics=dense2.statistics4
       33  dense2       randomNormal         m=1 stream=4294967294 standardDeviation=1 state=seed → y=dense2.nudge
       34  dense2       addScaled            m=1 scale=0.05 x=dense2.nudge → y=dense2/kernel.direction
       35  dense2       spectralNorm         m=2 n=1 iterations=2 x=dense2/kernel v=dense2/kernel.direction → square=dense2.square next=dense2/kernel.direction work=dense2.work
       36  dense1       activate             m=3 n=2 x=dense1/kernel → y=dense1.before
       37  dense2       activate             m=2 n=1 x=dense2/kernel → y=dense2.before
       38  optimizer    advance               → hyper=hyper
       39  optimizer    sgd                  m=64 g=g hyper=hyper → p=p
       40  dense1       statistics           m=3 n=2 x=dense1/kernel minus=dense1.before → statistics=dense1.statistics9
       41  dense2       statistics           m=2 n=1 x=dense2/kernel minus=dense2.before → statistics=dense2.statistics5
       42  loss         activate             m=1 n=1 x=loss → y=loss.copy"
    `);
  });
});
