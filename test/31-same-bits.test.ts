// The same bits: for every number of threads, for a row alone and inside a batch, and in strict mode on every instruction
// set. Numbers are compared as bits, never within a tolerance; NaN and infinity have tests elsewhere.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { engine } from '../src/engine.js';
import { adam, dense, sequential } from '../src/index.js';
import { gemm } from '../src/kernels.js';
import { ELEMENTWISE, randomCase } from './cases.js';
import {
  allowThreads,
  expectSameBits,
  onEngine,
  onThreads,
  type Outcome,
  ran,
  Random,
  strictTables,
  type Table,
  tables,
} from './engines.js';
import { Network } from './networks.js';

function expectSameOutcome(what: string, actual: Outcome, expected: Outcome): void {
  expect(actual.fault, what).toEqual(expected.fault);
  for (const [name, values] of Object.entries(expected.operands)) expectSameBits(`${what}: ${name}`, actual.operands[name], values);
  for (const [slot, data] of Object.entries(expected.feeds)) expect(Buffer.from(actual.feeds[slot].buffer).equals(Buffer.from(data.buffer)), slot).toBe(true); // prettier-ignore
}

allowThreads(4);

describe(`one to four threads (${ran})`, () => {
  // Large enough that every op which can be shared is.
  test.each([...engine().ops.keys()])('%s', async (op) => {
    for (const sizes of [
      { m: 150, n: 130, k: 90 },
      { m: 9000, n: 3, k: 40 },
      { m: 3, n: 9001, k: 5 },
    ])
      for (const table of tables) {
        const given = randomCase(op, new Random(sizes.m), sizes);
        const one = onEngine(given, table);
        for (const threads of [2, 3, 4]) {
          expectSameOutcome(`${threads} parts on ${table.name}`, onEngine(given, table, threads), one);
          expectSameOutcome(`${threads} threads on ${table.name}`, await onThreads(given, table, threads), one);
        }
      }
  });

  test('of two bad rows the first is found', async () => {
    const [m, n] = [256, 784];
    const data = new Random(1).floats(m * n);
    data[3 * n + 5] = data[200 * n] = NaN;
    for (const [order, row] of [
      [Uint32Array.from({ length: m }, (_, i) => i), 3],
      [Uint32Array.from({ length: m }, (_, i) => m - 1 - i), 200],
    ] as const) {
      const feeds = { input: { data, columns: n }, order: { data: order, columns: 1 } };
      const given = { op: 'gather' as const, dims: [m, n], immediates: {}, operands: {}, feeds, batch: { dim: 0, rows: m } };
      for (const table of tables) {
        expect(onEngine(given, table).fault).toMatchObject({ kind: 'nonFiniteInput', row });
        for (let round = 0; round < 20; round++)
          expect((await onThreads(given, table, 2)).fault).toMatchObject({ kind: 'nonFiniteInput', row });
      }
    }
  });

  test.each([true, false])('a model that trains, evaluates and predicts; strict: %s', async (strict) => {
    const [rows, columns] = [300, 120];
    const random = new Random(1);
    const x = { data: random.floats(rows * columns), shape: [rows, columns] };
    const y = random.labels(rows, 10);
    const life = async (threads: number) => {
      const layers = [dense({ units: 150, activation: 'gelu' }), dense({ units: 90, activation: 'relu' }), dense({ units: 10 })];
      const model = sequential({ inputShape: [columns], seed: 5, layers });
      model.compile({ optimizer: adam({ clipGlobalNorm: 1 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'], threads, strict });
      const { loss, accuracy } = await model.fit(x, y, { epochs: 2, batchSize: 128 });
      return { loss, accuracy, evaluation: await model.evaluate(x, y), weights: model.weights, output: (await model.predict(x)).data };
    };
    const [one, ...others] = await Promise.all([1, 2, 3, 4].map(life));
    expect(one.loss[1]).toBeLessThan(one.loss[0]);
    for (const other of others) {
      expect({ loss: other.loss, accuracy: other.accuracy, evaluation: other.evaluation }).toEqual({ loss: one.loss, accuracy: one.accuracy, evaluation: one.evaluation }); // prettier-ignore
      one.weights.forEach(({ name, data }, i) => expectSameBits(name, other.weights[i].data, data));
      expectSameBits('output', other.output, one.output);
    }
  });

  // 600 full batches: among them the second trial of the threads.
  test('a model whose batches are short enough to be done alone, for as many as are tried twice', async () => {
    const [rows, columns, batchSize, epochs] = [260, 64, 64, 150];
    const random = new Random(1);
    const x = { data: random.floats(rows * columns), shape: [rows, columns] };
    const y = random.labels(rows, 10);
    const life = async (threads: number) => {
      const layers = [dense({ units: 96, activation: 'relu' }), dense({ units: 10 })];
      const model = sequential({ inputShape: [columns], seed: 5, layers });
      model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', threads });
      const { loss } = await model.fit(x, y, { epochs, batchSize });
      return { loss, weights: model.weights };
    };
    const [one, ...others] = await Promise.all([1, 2, 4].map(life));
    expect(one.loss.at(-1)).toBeLessThan(one.loss[0] / 10);
    for (const other of others) {
      expect(other.loss).toEqual(one.loss);
      one.weights.forEach(({ name, data }, i) => expectSameBits(name, other.weights[i].data, data));
    }
  });
});

describe(`a part alone and inside the whole (${ran})`, () => {
  const size = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(64, 97, 200));
  const depth = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(255, 257, 520, 1100));
  const share = fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }));
  /** A range of at least one out of `all`; often a single one. */
  const range = (all: number, [from, length]: [number, number]) => {
    const start = Math.min(Math.floor(from * all), all - 1);
    return { start, count: length < 0.4 ? 1 : Math.max(1, Math.floor(length * (all - start))) };
  };

  test.each(tables)('$name: any rows and columns of a product, from the same a and b', ({ isa, strict }) => {
    const product = fc.record({ m: size, n: size, k: depth, transposeA: fc.boolean(), transposeB: fc.boolean(), beta: fc.constantFrom(0, 1), alpha: fc.constantFrom(1, 0.7) }); // prettier-ignore
    fc.assert(
      fc.property(product, share, share, fc.nat(), ({ m, n, k, transposeA, transposeB, beta, alpha }, byRows, byColumns, seed) => {
        const random = new Random(seed);
        const [a, b, c] = [random.floats(m * k), random.floats(k * n), random.floats(m * n)];
        const [lda, ldb] = [transposeA ? m : k, transposeB ? k : n];
        const call = { k, transposeA, transposeB, lda, ldb, ldc: n, alpha, beta, isa, strict };
        const whole = gemm({ ...call, m, n, a, b, c: c.slice() });
        const [rows, columns] = [range(m, byRows), range(n, byColumns)];
        const corner = rows.start * n + columns.start;
        const part = gemm({
          ...call,
          ...{ m: rows.count, n: columns.count },
          a: a.subarray(transposeA ? rows.start : rows.start * lda),
          b: b.subarray(transposeB ? columns.start * ldb : columns.start),
          c: c.slice(corner),
        });
        for (let i = 0; i < rows.count; i++)
          expectSameBits(`row ${rows.start + i}`, part.subarray(i * n, i * n + columns.count), whole.subarray(corner + i * n, corner + i * n + columns.count)); // prettier-ignore
      }),
      { numRuns: 150 },
    );
  });

  test.each(tables)('$name: every row of a large product', ({ isa, strict }) => {
    for (const [m, n, k] of [
      [120, 70, 530],
      [300, 1, 90],
      [64, 1030, 33],
      [40, 1024, 70],
      [70, 320, 130],
      [13, 320, 3],
    ])
      // prettier-ignore
      for (const transposeA of [false, true])
        for (const transposeB of [false, true]) {
          const random = new Random(m);
          const [a, b] = [random.floats(m * k), random.floats(k * n)];
          const whole = gemm({ m, n, k, a, b, transposeA, transposeB, isa, strict });
          for (let i = 0; i < m; i++) {
            const own = transposeA ? { a: a.subarray(i), lda: m } : { a: a.subarray(i * k, (i + 1) * k) };
            expectSameBits(`row ${i}`, gemm({ m: 1, n, k, b, transposeA, transposeB, isa, strict, ...own }), whole.subarray(i * n, (i + 1) * n));
          }
        }
  });

  // What a row costs the loss does not depend on its neighbours either; its gradient does, through the mean.
  const rowwise = ['addBias', 'activate', 'activationGradient', 'softmax', 'softmaxGradient', 'meanSquaredError', 'huber', 'binaryCrossEntropy', 'softmaxCrossEntropy', 'batchNormalizationInference', 'layerNormalization', 'layerNormalizationGradient'] as const; // prettier-ignore
  test.each(rowwise)('every row of %s', (op) => {
    for (const n of [1, 7, 33, 4100]) {
      const given = { ...randomCase(op, new Random(n), { m: 11, n, k: 0 }), batch: undefined };
      const { operands } = engine().ops.get(op)!;
      const immediates = { ...given.immediates, reduction: 1 };
      for (const table of tables) {
        const whole = onEngine({ ...given, immediates }, table).operands;
        for (let i = 0; i < 11; i++) {
          const rowOf = (name: string) => {
            const { extent } = operands.find((operand) => operand.name === name)!;
            const length = extent([1, n]);
            const shared = length === extent([2, n]);
            return <T extends { subarray(from: number, to: number): T }>(values: T) =>
              shared ? values : values.subarray(i * length, (i + 1) * length);
          };
          const own = Object.fromEntries(
            Object.entries(given.operands).flatMap(([name, values]) => (values ? [[name, rowOf(name)(values as Float32Array)]] : [])),
          );
          const alone = onEngine({ ...given, immediates, dims: [1, n], operands: own }, table).operands;
          for (const [name, values] of Object.entries(alone))
            expectSameBits(`${name} of row ${i} on ${table.name}`, values, rowOf(name)(whole[name] as Float32Array));
        }
      }
    }
  });

  test.each(ELEMENTWISE)('a prediction, alone and among 100: %s', async (activation) => {
    const layers = [dense({ units: 70, activation }), dense({ units: 33, activation }), dense({ units: 9, activation: 'softmax' })];
    const model = sequential({ inputShape: [50], layers });
    const x = new Random(4).floats(100 * 50);
    const all = await model.predict({ data: x, shape: [100, 50] });
    for (let i = 0; i < 100; i += 7) {
      const one = model.predictSync({ data: x.subarray(i * 50, (i + 1) * 50), shape: [1, 50] });
      expectSameBits(`row ${i}`, one.data, all.data.subarray(i * 9, (i + 1) * 9));
    }
  });
});

