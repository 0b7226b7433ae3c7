// Small networks as the engine and the interpreter see them: one recorded plan, its weights, its data, run by either.
import { architecture } from '../src/architecture.js';
import { engine } from '../src/engine.js';
import type { Layer } from '../src/layers/layer.js';
import { type LossName, type LossOptions, resolveLoss } from '../src/losses.js';
import { type Optimizer, sgd } from '../src/optimizers.js';
import { FEED, type Plan, type Tensor } from '../src/plan.js';
import { Reference } from '../src/reference.js';
import { Runtime, type TargetKind } from '../src/runtime.js';
import { elementType } from '../src/tensor.js';
import { ARRAYS, type Numbers, Random, type Table } from './engines.js';

export interface NetworkOptions {
  readonly layers: readonly Layer[];
  readonly columns: number;
  readonly rows: number;
  readonly loss: LossName | LossOptions;
  readonly target?: TargetKind;
  readonly optimizer?: Optimizer;
  readonly fuse?: boolean;
  readonly seed?: number;
  /** Inputs lie in ±spread. */
  readonly spread?: number;
}

export class Network {
  readonly runtime: Runtime;
  readonly plan: Plan;
  /** Gradients by name: of weights, of each layer's output, of the input. */
  readonly gradients: readonly (readonly [name: string, tensor: Tensor])[];
  /** The input as gathered, then each layer's output. */
  readonly outputs: readonly Tensor[];
  readonly x: Float32Array;
  readonly y: Float32Array | Int32Array;

  constructor(
    readonly options: NetworkOptions,
    purpose: 'gradients' | 'train' = 'gradients',
    batch = options.rows,
  ) {
    const { layers, columns, rows, target = 'rows', seed = 1, spread = 1, fuse = true } = options;
    const random = new Random(seed);
    this.runtime = new Runtime(engine(), architecture([columns], layers), seed, undefined);
    const { units, trainable } = this.runtime;
    const loss = resolveLoss(options.loss);
    this.runtime.compile({ optimizer: options.optimizer ?? sgd(), loss, accuracy: false, fuse, threads: 1, strict: false });
    for (const { name, value } of trainable)
      if (name.endsWith('/gamma')) this.runtime.floats(value).set(random.floats(value.elements(1), 0.5, 1.5));
      else if (value.shape.length === 1) this.runtime.floats(value).set(random.floats(value.elements(1), -0.5, 0.5));
    this.x = random.floats(rows * columns, -spread, spread);
    this.y =
      target === 'labels' ? random.labels(rows, units) : loss.classes ? random.shares(rows, units) : random.floats(rows * units, 0, 1);
    const { plan, lossGradients, outputs } = this.runtime.plan(`${purpose}:${target}`, batch);
    this.plan = plan;
    this.outputs = outputs;
    const layerNames = ['x', ...this.runtime.layers.map(({ name }) => name)];
    this.gradients = [
      ...trainable.map(({ name, grad }) => [name, grad] as const),
      ...lossGradients.flatMap((tensor, i) => (tensor ? [[layerNames[i], tensor] as const] : [])),
    ];
  }

  /** The loss's own gradient, 1 unless a test changes it. */
  get lossSeed(): Tensor {
    return this.operand('seed');
  }
  get loss(): Tensor {
    return this.operand('loss');
  }

  /** The interpreter, with this network's weights and data. */
  reference(): Reference {
    const reference = new Reference(this.plan);
    for (const { operands } of this.plan.instructions)
      for (const tensor of Object.values(operands)) if (tensor.storage === 'state') reference.values(tensor).set(this.state(tensor));
    const { x, y, options } = this;
    reference.feed('input', { data: Float64Array.from(x), rows: options.rows, columns: options.columns });
    reference.feed('target', { data: Float64Array.from(y), rows: options.rows, columns: y.length / options.rows });
    return reference;
  }

  /** Runs the plan on a table, `steps` times over all rows, from the weights that the network has. Returns what tensors then hold. */
  onEngine({ isa, strict }: Table, { threads = 1, lossSeed = 1, steps = 1 } = {}): (tensor: Tensor) => Float32Array {
    const arena = engine().allocate(this.arenaBytes().length);
    arena.bytes().set(this.arenaBytes());
    const view = (tensor: Tensor) =>
      new Float32Array(arena.bytes().buffer, arena.bytes().byteOffset + tensor.offset, tensor.elements(this.plan.batch));
    view(this.lossSeed)[0] = lossSeed;
    const program = engine().load(arena, this.plan.encode(), { isa, strict, threads });
    for (const [slot, data] of [
      [FEED.input, this.x],
      [FEED.target, this.y],
    ] as const) {
      const memory = engine().allocate(data.byteLength);
      memory.bytes().set(new Uint8Array(data.buffer));
      program.feed(slot, memory.handle, elementType(data), this.options.rows, data.length / this.options.rows);
    }
    for (let step = 0; step < steps; step++) program.run(0, this.plan.instructions.length, 0, this.options.rows, this.options.rows);
    return (tensor) => view(tensor).slice();
  }

  private state(tensor: Tensor): Numbers {
    const { buffer, byteOffset } = this.arenaBytes();
    return new ARRAYS[tensor.type](buffer, byteOffset + tensor.offset, tensor.elements(1));
  }

  private operand(name: string): Tensor {
    return this.plan.instructions.find(({ operands, scope }) => scope === 'loss' && name in operands)!.operands[name];
  }

  private arenaBytes(): Uint8Array {
    const seed = this.runtime.floats(this.lossSeed);
    const start = seed.byteOffset - this.lossSeed.offset;
    const ends = this.plan.instructions.flatMap(({ operands }) =>
      Object.values(operands).map((tensor) => tensor.offset + tensor.bytes(this.plan.batch)),
    );
    return new Uint8Array(seed.buffer, start, Math.max(...ends));
  }
}
