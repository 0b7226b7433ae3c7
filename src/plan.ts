// A plan: the list of instructions that a model's layers, loss and optimizer record, and the memory they need. Layers call
// the methods here; runtime.ts loads the finished plan into the engine. Nothing here computes.
import type { Activation } from './activations.js';
import { GradmillError } from './errors.js';
import { fuse } from './fuse.js';
import type { ElementType, OpName, OpSignature, OpTable } from './ops.js';
import type { Regularizer } from './regularizers.js';

/** Bytes that every tensor's place in the arena is a multiple of. */
export const ALIGNMENT = 64;

/** A size: a number, or the rows of the batch that is running. */
export type Dim = number | 'batch';

/** Of one element. */
export const BYTES: Record<ElementType, number> = { f32: 4, f64: 8, i32: 4, u32: 4 };

/** A place in the arena. `state` lives as long as the model; a `buffer` only within one replay of its plan. */
export class Tensor {
  /** Bytes from the arena's start; set when memory is laid out. */
  offset = 0;
  constructor(
    readonly name: string,
    readonly shape: readonly Dim[],
    readonly storage: 'state' | 'buffer' = 'buffer',
    readonly type: ElementType = 'f32',
  ) {}

  get T(): Transposed {
    return { transposed: this };
  }

  /** Elements, at the largest batch. */
  elements(batch: number): number {
    return this.shape.reduce<number>((all, dim) => all * (dim === 'batch' ? batch : dim), 1);
  }

  /** Bytes it takes in the arena, padded to the next tensor. */
  bytes(batch: number): number {
    return Math.ceil((this.elements(batch) * BYTES[this.type]) / ALIGNMENT) * ALIGNMENT;
  }
}

export interface Transposed {
  readonly transposed: Tensor;
}

interface DeclaredWeight {
  /** `layer/kernel` */
  readonly name: string;
  readonly shape: readonly number[];
  readonly value: Tensor;
  /** The smallest value that setWeights accepts; −∞ for most. */
  readonly min: number;
}

/** A weight that the optimizer changes, with its gradient. */
export interface TrainableParameter extends DeclaredWeight {
  readonly trainable: true;
  readonly grad: Tensor;
  readonly regularizer: Regularizer | undefined;
}

/** A weight that has no gradient and no moments: running statistics, whitening. */
export interface FixedParameter extends DeclaredWeight {
  readonly trainable: false;
  readonly grad: undefined;
}

/** A weight of a layer. */
export type Parameter = TrainableParameter | FixedParameter;

export interface Instruction {
  readonly op: OpSignature;
  /** In the order of the op's signature. */
  readonly dims: readonly Dim[];
  readonly immediates: Readonly<Record<string, number>>;
  readonly operands: Readonly<Record<string, Tensor>>;
  /** The layer (or loss, optimizer, input) that recorded it. */
  readonly scope: string;
}

/** A data set's place in a run; the engine's FeedSlot. */
export const FEED = { input: 0, target: 1, order: 2, output: 3, samples: 4, times: 5 } as const;

interface BackwardRule {
  readonly x: Tensor;
  readonly y: Tensor;
  readonly scope: string;
  readonly rule: (dY: Tensor) => Tensor;
}

interface Update {
  readonly scope: string;
  readonly record: () => void;
}

export interface PlanOptions {
  /** Replays change the model's state. Default false. */
  readonly updates?: boolean;
  /** What random layers draw from: the seed's place, and that of the optimizer's numbers, which count the steps. */
  readonly randomness?: { readonly state: Tensor; readonly hyper: Tensor };
}

/** Numbers of random streams: those of weights count from 0, those of layers from here; shuffling has the last. */
const LAYER_STREAMS = 0x80000000;

export class Plan {
  /** Whether replays change the model's state: weights, running statistics. */
  readonly updates: boolean;
  #instructions: Instruction[] = [];
  #rules: BackwardRule[] = [];
  #updates: Update[] = [];
  readonly #randomness: PlanOptions['randomness'];
  #streams = LAYER_STREAMS;
  #kept = new Set<Tensor>();
  #regions: { readonly whole: Tensor; readonly parts: readonly Tensor[] }[] = [];
  #scope = '';
  #names = new Map<string, number>();
  #activations = new Map<Tensor, { readonly z: Tensor; readonly activation: Activation }>();

  /** @param batch largest number of rows; @param training whether backward rules are wanted */
  constructor(
    readonly ops: OpTable,
    readonly batch: number,
    readonly training: boolean,
    options: PlanOptions = {},
  ) {
    this.updates = options.updates ?? false;
    this.#randomness = options.randomness;
  }

  get instructions(): readonly Instruction[] {
    return this.#instructions;
  }

