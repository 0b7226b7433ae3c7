// Magnitude pruning: the weights nearest to 0 go, by exact counts.
import { GradmillError, unknownName } from '../errors.js';
import { callOn, type Sequential } from '../model.js';
import { checkOptions, finiteNumber, list, oneOf, show, wholeNumber } from '../options.js';
import type { TrainableParameter } from '../plan.js';
import type { Runtime } from '../runtime.js';
import { type Sparsity, sparsityOf } from './masks.js';

export interface PruneOptions {
  /** Share of the weights left that are pruned now, in [0, 1], as Frankle & Carbin 2018. Give this or `sparsity`. */
  readonly share?: number;
  /** Share of all weights that are pruned afterwards, in [0, 1]; where more are pruned already, nothing happens. */
  readonly sparsity?: number;
  /** 'layer': the share of each kernel; 'global': of all kernels together, compared with each other. Default 'layer'. */
  readonly scope?: 'layer' | 'global';
  /** Names of the layers whose kernels are pruned. Default: all. */
  readonly layers?: readonly string[];
}

/**
 * Prunes the kernels' weights of the smallest magnitude: masks them, as setMasks. Exactly round(share · weights left) go, of
 * equal ones those of the lowest index first (in layer order). Biases and other weights of one dimension are never pruned. In
 * line as fit: may be called from onBatch and onEpoch.
 * Rejects with GradmillError 'invalid-argument', 'unknown-name', 'out-of-memory', 'disposed'.
 */
export async function pruneByMagnitude(model: Sequential, options: PruneOptions): Promise<Sparsity> {
  const { share, sparsity, scope = 'layer', layers } = checkOptions('pruneByMagnitude', options, ['share', 'sparsity', 'scope', 'layers']);
  if ((share === undefined) === (sparsity === undefined))
    throw new GradmillError('invalid-argument', 'pruneByMagnitude: give share or sparsity, and not both');
  const range = { min: 0, max: 1 };
  const goal = share === undefined
    ? { sparsity: finiteNumber('pruneByMagnitude: sparsity', sparsity, range) }
    : { share: finiteNumber('pruneByMagnitude: share', share, range) }; // prettier-ignore
  const global = oneOf('pruneByMagnitude: scope', scope, ['layer', 'global']) === 'global';
  const names = layers === undefined ? undefined : list('pruneByMagnitude: layers', layers);
  return callOn(model, async (jobs) => {
    const { runtime } = jobs;
    const kernels = kernelsOf(runtime, names).map((weight) => candidateOf(runtime, weight));
    for (const group of global ? [kernels] : kernels.map((kernel) => [kernel])) pruneSmallest(group, countOf(group, goal));
    const others = runtime.trainable.flatMap((weight): [TrainableParameter, Float32Array][] => {
      const mask = runtime.maskOf(weight);
      return mask ? [[weight, mask.slice()]] : [];
    });
    runtime.setMasks(new Map([...others, ...kernels.map(({ weight, mask }) => [weight, mask] as const)]));
    jobs.forgetPlan();
    return Promise.resolve(sparsityOf(runtime));
  });
}

/** Trainable weights of two dimensions or more. */
function kernelsOf(runtime: Runtime, names: readonly unknown[] | undefined): TrainableParameter[] {
  const isKernel = (weight: TrainableParameter): boolean => weight.shape.length > 1;
  if (names === undefined) return runtime.trainable.filter(isKernel);
  const chosen = new Set(
    names.flatMap((name) => {
      const layer = runtime.layers.find((one) => one.name === name);
      if (typeof name !== 'string')
        throw new GradmillError('invalid-argument', `pruneByMagnitude: layers: expected names, got ${show(name)}`);
      if (!layer) throw unknownName('layer', name, runtime.layers.map((one) => one.name)); // prettier-ignore
      if (!layer.parameters.some((weight) => weight.trainable && isKernel(weight)))
        throw new GradmillError('invalid-argument', `pruneByMagnitude: layers: '${name}' has no kernel`);
      return layer.parameters;
    }),
  );
  return runtime.trainable.filter((weight) => chosen.has(weight) && isKernel(weight));
}

interface Candidate {
  readonly weight: TrainableParameter;
  /** |w| as bits, whose order is that of the magnitudes, with the sign's bit in front. */
  readonly words: Uint32Array;
  /** What the mask becomes. */
  readonly mask: Float32Array;
}

const MAGNITUDE = 0x7fffffff;

