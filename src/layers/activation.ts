// y = a(z), forward and backward: dZ = dY ⊙ a'(z), for softmax dZ = y ⊙ (dY − Σ dY⊙y).
import { type Activation, activationConfig, type ActivationName, type ActivationOptions, resolveActivation } from '../activations.js';
import type { Plan, Tensor } from '../plan.js';
import type { Layer } from './layer.js';

/** What `activation(...)` returns: a layer, and a value for dense's `activation`. */
export interface ActivationLayer extends Layer {
  readonly kind: 'activation';
  readonly activation: Activation;
}

export function recordActivation(plan: Plan, z: Tensor, activation: Activation): Tensor {
  if (activation.name === 'linear') return z;
  if (activation.name === 'softmax') {
    const y = plan.softmax(z);
    plan.backward(z, y, (dY) => plan.softmaxGradient(dY, y));
    return y;
  }
  const y = plan.activate(z, activation);
  plan.backward(z, y, (dY) => plan.activationGradient(dY, activation.derivativeNeedsInput ? z : y, activation));
  return y;
}

/**
 * An activation by name, or with its parameter: `activation({ name: 'leakyRelu', negativeSlope: 0.2 })`.
 * @throws GradmillError 'unknown-name', 'invalid-argument'
 */
export function activation(given: ActivationName | ActivationOptions): ActivationLayer {
  const resolved = resolveActivation(given);
  return {
    kind: 'activation',
    name: undefined,
    activation: resolved,
    featurewise: resolved.name !== 'softmax',
    config: { activation: activationConfig(resolved) },
    build: (units) => ({ units, record: (plan, x) => recordActivation(plan, x, resolved) }),
  };
}
