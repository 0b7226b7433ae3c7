// Masks of weights: which are trained, and which are pruned and stay 0. runtime.ts keeps them in the arena, saving.ts in the
// file; gradmill/pruning sets them.
import { GradmillError } from './errors.js';
import type { TrainableParameter } from './plan.js';
import type { Runtime } from './runtime.js';
import { checkWeights, type WeightInput } from './weights.js';

/** 1 where a weight is trained, 0 where it is pruned. */
export interface Mask {
  /** Of the weight: `layer/kernel`. */
  readonly name: string;
  readonly shape: number[];
  readonly data: Uint8Array;
}

/** Of weights with anything pruned. */
export function copyMasks(runtime: Runtime): Mask[] {
  return runtime.trainable.flatMap((weight) => {
    const mask = runtime.maskOf(weight);
    return mask?.includes(0) ? [{ name: weight.name, shape: [...weight.shape], data: Uint8Array.from(mask) }] : [];
  });
}

/**
 * Copies of zeros and ones.
 * @throws GradmillError 'unknown-name', 'shape-mismatch', 'non-finite-input', 'invalid-argument'
 */
export function checkMasks(
  call: string,
  given: readonly WeightInput[],
  weights: readonly TrainableParameter[],
): Map<TrainableParameter, Float32Array> {
  const checked = checkWeights(given, weights, call).map(({ parameter, data }) => {
    const bad = data.findIndex((value) => value !== 0 && value !== 1);
    if (bad >= 0)
      throw new GradmillError('invalid-argument', `${call}: '${parameter.name}': element ${bad}: expected 0 or 1, got ${data[bad]}`);
    return [parameter, data] as const;
  });
  return new Map(checked);
}
