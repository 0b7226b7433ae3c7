// c = beta·c + alpha·op(a)·op(b), the bare kernel, against float64 on every kernel table that this machine runs: shapes on
// both sides of every block, strides wider than rows, arrays that are not aligned, and what must not be read or written.
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { gemm } from '../src/kernels.js';
import { ran, Random, tables } from './engines.js';
import { expectRounded, printWorst } from './rounded.js';

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly alpha: number;
  readonly beta: number;
  /** Elements between the end of a row and the start of the next, in a, b and c. */
  readonly gaps: readonly [number, number, number];
  /** Elements before the first, so that the arrays are not aligned. */
  readonly shift: number;
}

const GAP = 7; // what lies between the rows of c

/** A matrix with gaps of NaN: whoever reads them is found out. */
function matrix(random: Random, rows: number, columns: number, gap: number, shift: number) {
  const stride = Math.max(columns, 1) + gap;
  const length = rows === 0 || columns === 0 ? 0 : (rows - 1) * stride + columns;
  const data = new Float32Array(shift + length).fill(NaN).subarray(shift);
  for (let i = 0; i < rows && columns > 0; i++) data.set(random.floats(columns), i * stride);
  return { data, stride };
}

function check({ m, n, k, transposeA, transposeB, alpha, beta, gaps, shift }: Product, random: Random): void {
  const a = matrix(random, transposeA ? k : m, transposeA ? m : k, gaps[0], shift);
  const b = matrix(random, transposeB ? n : k, transposeB ? k : n, gaps[1], shift);
  const c = matrix(random, m, n, gaps[2], shift);
  const [aRow, aColumn] = transposeA ? [1, a.stride] : [a.stride, 1];
  const [bRow, bColumn] = transposeB ? [1, b.stride] : [b.stride, 1];
  const [factor, old] = [Math.fround(alpha), Math.fround(beta)];
  const [expected, error] = [new Float64Array(m * n), new Float64Array(m * n)];
  for (let i = 0; i < m; i++) {
    const [sums, terms] = [expected, error].map((values) => values.subarray(i * n, (i + 1) * n));
    for (let j = 0; j < n && beta !== 0; j++) terms[j] = Math.abs((sums[j] = old * c.data[i * c.stride + j]));
    for (let p = 0; p < k; p++) {
      const left = factor * a.data[i * aRow + p * aColumn];
      for (let j = 0; j < n; j++) {
        const product = left * b.data[p * bRow + j * bColumn];
        sums[j] += product;
        terms[j] += Math.abs(product);
      }
    }
    for (let j = 0; j < n; j++) terms[j] *= Math.sqrt(Math.max(k, 1));
  }
  for (const { isa, strict, name } of tables) {
    const result = new Float32Array(shift + c.data.length).subarray(shift);
    for (let i = 0; i < result.length; i++) result[i] = i % c.stride < n ? (beta === 0 ? NaN : c.data[i]) : GAP;
    const returned = gemm({
      ...{ m, n, k, transposeA, transposeB, alpha, beta, isa, strict },
      ...{ a: a.data, b: b.data, c: result, lda: a.stride, ldb: b.stride, ldc: c.stride },
    });
    expect(returned).toBe(result);
    const dense = new Float32Array(m * n);
    for (let i = 0; i < result.length; i++) {
      const [row, column] = [Math.floor(i / c.stride), i % c.stride];
      if (column < n) dense[row * n + column] = result[i];
      else if (result[i] !== GAP) expect.fail(`${name}: wrote between rows ${row} and ${row + 1} of c`);
    }
    expectRounded('gemm', name, dense, expected, error);
  }
}

const transposes = [
  { name: 'a·b', transposeA: false, transposeB: false },
  { name: 'aᵀ·b', transposeA: true, transposeB: false },
  { name: 'a·bᵀ', transposeA: false, transposeB: true },
  { name: 'aᵀ·bᵀ', transposeA: true, transposeB: true },
];
const plain = { alpha: 1, beta: 0, gaps: [0, 0, 0], shift: 0 } as const;

