// What a plan measures beside its work: statistics of activations, loss gradients, kernels and updates, layer by layer. runtime.ts
// lets it record its instructions between those of layers, loss and optimizer, and its figures are read when the plan has run.
// It reads what the rest of the plan computes and writes to buffers of its own: training does not change by a bit.
import type { Activation } from './activations.js';
import { kernelOf, type NamedLayer } from './architecture.js';
import type { DiagnosticsSample, Distribution, LayerActivations, LayerFlow } from './diagnostics/types.js';
import type { Parameter, Plan, Tensor, TrainableParameter } from './plan.js';

/** |a'(z)| below it counts as saturated. */
export const SATURATED = 0.01;

/** Power iterations of one instruction; few, so that runs that take turns come to an end of it soon. */
const POWER_ITERATIONS = 8;

/** Of randomness: the start of every power iteration. Above the streams of weights and layers; shuffling has the last one. */
const START_STREAM = 0xfffffffe;

/** Views of the arena for immediate use. */
export interface Figures {
  doubles(tensor: Tensor): Float64Array;
  words(tensor: Tensor): Uint32Array;
}

export interface MeasureOptions {
  /** Instructions of power iteration a kernel; at least 1 where gradients are measured. */
  readonly powerInstructions: number;
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

  /** @param seed words of the model's seed */
  constructor(plan: Plan, seed: Tensor, options: MeasureOptions) {
    this.#plan = plan;
    this.#seed = seed;
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
          square: this.#spectralNorm(kernel.value, this.#options.powerInstructions),
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

  afterUpdate(): void {
    const plan = this.#plan;
    for (const { name, kernel } of this.#kernels)
      plan.scope(name, () => {
        const { value, shape } = kernel.kernel;
        kernel.update = this.#emitStatistics(value, { minus: kernel.before });
        if (!this.#options.unitSteps || !kernel.before) return;
        kernel.steps = plan.buffer('steps', [shape[1]], 'f64');
        plan.emit('columnDistances', shape, { x: value, from: kernel.before, squares: kernel.steps });
        plan.keep(kernel.steps);
      });
  }

  #distribution(x: Tensor): MeasuredTensor {
    const statistics = this.#statisticsOf(x);
    const histogram = this.#plan.buffer('histogram', [32], 'u32');
    this.#plan.emit('histogram', x.shape, { x, statistics, counts: histogram });
    this.#plan.keep(histogram);
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
    this.#plan.keep(statistics);
    return statistics;
  }

  /** From a random start, which almost surely has a share of every direction. */
  #spectralNorm(x: Tensor, instructions: number): Tensor {
    const plan = this.#plan;
    const [rows, columns] = x.shape;
    let v = plan.buffer('direction', [columns]);
    plan.emit('randomNormal', [columns], { y: v, state: this.#seed }, { stream: START_STREAM, mean: 0, standardDeviation: 1 });
    let square = plan.buffer('square', [1], 'f64');
    for (let i = 0; i < instructions; i++) {
      const [next, work] = [plan.buffer('direction', [columns]), plan.buffer('work', [columns])];
      square = i === 0 ? square : plan.buffer('square', [1], 'f64');
      plan.emit('spectralNorm', [rows, columns], { x, v, square, next, work }, { iterations: POWER_ITERATIONS });
      v = next;
    }
    plan.keep(square);
    return square;
  }

  // ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

  activations(figures: Figures): LayerActivations[] {
    return this.#layers.map(({ name, before, after, slope }) => {
      const distribution = distributionOf(figures, after);
      const { mean, standardDeviation } = distribution;
      return {
        layer: name,
        ...(before && { before: distributionOf(figures, before) }),
        after: distribution,
        saturation: slope ? figures.doubles(slope)[6] : 0,
        meanShift: mean === 0 ? 0 : Math.abs(mean) / standardDeviation,
      };
    });
  }

  flow(figures: Figures): LayerFlow[] {
    const rms = (statistics: Tensor | undefined): number => (statistics ? Math.sqrt(figures.doubles(statistics)[2]) : 0);
    return this.#layers.map(({ name, slope, gradients, kernel }) => {
      const { output, delta, input } = gradients ?? {};
      const [lossGradientRms, deltaRms] = [rms(output), rms(delta)];
      const [kernelRms, kernelGradientRms] = [rms(kernel?.value), rms(kernel?.gradient)];
      const [, units = 1] = kernel?.kernel.shape ?? [];
      return {
        layer: name,
        lossGradientRms,
        lossGradientNorm: output ? lossGradientRms * Math.sqrt(figures.doubles(output)[7]) : 0,
        activationFactor: { measured: slope ? ratio(deltaRms, lossGradientRms) : 1, predicted: slope ? rms(slope) : 1 },
        weightFactor: { measured: ratio(rms(input), deltaRms), predicted: kernel ? kernelRms * Math.sqrt(units) : 1 },
        kernelGradientRms,
        kernelRms,
        gradientToWeight: ratio(kernelGradientRms, kernelRms),
        ...(kernel?.update && { updateToWeight: ratio(rms(kernel.update), kernelRms) }),
        spectralNorm: kernel ? Math.sqrt(figures.doubles(kernel.square)[0]) : 0,
      };
    });
  }

  /** Both, as a sample of a fit has them. */
  sample(figures: Figures): DiagnosticsSample['layers'] {
    const activations = this.activations(figures);
    return this.flow(figures).map((flow, i) => ({ ...flow, ...activations[i] }));
  }

  /** Squared lengths of the units' steps, kernel by kernel. */
  steps(figures: Figures): { readonly layer: string; readonly kernel: TrainableParameter; readonly squares: Float64Array }[] {
    return this.#layers.flatMap(({ name, kernel }) =>
      kernel?.steps ? [{ layer: name, kernel: kernel.kernel, squares: figures.doubles(kernel.steps) }] : [],
    );
  }

  /** RMS of the loss gradient at the first layer's input. */
  inputGradientRms(figures: Figures): number {
    const input = this.#layers[0]?.gradients?.input;
    return input ? Math.sqrt(figures.doubles(input)[2]) : 0;
  }
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

function distributionOf(figures: Figures, { statistics, histogram }: MeasuredTensor): Distribution {
  const [mean, variance, square, min, max, zeros] = figures.doubles(statistics);
  return {
    mean,
    standardDeviation: Math.sqrt(variance),
    rms: Math.sqrt(square),
    min,
    max,
    zeros,
    histogram: { low: min, high: max, counts: Array.from(figures.words(histogram)) },
  };
}
