// A model's life in the engine: the arena with its state, the plans recorded so far, and their runs. model.ts holds the
// public API; this file holds what native memory there is.
//
// Arena: control block | seed, hyper-parameters, totals, … | weights | gradients | moments | buffers of the running plan.
// All plans of a model share one arena: one runs at a time. A plan that needs more buffers makes the arena grow, by a copy of
// the state.
import { type DataSet, feed } from './dataset.js';
import type { Engine, EngineMemory, EngineProgram } from './engine.js';
import { GradmillError } from './errors.js';
import type { Initializer } from './initializers.js';
import type { BuiltLayer, Layer } from './layers/layer.js';
import { type Loss, recordAccuracy, recordLoss, type Target } from './losses.js';
import type { Optimizer } from './optimizers.js';
import { ALIGNMENT, FEED, type Parameter, Plan, Tensor } from './plan.js';

/** How a batch's targets are held: class labels or rows like the prediction's. */
export type TargetKind = 'labels' | 'rows';

export type PlanKind = 'predict' | `${'train' | 'evaluate' | 'gradients'}:${TargetKind}`;

export interface Training {
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly accuracy: boolean;
  readonly fuse: boolean;
  readonly threads: number;
  readonly strict: boolean;
}

interface LoadedPlan {
  readonly plan: Plan;
  readonly program: EngineProgram;
  /** Instructions that only read the batch in: running them alone checks a data set. */
  readonly gathers: number;
  /** Output of each layer. */
  readonly outputs: readonly Tensor[];
  /** Loss gradient at the input and at each layer's output; kept by 'gradients' plans only. */
  readonly lossGradients: readonly Tensor[];
}

export interface NamedLayer {
  readonly name: string;
  readonly layer: Layer;
  readonly built: BuiltLayer;
  readonly parameters: readonly Parameter[];
}

/** The engine's Fault codes. */
const FAULTS = ['none', 'nonFiniteInput', 'labelOutOfRange', 'rowOutOfRange', 'nonFiniteLoss', 'nonFiniteWeight'] as const;

export interface Fault {
  readonly kind: (typeof FAULTS)[number];
  /** Batches that the run had finished. */
  readonly batches: number;
  /** Row of the data set. */
  readonly row: number;
}

/** Words of the control block. */
const CONTROL = { cancel: 0, progress: 1, fault: 2, row: 4 } as const;

export class Runtime {
  readonly layers: readonly NamedLayer[];
  readonly parameters: readonly Parameter[];
  #training: Training | undefined;
  #arena: EngineMemory | undefined;
  #arenaBytes = 0;
  #stateEnd = 0;
  #plans = new Map<PlanKind, LoadedPlan>();
  #epochProgram: EngineProgram | undefined;

  readonly #seed = new Tensor('seed', [4], 'state', 'u32');
  readonly #hyper = new Tensor('hyper', [16], 'state', 'f64');
  readonly #totals = new Tensor('totals', [8], 'state', 'f64');
  readonly #loss = new Tensor('loss', [1], 'state');
  readonly #lossSeed = new Tensor('lossSeed', [1], 'state');
  readonly #clipScale = new Tensor('clipScale', [1], 'state');
  readonly #inputScaling: readonly [mean: Tensor, scale: Tensor] | undefined;
  #ranges = new Map<'p' | 'g' | 'moment1' | 'moment2', Tensor>();

