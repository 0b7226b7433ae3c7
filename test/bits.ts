// Compares floats by their bits: toEqual takes 0 for −0 in arrays, and says little about how two floats differ.

type Bits<T> = T extends Float32Array ? Uint32Array : T extends object ? { [Key in keyof T]: Bits<T[Key]> } : T;

/** A deep copy with every Float32Array as its bits. */
export function bitsOf<T>(value: T): Bits<T> {
  if (value instanceof Float32Array) return new Uint32Array(value.slice().buffer) as Bits<T>;
  if (typeof value !== 'object' || value === null) return value as Bits<T>;
  if (Array.isArray(value)) return value.map(bitsOf) as Bits<T>;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, bitsOf(entry)])) as Bits<T>;
}