  /** Names what is recorded inside after a layer: errors and printed plans tell where an instruction comes from. */
  scope<T>(name: string, record: () => T): T {
    const outer = this.#scope;
    this.#scope = name;
    try {
      return record();
    } finally {
      this.#scope = outer;
    }
  }

  buffer(name: string, shape: readonly Dim[], type: ElementType = 'f32'): Tensor {
    const full = `${this.#scope}.${name}`;
    const count = this.#names.get(full) ?? 0;
    this.#names.set(full, count + 1);
    return new Tensor(count === 0 ? full : `${full}${String(count + 1)}`, shape, 'buffer', type);
  }

  /** Appends one instruction; every record method ends here. */
  emit(
    name: OpName,
    dims: readonly Dim[],
    operands: Readonly<Record<string, Tensor | undefined>>,
    immediates: Readonly<Record<string, number>> = {},
  ): void {
    const op = this.ops.get(name);
    if (op === undefined) throw new GradmillError('backend-unavailable', `the engine has no op '${name}'`);
    const given: Record<string, Tensor> = {};
    for (const operand of op.operands) {
      const tensor = operands[operand.name];
      if (tensor === undefined) {
        if (!operand.optional) this.#fail(`${name} needs ${operand.name}`);
        continue;
      }
      given[operand.name] = tensor;
      const wanted = operand.extent(dims.map((dim) => (dim === 'batch' ? this.batch : dim)));
      if (tensor.elements(this.batch) !== wanted || tensor.type !== operand.type)
        this.#fail(`${name} expects ${operand.name} of ${String(wanted)} ${operand.type}, got ${describe(tensor)}`);
    }
    this.#instructions.push({ op, dims, immediates, operands: given, scope: this.#scope });
  }

  // ── Recording: forward ──────────────────────────────────────────────────────────────────────────────────────────

  /** op(a)·op(b), written to `into` or to a new buffer. */
  gemm(a: Tensor | Transposed, b: Tensor | Transposed, into?: Tensor): Tensor {
    const [left, right] = [matrix(a), matrix(b)];
    if (left.columns !== right.rows)
      this.#fail(`cannot multiply ${describe(left.tensor)}${left.flag ? '.T' : ''} by ${describe(right.tensor)}${right.flag ? '.T' : ''}`);
    const c = into ?? this.buffer('product', [left.rows, right.columns]);
    const transpose = (left.flag ? 1 : 0) | (right.flag ? 2 : 0);
    this.emit(
      'gemm',
      [left.rows, right.columns, left.columns],
      { a: left.tensor, b: right.tensor, c },
      { transpose, beta: 0, activation: 0, parameter: 0 },
    );
    return c;
  }

  addBias(x: Tensor, bias: Tensor): Tensor {
    return this.#map('addBias', x, { bias });
  }

  activate(x: Tensor, activation: Activation): Tensor {
    const y = this.#map('activate', x, {}, { activation: activation.code, parameter: activation.parameter });
    this.#activations.set(y, { z: x, activation });
    return y;
  }

  /** What made y = a(z), if `activate` did. */
  activationOf(y: Tensor): { readonly z: Tensor; readonly activation: Activation } | undefined {
    return this.#activations.get(y);
  }

  /** The last activation, elementwise or softmax, that the layer of that name has recorded. */
  activationIn(scope: string): Instruction | undefined {
    return this.#instructions.findLast((one) => one.scope === scope && (one.op.name === 'activate' || one.op.name === 'softmax'));
  }

  /** a'(z) of what made y = a(z), in a new buffer: what the derivative's kernel makes of ones. Undefined where `activate` did not. */
  slopeOf(y: Tensor): Tensor | undefined {
    const made = this.#activations.get(y);
    if (!made) return undefined;
    const { z, activation } = made;
    const [one, slope] = [this.buffer('one', z.shape), this.buffer('slope', z.shape)];
    this.emit('fill', [one.elements(this.batch)], { y: one }, { value: 1 });
    const immediates = { activation: activation.code, parameter: activation.parameter };
    this.emit('activationGradient', z.shape, { dY: one, v: activation.derivativeNeedsInput ? z : y, dX: slope }, immediates);
    return slope;
  }

  /** dY ⊙ a'(v), v the activation's output or, where the derivative needs it, its input. */
  activationGradient(dY: Tensor, v: Tensor, activation: Activation): Tensor {
    const dX = this.buffer('dZ', dY.shape);
    this.emit('activationGradient', dY.shape, { dY, v, dX }, { activation: activation.code, parameter: activation.parameter });
    return dX;
  }

  softmax(x: Tensor): Tensor {
    return this.#map('softmax', x, {});
  }

