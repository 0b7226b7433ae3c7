// Input scaling: statistics of one pass against two, scalers there and back and inside a model, whitening.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  dense,
  loadModel,
  minMaxScaler,
  robustScaler,
  scalerFromJSON,
  type ScalerJSON,
  sequential,
  sgd,
  Standardizer,
  tensor,
  whitening,
} from '../src/index.js';
import { symmetricEigen } from '../src/eigen.js';
import { expectSameBits, Random } from './engines.js';
import { refusal } from './refusal.js';

const any = (value: unknown) => value as never;

/** Mean and standard deviation, as the definition says: two passes, float64, the sums compensated (Neumaier). */
function twoPasses(values: readonly number[]): { mean: number; standardDeviation: number } {
  const sum = (terms: readonly number[]) => {
    let [total, lost] = [0, 0];
    for (const term of terms) {
      const next = total + term;
      lost += Math.abs(total) >= Math.abs(term) ? total - next + term : term - next + total;
      total = next;
    }
    return total + lost;
  };
  const mean = sum(values) / values.length;
  return { mean, standardDeviation: Math.sqrt(sum(values.map((value) => (value - mean) ** 2)) / values.length) };
}

const columnsOf = (data: ArrayLike<number>, columns: number) =>
  Array.from({ length: columns }, (_, j) => Array.from(data).filter((_, i) => i % columns === j));

/** Rows of three columns: of unit size, tiny, and 10⁹ from zero. */
function rows(count: number, seed = 1): Float64Array {
  const random = new Random(seed);
  return Float64Array.from({ length: count * 3 }, (_, i) =>
    i % 3 === 0 ? random.uniform(-2, 5) : i % 3 === 1 ? random.uniform(0, 1e-7) : 1e9 + random.uniform(-1, 1),
  );
}

