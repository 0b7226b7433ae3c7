// What a plan measures beside its work: statistics of activations, loss gradients, kernels and updates, layer by layer. runtime.ts
// lets it record its instructions between those of layers, loss and optimizer, and its figures are read when the plan has run.
// It reads what the rest of the plan computes and writes to tensors of its own: training does not change by a bit.
import type { Activation } from './activations.js';
import { kernelOf, type NamedLayer } from './architecture.js';
import type { DiagnosticsSample, Distribution, LayerActivations, LayerFlow } from './diagnostics/types.js';
import type { Parameter, Plan, Tensor, TrainableParameter } from './plan.js';

/** Of a histogram. */
const BINS = 32;

/** |a'(z)| below it counts as saturated. */
export const SATURATED = 0.01;

/** Power iterations of one instruction; few, so that runs that take turns come to an end of it soon. */
const POWER_ITERATIONS = 8;

/** Instructions of a fit's start, whose samples then go on from where they have come to. */
const FIRST_INSTRUCTIONS = 4;

/** Of a sample: two products see how far a kernel has turned since the last one. */
const FOLLOWING_ITERATIONS = 2;

/**
 * Length of what a sample adds to the direction it goes on from, at random, where that has one of at least 2: what another direction
 * has become the longest of is found, even if the old one has no share of it. Squared, it is nothing beside 1.
 */
const NUDGE = 0.05;

/** Of randomness: the start of every power iteration. Above the streams of weights and layers; shuffling has the last one. */
const START_STREAM = 0xfffffffe;

/** What was measured, where it lies; for immediate use. A view for all of it, as a view of each number takes longer than measuring it. */
export class Figures {
  readonly #doubles: Float64Array;
  readonly #words: Uint32Array;
  readonly #floats: Float32Array;

  /** @param origin of the arena's offsets in `bytes`: below 0 where these are a copy of a later part */
  constructor(
    { buffer, byteOffset, length }: Uint8Array,
    public origin = 0,
  ) {
    this.#doubles = new Float64Array(buffer, byteOffset, Math.floor(length / 8));
    this.#words = new Uint32Array(buffer, byteOffset, Math.floor(length / 4));
    this.#floats = new Float32Array(buffer, byteOffset, Math.floor(length / 4));
  }

  double({ offset }: Tensor, i = 0): number {
    return this.#doubles[(this.origin + offset) / 8 + i];
  }

  word({ offset }: Tensor, i = 0): number {
    return this.#words[(this.origin + offset) / 4 + i];
  }

  float({ offset }: Tensor, i = 0): number {
    return this.#floats[(this.origin + offset) / 4 + i];
  }
}

export interface MeasureOptions {
  /** Instructions of power iteration a kernel, from a random direction. Default: from the kernel's own one, which they move. */
  readonly powerInstructions?: number;
  /** Whether the step of each unit's weights is wanted. */
  readonly unitSteps: boolean;
}

interface MeasuredTensor {
  /** [8]: in the order of the op `statistics`. */
  readonly statistics: Tensor;
  readonly histogram: Tensor;
}

/** Statistics of loss gradients; absent where no backward rule leads to the tensor. */
interface MeasuredGradients {
  readonly output: Tensor | undefined;
  /** At z. */
  readonly delta: Tensor | undefined;
  readonly input: Tensor | undefined;
}

interface MeasuredKernel {
  readonly kernel: TrainableParameter;
  readonly value: Tensor;
  readonly gradient: Tensor;
  /** The largest singular value's square. */
  readonly square: Tensor;
  /** Its value before the update. */
  before?: Tensor;
  update?: Tensor;
  /** [units]: the squared length of each unit's step. */
  steps?: Tensor;
}

interface MeasuredLayer {
  readonly name: string;
  readonly x: Tensor;
  readonly y: Tensor;
  readonly activation: { readonly z: Tensor; readonly activation: Activation } | undefined;
  readonly parameters: readonly Parameter[];
  readonly before: MeasuredTensor | undefined;
  readonly after: MeasuredTensor;
  /** Of a'(z). */
  readonly slope: Tensor | undefined;
  gradients?: MeasuredGradients;
  kernel?: MeasuredKernel | undefined;
}

