// Plans: what recording refuses, what finishing drops and where it puts buffers, how a plan prints, and that the engine
// refuses every plan that it could not replay: each operand of each op is pushed past the arena's end by one byte.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { architecture } from '../src/architecture.js';
import { engine, type WatchedBatches } from '../src/engine.js';
import {
  activation,
  adam,
  batchNormalization,
  dense,
  dropout,
  GradmillError,
  layerNormalization,
  rmsNormalization,
  sequential,
  sgd,
} from '../src/index.js';
import { resolveLoss } from '../src/losses.js';
import type { OpName } from '../src/ops.js';
import { ALIGNMENT, FEED, type Instruction, Plan, Tensor } from '../src/plan.js';
import { Runtime } from '../src/runtime.js';
import { elementType } from '../src/tensor.js';
import { OPS, randomCase } from './cases.js';
import { onEngine, Random, record, tables } from './engines.js';
import { refusal } from './refusal.js';

const { ops } = engine();

describe('recording', () => {
  test('shapes that do not fit are refused by the layer that gave them', async () => {
    const plan = new Plan(ops, 8, true);
    const [x, w] = [new Tensor('x', ['batch', 3]), new Tensor('w', [4, 5])];
    const refused = (call: () => unknown) => refusal(() => plan.scope('dense1', call));
    const shape = "shape-mismatch: layer 'dense1': ";
    expect(await refused(() => plan.gemm(x, w))).toBe(`${shape}cannot multiply x [batch, 3] by w [4, 5]`);
    expect(await refused(() => plan.gemm(x.T, w.T))).toBe(`${shape}cannot multiply x [batch, 3].T by w [4, 5].T`);
    expect(await refused(() => plan.addBias(x, new Tensor('b', [4])))).toBe(`${shape}addBias expects bias of 3 f32, got b [4]`);
    const doubles = new Tensor('y', [3], 'buffer', 'f64');
    expect(await refused(() => plan.sumRows(x, doubles))).toBe(`${shape}sumRows expects y of 3 f32, got y [3]`);
    expect(await refused(() => plan.emit('addBias', x.shape, { x }))).toBe(`${shape}addBias needs bias`);
    expect(await refused(() => plan.emit('conv' as OpName, [], {}))).toBe("backend-unavailable: the engine has no op 'conv'");
    expect(plan.instructions).toEqual([]);
  });

  test('a scope ends with its record, also by an error', async () => {
    const plan = new Plan(ops, 8, true);
    await refusal(() => plan.scope('a', () => plan.scope('b', () => plan.emit('advance', [], {}))));
    plan.emit('resetTotals', [], { totals: new Tensor('totals', [8], 'state', 'f64') });
    expect(plan.instructions[0].scope).toBe('');
  });

  test('buffers of one scope have names of their own', () => {
    const plan = new Plan(ops, 8, true);
    const name = () => plan.scope('dense1', () => plan.buffer('z', [3]).name);
    expect([name(), name(), plan.buffer('z', [3]).name]).toEqual(['dense1.z', 'dense1.z2', '.z']);
  });

  test('the engine has every op that TypeScript names, and no other', () => {
    expect(OPS().sort()).toEqual([...ops.keys()].sort());
  });
});

