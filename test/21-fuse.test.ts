// Fusion: a rule has fired when instructions are fewer, and is right when strict mode gives the same bits as without it.
// Random programs look for neighbours that a rule must leave alone.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { resolveActivation } from '../src/activations.js';
import { engine } from '../src/engine.js';
import { dense, sequential, sgd } from '../src/index.js';
import { Plan, Tensor } from '../src/plan.js';
import { ELEMENTWISE } from './cases.js';
import { expectSameBits, Random, runPlan, strictTables, tables } from './engines.js';

const [m, n, k] = [13, 35, 21];

interface Program {
  readonly plan: Plan;
  /** What the plan reads. */
  readonly state: Map<Tensor, Float32Array>;
  /** What is compared; kept. */
  readonly results: Tensor[];
}

/** Records the same instructions into a new plan each time: finishing changes a plan. */
type Recorder = (plan: Plan, given: (...shape: number[]) => Tensor) => Tensor[];

function program(record: Recorder): Program {
  const plan = new Plan(engine().ops, 1, false);
  const random = new Random(8);
  const state = new Map<Tensor, Float32Array>();
  const results = record(plan, (...shape) => {
    const tensor = new Tensor(`given${state.size}`, shape, 'state');
    state.set(tensor, random.floats(tensor.elements(1)));
    return tensor;
  });
  for (const result of results) plan.keep(result);
  return { plan, state, results };
}

/** Runs it fused and unfused on every strict table, compares all bits, and returns the fused instructions' ops. */
function fused(record: Recorder): string[] {
  let ops: string[] = [];
  for (const table of strictTables) {
    const [whole, parts] = [true, false].map((fuse) => {
      const { plan, state, results } = program(record);
      const read = runPlan(plan, state, { fuse, table });
      if (fuse) ops = plan.instructions.map(({ op }) => op.name);
      return results.map(read);
    });
    for (const [i, values] of whole.entries()) expectSameBits(`result ${i} on ${table.name}`, values, parts[i]);
  }
  return ops;
}

const names = strictTables.map(({ name }) => name).join(', ');

describe(`rules that fire (${names})`, () => {
  test('gemm, addBias → gemm', () => {
    expect(fused((plan, given) => [plan.addBias(plan.gemm(given(m, k), given(k, n)), given(n))])).toEqual(['gemm']);
  });

  test.each(ELEMENTWISE)('gemm, %s → gemm', (name) => {
    const a = resolveActivation(name);
    expect(fused((plan, given) => [plan.activate(plan.gemm(given(m, k), given(k, n)), a)])).toEqual(['gemm']);
  });

  test.each(ELEMENTWISE)('gemm, addBias, %s → gemm, z kept beside y where someone reads it', (name) => {
    const a = resolveActivation(name);
    const record: Recorder = (plan, given) => {
      const z = plan.addBias(plan.gemm(given(m, k), given(k, n)), given(n));
      return [plan.activate(z, a), z];
    };
    expect(fused((plan, given) => record(plan, given).slice(0, 1))).toEqual(['gemm']);
    expect(fused(record)).toEqual(['gemm']);
  });

  test.each(ELEMENTWISE)("gemm, times %s' → gemm", (name) => {
    const a = resolveActivation(name);
    expect(fused((plan, given) => [plan.activationGradient(plan.gemm(given(m, k), given(n, k).T), given(m, n), a)])).toEqual(['gemm']);
  });
});

