// What a model's calls have in common: data checked against the model, plans run over it, on the engine's threads or at once, and what
// they found out. model.ts queues the calls, fit.ts loops over them, runtime.ts holds the memory, faults.ts words the errors.
import type { NamedLayer } from './architecture.js';
import { type AnySet, type DataSet, type DataSets, feed } from './dataset.js';
import type { WatchedBatches } from './engine.js';
import { GradmillError } from './errors.js';
import { badNumber, describeFault } from './faults.js';
import { LARGEST_SIZE } from './options.js';
import { ALIGNMENT, FEED, type Plan } from './plan.js';
import type { PlanKind, Runtime, TargetKind, WatchedPlan } from './runtime.js';
import { platform } from './platform.js';
import { flattened, type NumericArray, type Rows, type TensorInput, toRows } from './tensor.js';
import type { Piece, RunSets } from './window.js';

export interface Evaluation {
  /** 'mean': over all loss terms of all rows, however they were batched; 'sum': their sum. */
  readonly loss: number;
  /** Share of rows predicted right; present when compiled with the metric. */
  readonly accuracy?: number;
}

/** Rows with their targets, checked against the model. */
export interface Examples {
  readonly x: Rows;
  readonly y: Rows;
  readonly rows: number;
  readonly kind: TargetKind;
}

/** The same, for runs. */
export interface LoadedExamples {
  readonly x: AnySet;
  readonly y: AnySet;
  readonly rows: number;
  readonly kind: TargetKind;
}

export interface RunRange {
  /** In the run's order. Default 0. */
  readonly firstRow?: number;
  readonly rows: number;
  /** Steps of this fit before this run, for messages. */
  readonly firstBatch?: number;
  /** Read every row without computing: faults tell of bad data before a weight changes. */
  readonly onlyCheck?: boolean;
  /** Stops the run before its next batch. */
  readonly signal?: AbortSignal;
  readonly watch?: Watch | undefined;
  /** Awaited after every batch of the run, counted from 1; may run others. A job a batch then, else as few as can be. */
  readonly afterBatch?: ((batch: number, rows: number) => Promise<void>) | undefined;
  /** On the calling thread where the work is brief: a single call, not one of many that would keep the event loop busy. */
  readonly atOnce?: boolean;
}

/** Every so many steps of a fit, from its first on, one is done by the plan that measures. */
export interface Watch {
  readonly every: number;
  /** Where the engine puts what such steps have measured, a row each; a job ends with the step that fills it. */
  readonly samples: DataSet;
  /** Told when a job has ended, well or not: rows 0 to `count` of `samples` are in, the first one of that step of this fit, from 1. */
  readonly measured: (plan: WatchedPlan, step: number, count: number) => void;
  /** Awaited when a job that measured has ended well; may run others. */
  readonly afterJob: () => Promise<void>;
}

/** A piece of a run that one call of the engine does. */
export interface Job {
  readonly kind: PlanKind;
  readonly batch: number;
  readonly piece: Piece;
  /** Steps of this fit before it, for messages. */
  readonly firstBatch: number;
  readonly onlyCheck: boolean;
  readonly signal: AbortSignal | undefined;
  readonly watch: Watch | undefined;
  readonly atOnce: boolean;
}

/** Rows that a plan for prediction or evaluation holds unless asked for more: larger batches gain nothing. */
export const WIDEST_BATCH = 256;

export class Jobs {
  #lastPlan: Plan | undefined;
  /** Of the run, before its present job. */
  #batchesBefore = 0;

  constructor(readonly runtime: Runtime) {}

