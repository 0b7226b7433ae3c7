// Programs that 42-allocations.test.ts and 43-memory.test.ts run in processes of their own, started with --expose-gc: what
// training keeps. Each prints one line of JSON.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { adam, dense, sequential, sgd, tensor } from 'gradmill';

const COLUMNS = 8;
const BATCH = 32;

/** Data that stays, so that its end is no gain. */
const held = [];

const print = (result) => process.stdout.write(`${JSON.stringify(result)}\n`);

/** Trains in one job, on all threads, for at least so many steps; `seen(steps)` is called now and then. */
async function train(steps, seen) {
  const rows = (steps + 10_000) * BATCH;
  const model = sequential({
    inputShape: [COLUMNS],
    layers: [dense({ units: 96, activation: 'relu' }), dense({ units: 96, activation: 'tanh' }), dense({ units: 4 })],
  });
  model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
  const [x, y] = [new Uint8Array(rows * COLUMNS), new Uint8Array(rows)];
  for (let i = 0; i < x.length; i++) x[i] = (i * 7919) >> 3;
  for (let i = 0; i < y.length; i++) y[i] = i & 3;
  held.push(x, y);
  const controller = new AbortController();
  const onProgress = ({ batch }) => {
    seen(batch);
    if (batch >= steps) controller.abort();
  };
  await model
    .fit(tensor(x, [rows, COLUMNS]), y, { batchSize: BATCH, shuffle: false, onProgress, signal: controller.signal })
    .catch((error) => {
      if (error.name !== 'AbortError') throw error;
    });
}

/** What the heap is asked for during a job of 20,000 steps; `addon` counts it. */
export async function counted(addon) {
  const { allocations } = createRequire(import.meta.url)(addon);
  const atStart = allocations();
  await train(2, () => undefined);
  const warm = allocations();
  const counts = [];
  const steps = [];
  await train(20_000, (batch) => {
    counts.push(allocations());
    steps.push(batch);
  });
  const last = steps.findIndex((batch) => batch >= 20_000);
  print({
    steps: [steps[0], steps[last]],
    duringSteps: counts[last] - counts[0],
    fits: [warm - atStart, allocations() - warm],
  });
}

/** What the heap is asked for during 10,000 predictions on the calling thread, of a row and of 100 rows, which others help with. */
export async function predicted(addon) {
  const { allocations } = createRequire(import.meta.url)(addon);
  const model = sequential({ inputShape: [200], layers: [dense({ units: 300, activation: 'relu' }), dense({ units: 10 })] });
  const counts = [];
  for (const rows of [1, 100]) {
    const x = tensor(new Float32Array(rows * 200).fill(0.5), [rows, 200]);
    const out = new Float32Array(rows * 10);
    for (let i = 0; i < 100; i++) model.predictSync(x, { out });
    const before = allocations();
    for (let i = 0; i < 5000; i++) model.predictSync(x, { out });
    counts.push(allocations() - before);
  }
  print({ counts });
}

/** What stays in memory during a job of 20,000 steps, in megabytes. */
export async function steady() {
  await train(2000, () => globalThis.gc());
  await kept();
  const measured = [];
  await train(20_000, (batch) => {
    globalThis.gc();
    const { rss, heapUsed } = process.memoryUsage();
    measured.push({ batch, rss, heapUsed });
  });
  const [first] = measured;
  const last = measured.find(({ batch }) => batch >= 20_000);
  print({ steps: last.batch - first.batch, resident: (last.rss - first.rss) / 2 ** 20, heap: (last.heapUsed - first.heapUsed) / 2 ** 20 });
}

/**
 * Megabytes when finalizers have run, which free what others hold: resident; resident but not V8's heap, which V8 makes larger or
 * smaller by how busy it was; in use on V8's heap.
 */
async function kept() {
  const least = { resident: Infinity, native: Infinity, heap: Infinity };
  for (let i = 0; i < 20; i++) {
    globalThis.gc();
    await sleep(i < 10 ? 0 : 50);
    const { rss, heapTotal, heapUsed } = process.memoryUsage();
    least.resident = Math.min(least.resident, rss / 2 ** 20);
    least.native = Math.min(least.native, (rss - heapTotal) / 2 ** 20);
    least.heap = Math.min(least.heap, heapUsed / 2 ** 20);
  }
  return least;
}

/** A thousand models, each trained for a step and dropped; measured after `settled` of them and after all. */
export async function forgotten(settled) {
  const x = tensor(new Float32Array(32 * 100).fill(0.5), [32, 100]);
  const y = new Int32Array(32);
  const measured = [];
  for (let i = 1; i <= 1000; i++) {
    const model = sequential({ inputShape: [100], layers: [dense({ units: 200, activation: 'relu' }), dense({ units: 10 })] });
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    await model.trainOnBatch(x, y);
    await sleep(0);
    if (i === settled || i === 1000) measured.push(await kept());
  }
  print(measured);
}

/** Linux: the most that the process held above what it held before the model, and what training must hold; in megabytes. */
export async function peak() {
  const [units, batch, rows] = [[784, 2048, 2048, 10], 512, 1024];
  const x = tensor(new Float32Array(rows * units[0]).fill(0.5), [rows, units[0]]);
  const y = new Uint8Array(rows);
  const { resident } = await kept();
  const layers = units.slice(1).map((out) => dense({ units: out, activation: 'relu' }));
  const model = sequential({ inputShape: [units[0]], layers });
  model.compile({ optimizer: sgd({ momentum: 0.9 }), loss: 'softmaxCrossEntropy' });
  await model.fit(x, y, { batchSize: batch, epochs: 1 });
  const highest = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1] / 1024;
  const parameters = model.weights.reduce((all, { data }) => all + data.length, 0);
  const activations = batch * units.reduce((all, width) => all + width, 0);
  const copies = x.data.byteLength + y.byteLength;
  print({ peak: highest - resident - copies / 2 ** 20, needed: (4 * (3 * parameters + activations)) / 2 ** 20 });
}