export class Measures {
  readonly #plan: Plan;
  readonly #seed: Tensor;
  readonly #options: MeasureOptions;
  readonly #layers: MeasuredLayer[] = [];
  readonly #statistics = new Map<Tensor, Tensor>();
  readonly #directions: Directions;
  readonly #figures: Tensor[] = [];
  #loss: Tensor | undefined;
  #region: Tensor | undefined;

  /** @param seed words of the model's seed */
  constructor(plan: Plan, seed: Tensor, directions: Directions, options: MeasureOptions) {
    this.#plan = plan;
    this.#seed = seed;
    this.#directions = directions;
    this.#options = options;
  }

  // ── Recording ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Behind a layer's forward pass from x to y. */
  layer({ name, parameters }: NamedLayer, x: Tensor, y: Tensor): void {
    const plan = this.#plan;
    plan.scope(name, () => {
      // A layer that does nothing hands on the output of the one below, which is not its own.
      const activation = y === x ? undefined : plan.activationOf(y);
      const before = activation && this.#distribution(activation.z);
      const after = this.#distribution(y);
      const curve = activation && plan.slopeOf(y);
      const slope = curve && this.#emitStatistics(curve, { threshold: SATURATED });
      this.#layers.push({ name, x, y, activation, parameters, before, after, slope });
    });
  }

