// What instructions cost on paper: figures by hand, and for every op that its table entry agrees with what the op reads.
import { describe, expect, test } from 'vitest';
import { ACTIVATION_NAMES } from '../src/activations.js';
import { costOf, leastTime, productFlops } from '../src/cost.js';
import { engine } from '../src/engine.js';
import { adam, dense, sequential } from '../src/index.js';
import type { OpName } from '../src/ops.js';
import { ELEMENTWISE, randomCase } from './cases.js';
import { type OpCase, Random, record } from './engines.js';

function cost(given: OpCase, feedBytes?: Record<number, number>) {
  const [instruction] = record(given).plan.instructions;
  return costOf(instruction, given.batch?.rows ?? 0, feedBytes);
}

const floats = (count: number) => new Float32Array(count);
const linear = { transpose: 0, beta: 0, activation: 0, parameter: 0 };
const codeOf = (name: (typeof ELEMENTWISE)[number]) => ELEMENTWISE.indexOf(name);

describe('by hand', () => {
  const product: OpCase = { op: 'gemm', dims: [3, 5, 7], immediates: linear, operands: { a: floats(21), b: floats(35) } };

  test('a product: a multiplication and an addition a term, each operand once', () => {
    const bytes = { bytesRead: 4 * (21 + 35), bytesWritten: 4 * 15, workingSet: 4 * (21 + 35 + 15) };
    expect(cost(product)).toEqual({ flops: 2 * 3 * 5 * 7, ...bytes });
    expect(cost({ ...product, immediates: { ...linear, transpose: 3 } })).toEqual({ flops: 210, ...bytes });
  });

  test('what follows a product, and what it adds to', () => {
    const bias = { ...product.operands, bias: floats(5) };
    const relu = { ...linear, activation: codeOf('relu') };
    expect(cost({ ...product, operands: bias, immediates: relu })).toMatchObject({
      flops: 210 + 15 + 15,
      bytesRead: 4 * 61,
      bytesWritten: 60,
    });
    // z kept beside y
    expect(cost({ ...product, operands: bias, immediates: relu, writes: ['y'] })).toMatchObject({ bytesWritten: 120 });
    // ⊙ a'(v): tanh' = (1 − v)(1 + v), then the product with it
    const derivative = { ...product.operands, v: floats(15) };
    expect(cost({ ...product, operands: derivative, immediates: { ...linear, activation: codeOf('tanh') } })).toMatchObject({
      flops: 210 + 4 * 15,
      bytesRead: 4 * (56 + 15),
    });
    const adds = { ...product, operands: { ...product.operands, c: floats(15) } };
    expect(cost({ ...adds, immediates: { ...linear, beta: 1 } })).toMatchObject({ flops: 210, bytesRead: 4 * 71, workingSet: 4 * 71 });
    expect(cost({ ...adds, immediates: { ...linear, beta: 0.5 } })).toMatchObject({ flops: 225 });
  });

  test('a batch of fewer rows than the plan has room for', () => {
    expect(cost({ ...product, batch: { dim: 0, rows: 2 } })).toMatchObject({ flops: 2 * 2 * 5 * 7, bytesWritten: 40 });
    // dW: the batch is the sum's length
    expect(cost({ ...product, batch: { dim: 2, rows: 4 } })).toMatchObject({ flops: 2 * 3 * 5 * 4, bytesWritten: 60 });
  });

  test('optimizers: parameters and moments are read and written', () => {
    const [p, g, hyper] = [floats(10), floats(10), new Float64Array(16)];
    const sgd: OpCase = { op: 'sgd', dims: [10], immediates: { nesterov: 0 }, operands: { p, g, hyper } };
    expect(cost(sgd)).toEqual({ flops: 20, bytesRead: 80 + 128, bytesWritten: 40, workingSet: 80 + 128 });
    const momentum = { ...sgd, operands: { ...sgd.operands, moment1: floats(10) } };
    expect(cost(momentum)).toEqual({ flops: 40, bytesRead: 120 + 128, bytesWritten: 80, workingSet: 120 + 128 });
    expect(cost({ ...momentum, immediates: { nesterov: 1 } }).flops).toBe(60);
    expect(cost({ ...sgd, operands: { ...sgd.operands, clip: floats(1) } }).flops).toBe(30);
    const moments = { moment1: floats(10), moment2: floats(10) };
    // mean: 1 + 2, square: 2 + 2, root, denominator 2, quotient, step 2
    expect(cost({ op: 'adam', dims: [10], immediates: { decoupled: 0 }, operands: { p, g, hyper, ...moments } })).toMatchObject({
      flops: 130,
      bytesRead: 160 + 128,
      bytesWritten: 120,
    });
  });

  test('element by element', () => {
    const x = floats(6);
    expect(cost({ op: 'addBias', dims: [2, 3], operands: { x, bias: floats(3) } })).toEqual({
      flops: 6,
      bytesRead: 36,
      bytesWritten: 24,
      workingSet: 60,
    });
    expect(cost({ op: 'sumRows', dims: [2, 3], operands: { x } })).toMatchObject({ flops: 6, bytesRead: 24, bytesWritten: 12 });
    // max, − max, exp (23), Σ, ÷
    expect(cost({ op: 'softmax', dims: [2, 3], operands: { x } })).toMatchObject({ flops: 6 * 27, bytesRead: 24, bytesWritten: 24 });
    const loss: OpCase = { op: 'meanSquaredError', dims: [2, 3], immediates: { reduction: 0 }, operands: { x, t: x, seed: floats(1) } };
    expect(cost(loss)).toMatchObject({ flops: 18, bytesRead: 52, bytesWritten: 8 });
    expect(cost({ ...loss, writes: ['dX'] })).toMatchObject({ flops: 30, bytesRead: 52, bytesWritten: 32 });
  });

  test('data sets lie outside: their elements have sizes of their own', () => {
    const given: OpCase = { op: 'gather', dims: [8, 3], immediates: { feed: 0, unchecked: 0 }, operands: {}, batch: { dim: 0, rows: 5 } };
    expect(cost(given)).toEqual({ flops: 0, bytesRead: 60, bytesWritten: 60, workingSet: 120 });
    expect(cost(given, { 0: 1 })).toEqual({ flops: 0, bytesRead: 15, bytesWritten: 60, workingSet: 75 });
    const scaled = cost({ ...given, operands: { mean: floats(3), scale: floats(3) } });
    expect(scaled).toMatchObject({ flops: 30, bytesRead: 84 });
  });
});

