// sequential(…): the public model. It checks what users pass, keeps calls in order, and hands them on: jobs.ts runs plans over
// data, fit.ts loops over epochs, runtime.ts holds the memory, saving.ts the file.
import { architecture } from './architecture.js';
import { DataSets, MemoryPool, readFloats } from './dataset.js';
import { engine } from './engine.js';
import { GradmillError } from './errors.js';
import { type FitOptions, type History, prepareFit, runFit } from './fit.js';
import { type Evaluation, Jobs, WIDEST_BATCH } from './jobs.js';
import type { Layer } from './layers/layer.js';
import { type LossName, type LossOptions, resolveLoss } from './losses.js';
import { isOptimizer, type Optimizer } from './optimizers.js';
import { checkOptions, checkPath, flag, list, oneOf, show, size, wholeNumber } from './options.js';
import { copyMasks } from './masks.js';
import type { Plan } from './plan.js';
import { checkFiles } from './platform.js';
import { prepareProfile, type Profile, type ProfileOptions, runProfile } from './profile.js';
import { CallQueue } from './queue.js';
import { Runtime } from './runtime.js';
import { checkMetadata, type ModelConfig, type ModelContent, saveModel, serializeModel } from './saving.js';
import { checkScaling, type InputScaling } from './scaling/input-scaling.js';
import type { Scaler } from './scaling/scaler.js';
import { summaryOf } from './summary.js';
import { flattened, type FloatTensor, isDetached, isFloats, overlaps, type Rows, type TensorInput, zeroed } from './tensor.js';
import { checkWeights, type NamedTensor, type Weight, type WeightInput } from './weights.js';

/** What predictSync keeps of its data between calls. */
const NOTHING: readonly unknown[] = [];

export interface SequentialOptions {
  /** Shape of one example; its sizes multiply to the first layer's inputs. */
  readonly inputShape: readonly number[];
  /** At least one. */
  readonly layers: readonly Layer[];
  /** Decides initial weights and shuffling. A whole number, default 0. */
  readonly seed?: number;
  /**
   * x becomes (x − mean) / standardDeviation as it is read; saved with the model. One number, or one for each input; or a fitted
   * scaler: `new Standardizer().fit(x)`, `minMaxScaler().fit(x)`, `robustScaler().fit(x)`. Default: none.
   */
  readonly inputScaling?: InputScaling | Scaler;
}

export interface CompileOptions {
  readonly optimizer: Optimizer;
  readonly loss: LossName | LossOptions;
  /** 'accuracy': share of rows whose largest output is the target's; a single output counts as 1 above ½ (a logit above 0). Default: none. */
  readonly metrics?: readonly 'accuracy'[];
  /** The most threads for this model: short steps are left to one where others do not pay. Default: backend().threads, and never more. Results do not depend on it. */
  readonly threads?: number;
  /** The same bits on every instruction set, at some cost in speed. Default: backend().strict. */
  readonly strict?: boolean;
  /** Merge neighbouring instructions. Default true; false is for those who study plans. */
  readonly fuse?: boolean;
}

export interface Gradients {
  readonly loss: number;
  /** ∂loss/∂x, of x after input scaling. */
  readonly inputGradient: FloatTensor;
  /** ∂loss/∂y of each layer's output, in layer order. */
  readonly lossGradients: FloatTensor[];
  /** ∂loss/∂w of each trainable weight, in layer order. */
  readonly weights: NamedTensor[];
}

let recognise: (given: unknown) => boolean;
let duplicate: typeof copyOf;
let enqueue: (model: Sequential, call: (jobs: Jobs, memory: DataSets) => Promise<unknown>) => Promise<unknown>;

/**
 * The asynchronous calls of a model run one at a time, in the order they were made; their arguments are checked, and wrong
 * ones rejected, when the call is made. Until all have settled the model is busy: the calls that return at once
 * (predictSync, weights, setWeights, compile, dispose) throw 'busy' rather than come before a call that was made earlier.
 * While fit awaits onBatch or onEpoch, the model is free for all but compile and dispose. Work of less than about 0.1 ms — a prediction,
 * a step, an evaluation, gradients of a small network — is done on the calling thread, as waking the engine's takes as long, until that adds
 * up to a millisecond in one turn of the event loop; a prediction that nothing comes before is made when the call is made.
 */
