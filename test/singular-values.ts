// Singular values in float64 by one-sided Jacobi rotations (Hestenes 1958): columns are turned against each other until all are
// orthogonal; their lengths are the singular values.

/** Of an m × n matrix in rows, largest first; as many as it has columns. */
export function singularValues(x: ArrayLike<number>, m: number, n: number): number[] {
  const columns = Array.from({ length: n }, (_, j) => Array.from({ length: m }, (_, i) => x[i * n + j]));
  const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  for (let sweep = 0, turned = true; turned && sweep < 60; sweep++) {
    turned = false;
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) {
        const [a, b, c] = [dot(columns[p], columns[p]), dot(columns[q], columns[q]), dot(columns[p], columns[q])];
        if (Math.abs(c) <= 1e-14 * Math.sqrt(a * b)) continue;
        turned = true;
        const zeta = (b - a) / (2 * c);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        for (let i = 0; i < m; i++) {
          const [left, right] = [columns[p][i], columns[q][i]];
          columns[p][i] = cosine * (left - tangent * right);
          columns[q][i] = cosine * (right + tangent * left);
        }
      }
  }
  return columns.map((column) => Math.sqrt(dot(column, column))).sort((a, b) => b - a);
}
