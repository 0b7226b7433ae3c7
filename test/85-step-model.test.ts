// The model of a step's time: its arithmetic on made-up limits, that more work never takes less, what it makes of a plan. No test
// judges a timing.
import { describe, expect, test } from 'vitest';
import { neededBytes } from '../bench/memory.js';
import { predictionCharts, randomNetworks } from '../bench/predict.js';
import { scalingCharts, type ScalingPoint } from '../bench/scaling.js';
import { bandwidthAt, type Constants, fit, type Machine, scaledLimits, stepsOf, stepTime, type StepWork, timeOf, together, TYPICAL } from '../bench/step-model.js'; // prettier-ignore
import { plannedStep, Training } from '../bench/subject.js';
import { examples, networkOf, workloads } from '../bench/workloads.js';
import { backend } from '../src/index.js';
import type { Limits } from '../src/limits.js';

/** 100 GFLOP/s and 100, 50, 20, 10 GB/s a thread. */
function limitsOf(threads: number): Limits {
  const level = (bytes: number, perSecond: number) => ({ bytes: bytes * threads, perSecond: perSecond * threads });
  const bandwidth = [level(1e4, 100e9), level(1e5, 50e9), level(1e6, 20e9), level(1e8, 10e9)];
  return { threads, isa: 'avx2', strict: false, flops: 100e9 * threads, bandwidth };
}
const machine = (threads: number): Machine => ({ threads, limits: limitsOf });

const nothing = { flops: 0, traffic: [], rows: 0, roots: 0, parts: [1, 1] } as const;
const constants: Constants = {
  ...{ product: 0.5, pack: 2, packAcross: 4, tile: 1e-11, elementwise: 0.25, bandwidth: 0.5 },
  ...{ root: 1e-9, row: 1e-8, overhead: 1e-7, transfer: 1e-7, crossing: 0 },
};
const near = (bytes: number) => ({ bytes, distance: 1 });

type Product = NonNullable<StepWork['product']>;
/** In one part, by tiles of 6 × 16, with nothing packed. */
function product(m: number, n: number, k: number, changes: Partial<Product['way']> = {}, others: Partial<Product> = {}): StepWork {
  const operands = { a: near(4 * m * k), b: near(4 * k * n), c: near(4 * m * n) };
  const tiles = { tileRows: 6, tileColumns: 16, sideways: false, depth: 400, packsA: false, packsB: false };
  const way = { rows: m, columns: n, ...tiles, ...changes };
  return { ...nothing, op: 'gemm', product: { m, n, k, transposeA: false, transposeB: false, way, ...operands, ...others } };
}
/** The same on two threads, by rows. */
const halved = (m: number, n: number, k: number): StepWork => ({ ...product(m, n, k, { rows: Math.ceil(m / 12) * 6 }), parts: [2, 1] });

