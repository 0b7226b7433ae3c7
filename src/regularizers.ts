// Regularisers of a weight: what they add to its gradient before an update, or do to it after. The kernels and their order of
// operations are native/ops.h; runtime.ts records them around the optimizer's update.
import { GradmillError } from './errors.js';
import { checkOptions, finiteNumber, oneOf, reading, show } from './options.js';
import type { Plan, Tensor, TrainableParameter } from './plan.js';

export interface Regularizer {
  /** As a model file stores it. */
  readonly config: Readonly<{ name: RegularizerName; lambda: number }>;
  /** Adds the penalty's gradient, before gradients are clipped; absent in proximal ones. */
  readonly recordGradient?: (plan: Plan, weight: TrainableParameter) => void;
  /** The proximal step, after the optimizer's update. `hyper` holds the learning rate. */
  readonly recordProximal?: (plan: Plan, weight: TrainableParameter, hyper: Tensor) => void;
}

/** @param lambda at least 0 */
function checkLambda(name: string, lambda: unknown): number {
  return finiteNumber(`${name}: lambda`, lambda, { min: 0 });
}

/**
 * Penalty λ·Σ|w|, as a proximal step (Daubechies, Defrise & De Mol 2004): after each update every weight becomes
 * sign(w)·max(|w| − learningRate·λ, 0), so weights reach 0 exactly. With every optimizer the learning rate is the plain one,
 * not Adam's step for the weight. The reported loss is without the penalty.
 * @param lambda at least 0
 * @throws GradmillError 'invalid-argument'
 */
export function l1(lambda: number): Regularizer {
  const checked = checkLambda('l1', lambda);
  return {
    config: { name: 'l1', lambda: checked },
    recordProximal: (plan, { value }, hyper) => plan.emit('softThreshold', [value.elements(1)], { x: value, hyper }, { lambda: checked }),
  };
}

/**
 * Penalty ½λ·Σw²: λ·w is added to the gradient, before clipping. The factor is that of PyTorch's weight_decay; Keras's l2(λ) is
 * l2(2λ) here. Weights become small but not 0. The reported loss is without the penalty.
 * @param lambda at least 0
 * @throws GradmillError 'invalid-argument'
 */
export function l2(lambda: number): Regularizer {
  const checked = checkLambda('l2', lambda);
  return {
    config: { name: 'l2', lambda: checked },
    recordGradient: (plan, { value, grad }) => plan.emit('addScaled', [value.elements(1)], { y: grad, x: value }, { scale: checked }),
  };
}

/**
 * Group lasso (Yuan & Lin 2006) over a unit's incoming weights, the columns of a kernel [fanIn, units]: penalty λ·Σ‖column‖,
 * without their factor for a group's size. As a proximal step after each update: a column is multiplied by
 * max(1 − learningRate·λ/‖column‖, 0), so whole units reach 0 exactly and can be removed. Learning rate and loss as with l1.
 * @param lambda at least 0
 * @throws GradmillError 'invalid-argument'
 */
export function groupLasso(lambda: number): Regularizer {
  const checked = checkLambda('groupLasso', lambda);
  return {
    config: { name: 'groupLasso', lambda: checked },
    recordProximal(plan, { shape, value }, hyper) {
      const units = shape.at(-1) ?? 1;
      plan.emit('shrinkColumns', [value.elements(1) / units, units], { x: value, hyper }, { lambda: checked });
    },
  };
}

const REGULARIZERS = { l1, l2, groupLasso };
export type RegularizerName = keyof typeof REGULARIZERS;

/** What one of the functions here returned, or its stored config. */
export type RegularizerInput = Regularizer | Regularizer['config'];

/** @throws GradmillError 'unknown-name', 'invalid-argument' */
export function resolveRegularizer(what: string, given: RegularizerInput): Regularizer {
  if (isRegularizer(given)) return given;
  const { name, lambda } = checkOptions(what, given, ['name', 'lambda']);
  return REGULARIZERS[oneOf(`regulariser (${what})`, name, Object.keys(REGULARIZERS) as RegularizerName[])](lambda);
}

function isRegularizer(given: unknown): given is Regularizer {
  return reading('regulariser', () => {
    if (typeof given !== 'object' || given === null)
      throw new GradmillError('invalid-argument', `regulariser: expected l1(…), l2(…) or groupLasso(…), got ${show(given)}`);
    return 'config' in given && ('recordGradient' in given || 'recordProximal' in given);
  });
}
