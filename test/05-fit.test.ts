// model.fit: exact numbers in the history, orders of rows, validation, callbacks, and stopping when numbers run away.
import { describe, expect, test, vi } from 'vitest';
import {
  activation,
  adam,
  dense,
  type EpochReport,
  type FitOptions,
  GradmillError,
  type LossOptions,
  type ProgressReport,
  sequential,
  sgd,
  tensor,
} from '../src/index.js';
import { bitsOf } from './bits.js';
import { refusal } from './refusal.js';

const rows = 23;
const columns = 5;
const classes = 3;

/** Numbers that look random and are the same each time. */
function noise(length: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (state * 48271) % 2147483647;
    return state / 1073741824 - 1;
  });
}

const x = tensor(noise(rows * columns), [rows, columns]);
const y = Uint8Array.from({ length: rows }, (_, i) => (i * 7) % classes);
const targets = tensor(noise(rows * classes, 5), [rows, classes]);

interface Setting {
  loss?: LossOptions['name'] | LossOptions;
  learningRate?: number;
  seed?: number;
}

function network({ loss = 'softmaxCrossEntropy', learningRate = 0.05, seed = 1 }: Setting = {}) {
  const model = sequential({ inputShape: [columns], seed, layers: [dense({ units: 8, activation: 'tanh' }), dense({ units: classes })] });
  model.compile({ optimizer: adam({ learningRate }), loss, metrics: ['accuracy'] });
  return model;
}

const weightsOf = (model: ReturnType<typeof network>) => bitsOf(model.weights.map(({ data }) => data));

describe('the history', () => {
  /** Loss terms in double, from the model's own predictions. */
  const terms: Partial<Record<LossOptions['name'], (prediction: number[], row: number) => number[]>> = {
    softmaxCrossEntropy: (z, row) => {
      const most = Math.max(...z);
      return [Math.log(z.reduce((all, value) => all + Math.exp(value - most), 0)) + most - z[y[row]]];
    },
    meanSquaredError: (p, row) => p.map((value, j) => (value - targets.data[row * classes + j]) ** 2),
    meanAbsoluteError: (p, row) => p.map((value, j) => Math.abs(value - targets.data[row * classes + j])),
  };

  describe.each(Object.entries(terms))('%s', (name, termsOf) => {
    test.each(['mean', 'sum'] as const)('%s, with a short last batch', async (reduction) => {
      // Nothing is learned: every batch sees the same weights.
      const model = network({ loss: { name: name as LossOptions['name'], reduction }, learningRate: 0 });
      const goal = name === 'softmaxCrossEntropy' ? y : targets;
      const { data } = await model.predict(x);
      const all = Array.from({ length: rows }, (_, row) => termsOf([...data.slice(row * classes, (row + 1) * classes)], row)).flat();
      const sum = all.reduce((total, term) => total + term, 0);
      const wanted = reduction === 'sum' ? sum : sum / all.length;

      for (const batchSize of [1, 4, 22, 23]) {
        const { loss, epochs, accuracy } = await model.fit(x, goal, { epochs: 2, batchSize });
        expect(loss[0] / wanted, `batches of ${batchSize}`).toBeCloseTo(1, 6);
        expect(loss[1]).toBeCloseTo(loss[0], 12);
        expect(epochs.map((report) => report.loss)).toEqual(loss);
        expect(epochs.map((report) => report.accuracy)).toEqual(accuracy);
        const evaluation = await model.evaluate(x, goal, { batchSize });
        expect(evaluation.loss).toBeCloseTo(loss[0], 12);
        expect(evaluation.accuracy).toBe(accuracy?.[0]);
      }
    });
  });

  test('accuracy is the share of rows whose largest output is the target', async () => {
    const model = network({ learningRate: 0 });
    const { data } = await model.predict(x);
    const right = [...y].filter((label, row) =>
      data.slice(row * classes, (row + 1) * classes).every((value) => value <= data[row * classes + label]),
    );
    const { accuracy } = await model.fit(x, y, { batchSize: 4 });
    expect(accuracy).toEqual([right.length / rows]);
  });

  test('loss is the one before each batch is learned from', async () => {
    const model = network({ loss: 'meanSquaredError' });
    const before = await model.evaluate(x, targets);
    const { loss } = await model.fit(x, targets, { epochs: 2, batchSize: rows });
    expect(loss[0]).toBeCloseTo(before.loss, 12);
    expect(loss[1]).toBeLessThan(loss[0]);
  });

  test('holds numbers an epoch, and only those asked for', async () => {
    const model = network();
    model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' });
    const plain = await model.fit(x, y, { epochs: 3 });
    expect(Object.keys(plain)).toEqual(['epochs', 'loss']);
    expect(plain.epochs.map(({ epoch, epochs }) => [epoch, epochs])).toEqual([[1, 3], [2, 3], [3, 3]]); // prettier-ignore
    expect(Object.keys(plain.epochs[0])).toEqual(['epoch', 'epochs', 'loss', 'seconds', 'samplesPerSecond']);
    for (const { seconds, samplesPerSecond } of plain.epochs) expect(samplesPerSecond).toBeCloseTo(rows / seconds, 6);

    const full = await network().fit(x, y, { epochs: 2, validationData: [x, y] });
    expect(Object.keys(full)).toEqual(['epochs', 'loss', 'accuracy', 'valLoss', 'valAccuracy']);
    expect(full.valAccuracy).toHaveLength(2);
  });

  test('of no epochs is empty, and nothing is learned', async () => {
    const model = network();
    const before = weightsOf(model);
    expect(await model.fit(x, y, { epochs: 0 })).toEqual({ epochs: [], loss: [] });
    expect(weightsOf(model)).toEqual(before);
  });
});

