// The ops that measure, beyond what 10-ops says of every op: numbers of any size, counts that are exact, singular values against
// Jacobi's method in float64.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { expectSameBits, onEngine, ran, Random, tables } from './engines.js';
import { singularValues } from './singular-values.js';

const FIELDS = ['mean', 'variance', 'square', 'min', 'max', 'zeros', 'small', 'elements'] as const;

/** What the op says of some numbers, on every table: they must agree, as it uses no fma. */
function statistics(x: Float32Array, options: { readonly minus?: Float32Array; readonly threshold?: number } = {}) {
  const { minus, threshold = 0 } = options;
  const results = tables.map((table) => {
    const given = { op: 'statistics' as const, dims: [1, x.length], immediates: { threshold }, operands: { x, minus } };
    return onEngine(given, table).operands.statistics as Float64Array;
  });
  for (const [i, result] of results.entries()) expectSameBits(tables[i].name, result, results[0]);
  return Object.fromEntries(FIELDS.map((field, i) => [field, results[0][i]])) as Record<(typeof FIELDS)[number], number>;
}

const sum = (values: Iterable<number>) => Array.from(values).reduce((total, value) => total + value, 0);

describe(`statistics (${ran})`, () => {
  test('of a known row', () => {
    const { mean, variance, square, ...exact } = statistics(Float32Array.of(-2, 0, 0, 1, 6, 1), { threshold: 1 });
    expect(exact).toEqual({ min: -2, max: 6, zeros: 1 / 3, small: 1 / 3, elements: 6 });
    expect([mean, variance, square]).toEqual([1, 6, 7]);
  });

  test('of x − minus', () => {
    const [x, minus] = [Float32Array.of(5, 5, 5, 9), Float32Array.of(5, 4, 6, 5)];
    expect(statistics(x, { minus, threshold: 1.5 })).toEqual({
      mean: 1,
      variance: 3.5,
      square: 4.5,
      min: -1,
      max: 4,
      zeros: 0.25,
      small: 0.75,
      elements: 4,
    });
  });

  test('of 0 and −0, wherever they lie: 0', () => {
    for (const x of [[0, 0, 0, 0, -0], [-0, -0, -0, -0, 0], [-0, 0, -0], [-0]]) {
      const { mean, min, max } = statistics(Float32Array.from(x));
      expect([mean, min, max]).toEqual([0, 0, 0]);
    }
  });

  test('of nothing: zeros', () => {
    expect(Object.values(statistics(new Float32Array(0)))).toEqual(FIELDS.map(() => 0));
  });

  test.each([0.1, -7, 0, 1e-40, 3e38])('of 10,000 times %f: no variance', (value) => {
    const { mean, variance, square, min, max } = statistics(new Float32Array(10_000).fill(value));
    const float = Math.fround(value);
    expect({ mean, variance, min, max }).toEqual({ mean: float, variance: 0, min: float, max: float });
    expect(Math.sqrt(square)).toBeCloseTo(Math.abs(float), Math.abs(float) < 1e30 ? 6 : -33);
  });

  test('squares that a float could not hold: sizes from 10⁻³⁸ to 10³⁶ are only scaled', () => {
    const x = new Random(3).floats(5000);
    const plain = statistics(x);
    for (const power of [-120, -60, 60, 118]) {
      const scaled = statistics(x.map((value) => value * 2 ** power));
      expect(scaled.square / 4 ** power).toBe(plain.square);
      expect(scaled.variance / 4 ** power).toBe(plain.variance);
      expect(scaled.mean / 2 ** power).toBe(plain.mean);
    }
  });

  test('two passes: a spread of 1 round a million', () => {
    const random = new Random(4);
    const x = Float32Array.from({ length: 20_000 }, () => 1e6 + random.uniform(-1, 1));
    const mean = sum(x) / x.length;
    const variance = sum(x.map((value) => value - mean).map((value) => value ** 2)) / x.length;
    expect(statistics(x).variance / variance).toBeCloseTo(1, 2);
  });

  test('equals float64 on random rows, their tails included', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 1e6 }), (length, seed) => {
        const x = new Random(seed).floats(length, -3, 1).map((value) => (value > 0.5 ? 0 : value));
        const { mean, variance, square, min, max, zeros, small } = statistics(x, { threshold: 0.25 });
        expect(mean).toBeCloseTo(sum(x) / length, 5);
        expect(square).toBeCloseTo(sum(Array.from(x, (value) => value ** 2)) / length, 4);
        expect(variance).toBeCloseTo(sum(Array.from(x, (value) => (value - mean) ** 2)) / length, 4);
        expect([min, max]).toEqual([Math.min(...x), Math.max(...x)]);
        expect(zeros).toBe(x.filter((value) => value === 0).length / length);
        expect(small).toBe(x.filter((value) => Math.abs(value) < 0.25).length / length);
      }),
      { numRuns: 100 },
    );
  });
});

