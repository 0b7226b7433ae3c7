// Layer normalisation (Ba, Kiros & Hinton 2016) and root-mean-square normalisation (Zhang & Sennrich 2019): statistics of each
// example over its own features, the same in training and prediction.
import { ones, zeros } from '../initializers.js';
import { checkOptions, finiteNumber, flag } from '../options.js';
import { type BuiltLayer, checkLayerName, type Declare, type Layer } from './layer.js';

export interface LayerNormalizationOptions {
  /** Added to the variance; at least 1e-30. Default 1e-5. */
  readonly epsilon?: number;
  /** Whether there is a weight gamma, first 1. Default true. */
  readonly scale?: boolean;
  /** Whether there is a weight beta, first 0. Default true. */
  readonly center?: boolean;
  /** Weights are named `name/gamma`, `name/beta`. Default `layerNormalization1`, … */
  readonly name?: string;
}

export interface RmsNormalizationOptions {
  /** Added to the mean square; at least 1e-30. Default 1e-6. */
  readonly epsilon?: number;
  /** Whether there is a weight gamma, first 1. Default true. */
  readonly scale?: boolean;
  /** The weight is named `name/gamma`. Default `rmsNormalization1`, … */
  readonly name?: string;
}

interface Settings {
  /** Whether the mean is taken away. */
  readonly centred: boolean;
  readonly epsilon: number;
  readonly scale: boolean;
  readonly shift: boolean;
}

function build(units: number, declare: Declare, { centred, epsilon, scale, shift }: Settings): BuiltLayer {
  const gamma = scale ? declare('gamma', [units], ones()) : undefined;
  const beta = shift ? declare('beta', [units], zeros()) : undefined;
  return {
    units,
    record(plan, x) {
      const [rows = 'batch'] = x.shape;
      const y = plan.buffer('y', x.shape);
      const inverse = plan.buffer('inverse', [rows]);
      const mean = centred ? plan.buffer('mean', [rows]) : undefined;
      plan.emit('layerNormalization', x.shape, { x, gamma: gamma?.value, beta: beta?.value, y, inverse, mean }, { epsilon });
      plan.backward(x, y, (dY) => {
        const dX = plan.buffer('dX', x.shape);
        if (gamma) plan.emit('layerNormalizationScaleGradient', x.shape, { dY, x, inverse, mean, dGamma: gamma.grad });
        if (beta) plan.sumRows(dY, beta.grad);
        plan.emit('layerNormalizationGradient', x.shape, { dY, x, inverse, mean, gamma: gamma?.value, dX });
        return dX;
      });
      return y;
    },
  };
}

/**
 * y = gamma·(x − mean)/√(variance + epsilon) + beta, mean and biased variance over each example's features. gamma and beta are
 * trained. Unlike batch normalisation it does not depend on the batch.
 * @throws GradmillError 'invalid-argument', 'unknown-name'
 */
export function layerNormalization(options: LayerNormalizationOptions = {}): Layer {
  const given = {
    epsilon: 1e-5,
    scale: true,
    center: true,
    ...checkOptions('layerNormalization', options, ['epsilon', 'scale', 'center', 'name']),
  };
  const epsilon = finiteNumber('layerNormalization: epsilon', given.epsilon, { min: 1e-30 });
  const scale = flag('layerNormalization: scale', given.scale);
  const center = flag('layerNormalization: center', given.center);
  const name = given.name === undefined ? undefined : checkLayerName('layerNormalization: name', given.name);
  return {
    kind: 'layerNormalization',
    name,
    config: { epsilon, scale, center },
    build: (units, declare) => build(units, declare, { centred: true, epsilon, scale, shift: center }),
  };
}

/**
 * y = gamma·x/√(mean of x² + epsilon), over each example's features. gamma is trained.
 * @throws GradmillError 'invalid-argument', 'unknown-name'
 */
export function rmsNormalization(options: RmsNormalizationOptions = {}): Layer {
  const given = { epsilon: 1e-6, scale: true, ...checkOptions('rmsNormalization', options, ['epsilon', 'scale', 'name']) };
  const epsilon = finiteNumber('rmsNormalization: epsilon', given.epsilon, { min: 1e-30 });
  const scale = flag('rmsNormalization: scale', given.scale);
  const name = given.name === undefined ? undefined : checkLayerName('rmsNormalization: name', given.name);
  return {
    kind: 'rmsNormalization',
    name,
    config: { epsilon, scale },
    build: (units, declare) => build(units, declare, { centred: false, epsilon, scale, shift: false }),
  };
}
