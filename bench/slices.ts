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

/** Seconds of one call, the mean over a slice. A call should take tens of milliseconds: a shorter job repeats its step inside. */
export async function timeSlice(call: () => Promise<unknown>, seconds: number): Promise<number> {
  const Benchmark = await benchmarkLibrary();
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    const benchmark = new Benchmark({
      defer: true,
      maxTime: seconds,
      minTime: 0.001,
      minSamples: 1,
      fn: (deferred: { resolve(): void }) => {
        call().then(
          () => deferred.resolve(),
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
      else resolve(benchmark.stats.mean);
    });
    benchmark.run({ async: true });
  });
}

/** How often a job should repeat its step so that one call lasts about 40 ms: found by doubling. */
export async function callsWorth(run: (calls: number) => Promise<void>): Promise<number> {
  for (let calls = 1; ; calls *= 2) {
    const started = performance.now();
    await run(calls);
    const milliseconds = performance.now() - started;
    if (milliseconds > 10) return Math.max(1, Math.round((calls * 40) / milliseconds));
  }
}

/** Mean seconds of a step, over a slice of jobs that repeat it. */
export async function timeRepeated(run: (calls: number) => Promise<void>, seconds: number): Promise<number> {
  await run(1);
  const calls = await callsWorth(run);
  return (await timeSlice(() => run(calls), seconds)) / calls;
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

/** By linear interpolation between the two nearest values. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)] ?? NaN;
  const above = sorted[Math.ceil(at)] ?? NaN;
  return below + (above - below) * (at - Math.floor(at));
}
