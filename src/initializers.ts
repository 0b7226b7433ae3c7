// Initialisers: what a weight holds before training. Each records one instruction into the model's initialisation plan; the
// draws depend on the model's seed and the weight's number alone.
import { GradmillError } from './errors.js';
import { checkOptions, finiteNumber, oneOf, reading, show, showShape } from './options.js';
import type { Plan, Tensor } from './plan.js';

/** Where an initialiser writes, and where its draws come from. */
export interface Draw {
  readonly y: Tensor;
  /** [fanIn, fanOut] of a kernel, [units] of a bias. */
  readonly shape: readonly number[];
  /** The weight's number in the model. */
  readonly stream: number;
  /** The seed's place in the arena. */
  readonly state: Tensor;
}

export interface Initializer {
  /** As a model file stores it; `initializer(config)` makes the same again. */
  readonly config: Readonly<{ name: InitializerName } & Record<string, string | number>>;
  record(plan: Plan, draw: Draw): void;
  /** Written over what was recorded, where the numbers are known. */
  readonly values?: Float32Array;
}

type Distribution = 'normal' | 'truncatedNormal' | 'uniform';
type Fan = 'fanIn' | 'fanOut' | 'fanAvg';

export interface NormalOptions {
  /** Default 0. */
  readonly mean?: number;
  /** At least 0. Default 0.05. */
  readonly standardDeviation?: number;
}

export interface UniformOptions {
  /** Default −0.05. */
  readonly low?: number;
  /** Default 0.05. */
  readonly high?: number;
}

export interface VarianceScalingOptions {
  /** Variance times fan; more than 0. Default 1. */
  readonly scale?: number;
  /** Default 'fanIn'. */
  readonly mode?: Fan;
  /** Default 'normal'. Each distribution has variance scale / fan. */
  readonly distribution?: Distribution;
}

function fill(value: number, config: Initializer['config']): Initializer {
  return { config, record: (plan, { y }) => plan.emit('fill', [y.elements(1)], { y }, { value }) };
}

function random(
  op: 'randomNormal' | 'randomTruncatedNormal' | 'randomUniform',
  plan: Plan,
  { y, stream, state }: Draw,
  a: number,
  b: number,
): void {
  const range: Record<string, number> = op === 'randomUniform' ? { low: a, high: b } : { mean: a, standardDeviation: b };
  plan.emit(op, [y.elements(1)], { y, state }, { stream, ...range });
}

/** An initialiser that takes no options, and says so. */
function fixed(name: string, make: () => Initializer): (options?: Record<string, never>) => Initializer {
  return (options = {}) => {
    checkOptions(name, options, []);
    return make();
  };
}

/** Every weight 0. */
export const zeros = fixed('zeros', () => fill(0, { name: 'zeros' }));
/** Every weight 1. */
export const ones = fixed('ones', () => fill(1, { name: 'ones' }));

/** Every weight `value`. */
export function constant(options: { readonly value: number }): Initializer {
  const value = finiteNumber('constant: value', checkOptions('constant', options, ['value']).value);
  return fill(value, { name: 'constant', value });
}

function gaussian(name: 'normal' | 'truncatedNormal', options: NormalOptions): Initializer {
  const given = { mean: 0, standardDeviation: 0.05, ...checkOptions(name, options, ['mean', 'standardDeviation']) };
  const mean = finiteNumber(`${name}: mean`, given.mean);
  const standardDeviation = finiteNumber(`${name}: standardDeviation`, given.standardDeviation, { min: 0 });
  const op = name === 'normal' ? 'randomNormal' : 'randomTruncatedNormal';
  return { config: { name, mean, standardDeviation }, record: (plan, draw) => random(op, plan, draw, mean, standardDeviation) };
}

/** N(mean, standardDeviation²). */
export function normal(options: NormalOptions = {}): Initializer {
  return gaussian('normal', options);
}

/** N(mean, standardDeviation²), drawn again beyond two standard deviations (so it spreads 0.88 times as wide). */
export function truncatedNormal(options: NormalOptions = {}): Initializer {
  return gaussian('truncatedNormal', options);
}

/** Uniform in [low, high). */
export function uniform(options: UniformOptions = {}): Initializer {
  const given = { low: -0.05, high: 0.05, ...checkOptions('uniform', options, ['low', 'high']) };
  const low = finiteNumber('uniform: low', given.low);
  const high = finiteNumber('uniform: high', given.high, { min: low });
  return { config: { name: 'uniform', low, high }, record: (plan, draw) => random('randomUniform', plan, draw, low, high) };
}

/** Standard deviation of N(0, 1) cut at ±2: √(1 − 4φ(2)/(2Φ(2) − 1)). */
export const TRUNCATED_DEVIATION = 0.8796256610342398;

/**
 * Weights of variance scale / fan, so that signals keep their size through depth: a product of fanIn terms of unit variance has
 * variance fanIn·Var(W), its gradient units·Var(W). Hence 'fanIn' keeps the forward pass (LeCun 1998), 'fanOut' the backward
 * pass, and 'fanAvg', (fanIn + fanOut) / 2, is a compromise (Glorot & Bengio 2010). An activation that shrinks what passes asks
 * for scale gain(activation)²: 2 for ReLU (He et al. 2015). The distribution matters little: uniform has limits
 * ±√(3·scale/fan); truncatedNormal is cut at two of its own deviations and widened to make up for it.
 */
