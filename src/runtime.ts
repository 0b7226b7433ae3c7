// A model's life in the engine: the arena with its state, the plans recorded so far, and their runs. model.ts holds the
// public API; this file holds what native memory there is.
//
// Arena: control block | seed, hyper-parameters, totals, … | weights | those not trainable | masks, where anything is pruned |
// gradients | moments | directions of power iteration | buffers of the running plan.
// All plans of a model share one arena: one runs at a time. A plan that needs more buffers makes the arena grow, by a copy of
// the state.
import type { Architecture, NamedLayer } from './architecture.js';
import { type DataSet, feed } from './dataset.js';
import type { Engine, EngineMemory, EngineProgram } from './engine.js';
import { GradmillError } from './errors.js';
import { type Loss, recordAccuracy, recordLoss, type Target } from './losses.js';
import { Figures, type MeasureOptions, Measures, recordDirections } from './measure.js';
import type { Optimizer, WeightRanges } from './optimizers.js';
import { ALIGNMENT, FEED, type Parameter, Plan, Tensor, type TrainableParameter } from './plan.js';
import type { InputScaling } from './scaling/input-scaling.js';

/** How a batch's targets are held: class labels or rows like the prediction's. */
export type TargetKind = 'labels' | 'rows';

interface Purpose {
  /** Layers record as for training, with their backward rules. */
  readonly training: boolean;
  /** Weights change, and whatever else layers keep. */
  readonly updates: boolean;
  readonly measures?: MeasureOptions;
}

/** What plans are for. Those that measure while they train go on with power iteration; who asks once wants to know. */
const PURPOSES = {
  predict: { training: false, updates: false },
  evaluate: { training: false, updates: false },
  train: { training: true, updates: true },
  /** A training step that measures. */
  watch: { training: true, updates: true, measures: { unitSteps: false } },
  /** The same, and how far each unit's weights go. */
  trace: { training: true, updates: true, measures: { unitSteps: true } },
  gradients: { training: true, updates: false },
  /** What a training step would measure. */
  flow: { training: true, updates: false, measures: { powerInstructions: 16, unitSteps: false } },
  /** What a forward pass measures: in prediction, in training. */
  activations: { training: false, updates: false, measures: { powerInstructions: 0, unitSteps: false } },
  trainingActivations: { training: true, updates: false, measures: { powerInstructions: 0, unitSteps: false } },
  /** What a Measurement says. */
  measure: { training: false, updates: false },
} as const satisfies Record<string, Purpose>;

type Forward = 'predict' | 'activations' | 'trainingActivations';
export type PlanKind = Forward | `${Exclude<keyof typeof PURPOSES, Forward | 'measure'>}:${TargetKind}` | `measure:${string}`;

/** What a diagnostic measures of the forward pass, as a plan of its own. */
export interface Measurement {
  /** Numbers that are not finite do not stop it. */
  readonly unchecked?: boolean;
  /** Layers record as in a training step: batch statistics, not moving ones. Nothing is updated. Default false. */
  readonly training?: boolean;
  /** @param outputs the input as gathered, then each layer's output; returns what is to be read after each batch. */
  record(plan: Plan, outputs: readonly Tensor[]): readonly Tensor[];
}

export interface Training {
  readonly optimizer: Optimizer;
  readonly loss: Loss;
  readonly accuracy: boolean;
  readonly fuse: boolean;
  readonly threads: number;
  readonly strict: boolean;
}

export interface LoadedPlan {
  readonly plan: Plan;
  readonly program: EngineProgram;
  /** Of kinds that measure while they train: the plan of steps that do, behind `plan` in the program, which is that of those that do not. */
  readonly watched: WatchedPlan | undefined;
  /** Instructions that only read the batch in: running them alone checks a data set. */
  readonly gathers: number;
  /** Loss gradient at the input and at each layer's output, undefined where no rule leads there; kept by 'gradients' plans only. */
  readonly lossGradients: readonly (Tensor | undefined)[];
  /** The input as gathered, then each layer's output. */
  readonly outputs: readonly Tensor[];
  /** What a 'measure' plan's Measurement returned. */
  readonly measured: readonly Tensor[];
  /** Of plans that measure layer by layer. */
  readonly measures: Measures | undefined;
}

