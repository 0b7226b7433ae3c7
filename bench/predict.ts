// What a training step will cost, by the model of step-model.ts: on this machine, checked against measurements, and on machines
// with more cores than this one, which nothing here can check. Limits are measured first; the model's constants are fitted to steps
// of random networks, measured in the same run.
import { ACTIVATION_NAMES } from '../src/activations.js';
import { engine } from '../src/engine.js';
import { type Limits, measureLimits } from '../src/limits.js';
import type { LinesChart } from '../src/report/section.js';
import { printLimits } from './limits.js';
import { print, printTable, range, show } from './report.js';
import { type Quartiles, quartiles } from './slices.js';
import {
  type Constants,
  fit,
  type Machine,
  type Sample,
  scaledLimits,
  stepsOf,
  stepTime,
  timeOf,
  type TrainingStep,
  TYPICAL,
} from './step-model.js';
import { plannedStep, Training } from './subject.js';
import { BATCHES, describe, flops, generator, type Network, networkOf, optimizers } from './workloads.js';

/** Softmax, which layers may have as well, is no elementwise function. */
export const activations = ACTIVATION_NAMES.filter((name) => name !== 'softmax');

export interface PredictOptions {
  readonly network: Network;
  /** To predict for. */
  readonly threads: readonly number[];
  /** So many random networks are measured: one half fits the constants, the other tests them. */
  readonly networks: number;
  /** Of a measurement. */
  readonly seconds: number;
}

export interface Prediction {
  readonly threads: number;
  /** Where limits are extrapolated: from the last cache and memory no faster than here, to as many times as fast as there are more cores. */
  readonly microseconds: { readonly low: number; readonly high: number };
  readonly measured?: number;
  readonly extrapolated: boolean;
}

export interface CheckedNetwork {
  readonly network: string;
  readonly half: 'fitted' | 'tested';
  readonly threads: number;
  readonly predicted: number;
  readonly measured: number;
}

export interface PredictReport {
  readonly limits: readonly Limits[];
  readonly constants: Constants;
  readonly errors: readonly { readonly half: CheckedNetwork['half']; readonly threads: number; readonly error: Quartiles }[];
  readonly networks: readonly CheckedNetwork[];
  readonly predictions: readonly Prediction[];
}

/** Median relative error that the check wants. */
const TARGET = 0.1;

/** 1 to 8 layers of 8 to 1024 units, batches of 1 to 512: sizes evenly over their logarithms. The same for every run. */
export function randomNetworks(count: number): Network[] {
  const random = generator(20);
  const upTo = (low: number, high: number): number => Math.round(low * (high / low) ** random());
  const oneOf = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)];
  return Array.from({ length: count }, () => {
    const layers = 1 + Math.floor(random() * 8);
    const units = Array.from({ length: layers + 1 }, () => upTo(8, 1024));
    return networkOf(units, upTo(1, 512), oneOf(activations), oneOf(optimizers));
  });
}

/** What one thread does not tell. */
const BETWEEN: readonly (keyof Constants)[] = ['transfer', 'crossing'];

export async function predict({ network, threads, networks, seconds }: PredictOptions): Promise<PredictReport> {
  const counts = [...new Set([1, engine().threads])];
  const limits = new Map<number, Limits>();
  for (const count of counts) limits.set(count, await measureLimits(engine(), { threads: count, seconds: 3 }));
  printLimits([...limits.values()]);

  const all = randomNetworks(networks);
  const samples: (Sample & { readonly network: Network; readonly half: CheckedNetwork['half'] })[] = [];
  for (const [i, given] of all.entries())
    for (const count of counts)
      samples.push({
        network: given,
        half: i % 2 === 0 ? 'fitted' : 'tested',
        ...planned(given, count),
        machine: machineOf(limits, count, 'shared'),
        seconds: await measure(given, count, seconds),
      });
  const fitted = samples.filter(({ half }) => half === 'fitted');
  const alone = fitted.filter(({ machine }) => machine.threads === 1);
  const names = Object.keys(TYPICAL) as (keyof Constants)[];
  const ofOne = fit(alone, names.filter((name) => !BETWEEN.includes(name)), TYPICAL); // prettier-ignore
  const together = fitted.filter(({ machine }) => machine.threads > 1);
  const constants = fit(together, BETWEEN, ofOne);
  printConstants(constants, networks);

  const checked = samples.map((sample): CheckedNetwork => {
    const { network: given, half, machine, seconds: measured } = sample;
    const predicted = stepTime(sample, machine, constants);
    return { network: describe(given), half, threads: machine.threads, predicted: predicted * 1e6, measured: measured * 1e6 };
  });
  const errors = (['fitted', 'tested'] as const).flatMap((half) =>
    counts.map((count) => {
      const own = checked.filter((each) => each.half === half && each.threads === count);
      return { half, threads: count, error: quartiles(own.map(({ predicted, measured }) => Math.abs(predicted / measured - 1))) };
    }),
  );
  printErrors(errors, networks);
  const predictions = await predictNetwork(network, threads, limits, constants, seconds);
  return { limits: [...limits.values()], constants, errors, networks: checked, predictions };
}

