// What only the WebAssembly engine can do wrong: memory that grows under models, memory that is not given back, workers that do
// not start or break, and runs on the calling thread, which must give up their turns.
import { describe, expect, test } from 'vitest';
import { adam, dense, GradmillError, type Sequential, sequential, sgd } from '../src/index.js';
import { nodeHost } from '../src/node/wasm-host.js';
import type { WorkerPort } from '../src/wasm/host.js';
import { compileModule, type WasmEngine } from '../src/wasm/engine.js';
import type { WorkerStart } from '../src/wasm/worker.js';
import { bitsOf } from './bits.js';
import { run } from './child.js';
import { Random } from './engines.js';
import { refusal } from './refusal.js';
import { on, wasmEngine } from './two-engines.js';

const columns = 20;
const random = new Random(1);
const x = { data: random.floats(200 * columns), shape: [200, columns] };
const y = random.labels(200, 4);

function make(engine: WasmEngine, units = 30): Sequential {
  return on(engine, () => {
    const model = sequential({ inputShape: [columns], seed: 2, layers: [dense({ units, activation: 'tanh' }), dense({ units: 4 })] });
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    return model;
  });
}

async function life(model: Sequential) {
  const { loss } = await model.fit(x, y, { epochs: 3, batchSize: 32 });
  return { loss, weights: bitsOf(model.weights), output: bitsOf((await model.predict(x)).data), now: bitsOf(model.predictSync(x).data) };
}

const without = { sharedMemory: 'not in this test' };
const kinds: [name: string, () => WasmEngine][] = [
  ['shared, on workers', () => wasmEngine({ threads: 2 })],
  ['not shared', () => wasmEngine({}, without)],
];

test('a kernel of 85 million weights is drawn to its end, in parts or not', () => {
  for (const [, engineOf] of kinds) {
    const model = on(engineOf(), () => sequential({ inputShape: [8500], layers: [dense({ units: 10_000 })] }));
    const [{ data }] = model.weights;
    for (const part of [0.25, 0.5, 0.75, 1]) {
      const end = data.subarray(part * data.length - 10_000, part * data.length);
      expect(end.filter((weight) => weight === 0).length, `${part}`).toBeLessThan(10);
    }
    model.dispose();
  }
});

