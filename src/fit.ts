// The loop over epochs: checks, shuffling, steps, validation, callbacks. One native job an epoch, or one a batch or sample where
// the user wants to hear of each.
import type { DataSet, DataSets } from './dataset.js';
import type { DiagnosticsSample, UnitPaths } from './diagnostics/types.js';
import { GradmillError } from './errors.js';
import { type Evaluation, type Examples, type Jobs, type LoadedExamples, type Watch, WIDEST_BATCH } from './jobs.js';
import { checkLog, logged, logStart, type LogTarget, type WriteLog } from './log.js';
import { checkOptions, finiteNumber, flag, pairOf, reading, show, size, wholeNumber } from './options.js';
import { Paths } from './paths.js';
import { platform } from './platform.js';
import type { PlanKind } from './runtime.js';
import { rowsOf, Samples } from './samples.js';
import type { TensorInput } from './tensor.js';

export interface BatchReport {
  /** From 1, as all counts here. */
  readonly epoch: number;
  readonly batch: number;
  readonly batches: number;
  /** Of this batch, before its update. */
  readonly loss: number;
  readonly accuracy?: number;
}

export interface ProgressReport {
  readonly epoch: number;
  readonly epochs: number;
  /** Batches done in this epoch. */
  readonly batch: number;
  readonly batches: number;
  /** Means over this epoch so far. */
  readonly loss: number;
  readonly accuracy?: number;
  readonly samplesPerSecond: number;
  /** Of the whole fit. */
  readonly secondsLeft: number;
}

export interface EpochReport {
  readonly epoch: number;
  readonly epochs: number;
  /** Of all rows trained on, each before the update of its own batch. */
  readonly loss: number;
  readonly accuracy?: number;
  /** Of all validation rows, after the epoch. */
  readonly valLoss?: number;
  readonly valAccuracy?: number;
  /** Of training, onBatch included, without validation. */
  readonly seconds: number;
  readonly samplesPerSecond: number;
}

export interface DiagnosticsOptions {
  /** Steps 1, 1 + every, 1 + 2·every … of the fit are measured. At least 1. Default 100. */
  readonly every?: number;
  /** After each measured step, awaited; as onBatch. Costs one native job a sample. */
  readonly onSample?: (sample: DiagnosticsSample) => unknown;
  /** How far each unit's weights go: `paths` of the history. Needs every: 1. Default false. */
  readonly paths?: boolean;
}

export interface FitOptions {
  /** Default 1. */
  readonly epochs?: number;
  /** Default 32, or all rows where there are fewer; a larger one than the rows trained on is an error. The last batch may be smaller. */
  readonly batchSize?: number;
  /** A new order each epoch, drawn from the model's seed and the epochs shuffled since it was compiled. Default true. */
  readonly shuffle?: boolean;
  /** Evaluated after each epoch. Default: none. */
  readonly validationData?: readonly [x: TensorInput, y: TensorInput];
  /** Share of the rows, from the end, that is evaluated and not trained on; in [0, 1), at least one row when above 0. Default 0. */
  readonly validationSplit?: number;
  /** Stops within one batch; fit rejects with its reason. */
  readonly signal?: AbortSignal;
  /**
   * A record when it starts, for each epoch and diagnostics sample, and when it ends or fails: lines of JSON at the end of that file,
   * as they come, for `gradmill report`; or calls of a function, not awaited, in which the model is busy; what it throws ends the fit,
   * and what it rejects with does so at the next record.
   * Samples come together, at the latest with their epoch, unless onSample is given. A file that cannot be opened rejects the fit before
   * it begins; one that fails later does not end it: see History.logError. Default: none.
   */
  readonly log?: LogTarget;
  /** 0 silent, 1 progress on standard output, in browsers on the console. Default 0. */
  readonly verbose?: 0 | 1;
  /** After every batch, awaited; the model may be used in it, except compile and dispose. What it throws ends the fit. Costs one native job a batch. */
  readonly onBatch?: (report: BatchReport) => unknown;
  /** After every epoch, awaited; as onBatch. */
  readonly onEpoch?: (report: EpochReport) => unknown;
  /** About ten times a second while native threads train, not awaited; the model is busy. What it throws ends the fit. */
  readonly onProgress?: (report: ProgressReport) => unknown;
  /** Measures some steps: activations, loss gradients, updates, layer by layer. Weights do not change by a bit. Default: none. */
  readonly diagnostics?: DiagnosticsOptions;
}

