// Batch normalisation (Ioffe & Szegedy 2015): y = gamma·(x − mean)/√(variance + epsilon) + beta, feature by feature, with the
// batch's own statistics in training and their moving averages afterwards.
import { ones, zeros } from '../initializers.js';
import { checkOptions, finiteNumber, flag } from '../options.js';
import { checkLayerName, type Layer } from './layer.js';

export interface BatchNormalizationOptions {
  /**
   * Weight of the old moving averages in each step, as in Keras (PyTorch's momentum is 1 minus this); in [0, 1]. Default 0.9, as
   * PyTorch's: with Keras's 0.99 a third of the first values is still there after a hundred steps, and short runs predict badly.
   */
  readonly momentum?: number;
  /** Added to the variance; at least 1e-30. Default 1e-5. */
  readonly epsilon?: number;
  /** Whether there is a weight gamma, first 1. Default true. */
  readonly scale?: boolean;
  /** Whether there is a weight beta, first 0. Default true. */
  readonly center?: boolean;
  /** Weights are named `name/gamma`, `name/beta`, `name/movingMean`, `name/movingVariance`. Default `batchNormalization1`, … */
  readonly name?: string;
}

const OPTIONS = ['momentum', 'epsilon', 'scale', 'center', 'name'];

/**
 * Gives every feature mean 0 and variance 1 over the batch, then times gamma plus beta, which are trained. Training divides by the
 * batch's biased standard deviation, and moves movingMean and movingVariance (of the unbiased variance, as in PyTorch), with which
 * predict and evaluate work: there a row's result does not depend on its neighbours. `gradients` is training that moves nothing.
 * A bias before it has no effect: `dense({ useBias: false })`. A batch of a single row has no variance: `fit`, `trainOnBatch` and
 * `gradients` refuse it with 'invalid-argument' before a weight changes.
 * @throws GradmillError 'invalid-argument', 'unknown-name'
 */
export function batchNormalization(options: BatchNormalizationOptions = {}): Layer {
  const given = {
    momentum: 0.9,
    epsilon: 1e-5,
    scale: true,
    center: true,
    ...checkOptions('batchNormalization', options, OPTIONS),
  };
  const momentum = finiteNumber('batchNormalization: momentum', given.momentum, { min: 0, max: 1 });
  const epsilon = finiteNumber('batchNormalization: epsilon', given.epsilon, { min: 1e-30 });
  const scale = flag('batchNormalization: scale', given.scale);
  const center = flag('batchNormalization: center', given.center);
  const name = given.name === undefined ? undefined : checkLayerName('batchNormalization: name', given.name);
  return {
    kind: 'batchNormalization',
    featurewise: true,
    name,
    config: { momentum, epsilon, scale, center },
    build(units, declare) {
      const gamma = scale ? declare('gamma', [units], ones()) : undefined;
      const beta = center ? declare('beta', [units], zeros()) : undefined;
      const movingMean = declare('movingMean', [units], zeros(), { trainable: false }).value;
      const movingVariance = declare('movingVariance', [units], ones(), { trainable: false, min: 0 }).value;
      const affine = { gamma: gamma?.value, beta: beta?.value };
      return {
        units,
        leastRows: 2,
        record(plan, x) {
          const y = plan.buffer('y', x.shape);
          if (!plan.training) {
            plan.emit('batchNormalizationInference', x.shape, { x, mean: movingMean, variance: movingVariance, ...affine, y }, { epsilon });
            return y;
          }
          const [mean, variance] = [plan.buffer('mean', [units]), plan.buffer('variance', [units])];
          plan.emit('batchNormalization', x.shape, { x, ...affine, y, mean, variance }, { epsilon });
          plan.afterLoss(() => plan.emit('updateStatistics', x.shape, { mean, variance, movingMean, movingVariance }, { momentum }));
          plan.backward(x, y, (dY) => {
            const dX = plan.buffer('dX', x.shape);
            const gradients = { dX, dGamma: gamma?.grad, dBeta: beta?.grad };
            plan.emit('batchNormalizationGradient', x.shape, { dY, x, mean, variance, gamma: gamma?.value, ...gradients }, { epsilon });
            return dX;
          });
          return y;
        },
      };
    },
  };
}
