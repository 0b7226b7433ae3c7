// Training steps and predictions against the peers, all in the same rounds. Before anything is timed both sides take the same
// few steps from the same weights on the same examples, and their losses must agree.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { engine } from '../src/engine.js';
import { peakProgram } from './peak.js';
import { type Greeting, Peer, type PeerFamily, launches, peerFamilies } from './peers/peer.js';
import { print, printTable, show } from './report.js';
import { type Quartiles, type Variant, quartiles, takeTurns } from './slices.js';
import { prepare } from './subject.js';
import { type Workload, describe, examples, flops } from './workloads.js';

export interface TrainingOptions {
  readonly workloads: readonly Workload[];
  readonly threads: readonly number[];
  readonly peers: readonly PeerFamily[];
  readonly python: string;
  readonly rounds: number;
  /** Of one slice. */
  readonly seconds: number;
}

/** One line of the report: a library at one workload and thread count. */
export interface Measurement {
  readonly workload: string;
  readonly threads: number;
  readonly who: string;
  readonly family: 'gradmill' | PeerFamily;
  readonly microseconds: Quartiles;
  readonly samplesPerSecond: number;
  readonly gflops: number;
  /** Of the FMA peak measured in the same round; absent where no C++ compiler could build the program. */
  readonly shareOfPeak?: Quartiles;
  /** Its time over gradmill's in the same round: above 1, gradmill is faster. */
  readonly ratio: Quartiles;
  /** The last loss of the check (of a prediction: the first output), which must equal gradmill's. */
  readonly check: number;
  readonly agrees: boolean;
}

export interface TrainingReport {
  /** Names, versions and settings of those that were found. */
  readonly peers: readonly Greeting[];
  readonly results: readonly Measurement[];
}

const TOLERANCE = 1e-3;

export async function training(options: TrainingOptions): Promise<TrainingReport> {
  const folder = await mkdtemp(join(tmpdir(), 'gradmill-bench-'));
  const peers = await startPeers(options);
  try {
    const results: Measurement[] = [];
    for (const workload of options.workloads) results.push(...(await compare(workload, peers, options, join(folder, 'data'))));
    printSummary(results);
    return { peers: peers.map(({ greeting }) => greeting), results };
  } finally {
    for (const peer of peers) peer.stop();
    await rm(folder, { recursive: true });
  }
}

async function startPeers({ peers, python }: TrainingOptions): Promise<Peer[]> {
  const avx512 = engine().isas.includes('avx512');
  const started: Peer[] = [];
  for (const family of peerFamilies) {
    try {
      if (!peers.includes(family)) throw new Error(`${family} is left out: not asked for`);
      for (const launch of launches(family, { python, avx512 })) {
        const peer = await Peer.start(launch);
        started.push(peer);
        print(`${peer.greeting.name}: ${peer.greeting.settings.join(', ')}`);
      }
    } catch (error) {
      print((error as Error).message);
    }
  }
  return started;
}

/** Who is measured in a round, at a number of threads. */
interface Contender extends Variant {
  readonly who: string;
  readonly family: Measurement['family'];
  readonly threads: number;
  /** The most threads it can use: its row beside more threads is the same figure. */
  readonly limit: number;
  readonly check: readonly number[];
}

async function compare(workload: Workload, peers: readonly Peer[], options: TrainingOptions, file: string): Promise<Measurement[]> {
  print(`\n${workload.name}: ${describe(workload)}`);
  const contenders = await prepareAll(workload, peers, options, file);
  const peakOf = await peakProgram(engine().isa).catch(() => undefined);
  const peaks = peakOf
    ? options.threads.map((threads) => ({ name: `peak ${threads}`, slice: async () => (await peakOf(threads, 0.1)).best }))
    : [];
  const figures = await takeTurns([...contenders, ...peaks], options);

  const results = options.threads.flatMap((threads) => {
    const [own, ...others] = contenders.filter((contender) => contender.threads === Math.min(threads, contender.limit));
    const ownSeconds = figures.get(own.name) ?? [];
    const peak = figures.get(`peak ${threads}`);
    return [own, ...others].map(({ name, who, family, check }): Measurement => {
      const seconds = figures.get(name) ?? [];
      const median = quartiles(seconds).median;
      return {
        workload: workload.name,
        threads,
        who,
        family,
        microseconds: quartiles(seconds.map((s) => s * 1e6)),
        samplesPerSecond: workload.batch / median,
        gflops: flops(workload) / median / 1e9,
        ...(peak && { shareOfPeak: quartiles(seconds.map((s, round) => flops(workload) / s / 1e9 / (peak[round] ?? NaN))) }),
        ratio: quartiles(seconds.map((s, round) => s / (ownSeconds[round] ?? NaN))),
        check: check.at(-1) ?? NaN,
        agrees: check.length === own.check.length && check.every((value, i) => agree(value, own.check[i] ?? NaN)),
      };
    });
  });
  printResults(workload, results);
  return results;
}

