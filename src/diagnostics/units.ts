// Units that add nothing: equal to another, or dead in one of four ways (docs/theory.md, initialisation and dead units).
import { ACTIVATION_NAMES } from '../activations.js';
import { kernelOf } from '../architecture.js';
import { GradmillError } from '../errors.js';
import type { Jobs } from '../jobs.js';
import { SATURATED } from '../measure.js';
import { callOn, checkModel, type Sequential } from '../model.js';
import { type Parameter, Plan, Tensor } from '../plan.js';
import type { Runtime } from '../runtime.js';
import type { TensorInput } from '../tensor.js';
import { type ColumnStatistics, measure, recordColumns, Totals } from './columns.js';

// ── Equal units ────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface DuplicateUnits {
  readonly layer: string;
  readonly units: number;
  /** Groups of units, from 0, whose incoming weights and biases are equal to the bit: their outputs are equal. */
  readonly incoming: number[][];
  /** Those of them whose outgoing weights are equal too: their gradients are equal, and they stay equal for ever. */
  readonly inseparable: number[][];
}

/**
 * Units of each layer with a kernel that equal another unit of the layer. In a last layer none is inseparable: each output has
 * a target of its own. Rejects with GradmillError 'disposed'.
 */
export function duplicateUnits(model: Sequential): Promise<DuplicateUnits[]> {
  return callOn(model, ({ runtime }) => Promise.resolve(duplicatesOf(runtime)));
}

function duplicatesOf(runtime: Runtime): DuplicateUnits[] {
  const layers = kernelsOf(runtime);
  return layers.map(({ layer, kernel, bias }, l) => {
    const [fanIn, units] = kernel.shape;
    const [weights, offsets] = [kernel, bias].map((parameter) => parameter && runtime.floats(parameter.value));
    const incoming = grouped(units, (unit, equalTo) => {
      if (offsets && offsets[unit] !== offsets[equalTo]) return false;
      for (let i = 0; weights && i < fanIn; i++) if (weights[i * units + unit] !== weights[i * units + equalTo]) return false;
      return true;
    });
    const next = layers.at(l + 1)?.kernel;
    if (next?.shape[0] !== units) return { layer, units, incoming, inseparable: [] };
    const [out, outgoing] = [runtime.floats(next.value), next.shape[1]];
    const inseparable = incoming.flatMap((group) =>
      grouped(group.length, (a, b) => {
        for (let j = 0; j < outgoing; j++) if (out[group[a] * outgoing + j] !== out[group[b] * outgoing + j]) return false;
        return true;
      }).map((positions) => positions.map((position) => group[position])),
    );
    return { layer, units, incoming, inseparable };
  });
}

/** Groups of two and more of 0 … count − 1, each member equal to the group's first. */
function grouped(count: number, equal: (candidate: number, first: number) => boolean): number[][] {
  const groups: number[][] = [];
  for (let i = 0; i < count; i++) {
    const group = groups.find(([first]) => equal(i, first));
    if (group) group.push(i);
    else groups.push([i]);
  }
  return groups.filter((group) => group.length > 1);
}

interface KernelLayer {
  readonly layer: string;
  /** [fanIn, units] */
  readonly kernel: Parameter;
  readonly bias: Parameter | undefined;
}

/** Layers with a kernel [fanIn, units], in order. */
export function kernelsOf({ layers }: Runtime): KernelLayer[] {
  return layers.flatMap((layer) => {
    const kernel = kernelOf(layer);
    const bias = layer.parameters.find(({ name }) => name === `${layer.name}/bias`);
    return kernel ? [{ layer: layer.name, kernel, bias }] : [];
  });
}

// ── Dead units ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface DeadUnits {
  /** A layer with a kernel or an elementwise activation. */
  readonly layer: string;
  /** Its activation, where it has one. */
  readonly activation?: string;
  readonly units: number;
  /** Units, from 0, whose output is exactly 0 for every row, of an activation that has 0 where it is off (ReLU). */
  readonly neverActive: number[];
  /** Of the others, those with |a'(z)| < 0.01 for every row: no gradient passes. */
  readonly saturated: number[];
  /** Of the others, those whose output is the same for every row, but for rounding: a bias by another name. */
  readonly constant: number[];
  /** Whatever else they are: incoming weights of a norm below 1/1000 of the layer's median. Only layers with a kernel. */
  readonly nearZeroWeights: number[];
  /** Units in any of the four classes. */
  readonly dead: number;
}

/** Of the median norm of a layer's columns. */
const NEAR_ZERO = 1e-3;
/** Spread of an output, relative to its size, that rounding makes. */
const CONSTANT = 1e-6;
/** Activations whose 0 is the end of a curve, or the middle of one: not 'off'. */
const NEVER_OFF = new Set(['sigmoid', 'hardSigmoid', 'tanh', 'softsign', 'softplus', 'softmax', 'linear']);

/**
 * Dead units of each layer, in four classes, over all rows of x, as predict computes them.
 * Rejects with GradmillError 'shape-mismatch', 'empty-data', 'non-finite-input', 'disposed'.
 */
export function deadUnits(model: Sequential, x: TensorInput): Promise<DeadUnits[]> {
  return deadIn(model, x, 'inference');
}

/** In training, moving statistics that have not moved yet do not count. */
export function deadIn(model: Sequential, x: TensorInput, mode: 'training' | 'inference'): Promise<DeadUnits[]> {
  return callOn(model, async (jobs, memory) => {
    const input = jobs.inputRows('x', x);
    if (input.rows === 0) throw new GradmillError('empty-data', 'deadUnits: x is empty');
    const totals = await unitTotals(jobs, { x: await memory.load(input) }, input.rows, mode);
    return deadOf(jobs.runtime, totals);
  });
}

