// Which rows of a table train and which validate: a matter of the seed and the row's number alone.

export interface Split {
  /** Both ascending. */
  readonly training: readonly number[];
  readonly validation: readonly number[];
}

/** Validation takes round(rows · fraction) of the rows and leaves at least one to train on. */
export function splitRows(rows: number, fraction: number, seed: number): Split {
  const validationCount = Math.min(Math.round(rows * fraction), rows - 1);
  // Sorting by a hash that is one-to-one on 32 bits shuffles without ties.
  const key = mix(seed);
  const shuffled = Array.from({ length: rows }, (_, row) => ({ row, order: mix(row ^ key) })).sort((a, b) => a.order - b.order);
  const ascending = (part: typeof shuffled): number[] => part.map(({ row }) => row).sort((a, b) => a - b);
  return { training: ascending(shuffled.slice(validationCount)), validation: ascending(shuffled.slice(0, validationCount)) };
}

/** The finaliser of MurmurHash3: every bit of the input moves every bit of the result, and no two inputs meet. */
function mix(value: number): number {
  let bits = value + 0x9e3779b9;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