export function varianceScaling(options: VarianceScalingOptions = {}): Initializer {
  const given = {
    scale: 1,
    mode: 'fanIn',
    distribution: 'normal',
    ...checkOptions('varianceScaling', options, ['scale', 'mode', 'distribution']),
  };
  const scale = finiteNumber('varianceScaling: scale', given.scale, { above: 0 });
  const mode = oneOf('mode of varianceScaling', given.mode, ['fanIn', 'fanOut', 'fanAvg']);
  const distribution = oneOf('distribution of varianceScaling', given.distribution, ['normal', 'truncatedNormal', 'uniform']);
  return {
    config: { name: 'varianceScaling', scale, mode, distribution },
    record: (plan, draw) => {
      const [fanIn = 1, fanOut = fanIn] = draw.shape;
      const fan = { fanIn, fanOut, fanAvg: (fanIn + fanOut) / 2 }[mode];
      const deviation = Math.sqrt(scale / fan);
      // Var of U(−limit, limit) is limit²/3.
      if (distribution === 'uniform') random('randomUniform', plan, draw, -Math.sqrt(3) * deviation, Math.sqrt(3) * deviation);
      else if (distribution === 'normal') random('randomNormal', plan, draw, 0, deviation);
      else random('randomTruncatedNormal', plan, draw, 0, deviation / TRUNCATED_DEVIATION);
    },
  };
}

const scaled = (name: string, scale: number, mode: Fan, distribution: Distribution) =>
  fixed(name, () => varianceScaling({ scale, mode, distribution }));

/** N(0, 1/fanIn). */
export const lecunNormal = scaled('lecunNormal', 1, 'fanIn', 'normal');
/** Uniform, variance 1/fanIn. */
export const lecunUniform = scaled('lecunUniform', 1, 'fanIn', 'uniform');
/** N(0, 2/(fanIn + fanOut)). */
export const glorotNormal = scaled('glorotNormal', 1, 'fanAvg', 'normal');
/** Uniform in ±√(6/(fanIn + fanOut)); dense's default. */
export const glorotUniform = scaled('glorotUniform', 1, 'fanAvg', 'uniform');
/** N(0, 2/fanIn), for ReLU. */
export const heNormal = scaled('heNormal', 2, 'fanIn', 'normal');
/** Uniform, variance 2/fanIn, for ReLU. */
export const heUniform = scaled('heUniform', 2, 'fanIn', 'uniform');

/** Numbers that a layer knows; a model file holds them as weights, not here. */
export function fixedValues(values: Float32Array): Initializer {
  return { ...zeros(), values };
}

export interface OrthogonalOptions {
  /** Factor of all weights; more than 0. Default 1; `gain('relu')` for ReLU. */
  readonly gain?: number;
}

/**
 * A random rotation times gain: columns orthonormal where fanIn ≥ units (WᵀW = gain²·I), else rows (WWᵀ = gain²·I); uniformly
 * distributed over all such. Signals and gradients keep their size through any depth (Saxe, McClelland & Ganguli 2014).
 * Only for kernels: a model with a bias of it throws 'shape-mismatch'.
 */
export function orthogonal(options: OrthogonalOptions = {}): Initializer {
  const given = { gain: 1, ...checkOptions('orthogonal', options, ['gain']) };
  const gain = finiteNumber('orthogonal: gain', given.gain, { above: 0 });
  return {
    config: { name: 'orthogonal', gain },
    record: (plan, draw) => {
      const { y, shape } = draw;
      if (shape.length !== 2)
        throw new GradmillError('shape-mismatch', `orthogonal: expected a kernel [fanIn, units], got '${y.name}' ${showShape(shape)}`);
      random('randomNormal', plan, draw, 0, 1);
      plan.emit('orthogonalize', shape, { y }, { gain });
    },
  };
}

const INITIALIZERS = {
  zeros,
  ones,
  constant,
  normal,
  truncatedNormal,
  uniform,
  varianceScaling,
  lecunNormal,
  lecunUniform,
  glorotNormal,
  glorotUniform,
  heNormal,
  heUniform,
  orthogonal,
};
export type InitializerName = keyof typeof INITIALIZERS;
const INITIALIZER_NAMES = Object.keys(INITIALIZERS) as InitializerName[];

/** A name, a stored config, or what one of the functions here returned. */
export type InitializerInput = InitializerName | Initializer['config'] | Initializer;

/** @throws GradmillError 'unknown-name', 'invalid-argument' */
export function resolveInitializer(what: string, given: InitializerInput): Initializer {
  if (isInitializer(given)) return given;
  const config: unknown = typeof given === 'string' ? { name: given } : given;
  if (typeof config !== 'object' || config === null)
    throw new GradmillError('invalid-argument', `${what}: expected an initialiser such as heNormal(), or its name, got ${show(given)}`);
  const { name, ...options } = reading(what, () => ({ name: undefined, ...config }));
  return (INITIALIZERS[oneOf(`initialiser (${what})`, name, INITIALIZER_NAMES)] as (options: object) => Initializer)(options);
}

function isInitializer(given: unknown): given is Initializer {
  return reading(
    'initialiser',
    () => typeof given === 'object' && given !== null && 'record' in given && typeof given.record === 'function',
  );
}
