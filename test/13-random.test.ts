// Randomness: the generator's published vectors, what each initialiser promises of mean and spread, and shuffles. All draws
// have fixed seeds, so a test passes always or never; limits are three standard errors.
import { describe, expect, test } from 'vitest';
import { engine } from '../src/engine.js';
import { dense, type InitializerInput, sequential, sgd } from '../src/index.js';
import { FEED, Plan, Tensor } from '../src/plan.js';
import { philox } from '../src/reference.js';
import { elementType } from '../src/tensor.js';
import { expectSameBits, onEngine, onThreads, type OpCase, ran, tables } from './engines.js';

const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;

describe('Philox4x32-10', () => {
  // kat_vectors of Random123 (Salmon, Moraes, Dror, Shaw).
  const vectors: [counter: Parameters<typeof philox>[0], key: Parameters<typeof philox>[1], words: number[]][] = [
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  test.each(vectors)('the interpreter: counter %j, key %j', (counter, key, words) => {
    expect(philox(counter, key)).toEqual(words);
  });

  // 10-ops.test.ts compares engine and interpreter under random keys and streams; this one starts from the vector itself.
  test.each(tables)('$name: the first vector, upper 24 bits', (table) => {
    const operands = { state: new Uint32Array(4) };
    const given: OpCase = { op: 'randomUniform', dims: [4], immediates: { stream: 0, low: 0, high: 1 }, operands };
    const words = Array.from(onEngine(given, table).operands.y, (value) => value * 2 ** 24);
    expect(words).toEqual([0x6627e8, 0xe169c5, 0xbc57ac, 0x9b00db]);
  });
});

describe(`draws (${ran})`, () => {
  const draw = (op: OpCase['op'], count: number, stream = 3, seed = [7, 8, 0, 0]): OpCase => ({
    op,
    dims: [count],
    immediates: { stream, ...(op === 'randomUniform' ? { low: -1, high: 1 } : { mean: 0, standardDeviation: 1 }) },
    operands: { state: Uint32Array.from(seed) },
  });
  const ops = ['randomUniform', 'randomNormal', 'randomTruncatedNormal'] as const;

  test.each(ops)('%s: a value depends on seed, stream and index alone, not on how many are drawn', (op) => {
    for (const table of tables) {
      const most = onEngine(draw(op, 300), table).operands.y;
      for (const count of [0, 1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 129, 299])
        expectSameBits(`${count} on ${table.name}`, onEngine(draw(op, count), table).operands.y, most.subarray(0, count));
    }
  });

  test.each(ops)('%s: the same for one to four threads', async (op) => {
    for (const table of tables) {
      const one = onEngine(draw(op, 10_007), table).operands.y;
      for (const threads of [2, 3, 4]) {
        expectSameBits(`${threads} parts on ${table.name}`, onEngine(draw(op, 10_007), table, threads).operands.y, one);
        expectSameBits(`${threads} threads on ${table.name}`, (await onThreads(draw(op, 10_007), table, threads)).operands.y, one);
      }
    }
  });

  test.each(ops)('%s: other streams, seeds and neighbours have nothing in common', (op) => {
    const count = 20_000;
    const [table] = tables;
    const values = onEngine(draw(op, count + 8), table).operands.y;
    const spread = mean(values.map((value) => value * value));
    const others = [draw(op, count, 4), draw(op, count, 3, [8, 8, 0, 0]), draw(op, count, 3, [7, 9, 0, 0])].map(
      (given) => onEngine(given, table).operands.y,
    );
    const shifted = [1, 2, 3, 4, 8].map((lag) => values.subarray(lag, count + lag));
    for (const other of [...others, ...shifted]) {
      const correlation = mean(Array.from({ length: count }, (_, i) => (values[i] * other[i]) / spread));
      expect(Math.abs(correlation)).toBeLessThan(3 / Math.sqrt(count));
    }
  });
});

describe('initialisers', () => {
  const [fanIn, units] = [300, 150];
  const weights = (kernelInitializer: InitializerInput, seed = 6) => {
    const model = sequential({ inputShape: [fanIn], seed, layers: [dense({ units, kernelInitializer, useBias: false })] });
    return model.weights[0].data;
  };

  // Fourth moments over squared variances: the error of a standard deviation is σ·√((kurtosis − 1)/4n).
  const KURTOSIS = { normal: 3, truncatedNormal: 2.3656, uniform: 1.8 };
  type Shape = keyof typeof KURTOSIS;
  const fans = { fanIn, fanOut: units, fanAvg: (fanIn + units) / 2 };

  const cases: [name: string, initializer: InitializerInput, shape: Shape, deviation: number, mean: number][] = [
    ['normal', { name: 'normal' }, 'normal', 0.05, 0],
    ['normal of its own', { name: 'normal', mean: -2, standardDeviation: 3 }, 'normal', 3, -2],
    // Cut at two standard deviations, it spreads less.
    ['truncatedNormal', { name: 'truncatedNormal' }, 'truncatedNormal', 0.05 * 0.87962566, 0],
    ['truncatedNormal of its own', { name: 'truncatedNormal', mean: 1, standardDeviation: 0.5 }, 'truncatedNormal', 0.5 * 0.87962566, 1],
    ['uniform', { name: 'uniform' }, 'uniform', 0.1 / Math.sqrt(12), 0],
    ['uniform of its own', { name: 'uniform', low: 1, high: 4 }, 'uniform', 3 / Math.sqrt(12), 2.5],
    ['lecunNormal', 'lecunNormal', 'normal', Math.sqrt(1 / fanIn), 0],
    ['lecunUniform', 'lecunUniform', 'uniform', Math.sqrt(1 / fanIn), 0],
    ['glorotNormal', 'glorotNormal', 'normal', Math.sqrt(2 / (fanIn + units)), 0],
    ['glorotUniform', 'glorotUniform', 'uniform', Math.sqrt(2 / (fanIn + units)), 0],
    ['heNormal', 'heNormal', 'normal', Math.sqrt(2 / fanIn), 0],
    ['heUniform', 'heUniform', 'uniform', Math.sqrt(2 / fanIn), 0],
    ...(['fanIn', 'fanOut', 'fanAvg'] as const).flatMap((mode) =>
      (['normal', 'truncatedNormal', 'uniform'] as const).map((distribution): (typeof cases)[number] => [
        `varianceScaling ${mode} ${distribution}`,
        { name: 'varianceScaling', scale: 1.7, mode, distribution },
        distribution,
        Math.sqrt(1.7 / fans[mode]),
        0,
      ]),
    ),
  ];

  test.each(cases)('%s', (_, initializer, shape, deviation, center) => {
    const values = weights(initializer);
    const count = values.length;
    const average = mean(values);
    expect(Math.abs(average - center)).toBeLessThan((3 * deviation) / Math.sqrt(count));
    const spread = Math.sqrt(mean(values.map((value) => (value - average) ** 2)));
    expect(Math.abs(spread - deviation)).toBeLessThan(3 * deviation * Math.sqrt((KURTOSIS[shape] - 1) / (4 * count)));
    // Its shape too: Kolmogorov and Smirnov's distance, exceeded by chance once in a thousand.
    const below = {
      normal: gauss,
      truncatedNormal: (z: number) => (gauss(z * 0.87962566) - gauss(-2)) / (gauss(2) - gauss(-2)),
      uniform: flat,
    }[shape];
    const distances = values.toSorted().map((value, i) => Math.abs(below((value - center) / deviation) - (i + 0.5) / count));
    expect(Math.max(...distances) * Math.sqrt(count)).toBeLessThan(1.95);
    // The ends, with room for float32's rounding.
    const furthest = Math.max(...values.map((value) => Math.abs(value - center)));
    if (shape === 'uniform') expect(furthest).toBeLessThanOrEqual(Math.sqrt(3) * deviation * (1 + 2 ** -22));
    if (shape === 'truncatedNormal') expect(furthest).toBeLessThanOrEqual((2 / 0.87962566) * deviation * (1 + 2 ** -20));
    if (shape === 'normal') expect(furthest).toBeGreaterThan(3 * deviation);
  });

  const constants: [InitializerInput, number][] = [
    ['zeros', 0],
    ['ones', 1],
    [{ name: 'constant', value: -0.7 }, Math.fround(-0.7)],
  ];
  test.each(constants)('%j', (initializer, value) => {
    expect(new Set(weights(initializer))).toEqual(new Set([value]));
  });

  test('the defaults are glorotUniform for kernels and zeros for biases', () => {
    const [kernel, bias] = sequential({ inputShape: [fanIn], seed: 6, layers: [dense({ units })] }).weights;
    expectSameBits('kernel', kernel.data, weights('glorotUniform'));
    expect(bias.data).toEqual(new Float32Array(units));
  });

  test('one seed, one network; each weight has a stream of its own', () => {
    const all = (seed: number) =>
      sequential({ inputShape: [64], seed, layers: [dense({ units: 64, biasInitializer: 'normal' }), dense({ units: 64 })] }).weights;
    expect(all(9)).toEqual(all(9));
    const different = [...all(9), ...all(10), ...all(9 + 2 ** 32)].filter(({ name }) => name.endsWith('kernel'));
    expect(new Set(different.map(({ data }) => data.join())).size).toBe(6);
  });
});

describe('shuffles', () => {
  /** Orders that a run of epochs draws, one program for all. */
  function* orders(rows: number, seed: number, isa: { isa: string; strict: boolean } = tables[0]): Generator<Uint32Array> {
    const state = new Tensor('state', [4], 'state', 'u32');
    state.offset = 64;
    const plan = new Plan(engine().ops, 1, false);
    plan.emit('shuffle', [], { state }, { feed: FEED.order });
    const [arena, memory] = [engine().allocate(128), engine().allocate(rows * 4)];
    new Uint32Array(arena.bytes().buffer, arena.bytes().byteOffset + 64, 2).set([seed, seed >>> 1]);
    const program = engine().load(arena, plan.encode(), { ...isa, threads: 1 });
    program.feed(FEED.order, memory.handle, elementType(new Uint32Array()), rows, 1);
    for (;;) {
      program.run(0, 1, 0, 0, 0);
      yield new Uint32Array(memory.bytes().slice().buffer);
    }
  }
  const take = <T>(values: Generator<T>, count: number) => Array.from({ length: count }, () => values.next().value as T);

  test.each([0, 1, 2, 3, 5, 1000, 60_000])('%i rows: permutations, another each epoch, the same for the same seed', (rows) => {
    const drawn = take(orders(rows, 4), 3);
    for (const order of drawn) expect(order.toSorted().every((row, i) => row === i)).toBe(true);
    for (const table of tables) expect(take(orders(rows, 4, table), 3).map(String)).toEqual(drawn.map(String));
    if (rows < 100) return;
    const others = take(orders(rows, 5), 3);
    expect(new Set([...drawn, ...others].map(String)).size).toBe(6);
  });

  test('every permutation of four is as likely as another', () => {
    const counts = new Map<string, number>();
    for (const order of take(orders(4, 11), 12_000)) counts.set(String(order), (counts.get(String(order)) ?? 0) + 1);
    expect(counts.size).toBe(24);
    const square = [...counts.values()].reduce((sum, count) => sum + (count - 500) ** 2 / 500, 0);
    expect(square).toBeLessThan(49.7); // χ², 23 degrees of freedom, one in a thousand
  });

  test('fit draws its orders from the seed', async () => {
    const [x, y] = [Float32Array.from({ length: 64 }, (_, i) => Math.sin(i)), Float32Array.from({ length: 64 }, (_, i) => Math.cos(i))];
    const trained = async (seed: number, shuffle: boolean) => {
      const model = sequential({ inputShape: [1], seed, layers: [dense({ units: 1 })] });
      model.setWeights([{ name: 'dense1/kernel', data: [0.5] }]);
      model.compile({ optimizer: sgd({ learningRate: 0.1 }), loss: 'meanSquaredError' });
      await model.fit(x, y, { epochs: 2, batchSize: 8, shuffle });
      return model.weights.map(({ data }) => data[0]).join();
    };
    expect(await trained(1, true)).toBe(await trained(1, true));
    expect(await trained(1, true)).not.toBe(await trained(2, true));
    expect(await trained(1, false)).toBe(await trained(2, false));
    expect(await trained(1, true)).not.toBe(await trained(1, false));
  });
});

/** Share of N(0, 1) below z, to 10⁻⁷: Abramowitz and Stegun 7.1.26. */
function gauss(z: number): number {
  const t = 1 / (1 + (0.3275911 * Math.abs(z)) / Math.SQRT2);
  const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp((-z * z) / 2);
  return z < 0 ? tail / 2 : 1 - tail / 2;
}

/** Share below z of a uniform distribution of mean 0 and variance 1. */
function flat(z: number): number {
  return Math.min(Math.max(0.5 + z / Math.sqrt(12), 0), 1);
}
