// model.predict and predictSync: right numbers, the same bits either way and in any batch, memory that does not grow.
import { describe, expect, test } from 'vitest';
import { activation, adam, backend, dense, sequential, sgd, tensor } from '../src/index.js';
import { bitsOf } from './bits.js';
import { run } from './child.js';
import { allowThreads } from './engines.js';
import { refusal } from './refusal.js';

allowThreads(3);

const columns = 6;
const units = 5;

function noise(length: number): Float32Array {
  let state = 7;
  return Float32Array.from({ length }, () => {
    state = (state * 48271) % 2147483647;
    return state / 1073741824 - 1;
  });
}
const inputs = (rows: number) => tensor(noise(rows * columns), [rows, columns]);

const network = () =>
  sequential({
    inputShape: [columns],
    seed: 4,
    layers: [dense({ units: 16, activation: 'tanh', name: 'hidden' }), dense({ units, name: 'out' })],
  });

/** What is brief is done at once as long as this turn of the event loop is young. */
const freshTurn = () => new Promise((resolve) => setImmediate(resolve));

describe('the numbers', () => {
  test('are those of the formula', async () => {
    const model = network();
    const [w1, b1, w2, b2] = model.weights.map(({ data }) => data);
    const x = inputs(9);
    const { data, shape } = await model.predict(x);
    expect(shape).toEqual([9, units]);
    for (let row = 0; row < 9; row++) {
      const input = x.data.slice(row * columns, (row + 1) * columns);
      const layer = (from: ArrayLike<number>, w: Float32Array, b: Float32Array) =>
        Array.from(b, (bias, j) => Array.from(from).reduce((all, value, i) => all + value * w[i * b.length + j], bias));
      const wanted = layer(layer(input, w1, b1).map(Math.tanh), w2, b2);
      wanted.forEach((value, j) => expect(data[row * units + j]).toBeCloseTo(value, 5));
    }
  });

  test('are probabilities where the last activation makes them', async () => {
    for (const last of [dense({ units, activation: 'softmax' }), activation('softmax')]) {
      const model = sequential({ inputShape: [columns], layers: [dense({ units }), last] });
      const { data } = await model.predict(inputs(40));
      for (let row = 0; row < 40; row++) {
        const probabilities = data.slice(row * units, (row + 1) * units);
        expect(probabilities.reduce((all, p) => all + p, 0)).toBeCloseTo(1, 6);
        expect(probabilities.every((p) => p > 0 && p < 1)).toBe(true);
      }
    }
  });

  test.each([1, 2, 3, 15, 16, 17, 255, 256, 257, 1000])(
    'of %d rows are those of each row alone, on any thread, bit for bit',
    async (rows) => {
      const model = network();
      const x = inputs(rows);
      const all = await model.predict(x);
      expect(bitsOf(model.predictSync(x))).toEqual(bitsOf(all));
      const alone = new Float32Array(rows * units);
      for (let row = 0; row < rows; row++) alone.set(model.predictSync(x.data.slice(row * columns, (row + 1) * columns)).data, row * units);
      expect(bitsOf(alone)).toEqual(bitsOf(all.data));
    },
  );

  test('need no compilation, and are the same after it', async () => {
    const model = network();
    const before = bitsOf(await model.predict(inputs(300)));
    model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    expect(bitsOf(await model.predict(inputs(300)))).toEqual(before);
    model.compile({ optimizer: adam(), loss: 'meanSquaredError', fuse: false, threads: 1 });
    expect(bitsOf(await model.predict(inputs(300)))).toEqual(before);
  });

  test('of a model without weights', async () => {
    const model = sequential({ inputShape: [2], layers: [activation('relu')] });
    expect(await model.predict([[-1, 2]])).toEqual({ data: Float32Array.of(0, 2), shape: [1, 2] });
    expect(model.weights).toEqual([]);
    model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    expect(await model.trainOnBatch([[-1, 2]], [[1, 2]])).toEqual({ loss: 0.5 });
  });

  test('of a wide result are all there', async () => {
    const model = sequential({ inputShape: [1], layers: [dense({ units: 3000, kernelInitializer: 'ones' })] });
    const rows = 1500;
    const { data, shape } = await model.predict(Uint16Array.from({ length: rows }, (_, i) => i));
    expect(shape).toEqual([rows, 3000]);
    expect(data.every((value, i) => value === Math.floor(i / 3000))).toBe(true);
  });
});

