// Y = a(X·W + b): a fully connected layer, its forward and its backward.
import { type Activation, activationConfig, type ActivationName, type ActivationOptions, resolveActivation } from '../activations.js';
import { GradmillError } from '../errors.js';
import { type InitializerInput, resolveInitializer } from '../initializers.js';
import { checkOptions, flag, show, wholeNumber } from '../options.js';
import { type ActivationLayer, recordActivation } from './activation.js';
import type { Layer } from './layer.js';

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
  /** Weights are named `name/kernel`, `name/bias`. Default `dense1`, `dense2`, … */
  readonly name?: string;
}

const OPTIONS = ['units', 'activation', 'useBias', 'kernelInitializer', 'biasInitializer', 'name'];

/** Larger matrices overflow the engine's sizes. */
const MOST_UNITS = 0x7fffffff;

/** @throws GradmillError 'invalid-argument', 'unknown-name' */
export function dense(options: DenseOptions): Layer {
  checkOptions('dense', options, OPTIONS);
  const units = wholeNumber('dense: units', options.units, 1, MOST_UNITS);
  const useBias = flag('dense: useBias', options.useBias ?? true);
  const kernelInitializer = resolveInitializer('kernelInitializer', options.kernelInitializer ?? 'glorotUniform');
  const biasInitializer = resolveInitializer('biasInitializer', options.biasInitializer ?? 'zeros');
  const activation = activationOf(options.activation ?? 'linear');
  if (options.name !== undefined && typeof options.name !== 'string') throw new GradmillError('invalid-argument', `dense: name: expected a string, got ${show(options.name)}`);
  return {
    kind: 'dense',
    name: options.name,
    config: {
      units,
      activation: activationConfig(activation),
      useBias,
      kernelInitializer: kernelInitializer.config,
      biasInitializer: biasInitializer.config,
    },
    build(fanIn, declare) {
      const kernel = declare('kernel', [fanIn, units], kernelInitializer);
      const bias = useBias ? declare('bias', [units], biasInitializer) : undefined;
      return {
        units,
        record(plan, x) {
          const product = plan.gemm(x, kernel.value); // Z = X·W
          const z = bias ? plan.addBias(product, bias.value) : product; // + b
          plan.backward(x, z, dZ => {
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

function isLayer(given: unknown): given is ActivationLayer {
  return typeof given === 'object' && given !== null && 'activation' in given;
}
