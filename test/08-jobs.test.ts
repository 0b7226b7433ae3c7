// Calls on one model: their order, what a busy model refuses, stopping by a signal, data that goes away meanwhile, the end.
import { getEventListeners } from 'node:events';
import { describe, expect, test, vi } from 'vitest';
import { adam, dense, type FitOptions, GradmillError, sequential, sgd, tensor } from '../src/index.js';
import { engine } from '../src/engine.js';
import { callOn } from '../src/model.js';
import { bitsOf } from './bits.js';
import { run } from './child.js';
import { refusal } from './refusal.js';

const columns = 16;
const rows = 512;
const x = tensor(
  Float32Array.from({ length: rows * columns }, (_, i) => ((i * 7919) % 1000) / 500 - 1),
  [rows, columns],
);
const y = Uint8Array.from({ length: rows }, (_, i) => i % 4);

function network(hidden = 32) {
  const model = sequential({ inputShape: [columns], layers: [dense({ units: hidden, activation: 'relu' }), dense({ units: 4 })] });
  model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
  return model;
}
/** A fit that takes as long as it is let. */
const endless = { epochs: 1e9, batchSize: 16 };
const milliseconds = (n: number) => new Promise((resolve) => setTimeout(resolve, n));
/** The value a promise rejects with. */
const reasonOf = (promise: Promise<unknown>) => promise.then(() => expect.fail('it did not reject'), (reason: unknown) => reason); // prettier-ignore

describe('calls on one model', () => {
  test('run in the order they were made', async () => {
    const [model, twin] = [network(), network()];
    const ended: string[] = [];
    const call = <T>(name: string, promise: Promise<T>) => promise.finally(() => ended.push(name));
    const [before, , between, , , after] = await Promise.all([
      call('predict 1', model.predict(x)),
      call('fit', model.fit(x, y, { epochs: 2 })),
      call('predict 2', model.predict(x)),
      call('step', model.trainOnBatch(x, y)),
      call('gradients', model.gradients(x, y)),
      call('evaluate', model.evaluate(x, y)),
    ]);
    expect(ended).toEqual(['predict 1', 'fit', 'predict 2', 'step', 'gradients', 'evaluate']);
    expect(bitsOf(await twin.predict(x))).toEqual(bitsOf(before));
    await twin.fit(x, y, { epochs: 2 });
    expect(bitsOf(await twin.predict(x))).toEqual(bitsOf(between));
    await twin.trainOnBatch(x, y);
    expect(await twin.evaluate(x, y)).toEqual(after);
  });

  test('that fail do not hold up the next', async () => {
    const model = network();
    const bad = model.fit(
      x,
      Uint8Array.from(y, () => 9),
    );
    const stopped = new AbortController();
    const long = model.fit(x, y, { ...endless, signal: stopped.signal });
    const good = model.predict(x);
    expect(await reasonOf(bad)).toHaveProperty('code', 'label-out-of-range');
    stopped.abort();
    await reasonOf(long);
    expect((await good).shape).toEqual([rows, 4]);
  });

  test('that are wrong are refused when they are made, not in their turn', async () => {
    const model = network();
    const stop = new AbortController();
    const long = model.fit(x, y, { ...endless, signal: stop.signal });
    expect(await refusal(() => model.predict([[1, 2, 3]]))).toMatch(/^shape-mismatch: /);
    expect(await refusal(() => model.fit(x, y, { batchSize: 0 }))).toMatch(/^invalid-argument: /);
    expect(await refusal(() => model.evaluate(x, [1]))).toMatch(/^shape-mismatch: /);
    expect(await refusal(() => model.save(''))).toMatch(/^invalid-argument: /);
    stop.abort();
    await reasonOf(long);
  });

  test('leave the event loop free', async () => {
    const model = network(256);
    const stop = new AbortController();
    const long = model.fit(x, y, { ...endless, batchSize: 256, signal: stop.signal });
    const gaps: number[] = [];
    let last = performance.now();
    for (let i = 0; i < 50; i++) {
      await milliseconds(2);
      gaps.push(performance.now() - last);
      last = performance.now();
    }
    stop.abort();
    await reasonOf(long);
    gaps.sort((a, b) => a - b);
    // The machine may be busy; the median is not.
    expect(gaps[25]).toBeLessThan(10);
  });

  test('of other models run beside a long fit', async () => {
    const [model, other] = [network(256), network()];
    const stop = new AbortController();
    const long = model.fit(x, y, { ...endless, batchSize: 256, signal: stop.signal });
    await milliseconds(20);
    const wanted = bitsOf(network().predictSync(x));
    for (let i = 0; i < 20; i++) expect(bitsOf(await other.predict(x))).toEqual(wanted);
    expect(bitsOf(other.predictSync(x))).toEqual(wanted);
    await other.fit(x, y);
    stop.abort();
    await reasonOf(long);
  });
});

