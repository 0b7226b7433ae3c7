// What the doctor needs to know of signals and gradients: how large gradients are at each layer, and how much of each activation
// lies where its curve is flat. On a few hundred rows of a copy.
import { ACTIVATION_NAMES, resolveActivation } from '../activations.js';
import { callOn, type Sequential } from '../model.js';
import type { Instruction, Plan, Tensor } from '../plan.js';
import { measure, recordColumns, Totals } from './columns.js';
import type { Sample } from './trials.js';

/** |a'(z)| below it counts as saturated. */
export const SATURATED = 0.01;

export interface LayerSignals {
  readonly layer: string;
  /** RMS of the loss gradient at the layer's output, and at its input over that. */
  readonly gradientRms: number;
  readonly gradientFactor: number;
  /** Share of elements with |a'(z)| < 0.01, and RMS and mean of z; of layers with an elementwise activation. */
  readonly saturation?: number;
  readonly rmsBeforeActivation?: number;
  readonly meanBeforeActivation?: number;
}

export interface Signals {
  readonly layers: readonly LayerSignals[];
  /** RMS of the loss gradient at the input over that at the last layer's output; 0 where it is 0 everywhere. */
  readonly firstOverLast: number;
  /** Its root of the number of layers. */
  readonly decayPerLayer: number;
}

/** As in a training step. The sample is one batch; the model must be nobody else's. */
export async function signalsOf(model: Sequential, { x, y, rows }: Sample): Promise<Signals> {
  const { inputGradient, lossGradients } = await model.gradients(x, y);
  const sizes = [inputGradient, ...lossGradients].map(({ data }) => rms(data));
  const last = sizes[sizes.length - 1];
  const firstOverLast = last === 0 ? 0 : sizes[0] / last;
  const activations = await callOn(model, async (jobs, memory) => {
    const { runtime } = jobs;
    const measured = new Set<string>();
    runtime.define('saturation', {
      training: true,
      record: (plan) =>
        runtime.layers.flatMap(({ name }) => {
          const found = lastActivation(plan, name);
          if (!found) return [];
          measured.add(name);
          return [...recordColumns(plan, found.operands.x), ...recordColumns(plan, recordFlatness(plan, found))];
        }),
    });
    const totals = new Map<string, [z: Totals, flatness: Totals]>();
    const sets = { x: await memory.load(jobs.inputRows('x', x)) };
    await measure(jobs, 'measure:saturation', sets, rows, (read) => {
      [...measured].forEach((name, i) => {
        const [z, flatness] = totals.get(name) ?? [new Totals(), new Totals()];
        z.add(read.slice(14 * i, 14 * i + 7));
        flatness.add(read.slice(14 * i + 7, 14 * i + 14));
        totals.set(name, [z, flatness]);
      });
    });
    return new Map(
      [...totals].map(([name, [z, flatness]]) => {
        const mean = average(z.columns.map((column) => column.mean));
        const square = average(z.columns.map((column) => column.mean ** 2 + column.variance));
        const saturation = average(flatness.columns.map(({ negative, finite }) => negative / Math.max(finite, 1)));
        return [name, { saturation, rmsBeforeActivation: Math.sqrt(square), meanBeforeActivation: mean }] as const;
      }),
    );
  });
  const names = await callOn(model, ({ runtime }) => Promise.resolve(runtime.layers.map(({ name }) => name)));
  const layers = names.map((layer, l) => ({
    layer,
    gradientRms: sizes[l + 1],
    gradientFactor: sizes[l + 1] === 0 ? 0 : sizes[l] / sizes[l + 1],
    ...activations.get(layer),
  }));
  return { layers, firstOverLast, decayPerLayer: firstOverLast ** (1 / layers.length) };
}

/** The layer's last elementwise activation. */
export function lastActivation(plan: Plan, layer: string): Instruction | undefined {
  return plan.instructions.findLast(({ op, scope }) => op.name === 'activate' && scope === layer);
}

/** a'(z): what the activation's derivative makes of ones. */
export function recordSlope(plan: Plan, { dims, immediates, operands }: Instruction): Tensor {
  const [, columns] = dims;
  const ones = plan.buffer('ones', [plan.batch, columns]);
  plan.emit('fill', [plan.batch * Number(columns)], { y: ones }, { value: 1 });
  const slope = plan.buffer('slope', dims);
  const v = resolveActivation(ACTIVATION_NAMES[immediates.activation]).derivativeNeedsInput ? operands.x : operands.y;
  plan.emit('activationGradient', dims, { dY: ones, v, dX: slope }, immediates);
  return slope;
}

/** a'(z) less what counts as saturated: below 0 where a curve that only rises is flat. */
function recordFlatness(plan: Plan, activation: Instruction): Tensor {
  const slope = recordSlope(plan, activation);
  const [, columns] = activation.dims;
  const threshold = plan.buffer('threshold', [columns]);
  plan.emit('fill', [Number(columns)], { y: threshold }, { value: -SATURATED });
  return plan.addBias(slope, threshold);
}

function rms(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / Math.max(values.length, 1));
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);
}
