// Y = a(X·W + b): a fully connected layer, its forward and its backward.
import { type Activation, activationConfig, type ActivationName, type ActivationOptions, resolveActivation } from '../activations.js';
import { type InitializerInput, resolveInitializer } from '../initializers.js';
import { checkOptions, flag, reading, size } from '../options.js';
import { type RegularizerInput, resolveRegularizer } from '../regularizers.js';
import { type ActivationLayer, recordActivation } from './activation.js';
import { checkLayerName, type Layer } from './layer.js';

export interface DenseOptions {
  /** Columns of the output; at least 1. */
  readonly units: number;
  /** Default 'linear'. */
  readonly activation?: ActivationName | ActivationOptions | ActivationLayer;
  /** Default true. */
  readonly useBias?: boolean;
  /** Of the kernel [fanIn, units]. Default 'glorotUniform'. */
  readonly kernelInitializer?: InitializerInput;
  /** Of the bias [units]. Default 'zeros'. */
  readonly biasInitializer?: InitializerInput;
  /** l1(…), l2(…) or groupLasso(…) of the kernel. Default: none. */
  readonly kernelRegularizer?: RegularizerInput;
  /** Weights are named `name/kernel`, `name/bias`. Default `dense1`, `dense2`, … */
  readonly name?: string;
}

const OPTIONS = ['units', 'activation', 'useBias', 'kernelInitializer', 'biasInitializer', 'kernelRegularizer', 'name'];

/** @throws GradmillError 'invalid-argument', 'unknown-name', 'size-overflow' */
export function dense(options: DenseOptions): Layer {
  const given = {
    activation: 'linear',
    useBias: true,
    kernelInitializer: 'glorotUniform',
    biasInitializer: 'zeros',
    ...checkOptions('dense', options, OPTIONS),
  } as const;
  const units = size('dense: units', given.units);
  const useBias = flag('dense: useBias', given.useBias);
  const kernelInitializer = resolveInitializer('dense: kernelInitializer', given.kernelInitializer);
  const biasInitializer = resolveInitializer('dense: biasInitializer', given.biasInitializer);
  const regularizer =
    given.kernelRegularizer === undefined ? undefined : resolveRegularizer('dense: kernelRegularizer', given.kernelRegularizer);
  const activation = activationOf(given.activation);
  const name = given.name === undefined ? undefined : checkLayerName('dense: name', given.name);
  return {
    kind: 'dense',
    name,
    config: {
      units,
      activation: activationConfig(activation),
      useBias,
      kernelInitializer: kernelInitializer.config,
      biasInitializer: biasInitializer.config,
      ...(regularizer && { kernelRegularizer: regularizer.config }),
    },
    build(fanIn, declare) {
      const kernel = declare('kernel', [fanIn, units], kernelInitializer, { regularizer });
      const bias = useBias ? declare('bias', [units], biasInitializer) : undefined;
      return {
        units,
        record(plan, x) {
          const product = plan.gemm(x, kernel.value); // Z = X·W
          const z = bias ? plan.addBias(product, bias.value) : product; // + b
          plan.backward(x, z, (dZ) => {
            plan.gemm(x.T, dZ, kernel.grad); // dW = Xᵀ·dZ
            if (bias) plan.sumRows(dZ, bias.grad); // db = Σ dZ
            return plan.gemm(dZ, kernel.value.T); // dX = dZ·Wᵀ
          });
          return recordActivation(plan, z, activation); // Y = a(Z); backward: dZ = dY ⊙ a'(Z)
        },
      };
    },
  };
}

function activationOf(given: NonNullable<DenseOptions['activation']>): Activation {
  return isLayer(given) ? given.activation : resolveActivation(given);
}

/** Not the JSON of one: a layer has functions. */
function isLayer(given: unknown): given is ActivationLayer {
  return reading(
    'activation',
    () => typeof given === 'object' && given !== null && 'activation' in given && 'build' in given && typeof given.build === 'function',
  );
}