export function planned(network: Network, threads: number): TrainingStep {
  const { plan, division } = plannedStep(network, threads);
  const rows = BATCHES * network.batch;
  return { steps: stepsOf(plan, division, 4 * rows * (network.units[0] ?? 0)), short: division.short };
}

/** Limits of as many threads as were measured, and beyond. */
export function machineOf(limits: ReadonlyMap<number, Limits>, threads: number, outer: 'shared' | 'growing'): Machine {
  const known = [...limits.values()].sort((a, b) => a.threads - b.threads);
  const cache = new Map<number, Limits>();
  return {
    threads,
    limits(active) {
      const found = limits.get(active) ?? cache.get(active);
      if (found) return found;
      const below = known.findLast((each) => each.threads <= active) ?? known[0];
      if (!below) throw new Error('no limits were measured');
      const scaled = scaledLimits(below, active, outer);
      cache.set(active, scaled);
      return scaled;
    },
  };
}

/** Long enough that starting a job does not count, short enough that some are not disturbed. */
const WINDOW_SECONDS = 0.004;
const LEAST_WINDOWS = 5;

/** Seconds of a step in the least disturbed window, as limits are measured. */
export async function measure(network: Network, threads: number, seconds: number): Promise<number> {
  const rows = BATCHES * network.batch;
  const [columns = 0] = network.units;
  const random = generator(1);
  const x = new Float32Array(rows * columns);
  for (let i = 0; i < x.length; i++) x[i] = 2 * random() - 1;
  const y = new Float32Array(rows);
  for (let i = 0; i < rows; i++) y[i] = i % (network.units.at(-1) ?? 1);
  // The learning rate changes no time, and a small one keeps numbers finite.
  const optimizer = { ...network.optimizer, learningRate: 1e-6 };
  const training = new Training({ ...network, optimizer }, { x, y, rows }, threads);
  const run = training.restart();
  let [steps, least] = [1, Infinity];
  const deadline = performance.now() + 1000 * seconds;
  for (let windows = 0; windows < LEAST_WINDOWS || performance.now() < deadline;) {
    const started = performance.now();
    await run(steps);
    const took = (performance.now() - started) / 1000;
    // How many steps fill a window a few do not tell, as to wake a thread takes longer.
    if (took < WINDOW_SECONDS && steps < training.longest) {
      steps = Math.min(2 * steps, training.longest);
      continue;
    }
    windows++;
    least = Math.min(least, took / steps);
  }
  training.dispose();
  return least;
}

async function predictNetwork(
  network: Network,
  threads: readonly number[],
  limits: ReadonlyMap<number, Limits>,
  constants: Constants,
  seconds: number,
): Promise<Prediction[]> {
  const here = engine().threads;
  const results: Prediction[] = [];
  for (const count of threads) {
    const step = planned(network, count);
    const at = (outer: 'shared' | 'growing') => stepTime(step, machineOf(limits, count, outer), constants) * 1e6;
    results.push({
      threads: count,
      microseconds: { low: at('growing'), high: at('shared') },
      ...(count <= here && { measured: (await measure(network, count, seconds)) * 1e6 }),
      extrapolated: count > here,
    });
  }
  printPredictions(network, results);
  printSteps(network, constants, limits);
  return results;
}

function printConstants(constants: Constants, networks: number): void {
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  const nanoseconds = (seconds: number) => `${(seconds * 1e9).toPrecision(2)} ns`;
  print(`\nConstants, fitted to ${Math.ceil(networks / 2)} random networks`);
  printTable([
    ['', 'value', ''],
    ['product', percent(constants.product), 'of the peak, in a product between its edges'],
    ['pack', constants.pack.toFixed(2), 'times reading an operand, to copy it into panels'],
    ['packAcross', constants.packAcross.toFixed(2), 'the same where it lies across the panels'],
    ['tile', nanoseconds(constants.tile), 'an element of a product and block of k'],
    ['elementwise', percent(constants.elementwise), 'of the peak, in elementwise operations'],
    ['bandwidth', percent(constants.bandwidth), 'of the bandwidth of reading, in elementwise ops'],
    ['root', nanoseconds(constants.root), 'an element of an optimizer that divides by a root'],
    ['row', nanoseconds(constants.row), 'a row of a loss'],
    ['overhead', nanoseconds(constants.overhead), 'an instruction'],
    ['transfer', nanoseconds(constants.transfer), 'from core to core, to open a step, claim a part, see it done'],
    ['crossing', nanoseconds(1024 * constants.crossing), 'a KiB that another core wrote, beyond reading it'],
  ]);
}

