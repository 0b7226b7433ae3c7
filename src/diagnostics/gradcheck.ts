// Gradients, proved in two links (docs/theory.md): the float64 interpreter's analytic gradients against its own central
// differences, which finds a wrong derivative in a layer; then the engine's float32 gradients against the interpreter's,
// which finds a wrong kernel. The tests of gradmill's own layers stand on the same functions.
import { ACTIVATION_NAMES } from '../activations.js';
import { LOSS_NAMES } from '../losses.js';
import { callOn, copyOf, type Sequential } from '../model.js';
import { checkOptions, size } from '../options.js';
import { type Instruction, type Plan, reads, type Tensor, writes } from '../plan.js';
import { platform } from '../platform.js';
import type { Reference } from '../reference.js';
import type { LoadedPlan, Runtime } from '../runtime.js';
import { tensor, type TensorInput } from '../tensor.js';
import { firstRows } from './rows.js';
import { chosenRows } from './trials.js';

export interface GradcheckOptions {
  /** Rows compared at most; rows within reach of a kink (ReLU at 0) are passed over for later ones, of the first 256. Default 8. */
  readonly rows?: number;
  /** Elements of each tensor that are compared with differences; of larger tensors a sample, spread evenly. Default 24. */
  readonly elements?: number;
}

/** How a tensor's gradient stood one comparison. */
export interface GradcheckLink {
  readonly checked: number;
  /** Passed over: a kink lies between the two points of the difference. */
  readonly atKinks: number;
  /** Passed over: so small beside the loss, or so rounded, that an error of 1 % of the largest gradient would not show. */
  readonly unresolved: number;
  /** The largest error, as a share of what is allowed: 1 is the limit. */
  readonly worst: number;
}

export interface GradcheckTensor {
  /** The layer whose derivative this is. */
  readonly layer: string;
  /** `layer/kernel`, or 'input of layer' for the gradient that the layer hands back. */
  readonly name: string;
  readonly elements: number;
  /** The interpreter's gradients against its central differences, on a sample. */
  readonly differences: GradcheckLink;
  /** The engine's gradients against the interpreter's, all of them. */
  readonly engine: GradcheckLink;
}

export interface GradcheckFailure {
  /** 'differences': the layer's backward rule is wrong. 'engine': a kernel does not compute what its op means. */
  readonly link: 'differences' | 'engine';
  readonly layer: string;
  readonly name: string;
  /** Index of the worst element, one number a dimension. */
  readonly element: number[];
  readonly expected: number;
  readonly got: number;
  readonly message: string;
}

export interface GradcheckReport {
  readonly passed: boolean;
  /** Rows that were compared. */
  readonly rows: number;
  /** Rows passed over because a kink was within reach. */
  readonly rowsAtKinks: number;
  /** From the loss back to the input. */
  readonly tensors: GradcheckTensor[];
  /** From the loss back to the input: the first is the culprit, those after it may only pass its error on. One a tensor and link. */
  readonly failures: GradcheckFailure[];
}

/** Step of the central differences. */
export const EPSILON = 1e-6;
/** Of a tensor's largest gradient: what differences may be off by. */
const RELATIVE = 1e-6;
/** A difference of two losses resolves no more than a few of their ulps, divided by 2·EPSILON. */
const ULPS = 8;
/** Rows looked through for some that keep away from kinks. */
const CANDIDATES = 256;
/** How near a kink a row may come: ten steps of a difference. */
const NEAR = 10 * EPSILON;

// ── Kinks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Where the derivative jumps: of an activation at these z, of an elementwise loss at these x − t, of others at these x. */
export function kinksOf({ op, immediates }: Instruction): readonly number[] {
  switch (op.name === 'activate' ? ACTIVATION_NAMES.at(immediates.activation) : op.name) {
    case 'relu':
    case 'leakyRelu':
    case 'elu':
    case 'selu':
    case 'meanAbsoluteError':
      return [0];
    case 'hardSigmoid':
    case 'hardSwish':
      return [-3, 3];
    case 'huber':
      return [-immediates.delta, immediates.delta];
    case 'categoricalCrossEntropy':
      return [1e-7, 1 - 1e-7];
    default:
      return [];
  }
}