describe('Standardizer', () => {
  test.each([1, 2, 255, 256, 257, 3000])('%i rows in one pass: what two passes give', (count) => {
    const data = rows(count);
    const { mean, standardDeviation } = new Standardizer().fit(tensor(data, [count, 3]));
    columnsOf(data, 3).forEach((column, j) => {
      const expected = twoPasses(column);
      expect(Math.abs(mean[j] - expected.mean)).toBeLessThanOrEqual((Math.abs(expected.mean) + expected.standardDeviation) * 2 ** -50);
      // Two passes that round a mean of 10⁹ are themselves off by so much.
      const limit = j === 2 ? 1e-13 : 1e-14;
      expect(Math.abs(standardDeviation[j] - expected.standardDeviation)).toBeLessThanOrEqual(expected.standardDeviation * limit);
    });
  });

  test('pieces of any size: what all rows at once give', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 8 }), fc.nat(), (pieces, seed) => {
        const count = pieces.reduce((sum, piece) => sum + piece, 0);
        const data = rows(count, seed);
        const whole = new Standardizer().fit(tensor(data, [count, 3]));
        const streamed = new Standardizer();
        let at = 0;
        for (const piece of pieces) streamed.partialFit(tensor(data.subarray(at * 3, (at += piece) * 3), [piece, 3]));
        expect(streamed.rows).toBe(count);
        for (let j = 0; j < 3; j++) {
          const deviation = whole.standardDeviation[j];
          expect(Math.abs(streamed.mean[j] - whole.mean[j])).toBeLessThanOrEqual((Math.abs(whole.mean[j]) + deviation) * 2 ** -50);
          expect(Math.abs(streamed.standardDeviation[j] - deviation)).toBeLessThanOrEqual(deviation * 1e-13);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('an offset that would swallow a sum of squares', () => {
    const data = Float64Array.from({ length: 10_000 }, (_, i) => 1e12 + (i % 2));
    const { mean, standardDeviation } = new Standardizer().fit(data);
    expect([mean, standardDeviation]).toEqual([[1e12 + 0.5], [0.5]]);
  });

  test('the result has mean 0 and variance 1', () => {
    const data = rows(1000);
    const scaled = new Standardizer().fit(tensor(data, [1000, 3])).transform(tensor(data, [1000, 3]));
    expect(scaled.shape).toEqual([1000, 3]);
    for (const column of columnsOf(scaled.data, 3)) {
      const { mean, standardDeviation } = twoPasses(column);
      expect(Math.abs(mean)).toBeLessThan(1e-7);
      expect(Math.abs(standardDeviation - 1)).toBeLessThan(1e-7);
    }
  });

  test('a constant column has standard deviation 0 and becomes 0, whatever its value', () => {
    for (const value of [0, 0.1, -7.3e11, 1e-300]) {
      const data = Float64Array.from({ length: 999 }, (_, i) => (i % 3 === 0 ? i : value));
      const standardizer = new Standardizer().fit(tensor(data, [333, 3]));
      expect(standardizer.mean.slice(1)).toEqual([value, value]);
      expect(standardizer.standardDeviation.slice(1)).toEqual([0, 0]);
      expect(standardizer.inputScaling.standardDeviation.slice(1)).toEqual([1, 1]);
      const scaled = standardizer.transform(tensor(data, [333, 3])).data;
      expect(scaled.every((value, i) => i % 3 === 0 || value === 0)).toBe(true);
    }
  });

  test('numbers of every type; nested ones keep float64', () => {
    const types = [Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array];
    const expected = new Standardizer().fit([[1, 5], [2, 9], [6, 7]]); // prettier-ignore
    for (const type of types) expect(new Standardizer().fit(tensor(type.of(1, 5, 2, 9, 6, 7), [3, 2])).toJSON()).toEqual(expected.toJSON());
    expect(new Standardizer().fit([[1e9 + 0.25], [1e9 + 0.75]]).mean).toEqual([1e9 + 0.5]);
    expect(new Standardizer().fit([Float64Array.of(1e9 + 0.25), Float64Array.of(1e9 + 0.75)]).mean).toEqual([1e9 + 0.5]);
    expect(new Standardizer().fit(tensor(new Float32Array(24), [2, 3, 4])).columns).toBe(12);
  });

  test('fit forgets; partialFit starts where there is nothing', () => {
    const standardizer = new Standardizer().fit([[1], [2], [900]]);
    expect(standardizer.fit([[1, 1], [3, 5]]).mean).toEqual([2, 3]); // prettier-ignore
    expect(new Standardizer().partialFit([[1], [3]]).toJSON()).toEqual(new Standardizer().fit([[1], [3]]).toJSON());
  });
});

describe('every scaler', () => {
  const scalers = [() => new Standardizer(), () => minMaxScaler({ low: -1, high: 3 }), () => robustScaler()] as const;
  const matrix = fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 7 }), fc.nat()).map(([count, columns, seed]) => {
    const random = new Random(seed);
    const [offset, spread] = [random.floats(columns, -100, 100), random.floats(columns, 0, 10)];
    const data = Float64Array.from(
      { length: count * columns },
      (_, i) => random.uniform(-1, 1) * spread[i % columns] + offset[i % columns],
    );
    return { x: tensor(data, [count, columns]), data, count, columns };
  });

  test.each(scalers.map((make) => [make().kind, make] as const))('%s: there and back', (_, make) => {
    fc.assert(
      fc.property(matrix, ({ x, data }) => {
        const scaler = make().fit(x);
        const scaled = scaler.transform(x);
        const { scale } = { scale: scaler.inputScaling.standardDeviation };
        const back = scaler.inverse(scaled).data;
        back.forEach((value, i) => {
          const column = i % scale.length;
          // One rounding to float32, of a number of so many scales.
          expect(Math.abs(value - data[i])).toBeLessThanOrEqual(scale[column] * Math.abs(scaled.data[i]) * 2 ** -24 + Math.abs(data[i]) * 2 ** -50 + scale[column] * 1e-12); // prettier-ignore
        });
      }),
      { numRuns: 100 },
    );
  });

  test.each(scalers.map((make) => [make().kind, make] as const))('%s: JSON, and learning on from it', (kind, make) => {
    const [x, more] = [rows(50), rows(60, 9)];
    const scaler = make().fit(tensor(x, [50, 3]));
    const read = scalerFromJSON(JSON.parse(JSON.stringify(scaler)) as ScalerJSON);
    expect(read.kind).toBe(kind);
    expect(read.toJSON()).toEqual(scaler.toJSON());
    expectSameBits(kind, read.transform(tensor(more, [60, 3])).data, scaler.transform(tensor(more, [60, 3])).data);
    if (!('partialFit' in read) || !('partialFit' in scaler)) return;
    expect(read.partialFit(tensor(more, [60, 3])).toJSON()).toEqual(scaler.partialFit(tensor(more, [60, 3])).toJSON());
  });

  test.each(scalers.map((make) => [make().kind, make] as const))(
    '%s inside a model: what transform gives, and it is saved',
    async (_, make) => {
      const random = new Random(4);
      const data = random.floats(200 * 5, -3, 40);
      const x = tensor(data, [200, 5]);
      const scaler = make().fit(x);
      const build = (inputScaling?: typeof scaler) =>
      sequential({ inputShape: [5], seed: 3, layers: [dense({ units: 7, activation: 'tanh' }), dense({ units: 2 })], ...(inputScaling && { inputScaling }) }); // prettier-ignore
      const model = build(scaler);
      const inside = (await model.predict(x)).data;
      const outside = (await build().predict(scaler.transform(x))).data;
      inside.forEach((value, i) => expect(Math.abs(value - outside[i])).toBeLessThan(1e-5));
      const loaded = await loadModel(await model.serialize());
      expectSameBits('loaded', (await loaded.predict(x)).data, inside);
      // The stored form is the one that models had before there were scalers.
      const plain = sequential({ inputShape: [5], seed: 3, layers: [dense({ units: 7, activation: 'tanh' }), dense({ units: 2 })], inputScaling: scaler.inputScaling }); // prettier-ignore
      expect(await plain.serialize()).toEqual(await model.serialize());
    },
  );

  test('scaled inputs train where raw ones do not', async () => {
    // 300 rows: a column around 1000, one around 0, both worth the same.
    const random = new Random(2);
    const data = Float32Array.from({ length: 600 }, (_, i) => (i % 2 === 0 ? 1000 + random.uniform(-50, 50) : random.uniform(-1, 1)));
    const x = tensor(data, [300, 2]);
    const y = Float32Array.from({ length: 300 }, (_, i) => (data[2 * i] - 1000) / 50 + data[2 * i + 1]);
    const train = async (inputScaling: Standardizer | undefined) => {
      const model = sequential({ inputShape: [2], seed: 1, layers: [dense({ units: 1 })], ...(inputScaling && { inputScaling }) });
      model.compile({ optimizer: sgd({ learningRate: 0.1 }), loss: 'meanSquaredError' });
      return (await model.fit(x, y, { epochs: 5, batchSize: 30 })).loss.at(-1)!;
    };
    expect(await train(new Standardizer().fit(x))).toBeLessThan(1e-6);
    expect(await refusal(() => train(undefined))).toMatch(/^diverged: .*scaled inputs/);
  });

  test('min-max: the ends of the range; a constant column goes to low', () => {
    const scaler = minMaxScaler({ low: -1, high: 1 }).fit([[2, 7], [4, 7], [10, 7]]); // prettier-ignore
    expect(Array.from(scaler.transform([[2, 7], [6, 7], [10, 7], [14, 8]]).data)).toEqual([-1, -1, 0, -1, 1, -1, 2, 0]); // prettier-ignore
    expect(minMaxScaler().fit([0, 5]).transform([0, 1, 5]).data).toEqual(Float32Array.of(0, 0.2, 1));
    expect(Array.from(minMaxScaler().fit([3]).partialFit([1]).partialFit([5]).transform([1, 3, 5]).data)).toEqual([0, 0.5, 1]);
  });

  test('robust: median and quartiles as NumPy has them, and outliers that change nothing', () => {
    // numpy.percentile([1, 2, 4, 8, 16, 32], [25, 50, 75]) = [2.5, 6, 14]
    const scaler = robustScaler().fit([1, 2, 4, 8, 16, 32]);
    expect(scaler.inputScaling).toEqual({ mean: [6], standardDeviation: [11.5] });
    expect(robustScaler().fit([1, 2, 4, 8, 16, 1e30]).inputScaling).toEqual(scaler.inputScaling);
    expect(robustScaler({ quantiles: [0, 1] }).fit([3, 1, 2]).inputScaling).toEqual({ mean: [2], standardDeviation: [2] });
    expect(robustScaler().fit([5, 5, 5, 5, 9]).inputScaling).toEqual({ mean: [5], standardDeviation: [1] });
  });

  test('one row may come flat', () => {
    const scaler = new Standardizer().fit([[0, 10, 20], [2, 14, 26]]); // prettier-ignore
    expect(scaler.transform([1, 12, 23])).toEqual({ data: Float32Array.of(0, 0, 0), shape: [1, 3] });
    expect(scaler.transform([])).toEqual({ data: new Float32Array(0), shape: [0, 3] });
  });
});

