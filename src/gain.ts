// How much an activation shrinks a signal, for initialisers.
import { type ActivationName, type ActivationOptions, resolveActivation } from './activations.js';
import { GradmillError } from './errors.js';

/**
 * E[a(z)²] for z ~ N(0, 1) where no parameter enters: by quadrature to 20 digits (mpmath, 40 digits at work), gelu's in closed
 * form, 1/3 + 1/(2π√3); selu was made for 1 (Klambauer et al. 2017).
 */
const SECOND_MOMENTS: Partial<Record<ActivationName, number>> = {
  linear: 1,
  sigmoid: 0.29337903585809296,
  tanh: 0.39429449039784117,
  relu: 0.5,
  selu: 1,
  gelu: 0.42522148257029868,
  geluTanh: 0.42519371103309945,
  silu: 0.35577551981735216,
  mish: 0.45234219237588277,
  softplus: 0.92124590885930028,
  softsign: 0.1830140212666675,
  hardSigmoid: 0.2776390910565126,
  hardSwish: 0.33156737513790769,
};

/** E[(eᶻ − 1)²; z < 0] = e²Φ(−2) − 2√e·Φ(−1) + ½ */
const ELU_TAIL = 0.14494541749292386;

/**
 * 1/√E[a(z)²], z ~ N(0, 1): weights of standard deviation gain/√fanIn keep the outputs' mean square at 1 (He et al. 2015 for
 * ReLU). relu √2, leakyRelu √(2/(1 + α²)), tanh 1.593, gelu 1.534, silu 1.677, selu and linear 1. Where a has a mean, as sigmoid's
 * ½, that is part of the mean square. PyTorch's calculate_gain has rules of thumb instead: tanh 5/3, selu 3/4, sigmoid 1.
 *
 * `orthogonal({ gain: gain('tanh') })`, `varianceScaling({ scale: gain('tanh') ** 2 })`
 * @throws GradmillError 'unknown-name', 'invalid-argument', also for softmax, which is not a function of one number
 */
export function gain(activation: ActivationName | ActivationOptions): number {
  const { name, parameter } = resolveActivation(activation);
  return Math.sqrt(1 / secondMoment(name, parameter));
}

function secondMoment(name: ActivationName, parameter: number): number {
  if (name === 'leakyRelu') return (1 + parameter * parameter) / 2;
  if (name === 'elu') return 0.5 + parameter * parameter * ELU_TAIL;
  const known = SECOND_MOMENTS[name];
  if (known === undefined) throw new GradmillError('invalid-argument', `gain: '${name}' has none`);
  return known;
}