export class Sequential {
  static {
    recognise = (given) => #queue in Object(given);
    enqueue = async (model, call) => {
      checkModel(model);
      model.#refuseDisposed();
      return model.#enqueue((memory) => call(model.#jobs, memory));
    };
    duplicate = (model, changes = {}, { scaled = true } = {}) => {
      model.#refuseDisposed();
      const { layers, parameters, training } = model.#runtime;
      const { inputScaling, ...config } = model.#config;
      const scaling = scaled && inputScaling !== undefined ? { inputScaling } : {};
      const copy = new Sequential({ ...config, ...scaling, layers: layers.map(({ layer }) => layer) });
      parameters.forEach(({ value }, i) => {
        copy.#runtime.floats(copy.#runtime.parameters[i].value).set(model.#runtime.floats(value));
      });
      const masks = model.#runtime.trainable.flatMap((weight, i) => {
        const mask = model.#runtime.maskOf(weight);
        return mask ? [[copy.#runtime.trainable[i], mask.slice()] as const] : [];
      });
      copy.#runtime.setMasks(new Map(masks));
      if (training) {
        const { optimizer, loss, accuracy, threads, strict, fuse } = training;
        copy.compile({ optimizer, loss: loss.config, metrics: accuracy ? ['accuracy'] : [], threads, strict, fuse, ...changes });
      }
      return copy;
    };
  }

