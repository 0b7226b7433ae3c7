// sequential(…): the public model. It checks what users pass, keeps calls in order, and turns them into runs of plans;
// runtime.ts holds the memory, fit.ts the loop over epochs, saving.ts the file.
import type { Layer } from './layers/layer.js';
import { type DataSet, blankDataSet, copyDataSet, feed } from './dataset.js';
import { engine } from './engine.js';
import { GradmillError } from './errors.js';
import { type FitOptions, type History, runFit } from './fit.js';
import { type LossName, type LossOptions, resolveLoss } from './losses.js';
import type { Optimizer } from './optimizers.js';
import { checkOptions, finiteNumber, flag, oneOf, show, wholeNumber } from './options.js';
import { FEED, type Plan } from './plan.js';
import { type PlanKind, Runtime, type TargetKind } from './runtime.js';
import { saveModel } from './saving.js';
import { elementType, type FloatTensor, type NumericArray, type Rows, type TensorInput, toRows } from './tensor.js';

export interface SequentialOptions {
  /** Shape of one example; its sizes multiply to the first layer's inputs. */
  readonly inputShape: readonly number[];
  readonly layers: readonly Layer[];
  /** Decides initial weights and shuffling. A whole number, default 0. */
  readonly seed?: number;
  /** x becomes (x − mean) / standardDeviation as it is read; saved with the model. One number, or one for each input. */
  readonly inputScaling?: InputScaling;
}

export interface InputScaling {
  readonly mean: number | readonly number[];
  readonly standardDeviation: number | readonly number[];
}

export interface CompileOptions {
  readonly optimizer: Optimizer;
  readonly loss: LossName | LossOptions;
  /** 'accuracy': share of rows whose largest output is the target's; a single output counts as 1 above ½ (a logit above 0). */
  readonly metrics?: readonly 'accuracy'[];
  /** Native threads for this model. Default: backend().threads. Results do not depend on it. */
  readonly threads?: number;
  /** The same bits on every instruction set, at some cost in speed. Default: backend().strict. */
  readonly strict?: boolean;
  /** Merge neighbouring instructions. Default true; false is for those who study plans. */
  readonly fuse?: boolean;
}

export interface Evaluation {
  loss: number;
  accuracy?: number;
}

export interface NamedTensor {
  readonly name: string;
  readonly shape: number[];
  readonly data: Float32Array;
}

export interface Weight extends NamedTensor {
  readonly trainable: boolean;
}

export interface Gradients {
  readonly loss: number;
  /** ∂loss/∂x, of x after input scaling. */
  readonly inputGradient: FloatTensor;
  /** ∂loss/∂y of each layer's output, in layer order. */
  readonly lossGradients: FloatTensor[];
  readonly weights: NamedTensor[];
}

/** Rows a plan for prediction or evaluation holds at most: larger batches gain nothing. */
const WIDEST_BATCH = 256;

export class Sequential {
  /** Free text saved with the model; what loadModel read. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #options: SequentialOptions;
  readonly #runtime: Runtime;
  #compiled: Required<Pick<CompileOptions, 'optimizer' | 'loss'>> & { readonly metrics: readonly 'accuracy'[] } | undefined;
  /** Calls wait for the one before; a callback of a running fit has a queue of its own. */
  #tail: Promise<unknown> = Promise.resolve();
  #running = false;
  #disposed = false;
  #lastPlan: Plan | undefined;

  /** Use sequential(). */
  constructor(options: SequentialOptions, metadata: Readonly<Record<string, string>> = {}) {
    checkOptions('sequential', options, ['inputShape', 'layers', 'seed', 'inputScaling']);
    const { inputShape, layers } = options;
    if (!Array.isArray(inputShape) || inputShape.length === 0)
      throw new GradmillError('invalid-argument', `sequential: inputShape: expected an array of sizes, got ${show(inputShape)}`);
    const columns = (inputShape as readonly number[]).reduce((all, size) => all * wholeNumber('sequential: inputShape', size, 1), 1);
    if (columns > 0x7fffffff) throw new GradmillError('size-overflow', `sequential: inputShape [${inputShape.join(', ')}] is too large`);
    if (!Array.isArray(layers) || layers.length === 0) throw new GradmillError('invalid-argument', `sequential: layers: expected at least one layer, got ${show(layers)}`);
    (layers as readonly unknown[]).forEach((layer, i) => {
      if (typeof layer !== 'object' || layer === null || !('build' in layer))
        throw new GradmillError('invalid-argument', `sequential: layers[${String(i)}]: expected a layer such as dense({ units }), got ${show(layer)}`);
    });
    const seed = wholeNumber('sequential: seed', options.seed ?? 0);
    this.#options = options;
    this.metadata = metadata;
    this.#runtime = new Runtime(engine(), columns, layers, [seed >>> 0, Math.floor(seed / 2 ** 32)], scalingOf(options.inputScaling, columns));
  }