describe('a call that takes less time than waking threads', () => {
  /** Whether the event loop turned before `call`, the first of its turn, settled. */
  async function turns(call: () => Promise<unknown>): Promise<boolean> {
    await freshTurn();
    let turned = false;
    setImmediate(() => (turned = true));
    await call();
    return turned;
  }
  /** Too many rows to be computed at once, even by WebAssembly on this thread. */
  const many = 200_000;

  test('is there before the event loop turns; a longer one leaves it free', async () => {
    const model = network();
    expect(await turns(() => model.predict(inputs(1)))).toBe(false);
    expect(await turns(() => model.predict([...inputs(1).data]))).toBe(false);
    expect(await turns(() => model.predict(inputs(many)))).toBe(true);
    expect(await turns(() => model.predict(inputs(0)))).toBe(false);
  });

  test('may be a step, an evaluation, gradients, with the bits that the threads give', async () => {
    const [model, twin] = [network(), network()];
    for (const each of [model, twin]) each.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    const x = inputs(9);
    const y = tensor(noise(9 * units), [9, units]);
    expect(await turns(() => model.trainOnBatch(x, y))).toBe(false);
    await twin.fit(x, y, { batchSize: 9, shuffle: false }); // on the threads, however short
    expect(bitsOf(model.weights)).toEqual(bitsOf(twin.weights));
    expect(await turns(() => model.gradients(x, y))).toBe(false);
    expect(await turns(() => model.evaluate(x, y))).toBe(false);
    expect(bitsOf((await model.gradients(x, y)).weights)).toEqual(bitsOf((await twin.gradients(x, y)).weights));
    expect(await model.evaluate(x, y)).toEqual(await twin.evaluate(x, y));
    const [longX, longY] = [inputs(many), tensor(noise(many * units), [many, units])];
    expect(await turns(() => model.evaluate(longX, longY))).toBe(true);
    expect(await turns(() => model.trainOnBatch(longX, longY))).toBe(true);
  });

  test('has the same bits as one that waits for its turn on the threads', async () => {
    const model = network();
    const x = inputs(9);
    const nested = Array.from({ length: 9 }, (_, row) => [...x.data.slice(row * columns, (row + 1) * columns)]);
    const [wanted, fromNested] = [bitsOf(await model.predict(x)), bitsOf(await model.predict(nested))];
    const [long, behind] = await Promise.all([model.predict(inputs(many)), model.predict(x)]);
    expect(bitsOf(behind)).toEqual(wanted);
    expect(fromNested).toEqual(wanted);
    expect(long.shape).toEqual([many, units]);
    expect(bitsOf({ data: long.data.slice(0, 9 * units), shape: [9, units] })).toEqual(wanted);
  });

  test('no longer needs its input', async () => {
    const model = network();
    const x = inputs(9);
    const wanted = bitsOf(await model.predict(x));
    await freshTurn();
    const prediction = model.predict(x);
    structuredClone(x.data.buffer, { transfer: [x.data.buffer as ArrayBuffer] });
    expect(bitsOf(await prediction)).toEqual(wanted);
    expect(await refusal(() => model.predict(x))).toMatch(/^buffer-detached: x: /);
  });

  test('refuses what a longer one refuses, in the same words', async () => {
    const model = network();
    for (const bad of [NaN, Infinity]) {
      const [x, long] = [inputs(9), inputs(many)];
      for (const { data } of [x, long]) data[3 * columns + 2] = bad;
      const words = await refusal(() => model.predict(x));
      expect(words).toMatch(/^non-finite-input: x/);
      expect(await refusal(() => model.predict(long))).toBe(words);
    }
    await model.predict(inputs(9));
  });

  test('comes after the calls that were made before it', async () => {
    const model = network();
    model.compile({ optimizer: sgd({ learningRate: 1 }), loss: 'meanSquaredError' });
    const x = inputs(9);
    const untrained = bitsOf(await model.predict(x));
    const y = tensor(noise(9 * units), [9, units]);
    const [, behind] = await Promise.all([model.trainOnBatch(x, y), model.predict(x)]);
    expect(bitsOf(behind)).not.toEqual(untrained);
    expect(bitsOf(behind)).toEqual(bitsOf(model.predictSync(x)));
  });

  test('lets others have their turn when many follow each other', async () => {
    const model = network();
    const x = inputs(9);
    let turned = false;
    setImmediate(() => (turned = true));
    for (const end = performance.now() + 10_000; !turned && performance.now() < end;) await model.predict(x);
    expect(turned).toBe(true);
  });

  test('of many that are not awaited, most go to the threads, those of other models too, and they settle in order', async () => {
    const [model, other] = [network(), network()];
    const x = inputs(9);
    const [wanted, ofOther] = [bitsOf(await model.predict(x)), bitsOf(await other.predict(x))];
    await freshTurn();
    const settled: number[] = [];
    const calls: Promise<unknown>[] = [];
    const call = () => {
      const at = calls.length;
      const made = model.predict(x).then((result) => {
        settled.push(at);
        expect(bitsOf(result)).toEqual(wanted);
      });
      calls.push(made);
    };
    call(); // the turn has begun
    for (const end = performance.now() + 3; performance.now() < end;) call();
    call(); // whatever the machine did meanwhile, it has taken too long by now
    const busy = 'the model has calls that are not finished; await them first';
    expect(() => model.predictSync(x)).toThrow(busy);
    const late = other.predict(x);
    expect(() => other.predictSync(x)).toThrow(busy);
    await Promise.all(calls);
    expect(settled).toEqual(calls.map((_, at) => at));
    expect(bitsOf(await late)).toEqual(ofOther);
  });
});