describe('evaluate', () => {
  test('does not depend on the batches', async () => {
    const model = network();
    const wanted = await model.evaluate(x, y, { batchSize: 1 });
    for (const batchSize of [2, 7, 22, 23, 24, 1000]) {
      const { loss, accuracy } = await model.evaluate(x, y, { batchSize });
      expect(loss).toBeCloseTo(wanted.loss, 12);
      expect(accuracy).toBe(wanted.accuracy);
    }
  });

  test('changes nothing', async () => {
    const [model, twin] = [network(), network()];
    await model.fit(x, y, { epochs: 2 });
    await twin.fit(x, y, { epochs: 2 });
    await model.evaluate(x, y);
    await model.fit(x, y, { epochs: 2 });
    await twin.fit(x, y, { epochs: 2 });
    expect(weightsOf(model)).toEqual(weightsOf(twin));
  });
});

describe('the order of rows', () => {
  /** Rows with losses that tell them apart: with batches of one row, reports tell the order. */
  const marked = tensor(Float32Array.from({ length: rows }, (_, i) => i), [rows, 1]); // prettier-ignore
  function tracer(seed = 1) {
    const model = sequential({ inputShape: [1], seed, layers: [dense({ units: 1, kernelInitializer: 'ones' })] });
    const compile = () => model.compile({ optimizer: sgd({ learningRate: 0 }), loss: 'meanAbsoluteError' });
    compile();
    const orders = async (epochs: number, options: FitOptions = {}) => {
      const seen: number[][] = [];
      const onBatch: FitOptions['onBatch'] = ({ epoch, loss }) => (seen[epoch - 1] ??= []).push(loss);
      await model.fit(marked, new Uint8Array(rows), { epochs, batchSize: 1, onBatch, ...options });
      return seen;
    };
    return { orders, compile };
  }
  const inOrder = Array.from({ length: rows }, (_, i) => i);
  const sorted = (order: number[]) => [...order].sort((a, b) => a - b);

  test('is a new permutation each epoch', async () => {
    const seen = await tracer().orders(4);
    expect(new Set(seen.map(String)).size).toBe(4);
    for (const order of seen) {
      expect(sorted(order)).toEqual(inOrder);
      expect(order).not.toEqual(inOrder);
    }
  });

  test('is decided by the seed', async () => {
    const seen = await tracer(5).orders(3);
    expect(await tracer(5).orders(3)).toEqual(seen);
    expect(await tracer(6).orders(3)).not.toEqual(seen);
    expect(await tracer(5 + 2 ** 40).orders(3)).not.toEqual(seen);
  });

  test('goes on in the next fit, and starts again when compiled', async () => {
    const wanted = await tracer().orders(4);
    const { orders, compile } = tracer();
    const first = await orders(1);
    const second = await orders(3);
    expect([...first, ...second]).toEqual(wanted);
    compile();
    expect(await orders(4)).toEqual(wanted);
  });

  test('is that of the data without shuffling, which counts no epoch', async () => {
    const { orders } = tracer();
    expect(await orders(2, { shuffle: false })).toEqual([inOrder, inOrder]);
    expect(await orders(1)).toEqual(await tracer().orders(1));
  });

  test('leaves the validation rows out', async () => {
    for (const order of await tracer().orders(3, { validationSplit: 0.3 })) expect(sorted(order)).toEqual(inOrder.slice(0, 16));
  });
});