  // ── Data ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** One example may come flat, without a dimension for rows. @throws what toRows throws; GradmillError 'shape-mismatch' */
  inputRows(what: string, x: TensorInput, into?: Rows): Rows {
    const rows = toRows(what, x, into);
    const { columns } = this.runtime;
    if (rows.columns === columns || rows.rows === 0) return rows;
    if (rows.columns === 1 && rows.rows === columns) {
      if (Array.isArray(rows.data)) rows.data = [rows.data];
      rows.rows = 1;
      rows.columns = columns;
      return rows;
    }
    const flat = rows.columns === 1 && rows.rows % columns === 0;
    const hint = flat ? `; for ${rows.rows / columns} examples pass tensor(data, [${rows.rows / columns}, ${columns}])` : '';
    throw new GradmillError(
      'shape-mismatch',
      `${what}: the model's input has ${columns} numbers an example, ${what} has ${rows.columns}${hint}`,
    );
  }

  /** @param prefix of 'x' and 'y' in messages; @throws the same; GradmillError 'empty-data', 'not-compiled' */
  examples(prefix: string, x: TensorInput, y: TensorInput): Examples {
    const inputs = this.inputRows(`${prefix}x`, x);
    const targets = toRows(`${prefix}y`, y);
    const kind = this.#targetKind(targets);
    if (inputs.rows !== targets.rows)
      throw new GradmillError('shape-mismatch', `${inputs.what} has ${inputs.rows} examples, ${targets.what} has ${targets.rows}`);
    if (inputs.rows === 0) throw new GradmillError('empty-data', `${inputs.what} and ${targets.what} are empty`);
    return { x: inputs, y: targets, rows: inputs.rows, kind };
  }