// Natively the team's threads help with these; in WebAssembly, and on one thread, nobody does.
describe('predictSync of large batches', () => {
  const wide = 400;
  const large = (threads?: number) => {
    const model = sequential({ inputShape: [wide], seed: 2, layers: [dense({ units: 700, activation: 'relu' }), dense({ units: 500 })] });
    if (threads !== undefined) model.compile({ optimizer: adam(), loss: 'meanSquaredError', threads });
    return model;
  };
  const x = tensor(noise(300 * wide), [300, wide]);
  /** Quickly compared. */
  const bytesOf = ({ data }: { data: Float32Array }) => Buffer.from(data.buffer).toString('base64');

  test('gives the same bits on any number of threads, compiled or not, call after call', async () => {
    const wanted = bytesOf(await large(1).predict(x));
    for (const threads of [undefined, 1, 2, 3]) {
      const model = large(threads);
      for (let call = 0; call < 5; call++) expect(bytesOf(model.predictSync(x)) === wanted).toBe(true);
    }
  });

  test('finds a number that is none, and goes on', () => {
    const model = large(2);
    const wanted = bytesOf(model.predictSync(x));
    const bad = tensor(x.data.slice(), [300, wide]);
    bad.data[299 * wide + 7] = NaN;
    expect(() => model.predictSync(bad)).toThrow(/row 299, column 7/);
    expect(bytesOf(model.predictSync(x)) === wanted).toBe(true);
  });

  test('works while other models train', async () => {
    const wanted = bytesOf(large(1).predictSync(x));
    const model = large(2);
    const others = [large(2), large(1)].map((other) => other.fit(x, tensor(noise(300 * 500), [300, 500]), { epochs: 20 }));
    let trains = true;
    const ended = Promise.all(others).then(() => (trains = false));
    let calls = 0;
    for (; trains; calls++) {
      expect(bytesOf(model.predictSync(x)) === wanted).toBe(true);
      await new Promise((resolve) => setTimeout(resolve));
    }
    await ended;
    expect(calls).toBeGreaterThan(1);
  });

  test('leaves the threads when its worker ends, before or after the main thread’s', async () => {
    const code = `
      import { Worker } from 'node:worker_threads';
      import { dense, sequential } from 'gradmill';
      const predict = () => {
        const model = sequential({ inputShape: [400], seed: 2, layers: [dense({ units: 700 }), dense({ units: 500 })] });
        const { data } = model.predictSync({ data: new Float32Array(120000).fill(0.5), shape: [300, 400] });
        return data.reduce((sum, value) => sum + value, 0);
      };
      const script = \`import { parentPort } from 'node:worker_threads';
        import { dense, sequential } from 'gradmill'; const predict = \${predict}; parentPort.postMessage(predict());\`;
      const inWorker = () => new Promise((resolve, reject) => {
        const worker = new Worker(script, { eval: true });
        let sum;
        worker.on('message', (message) => (sum = message)).on('error', reject).on('exit', () => resolve(sum));
      });
      const sums = [];
      for (let i = 0; i < 3; i++) sums.push(await inWorker());
      sums.push(predict());
      sums.push(...(await Promise.all([inWorker(), inWorker()])));
      for (let i = 0; i < 20; i++) sums.push(predict());
      console.log(sums.length, new Set(sums).size, Number.isFinite(sums[0]));`;
    expect(await run(code)).toEqual({ status: 0, stdout: '26 1 true\n', stderr: '' });
  });
});

