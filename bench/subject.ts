// A workload on gradmill's side, ready to be timed. Training: weights, examples and plan lie in the engine's memory, and one
// native call runs many steps. That is the part of model.fit that repeats, with the gathering of each batch's rows; what fit
// does once (copying and checking the data) is left out, as it is for peers, whose tensors exist before the clock starts.
import { architecture } from '../src/architecture.js';
import { type EngineProgram, engine } from '../src/engine.js';
import { type Sequential, adam, dense, sequential, sgd } from '../src/api.js';
import type { Layer } from '../src/layers/layer.js';
import { resolveLoss } from '../src/losses.js';
import type { Optimizer } from '../src/optimizers.js';
import { FEED } from '../src/plan.js';
import { Runtime } from '../src/runtime.js';
import { elementType } from '../src/tensor.js';
import { callsWorth, timeSlice } from './slices.js';
import type { Examples, Workload } from './workloads.js';

export interface Subject {
  /** Losses of the first `checkSteps` steps; of a prediction, the outputs. */
  check(): Promise<number[]>;
  /** Seconds a step, over a slice that begins with the initial weights and one step untimed. */
  slice(seconds: number): Promise<number>;
  /** Gives its memory back. */
  dispose(): void;
}

export function prepare(workload: Workload, data: Examples, threads: number): Subject {
  return workload.measures === 'step' ? prepareSteps(workload, data, threads) : preparePredictions(workload, data, threads);
}

/** A model of the public API for the workload. */
export function modelOf(workload: Workload, threads: number): Sequential {
  const model = sequential({ inputShape: [workload.units[0] ?? 0], seed: 1, layers: layersOf(workload) });
  model.compile({ optimizer: optimizerOf(workload), loss: workload.loss, threads });
  return model;
}

function layersOf({ units, activation }: Workload): Layer[] {
  return units.slice(1).map((out, i) => dense({ units: out, activation: i === units.length - 2 ? 'linear' : activation }));
}

function optimizerOf({ optimizer }: Workload): Optimizer {
  const { name, ...options } = optimizer;
  return name === 'adam' ? adam(options) : sgd(options);
}

/** Rows that the longest job takes. */
const ORDER_ROWS = 2 ** 20;

function prepareSteps(workload: Workload, { x, y, rows }: Examples, threads: number): Subject {
  const { batch, checkSteps } = workload;
  const [columns = 0] = workload.units;
  const native = engine();
  const runtime = new Runtime(native, architecture([columns], layersOf(workload)), 1, undefined);
  const weights = runtime.parameters.map(({ value }) => runtime.floats(value).slice());
  const input = loaded(x, rows, columns);
  const target = loaded(y, rows, 1);
  // The examples again and again, so that one job has as many steps as it likes.
  const order = loaded(
    Uint32Array.from({ length: ORDER_ROWS }, (_, i) => i % rows),
    ORDER_ROWS,
    1,
  );

  /** From the initial weights, moments zero. */
  const restart = () => {
    const loss = resolveLoss(workload.loss);
    runtime.compile({ optimizer: optimizerOf(workload), loss, accuracy: false, fuse: true, threads, strict: native.strict });
    runtime.parameters.forEach(({ value }, i) => runtime.floats(value).set(weights[i] ?? []));
    const { plan, program } = runtime.plan(loss.classes ? 'train:labels' : 'train:rows', batch);
    input.feed(program, FEED.input);
    target.feed(program, FEED.target);
    order.feed(program, FEED.order);
    return async (steps: number, first = 0) => {
      runtime.clearControl();
      await program.start(0, plan.instructions.length, first * batch, steps * batch, batch);
      if (runtime.fault.kind !== 'none') throw new Error(`${workload.name}: the run stopped: ${runtime.fault.kind}`);
    };
  };

  return {
    async check() {
      const run = restart();
      const losses: number[] = [];
      for (let step = 0; step < checkSteps; step++) {
        await run(1, step);
        losses.push(runtime.batchLoss);
      }
      return losses;
    },
    async slice(seconds) {
      const run = restart();
      await run(1);
      const steps = Math.min(await callsWorth(run), Math.floor(ORDER_ROWS / batch));
      return (await timeSlice(() => run(steps), seconds)) / steps;
    },
    dispose() {
      runtime.dispose();
      for (const { memory } of [input, target, order]) memory.release();
    },
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

/** The public calls as a user makes them: predictSync for one example; predict for a batch, each with its copies and promise. */
function preparePredictions(workload: Workload, { x }: Examples, threads: number): Subject {
  const { batch, units } = workload;
  const [columns = 0] = units;
  const model = modelOf(workload, threads);
  const input = { data: x.slice(0, batch * columns), shape: [batch, columns] };
  const out = new Float32Array(batch * (units.at(-1) ?? 0));
  const run = async (calls: number) => {
    for (let call = 0; call < calls; call++) {
      if (batch === 1) model.predictSync(input, { out });
      else await model.predict(input);
    }
  };
  return {
    async check() {
      return [...(await model.predict(input)).data];
    },
    async slice(seconds) {
      await run(1);
      const calls = await callsWorth(run);
      return (await timeSlice(() => run(calls), seconds)) / calls;
    },
    dispose: () => model.dispose(),
  };
}
