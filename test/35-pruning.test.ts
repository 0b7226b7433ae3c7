// Masks under every optimizer and in files; magnitude pruning by exact counts; units removed without a bit of change.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  activation,
  adagrad,
  adam,
  adamW,
  batchNormalization,
  dense,
  dropout,
  l1,
  layerNormalization,
  loadModel,
  type Optimizer,
  rmsprop,
  type Sequential,
  sequential,
  sgd,
  tensor,
} from '../src/index.js';
import { masksOf, pruneByMagnitude, pruningSchedule, removableUnits, removeUnits, setMasks, sparsity } from '../src/pruning/index.js';
import { decodeSafetensors, encodeSafetensors, type SafetensorsTensor } from '../src/safetensors.js';
import { bitsOf } from './bits.js';
import { Random } from './engines.js';
import { refusal } from './refusal.js';

const any = (value: unknown) => value as never;
const ROWS = 40;
const random = new Random(8);
const x = tensor(random.floats(ROWS * 6), [ROWS, 6]);
const y = Array.from(random.labels(ROWS, 4));

function network(optimizer: Optimizer = sgd({ learningRate: 0.1 }), units: readonly number[] = [9, 7, 4], seed = 5) {
  const last = units.length - 1;
  const layers = units.map((count, i) => dense({ units: count, activation: i < last ? 'tanh' : 'linear' }));
  const model = sequential({ inputShape: [6], seed, layers });
  model.compile({ optimizer, loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
  return model;
}

/** Zeros and ones, about half of each. */
const drawn = (length: number, seed: number) => {
  const source = new Random(seed);
  return Uint8Array.from({ length }, () => source.integer(2));
};
const randomMasks = (model: Sequential) => model.weights.map(({ name, data }, i) => ({ name, data: drawn(data.length, i + 1) }));
const dataOf = (model: Sequential, name: string) => model.weights.find((weight) => weight.name === name)!.data;

const optimizers: Record<string, () => Optimizer> = {
  sgd: () => sgd({ learningRate: 0.1 }),
  'sgd with momentum, decay and both clips': () =>
    sgd({ learningRate: 0.1, momentum: 0.9, weightDecay: 0.1, clipValue: 0.5, clipGlobalNorm: 1 }),
  "sgd with Nesterov's momentum": () => sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true }),
  rmsprop: () => rmsprop({ weightDecay: 0.1 }),
  adagrad: () => adagrad({ weightDecay: 0.1, clipGlobalNorm: 1 }),
  adam: () => adam({ weightDecay: 0.1 }),
  adamW: () => adamW({ weightDecay: 0.1, clipValue: 0.01 }),
};

describe.each(Object.entries(optimizers))('masks and %s', (_, make) => {
  test('what is pruned in mid-training is 0 from then on, and the rest learns', async () => {
    const model = network(make());
    await model.fit(x, y, { epochs: 2, batchSize: 8 });
    const masks = randomMasks(model);
    await setMasks(model, masks);
    const before = model.weights;
    const check = () => {
      for (const [i, { name, data }] of model.weights.entries())
        data.forEach((weight, j) => {
          if (masks[i].data[j] === 0 && !Object.is(weight, 0)) expect.fail(`${name}[${j}] is ${weight}`);
        });
    };
    check();
    await model.fit(x, y, { epochs: 3, batchSize: 8, onBatch: check });
    check();
    for (const [i, { data }] of model.weights.entries())
      expect(data.some((weight, j) => masks[i].data[j] === 1 && weight !== before[i].data[j])).toBe(true);
  });

  test('setting masks leaves moments, hyper-parameters and the other weights as they are', async () => {
    // Input 0 is always 0: what its weights are does not matter, and their gradients are 0.
    const blind = tensor(
      x.data.map((value, i) => (i % 6 === 0 ? 0 : value)),
      [ROWS, 6],
    );
    const train = async (prune: boolean) => {
      const model = network(make());
      const kernel = dataOf(model, 'dense1/kernel');
      model.setWeights([{ name: 'dense1/kernel', data: kernel.map((weight, i) => (i < 9 ? 0 : weight)) }]);
      const masks = [{ name: 'dense1/kernel', data: kernel.map((_, i) => (i < 9 ? 0 : 1)) }];
      const onBatch = async ({ batch }: { batch: number }) => {
        if (prune && batch === 2) await setMasks(model, masks);
        if (prune && batch === 4) await setMasks(model, []);
      };
      await model.fit(blind, y, { epochs: 2, batchSize: 8, onBatch });
      return model.weights;
    };
    expect(bitsOf(await train(true))).toEqual(bitsOf(await train(false)));
  });
});

