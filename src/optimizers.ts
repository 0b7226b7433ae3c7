// Optimizers: what they keep for each weight, their hyper-parameters, and the instructions of one update over all weights at
// once (weights, gradients and moments each lie in one contiguous range). Formulas: native/optimizers.h, as PyTorch's.
import { GradmillError } from './errors.js';
import { checkOptions, finiteNumber, flag, reading } from './options.js';
import type { Plan, Tensor } from './plan.js';

interface ClipOptions {
  /** Each gradient element is cut to ±clipValue; more than 0. Default: none. */
  readonly clipValue?: number;
  /** All gradients are scaled by min(1, clipGlobalNorm / (‖g‖ + 1e-6)), before weight decay; more than 0. Default: none. */
  readonly clipGlobalNorm?: number;
}

export interface SgdOptions extends ClipOptions {
  /** Default 0.01. */
  readonly learningRate?: number;
  /** Default 0. */
  readonly momentum?: number;
  /** Needs momentum. Default false. */
  readonly nesterov?: boolean;
  /** L2: added to the gradient as weightDecay·p. Default 0. */
  readonly weightDecay?: number;
}

export interface RmspropOptions extends ClipOptions {
  /** Default 0.01. */
  readonly learningRate?: number;
  /** Weight of the old mean square, PyTorch's alpha. Default 0.99. */
  readonly rho?: number;
  /** At least 1e-30. Default 1e-8. */
  readonly epsilon?: number;
  /** L2. Default 0. */
  readonly weightDecay?: number;
}

export interface AdagradOptions extends ClipOptions {
  /** Default 0.01. */
  readonly learningRate?: number;
  /** At least 1e-30. Default 1e-10. */
  readonly epsilon?: number;
  /** L2. Default 0. */
  readonly weightDecay?: number;
}

export interface AdamOptions extends ClipOptions {
  /** Default 1e-3. */
  readonly learningRate?: number;
  /** Default 0.9. */
  readonly beta1?: number;
  /** Default 0.999. */
  readonly beta2?: number;
  /** At least 1e-30. Default 1e-8. */
  readonly epsilon?: number;
  /** adam: L2, default 0. adamW: decoupled (p −= learningRate·weightDecay·p), default 0.01. */
  readonly weightDecay?: number;
}

/** Contiguous ranges over all weights, each [elements]. */
export interface WeightRanges {
  readonly p: Tensor;
  readonly g: Tensor;
  readonly moment1?: Tensor;
  readonly moment2?: Tensor;
}

export interface Optimizer {
  readonly name: 'sgd' | 'rmsprop' | 'adagrad' | 'adam' | 'adamW';
  readonly moments: readonly ('moment1' | 'moment2')[];
  /** The first values of `hyper`, sixteen doubles in the order of native/optimizers.h. */
  readonly hyper: readonly number[];
  readonly config: Readonly<Record<string, string | number | boolean>>;
  /** One update of every weight. `clipScale` [1] is where a global norm's scale goes. */
  record(plan: Plan, ranges: WeightRanges, hyper: Tensor, clipScale: Tensor): void;
}

/** Whether it is what sgd(…), adam(…) and their like return: not their name, settings or the function itself. */
export function isOptimizer(given: unknown): given is Optimizer {
  return reading('compile: optimizer', () => {
    const { record, hyper, moments, config } = Object(given) as Partial<Optimizer>;
    return (
      typeof record === 'function' && Array.isArray(hyper) && hyper.length === 16 && Array.isArray(moments) && typeof config === 'object'
    );
  });
}

type Name = Optimizer['name'];

/** Every option of an optimizer, given or by default. */
function settings(name: Name, options: object, defaults: Readonly<Record<string, number | boolean>>): Optimizer['config'] {
  const given = checkOptions(name, options as Readonly<Record<string, unknown>>, [...Object.keys(defaults), 'clipValue', 'clipGlobalNorm']);
  const config: Record<string, string | number | boolean> = { name };
  for (const [option, standard] of Object.entries(defaults)) {
    const { [option]: value = standard } = given;
    const what = `${name}: ${option}`;
    config[option] = typeof standard === 'boolean' ? flag(what, value) : finiteNumber(what, value, LIMITS[option] ?? { min: 0 });
  }
  for (const option of ['clipValue', 'clipGlobalNorm']) {
    if (given[option] !== undefined) config[option] = finiteNumber(`${name}: ${option}`, given[option], { above: 0 });
  }
  return config;
}