/** What is compared with an instruction's kinks, in the interpreter's last run. */
export function kinkArguments(reference: Reference, { op, operands }: Instruction): Float64Array {
  const x = reference.values(operands.x);
  if (!(LOSS_NAMES as readonly string[]).includes(op.name) || op.name === 'categoricalCrossEntropy') return x;
  const t = reference.values(operands.t);
  return x.map((value, i) => value - t[i]);
}

// ── First link ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Central differences of the loss of one recorded plan, which must not be fused: a fused one lacks tensors. */
export class Differences {
  readonly #loss: Tensor;
  readonly #end: number;

  constructor(
    readonly reference: Reference,
    readonly plan: Plan,
    readonly rows: number,
  ) {
    this.#end = plan.instructions.findIndex(({ op }) => op.name === 'lossTotal') + 1;
    this.#loss = plan.instructions[this.#end - 1].operands.loss;
  }

  /** Everything once, from the weights and rows that the interpreter holds. */
  run(): void {
    this.reference.run(0, this.plan.instructions.length, 0, this.rows, this.rows);
  }

  get loss(): number {
    return this.reference.values(this.#loss)[0];
  }

  /** The least difference that tells from rounding. */
  get resolution(): number {
    return (this.loss * 2 ** -52) / EPSILON;
  }

  /** The first instruction that depends on a tensor: a weight, or a buffer of the forward pass. */
  first(tensor: Tensor): number {
    const { instructions } = this.plan;
    if (tensor.storage === 'state') return instructions.findIndex((instruction) => reads(instruction).includes(tensor));
    return instructions.findIndex((instruction) => writes(instruction).includes(tensor)) + 1;
  }

  /** ∂loss/∂tensor[i]; undefined where a kink lies between the two points. What depends on the tensor is left perturbed: see run. */
  at(tensor: Tensor, i: number, first = this.first(tensor)): number | undefined {
    const values = this.reference.values(tensor);
    const kinked = this.plan.instructions.slice(first, this.#end).filter((instruction) => kinksOf(instruction).length > 0);
    const lossAt = (value: number): { loss: number; sides: number[] } => {
      values[i] = value;
      this.reference.run(first, this.#end, 0, this.rows, this.rows);
      return { loss: this.loss, sides: kinked.flatMap((instruction) => this.#sides(instruction)) };
    };
    const value = values[i];
    const [up, down] = [lossAt(value + EPSILON), lossAt(value - EPSILON)];
    values[i] = value;
    if (up.sides.some((side, at) => side !== down.sides[at])) return undefined;
    return (up.loss - down.loss) / (value + EPSILON - (value - EPSILON));
  }

  /** Each element's number of kinks below it. */
  #sides(instruction: Instruction): number[] {
    const kinks = kinksOf(instruction);
    return Array.from(kinkArguments(this.reference, instruction), (value) => kinks.filter((kink) => value > kink).length);
  }
}

// ── Second link ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Runs a plan on the interpreter, instruction by instruction, and carries along how much rounding may cost each tensor. */
export async function roundedRun(reference: Reference, plan: Plan, rows: number): Promise<Map<Tensor, Float64Array>> {
  const { roundingOf } = await import('./rounding.js');
  const errors = new Map<Tensor, Float64Array>();
  plan.instructions.forEach(({ op, dims, immediates, operands }, i) => {
    const values = () => Object.fromEntries(Object.entries(operands).map(([name, tensor]) => [name, reference.values(tensor).slice()]));
    const before = values();
    reference.run(i, i + 1, 0, rows, rows);
    // Floats are gathered as they are.
    if (op.name === 'gather' && !('mean' in operands)) return;
    const [m = 0, n = 0, k = 0] = dims.map((dim) => (dim === 'batch' ? rows : dim));
    const known = Object.fromEntries(
      Object.entries(operands).flatMap(([name, tensor]) => {
        const error = errors.get(tensor);
        return error ? [[name, error]] : [];
      }),
    );
    const made = roundingOf({ op: op.name, m, n, k, immediates, before, after: values(), errors: known });
    for (const [name, error] of Object.entries(made)) if (error && name in operands) errors.set(operands[name], error);
  });
  return errors;
}

// ── Both, on a model ───────────────────────────────────────────────────────────────────────────────────────────────────

/** A tensor of the forward pass and its gradient, in the plan that the interpreter runs. */
interface Subject {
  readonly layer: string;
  readonly name: string;
  readonly value: Tensor;
  readonly gradient: Tensor;
  /** What the engine says, in the same order. */
  readonly engine: (found: EngineGradients) => Float32Array;
}

type EngineGradients = Awaited<ReturnType<Sequential['gradients']>>;

/**
 * Checks every derivative of a compiled model, custom layers included, on some rows: the interpreter's gradients of all weights,
 * layer outputs and the input against central differences (step 1e-6; error at most 1e-6 of the tensor's largest gradient, and
 * what the loss resolves), and the engine's against the interpreter's (at most 8·√k·2⁻²⁴ of the sum of absolute terms). Slow
 * on purpose: float64 in JavaScript. A few rows of a narrow network take milliseconds, a wide one seconds. The model does not change.
 * Rejects with GradmillError 'not-compiled', 'shape-mismatch', 'empty-data', 'non-finite-input', 'label-out-of-range',
 * 'invalid-argument' (also for a layer that records no backward rule), 'disposed'.
 */
export async function gradcheck(
  model: Sequential,
  x: TensorInput,
  y: TensorInput,
  options: GradcheckOptions = {},
): Promise<GradcheckReport> {
  const given = checkOptions('gradcheck', options, ['rows', 'elements']);
  const most = size('gradcheck: rows', given.rows ?? 8);
  const elements = size('gradcheck: elements', given.elements ?? 24);
  const { explainedBy } = await import('./rounding.js');
  const [plain, fused] = await callOn(model, () => Promise.resolve([copyOf(model, { fuse: false }), copyOf(model)] as const));
  try {
    const checked = await Checked.of(plain, x, y, most);
    const { differences, subjects, batch } = checked;
    const found = await fused.gradients(batch.x, batch.y);
    const errors = await roundedRun(differences.reference, differences.plan, differences.rows);
    const gradients = subjects.map(({ gradient }) => differences.reference.values(gradient).slice());

    const tensors: GradcheckTensor[] = [];
    const failures: GradcheckFailure[] = [];
    for (const [s, { layer, name, value, gradient, engine }] of subjects.entries()) {
      const analytic = gradients[s];
      const scale = largest(analytic);
      const shape = value.shape.map((dim) => (dim === 'batch' ? differences.rows : dim));
      const report = (link: GradcheckFailure['link'], comparison: Comparison): GradcheckLink => {
        const { worstAt: at, expected, got, ...rest } = comparison.result;
        if (rest.worst > 1 || Number.isNaN(rest.worst))
          failures.push({ link, layer, name, element: indexOf(at, shape), expected, got, message: wording(link, layer, name, indexOf(at, shape), expected, got) }); // prettier-ignore
        return rest;
      };

      differences.run();
      const first = differences.first(value);
      const byDifferences = new Comparison(scale);
      const limit = RELATIVE * scale + ULPS * differences.resolution;
      for (const i of sampleOf(analytic, elements)) {
        byDifferences.add(i, differences.at(value, i, first), analytic[i], limit);
        await platform().pause();
      }
      const byEngine = new Comparison(scale);
      const [actual, error] = [engine(found), errors.get(gradient)];
      analytic.forEach((wanted, i) => {
        byEngine.add(i, wanted, actual[i], explainedBy(error?.[i] ?? 0));
      });
      tensors.push({ layer, name, elements: analytic.length, differences: report('differences', byDifferences), engine: report('engine', byEngine) }); // prettier-ignore
    }
    return { passed: failures.length === 0, rows: differences.rows, rowsAtKinks: checked.rowsAtKinks, tensors, failures };
  } finally {
    plain.dispose();
    fused.dispose();
  }
}

function wording(link: GradcheckFailure['link'], layer: string, name: string, element: number[], expected: number, got: number): string {
  const place = `layer '${layer}': ∂loss/∂(${name})[${element.join(', ')}]`;
  return link === 'differences'
    ? `${place} is ${expected} by central differences, the layer's backward rule gives ${got}`
    : `${place} is ${expected} in float64, the engine gives ${got}: more than rounding explains`;
}

/** A model's unfused gradients plan on the interpreter, with rows that keep away from kinks. */
class Checked {
  private constructor(
    readonly differences: Differences,
    readonly subjects: readonly Subject[],
    readonly batch: { readonly x: TensorInput; readonly y: TensorInput },
    readonly rowsAtKinks: number,
  ) {}

  static async of(model: Sequential, x: TensorInput, y: TensorInput, most: number): Promise<Checked> {
    const { Reference } = await import('../reference.js');
    const jobs = await callOn(model, (jobs) => Promise.resolve(jobs));
    const { runtime } = jobs;
    const { kind, ...examples } = jobs.examples('', x, y);
    const [inputs, targets] = [firstRows(examples.x, CANDIDATES), firstRows(examples.y, CANDIDATES)];
    const candidates = inputs.length / examples.x.columns;
    let [next, passedOver] = [Math.min(most, candidates), 0];
    let chosen = Array.from({ length: next }, (_, row) => row);
    for (;;) {
      const batch = {
        x: tensor(chosenRows(inputs, chosen, examples.x.columns), [chosen.length, examples.x.columns]),
        y: tensor(chosenRows(targets, chosen, examples.y.columns), [chosen.length, examples.y.columns]),
      };
      // The engine first: it finds what is wrong with the data, and says so.
      await model.gradients(batch.x, batch.y);
      const loaded = runtime.plan(`gradients:${kind}`, chosen.length);
      const reference = interpreterOf(Reference, runtime, loaded.plan);
      for (const [slot, { data, shape }] of [['input', batch.x] as const, ['target', batch.y] as const])
        reference.feed(slot, { data: Float64Array.from(data, Math.fround), rows: shape[0], columns: shape[1] });
      const near = await rowsAtKinks(reference, loaded.plan, chosen.length);
      const fresh = near.length === 0 ? 0 : Math.min(near.length, candidates - next);
      // Without rows to take their place, the last ones stay: differences across a kink are passed over one by one.
      if (near.length === 0 || (fresh === 0 && near.length === chosen.length)) {
        const differences = new Differences(reference, loaded.plan, chosen.length);
        return new Checked(differences, subjectsOf(runtime, loaded), batch, passedOver);
      }
      passedOver += near.length;
      chosen = [...chosen.filter((_, i) => !near.includes(i)), ...Array.from({ length: fresh }, (_, i) => next + i)];
      next += fresh;
      await platform().pause();
    }
  }
}

/** The interpreter with a model's weights and other state. */
function interpreterOf(type: typeof Reference, runtime: Runtime, plan: Plan): Reference {
  const arrays = { f32: Float32Array, f64: Float64Array, i32: Int32Array, u32: Uint32Array };
  const reference = new type(plan);
  for (const { operands } of plan.instructions)
    for (const tensor of Object.values(operands)) {
      if (tensor.storage !== 'state') continue;
      const { buffer, byteOffset } = runtime.floats(tensor);
      reference.values(tensor).set(new arrays[tensor.type](buffer as ArrayBuffer, byteOffset, tensor.elements(1)));
    }
  return reference;
}

/** Rows of the batch where the interpreter comes so near a kink that a difference, or the engine's rounding, may cross it. */
async function rowsAtKinks(reference: Reference, plan: Plan, rows: number): Promise<number[]> {
  const { explainedBy } = await import('./rounding.js');
  const errors = await roundedRun(reference, plan, rows);
  const near = new Set<number>();
  for (const instruction of plan.instructions) {
    const kinks = kinksOf(instruction);
    if (kinks.length === 0) continue;
    const error = errors.get(instruction.operands.x);
    const [, columns] = instruction.dims;
    kinkArguments(reference, instruction).forEach((value, i) => {
      const reach = Math.max(explainedBy(error?.[i] ?? 0), instruction.op.name === 'categoricalCrossEntropy' ? 0 : NEAR);
      if (kinks.some((kink) => Math.abs(value - kink) <= reach)) near.add(Math.floor(i / Number(columns)));
    });
  }
  return [...near];
}

/** From the loss back to the input: each layer's weights, then what it hands back. */
function subjectsOf(runtime: Runtime, loaded: LoadedPlan): Subject[] {
  const { layers, trainable } = runtime;
  const { outputs } = loaded;
  const lossGradients = runtime.lossGradients(loaded);
  const subjects: Subject[] = [
    {
      layer: 'loss',
      name: 'input of loss',
      value: outputs[layers.length],
      gradient: lossGradients[layers.length],
      engine: (found) => found.lossGradients[layers.length - 1].data,
    },
  ];
  for (let l = layers.length - 1; l >= 0; l--) {
    const { name: layer, parameters: own } = layers[l];
    for (const parameter of own) {
      if (!parameter.trainable) continue;
      const { name, value, grad } = parameter;
      subjects.push({ layer, name, value, gradient: grad, engine: ({ weights }) => weights[trainable.indexOf(parameter)].data });
    }
    subjects.push({
      layer,
      name: `input of ${layer}`,
      value: outputs[l],
      gradient: lossGradients[l],
      engine: (found) => (l === 0 ? found.inputGradient : found.lossGradients[l - 1]).data,
    });
  }
  return subjects;
}

/** Gathers one link's figures for one tensor. */
class Comparison {
  #checked = 0;
  #atKinks = 0;
  #unresolved = 0;
  #worst = 0;
  #worstAt = 0;
  #expected = 0;
  #got = 0;

  /** @param scale the tensor's largest gradient */
  constructor(readonly scale: number) {}

  add(i: number, expected: number | undefined, got: number, limit: number): void {
    if (expected === undefined) {
      this.#atKinks++;
      return;
    }
    const off = expected === got ? 0 : Math.abs(expected - got);
    const share = off === 0 ? 0 : off / limit;
    if (limit > this.scale / 100 && share <= 1) this.#unresolved++;
    else this.#checked++;
    if (share <= this.#worst) return;
    // NaN stays.
    if (Number.isNaN(this.#worst)) return;
    [this.#worst, this.#worstAt, this.#expected, this.#got] = [share, i, expected, got];
  }

  get result(): GradcheckLink & { readonly worstAt: number; readonly expected: number; readonly got: number } {
    return {
      checked: this.#checked,
      atKinks: this.#atKinks,
      unresolved: this.#unresolved,
      worst: this.#worst,
      worstAt: this.#worstAt,
      expected: this.#expected,
      got: this.#got,
    };
  }
}

/** All elements of a small tensor; else of as many equal stretches the middle one, or by turns the largest: a wrong derivative may be 0. */
function sampleOf(gradient: Float64Array, count: number): number[] {
  if (gradient.length <= count) return [...gradient.keys()];
  return Array.from({ length: count }, (_, stretch) => {
    const [start, end] = [stretch, stretch + 1].map((edge) => Math.floor((edge * gradient.length) / count));
    if (stretch % 2 === 0) return (start + end) >> 1;
    let best = start;
    for (let i = start; i < end; i++) if (Math.abs(gradient[i]) > Math.abs(gradient[best])) best = i;
    return best;
  });
}

function largest(values: Float64Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function indexOf(at: number, shape: readonly number[]): number[] {
  const index: number[] = [];
  for (const size of [...shape].reverse()) {
    index.unshift(at % size);
    at = Math.floor(at / size);
  }
  return index;
}