describe('refused', () => {
  const fitted = () => new Standardizer().fit([[1, 2], [3, 5]]); // prettier-ignore
  const detached = () => {
    const data = new Float64Array(4);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    return data;
  };
  const cases: Record<string, [() => unknown, RegExp]> = {
    'NaN': [() => new Standardizer().fit([[1, 2], [3, NaN]]), /^non-finite-input: standardizer: x: row 1, column 1: expected a finite number, got NaN$/], // prettier-ignore
    'infinity in the first row': [() => new Standardizer().fit([[Infinity], [1]]), /^non-finite-input: .*row 0, column 0: .*got Infinity$/],
    'squares beyond float64': [() => new Standardizer().fit([1e300, -1e300]), /^non-finite-input: .*column 0: .*too large/],
    'a distance beyond float64': [() => new Standardizer().fit([1.7e308, -1.7e308]), /^non-finite-input: .*too far from the first row$/],
    'no rows': [() => new Standardizer().fit([]), /^empty-data: standardizer: x is empty$/],
    'no columns': [() => new Standardizer().fit([[], []]), /^empty-data: /],
    'a detached array': [() => new Standardizer().fit(detached()), /^buffer-detached: /],
    'other columns': [() => fitted().partialFit([[1, 2, 3]]), /^shape-mismatch: standardizer: x: expected 2 numbers a row, got 3$/],
    'other columns to transform': [() => fitted().transform([[1, 2, 3]]), /^shape-mismatch: /],
    'ragged rows': [() => fitted().transform([[1, 2], [3]]), /^shape-mismatch: /],
    text: [() => fitted().transform(any([['1', 2]])), /^invalid-argument: /],
    nothing: [() => new Standardizer().fit(any(undefined)), /^invalid-argument: /],
    'transform before fit': [() => new Standardizer().transform([[1]]), /^invalid-argument: standardizer: fit it first$/],
    'JSON before fit': [() => JSON.stringify(new Standardizer()), /^invalid-argument: standardizer: fit it first$/],
    'a model before fit': [
      () => sequential({ inputShape: [1], layers: [dense({ units: 1 })], inputScaling: new Standardizer() }),
      /^invalid-argument: standardizer: fit it first$/,
    ],
    'a model of another width': [
      () => sequential({ inputShape: [3], layers: [dense({ units: 1 })], inputScaling: fitted() }),
      /^shape-mismatch: inputScaling: mean: expected a number or 3 numbers, got 2$/,
    ],
    'what float32 cannot hold': [() => fitted().transform([[1e39, 0]]), /^non-finite-input: standardizer: x: row 0, column 0: /],
    'a range without width': [() => minMaxScaler({ low: 1, high: 1 }), /^invalid-argument: minMaxScaler: high: expected more than 1/],
    'a misspelt option': [() => minMaxScaler(any({ hihg: 1 })), /^unknown-name: .*did you mean 'high'\?$/],
    'NaN in a range': [() => minMaxScaler().fit([1, NaN]), /^non-finite-input: minMax: x: row 1, column 0: /],
    'a range beyond float64': [() => minMaxScaler().fit([-1.7e308, 1.7e308]), /^non-finite-input: .*too wide/],
    'one quantile': [() => robustScaler({ quantiles: any([0.5]) }), /^invalid-argument: .*expected two numbers, got 1$/],
    'quantiles in the wrong order': [() => robustScaler({ quantiles: [0.75, 0.25] }), /^invalid-argument: .*more than 0.75/],
    'NaN among quantiles': [() => robustScaler().fit([[1], [NaN]]), /^non-finite-input: robust: x: row 1, column 0: /],
    'JSON of nothing': [() => scalerFromJSON(any(null)), /^invalid-argument: /],
    'JSON of another kind': [() => scalerFromJSON(any({ kind: 'robus' })), /^unknown-name: .*'robust'/],
    'JSON with a hole': [() => scalerFromJSON(any({ ...fitted().toJSON(), squares: [1, null] })), /^invalid-argument: .*squares\[1\]/],
    'JSON of two widths': [() => scalerFromJSON({ ...fitted().toJSON(), mean: [0] }), /^shape-mismatch: .*expected 2 numbers, got 1$/],
    'negative squares': [() => scalerFromJSON({ ...fitted().toJSON(), squares: [1, -1] }), /^invalid-argument: /],
    'no rows in JSON': [() => scalerFromJSON({ ...fitted().toJSON(), rows: 0 }), /^invalid-argument: /],
    'whitening of no kind': [() => whitening(any({})), /^invalid-argument: kind of whitening/],
    'components of zca': [() => whitening({ kind: 'zca', components: 2 }), /^invalid-argument: /],
    'more components than columns': [() => whitening({ kind: 'pca', components: 3 }).fit([[1, 2], [2, 1]]), /^shape-mismatch: /], // prettier-ignore
    'a negative epsilon': [() => whitening({ kind: 'pca', epsilon: -1 }), /^invalid-argument: /],
    'whitening NaN': [() => whitening({ kind: 'pca' }).fit([[1, 2], [NaN, 1]]), /^non-finite-input: whitening: x: row 1, column 0: /], // prettier-ignore
    'whitening nothing': [() => whitening({ kind: 'pca' }).fit([]), /^empty-data: /],
    'a layer before fit': [() => whitening({ kind: 'pca' }).layer(), /^invalid-argument: whitening: fit it first$/],
    'whitening infinity': [() => whitening({ kind: 'zca' }).fit([[1, 2], [2, 1], [0, 0]]).transform([[1, Infinity]]), /^non-finite-input: whitening: x: row 0, column 1: /], // prettier-ignore
    'a layer of another width': [
      () => sequential({ inputShape: [3], layers: [whitening({ kind: 'zca' }).fit([[1, 2], [2, 1], [0, 0]]).layer()] }), // prettier-ignore
      /^shape-mismatch: whitening: it was fitted on 2 columns, the layer's input has 3$/,
    ],
  };
  test.each(Object.entries(cases))('%s', async (_, [call, message]) => {
    expect(await refusal(call)).toMatch(message);
  });

  test('and nothing is changed then', async () => {
    const scaler = fitted();
    const before = scaler.toJSON();
    await refusal(() => scaler.partialFit([[1, 2], [3, NaN]])); // prettier-ignore
    await refusal(() => scaler.fit([[1], [Infinity]]));
    expect(scaler.toJSON()).toEqual(before);
  });
});

