// The loop over epochs: checks, shuffling, steps, validation, callbacks. One native job an epoch, or one a batch where the
// user wants to hear of every batch.
import { type DataSet, blankDataSet, copyDataSet, feed } from './dataset.js';
import { GradmillError } from './errors.js';
import type { Evaluation, RunRange, RunSets } from './model.js';
import { checkOptions, finiteNumber, flag, show, wholeNumber } from './options.js';
import { FEED } from './plan.js';
import type { PlanKind, Runtime, TargetKind } from './runtime.js';
import { type Rows, type TensorInput, toRows } from './tensor.js';

export interface BatchReport {
  /** From 1, as all counts here. */
  readonly epoch: number;
  readonly batch: number;
  readonly batches: number;
  /** Of this batch, before its update. */
  readonly loss: number;
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
  readonly loss: number;
  readonly accuracy?: number;
  readonly valLoss?: number;
  readonly valAccuracy?: number;
  /** Of training, without validation. */
  readonly seconds: number;
  readonly samplesPerSecond: number;
}

export interface FitOptions {
  /** Default 1. */
  readonly epochs?: number;
  /** Default 32, or all rows where there are fewer; a larger one than the data is an error. */
  readonly batchSize?: number;
  /** A new order each epoch, drawn from the model's seed. Default true. */
  readonly shuffle?: boolean;
  readonly validationData?: readonly [x: TensorInput, y: TensorInput];
  /** Share of the rows, from the end, that is evaluated and not trained on; in [0, 1). Default 0. */
  readonly validationSplit?: number;
  /** Stops within one batch. */
  readonly signal?: AbortSignal;
  /** 0 silent, 1 progress on standard output. Default 0. */
  readonly verbose?: 0 | 1;
  /** After every batch, awaited; costs one native job a batch. */
  readonly onBatch?: (report: BatchReport) => unknown;
  /** After every epoch, awaited. */
  readonly onEpoch?: (report: EpochReport) => unknown;
  /** About ten times a second while native threads train; must not use the model. */
  readonly onProgress?: (report: ProgressReport) => void;
}

export interface History {
  readonly epochs: EpochReport[];
  /** One number an epoch. */
  readonly loss: number[];
  readonly accuracy?: number[];
  readonly valLoss?: number[];
  readonly valAccuracy?: number[];
}

/** What the model lends to its fit. */
interface Host {
  readonly runtime: Runtime;
  targetKind(y: Rows): TargetKind;
  inputRows(x: TensorInput): Rows;
  run(kind: PlanKind, batch: number, sets: RunSets, range: RunRange): Promise<void>;
  callback(call: () => unknown): Promise<void>;
  evaluation(): Evaluation;
}

const OPTIONS = ['epochs', 'batchSize', 'shuffle', 'validationData', 'validationSplit', 'signal', 'verbose', 'onBatch', 'onEpoch', 'onProgress'];

const PROGRESS_MILLISECONDS = 100;

interface Examples {
  readonly x: DataSet;
  readonly y: DataSet;
  readonly rows: number;
  readonly kind: TargetKind;
}