  #targetKind(y: Rows): TargetKind {
    const loss = this.runtime.training?.loss;
    if (!loss) throw new GradmillError('not-compiled', 'compile the model first: it has no loss yet');
    const { units } = this.runtime;
    if (loss.classes && y.columns === 1) return 'labels';
    if (y.columns === units || y.rows === 0) return 'rows';
    const wanted = loss.classes ? `a class label or ${units} numbers` : `${units} numbers`;
    throw new GradmillError('shape-mismatch', `${y.what}: loss '${loss.name}' expects ${wanted} an example, ${y.what} has ${y.columns}`);
  }

  /**
   * Refuses a batch size that makes a batch too small for a layer's statistics: of one row, with batch normalisation.
   * @param call that trains; @throws GradmillError 'invalid-argument'
   */
  checkBatches(call: string, rows: number, batchSize: number): void {
    const needed = (layer: NamedLayer): number => layer.built.leastRows ?? 1;
    const layer = this.runtime.layers.reduce((most, other) => (needed(other) > needed(most) ? other : most));
    const least = needed(layer);
    const smallest = (size: number): number => (rows % size === 0 ? size : rows % size);
    if (smallest(batchSize) >= least) return;
    const reason = `layer '${layer.name}' takes statistics over the batch and needs at least ${least} rows`;
    if (rows < least) throw new GradmillError('invalid-argument', `${call}: ${reason}, got ${rows}`);
    let better = batchSize + 1;
    while (smallest(better) < least) better++;
    const what = rows % batchSize === 0 ? `batches of ${batchSize}` : `a last batch of ${rows % batchSize}`;
    throw new GradmillError(
      'invalid-argument',
      `${call}: batchSize ${batchSize} makes ${what} out of ${rows} rows; ${reason}: batchSize ${better} would do`,
    );
  }

  async load({ x, y, rows, kind }: Examples, memory: DataSets, signal?: AbortSignal): Promise<LoadedExamples> {
    return { x: await memory.load(x, signal), y: await memory.load(y, signal), rows, kind };
  }

  // ── Runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The plan last run, or else the one a step would run. */
  get plan(): Plan {
    if (this.#lastPlan) return this.#lastPlan;
    const loss = this.runtime.training?.loss;
    return this.runtime.described(loss ? `train:${loss.classes ? 'labels' : 'rows'}` : 'predict', 32);
  }

  /** Compiling made the last plan a thing of the past. */
  forgetPlan(): void {
    this.#lastPlan = undefined;
  }

  /**
   * Runs a plan over rows of data sets, on the engine's threads unless `atOnce`. The numbers do not depend on what streams.
   * @throws the signal's reason; GradmillError for what the engine found in data, loss or weights, or 'buffer-detached'
   */
  async run(kind: PlanKind, batch: number, sets: RunSets, range: RunRange): Promise<void> {
    const { firstRow = 0, rows, firstBatch = 0, onlyCheck = false, signal, watch, afterBatch, atOnce = false } = range;
    if (batch > LARGEST_SIZE) throw new GradmillError('size-overflow', `a batch of ${batch} rows: expected at most ${LARGEST_SIZE}`);
    this.#batchesBefore = 0;
    this.runtime.clearControl();
    let batches = 0;
    for await (const piece of piecesOf(sets, batch, { firstRow, rows, signal })) {
      for (let at = 0; at < piece.rows;) {
        const step = firstBatch + batches;
        const most = afterBatch ? 1 : watch ? unwatchedBefore(step, watch) + 1 + (watch.samples.rows - 1) * watch.every : Infinity;
        const part = { ...piece, firstRow: piece.firstRow + at, rows: Math.min(most * batch, piece.rows - at) };
        const measured = await this.#start({ kind, batch, piece: part, firstBatch: step, onlyCheck, signal, watch, atOnce });
        at += part.rows;
        batches += Math.ceil(part.rows / batch);
        if (measured) await watch?.afterJob();
        await afterBatch?.(batches, part.rows);
        // Whatever else ran meanwhile.
        this.#batchesBefore = batches;
        this.runtime.clearControl();
      }
    }
  }

  /** Returns whether steps were watched. */
  async #start(job: Job): Promise<boolean> {
    const { runtime } = this;
    const { kind, batch, piece, firstBatch, onlyCheck, signal, watch, atOnce } = job;
    signal?.throwIfAborted();
    const { plan, program, gathers, watched } = runtime.plan(kind, batch);
    const { length } = plan.instructions;
    const watching: WatchedBatches | undefined = watch &&
      watched && [watch.every, firstBatch % watch.every, length, length + watched.plan.instructions.length, figuresOf(watched)];
    const samplesIn = (batches: number): number =>
      watch ? Math.max(0, Math.ceil((batches - unwatchedBefore(firstBatch, watch)) / watch.every)) : 0;
    const batches = Math.ceil(piece.rows / batch);
    this.#lastPlan = watched && samplesIn(batches) > samplesIn(batches - 1) ? watched.plan : plan;
    const bind = ({ x, y, order, output, times }: Partial<Piece['sets']>, samples?: DataSet): void => {
      feed(program, FEED.input, x);
      feed(program, FEED.target, y);
      feed(program, FEED.order, order);
      feed(program, FEED.output, output);
      feed(program, FEED.samples, samples);
      feed(program, FEED.times, times);
    };
    const stop = (): void => {
      runtime.cancel();
    };
    bind(piece.sets, watch?.samples);
    runtime.clearControl();
    signal?.addEventListener('abort', stop);
    try {
      const run = [0, onlyCheck ? gathers : length, piece.firstRow, piece.rows, batch] as const;
      if (atOnce && isBrief(program.estimate(0, length, piece.rows))) program.run(...run);
      else await started(() => program.start(...run, ...(watching ?? [])));
      const measured = samplesIn(runtime.progress);
      if (watch && watched && measured > 0) watch.measured(watched, firstBatch + unwatchedBefore(firstBatch, watch) + 1, measured);
      signal?.throwIfAborted();
      // Looking for a fault runs single instructions.
      feed(program, FEED.times, undefined);
      if (runtime.fault.kind !== 'none') throw await describeFault(runtime, job);
      return measured > 0;
    } finally {
      signal?.removeEventListener('abort', stop);
      bind({});
    }
  }

  /** Batches that the present run has finished. */
  get progress(): number {
    return this.#batchesBefore + this.runtime.progress;
  }

  /** A prediction that is better made here and now; undefined for one that is not. @throws what flattened throws; GradmillError 'non-finite-input' */
  predictBrief(input: Rows): Float32Array | undefined {
    const { data, rows, columns } = input;
    const { plan, program } = this.runtime.plan('predict', Math.min(rows, WIDEST_BATCH));
    // Numbers out of JavaScript's own arrays take longer than the network.
    const reading = rows * columns * (Array.isArray(data) ? 20 : 0.5);
    if (!isBrief(reading + program.estimate(0, plan.instructions.length, rows))) return undefined;
    const out = new Float32Array(rows * this.runtime.units);
    this.predictHere(input, flattened(input), out);
    return out;
  }

  /** Predicts on this thread, from and into the caller's arrays. @throws GradmillError 'non-finite-input' */
  predictHere({ what, rows, columns }: Rows, numbers: NumericArray, out: Float32Array): void {
    const { runtime } = this;
    const batch = rows < WIDEST_BATCH ? rows : WIDEST_BATCH;
    // Not looked up before the numbers were read: a getter in nested arrays may have compiled the model.
    const { plan, program } = runtime.plan('predict', batch);
    this.#lastPlan = plan;
    runtime.clearControl();
    if (program.predict(rows, batch, numbers, columns, out, runtime.units)) return;
    const { row } = runtime.fault;
    throw badNumber(what, row, numbers.subarray(row * columns, (row + 1) * columns));
  }

  /** Of all rows since the totals were emptied. */
  get evaluation(): Evaluation {
    const { totals, training, units } = this.runtime;
    const { loss: sum, rows, correct } = totals;
    const elementwise = training !== undefined && !training.loss.classes;
    const terms = training?.loss.reduction === 'sum' ? 1 : rows * (elementwise ? units : 1);
    return { loss: sum / terms, ...(training?.accuracy && { accuracy: correct / rows }) };
  }
}