  /** Free text saved with the model; what loadModel read. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #config: Pick<ModelConfig, 'inputShape' | 'seed' | 'inputScaling'>;
  readonly #runtime: Runtime;
  readonly #jobs: Jobs;
  readonly #queue = new CallQueue();
  readonly #memory: MemoryPool;
  /** As a model file stores it. */
  #training: ModelConfig['training'];
  #disposed = false;
  /** What predictSync works with: nothing is allocated when `out` is given. */
  readonly #synchronous: { readonly rows: Rows; result: FloatTensor | undefined } = {
    rows: { what: 'x', data: NOTHING, rows: 0, columns: 0, type: 0 },
    result: undefined,
  };

  /** Use sequential(). */
  constructor(options: SequentialOptions, metadata: Readonly<Record<string, string>> = {}) {
    const {
      inputShape,
      layers,
      seed = 0,
      inputScaling,
    } = checkOptions('sequential', options, ['inputShape', 'layers', 'seed', 'inputScaling']);
    const parts = architecture(inputShape, layers);
    const scaling = inputScaling === undefined ? undefined : checkScaling(inputScaling, parts.columns);
    this.#config = { inputShape: parts.inputShape, seed: wholeNumber('sequential: seed', seed), inputScaling: scaling };
    this.metadata = Object.freeze({ ...metadata });
    this.#runtime = new Runtime(engine(), parts, seed, scaling);
    this.#jobs = new Jobs(this.#runtime);
    this.#memory = new MemoryPool(this.#runtime.engine);
  }

  /**
   * Chooses optimizer and loss; weights stay as they are, the optimizer and the epochs of shuffling start afresh.
   * @throws GradmillError 'invalid-argument', 'unknown-name', 'out-of-memory', 'busy', 'disposed'; nothing is changed then
   */
  compile(options: CompileOptions): void {
    const { threads: most, strict: usual } = this.#runtime.engine;
    const {
      optimizer,
      loss,
      metrics = [],
      threads = most,
      strict = usual,
      fuse = true,
    } = checkOptions('compile', options, ['optimizer', 'loss', 'metrics', 'threads', 'strict', 'fuse']);
    if (!isOptimizer(optimizer))
      throw new GradmillError(
        'invalid-argument',
        `compile: optimizer: expected sgd(…), adam(…) or another optimizer, got ${show(optimizer)}`,
      );
    const wanted = list('compile: metrics', metrics).map((name) => oneOf('metric', name, ['accuracy']));
    const training = {
      optimizer,
      loss: resolveLoss(loss),
      accuracy: wanted.length > 0,
      threads: Math.min(wholeNumber('compile: threads', threads, 1, 1024), most),
      strict: flag('compile: strict', strict),
      fuse: flag('compile: fuse', fuse),
    };
    this.#refuseWhile('compile', this.#queue.unfinished);
    this.#runtime.compile(training);
    this.#training = { optimizer: optimizer.config, loss: training.loss.config, metrics: wanted };
    this.#jobs.forgetPlan();
  }

  /**
   * Trains for some epochs on the engine's threads. Rows are copied once, in the type they have; a typed array of more than
   * 256 MiB is read throughout instead, here and in evaluate and predict, and must not change until the call has settled.
   *
   * Rejects with `signal.reason` itself when aborted, with what a callback threw, or with GradmillError: 'diverged' when a
   * loss or weight stops being finite (within a step; the message names it and the first tensor), 'non-finite-input' and
   * 'label-out-of-range' (found before a weight changes), 'shape-mismatch', 'empty-data', 'buffer-detached',
   * 'invalid-argument', 'unknown-name', 'not-compiled', 'file-io' (of `log`), 'out-of-memory', 'size-overflow', 'disposed'. The
   * model stays usable; weights are those of the last step done.
   */
  async fit(x: TensorInput, y: TensorInput, options: FitOptions = {}): Promise<History> {
    this.#refuseDisposed();
    const fit = prepareFit(this.#jobs, x, y, options);
    return this.#enqueue((memory) => runFit(this.#jobs, memory, fit, (run, signal) => this.#queue.callback(run, signal)), fit.signal);
  }

  /**
   * Loss (and accuracy) over all rows, exactly.
   * @param options batchSize: rows read at a time, default 256; the result does not depend on it but for rounding
   * Rejects as fit does for its data, and 'diverged' for a loss that is not finite.
   */
  async evaluate(x: TensorInput, y: TensorInput, options: { readonly batchSize?: number } = {}): Promise<Evaluation> {
    this.#refuseDisposed();
    const { batchSize = WIDEST_BATCH } = checkOptions('evaluate', options, ['batchSize']);
    const most = size('evaluate: batchSize', batchSize);
    const examples = this.#jobs.examples('', x, y);
    return this.#enqueue(async (memory) => {
      const { rows, kind, ...sets } = await this.#jobs.load(examples, memory);
      this.#runtime.resetTotals();
      await this.#jobs.run(`evaluate:${kind}`, Math.min(rows, most), sets, { rows, atOnce: true });
      return this.#jobs.evaluation;
    });
  }

  /** One step on one batch: forward, loss, backward, update. The loss is the one before the update. Rejects as fit does. */
  async trainOnBatch(x: TensorInput, y: TensorInput): Promise<Evaluation> {
    this.#refuseDisposed();
    const examples = this.#jobs.examples('', x, y);
    this.#jobs.checkBatches('trainOnBatch', examples.rows, examples.rows);
    return this.#enqueue(async (memory) => {
      const { rows, kind, ...sets } = await this.#jobs.load(examples, memory);
      this.#runtime.resetTotals();
      await this.#jobs.run(`train:${kind}`, rows, sets, { rows, atOnce: true });
      return this.#jobs.evaluation;
    });
  }

  /**
   * What the last layer gives: logits, or probabilities where its activation makes them. Shape [rows, units].
   * Rejects with GradmillError 'shape-mismatch', 'non-finite-input', 'invalid-argument', 'buffer-detached', 'out-of-memory',
   * 'size-overflow', 'disposed'.
   */
  async predict(x: TensorInput): Promise<FloatTensor> {
    this.#refuseDisposed();
    const input = this.#jobs.inputRows('x', x);
    const { rows } = input;
    const { units } = this.#runtime;
    if (rows === 0) return { data: new Float32Array(0), shape: [0, units] };
    const brief = this.#queue.busy ? undefined : this.#jobs.predictBrief(input);
    if (brief) return { data: brief, shape: [rows, units] };
    return this.#enqueue(async (memory) => {
      const output = memory.output(rows, units);
      await this.#jobs.run('predict', Math.min(rows, WIDEST_BATCH), { x: await memory.load(input), output }, { rows, atOnce: true });
      return { data: await readFloats(output), shape: [rows, units] };
    });
  }

  /**
   * The same on the calling thread, natively helped by the others where a batch is large: no promise. With `out`, at least
   * [rows · units] floats that do not overlap x, the result's data is `out`, and nothing is allocated for a typed x (in WebAssembly: of up to
   * 4 MiB): calls with the same `out` return the same object.
   * @throws GradmillError 'busy', 'disposed', 'shape-mismatch', 'non-finite-input', 'invalid-argument', 'unknown-name',
   * 'buffer-detached', 'out-of-memory', 'size-overflow'
   */
  predictSync(x: TensorInput, options?: { readonly out?: Float32Array }): FloatTensor {
    this.#refuseWhile('predictSync', this.#queue.busy);
    const out = options === undefined ? undefined : outOf(options);
    const shared = this.#synchronous.rows;
    try {
      const input = this.#jobs.inputRows('x', x, shared);
      const numbers = flattened(input);
      const { rows } = input;
      const { units } = this.#runtime;
      const data = out ?? zeroed('predictSync', Float32Array, rows * units);
      if (data.length < rows * units) {
        if (isDetached(data)) throw new GradmillError('buffer-detached', 'predictSync: out: its buffer was transferred');
        throw new GradmillError('shape-mismatch', `predictSync: out holds ${data.length} numbers, the prediction ${rows} × ${units}`);
      }
      if (overlaps(data, numbers)) throw new GradmillError('invalid-argument', 'predictSync: out must not share memory with x');
      if (rows > 0) this.#jobs.predictHere(input, numbers, data);
      if (out === undefined) return { data, shape: [rows, units] };
      const known = this.#synchronous.result;
      if (known?.data === out && known.shape[0] === rows) return known;
      return (this.#synchronous.result = { data, shape: [rows, units] });
    } finally {
      shared.data = NOTHING;
    }
  }

  /**
   * Gradients of the batch's loss at every weight, every layer's output and the input; nothing is updated. Rejects as fit does;
   * 'invalid-argument' also for a layer that records no backward rule.
   */
  async gradients(x: TensorInput, y: TensorInput): Promise<Gradients> {
    this.#refuseDisposed();
    const examples = this.#jobs.examples('', x, y);
    this.#jobs.checkBatches('gradients', examples.rows, examples.rows);
    return this.#enqueue(async (memory) => {
      const runtime = this.#runtime;
      const { rows, kind, ...sets } = await this.#jobs.load(examples, memory);
      await this.#jobs.run(`gradients:${kind}`, rows, sets, { rows, atOnce: true });
      const [inputGradient, ...rest] = runtime.lossGradients(runtime.plan(`gradients:${kind}`, rows)).map((tensor) => ({
        data: runtime.floats(tensor, rows).slice(),
        shape: [rows, tensor.elements(1)],
      }));
      const weights = runtime.trainable.map(({ name, shape, grad }) => ({ name, shape: [...shape], data: runtime.floats(grad).slice() }));
      return { loss: runtime.batchLoss, inputGradient, lossGradients: rest, weights };
    });
  }

  /**
   * Where the time of a training step goes, instruction by instruction: `console.log(String(await model.profile(x, y)))`. Real steps on
   * batches of the rows given, in an order of their own and without a last batch that is not full, by a copy of the model that is
   * compiled alike: the model does not change. What is timed are the same instructions with the same bits as in fit. The first profile
   * of a process also measures the machine's limits, for a second.
   * Rejects as fit does, also for rows and steps that train badly: 'diverged'.
   */
  async profile(x: TensorInput, y: TensorInput, options: ProfileOptions = {}): Promise<Profile> {
    this.#refuseDisposed();
    const profile = prepareProfile(this.#jobs, x, y, options);
    return this.#enqueue(async (memory) => {
      const { threads } = profile;
      const copy = duplicate(this, threads === undefined ? {} : { threads });
      try {
        return await runProfile(copy.#jobs, memory, profile);
      } finally {
        copy.dispose();
      }
    });
  }

  /** Copies of all weights in layer order, those that are not trainable too. @throws GradmillError 'busy', 'disposed' */
  get weights(): Weight[] {
    this.#refuseWhile('weights', this.#queue.busy);
    return this.#copyWeights();
  }

  #copyWeights(): Weight[] {
    return this.#runtime.parameters.map(({ name, shape, value, trainable }) => ({
      name,
      shape: [...shape],
      data: this.#runtime.floats(value).slice(),
      trainable,
    }));
  }

  /**
   * Replaces weights, by name; those not given stay, and so do the optimizer's moments. What is pruned stays 0.
   * @throws GradmillError 'unknown-name', 'shape-mismatch', 'non-finite-input', 'invalid-argument', 'busy', 'disposed'; nothing is changed then
   */
  setWeights(weights: readonly WeightInput[]): void {
    this.#refuseWhile('setWeights', this.#queue.busy);
    for (const { parameter, data } of checkWeights(weights, this.#runtime.parameters)) this.#runtime.setWeight(parameter, data);
  }

  /** A table of layers, output shapes and weights. */
  summary(): string {
    return summaryOf(this.#config.inputShape, this.#runtime.layers);
  }

  /** The plan last run, or else the one a step would run: print it with toString(). @throws GradmillError 'disposed' */
  get plan(): Plan {
    this.#refuseDisposed();
    return this.#jobs.plan;
  }

  /**
   * Writes a safetensors file, atomically: weights named `layer/kernel`, their masks `layer/kernel.mask`, architecture, loss and optimizer (not its moments) in
   * its metadata. In line behind calls made before; from onBatch or onEpoch it saves the weights of that moment.
   * @param options metadata: free text, default what loadModel read
   * Rejects with GradmillError 'file-io' (also where there are no files), 'invalid-argument', 'unknown-name', 'size-overflow', 'disposed',
   * and 'diverged' for weights that are not finite.
   */
  async save(path: string, options: { readonly metadata?: Readonly<Record<string, string>> } = {}): Promise<void> {
    this.#refuseDisposed();
    const { metadata = this.metadata } = checkOptions('save', options, ['metadata']);
    const [target, text] = [checkPath('save', path), checkMetadata('save', metadata)];
    const files = checkFiles('save', 'serialize() gives the bytes');
    return this.#enqueue(() => saveModel(files, target, this.#content(text)));
  }

  /**
   * The bytes of the file that save would write, for loadModel: where there are no files, or for another store. In line as save.
   * @param options metadata: free text, default what loadModel read
   * Rejects with GradmillError 'invalid-argument', 'disposed', 'out-of-memory', and 'diverged' for weights that are not finite.
   */
  async serialize(options: { readonly metadata?: Readonly<Record<string, string>> } = {}): Promise<Uint8Array> {
    this.#refuseDisposed();
    const { metadata = this.metadata } = checkOptions('serialize', options, ['metadata']);
    const text = checkMetadata('serialize', metadata);
    return this.#enqueue(() => Promise.resolve(serializeModel(this.#content(text))));
  }

  #content(metadata: Readonly<Record<string, string>>): ModelContent {
    const layers = this.#runtime.layers.map(({ name, layer }) => ({ kind: layer.kind, name, ...layer.config }));
    return {
      config: { ...this.#config, layers, training: this.#training },
      weights: this.#copyWeights(),
      masks: copyMasks(this.#runtime),
      metadata,
    };
  }

  /**
   * Lets go of the model's memory without waiting until the model itself is collected. Optional; a second time it does nothing.
   * @throws GradmillError 'busy'
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#refuseWhile('dispose', this.#queue.unfinished);
    this.#disposed = true;
    this.#runtime.dispose();
    this.#memory.clear();
  }

  /** Runs a call in its turn, with memory for its data sets. */
  #enqueue<T>(call: (memory: DataSets) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#queue.add(async () => {
      const memory = new DataSets(this.#memory);
      try {
        return await call(memory);
      } finally {
        memory.release();
      }
    }, signal);
  }

  #refuseWhile(call: string, busy: boolean): void {
    this.#refuseDisposed();
    if (busy) throw new GradmillError('busy', `${call}: the model has calls that are not finished; await them first`);
  }

  #refuseDisposed(): void {
    if (this.#disposed) throw new GradmillError('disposed', 'the model was disposed');
  }
}

