// What the engine's faults mean, in words: where in the data, or at which step in which tensor of which layer. Called by
// jobs.ts after a run that stopped.
import { rowOf } from './dataset.js';
import { GradmillError } from './errors.js';
import type { Job } from './jobs.js';
import type { Instruction, Plan, Tensor } from './plan.js';
import type { LoadedPlan, Runtime } from './runtime.js';
import type { NumericArray } from './tensor.js';

/** @param job that the engine stopped: its data sets are still bound to its program */
export async function describeFault(runtime: Runtime, job: Job): Promise<GradmillError> {
  const { kind, instruction, row } = runtime.fault;
  const { sets, originOf } = job.piece;
  const { plan, first } = planOf(runtime.plan(job.kind, job.batch), instruction);
  const inTarget = plan.instructions[instruction - first].scope === 'target';
  const set = inTarget && sets.y ? sets.y : sets.x;
  if (kind === 'nonFiniteInput') return badNumber(set.what, originOf(row), rowOf(set, row));
  if (kind === 'labelOutOfRange') return badLabel(set.what, originOf(row), rowOf(set, row)[0], runtime.units);
  if (kind === 'rowOutOfRange')
    return new GradmillError('backend-unavailable', `the engine asked for row ${row}, which ${set.what} does not have`);
  return diverged(runtime, job);
}

/** The plan that has an instruction of a program, and the first one's number in the program. */
function planOf({ plan, watched }: LoadedPlan, instruction: number): { readonly plan: Plan; readonly first: number } {
  const { length } = plan.instructions;
  return watched && instruction >= length ? { plan: watched.plan, first: length } : { plan, first: 0 };
}

export function badNumber(what: string, row: number, values: NumericArray): GradmillError {
  const column = values.findIndex((value) => !Number.isFinite(Math.fround(value)));
  if (column < 0)
    return new GradmillError('non-finite-input', `${what}: row ${row} holds a number that is too large for float32 once scaled`);
  return new GradmillError(
    'non-finite-input',
    `${what}: row ${row}, column ${column}: expected a number that is finite in float32, got ${values[column]}`,
  );
}

function badLabel(what: string, row: number, label: number, classes: number): GradmillError {
  const hint = classes === 1 ? `; the model has one output: for two classes use binaryCrossEntropy` : '';
  return new GradmillError(
    'label-out-of-range',
    `${what}: row ${row}: expected a class label, a whole number from 0 to ${classes - 1}, got ${label}${hint}`,
  );
}

async function diverged(runtime: Runtime, job: Job): Promise<GradmillError> {
  const { kind, batches } = runtime.fault;
  const { firstRow, rows, originOf } = job.piece;
  const trains = runtime.plan(job.kind, job.batch).plan.updates;
  const first = firstRow + batches * job.batch;
  const last = Math.min(first + job.batch, firstRow + rows) - 1;
  const when = trains ? `in step ${job.firstBatch + batches + 1}` : `over rows ${originOf(first)} to ${originOf(last)}`;
  const what = kind === 'nonFiniteWeight' ? 'a weight' : 'the loss';
  const where = kind === 'nonFiniteWeight' ? updateCulprit(runtime) : await forwardCulprit(runtime, job, first, last + 1 - first);
  const advice = trains ? ': try a lower learning rate, scaled inputs or clipGlobalNorm' : '';
  return new GradmillError('diverged', `${what} stopped being finite ${when}; the first tensor that did: ${where}${advice}`);
}

function isBad(values: Float32Array): boolean {
  // x − x is 0 for finite x, else NaN.
  for (let i = 0; i < values.length; i++) if (values[i] - values[i] !== 0) return true;
  return false;
}

/** The forward pass again, one instruction at a time, on the engine's threads: memory that was reused tells nothing. */
async function forwardCulprit(runtime: Runtime, { kind, batch }: Job, firstRow: number, rows: number): Promise<string> {
  const { instruction: end } = runtime.fault;
  const loaded = runtime.plan(kind, batch);
  const { plan, first } = planOf(loaded, end);
  for (const [i, instruction] of plan.instructions.slice(0, end - first).entries()) {
    const weight = operands(instruction, false).find((tensor) => tensor.storage === 'state' && isBad(runtime.floats(tensor)));
    if (weight) return `weight '${weight.name}' of layer '${weight.name.slice(0, weight.name.indexOf('/'))}'`;
    runtime.clearControl();
    await loaded.program.start(first + i, first + i + 1, firstRow, rows, batch);
    const output = operands(instruction, true).find((tensor) => isBad(runtime.floats(tensor, rows)));
    if (output) return describe(output, rows);
  }
  return 'the loss itself';
}

function operands({ op, operands }: Instruction, written: boolean): Tensor[] {
  return op.operands
    .filter((operand) => operand.written === written && operand.type === 'f32' && operand.name in operands)
    .map(({ name }) => operands[name]);
}

/** A buffer is named after the layer that made it; a fused instruction may write those of two layers. */
function describe({ name, shape }: Tensor, rows: number): string {
  const layer = name.slice(0, name.lastIndexOf('.'));
  const place = layer === 'loss' ? 'the loss' : `layer '${layer}'`;
  return `${name} [${shape.map((dim) => (dim === 'batch' ? rows : dim)).join(', ')}] of ${place}`;
}

/** The update has happened; gradients still stand as the backward pass, which runs from the last layer to the first, left them. */
function updateCulprit(runtime: Runtime): string {
  for (const { name, parameters } of [...runtime.layers].reverse()) {
    const gradient = parameters.find(({ grad }) => grad && isBad(runtime.floats(grad)));
    if (gradient) return `the gradient of '${gradient.name}' of layer '${name}'`;
  }
  for (const { name, parameters } of runtime.layers) {
    const weight = parameters.find(({ value }) => isBad(runtime.floats(value)));
    if (weight) return `weight '${weight.name}' of layer '${name}'`;
  }
  return 'an optimizer moment';
}
