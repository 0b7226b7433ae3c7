// Eigenvectors of a covariance, with + − × ÷ √ alone: they become weights.

export interface Eigen {
  /** Descending, at least 0. */
  readonly values: Float64Array;
  /** [n, n]: row i belongs to value i. Orthonormal; each one's largest element is positive. */
  readonly vectors: Float64Array;
}

/**
 * Of a symmetric matrix [n, n] without negative eigenvalues, by Jacobi's rotations in cyclic order, from one side (Hestenes 1958;
 * Demmel & Veselić 1992): rows are turned in pairs until all are orthogonal; then each is an eigenvector times its eigenvalue.
 * A multiple of the identity is added first and taken off the values in the end, so that no row vanishes. About 4n³ multiplications
 * a sweep, and a handful of sweeps.
 */
export function symmetricEigen(matrix: Float64Array, n: number): Eigen {
  const rows = matrix.slice();
  let trace = 0;
  for (let i = 0; i < n; i++) trace += rows[i * n + i];
  const shift = trace > 0 ? trace / n : 1;
  for (let i = 0; i < n; i++) rows[i * n + i] += shift;
  const norms = new Float64Array(n); // squared
  const negligible = (Math.max(n, 8) * Number.EPSILON) / 2;
  // Convergence is quadratic: ten sweeps are many.
  for (let sweep = 0, turned = true; turned && sweep < 50; sweep++) {
    turned = false;
    for (let i = 0; i < n; i++) norms[i] = dot(rows, i * n, i * n, n);
    for (let p = 0; p < n - 1; p++)
      for (let q = p + 1; q < n; q++) {
        const [atP, atQ] = [p * n, q * n];
        const product = dot(rows, atP, atQ, n);
        if (Math.abs(product) <= negligible * Math.sqrt(norms[p] * norms[q])) continue;
        turned = true;
        const cotangent = (norms[q] - norms[p]) / (2 * product); // of twice the angle
        const t = (cotangent < 0 ? -1 : 1) / (Math.abs(cotangent) + Math.sqrt(1 + cotangent * cotangent));
        const c = 1 / Math.sqrt(1 + t * t);
        const s = c * t;
        for (let k = 0; k < n; k++) {
          const [x, y] = [rows[atP + k], rows[atQ + k]];
          rows[atP + k] = c * x - s * y;
          rows[atQ + k] = s * x + c * y;
        }
        norms[p] -= t * product;
        norms[q] += t * product;
      }
  }
  const lengths = Float64Array.from({ length: n }, (_, i) => Math.sqrt(dot(rows, i * n, i * n, n)));
  const order = Array.from(lengths.keys()).sort((a, b) => lengths[b] - lengths[a] || a - b);
  const values = Float64Array.from(order, (i) => Math.max(lengths[i] - shift, 0));
  const vectors = new Float64Array(n * n);
  order.forEach((i, to) => {
    const row = rows.subarray(i * n, (i + 1) * n);
    const largest = row.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const divisor = largest < 0 ? -lengths[i] : lengths[i];
    row.forEach((value, k) => (vectors[to * n + k] = value / divisor));
  });
  return { values, vectors };
}

function dot(rows: Float64Array, a: number, b: number, n: number): number {
  // Four sums side by side: an addition waits for the one before.
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let k = 0;
  for (; k + 4 <= n; k += 4) {
    s0 += rows[a + k] * rows[b + k];
    s1 += rows[a + k + 1] * rows[b + k + 1];
    s2 += rows[a + k + 2] * rows[b + k + 2];
    s3 += rows[a + k + 3] * rows[b + k + 3];
  }
  for (; k < n; k++) s0 += rows[a + k] * rows[b + k];
  return s0 + s1 + (s2 + s3);
}