describe('neighbours that stay apart', () => {
  const relu = resolveActivation('relu');
  const cases: [what: string, record: Recorder, ops: string[]][] = [
    [
      'a bias after an activation',
      (plan, given) => [plan.addBias(plan.activate(plan.gemm(given(m, k), given(k, n)), relu), given(n))],
      ['gemm', 'addBias'],
    ],
    [
      'two biases',
      (plan, given) => [plan.addBias(plan.addBias(plan.gemm(given(m, k), given(k, n)), given(n)), given(n))],
      ['gemm', 'addBias'],
    ],
    [
      'two activations',
      (plan, given) => [plan.activate(plan.activate(plan.gemm(given(m, k), given(k, n)), relu), resolveActivation('tanh'))],
      ['gemm', 'activate'],
    ],
    [
      'a derivative after an activation',
      (plan, given) => [
        plan.activationGradient(plan.activate(plan.gemm(given(m, k), given(k, n)), resolveActivation('tanh')), given(m, n), relu),
      ],
      ['gemm', 'activationGradient'],
    ],
    [
      'a bias after a derivative',
      (plan, given) => [plan.addBias(plan.activationGradient(plan.gemm(given(m, k), given(k, n)), given(m, n), relu), given(n))],
      ['gemm', 'addBias'],
    ],
    [
      'a product that someone else reads, and a bias',
      (plan, given) => {
        const product = plan.gemm(given(m, k), given(k, n));
        return [plan.addBias(product, given(n)), product];
      },
      ['gemm', 'addBias'],
    ],
    [
      'a product that is read again later, and a derivative of it',
      (plan, given) => {
        const product = plan.gemm(given(m, k), given(k, n));
        return [plan.activationGradient(product, given(m, n), relu), plan.sumRows(product, plan.buffer('sum', [n]))];
      },
      ['gemm', 'activationGradient', 'sumRows'],
    ],
    [
      'a derivative that reads the product as its v',
      (plan, given) => {
        const product = plan.gemm(given(m, k), given(k, n));
        return [plan.activationGradient(given(m, n), product, relu)];
      },
      ['gemm', 'activationGradient'],
    ],
    [
      'a product that adds to what was there, and a bias into another place',
      (plan, given) => {
        const c = plan.activate(given(m, n), relu);
        const [a, b] = [given(m, k), given(k, n)];
        plan.emit('gemm', [m, n, k], { a, b, c }, { transpose: 0, beta: 1, activation: 0, parameter: 0 });
        return [plan.addBias(c, given(n))];
      },
      ['activate', 'gemm', 'addBias'],
    ],
  ];
  test.each(cases)('%s', (_, record, ops) => {
    expect(fused(record)).toEqual(ops);
  });
});

describe('any program', () => {
  const often = { weight: 5, arbitrary: fc.constant(0) };
  const step = fc.record({
    op: fc.constantFrom('gemm', 'gemm', 'addBias', 'activate', 'activate', 'activationGradient', 'softmax', 'sumRows'),
    /** Which of the earlier tensors it reads, the last one being 0. */
    of: fc.oneof(often, fc.nat(3)),
    with: fc.nat(5),
    activation: fc.constantFrom(...ELEMENTWISE),
    kept: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, fc.boolean()),
  });

  test(`has the same bits fused and unfused (${names})`, () => {
    let merged = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 2, maxLength: 15 }), (steps) => {
        const record: Recorder = (plan, given) => {
          const size = 9;
          const tensors = [given(size, size), given(size, size)];
          const results: Tensor[] = [];
          for (const step of steps) {
            const [x, other] = [step.of, step.with].map((back) => tensors[Math.max(tensors.length - 1 - back, 0)]);
            const activation = resolveActivation(step.activation);
            const y = {
              gemm: () => plan.gemm(x, other.T),
              addBias: () => plan.addBias(x, given(size)),
              activate: () => plan.activate(x, activation),
              activationGradient: () => plan.activationGradient(x, other, activation),
              softmax: () => plan.softmax(x),
              sumRows: () => (plan.sumRows(x, plan.buffer('sum', [size])), x),
            }[step.op]();
            tensors.push(y);
            if (step.kept && y.storage === 'buffer' && !results.includes(y)) results.push(y);
          }
          const last = tensors.at(-1)!;
          return last.storage === 'buffer' && !results.includes(last) ? [...results, last] : results;
        };
        const { plan } = program(record);
        plan.finish(64, { fuse: false });
        merged += plan.instructions.length - fused(record).length;
      }),
      { numRuns: 400 },
    );
    expect(merged).toBeGreaterThan(200);
  });
});

describe('training', () => {
  const train = async (fuse: boolean, isa: (typeof tables)[number], threads: number) => {
    const layers = (['gelu', 'relu', 'tanh', 'softplus', 'linear'] as const).map((activation, i) =>
      dense({ units: 20 + i, activation, useBias: i !== 2 }),
    );
    const model = sequential({ inputShape: [30], seed: 3, layers });
    model.compile({ optimizer: sgd({ momentum: 0.9 }), loss: 'softmaxCrossEntropy', fuse, strict: isa.strict, threads });
    const random = new Random(2);
    const [x, y] = [random.floats(50 * 30), random.labels(50, 24)];
    await model.fit({ data: x, shape: [50, 30] }, y, { epochs: 3, batchSize: 16 });
    return { weights: model.weights, instructions: model.plan.instructions.length };
  };

  test('three epochs, strict: the same weights fused and unfused, in fewer instructions', async () => {
    const strict = strictTables.at(-1)!;
    const parts = await train(false, strict, 1);
    const whole = await train(true, strict, 2);
    expect(whole.weights).toEqual(parts.weights);
    expect(whole.instructions).toBeLessThan(parts.instructions - 10);
  });
});