  softmaxGradient(dY: Tensor, y: Tensor): Tensor {
    const dX = this.buffer('dZ', dY.shape);
    this.emit('softmaxGradient', dY.shape, { dY, y, dX });
    return dX;
  }

  /** Column sums over the batch's rows. */
  sumRows(x: Tensor, into: Tensor): Tensor {
    this.emit('sumRows', x.shape, { x, y: into });
    return into;
  }

  /** x with elements set to 0 at random, the rest times 1/(1 − rate); and what each was multiplied by. */
  dropout(x: Tensor, rate: number): { readonly y: Tensor; readonly mask: Tensor } {
    const [y, mask] = [this.buffer('y', x.shape), this.buffer('mask', x.shape)];
    this.emit('dropout', x.shape, { x, ...this.#randomness, y, mask }, { stream: this.#streams++, rate });
    return { y, mask };
  }

  #map(op: OpName, x: Tensor, operands: Record<string, Tensor>, immediates: Record<string, number> = {}): Tensor {
    const y = this.buffer(op === 'addBias' ? 'z' : 'y', x.shape);
    this.emit(op, x.shape, { x, y, ...operands }, immediates);
    return y;
  }

  // ── Recording: backward ─────────────────────────────────────────────────────────────────────────────────────────

  /** How the gradient of y becomes that of x; run after the loss, deep to shallow. */
  backward(x: Tensor, y: Tensor, rule: (dY: Tensor) => Tensor): void {
    if (this.training) this.#rules.push({ x, y, scope: this.#scope, rule });
  }

  /** Records every backward rule, given the loss gradient at the prediction. Returns the loss gradient of each tensor. */
  differentiate(prediction: Tensor, dPrediction: Tensor): Map<Tensor, Tensor> {
    const gradients = new Map([[prediction, dPrediction]]);
    for (const { x, y, scope, rule } of this.#rules.reverse()) {
      const dY = gradients.get(y);
      if (dY === undefined) continue;
      gradients.set(
        x,
        this.scope(scope, () => rule(dY)),
      );
    }
    this.#rules = [];
    return gradients;
  }

  /**
   * What changes a layer's own state, such as running statistics: recorded behind the loss, which stops the run where it is not
   * finite, and only in plans that update.
   */
  afterLoss(record: () => void): void {
    if (this.updates) this.#updates.push({ scope: this.#scope, record });
  }

  /** Records what layers left for after the loss. */
  recordUpdates(): void {
    for (const { scope, record } of this.#updates) this.scope(scope, record);
    this.#updates = [];
  }

  // ── Finishing ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Keeps a buffer's memory and value until the replay has ended, for a host that reads it. */
  keep(tensor: Tensor): void {
    this.#kept.add(tensor);
  }

  /** Keeps buffers that do not depend on the batch side by side, for a host that reads them at once. Returns a tensor over all. */
  region(name: string, parts: readonly Tensor[]): Tensor {
    for (const part of parts) this.keep(part);
    const bytes = parts.reduce((sum, part) => sum + part.bytes(1), 0);
    const whole = this.buffer(name, [bytes / BYTES.f64], 'f64');
    this.#regions.push({ whole, parts });
    return whole;
  }

  /** Drops what nobody reads, fuses neighbours, and gives every buffer a place from byte `start` on. Returns the end. */
  finish(start: number, options: { readonly fuse: boolean }): number {
    this.#instructions = withoutUnread(this.#instructions, this.#kept);
    if (options.fuse) this.#instructions = fuse(this.#instructions, this.#kept);
    let end = start;
    const placed = new Set<Tensor>();
    for (const { whole, parts } of this.#regions) {
      whole.offset = end;
      for (const part of parts) {
        part.offset = end;
        end += part.bytes(1);
        placed.add(part);
      }
    }
    return layOut(this.#instructions, { kept: this.#kept, placed }, this.batch, end);
  }

  /** The words that the engine loads: 16 an instruction. */
  encode(): Uint32Array {
    const words = new Uint32Array(this.#instructions.length * 16);
    const floats = new Float32Array(words.buffer);
    this.#instructions.forEach(({ op, dims, immediates, operands }, i) => {
      const at = i * 16;
      const rowsMask = dims.reduce<number>((mask, dim, d) => mask | (dim === 'batch' ? 1 << d : 0), 0);
      words[at] = op.code | (rowsMask << 16);
      dims.forEach((dim, d) => (words[at + 1 + d] = dim === 'batch' ? this.batch : dim));
      op.immediates.forEach(({ name, float }, j) => ((float ? floats : words)[at + 4 + j] = immediates[name] ?? 0));
      op.operands.forEach(({ name }, j) => (words[at + 8 + j] = (operands[name]?.offset ?? 0) / ALIGNMENT));
    });
    return words;
  }

  /** One readable line an instruction. */
  toString(): string {
    const lines = this.#instructions.map(
      (instruction) => `${instruction.scope.padEnd(12)} ${instruction.op.name.padEnd(20)} ${describeOperands(instruction)}`,
    );
    return lines.map((line, i) => `${String(i).padStart(3)}  ${line}`).join('\n');
  }

  #fail(message: string): never {
    throw new GradmillError('shape-mismatch', `${this.#scope === '' ? '' : `layer '${this.#scope}': `}${message}`);
  }
}