const mlp = (fuse: boolean) => {
  const layers = [dense({ units: 32, activation: 'relu' }), dense({ units: 16, activation: 'gelu' }), dense({ units: 10 })];
  const model = sequential({ inputShape: [64], layers });
  model.compile({ optimizer: adam({ clipGlobalNorm: 1 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'], fuse });
  return model;
};

describe('a plan prints itself', () => {
  test('a training step, unfused', () => {
    expect(mlp(false).plan.toString()).toMatchInlineSnapshot(`
      "  0  input        gather               m=batch n=64 → y=x
        1  target       gatherLabels         m=batch n=10 feed=1 → labels=labels
        2  dense1       gemm                 m=batch n=32 k=64 a=x b=dense1/kernel → c=dense1.product
        3  dense1       addBias              m=batch n=32 x=dense1.product bias=dense1/bias → y=dense1.z
        4  dense1       activate             m=batch n=32 activation=3 x=dense1.z → y=dense1.y
        5  dense2       gemm                 m=batch n=16 k=32 a=dense1.y b=dense2/kernel → c=dense2.product
        6  dense2       addBias              m=batch n=16 x=dense2.product bias=dense2/bias → y=dense2.z
        7  dense2       activate             m=batch n=16 activation=7 x=dense2.z → y=dense2.y
        8  dense3       gemm                 m=batch n=10 k=16 a=dense2.y b=dense3/kernel → c=dense3.product
        9  dense3       addBias              m=batch n=10 x=dense3.product bias=dense3/bias → y=dense3.z
       10  loss         accuracy             m=batch n=10 threshold=0.5 x=dense3.z labels=labels → totals=totals
       11  loss         softmaxCrossEntropy  m=batch n=10 x=dense3.z labels=labels seed=lossSeed → rowLoss=loss.rowLoss dX=loss.dX
       12  loss         lossTotal            m=batch n=1 rowLoss=loss.rowLoss → loss=loss totals=totals
       13  dense3       gemm                 m=16 n=10 k=batch transpose=1 a=dense2.y b=loss.dX → c=dense3/kernel.grad
       14  dense3       sumRows              m=batch n=10 x=loss.dX → y=dense3/bias.grad
       15  dense3       gemm                 m=batch n=16 k=10 transpose=2 a=loss.dX b=dense3/kernel → c=dense3.product2
       16  dense2       activationGradient   m=batch n=16 activation=7 dY=dense3.product2 v=dense2.z → dX=dense2.dZ
       17  dense2       gemm                 m=32 n=16 k=batch transpose=1 a=dense1.y b=dense2.dZ → c=dense2/kernel.grad
       18  dense2       sumRows              m=batch n=16 x=dense2.dZ → y=dense2/bias.grad
       19  dense2       gemm                 m=batch n=32 k=16 transpose=2 a=dense2.dZ b=dense2/kernel → c=dense2.product2
       20  dense1       activationGradient   m=batch n=32 activation=3 dY=dense2.product2 v=dense1.y → dX=dense1.dZ
       21  dense1       gemm                 m=64 n=32 k=batch transpose=1 a=x b=dense1.dZ → c=dense1/kernel.grad
       22  dense1       sumRows              m=batch n=32 x=dense1.dZ → y=dense1/bias.grad
       23  optimizer    advance               → hyper=hyper
       24  optimizer    globalNormScale      m=2784 g=g hyper=hyper → partials=optimizer.partials scale=clipScale
       25  optimizer    adam                 m=2784 g=g hyper=hyper clip=clipScale → p=p moment1=moment1 moment2=moment2"
    `);
  });

  test('a training step, fused', () => {
    expect(mlp(true).plan.toString()).toMatchInlineSnapshot(`
      "  0  input        gather               m=batch n=64 → y=x
        1  target       gatherLabels         m=batch n=10 feed=1 → labels=labels
        2  dense1       gemm                 m=batch n=32 k=64 activation=3 a=x b=dense1/kernel bias=dense1/bias → c=dense1.y
        3  dense2       gemm                 m=batch n=16 k=32 activation=7 a=dense1.y b=dense2/kernel bias=dense2/bias → c=dense2.z y=dense2.y
        4  dense3       gemm                 m=batch n=10 k=16 a=dense2.y b=dense3/kernel bias=dense3/bias → c=dense3.z
        5  loss         accuracy             m=batch n=10 threshold=0.5 x=dense3.z labels=labels → totals=totals
        6  loss         softmaxCrossEntropy  m=batch n=10 x=dense3.z labels=labels seed=lossSeed → rowLoss=loss.rowLoss dX=loss.dX
        7  loss         lossTotal            m=batch n=1 rowLoss=loss.rowLoss → loss=loss totals=totals
        8  dense3       gemm                 m=16 n=10 k=batch transpose=1 a=dense2.y b=loss.dX → c=dense3/kernel.grad
        9  dense3       sumRows              m=batch n=10 x=loss.dX → y=dense3/bias.grad
       10  dense2       gemm                 m=batch n=16 k=10 transpose=2 activation=7 a=loss.dX b=dense3/kernel v=dense2.z → c=dense2.dZ
       11  dense2       gemm                 m=32 n=16 k=batch transpose=1 a=dense1.y b=dense2.dZ → c=dense2/kernel.grad
       12  dense2       sumRows              m=batch n=16 x=dense2.dZ → y=dense2/bias.grad
       13  dense1       gemm                 m=batch n=32 k=16 transpose=2 activation=3 a=dense2.dZ b=dense2/kernel v=dense1.y → c=dense1.dZ
       14  dense1       gemm                 m=64 n=32 k=batch transpose=1 a=x b=dense1.dZ → c=dense1/kernel.grad
       15  dense1       sumRows              m=batch n=32 x=dense1.dZ → y=dense1/bias.grad
       16  optimizer    advance               → hyper=hyper
       17  optimizer    globalNormScale      m=2784 g=g hyper=hyper → partials=optimizer.partials scale=clipScale
       18  optimizer    adam                 m=2784 g=g hyper=hyper clip=clipScale → p=p moment1=moment1 moment2=moment2"
    `);
  });

  test('a prediction', () => {
    const model = sequential({
      inputShape: [2],
      layers: [dense({ units: 8, activation: 'tanh' }), dense({ units: 3 }), activation('softmax')],
    });
    expect(model.plan.toString()).toMatchInlineSnapshot(`
      "  0  input        gather               m=batch n=2 → y=x
        1  dense1       gemm                 m=batch n=8 k=2 activation=2 a=x b=dense1/kernel bias=dense1/bias → c=dense1.y
        2  dense2       gemm                 m=batch n=3 k=8 a=dense1.y b=dense2/kernel bias=dense2/bias → c=dense2.z
        3  activation1  softmax              m=batch n=3 x=dense2.z → y=activation1.y
        4  output       scatter              m=batch n=3 feed=3 x=activation1.y"
    `);
  });
});

type Purpose = 'predict' | 'train:labels' | 'evaluate:labels' | 'gradients:labels';

const BETWEEN = { batchNormalization, layerNormalization, rmsNormalization, dropout: () => dropout({ rate: 0.5 }) };

/** A random network's plan of a kind. */
function planOf(
  kind: Purpose,
  shape: {
    units: number[];
    columns: number;
    batch: number;
    bias: boolean;
    fuse: boolean;
    activation: 'relu' | 'gelu' | 'softmax';
    between: (keyof typeof BETWEEN)[];
  },
) {
  const between = shape.between.map((kind) => BETWEEN[kind]());
  const layers = shape.units.flatMap((units) => [dense({ units, useBias: shape.bias, activation: shape.activation }), ...between]);
  const runtime = new Runtime(engine(), architecture([shape.columns], layers), 1, undefined);
  const loss = resolveLoss('softmaxCrossEntropy');
  runtime.compile({ optimizer: sgd({ momentum: 0.9 }), loss, accuracy: true, fuse: shape.fuse, threads: 1, strict: false });
  return { runtime, ...runtime.plan(kind, shape.batch) };
}

const buffersOf = ({ op, operands }: Instruction) =>
  op.operands.flatMap(({ name, written }) =>
    name in operands && operands[name].storage === 'buffer' ? [{ tensor: operands[name], written }] : [],
  );

describe('finishing', () => {
  const networks = fc.record({
    units: fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 4 }),
    columns: fc.integer({ min: 1, max: 70 }),
    batch: fc.integer({ min: 1, max: 40 }),
    bias: fc.boolean(),
    fuse: fc.boolean(),
    activation: fc.constantFrom('relu' as const, 'gelu' as const, 'softmax' as const),
    between: fc.subarray(Object.keys(BETWEEN) as (keyof typeof BETWEEN)[]),
  });
  const kinds: Purpose[] = ['predict', 'train:labels', 'evaluate:labels', 'gradients:labels'];

  test.each(kinds)('%s: buffers that live at the same time lie apart, and are written before they are read', (kind) => {
    fc.assert(
      fc.property(networks, (shape) => {
        const { plan, lossGradients } = planOf(kind, shape);
        const lives = new Map<Tensor, { first: number; last: number }>();
        plan.instructions.forEach((instruction, i) => {
          for (const { tensor, written } of buffersOf(instruction)) {
            if (!lives.has(tensor) && !written) expect.fail(`${tensor.name} is read before it is written`);
            lives.set(tensor, { first: lives.get(tensor)?.first ?? i, last: lossGradients.includes(tensor) ? Infinity : i });
          }
        });
        const all = [...lives].map(([tensor, life]) => ({
          ...life,
          tensor,
          start: tensor.offset,
          end: tensor.offset + tensor.elements(shape.batch) * 4,
        }));
        for (const a of all) {
          expect(a.start % ALIGNMENT).toBe(0);
          for (const b of all)
            if (a !== b && a.first <= b.last && b.first <= a.last && a.start < b.end && b.start < a.end)
              expect.fail(`${a.tensor.name} and ${b.tensor.name} share bytes`);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('what nobody reads is dropped: the loss gradient at the input, unless it is asked for', () => {
    const shape = { units: [20, 10], columns: 30, batch: 16, bias: true, fuse: false, activation: 'relu' as const, between: [] };
    const inputGradients = (kind: Purpose) =>
      planOf(kind, shape).plan.instructions.filter(({ op, dims }) => op.name === 'gemm' && dims.join() === 'batch,30,20').length;
    expect(inputGradients('train:labels')).toBe(0);
    expect(inputGradients('gradients:labels')).toBe(1);
    expect(planOf('evaluate:labels', shape).plan.instructions.some(({ operands }) => 'dX' in operands)).toBe(false);
  });

  test('a product that adds to a buffer keeps what the buffer held', () => {
    const plan = new Plan(ops, 8, false);
    const [a, b] = [new Tensor('a', ['batch', 3], 'state'), new Tensor('b', [3, 5], 'state')];
    const c = plan.gemm(a, b);
    plan.emit('gemm', ['batch', 5, 3], { a, b, c }, { transpose: 0, beta: 1, activation: 0, parameter: 0 });
    plan.gemm(a, b); // and one that nobody reads
    plan.emit('scatter', c.shape, { x: c }, { feed: FEED.output });
    plan.finish(ALIGNMENT, { fuse: true });
    expect(plan.instructions.map(({ op, immediates }) => [op.name, immediates.beta])).toEqual([
      ['gemm', 0],
      ['gemm', 1],
      ['scatter', undefined],
    ]);
  });

  test('dead buffers share memory: a deep network needs little more of it than a shallow one', () => {
    const bytes = (depth: number) => {
      const { plan } = planOf('predict', {
        units: new Array<number>(depth).fill(64),
        columns: 64,
        batch: 32,
        bias: true,
        fuse: true,
        activation: 'relu',
        between: [],
      });
      const places = plan.instructions.flatMap((instruction) => buffersOf(instruction).map(({ tensor }) => tensor.offset));
      return Math.max(...places) - Math.min(...places);
    };
    expect(bytes(12)).toBe(bytes(3));
  });
});

/** Loads the words over an arena. */
const load = (words: Uint32Array, bytes: number) => engine().load(engine().allocate(bytes), words, { strict: false, threads: 2 });
const REFUSED = 'backend-unavailable: the engine refused a plan: instruction 0: ';

describe('the engine bounds every operand', () => {
  test.each([...ops.keys()])('%s', async (op) => {
    const { operands } = ops.get(op)!;
    const pushed = new Set<string>();
    for (let seed = 1; seed <= 60; seed++) {
      const given = randomCase(op, new Random(seed), seed % 2 === 0 ? { m: 5, n: 7, k: 3 } : { m: 4097, n: 2, k: 3 });
      const { plan, tensors, bytes } = record(given);
      for (const { name, extent, type, optional } of operands) {
        if (!(name in tensors) || pushed.has(name)) continue;
        pushed.add(name);
        const tensor = tensors[name];
        const place = tensor.offset;
        const needed = extent(given.dims) * (type === 'f64' ? 8 : 4);
        const outside = `${REFUSED}an operand out of bounds: ${name}`;
        expect(needed).toBeGreaterThan(0);
        tensor.offset = bytes; // behind all others
        load(plan.encode(), bytes + needed);
        expect(await refusal(() => load(plan.encode(), bytes + needed - 1))).toBe(outside);
        tensor.offset = 0xffffffff * ALIGNMENT;
        expect(await refusal(() => load(plan.encode(), bytes + needed))).toBe(outside);
        tensor.offset = 0;
        if (!optional) expect(await refusal(() => load(plan.encode(), bytes))).toBe(`${REFUSED}a missing operand: ${name}`);
        tensor.offset = place;
      }
    }
    expect([...pushed].sort()).toEqual(operands.map(({ name }) => name).sort());
  });
});

describe('malformed plans are refused', () => {
  const words = (name: OpName, sizes = { m: 5, n: 7, k: 3 }, seed = 2) =>
    record({ ...randomCase(name, new Random(seed), sizes), batch: undefined }).plan.encode();
  const at = { op: 0, dims: 1, immediates: 4, operands: 8 };
  const NAN = 0x7fc00000;

  /** The op's words with some replaced. */
  const changed = (name: OpName, changes: Record<number, number>, sizes?: { m: number; n: number; k: number }): Uint32Array => {
    const encoded = words(name, sizes);
    for (const [word, value] of Object.entries(changes)) encoded[Number(word)] = value;
    return encoded;
  };
  const cases: [what: string, reason: string, plan: Uint32Array][] = [
    ['an opcode past the last', 'unknown opcode', changed('fill', { 0: ops.size })],
    ['an opcode of all ones', 'unknown opcode', changed('fill', { 0: 0xffff })],
    [
      "a batch dimension past the op's",
      'a batch dimension that the op does not have',
      changed('fill', { 0: ops.get('fill')!.code | (2 << 16) }),
    ],
    ['a second dimension of an op with one', 'a dimension that the op does not have', changed('fill', { [at.dims + 1]: 1 })],
    ['a dimension of 2³¹', 'a dimension is too large', changed('fill', { [at.dims]: 0x80000000 })],
    ['a batch of no rows', 'batch sizes differ', changed('fill', { 0: ops.get('fill')!.code | (1 << 16), [at.dims]: 0 })],
    ['sizes whose product overflows', 'an operand out of bounds: a', changed('gemm', { 1: 0x7fffffff, 2: 0x7fffffff, 3: 0x7fffffff })],
    ['a product of 2⁶² elements of 8 bytes', 'an operand out of bounds: p', changed('adam', { 1: 0x7fffffff })],
    ["an operand past the op's", 'an operand that the op does not have', changed('fill', { [at.operands + 1]: 2 })],
    ['unknown transposes', 'unknown transpose bits', changed('gemm', { [at.immediates]: 4 })],
    ['an unknown activation of a product', 'unknown activation', changed('gemm', { [at.immediates + 2]: 15 })],
    ['a beta of NaN', 'an immediate is not finite', changed('gemm', { [at.immediates + 1]: NAN })],
    ['an infinite parameter', 'an immediate is not finite', changed('gemm', { [at.immediates + 3]: 0x7f800000 })],
    ['an unknown activation', 'unknown activation', changed('activate', { [at.immediates]: 15 })],
    ['an unknown derivative', 'unknown activation', changed('activationGradient', { [at.immediates]: 0xffffffff })],
    ['rows of no columns', 'no columns', changed('softmax', { [at.dims + 1]: 0 })],
    ['gradients of no columns', 'no columns', changed('softmaxGradient', { [at.dims + 1]: 0 })],
    ['a loss of no columns', 'no columns', changed('huber', { [at.dims + 1]: 0 })],
    ['an accuracy of no columns', 'no columns', changed('accuracy', { [at.dims + 1]: 0 })],
    ['an unknown reduction', 'unknown reduction', changed('meanSquaredError', { [at.immediates]: 2 })],
    ['neither labels nor targets', 'exactly one of labels and t must be given', changed('softmaxCrossEntropy', { 9: 0, 10: 0 })],
    ['labels and targets', 'exactly one of labels and t must be given', changed('categoricalCrossEntropy', { 9: 2, 10: 2 })],
    ['an accuracy of nothing', 'exactly one of labels and t must be given', changed('accuracy', { 9: 0, 10: 0 })],
    ['a mean without scale', 'mean and scale go together', changed('gather', { 9: 2, 10: 0 })],
    ['an unknown feed to read', 'unknown feed', changed('gather', { [at.immediates]: 4 })],
    ['an unknown feed of labels', 'unknown feed', changed('gatherLabels', { [at.immediates]: 4 })],
    ['an unknown feed to write', 'unknown feed', changed('scatter', { [at.immediates]: FEED.samples })],
    ['an unknown feed to shuffle', 'unknown feed', changed('shuffle', { [at.immediates]: FEED.samples })],
  ];
  test.each(cases)('%s: %s', async (_, reason, plan) => {
    expect(await refusal(() => load(plan, 2 ** 16))).toBe(REFUSED + reason);
  });

  test('batches of two sizes in one plan, told by the instruction', async () => {
    const two = new Uint32Array(32);
    for (const [i, m] of [5, 6].entries()) two.set(changed('fill', { 0: ops.get('fill')!.code | (1 << 16), [at.dims]: m }), i * 16);
    expect(await refusal(() => load(two, 2 ** 16))).toMatch(/instruction 1: batch sizes differ$/);
  });

  test('an arena without room for the control block', async () => {
    expect(await refusal(() => load(new Uint32Array(), 23))).toMatch(/the arena is too small$/);
  });

  test('words of any kind are loaded or refused, never more', async () => {
    const word = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.nat(), fc.integer().map((value) => value >>> 0)); // prettier-ignore
    await fc.assert(
      fc.asyncProperty(fc.array(word, { minLength: 16, maxLength: 64 }), async (values) => {
        const attempt = () => {
          load(Uint32Array.from(values), 2 ** 14);
          throw new GradmillError('invalid-argument', 'nothing, it was loaded');
        };
        expect(await refusal(attempt)).toMatch(/nothing, it was loaded$|^backend-unavailable: the engine refused a plan: instruction \d: /);
      }),
      { numRuns: 2000 },
    );
  });

  test.each(['softmaxCrossEntropy', 'categoricalCrossEntropy'] as const)('%s: a label that no gather has checked stops the run', (op) => {
    for (const label of [2, -1, 0x7fffffff, -0x80000000]) {
      const operands = { x: new Float32Array(8).fill(0.5), labels: Int32Array.of(0, 1, label, 1), seed: Float32Array.of(1) };
      for (const table of tables) {
        const { fault } = onEngine({ op, dims: [4, 2], immediates: { reduction: 0, labelSmoothing: 0 }, operands }, table);
        expect(fault).toEqual({ kind: 'labelOutOfRange', row: 2 });
      }
    }
  });
});

describe('runs that a program cannot do are refused', () => {
  const plan = new Plan(ops, 8, false);
  const x = new Tensor('x', ['batch', 3], 'state');
  const state = new Tensor('state', [4], 'state', 'u32');
  [x.offset, state.offset] = [64, 256];
  plan.emit('gather', x.shape, { y: x }, { feed: FEED.input });
  plan.emit('scatter', x.shape, { x }, { feed: FEED.output });
  plan.emit('shuffle', [], { state }, { feed: FEED.order });
  const program = () => load(plan.encode(), 1024);
  const data = (type: Float32ArrayConstructor | Uint32ArrayConstructor | Float64ArrayConstructor, rows: number, columns: number) => {
    const array = new type(rows * columns);
    return [engine().allocate(array.byteLength).handle, elementType(array), rows, columns] as const;
  };

  test('ranges outside the program, batches larger than its own, none at all', () => {
    for (const [from, to] of [[0, 4], [2, 1], [4, 4]]) expect(() => program().run(from, to, 0, 0, 0)).toThrow('the range lies outside the program'); // prettier-ignore
    expect(() => program().run(2, 2, 0, 20, 9)).toThrow("the batch is larger than the program's");
    expect(() => program().run(2, 2, 0, 20, 0)).toThrow("the batch is larger than the program's");
    expect(() => program().run(2, 2, 0, 20, 8)).not.toThrow();
  });

  test('data sets missing, or of another shape or type', () => {
    const fed = program();
    const run = (from: number) => fed.run(from, from + 1, 0, 4, 4);
    expect(() => run(0)).toThrow('a data set is missing');
    expect(() => run(1)).toThrow('a data set is missing');
    expect(() => run(2)).toThrow('a data set is missing');
    fed.feed(FEED.input, ...data(Float32Array, 4, 2));
    expect(() => run(0)).toThrow('a data set has the wrong number of columns');
    fed.feed(FEED.output, ...data(Float64Array, 4, 3));
    expect(() => run(1)).toThrow('the output must be float32');
    fed.feed(FEED.order, ...data(Float32Array, 4, 1));
    expect(() => run(2)).toThrow('the order must be uint32');
    fed.feed(FEED.input, ...data(Float32Array, 4, 3));
    expect(() => run(0)).toThrow('the order must be uint32');
    fed.feed(FEED.order, ...data(Uint32Array, 4, 1));
    expect(run(0)).toBe(true);
    expect(run(2)).toBe(true);
    const [handle, type] = data(Float32Array, 4, 3);
    expect(() => fed.feed(FEED.input, handle, type, 5, 3)).toThrow('the data set is larger than its memory');
  });

  test('times of another type, for other instructions, or of fewer batches', () => {
    const fed = program();
    const run = (from: number, to: number, rows: number) => fed.run(from, to, 0, rows, 4);
    fed.feed(FEED.input, ...data(Float32Array, 16, 3));
    fed.feed(FEED.output, ...data(Float32Array, 16, 3));
    fed.feed(FEED.times, ...data(Float32Array, 3, 2));
    expect(() => run(0, 2, 12)).toThrow('the times must be float64, one an instruction');
    fed.feed(FEED.times, ...data(Float64Array, 3, 2));
    expect(() => run(0, 1, 12)).toThrow('the times must be float64, one an instruction');
    expect(() => run(0, 2, 13)).toThrow('the times are of fewer batches');
    expect(() => run(0, 2, 0)).toThrow('the times are of fewer batches');
    expect(run(0, 2, 12)).toBe(true);
    expect(run(0, 2, 9)).toBe(true);
    fed.feed(FEED.times, undefined, 0, 0, 0);
    expect(run(0, 1, 12)).toBe(true);
  });

  test('watched batches out of the program, samples of another type or too few, figures outside the arena', () => {
    const fed = program();
    const run = (rows: number, ...watch: Partial<WatchedBatches>) => fed.run(2, 2, 0, rows, 4, ...watch);
    const samples = (type: Float32ArrayConstructor | Float64ArrayConstructor, rows: number, width = 8) =>
      fed.feed(FEED.samples, ...data(type, rows, width));
    expect(() => run(12, 2, 0, 2, 2, 1)).toThrow('the samples must be float64');
    samples(Float32Array, 2);
    expect(() => run(12, 2, 0, 2, 2, 1)).toThrow('the samples must be float64');
    samples(Float64Array, 2);
    for (const [from, to] of [[2, 1], [0, 4], [4, 4]]) expect(() => run(12, 2, 0, from, to, 1)).toThrow('the range lies outside the program'); // prettier-ignore
    expect(() => run(12, 2, 0, 0, 1, 1)).toThrow('a data set is missing');
    for (const phase of [2, 3, 0xffffffff]) expect(() => run(12, 2, phase, 2, 2, 1)).toThrow('the phase is not below');
    expect(() => run(0, 2, 0, 2, 2, 1)).toThrow('no batches');
    // Of batches 0 to 4, the first, third and fifth; the second and fourth.
    expect(() => run(20, 2, 0, 2, 2, 1)).toThrow('the samples are of fewer batches');
    expect(run(20, 2, 1, 2, 2, 1)).toBe(true);
    expect(run(16, 2, 0, 2, 2, 1)).toBe(true);
    expect(() => run(17, 2, 0, 2, 2, 1)).toThrow('the samples are of fewer batches');
    expect(run(9, 0xffffffff, 0xfffffffe, 2, 2, 1)).toBe(true);
    // The arena has 16 lines of 8 doubles.
    expect(run(4, 1, 0, 2, 2, 15)).toBe(true);
    for (const line of [16, 17, 0xffffffff]) expect(() => run(4, 1, 0, 2, 2, line)).toThrow('the figures lie outside the arena');
    samples(Float64Array, 2, 9);
    expect(run(4, 1, 0, 2, 2, 14)).toBe(true);
    expect(() => run(4, 1, 0, 2, 2, 15)).toThrow('the figures lie outside the arena');
    fed.feed(FEED.times, ...data(Float64Array, 3, 0));
    expect(() => run(4, 1, 0, 2, 2, 1)).toThrow('a watched run keeps no times');
    expect(() => run(4, 0, 7, 9, 8, 0xffffffff)).not.toThrow();
  });

  test('a watched batch runs its own instructions, and leaves its figures in the next row', () => {
    const [rows, batch] = [18, 4];
    const own = new Plan(ops, batch, false);
    const value = new Tensor('value', ['batch', 1], 'state');
    const other = new Tensor('other', [16], 'state');
    [value.offset, other.offset] = [64, 128];
    own.emit('gather', value.shape, { y: value }, { feed: FEED.input });
    own.emit('gather', value.shape, { y: value }, { feed: FEED.input });
    own.emit('fill', [16], { y: other }, { value: 0.5 });
    for (const [every, phase, watched] of [
      [1, 0, [0, 1, 2, 3, 4]],
      [2, 0, [0, 2, 4]],
      [2, 1, [1, 3]],
      [3, 1, [2]],
      [5, 0, [0]],
      [5, 1, [4]],
      [7, 1, []],
    ] as const) {
      const fed = load(own.encode(), 1024);
      const inputs = engine().allocate(rows * 4);
      new Float32Array(inputs.bytes().buffer, inputs.bytes().byteOffset, rows).set(Float32Array.from({ length: rows }, (_, i) => i + 1));
      fed.feed(FEED.input, inputs.handle, elementType(new Float32Array()), rows, 1);
      const samples = engine().allocate(6 * 16 * 8);
      fed.feed(FEED.samples, samples.handle, elementType(new Float64Array()), 6, 16);
      expect(fed.run(0, 1, 0, rows, batch, every, phase, 1, 3, 1)).toBe(true);
      const floats = new Float32Array(samples.bytes().buffer, samples.bytes().byteOffset, 6 * 32);
      const expected = Array.from({ length: 6 }, (_, i) => (i < watched.length ? [watched[i] * batch + 1, 0.5] : [0, 0]));
      expect(Array.from({ length: 6 }, (_, i) => [floats[i * 32], floats[i * 32 + 31]])).toEqual(expected);
    }
  });

  test('rows past the data set, or past its order, stop the run', () => {
    const fed = program();
    fed.feed(FEED.input, ...data(Float32Array, 6, 3));
    fed.feed(FEED.output, ...data(Float32Array, 6, 3));
    expect(fed.run(0, 2, 0, 6, 4)).toBe(true);
    for (const [from, firstRow] of [
      [0, 3],
      [1, 3],
      [0, 2 ** 40],
    ]) {
      // prettier-ignore
      const late = program();
      late.feed(FEED.input, ...data(Float32Array, 6, 3));
      late.feed(FEED.output, ...data(Float32Array, 6, 3));
      expect(late.run(from, from + 1, firstRow, 4, 4)).toBe(false);
    }
    const ordered = program();
    ordered.feed(FEED.input, ...data(Float32Array, 6, 3));
    ordered.feed(FEED.order, ...data(Uint32Array, 3, 1));
    expect(ordered.run(0, 1, 0, 4, 4)).toBe(false);
  });
});
