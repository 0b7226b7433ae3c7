// The bare matrix product.
import { engine } from './engine.js';
import { GradmillError } from './errors.js';
import { checkOptions, finiteNumber, flag, oneOf, show, size } from './options.js';
import { isDetached, isFloats, overlaps, zeroed } from './tensor.js';

export interface GemmOptions {
  /** Rows of c. At least 0, as n and k. */
  readonly m: number;
  /** Columns of c. */
  readonly n: number;
  /** Columns of op(a), rows of op(b). */
  readonly k: number;
  /** Row-major [m, k], or [k, m] when transposeA. */
  readonly a: Float32Array;
  /** Row-major [k, n], or [n, k] when transposeB. */
  readonly b: Float32Array;
  /** Row-major [m, n], apart from a and b in memory. Default: new, zeroed. */
  readonly c?: Float32Array;
  /** Default false. */
  readonly transposeA?: boolean;
  /** Default false. */
  readonly transposeB?: boolean;
  /** Default 1. */
  readonly alpha?: number;
  /** Default 0: c is written, not read. */
  readonly beta?: number;
  /** Elements from row to row; default: the row's length. */
  readonly lda?: number;
  readonly ldb?: number;
  readonly ldc?: number;
  /** Default: backend().isa. */
  readonly isa?: string;
  /** Multiply and add instead of fma: the same bits everywhere. Default: backend().strict. */
  readonly strict?: boolean;
}

const OPTIONS = ['m', 'n', 'k', 'a', 'b', 'c', 'transposeA', 'transposeB', 'alpha', 'beta', 'lda', 'ldb', 'ldc', 'isa', 'strict'];

interface Matrix {
  readonly data: Float32Array;
  readonly stride: number;
}

/**
 * c = beta·c + alpha·op(a)·op(b), on the calling thread, by the kernel that training uses. Returns c.
 * Each element is summed over ascending k, starting from beta·c.
 * @throws GradmillError 'invalid-argument', 'unknown-name', 'shape-mismatch' when an array is too short, 'size-overflow',
 * 'out-of-memory' for a c of its own, 'buffer-detached', 'backend-unavailable'
 */
export function gemm(options: GemmOptions): Float32Array {
  const given = { transposeA: false, transposeB: false, alpha: 1, beta: 0, ...checkOptions('gemm', options, OPTIONS) };
  const [m, n, k] = [size('gemm: m', given.m, 0), size('gemm: n', given.n, 0), size('gemm: k', given.k, 0)];
  const transposeA = flag('gemm: transposeA', given.transposeA);
  const transposeB = flag('gemm: transposeB', given.transposeB);
  const [alpha, beta] = [finiteNumber('gemm: alpha', given.alpha), finiteNumber('gemm: beta', given.beta)];
  const current = engine();
  const { isa = current.isa, strict = current.strict } = given;
  const choice = { isa: oneOf('instruction set', isa, current.isas), strict: flag('gemm: strict', strict) };

  const matrix = (name: 'a' | 'b' | 'c', rows: number, columns: number): Matrix => {
    const { [`ld${name}` as const]: distance = Math.max(columns, 1) } = given;
    const stride = size(`gemm: ld${name}`, distance);
    if (stride < columns)
      throw new GradmillError('shape-mismatch', `gemm: ld${name}: expected at least the ${columns} columns of ${name}, got ${stride}`);
    const length = rows === 0 || columns === 0 ? 0 : (rows - 1) * stride + columns;
    const data = name === 'c' && given.c === undefined ? zeroed('gemm: c', Float32Array, length) : given[name];
    if (!isFloats(data)) throw new GradmillError('invalid-argument', `gemm: ${name}: expected a Float32Array, got ${show(data)}`);
    if (isDetached(data)) throw new GradmillError('buffer-detached', `gemm: ${name}: its buffer was transferred`);
    if (data.length < length)
      throw new GradmillError('shape-mismatch', `gemm: ${name}: [${rows}, ${columns}] needs ${length} elements, got ${data.length}`);
    return { data, stride };
  };
  const a = matrix('a', transposeA ? k : m, transposeA ? m : k);
  const b = matrix('b', transposeB ? n : k, transposeB ? k : n);
  const c = matrix('c', m, n);
  if (overlaps(c.data, a.data) || overlaps(c.data, b.data))
    throw new GradmillError('invalid-argument', 'gemm: c must not share memory with a or b');
  const arrays = { a: a.data, b: b.data, c: c.data, lda: a.stride, ldb: b.stride, ldc: c.stride };
  current.gemm({ m, n, k, transposeA, transposeB, alpha, beta, ...arrays }, choice);
  return c.data;
}
