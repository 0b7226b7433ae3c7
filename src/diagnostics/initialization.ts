// What initialisers promise, and what signals and gradients do on their way through a network that was just made
// (docs/theory.md, initialisation): a dot product of n independent pairs has n times the variance of one.
import { GradmillError } from '../errors.js';
import { TRUNCATED_DEVIATION } from '../initializers.js';
import { callOn, copyOf, type Sequential } from '../model.js';
import { sgd } from '../optimizers.js';
import type { Runtime } from '../runtime.js';
import { tensor, type TensorInput } from '../tensor.js';
import { type ColumnStatistics, measure, recordColumns, Totals } from './columns.js';
import { firstRows, normals } from './rows.js';
import { kernelsOf } from './units.js';

export interface InitLayerReport {
  readonly layer: string;
  /** RMS of the kernel's weights, and what the layer's initialiser draws; absent for initialisers that promise none. */
  readonly kernelRms: number;
  readonly promisedRms?: number;
  /** Mean square of the layer's output. */
  readonly forward: number;
  /** Mean square of the loss gradient at the layer's output, over that at the last layer's. */
  readonly backward: number;
  /** What the kernel multiplies a signal's mean square by, for independent weights: fanIn·σ². */
  readonly forwardGain: number;
  /** The same for gradients on their way back: units·σ². */
  readonly backwardGain: number;
}

export interface InitReport {
  /** Mean square of the inputs. */
  readonly input: number;
  /** Layers with a kernel, in order. */
  readonly layers: InitLayerReport[];
  /** Mean square of the last layer's output over the inputs'; 1 keeps signals as large as they came. */
  readonly forwardRatio: number;
  /** Mean square of the loss gradient at the first layer's output over that at the last one's. */
  readonly backwardRatio: number;
}

/** Rows looked at. */
const ROWS = 256;

/**
 * Mean squares of signals and gradients through depth, against what the initialisers promise. Works on any model, and says the most
 * of an untrained one. The loss gradient is random numbers, independent of the weights: what these do to any.
 * @param x its first 256 rows count; default: 256 rows of N(0, 1), as if input scaling had made them
 * Rejects with GradmillError 'shape-mismatch', 'empty-data', 'non-finite-input', 'disposed'.
 */
export async function initReport(model: Sequential, x?: TensorInput): Promise<InitReport> {
  const copy = await callOn(model, () => Promise.resolve(copyOf(model, {}, { scaled: x !== undefined })));
  try {
    copy.compile({ optimizer: sgd(), loss: 'meanSquaredError' });
    const { columns, given } = await callOn(copy, (jobs) =>
      Promise.resolve({ columns: jobs.runtime.columns, given: x === undefined ? undefined : jobs.inputRows('x', x) }),
    );
    if (given?.rows === 0) throw new GradmillError('empty-data', 'initReport: x is empty');
    const data = given ? firstRows(given, ROWS) : normals(ROWS * columns, 1);
    const rows = data.length / columns;
    const inputs = tensor(data, [rows, columns]);
    const { data: outputs, shape } = await copy.predict(inputs);
    // Of the size of the outputs, so that they do not drown in them.
    const scale = Math.sqrt(meanSquare(outputs)) || 1;
    const targets = tensor(normals(outputs.length, 2).map((draw, i) => outputs[i] + scale * draw), shape); // prettier-ignore
    return await callOn(copy, async (jobs, memory) => {
      const { runtime } = jobs;
      const examples = await jobs.load(jobs.examples('', inputs, targets), memory);

      runtime.define('outputs', { training: true, record: (plan, outputs) => outputs.flatMap((output) => recordColumns(plan, output)) });
      const totals = [...runtime.layers, undefined].map(() => new Totals());
      await measure(jobs, 'measure:outputs', examples, rows, (measured) => {
        totals.forEach((total, l) => {
          total.add(measured.slice(7 * l, 7 * l + 7));
        });
      });
      await jobs.run('gradients:rows', rows, examples, { rows });
      // Layers that pass their input on share its gradient; one without a backward rule lets none through.
      const { lossGradients } = runtime.plan('gradients:rows', rows);
      const gradients = lossGradients.slice(1).map((tensor) => (tensor ? meanSquare(runtime.floats(tensor, rows)) : 0));
      return reportOf(runtime, totals.map(({ columns }) => signal(columns)), gradients); // prettier-ignore
    });
  } finally {
    copy.dispose();
  }
}

function reportOf(runtime: Runtime, [input, ...signals]: readonly number[], gradients: readonly number[]): InitReport {
  const kernels = kernelsOf(runtime);
  const [last, lastGradient] = [signals[signals.length - 1], gradients[gradients.length - 1]];
  const layers = runtime.layers.flatMap(({ name, layer }, l) => {
    const found = kernels.find((kernel) => kernel.layer === name);
    if (!found) return [];
    const { shape, value } = found.kernel;
    const [square, promised] = [meanSquare(runtime.floats(value)), promisedRms(layer.config.kernelInitializer, shape)];
    return [
      {
        layer: name,
        kernelRms: Math.sqrt(square),
        ...(promised !== undefined && { promisedRms: promised }),
        forward: signals[l],
        backward: gradients[l] / lastGradient,
        forwardGain: shape[0] * square,
        backwardGain: shape[1] * square,
      },
    ];
  });
  return { input, layers, forwardRatio: last / input, backwardRatio: gradients[0] / lastGradient };
}

/** Root of E[w²] of an initialiser's draws for a kernel [fanIn, fanOut], from its config; undefined for one that is not ours. */
export function promisedRms(config: unknown, [fanIn, fanOut]: readonly number[]): number | undefined {
  if (typeof config !== 'object' || config === null) return undefined;
  const { name, ...given } = config as { readonly name?: unknown } & Readonly<Record<string, unknown>>;
  const of = (option: string): number => Number(given[option]);
  switch (name) {
    case 'zeros':
      return 0;
    case 'ones':
      return 1;
    case 'constant':
      return Math.abs(of('value'));
    case 'normal':
      return Math.hypot(of('mean'), of('standardDeviation'));
    case 'truncatedNormal':
      return Math.hypot(of('mean'), TRUNCATED_DEVIATION * of('standardDeviation'));
    case 'uniform':
      return Math.sqrt((of('low') ** 2 + of('low') * of('high') + of('high') ** 2) / 3);
    case 'varianceScaling': {
      const fan = given.mode === 'fanIn' ? fanIn : given.mode === 'fanOut' ? fanOut : (fanIn + fanOut) / 2;
      return Math.sqrt(of('scale') / fan);
    }
    case 'orthogonal':
      // min(fanIn, fanOut) rows or columns of length gain.
      return of('gain') / Math.sqrt(Math.max(fanIn, fanOut));
    default:
      return undefined;
  }
}

function meanSquare(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value * value, 0) / values.length;
}

/** Mean square over all columns. */
function signal(columns: readonly ColumnStatistics[]): number {
  return columns.reduce((sum, { mean, variance }) => sum + mean * mean + variance, 0) / columns.length;
}
