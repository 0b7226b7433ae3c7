// Eigenvalues of a real symmetric matrix: Householder's reduction to tridiagonal form, then QL with implicit shifts (Wilkinson
// and Reinsch 1971; Press et al., Numerical Recipes, 11.2 and 11.3). About (4/3)·n³ operations.

/** In ascending order. @param matrix [n, n], symmetric, in rows; it is overwritten */
export function symmetricEigenvalues(matrix: Float64Array, n: number): Float64Array {
  const diagonal = new Float64Array(n);
  const beside = new Float64Array(n);
  tridiagonalize(matrix, n, diagonal, beside);
  for (let l = 0; l < n; l++) {
    for (let sweep = 0; ; sweep++) {
      // A negligible element beside the diagonal splits the matrix.
      let m = l;
      while (m < n - 1) {
        const size = Math.abs(diagonal[m]) + Math.abs(diagonal[m + 1]);
        if (Math.abs(beside[m]) <= Number.EPSILON * size) break;
        m++;
      }
      // 60 sweeps never happen but for what is not finite.
      if (m === l || sweep === 60) break;
      let g = (diagonal[l + 1] - diagonal[l]) / (2 * beside[l]);
      let r = Math.hypot(g, 1);
      g = diagonal[m] - diagonal[l] + beside[l] / (g + (g < 0 ? -r : r));
      let [s, c, p] = [1, 1, 0];
      let i = m - 1;
      for (; i >= l; i--) {
        const [f, b] = [s * beside[i], c * beside[i]];
        r = Math.hypot(f, g);
        beside[i + 1] = r;
        if (r === 0) {
          diagonal[i + 1] -= p;
          beside[m] = 0;
          break;
        }
        [s, c] = [f / r, g / r];
        g = diagonal[i + 1] - p;
        r = (diagonal[i] - g) * s + 2 * c * b;
        p = s * r;
        diagonal[i + 1] = g + p;
        g = c * r - b;
      }
      if (r === 0 && i >= l) continue;
      diagonal[l] -= p;
      beside[l] = g;
      beside[m] = 0;
    }
  }
  return diagonal.sort();
}

/** `beside[i]` is the element between diagonal[i] and diagonal[i + 1]. */
function tridiagonalize(a: Float64Array, n: number, diagonal: Float64Array, beside: Float64Array): void {
  const w = new Float64Array(n);
  for (let k = 0; k < n - 1; k++) {
    // The reflection of column k below the diagonal onto its first element: v, with a ← a − v·wᵀ − w·vᵀ.
    let norm = 0;
    for (let i = k + 1; i < n; i++) norm += a[i * n + k] ** 2;
    norm = Math.sqrt(norm);
    const head = a[(k + 1) * n + k];
    const alpha = head > 0 ? -norm : norm;
    diagonal[k] = a[k * n + k];
    beside[k] = alpha;
    const half = norm * norm - alpha * head;
    if (half === 0) {
      beside[k] = head;
      continue;
    }
    const v = new Float64Array(n);
    for (let i = k + 1; i < n; i++) v[i] = a[i * n + k];
    v[k + 1] -= alpha;
    let product = 0;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += a[i * n + j] * v[j];
      w[i] = sum / half;
      product += v[i] * w[i];
    }
    for (let i = k + 1; i < n; i++) w[i] -= (product / (2 * half)) * v[i];
    for (let i = k + 1; i < n; i++) for (let j = k + 1; j < n; j++) a[i * n + j] -= v[i] * w[j] + w[i] * v[j];
  }
  diagonal[n - 1] = a[n * n - 1];
}