  /**
   * Chooses optimizer and loss; weights stay as they are, the optimizer starts afresh.
   * @throws GradmillError 'invalid-argument', 'unknown-name', 'out-of-memory', 'busy' while a call runs
   */
  compile(options: CompileOptions): void {
    checkOptions('compile', options, ['optimizer', 'loss', 'metrics', 'threads', 'strict', 'fuse']);
    this.#refuseWhileRunning('compile');
    const { optimizer, metrics = [] } = options;
    if (typeof optimizer !== 'object' || (optimizer as unknown) === null || !('hyper' in optimizer))
      throw new GradmillError('invalid-argument', `compile: optimizer: expected sgd(…), adam(…) or another optimizer, got ${show(optimizer)}`);
    if (!Array.isArray(metrics)) throw new GradmillError('invalid-argument', `compile: metrics: expected an array of names, got ${show(metrics)}`);
    metrics.forEach(name => oneOf('metric', name, ['accuracy']));
    const loss = resolveLoss(options.loss);
    const { threads, strict } = engine();
    this.#runtime.compile({
      optimizer,
      loss,
      accuracy: metrics.length > 0,
      threads: wholeNumber('compile: threads', options.threads ?? threads, 1, 1024),
      strict: flag('compile: strict', options.strict ?? strict),
      fuse: flag('compile: fuse', options.fuse ?? true),
    });
    this.#compiled = { optimizer, loss: loss.config, metrics };
    this.#lastPlan = undefined;
  }

  /**
   * Trains for some epochs on native threads. Rows are copied once, in the type they have.
   * Rejects with `signal.reason` when aborted (the model stays usable), GradmillError 'diverged' when a loss or weight stops
   * being finite, 'non-finite-input', 'label-out-of-range', 'shape-mismatch', 'empty-data', 'not-compiled' …
   */
  fit(x: TensorInput, y: TensorInput, options: FitOptions = {}): Promise<History> {
    return this.#enqueue(() =>
      runFit(x, y, options, {
        runtime: this.#runtime,
        targetKind: rows => this.#targetKind(rows),
        inputRows: input => this.#inputRows(input),
        run: (kind, batch, sets, range) => this.#run(kind, batch, sets, range),
        callback: call => this.#callback(call),
        evaluation: () => this.#evaluation(),
      }),
    );
  }

  /** Loss (and accuracy) over all rows, exactly. */
  evaluate(x: TensorInput, y: TensorInput, options: { readonly batchSize?: number } = {}): Promise<Evaluation> {
    return this.#enqueue(async () => {
      checkOptions('evaluate', options, ['batchSize']);
      const { sets, rows, kind } = await this.#examples(x, y);
      const batch = Math.min(rows, wholeNumber('evaluate: batchSize', options.batchSize ?? WIDEST_BATCH, 1));
      this.#resetTotals();
      await this.#run(`evaluate:${kind}`, batch, sets, { rows });
      return this.#evaluation();
    });
  }

  /** One step on one batch: forward, loss, backward, update. The loss is the one before the update. */
  trainOnBatch(x: TensorInput, y: TensorInput): Promise<Evaluation> {
    return this.#enqueue(async () => {
      const { sets, rows, kind } = await this.#examples(x, y);
      this.#resetTotals();
      await this.#run(`train:${kind}`, rows, sets, { rows });
      return this.#evaluation();
    });
  }

  /** What the last layer gives: logits, or probabilities where its activation makes them. */
  predict(x: TensorInput): Promise<FloatTensor> {
    return this.#enqueue(async () => {
      const input = this.#inputRows(x);
      const { units, engine } = this.#runtime;
      if (input.rows === 0) return { data: new Float32Array(0), shape: [0, units] };
      const output = blankDataSet(engine, Float32Array, input.rows, units);
      const set = await copyDataSet(engine, 'x', input);
      await this.#run('predict', Math.min(input.rows, WIDEST_BATCH), { x: set, output }, { rows: input.rows });
      const bytes = output.memory.bytes();
      return { data: new Float32Array(bytes.buffer, bytes.byteOffset, input.rows * units).slice(), shape: [input.rows, units] };
    });
  }

  /**
   * The same on the calling thread: no promise, and no allocation when `out` ([rows · units] floats) is given.
   * @throws GradmillError 'busy' while another call of this model runs
   */
  predictSync(x: TensorInput, options: { readonly out?: Float32Array } = {}): FloatTensor {
    const { out } = options;
    if (!(out === undefined || out instanceof Float32Array)) throw new GradmillError('invalid-argument', `predictSync: out: expected a Float32Array, got ${show(out)}`);
    this.#refuseWhileRunning('predictSync');
    const { data, rows } = this.#inputRows(x);
    const { units, columns } = this.#runtime;
    const result = out ?? new Float32Array(rows * units);
    if (result.length < rows * units)
      throw new GradmillError('shape-mismatch', `predictSync: out holds ${String(result.length)} numbers, the prediction ${String(rows)} × ${String(units)}`);
    if (rows > 0) {
      const batch = Math.min(rows, WIDEST_BATCH);
      const { plan, program } = this.#runtime.plan('predict', batch);
      this.#runtime.clearControl();
      if (!program.predict(0, plan.instructions.length, rows, batch, data, columns, result, units)) throw this.#faultError('predict', data);
    }
    return { data: result, shape: [rows, units] };
  }

  /** Gradients of the batch's loss at every weight, every layer's output and the input; nothing is updated. */
  gradients(x: TensorInput, y: TensorInput): Promise<Gradients> {
    return this.#enqueue(async () => {
      const { sets, rows, kind } = await this.#examples(x, y);
      await this.#run(`gradients:${kind}`, rows, sets, { rows });
      const { lossGradients } = this.#runtime.plan(`gradients:${kind}`, rows);
      const [inputGradient, ...rest] = lossGradients.map(tensor => {
        const units = tensor.shape[1] as number;
        return { data: this.#runtime.floats(tensor, rows).slice(), shape: [rows, units] };
      });
      const weights = this.#runtime.parameters.map(({ name, shape, grad }) => ({ name, shape: [...shape], data: this.#runtime.floats(grad).slice() }));
      return { loss: this.#runtime.batchLoss, inputGradient: inputGradient!, lossGradients: rest, weights };
    });
  }

  /** Copies of all weights in layer order. @throws GradmillError 'busy' while a call of this model runs */
  get weights(): Weight[] {
    this.#refuseWhileRunning('weights');
    return this.#runtime.parameters.map(({ name, shape, value }) => ({
      name,
      shape: [...shape],
      data: this.#runtime.floats(value).slice(),
      trainable: true,
    }));
  }

  /**
   * Replaces weights, by name; those not given stay.
   * @throws GradmillError 'unknown-name', 'shape-mismatch', 'non-finite-input', 'busy'; nothing is changed then
   */
  setWeights(weights: readonly { readonly name: string; readonly shape?: readonly number[]; readonly data: ArrayLike<number> }[]): void {
    this.#refuseWhileRunning('setWeights');
    if (!Array.isArray(weights)) throw new GradmillError('invalid-argument', `setWeights: expected an array of { name, data }, got ${show(weights)}`);
    const names = this.#runtime.parameters.map(({ name }) => name);
    const checked = (weights as Parameters<Sequential['setWeights']>[0]).map(({ name, shape, data }) => {
      const parameter = this.#runtime.parameters[names.indexOf(oneOf('weight', name, names))]!;
      const wanted = parameter.shape.join(', ');
      const elements = parameter.shape.reduce((all, size) => all * size, 1);
      if (data?.length !== elements || (shape !== undefined && shape.join(', ') !== wanted))
        throw new GradmillError('shape-mismatch', `setWeights: '${name}' has shape [${wanted}], got ${shape ? `[${shape.join(', ')}]` : `${String(data?.length)} numbers`}`);
      for (let i = 0; i < data.length; i++)
        if (!Number.isFinite(data[i])) throw new GradmillError('non-finite-input', `setWeights: '${name}' element ${String(i)} is ${String(data[i])}`);
      return { parameter, data };
    });
    for (const { parameter, data } of checked) this.#runtime.floats(parameter.value).set(data);
  }

  /** A table of layers, output shapes and weights. */
  summary(): string {
    const rows = this.#runtime.layers.map(({ name, layer, built, parameters }) => {
      const count = parameters.reduce((all, { shape }) => all + shape.reduce((product, size) => product * size, 1), 0);
      const activation = layer.config.activation;
      const kind = typeof activation === 'string' && activation !== 'linear' ? `${layer.kind} (${activation})` : layer.kind;
      return { cells: [name, kind, `[batch, ${String(built.units)}]`, count.toLocaleString('en')], count };
    });
    const table = [['layer', 'kind', 'output', 'weights'], ...rows.map(({ cells }) => cells)];
    const widths = [0, 1, 2, 3].map(column => Math.max(...table.map(cells => cells[column]!.length)));
    const line = (cells: string[]) => cells.map((cell, i) => (i === 3 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join('   ');
    const rule = '─'.repeat(widths.reduce((all, width) => all + width, 9));
    const total = rows.reduce((all, { count }) => all + count, 0).toLocaleString('en');
    return [`input [${this.#options.inputShape.join(', ')}]`, line(table[0]!), rule, ...table.slice(1).map(line), rule, `${total} weights`].join('\n');
  }

  /** The plan last run, or else the one a step would run: print it with toString(). */
  get plan(): Plan {
    if (this.#lastPlan) return this.#lastPlan;
    const loss = this.#runtime.training?.loss;
    return this.#runtime.plan(loss ? `train:${loss.classes ? 'labels' : 'rows'}` : 'predict', 32).plan;
  }

  /**
   * Writes a safetensors file, atomically: weights named `layer/kernel`, the architecture in its metadata.
   * @throws GradmillError 'file-io'
   */
  save(path: string, options: { readonly metadata?: Readonly<Record<string, string>> } = {}): Promise<void> {
    return this.#enqueue(async () => {
      checkOptions('save', options, ['metadata']);
      const layers = this.#runtime.layers.map(({ name, layer }) => ({ kind: layer.kind, name, ...layer.config }));
      const { inputShape, seed = 0, inputScaling } = this.#options;
      const training = this.#compiled && { ...this.#compiled, optimizer: this.#compiled.optimizer.config };
      await saveModel(path, { inputShape, seed, inputScaling, layers, training }, this.weights, options.metadata ?? this.metadata);
    });
  }

  /** Lets the memory go at once. Optional: a model that is no longer referenced is collected with its memory. */
  dispose(): void {
    this.#refuseWhileRunning('dispose');
    this.#disposed = true;
    this.#runtime.dispose();
  }

  // ── Order ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #enqueue<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(() => {
      this.#refuseDisposed();
      return call();
    });
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** Runs a user's callback inside a fit: calls that it makes on this model run now, not after the fit. */
  async #callback(call: () => unknown): Promise<void> {
    const outer = this.#tail;
    this.#tail = Promise.resolve();
    try {
      await call();
      await this.#tail;
    } finally {
      this.#tail = outer;
    }
  }

  #refuseWhileRunning(call: string): void {
    this.#refuseDisposed();
    if (this.#running) throw new GradmillError('busy', `${call}: the model is running another call; await it first`);
  }

  #refuseDisposed(): void {
    if (this.#disposed) throw new GradmillError('disposed', 'the model was disposed');
  }

  // ── Data ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #inputRows(x: TensorInput): Rows {
    const rows = toRows('x', x);
    const { columns } = this.#runtime;
    // One example may come without its leading 1, where it cannot be mistaken.
    if (rows.columns === 1 && rows.rows === columns && columns > 1 && elementType(x) >= 0) return { data: rows.data, rows: 1, columns };
    if (rows.columns !== columns && rows.rows > 0)
      throw new GradmillError('shape-mismatch', `x: the model's input has ${String(columns)} numbers an example, x has ${String(rows.columns)}`);
    return rows;
  }

  #targetKind(y: Rows): TargetKind {
    const loss = this.#runtime.training?.loss;
    if (!loss) throw new GradmillError('not-compiled', 'compile the model first: it has no loss yet');
    const { units } = this.#runtime;
    if (loss.classes && y.columns === 1) return 'labels';
    if (y.columns === units) return 'rows';
    const wanted = loss.classes ? `a class label or ${String(units)} numbers` : `${String(units)} numbers`;
    throw new GradmillError('shape-mismatch', `y: loss '${loss.name}' expects ${wanted} an example, y has ${String(y.columns)}`);
  }

  async #examples(x: TensorInput, y: TensorInput): Promise<{ sets: { x: DataSet; y: DataSet }; rows: number; kind: TargetKind }> {
    const [inputs, targets] = [this.#inputRows(x), toRows('y', y)];
    if (inputs.rows !== targets.rows) throw new GradmillError('shape-mismatch', `x has ${String(inputs.rows)} examples, y has ${String(targets.rows)}`);
    if (inputs.rows === 0) throw new GradmillError('empty-data', 'x and y are empty');
    const kind = this.#targetKind(targets);
    const { engine } = this.#runtime;
    return { sets: { x: await copyDataSet(engine, 'x', inputs), y: await copyDataSet(engine, 'y', targets) }, rows: inputs.rows, kind };
  }

  // ── Runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Runs a plan over rows of data sets, on the engine's threads; faults become errors. */
  async #run(kind: PlanKind, batch: number, sets: RunSets, range: RunRange): Promise<void> {
    const { plan, program, gathers } = this.#runtime.plan(kind, batch);
    this.#lastPlan = plan;
    feed(program, FEED.input, sets.x);
    feed(program, FEED.target, sets.y);
    feed(program, FEED.order, sets.order);
    feed(program, FEED.output, sets.output);
    const to = range.onlyCheck ? gathers : plan.instructions.length;
    await this.#start(() => program.start(0, to, range.firstRow ?? 0, range.rows, batch));
    if (this.#runtime.fault.kind !== 'none') throw this.#faultError(kind, undefined, sets, range.firstBatch);
  }

  async #start(start: () => Promise<void>): Promise<void> {
    this.#runtime.clearControl();
    this.#running = true;
    try {
      await start();
    } finally {
      this.#running = false;
    }
  }

  #resetTotals(): void {
    this.#runtime.resetTotals();
  }

  #evaluation(): Evaluation {
    const { totals, training, units } = this.#runtime;
    const { loss: sum, rows, correct } = totals;
    const { loss, accuracy } = training!;
    const terms = loss.reduction === 'sum' ? 1 : rows * (loss.classes ? 1 : units);
    return { loss: sum / terms, ...(accuracy && { accuracy: correct / rows }) };
  }

  /** What went wrong, in words: where in the data, or which layer stopped being finite at which step. */
  #faultError(kind: string, data?: NumericArray, sets?: RunSets, firstBatch = 0): GradmillError {
    const { kind: fault, batches, row } = this.#runtime.fault;
    const at = `row ${String(row)}`;
    if (fault === 'nonFiniteInput') return new GradmillError('non-finite-input', `${at} holds a number that is NaN, infinite or too large`);
    if (fault === 'labelOutOfRange') return new GradmillError('label-out-of-range', `y: the label of ${at} is no whole number from 0 to ${String(this.#runtime.units - 1)}`);
    if (fault === 'rowOutOfRange') return new GradmillError('backend-unavailable', `${at} lies outside the data set`);
    const what = this.#runtime.firstNonFinite(kind as PlanKind);
    const value = fault === 'nonFiniteLoss' ? 'the loss' : 'a weight';
    return new GradmillError('diverged', `${value} stopped being finite in step ${String(firstBatch + batches + 1)}; first in ${what}: try a lower learning rate, scaled inputs or clipGlobalNorm`);
  }
}

