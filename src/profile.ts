// model.profile(…): where a training step's time goes, instruction by instruction. Real steps run on a copy of the model, in one job;
// the engine adds up each instruction's nanoseconds (feedTimes in native/kernels.h), and cost.ts says what the machine could do at best.
import { type Bound, costOf, leastTime } from './cost.js';
import type { DataSet, DataSets } from './dataset.js';
import type { Engine } from './engine.js';
import { GradmillError } from './errors.js';
import type { Examples, Jobs } from './jobs.js';
import { type Limits, measureLimits } from './limits.js';
import { checkOptions, size, wholeNumber } from './options.js';
import { describeOperands, FEED, type Plan } from './plan.js';
import { grouped, tableLines } from './table.js';
import { bytesPerElement, FLOAT64, type NumericArray, type Rows, type TensorInput, UINT32, viewOf } from './tensor.js';
import { Window } from './window.js';

export interface ProfileOptions {
  /** Rows a step. Default 32, or all rows where there are fewer; a larger one than the rows given is an error. */
  readonly batchSize?: number;
  /** Steps that are timed, at least 1, after three that are not. Default: half a second's, from 5 to 1,000. */
  readonly steps?: number;
  /** Default: those that the model was compiled with. */
  readonly threads?: number;
}

/** What instructions took, a step. */
export interface ProfiledWork {
  /** Times that it ran while it was timed. */
  readonly calls: number;
  /** A step's, from the start until the last thread had done its part. */
  readonly microseconds: number;
  /** Of the whole step, in [0, 1]. */
  readonly share: number;
  /** Billions of float operations a second, as cost.ts counts them. */
  readonly gflops: number;
  /** Billions of bytes read and written a second, each operand once. */
  readonly gigabytesPerSecond: number;
  /**
   * The least time that this machine could take, over the time taken: 1 cannot be improved. Small instructions whose operands stay in
   * the nearest cache, where reading and writing go on at once, may be above it.
   */
  readonly shareOfLimit: number;
}

export interface ProfiledInstruction extends ProfiledWork {
  /** Its number in the plan. */
  readonly index: number;
  readonly op: string;
  /** The layer that recorded it, or 'input', 'target', 'loss', 'optimizer'. */
  readonly layer: string;
  /** Sizes, immediates and operands, as `model.plan` prints them. */
  readonly operands: string;
  /** Float operations of one call. */
  readonly flops: number;
  /** Bytes that one call reads and writes at the least. */
  readonly bytes: number;
  /** What its limit is made of: the peak of float operations, or the bandwidth of memory. */
  readonly bound: Bound;
}

/** Instructions of one layer, or of one op. */
export interface ProfiledGroup extends ProfiledWork {
  readonly name: string;
  readonly instructions: number;
}

/** A profile whose arguments are checked. */
export interface PreparedProfile {
  readonly data: Examples;
  readonly batchSize: number;
  readonly steps: number | undefined;
  readonly threads: number | undefined;
}

/** @throws GradmillError for all that can be wrong before data is read */
export function prepareProfile(jobs: Jobs, x: TensorInput, y: TensorInput, options: ProfileOptions): PreparedProfile {
  const given = checkOptions('profile', options, ['batchSize', 'steps', 'threads']);
  const data = jobs.examples('', x, y);
  const batchSize = size('profile: batchSize', given.batchSize ?? Math.min(32, data.rows));
  if (batchSize > data.rows)
    throw new GradmillError('invalid-argument', `profile: batchSize: expected at most the ${data.rows} rows given, got ${batchSize}`);
  jobs.checkBatches('profile', batchSize, batchSize);
  return {
    data,
    batchSize,
    steps: given.steps === undefined ? undefined : wholeNumber('profile: steps', given.steps, 1),
    threads: given.threads === undefined ? undefined : wholeNumber('profile: threads', given.threads, 1, 1024),
  };
}

const [SHORT_STEP, TRIED_STEPS] = [2e-3, 32];
const USUAL = { seconds: 0.5, least: 5, most: 1000 };

/**
 * @param jobs of a copy of the model, compiled for as many threads as are wanted
 * @throws GradmillError what a fit throws; 'out-of-memory'
 */