describe('masks', () => {
  test('a model without any has the plan it always had, and gets it back', async () => {
    const model = network(adam({ clipGlobalNorm: 1 }));
    const plan = model.plan.toString();
    expect(plan).not.toContain('Mask');
    await setMasks(model, [{ name: 'dense2/kernel', data: new Uint8Array(63) }]);
    const ops = model.plan.instructions.filter(({ scope }) => scope === 'optimizer').map(({ op }) => op.name);
    expect(ops).toEqual(['applyMask', 'advance', 'globalNormScale', 'adam', 'applyMask']);
    await setMasks(model, [{ name: 'dense2/kernel', data: new Uint8Array(63).fill(1) }]);
    expect(model.plan.toString()).toBe(plan);
    expect(await masksOf(model)).toEqual([]);
  });

  test('a pruned gradient does not count in the global norm', async () => {
    const step = async (columns: number, masked: boolean) => {
      const model = sequential({ inputShape: [columns], layers: [dense({ units: 1, useBias: false, kernelInitializer: 'zeros' })] });
      model.compile({ optimizer: sgd({ learningRate: 1, clipGlobalNorm: 0.5 }), loss: 'meanSquaredError' });
      if (masked) await setMasks(model, [{ name: 'dense1/kernel', data: [1, 0] }]);
      await model.trainOnBatch(tensor([1, 1000].slice(0, columns), [1, columns]), [1]);
      return model.weights[0].data[0];
    };
    expect(await step(2, true)).toBe(await step(1, false));
    expect(await step(2, false)).toBeLessThan(0.01 * (await step(1, false)));
  });

  test('hold against setWeights, compile and proximal steps; the loss’s gradient is told all the same', async () => {
    const model = sequential({ inputShape: [6], layers: [dense({ units: 4, kernelRegularizer: l1(0.01) })] });
    const mask = Uint8Array.from({ length: 24 }, (_, i) => i % 2);
    model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' });
    await setMasks(model, [{ name: 'dense1/kernel', shape: [6, 4], data: mask }]);
    model.setWeights([{ name: 'dense1/kernel', data: new Float32Array(24).fill(2) }]);
    expect([...dataOf(model, 'dense1/kernel')]).toEqual(Array.from(mask, (kept) => 2 * kept));
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    await model.fit(x, y, { epochs: 2 });
    expect(Array.from(dataOf(model, 'dense1/kernel'), (weight) => Number(weight !== 0))).toEqual([...mask]);
    expect((await model.gradients(x, y)).weights[0].data.every((slope) => slope !== 0)).toBe(true);
    expect(await sparsity(model)).toEqual({
      elements: 24,
      pruned: 12,
      zeros: 12,
      share: 0.5,
      weights: [{ name: 'dense1/kernel', elements: 24, pruned: 12, zeros: 12 }],
    });
  });

  test('are all replaced at once; weights that are no longer pruned start from 0', async () => {
    const model = network();
    const [first] = model.weights;
    await setMasks(model, [{ name: 'dense1/kernel', data: first.data.map((_, i) => Number(i > 0)) }]);
    await setMasks(model, [{ name: 'dense2/bias', data: [0, 1, 1, 1, 1, 1, 0] }]);
    expect((await masksOf(model)).map(({ name, shape, data }) => [name, shape, [...data]])).toEqual([
      ['dense2/bias', [7], [0, 1, 1, 1, 1, 1, 0]],
    ]);
    expect(dataOf(model, 'dense1/kernel')[0]).toBe(0);
    await model.trainOnBatch(x, y);
    expect(dataOf(model, 'dense1/kernel')[0]).not.toBe(0);
    expect((await sparsity(model)).weights.map(({ name }) => name)).toEqual([
      'dense1/kernel',
      'dense2/kernel',
      'dense2/bias',
      'dense3/kernel',
    ]);
  });

  test('that make no sense are refused, and change nothing', async () => {
    const model = network();
    const before = model.weights;
    const give = (masks: unknown) => refusal(() => setMasks(model, any(masks)));
    expect(await give([{ name: 'dense1/kernal', data: [] }])).toBe(
      "unknown-name: unknown weight 'dense1/kernal', did you mean 'dense1/kernel'?",
    );
    expect(await give([{ name: 'dense2/bias', data: [1] }])).toMatch(
      /^shape-mismatch: setMasks: 'dense2\/bias': shape \[7\] needs 7 numbers, got 1$/,
    );
    expect(await give([{ name: 'dense2/bias', data: [1, 1, 0.5, 1, 1, 1, 1] }])).toBe(
      "invalid-argument: setMasks: 'dense2/bias': element 2: expected 0 or 1, got 0.5",
    );
    expect(await give('none')).toMatch(/^invalid-argument: setMasks: expected an array/);
    expect(bitsOf(model.weights)).toEqual(bitsOf(before));
    model.dispose();
    expect(await give([])).toMatch(/^disposed/);
  });
});