  /** @throws GradmillError from layers and, for lack of memory, 'out-of-memory' */
  constructor(
    readonly engine: Engine,
    readonly columns: number,
    layers: readonly Layer[],
    seed: readonly [low: number, high: number],
    scaling: { readonly mean: Float32Array; readonly scale: Float32Array } | undefined,
  ) {
    const initializers = new Map<Parameter, Initializer>();
    let units = columns;
    this.layers = nameLayers(layers).map(({ name, layer }) => {
      const parameters: Parameter[] = [];
      const built = layer.build(units, (part, shape, initializer) => {
        const full = `${name}/${part}`;
        const parameter = { name: full, shape, value: new Tensor(full, shape, 'state'), grad: new Tensor(`${full}.grad`, shape, 'state') };
        initializers.set(parameter, initializer);
        parameters.push(parameter);
        return parameter;
      });
      units = built.units;
      return { name, layer, built, parameters };
    });
    this.parameters = this.layers.flatMap(({ parameters }) => parameters);
    if (scaling) this.#inputScaling = [new Tensor('inputMean', [columns], 'state'), new Tensor('inputScale', [columns], 'state')];
    this.#layOutState();
    this.#view(this.#seed, Uint32Array).set(seed);
    this.#view(this.#lossSeed, Float32Array).fill(1);
    this.#inputScaling?.forEach((tensor, i) => this.#view(tensor, Float32Array).set(i === 0 ? scaling!.mean : scaling!.scale));
    this.#initialize(initializers);
  }

  get units(): number {
    return this.layers.at(-1)?.built.units ?? this.columns;
  }

  get training(): Training | undefined {
    return this.#training;
  }

  /** Makes room for gradients and moments; weights stay, moments start at zero. */
  compile(training: Training): void {
    this.#training = training;
    this.#layOutState();
    this.#view(this.#hyper, Float64Array).set(training.optimizer.hyper);
    this.#view(this.#seed, Uint32Array)[2] = 0;
  }

  // ── Plans ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The plan of a kind for batches of up to `batch` rows, recorded and loaded when first asked for. */
  plan(kind: PlanKind, batch: number): LoadedPlan {
    const known = this.#plans.get(kind);
    if (known && known.plan.batch >= batch) return known;
    const loaded = this.#record(kind, batch);
    this.#plans.set(kind, loaded);
    return loaded;
  }