describe('nested arrays whose getters use the model while they are read', () => {
  /** Three rows; reading the last number calls first. */
  const nestedRows = (model: ReturnType<typeof network>, call: () => unknown) => {
    const x = inputs(3);
    const nested = [0, 1, 2].map((row) => [...x.data.slice(row * columns, (row + 1) * columns)]);
    const last = nested[2][columns - 1];
    Object.defineProperty(nested[2], columns - 1, {
      get: () => {
        call();
        return last;
      },
    });
    return { nested, wanted: bitsOf(model.predictSync(x)) };
  };

  test('are still the rows predicted', async () => {
    const model = network();
    const out = new Float32Array(3 * units);
    const calls = [
      () => model.predictSync(inputs(1)),
      () => model.predictSync([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]]), // prettier-ignore
      () => model.compile({ optimizer: adam(), loss: 'meanSquaredError' }),
    ];
    for (const call of calls) {
      const { nested, wanted } = nestedRows(model, call);
      expect(bitsOf(model.predictSync(nested))).toEqual(wanted);
      expect(bitsOf(model.predictSync(nested, { out }))).toEqual(wanted);
      await freshTurn();
      expect(bitsOf(await model.predict(nested))).toEqual(wanted);
    }
  });

  test('may dispose it', async () => {
    const [model, other] = [network(), network()];
    expect(await refusal(() => model.predictSync(nestedRows(model, () => model.dispose()).nested))).toMatch(/^disposed: /);
    await freshTurn();
    expect(await refusal(() => other.predict(nestedRows(other, () => other.dispose()).nested))).toMatch(/^disposed: /);
  });
});

describe('predictSync with out', () => {
  test('writes there, and no further', () => {
    const model = network();
    const x = inputs(3);
    const wanted = model.predictSync(x).data;
    const out = new Float32Array(20).fill(9);
    const result = model.predictSync(x, { out });
    expect(result.data).toBe(out);
    expect(result.shape).toEqual([3, units]);
    expect(out).toEqual(Float32Array.from([...wanted, 9, 9, 9, 9, 9]));
  });

  test('writes into shared memory and into a part of an array', () => {
    const model = network();
    const wanted = model.predictSync(inputs(3)).data;
    const shared = new Float32Array(new SharedArrayBuffer(60));
    model.predictSync(inputs(3), { out: shared });
    expect([...shared]).toEqual([...wanted]);
    const large = new Float32Array(40);
    model.predictSync(inputs(3), { out: large.subarray(11) });
    expect(large.slice(11, 26)).toEqual(wanted);
    expect(large[10]).toBe(0);
  });

  test('returns the same object for the same out, with the shape of this call', () => {
    const model = network();
    const out = new Float32Array(20);
    const first = model.predictSync(inputs(3), { out });
    expect(model.predictSync(inputs(3), { out })).toBe(first);
    expect(model.predictSync(inputs(2), { out }).shape).toEqual([2, units]);
    expect(model.predictSync(inputs(3), { out: out.slice() })).not.toBe(first);
    expect(model.predictSync(inputs(3))).not.toBe(model.predictSync(inputs(3)));
  });

  test('x and out may lie side by side in one buffer', () => {
    const model = network();
    const buffer = new Float32Array(18 + 15);
    buffer.set(inputs(3).data);
    model.predictSync(tensor(buffer.subarray(0, 18), [3, columns]), { out: buffer.subarray(18) });
    expect(buffer.slice(18)).toEqual(model.predictSync(inputs(3)).data);
  });
});