describe('masks in a file', () => {
  const pruned = async () => {
    const model = network(adam());
    await model.fit(x, y, { epochs: 1 });
    await pruneByMagnitude(model, { share: 0.6 });
    return model;
  };

  test('come back, and training goes on with the same bits', async () => {
    const model = await pruned();
    const loaded = await loadModel(await model.serialize());
    expect(await masksOf(loaded)).toEqual(await masksOf(model));
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    for (const one of [model, loaded]) await one.fit(x, y, { epochs: 3, batchSize: 8 });
    expect(bitsOf(loaded.weights)).toEqual(bitsOf(model.weights));
    expect((await sparsity(loaded)).pruned).toBe((await sparsity(model)).pruned);
  });

  test('are a byte for each number, behind the floats; nothing pruned, nothing written', async () => {
    const { tensors } = decodeSafetensors(await (await pruned()).serialize());
    expect(tensors.map(({ name, dtype }) => `${name} ${dtype}`)).toEqual([
      ...['dense1/kernel', 'dense1/bias', 'dense2/kernel', 'dense2/bias', 'dense3/kernel', 'dense3/bias'].map((name) => `${name} F32`),
      ...['dense1/kernel', 'dense2/kernel', 'dense3/kernel'].map((name) => `${name}.mask U8`),
    ]);
    expect(decodeSafetensors(await network().serialize()).tensors).toHaveLength(6);
  });

  const at = (tensors: readonly SafetensorsTensor[], name: string, change: (tensor: SafetensorsTensor) => object) =>
    tensors.map((tensor) => (tensor.name === name ? { ...tensor, ...change(tensor) } : tensor));
  const cases: Record<string, [change: (tensors: SafetensorsTensor[]) => SafetensorsTensor[], says: RegExp]> = {
    'a mask of 2': [
      (tensors) => at(tensors, 'dense1/kernel.mask', ({ data }) => ({ data: Uint8Array.from(data, (value, i) => (i === 3 ? 2 : value)) })),
      /masks: 'dense1\/kernel': element 3: expected 0 or 1, got 2$/,
    ],
    'a pruned weight that is not 0': [
      (tensors) => at(tensors, 'dense2/kernel', ({ data }) => ({ data: Float32Array.from(data).fill(0.5) })),
      /weight 'dense2\/kernel': element \d+ is pruned, but not 0$/,
    ],
    'a mask turned round': [
      (tensors) => at(tensors, 'dense1/kernel.mask', ({ shape }) => ({ shape: [...shape].reverse() })),
      /masks: 'dense1\/kernel': expected shape \[6, 9\], got \[9, 6\]$/,
    ],
    'a mask of nothing': [
      (tensors) => at(tensors, 'dense1/kernel.mask', () => ({ name: 'dense9/kernel.mask' })),
      /unknown weight 'dense9\/kernel'/,
    ],
    'a mask of floats': [
      (tensors) => at(tensors, 'dense1/kernel.mask', ({ data }) => ({ dtype: 'F32', data: Float32Array.from(data) })),
      /weight 'dense1\/kernel\.mask': expected no such weight/,
    ],
    'a weight of bytes': [
      (tensors) => at(tensors, 'dense3/bias', () => ({ dtype: 'U8', data: new Uint8Array(4) })),
      /weight 'dense3\/bias': expected no such weight, the file has shape bytes of \[4\]$/,
    ],
  };
  test.each(Object.entries(cases))('%s is refused', async (_, [change, says]) => {
    const { metadata, tensors } = decodeSafetensors(await (await pruned()).serialize());
    const bytes = Buffer.concat(encodeSafetensors(change(tensors), { ...metadata }));
    expect(await refusal(() => loadModel(bytes))).toMatch(/^file-invalid: 'model bytes': /);
    expect(await refusal(() => loadModel(bytes))).toMatch(says);
  });
});

