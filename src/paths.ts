// How far units' weights go in a fit: the lengths of their steps, which the plan measures, added up, and how far they came.
import type { UnitPaths } from './diagnostics/types.js';
import type { Figures, Measures } from './measure.js';
import { ALIGNMENT, type Parameter, Plan, Tensor } from './plan.js';
import type { Runtime } from './runtime.js';

interface Path {
  readonly layer: string;
  readonly kernel: Parameter;
  readonly start: Float32Array;
  readonly length: number[];
}

export class Paths {
  readonly #runtime: Runtime;
  readonly #paths: readonly Path[];

  /** Before the first step, with what its plan will measure. */
  constructor(runtime: Runtime, measures: Measures) {
    this.#runtime = runtime;
    this.#paths = measures.steps.map(({ layer, kernel, squares }) => ({
      layer,
      kernel,
      start: runtime.floats(kernel.value).slice(),
      length: new Array<number>(squares.elements(1)).fill(0),
    }));
  }

  /** After each step. */
  step(measures: Measures, figures: Figures): void {
    measures.steps.forEach(({ squares }, i) => {
      const { length } = this.#paths[i];
      for (let unit = 0; unit < length.length; unit++) length[unit] += Math.sqrt(figures.double(squares, unit));
    });
  }

  get units(): UnitPaths[] {
    return this.#paths.map(({ layer, kernel, start, length }) => {
      const displacement = this.#distances(kernel, start);
      const lengthOverDisplacement = length.map((way, unit) => (way === 0 ? 0 : way / displacement[unit]));
      return { layer, length: [...length], displacement, lengthOverDisplacement };
    });
  }

  /** Of each unit's weights from where they were. */
  #distances({ shape, value }: Parameter, start: Float32Array): number[] {
    const { engine } = this.#runtime;
    const [x, from] = ['x', 'from'].map((name) => new Tensor(name, shape, 'state'));
    const squares = new Tensor('squares', [shape[1]], 'state', 'f64');
    let end = ALIGNMENT;
    for (const tensor of [x, from, squares]) {
      tensor.offset = end;
      end += tensor.bytes(1);
    }
    const plan = new Plan(engine.ops, 1, false);
    plan.emit('columnDistances', shape, { x, from, squares });
    const arena = engine.allocate(end);
    const view = (tensor: Tensor): Float32Array =>
      new Float32Array(arena.bytes().buffer, arena.bytes().byteOffset + tensor.offset, tensor.elements(1));
    view(x).set(this.#runtime.floats(value));
    view(from).set(start);
    const program = engine.load(arena, plan.encode(), { strict: engine.strict, threads: engine.threads });
    program.run(0, 1, 0, 0, 0);
    const { buffer, byteOffset } = arena.bytes();
    const distances = Array.from(new Float64Array(buffer, byteOffset + squares.offset, shape[1]), Math.sqrt);
    program.release?.();
    arena.release();
    return distances;
  }
}
