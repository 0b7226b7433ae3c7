// Weights as users see them: named copies. What is given is checked here before model.ts changes anything.
import { GradmillError, unknownName } from './errors.js';
import { checkOptions, list, LONGEST_LIST, reading, show } from './options.js';
import type { Parameter } from './plan.js';
import { elementType, type NumericArray } from './tensor.js';

export interface NamedTensor {
  /** `layer/kernel`, `layer/bias` */
  readonly name: string;
  readonly shape: number[];
  readonly data: Float32Array;
}

export interface Weight extends NamedTensor {
  /** Whether the optimizer changes it: false for running statistics. */
  readonly trainable: boolean;
}

/** A weight's new values, by its name. */
export interface WeightInput {
  readonly name: string;
  /** Checked where given. */
  readonly shape?: readonly number[];
  readonly data: NumericArray | readonly number[];
  /** Accepted, since `weights` returns it; changes nothing. */
  readonly trainable?: boolean;
}

export interface NewValues<P extends Parameter> {
  readonly parameter: P;
  readonly data: Float32Array;
}

/**
 * Copies, every number of them finite.
 * @throws GradmillError 'unknown-name', 'shape-mismatch', 'non-finite-input', 'invalid-argument'
 */
export function checkWeights<P extends Parameter>(
  given: readonly WeightInput[],
  parameters: readonly P[],
  call = 'setWeights',
): NewValues<P>[] {
  const byName = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const seen = new Set<P>();
  const most = Math.max(LONGEST_LIST, parameters.length);
  return list(call, given, most).map((weight) => {
    const checked = checkWeight(call, weight as WeightInput, byName);
    if (seen.has(checked.parameter)) throw new GradmillError('invalid-argument', `${call}: '${checked.parameter.name}' was given twice`);
    seen.add(checked.parameter);
    return checked;
  });
}

function checkWeight<P extends Parameter>(call: string, given: WeightInput, byName: ReadonlyMap<string, P>): NewValues<P> {
  const { name, shape, data } = checkOptions(call, given, ['name', 'shape', 'data', 'trainable']);
  const parameter = byName.get(name);
  if (typeof name !== 'string') throw new GradmillError('invalid-argument', `${call}: name: expected a name, got ${show(name)}`);
  if (!parameter) throw unknownName('weight', name, byName.keys());
  const what = `${call}: '${parameter.name}'`;
  const wanted = `[${parameter.shape.join(', ')}]`;
  return reading(what, () => {
    if (!Array.isArray(data) && elementType(data) < 0)
      throw new GradmillError('invalid-argument', `${what}: expected an array of numbers, got ${show(data)}`);
    if (shape !== undefined) {
      const sizes = list(what, shape).map((dim) => (typeof dim === 'number' ? dim : NaN));
      if (sizes.length !== parameter.shape.length || sizes.some((dim, i) => dim !== parameter.shape[i]))
        throw new GradmillError('shape-mismatch', `${what}: expected shape ${wanted}, got [${sizes.join(', ')}]`);
    }
    const elements = parameter.value.elements(1);
    if (data.length !== elements)
      throw new GradmillError('shape-mismatch', `${what}: shape ${wanted} needs ${elements} numbers, got ${data.length}`);
    const copy = new Float32Array(elements);
    for (let i = 0; i < elements; i++) {
      const value: unknown = data[i];
      if (typeof value !== 'number')
        throw new GradmillError('invalid-argument', `${what}: element ${i}: expected a number, got ${show(value)}`);
      copy[i] = value;
      if (!Number.isFinite(copy[i]))
        throw new GradmillError('non-finite-input', `${what}: element ${i}: expected a number that is finite in float32, got ${value}`);
      if (value < parameter.min)
        throw new GradmillError('invalid-argument', `${what}: element ${i}: expected at least ${parameter.min}, got ${value}`);
    }
    return { parameter, data: copy };
  });
}
