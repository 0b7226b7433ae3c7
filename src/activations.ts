// Activation functions by name. The kernels are native/activations.h; this is their list, their parameters and which of them
// need the layer's input z, not its output, for the derivative.
import { GradmillError } from './errors.js';
import { checkOptions, finiteNumber, oneOf, reading, show } from './options.js';

/** An activation as the engine runs it. */
export interface Activation {
  readonly name: ActivationName;
  /** The engine's number for it; −1 for softmax, which is an op of its own. */
  readonly code: number;
  readonly parameter: number;
  readonly derivativeNeedsInput: boolean;
}

// In the engine's order: an index is the engine's number.
const ELEMENTWISE = [
  'linear',
  'sigmoid',
  'tanh',
  'relu',
  'leakyRelu',
  'elu',
  'selu',
  'gelu',
  'geluTanh',
  'silu',
  'mish',
  'softplus',
  'softsign',
  'hardSigmoid',
  'hardSwish',
] as const;

export const ACTIVATION_NAMES = [...ELEMENTWISE, 'softmax'] as const;
export type ActivationName = (typeof ACTIVATION_NAMES)[number];

const NEEDS_INPUT = new Set<ActivationName>(['gelu', 'geluTanh', 'silu', 'mish', 'softplus', 'hardSwish']);

/** The one parameter an activation may take, and its default. */
const PARAMETERS: Partial<Record<ActivationName, { readonly option: 'negativeSlope' | 'alpha'; readonly value: number }>> = {
  leakyRelu: { option: 'negativeSlope', value: 0.01 },
  elu: { option: 'alpha', value: 1 },
};

export interface ActivationOptions {
  readonly name: ActivationName;
  /** leakyRelu: slope for z < 0, at least 0. Default 0.01. */
  readonly negativeSlope?: number;
  /** elu: −alpha is the limit for z → −∞; more than 0. Default 1. */
  readonly alpha?: number;
}

/** @throws GradmillError 'unknown-name', 'invalid-argument' */
export function resolveActivation(given: ActivationName | ActivationOptions): Activation {
  const options = typeof given === 'string' ? { name: given } : given;
  if (typeof options !== 'object' || (options as unknown) === null)
    throw new GradmillError('invalid-argument', `activation: expected a name or { name, … }, got ${show(given)}`);
  const name = oneOf(
    'activation',
    reading('activation', () => options.name),
    ACTIVATION_NAMES,
  );
  const wanted = PARAMETERS[name];
  const checked = checkOptions(`activation '${name}'`, options, wanted ? ['name', wanted.option] : ['name']);
  const { [wanted?.option ?? 'alpha']: value = wanted?.value } = checked;
  const parameter = wanted ? finiteNumber(`activation '${name}': ${wanted.option}`, value) : 0;
  // The derivative reads the sign of z from y, so y must have it.
  if (parameter < 0 || (name === 'elu' && parameter === 0))
    throw new GradmillError(
      'invalid-argument',
      `activation '${name}': ${wanted?.option ?? ''} must be ${name === 'elu' ? 'more than' : 'at least'} 0, got ${String(parameter)}`,
    );
  return { name, code: ELEMENTWISE.indexOf(name as (typeof ELEMENTWISE)[number]), parameter, derivativeNeedsInput: NEEDS_INPUT.has(name) };
}

/** The shortest form that resolves to the same activation, for model files. */
export function activationConfig(activation: Activation): ActivationName | ActivationOptions {
  const wanted = PARAMETERS[activation.name];
  return wanted && activation.parameter !== wanted.value
    ? { name: activation.name, [wanted.option]: activation.parameter }
    : activation.name;
}
