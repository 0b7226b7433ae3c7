// Layer-sequential unit variance: initial weights fitted to the data they will see.
import { kernelOf, type NamedLayer } from './architecture.js';
import { GradmillError } from './errors.js';
import { orthogonal } from './initializers.js';
import { type Jobs, WIDEST_BATCH } from './jobs.js';
import { callOn, checkModel, type Sequential } from './model.js';
import { checkOptions, finiteNumber, oneOf, wholeNumber } from './options.js';
import type { Parameter, Plan, Tensor } from './plan.js';
import { type Moments, withRows } from './scaling/standardizer.js';
import type { TensorInput } from './tensor.js';
import type { RunSets } from './window.js';

export interface LsuvOptions {
  /** 'orthogonal': kernels are drawn anew first, from the model's seed; 'present': those there are get scaled. Default 'orthogonal'. */
  readonly weights?: 'orthogonal' | 'present';
  /** How far a layer's variance may stay from 1; more than 0. Default 0.01. */
  readonly tolerance?: number;
  /** Of each layer, at least 1; one is enough unless it has a bias. Default 10. */
  readonly maxIterations?: number;
}

export interface LsuvLayer {
  readonly layer: string;
  /** Of all numbers that the layer hands to its activation, over all rows, now. */
  readonly standardDeviation: number;
  /** What its kernel was multiplied by. */
  readonly factor: number;
  readonly iterations: number;
}

/**
 * Scales the kernel of each layer in turn, from the first on, until what it hands to its activation has variance 1 over x: right
 * for any activation and any inputs, since it is measured (Mishkin & Matas 2016, 'All you need is a good init'). A few hundred
 * rows of x are enough; all are used. Biases, and weights that are not trained, stay as they are. In line behind calls made before.
 *
 * Rejects with GradmillError 'invalid-argument' where a layer gives the same number for everything, so that no factor helps;
 * 'non-finite-input', 'shape-mismatch', 'empty-data', 'unknown-name', 'disposed'. Weights are as before then.
 */
export async function lsuv(model: Sequential, x: TensorInput, options: LsuvOptions = {}): Promise<LsuvLayer[]> {
  checkModel(model, 'lsuv: ');
  const { weights = 'orthogonal', tolerance = 0.01, maxIterations = 10 } = checkOptions('lsuv', options, OPTIONS);
  const drawn = oneOf('lsuv: weights', weights, ['orthogonal', 'present']) === 'orthogonal';
  const near = finiteNumber('lsuv: tolerance', tolerance, { above: 0 });
  const most = wholeNumber('lsuv: maxIterations', maxIterations, 1);
  return callOn(model, async (jobs, memory) => {
    const { runtime } = jobs;
    const rows = jobs.inputRows('x', x);
    if (rows.rows === 0) throw new GradmillError('empty-data', 'lsuv: x is empty');
    const sets = { x: await memory.load(rows) };
    const kernels = runtime.layers.map(kernelOf).map((kernel) => (kernel?.trainable ? kernel : undefined));
    runtime.define('preactivations', { record: (plan, [, ...outputs]) => preactivations(plan, runtime.layers, outputs) });
    const before = kernels.map((kernel) => kernel && runtime.floats(kernel.value).slice());
    try {
      if (drawn) runtime.initialize(new Map(kernels.flatMap((kernel) => (kernel ? [[kernel, orthogonal()]] : []))));
      const report: LsuvLayer[] = [];
      for (const [i, kernel] of kernels.entries())
        if (kernel) report.push(await scaleLayer(jobs, sets, { at: i, kernel, rows: rows.rows, near, most }));
      return report;
    } catch (error) {
      kernels.forEach((kernel, i) => kernel && runtime.floats(kernel.value).set(before[i] as Float32Array));
      throw error;
    }
  });
}

const OPTIONS = ['weights', 'tolerance', 'maxIterations'];

/** What goes into each layer's activation; its output where it has none. */
function preactivations(plan: Plan, layers: readonly NamedLayer[], outputs: readonly Tensor[]): Tensor[] {
  return layers.map(({ name }, i) => plan.activationIn(name)?.operands.x ?? outputs[i]);
}

interface LayerScaling {
  /** The layer's place. */
  readonly at: number;
  readonly kernel: Parameter;
  readonly rows: number;
  readonly near: number;
  readonly most: number;
}

async function scaleLayer(jobs: Jobs, sets: RunSets, { at, kernel, rows, near, most }: LayerScaling): Promise<LsuvLayer> {
  const { name: layer } = jobs.runtime.layers[at];
  let factor = 1;
  for (let iterations = 0; ; iterations++) {
    const variance = await varianceOf(jobs, sets, at, rows);
    const standardDeviation = Math.sqrt(variance);
    if (!(variance > 0))
      throw new GradmillError('invalid-argument', `lsuv: layer '${layer}' gives the same number for every row and unit: nothing to scale`);
    if (Math.abs(variance - 1) <= near || iterations === most) return { layer, standardDeviation, factor, iterations };
    factor /= standardDeviation;
    const values = jobs.runtime.floats(kernel.value);
    for (let i = 0; i < values.length; i++) values[i] /= standardDeviation;
  }
}

/** Of all numbers that a layer hands to its activation. */
async function varianceOf(jobs: Jobs, sets: RunSets, at: number, rows: number): Promise<number> {
  const { runtime } = jobs;
  const batch = Math.min(rows, WIDEST_BATCH);
  let moments: Moments | undefined;
  const what = `lsuv: what layer '${runtime.layers[at].name}' gives`;
  const afterBatch = (_: number, count: number): Promise<void> => {
    const tensor = runtime.plan('measure:preactivations', batch).measured[at];
    const length = count * tensor.elements(1);
    const data = runtime.floats(tensor, batch).subarray(0, length);
    moments = withRows(moments, { what, data, rows: length, columns: 1 });
    return Promise.resolve();
  };
  await jobs.run('measure:preactivations', batch, sets, { rows, afterBatch });
  return moments ? moments.squares[0] / moments.rows : 0;
}