  /** [resetTotals, shuffle], of one instruction each. */
  get #epoch(): EngineProgram {
    if (this.#epochProgram) return this.#epochProgram;
    const plan = new Plan(this.engine.ops, 1, false);
    plan.emit('resetTotals', [], { totals: this.#totals });
    plan.emit('shuffle', [], { state: this.#seed }, { feed: FEED.order });
    plan.finish(this.#stateEnd, { fuse: false });
    return (this.#epochProgram = this.#load(plan));
  }

  resetTotals(): void {
    this.#epoch.run(0, 1, 0, 0, 0);
  }

  /** Draws the next epoch's order. */
  async shuffle(order: DataSet): Promise<void> {
    const program = this.#epoch;
    feed(program, FEED.order, order);
    await program.start(1, 2, 0, 0, 0);
  }

  #record(kind: PlanKind, batch: number): LoadedPlan {
    const [purpose, target] = kind.split(':') as ['predict' | 'train' | 'evaluate' | 'gradients', TargetKind | undefined];
    const training = this.#training;
    const plan = new Plan(this.engine.ops, batch, purpose === 'train' || purpose === 'gradients');
    const [mean, scale] = this.#inputScaling ?? [];
    const x = new Tensor('x', ['batch', this.columns]);
    plan.scope('input', () => plan.emit('gather', x.shape, { y: x, mean, scale }, { feed: FEED.input }));
    const targets = target && plan.scope('target', () => this.#gatherTarget(plan, target));
    const gathers = plan.instructions.length;
    let y = x;
    const outputs = this.layers.map(({ name, built }) => (y = plan.scope(name, () => built.record(plan, y))));
    const lossGradients: Tensor[] = [];
    if (!targets) {
      plan.scope('output', () => plan.emit('scatter', y.shape, { x: y }, { feed: FEED.output }));
    } else {
      if (!training) throw new GradmillError('not-compiled', 'compile the model first: it has no loss yet');
      const dPrediction = plan.scope('loss', () => {
        const out = { loss: this.#loss, totals: this.#totals, seed: this.#lossSeed };
        if (training.accuracy) recordAccuracy(plan, y, targets, this.#totals, training.loss.name === 'binaryCrossEntropy' ? 0 : 0.5);
        return recordLoss(plan, training.loss, y, targets, out);
      });
      if (dPrediction) {
        const gradients = plan.differentiate(y, dPrediction);
        if (purpose === 'gradients') {
          for (const tensor of [x, ...outputs]) {
            const gradient = gradients.get(tensor);
            if (!gradient) continue;
            plan.keep(gradient);
            lossGradients.push(gradient);
          }
        } else if (this.parameters.length > 0) {
          const { p, g, moment1, moment2 } = Object.fromEntries(this.#ranges) as Record<string, Tensor | undefined>;
          const ranges = { p: p!, g: g!, ...(moment1 && { moment1 }), ...(moment2 && { moment2 }) };
          plan.scope('optimizer', () => training.optimizer.record(plan, ranges, this.#hyper, this.#clipScale));
        }
      }
    }
    const end = plan.finish(this.#stateEnd, { fuse: training?.fuse ?? true });
    this.#reserve(end);
    return { plan, program: this.#load(plan), gathers, outputs, lossGradients };
  }

  #gatherTarget(plan: Plan, target: TargetKind): Target {
    if (target === 'labels') {
      const labels = new Tensor('labels', ['batch'], 'buffer', 'i32');
      plan.emit('gatherLabels', ['batch', this.units], { labels }, { feed: FEED.target });
      return { labels };
    }
    const t = new Tensor('t', ['batch', this.units]);
    plan.emit('gather', t.shape, { y: t }, { feed: FEED.target });
    return { t };
  }

  #load(plan: Plan): EngineProgram {
    const { strict, threads } = this.#training ?? this.engine;
    return this.engine.load(this.#memory, plan.encode(), { strict, threads });
  }

  // ── Runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Forgets the last run's cancellation, progress and fault. */
  clearControl(): void {
    this.#control.fill(0);
  }

  /** Asks the running job to stop before its next batch. */
  cancel(): void {
    Atomics.store(this.#control, CONTROL.cancel, 1);
  }

  get progress(): number {
    return Atomics.load(this.#control, CONTROL.progress);
  }

  get fault(): Fault {
    const control = this.#control;
    return { kind: FAULTS[control[CONTROL.fault] ?? 0] ?? 'none', batches: control[CONTROL.progress] ?? 0, row: control[CONTROL.row] ?? 0 };
  }

  /** Since the totals were emptied: Σ of row losses, rows, right predictions. */
  get totals(): { readonly loss: number; readonly rows: number; readonly correct: number } {
    const [loss = 0, rows = 0, correct = 0] = this.#view(this.#totals, Float64Array);
    return { loss, rows, correct };
  }

  /** Of the last batch. */
  get batchLoss(): number {
    return this.#view(this.#loss, Float32Array)[0] ?? 0;
  }

  /** The first tensor of a training step, in its order, that holds a number that is not finite. */
  firstNonFinite(kind: PlanKind): string {
    const bad = (values: Float32Array) => values.some(value => !Number.isFinite(value));
    const loaded = this.#plans.get(kind);
    for (const [i, { name, parameters }] of this.layers.entries()) {
      const weight = parameters.find(({ value }) => bad(this.floats(value)));
      if (weight) return `weight '${weight.name}'`;
      const output = loaded?.outputs[i];
      // A buffer may have been given to another tensor meanwhile, but forward values live until the backward pass.
      if (loaded && output && output.offset > 0 && bad(this.floats(output, loaded.plan.batch))) return `the output of layer '${name}'`;
    }
    return 'the loss';
  }

  // ── State ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A view for immediate use. */
  floats(tensor: Tensor, batch = 1): Float32Array {
    return this.#view(tensor, Float32Array, batch);
  }

  get #memory(): EngineMemory {
    if (!this.#arena) throw new GradmillError('disposed', 'the model was disposed');
    return this.#arena;
  }

  get #control(): Int32Array {
    const bytes = this.#memory.bytes();
    return new Int32Array(bytes.buffer, bytes.byteOffset, ALIGNMENT / 4);
  }

  #view<T>(tensor: Tensor, type: new (buffer: ArrayBufferLike, offset: number, length: number) => T, batch = 1): T {
    const bytes = this.#memory.bytes();
    return new type(bytes.buffer, bytes.byteOffset + tensor.offset, tensor.elements(batch));
  }

  get #scalars(): readonly Tensor[] {
    return [this.#seed, this.#hyper, this.#totals, this.#loss, this.#lossSeed, this.#clipScale, ...(this.#inputScaling ?? [])];
  }

  /** Gives every state tensor its place in a new arena, and moves what the old one holds. */
  #layOutState(): void {
    const kept = [...this.#scalars, ...this.parameters.map(({ value }) => value)];
    const values = this.#arena ? kept.map(tensor => this.#bytes(tensor).slice()) : [];
    let end = ALIGNMENT;
    const place = (tensor: Tensor) => {
      tensor.offset = end;
      end += tensor.bytes(1);
    };
    this.#scalars.forEach(place);
    this.#ranges.clear();
    const range = (name: 'p' | 'g' | 'moment1' | 'moment2', tensors: readonly Tensor[]) => {
      const start = end;
      tensors.forEach(place);
      const whole = new Tensor(name, [(end - start) / 4], 'state');
      whole.offset = start;
      this.#ranges.set(name, whole);
    };
    range('p', this.parameters.map(({ value }) => value)); // prettier-ignore
    if (this.#training) {
      range('g', this.parameters.map(({ grad }) => grad)); // prettier-ignore
      const elements = this.#ranges.get('p')?.elements(1) ?? 0;
      for (const moment of this.#training.optimizer.moments) range(moment, [new Tensor(moment, [elements], 'state')]);
    }
    this.#stateEnd = end;
    this.#replaceArena(end);
    values.forEach((value, i) => this.#bytes(kept[i]!).set(value));
  }

  #bytes(tensor: Tensor): Uint8Array {
    return this.#memory.bytes().subarray(tensor.offset, tensor.offset + tensor.bytes(1));
  }

  #replaceArena(bytes: number): void {
    this.#arena = this.engine.allocate(bytes);
    this.#arenaBytes = bytes;
    this.#plans.clear();
    this.#epochProgram = undefined;
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#arenaBytes) return;
    const state = this.#memory.bytes().subarray(0, this.#stateEnd);
    this.#replaceArena(bytes);
    this.#memory.bytes().set(state);
  }

  #initialize(initializers: ReadonlyMap<Parameter, Initializer>): void {
    const plan = new Plan(this.engine.ops, 1, false);
    this.parameters.forEach((parameter, stream) => {
      initializers.get(parameter)?.record(plan, { y: parameter.value, shape: parameter.shape, stream, state: this.#seed });
    });
    plan.finish(this.#stateEnd, { fuse: false });
    this.#load(plan).run(0, plan.instructions.length, 0, 0, 0);
  }

  /** Lets the memory go; whatever comes after is an error. */
  dispose(): void {
    this.#arena = undefined;
    this.#plans.clear();
    this.#epochProgram = undefined;
  }
}

function nameLayers(layers: readonly Layer[]): { readonly name: string; readonly layer: Layer }[] {
  const counts = new Map<string, number>();
  const taken = new Set<string>();
  return layers.map(layer => {
    const count = (counts.get(layer.kind) ?? 0) + 1;
    counts.set(layer.kind, count);
    const name = layer.name ?? `${layer.kind}${String(count)}`;
    if (taken.has(name)) throw new GradmillError('invalid-argument', `two layers are named '${name}'`);
    taken.add(name);
    return { name, layer };
  });
}
