// Losses by name: the pseudo-layer after the last one (THEORY: its output is the loss, its loss gradient 1). The kernels and
// their formulas are native/losses.h.
import { GradmillError } from './errors.js';
import { checkOptions, finiteNumber, oneOf, reading, show } from './options.js';
import type { Plan, Tensor } from './plan.js';

const LOSSES = {
  /** mean of (x − t)² */
  meanSquaredError: { classes: false, options: [] },
  /** mean of |x − t| */
  meanAbsoluteError: { classes: false, options: [] },
  /** ½(x−t)² up to delta, delta·(|x−t| − ½delta) beyond; delta 1 */
  huber: { classes: false, options: ['delta'] },
  /** on logits x, targets in [0, 1] */
  binaryCrossEntropy: { classes: false, options: [] },
  /** on logits, labels or one-hot rows */
  softmaxCrossEntropy: { classes: true, options: ['labelSmoothing'] },
  /** on probabilities, clipped to [1e-7, 1 − 1e-7] */
  categoricalCrossEntropy: { classes: true, options: [] },
} as const;

export type LossName = keyof typeof LOSSES;
export const LOSS_NAMES = Object.keys(LOSSES) as LossName[];

export interface LossOptions {
  readonly name: LossName;
  /** 'mean' divides by the loss terms of the batch (rows; elements for elementwise losses), 'sum' by nothing. Default 'mean'. */
  readonly reduction?: 'mean' | 'sum';
  /** huber: where the square ends; more than 0. Default 1. */
  readonly delta?: number;
  /** softmaxCrossEntropy: share of the target spread over all classes, in [0, 1). Default 0. */
  readonly labelSmoothing?: number;
}

export interface Loss {
  readonly name: LossName;
  readonly reduction: 'mean' | 'sum';
  /** Targets may be class labels. */
  readonly classes: boolean;
  readonly immediates: Readonly<Record<string, number>>;
  readonly config: LossOptions;
}

/** @throws GradmillError 'unknown-name', 'invalid-argument' */
export function resolveLoss(given: LossName | LossOptions): Loss {
  const options = typeof given === 'string' ? { name: given } : given;
  if (typeof options !== 'object' || (options as unknown) === null)
    throw new GradmillError('invalid-argument', `loss: expected a name or { name, … }, got ${show(given)}`);
  const name = oneOf(
    'loss',
    reading('loss', () => options.name),
    LOSS_NAMES,
  );
  const known: readonly string[] = LOSSES[name].options;
  const {
    reduction: wanted = 'mean',
    delta = 1,
    labelSmoothing = 0,
  } = checkOptions(`loss '${name}'`, options, ['name', 'reduction', ...known]);
  const reduction = oneOf(`reduction of loss '${name}'`, wanted, ['mean', 'sum']);
  const own = {
    ...(known.includes('delta') && { delta: finiteNumber('huber: delta', delta, { above: 0 }) }),
    ...(known.includes('labelSmoothing') && {
      labelSmoothing: finiteNumber('softmaxCrossEntropy: labelSmoothing', labelSmoothing, { min: 0, below: 1 }),
    }),
  };
  return {
    name,
    reduction,
    classes: LOSSES[name].classes,
    immediates: { reduction: reduction === 'sum' ? 1 : 0, ...own },
    config: { name, reduction, ...own },
  };
}

/** Where a loss writes; all in the model's state. */
export interface LossOutputs {
  readonly loss: Tensor;
  readonly totals: Tensor;
  /** The loss's own loss gradient: 1. */
  readonly seed: Tensor;
}

/** Targets as the batch holds them: class labels, or rows like the prediction's. */
export type Target = { readonly labels: Tensor } | { readonly t: Tensor };

/** Records the loss of prediction x. Returns the loss gradient at x when the plan trains. */
export function recordLoss(
  plan: Plan,
  loss: Loss,
  x: Tensor,
  target: Target,
  { loss: value, totals, seed }: LossOutputs,
): Tensor | undefined {
  const [rows = 'batch', columns = 1] = x.shape;
  const rowLoss = plan.buffer('rowLoss', [rows]);
  const dX = plan.training ? plan.buffer('dX', x.shape) : undefined;
  plan.emit(loss.name, [rows, columns], { x, ...target, rowLoss, seed, dX }, loss.immediates);
  plan.emit('lossTotal', [rows, loss.classes ? 1 : columns], { rowLoss, loss: value, totals }, { reduction: loss.immediates.reduction });
  return dX;
}

/** Counts right predictions into totals[2]; a single output is compared with `threshold`. */
export function recordAccuracy(plan: Plan, x: Tensor, target: Target, totals: Tensor, threshold: number): void {
  plan.emit('accuracy', x.shape, { x, ...target, totals }, { threshold });
}
