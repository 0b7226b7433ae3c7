// A float64 interpreter of plans: one short function an op says what the instruction means. Tests hold every engine to it.
// It shares no formula with the kernels: written from native/ops.h and the definitions, slow and plain, with Math's own
// functions. Loaded only by those who ask for it. It may assume a finished plan, whose operands were checked by Plan.emit.
//
// State tensors lie in one array in the arena's order, so that a range over all weights and the weights inside it are the
// same numbers. A buffer has an array of its own: where a plan gives one place to two living tensors, results differ.
import { ACTIVATION_NAMES, type ActivationName } from './activations.js';
import { GradmillError } from './errors.js';
import type { OpName } from './ops.js';
import { FEED, type Instruction, type Plan, type Tensor } from './plan.js';
import type { Fault } from './runtime.js';

/** A data set: rows of numbers, read by gathers, written by scatter and shuffle. */
export interface ReferenceFeed {
  readonly data: { [element: number]: number };
  readonly rows: number;
  readonly columns: number;
}

/** Like the engine's program: the same feeds and ranges, numbers in float64. */
export class Reference {
  /** Why the last run stopped before its end, if it did. */
  fault: Pick<Fault, 'kind' | 'row'> | undefined;
  readonly #plan: Plan;
  readonly #state: Float64Array;
  readonly #buffers = new Map<Tensor, Float64Array>();
  readonly #feeds: (ReferenceFeed | undefined)[] = [];

  constructor(plan: Plan) {
    this.#plan = plan;
    const tensors = plan.instructions.flatMap(({ operands }) => Object.values(operands));
    const ends = tensors.filter(({ storage }) => storage === 'state').map((tensor) => slot(tensor) + tensor.elements(1));
    this.#state = new Float64Array(Math.max(0, ...ends));
  }

  /** The numbers of a tensor, to read or to write; a buffer holds the largest batch. */
  values(tensor: Tensor): Float64Array {
    if (tensor.storage === 'state') return this.#state.subarray(slot(tensor), slot(tensor) + tensor.elements(1));
    let values = this.#buffers.get(tensor);
    if (!values) this.#buffers.set(tensor, (values = new Float64Array(tensor.elements(this.#plan.batch))));
    return values;
  }

  feed(to: keyof typeof FEED, set: ReferenceFeed): void {
    this.#feeds[FEED[to]] = set;
  }

  /** Instructions [from, to) once a batch, as EngineProgram.run. False when a fault was recorded. */
  run(from: number, to: number, firstRow: number, rowCount: number, batch: number): boolean {
    this.fault = undefined;
    let at = 0;
    do {
      const rows = Math.min(batch, rowCount - at);
      for (const instruction of this.#plan.instructions.slice(from, to)) {
        ops[instruction.op.name](this.#call(instruction, firstRow + at, rows));
        if (this.fault as Fault | undefined) return false;
      }
      at += batch;
    } while (at < rowCount);
    return true;
  }

  #call({ op, dims, operands, immediates }: Instruction, firstRow: number, rows: number): Call {
    const sizes = Object.fromEntries(op.dims.map((name, d) => [name, dims[d] === 'batch' ? rows : (dims[d] ?? 0)]));
    const held = (wanted: boolean) =>
      Object.fromEntries(op.operands.flatMap(({ name, optional }) => (optional === wanted && operands[name] ? [[name, this.values(operands[name])]] : [])));
    return {
      m: sizes.m ?? 0,
      n: sizes.n ?? 0,
      k: sizes.k ?? 0,
      given: held(false),
      perhaps: held(true),
      // As the engine is handed them.
      set: Object.fromEntries(op.immediates.map(({ name, float }) => [name, float ? Math.fround(immediates[name] ?? 0) : (immediates[name] ?? 0)])),
      firstRow,
      set_: this.#feeds,
      order: this.#feeds[FEED.order],
      stop: (kind, row) => (this.fault ??= { kind, row }),
    };
  }
}