const strictNames = strictTables.map(({ name }) => name).join(', ');

describe(`strict mode on every instruction set (${strictNames})`, () => {
  const [first, ...others] = strictTables;

  test('there is more than one to compare, unless the machine has only one', () => {
    expect(strictTables.length).toBe(engine().isas.length);
  });

  test.each([...engine().ops.keys()])('%s', (op) => {
    const size = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(63, 65, 130));
    fc.assert(
      fc.property(fc.record({ m: size, n: size, k: size }), fc.nat(), (sizes, seed) => {
        const given = randomCase(op, new Random(seed), sizes);
        const expected = onEngine(given, first);
        for (const table of others) expectSameOutcome(table.name, onEngine(given, table), expected);
      }),
      { numRuns: 60 },
    );
  });

  test('every activation and derivative, over the floats of ordinary size', () => {
    const x = Float32Array.from({ length: 40_000 }, (_, i) => (i - 20_000) / 1777);
    for (const op of ['activate', 'activationGradient'] as const)
      for (const activation of ELEMENTWISE.keys()) {
        const operands = op === 'activate' ? { x } : { dY: x, v: x };
        const given = { op, dims: [1, x.length], immediates: { activation, parameter: 0.3 }, operands };
        const expected = onEngine(given, first);
        for (const table of others)
          expectSameOutcome(`${op} ${ELEMENTWISE[activation]} on ${table.name}`, onEngine(given, table), expected);
      }
  });

  test('products across blocks', () => {
    for (const [m, n, k] of [
      [101, 1040, 530],
      [1, 1100, 700],
      [500, 1, 600],
      [2, 3, 9000],
    ]) {
      // prettier-ignore
      const random = new Random(k);
      const [a, b] = [random.floats(m * k), random.floats(k * n)];
      const product = ({ isa }: Table) => gemm({ m, n, k, a, b, isa, strict: true });
      for (const table of others) expectSameBits(`${m} × ${n} × ${k} on ${table.name}`, product(table), product(first));
    }
  });

  test('twenty steps of training', () => {
    const layers = ELEMENTWISE.map((activation) => dense({ units: 23, activation }));
    const optimizer = adam({ weightDecay: 0.01, clipGlobalNorm: 1 });
    const network = new Network({ layers: [...layers, dense({ units: 7 })], loss: 'softmaxCrossEntropy', target: 'labels', rows: 37, columns: 19, optimizer }, 'train'); // prettier-ignore
    const expected = network.onEngine(first, { steps: 20 });
    for (const table of others) {
      const trained = network.onEngine(table, { steps: 20 });
      for (const { name, value } of network.runtime.parameters) expectSameBits(`${name} on ${table.name}`, trained(value), expected(value));
    }
    expect(
      network.runtime.parameters.some(({ value }) => expected(value).every((weight, i) => weight === network.runtime.floats(value)[i])),
    ).toBe(false);
  });
});

