// The lottery ticket of Frankle & Carbin 2018 (and, with `rewind`, of their work with Dziugaite and Roy 2019): train, prune the
// smallest weights, put the rest back to their first values, train again; beside it the same masks over new random values.
import { GradmillError } from '../errors.js';
import { checkSignal } from '../fit.js';
import { checkModel, type Sequential } from '../model.js';
import { checkOptions, finiteNumber, flag, list, oneOf, pairOf, show, size, wholeNumber } from '../options.js';
import { toRows, type TensorInput } from '../tensor.js';
import type { Weight } from '../weights.js';
import { LotteryRecord } from './lottery-record.js';
import { pruneByMagnitude } from './magnitude.js';
import { masksOf, setMasks, sparsity } from './masks.js';
import type { Mask } from '../masks.js';

export interface LotteryOptions {
  /**
   * A new model, compiled, with metric 'accuracy' where that is wanted; its first weights depend on the seed alone. It is called
   * once for every training, and its models are disposed of.
   */
  readonly makeModel: (seed: number) => Sequential | Promise<Sequential>;
  readonly data: readonly [x: TensorInput, y: TensorInput];
  /** Evaluated after each epoch; decides nothing. */
  readonly validationData: readonly [x: TensorInput, y: TensorInput];
  /** Times that weights are pruned; round 0 trains the whole network. */
  readonly rounds: number;
  /** Of every training. */
  readonly epochs: number;
  /** As fit's. Default 32. */
  readonly batchSize?: number;
  /** Share of the weights left that each round prunes in every kernel but the last, in [0, 1). Default 0.2. */
  readonly share?: number;
  /** The same in the last kernel. Default half of share. */
  readonly outputShare?: number;
  /** 'global' compares the weights of all hidden kernels with each other. Default 'layer'. */
  readonly scope?: 'layer' | 'global';
  /**
   * Weights go back to what they were after so many steps of round 0. Default 0: to their first values. Each round trains all
   * its epochs from there.
   */
  readonly rewind?: number;
  /** Whether each round also trains its masks over new random values, drawn by the model's initialisers. Default true. */
  readonly control?: boolean;
  /** Each is a procedure of its own; whole numbers below 2³². Default [0]. */
  readonly seeds?: readonly number[];
  /** Seeds at work side by side; results do not depend on it. Give makeModel's models one thread each then. Default 1. */
  readonly concurrency?: number;
  /**
   * Where each trained ticket and the record of what is done are written, atomically, after every training; what the folder
   * holds already is not done again. `seed-S-round-R.safetensors` is for loadModel. Default: nothing is kept.
   */
  readonly directory?: string;
  /** Stops within one batch; the procedure rejects with its reason. */
  readonly signal?: AbortSignal;
  /** After every training, awaited; not for those found in `directory`. What it throws ends the procedure. */
  readonly onRound?: (round: LotteryRound) => unknown;
}

export interface LotteryRound {
  readonly seed: number;
  /** How often weights were pruned before. */
  readonly round: number;
  readonly arm: 'ticket' | 'control';
  /** Of kernels. */
  readonly weights: number;
  /** weights as a share of those in round 0. */
  readonly weightsLeft: number;
  /** Of the validation data, after the last epoch. */
  readonly loss: number;
  readonly accuracy?: number;
  /** The epoch, from 1, of the least validation loss: early stopping would have stopped there. */
  readonly bestEpoch: number;
  readonly bestLoss: number;
  readonly bestAccuracy?: number;
  /** Of the validation data, after each epoch. */
  readonly valLoss: readonly number[];
  readonly valAccuracy?: readonly number[];
}

/** What decides the numbers of a round: a directory is continued with the same only. */
export interface LotterySettings {
  readonly epochs: number;
  readonly batchSize: number;
  readonly share: number;
  readonly outputShare: number;
  readonly scope: 'layer' | 'global';
  readonly rewind: number;
  readonly control: boolean;
  readonly rows: number;
}

interface Prepared extends Pick<LotteryOptions, 'makeModel' | 'data' | 'validationData' | 'onRound'> {
  readonly settings: LotterySettings;
  readonly rounds: number;
  readonly directory: string | undefined;
}

const OPTIONS = [
  ...['makeModel', 'data', 'validationData', 'rounds', 'epochs', 'batchSize', 'share', 'outputShare', 'scope', 'rewind'],
  ...['control', 'seeds', 'concurrency', 'directory', 'signal', 'onRound'],
];