describe('one thread', () => {
  const seconds = (step: StepWork) => timeOf(step, machine(1), constants) - constants.overhead;

  test('elementwise: the slowest of operations, bytes and roots, and what rows cost', () => {
    expect(seconds({ ...nothing, op: 'activate', flops: 1e6 })).toBeCloseTo(1e6 / 25e9, 12);
    expect(seconds({ ...nothing, op: 'activate', flops: 1, traffic: [near(1e6)] })).toBeCloseTo(1e6 / 50e9, 12);
    expect(seconds({ ...nothing, op: 'adam', roots: 1000 })).toBeCloseTo(1e-6, 12);
    expect(seconds({ ...nothing, op: 'softmaxCrossEntropy', rows: 100 })).toBeCloseTo(1e-6, 12);
    expect(timeOf({ ...nothing, op: 'advance' }, machine(1), constants)).toBe(constants.overhead);
  });

  test('a product: whole register tiles at a share of the peak, and what is packed', () => {
    // 12 × 32 × 200: two tiles by two, in one block.
    expect(seconds(product(12, 32, 200))).toBeCloseTo((2 * 12 * 32 * 200) / 50e9 + 12 * 32 * 1e-11, 13);
    // 10 columns take as long as 16, three rows as four; sideways it is the other way round.
    expect(seconds(product(12, 10, 200))).toBeCloseTo(seconds(product(12, 16, 200)), 13);
    expect(seconds(product(3, 16, 200))).toBeCloseTo(seconds(product(4, 16, 200)), 13);
    expect(seconds(product(10, 3, 200, { sideways: true }))).toBeCloseTo(seconds(product(16, 4, 200, { sideways: true })), 13);
    expect(seconds(product(30, 12, 200, { sideways: true }))).toBeCloseTo((2 * 32 * 12 * 200) / 50e9 + 32 * 12 * 1e-11, 13);
    // Deep sums read and write c once for each block of k.
    expect(seconds(product(6, 16, 1000))).toBeCloseTo((2 * 6 * 16 * 1000) / 50e9 + 3 * 96 * 1e-11, 13);
    const packing = (way: Partial<Product['way']>, others?: Partial<Product>) =>
      seconds(product(48, 16, 200, way, others)) - seconds(product(48, 16, 200));
    expect(packing({ packsB: true })).toBeCloseTo((2 * 4 * 200 * 16) / 100e9, 13);
    expect(packing({ packsB: true }, { transposeB: true })).toBeCloseTo((4 * 4 * 200 * 16) / 100e9, 13);
    expect(packing({ packsA: true })).toBeCloseTo((4 * 4 * 200 * 48) / 100e9, 13);
    expect(packing({ packsA: true }, { transposeA: true })).toBeCloseTo((2 * 4 * 200 * 48) / 100e9, 13);
  });

  test('a product without tiles computes nothing twice; a single row is as slow as its weights are to read', () => {
    const [none, far] = [{ tileRows: 0, tileColumns: 0 }, { b: { bytes: 6.4e6, distance: 1e9 } }];
    expect(seconds(product(3, 10, 200, none))).toBeCloseTo((2 * 3 * 10 * 200) / 50e9 + 30e-11, 13);
    expect(seconds(product(1, 1600, 1000, none, far))).toBeGreaterThan(6.4e6 / 10e9);
  });

  test('bandwidth lies between those of the measured sizes', () => {
    const limits = limitsOf(1);
    expect([1, 1e4, 1e5, 1e6, 1e8, 1e12].map((distance) => bandwidthAt(limits, distance))).toEqual([100e9, 100e9, 50e9, 20e9, 10e9, 10e9]);
    expect(bandwidthAt(limits, Math.sqrt(1e4 * 1e5))).toBeCloseTo(Math.sqrt(100e9 * 50e9), -3);
    expect(() => bandwidthAt({ ...limits, bandwidth: [] }, 1)).toThrow('no bandwidth was measured');
  });
});