describe('validation', () => {
  const part = (from: number, to: number) =>
    [tensor(x.data.slice(from * columns, to * columns), [to - from, columns]), y.slice(from, to)] as const;

  test.each([
    [0.3, 7],
    [0.29, 7],
    [0.01, 1],
    [0.99, 22],
  ])('a split of %d takes the last %d rows', async (validationSplit, held) => {
    const [model, twin] = [network(), network()];
    const history = await model.fit(x, y, { epochs: 3, batchSize: 1, validationSplit });
    const valLoss: number[] = [];
    const onEpoch = async () => void valLoss.push((await twin.evaluate(...part(rows - held, rows))).loss);
    await twin.fit(...part(0, rows - held), { epochs: 3, batchSize: 1, onEpoch });
    expect(weightsOf(model)).toEqual(weightsOf(twin));
    expect(history.valLoss).toEqual(valLoss);
  });

  test('data of its own is evaluated and not learned', async () => {
    const [model, twin] = [network(), network()];
    const history = await model.fit(...part(0, 10), { epochs: 2, batchSize: 3, validationData: part(10, 23) });
    await twin.fit(...part(0, 10), { epochs: 2, batchSize: 3 });
    expect(weightsOf(model)).toEqual(weightsOf(twin));
    const last = await model.evaluate(...part(10, 23));
    expect([history.valLoss?.[1], history.valAccuracy?.[1]]).toEqual([last.loss, last.accuracy]);
  });

  test('may be of another size and target form than the data', async () => {
    const oneHot = Array.from(y.slice(0, 2), (label) => [0, 1, 2].map((k) => (k === label ? 1 : 0)));
    const { valLoss } = await network().fit(x, y, {
      batchSize: 23,
      validationData: [x.data.slice(0, 10).length === 10 ? tensor(x.data.slice(0, 10), [2, 5]) : x, oneHot],
    });
    expect(valLoss).toHaveLength(1);
  });
});

describe('a step', () => {
  test('of trainOnBatch is a step of fit', async () => {
    const [model, twin] = [network(), network()];
    const history = await model.fit(x, y, { epochs: 4, batchSize: rows, shuffle: false });
    for (let step = 0; step < 4; step++) {
      const { loss, accuracy } = await twin.trainOnBatch(x, y);
      expect([loss, accuracy]).toEqual([history.loss[step], history.accuracy?.[step]]);
    }
    expect(weightsOf(model)).toEqual(weightsOf(twin));
  });

  test('is the same whether anybody listens or not', async () => {
    const [model, twin] = [network(), network()];
    const first = await model.fit(x, y, { epochs: 2, batchSize: 4 });
    const second = await twin.fit(x, y, { epochs: 2, batchSize: 4, onBatch: () => undefined, onEpoch: () => undefined });
    expect(weightsOf(model)).toEqual(weightsOf(twin));
    expect(first.loss[0]).toBeCloseTo(second.loss[0], 12);
    expect(first.accuracy).toEqual(second.accuracy);
  });

  test('many fits of one epoch are one fit of many', async () => {
    const [model, twin] = [network(), network()];
    const { loss } = await model.fit(x, y, { epochs: 5, batchSize: 4 });
    const losses: number[] = [];
    for (let i = 0; i < 5; i++) losses.push(...(await twin.fit(x, y, { batchSize: 4 })).loss);
    expect(losses).toEqual(loss);
    expect(weightsOf(model)).toEqual(weightsOf(twin));
  });

  test('gradients leave weights, optimizer and order as they are', async () => {
    const [model, twin] = [network(), network()];
    await model.fit(x, y, { batchSize: 4 });
    await twin.fit(x, y, { batchSize: 4 });
    const before = weightsOf(model);
    const first = bitsOf(await model.gradients(x, y));
    expect(weightsOf(model)).toEqual(before);
    expect(bitsOf(await model.gradients(x, y))).toEqual(first);
    await model.fit(x, y, { batchSize: 4 });
    await twin.fit(x, y, { batchSize: 4 });
    expect(weightsOf(model)).toEqual(weightsOf(twin));
  });

  test('gradients have the shapes of what they belong to', async () => {
    const { loss, inputGradient, lossGradients, weights } = await network().gradients(x, y);
    expect(loss).toBeCloseTo((await network().evaluate(x, y)).loss, 6);
    expect(inputGradient.shape).toEqual([rows, columns]);
    expect(lossGradients.map(({ shape }) => shape)).toEqual([[rows, 8], [rows, classes]]); // prettier-ignore
    expect(weights.map(({ name, shape }) => [name, shape])).toEqual(network().weights.map(({ name, shape }) => [name, shape]));
  });
});