/**
 * Looks for lottery tickets: small parts of a network that train as well as the whole from their first values.
 *
 *     const report = await lotteryTicket({ makeModel, data: [x, y], validationData, rounds: 10, epochs: 3, seeds: [1, 2, 3] });
 *
 * @returns every round of every seed in order, the ticket before its control arm, those found in `directory` included
 * Rejects with the signal's reason, with what makeModel or onRound threw, and with GradmillError as fit does; 'file-io' and
 * 'file-invalid' for `directory`, 'invalid-argument' when it holds the rounds of other settings.
 */
export async function lotteryTicket(options: LotteryOptions): Promise<LotteryRound[]> {
  const given = checkOptions('lotteryTicket', options, OPTIONS);
  const what = (name: string): string => `lotteryTicket: ${name}`;
  const share = finiteNumber(what('share'), given.share ?? 0.2, { min: 0, below: 1 });
  const [x, y] = pairOf(what('data'), given.data);
  const { rows } = toRows(what('data: x'), x);
  const prepared: Prepared = {
    makeModel: callable('makeModel', given.makeModel),
    data: [x, y],
    validationData: pairOf(what('validationData'), given.validationData),
    rounds: wholeNumber(what('rounds'), given.rounds),
    directory: given.directory,
    onRound: given.onRound === undefined ? undefined : callable('onRound', given.onRound),
    settings: {
      epochs: wholeNumber(what('epochs'), given.epochs, 1),
      batchSize: size(what('batchSize'), given.batchSize ?? Math.min(32, rows)),
      share,
      outputShare: finiteNumber(what('outputShare'), given.outputShare ?? share / 2, { min: 0, below: 1 }),
      scope: oneOf(what('scope'), given.scope ?? 'layer', ['layer', 'global']),
      rewind: wholeNumber(what('rewind'), given.rewind ?? 0),
      control: flag(what('control'), given.control ?? true),
      rows,
    },
  };
  const { settings } = prepared;
  const steps = settings.epochs * Math.ceil(rows / settings.batchSize);
  if (settings.rewind > steps)
    throw new GradmillError(
      'invalid-argument',
      `${what('rewind')}: expected at most the ${steps} steps of a round, got ${settings.rewind}`,
    );
  const seeds = list(what('seeds'), given.seeds ?? [0]).map((seed) => wholeNumber(what('seeds'), seed, 0, 0xffffffff));
  if (new Set(seeds).size < seeds.length) throw new GradmillError('invalid-argument', `${what('seeds')}: a seed is named twice`);
  const concurrency = wholeNumber(what('concurrency'), given.concurrency ?? 1, 1);
  return sideBySide(seeds, concurrency, checkSignal('lotteryTicket', given.signal), (seed, signal) =>
    new Lottery(prepared, seed, signal).run(),
  );
}

function callable<T>(name: string, given: T): T {
  if (typeof given === 'function') return given;
  throw new GradmillError('invalid-argument', `lotteryTicket: ${name}: expected a function, got ${show(given)}`);
}

/** Runs a procedure for each seed, some at a time. The first to fail stops the others; nothing runs when this settles. */
async function sideBySide(
  seeds: readonly number[],
  concurrency: number,
  signal: AbortSignal | undefined,
  run: (seed: number, signal: AbortSignal) => Promise<LotteryRound[]>,
): Promise<LotteryRound[]> {
  const stop = new AbortController();
  const abort = (): void => {
    stop.abort(signal?.reason);
  };
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  const results: LotteryRound[][] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < seeds.length; i = next++) {
      try {
        results[i] = await run(seeds[i], stop.signal);
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    }
  };
  try {
    await Promise.allSettled(Array.from({ length: concurrency }, worker));
    stop.signal.throwIfAborted();
  } finally {
    signal?.removeEventListener('abort', abort);
  }
  return results.flat();
}

/** The model of a control arm: far from every seed that a user may give. */
function controlSeed(seed: number, round: number): number {
  return seed + round * 2 ** 32;
}

/** The procedure for one seed. */
class Lottery {
  readonly #options: Prepared;
  readonly #seed: number;
  readonly #signal: AbortSignal;
  /** The last ticket trained, with its masks. */
  #trained: { readonly round: number; readonly model: Sequential } | undefined;
  /** What weights go back to, where that is not their first values. */
  #start: readonly Weight[] | undefined;