describe(`products (${ran})`, () => {
  test.each(transposes)('$name of any small shape', ({ transposeA, transposeB }) => {
    const size = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constantFrom(11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 63, 64, 65));
    const gap = fc.integer({ min: 0, max: 5 });
    const product = fc.record({
      ...{ m: size, n: size, k: size, gaps: fc.tuple(gap, gap, gap), shift: fc.integer({ min: 0, max: 3 }) },
      alpha: fc.constantFrom(1, 1, 0, -1, 0.3),
      beta: fc.constantFrom(0, 0, 1, 1, -0.7),
    });
    fc.assert(
      fc.property(product, fc.nat(), (product, seed) => {
        check({ ...product, transposeA, transposeB }, new Random(seed));
      }),
      { numRuns: 150 },
    );
  });

  // Blocks are some hundreds deep, some tens of rows high and 1024 wide; few rows, few terms and single columns take paths of their own.
  const large: [m: number, n: number, k: number][] = [
    ...[255, 256, 257, 511, 512, 513, 1025].map((k): [number, number, number] => [7, 18, k]),
    ...[31, 32, 33, 47, 48, 49, 95, 97, 112, 225].map((m): [number, number, number] => [m, 19, 33]),
    ...[1023, 1024, 1025, 2050].map((n): [number, number, number] => [5, n, 9]),
    ...[1, 2, 3, 4].flatMap((thin): [number, number, number][] => [
      [thin, 1100, 300],
      [300, thin, 300],
    ]),
    [101, 1030, 260],
    ...[1, 4, 5].flatMap((k): [number, number, number][] => [
      [17, 256, k],
      [100, 1088, k],
    ]),
    // Wide tiles: over two blocks of k; b in place, and packed for its many rows or its size.
    [18, 64, 1030],
    [16, 320, 70],
    [40, 1088, 70],
    [40, 1024, 1030],
    [112, 512, 390],
    [264, 448, 500],
    [700, 40, 300],
    [100, 40, 1],
  ];
  test.each(large)('%i × %i × %i, across blocks', (m, n, k) => {
    const random = new Random(m * n + k);
    for (const transposed of transposes) {
      check({ m, n, k, ...transposed, ...plain }, random);
      check({ m, n, k, ...transposed, alpha: -0.3, beta: 1, gaps: [3, 1, 2], shift: 1 }, random);
      check({ m, n, k, ...transposed, alpha: 1, beta: 1, gaps: [1, 2, 3], shift: 3 }, random);
    }
  });
});

describe(`what is special (${ran})`, () => {
  test.each(tables)('$name: beta 0 does not read c, k 0 still writes it', ({ isa, strict }) => {
    const nothing = new Float32Array(0);
    const c = () => Float32Array.of(NaN, Infinity, 3, 4);
    const empty = { m: 2, n: 2, k: 0, a: nothing, b: nothing, isa, strict };
    expect([...gemm({ ...empty, c: c() })]).toEqual([0, 0, 0, 0]);
    expect([...gemm({ ...empty, c: c(), beta: 0.5 })]).toEqual([NaN, Infinity, 1.5, 2]);
    expect([...gemm({ ...empty, c: c(), beta: 1 })]).toEqual([NaN, Infinity, 3, 4]);
    expect([...gemm({ ...empty, m: 0 })]).toEqual([]);
  });

  test.each(tables)('$name: alpha 0 still multiplies: 0·NaN is NaN', ({ isa, strict }) => {
    const one = { m: 1, n: 1, k: 1, a: Float32Array.of(NaN), b: Float32Array.of(1), isa, strict };
    expect([...gemm({ ...one, alpha: 0 })]).toEqual([NaN]);
  });

  test.each(tables)('$name: NaN and infinity stay in their row and column', ({ isa, strict }) => {
    const random = new Random(1);
    for (const { transposeA, transposeB } of transposes) {
      const [m, n, k] = [13, 35, 300];
      const [a, b] = [random.floats(m * k), random.floats(k * n)];
      a[transposeA ? 150 * m + 6 : 6 * k + 150] = NaN;
      b[transposeB ? 20 * k + 299 : 299 * n + 20] = Infinity;
      const c = gemm({ m, n, k, a, b, transposeA, transposeB, isa, strict });
      const special = Array.from(c, (value, i) => (Number.isFinite(value) ? [] : [i])).flat();
      const expected = Array.from(c, (_, i) => (Math.floor(i / n) === 6 || i % n === 20 ? [i] : [])).flat();
      expect(special).toEqual(expected);
      for (const i of special)
        expect(c[i]).toSatisfy(Math.floor(i / n) === 6 ? Number.isNaN : (value: number) => Math.abs(value) === Infinity);
    }
  });
});

afterAll(printWorst);