describe(`histogram (${ran})`, () => {
  const counts = (x: Float32Array, low: number, high: number) => {
    const operands = { x, statistics: Float64Array.of(0, 0, 0, low, high, 0, 0, x.length) };
    const [first, ...others] = tables.map((table) =>
      Array.from(onEngine({ op: 'histogram', dims: [1, x.length], operands }, table).operands.counts),
    );
    for (const other of others) expect(other).toEqual(first);
    return first;
  };

  test('every edge belongs to the bin above it, the largest number to the last bin', () => {
    const x = Float32Array.from({ length: 33 }, (_, i) => i / 8);
    expect(counts(x, 0, 4)).toEqual([...new Array<number>(31).fill(1), 2]);
  });

  test('numbers outside, and those that are none, are not counted', () => {
    expect(sum(counts(Float32Array.of(-1, 0, 0.5, 1, 2, NaN, Infinity), 0, 1))).toBe(3);
  });

  test('equal numbers fall into the first bin', () => {
    for (const value of [3, Infinity]) {
      expect(counts(new Float32Array(7).fill(value), value, value)).toEqual([7, ...new Array<number>(31).fill(0)]);
      expect(counts(new Float32Array(200).fill(value), value, value)).toEqual([200, ...new Array<number>(31).fill(0)]);
    }
  });

  test('ranges that are hardly one', () => {
    for (const [low, high] of [
      [0, 1e-45],
      [-3e38, 3e38],
      [-1e308, 1e308],
      [1, 1 + 2 ** -23],
    ])
      expect(sum(counts(Float32Array.of(low, high, (low + high) / 2), low, high))).toBeGreaterThan(0);
  });
});

describe(`columnDistances (${ran})`, () => {
  test('of a known pair, updates as small as they come', () => {
    const x = Float32Array.of(3, 1e-30, 1, 4, 0, 1);
    const from = Float32Array.of(0, 0, 1, 0, 0, 1);
    for (const table of tables) {
      const squares = onEngine({ op: 'columnDistances', dims: [2, 3], operands: { x, from } }, table).operands.squares;
      expect(Array.from(squares)).toEqual([25, Math.fround(1e-30) ** 2, 0]);
    }
  });
});

describe(`spectralNorm (${ran})`, () => {
  /** The estimate after so many iterations from a start of noise, on every table. */
  function estimates(x: Float32Array, m: number, n: number, iterations: number): number[] {
    return tables.map((table) => {
      let v: Float32Array = new Random(9).floats(n);
      let square = 0;
      for (let left = iterations; left > 0; left -= 50) {
        const { operands } = onEngine({ op: 'spectralNorm', dims: [m, n], immediates: { iterations: 50 }, operands: { x, v } }, table);
        v = operands.next as Float32Array;
        [square] = operands.square;
      }
      return Math.sqrt(square);
    });
  }

  test.each([
    [1, 1],
    [1, 17],
    [17, 1],
    [5, 9],
    [20, 20],
    [33, 16],
    [7, 64],
  ])('of a random %i × %i matrix equals the largest singular value', (m, n) => {
    const x = new Random(m + 100 * n).floats(m * n);
    const [largest] = singularValues(x, m, n);
    for (const estimate of estimates(x, m, n, 400)) {
      expect(estimate / largest).toBeCloseTo(1, 3);
      // From below, but for rounding.
      expect(estimate).toBeLessThan(largest * (1 + 1e-5));
    }
  });

  test('of matrices of any size of numbers', () => {
    const x = new Random(2).floats(12 * 8);
    const [largest] = singularValues(x, 12, 8);
    for (const scale of [2 ** -40, 2 ** 40])
      for (const estimate of estimates(x.map((value) => value * scale), 12, 8, 200)) expect(estimate / scale / largest).toBeCloseTo(1, 3); // prettier-ignore
  });

  test('of a rank-one matrix in one iteration; of a diagonal one; of zeros', () => {
    const [u, v] = [Float32Array.of(1, 2, 2), Float32Array.of(3, 4)];
    const outer = Float32Array.from({ length: 6 }, (_, i) => u[Math.floor(i / 2)] * v[i % 2]);
    const diagonal = Float32Array.from({ length: 9 }, (_, i) => (i % 4 === 0 ? [1, -5, 2][i / 4] : 0));
    for (const estimate of estimates(outer, 3, 2, 50)) expect(estimate).toBeCloseTo(15, 4);
    for (const estimate of estimates(diagonal, 3, 3, 50)) expect(estimate).toBeCloseTo(5, 5);
    for (const estimate of estimates(new Float32Array(9), 3, 3, 50)) expect(estimate).toBe(0);
  });
});