describe('the least time, by hand', () => {
  const bandwidth = [
    { bytes: 100, perSecond: 4e9 },
    { bytes: 1000, perSecond: 2e9 },
    { bytes: 10_000, perSecond: 1e9 },
  ];
  const limits = { threads: 1, isa: 'none', strict: false, flops: 1e9, bandwidth };
  const least = (flops: number, bytes: number) =>
    leastTime({ flops, bytesRead: bytes / 4, bytesWritten: (bytes / 4) * 3, workingSet: bytes }, limits);

  test('is that of the operations or that of the bytes, whichever is longer', () => {
    expect(least(210, 200)).toEqual({ seconds: 210e-9, bound: 'flops' });
    expect(least(20, 200)).toEqual({ seconds: 50e-9, bound: 'bytes' });
    expect(least(0, 0)).toEqual({ seconds: 0, bound: 'bytes' });
  });

  test('bytes come from the level that holds them, twice what it was measured with; from the last one if none does', () => {
    expect(least(0, 204).seconds).toBeCloseTo(102e-9, 15);
    expect(least(0, 2000).seconds).toBeCloseTo(1000e-9, 15);
    expect(least(0, 2004).seconds).toBeCloseTo(2004e-9, 15);
    expect(least(0, 1e6).seconds).toBeCloseTo(1e-3, 12);
  });
});

