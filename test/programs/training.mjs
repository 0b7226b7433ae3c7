// Programs that 41-workers.test.ts runs in processes of their own, because what they show is that a process does not crash, or
// ends. They use the package as built (dist/): a loader of TypeScript would start in every one of a hundred workers. Each
// prints one line of JSON.
import { once } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { setImmediate as tick, setTimeout as sleep } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { adam, dense, GradmillError, sequential, tensor } from 'gradmill';

const COLUMNS = 64;
const UNITS = 8;

function network(options = {}) {
  const model = sequential({
    inputShape: [COLUMNS],
    seed: 3,
    layers: [dense({ units: 96, activation: 'relu' }), dense({ units: 96, activation: 'tanh' }), dense({ units: UNITS })],
  });
  model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', ...options });
  return model;
}

/** Rows of x and labels y that can be learned, the same in every thread. */
function examples(rows, Type = Float32Array, buffer = (bytes) => new ArrayBuffer(bytes)) {
  let state = 9;
  const x = new Type(buffer(rows * COLUMNS * Type.BYTES_PER_ELEMENT));
  for (let i = 0; i < x.length; i++) x[i] = ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32) * 100;
  const y = new Int32Array(buffer(rows * 4));
  for (let i = 0; i < y.length; i++) y[i] = Math.floor(x[i * COLUMNS] / 12.6);
  return { x, y };
}

const print = (result) => process.stdout.write(`${JSON.stringify(result)}\n`);
const weights = (model) => model.weights.map(({ data }) => [...data]);
// Not with the flags that this process was started with.
const worker = (job) => new Worker(new URL(import.meta.url), { execArgv: [], workerData: { job } });

/** Trains for ever. */
function trainOn(model, { x, y }, options = {}) {
  return model.fit(tensor(x, [x.length / COLUMNS, COLUMNS]), y, { epochs: 1e6, batchSize: 64, ...options });
}

/** What a worker does until it is killed; told apart by the moment of its message. */
const jobs = {
  starts() {
    parentPort.postMessage('');
    void trainOn(network(), examples(4096));
  },
  trainsLong() {
    void trainOn(network(), examples(4096), { batchSize: 4, onEpoch: () => parentPort.postMessage('') });
  },
  trainsShort() {
    void trainOn(network({ threads: 1 }), examples(64), { onEpoch: ({ epoch }) => epoch === 20 && parentPort.postMessage('') });
  },
  trainsAndPredicts() {
    const [trained, asked] = [network(), network()];
    const data = examples(1024);
    void trainOn(trained, data, { onBatch: () => undefined });
    const predict = (count) => {
      if (count === 20) parentPort.postMessage('');
      return asked.predict(tensor(data.x, [1024, COLUMNS])).then(() => predict(count + 1));
    };
    void predict(0);
  },
  async trains() {
    const { x, y } = examples(512);
    const model = network({ strict: true });
    await model.fit(tensor(x, [512, COLUMNS]), y, { epochs: 20, batchSize: 60 });
    parentPort.postMessage(weights(model));
  },
  exits() {
    void trainOn(network(), examples(1024));
    setTimeout(() => process.exit(5), 100);
  },
};

/** A hundred workers, eight at a time; the main thread never loads the engine. */
export async function killed() {
  const moments = ['starts', 'trainsLong', 'trainsShort', 'trainsAndPredicts'];
  let kills = 0;
  const killUpTo = async (limit) => {
    const slot = async () => {
      while (kills < limit) {
        const kill = kills++;
        const victim = worker(moments[kill % moments.length]);
        const failure = once(victim, 'error').then(([error]) => Promise.reject(error));
        await Promise.race([once(victim, 'message'), failure]);
        await sleep(kill % 5);
        await victim.terminate();
      }
    };
    await Promise.all(Array.from({ length: 8 }, slot));
    return process.memoryUsage.rss() / 2 ** 20;
  };
  const before = await killUpTo(40);
  const after = await killUpTo(100);
  print({ kills, grown: after - before });
}

/** The process ends in the middle of a step; in the worker, the worker. */
export async function exits() {
  const [code] = await once(worker('exits'), 'exit');
  print({ code });
  setTimeout(() => process.exit(7), 100);
  await trainOn(network(), examples(4096));
}

export function throws() {
  setTimeout(() => {
    throw new Error('thrown while training');
  }, 50);
  return trainOn(network(), examples(4096));
}

/** Nobody holds the model, its data or the promise. */
export async function dropped() {
  const ended = [];
  for (let i = 0; i < 5; i++) {
    const { x, y } = examples(2048);
    void network()
      .fit(tensor(x, [2048, COLUMNS]), y, { epochs: 3 })
      .then(({ loss }) => ended.push(loss.length));
  }
  for (let i = 0; i < 30; i++) {
    globalThis.gc();
    await tick();
  }
  process.once('exit', () => print({ ended }));
}