export interface History {
  readonly epochs: EpochReport[];
  /** One number an epoch. */
  readonly loss: number[];
  readonly accuracy?: number[];
  readonly valLoss?: number[];
  readonly valAccuracy?: number[];
  /** Of the measured steps; present when asked for. Made when it is first read. */
  readonly diagnostics?: DiagnosticsSample[];
  /** Of each layer with a kernel; present when asked for. */
  readonly paths?: UnitPaths[];
  /** 'file-io': the log's file could not be written to its end. All else went well. */
  readonly logError?: GradmillError;
}

/** A fit whose arguments are checked. */
export interface PreparedFit {
  readonly data: Examples;
  readonly validation: Examples | undefined;
  /** Of `data`, the first so many are trained on. */
  readonly rows: number;
  readonly epochs: number;
  readonly batchSize: number;
  readonly shuffle: boolean;
  readonly verbose: boolean;
  readonly signal: AbortSignal | undefined;
  readonly log: LogTarget | undefined;
  readonly onBatch: FitOptions['onBatch'];
  readonly onEpoch: FitOptions['onEpoch'];
  readonly onProgress: FitOptions['onProgress'];
  readonly diagnostics: (DiagnosticsOptions & { readonly every: number; readonly paths: boolean }) | undefined;
}

const OPTIONS = [
  'epochs',
  'batchSize',
  'shuffle',
  'validationData',
  'validationSplit',
  'signal',
  'log',
  'verbose',
  'onBatch',
  'onEpoch',
  'onProgress',
  'diagnostics',
];

/** @throws GradmillError for all that can be wrong before data is read; the signal's reason when it is aborted already */
export function prepareFit(jobs: Jobs, x: TensorInput, y: TensorInput, options: FitOptions): PreparedFit {
  const given = checkOptions('fit', options, OPTIONS);
  const { validationData, validationSplit = 0, verbose = 0 } = given;
  const split = finiteNumber('fit: validationSplit', validationSplit, { min: 0, below: 1 });
  if (verbose !== 0 && (verbose as unknown) !== 1)
    throw new GradmillError('invalid-argument', `fit: verbose: expected 0 or 1, got ${show(verbose)}`);
  const signal = checkSignal('fit', given.signal);
  if (split > 0 && validationData !== undefined)
    throw new GradmillError('invalid-argument', 'fit: give validationData or validationSplit, not both');

  const data = jobs.examples('', x, y);
  const held = split === 0 ? 0 : Math.min(Math.max(Math.round(data.rows * split), 1), data.rows - 1);
  const rows = data.rows - held;
  if (split > 0 && held === 0) throw new GradmillError('empty-data', 'fit: validationSplit: expected at least 2 rows to split, got 1');
  const { epochs = 1, batchSize = Math.min(32, rows), shuffle = true } = given;
  const checked = {
    data,
    validation:
      validationData === undefined ? undefined : jobs.examples('validationData: ', ...pairOf('fit: validationData', validationData)),
    rows,
    epochs: wholeNumber('fit: epochs', epochs),
    batchSize: size('fit: batchSize', batchSize),
    shuffle: flag('fit: shuffle', shuffle),
    verbose: verbose === 1,
    signal,
    log: checkLog(given.log),
    onBatch: checkCallback('onBatch', given.onBatch),
    onEpoch: checkCallback('onEpoch', given.onEpoch),
    onProgress: checkCallback('onProgress', given.onProgress),
    diagnostics: given.diagnostics === undefined ? undefined : checkDiagnostics(given.diagnostics),
  };
  if (checked.batchSize > rows)
    throw new GradmillError('invalid-argument', `fit: batchSize: expected at most the ${rows} rows to train on, got ${checked.batchSize}`);
  jobs.checkBatches('fit', rows, checked.batchSize);
  signal?.throwIfAborted();
  return checked;
}