describe('callbacks', () => {
  test('are called in order, with what happened, and awaited', async () => {
    const log: string[] = [];
    const pause = () => new Promise((resolve) => setTimeout(resolve, 2));
    await network().fit(x, y, {
      epochs: 2,
      batchSize: 10,
      onBatch: async ({ epoch, batch, batches }) => {
        log.push(`batch ${epoch}:${batch}/${batches}`);
        await pause();
        log.push('after');
      },
      onEpoch: async ({ epoch, epochs }) => {
        log.push(`epoch ${epoch}/${epochs}`);
        await pause();
        log.push('after');
      },
    });
    const epoch = (n: number) => [1, 2, 3].flatMap((batch) => [`batch ${n}:${batch}/3`, 'after']).concat(`epoch ${n}/2`, 'after');
    expect(log).toEqual([...epoch(1), ...epoch(2)]);
  });

  test('hear the loss and accuracy of their batch alone', async () => {
    const model = network({ learningRate: 0 });
    const wanted: object[] = [];
    for (const [from, to] of [
      [0, 10],
      [10, 20],
      [20, 23],
    ])
      // prettier-ignore
      wanted.push(await model.evaluate(tensor(x.data.slice(from * columns, to * columns), [to - from, columns]), y.slice(from, to)));
    const heard: { loss: number; accuracy?: number }[] = [];
    await model.fit(x, y, { batchSize: 10, shuffle: false, onBatch: (report) => heard.push(report) });
    expect(heard.map(({ accuracy }) => accuracy)).toEqual(wanted.map((report) => (report as { accuracy: number }).accuracy));
    heard.forEach(({ loss }, i) => expect(loss).toBeCloseTo((wanted[i] as { loss: number }).loss, 6));
  });

  test('may use the model, which leaves no trace in the history', async () => {
    const [model, twin] = [network(), network()];
    const wanted = await twin.fit(x, y, { epochs: 2, batchSize: 4, onBatch: () => undefined });
    const other = tensor(noise(300 * columns, 9), [300, columns]);
    const use = async () => {
      expect((await model.predict(other)).shape).toEqual([300, classes]);
      expect(model.predictSync(x).data).toEqual((await model.predict(x)).data);
      await model.evaluate(other, new Uint8Array(300));
      await model.gradients(x, y);
      const { weights } = model;
      model.setWeights(weights);
      expect(model.weights).toEqual(weights);
    };
    const history = await model.fit(x, y, { epochs: 2, batchSize: 4, onBatch: use, onEpoch: use });
    expect(history.loss).toEqual(wanted.loss);
    expect(history.accuracy).toEqual(wanted.accuracy);
    expect(weightsOf(model)).toEqual(weightsOf(twin));
  });

  test('may change weights, and even train', async () => {
    const model = network({ learningRate: 0 });
    const zeros = model.weights.map((weight) => ({ ...weight, data: new Float32Array(weight.data.length) }));
    const { loss } = await model.fit(x, y, { epochs: 2, onEpoch: () => model.setWeights(zeros) });
    expect(loss[1]).toBeCloseTo(Math.log(classes), 6);

    const nested = network();
    const inner: number[] = [];
    const history = await nested.fit(x, y, {
      epochs: 2,
      onEpoch: async () => {
        const { loss } = await nested.fit(x, y, { epochs: 2, onEpoch: () => nested.trainOnBatch(x, y) });
        inner.push(...loss);
      },
    });
    const all = [history.loss[0], inner[0], inner[1], history.loss[1], inner[2], inner[3]];
    expect(all).toEqual([...all].sort((a, b) => b - a));
  });

  test('may leave calls behind, which end before the fit goes on', async () => {
    const model = network();
    const log: string[] = [];
    await model.fit(x, y, {
      epochs: 2,
      onEpoch: ({ epoch }) => {
        log.push(`epoch ${epoch}`);
        void model.fit(x, y, { epochs: 1, onEpoch: () => model.predict(x) }).then(() => log.push('inner fit'));
        void model.predict(x).then(() => log.push('prediction'));
      },
    });
    expect(log).toEqual(['epoch 1', 'inner fit', 'prediction', 'epoch 2', 'inner fit', 'prediction']);
  });

  test.each(['onBatch', 'onEpoch'] as const)('%s may not compile or dispose', async (name) => {
    const model = network();
    const heard: string[] = [];
    await model.fit(x, y, {
      [name]: async () => {
        heard.push(await refusal(() => model.compile({ optimizer: sgd(), loss: 'huber' })));
        heard.push(await refusal(() => model.dispose()));
      },
    });
    expect(heard.slice(0, 2)).toEqual([
      'busy: compile: the model has calls that are not finished; await them first',
      'busy: dispose: the model has calls that are not finished; await them first',
    ]);
  });

  const ways: [string, (error: unknown) => () => unknown][] = [
    ['throws', (error) => () => { throw error; }], // prettier-ignore
    ['rejects', (error) => async () => { await Promise.resolve(); throw error; }], // prettier-ignore
  ];
  describe.each(['onBatch', 'onEpoch', 'onProgress'] as const)('%s', (name) => {
    test.each(ways)('that %s ends the fit with just that', async (_, way) => {
      const model = network();
      for (const error of [new Error('enough'), 'enough', 0, null]) {
        const fit = model.fit(x, y, { epochs: 1_000_000, batchSize: 1, [name]: way(error) });
        await expect(fit).rejects.toBe(error);
        // The model is as usable as ever.
        await model.fit(x, y);
        model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' });
      }
    });
  });

  test('onProgress hears about ten times a second how far the fit is', async () => {
    const model = network();
    const reports: ProgressReport[] = [];
    const large = tensor(noise(40_000 * columns), [40_000, columns]);
    const history = await model.fit(
      large,
      Uint8Array.from({ length: 40_000 }, (_, i) => i % classes),
      { epochs: 60, batchSize: 4, onProgress: (report) => reports.push(report) },
    );
    const seconds = history.epochs.reduce((all, epoch) => all + epoch.seconds, 0);
    expect(reports.length).toBeLessThanOrEqual(seconds * 12 + 1);
    expect(reports.length).toBeGreaterThan(0);
    let last = 0;
    for (const { epoch, epochs, batch, batches, loss, accuracy, samplesPerSecond, secondsLeft } of reports) {
      expect([epochs, batches]).toEqual([60, 10_000]);
      // On a busy machine nothing may have moved in a tenth of a second.
      expect(epoch * batches + batch).toBeGreaterThanOrEqual(last);
      last = epoch * batches + batch;
      expect(batch).toBeLessThanOrEqual(batches);
      expect(loss).toBeGreaterThan(0);
      expect(accuracy).toBeGreaterThan(0);
      expect(samplesPerSecond).toBeGreaterThan(0);
      expect(secondsLeft).toBeGreaterThanOrEqual(0);
      expect(secondsLeft).toBeLessThan(60);
    }
  });

  test('onProgress is heard where onBatch is too', async () => {
    const reports: number[] = [];
    const onBatch = () => new Promise((resolve) => setTimeout(resolve, 30));
    await network().fit(x, y, { epochs: 1, batchSize: 2, onBatch, onProgress: ({ batch }) => reports.push(batch) });
    expect(reports.length).toBeGreaterThan(1);
    expect(reports.length).toBeLessThan(12);
  });

  test('onProgress tells of no other run that a callback awaits', async () => {
    const model = network();
    const other = tensor(noise(300 * columns, 9), [300, columns]);
    let awaits = false;
    const heard: boolean[] = [];
    const onSample = async () => {
      awaits = true;
      await new Promise((resolve) => setTimeout(resolve, 250));
      await model.evaluate(other, new Uint8Array(300), { batchSize: 1 });
      await new Promise((resolve) => setTimeout(resolve, 250));
      awaits = false;
    };
    // Steps enough before and behind the sample, however fast they are, for it not to be the only place to hear from.
    await model.fit(x, y, { epochs: 2, batchSize: 2, diagnostics: { every: 12, onSample }, onProgress: () => heard.push(awaits) });
    expect(heard.length).toBeGreaterThan(0);
    expect(heard).not.toContain(true);
  });

  test('onProgress cannot use the model, nor break it', async () => {
    const model = network();
    const heard: unknown[] = [];
    let waiting: Promise<unknown> | undefined;
    const onBatch = () => new Promise((resolve) => setTimeout(resolve, 15));
    await model.fit(x, y, {
      epochs: 2,
      batchSize: 2,
      onBatch,
      onProgress: () => {
        try {
          model.predictSync(x);
        } catch (error) {
          heard.push((error as GradmillError).code);
        }
        waiting ??= model.predict(x).then(() => heard.push('predicted'));
      },
    });
    await waiting;
    expect(heard).toContain('busy');
    expect(heard).toContain('predicted');
  });
});

