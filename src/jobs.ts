// What a model's calls have in common: data checked against the model, plans run over it on the engine's threads, and what
// they found out. model.ts queues the calls, fit.ts loops over them, runtime.ts holds the memory, faults.ts words the errors.
import { type DataSet, type DataSets, feed } from './dataset.js';
import { GradmillError } from './errors.js';
import { badNumber, describeFault } from './faults.js';
import { LARGEST_SIZE } from './options.js';
import { FEED, type Plan } from './plan.js';
import type { PlanKind, Runtime, TargetKind } from './runtime.js';
import { type NumericArray, type Rows, type TensorInput, toRows } from './tensor.js';

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

/** The same in the engine's memory. */
export interface LoadedExamples {
  readonly x: DataSet;
  readonly y: DataSet;
  readonly rows: number;
  readonly kind: TargetKind;
}

/** Data sets of one run. */
export interface RunSets {
  readonly x: DataSet;
  readonly y?: DataSet;
  readonly order?: DataSet;
  readonly output?: DataSet;
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
}

/** Rows that a plan for prediction or evaluation holds at most: larger batches gain nothing. */
export const WIDEST_BATCH = 256;

export class Jobs {
  #lastPlan: Plan | undefined;

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

  async load({ x, y, rows, kind }: Examples, memory: DataSets, signal?: AbortSignal): Promise<LoadedExamples> {
    return { x: await memory.load(x, signal), y: await memory.load(y, signal), rows, kind };
  }

  // ── Runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The plan last run, or else the one a step would run. */
  get plan(): Plan {
    if (this.#lastPlan) return this.#lastPlan;
    const loss = this.runtime.training?.loss;
    return this.runtime.plan(loss ? `train:${loss.classes ? 'labels' : 'rows'}` : 'predict', 32).plan;
  }

  /** Compiling made the last plan a thing of the past. */
  forgetPlan(): void {
    this.#lastPlan = undefined;
  }

  /**
   * Runs a plan over rows of data sets, on the engine's threads.
   * @throws the signal's reason; GradmillError for what the engine found in data, loss or weights
   */
  async run(kind: PlanKind, batch: number, sets: RunSets, range: RunRange): Promise<void> {
    const { runtime } = this;
    const { firstRow = 0, rows, signal } = range;
    signal?.throwIfAborted();
    if (batch > LARGEST_SIZE) throw new GradmillError('size-overflow', `a batch of ${batch} rows: expected at most ${LARGEST_SIZE}`);
    const { plan, program, gathers } = runtime.plan(kind, batch);
    this.#lastPlan = plan;
    const bind = ({ x, y, order, output }: Partial<RunSets>): void => {
      feed(program, FEED.input, x);
      feed(program, FEED.target, y);
      feed(program, FEED.order, order);
      feed(program, FEED.output, output);
    };
    const stop = (): void => {
      runtime.cancel();
    };
    bind(sets);
    runtime.clearControl();
    signal?.addEventListener('abort', stop);
    try {
      await program.start(0, range.onlyCheck ? gathers : plan.instructions.length, firstRow, rows, batch);
      signal?.throwIfAborted();
      if (runtime.fault.kind !== 'none') throw await describeFault(runtime, { kind, batch, sets, range });
    } finally {
      signal?.removeEventListener('abort', stop);
      bind({});
    }
  }

  /** Predicts on this thread, from and into the caller's arrays. @throws GradmillError 'non-finite-input' */
  predictHere({ what, data, rows, columns }: Rows, out: Float32Array): void {
    const { runtime } = this;
    const batch = rows < WIDEST_BATCH ? rows : WIDEST_BATCH;
    const { plan, program } = runtime.plan('predict', batch);
    this.#lastPlan = plan;
    runtime.clearControl();
    if (program.predict(0, plan.instructions.length, rows, batch, data as NumericArray, columns, out, runtime.units)) return;
    const { row } = runtime.fault;
    throw badNumber(what, row, (data as NumericArray).subarray(row * columns, (row + 1) * columns));
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