async function prepareAll(
  workload: Workload,
  peers: readonly Peer[],
  { threads: counts }: TrainingOptions,
  file: string,
): Promise<Contender[]> {
  const data = examples(workload);
  const contenders: Contender[] = [];
  for (const threads of counts) {
    const subject = prepare(workload, data, threads);
    if (contenders.length === 0)
      await writeFile(
        file,
        Buffer.concat(
          [...subject.weights, data.x, data.y].map((floats) => Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength)),
        ),
      );
    const check = await subject.check();
    contenders.push({
      name: `gradmill ${threads}`,
      who: 'gradmill',
      family: 'gradmill',
      threads,
      limit: Infinity,
      check,
      slice: (seconds) => subject.slice(seconds),
    });
  }
  for (const peer of peers) {
    const { name, settings, threads: limit } = peer.greeting;
    // Its first setting tells processes of one family apart.
    const who = `${name}, ${settings[0] ?? ''}`;
    await peer.prepare(workload, data.rows, file);
    for (const threads of new Set(counts.map((count) => Math.min(count, limit)))) {
      const check = await peer.check(threads);
      contenders.push({
        name: `${who} ${threads}`,
        who,
        family: peer.family,
        threads,
        limit,
        check,
        slice: (seconds) => peer.slice(threads, seconds),
      });
    }
  }
  return contenders;
}

function agree(theirs: number, ours: number): boolean {
  return Math.abs(theirs - ours) <= TOLERANCE * Math.max(1, Math.abs(ours));
}

function printResults({ measures, checkSteps }: Workload, results: readonly Measurement[]): void {
  const range = ({ low, median, high }: Quartiles, format: (value: number) => string) =>
    `${format(median)} (${format(low)}–${format(high)})`;
  const percent = (value: number) => (100 * value).toFixed(0);
  const checked = measures === 'step' ? `loss of step ${checkSteps}` : 'first output';
  printTable([
    ['', 'threads', 'µs (quartiles)', 'samples/s', 'GFLOP/s', '% of peak', 'time ÷ gradmill', checked],
    ...results.map((result) => [
      result.who,
      `${result.threads}`,
      range(result.microseconds, show),
      show(result.samplesPerSecond),
      show(result.gflops),
      result.shareOfPeak ? range(result.shareOfPeak, percent) : '–',
      result.family === 'gradmill' ? '' : range(result.ratio, (value) => value.toFixed(2)),
      `${result.check.toFixed(5)}${result.agrees ? '' : ' DIFFERS'}`,
    ]),
  ]);
}

/** Against the fastest process of each family. */
function printSummary(results: readonly Measurement[]): void {
  const own = results.filter(({ family }) => family === 'gradmill');
  const against = ({ workload, threads }: Measurement, family: PeerFamily) => {
    const ratios = results
      .filter((other) => other.family === family && other.workload === workload && other.threads === threads)
      .map(({ ratio }) => ratio);
    const fastest = ratios.sort((a, b) => a.median - b.median).at(0);
    return fastest ? `${fastest.median.toFixed(2)} (${fastest.low.toFixed(2)}–${fastest.high.toFixed(2)})` : '–';
  };
  print('\nHow many times as fast as each peer at its best setting: median (quartiles) of the ratios within a round');
  printTable([
    ['', 'threads', 'µs', '% of peak', ...peerFamilies],
    ...own.map((result) => [
      result.workload,
      `${result.threads}`,
      show(result.microseconds.median),
      result.shareOfPeak ? (100 * result.shareOfPeak.median).toFixed(0) : '–',
      ...peerFamilies.map((family) => against(result, family)),
    ]),
  ]);
  if (results.some(({ agrees }) => !agrees)) {
    print('Some results DIFFER: the sides did not do the same work.');
    process.exitCode = 1;
  }
}