/** Data sets of one run. */
export interface RunSets {
  readonly x: DataSet;
  readonly y?: DataSet;
  readonly order?: DataSet;
  readonly output?: DataSet;
}

export interface RunRange {
  readonly firstRow?: number;
  readonly rows: number;
  /** Steps of this fit before this run, for messages. */
  readonly firstBatch?: number;
  /** Read every row without computing: faults tell of bad data before a weight changes. */
  readonly onlyCheck?: boolean;
}

function scalingOf(given: InputScaling | undefined, columns: number): { mean: Float32Array; scale: Float32Array } | undefined {
  if (given === undefined) return undefined;
  checkOptions('inputScaling', given, ['mean', 'standardDeviation']);
  const column = (name: 'mean' | 'standardDeviation', range: { readonly above?: number }) => {
    const value = given[name];
    if (typeof value === 'number') return new Array<number>(columns).fill(finiteNumber(`inputScaling: ${name}`, value, range));
    if (!Array.isArray(value) || value.length !== columns)
      throw new GradmillError('shape-mismatch', `inputScaling: ${name}: expected a number or ${String(columns)} numbers, got ${show(value)}`);
    return (value as number[]).map(number => finiteNumber(`inputScaling: ${name}`, number, range));
  };
  return {
    mean: Float32Array.from(column('mean', {})),
    scale: Float32Array.from(column('standardDeviation', { above: 0 }), deviation => 1 / deviation),
  };
}

/**
 * A network of layers in a row.
 * @throws GradmillError 'invalid-argument', 'unknown-name', 'size-overflow', 'out-of-memory', 'backend-unavailable'
 */
export function sequential(options: SequentialOptions): Sequential {
  return new Sequential(options);
}