describe('threads', () => {
  test('claim parts one after another, the leader first', () => {
    expect(together(2, 2, 10, 1)).toBe(13);
    expect(together(1, 2, 10, 1)).toBe(12);
    // Three parts for two: one thread does two.
    expect(together(3, 2, 10, 1)).toBe(23);
    // With parts shorter than a claim the claims are what takes time.
    expect(together(96, 96, 0, 1)).toBe(97);
    expect(together(4, 2, 10, 0)).toBe(20);
  });

  test('a product on two takes as long as its part, and no step of one part gains', () => {
    const split = timeOf(halved(24, 16, 500), machine(2), { ...constants, transfer: 0 });
    expect(split).toBeCloseTo(timeOf(product(12, 16, 500), machine(1), constants), 12);
    const whole = product(12, 16, 50);
    expect(timeOf(whole, machine(2), constants)).toBe(timeOf(whole, machine(1), constants));
  });

  test('read what others have written by way of the last cache', () => {
    const moved: StepWork = { ...nothing, op: 'sgd', traffic: [near(2e6)] };
    const seconds = timeOf({ ...moved, parts: [2, 1] }, machine(2), { ...constants, overhead: 0, transfer: 0 });
    // Of each thread's half one half at 100 GB/s, one at 20; elementwise ops reach half of it.
    expect(seconds).toBeCloseTo((0.5e6 / 100e9 + 0.5e6 / 20e9) / 0.5, 12);
  });

  test('wait for what crosses from core to core', () => {
    const crossing = 1e-9;
    const waits = (step: StepWork, threads: number) =>
      timeOf(step, machine(threads), { ...constants, crossing }) - timeOf(step, machine(threads), constants);
    const moved: StepWork = { ...nothing, op: 'sgd', traffic: [near(2e6)], parts: [2, 1] };
    expect(waits(moved, 2)).toBeCloseTo(0.5e6 * crossing, 12);
    expect(waits({ ...moved, parts: [1, 1] }, 2)).toBe(0);
    // Each reads its rows of a and all of b, of which the other wrote half.
    expect(waits(halved(12, 16, 500), 2)).toBeCloseTo((4 / 2) * 500 * (6 + 16) * crossing, 15);
  });

  test('are used where they pay', () => {
    const step = halved(24, 16, 500);
    const seconds = (transfer: number, short = true) => stepTime({ steps: [step, step], short }, machine(2), { ...constants, transfer });
    expect(seconds(0)).toBeCloseTo(2 * timeOf(product(12, 16, 500), machine(1), constants), 12);
    expect(seconds(1)).toBeCloseTo(2 * timeOf(product(24, 16, 500), machine(1), constants), 12);
    // Long steps are not tried alone.
    expect(seconds(1, false)).toBeGreaterThan(4);
  });

  test('limits of more of them: all grow, or the last cache and memory stay', () => {
    const two = limitsOf(2);
    const shared = scaledLimits(two, 8, 'shared');
    expect(shared).toMatchObject({ threads: 8, flops: 800e9 });
    expect(shared.bandwidth.slice(0, 2)).toEqual(limitsOf(8).bandwidth.slice(0, 2));
    expect(shared.bandwidth.slice(2)).toEqual(two.bandwidth.slice(2));
    expect(scaledLimits(two, 8, 'growing')).toEqual(limitsOf(8));
  });
});

test('more work takes longer: rows, columns, depth, operations, bytes', () => {
  const time = (step: StepWork) => timeOf(step, machine(1), TYPICAL);
  const sizes = [1, 2, 3, 4, 5, 6, 8, 13, 16, 32, 47, 48, 100, 512, 1000];
  const grows = (steps: readonly StepWork[]) => {
    const times = steps.map(time);
    times.slice(1).forEach((seconds, i) => expect(seconds).toBeGreaterThanOrEqual(times[i]));
    expect(times.at(-1)).toBeGreaterThan(times[0]);
  };
  for (const transposeA of [false, true]) {
    grows(sizes.map((m) => product(m, 64, 100, {}, { transposeA })));
    grows(sizes.map((n) => product(64, n, 100, {}, { transposeA })));
    grows(sizes.map((k) => product(64, 64, k, {}, { transposeA })));
  }
  grows(sizes.map((size) => ({ ...nothing, op: 'activate', flops: 1000 * size, traffic: [near(100 * size)] })));
  grows(sizes.map((size) => ({ ...nothing, op: 'sgd', traffic: [{ bytes: 1e5, distance: 1e4 * size ** 3 }] })));
});

test('fitting finds the constants that made the samples, from typical ones', () => {
  const steps: StepWork[][] = [];
  for (const size of [8, 30, 100, 300])
    for (const rows of [2, 20, 200])
      steps.push([product(rows, size, 2 * size), { ...nothing, op: 'activate', flops: rows * size * 40, traffic: [near(rows * size)] }]);
  const names = ['product', 'elementwise', 'overhead'] as const;
  const made: Constants = { ...TYPICAL, product: 0.6, elementwise: 0.1, overhead: 5e-7 };
  const samples = steps
    .map((given) => ({ steps: given, short: false }))
    .map((step) => ({ ...step, machine: machine(1), seconds: stepTime(step, machine(1), made) }));
  const found = fit(samples, names, TYPICAL);
  for (const name of names) expect(Math.abs(found[name] / made[name] - 1)).toBeLessThan(0.03);
  expect(found.pack).toBe(TYPICAL.pack);
});

