// Training steps and predictions against the peers, all in the same rounds. Before anything is timed both sides take the same
// few steps from the same weights on the same examples, and their losses must agree.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { engineWith, nativeIsa, peakOf } from './limits.js';
import { type BackendName, type Family, type Greeting, Peer, type PeerFamily, launches, peerFamilies } from './peers/peer.js';
import { print, printTable, range, show } from './report.js';
import { type Quartiles, type Variant, quartiles, ratios, takeTurns } from './slices.js';
import { modelOf } from './subject.js';
import { fastest } from './targets.js';
import { type Workload, describe, examples, flops } from './workloads.js';

export interface TrainingOptions {
  readonly workloads: readonly Workload[];
  readonly threads: readonly number[];
  /** Of gradmill, at least one: shares are those of the first one's peak. */
  readonly backends: readonly BackendName[];
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
  readonly family: Family;
  readonly microseconds: Quartiles;
  readonly samplesPerSecond: number;
  readonly gflops: number;
  /** Of the peak measured in the same round. */
  readonly shareOfPeak: Quartiles;
  /** Its time over that of each of gradmill's backends in the same round: above 1, gradmill is faster. */
  readonly ratios: Readonly<Partial<Record<BackendName, Quartiles>>>;
  /** Its own time on the fewest threads asked for, over this one. */
  readonly speedup: Quartiles;
  /**
   * The last loss of the check (of a prediction: the last output), which must equal that of gradmill's first backend. Absent where a
   * library cannot do the same work.
   */
  readonly check?: number;
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
  const sides: Peer[] = [];
  try {
    await startAll(sides, options);
    const results: Measurement[] = [];
    for (const workload of options.workloads) results.push(...(await compare(workload, sides, options, join(folder, 'data'))));
    printSummary(results, options.backends);
    return { peers: sides.map(({ greeting }) => greeting), results };
  } finally {
    for (const side of sides) side.stop();
    await rm(folder, { recursive: true });
  }
}

/** Gradmill first, then the peers that are installed. @throws Error with the reason where one of gradmill's backends does not run */
async function startAll(started: Peer[], { backends, peers, python }: TrainingOptions): Promise<void> {
  // PyTorch has the instruction set of our native engine, beside WebAssembly too. ONNX Runtime takes the best of the machine.
  const avx512 = nativeIsa() === 'avx512';
  const start = async (family: Family) => {
    for (const launch of launches(family, { python, avx512 })) {
      const peer = await Peer.start(launch);
      started.push(peer);
      const { name, settings, reason = settings.join(', ') } = peer.greeting;
      print(`${name}: ${reason}`);
    }
  };
  for (const backend of backends) await start(backend);
  for (const family of peerFamilies) {
    if (!peers.includes(family)) print(`${family} is left out: not asked for`);
    else await start(family).catch((error: unknown) => print(`${family} is left out: ${(error as Error).message}`));
  }
}

/** Who is measured in a round, at a number of threads. */
interface Contender extends Variant {
  readonly who: string;
  readonly family: Family;
  readonly threads: number;
  /** The most threads it can use: its row beside more threads is the same figure. */
  readonly limit: number;
  readonly check: readonly number[];
}

async function compare(workload: Workload, sides: readonly Peer[], options: TrainingOptions, file: string): Promise<Measurement[]> {
  print(`\n${workload.name}: ${describe(workload)}`);
  const contenders = await prepareAll(workload, sides, options, file);
  const isa = sides[0]?.greeting.isa ?? '';
  const owner = await engineWith(isa);
  const peaks = options.threads.map((threads) => peakOf(owner, { threads, isa }));
  const figures = await takeTurns([...contenders, ...peaks], options);

  const at = (threads: number) => contenders.filter((contender) => contender.threads === Math.min(threads, contender.limit));
  /** How many times the seconds of `divisor`, round by round. */
  const ratio = (contender: Contender, divisor: Contender) => ratios(figures.get(contender.name), figures.get(divisor.name));
  const [reference = []] = contenders.map(({ check }) => check);
  const results = options.threads.flatMap((threads) => {
    const own = at(threads).filter(({ family }) => options.backends.some((backend) => backend === family));
    const peak = figures.get(`peak ${threads}`);
    return at(threads).map((contender): Measurement => {
      const { name, who, family, check } = contender;
      const seconds = figures.get(name) ?? [];
      const median = quartiles(seconds).median;
      const rates = seconds.map((s) => flops(workload) / s / 1e9);
      return {
        workload: workload.name,
        threads,
        who,
        family,
        microseconds: quartiles(seconds.map((s) => s * 1e6)),
        samplesPerSecond: workload.batch / median,
        gflops: flops(workload) / median / 1e9,
        shareOfPeak: ratios(rates, peak),
        ratios: Object.fromEntries(own.map((backend) => [backend.family, ratio(contender, backend)])),
        speedup: ratio(contenders.find((other) => other.who === who) ?? contender, contender),
        ...(check.length > 0 && { check: check.at(-1) }),
        agrees: check.length === 0 || (check.length === reference.length && check.every((value, i) => agree(value, reference[i] ?? NaN))),
      };
    });
  });
  printResults(workload, results, options.backends, isa);
  return results;
}