describe(`the order of operations is the one written down (${ran})`, () => {
  const f = Math.fround;

  test.each(strictTables)('$name: a product adds (alpha·a)·b for ascending k to beta·c, each step rounded', ({ isa }) => {
    for (const [m, n, k] of [
      [7, 19, 1300],
      [1, 40, 1300],
      [40, 1, 1300],
      [2, 3, 5],
      [25, 33, 600],
    ])
      // prettier-ignore
      for (const [alpha, beta] of [[1, 0], [1, 1], [f(0.3), f(-0.7)]]) { // prettier-ignore
        for (const transpose of [0, 1, 2, 3]) {
          const random = new Random(m + transpose);
          const [a, b, c] = [random.floats(m * k), random.floats(k * n), random.floats(m * n)];
          const [transposeA, transposeB] = [(transpose & 1) !== 0, (transpose & 2) !== 0];
          const expected = Float32Array.from({ length: m * n }, (_, at) => {
            const [i, j] = [Math.floor(at / n), at % n];
            let sum = beta === 0 ? 0 : f(beta * c[at]);
            for (let p = 0; p < k; p++) sum = f(sum + f(f(alpha * a[transposeA ? p * m + i : i * k + p]) * b[transposeB ? j * k + p : p * n + j]));
            return sum;
          });
          const actual = gemm({ m, n, k, a, b, c, transposeA, transposeB, alpha, beta, isa, strict: true });
          expectSameBits(`${m} × ${n} × ${k}, transpose ${transpose}, alpha ${alpha}, beta ${beta}`, actual, expected);
        }
      }
  });

  /** Chunks of 4,096; in each 16 lanes, lane j taking i ≡ j mod 16, folded in halves; chunk after chunk. */
  const sumOf = (terms: Float32Array): number => {
    const sumChunk = (chunk: Float32Array) => {
      const lanes = new Float32Array(16);
      chunk.forEach((term, i) => (lanes[i % 16] += term));
      for (const half of [8, 4, 2, 1]) for (let j = 0; j < half; j++) lanes[j] += lanes[j + half];
      return lanes[0];
    };
    const chunks = Array.from({ length: Math.ceil(terms.length / 4096) }, (_, i) => sumChunk(terms.subarray(i * 4096, (i + 1) * 4096)));
    return chunks.reduce((sum, chunk) => f(sum + chunk));
  };

  test.each(tables)('$name: sums run in 16 lanes by chunks, columns row by row', (table) => {
    for (const n of [2, 15, 16, 17, 40, 4095, 4096, 4097, 9000, 20_011]) {
      const x = new Random(n).floats(n);
      const operands = { x, t: new Float32Array(n), seed: Float32Array.of(1) };
      const { rowLoss } = onEngine({ op: 'meanAbsoluteError', dims: [1, n], immediates: { reduction: 1 }, operands }, table).operands;
      expectSameBits(`Σ|x| of ${n}`, rowLoss, Float32Array.of(sumOf(x.map(Math.abs))));
      const { partials } = onEngine({ op: 'globalNormScale', dims: [n], operands: { g: x, hyper: new Float64Array(16) } }, table).operands;
      const squares = Array.from(partials, (_, i) => sumOf(x.subarray(i * 4096, (i + 1) * 4096).map((value) => value * value)));
      expectSameBits(`Σg² of ${n}`, partials, Float32Array.from(squares));
      const columns = onEngine({ op: 'sumRows', dims: [n, 1], operands: { x } }, table).operands.y;
      expectSameBits(`column of ${n}`, columns, Float32Array.of(x.reduce((sum, value) => f(sum + value), 0)));
    }
  });
});

const fast = tables.filter(({ strict }) => !strict);

// WebAssembly has no fused multiply-add: its one table is strict.
if (fast.length > 0)
  describe('fast mode', () => {
    test.each(fast)('$name is near strict mode, and not the same', ({ isa }) => {
      const [m, n, k] = [31, 47, 300];
      const random = new Random(3);
      const [a, b] = [random.floats(m * k), random.floats(k * n)];
      const [quick, exact] = [false, true].map((strict) => gemm({ m, n, k, a, b, isa, strict }));
      const furthest = Math.max(...quick.map((value, i) => Math.abs(value - exact[i])));
      // Two results within 8·√k·2⁻²⁴ of the absolute sum, which is about k/4, of the truth.
      expect(furthest).toBeLessThan(((2 * 8 * Math.sqrt(k)) / 2 ** 24) * (k / 4));
      expect(furthest).toBeGreaterThan(0);
    });
  });
