// Data sets larger than the window stream through it: the same bits as without it, the same errors at the same rows, engine
// memory that does not grow with the data, an event loop that stays free.
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { engine } from '../src/engine.js';
import { adam, type BatchReport, dense, type FitOptions, type LossName, sequential, sgd, tensor, type TensorInput } from '../src/index.js';
import type { NumericArray } from '../src/tensor.js';
import { Window } from '../src/window.js';
import { bitsOf } from './bits.js';
import { expectSameBits, Random } from './engines.js';
import { refusal } from './refusal.js';

const usual = Window.bytes;
afterEach(() => {
  Window.bytes = usual;
  vi.restoreAllMocks();
});

async function within<T>(bytes: number, call: () => Promise<T>): Promise<T> {
  Window.bytes = bytes;
  try {
    return await call();
  } finally {
    Window.bytes = usual;
  }
}

const rows = 1000;
const columns = 5;
const classes = 3;
const random = new Random(1);
const numbers = random.floats(rows * columns, -100, 100);
const labels = random.labels(rows, classes);
const batchSize = 32;

/** Every form that x or y can have in one typed array. */
const inputs: Record<string, NumericArray> = {
  float32: numbers,
  float64: Float64Array.from(numbers, (value) => value / 3),
  uint8: Uint8Array.from(numbers, Math.abs),
  int16: Int16Array.from(numbers, (value) => value * 300),
  'a part of an array': new Float32Array(rows * columns + 7)
    .fill(9)
    .subarray(3, 3 + rows * columns)
    .fill(0.5, 40),
  'shared memory': new Float64Array(new SharedArrayBuffer(rows * columns * 8)).map((_, i) => numbers[i]),
};
const targets: Record<string, { y: TensorInput; bytes: number; loss: LossName }> = {
  labels: { y: Uint8Array.from(labels), bytes: 1, loss: 'softmaxCrossEntropy' },
  'float labels': { y: Float64Array.from(labels), bytes: 8, loss: 'softmaxCrossEntropy' },
  rows: { y: tensor(random.floats(rows * classes), [rows, classes]), bytes: 12, loss: 'meanSquaredError' },
};

function network(loss: LossName = 'softmaxCrossEntropy') {
  const model = sequential({
    inputShape: [columns],
    seed: 3,
    inputScaling: { mean: 1, standardDeviation: 50 },
    layers: [dense({ units: 8, activation: 'tanh' }), dense({ units: classes })],
  });
  model.compile({ optimizer: adam({ learningRate: 0.01 }), loss, metrics: ['accuracy'] });
  return model;
}

/** All that a model's calls say of data, as bits. */
async function life(x: TensorInput, y: TensorInput, loss: LossName, options: FitOptions) {
  const model = network(loss);
  const { epochs, ...history } = await model.fit(x, y, { epochs: 2, batchSize, ...options });
  return bitsOf({
    history,
    epochs: epochs.length,
    weights: model.weights,
    evaluation: await model.evaluate(x, y),
    narrow: await model.evaluate(x, y, { batchSize: 7 }),
    prediction: await model.predict(x),
    step: await model.trainOnBatch(x, y),
    gradients: await model.gradients(x, y),
    after: model.weights,
  });
}