describe('symmetricEigen', () => {
  /** Bᵀ·B / rows, so that no eigenvalue is negative. */
  const gram = (n: number, rank: number, seed: number) => {
    const b = new Random(seed).floats(rank * n);
    return Float64Array.from({ length: n * n }, (_, at) => {
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += b[k * n + Math.floor(at / n)] * b[k * n + (at % n)];
      return sum / rank;
    });
  };
  const check = (matrix: Float64Array, n: number) => {
    const { values, vectors } = symmetricEigen(matrix, n);
    const size = Math.max(values[0], Number.MIN_VALUE);
    for (let i = 0; i < n; i++) {
      expect(values[i]).toBeGreaterThanOrEqual(values[i + 1] ?? -size * 1e-14);
      for (let j = 0; j < n; j++) {
        let [product, image] = [0, 0];
        for (let k = 0; k < n; k++) {
          product += vectors[i * n + k] * vectors[j * n + k];
          image += matrix[j * n + k] * vectors[i * n + k];
        }
        expect(Math.abs(product - (i === j ? 1 : 0))).toBeLessThan(1e-13 * Math.max(n, 10));
        expect(Math.abs(image - values[i] * vectors[i * n + j])).toBeLessThan(size * 1e-14 * Math.max(n, 10));
      }
    }
  };

  test('values and vectors of any matrix, also a singular one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 30 }), fc.nat(), (n, rank, seed) => {
        check(gram(n, rank, seed), n);
      }),
      { numRuns: 60 },
    );
  });

  test('known ones', () => {
    const { values, vectors } = symmetricEigen(Float64Array.of(2, 1, 1, 2), 2);
    expect(Array.from(values, (value) => Math.abs(value - Math.round(value)) < 1e-14 && Math.round(value))).toEqual([3, 1]);
    expect(vectors.every((value) => Math.abs(Math.abs(value) - Math.SQRT1_2) < 1e-14)).toBe(true);
    expect(Array.from(symmetricEigen(new Float64Array(9), 3).values)).toEqual([0, 0, 0]);
    expect(Array.from(symmetricEigen(Float64Array.of(0, 0, 0, 5), 2).vectors)).toEqual([0, 1, 1, 0]);
    check(gram(120, 200, 3), 120);
  });
});

