// gradientFlow and activationStats: a model measured once, on one batch, by plans that change nothing. fit's `diagnostics`
// measures the same while it trains.
import { callOn, type Sequential } from '../model.js';
import { checkOptions, oneOf } from '../options.js';
import { GradmillError } from '../errors.js';
import type { TensorInput } from '../tensor.js';
import type { GradientFlow, LayerActivations } from './types.js';

/**
 * How the loss gradient fares on its way back through the layers: at each its size, and by which factors it changes, beside
 * what forward values and weights alone predict. All rows are one batch, whose activations and loss gradients are in memory at
 * a time: a few hundred rows tell as much as all. The model must be compiled; it does not change.
 *
 * Rejects as Sequential.gradients does.
 */
export async function gradientFlow(model: Sequential, x: TensorInput, y: TensorInput): Promise<GradientFlow> {
  const { flow } = await signalsOf(model, x, y);
  return flow;
}

/** What activations do, and the loss gradient on its way back, in one pass. */
export interface Signals {
  readonly flow: GradientFlow;
  readonly activations: readonly LayerActivations[];
}

/** gradientFlow, with the activationStats of the same pass. */
export async function signalsOf(model: Sequential, x: TensorInput, y: TensorInput): Promise<Signals> {
  return callOn(model, async (jobs, memory) => {
    const { runtime } = jobs;
    const examples = jobs.examples('', x, y);
    jobs.checkBatches('gradientFlow', examples.rows, examples.rows);
    const { rows, kind, ...sets } = await jobs.load(examples, memory);
    await jobs.run(`flow:${kind}`, rows, sets, { rows });
    const { measures } = runtime.plan(`flow:${kind}`, rows);
    const layers = measures?.flow(runtime.figures) ?? [];
    const inputGradientRms = measures?.inputGradientRms(runtime.figures) ?? 0;
    const sizes = [inputGradientRms, ...layers.map(({ lossGradientRms }) => lossGradientRms)];
    const last = sizes[sizes.length - 1];
    return {
      flow: {
        loss: runtime.batchLoss,
        inputGradientRms,
        layers,
        decayPerLayer: decay(sizes),
        firstOverLast: sizes[0] === 0 ? 0 : sizes[0] / last,
      },
      activations: measures?.activations(runtime.figures) ?? [],
    };
  });
}

/** Factor from each size to the one before it, by least squares on their logarithms; NaN where fewer than two are above 0. */
function decay(sizes: readonly number[]): number {
  const points = sizes.map((size, depth) => [depth, Math.log(size)] as const).filter(([, log]) => Number.isFinite(log));
  const mean = (of: (point: readonly [number, number]) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [depth, log] = [mean(([d]) => d), mean(([, l]) => l)];
  const slope = mean(([d, l]) => (d - depth) * (l - log)) / mean(([d]) => (d - depth) ** 2);
  return points.length < 2 ? NaN : Math.exp(-slope);
}

export interface ActivationStatsOptions {
  /** 'training': as in a training step (batch statistics, dropout); 'inference': as predict. Default 'training'. */
  readonly mode?: 'training' | 'inference';
}

/**
 * What each layer's activation takes and gives, over all rows as one batch. The model may be uncompiled; it does not change.
 *
 * Rejects with GradmillError 'shape-mismatch', 'empty-data', 'non-finite-input', 'invalid-argument', 'unknown-name',
 * 'out-of-memory', 'buffer-detached', 'disposed'.
 */
export async function activationStats(
  model: Sequential,
  x: TensorInput,
  options: ActivationStatsOptions = {},
): Promise<LayerActivations[]> {
  const { mode = 'training' } = checkOptions('activationStats', options, ['mode']);
  const kind = oneOf('activationStats: mode', mode, ['training', 'inference']) === 'training' ? 'trainingActivations' : 'activations';
  return callOn(model, async (jobs, memory) => {
    const input = jobs.inputRows('x', x);
    const { rows } = input;
    if (rows === 0) throw new GradmillError('empty-data', 'x is empty');
    if (mode === 'training') jobs.checkBatches('activationStats', rows, rows);
    await jobs.run(kind, rows, { x: await memory.load(input) }, { rows });
    return jobs.runtime.plan(kind, rows).measures?.activations(jobs.runtime.figures) ?? [];
  });
}