function make(
  config: Optimizer['config'],
  moments: Optimizer['moments'],
  update: (plan: Plan, operands: Record<string, Tensor | undefined>, dims: [number]) => void,
): Optimizer {
  const value = (option: string): number => (option in config ? Number(config[option]) : 0);
  return {
    name: config.name as Name,
    moments,
    config,
    hyper: [
      value('learningRate'),
      value('momentum') || value('rho'),
      value('weightDecay'),
      value('epsilon'),
      value('beta1'),
      value('beta2'),
      1,
      1,
      value('clipValue'),
      value('clipGlobalNorm'),
      ...new Array<number>(6).fill(0),
    ],
    record(plan, ranges, hyper, clipScale) {
      const elements = ranges.g.elements(1);
      plan.emit('advance', [], { hyper });
      if ('clipValue' in config) plan.emit('clipValue', [elements], { g: ranges.g, hyper });
      const clip = 'clipGlobalNorm' in config ? clipScale : undefined;
      if (clip) {
        const partials = plan.buffer('partials', [Math.ceil(elements / 4096)]);
        plan.emit('globalNormScale', [elements], { g: ranges.g, partials, scale: clip, hyper });
      }
      update(plan, { ...ranges, hyper, clip }, [elements]);
    },
  };
}

const LIMITS: Readonly<Record<string, { readonly min?: number; readonly above?: number; readonly below?: number }>> = {
  // With 0, or what float32 rounds to 0, a weight whose gradient is 0 would become 0/0.
  epsilon: { min: 1e-30 },
  beta1: { min: 0, below: 1 },
  beta2: { min: 0, below: 1 },
  rho: { min: 0, below: 1 },
};

/** Stochastic gradient descent, with momentum (velocity = momentum·velocity + g) and Nesterov's variant. */
export function sgd(options: SgdOptions = {}): Optimizer {
  const config = settings('sgd', options, { learningRate: 0.01, momentum: 0, nesterov: false, weightDecay: 0 });
  if (config.nesterov === true && config.momentum === 0)
    throw new GradmillError('invalid-argument', 'sgd: nesterov needs momentum above 0');
  const nesterov = config.nesterov === true ? 1 : 0;
  return make(config, config.momentum === 0 ? [] : ['moment1'], (plan, operands, dims) => plan.emit('sgd', dims, operands, { nesterov }));
}

/** Tieleman & Hinton 2012: g divided by the root of its running mean square. */
export function rmsprop(options: RmspropOptions = {}): Optimizer {
  const config = settings('rmsprop', options, { learningRate: 0.01, rho: 0.99, epsilon: 1e-8, weightDecay: 0 });
  return make(config, ['moment2'], (plan, operands, dims) => plan.emit('rmsprop', dims, operands));
}

/** Duchi, Hazan & Singer 2011: g divided by the root of the sum of its squares. */
export function adagrad(options: AdagradOptions = {}): Optimizer {
  const config = settings('adagrad', options, { learningRate: 0.01, epsilon: 1e-10, weightDecay: 0 });
  return make(config, ['moment2'], (plan, operands, dims) => plan.emit('adagrad', dims, operands));
}

function adamLike(name: 'adam' | 'adamW', options: AdamOptions): Optimizer {
  const weightDecay = name === 'adam' ? 0 : 0.01;
  const config = settings(name, options, { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay });
  const decoupled = name === 'adamW' ? 1 : 0;
  return make(config, ['moment1', 'moment2'], (plan, operands, dims) => plan.emit('adam', dims, operands, { decoupled }));
}

/** Kingma & Ba 2015. */
export function adam(options: AdamOptions = {}): Optimizer {
  return adamLike('adam', options);
}

/** Adam with decoupled weight decay, Loshchilov & Hutter 2019. */
export function adamW(options: AdamOptions = {}): Optimizer {
  return adamLike('adamW', options);
}