export interface WatchedPlan {
  readonly plan: Plan;
  readonly measures: Measures;
}

/** The engine's Fault codes. */
const FAULTS = ['none', 'nonFiniteInput', 'labelOutOfRange', 'rowOutOfRange', 'nonFiniteLoss', 'nonFiniteWeight'] as const;

export interface Fault {
  readonly kind: (typeof FAULTS)[number];
  /** Batches that the run had finished. */
  readonly batches: number;
  /** The plan's instruction that found it. */
  readonly instruction: number;
  /** Row of the data set. */
  readonly row: number;
}

/** Contiguous, each over all trainable weights. */
type RangeName = 'p' | 'mask' | 'g' | 'moment1' | 'moment2' | 'direction';

/** Words of the control block. */
const CONTROL = { cancel: 0, progress: 1, fault: 2, instruction: 3, row: 4 } as const;

export class Runtime {
  /** Numbers that one example has. */
  readonly columns: number;
  readonly layers: readonly NamedLayer[];
  /** All weights, in layer order. */
  readonly parameters: readonly Parameter[];
  readonly trainable: readonly TrainableParameter[];
  #training: Training | undefined;
  #arena: EngineMemory | undefined;
  #arenaBytes = 0;
  #stateEnd = 0;
  /** Moments and directions are zero until there is a plan that writes them. */
  #momentsUsed = false;
  #plans = new Map<PlanKind, LoadedPlan>();
  readonly #measurements = new Map<string, Measurement>();
  #epochProgram: EngineProgram | undefined;
  #controlView: Uint32Array | undefined;

  readonly #seed = new Tensor('seed', [4], 'state', 'u32');
  readonly #hyper = new Tensor('hyper', [16], 'state', 'f64');
  readonly #totals = new Tensor('totals', [8], 'state', 'f64');
  readonly #loss = new Tensor('loss', [1], 'state');
  readonly #lossSeed = new Tensor('lossSeed', [1], 'state');
  readonly #clipScale = new Tensor('clipScale', [1], 'state');
  readonly #inputScaling: readonly [mean: Tensor, scale: Tensor] | undefined;
  /** Of power iteration on each trainable matrix. */
  readonly #directions: ReadonlyMap<TrainableParameter, Tensor>;
  #ranges = new Map<RangeName, Tensor>();