describe('the same bits as without a window', () => {
  const ways: Record<string, FitOptions> = {
    shuffled: {},
    'in the order given': { shuffle: false },
    'with a split': { validationSplit: 0.6 },
    'with batches that fill the data': { batchSize: 1000 },
    'with validation data': { validationData: [tensor(numbers.slice(100), [rows - 20, columns]), labels.slice(20)] },
  };

  describe.each(Object.entries(inputs))('of x: %s', (_, data) => {
    const x = tensor(data, [rows, columns]);
    test.each(Object.entries(targets))('and y: %s', async (_, { y, bytes, loss }) => {
      const plain = await life(x, y, loss, {});
      const row = columns * data.BYTES_PER_ELEMENT + bytes;
      for (const batches of [1, 2, 3])
        expect(await within(2 * batches * batchSize * row, () => life(x, y, loss, {})), `${batches} batches`).toEqual(plain);
    });
  });

  test.each(Object.entries(ways))('%s', async (_, options) => {
    const x = tensor(numbers, [rows, columns]);
    const plain = await life(x, labels, 'softmaxCrossEntropy', options);
    // Down to one batch a piece, with y outside (1) and in the engine's memory (4,000 bytes).
    for (const bytes of [1, 4000, 9000, 19_999])
      expect(await within(bytes, () => life(x, labels, 'softmaxCrossEntropy', options)), `${bytes} bytes`).toEqual(plain);
  });

  test('of any sizes', async () => {
    const sizes = {
      count: fc.integer({ min: 2, max: 300 }),
      batch: fc.integer({ min: 1, max: 64 }),
      bytes: fc.integer({ min: 1, max: 5000 }),
    };
    const shape = fc.record({ ...sizes, shuffle: fc.boolean(), validationSplit: fc.constantFrom(0, 0.3, 0.9) });
    await fc.assert(
      fc.asyncProperty(shape, async ({ count, batch, bytes, shuffle, validationSplit }) => {
        const x = tensor(inputs.uint8.slice(0, count * columns), [count, columns]);
        const trained = count - (validationSplit && Math.min(Math.max(Math.round(count * validationSplit), 1), count - 1));
        const options = { batchSize: Math.min(batch, trained), shuffle, validationSplit };
        const run = () => life(x, labels.slice(0, count), 'softmaxCrossEntropy', options);
        expect(await within(bytes, run)).toEqual(await run());
      }),
      { numRuns: 60 },
    );
  });

  test('of an output larger than its input', async () => {
    const model = sequential({ inputShape: [1], layers: [dense({ units: 300, kernelInitializer: 'glorotNormal' })] });
    const x = numbers.slice(0, 2000);
    const plain = await model.predict(x);
    for (const bytes of [10_000, 700_000, 2_399_999]) {
      const { data, shape } = await within(bytes, () => model.predict(x));
      expect(shape).toEqual(plain.shape);
      expectSameBits(`${bytes} bytes`, data, plain.data);
    }
  });

  test('of nested arrays beside a typed one', async () => {
    const nested = Array.from({ length: rows }, (_, row) => [...numbers.subarray(row * columns, (row + 1) * columns)]);
    const plain = await life(nested, labels, 'softmaxCrossEntropy', {});
    expect(await within(1000, () => life(nested, labels, 'softmaxCrossEntropy', {}))).toEqual(plain);
    expect(plain).toEqual(await life(tensor(numbers, [rows, columns]), labels, 'softmaxCrossEntropy', {}));
  });

  test('with callbacks, which may use the model', async () => {
    const x = tensor(numbers, [rows, columns]);
    const watched = async () => {
      const model = network();
      const reports: unknown[] = [];
      const onBatch = async (report: BatchReport) => {
        reports.push(report, bitsOf(model.weights));
        if (report.batch % 8 !== 0) return;
        // In larger batches than the fit's: the arena grows under it.
        reports.push(await model.evaluate(x, labels), bitsOf(await model.predict(x)));
        await model.fit(x, labels, { batchSize: 100 });
      };
      const onEpoch = async () => reports.push(await model.evaluate(x, labels));
      const { loss, valLoss } = await model.fit(x, labels, { epochs: 2, batchSize, validationSplit: 0.1, onBatch, onEpoch });
      return { reports, loss, valLoss, weights: bitsOf(model.weights) };
    };
    const plain = await watched();
    expect(plain.reports.length).toBeGreaterThan(100);
    for (const bytes of [1, 4000, 19_999]) expect(await within(bytes, watched)).toEqual(plain);
  });
});