/** A model, and nothing that only looks like one. @param what of the message, with a colon and a space; @throws GradmillError 'invalid-argument' */
export function checkModel(given: unknown, what = ''): void {
  if (!recognise(given)) throw new GradmillError('invalid-argument', `${what}expected a model, got ${show(given)}`);
}

/**
 * A call of another module (diagnostics, pruning) on a model, in line behind calls made before.
 * @throws nothing: rejects with what `call` throws, or GradmillError 'disposed', 'invalid-argument' for what is no model
 */
export function callOn<T>(model: Sequential, call: (jobs: Jobs, memory: DataSets) => Promise<T>): Promise<T> {
  return enqueue(model, call) as Promise<T>;
}

/**
 * Another model of the same layers and weights, compiled alike but for `changes`: to experiment on. Its optimizer and the draws
 * of its epochs start afresh. Within a call of callOn, so that no call of the model is running.
 * @param options scaled: false leaves the input scaling out
 * @throws GradmillError 'disposed', 'out-of-memory'
 */
export function copyOf(model: Sequential, changes?: Partial<CompileOptions>, options?: { readonly scaled?: boolean }): Sequential {
  return duplicate(model, changes, options);
}

/** predictSync's options, read without allocating. */
function outOf(options: { readonly out?: Float32Array }): Float32Array | undefined {
  if (typeof options !== 'object' || (options as unknown) === null || Array.isArray(options)) checkOptions('predictSync', options, ['out']);
  for (const name in options) if (name !== 'out') checkOptions('predictSync', options, ['out']);
  const { out } = options;
  if (out !== undefined && !isFloats(out))
    throw new GradmillError('invalid-argument', `predictSync: out: expected a Float32Array, got ${show(out)}`);
  return out;
}

/**
 * A network of layers in a row.
 * @throws GradmillError 'invalid-argument', 'unknown-name', 'shape-mismatch', 'size-overflow', 'out-of-memory', 'backend-unavailable'
 */
export function sequential(options: SequentialOptions): Sequential {
  return new Sequential(options);
}