  constructor(options: Prepared, seed: number, signal: AbortSignal) {
    this.#options = options;
    this.#seed = seed;
    this.#signal = signal;
  }

  async run(): Promise<LotteryRound[]> {
    const { settings, rounds, directory, onRound } = this.#options;
    const record = await LotteryRecord.open(directory, this.#seed, settings);
    const report: LotteryRound[] = [];
    try {
      for (let round = 0; round <= rounds; round++) {
        let masks: readonly Mask[] | undefined;
        for (const arm of round > 0 && settings.control ? (['ticket', 'control'] as const) : (['ticket'] as const)) {
          let done = record.find(round, arm);
          if (!done) {
            this.#signal.throwIfAborted();
            masks ??= round === 0 ? [] : await this.#prune(round - 1, record);
            done = await this.#train(round, arm, masks, record);
            await onRound?.(done);
          }
          report.push(done);
        }
      }
    } finally {
      this.#trained?.model.dispose();
    }
    return report;
  }

  /** Masks for the round after this one. */
  async #prune(round: number, record: LotteryRecord): Promise<readonly Mask[]> {
    const { share, outputShare, scope } = this.#options.settings;
    const model = this.#trained?.round === round ? this.#trained.model : this.#keep(round, await record.ticket(round));
    const layers = [...new Set((await sparsity(model)).weights.map(({ name }) => name.slice(0, name.lastIndexOf('/'))))];
    await pruneByMagnitude(model, { share, scope, layers: layers.slice(0, -1) });
    await pruneByMagnitude(model, { share: outputShare, layers: layers.slice(-1) });
    return masksOf(model);
  }

  async #train(round: number, arm: LotteryRound['arm'], masks: readonly Mask[], record: LotteryRecord): Promise<LotteryRound> {
    const { makeModel, settings } = this.#options;
    const model = await makeModel(arm === 'control' ? controlSeed(this.#seed, round) : this.#seed);
    checkModel(model, 'lotteryTicket: makeModel: ');
    let kept = false;
    try {
      if (arm === 'ticket' && round > 0 && settings.rewind > 0) model.setWeights((this.#start ??= await record.start()));
      await setMasks(model, masks);
      const history = await this.#fit(model, round, record);
      const { elements, pruned } = await sparsity(model);
      const done = {
        seed: this.#seed,
        round,
        arm,
        weights: elements - pruned,
        weightsLeft: (elements - pruned) / elements,
        ...curve(history),
      };
      await record.add(done, arm === 'ticket' ? model : undefined);
      if (arm === 'ticket') {
        this.#keep(round, model);
        kept = true;
      }
      return done;
    } finally {
      if (!kept) model.dispose();
    }
  }

  async #fit(model: Sequential, round: number, record: LotteryRecord): ReturnType<Sequential['fit']> {
    const { data, validationData, settings } = this.#options;
    const { epochs, batchSize, rewind } = settings;
    let step = 0;
    const takeStart = async (): Promise<void> => {
      if (++step !== rewind) return;
      this.#start = model.weights;
      await record.saveStart(model);
    };
    const onBatch = round === 0 && rewind > 0 ? takeStart : undefined;
    return model.fit(data[0], data[1], { epochs, batchSize, validationData, signal: this.#signal, ...(onBatch && { onBatch }) });
  }

  #keep(round: number, model: Sequential): Sequential {
    this.#trained?.model.dispose();
    this.#trained = { round, model };
    return model;
  }
}

/** @param history of a fit with validation data */
function curve({
  valLoss = [],
  valAccuracy,
}: Awaited<ReturnType<Sequential['fit']>>): Omit<LotteryRound, 'seed' | 'round' | 'arm' | 'weights' | 'weightsLeft'> {
  const best = valLoss.reduce((least, loss, epoch) => (loss < valLoss[least] ? epoch : least), 0);
  return {
    loss: valLoss[valLoss.length - 1],
    ...(valAccuracy && { accuracy: valAccuracy[valAccuracy.length - 1] }),
    bestEpoch: best + 1,
    bestLoss: valLoss[best],
    ...(valAccuracy && { bestAccuracy: valAccuracy[best] }),
    valLoss: [...valLoss],
    ...(valAccuracy && { valAccuracy: [...valAccuracy] }),
  };
}