export async function runProfile(jobs: Jobs, memory: DataSets, { data, batchSize, steps: wanted }: PreparedProfile): Promise<Profile> {
  const { runtime } = jobs;
  const { engine } = runtime;
  const { threads: asked = 1, strict = engine.strict } = runtime.training ?? {};
  // How many there are is known when they have started.
  await engine.ready;
  const threads = Math.min(asked, engine.threads);
  const limits = await limitsOf(engine, threads, strict);

  // Whole batches of what can lie in the engine's memory; in an order of their own, as fit reads them.
  const bytesOfRow = [data.x, data.y].reduce((sum, { type, columns }) => sum + columns * bytesPerElement(type), 0);
  const batches = Math.floor(Math.min(data.rows, Math.max(batchSize, Math.floor(Window.bytes / bytesOfRow))) / batchSize);
  const rows = batches * batchSize;
  const [x, y] = [await memory.copy(firstRows(data.x, rows)), await memory.copy(firstRows(data.y, rows))];
  const shuffled = memory.order(rows);
  await runtime.shuffle(shuffled);

  const kind = `train:${data.kind}` as const;
  /** Returns seconds. */
  const run = async (steps: number, times?: DataSet): Promise<number> => {
    const order = memory.order(steps * batchSize);
    const [once, again] = [shuffled, order].map((set) => viewOf(UINT32, set.memory.bytes(), set.rows));
    for (let at = 0; at < again.length; at += rows) again.set(once.subarray(0, Math.min(rows, again.length - at)), at);
    const sets = { x, y, order, ...(times && { times }) };
    const started = performance.now();
    await jobs.run(kind, batchSize, sets, { rows: order.rows });
    return (performance.now() - started) / 1000;
  };
  // Memory is touched for the first time, and threads are woken.
  await run(1);
  const step = (await run(2)) / 2;
  // The first of short steps are tried with all threads and with one (team.cpp).
  if (threads > 1 && step < SHORT_STEP) await run(TRIED_STEPS);
  const steps = wanted ?? Math.min(Math.max(Math.round(USUAL.seconds / step), USUAL.least), USUAL.most);
  const { plan } = runtime.plan(kind, batchSize);
  const times = memory.times(steps, plan.instructions.length);
  const seconds = await run(steps, times);
  const nanoseconds = viewOf(FLOAT64, times.memory.bytes(), steps * times.columns).slice() as Float64Array;
  return new Profile({ plan, nanoseconds, steps, seconds, batchSize, threads, limits, feedBytes: elementBytes(x, y) });
}

function firstRows(rows: Rows, count: number): Rows {
  const { data, columns } = rows;
  return { ...rows, rows: count, data: Array.isArray(data) ? data : (data as NumericArray).subarray(0, count * columns) };
}

function elementBytes(x: DataSet, y: DataSet): Record<number, number> {
  return { [FEED.input]: bytesPerElement(x.type), [FEED.target]: bytesPerElement(y.type) };
}

/** Of this process: measuring takes a second. */
const known = new WeakMap<Engine, Map<string, Promise<Limits>>>();

function limitsOf(engine: Engine, threads: number, strict: boolean): Promise<Limits> {
  const ofEngine = known.get(engine) ?? new Map<string, Promise<Limits>>();
  known.set(engine, ofEngine);
  const key = `${threads} ${strict}`;
  const limits = ofEngine.get(key) ?? measureLimits(engine, { threads, strict });
  ofEngine.set(key, limits);
  // Another call may have more luck.
  limits.catch(() => ofEngine.delete(key));
  return limits;
}

interface Timed {
  readonly plan: Plan;
  /** [steps, instructions] */
  readonly nanoseconds: Float64Array;
  readonly steps: number;
  /** Of the whole run. */
  readonly seconds: number;
  readonly batchSize: number;
  readonly threads: number;
  readonly limits: Limits;
  readonly feedBytes: Readonly<Record<number, number>>;
}

/** Before rates and shares are made of it. */
interface Work {
  readonly instructions: number;
  readonly seconds: number;
  readonly flops: number;
  readonly bytes: number;
  /** At the limit. */
  readonly least: number;
}

/**
 * Where the time of training steps went. Times are means over the half of the steps that were neither among the fastest nor among the slowest
 * quarter, so what disturbs a few steps does not show. `toString()` is a table for a terminal.
 */
export class Profile {
  /** Rows a step. */
  readonly batchSize: number;
  /** That were timed. */
  readonly steps: number;
  readonly threads: number;
  readonly isa: string;
  /** Of a whole step. */
  readonly microseconds: number;
  /** Of it, what no instruction took: starting the run and going on to the next step. In a page without threads, the page's turns too. */
  readonly outside: number;
  /** The least time that this machine could take for all instructions of a step, over the time that a step took. */
  readonly shareOfLimit: number;
  /** In the plan's order. */
  readonly instructions: readonly ProfiledInstruction[];
  /** Slowest first. */
  readonly layers: readonly ProfiledGroup[];
  /** Slowest first. */
  readonly ops: readonly ProfiledGroup[];
  /** Of this machine with these threads: once a process the engine measures them, for a second. */
  readonly limits: Limits;