/** Statistics of each layer's output, and of the slope of its activation. */
type UnitTotals = readonly { readonly output: readonly ColumnStatistics[]; readonly slope: readonly ColumnStatistics[] | undefined }[];

async function unitTotals(
  jobs: Jobs,
  sets: Parameters<typeof measure>[2],
  rows: number,
  mode: 'training' | 'inference',
): Promise<UnitTotals> {
  const { runtime } = jobs;
  const names = runtime.layers.map(({ name }) => name);
  runtime.define(`units, ${mode}`, {
    training: mode === 'training',
    record: (plan, outputs) =>
      names.flatMap((name, l) => {
        const found = plan.activationIn(name);
        const slope = found && plan.slopeOf(found.operands.y);
        return [...recordColumns(plan, outputs[l + 1]), ...(slope ? recordColumns(plan, slope) : [])];
      }),
  });
  const slopes = activationsOf(runtime).map((name) => name !== undefined && name !== 'softmax');
  const totals = names.map((_, l) => ({ output: new Totals(), slope: slopes[l] ? new Totals() : undefined }));
  await measure(jobs, `measure:units, ${mode}`, sets, rows, (measured) => {
    let at = 0;
    for (const total of totals.flatMap(({ output, slope }) => (slope ? [output, slope] : [output]))) {
      total.add(measured.slice(at, at + 7));
      at += 7;
    }
  });
  return totals.map(({ output, slope }) => ({ output: output.columns, slope: slope?.columns }));
}

/** Each layer's activation, the last it applies. */
export function activationsOf(runtime: Runtime): (string | undefined)[] {
  const plan = new Plan(runtime.engine.ops, 1, false);
  let y = new Tensor('x', ['batch', runtime.columns]);
  for (const { name, built } of runtime.layers) y = plan.scope(name, () => built.record(plan, y));
  return runtime.layers.map(({ name }) => {
    const last = plan.activationIn(name);
    return last?.op.name === 'activate' ? ACTIVATION_NAMES[last.immediates.activation] : last && 'softmax';
  });
}

function deadOf(runtime: Runtime, totals: UnitTotals): DeadUnits[] {
  const names = activationsOf(runtime);
  return runtime.layers.flatMap((named, l) => {
    const { name: layer } = named;
    const { units } = named.built;
    const kernel = kernelOf(named);
    const activation = names[l];
    if (!kernel && activation === undefined) return [];
    const { output, slope } = totals[l];
    const neverActive: number[] = [];
    const saturated: number[] = [];
    const constant: number[] = [];
    for (const [unit, { min, max }] of output.entries()) {
      const steepest = slope && Math.max(Math.abs(slope[unit].min), Math.abs(slope[unit].max));
      if (activation !== undefined && !NEVER_OFF.has(activation) && min === 0 && max === 0) neverActive.push(unit);
      else if (steepest !== undefined && steepest < SATURATED) saturated.push(unit);
      else if (max - min <= CONSTANT * Math.max(Math.abs(min), Math.abs(max))) constant.push(unit);
    }
    const nearZeroWeights = kernel ? nearZero(runtime.floats(kernel.value), kernel.shape[0], units) : [];
    const dead = new Set([...neverActive, ...saturated, ...constant, ...nearZeroWeights]).size;
    return [{ layer, ...(activation !== undefined && { activation }), units, neverActive, saturated, constant, nearZeroWeights, dead }];
  });
}

/** Columns of a kernel [fanIn, units] whose norm is next to nothing beside the others'. */
function nearZero(kernel: Float32Array, fanIn: number, units: number): number[] {
  const squares = new Float64Array(units);
  for (let i = 0; i < fanIn; i++) for (let unit = 0; unit < units; unit++) squares[unit] += kernel[i * units + unit] ** 2;
  const norms = squares.map(Math.sqrt);
  const median = norms.slice().sort()[units >> 1];
  return [...norms.keys()].filter((unit) => norms[unit] <= NEAR_ZERO * median);
}

// ── Signs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface SignAgreement {
  readonly layer: string;
  /** Columns of the kernel's gradient that are not all 0: units that learn. */
  readonly columns: number;
  /** Share of them whose numbers share a sign (0 agrees with both): all incoming weights of the unit move up, or all down. */
  readonly sameSign: number;
  /** What independent signs would give: 2^(1 − fanIn). */
  readonly chance: number;
}

/**
 * How far the gradients of one batch push all incoming weights of a unit the same way: always where one example's inputs are all
 * above 0, and for a batch where all examples' deltas share a sign besides. From there the path zig-zags.
 * Rejects as model.gradients does.
 */
export async function signAgreement(model: Sequential, x: TensorInput, y: TensorInput): Promise<SignAgreement[]> {
  checkModel(model);
  const { weights } = await model.gradients(x, y);
  return weights.flatMap(({ name, shape, data }) => {
    const [layer, part] = name.split('/');
    if (part !== 'kernel' || shape.length !== 2) return [];
    const [fanIn, units] = shape;
    let [columns, same] = [0, 0];
    for (let unit = 0; unit < units; unit++) {
      let [up, down] = [false, false];
      for (let i = 0; i < fanIn; i++) {
        up ||= data[i * units + unit] > 0;
        down ||= data[i * units + unit] < 0;
      }
      if (up || down) columns++;
      if (up !== down) same++;
    }
    return [{ layer, columns, sameSign: columns === 0 ? 0 : same / columns, chance: 2 ** (1 - fanIn) }];
  });
}
