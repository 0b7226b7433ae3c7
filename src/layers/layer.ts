// What a layer is: a description that a model builds once (declaring its weights) and then records into every plan.
import { GradmillError } from '../errors.js';
import type { Initializer } from '../initializers.js';
import { show } from '../options.js';
import type { FixedParameter, Plan, Tensor, TrainableParameter } from '../plan.js';
import type { Regularizer } from '../regularizers.js';

export interface WeightOptions {
  /** Default true. Else it has no gradient, and only the layer itself or setWeights changes it. */
  readonly trainable?: boolean;
  /** The smallest value that setWeights accepts. Default: none. */
  readonly min?: number;
  /** Of a trainable weight. Default: none. */
  readonly regularizer?: Regularizer | undefined;
}

/** Makes a weight of the layer, called `layer/name`. */
export interface Declare {
  (
    name: string,
    shape: readonly number[],
    initializer: Initializer,
    options?: WeightOptions & { readonly trainable?: true },
  ): TrainableParameter;
  (
    name: string,
    shape: readonly number[],
    initializer: Initializer,
    options: WeightOptions & { readonly trainable: false },
  ): FixedParameter;
}

export interface Layer {
  readonly kind: string;
  readonly name: string | undefined;
  /** Column j of the output depends on column j of the input alone, and so does number j of each of its weights. Default false. */
  readonly featurewise?: boolean;
  /** As a model file stores it: options of the layer's function. */
  readonly config: Readonly<Record<string, unknown>>;
  /** @param units columns of the layer's input */
  build(units: number, declare: Declare): BuiltLayer;
}

export interface BuiltLayer {
  /** Columns of its output. */
  readonly units: number;
  /** Rows that a batch must have in training, for statistics over them. Default 1. */
  readonly leastRows?: number;
  /** Records the forward instructions and the backward rule; returns the output. */
  record(plan: Plan, x: Tensor): Tensor;
}

/** Weights are called `layer/kernel`. @throws GradmillError 'invalid-argument' */
export function checkLayerName(what: string, name: unknown): string {
  if (typeof name !== 'string' || !/^[^/\p{Cc}]{1,100}$/u.test(name))
    throw new GradmillError('invalid-argument', `${what}: expected a name of 1 to 100 characters without '/', got ${show(name)}`);
  return name;
}
