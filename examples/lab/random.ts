// Numbers for generated data: one seed, the same data everywhere.

export interface Random {
  /** Uniform in [0, 1). */
  readonly uniform: () => number;
  /** N(0, 1). */
  readonly normal: () => number;
}

/** Mulberry32 (Ettinger), and Box & Muller's normal numbers from it. */
export function random(seed: number): Random {
  let state = seed;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  return { uniform, normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()) };
}

/** A matrix of N(0, 1), row by row. */
export function normalRows(seed: number, rows: number, columns: number): { data: Float32Array; shape: [number, number] } {
  const { normal } = random(seed);
  return { data: Float32Array.from({ length: rows * columns }, normal), shape: [rows, columns] };
}