describe('pruning by magnitude', () => {
  const planted = () => {
    const model = sequential({ inputShape: [3], layers: [dense({ units: 2 }), dense({ units: 2 })] });
    model.setWeights([
      { name: 'dense1/kernel', data: [0.5, -0.1, 0.1, 3, -0.1, 0] },
      { name: 'dense1/bias', data: [0.001, 0] },
      { name: 'dense2/kernel', data: [-0.2, 9, 8, -7] },
    ]);
    return model;
  };
  const kept = async (model: Sequential) => Object.fromEntries((await masksOf(model)).map(({ name, data }) => [name, data.join('')]));

  test('takes the smallest of each kernel, of equal ones the first', async () => {
    const model = planted();
    const result = await pruneByMagnitude(model, { share: 0.5 });
    expect(await kept(model)).toEqual({ 'dense1/kernel': '100110', 'dense2/kernel': '0110' });
    expect(result).toEqual(await sparsity(model));
    expect([result.elements, result.pruned]).toEqual([10, 5]);
  });

  test('or of all kernels together', async () => {
    const model = planted();
    await pruneByMagnitude(model, { share: 0.5, scope: 'global' });
    expect(await kept(model)).toEqual({ 'dense1/kernel': '100100', 'dense2/kernel': '0111' });
  });

  test('counts shares of what is left, and a sparsity of all', async () => {
    const model = network(sgd(), [20, 4]);
    const counts: number[] = [];
    for (let round = 0; round < 4; round++) counts.push((await pruneByMagnitude(model, { share: 0.2, layers: ['dense1'] })).pruned);
    // 120 weights: 24 of 120, 19 of 96, 15 of 77, 12 of 62.
    expect(counts).toEqual([24, 43, 58, 70]);
    expect((await pruneByMagnitude(model, { sparsity: 0.75, layers: ['dense1'] })).pruned).toBe(90);
    expect((await pruneByMagnitude(model, { sparsity: 0.5, layers: ['dense1'] })).pruned).toBe(90);
    expect((await pruneByMagnitude(model, { share: 1 })).share).toBe(1);
  });

  test('keeps masks of weights that it does not prune', async () => {
    const model = planted();
    await setMasks(model, [{ name: 'dense1/bias', data: [0, 1] }]);
    await pruneByMagnitude(model, { share: 0.25, layers: ['dense2'] });
    expect(await kept(model)).toEqual({ 'dense1/bias': '01', 'dense2/kernel': '0111' });
  });

  test('agrees with sorting, whatever the weights', async () => {
    const value = fc.oneof(fc.constantFrom(0, -0, 1, -1, 2 ** -140, -(2 ** -140)), fc.float({ noNaN: true, noDefaultInfinity: true }));
    const lists = fc.tuple(fc.array(value, { minLength: 12, maxLength: 12 }), fc.array(value, { minLength: 8, maxLength: 8 }));
    await fc.assert(
      fc.asyncProperty(lists, fc.double({ min: 0, max: 1, noNaN: true }), fc.boolean(), async ([first, second], share, global) => {
        const model = sequential({ inputShape: [3], layers: [dense({ units: 4, useBias: false }), dense({ units: 2, useBias: false })] });
        model.setWeights([{ name: 'dense1/kernel', data: first }, { name: 'dense2/kernel', data: second }]); // prettier-ignore
        await pruneByMagnitude(model, { share, scope: global ? 'global' : 'layer' });
        const smallest = (values: readonly number[]) => {
          const order = values.map((_, i) => i).sort((a, b) => Math.abs(values[a]) - Math.abs(values[b]) || a - b);
          const gone = new Set(order.slice(0, Math.round(share * values.length)));
          return values.map((_, i) => (gone.has(i) ? 0 : 1)).join('');
        };
        const masks = await kept(model);
        const actual = [masks['dense1/kernel'] ?? '1'.repeat(12), masks['dense2/kernel'] ?? '1'.repeat(8)].join('');
        expect(actual).toBe(global ? smallest([...first, ...second]) : smallest(first) + smallest(second));
        model.dispose();
      }),
      { numRuns: 60 },
    );
  });

  test('a schedule is that of Zhu and Gupta', () => {
    const schedule = pruningSchedule({ from: 0.1, to: 0.9, start: 10, end: 50, every: 10 });
    expect([0, 9, 10, 11, 20, 30, 40, 50, 51, 60].map(schedule)).toEqual([
      ...[undefined, undefined, 0.1, undefined],
      ...[3, 2, 1].map((left) => expect.closeTo(0.9 - 0.8 * (left / 4) ** 3, 12) as number),
      ...[0.9, undefined, undefined],
    ]);
    const constant = pruningSchedule({ from: 0.5, to: 0.5, start: 2, end: 7, every: 3 });
    expect([1, 2, 3, 4, 5, 6, 7, 8].map(constant)).toEqual([undefined, 0.5, undefined, undefined, 0.5, undefined, 0.5, undefined]);
  });

  test('goes along with fit, by the epoch or by the batch', async () => {
    const model = network(adam());
    const schedule = pruningSchedule({ to: 0.8, start: 3, end: 30, every: 3 });
    const shares: number[] = [];
    let step = 0;
    const onBatch = async () => {
      const due = schedule(++step);
      if (due !== undefined) shares.push((await pruneByMagnitude(model, { sparsity: due })).share);
    };
    await model.fit(x, y, { epochs: 8, batchSize: 8, onBatch });
    expect(shares).toHaveLength(10);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    const { elements, zeros, share } = await sparsity(model);
    expect(zeros / elements).toBe(share);
    expect(share).toBeCloseTo(0.8, 1);
  });

  test('what makes no sense is refused', async () => {
    const prune = (options: unknown) => refusal(() => pruneByMagnitude(planted(), any(options)));
    expect(await prune({})).toBe('invalid-argument: pruneByMagnitude: give share or sparsity, and not both');
    expect(await prune({ share: 0.1, sparsity: 0.1 })).toMatch(/^invalid-argument: .*not both$/);
    expect(await prune({ share: 1.1 })).toMatch(/^invalid-argument: pruneByMagnitude: share: expected at least 0 and at most 1, got 1\.1$/);
    expect(await prune({ share: 0.5, scope: 'layers' })).toMatch(/^unknown-name: .*did you mean 'layer'\?$/);
    expect(await prune({ share: 0.5, layers: ['dense3'] })).toMatch(/^unknown-name: unknown layer 'dense3', did you mean 'dense/);
    expect(await prune({ share: 0.5, layers: [3] })).toMatch(/^invalid-argument: .*expected names, got 3$/);
    expect(await refusal(() => pruningSchedule({ to: 0.5, start: 5, end: 4 }))).toMatch(
      /^invalid-argument: pruningSchedule: end: expected at least 5/,
    );
    const flat = sequential({ inputShape: [3], layers: [activation('relu')] });
    expect(await refusal(() => pruneByMagnitude(flat, { share: 0.5, layers: ['activation1'] }))).toMatch(/'activation1' has no kernel$/);
  });
});

describe('removing units', () => {
  const input = new Random(12).floats(33 * 10);
  const rows = tensor(input, [33, 10]);

  /** Units that a ReLU never lets through, and units that nobody listens to. */
  function planted(units: readonly number[], { strict, seed, apart }: { strict: boolean; seed: number; apart: boolean }) {
    const last = units.length - 1;
    const layers = units.flatMap((count, i) =>
      i === last
        ? [dense({ units: count })]
        : apart
          ? [dense({ units: count }), activation('relu')]
          : [dense({ units: count, activation: 'relu' })],
    );
    const model = sequential({ inputShape: [10], seed, layers, inputScaling: { mean: 0.1, standardDeviation: 0.7 } });
    model.compile({ optimizer: adam(), loss: 'meanSquaredError', strict });
    const source = new Random(seed);
    const dead: Record<string, number[]> = {};
    units.slice(0, -1).forEach((count, i) => {
      const name = `dense${i + 1}`;
      const bias = source.floats(count, 0.01, 0.5);
      const next = dataOf(model, `dense${i + 2}/kernel`);
      const gone = Array.from({ length: count }, (_, unit) => unit).filter((unit) => unit > 0 && source.integer(3) === 0);
      gone.forEach((unit, k) => {
        if (k % 2 === 0) bias[unit] = -1000;
        else next.fill(0, unit * units[i + 1], (unit + 1) * units[i + 1]);
      });
      model.setWeights([{ name: `${name}/bias`, data: bias }, { name: `dense${i + 2}/kernel`, data: next }]); // prettier-ignore
      if (gone.length > 0) dead[name] = gone;
    });
    return { model, dead };
  }

  test('that are dead changes no bit of any output, whatever the shapes, in strict and in fast mode', async () => {
    const shapes = fc.tuple(fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 40 }));
    let removed = 0;
    await fc.assert(
      fc.asyncProperty(shapes, fc.boolean(), fc.boolean(), fc.nat(1000), async ([hidden, outputs], strict, apart, seed) => {
        const { model, dead } = planted([...hidden, outputs], { strict, seed: seed + 1, apart });
        const found = await removableUnits(model, rows);
        for (const [name, units] of Object.entries(dead)) expect(found[name]).toEqual(expect.arrayContaining(units));
        const small = await removeUnits(model, found);
        const gone = Object.values(found).flat().length;
        removed += gone;
        expect(small.weights.flatMap(({ data }) => [...data]).length).toBeLessThanOrEqual(
          model.weights.flatMap(({ data }) => [...data]).length,
        );
        if (gone > 0) expect(small.weights).not.toEqual(model.weights);
        for (const count of [1, 2, 33]) {
          const some = tensor(input.subarray(0, count * 10), [count, 10]);
          expect(bitsOf((await small.predict(some)).data)).toEqual(bitsOf((await model.predict(some)).data));
        }
        const targets = tensor(new Random(seed).floats(33 * outputs), [33, outputs]);
        expect((await small.evaluate(rows, targets)).loss).toBe((await model.evaluate(rows, targets)).loss);
        small.dispose();
        model.dispose();
      }),
      { numRuns: 40, seed: 3 },
    );
    expect(removed).toBeGreaterThan(300);
  });

  test.each([false, true])('nor where products are packed and cut into blocks, and no longer are (strict: %s)', async (strict) => {
    const many = tensor(new Random(4).floats(300 * 10), [300, 10]);
    const { model, dead } = planted([1000, 420, 130], { strict, seed: 21, apart: false });
    const small = await removeUnits(model, dead);
    expect(small.weights[0].shape[1]).toBeLessThan(720);
    expect(bitsOf((await small.predict(many)).data)).toEqual(bitsOf((await model.predict(many)).data));
    expect(bitsOf(small.predictSync(many).data)).toEqual(bitsOf(model.predictSync(many).data));
  });

  test('nor with a normalisation between, whose statistics go with them', async () => {
    const layers = [dense({ units: 12 }), batchNormalization(), activation('relu'), dropout({ rate: 0.2 }), dense({ units: 3 })];
    const model = sequential({ inputShape: [10], seed: 2, layers });
    model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    await model.fit(rows, tensor(new Random(5).floats(33 * 3), [33, 3]), { epochs: 3, batchSize: 11 });
    const { data } = model.weights.find(({ name }) => name === 'batchNormalization1/beta')!;
    model.setWeights([{ name: 'batchNormalization1/beta', data: data.map((value, i) => ([1, 4, 11].includes(i) ? -1000 : value)) }]);
    const dead = await removableUnits(model, rows);
    expect(dead.dense1).toEqual([1, 4, 11]);
    const small = await removeUnits(model, dead);
    expect(small.weights.map(({ name, shape }) => [name, shape])).toEqual([
      ['dense1/kernel', [10, 9]],
      ['dense1/bias', [9]],
      ...['gamma', 'beta', 'movingMean', 'movingVariance'].map((name) => [`batchNormalization1/${name}`, [9]]),
      ['dense2/kernel', [9, 3]],
      ['dense2/bias', [3]],
    ]);
    expect(bitsOf((await small.predict(rows)).data)).toEqual(bitsOf((await model.predict(rows)).data));
  });

  test('not in front of a layer that mixes columns', async () => {
    const model = sequential({ inputShape: [10], layers: [dense({ units: 5 }), layerNormalization(), dense({ units: 2 })] });
    expect(await refusal(() => removeUnits(model, { dense1: [0] }))).toMatch(/^invalid-argument: removeUnits: /);
  });

  test('counts planted ones exactly, and keeps what the model was', async () => {
    const model = sequential({
      inputShape: [10],
      seed: 6,
      layers: [dense({ units: 8, activation: 'relu', name: 'hidden', kernelRegularizer: l1(0.01) }), dense({ units: 3, name: 'out' })],
    });
    model.compile({ optimizer: sgd({ momentum: 0.5 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'], threads: 1, strict: true });
    model.setWeights([{ name: 'hidden/bias', data: [9, 9, -99, 9, 9, -99, 9, -99] }]);
    await setMasks(model, [
      { name: 'hidden/kernel', data: Uint8Array.from({ length: 80 }, (_, i) => Number(i % 8 !== 3)) },
      { name: 'out/kernel', data: Uint8Array.from({ length: 24 }, (_, i) => Number(i >= 3)) },
    ]);
    // 2, 5 and 7 never let anything through; nobody listens to 0. Unit 3 is constant, but not 0.
    const units = await removableUnits(model, rows);
    expect(units).toEqual({ hidden: [0, 2, 5, 7] });
    const small = await removeUnits(model, units);
    expect(small.weights.map(({ name, shape }) => [name, shape])).toEqual([
      ['hidden/kernel', [10, 4]],
      ['hidden/bias', [4]],
      ['out/kernel', [4, 3]],
      ['out/bias', [3]],
    ]);
    expect((await masksOf(small)).map(({ name, shape, data }) => [name, shape, data.filter((kept) => kept === 0).length])).toEqual([
      ['hidden/kernel', [10, 4], 10],
    ]);
    expect(small.summary()).toContain('[batch, 4]');
    // Loss, optimizer, regulariser: it trains.
    expect(small.plan.toString()).toContain('softThreshold');
    expect(
      (
        await small.fit(
          rows,
          Array.from({ length: 33 }, (_, i) => i % 3),
          { epochs: 2 },
        )
      ).accuracy,
    ).toHaveLength(2);
    expect((await sparsity(small)).weights[0]).toMatchObject({ pruned: 10 });
  });

  test('that are constant changes nothing but rounding where they are folded', async () => {
    const model = sequential({ inputShape: [10], seed: 6, layers: [dense({ units: 8, activation: 'sigmoid' }), dense({ units: 3 })] });
    const constant = (i: number) => [1, 6].includes(i % 8);
    model.setWeights([
      { name: 'dense1/kernel', data: dataOf(model, 'dense1/kernel').map((weight, i) => (constant(i) ? 0 : weight)) },
      { name: 'dense1/bias', data: new Float32Array(8).fill(0.7) },
    ]);
    const before = (await model.predict(rows)).data;
    const far = async (fold?: typeof rows) => {
      const small = await removeUnits(model, { dense1: [6, 1] }, fold && { fold });
      const after = (await small.predict(rows)).data;
      return Math.max(...before.map((value, i) => Math.abs(value - after[i])));
    };
    expect(await far(rows)).toBeLessThan(1e-6);
    expect(await far()).toBeGreaterThan(0.01);
    expect(await removableUnits(model, rows)).toEqual({});
  });

  test('leaves one where all are dead', async () => {
    const { model } = planted([5, 2], { strict: false, seed: 1, apart: false });
    model.setWeights([{ name: 'dense1/bias', data: new Float32Array(5).fill(-1000) }]);
    expect(await removableUnits(model, rows)).toEqual({ dense1: [1, 2, 3, 4] });
    const small = await removeUnits(model, { dense1: [1, 2, 3, 4] });
    expect(bitsOf(await small.predict(rows))).toEqual(bitsOf(await model.predict(rows)));
  });

  test('that cannot go is refused', async () => {
    const model = sequential({
      inputShape: [10],
      layers: [
        dense({ units: 4, activation: 'softmax' }),
        dense({ units: 5 }),
        activation('softmax'),
        dense({ units: 6, useBias: false }),
        dense({ units: 2, useBias: false }),
      ],
    });
    const remove = (units: unknown, options: unknown = {}) => refusal(() => removeUnits(model, any(units), any(options)));
    expect(await remove({ dense1: [0] })).toMatch(/^invalid-argument: removeUnits: layer 'dense1': its softmax mixes its units/);
    expect(await remove({ dense2: [0] })).toMatch(/^invalid-argument: .*layer 'activation1' \(activation\) mixes its units/);
    expect(await remove({ dense4: [0] })).toMatch(/^invalid-argument: .*its units are outputs of the model$/);
    expect(await remove({ activation1: [0] })).toMatch(/^invalid-argument: .*not from 'activation'$/);
    expect(await remove({ dense9: [0] })).toMatch(/^unknown-name: unknown layer 'dense9'/);
    expect(await remove({ dense3: [6] })).toMatch(/^invalid-argument: .*expected at least 0 and at most 5, got 6$/);
    expect(await remove({ dense3: [1, 1] })).toMatch(/^invalid-argument: .*named twice$/);
    expect(await remove({ dense3: [0, 1, 2, 3, 4, 5] })).toMatch(/^invalid-argument: .*none of its 6 units would be left$/);
    expect(await remove({ dense3: 5 })).toMatch(/^invalid-argument: .*expected an array/);
    expect(await remove({ dense3: [0] }, { fold: rows })).toMatch(/^invalid-argument: .*layer 'dense4' has no bias/);
    expect(await remove({ dense3: [0] }, { folds: rows })).toMatch(/^unknown-name: .*did you mean 'fold'\?$/);
    expect(await removableUnits(model, rows)).toEqual({});
  });
});
