// gradmill/kernels: the bare kernels, for those who benchmark or compose them.
import { engine } from './engine.js';
import { GradmillError } from './errors.js';
import { checkOptions, finiteNumber, flag, oneOf, show, wholeNumber } from './options.js';

export interface GemmOptions {
  /** Rows of c. */
  readonly m: number;
  /** Columns of c. */
  readonly n: number;
  /** Columns of op(a), rows of op(b). */
  readonly k: number;
  /** Row-major [m, k], or [k, m] when transposeA. */
  readonly a: Float32Array;
  /** Row-major [k, n], or [n, k] when transposeB. */
  readonly b: Float32Array;
  /** Row-major [m, n]. Default: new, zeroed. */
  readonly c?: Float32Array;
  readonly transposeA?: boolean;
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

/**
 * c = beta·c + alpha·op(a)·op(b), on the calling thread, by the kernel that training uses. Returns c.
 * Each element is summed over ascending k, starting from beta·c.
 * @throws GradmillError 'invalid-argument', 'unknown-name', 'shape-mismatch' when an array is too short
 */
export function gemm(options: GemmOptions): Float32Array {
  checkOptions('gemm', options, OPTIONS);
  const size = (name: 'm' | 'n' | 'k') => wholeNumber(`gemm: ${name}`, options[name], 0, 0x7fffffff);
  const [m, n, k] = [size('m'), size('n'), size('k')];
  const transposeA = flag('gemm: transposeA', options.transposeA ?? false);
  const transposeB = flag('gemm: transposeB', options.transposeB ?? false);
  const matrix = (name: 'a' | 'b' | 'c', rows: number, columns: number) => {
    const stride = wholeNumber(`gemm: ld${name}`, options[`ld${name}`] ?? Math.max(columns, 1), 1);
    if (stride < columns) throw new GradmillError('shape-mismatch', `gemm: ld${name}: rows of ${name} have ${String(columns)} elements, ld${name} is ${String(stride)}`);
    const length = rows === 0 || columns === 0 ? 0 : (rows - 1) * stride + columns;
    const data = options[name] ?? (name === 'c' ? new Float32Array(length) : undefined);
    if (!(data instanceof Float32Array)) throw new GradmillError('invalid-argument', `gemm: ${name}: expected a Float32Array, got ${show(data)}`);
    if (data.length < length)
      throw new GradmillError('shape-mismatch', `gemm: ${name}: [${String(rows)}, ${String(columns)}] needs ${String(length)} elements, got ${String(data.length)}`);
    return { data, stride };
  };
  const a = matrix('a', transposeA ? k : m, transposeA ? m : k);
  const b = matrix('b', transposeB ? n : k, transposeB ? k : n);
  const c = matrix('c', m, n);
  if (overlaps(c.data, a.data) || overlaps(c.data, b.data)) throw new GradmillError('invalid-argument', 'gemm: c must not share memory with a or b');
  const { isas, isa, strict } = engine();
  engine().gemm(
    {
      ...{ m, n, k, transposeA, transposeB, a: a.data, b: b.data, c: c.data, lda: a.stride, ldb: b.stride, ldc: c.stride },
      alpha: finiteNumber('gemm: alpha', options.alpha ?? 1),
      beta: finiteNumber('gemm: beta', options.beta ?? 0),
    },
    { isa: oneOf('instruction set', options.isa ?? isa, isas), strict: flag('gemm: strict', options.strict ?? strict) },
  );
  return c.data;
}

function overlaps(a: Float32Array, b: Float32Array): boolean {
  return a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength && b.byteOffset < a.byteOffset + a.byteLength;
}