/** Every side gets the same initial weights and examples; peers read them from `file`. */
async function prepareAll(
  workload: Workload,
  sides: readonly Peer[],
  { threads: counts }: TrainingOptions,
  file: string,
): Promise<Contender[]> {
  const data = examples(workload);
  const model = modelOf(workload, 1);
  const all = [...model.weights.map((weight) => weight.data), data.x, data.y];
  model.dispose();
  await writeFile(file, Buffer.concat(all.map((floats) => Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength))));
  const contenders: Contender[] = [];
  for (const side of sides) {
    const { name, settings, threads: limit } = side.greeting;
    // Its first setting tells processes of one family apart.
    const who = [name, ...settings.slice(0, 1)].join(', ');
    const ready = await side.prepare(workload, data.rows, file);
    if (ready !== true) {
      print(`${who} is left out: ${ready}`);
      continue;
    }
    for (const threads of new Set(counts.map((count) => Math.min(count, limit)))) {
      const check = await side.check(threads);
      contenders.push({
        name: `${who} ${threads}`,
        who,
        family: side.family,
        threads,
        limit,
        check,
        slice: (seconds) => side.slice(threads, seconds),
      });
    }
  }
  return contenders;
}

function agree(theirs: number, ours: number): boolean {
  return Math.abs(theirs - ours) <= TOLERANCE * Math.max(1, Math.abs(ours));
}

function printResults(
  { measures, checkSteps }: Workload,
  results: readonly Measurement[],
  backends: readonly BackendName[],
  isa: string,
): void {
  const percent = (value: number) => (100 * value).toFixed(0);
  const checked = measures === 'step' ? `loss of step ${checkSteps}` : 'last output';
  printTable([
    [
      '',
      'threads',
      'µs (quartiles)',
      'samples/s',
      'GFLOP/s',
      `% of ${isa} peak`,
      ...backends.map((backend) => `time ÷ ${backend}`),
      checked,
    ],
    ...results.map((result) => [
      result.who,
      `${result.threads}`,
      range(result.microseconds),
      show(result.samplesPerSecond),
      show(result.gflops),
      range(result.shareOfPeak, percent),
      ...backends.map((backend) => (result.family === backend ? '' : range(result.ratios[backend], times))),
      result.check === undefined ? 'NOT THE SAME WORK' : `${result.check.toFixed(5)}${result.agrees ? '' : ' DIFFERS'}`,
    ]),
  ]);
}

/** Against the fastest process of each family. */
function printSummary(results: readonly Measurement[], backends: readonly BackendName[]): void {
  const against = ({ workload, threads }: Measurement, backend: BackendName, family: PeerFamily) => {
    const rows = results.filter((other) => other.family === family && other.workload === workload && other.threads === threads);
    return range(fastest(rows, ({ samplesPerSecond }) => samplesPerSecond)?.ratios[backend], times);
  };
  // One that cannot do the same work is no measure.
  const families = peerFamilies.filter((family) => results.some((result) => result.family === family && result.check !== undefined));
  const fewest = Math.min(...results.map(({ threads }) => threads));
  print('\nHow many times as fast as each peer at its best setting: median (quartiles) of the ratios within a round');
  for (const backend of backends)
    printTable([
      [`gradmill ${backend}`, 'threads', 'µs', '% of peak', `× ${fewest} thread${fewest === 1 ? '' : 's'}`, ...families],
      ...results
        .filter(({ family }) => family === backend)
        .map((result) => [
          result.workload,
          `${result.threads}`,
          show(result.microseconds.median),
          (100 * result.shareOfPeak.median).toFixed(0),
          result.threads === fewest ? '' : range(result.speedup, times),
          ...families.map((family) => against(result, backend, family)),
        ]),
    ]);
  if (results.some(({ agrees }) => !agrees)) {
    print('Some results DIFFER: the sides did not do the same work.');
    process.exitCode = 1;
  }
}

function times(value: number): string {
  return value.toFixed(2);
}
