// How the cost of a training step grows as its work grows: over threads, batch size, width and depth, one at a time. All points of
// an axis take turns in the same rounds, so that growth is told from noise.
import { engine } from '../src/engine.js';
import type { LinesChart } from '../src/report/section.js';
import { peakOf } from './limits.js';
import { print, printTable, range, show } from './report.js';
import { type Quartiles, quartiles, ratios, takeTurns } from './slices.js';
import { prepare } from './subject.js';
import { type Workload, describe, examples, flops, mnistNetwork } from './workloads.js';

export const axes = ['threads', 'batch', 'width', 'depth'] as const;
export type Axis = (typeof axes)[number];

export interface ScalingOptions {
  readonly over: readonly Axis[];
  /** Batch, width and depth are measured on each. */
  readonly threads: readonly number[];
  readonly rounds: number;
  /** Of one slice. */
  readonly seconds: number;
}

export interface ScalingPoint {
  readonly over: Axis;
  /** Threads, rows of a batch, units of every hidden layer, or hidden layers. */
  readonly at: number;
  readonly threads: number;
  readonly workload: string;
  readonly microseconds: Quartiles;
  readonly samplesPerSecond: number;
  /** Of the matrix products. */
  readonly gflops: number;
  /** Of the peak of so many threads, in the same round. */
  readonly shareOfPeak: Quartiles;
  /** Microseconds for one more thread, row, unit or layer than the point before: median of the differences within a round. */
  readonly marginal?: number;
  /** d log time / d log at, from the point before: 1 where time grows as the axis does. */
  readonly exponent?: number;
}

const doubling = (from: number, to: number) => Array.from({ length: Math.log2(to / from) + 1 }, (_, i) => from * 2 ** i);

/** Every axis goes through or near W2: 784-512-512-10, batch 128, Adam. */
const AXES: Readonly<Record<Axis, { readonly points: () => readonly number[]; readonly workload: (at: number) => Workload }>> = {
  threads: { points: () => Array.from({ length: engine().threads }, (_, i) => i + 1), workload: () => mnistNetwork },
  batch: { points: () => doubling(1, 1024), workload: (batch) => ({ ...mnistNetwork, batch }) },
  width: { points: () => doubling(16, 2048), workload: (width) => ({ ...mnistNetwork, units: [width, width, width, 10] }) },
  depth: {
    points: () => doubling(1, 32),
    workload: (depth) => ({ ...mnistNetwork, units: [...new Array<number>(depth + 1).fill(256), 10] }),
  },
};

export async function scaling({ over, threads, ...slice }: ScalingOptions): Promise<ScalingPoint[]> {
  const results: ScalingPoint[] = [];
  for (const axis of over) {
    if (axis === 'threads') results.push(...(await measure(axis, undefined, slice)));
    else for (const count of threads) results.push(...(await measure(axis, count, slice)));
  }
  return results;
}

/** @param threads of every point; undefined: as many as the point says */
async function measure(
  over: Axis,
  threads: number | undefined,
  options: { readonly rounds: number; readonly seconds: number },
): Promise<ScalingPoint[]> {
  const { points, workload } = AXES[over];
  const subjects = points().map((at) => {
    const given = workload(at);
    return { at, given, count: threads ?? at, subject: prepare(given, examples(given), threads ?? at) };
  });
  const peaks = [...new Set(subjects.map(({ count }) => count))].map((threads) => peakOf(engine(), { threads }));
  const variants = subjects.map(({ at, subject }) => ({ name: `${at}`, slice: (seconds: number) => subject.slice(seconds) }));
  const figures = await takeTurns([...variants, ...peaks], options);
  for (const { subject } of subjects) subject.dispose();

  const results = subjects.map(({ at, given, count }, i): ScalingPoint => {
    const seconds = figures.get(`${at}`) ?? [];
    const before = subjects.at(i - 1);
    const lower = i > 0 && before ? { at: before.at, seconds: figures.get(`${before.at}`) ?? [] } : undefined;
    const { median } = quartiles(seconds);
    const gflops = (value: number) => flops(given) / value / 1e9;
    return {
      over,
      at,
      threads: count,
      workload: describe(given),
      microseconds: quartiles(seconds.map((value) => value * 1e6)),
      samplesPerSecond: given.batch / median,
      gflops: gflops(median),
      shareOfPeak: ratios(seconds.map(gflops), figures.get(`peak ${count}`)),
      ...(lower && {
        marginal: (quartiles(seconds.map((value, round) => value - (lower.seconds[round] ?? NaN))).median * 1e6) / (at - lower.at),
        exponent: Math.log(median / quartiles(lower.seconds).median) / Math.log(at / lower.at),
      }),
    };
  });
  printResults(over, results);
  return results;
}

const UNITS: Readonly<Record<Axis, string>> = { threads: 'thread', batch: 'row', width: 'unit', depth: 'layer' };

function printResults(over: Axis, results: readonly ScalingPoint[]): void {
  const [first] = results;
  if (!first) return;
  const fixed = over === 'threads' ? '' : `, on ${first.threads} thread${first.threads === 1 ? '' : 's'}`;
  print(`\nA training step over ${over}${fixed}; from ${first.workload}`);
  printTable([
    [over, 'µs (quartiles)', 'samples/s', 'GFLOP/s', '% of peak', `µs per ${UNITS[over]} more`, 'growth: exponent', '× first'],
    ...results.map(({ at, microseconds, samplesPerSecond, gflops, shareOfPeak, marginal, exponent }) => [
      `${at}`,
      range(microseconds),
      show(samplesPerSecond),
      show(gflops),
      range(shareOfPeak, (share) => (100 * share).toFixed(0)),
      marginal === undefined ? '' : marginal.toPrecision(3),
      exponent === undefined ? '' : exponent.toFixed(2),
      (microseconds.median / first.microseconds.median).toFixed(2),
    ]),
  ]);
}

const LABELS: Readonly<Record<Axis, string>> = {
  threads: 'threads',
  batch: 'rows of a batch',
  width: 'units of every layer',
  depth: 'hidden layers',
};

/** For each axis the time of a step, and its share of the peak, with a line for each number of threads and a band from quartile to quartile. */
export function scalingCharts(results: readonly ScalingPoint[]): LinesChart[] {
  return axes.flatMap((over) => {
    const points = results.filter((point) => point.over === over);
    if (points.length === 0) return [];
    const counts = over === 'threads' ? [undefined] : [...new Set(points.map(({ threads }) => threads))];
    const chart = (title: string, y: LinesChart['y'], value: (point: ScalingPoint) => Quartiles): LinesChart => ({
      type: 'lines',
      title,
      x: { label: LABELS[over], scale: over === 'threads' ? 'linear' : 'log' },
      y,
      series: counts.map((count) => {
        const own = points.filter(({ threads }) => count === undefined || threads === count);
        const line = (edge: keyof Quartiles) => own.map((point) => [point.at, value(point)[edge]] as const);
        const name = count === undefined ? '' : `${count} thread${count === 1 ? '' : 's'}`;
        return { name, points: line('median'), low: line('low'), high: line('high') };
      }),
    });
    const percent = ({ low, median, high, ...rest }: Quartiles): Quartiles => ({
      ...rest,
      low: 100 * low,
      median: 100 * median,
      high: 100 * high,
    });
    return [
      chart(`Time of a training step over ${over}`, { label: 'time of a step (µs)', scale: 'log' }, ({ microseconds }) => microseconds),
      chart(`Share of the machine's peak over ${over}`, { label: '% of peak' }, ({ shareOfPeak }) => percent(shareOfPeak)),
    ];
  });
}