describe.runIf(backend().name === 'native')('a plan', () => {
  const network = networkOf([20, 300, 7], 50, 'tanh', 'adam');
  const { plan, division } = plannedStep(network, 2);
  const steps = stepsOf(plan, division, 1000);

  test('is taken as the engine divides it', () => {
    expect(steps.map(({ op }) => op)).toEqual(plan.instructions.map(({ op }) => op.name));
    const products = steps.flatMap(({ product }) => (product ? [[product.m, product.n, product.k]] : []));
    // prettier-ignore
    expect(products).toEqual([[50, 300, 20], [50, 7, 300], [300, 7, 50], [50, 300, 7], [20, 300, 50]]);
    for (const { parts } of stepsOf(plan, plannedStep(network, 1).division, 0)) expect(parts).toEqual([1, 1]);
    const wide = networkOf([1024, 1024, 1024], 512, 'relu', 'sgd');
    const { plan: large, division: for96 } = plannedStep(wide, 96);
    const most = Math.max(...stepsOf(large, for96, 0).map(({ parts: [rows, columns] }) => rows * columns));
    expect(most).toBeGreaterThanOrEqual(96);
    expect([division.short, for96.short, plannedStep(network, 1).division.short]).toEqual([true, false, false]);
  });

  test('is computed in parts that cover it, by tiles, or a single row without', () => {
    for (const threads of [1, 3]) {
      for (const { parts, product } of stepsOf(plan, plannedStep(network, threads).division, 0)) {
        if (!product) continue;
        const { m, n, way } = product;
        expect(way.rows).toBeLessThanOrEqual(m);
        expect(way.columns).toBeLessThanOrEqual(n);
        expect(way.rows * parts[0]).toBeGreaterThanOrEqual(m);
        expect(way.columns * parts[1]).toBeGreaterThanOrEqual(n);
        expect(way.tileRows * way.tileColumns).toBeGreaterThan(0);
      }
    }
    const row = plannedStep({ ...network, batch: 1 }, 1);
    const [first] = stepsOf(row.plan, row.division, 0).flatMap(({ product }) => product ?? []);
    expect(first.way).toMatchObject({ rows: 1, columns: 300, tileRows: 0, tileColumns: 0 });
  });

  test('moves every byte of its operands, and finds them no farther than all it touches', () => {
    const adam = steps.find(({ op }) => op === 'adam');
    const parameters = 20 * 300 + 300 + 300 * 7 + 7;
    // p, g and two moments read, all but g written; ranges are padded to lines.
    const bytes = adam?.traffic.reduce((all, each) => all + each.bytes, 0) ?? 0;
    expect(bytes).toBeGreaterThanOrEqual(4 * 7 * parameters);
    expect(bytes).toBeLessThan(4 * 7 * parameters + 2000);
    expect(adam?.roots).toBeGreaterThanOrEqual(parameters);
    const footprint = Math.max(...plan.instructions.flatMap(({ operands }) => Object.values(operands)).map((t) => t.offset + t.bytes(50)));
    for (const { op, traffic } of steps)
      for (const { distance } of traffic) {
        expect(distance).toBeGreaterThan(0);
        if (op !== 'gather' && op !== 'gatherLabels') expect(distance).toBeLessThanOrEqual(footprint + 64);
      }
    // What the first product has just written, the second reads.
    const [first, second] = steps.filter(({ op }) => op === 'gemm');
    expect(second.product?.a.distance).toBeLessThan((first.product?.b.distance ?? 0) + 4 * 50 * 300);
  });

  test('takes longer for a larger batch', () => {
    const times = [1, 8, 64, 512].map((batch) => {
      const planned = plannedStep({ ...network, batch }, 1);
      return stepTime({ steps: stepsOf(planned.plan, planned.division, 0), short: false }, machine(1), TYPICAL);
    });
    expect([...times].sort((a, b) => a - b)).toEqual(times);
  });
});