describe('whitening', () => {
  const [count, columns] = [2000, 6];
  /** Columns of unequal size that are mixed with one another, far from zero. */
  const correlated = (count: number, columns: number, seed = 1) => {
    const random = new Random(seed);
    const mixing = random.floats(columns * columns);
    const data = new Float64Array(count * columns);
    for (let i = 0; i < count; i++) {
      const source = Array.from({ length: columns }, (_, j) => random.uniform(-1, 1) * (j + 1));
      for (let j = 0; j < columns; j++)
        data[i * columns + j] = 10 * j + source.reduce((sum, value, k) => sum + value * mixing[k * columns + j], 0);
    }
    return data;
  };
  const covarianceOf = (data: ArrayLike<number>, columns: number) => {
    const centred = columnsOf(data, columns).map((column) => {
      const { mean } = twoPasses(column);
      return column.map((value) => value - mean);
    });
    return centred.map((a) => centred.map((b) => a.reduce((sum, value, i) => sum + value * b[i], 0) / a.length));
  };
  const data = correlated(count, columns);
  const x = tensor(data, [count, columns]);

  test.each(['pca', 'zca'] as const)('%s: the covariance of the result is the identity', (kind) => {
    const y = whitening({ kind }).fit(x).transform(x);
    expect(y.shape).toEqual([count, columns]);
    covarianceOf(y.data, columns).forEach((row, i) => row.forEach((value, j) => expect(Math.abs(value - (i === j ? 1 : 0))).toBeLessThan(2e-6))); // prettier-ignore
  });

  test.each(['pca', 'zca'] as const)('%s: there and back', (kind) => {
    const whitener = whitening({ kind }).fit(x);
    const back = whitener.inverse(whitener.transform(x));
    expect(back.shape).toEqual([count, columns]);
    back.data.forEach((value, i) => expect(Math.abs(value - data[i])).toBeLessThan(2e-5));
  });

  test('zca is closer to the data than pca, and than any rotation of it', () => {
    const distance = (y: ArrayLike<number>) => {
      const means = columnsOf(data, columns).map((column) => twoPasses(column).mean);
      return Array.from(y).reduce((sum, value, i) => sum + (value - (data[i] - means[i % columns])) ** 2, 0) / count;
    };
    const zca = whitening({ kind: 'zca' }).fit(x).transform(x).data;
    const least = distance(zca);
    expect(distance(whitening({ kind: 'pca' }).fit(x).transform(x).data)).toBeGreaterThan(least);
    for (let p = 0; p < columns; p++)
      for (let q = 0; q < p; q++)
        for (const angle of [-0.05, 0.05, 1]) {
          const turned = Float64Array.from(zca);
          for (let i = 0; i < count; i++) {
            const [a, b] = [zca[i * columns + p], zca[i * columns + q]];
            turned[i * columns + p] = Math.cos(angle) * a - Math.sin(angle) * b;
            turned[i * columns + q] = Math.sin(angle) * a + Math.cos(angle) * b;
          }
          expect(distance(turned)).toBeGreaterThan(least);
        }
  });

  test('zca leaves white data as they are', () => {
    const once = whitening({ kind: 'zca' }).fit(x).transform(x);
    const twice = whitening({ kind: 'zca' }).fit(once).transform(once);
    twice.data.forEach((value, i) => expect(Math.abs(value - once.data[i])).toBeLessThan(1e-5));
  });

  test('fewer components keep the most variance; the rest comes back as its mean', () => {
    const whitener = whitening({ kind: 'pca', components: 2 }).fit(x);
    const { variances } = whitener;
    const y = whitener.transform(x);
    expect(y.shape).toEqual([count, 2]);
    const total = covarianceOf(data, columns).reduce((sum, row, i) => sum + row[i], 0);
    expect(Math.abs(variances.reduce((sum, value) => sum + value, 0) / total - 1)).toBeLessThan(1e-12);
    const back = whitener.inverse(y).data;
    const lost = back.reduce((sum, value, i) => sum + (value - data[i]) ** 2, 0) / count;
    const left = variances.slice(2).reduce((sum, value) => sum + value, 0);
    expect(Math.abs(lost / left - 1)).toBeLessThan(1e-4);
  });

  test('directions without variance become 0, or are held by epsilon', () => {
    // The third column is the sum of the first two; the fourth is constant.
    const flat = Float64Array.from({ length: 4000 }, (_, i) => {
      const [a, b] = [data[(i >> 2) * columns], data[(i >> 2) * columns + 1]];
      return [a, b, a + b, 7][i % 4];
    });
    const given = tensor(flat, [1000, 4]);
    const pca = whitening({ kind: 'pca' }).fit(given);
    const covariance = covarianceOf(pca.transform(given).data, 4);
    covariance.forEach((row, i) => row.forEach((value, j) => expect(Math.abs(value - (i === j && i < 2 ? 1 : 0))).toBeLessThan(1e-5)));
    pca.inverse(pca.transform(given)).data.forEach((value, i) => expect(Math.abs(value - flat[i])).toBeLessThan(1e-4));
    const held = whitening({ kind: 'pca', epsilon: 0.5 }).fit(given);
    covarianceOf(held.transform(given).data, 4).forEach((row, i) => expect(Math.abs(row[i] - held.variances[i] / (held.variances[i] + 0.5))).toBeLessThan(1e-5)); // prettier-ignore
  });

  test('many columns: the engine sums what float64 would', () => {
    // 9000 · 180² multiplications are more than JavaScript does.
    const [many, wide] = [9000, 180];
    const random = new Random(8);
    const given = Float32Array.from({ length: many * wide }, (_, i) => random.uniform(-1, 1) * (1 + (i % wide)) * 1e-3 + 2);
    for (let i = 1; i < given.length; i++) if (i % wide !== 0) given[i] += (given[i - 1] - 2) / 2;
    const y = whitening({ kind: 'zca' })
      .fit(tensor(given, [many, wide]))
      .transform(tensor(given, [many, wide])).data;
    for (const [a, b] of [
      [0, 0],
      [0, 1],
      [90, 90],
      [90, 91],
      [179, 179],
      [3, 170],
    ]) {
      // prettier-ignore
      let sum = 0;
      for (let i = 0; i < many; i++) sum += y[i * wide + a] * y[i * wide + b];
      expect(Math.abs(sum / many - (a === b ? 1 : 0))).toBeLessThan(1e-4);
    }
  });

  test.each(['pca', 'zca'] as const)('%s as a layer: what transform gives; not trained; saved', async (kind) => {
    const whitener = whitening({ kind, ...(kind === 'pca' && { components: 4 }) }).fit(x);
    const layers = () => [whitener.layer(), dense({ units: 3, activation: 'tanh' }), dense({ units: 1 })];
    const model = sequential({ inputShape: [columns], seed: 2, layers: layers() });
    const rest = sequential({ inputShape: [kind === 'pca' ? 4 : 6], seed: 2, layers: layers().slice(1) });
    rest.setWeights(model.weights.filter(({ name }) => name.startsWith('dense')));
    const [inside, outside] = [(await model.predict(x)).data, (await rest.predict(whitener.transform(x))).data];
    inside.forEach((value, i) => expect(Math.abs(value - outside[i])).toBeLessThan(1e-4));

    const fixed = () => model.weights.filter(({ name }) => name.startsWith('whitening1/'));
    expect(fixed().map(({ name, shape, trainable }) => ({ name, shape, trainable }))).toEqual([
      { name: 'whitening1/shift', shape: [columns], trainable: false },
      { name: 'whitening1/kernel', shape: [columns, kind === 'pca' ? 4 : 6], trainable: false },
    ]);
    const before = fixed();
    model.compile({ optimizer: sgd({ learningRate: 0.05, momentum: 0.9 }), loss: 'meanSquaredError' });
    const y = Float32Array.from({ length: count }, (_, i) => Math.sin(data[i * columns]));
    const { loss } = await model.fit(x, y, { epochs: 3, batchSize: 50 });
    expect(loss.at(-1)).toBeLessThan(loss[0]);
    fixed().forEach(({ name, data }, i) => expectSameBits(name, data, before[i].data));

    const loaded = await loadModel(await model.serialize());
    expectSameBits('loaded', (await loaded.predict(x)).data, (await model.predict(x)).data);
    expect(loaded.summary()).toBe(model.summary());
    expect(loaded.weights.map(({ trainable }) => trainable)).toEqual(model.weights.map(({ trainable }) => trainable));
  });

  test('gradients pass through the layer', async () => {
    const whitener = whitening({ kind: 'zca' }).fit(x);
    const model = sequential({ inputShape: [columns], seed: 5, layers: [whitener.layer(), dense({ units: 1 })] });
    model.compile({ optimizer: sgd(), loss: { name: 'meanSquaredError', reduction: 'sum' } });
    const { inputGradient, lossGradients } = await model.gradients(tensor(data.slice(0, columns), [1, columns]), [0.3]);
    const kernel = model.weights.find(({ name }) => name === 'whitening1/kernel')!.data;
    inputGradient.data.forEach((value, i) => {
      const expected = lossGradients[0].data.reduce((sum, dY, j) => sum + dY * kernel[i * columns + j], 0);
      expect(Math.abs(value - expected)).toBeLessThan(1e-5 * Math.max(1, Math.abs(expected)));
    });
  });
});