/** @throws GradmillError 'backend-unavailable' for a run that the engine cannot start: it has no thread */
async function started(start: () => Promise<void>): Promise<void> {
  try {
    await start();
  } catch (cause) {
    if (cause instanceof GradmillError) throw cause;
    throw new GradmillError('backend-unavailable', `the engine refused a run: ${(cause as Error).message}`, { cause });
  }
}

function figuresOf({ measures }: WatchedPlan): number {
  return measures.region.offset / ALIGNMENT;
}

/** Steps of a fit from this one, counted from 0, to the next that is watched. */
function unwatchedBefore(step: number, { every }: Watch): number {
  return (every - (step % every)) % every;
}

/** What of a run is in the engine's memory at a time: all of it, unless a data set is too large. */
function piecesOf(
  sets: RunSets,
  batch: number,
  range: { readonly firstRow: number; readonly rows: number; readonly signal: AbortSignal | undefined },
): Iterable<Piece> | AsyncIterable<Piece> {
  for (const set of [sets.x, sets.y, sets.output]) if (set && 'window' in set) return set.window.pieces(sets, batch, range);
  const { firstRow, rows } = range;
  return [{ sets: sets as Piece['sets'], firstRow, rows, originOf: (row) => row }];
}

/** Nanoseconds: to wake the engine's threads and to hear of their end takes half as long. */
const BRIEF = 100_000;
/** Of brief work, before others have their turn of the event loop. */
const TURN_MILLISECONDS = 1;
let turnBegan: number | undefined;

/** Whether work of so many nanoseconds is done on the calling thread, which it keeps from others no longer than a turn. */
function isBrief(nanoseconds: number): boolean {
  if (!(nanoseconds < BRIEF)) return false;
  const now = performance.now();
  if (turnBegan === undefined) {
    turnBegan = now;
    void platform()
      .pause()
      .then(() => (turnBegan = undefined));
  }
  return now - turnBegan < TURN_MILLISECONDS;
}