test('random networks are the same in every run, and within their bounds', () => {
  const networks = randomNetworks(200);
  expect(networks.slice(0, 50)).toEqual(randomNetworks(50));
  for (const { units, batch } of networks) {
    expect(units.length).toBeGreaterThanOrEqual(2);
    expect(units.length).toBeLessThanOrEqual(9);
    expect(Math.min(...units)).toBeGreaterThanOrEqual(8);
    expect(Math.max(...units)).toBeLessThanOrEqual(1024);
    expect(batch).toBeGreaterThanOrEqual(1);
    expect(batch).toBeLessThanOrEqual(512);
  }
  expect(new Set(networks.map(({ activation }) => activation)).size).toBeGreaterThan(10);
  expect(new Set(networks.map(({ optimizer }) => optimizer.name)).size).toBe(5);
});

test('what training must hold', () => {
  const of = (name: string) => workloads.find((workload) => workload.name === name) ?? workloads[0];
  // W1 without moments; W3 with one for each parameter; W4 with two.
  expect(neededBytes(of('W1'))).toBe(4 * (2 * (784 * 128 + 128 + 1280 + 10) + 32 * (784 + 128 + 10)));
  expect(neededBytes(of('W3'))).toBe(4 * (3 * (784 * 2048 + 2048 + 2048 * 2048 + 2048 + 20480 + 10) + 512 * (784 + 2048 + 2048 + 10)));
  expect(neededBytes(of('W4'))).toBe(4 * (4 * (32 * 64 + 64 + 64 * 64 + 64 + 64 + 1) + 64 * (32 + 64 + 64 + 1)));
});

test('scaling is drawn with a line for each number of threads', () => {
  const quartiles = (median: number) => ({ low: median / 2, median, high: 2 * median, rounds: 3 });
  const point = (threads: number, at: number): ScalingPoint => ({
    ...{ over: 'batch', at, threads, workload: '', samplesPerSecond: 1, gflops: 1 },
    microseconds: quartiles(100 * at),
    shareOfPeak: quartiles(0.4),
  });
  const charts = scalingCharts([point(1, 1), point(1, 2), point(2, 1), point(2, 2)]);
  expect(charts.map(({ y }) => y.label)).toEqual(['time of a step (µs)', '% of peak']);
  // prettier-ignore
  expect(charts[0].series).toEqual([
    { name: '1 thread', points: [[1, 100], [2, 200]], low: [[1, 50], [2, 100]], high: [[1, 200], [2, 400]] },
    { name: '2 threads', points: [[1, 100], [2, 200]], low: [[1, 50], [2, 100]], high: [[1, 200], [2, 400]] },
  ]);
  expect(charts[1].series[0].points).toEqual([[1, 40], [2, 40]]); // prettier-ignore
  expect(scalingCharts([])).toEqual([]);
});

test('predictions are drawn beside what was measured, as far as it was', () => {
  const predictions = [
    { threads: 1, microseconds: { low: 10, high: 10 }, measured: 11, extrapolated: false },
    { threads: 8, microseconds: { low: 2, high: 4 }, extrapolated: true },
  ];
  const [{ series }] = predictionCharts({ limits: [], constants: TYPICAL, errors: [], networks: [], predictions });
  // prettier-ignore
  expect(series).toEqual([
    { name: 'predicted', points: [[1, 10], [8, 4]], low: [[1, 10], [8, 2]], high: [[1, 10], [8, 4]] },
    { name: 'measured', points: [[1, 11], [8, NaN]] },
  ]);
});

test('a job goes on with the batch after the last one’s', async () => {
  const workload = workloads.find(({ name }) => name === 'W4')!;
  const training = new Training(workload, examples(workload), 1);
  const lossAfter = async (...jobs: number[]) => {
    const run = training.restart();
    for (const steps of jobs) await run(steps);
    return training.runtime.batchLoss;
  };
  expect(await lossAfter(3, 7, 1)).toBe(await lossAfter(11));
  expect(await lossAfter(9)).not.toBe(await lossAfter(8));
  training.dispose();
});

test('networks of one output are of mean squared error', () => {
  expect(networkOf([4, 3, 1], 8, 'relu', 'adam')).toMatchObject({ loss: 'meanSquaredError', optimizer: { name: 'adam' } });
  expect(networkOf([4, 3, 2], 8, 'relu', 'momentum')).toMatchObject({
    loss: 'softmaxCrossEntropy',
    optimizer: { name: 'sgd', momentum: 0.9 },
  });
});
