// Short trainings of copies, to see what a long one would run into: do the first steps lower the loss, can some rows be learnt by
// heart, do the inputs say anything about the targets. The model itself is never trained.
import { GradmillError } from '../errors.js';
import type { Sequential } from '../model.js';
import { callOn, copyOf } from '../model.js';
import type { Optimizer } from '../optimizers.js';
import type { TargetKind } from '../runtime.js';
import { type NumericArray, type Rows, tensor, type TensorLike } from '../tensor.js';
import { firstRows, uniforms } from './rows.js';

/** Some rows of the data, in random order. */
export interface Sample {
  readonly x: TensorLike;
  readonly y: TensorLike;
  readonly rows: number;
  readonly kind: TargetKind;
}

/** At most so many rows, drawn evenly: the first ones may all be of one class. */
export function sampleOf(x: Rows, y: Rows, kind: TargetKind, most: number): Sample {
  const order = shuffled(x.rows, most);
  const pick = (rows: Rows): TensorLike => {
    const { columns } = rows;
    const data = Array.isArray(rows.data)
      ? firstRows({ ...rows, data: order.map((row) => (rows.data as readonly unknown[])[row]), rows: order.length }, order.length)
      : chosenRows(rows.data as NumericArray, order, columns);
    return tensor(data, [order.length, columns]);
  };
  return { x: pick(x), y: pick(y), rows: order.length, kind };
}

/** These rows, copied. */
export function chosenRows(data: NumericArray, rows: readonly number[], columns: number): NumericArray {
  const copy = data.slice(0, rows.length * columns);
  rows.forEach((row, i) => {
    copy.set(data.subarray(row * columns, (row + 1) * columns), i * columns);
  });
  return copy;
}

export function subset(sample: Sample, rows: readonly number[]): Sample {
  const pick = ({ data, shape: [, columns = 1] }: TensorLike): TensorLike =>
    tensor(chosenRows(data, rows, columns), [rows.length, columns]);
  return { ...sample, x: pick(sample.x), y: pick(sample.y), rows: rows.length };
}

/** `most` of 0 … count − 1 in random order, the same every time. */
function shuffled(count: number, most: number): number[] {
  const random = uniforms(3);
  const taken = Math.min(count, most);
  // Fisher and Yates, where only what was moved is remembered: the rows may be millions.
  const moved = new Map<number, number>();
  return Array.from({ length: taken }, (_, i) => {
    const other = i + Math.floor(random() * (count - i));
    const value = moved.get(other) ?? other;
    moved.set(other, moved.get(i) ?? i);
    return value;
  });
}

export interface Trial {
  /** Loss over the trial's rows, per term, before and after. Infinity after a divergence. */
  readonly before: number;
  readonly after: number;
  readonly diverged: boolean;
  /** Its time ended before its steps: what it did not learn says nothing. */
  readonly cutShort: boolean;
  /** Of whole epochs. */
  readonly steps: number;
  readonly seconds: number;
}

export interface TrialOptions {
  readonly optimizer?: Optimizer;
  readonly steps: number;
  readonly batchSize: number;
  /** Seconds after which it stops, within a batch. */
  readonly seconds: number;
  /** Stops as soon as the loss is below it. Default 0: never. */
  readonly below?: number;
  /** Rows that the loss is of. Default: those trained on. */
  readonly judge?: Sample;
}

/** Trains a copy for some steps. */
export async function trial(model: Sequential, given: Sample, options: TrialOptions): Promise<Trial> {
  const { optimizer, steps, seconds, below = 0 } = options;
  const batchSize = Math.min(options.batchSize, given.rows);
  const sample = withoutLoneRow(given, batchSize);
  const { judge = sample } = options;
  const batches = Math.ceil(sample.rows / batchSize);
  const epochs = Math.max(1, Math.ceil(steps / batches));
  const copy = await callOn(model, () => Promise.resolve(copyOf(model, optimizer ? { optimizer } : {})));
  const started = performance.now();
  const stop = new AbortController();
  const [late, learnt] = [new Error('late'), new Error('learnt')];
  const timer = setTimeout(() => stop.abort(late), seconds * 1000);
  let done = 0;
  try {
    const before = await lossOf(copy, judge);
    let failed: unknown;
    const onEpoch = async (): Promise<void> => {
      done++;
      if (below > 0 && (await lossOf(copy, judge)) < below) stop.abort(learnt);
    };
    await copy.fit(sample.x, sample.y, { epochs, batchSize, signal: stop.signal, onEpoch }).catch((error: unknown) => (failed = error));
    const blownUp = failed instanceof GradmillError && failed.code === 'diverged';
    if (failed !== undefined && !blownUp && failed !== late && failed !== learnt) throw failed as Error;
    const loss = blownUp ? NaN : await lossOf(copy, judge);
    const diverged = !Number.isFinite(loss);
    const after = diverged ? Infinity : loss;
    return { before, after, diverged, cutShort: failed === late, steps: done * batches, seconds: (performance.now() - started) / 1000 };
  } finally {
    clearTimeout(timer);
    copy.dispose();
  }
}

/** A last batch of one row has no batch statistics: batch normalisation refuses it. */
export function withoutLoneRow(sample: Sample, batchSize: number): Sample {
  const { rows } = sample;
  if (rows === 1 || rows % batchSize !== 1) return sample;
  return subset(
    sample,
    Array.from({ length: rows - 1 }, (_, row) => row),
  );
}

/**
 * Per loss term, whatever the reduction; NaN where it is not finite. A model with moving statistics is judged as in a training step:
 * they take hundreds of steps to move.
 */
export async function lossOf(model: Sequential, { x, y, rows }: Sample): Promise<number> {
  const { sum, terms, moving } = await callOn(model, ({ runtime: { training, units, parameters } }) =>
    Promise.resolve({
      sum: training?.loss.reduction === 'sum',
      terms: rows * (training?.loss.classes ? 1 : units),
      moving: parameters.some(({ trainable }) => !trainable),
    }),
  );
  try {
    const { loss } = moving ? await model.gradients(x, y) : await model.evaluate(x, y);
    return sum ? loss / terms : loss;
  } catch (error) {
    if (error instanceof GradmillError && error.code === 'diverged') return NaN;
    throw error;
  }
}

/** The optimizer with another learning rate. */
export function withLearningRate(optimizer: Optimizer, learningRate: number): Optimizer {
  const [, ...rest] = optimizer.hyper;
  return { ...optimizer, hyper: [learningRate, ...rest], config: { ...optimizer.config, learningRate } };
}