describe.each(kinds)('memory, %s', (_, engineOf) => {
  test('that a second model makes grow leaves the first usable', async () => {
    const engine = engineOf();
    const expected = await life(make(engineOf()));
    const first = make(engine);
    first.predictSync(x);
    const before = bitsOf(first.weights);
    const buffer = engine.heap.memory.buffer;
    const second = make(engine, 100_000);
    expect(engine.heap.memory.buffer.byteLength).toBeGreaterThan(buffer.byteLength);
    expect(bitsOf(first.weights)).toEqual(before);
    expect(await life(first)).toEqual(expected);
    await second.trainOnBatch(x, y);
    await first.predict(x);
  });

  test('that grows while a model trains is seen by the run', async () => {
    const engine = engineOf();
    const expected = await life(make(engineOf()));
    const model = make(engine);
    const running = life(model);
    const { byteLength } = engine.heap.memory.buffer;
    for (const units of [20_000, 80_000, 200_000]) {
      make(engine, units);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(engine.heap.memory.buffer.byteLength).toBeGreaterThan(byteLength);
    expect(await running).toEqual(expected);
  });

  test('of models that are disposed of is that of the next: 200 rounds in no more than three took', async () => {
    const engine = engineOf();
    await engine.ready;
    const lengths: number[] = [];
    for (let round = 0; round < 200; round++) {
      const model = make(engine, 500);
      await model.fit(x, y, { epochs: 1, batchSize: 32 });
      await model.predict(x);
      model.predictSync(x);
      model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' });
      await model.trainOnBatch(x, y);
      model.dispose();
      const probe = engine.allocate(1);
      lengths.push(engine.heap.memory.buffer.byteLength);
      probe.release();
    }
    expect(lengths[199]).toBe(lengths[2]);
  });

  test('of many rows that predictSync copied is that of the next', () => {
    const engine = engineOf();
    const models = [make(engine), make(engine), make(engine)];
    const many = { data: new Float32Array(100_000 * columns), shape: [100_000, columns] };
    const [first, ...others] = models.map((model) => {
      model.predictSync(x);
      model.predictSync(many);
      return engine.heap.memory.buffer.byteLength;
    });
    for (const length of others) expect(length - first).toBeLessThan(many.data.byteLength);
    expect(bitsOf(models[2].predictSync(x).data)).toEqual(bitsOf(models[0].predictSync(x).data));
  });

  test('ends at 4 GiB, with an error that says so; what was there stays usable', async () => {
    const engine = engineOf();
    const model = make(engine);
    const expected = await life(make(engineOf()));
    expect(await refusal(() => make(engine, 50_000_000))).toMatch(
      /^out-of-memory: \d+ bytes: WebAssembly memory (ends at 4 GiB|cannot grow)/,
    );
    expect(await refusal(() => engine.allocate(2 ** 32))).toMatch(/^out-of-memory: /);
    expect(await refusal(() => engine.allocate(2 ** 50))).toMatch(/^size-overflow: /);
    expect(await life(model)).toEqual(expected);
  });
});

test('memory of models that nobody holds is found again', async () => {
  const code = `
    import { adam, dense, sequential } from 'gradmill';
    const grown = WebAssembly.Memory.prototype.grow;
    let pages = 0;
    WebAssembly.Memory.prototype.grow = function (more) { pages += more; return grown.call(this, more); };
    const x = [Array(100).fill(0.5)];
    for (let i = 0; i < 600; i++) {
      const model = sequential({ inputShape: [100], layers: [dense({ units: 1000, activation: 'relu' }), dense({ units: 10 })] });
      model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
      await model.trainOnBatch(x, [1]);
      await new Promise((resolve) => setTimeout(resolve));
    }
    console.log(pages * 65536 / 2 ** 20);`;
  const { status, stdout, stderr } = await run(code, { env: { GRADMILL_BACKEND: 'wasm', GRADMILL_THREADS: '1' } });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  // 600 models of 1.8 MB each, a gigabyte in all; nobody asked V8 to collect.
  expect(Number(stdout)).toBeLessThan(500);
});

test('where nothing compiles off the thread, that is no exception', async () => {
  const { compile } = WebAssembly;
  Object.assign(WebAssembly, { compile: undefined });
  try {
    const compiled = compileModule(nodeHost);
    await expect(compiled).rejects.toThrow(TypeError);
  } finally {
    Object.assign(WebAssembly, { compile });
  }
});

describe('where no worker starts, the calling thread computes the same', () => {
  const failing = (source: string) => (): WorkerPort | undefined => nodeHost.spawn(source);
  test.each<[string, () => WorkerPort | undefined, RegExp]>([
    ['there is none', () => undefined, /there are no workers$/],
    ['a policy forbids them', () => { throw new Error('blocked by policy'); }, /blocked by policy$/], // prettier-ignore
    ['they throw at once', failing('throw new Error("not here")'), /not here$/],
    ['they throw at their first message', failing('globalThis.onmessage = () => { throw new Error("no instance"); }'), /no instance$/],
    ['they end at once', failing('process.exit(3)'), /exit code 3$/],
  ])('%s', async (_, spawn, reason) => {
    const expected = await life(make(wasmEngine({ threads: 1 })));
    const engine = wasmEngine({ threads: 2 }, { spawn, cores: 2 });
    // Begun before anyone knows that there are no workers.
    expect(await life(make(engine))).toEqual(expected);
    expect(engine.threads).toBe(1);
    expect(engine.reason).toMatch(/^a test; one thread, the caller's: /);
    expect(engine.reason).toMatch(reason);
    expect(engine.reason.split('one thread')).toHaveLength(2);
    expect(await life(make(engine))).toEqual(expected);
  });

  test('one of two starts: one thread', async () => {
    let spawned = 0;
    const engine = wasmEngine({ threads: 2 }, { cores: 2, spawn: (source) => (spawned++ === 0 ? undefined : nodeHost.spawn(source)) });
    await engine.ready;
    expect(engine.threads).toBe(1);
    expect(await life(make(engine))).toEqual(await life(make(wasmEngine({ threads: 1 }))));
  });
});

describe('a run on the calling thread gives up its turn', () => {
  const nets = {
    W1: { units: [784, 128, 10], batch: 32 },
    W2: { units: [784, 512, 512, 10], batch: 128 },
    'like W3, whose steps last seconds': { units: [784, 1024, 10], batch: 512 },
    W4: { units: [32, 64, 64, 10], batch: 64 },
    W5: { units: [...new Array<number>(21).fill(256), 10], batch: 128 },
  };
  test.each(Object.entries(nets))('%s', async (name, { units, batch }) => {
    const engine = wasmEngine({ strict: false }, without);
    const model = on(engine, () => {
      const layers = units.slice(1).map((units, i, all) => dense({ units, activation: i < all.length - 1 ? 'relu' : 'linear' }));
      const model = sequential({ inputShape: [units[0]], layers });
      model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' });
      return model;
    });
    const rows = batch * 4;
    const data = { data: random.floats(rows * units[0]), shape: [rows, units[0]] };
    const labels = random.labels(rows, 10);
    const stop = new AbortController();
    const fit = model.fit(data, labels, { batchSize: batch, epochs: 1e6, signal: stop.signal });
    const gaps: number[] = [];
    const end = performance.now() + 1000;
    for (let last = performance.now(); last < end;) {
      await new Promise((resolve) => setImmediate(resolve));
      const now = performance.now();
      gaps.push(now - last);
      last = now;
    }
    stop.abort();
    await expect(fit).rejects.toBe(stop.signal.reason);
    gaps.sort((a, b) => b - a);
    const longest = gaps.slice(0, 3).map((gap) => gap.toFixed(1));
    process.stdout.write(`${name}: ${gaps.length} turns in a second, the longest waits ${longest.join(', ')} ms\n`);
    // No figure of time: machines are busy. A run that kept its turn would have left one.
    expect(gaps.length).toBeGreaterThan(10);
  });
});

describe('a worker', () => {
  /** A host that tells what its workers were started with. */
  const watched = () => {
    const starts: WorkerStart[] = [];
    const spawn = (source: string): WorkerPort => {
      const port = nodeHost.spawn(source)!;
      const post = (message: unknown) => {
        starts.push(message as WorkerStart);
        port.post(message);
      };
      return { ...port, post };
    };
    return { starts, spawn };
  };

  test('whose stack overflowed fails the run, with an error that says so, and those that follow', async () => {
    const { starts, spawn } = watched();
    const engine = wasmEngine({ threads: 1 }, { spawn, cores: 1 });
    const model = make(engine);
    await model.fit(x, y);
    expect(starts).toHaveLength(1);
    new Uint32Array(engine.heap.memory.buffer)[starts[0].stackGuard / 4] = 0;
    for (let call = 0; call < 2; call++) {
      const failed = await model.fit(x, y).catch((error: unknown) => error);
      expect(failed).toBeInstanceOf(GradmillError);
      expect(failed).toMatchObject({ code: 'backend-unavailable', message: expect.stringContaining('a stack overflowed') as string });
    }
  });
});

describe('a process', () => {
  const env = { GRADMILL_BACKEND: 'wasm', GRADMILL_THREADS: '2' };
  const prelude = `
    import { adam, backend, dense, initialize, sequential } from 'gradmill';
    const model = sequential({ inputShape: [2], layers: [dense({ units: 8, activation: 'tanh' }), dense({ units: 1 })] });
    model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    const fit = () => model.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]], { epochs: 20 });`;

  test.each([
    ['after fit, without dispose', 'await fit(); console.log("done");'],
    ['after fits and silence between', 'await fit(); await new Promise((r) => setTimeout(r, 100)); await fit(); console.log("done");'],
    ['when its workers run and have nothing to do', 'await initialize(); console.log("done");'],
    ['after a fit that nobody awaits', 'void fit().then(() => console.log("done"));'],
  ])('ends by itself %s', async (_, code) => {
    expect(await run(prelude + code, { env })).toEqual({ status: 0, stdout: 'done\n', stderr: '' });
  });

  test('ends by itself after one of its workers has ended', async () => {
    const code = `
      import threads from 'node:worker_threads';
      const workers = [];
      threads.Worker = class extends threads.Worker { constructor(...given) { super(...given); workers.push(this); } };
      ${prelude}
      // One job of a minute: the other worker is at it, or waits for its leader for ever.
      const rows = 2e7;
      const [x, y] = [{ data: new Uint8Array(2 * rows), shape: [rows, 2] }, new Uint8Array(rows)];
      const onProgress = () => workers[0].terminate();
      await model.fit(x, y, { batchSize: 1, shuffle: false, onProgress }).catch(({ code }) => console.log(code, workers.length));`;
    const { stdout, ...ended } = await run(code, { env, timeout: 20_000 });
    expect(stdout).toMatch(/^backend-unavailable [12]\n$/);
    expect(ended).toEqual({ status: 0, stderr: '' });
  });

  test('uses as many workers as it was given threads', async () => {
    const { stdout } = await run(`${prelude} await fit(); const { threads, reason } = await initialize(); console.log(threads, reason);`, {
      env,
    });
    expect(stdout).toMatch(/^[12] GRADMILL_BACKEND=wasm\n$/);
  });

  test('kills twenty threads that train, each with workers of its own', async () => {
    const victim = `
      const { parentPort } = require('node:worker_threads');
      import('gradmill').then(async ({ adam, dense, sequential }) => {
        const model = sequential({ inputShape: [64], layers: [dense({ units: 96, activation: 'relu' }), dense({ units: 8 })] });
        model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
        const x = Array.from({ length: 512 }, (_, i) => Array(64).fill(i / 512));
        await model.fit(x, x.map((_, i) => i % 8), { epochs: 1e6, onEpoch: ({ epoch }) => { if (epoch === 2) parentPort.postMessage(''); } });
      });`;
    const code = `
      import { once } from 'node:events';
      import { Worker } from 'node:worker_threads';
      let killed = 0;
      const slot = async () => {
        while (killed < 20) {
          killed++;
          const victim = new Worker(${JSON.stringify(victim)}, { eval: true, execArgv: [] });
          await Promise.race([once(victim, 'message'), once(victim, 'error').then(([error]) => Promise.reject(error))]);
          await victim.terminate();
        }
      };
      await Promise.all([slot(), slot()]);
      console.log(killed);`;
    expect(await run(code, { env })).toEqual({ status: 0, stdout: '20\n', stderr: '' });
  });
});
