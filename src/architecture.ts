// What a model is made of: input shape, layers with their names, and the weights they declare; no memory yet. Shared by
// model.ts, which builds it, and saving.ts, which compares it with a file before anything is allocated.
import { GradmillError } from './errors.js';
import type { Initializer } from './initializers.js';
import { type BuiltLayer, checkLayerName, type Declare, type Layer, type WeightOptions } from './layers/layer.js';
import { LARGEST_SIZE, list, reading, show, showShape, size } from './options.js';
import { type Parameter, Tensor } from './plan.js';

export interface NamedLayer {
  readonly name: string;
  readonly layer: Layer;
  readonly built: BuiltLayer;
  readonly parameters: readonly Parameter[];
}

/** A layer's matrix [fanIn, units], trained or not; undefined of a layer that has no parameter called kernel of that shape. */
export function kernelOf({ name, parameters }: Pick<NamedLayer, 'name' | 'parameters'>): Parameter | undefined {
  return parameters.find((parameter) => parameter.name === `${name}/kernel` && parameter.shape.length === 2);
}

export interface Architecture {
  readonly inputShape: readonly number[];
  /** Numbers that one example has. */
  readonly columns: number;
  readonly layers: readonly NamedLayer[];
  readonly initializers: ReadonlyMap<Parameter, Initializer>;
}

/** @throws GradmillError 'invalid-argument', 'size-overflow' */
export function architecture(inputShape: unknown, layers: unknown): Architecture {
  const shape = list('sequential: inputShape', inputShape).map((value, i) => size(`sequential: inputShape[${i}]`, value));
  const columns = shape.reduce((all, one) => all * one, 1);
  if (shape.length === 0) throw new GradmillError('invalid-argument', 'sequential: inputShape: expected at least one size, got none');
  if (columns > LARGEST_SIZE)
    throw new GradmillError('size-overflow', `sequential: inputShape ${showShape(shape)} has more than ${LARGEST_SIZE} numbers`);

  const initializers = new Map<Parameter, Initializer>();
  let units = columns;
  const built = named(checkLayers(layers)).map(({ name, layer }) => {
    const parameters: Parameter[] = [];
    const declare = (part: string, shape: readonly number[], initializer: Initializer, options: WeightOptions = {}): Parameter => {
      const full = `${name}/${part}`;
      const { trainable = true, min = -Infinity, regularizer } = options;
      const weight = { name: full, shape, value: new Tensor(full, shape, 'state'), min };
      const parameter: Parameter = trainable
        ? { ...weight, trainable, grad: new Tensor(`${full}.grad`, shape, 'state'), regularizer }
        : { ...weight, trainable, grad: undefined };
      initializers.set(parameter, initializer);
      parameters.push(parameter);
      return parameter;
    };
    const built = layer.build(units, declare as Declare);
    units = built.units;
    return { name, layer, built, parameters };
  });
  return { inputShape: shape, columns, layers: built, initializers };
}

function checkLayers(layers: unknown): Layer[] {
  const checked = list('sequential: layers', layers);
  if (checked.length === 0) throw new GradmillError('invalid-argument', 'sequential: layers: expected at least one layer, got none');
  return checked.map((layer, i) => {
    const valid = reading(`sequential: layers[${i}]`, () => {
      const { build, kind, config } = Object(layer) as Partial<Layer>;
      return typeof build === 'function' && typeof kind === 'string' && typeof config === 'object';
    });
    if (!valid)
      throw new GradmillError(
        'invalid-argument',
        `sequential: layers[${i}]: expected a layer such as dense({ units }), got ${show(layer)}`,
      );
    return layer as Layer;
  });
}

/** Each layer's own name, or its kind and number. */
function named(layers: readonly Layer[]): { readonly name: string; readonly layer: Layer }[] {
  const counts = new Map<string, number>();
  const taken = new Set<string>();
  return layers.map((layer, i) => {
    const count = (counts.get(layer.kind) ?? 0) + 1;
    counts.set(layer.kind, count);
    const name = checkLayerName(`sequential: layers[${i}]`, layer.name ?? `${layer.kind}${count}`);
    if (taken.has(name)) throw new GradmillError('invalid-argument', `sequential: layers[${i}]: another layer is named ${show(name)} too`);
    taken.add(name);
    return { name, layer };
  });
}