  /** @throws GradmillError 'out-of-memory', 'size-overflow' */
  constructor(
    readonly engine: Engine,
    architecture: Architecture,
    readonly seed: number,
    readonly scaling: InputScaling | undefined,
  ) {
    const { columns, layers } = architecture;
    this.columns = columns;
    this.layers = layers;
    this.parameters = layers.flatMap(({ parameters }) => parameters);
    this.trainable = this.parameters.filter((parameter) => parameter.trainable);
    this.#directions = new Map(
      this.trainable
        .filter(({ shape }) => shape.length === 2)
        .map((weight) => [weight, new Tensor(`${weight.name}.direction`, [weight.shape[1]], 'state')]),
    );
    if (scaling) this.#inputScaling = [new Tensor('inputMean', [columns], 'state'), new Tensor('inputScale', [columns], 'state')];
    this.#layOutState(undefined, false);
    this.#view(this.#seed, Uint32Array).set([seed >>> 0, Math.floor(seed / 0x100000000)]);
    this.#view(this.#lossSeed, Float32Array).fill(1);
    if (scaling && this.#inputScaling) {
      const [mean, scale] = this.#inputScaling;
      setColumns(this.#view(mean, Float32Array), scaling.mean, (value) => value);
      setColumns(this.#view(scale, Float32Array), scaling.standardDeviation, (value) => 1 / value);
    }
    this.initialize(architecture.initializers);
  }

  get units(): number {
    return this.layers.at(-1)?.built.units ?? this.columns;
  }

  get training(): Training | undefined {
    return this.#training;
  }

  /** Makes room for gradients and moments; weights and masks stay, moments start at zero. Nothing has changed when it throws. */
  compile(training: Training): void {
    this.#layOutState(training, this.#ranges.has('mask'));
    this.#training = training;
    this.#view(this.#hyper, Float64Array).set(training.optimizer.hyper);
    this.#view(this.#seed, Uint32Array)[2] = 0;
  }

  /** Bytes of weights, gradients, moments and the widest plan's buffers. */
  get bytes(): number {
    return this.#arenaBytes;
  }

  // ── Plans ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The plan of a kind for batches of up to `batch` rows, recorded and loaded when first asked for. */
  plan(kind: PlanKind, batch: number): LoadedPlan {
    const known = this.#plans.get(kind);
    if (known && known.plan.batch >= batch) return known;
    const loaded = this.#record(kind, batch);
    known?.program.release?.();
    this.#plans.set(kind, loaded);
    return loaded;
  }

  /** The same plan to look at: memory stays as it is, under a job that may be running. */
  described(kind: PlanKind, batch: number): Plan {
    const known = this.#plans.get(kind);
    return known && known.plan.batch >= batch ? known.plan : this.#recordPlan(kind, batch).plan;
  }

  /** From now on 'measure:name' is a plan; of equal names the first counts. */
  define(name: string, measurement: Measurement): void {
    if (!this.#measurements.has(name)) this.#measurements.set(name, measurement);
  }

  /** A 'gradients' plan's, all of them. @throws GradmillError 'invalid-argument' for a layer without a backward rule */
  lossGradients({ lossGradients }: LoadedPlan): readonly Tensor[] {
    // It and all below have none.
    const at = lossGradients.lastIndexOf(undefined);
    if (at < 0) return lossGradients as readonly Tensor[];
    throw new GradmillError(
      'invalid-argument',
      `layer '${this.layers[at].name}' records no backward rule from its output to its input: see plan.backward`,
    );
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
    this.clearControl();
    feed(program, FEED.order, order);
    await program.start(1, 2, 0, 0, 0);
    feed(program, FEED.order, undefined);
  }

  /** Before a fit's first sample: where power iteration starts does not depend on what the model did before. */
  async startDirections(): Promise<void> {
    const plan = new Plan(this.engine.ops, 1, false);
    recordDirections(plan, this.#seed, this.#directions);
    this.#reserve(plan.finish(this.#stateEnd, { fuse: false }), true);
    const program = this.#load(plan);
    this.clearControl();
    await program.start(0, plan.instructions.length, 0, 0, 0);
    program.release?.();
  }

  #record(kind: PlanKind, batch: number): LoadedPlan {
    const [, target] = /^(?:watch|trace):(.*)$/.exec(kind) ?? [];
    const { end, updates, ...usual } = this.#recordPlan(target ? (`train:${target}` as PlanKind) : kind, batch);
    if (!target) {
      this.#reserve(end, updates);
      return { ...usual, program: this.#load(usual.plan), watched: undefined };
    }
    const watched = this.#recordPlan(kind, batch);
    this.#reserve(Math.max(end, watched.end), updates);
    const { plan, measures } = watched;
    return { ...usual, program: this.#load(usual.plan, plan), watched: measures && { plan, measures } };
  }

  #recordPlan(
    kind: PlanKind,
    batch: number,
  ): Omit<LoadedPlan, 'program' | 'watched'> & { readonly end: number; readonly updates: boolean } {
    const [name, detail = ''] = kind.split(':') as [keyof typeof PURPOSES, string | undefined];
    const purpose: Purpose = PURPOSES[name];
    const measurement = name === 'measure' ? this.#measurements.get(detail) : undefined;
    const target = detail === 'labels' || detail === 'rows' ? detail : undefined;
    const training = this.#training;
    const { updates } = purpose;
    const randomness = { state: this.#seed, hyper: this.#hyper };
    const plan = new Plan(this.engine.ops, batch, measurement?.training ?? purpose.training, { updates, randomness });
    const measures = purpose.measures && new Measures(plan, this.#seed, this.#directions, purpose.measures);
    const [mean, scale] = this.#inputScaling ?? [];
    const x = new Tensor('x', ['batch', this.columns]);
    plan.scope('input', () =>
      plan.emit('gather', x.shape, { y: x, mean, scale }, { feed: FEED.input, unchecked: measurement?.unchecked ? 1 : 0 }),
    );
    const targets = target && plan.scope('target', () => this.#gatherTarget(plan, target));
    const gathers = plan.instructions.length;
    let y = x;
    const outputs = this.layers.map((layer) => {
      const input = y;
      y = plan.scope(layer.name, () => layer.built.record(plan, input));
      measures?.layer(layer, input, y);
      return y;
    });
    const lossGradients: (Tensor | undefined)[] = [];
    const measured = measurement ? plan.scope('measure', () => measurement.record(plan, [x, ...outputs])) : [];
    for (const tensor of measured) plan.keep(tensor);
    if (name === 'predict') {
      plan.scope('output', () => plan.emit('scatter', y.shape, { x: y }, { feed: FEED.output }));
    } else if (targets) {
      if (!training) throw new GradmillError('not-compiled', 'compile the model first: it has no loss yet');
      const dPrediction = plan.scope('loss', () => {
        const out = { loss: this.#loss, totals: this.#totals, seed: this.#lossSeed };
        if (training.accuracy) recordAccuracy(plan, y, targets, this.#totals, training.loss.name === 'binaryCrossEntropy' ? 0 : 0.5);
        return recordLoss(plan, training.loss, y, targets, out);
      });
      if (dPrediction) {
        const gradients = plan.differentiate(y, dPrediction);
        measures?.gradients(gradients);
        if (updates) {
          plan.recordUpdates();
          measures?.beforeUpdate();
          if (this.trainable.length > 0) plan.scope('optimizer', () => this.#recordUpdate(plan, training.optimizer));
          measures?.afterUpdate(this.#loss);
        } else if (!measures) {
          for (const tensor of [x, ...outputs]) {
            const gradient = gradients.get(tensor);
            if (gradient) plan.keep(gradient);
            lossGradients.push(gradient);
          }
        }
      }
    }
    const end = plan.finish(this.#stateEnd, { fuse: training?.fuse ?? true });
    return { plan, end, updates, gathers, lossGradients, outputs: [x, ...outputs], measured, measures };
  }

  /** One update of all weights. Masks come first and last: nothing between makes a pruned weight count, or live. */
  #recordUpdate(plan: Plan, optimizer: Optimizer): void {
    const ranges = Object.fromEntries(this.#ranges) as unknown as WeightRanges;
    const mask = this.#ranges.get('mask');
    const applyMask = (x: Tensor): void => {
      if (mask) plan.emit('applyMask', [x.elements(1)], { x, mask });
    };
    for (const weight of this.trainable) weight.regularizer?.recordGradient?.(plan, weight);
    applyMask(ranges.g);
    optimizer.record(plan, ranges, this.#hyper, this.#clipScale);
    for (const weight of this.trainable) weight.regularizer?.recordProximal?.(plan, weight, this.#hyper);
    applyMask(ranges.p);
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

  /** One program of the instructions of all. */
  #load(...plans: readonly Plan[]): EngineProgram {
    const { strict, threads } = this.#training ?? this.engine;
    const words = Uint32Array.from(plans.flatMap((plan) => Array.from(plan.encode())));
    return this.engine.load(this.#memory, words, { strict, threads });
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
    return {
      kind: FAULTS[control[CONTROL.fault]],
      batches: control[CONTROL.progress],
      instruction: control[CONTROL.instruction],
      row: control[CONTROL.row] + control[CONTROL.row + 1] * 0x100000000,
    };
  }

  /** Since the totals were emptied: Σ of row losses, rows, right predictions. */
  get totals(): { readonly loss: number; readonly rows: number; readonly correct: number } {
    const [loss, rows, correct] = this.#view(this.#totals, Float64Array);
    return { loss, rows, correct };
  }

  /** Of the last batch. */
  get batchLoss(): number {
    return this.#view(this.#loss, Float32Array)[0];
  }

  /** Remembers the totals; the function returned brings them back. */
  keepTotals(): () => void {
    const kept = this.#view(this.#totals, Float64Array).slice();
    return () => {
      this.#view(this.#totals, Float64Array).set(kept);
    };
  }

  // ── State ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A view for immediate use. */
  floats(tensor: Tensor, batch = 1): Float32Array {
    return this.#view(tensor, Float32Array, batch);
  }

  /** For immediate use. */
  get figures(): Figures {
    return new Figures(this.#memory.bytes());
  }

  /** Gives a weight new values; what is pruned stays 0. */
  setWeight(weight: Parameter, data: Float32Array): void {
    const values = this.floats(weight.value);
    values.set(data);
    if (!weight.trainable) return;
    this.maskOf(weight)?.forEach((kept, i) => {
      if (kept === 0) values[i] = 0;
    });
  }

  /** 1 where a weight is trained, 0 where it is pruned: a view for immediate use; undefined while nothing of the model is pruned. */
  maskOf({ value }: TrainableParameter): Float32Array | undefined {
    const [p, mask] = [this.#ranges.get('p'), this.#ranges.get('mask')];
    if (!p || !mask) return undefined;
    const at = value.offset - p.offset;
    return this.floats(mask).subarray(at / 4, at / 4 + value.elements(1));
  }

  /** Replaces all masks; what they prune becomes 0. Moments stay. Nothing has changed when it throws. */
  setMasks(masks: ReadonlyMap<TrainableParameter, Float32Array>): void {
    const pruned = [...masks.values()].some((mask) => mask.includes(0));
    if (pruned !== this.#ranges.has('mask')) this.#layOutState(this.#training, pruned);
    const whole = this.#ranges.get('mask');
    if (!whole) return;
    this.floats(whole).fill(1);
    for (const [weight, mask] of masks) {
      this.maskOf(weight)?.set(mask);
      this.setWeight(weight, this.floats(weight.value));
    }
  }

  get #memory(): EngineMemory {
    if (!this.#arena) throw new GradmillError('disposed', 'the model was disposed');
    return this.#arena;
  }

  /** Made again only for another memory: predictSync allocates nothing. */
  get #control(): Uint32Array {
    const { buffer, byteOffset } = this.#memory.bytes();
    const known = this.#controlView;
    // WebAssembly's arenas all lie in one buffer.
    if (known?.buffer === buffer && known.byteOffset === byteOffset) return known;
    return (this.#controlView = new Uint32Array(buffer, byteOffset, ALIGNMENT / 4));
  }

  #view<T>(tensor: Tensor, type: new (buffer: ArrayBufferLike, offset: number, length: number) => T, batch = 1): T {
    const bytes = this.#memory.bytes();
    return new type(bytes.buffer, bytes.byteOffset + tensor.offset, tensor.elements(batch));
  }

  get #scalars(): readonly Tensor[] {
    return [this.#seed, this.#hyper, this.#totals, this.#loss, this.#lossSeed, this.#clipScale, ...(this.#inputScaling ?? [])];
  }

  /**
   * Gives every state tensor its place in a new arena, and moves what the old one holds: moments only for the same training.
   * Until there is memory nothing changes.
   */
  #layOutState(training: Training | undefined, masked: boolean): void {
    const places = new Map<Tensor, number>();
    const ranges = new Map<RangeName, Tensor>();
    let end = ALIGNMENT;
    const place = (tensor: Tensor): void => {
      places.set(tensor, end);
      end += tensor.bytes(1);
    };
    const range = (name: RangeName, tensors: readonly Tensor[]): void => {
      const start = end;
      tensors.forEach(place);
      const whole = new Tensor(name, [(end - start) / 4], 'state');
      whole.offset = start;
      ranges.set(name, whole);
    };
    this.#scalars.forEach(place);
    range('p', this.trainable.map(({ value }) => value)); // prettier-ignore
    for (const { value, trainable } of this.parameters) if (!trainable) place(value);
    const weightsEnd = end;
    const elements = ranges.get('p')?.elements(1) ?? 0;
    if (masked) range('mask', [new Tensor('mask', [elements], 'state')]);
    if (training) {
      range('g', this.trainable.map(({ grad }) => grad)); // prettier-ignore
      for (const moment of training.optimizer.moments) range(moment, [new Tensor(moment, [elements], 'state')]);
      range('direction', [...this.#directions.values()]);
    }
    const arena = this.engine.allocate(end);
    this.#momentsUsed &&= training === this.#training;
    // What is kept lies before the rest, in the same order in every arena.
    if (this.#arena) {
      arena.bytes().set(this.#arena.bytes().subarray(ALIGNMENT, weightsEnd), ALIGNMENT);
      for (const name of training === this.#training ? (['mask', 'moment1', 'moment2', 'direction'] as const) : (['mask'] as const)) {
        const [from, to] = [this.#ranges.get(name), ranges.get(name)];
        if (from && to) arena.bytes().set(this.#arena.bytes().subarray(from.offset, from.offset + from.bytes(1)), to.offset);
      }
    }
    for (const [tensor, offset] of places) tensor.offset = offset;
    this.#ranges = ranges;
    this.#stateEnd = end;
    this.#replaceArena(arena, end);
  }

  #replaceArena(arena: EngineMemory, bytes: number): void {
    this.#release();
    this.#arena = arena;
    this.#arenaBytes = bytes;
  }

  /** The arena and all that was loaded over it. */
  #release(): void {
    for (const { program } of this.#plans.values()) program.release?.();
    this.#epochProgram?.release?.();
    this.#arena?.release();
    this.#plans.clear();
    this.#epochProgram = undefined;
    this.#controlView = undefined;
  }

  /** @param writes whether what comes writes moments or directions */
  #reserve(bytes: number, writes: boolean): void {
    const used = this.#momentsUsed;
    this.#momentsUsed ||= writes;
    if (bytes <= this.#arenaBytes) return;
    const arena = this.engine.allocate(bytes);
    const old = this.#memory.bytes();
    // All but gradients, which every plan writes before it reads them, and zeros: a page that is read takes memory.
    const gradients = this.#ranges.get('g');
    const [from, to] = gradients ? [gradients.offset, gradients.offset + gradients.bytes(1)] : [this.#stateEnd, this.#stateEnd];
    arena.bytes().set(old.subarray(0, from));
    if (used) arena.bytes().set(old.subarray(to, this.#stateEnd), to);
    this.#replaceArena(arena, bytes);
  }

  /** Gives weights their first values, drawn from the model's seed; those without an initialiser stay, and what is pruned stays 0. */
  initialize(initializers: Architecture['initializers']): void {
    const plan = new Plan(this.engine.ops, 1, false);
    this.parameters.forEach((parameter, stream) => {
      initializers.get(parameter)?.record(plan, { y: parameter.value, shape: parameter.shape, stream, state: this.#seed });
    });
    plan.finish(this.#stateEnd, { fuse: false });
    const program = this.#load(plan);
    program.run(0, plan.instructions.length, 0, 0, 0);
    program.release?.();
    for (const [parameter, { values = this.floats(parameter.value) }] of initializers) this.setWeight(parameter, values);
  }

  /** Lets the memory go; whatever comes after is an error. */
  dispose(): void {
    this.#release();
    this.#arena = undefined;
  }
}

function setColumns(columns: Float32Array, given: number | readonly number[], as: (value: number) => number): void {
  if (typeof given === 'number') columns.fill(as(given));
  else given.forEach((value, i) => (columns[i] = as(value)));
}
