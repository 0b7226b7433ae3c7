// Every form that data may come in gives the same numbers: typed arrays of any type, views, shared memory, nested arrays,
// labels and one-hot rows. What is read is never changed and never kept.
import { describe, expect, test } from 'vitest';
import { adam, dense, sequential, tensor, type TensorInput } from '../src/index.js';
import { bitsOf } from './bits.js';

const rows = 7;
const columns = 6;
/** Small whole numbers, which every type holds. */
const numbers = Float32Array.from({ length: rows * columns }, (_, i) => (i * 31) % 100);
const labels = Uint8Array.from({ length: rows }, (_, i) => i % 3);
const shape = [rows, columns];

const network = () =>
  sequential({ inputShape: [columns], seed: 3, layers: [dense({ units: 8, activation: 'tanh' }), dense({ units: 3 })] });

/** All that a model computes from data, bit for bit. */
async function everything(x: TensorInput, y: TensorInput) {
  const model = network();
  model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
  const before = await model.predict(x);
  const here = model.predictSync(x);
  const gradients = await model.gradients(x, y);
  const evaluation = await model.evaluate(x, y);
  const { loss } = await model.fit(x, y, { epochs: 2, batchSize: 3 });
  return bitsOf({ before, here, gradients, evaluation, loss, weights: model.weights });
}

const plain = await everything(tensor(numbers, shape), labels);

const types = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array];

describe('types', () => {
  test.each(types.map((type) => [type.name, type] as const))('%s', async (_, type) => {
    expect(await everything(tensor(type.from(numbers), shape), type.from(labels))).toEqual(plain);
  });

  test.each(types.map((type) => [type.name, type] as const))('%s within a larger buffer', async (_, type) => {
    const large = new type(numbers.length + 20).fill(99);
    large.set(numbers, 11);
    expect(await everything({ data: large.subarray(11, 11 + numbers.length), shape }, labels)).toEqual(plain);
  });

  test.each(types.map((type) => [type.name, type] as const))('%s in shared memory', async (_, type) => {
    const shared = new (type as typeof Float32Array)(new SharedArrayBuffer(numbers.length * type.BYTES_PER_ELEMENT));
    shared.set(numbers);
    expect(await everything({ data: shared, shape }, labels)).toEqual(plain);
  });

  test('the extremes of each type', async () => {
    const model = sequential({ inputShape: [1], layers: [dense({ units: 1, kernelInitializer: 'ones' })] });
    const extremes: [new (values: number[]) => Int8Array, number[]][] = [
      [Int8Array, [-128, 127]],
      [Uint8Array as never, [0, 255]],
      [Int16Array as never, [-32768, 32767]],
      [Uint16Array as never, [0, 65535]],
      [Int32Array as never, [-(2 ** 31), 2 ** 31 - 1]],
      [Uint32Array as never, [0, 2 ** 32 - 1]],
      [Float32Array as never, [-3e38, 1e-45]],
      [Float64Array as never, [-3e38, 1e-300]],
    ];
    for (const [type, values] of extremes) {
      const { data } = await model.predict(new type(values));
      expect([...data], type.name).toEqual(values.map(Math.fround));
    }
  });

  test('a Buffer of bytes', async () => {
    expect(await everything({ data: Buffer.from(Uint8Array.from(numbers)), shape }, Buffer.from(labels))).toEqual(plain);
  });

  test('a resizable buffer', async () => {
    const buffer = new ArrayBuffer(numbers.byteLength, { maxByteLength: 4096 });
    const data = new Float32Array(buffer);
    data.set(numbers);
    expect(await everything({ data, shape }, labels)).toEqual(plain);
  });
});

describe('shapes', () => {
  test('any that multiply to the inputs', async () => {
    expect(await everything(tensor(numbers, [rows, 2, 3]), tensor(labels, [rows, 1]))).toEqual(plain);
    expect(await everything(tensor(numbers, [rows, 1, columns, 1]), labels)).toEqual(plain);
  });

  test('an input of several dimensions', async () => {
    const model = sequential({ inputShape: [2, 3], seed: 3, layers: [dense({ units: 8, activation: 'tanh' }), dense({ units: 3 })] });
    expect(bitsOf(await model.predict(tensor(numbers, [rows, 2, 3])))).toEqual(plain.before);
    expect(bitsOf(await model.predict(tensor(numbers, shape)))).toEqual(plain.before);
  });

  test('one example without a dimension for rows', async () => {
    const model = network();
    const [one] = [numbers.slice(0, columns)];
    const wanted = bitsOf(await model.predict(tensor(one, [1, columns])));
    expect(wanted.shape).toEqual([1, 3]);
    for (const input of [one, Uint8Array.from(one), [...one], tensor(one, [columns])]) {
      expect(bitsOf(await model.predict(input))).toEqual(wanted);
      expect(bitsOf(model.predictSync(input))).toEqual(wanted);
    }
  });

  test('with one input, a flat array holds one number an example', async () => {
    const model = sequential({ inputShape: [1], layers: [dense({ units: 2 })] });
    expect((await model.predict([1, 2, 3])).shape).toEqual([3, 2]);
    expect((await model.predict(Int8Array.of(1, 2, 3))).shape).toEqual([3, 2]);
  });

  test('no rows at all', async () => {
    for (const empty of [[], tensor([], [0, columns]), { data: new Uint8Array(0), shape: [0, columns] }, new Float32Array(0)]) {
      expect(await network().predict(empty)).toEqual({ data: new Float32Array(0), shape: [0, 3] });
      expect(network().predictSync(empty)).toEqual({ data: new Float32Array(0), shape: [0, 3] });
    }
  });
});

