// The log of a fit: what it starts with, each epoch, each sample of its diagnostics, and how it ended, as records to a function
// or as lines of JSON in a file. `gradmill report` draws such files.
import type { DiagnosticsSample } from './diagnostics/types.js';
import { GradmillError } from './errors.js';
import type { EpochReport } from './fit.js';
import type { LossOptions } from './losses.js';
import type { Optimizer } from './optimizers.js';
import { checkPath, show } from './options.js';
import { type Appender, checkFiles, platform } from './platform.js';
import type { Runtime } from './runtime.js';
import { VERSION } from './version.js';

export interface LogStart {
  readonly type: 'start';
  /** Of gradmill. */
  readonly version: string;
  /** As ISO 8601, UTC. */
  readonly time: string;
  readonly backend: { readonly name: 'native' | 'wasm'; readonly isa: string; readonly threads: number; readonly strict: boolean };
  readonly layers: readonly {
    readonly name: string;
    readonly kind: string;
    readonly activation?: string;
    readonly units: number;
    /** How many numbers it learns. */
    readonly weights: number;
  }[];
  readonly optimizer: Optimizer['config'];
  readonly loss: LossOptions;
  readonly seed: number;
  /** Rows trained on. */
  readonly rows: number;
  readonly epochs: number;
  readonly batchSize: number;
}

export type LogEpoch = { readonly type: 'epoch' } & EpochReport;
export type LogDiagnostics = { readonly type: 'diagnostics' } & DiagnosticsSample;

export interface LogEnd {
  readonly type: 'end';
  /** Of the whole fit. */
  readonly seconds: number;
}

export interface LogError {
  readonly type: 'error';
  /** A GradmillError's code; 'aborted' for the signal's reason; 'callback' for what a callback threw. */
  readonly code: string;
  readonly message: string;
}

/** In JSON, numbers that are not finite are null. */
export type LogRecord = LogStart | LogEpoch | LogDiagnostics | LogEnd | LogError;

/** Where a log goes: a file's path, or a function. */
export type LogTarget = string | ((record: LogRecord) => unknown);

/** Writes records in order, to a file in one go. */
export type WriteLog = (...records: readonly LogRecord[]) => Promise<void>;

/** What every log's file begins with. */
export const LOG_HEADER = '{"type":"start",';

/** @throws GradmillError 'invalid-argument'; 'file-io' for a path where there are no files */
export function checkLog(given: LogTarget | undefined): LogTarget | undefined {
  if (given === undefined || typeof given === 'function') return given;
  const path = checkPath('fit: log', given, ' or a function');
  checkFiles('fit: log', 'pass a function');
  return path;
}

export function logStart(
  { engine, layers, seed, training }: Runtime,
  fit: { readonly rows: number; readonly epochs: number; readonly batchSize: number },
): LogStart {
  if (!training) throw new GradmillError('not-compiled', 'compile the model first');
  const { threads, strict, optimizer, loss } = training;
  return {
    type: 'start',
    version: VERSION,
    time: new Date().toISOString(),
    backend: { name: engine.name, isa: engine.isa, threads, strict },
    layers: layers.map(({ name, layer, built, parameters }) => ({
      name,
      kind: layer.kind,
      ...activationOf(layer.config.activation),
      units: built.units,
      weights: parameters.reduce((sum, { value }) => sum + value.elements(1), 0),
    })),
    optimizer: optimizer.config,
    loss: loss.config,
    seed,
    rows: fit.rows,
    epochs: fit.epochs,
    batchSize: fit.batchSize,
  };
}

/** A layer's config holds its activation's name, or an object with it. */
function activationOf(config: unknown): { activation?: string } {
  const name: unknown = typeof config === 'string' ? config : (Object(config) as { name?: unknown }).name;
  return typeof name === 'string' ? { activation: name } : {};
}

/**
 * Runs a fit that logs. A file is opened, and its first record written, before the fit begins: what goes wrong then is its error.
 * Later a disk may fill up; training, which may have taken hours, goes on without the log, and its result says so.
 * @throws what `run` throws, or the function that is logged to; GradmillError 'file-io'
 */
export async function logged<Result extends object>(
  target: LogTarget,
  start: LogStart,
  signal: AbortSignal | undefined,
  run: (log: WriteLog) => Promise<Result>,
): Promise<Result & { logError?: GradmillError }> {
  const log = await Log.open(target, start);
  const started = performance.now();
  try {
    const result = await run((...records) => log.write(...records));
    await log.write({ type: 'end', seconds: (performance.now() - started) / 1000 });
    await log.close();
    return { ...result, ...(log.error && { logError: log.error }) };
  } catch (error) {
    await log.write(failure(error, signal)).catch(() => undefined);
    await log.close();
    throw error;
  }
}

function failure(error: unknown, signal: AbortSignal | undefined): LogError {
  const code = error instanceof GradmillError ? error.code : signal?.aborted && error === signal.reason ? 'aborted' : 'callback';
  return { type: 'error', code, message: error instanceof Error ? error.message : show(error) };
}

class Log {
  readonly #write: (records: readonly LogRecord[]) => void | Promise<void>;
  #file: Appender | undefined;
  /** The first that befell the file: nothing is written after it. */
  error: GradmillError | undefined;

  private constructor(write: (records: readonly LogRecord[]) => void | Promise<void>, file: Appender | undefined) {
    this.#write = write;
    this.#file = file;
  }

  static async open(target: LogTarget, start: LogStart): Promise<Log> {
    if (typeof target === 'function') {
      let failed: { readonly reason: unknown } | undefined;
      const log = new Log((records) => {
        for (const record of records) {
          // Nobody awaits what it returns: a rejection is met with the next record. How a fit failed is told all the same.
          if (failed && record.type !== 'error') throw failed.reason;
          Promise.resolve(target(record)).catch((reason: unknown) => (failed ??= { reason }));
        }
      }, undefined);
      await log.write(start);
      return log;
    }
    const file = await platform().files?.append(target, LOG_HEADER);
    try {
      await file?.append(linesOf([start]));
    } catch (error) {
      await file?.close().catch(() => undefined);
      throw error;
    }
    return new Log((records) => file?.append(linesOf(records)), file);
  }

  async write(...records: readonly LogRecord[]): Promise<void> {
    if (this.error) return;
    try {
      await this.#write(records);
    } catch (error) {
      if (!this.#file || !(error instanceof GradmillError)) throw error;
      this.error = error;
    }
  }

  async close(): Promise<void> {
    try {
      await this.#file?.close();
    } catch (error) {
      if (!(error instanceof GradmillError)) throw error;
      this.error ??= error;
    }
    this.#file = undefined;
  }
}

function linesOf(records: readonly LogRecord[]): string {
  return records.map((record) => `${JSON.stringify(record)}\n`).join('');
}
