// A workload on gradmill's side, ready to be timed. Training: weights, examples and plan lie in the engine's memory, and one
// native call runs many steps. That is the part of model.fit that repeats, with the gathering of each batch's rows; what fit
// does once (copying and checking the data) is left out, as it is for peers, whose tensors exist before the clock starts.
import { architecture } from '../src/architecture.js';
import { type Division, type EngineProgram, engine } from '../src/engine.js';
import { type Sequential, adagrad, adam, adamW, dense, rmsprop, sequential, sgd } from '../src/api.js';
import type { Layer } from '../src/layers/layer.js';
import { resolveLoss } from '../src/losses.js';
import type { Optimizer } from '../src/optimizers.js';
import { FEED, type Plan } from '../src/plan.js';
import { type PlanKind, Runtime } from '../src/runtime.js';
import { elementType } from '../src/tensor.js';
import { repeated } from './slices.js';
import { BATCHES, type Examples, type Network, type Workload, describe } from './workloads.js';

export interface Subject {
  /** Losses of the first `checkSteps` steps; of a prediction, the outputs. */
  check(): Promise<number[]>;
  /** Seconds a step, over a slice that begins with the initial weights and some steps untimed. */
  slice(seconds: number): Promise<number>;
  /** Gives its memory back. */
  dispose(): void;
}

export function prepare(workload: Workload, data: Examples, threads: number): Subject {
  return workload.measures === 'step' ? prepareSteps(workload, data, threads) : preparePredictions(workload, data, threads);
}

/** A model of the public API for the workload. */
export function modelOf(workload: Workload, threads: number, more: { readonly metrics?: readonly 'accuracy'[] } = {}): Sequential {
  const model = sequential({ inputShape: [workload.units[0] ?? 0], seed: 1, layers: layersOf(workload) });
  model.compile({ optimizer: optimizerOf(workload), loss: workload.loss, threads, ...more });
  return model;
}

function layersOf({ units, activation }: Network): Layer[] {
  return units.slice(1).map((out, i) => dense({ units: out, activation: i === units.length - 2 ? 'linear' : activation }));
}

function optimizerOf({ optimizer }: Network): Optimizer {
  const { name, ...options } = optimizer;
  return { sgd, rmsprop, adagrad, adam, adamW }[name](options);
}

/** Rows that the longest job takes. */
const ORDER_ROWS = 2 ** 20;

/** A network's training in the engine's memory. */
export class Training {
  readonly runtime: Runtime;
  readonly #weights: readonly Float32Array[];
  readonly #sets: readonly ReturnType<typeof loaded>[];

  constructor(
    readonly network: Network,
    { x, y, rows }: Examples,
    readonly threads: number,
  ) {
    const [columns = 0] = network.units;
    this.runtime = new Runtime(engine(), architecture([columns], layersOf(network)), 1, undefined);
    this.#weights = this.runtime.parameters.map(({ value }) => this.runtime.floats(value).slice());
    // The examples again and again, so that one job has as many steps as it likes, from any batch on.
    const order = new Uint32Array(ORDER_ROWS + rows);
    for (let i = 0; i < order.length; i++) order[i] = i % rows;
    this.#sets = [loaded(x, rows, columns), loaded(y, rows, 1), loaded(order, order.length, 1)];
  }

  /** The most steps that one job can do. */
  get longest(): number {
    return Math.floor(ORDER_ROWS / this.network.batch);
  }

  /** From the initial weights, moments zero; what it returns does some steps in one job, which goes on with the batch after the last one's. */
  restart(): (steps: number) => Promise<void> {
    const { runtime, network } = this;
    compile(runtime, network, this.threads);
    runtime.parameters.forEach(({ value }, i) => runtime.floats(value).set(this.#weights[i] ?? []));
    const { plan, program } = runtime.plan(stepOf(network), network.batch);
    [FEED.input, FEED.target, FEED.order].forEach((slot, i) => this.#sets[i]?.feed(program, slot));
    let first = 0;
    return async (steps) => {
      runtime.clearControl();
      await program.start(0, plan.instructions.length, first * network.batch, steps * network.batch, network.batch);
      first = (first + steps) % BATCHES;
      if (runtime.fault.kind !== 'none') throw new Error(`${describe(network)}: the run stopped: ${runtime.fault.kind}`);
    };
  }

  dispose(): void {
    this.runtime.dispose();
    for (const { memory } of this.#sets) memory.release();
  }
}

function compile(runtime: Runtime, network: Network, threads: number): void {
  const { strict } = engine();
  runtime.compile({ optimizer: optimizerOf(network), loss: resolveLoss(network.loss), accuracy: false, fuse: true, threads, strict });
}

function stepOf({ loss }: Network): PlanKind {
  return resolveLoss(loss).classes ? 'train:labels' : 'train:rows';
}

/** The plan of a step, and into what parts so many threads would divide it, be there as many or not. */
export function plannedStep(network: Network, threads: number): { readonly plan: Plan; readonly division: Division } {
  const runtime = new Runtime(engine(), architecture([network.units[0] ?? 0], layersOf(network)), 1, undefined);
  compile(runtime, network, threads);
  const { plan, program } = runtime.plan(stepOf(network), network.batch);
  const division = program.division?.();
  runtime.dispose();
  if (!division) throw new Error(`the ${engine().name} engine does not tell how it divides steps`);
  return { plan, division };
}

function prepareSteps(workload: Workload, data: Examples, threads: number): Subject {
  const training = new Training(workload, data, threads);
  let run = training.restart();
  return {
    async check() {
      run = training.restart();
      const losses: number[] = [];
      for (let step = 0; step < workload.checkSteps; step++) {
        await run(1);
        losses.push(training.runtime.batchLoss);
      }
      return losses;
    },
    slice: repeated((steps) => run(steps), { start: () => (run = training.restart()), most: training.longest }),
    dispose: () => training.dispose(),
  };
}

/** Copies rows into the engine's memory, from where `feed` binds them to a program. */
function loaded(data: Float32Array | Uint32Array, rows: number, columns: number) {
  const memory = engine().allocate(data.byteLength);
  memory.bytes().set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return {
    memory,
    feed(program: EngineProgram, slot: number) {
      program.feed(slot, memory.handle, elementType(data), rows, columns);
    },
  };
}

/** The public calls as a user makes them: predictSync into a given array, or predict with its copies and promise. */
function preparePredictions(workload: Workload, { x }: Examples, threads: number): Subject {
  const { batch, units, promise } = workload;
  const [columns = 0] = units;
  const model = modelOf(workload, threads);
  const input = { data: x.slice(0, batch * columns), shape: [batch, columns] };
  const out = new Float32Array(batch * (units.at(-1) ?? 0));
  const run = async (calls: number) => {
    for (let call = 0; call < calls; call++) {
      if (promise) await model.predict(input);
      else model.predictSync(input, { out });
    }
  };
  return {
    async check() {
      if (promise) return [...(await model.predict(input)).data];
      await run(1);
      return [...out];
    },
    slice: repeated(run),
    dispose: () => model.dispose(),
  };
}