describe('every op of the engine', () => {
  /** Of operands that are given a value although the op does not read it. */
  const unread: Partial<Record<OpName, readonly string[]>> = { resetTotals: ['totals'] };

  test.each([...engine().ops.keys()])('%s', (op) => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new Random(seed);
      const given = randomCase(op, random, { m: 1 + random.integer(9), n: 1 + random.integer(40), k: 1 + random.integer(20) });
      const rows = given.batch?.rows ?? 0;
      const [instruction] = record(given).plan.instructions;
      const { flops, bytesRead, bytesWritten, workingSet } = costOf(instruction, rows);
      expect(Number.isInteger(flops) && flops >= 0).toBe(true);
      // What a case gives a value is what the op reads.
      const dims = given.dims.map((size, d) => (d === given.batch?.dim ? rows : size));
      let [read, written] = [0, 0];
      for (const { name, extent, type, written: writes } of instruction.op.operands) {
        const bytes = extent(dims) * (type === 'f64' ? 8 : 4);
        if (given.operands[name] && !unread[op]?.includes(name)) read += bytes;
        if (writes && instruction.operands[name]) written += bytes;
      }
      const outside = { gather: dims[0] * dims[1], gatherLabels: dims[0], scatter: dims[0] * dims[1] }[op as string] ?? 0;
      expect(bytesRead).toBe(read + (op === 'scatter' ? 0 : 4 * outside));
      expect(bytesWritten).toBe(written + (op === 'scatter' ? 4 * outside : 0));
      expect(workingSet).toBeGreaterThanOrEqual(Math.max(bytesRead, bytesWritten));
      expect(workingSet).toBeLessThanOrEqual(bytesRead + bytesWritten);
    }
  });

  test('every activation takes operations but linear, and derivatives that are constant in pieces take none', () => {
    for (const name of ELEMENTWISE) {
      const immediates = { activation: codeOf(name), parameter: 0 };
      const value = cost({ op: 'activate', dims: [1, 1], immediates, operands: { x: floats(1) } }).flops;
      const slope = cost({ op: 'activationGradient', dims: [1, 1], immediates, operands: { dY: floats(1), v: floats(1) } }).flops - 1;
      expect(value > 0, name).toBe(name !== 'linear');
      expect(slope > 0, name).toBe(!['linear', 'relu', 'leakyRelu', 'hardSigmoid'].includes(name));
    }
    expect(ACTIVATION_NAMES).toEqual([...ELEMENTWISE, 'softmax']);
  });
});

describe('a training step', () => {
  /** 2·batch·fanIn·units for Y and dW of every layer, and dX of every layer but the first: docs/performance.md. */
  const [batch, units] = [128, [784, 512, 512, 10]];
  const layers = units.slice(1).map((out, i) => 2 * batch * units[i] * out);
  const wanted = layers.reduce((all, layer, i) => all + layer * (i === 0 ? 2 : 3), 0);

  test.each([true, false])('the products of W2, fused: %s', (fuse) => {
    const hidden = [512, 512].map((units) => dense({ units, activation: 'relu' }));
    const model = sequential({ inputShape: [784], layers: [...hidden, dense({ units: 10 })] });
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', fuse });
    const { instructions } = model.plan;
    const sum = (of: typeof productFlops) => instructions.reduce((all, instruction) => all + of(instruction, batch), 0);
    expect(sum(productFlops)).toBe(wanted);
    // What is no product: two biases and relus and one bias more, relu' twice, db, the loss, Adam.
    const elements = batch * 512 * 2;
    // The last bias takes a whole line of 16 floats.
    const weights = 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 16;
    const loss = batch * 10 * (26 + 4) + batch;
    const rest = 2 * elements + batch * 10 + elements + (elements + batch * 10) + loss + 13 * weights + 3;
    expect(sum((instruction, rows) => costOf(instruction, rows).flops)).toBe(wanted + rest);
  });
});
