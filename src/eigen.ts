// Eigenvalues and eigenvectors of symmetric matrices, with + − × ÷ √ alone: whitening makes weights of them. Householder's
// reflections make the matrix tridiagonal, QL steps with Wilkinson's shifts diagonal (Golub & Van Loan, Matrix Computations, 8.3).
// Exact to rounding of the largest value. About 8n³ operations, 4/3·n³ without vectors: Jacobi's rotations, which are simpler,
// take five times as many.

export interface Eigen {
  /** Descending. */
  readonly values: Float64Array;
  /** [n, n]: row i belongs to value i. Orthonormal; each one's largest element is positive. */
  readonly vectors: Float64Array;
}

/** In ascending order. @param matrix [n, n], symmetric */
export function symmetricEigenvalues(matrix: Float64Array, n: number): Float64Array {
  const size = sizeOf(matrix);
  const { diagonal, beside } = tridiagonal(matrix, size, n);
  diagonalize(diagonal, beside, n);
  return diagonal.map((value) => value * size).sort();
}

/** @param matrix [n, n], symmetric */
export function symmetricEigen(matrix: Float64Array, n: number): Eigen {
  const size = sizeOf(matrix);
  const { diagonal, beside, reflections, factor } = tridiagonal(matrix, size, n);
  const rows = reflected(reflections, factor, n);
  diagonalize(diagonal, beside, n, rows);
  const order = Array.from(diagonal.keys()).sort((a, b) => diagonal[b] - diagonal[a] || a - b);
  const vectors = new Float64Array(n * n);
  order.forEach((i, to) => {
    const row = rows.subarray(i * n, (i + 1) * n);
    const largest = row.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    vectors.set(largest < 0 ? row.map((value) => -value) : row, to * n);
  });
  return { values: Float64Array.from(order, (i) => diagonal[i] * size), vectors };
}

function sizeOf(matrix: Float64Array): number {
  return matrix.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** Element i lies beside diagonal elements i and i + 1; the last is 0. */
  readonly beside: Float64Array;
  /** Row k, right of the diagonal: v of the reflection I − factor[k]·v·vᵀ that cleared column k below the subdiagonal. */
  readonly reflections: Float64Array;
  readonly factor: Float64Array;
}

/** Of the matrix divided by its size: no square overflows. */
function tridiagonal(matrix: Float64Array, size: number, n: number): Tridiagonal {
  const a = matrix.map((value) => value / size);
  const [diagonal, beside, factor] = [new Float64Array(n), new Float64Array(n), new Float64Array(n)];
  const w = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    diagonal[k] = a[k * n + k];
    if (k + 1 === n) break;
    // The same numbers stand in row k as in column k.
    const v = a.subarray(k * n, (k + 1) * n);
    let below = 0;
    for (let i = k + 2; i < n; i++) below += v[i] * v[i];
    const first = v[k + 1];
    if (below === 0) {
      beside[k] = first;
      continue;
    }
    const norm = Math.sqrt(first * first + below);
    beside[k] = first > 0 ? -norm : norm;
    v[k + 1] = first - beside[k];
    factor[k] = 2 / (v[k + 1] * v[k + 1] + below);
    // The rest becomes A − v·wᵀ − w·vᵀ with w = factor·(A·v − ½·factor·(vᵀ·A·v)·v).
    let product = 0;
    for (let i = k + 1; i < n; i++) {
      const row = i * n;
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += a[row + j] * v[j];
      w[i] = factor[k] * sum;
      product += w[i] * v[i];
    }
    const half = (factor[k] * product) / 2;
    for (let i = k + 1; i < n; i++) w[i] -= half * v[i];
    for (let i = k + 1; i < n; i++) {
      const row = i * n;
      const [vi, wi] = [v[i], w[i]];
      for (let j = k + 1; j < n; j++) a[row + j] -= vi * w[j] + wi * v[j];
    }
  }
  return { diagonal, beside, reflections: a, factor };
}

/** Qᵀ, of matrix = Q·T·Qᵀ: the product of the reflections, last to first, each into rows and columns that those before it leave. */
function reflected(a: Float64Array, factor: Float64Array, n: number): Float64Array {
  const rows = new Float64Array(n * n);
  for (let i = 0; i < n; i++) rows[i * n + i] = 1;
  for (let k = n - 3; k >= 0; k--) {
    if (factor[k] === 0) continue;
    const v = a.subarray(k * n, (k + 1) * n);
    // Each row r becomes r − factor·(r·v)·vᵀ.
    for (let i = k + 1; i < n; i++) {
      const row = i * n;
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += rows[row + j] * v[j];
      const share = factor[k] * sum;
      for (let j = k + 1; j < n; j++) rows[row + j] -= share * v[j];
    }
  }
  return rows;
}

/** Turns the diagonal into eigenvalues, and rows, where given, into their vectors. */
function diagonalize(d: Float64Array, e: Float64Array, n: number, rows?: Float64Array): void {
  for (let start = 0; start < n; start++) {
    // Two steps a value are usual.
    for (let step = 0; step < 100; step++) {
      let end = start;
      while (end + 1 < n && Math.abs(e[end]) > Number.EPSILON * (Math.abs(d[end]) + Math.abs(d[end + 1]))) end++;
      if (end === start) break;
      // The shift is the eigenvalue of the upper left 2 × 2 that is nearer to its corner.
      const half = (d[start + 1] - d[start]) / (2 * e[start]);
      const distance = Math.sqrt(half * half + 1);
      let g = d[end] - d[start] + e[start] / (half + (half < 0 ? -distance : distance));
      let [s, c, p] = [1, 1, 0];
      let i = end - 1;
      for (; i >= start; i--) {
        const [f, b] = [s * e[i], c * e[i]];
        const r = Math.sqrt(f * f + g * g);
        e[i + 1] = r;
        if (r === 0) {
          // The matrix has come apart before the chase has ended.
          d[i + 1] -= p;
          e[end] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        const next = d[i + 1] - p;
        const t = (d[i] - next) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = next + p;
        g = c * t - b;
        if (rows) rotate(rows, i * n, (i + 1) * n, n, c, s);
      }
      if (i >= start) continue;
      d[start] -= p;
      e[start] = g;
      e[end] = 0;
    }
  }
}

function rotate(rows: Float64Array, a: number, b: number, n: number, c: number, s: number): void {
  for (let k = 0; k < n; k++) {
    const [x, y] = [rows[a + k], rows[b + k]];
    rows[a + k] = c * x - s * y;
    rows[b + k] = s * x + c * y;
  }
}