/** `m=batch n=512 k=784 activation=3 a=x b=dense1/kernel → c=dense1.y` */
export function describeOperands({ op, dims, immediates, operands }: Instruction): string {
  const sizes = dims.map((dim, d) => `${op.dims[d]}=${dim}`);
  const notes = op.immediates.filter(({ name }) => immediates[name]).map(({ name }) => `${name}=${immediates[name]}`);
  const given = (which: boolean): string[] =>
    op.operands.filter(({ name, written }) => written === which && name in operands).map(({ name }) => `${name}=${operands[name].name}`);
  const written = given(true);
  const effect = written.length > 0 ? ` → ${written.join(' ')}` : '';
  return `${[...sizes, ...notes, ...given(false)].join(' ')}${effect}`;
}

function describe(tensor: Tensor): string {
  return `${tensor.name} [${tensor.shape.join(', ')}]`;
}

function matrix(m: Tensor | Transposed): { tensor: Tensor; flag: boolean; rows: Dim; columns: Dim } {
  const flag = 'transposed' in m;
  const tensor = flag ? m.transposed : m;
  const [rows = 1, columns = 1] = tensor.shape;
  return flag ? { tensor, flag, rows: columns, columns: rows } : { tensor, flag, rows, columns };
}

/**
 * Splits an instruction's tensors by what it does to them. A tensor may be both: state that is updated in place, and the c that
 * a gemm adds to. Every other op overwrites the buffers that it writes.
 */
export function reads({ op, operands, immediates }: Instruction): Tensor[] {
  return op.operands.flatMap(({ name, written }) => {
    const tensor = operands[name];
    const addsTo = op.name === 'gemm' && name === 'c' && !!immediates.beta;
    return tensor !== undefined && (!written || tensor.storage === 'state' || addsTo) ? [tensor] : [];
  });
}

export function writes(instruction: Instruction): Tensor[] {
  return instruction.op.operands.flatMap(({ name, written }) => {
    const tensor = instruction.operands[name];
    return tensor !== undefined && written ? [tensor] : [];
  });
}

/** Effects that no later instruction has to read: feeds are outside the arena. */
const OUTWARD = new Set<OpName>(['scatter', 'shuffle']);

function withoutUnread(instructions: readonly Instruction[], kept: ReadonlySet<Tensor>): Instruction[] {
  const wanted = new Set(kept);
  const used: Instruction[] = [];
  for (const instruction of [...instructions].reverse()) {
    const needed =
      OUTWARD.has(instruction.op.name) || writes(instruction).some((tensor) => tensor.storage === 'state' || wanted.has(tensor));
    if (!needed) continue;
    for (const tensor of reads(instruction)) wanted.add(tensor);
    used.push(instruction);
  }
  return used.reverse();
}

/** First fit by first use: a buffer's bytes are free again after the last instruction that names it. */
function layOut(
  instructions: readonly Instruction[],
  { kept, placed }: { readonly kept: ReadonlySet<Tensor>; readonly placed: ReadonlySet<Tensor> },
  batch: number,
  start: number,
): number {
  const lives = new Map<Tensor, { first: number; last: number }>();
  instructions.forEach((instruction, i) => {
    for (const tensor of Object.values(instruction.operands)) {
      if (tensor.storage === 'state' || placed.has(tensor)) continue;
      const last = kept.has(tensor) ? Infinity : i;
      lives.set(tensor, { first: lives.get(tensor)?.first ?? i, last });
    }
  });
  // In the order of their places.
  let living: { readonly tensor: Tensor; readonly end: number; readonly last: number }[] = [];
  let end = start;
  for (const [tensor, { first, last }] of lives) {
    living = living.filter((other) => other.last >= first);
    const bytes = tensor.bytes(batch);
    let offset = start;
    let at = 0;
    for (; at < living.length && living[at].tensor.offset - offset < bytes; at++) offset = living[at].end;
    tensor.offset = offset;
    living.splice(at, 0, { tensor, end: offset + bytes, last });
    end = Math.max(end, offset + bytes);
  }
  return end;
}