export async function runFit(x: TensorInput, y: TensorInput, options: FitOptions, host: Host): Promise<History> {
  checkOptions('fit', options, OPTIONS);
  const { runtime } = host;
  const { signal, onBatch, onEpoch } = options;
  const epochs = wholeNumber('fit: epochs', options.epochs ?? 1, 0);
  const shuffle = flag('fit: shuffle', options.shuffle ?? true);
  const split = finiteNumber('fit: validationSplit', options.validationSplit ?? 0, { min: 0, below: 1 });
  const verbose = options.verbose ?? 0;
  if (verbose !== 0 && (verbose as unknown) !== 1) throw new GradmillError('invalid-argument', `fit: verbose: expected 0 or 1, got ${show(verbose)}`);
  for (const name of ['onBatch', 'onEpoch', 'onProgress'] as const)
    if (options[name] !== undefined && typeof options[name] !== 'function') throw new GradmillError('invalid-argument', `fit: ${name}: expected a function, got ${show(options[name])}`);
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw new GradmillError('invalid-argument', `fit: signal: expected an AbortSignal, got ${show(signal)}`);
  if (split > 0 && options.validationData) throw new GradmillError('invalid-argument', 'fit: give validationData or validationSplit, not both');
  signal?.throwIfAborted();

  const data = await examples(host, 'fit', x, y);
  const rows = data.rows - Math.floor(data.rows * split);
  const batchSize = wholeNumber('fit: batchSize', options.batchSize ?? Math.min(32, rows), 1);
  if (batchSize > rows) throw new GradmillError('invalid-argument', `fit: batchSize ${String(batchSize)} is larger than the ${String(rows)} rows to train on`);
  const validation = options.validationData ? await examples(host, 'validationData', ...options.validationData) : undefined;
  const held = validation ? { sets: validation, firstRow: 0, rows: validation.rows } : { sets: data, firstRow: rows, rows: data.rows - rows };

  const stop = () => runtime.cancel();
  const interruptible = async (run: () => Promise<void>): Promise<void> => {
    signal?.throwIfAborted();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      await run();
    } finally {
      signal?.removeEventListener('abort', stop);
    }
    signal?.throwIfAborted();
  };

  // Bad data is refused before it has changed a weight.
  await interruptible(() => host.run(`train:${data.kind}`, batchSize, data, { rows: data.rows, onlyCheck: true }));
  if (validation) await interruptible(() => host.run(`evaluate:${validation.kind}`, Math.min(batchSize, validation.rows), validation, { rows: validation.rows, onlyCheck: true }));

  const order = shuffle ? blankDataSet(runtime.engine, Uint32Array, rows, 1) : undefined;
  const sets: RunSets = { x: data.x, y: data.y, ...(order && { order }) };
  const batches = Math.ceil(rows / batchSize);
  const reports: EpochReport[] = [];
  const printer = verbose === 1 ? new (await import('./cli/progress.js')).Progress(process.stdout) : undefined;
  const started = performance.now();

  for (let epoch = 1; epoch <= epochs; epoch++) {
    const epochStarted = performance.now();
    const firstBatch = (epoch - 1) * batches;
    await interruptible(() => beginEpoch(host, order));
    const report = () => {
      const done = onBatch ? 0 : runtime.progress;
      const seconds = (performance.now() - epochStarted) / 1000;
      const share = (firstBatch + done) / (epochs * batches);
      const progress: ProgressReport = {
        epoch,
        epochs,
        batch: done,
        batches,
        ...host.evaluation(),
        samplesPerSecond: Math.min(done * batchSize, rows) / seconds,
        secondsLeft: ((performance.now() - started) / 1000) * (1 / share - 1),
      };
      if (done === 0) return;
      options.onProgress?.(progress);
      printer?.batch(progress);
    };
    const timer = options.onProgress || printer ? setInterval(report, PROGRESS_MILLISECONDS) : undefined;
    try {
      if (onBatch) {
        for (let batch = 0; batch < batches; batch++) {
          const range = { firstRow: batch * batchSize, rows: Math.min(batchSize, rows - batch * batchSize), firstBatch: firstBatch + batch };
          await interruptible(() => host.run(`train:${data.kind}`, batchSize, sets, range));
          const { batchLoss: loss } = runtime;
          await host.callback(() => onBatch({ epoch, batch: batch + 1, batches, loss }));
        }
      } else {
        await interruptible(() => host.run(`train:${data.kind}`, batchSize, sets, { rows, firstBatch }));
      }
    } finally {
      clearInterval(timer);
    }
    const seconds = (performance.now() - epochStarted) / 1000;
    const trained = host.evaluation();
    let validated: { readonly valLoss?: number; readonly valAccuracy?: number } = {};
    if (held.rows > 0) {
      const { sets, firstRow } = held;
      runtime.resetTotals();
      await interruptible(() => host.run(`evaluate:${sets.kind}`, Math.min(batchSize, held.rows), sets, { firstRow, rows: held.rows }));
      const { loss, accuracy } = host.evaluation();
      validated = { valLoss: loss, ...(accuracy !== undefined && { valAccuracy: accuracy }) };
    }
    const done: EpochReport = { epoch, epochs, ...trained, ...validated, seconds, samplesPerSecond: rows / seconds };
    reports.push(done);
    printer?.epoch(done);
    if (onEpoch) await host.callback(() => onEpoch(done));
  }
  printer?.end();
  return historyOf(reports);
}

async function examples(host: Host, what: string, x: TensorInput, y: TensorInput): Promise<Examples> {
  const [inputs, targets] = [host.inputRows(x), toRows('y', y)];
  if (inputs.rows !== targets.rows) throw new GradmillError('shape-mismatch', `${what}: x has ${String(inputs.rows)} examples, y has ${String(targets.rows)}`);
  if (inputs.rows === 0) throw new GradmillError('empty-data', `${what}: x and y are empty`);
  const kind = host.targetKind(targets);
  const { engine } = host.runtime;
  return { x: await copyDataSet(engine, 'x', inputs), y: await copyDataSet(engine, 'y', targets), rows: inputs.rows, kind };
}

async function beginEpoch(host: Host, order: DataSet | undefined): Promise<void> {
  host.runtime.resetTotals();
  if (order) await host.runtime.shuffle(order);
}

function historyOf(epochs: EpochReport[]): History {
  const column = (name: 'accuracy' | 'valLoss' | 'valAccuracy') => {
    const values = epochs.map(report => report[name]).filter(value => value !== undefined);
    return values.length > 0 ? { [name]: values } : {};
  };
  return { epochs, loss: epochs.map(({ loss }) => loss), ...column('accuracy'), ...column('valLoss'), ...column('valAccuracy') };
}