function printErrors(errors: PredictReport['errors'], networks: number): void {
  print(`\nRelative error of the model over ${networks} random networks: median (quartiles). The tested half was not fitted to.`);
  printTable([
    ['half', 'threads', '% error', ''],
    ...errors.map(({ half, threads, error }) => [
      half,
      `${threads}`,
      range(error, (share) => (100 * share).toFixed(1)),
      half === 'tested' ? `≤ ${100 * TARGET}: ${error.median <= TARGET ? 'met' : 'MISSED'}` : '',
    ]),
  ]);
}

function printPredictions(network: Network, results: readonly Prediction[]): void {
  print(`\n${describe(network)}: a training step`);
  const between = (low: number, high: number, format: (value: number) => string) =>
    format(low) === format(high) ? format(low) : `${format(low)}–${format(high)}`;
  const [first] = results;
  const speed = (microseconds: number) => show(network.batch / (microseconds / 1e6));
  const gflops = (microseconds: number) => show(flops(network) / (microseconds * 1e3));
  printTable([
    ['threads', 'µs predicted', 'measured', 'error', 'samples/s', 'GFLOP/s', `× ${first?.threads ?? 1} thread`],
    ...results.map(({ threads, microseconds: { low, high }, measured }) => [
      `${threads}`,
      between(low, high, show),
      measured === undefined ? 'extrapolated' : show(measured),
      measured === undefined ? '' : `${(100 * (high / measured - 1)).toFixed(0)} %`,
      between(high, low, speed),
      between(high, low, gflops),
      first ? between(first.microseconds.high / high, first.microseconds.high / low, (value) => value.toFixed(1)) : '',
    ]),
  ]);
  if (results.some(({ extrapolated }) => extrapolated))
    print(
      'Extrapolated: nothing here has so many cores. Peak, L1 and L2 are taken to grow with the cores, at the clock of now; the last\n' +
        'cache and memory to be no faster than here (the larger time) or to grow as well (the smaller); the division into parts is\n' +
        'the one that the engine makes for so many threads; a line of the cache to go from core to core as fast as here.',
    );
}

/** Where the time of one thread goes, by op. */
function printSteps(network: Network, constants: Constants, limits: ReadonlyMap<number, Limits>): void {
  const step = planned(network, 1);
  const machine = machineOf(limits, 1, 'shared');
  const total = stepTime(step, machine, constants);
  const byOp = new Map<string, { calls: number; seconds: number }>();
  for (const work of step.steps) {
    const { calls, seconds } = byOp.get(work.op) ?? { calls: 0, seconds: 0 };
    byOp.set(work.op, { calls: calls + 1, seconds: seconds + timeOf(work, machine, constants) });
  }
  print('\nPredicted for one thread, by op');
  printTable([
    ['op', 'calls', 'µs', '%'],
    ...[...byOp]
      .sort(([, a], [, b]) => b.seconds - a.seconds)
      .map(([op, { calls, seconds }]) => [op, `${calls}`, show(seconds * 1e6), ((100 * seconds) / total).toFixed(1)]),
  ]);
}

/** The time of a step over threads: as predicted, with a band where limits are extrapolated, and as measured. */
export function predictionCharts({ predictions }: PredictReport): LinesChart[] {
  const line = (value: (prediction: Prediction) => number) => predictions.map((each) => [each.threads, value(each)] as const);
  const [low, high] = [line(({ microseconds }) => microseconds.low), line(({ microseconds }) => microseconds.high)];
  return [
    {
      type: 'lines',
      title: 'Time of a training step over threads',
      x: { label: 'threads', scale: 'log' },
      y: { label: 'time of a step (µs)', scale: 'log' },
      series: [
        { name: 'predicted', points: high, low, high },
        { name: 'measured', points: line(({ measured = NaN }) => measured) },
      ],
      caption: 'The band: the last cache and memory grow with the cores, or are no faster than here (the line).',
    },
  ];
}