function checkCallback<T>(name: string, given: T): T {
  if (given !== undefined && typeof given !== 'function')
    throw new GradmillError('invalid-argument', `fit: ${name}: expected a function, got ${show(given)}`);
  return given;
}

function checkDiagnostics(given: DiagnosticsOptions): PreparedFit['diagnostics'] {
  const checked = checkOptions('fit: diagnostics', given, ['every', 'onSample', 'paths']);
  const every = size('fit: diagnostics: every', checked.every ?? 100);
  const paths = flag('fit: diagnostics: paths', checked.paths ?? false);
  if (paths && every !== 1)
    throw new GradmillError('invalid-argument', `fit: diagnostics: paths needs every: 1, as a path has all steps; got every: ${every}`);
  checkCallback('diagnostics: onSample', checked.onSample);
  return { ...checked, every, paths };
}

/** @throws GradmillError 'invalid-argument' */
export function checkSignal(call: string, given: AbortSignal | undefined): AbortSignal | undefined {
  const valid = reading(
    `${call}: signal`,
    () =>
      given === undefined ||
      ('addEventListener' in Object(given) && typeof given.aborted === 'boolean' && typeof given.throwIfAborted === 'function'),
  );
  if (!valid) throw new GradmillError('invalid-argument', `${call}: signal: expected an AbortSignal, got ${show(given)}`);
  return given;
}

/** Between two reports of progress. */
const PROGRESS_MILLISECONDS = 100;

/** Awaits a callback that may use the model. */
type Pause = (callback: () => unknown, signal: AbortSignal) => Promise<void>;

