// A model's masks, set, read and counted.
import { checkMasks, copyMasks, type Mask } from '../masks.js';
import { callOn, type Sequential } from '../model.js';
import type { Runtime } from '../runtime.js';
import type { WeightInput } from '../weights.js';

/** A mask by its weight's name: `data` holds 1 where the weight is trained, 0 where it is pruned; `shape` is checked where given. */
export type MaskInput = Pick<WeightInput, 'name' | 'shape' | 'data'>;

/**
 * Makes these the model's masks: what is pruned becomes 0, and stays exactly 0 under every optimizer, momentum, weight decay and
 * regulariser, and in setWeights; its gradient does not count in clipGlobalNorm. Weights without a mask here are no longer
 * pruned; they start from 0. Masks survive compile, and are saved with the model. `gradients` tells the loss's gradient at
 * pruned weights too. In line as fit: may be called from onBatch and onEpoch; moments stay.
 *
 * Costs a float for each weight while anything is pruned, and two passes over the weights a step.
 * Rejects with GradmillError 'unknown-name' (also for weights that are not trainable), 'shape-mismatch', 'invalid-argument',
 * 'out-of-memory', 'disposed'; nothing is changed then.
 */
export async function setMasks(model: Sequential, masks: readonly MaskInput[]): Promise<void> {
  await callOn(model, async (jobs) => {
    jobs.runtime.setMasks(checkMasks('setMasks', masks, jobs.runtime.trainable));
    jobs.forgetPlan();
    return Promise.resolve();
  });
}

/** The masks of all weights of which anything is pruned, as copies; for setMasks on a model of the same layers. */
export function masksOf(model: Sequential): Promise<Mask[]> {
  return callOn(model, ({ runtime }) => Promise.resolve(copyMasks(runtime)));
}

export interface WeightSparsity {
  /** `layer/kernel` */
  readonly name: string;
  readonly elements: number;
  /** Masked. */
  readonly pruned: number;
  /** Exactly 0, masked or not. */
  readonly zeros: number;
}

export interface Sparsity {
  readonly elements: number;
  readonly pruned: number;
  readonly zeros: number;
  /** pruned / elements */
  readonly share: number;
  readonly weights: readonly WeightSparsity[];
}

/** How much is pruned, and how much is 0: of kernels, and of other weights that have a mask. */
export function sparsity(model: Sequential): Promise<Sparsity> {
  return callOn(model, ({ runtime }) => Promise.resolve(sparsityOf(runtime)));
}

export function sparsityOf(runtime: Runtime): Sparsity {
  const weights = runtime.trainable.flatMap((weight): WeightSparsity[] => {
    const mask = runtime.maskOf(weight);
    const pruned = mask ? count(mask) : 0;
    if (weight.shape.length < 2 && pruned === 0) return [];
    const values = runtime.floats(weight.value);
    return [{ name: weight.name, elements: values.length, pruned, zeros: count(values) }];
  });
  const total = (of: 'elements' | 'pruned' | 'zeros'): number => weights.reduce((sum, weight) => sum + weight[of], 0);
  const [elements, pruned, zeros] = [total('elements'), total('pruned'), total('zeros')];
  return { elements, pruned, zeros, share: elements === 0 ? 0 : pruned / elements, weights };
}

/** Zeros among them. */
function count(values: Float32Array): number {
  let zeros = 0;
  for (let i = 0; i < values.length; i++) if (values[i] === 0) zeros++;
  return zeros;
}