describe('errors', () => {
  const data = () => tensor(Float32Array.from(numbers), [rows, columns]);

  describe.each([1, 3000, 19_999])('in a window of %d bytes', (bytes) => {
    test.each([0, 31, 32, 500, 899, 900, 999])('bad data in row %d is named before a weight changes', async (row) => {
      const model = network();
      const before = bitsOf(model.weights);
      const x = data();
      x.data[row * columns + 2] = NaN;
      const y = Uint8Array.from(labels);
      y[row] = 7;
      const input = `non-finite-input: x: row ${row}, column 2: expected a number that is finite in float32, got NaN`;
      const label = `label-out-of-range: y: row ${row}: expected a class label, a whole number from 0 to 2, got 7`;
      await within(bytes, async () => {
        for (const shuffle of [true, false]) {
          const options = { batchSize, shuffle, validationSplit: 0.1 };
          expect(await refusal(() => model.fit(x, labels, options))).toBe(input);
          expect(await refusal(() => model.fit(data(), y, options))).toBe(label);
          const validationData = [x, labels] as const;
          expect(await refusal(() => model.fit(data(), labels, { batchSize, shuffle, validationData }))).toBe(
            input.replace('x:', 'validationData: x:'),
          );
        }
        expect(await refusal(() => model.evaluate(x, labels))).toBe(input);
        expect(await refusal(() => model.evaluate(data(), y, { batchSize: 10 }))).toBe(label);
        expect(await refusal(() => model.predict(x))).toBe(input);
      });
      expect(bitsOf(model.weights)).toEqual(before);
    });

    test('data that goes bad while it trains is named by its own row, shuffled too', async () => {
      for (const shuffle of [true, false]) {
        const model = network();
        const x = data();
        const onEpoch = () => (x.data[700 * columns + 4] = Infinity);
        const said = await refusal(() => within(bytes, () => model.fit(x, labels, { epochs: 3, batchSize, shuffle, onEpoch })));
        expect(said).toBe('non-finite-input: x: row 700, column 4: expected a number that is finite in float32, got Infinity');
      }
    });

    test('a loss that stops being finite: the same step, rows and tensor', async () => {
      const model = () => {
        const model = sequential({ inputShape: [columns], layers: [dense({ units: classes, name: 'last', kernelInitializer: 'ones' })] });
        model.compile({ optimizer: sgd({ learningRate: 0 }), loss: 'meanSquaredError' });
        return model;
      };
      const x = data();
      x.data[777 * columns] = 3e30;
      const { y } = targets.rows;
      const calls: (() => Promise<unknown>)[] = [
        () => model().fit(x, y, { batchSize, shuffle: false }),
        () => model().fit(x, y, { batchSize, epochs: 2 }),
        () => model().fit(x, y, { batchSize, onBatch: () => undefined }),
        () => model().fit(x, y, { batchSize, validationSplit: 0.4 }),
        () => model().evaluate(x, y, { batchSize: 10 }),
      ];
      for (const call of calls) {
        const plain = await refusal(call);
        expect(plain).toMatch(/^diverged: the loss stopped being finite (in step \d+|over rows \d+ to \d+); the first tensor that did: /);
        expect(await refusal(() => within(bytes, call))).toBe(plain);
      }
      expect(await refusal(() => within(bytes, () => model().evaluate(x, y, { batchSize: 10 })))).toMatch(/over rows 770 to 779/);
    });

    test('arrays that are transferred meanwhile: an error, and the model goes on', async () => {
      const model = network();
      const gone = async (call: (x: ReturnType<typeof data>, leave: () => void) => Promise<unknown>) => {
        const x = data();
        return refusal(() => call(x, () => structuredClone(x.data.buffer, { transfer: [x.data.buffer as ArrayBuffer] })));
      };
      const lost = 'buffer-detached: x: its buffer was transferred or resized while it was read';
      await within(bytes, async () => {
        expect(await gone((x, onEpoch) => model.fit(x, labels, { batchSize, epochs: 3, onEpoch }))).toBe(lost);
        const predict = (x: ReturnType<typeof data>, leave: () => void) => {
          const before = model.evaluate(data(), labels);
          const prediction = model.predict(x); // waits its turn
          leave();
          return before.then(() => prediction);
        };
        expect(await gone(predict)).toBe(lost);
        expect(await model.predict(data())).toHaveProperty('shape', [rows, classes]);
      });
    });

    test('a signal stops it within a batch, or while data is read', async () => {
      await within(bytes, async () => {
        const model = network();
        const x = data();
        for (const ways of [{}, { shuffle: false }, { onBatch: () => undefined }])
          for (const milliseconds of [0, 1, 3, 30]) {
            const stop = new AbortController();
            const fit = model.fit(x, labels, { epochs: 1e9, batchSize, signal: stop.signal, ...ways });
            setTimeout(() => {
              stop.abort('enough');
            }, milliseconds);
            await expect(fit).rejects.toBe('enough');
          }
        // The model and its memory are as good as new.
        const twin = network();
        twin.setWeights(model.weights);
        expect(bitsOf(await model.evaluate(x, labels))).toEqual(bitsOf(await twin.evaluate(x, labels)));
      });
    });

    test('what a callback throws ends it', async () => {
      const model = network();
      const failure = new Error('mine');
      const onBatch = ({ batch }: BatchReport) => (batch === 7 ? Promise.reject(failure) : undefined);
      await within(bytes, () => expect(model.fit(data(), labels, { batchSize, onBatch })).rejects.toBe(failure));
      expect(await model.predict(data())).toHaveProperty('shape', [rows, classes]);
    });
  });
});

