// Dropout (Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014), scaled in training so that prediction needs nothing.
import { GradmillError } from '../errors.js';
import { checkOptions, finiteNumber } from '../options.js';
import { checkLayerName, type Layer } from './layer.js';

export interface DropoutOptions {
  /** Share of the elements set to 0, in [0, 1); the rest are multiplied by 1/(1 − rate). */
  readonly rate: number;
  /** Default `dropout1`, `dropout2`, … */
  readonly name?: string;
}

/**
 * In training each element is set to 0 with probability `rate`, else multiplied by 1/(1 − rate); in predict and evaluate y = x.
 * What is dropped depends on the model's seed, the layer, the step (trained since the model was compiled) and the element's place
 * in the batch alone: not on threads or the instruction set. `gradients` uses the mask of the step that would come next.
 * @throws GradmillError 'invalid-argument', 'unknown-name'
 */
export function dropout(options: DropoutOptions): Layer {
  const { rate: given, name: wanted } = checkOptions('dropout', options, ['rate', 'name']);
  const rate = finiteNumber('dropout: rate', given, { min: 0, below: 1 });
  if (Math.fround(rate) === 1) throw new GradmillError('invalid-argument', `dropout: rate: ${rate} is 1 in float32: nothing would be left`);
  const name = wanted === undefined ? undefined : checkLayerName('dropout: name', wanted);
  return {
    kind: 'dropout',
    featurewise: true,
    name,
    config: { rate },
    build: (units) => ({
      units,
      record(plan, x) {
        if (!plan.training || rate === 0) return x;
        const { y, mask } = plan.dropout(x, rate);
        plan.backward(x, y, (dY) => {
          const dX = plan.buffer('dX', x.shape);
          plan.emit('dropoutGradient', x.shape, { dY, mask, dX });
          return dX;
        });
        return y;
      },
    }),
  };
}
