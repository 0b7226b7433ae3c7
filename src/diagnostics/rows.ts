// The first rows of users' data, for diagnostics that look at a sample.
import { flattened, type NumericArray, type Rows } from '../tensor.js';

/** A copy of at most so many rows, in the type they have. */
export function firstRows(rows: Rows, most: number): NumericArray {
  const count = Math.min(rows.rows, most);
  const { data, columns } = rows;
  if (!Array.isArray(data)) return (data as NumericArray).slice(0, count * columns);
  return flattened({ ...rows, data: data.slice(0, count), rows: count });
}

/** Draws of N(0, 1), the same for the same stream: xorshift32 (Marsaglia 2003), Box and Muller. Only to look with. */
export function normals(count: number, stream: number): Float32Array {
  const next = uniforms(stream);
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()));
}

/** Draws of [0, 1), the same for the same stream. */
export function uniforms(stream: number): () => number {
  let state = Math.imul(stream + 1, 0x9e3779b9) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