describe('nested arrays', () => {
  const nested = Array.from({ length: rows }, (_, row) => [...numbers.slice(row * columns, (row + 1) * columns)]);

  test('of numbers', async () => {
    expect(await everything(nested, [...labels])).toEqual(plain);
  });
  test('of arrays of numbers', async () => {
    const deeper = nested.map((row) => [row.slice(0, 3), row.slice(3)]);
    expect(await everything(deeper, [...labels])).toEqual(plain);
  });
  test.each(types.map((type) => [type.name, type] as const))('of rows of %s', async (_, type) => {
    expect(
      await everything(
        nested.map((row) => type.from(row)) as Float32Array[],
        [...labels].map((label) => [label]),
      ),
    ).toEqual(plain);
  });
  test('of rows of numbers and floats', async () => {
    const mixed = nested.map((row, i) => (i % 2 === 0 ? row : Float64Array.from(row)));
    expect(await everything(mixed as number[][], labels)).toEqual(plain);
  });
  test('many rows are read in slices', async () => {
    const model = sequential({ inputShape: [2], layers: [dense({ units: 1, kernelInitializer: 'ones' })] });
    const many = Array.from({ length: 200_000 }, (_, i) => [i, 1]);
    const { data } = await model.predict(many);
    expect(data.length).toBe(200_000);
    expect(data.every((value, i) => value === i + 1)).toBe(true);
  });
});

describe('targets', () => {
  const oneHot = tensor(
    Float32Array.from({ length: rows * 3 }, (_, i) => (labels[Math.floor(i / 3)] === i % 3 ? 1 : 0)),
    [rows, 3],
  );
  test('labels of any form', async () => {
    for (const y of [
      [...labels],
      Int32Array.from(labels),
      Float32Array.from(labels),
      tensor(labels, [rows, 1]),
      [...labels].map((label) => [label]),
    ])
      expect(await everything(tensor(numbers, shape), y)).toEqual(plain);
  });
  test('one-hot rows mean the same as labels', async () => {
    const { loss, evaluation, before } = await everything(tensor(numbers, shape), oneHot);
    expect(before).toEqual(plain.before);
    expect(evaluation.accuracy).toBe(plain.evaluation.accuracy);
    expect(evaluation.loss).toBeCloseTo(plain.evaluation.loss, 6);
    loss.forEach((value, epoch) => expect(value).toBeCloseTo(plain.loss[epoch], 6));
    const bytes = await everything(tensor(numbers, shape), { data: Uint8Array.from(oneHot.data), shape: oneHot.shape });
    expect(bytes.loss).toEqual(loss);
  });
  test('numbers for a regression', async () => {
    const model = sequential({ inputShape: [columns], layers: [dense({ units: 1 })] });
    model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
    const wanted = await model.evaluate(tensor(numbers, shape), [...labels]);
    expect(await model.evaluate(tensor(numbers, shape), tensor(labels, [rows, 1]))).toEqual(wanted);
    expect(await model.evaluate(tensor(numbers, shape), labels)).toEqual(wanted);
  });
});

describe('input scaling', () => {
  test('is (x − mean) / standardDeviation, in any type', async () => {
    const mean = [1, 2, 3, 4, 5, 6];
    const layers = () => [dense({ units: columns, useBias: false, kernelInitializer: 'zeros', name: 'same' })];
    const identity = Float32Array.from({ length: columns * columns }, (_, i) => (i % (columns + 1) === 0 ? 1 : 0));
    const model = sequential({ inputShape: [columns], layers: layers(), inputScaling: { mean, standardDeviation: 4 } });
    model.setWeights([{ name: 'same/kernel', data: identity }]);
    const wanted = Float32Array.from(numbers, (value, i) => (value - mean[i % columns]) / 4);
    for (const type of types) expect((await model.predict(tensor(type.from(numbers), shape))).data).toEqual(wanted);
  });
});

describe('tensor()', () => {
  test('uses a typed array as it is, and copies the shape', () => {
    const sizes = [rows, columns];
    const made = tensor(numbers, sizes);
    expect(made.data).toBe(numbers);
    sizes[0] = 0;
    expect(made).toEqual({ data: numbers, shape });
  });
  test('makes floats of an array of numbers', () => {
    expect(tensor([1, 2.5, -0, 1e-45], [2, 2])).toEqual({ data: Float32Array.of(1, 2.5, -0, 1e-45), shape: [2, 2] });
    expect(tensor([], [0, 3])).toEqual({ data: new Float32Array(0), shape: [0, 3] });
  });
});

describe("the caller's arrays", () => {
  test('are read when the call has its turn, and may change as soon as it has settled', async () => {
    const data = Float32Array.from(numbers);
    const model = network();
    const first = bitsOf(await model.predict(tensor(data, shape)));
    expect(first).toEqual(plain.before);
    data.fill(0);
    expect(bitsOf(await model.predict(tensor(data, shape)))).not.toEqual(first);
  });

  test('are never changed', async () => {
    const x = Float64Array.from(numbers);
    const y = Uint8Array.from(labels);
    await everything(tensor(x, shape), y);
    expect(x).toEqual(Float64Array.from(numbers));
    expect(y).toEqual(labels);
  });

  test('are not what comes back', async () => {
    const model = network();
    const { data } = await model.predict(tensor(numbers, shape));
    expect(data.buffer).toBeInstanceOf(ArrayBuffer);
    data.fill(5);
    expect(bitsOf(await model.predict(tensor(numbers, shape)))).toEqual(plain.before);
    model.weights[0].data.fill(7);
    expect(bitsOf(await model.predict(tensor(numbers, shape)))).toEqual(plain.before);
  });
});