/** @throws the signal's reason, what a callback threw, or GradmillError */
export async function runFit(jobs: Jobs, memory: DataSets, fit: PreparedFit, pause: Pause): Promise<History> {
  const stop = new AbortController();
  const { signal, log } = fit;
  const abort = (): void => {
    stop.abort(signal?.reason);
  };
  signal?.addEventListener('abort', abort);
  try {
    const run = (write?: WriteLog): Promise<History> => new Fit(jobs, fit, pause, stop, write).run(memory);
    return await (log === undefined ? run() : logged(log, logStart(jobs.runtime, fit), signal, run));
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

class Fit {
  readonly #jobs: Jobs;
  readonly #fit: PreparedFit;
  readonly #pause: Pause;
  /** Aborts with the user's signal, and when onProgress throws. */
  readonly #stop: AbortController;
  readonly #log: WriteLog | undefined;
  readonly #batches: number;
  readonly #started = performance.now();
  #lastProgress = this.#started;
  /** While a callback is awaited: what the model does then is no progress of this fit. */
  #paused = false;
  readonly #samples = new Samples();
  /** How many of them the log has. */
  #told = 0;
  #paths: Paths | undefined;

  constructor(jobs: Jobs, fit: PreparedFit, pause: Pause, stop: AbortController, log?: WriteLog) {
    this.#jobs = jobs;
    this.#fit = fit;
    this.#pause = pause;
    this.#stop = stop;
    this.#log = log;
    this.#batches = Math.ceil(fit.rows / fit.batchSize);
  }

  async run(memory: DataSets): Promise<History> {
    const { epochs, rows, shuffle, verbose, onEpoch } = this.#fit;
    const { signal } = this.#stop;
    const data = await this.#jobs.load(this.#fit.data, memory, signal);
    const validation = this.#fit.validation && (await this.#jobs.load(this.#fit.validation, memory, signal));
    // Bad data is refused before it has changed a weight.
    await this.#jobs.run(`train:${data.kind}`, this.#fit.batchSize, data, { rows: data.rows, onlyCheck: true, signal });
    if (validation) await this.#evaluate(validation, 0, true);

    const order = shuffle ? memory.order(rows) : undefined;
    const samples = await this.#prepareSamples(data, memory);
    const reports: EpochReport[] = [];
    const printer = verbose ? platform().progress() : undefined;
    const show = (report: ProgressReport): void => {
      printer?.batch(report);
    };
    try {
      for (let epoch = 1; epoch <= epochs; epoch++) {
        const trained = await this.#train(epoch, data, { order, samples }, printer && show);
        const report = { ...trained, ...(await this.#validate(validation ?? data, validation ? 0 : rows)) };
        reports.push(report);
        printer?.epoch(report);
        await this.#log?.({ type: 'epoch', ...report });
        if (onEpoch) await this.#callback(() => onEpoch({ ...report }));
        signal.throwIfAborted();
      }
    } finally {
      printer?.end();
    }
    const history = { ...historyOf(reports), ...(this.#paths && { paths: this.#paths.units }) };
    if (!this.#fit.diagnostics) return history;
    const measured = this.#samples;
    const shown = { enumerable: true, configurable: true } as const;
    return Object.defineProperty(history, 'diagnostics', {
      ...shown,
      get: () => {
        const value = measured.read();
        Object.defineProperty(history, 'diagnostics', { ...shown, value, writable: true });
        return value;
      },
    });
  }

  /** One epoch's steps. */
  async #train(
    epoch: number,
    data: LoadedExamples,
    { order, samples }: { readonly order: DataSet | undefined; readonly samples: DataSet | undefined },
    print?: (report: ProgressReport) => void,
  ): Promise<EpochReport> {
    const jobs = this.#jobs;
    const { runtime } = jobs;
    const { rows, batchSize, epochs, onBatch, onProgress } = this.#fit;
    const { signal } = this.#stop;
    const [batches, firstBatch, started] = [this.#batches, (epoch - 1) * this.#batches, performance.now()];
    const sets = { x: data.x, y: data.y, ...(order && { order }) };
    runtime.resetTotals();
    signal.throwIfAborted();
    if (order) await runtime.shuffle(order);

    const progress = (batch: number): void => {
      const [now, share] = [performance.now(), (firstBatch + batch) / (epochs * batches)];
      // A timer may come a little early.
      if (this.#paused || batch === 0 || now - this.#lastProgress < 0.9 * PROGRESS_MILLISECONDS) return;
      this.#lastProgress = now;
      const report: ProgressReport = {
        epoch,
        epochs,
        batch,
        batches,
        ...jobs.evaluation,
        samplesPerSecond: (Math.min(batch * batchSize, rows) / (now - started)) * 1000,
        secondsLeft: ((now - this.#started) / 1000) * (1 / share - 1),
      };
      print?.(report);
      this.#tell(report);
    };

    let seen = 0;
    const afterBatch =
      onBatch &&
      (async (batch: number, taken: number): Promise<void> => {
        const { correct } = runtime.totals;
        const accuracy = runtime.training?.accuracy ? { accuracy: (correct - seen) / taken } : {};
        seen = correct;
        progress(batch);
        const report = { epoch, batch, batches, loss: runtime.batchLoss, ...accuracy };
        await this.#callback(() => onBatch(report));
      });
    const watched = !onBatch && (print ?? onProgress) !== undefined;
    const timer = watched ? setInterval(() => progress(jobs.progress), PROGRESS_MILLISECONDS) : undefined;
    try {
      await jobs.run(this.#kind(data), batchSize, sets, { rows, firstBatch, signal, watch: this.#watch(epoch, samples), afterBatch });
    } catch (error) {
      // What was measured before may tell why.
      await this.#logSamples().catch(() => undefined);
      throw error;
    } finally {
      clearInterval(timer);
    }
    if (!onBatch) progress(batches);
    const seconds = (performance.now() - started) / 1000;
    return { epoch, epochs, ...jobs.evaluation, seconds, samplesPerSecond: rows / seconds };
  }

  #kind({ kind }: LoadedExamples): PlanKind {
    const { diagnostics } = this.#fit;
    return `${diagnostics ? (diagnostics.paths ? 'trace' : 'watch') : 'train'}:${kind}`;
  }

  /** Room for what a job measures, if steps are measured: for one of them where the user hears of each. */
  async #prepareSamples(data: LoadedExamples, memory: DataSets): Promise<DataSet | undefined> {
    const { diagnostics, batchSize } = this.#fit;
    if (!diagnostics) return undefined;
    const { runtime } = this.#jobs;
    await runtime.startDirections();
    const { watched } = runtime.plan(this.#kind(data), batchSize);
    if (!watched) return undefined;
    const { measures } = watched;
    if (diagnostics.paths) this.#paths = new Paths(runtime, measures);
    // One more than an epoch fills: a full one ends its job.
    const rows = diagnostics.onSample ? 1 : Math.ceil(this.#batches / diagnostics.every) + 1;
    return memory.samples(measures.region.elements(1), rows);
  }

  /** How steps are measured, if they are. */
  #watch(epoch: number, samples: DataSet | undefined): Watch | undefined {
    const { diagnostics } = this.#fit;
    if (!diagnostics || !samples) return undefined;
    const { every, onSample } = diagnostics;
    const measured: Watch['measured'] = ({ measures }, step, count) => {
      const bytes = samples.memory.bytes().slice(0, count * measures.region.bytes(1));
      const rows = { measures, epoch, step, every, bytes };
      this.#samples.add(rows);
      if (this.#paths) for (const figures of rowsOf(rows)) this.#paths.step(measures, figures);
    };
    const afterJob = async (): Promise<void> => {
      await this.#logSamples();
      const sample = onSample && this.#samples.read().at(-1);
      if (sample) await this.#callback(() => onSample(sample));
    };
    return { every, samples, measured, afterJob };
  }

  /** Those that are new. */
  async #logSamples(): Promise<void> {
    if (!this.#log) return;
    const samples = this.#samples.read();
    const records = samples.slice(this.#told).map((sample) => ({ type: 'diagnostics', ...sample }) as const);
    this.#told = samples.length;
    if (records.length > 0) await this.#log(...records);
  }

  /** Nobody awaits onProgress: what it throws, or rejects with, becomes the reason to stop. */
  #tell(report: ProgressReport): void {
    const fail = (error: unknown): void => {
      this.#stop.abort(error);
    };
    try {
      Promise.resolve(this.#fit.onProgress?.(report)).catch(fail);
    } catch (error) {
      fail(error);
    }
  }

  /** Loss and accuracy of the rows from `firstRow` on, if there are any. */
  async #validate(data: LoadedExamples, firstRow: number): Promise<Pick<EpochReport, 'valLoss' | 'valAccuracy'>> {
    if (firstRow === data.rows) return {};
    const { loss, accuracy } = await this.#evaluate(data, firstRow, false);
    return { valLoss: loss, ...(accuracy !== undefined && { valAccuracy: accuracy }) };
  }

  async #evaluate(data: LoadedExamples, firstRow: number, onlyCheck: boolean): Promise<Evaluation> {
    const rows = data.rows - firstRow;
    this.#jobs.runtime.resetTotals();
    const range = { firstRow, rows, onlyCheck, signal: this.#stop.signal };
    await this.#jobs.run(`evaluate:${data.kind}`, Math.min(WIDEST_BATCH, rows), data, range);
    return this.#jobs.evaluation;
  }

  /** The epoch's totals survive what the callback does with the model. */
  async #callback(call: () => unknown): Promise<void> {
    const restore = this.#jobs.runtime.keepTotals();
    this.#paused = true;
    try {
      await this.#pause(call, this.#stop.signal);
    } finally {
      this.#paused = false;
    }
    restore();
    this.#stop.signal.throwIfAborted();
  }
}

function historyOf(epochs: EpochReport[]): History {
  const column = (name: 'accuracy' | 'valLoss' | 'valAccuracy'): object => {
    const values = epochs.map((report) => report[name]).filter((value) => value !== undefined);
    return values.length > 0 ? { [name]: values } : {};
  };
  return { epochs, loss: epochs.map(({ loss }) => loss), ...column('accuracy'), ...column('valLoss'), ...column('valAccuracy') };
}