  /** Behind the backward pass, before gradients and weights change; given the loss gradient of each tensor. */
  gradients(gradients: ReadonlyMap<Tensor, Tensor>): void {
    const statistics = (tensor: Tensor): Tensor | undefined => {
      const gradient = gradients.get(tensor);
      return gradient && this.#statisticsOf(gradient);
    };
    for (const layer of this.#layers)
      this.#plan.scope(layer.name, () => {
        const { x, y, activation } = layer;
        layer.gradients = { output: statistics(y), delta: statistics(activation ? activation.z : y), input: statistics(x) };
        const kernel = trainableMatrix(layer);
        layer.kernel = kernel && {
          kernel,
          value: this.#statisticsOf(kernel.value),
          gradient: this.#statisticsOf(kernel.grad),
          square: this.#spectralNorm(kernel),
        };
      });
  }

  get #kernels(): { readonly name: string; readonly kernel: MeasuredKernel }[] {
    return this.#layers.flatMap(({ name, kernel }) => (kernel ? [{ name, kernel }] : []));
  }

  beforeUpdate(): void {
    for (const { name, kernel } of this.#kernels)
      this.#plan.scope(name, () => {
        const { value, shape } = kernel.kernel;
        kernel.before = this.#plan.buffer('before', shape);
        this.#plan.emit('activate', shape, { x: value, y: kernel.before }, LINEAR);
      });
  }

  /** Behind the update; `loss` is the batch's. From here on all figures lie side by side. */
  afterUpdate(loss: Tensor): void {
    const plan = this.#plan;
    for (const { name, kernel } of this.#kernels)
      plan.scope(name, () => {
        const { value, shape } = kernel.kernel;
        kernel.update = this.#emitStatistics(value, { minus: kernel.before });
        if (!this.#options.unitSteps || !kernel.before) return;
        kernel.steps = plan.buffer('steps', [shape[1]], 'f64');
        plan.emit('columnDistances', shape, { x: value, from: kernel.before, squares: kernel.steps });
        this.#keep(kernel.steps);
      });
    plan.scope('loss', () => {
      this.#loss = plan.buffer('copy', [1]);
      plan.emit('activate', [1, 1], { x: loss, y: this.#loss }, LINEAR);
      this.#keep(this.#loss);
      this.#region = plan.region('figures', this.#figures);
    });
  }

  #keep(figure: Tensor): void {
    this.#plan.keep(figure);
    this.#figures.push(figure);
  }

  #distribution(x: Tensor): MeasuredTensor {
    const statistics = this.#statisticsOf(x);
    const histogram = this.#plan.buffer('histogram', [BINS], 'u32');
    this.#plan.emit('histogram', x.shape, { x, statistics, counts: histogram });
    this.#keep(histogram);
    return { statistics, histogram };
  }

  /** Once a tensor: a layer's output is the next one's input. */
  #statisticsOf(x: Tensor): Tensor {
    let statistics = this.#statistics.get(x);
    if (!statistics) this.#statistics.set(x, (statistics = this.#emitStatistics(x)));
    return statistics;
  }

  #emitStatistics(x: Tensor, { minus, threshold = 0 }: { readonly minus?: Tensor | undefined; readonly threshold?: number } = {}): Tensor {
    const statistics = this.#plan.buffer('statistics', [8], 'f64');
    this.#plan.emit('statistics', [x.shape[0], x.shape[1] ?? 1], { x, minus, statistics }, { threshold });
    this.#keep(statistics);
    return statistics;
  }

  #spectralNorm(kernel: TrainableParameter): Tensor {
    const plan = this.#plan;
    const { powerInstructions } = this.#options;
    const [, columns] = kernel.shape;
    const own = this.#directions.get(kernel);
    let square: Tensor;
    if (powerInstructions === undefined && own) {
      const nudge = plan.buffer('nudge', [columns]);
      plan.emit('randomNormal', [columns], { y: nudge, state: this.#seed }, RANDOM);
      plan.emit('addScaled', [columns], { y: own, x: nudge }, { scale: NUDGE / Math.sqrt(columns) });
      square = recordPower(plan, kernel, own, { iterations: FOLLOWING_ITERATIONS });
    } else {
      const direction = plan.buffer('direction', [columns]);
      plan.emit('randomNormal', [columns], { y: direction, state: this.#seed }, RANDOM);
      square = recordPower(plan, kernel, direction, { instructions: powerInstructions });
    }
    this.#keep(square);
    return square;
  }

  // ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

  activations(figures: Figures): LayerActivations[] {
    return this.#layers.map((layer) => activationsOf(layer, figures));
  }

  flow(figures: Figures): LayerFlow[] {
    return this.#layers.map((layer) => flowOf(layer, figures));
  }

  /** Both, as a sample of a fit has them, with the batch's loss. */
  sample(figures: Figures): Pick<DiagnosticsSample, 'loss' | 'layers'> {
    const layers = this.#layers.map((layer) => Object.assign(flowOf(layer, figures), activationsOf(layer, figures)));
    return { loss: this.#loss ? figures.float(this.#loss) : 0, layers };
  }

  /** Where a step's figures are in the arena; of plans that update. */
  get region(): Tensor {
    if (!this.#region) throw new Error('this plan changes nothing: its figures are read where they are');
    return this.#region;
  }

  /** Kernels whose units' steps are measured. */
  get steps(): readonly { readonly layer: string; readonly kernel: TrainableParameter; readonly squares: Tensor }[] {
    return this.#layers.flatMap(({ name, kernel }) =>
      kernel?.steps ? [{ layer: name, kernel: kernel.kernel, squares: kernel.steps }] : [],
    );
  }

  /** RMS of the loss gradient at the first layer's input. */
  inputGradientRms(figures: Figures): number {
    return rmsOf(this.#layers[0]?.gradients?.input, figures);
  }
}

function activationsOf({ name, before, after, slope }: MeasuredLayer, figures: Figures): LayerActivations {
  const distribution = distributionOf(after, figures);
  const { mean, standardDeviation } = distribution;
  return {
    layer: name,
    ...(before && { before: distributionOf(before, figures) }),
    after: distribution,
    saturation: slope ? figures.double(slope, 6) : 0,
    meanShift: mean === 0 ? 0 : Math.abs(mean) / standardDeviation,
  };
}

function flowOf({ name, slope, gradients, kernel }: MeasuredLayer, figures: Figures): LayerFlow {
  const output = gradients?.output;
  const lossGradientRms = rmsOf(output, figures);
  const deltaRms = rmsOf(gradients?.delta, figures);
  const kernelRms = rmsOf(kernel?.value, figures);
  const kernelGradientRms = rmsOf(kernel?.gradient, figures);
  return {
    layer: name,
    lossGradientRms,
    lossGradientNorm: output ? lossGradientRms * Math.sqrt(figures.double(output, 7)) : 0,
    activationFactor: { measured: slope ? ratio(deltaRms, lossGradientRms) : 1, predicted: slope ? rmsOf(slope, figures) : 1 },
    weightFactor: {
      measured: ratio(rmsOf(gradients?.input, figures), deltaRms),
      predicted: kernel ? kernelRms * Math.sqrt(kernel.kernel.shape[1]) : 1,
    },
    kernelGradientRms,
    kernelRms,
    gradientToWeight: ratio(kernelGradientRms, kernelRms),
    ...(kernel?.update && { updateToWeight: ratio(rmsOf(kernel.update, figures), kernelRms) }),
    spectralNorm: kernel ? Math.sqrt(figures.double(kernel.square)) : 0,
  };
}

/** Where power iteration on a model's kernels goes on from: [units] each. */
export type Directions = ReadonlyMap<TrainableParameter, Tensor>;

/** The start of power iteration, which almost surely has a share of every direction. */
const RANDOM = { stream: START_STREAM, mean: 0, standardDeviation: 1 } as const;

/** Before a fit's first sample: brings each direction near that which its kernel stretches most. */
export function recordDirections(plan: Plan, seed: Tensor, directions: Directions): void {
  for (const [kernel, direction] of directions) {
    plan.emit('randomNormal', direction.shape, { y: direction, state: seed }, RANDOM);
    recordPower(plan, kernel, direction, { instructions: FIRST_INSTRUCTIONS });
  }
}

/** Power iteration from a direction, which it moves. Returns the square of the largest singular value. */
function recordPower(
  plan: Plan,
  { value, shape }: TrainableParameter,
  direction: Tensor,
  { instructions = 1, iterations = POWER_ITERATIONS }: { readonly instructions?: number | undefined; readonly iterations?: number },
): Tensor {
  const [square, work] = [plan.buffer('square', [1], 'f64'), plan.buffer('work', direction.shape)];
  for (let i = 0; i < instructions; i++)
    plan.emit('spectralNorm', shape, { x: value, v: direction, square, next: direction, work }, { iterations });
  return square;
}

/** y = x. */
const LINEAR = { activation: 0, parameter: 0 } as const;

/** A layer's trainable matrix: that called kernel, or else its first one. */
function trainableMatrix(layer: Pick<MeasuredLayer, 'name' | 'parameters'>): TrainableParameter | undefined {
  const kernel = kernelOf(layer);
  if (kernel?.trainable) return kernel;
  return layer.parameters.filter((parameter) => parameter.trainable).find(({ shape }) => shape.length === 2);
}

/** 0 for 0/0: nothing of nothing flows. */
function ratio(part: number, whole: number): number {
  return part === 0 ? 0 : part / whole;
}

/** 0 of nothing. */
function rmsOf(statistics: Tensor | undefined, figures: Figures): number {
  return statistics ? Math.sqrt(figures.double(statistics, 2)) : 0;
}

function distributionOf({ statistics, histogram }: MeasuredTensor, figures: Figures): Distribution {
  const [min, max] = [figures.double(statistics, 3), figures.double(statistics, 4)];
  const counts = new Array<number>(BINS);
  for (let bin = 0; bin < BINS; bin++) counts[bin] = figures.word(histogram, bin);
  return {
    mean: figures.double(statistics),
    standardDeviation: Math.sqrt(figures.double(statistics, 1)),
    rms: Math.sqrt(figures.double(statistics, 2)),
    min,
    max,
    zeros: figures.double(statistics, 5),
    histogram: { low: min, high: max, counts },
  };
}