/** Buffers are taken away from a call at every moment. A call is unaffected or fails with a code of its own. */
export async function transferred() {
  const transfer = ({ buffer }) => structuredClone(buffer, { transfer: [buffer] });
  const shrink = ({ buffer }) => buffer.resize(0);
  const cut = ({ buffer }) => buffer.resize(buffer.byteLength / 2);
  const resizable = (bytes) => new ArrayBuffer(bytes, { maxByteLength: bytes });
  const ways = { transfer: [transfer], shrink: [shrink, resizable], cut: [cut, resizable] };

  // Large enough to be copied in several slices.
  const rows = 24_000;
  const calls = {
    fit: (model, x, y, options) => model.fit(x, y, { batchSize: 6000, ...options }).then(({ loss }) => loss),
    evaluate: (model, x, y) => model.evaluate(x, y),
    trainOnBatch: (model, x, y) => model.trainOnBatch(x, y),
    gradients: (model, x, y) => model.gradients(x, y).then(({ loss }) => loss),
    predict: (model, x) => model.predict(x).then(({ data }) => data),
  };
  const outcomes = {};
  for (const [name, call] of Object.entries(calls)) {
    const expected = await call(network(), tensor(examples(rows).x, [rows, COLUMNS]), examples(rows).y);
    for (const [way, [take, buffer]] of Object.entries(ways)) {
      const taken = async (moment, interrupt) => {
        const { x, y } = examples(rows, Float32Array, buffer);
        const victims = [x, y].slice(0, name === 'predict' ? 1 : 2);
        const seize = () => victims.splice(0).forEach(take);
        const running = call(network(), tensor(x, [rows, COLUMNS]), y, interrupt(seize));
        const outcome = await running.then(
          (result) => (isDeepStrictEqual(result, expected) ? 'unaffected' : 'wrong'),
          (error) => (error instanceof GradmillError ? error.code : String(error)),
        );
        if (victims.length > 0) seize();
        outcomes[`${name} ${way} ${moment}`] = outcome;
      };
      await taken('at once', (seize) => void queueMicrotask(seize));
      await taken('while it is copied', (seize) => void setImmediate(seize));
      await taken('later', (seize) => void setTimeout(seize, 5));
      if (name === 'fit') await taken('after a batch', (seize) => ({ onBatch: seize }));
    }
  }
  const { x } = examples(10);
  const input = tensor(x, [10, COLUMNS]);
  transfer(x);
  for (const out of [undefined, new Float32Array(10 * UNITS)])
    try {
      network().predictSync(input, { out });
    } catch (error) {
      outcomes[`predictSync ${out ? 'into' : 'afresh'}`] = error.code;
    }
  print(outcomes);
}

/** Trains with every thread, then does nothing for a second, then has nothing left to do. */
export async function idles() {
  const { x, y } = examples(2048);
  await network().fit(tensor(x, [2048, COLUMNS]), y, { epochs: 5 });
  await sleep(100);
  const before = process.cpuUsage();
  await sleep(1000);
  const { user, system } = process.cpuUsage(before);
  print({ busyMilliseconds: (user + system) / 1000 });
}

/** Environments that train at the same time, among others that come and go. */
export async function together() {
  const message = (one) => once(one, 'message');
  const results = Array.from({ length: 3 }, () => message(worker('trains')));
  const passing = Array.from({ length: 4 }, () => worker('trainsShort'));
  await Promise.all(passing.map((one) => message(one).then(() => one.terminate())));
  const [[first], ...others] = await Promise.all(results);
  print({ workers: 3, weights: first.flat().length, same: others.every(([other]) => isDeepStrictEqual(other, first)) });
}

/** Predictions get their turn while a training that would take for ever goes on. */
export async function meanwhile() {
  const [trained, asked] = [network(), network()];
  const data = examples(4096);
  const controller = new AbortController();
  let training = true;
  let fit;
  await new Promise((begun) => {
    fit = trainOn(trained, data, { signal: controller.signal, onEpoch: begun }).catch((error) => (training = error.name));
  });
  const input = tensor(data.x, [4096, COLUMNS]);
  const expected = asked.predictSync(input).data;
  let right = 0;
  for (let i = 0; i < 50; i++) right += isDeepStrictEqual((await asked.predict(input)).data, expected);
  const during = training;
  controller.abort();
  await fit;
  print({ right, during, after: training });
}

if (!isMainThread) await jobs[workerData.job]();