test('a run knows how far it is after others that a callback of it made', async () => {
  const model = network();
  const progress = await callOn(model, async (jobs, memory) => {
    const [sets, range] = [{ x: await memory.load(jobs.inputRows('x', x)), output: memory.output(rows, 4) }, { rows }];
    const afterBatch = (batch: number) => (batch === 4 ? jobs.run('predict', 1, sets, range) : Promise.resolve());
    await jobs.run('predict', 128, sets, { ...range, afterBatch });
    return jobs.progress;
  });
  expect(progress).toBe(4);
});

describe('a busy model', () => {
  const model = network();
  const calls: Record<string, () => unknown> = {
    predictSync: () => model.predictSync(x),
    weights: () => model.weights,
    setWeights: () => model.setWeights([]),
    compile: () => model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' }),
    dispose: () => model.dispose(),
  };

  test.each(Object.entries(calls))('refuses %s', async (name, call) => {
    const busy = `busy: ${name}: the model has calls that are not finished; await them first`;
    const stop = new AbortController();
    const long = model.fit(x, y, { ...endless, signal: stop.signal });
    // From the moment the call was made: not only once it runs.
    expect(await refusal(call)).toBe(busy);
    const queued = model.predict(x);
    await milliseconds(10);
    expect(await refusal(call)).toBe(busy);
    stop.abort();
    await reasonOf(long);
    const later = refusal(call);
    await queued;
    expect(await later).toBe(busy);
    if (name !== 'dispose') call();
  });

  test('is free as soon as its last call has settled', async () => {
    const model = network();
    await model.fit(x, y).then(() => model.predictSync(x));
    await model.fit(x, y, { epochs: -1 }).catch(() => model.weights);
    await model.predict(x);
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
  });

  test('still shows its summary and its plan', async () => {
    const model = network();
    const fit = model.fit(x, y, { epochs: 3 });
    expect(model.summary()).toMatch(/dense1 +dense \(relu\)/);
    await milliseconds(1);
    expect(model.plan.toString()).toMatch(/gemm/);
    await fit;
  });
});

test('a model has no more threads than the engine', async () => {
  const model = network();
  const threadsOf = () => callOn(model, ({ runtime }) => Promise.resolve(runtime.training?.threads));
  for (const [threads, wanted] of [
    [1, 1],
    [1024, engine().threads],
  ]) {
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', threads });
    expect(await threadsOf()).toBe(wanted);
  }
});

test('a plan that is looked at moves no memory, under a job that may be running', async () => {
  const model = network();
  const bytes = () => callOn(model, ({ runtime }) => Promise.resolve(runtime.bytes));
  const before = await bytes();
  const text = model.plan.toString();
  expect(await bytes()).toBe(before);
  await model.fit(x, y);
  expect(await bytes()).toBeGreaterThan(before);
  expect(model.plan.toString()).toBe(text);
});