describe('verbose', () => {
  test('0 prints nothing, 1 a line an epoch', async () => {
    const write = vi.spyOn(process.stdout, 'write').mockImplementation(() => true);
    try {
      await network().fit(x, y, { epochs: 3 });
      await network().fit(x, y, { epochs: 3, verbose: 0 });
      expect(write).not.toHaveBeenCalled();
      await network().fit(x, y, { epochs: 3, verbose: 1, validationSplit: 0.2 });
      const lines = write.mock.calls.map(([text]) => String(text));
      expect(lines.join('')).toMatch(/^(.*epoch [123]\/3.* loss [\d.]+.* accuracy .*validation loss .*\n){3}$/);
    } finally {
      write.mockRestore();
    }
  });
});

describe('numbers that run away', () => {
  /** What a fit says and how many batches it did before. */
  async function runaway(model: ReturnType<typeof sequential>, options: FitOptions = {}, goal: Parameters<typeof model.fit>[1] = targets) {
    let steps = 0;
    const said = await refusal(() => model.fit(x, goal, { epochs: 50, batchSize: 23, shuffle: false, onBatch: () => steps++, ...options }));
    const silent = await refusal(() => model.fit(x, goal, { epochs: 50, batchSize: 23, shuffle: false, ...options }));
    expect(silent).toMatch(/^diverged: /);
    return { said, steps };
  }
  const linear = (learningRate: number) => {
    const model = sequential({
      inputShape: [columns],
      layers: [dense({ units: 4, name: 'first' }), dense({ units: classes, name: 'last' })],
    });
    model.compile({ optimizer: sgd({ learningRate }), loss: 'meanSquaredError' });
    return model;
  };

  test('a learning rate that is far too high', async () => {
    const { said, steps } = await runaway(linear(1e15));
    expect(said).toMatch(
      /^diverged: (the loss|a weight) stopped being finite in step \d+; the first tensor that did: .* of (layer '(first|last)'|the loss): try a lower learning rate, scaled inputs or clipGlobalNorm$/,
    );
    expect(said).toContain(`in step ${steps + 1};`);
    expect(steps).toBeLessThan(5);
  });

  test('a weight that an update makes infinite', async () => {
    const model = linear(3e38);
    model.setWeights([{ name: 'last/bias', data: [1e10, 1e10, 1e10] }]);
    const { said, steps } = await runaway(model);
    expect(said).toMatch(
      /^diverged: a weight stopped being finite in step 1; the first tensor that did: weight '(first|last)\/(kernel|bias)' of layer '(first|last)': /,
    );
    expect(steps).toBe(0);
    // The model still answers; saving would overwrite a good file with a bad one.
    expect((await model.predict(x)).data.some(Number.isNaN)).toBe(true);
    expect(await refusal(() => model.save('/tmp/never-written.safetensors'))).toMatch(
      /^diverged: save: weight '.*' holds a number that is not finite/,
    );
  });

  test('a gradient that overflows', async () => {
    const model = linear(1e-3);
    model.setWeights([
      { name: 'first/kernel', data: new Float32Array(20).fill(1e22) },
      { name: 'last/kernel', data: new Float32Array(12).fill(1e-22) },
      { name: 'last/bias', data: [1e18, 0, 0] },
    ]);
    const { said, steps } = await runaway(model);
    expect(said).toMatch(
      /^diverged: a weight stopped being finite in step 1; the first tensor that did: the gradient of 'last\/kernel' of layer 'last': /,
    );
    expect(steps).toBe(0);
  });

  test.each([
    ['first', 'first/kernel', 20],
    ['last', 'last/kernel', 12],
  ])('a weight too large in layer %s: its output is the first tensor', async (layer, name, length) => {
    const model = linear(0.01);
    model.setWeights([
      { name: 'first/bias', data: new Float32Array(4).fill(1e20) },
      { name, data: new Float32Array(length).fill(3e38) },
    ]);
    const wide = tensor(new Float32Array(rows * columns).fill(100), [rows, columns]);
    const said = await refusal(() => model.fit(wide, targets, { batchSize: 5 }));
    expect(said).toMatch(
      new RegExp(
        `^diverged: the loss stopped being finite in step 1; the first tensor that did: ${layer}\\.\\w+ \\[5, ${layer === 'first' ? 4 : 3}\\] of layer '${layer}': `,
      ),
    );
    // Without training there is no step; rows tell where.
    expect(await refusal(() => model.evaluate(wide, targets, { batchSize: 5 }))).toMatch(
      new RegExp(
        `^diverged: the loss stopped being finite over rows 0 to 4; the first tensor that did: ${layer}\\.\\w+ \\[5, \\d\\] of layer '${layer}'$`,
      ),
    );
    expect(await refusal(() => model.gradients(wide, targets))).toMatch(/^diverged: the loss stopped being finite over rows 0 to 22; /);
    expect(await refusal(() => model.trainOnBatch(wide, targets))).toMatch(/^diverged: the loss stopped being finite in step 1; /);
  });

  test('an activation that overflows', async () => {
    const model = sequential({
      inputShape: [columns],
      layers: [
        dense({ units: 4, kernelInitializer: 'ones' }),
        activation('gelu'),
        dense({ units: classes, kernelInitializer: { name: 'constant', value: 3e38 } }),
        activation('silu'),
      ],
    });
    model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    const said = await refusal(() => model.fit(tensor(new Float32Array(rows * columns).fill(9), [rows, columns]), targets));
    expect(said).toMatch(/; the first tensor that did: dense2\.\w+ \[23, 3\] of layer 'dense2': /);
  });

  test('the step counts over all epochs of the fit', async () => {
    const model = linear(0.001);
    let steps = 0;
    const onBatch = () => {
      if (++steps === 7) model.setWeights([{ name: 'last/bias', data: [3e38, 0, 0] }]);
    };
    const said = await refusal(() => model.fit(x, targets, { epochs: 9, batchSize: 10, onBatch }));
    expect(said).toMatch(/ in step 8; /);
    expect(steps).toBe(7);
  });

  test('one bad row among many is found in its batch', async () => {
    const model = linear(0);
    model.setWeights([{ name: 'first/kernel', data: new Float32Array(20).fill(1e30) }]);
    const data = new Float32Array(1000 * columns);
    data[777 * columns] = 1e20;
    const said = await refusal(() =>
      model.evaluate(tensor(data, [1000, columns]), tensor(new Float32Array(3000), [1000, 3]), { batchSize: 10 }),
    );
    expect(said).toMatch(/ over rows 770 to 779; /);
  });

  test('a validation loss', async () => {
    const model = linear(0.01);
    const huge = tensor(new Float32Array(columns).fill(3e38), [1, columns]);
    expect(await refusal(() => model.fit(x, targets, { validationData: [huge, tensor(new Float32Array(3), [1, 3])] }))).toMatch(
      /^diverged: the loss stopped being finite over rows 0 to 0; /,
    );
  });

  test('reports are not those of a run that went wrong', async () => {
    const reports: EpochReport[] = [];
    await refusal(() => linear(1e15).fit(x, targets, { epochs: 50, onEpoch: (report) => reports.push(report) }));
    for (const { loss } of reports) expect(Number.isFinite(loss)).toBe(true);
  });
});
