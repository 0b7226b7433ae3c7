// What `gradmill train` does with any data: say what runs, train it live, stop at Ctrl-C, save.
// train-mnist.ts and train-table.ts call it; their models arrive compiled and untrained.

import { backend, type FitOptions, type sequential } from '../index.js';
import type { TensorLike } from '../tensor.js';
import { exitCodes } from './exit-codes.js';
import { Progress, type BatchStatus } from './progress.js';
import { formatCount, formatSeconds, oneLine, type Output } from './terminal.js';
import type { TrainFlags } from './train-flags.js';

export type Model = ReturnType<typeof sequential>;

export interface TrainingData {
  readonly x: TensorLike;
  readonly y: TensorLike;
  readonly validationData?: readonly [x: TensorLike, y: TensorLike];
}

export interface TrainingLength {
  readonly epochs: number;
  readonly batchSize: number;
}

/** What of a run is kept for `gradmill report`. */
export function logOf({ log, diagnostics }: TrainFlags): Pick<FitOptions, 'log' | 'diagnostics'> {
  if (log === undefined) return {};
  return { log, ...(diagnostics !== undefined && { diagnostics: { every: diagnostics } }) };
}

export interface SaveOptions {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A training that has ended, its model already saved. */
export interface Training {
  /** Where Ctrl-C stopped it: 'in epoch 2 of 5'; undefined when it ran to its end. */
  readonly stoppedAt: string | undefined;
  readonly seconds: number;
  readonly samplesPerSecond: number;
  readonly path: string;
}

export function describeBackend(): string {
  const { name, isa, threads, strict, reason } = backend();
  const facts = [`${name} ${isa}`, `${threads} thread${threads === 1 ? '' : 's'}`, ...(strict ? ['strict'] : [])];
  return facts.join(', ') + (reason ? ` (${reason})` : '');
}

/**
 * Trains until done or Ctrl-C, and saves at once, so that nothing that follows can lose what was learned.
 * A second Ctrl-C ends the process as if nobody listened.
 */
export async function trainLive(
  model: Model,
  { x, y, validationData }: TrainingData,
  { epochs, batchSize }: TrainingLength,
  log: Pick<FitOptions, 'log' | 'diagnostics'>,
  { path, metadata }: SaveOptions,
  out: Output,
): Promise<Training> {
  const progress = new Progress(out);
  const interrupt = new AbortController();
  const onInterrupt = (): void => {
    interrupt.abort();
  };
  process.once('SIGINT', onInterrupt);
  const started = performance.now();
  let epochsDone = 0;
  let last: BatchStatus | undefined;
  let stoppedAt: string | undefined;
  let logError: Error | undefined;
  try {
    const history = await model.fit(x, y, {
      epochs,
      batchSize,
      ...(validationData === undefined ? {} : { validationData }),
      ...log,
      signal: interrupt.signal,
      onProgress: (status) => {
        last = status;
        progress.batch(status);
      },
      onEpoch: (status) => {
        epochsDone = status.epoch;
        progress.epoch(status);
      },
    });
    logError = history.logError;
  } catch (error) {
    if (!interrupt.signal.aborted || error !== interrupt.signal.reason) throw error;
    stoppedAt = `in epoch ${Math.min(epochsDone + 1, epochs)} of ${epochs}`;
  } finally {
    progress.end();
  }
  const seconds = (performance.now() - started) / 1000;
  await model.save(path, { metadata });
  process.removeListener('SIGINT', onInterrupt);

  if (logError) out.write(`the log is not complete: ${oneLine(logError.message)}\n`);
  const rows = x.shape[0];
  const inEpoch = last !== undefined && last.epoch > epochsDone ? Math.min(last.batch * batchSize, rows) : 0;
  return { stoppedAt, seconds, samplesPerSecond: (epochsDone * rows + inEpoch) / seconds, path };
}

/** The last lines of a training; returns its exit code. */
export function conclude({ stoppedAt, seconds, samplesPerSecond, path }: Training, out: Output): number {
  out.write(`trained in ${formatSeconds(seconds)}, ${formatCount(samplesPerSecond)} samples/s\n`);
  out.write(stoppedAt === undefined ? `saved ${path}\n` : `stopped by Ctrl-C ${stoppedAt}; saved what was learned: ${path}\n`);
  return stoppedAt === undefined ? exitCodes.success : exitCodes.interrupted;
}
