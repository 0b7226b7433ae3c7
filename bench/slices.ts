// How bench/ measures on a machine that is never quite quiet: variants take turns in short slices, in a new random order every
// round, so that whatever disturbs the machine disturbs all of them; what is reported are medians and quartiles over rounds,
// and of ratios those within one round. Benchmark.js times a slice. Runs in browsers too.
import type Benchmark from 'benchmark';
import { GradmillError, isMissingPackage } from '../src/errors.js';

export interface Variant {
  readonly name: string;
  /** Works for about so many seconds; resolves to its figure (seconds a step, or a rate). */
  readonly slice: (seconds: number) => Promise<number>;
}

/** One figure a round for each variant. */
export async function takeTurns(
  variants: readonly Variant[],
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<Map<string, number[]>> {
  const figures = new Map(variants.map(({ name }) => [name, new Array<number>()]));
  for (let round = 0; round < rounds; round++) {
    for (const { name, slice } of shuffled(variants)) {
      figures.get(name)?.push(await slice(seconds));
      // Threads of the last one fall asleep.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  return figures;
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, place: Math.random() }))
    .sort((a, b) => a.place - b.place)
    .map(({ item }) => item);
}

/** @throws GradmillError 'missing-package', with the command that installs it */
export async function benchmarkLibrary(): Promise<typeof Benchmark> {
  try {
    return (await import('benchmark')).default;
  } catch (cause) {
    if (!isMissingPackage(cause)) throw cause;
    throw new GradmillError('missing-package', 'bench measures with Benchmark.js; run: npm install benchmark', { cause });
  }
}

/** Seconds of one unit of `work`, which resolves to how many it did. */
async function timed(work: () => Promise<number>): Promise<number> {
  const Benchmark = await benchmarkLibrary();
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    let units = 0;
    // A single sample: `work` itself lasts as long as a slice.
    const benchmark = new Benchmark({
      defer: true,
      maxTime: 0,
      minTime: 1e-9,
      minSamples: 1,
      fn: (deferred: { resolve(): void }) => {
        work().then(
          (done) => {
            units += done;
            deferred.resolve();
          },
          (error: unknown) => {
            failure = error as Error;
            benchmark.abort();
            deferred.resolve();
          },
        );
      },
    });
    benchmark.on('complete', () => {
      if (failure) reject(failure);
      else resolve((benchmark.stats.mean * benchmark.stats.sample.length) / units);
    });
    benchmark.run({ async: true });
  });
}

/** How much of a slice goes by untimed before it begins; the same for peers (pytorch.py, library.mjs, sgemm.cpp). */
export function warmUp(seconds: number): number {
  return Math.min(0.01, seconds / 3);
}

/** Of one job, in seconds: long beside what starting it takes. */
const LONGEST_JOB = 0.04;

interface RepeatedOptions {
  /** Called before every slice. */
  readonly start?: () => void;
  /** Calls that one job can do. Default: any number. */
  readonly most?: number;
}

/**
 * The mean seconds of a call, over a slice of jobs that repeat it: untimed ones for a while, then timed ones for as long as was asked
 * or longer; in both at least one call, as peers do. How many make a job is found by doubling before the first slice, not in each.
 */
export function repeated(run: (calls: number) => Promise<void>, { start, most = Infinity }: RepeatedOptions = {}): Variant['slice'] {
  let each: number | undefined;
  const fill = async (seconds: number, mean: number): Promise<number> => {
    const started = performance.now();
    const left = () => seconds - (performance.now() - started) / 1000;
    let done = 0;
    do {
      const calls = Math.ceil(Math.min(left(), LONGEST_JOB) / mean);
      const job = Math.max(1, Math.min(calls, most));
      await run(job);
      done += job;
    } while (left() > 0);
    return done;
  };
  return async (seconds) => {
    const mean = (each ??= await secondsOf(run, most));
    start?.();
    await fill(warmUp(seconds), mean);
    return (each = await timed(() => fill(seconds, mean)));
  };
}

/** Roughly, of a call. */
async function secondsOf(run: (calls: number) => Promise<void>, most: number): Promise<number> {
  for (let calls = 1; ; calls = Math.min(2 * calls, most)) {
    const started = performance.now();
    await run(calls);
    const seconds = (performance.now() - started) / 1000;
    if (seconds > 0.01 || calls === most) return seconds / calls;
  }
}

export interface Quartiles {
  readonly low: number;
  readonly median: number;
  readonly high: number;
  /** How many figures they are taken over. */
  readonly rounds: number;
}

export function quartiles(values: readonly number[]): Quartiles {
  return { low: quantile(values, 0.25), median: quantile(values, 0.5), high: quantile(values, 0.75), rounds: values.length };
}

/** Of the quotients within a round. */
export function ratios(values: readonly number[] = [], divisors: readonly number[] = []): Quartiles {
  return quartiles(values.map((value, round) => value / (divisors[round] ?? NaN)));
}

/** By linear interpolation between the two nearest values. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)] ?? NaN;
  const above = sorted[Math.ceil(at)] ?? NaN;
  return below + (above - below) * (at - Math.floor(at));
}
