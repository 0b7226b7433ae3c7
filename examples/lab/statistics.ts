// What the experiments say about many numbers at once. Spreads are over seeds.

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
}

export function rms(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return Math.sqrt(sum / values.length);
}

/** Of a sample: divided by n − 1. 0 for a single value. */
export function standardDeviation(values: ArrayLike<number>): number {
  if (values.length < 2) return 0;
  const centre = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] - centre) ** 2;
  return Math.sqrt(sum / (values.length - 1));
}

/** Of the mean. */
export function standardError(values: ArrayLike<number>): number {
  return standardDeviation(values) / Math.sqrt(values.length);
}

/** For factors: exp of the mean logarithm. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(mean(values.map(Math.log)));
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Of the least-squares line through the points. */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const [meanX, meanY] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const [above, below] = points.reduce(([xy, xx], [x, y]) => [xy + (x - meanX) * (y - meanY), xx + (x - meanX) ** 2], [0, 0]);
  return above / below;
}

/** One line with a band from the smallest to the largest of the seeds; `runs` holds a curve a seed, all at the same `xs`. */
export function band(
  name: string,
  xs: readonly number[],
  runs: readonly (readonly number[])[],
): { name: string; points: [number, number][]; low: [number, number][]; high: [number, number][] } {
  const across = (of: (values: number[]) => number): [number, number][] => xs.map((x, i) => [x, of(runs.map((run) => run[i]))]);
  return { name, points: across(mean), low: across((values) => Math.min(...values)), high: across((values) => Math.max(...values)) };
}

/** '0.912 ± 0.004': mean and standard deviation over seeds; of a single seed the value alone. */
export function meanAndSpread(values: readonly number[], digits = 3): string {
  if (values.length === 1) return values[0].toFixed(digits);
  return `${mean(values).toFixed(digits)} ± ${standardDeviation(values).toFixed(digits)}`;
}

/** 1 … count: no experiment chooses its seeds. */
export function seedsUpTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1);
}