describe('a signal', () => {
  const reasons: [string, unknown][] = [
    ['an error', new RangeError('enough')],
    ['a text', 'enough'],
    ['zero', 0],
    ['null', null],
    ['an object', { enough: true }],
  ];

  describe.each(reasons)('with %s as reason', (_, reason) => {
    test('that is aborted already', async () => {
      const model = network();
      const before = bitsOf(model.weights);
      expect(await reasonOf(model.fit(x, y, { signal: AbortSignal.abort(reason) }))).toBe(reason);
      expect(bitsOf(model.weights)).toEqual(before);
    });

    test('while it trains', async () => {
      const model = network();
      const stop = new AbortController();
      const fit = model.fit(x, y, { ...endless, signal: stop.signal });
      await milliseconds(10);
      stop.abort(reason);
      expect(await reasonOf(fit)).toBe(reason);
      expect(await model.fit(x, y)).toHaveProperty('epochs.length', 1);
    });

    test.each(['onBatch', 'onEpoch', 'onProgress'] as const)('in %s', async (name) => {
      const model = network();
      const stop = new AbortController();
      let called = 0;
      const fit = model.fit(x, y, {
        ...endless,
        signal: stop.signal,
        [name]: () => {
          called++;
          stop.abort(reason);
        },
      });
      expect(await reasonOf(fit)).toBe(reason);
      expect(called).toBe(1);
      model.predictSync(x);
    });

    test('while another call is before it', async () => {
      const model = network();
      const [first, second] = [new AbortController(), new AbortController()];
      const running = model.fit(x, y, { ...endless, signal: first.signal });
      const waiting = model.fit(x, y, { ...endless, signal: second.signal });
      second.abort(reason);
      // At once: the first fit has not ended, and will not by itself.
      expect(await reasonOf(waiting)).toBe(reason);
      const predicted = model.predict(x);
      first.abort();
      await reasonOf(running);
      await predicted;
    });
  });

  test('without a reason gives an AbortError', async () => {
    const stop = new AbortController();
    const fit = network().fit(x, y, { ...endless, signal: stop.signal });
    stop.abort();
    const reason = await reasonOf(fit);
    expect(reason).toBe(stop.signal.reason);
    expect(reason).toMatchObject({ name: 'AbortError' });
  });

  test('of a timeout and of several signals', async () => {
    const model = network();
    const timeout = AbortSignal.timeout(20);
    expect(await reasonOf(model.fit(x, y, { ...endless, signal: timeout }))).toBe(timeout.reason);
    const any = AbortSignal.any([new AbortController().signal, AbortSignal.timeout(20)]);
    expect(await reasonOf(model.fit(x, y, { ...endless, signal: any }))).toMatchObject({ name: 'TimeoutError' });
  });

  test('stops within a batch, and what was learned stays', async () => {
    // One step takes some milliseconds, the epoch many seconds.
    const wide = sequential({ inputShape: [columns], layers: [dense({ units: 1024, activation: 'tanh' }), dense({ units: 1024, activation: 'tanh' }), dense({ units: 4 })] }); // prettier-ignore
    wide.compile({ optimizer: sgd({ learningRate: 1e-3 }), loss: 'softmaxCrossEntropy' });
    const many = 100_000;
    const large = tensor(new Float32Array(many * columns).fill(0.1), [many, columns]);
    const before = bitsOf(wide.weights);
    const stop = new AbortController();
    let fit: Promise<unknown> | undefined;
    await new Promise<void>((begun) => {
      const onProgress = ({ batch }: { readonly batch: number }) => batch > 0 && begun();
      fit = wide.fit(large, new Uint8Array(many), { batchSize: 64, signal: stop.signal, onProgress });
    });
    const aborted = performance.now();
    stop.abort();
    await reasonOf(fit!);
    expect(performance.now() - aborted).toBeLessThan(250);
    expect(bitsOf(wide.weights)).not.toEqual(before);
    expect(wide.weights.every(({ data }) => data.every(Number.isFinite))).toBe(true);
  });

  test('stops before the next batch where batches are heard', async () => {
    const stop = new AbortController();
    let batches = 0;
    const onBatch = () => {
      if (++batches === 5) stop.abort('enough');
    };
    expect(await reasonOf(network().fit(x, y, { epochs: 3, batchSize: 16, onBatch, signal: stop.signal }))).toBe('enough');
    expect(batches).toBe(5);
  });

  test('counts even in the last callback of the last epoch', async () => {
    const stop = new AbortController();
    expect(await reasonOf(network().fit(x, y, { onEpoch: () => stop.abort('late'), signal: stop.signal }))).toBe('late');
  });

  test('after the end does nothing', async () => {
    const stop = new AbortController();
    const history = await network().fit(x, y, { signal: stop.signal });
    stop.abort();
    expect(history.epochs).toHaveLength(1);
  });

  test('ends a fit whose callback never returns', async () => {
    const model = network();
    const stop = new AbortController();
    const fit = model.fit(x, y, { onEpoch: () => new Promise(() => undefined), signal: stop.signal });
    await milliseconds(20);
    stop.abort('enough');
    expect(await reasonOf(fit)).toBe('enough');
    model.predictSync(x);
  });

  test('while data is copied or checked', async () => {
    const model = network();
    const many = 3_000_000;
    const large = tensor(new Uint8Array(many * columns), [many, columns]);
    const labels = new Uint8Array(many);
    for (const delay of [0, 1, 5, 20, 40]) {
      const stop = new AbortController();
      const fit = model.fit(large, labels, { batchSize: 1024, signal: stop.signal });
      setTimeout(() => {
        stop.abort(delay);
      }, delay);
      expect(await reasonOf(fit)).toBe(delay);
    }
  });

  test('keeps no listener when the fit has ended, however it ended', async () => {
    const model = network();
    const stop = new AbortController();
    const { signal } = stop;
    const ways: FitOptions[] = [{}, { epochs: 3, onBatch: () => undefined }, { validationSplit: 0.5 }];
    for (const options of ways) await model.fit(x, y, { ...options, signal });
    await reasonOf(
      model.fit(
        x,
        Uint8Array.from(y, () => 99),
        { signal },
      ),
    );
    await reasonOf(model.fit(x, y, { onEpoch: () => Promise.reject(new Error('x')), signal }));
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    const fits = Promise.allSettled([model.fit(x, y, { ...endless, signal }), model.fit(x, y, { ...endless, signal })]);
    stop.abort();
    await fits;
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});

describe('data that goes away while a call waits for it', () => {
  const fresh = (length = rows * columns) => new Float32Array(length).fill(0.5);

  test('before it is read: an error', async () => {
    const model = network();
    const data = fresh();
    const fit = model.fit(tensor(data, [rows, columns]), y);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    expect(await reasonOf(fit)).toMatchObject({ code: 'buffer-detached' });
    const labels = Uint8Array.from(y);
    const step = model.trainOnBatch(x, labels);
    structuredClone(labels.buffer, { transfer: [labels.buffer] });
    expect(await reasonOf(step)).toMatchObject({ code: 'buffer-detached', message: expect.stringMatching(/^y: /) as string });
    expect(await model.predict(x)).toHaveProperty('shape', [rows, 4]);
  });

  test('behind a long call: an error', async () => {
    const model = network();
    const stop = new AbortController();
    const long = model.fit(x, y, { ...endless, signal: stop.signal });
    const buffer = new ArrayBuffer(rows * columns * 4, { maxByteLength: rows * columns * 8 });
    const prediction = model.predict(tensor(new Float32Array(buffer), [rows, columns]));
    await milliseconds(5);
    buffer.resize(16);
    stop.abort();
    await reasonOf(long);
    expect(await reasonOf(prediction)).toMatchObject({ code: 'buffer-detached' });
  });

  test('that grows: an error too', async () => {
    const model = network();
    const buffer = new ArrayBuffer(rows * columns * 4, { maxByteLength: rows * columns * 8 });
    void model.evaluate(x, y);
    const prediction = model.predict(tensor(new Float32Array(buffer), [rows, columns]));
    buffer.resize(rows * columns * 8);
    expect(await reasonOf(prediction)).toMatchObject({ code: 'buffer-detached' });
  });

  test('once it trains: nothing', async () => {
    const model = network();
    const twin = network();
    const data = Float32Array.from(x.data);
    const labels = Uint8Array.from(y);
    let once = true;
    const onBatch = () => {
      if (once) structuredClone([data.buffer, labels.buffer], { transfer: [data.buffer, labels.buffer] });
      once = false;
    };
    await model.fit(tensor(data, [rows, columns]), labels, { epochs: 3, onBatch });
    await twin.fit(x, y, { epochs: 3 });
    expect(data.length).toBe(0);
    expect(bitsOf(model.weights)).toEqual(bitsOf(twin.weights));
  });

  test('in the midst of being read: an error or nothing, never a crash', async () => {
    const model = network();
    const many = 1_000_000;
    for (let i = 0; i < 8; i++) {
      const buffer = new ArrayBuffer(many * columns, { maxByteLength: many * columns });
      const prediction = model.predict({ data: new Uint8Array(buffer), shape: [many, columns] }).catch((error: unknown) => error);
      await new Promise((resolve) => setImmediate(resolve));
      if (i % 2 === 0) structuredClone(buffer, { transfer: [buffer] });
      else buffer.resize(0);
      const result = await prediction;
      if (result instanceof Error) expect(result).toMatchObject({ code: 'buffer-detached' });
    }
  });

  test('nested arrays that change their shape', async () => {
    const model = network();
    const nested = Array.from({ length: 4 }, () => new Array<number>(columns).fill(1));
    void model.evaluate(x, y);
    const prediction = model.predict(nested);
    nested.length = 2;
    expect(await reasonOf(prediction)).toBeInstanceOf(GradmillError);
    const ragged = Array.from({ length: 4 }, () => new Array<number>(columns).fill(1));
    void model.evaluate(x, y);
    const other = model.predict(ragged);
    for (const row of ragged) row.length = 3;
    expect(await reasonOf(other)).toBeInstanceOf(GradmillError);
  });
});

describe('dispose', () => {
  test('ends all but the summary, once and for all', async () => {
    const model = network();
    await model.fit(x, y);
    const summary = model.summary();
    model.dispose();
    model.dispose();
    const disposed = 'disposed: the model was disposed';
    const calls: (() => unknown)[] = [
      () => model.fit(x, y),
      () => model.evaluate(x, y),
      () => model.predict(x),
      () => model.trainOnBatch(x, y),
      () => model.gradients(x, y),
      () => model.save('/tmp/nowhere'),
      () => model.predictSync(x),
      () => model.weights,
      () => model.setWeights([]),
      () => model.compile({ optimizer: sgd(), loss: 'huber' }),
      () => model.plan,
    ];
    for (const call of calls) expect(await refusal(call)).toBe(disposed);
    expect(model.summary()).toBe(summary);
  });

  test('rejects rather than throws where a promise is promised', () => {
    const model = network();
    model.dispose();
    const results = [
      model.fit(x, y),
      model.predict(x),
      model.evaluate(x, y),
      model.trainOnBatch(x, y),
      model.gradients(x, y),
      model.save('a'),
    ];
    for (const result of results) {
      expect(result).toBeInstanceOf(Promise);
      result.catch(() => undefined);
    }
  });
});

describe('without memory', () => {
  /** Runs with an engine that grants nothing. */
  async function starving(call: () => unknown): Promise<string> {
    const allocate = vi.spyOn(engine(), 'allocate').mockImplementation(() => {
      throw new GradmillError('out-of-memory', 'none left');
    });
    try {
      return await refusal(call);
    } finally {
      allocate.mockRestore();
    }
  }

  test('a refused call changes nothing, and the model goes on', async () => {
    const [model, twin] = [network(), network()];
    await model.fit(x, y);
    await twin.fit(x, y);
    const none = 'out-of-memory: none left';
    expect(await starving(() => model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' }))).toBe(none);
    expect(await starving(() => model.trainOnBatch(tensor(new Float32Array(4000 * columns), [4000, columns]), new Uint8Array(4000)))).toBe(
      none,
    );
    expect(await starving(() => model.predict(tensor(new Float32Array(90_000 * columns), [90_000, columns])))).toBe(none);
    await model.fit(x, y);
    await twin.fit(x, y);
    expect(bitsOf(model.weights)).toEqual(bitsOf(twin.weights));
  });
});

describe('a process', () => {
  const prelude = `
    import { adam, dense, sequential } from 'gradmill';
    const model = sequential({ inputShape: [2], layers: [dense({ units: 2 })] });
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    const x = [[0, 0], [0, 1], [1, 0], [1, 1]];
    const y = [0, 1, 1, 0];
  `;
  test('ends by itself when all calls have', async () => {
    const { status, stdout, stderr } = await run(`${prelude} await model.fit(x, y, { epochs: 10 }); console.log('done');`);
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'done\n', stderr: '' });
  });
  test('stays for calls that nobody awaits', async () => {
    const { status, stdout } = await run(`${prelude} model.fit(x, y, { epochs: 2000 }).then(() => console.log('done'));`);
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'done\n' });
  });
  test('may exit in the midst of training', async () => {
    const { status } = await run(`${prelude} model.fit(x, y, { epochs: 1e9 }); setTimeout(() => process.exit(7), 50);`);
    expect(status).toBe(7);
  });
  test('hears of a rejection that nobody handles as of any other', async () => {
    const { status, stderr } = await run(`${prelude} model.fit(x, [9, 9, 9, 9]);`);
    expect(status).toBe(1);
    expect(stderr).toMatch(/GradmillError: y: row 0: expected a class label/);
    expect(stderr).toMatch(/code: 'label-out-of-range'/);
  });
});