describe('memory, in a process of its own', () => {
  const prelude = `
    import { adam, backend, dense, sequential, tensor } from 'gradmill';
    const model = sequential({ inputShape: [784], layers: [dense({ units: 32, activation: 'relu' }), dense({ units: 10 })] });
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
    const x = tensor(new Uint8Array(784 * 32), [32, 784]);
    const y = new Uint8Array(32);
    const MiB = 2 ** 20;
    const memory = () => { gc(); const { rss, heapUsed } = process.memoryUsage(); return { rss, heapUsed }; };
  `;
  const measure = async (code: string): Promise<number[]> => {
    const { stdout, stderr, status } = await run(prelude + code, { flags: ['--expose-gc'], timeout: 110_000 });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return JSON.parse(stdout) as number[];
  };

  test('predictSync with out allocates nothing in 10,000 calls', async () => {
    // Not collected in between: what is allocated is seen. The first rounds are the compiler's.
    const rounds = await measure(`
      const options = { out: new Float32Array(320) };
      const grown = [];
      for (let round = 0; round < 6; round++) {
        gc();
        const before = process.memoryUsage().heapUsed;
        for (let i = 0; i < 10_000; i++) model.predictSync(x, options);
        grown.push(process.memoryUsage().heapUsed - before);
      }
      console.log(JSON.stringify(grown));`);
    // One object of the smallest size in each call would be 160,000 bytes.
    expect(Math.min(...rounds)).toBeLessThan(20_000);
  });

  test('20,000 calls of trainOnBatch leave the process as it was', async () => {
    // WebAssembly's workers have JavaScript heaps of their own, which settle later: from 40,000 to 100,000 calls nothing grew.
    const [rss, heap] = await measure(`
      for (let i = 0; i < ${backend().name === 'wasm' ? 40_000 : 10_000}; i++) await model.trainOnBatch(x, y);
      const before = memory();
      for (let i = 0; i < 20_000; i++) await model.trainOnBatch(x, y);
      const after = memory();
      console.log(JSON.stringify([(after.rss - before.rss) / MiB, (after.heapUsed - before.heapUsed) / MiB]));`);
    expect(rss).toBeLessThan(4);
    expect(heap).toBeLessThan(1);
  }, 120_000);

  test('the data of a fit is let go when it has ended', async () => {
    const [during, after, again] = await measure(`
      // Written to, so that its pages are there before.
      const large = tensor(new Uint8Array(784 * 100_000).fill(1), [100_000, 784]);
      const labels = new Uint8Array(100_000);
      await model.fit(x, y);
      const before = memory();
      const grown = [];
      for (let fit = 0; fit < 2; fit++) {
        const stop = new AbortController();
        const onBatch = () => { grown.push(memory()); stop.abort(); };
        await model.fit(large, labels, { batchSize: 32, onBatch, signal: stop.signal }).catch(() => {});
        for (let i = 0; i < 5; i++) { await new Promise((resolve) => setTimeout(resolve, 20)); gc(); }
        grown.push(memory());
      }
      console.log(JSON.stringify([0, 1, 3].map((i) => (grown[i].rss - before.rss) / MiB)));`);
    expect(during).toBeGreaterThan(70);
    // WebAssembly gives no page back: what was let go is what the next fit gets.
    expect(after).toBeLessThan(backend().name === 'wasm' ? during + 15 : 15);
    expect(again - after).toBeLessThan(15);
  });
});
