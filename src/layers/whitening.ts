// Y = (X + shift)·W with fixed weights, which whitening learned from data: see scaling/whitening.ts.
import { fixedValues, type Initializer, zeros } from '../initializers.js';
import { GradmillError } from '../errors.js';
import { checkOptions, size } from '../options.js';
import { checkLayerName, type Layer } from './layer.js';

export interface WhiteningLayerOptions {
  /** Columns of the output. */
  readonly units: number;
  readonly name?: string | undefined;
}

/** @param weights of a layer that is new; a model file brings its own */
export function whiteningLayer(
  options: WhiteningLayerOptions,
  weights?: { readonly shift: Float32Array; readonly kernel: Float32Array },
): Layer {
  const checked = checkOptions('whitening', options, ['units', 'name']);
  const units = size('whitening: units', checked.units);
  const name = checked.name === undefined ? undefined : checkLayerName('whitening: name', checked.name);
  const values = (of: Float32Array | undefined): Initializer => (of ? fixedValues(of) : zeros());
  return {
    kind: 'whitening',
    name,
    config: { units },
    build(fanIn, declare) {
      if (weights && weights.shift.length !== fanIn)
        throw new GradmillError(
          'shape-mismatch',
          `whitening: it was fitted on ${weights.shift.length} columns, the layer's input has ${fanIn}`,
        );
      const shift = declare('shift', [fanIn], values(weights?.shift), { trainable: false });
      const kernel = declare('kernel', [fanIn, units], values(weights?.kernel), { trainable: false });
      return {
        units,
        record(plan, x) {
          const y = plan.gemm(plan.addBias(x, shift.value), kernel.value);
          plan.backward(x, y, (dY) => plan.gemm(dY, kernel.value.T));
          return y;
        },
      };
    },
  };
}