function candidateOf(runtime: Runtime, weight: TrainableParameter): Candidate {
  const { buffer, byteOffset, length } = runtime.floats(weight.value);
  const mask = runtime.maskOf(weight)?.slice() ?? new Float32Array(length).fill(1);
  return { weight, words: new Uint32Array(buffer, byteOffset, length).slice(), mask };
}

function countOf(group: readonly Candidate[], goal: { readonly share: number } | { readonly sparsity: number }): number {
  let [all, left] = [0, 0];
  for (const { mask } of group) {
    all += mask.length;
    for (let i = 0; i < mask.length; i++) left += mask[i];
  }
  if ('share' in goal) return Math.round(goal.share * left);
  return Math.max(Math.round(goal.sparsity * all) - (all - left), 0);
}

function pruneSmallest(group: readonly Candidate[], count: number): void {
  if (count === 0) return;
  const { limit, ties } = nthSmallest(group, count);
  let equal = ties;
  for (const { words, mask } of group)
    for (let i = 0; i < mask.length; i++) {
      const magnitude = words[i] & MAGNITUDE;
      if (mask[i] === 1 && (magnitude < limit || (magnitude === limit && equal-- > 0))) mask[i] = 0;
    }
}

/** The n-th smallest magnitude of weights left, as bits, and how many of those equal to it are among the n: a radix selection. */
function nthSmallest(group: readonly Candidate[], n: number): { limit: number; ties: number } {
  const tally = (digitOf: (magnitude: number) => number): Uint32Array => {
    const counts = new Uint32Array(1 << 16);
    for (const { words, mask } of group)
      for (let i = 0; i < mask.length; i++) {
        const digit = mask[i] === 1 ? digitOf(words[i] & MAGNITUDE) : -1;
        if (digit >= 0) counts[digit]++;
      }
    return counts;
  };
  let rank = n;
  const digitAt = (counts: Uint32Array): number => {
    let digit = 0;
    while (rank > counts[digit]) rank -= counts[digit++];
    return digit;
  };
  const upper = digitAt(tally((magnitude) => magnitude >>> 16));
  const lower = digitAt(tally((magnitude) => (magnitude >>> 16 === upper ? magnitude & 0xffff : -1)));
  return { limit: upper * 0x10000 + lower, ties: rank };
}

export interface PruningScheduleOptions {
  /** Sparsity at `start`, in [0, 1]. Default 0. */
  readonly from?: number;
  /** Sparsity from `end` on, in [0, 1]. Equal to `from`: a constant. */
  readonly to: number;
  /** First step that prunes, counted from 1. Default 1. */
  readonly start?: number;
  /** Last step that prunes; at least `start`. */
  readonly end: number;
  /** Steps between prunings. Default 1. */
  readonly every?: number;
  /** Default 3, a whole number: the sparsity rises fast first and slowly at the end. 1: evenly. */
  readonly power?: number;
}

/**
 * When to prune, and how much: from + (to − from)·(1 − (1 − t)^power) with t = (step − start)/(end − start), at steps start,
 * start + every, … and end (Zhu & Gupta 2017, with their power 3). What counts as a step, a batch or an epoch, is the caller's choice:
 *
 *     const schedule = pruningSchedule({ to: 0.9, end: 10 });
 *     await model.fit(x, y, { epochs: 12, onEpoch: async ({ epoch }) => {
 *       const sparsity = schedule(epoch);
 *       if (sparsity !== undefined) await pruneByMagnitude(model, { sparsity });
 *     } });
 *
 * @returns the sparsity due after a step; undefined where the step does not prune
 * @throws GradmillError 'invalid-argument', 'unknown-name'
 */
export function pruningSchedule(options: PruningScheduleOptions): (step: number) => number | undefined {
  const what = (name: string): string => `pruningSchedule: ${name}`;
  const given = {
    from: 0,
    start: 1,
    every: 1,
    power: 3,
    ...checkOptions('pruningSchedule', options, ['from', 'to', 'start', 'end', 'every', 'power']),
  };
  const from = finiteNumber(what('from'), given.from, { min: 0, max: 1 });
  const to = finiteNumber(what('to'), given.to, { min: 0, max: 1 });
  const start = wholeNumber(what('start'), given.start);
  const end = wholeNumber(what('end'), given.end, start);
  const every = wholeNumber(what('every'), given.every, 1);
  const power = wholeNumber(what('power'), given.power, 1, 100);
  return (step) => {
    if (step < start || step > end || ((step - start) % every !== 0 && step !== end)) return undefined;
    if (step === end) return to;
    const left = 1 - (step - start) / (end - start);
    let factor = 1;
    for (let i = 0; i < power; i++) factor *= left;
    return from + (to - from) * (1 - factor);
  };
}