  constructor({ plan, nanoseconds, steps, seconds, batchSize, threads, limits, feedBytes }: Timed) {
    const count = plan.instructions.length;
    const means = meansOfMiddle(nanoseconds, steps, count).map((ns) => ns / 1e9);
    const inside = nanoseconds.reduce((sum, ns) => sum + ns, 0) / 1e9;
    const outside = Math.max(0, seconds - inside) / steps;
    const step = means.reduce((sum, s) => sum + s, 0) + outside;

    const works = plan.instructions.map((instruction, i) => {
      const cost = costOf(instruction, batchSize, feedBytes);
      const { seconds: least, bound } = leastTime(cost, limits);
      const { flops, bytesRead, bytesWritten } = cost;
      return { instruction, bound, work: { instructions: 1, seconds: means[i], flops, bytes: bytesRead + bytesWritten, least } };
    });
    const figures = ({ instructions, seconds, flops, bytes, least }: Work): ProfiledWork => {
      // A page's clock may be too coarse to see it.
      const rate = (amount: number): number => (seconds > 0 ? amount / seconds : 0);
      return {
        calls: steps * instructions,
        microseconds: seconds * 1e6,
        share: step > 0 ? seconds / step : 0,
        gflops: rate(flops) / 1e9,
        gigabytesPerSecond: rate(bytes) / 1e9,
        shareOfLimit: rate(least),
      };
    };
    const groups = (nameOf: (instruction: ProfiledInstruction) => string): ProfiledGroup[] =>
      [...new Set(this.instructions.map(nameOf))]
        .map((name) => {
          const members = works.filter((_, i) => nameOf(this.instructions[i]) === name).map(({ work }) => work);
          return { name, instructions: members.length, ...figures(members.reduce(sumOf)) };
        })
        .sort((a, b) => b.microseconds - a.microseconds);

    this.batchSize = batchSize;
    this.steps = steps;
    this.threads = threads;
    this.isa = limits.isa;
    this.microseconds = step * 1e6;
    this.outside = outside * 1e6;
    this.shareOfLimit = step > 0 ? works.reduce((sum, { work }) => sum + work.least, 0) / step : 0;
    this.limits = limits;
    this.instructions = works.map(({ instruction, bound, work }, index) => ({
      index,
      op: instruction.op.name,
      layer: instruction.scope,
      operands: describeOperands(instruction),
      ...figures(work),
      flops: work.flops,
      bytes: work.bytes,
      bound,
    }));
    this.layers = groups(({ layer }) => layer);
    this.ops = groups(({ op }) => op);
  }

  toString(): string {
    const { batchSize, steps, threads, isa, limits, instructions, layers, ops, outside } = this;
    const giga = (perSecond: number): string => number(perSecond / 1e9);
    const size = (bytes: number): string => (bytes < 2 ** 20 ? `${number(bytes / 2 ** 10)} KiB` : `${number(bytes / 2 ** 20)} MiB`);
    const levels = limits.bandwidth.map(({ bytes, perSecond }) => `${giga(perSecond)} GB/s of ${size(bytes)}`);
    const head = ['calls', 'µs', '%', 'GFLOP/s', 'GB/s', '% of limit'];
    const percent = (share: number): string => (100 * share).toFixed(1);
    const cells = (work: ProfiledWork): string[] => [
      grouped(work.calls),
      number(work.microseconds),
      percent(work.share),
      number(work.gflops),
      number(work.gigabytesPerSecond),
      percent(work.shareOfLimit),
    ];
    const table = [
      ['layer', 'op', ...head],
      ...instructions.map((instruction) => [instruction.layer, instruction.op, ...cells(instruction)]),
      ['', 'outside instructions', '', number(outside), percent(outside / this.microseconds), '', '', ''],
    ];
    const operands = ['limit', ...instructions.map(({ bound, operands }) => `${bound}   ${operands}`), ''];
    const groups = (what: string, of: readonly ProfiledGroup[]): string[] =>
      tableLines([[what, ...head], ...of.map((group) => [`${group.name} (${group.instructions})`, ...cells(group)])], 1);
    return [
      `a step of ${batchSize} rows: ${number(this.microseconds)} µs, ${percent(this.shareOfLimit)} % of the limit; ${steps} steps timed, ${threads} thread${threads === 1 ? '' : 's'}, ${isa}`,
      `limits: ${giga(limits.flops)} GFLOP/s; ${levels.join(', ')}`,
      '',
      ...tableLines(table, 2).map((line, i) => `${line}   ${operands[i]}`.trimEnd()),
      '',
      ...groups('by layer', layers),
      '',
      ...groups('by op', ops),
    ].join('\n');
  }
}

function sumOf(a: Work, b: Work): Work {
  return {
    instructions: a.instructions + b.instructions,
    seconds: a.seconds + b.seconds,
    flops: a.flops + b.flops,
    bytes: a.bytes + b.bytes,
    least: a.least + b.least,
  };
}

/** Of each of `count` columns, over the rows without the quarter with the largest sums and that with the smallest. */
function meansOfMiddle(values: Float64Array, rows: number, count: number): number[] {
  const sums = Array.from({ length: rows }, (_, row) =>
    values.subarray(row * count, (row + 1) * count).reduce((sum, value) => sum + value, 0),
  );
  const quarter = Math.floor(rows / 4);
  const kept = [...sums.keys()].sort((a, b) => sums[a] - sums[b]).slice(quarter, rows - quarter);
  return Array.from({ length: count }, (_, column) => kept.reduce((sum, row) => sum + values[row * count + column], 0) / kept.length);
}

/** Three digits or all before the point: 1,234; 123; 12.3; 1.23 */
function number(value: number): string {
  return value >= 100 ? grouped(Math.round(value)) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