describe('a large data set', () => {
  const many = 200_000;
  const width = 40;
  const x = tensor(
    Uint8Array.from({ length: many * width }, (_, i) => (i * 7919) % 251),
    [many, width],
  );
  const y = Uint8Array.from({ length: many }, (_, i) => i % 4);
  const model = () => {
    const model = sequential({ inputShape: [width], layers: [dense({ units: 16, activation: 'relu' }), dense({ units: 4 })] });
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    return model;
  };
  const everything = async (model: ReturnType<typeof network>, data = x, labels = y) => {
    await model.fit(data, labels, { epochs: 3, batchSize: 64, validationSplit: 0.2 });
    await model.evaluate(data, labels);
    await model.predict(data);
  };

  test('takes no more engine memory than the window, the order and what else is as small', async () => {
    const bytes = 2 ** 17;
    let taken = 0;
    const allocate = engine().allocate.bind(engine());
    vi.spyOn(engine(), 'allocate').mockImplementation((bytes) => {
      taken += bytes;
      return allocate(bytes);
    });
    const peak = async (call: () => Promise<unknown>) => {
      taken = 0;
      await call();
      return taken;
    };
    const trained = model();
    // Plans and the arena are there.
    await everything(trained, tensor(x.data.slice(0, 1000 * width), [1000, width]), y.slice(0, 1000));
    const order = 4 * 0.8 * many;
    // Each buffer's size is rounded up to a power of two, for the pool.
    expect(await within(bytes, () => peak(() => everything(trained)))).toBeLessThan(2 * (order + 3 * bytes));
    // Every epoch and every run uses the same buffers: more of them take nothing more.
    const epochs = (epochs: number) => within(bytes, () => peak(() => model().fit(x, y, { epochs, batchSize: 64 })));
    expect(await epochs(4)).toBe(await epochs(1));
    expect(await peak(() => everything(model()))).toBeGreaterThan(3 * many * width);
  });

  test('leaves the event loop free, and tells of progress', async () => {
    await within(2 ** 21, async () => {
      const done: number[] = [];
      const onProgress = ({ epoch, batch, batches }: { epoch: number; batch: number; batches: number }) => {
        expect(batch).toBeLessThanOrEqual(batches);
        done.push((epoch - 1) * batches + batch);
      };
      const stop = new AbortController();
      const fit = model().fit(x, y, { epochs: 1e6, batchSize: 64, onProgress, signal: stop.signal });
      const gaps: number[] = [];
      let last = performance.now();
      for (let i = 0; i < 300; i++) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        gaps.push(performance.now() - last);
        last = performance.now();
      }
      stop.abort();
      await expect(fit).rejects.toBe(stop.signal.reason);
      gaps.sort((a, b) => a - b);
      // The machine may be busy; the median is not.
      expect(gaps[150]).toBeLessThan(10);
      expect(done.length).toBeGreaterThan(1);
      expect(done).toEqual([...done].sort((a, b) => a - b));
    });
  });
});
