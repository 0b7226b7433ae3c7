// Reports on inputs, initialisation and units: every figure against one computed here in another way, planted cases counted exactly.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { deadUnits, duplicateUnits, initReport, inputReport, signAgreement } from '../src/diagnostics/index.js';
import { symmetricEigenvalues } from '../src/eigen.js';
import { constant, dense, normal, sequential, sgd, tensor, zeros } from '../src/index.js';
import type { Layer } from '../src/index.js';
import { Random } from './engines.js';
import { refusal } from './refusal.js';

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const variance = (values: readonly number[]) => mean(values.map((value) => (value - mean(values)) ** 2));
const column = (data: ArrayLike<number>, columns: number, j: number) =>
  Array.from({ length: data.length / columns }, (_, i) => data[i * columns + j]);

describe('inputReport', () => {
  test('statistics of columns over many batches equal those computed at once', async () => {
    const [rows, columns] = [3000, 7];
    const random = new Random(1);
    const x = random.floats(rows * columns, -1, 1).map((value, i) => value * 10 ** ((i % columns) - 3) + (i % columns));
    const report = await inputReport(tensor(x, [rows, columns]));
    expect(report).toMatchObject({ rows, nonFinite: 0, constant: [], duplicates: [], collinear: [], categorical: [] });
    report.columns.forEach((found, j) => {
      const values = column(x, columns, j);
      expect(found.mean).toBeCloseTo(mean(values), 5);
      expect(found.variance / variance(values)).toBeCloseTo(1, 4);
      expect(found).toMatchObject({ min: Math.min(...values), max: Math.max(...values), nonFinite: 0 });
    });
    expect(report.sameSignShare).toBe(mean(report.columns.map(({ min, max }) => Number(min >= 0 || max <= 0))));
  });

  test('planted columns are found: constant, equal, collinear, categorical, without a sign', async () => {
    const rows = 1500;
    const random = new Random(2);
    const x: number[] = [];
    for (let i = 0; i < rows; i++) {
      const [a, b] = [random.uniform(-1, 1), random.uniform(-1, 1)];
      //      0  1  2     3        4                  5  6             7                  8
      x.push(a, 7, b, a, 3 - 2 * b, random.integer(5), 1 + random.uniform(), random.integer(2), a);
    }
    const report = await inputReport(tensor(x, [rows, 9]));
    expect(report).toMatchObject({ constant: [1], duplicates: [[0, 3, 8]], collinear: [[2, 4]], categorical: [5] });
    expect(report.sameSignShare).toBe(5 / 9);
    expect(report.conditionNumber).toEqual({ raw: Infinity, centred: Infinity, standardized: Infinity });
  });

  test('wide inputs: equal columns, not columns of the same numbers in other rows', async () => {
    const [rows, columns] = [40, 600];
    const x = new Random(5).floats(rows * columns);
    for (let i = 0; i < rows; i++) {
      x[i * columns + 599] = x[i * columns + 7];
      x[i * columns + 20] = Number(i === 3);
      x[i * columns + 21] = Number(i === 4);
    }
    const nested = Array.from({ length: rows }, (_, i) => Array.from(x.subarray(i * columns, (i + 1) * columns)));
    for (const input of [tensor(x, [rows, columns]), nested])
      expect(await inputReport(input)).toMatchObject({ duplicates: [[7, 599]], collinear: [], constant: [] });
  });

  test('condition numbers are those of the eigenvalues: independent columns of known sizes', async () => {
    // Columns of a Hadamard matrix are orthogonal, and their means are 0.
    const signs = (i: number, j: number) => (((i & j).toString(2).match(/1/g) ?? []).length % 2 === 0 ? 1 : -1);
    const sizes = [1, 10, 100];
    const x = Array.from({ length: 64 }, (_, i) => sizes.map((size, j) => size * signs(i, j + 1)));
    const { conditionNumber } = await inputReport(x);
    expect(conditionNumber!.standardized).toBeCloseTo(1, 5);
    expect(conditionNumber!.centred / 1e4).toBeCloseTo(1, 5);
    expect(conditionNumber!.raw / 1e4).toBeCloseTo(1, 5);
    // A mean m beside deviation 1 adds an eigenvalue of about m² times the columns.
    const shifted = await inputReport(x.map((row) => row.map((value, j) => value / sizes[j] + 20)));
    expect(shifted.conditionNumber!.standardized).toBeCloseTo(1, 4);
    expect(shifted.conditionNumber!.raw / (1 + 3 * 400)).toBeCloseTo(1, 4);
  });

  test('numbers that are not finite are counted, and left out of the rest', async () => {
    const x = tensor([1, NaN, 3, 4, Infinity, 6, 5, -Infinity, 9], [3, 3]);
    const report = await inputReport(x);
    expect(report.nonFinite).toBe(3);
    expect(report.columns.map(({ nonFinite }) => nonFinite)).toEqual([0, 3, 0]);
    expect(report.columns[0]).toMatchObject({ min: 1, max: 5 });
    expect(report.conditionNumber).toBeUndefined();
  });

  test('bytes as inputScaling makes them', async () => {
    const random = new Random(3);
    const x = Uint8Array.from({ length: 4000 }, () => random.integer(256));
    const scaling = { mean: [100, 128], standardDeviation: [50, 70] };
    const report = await inputReport(tensor(x, [2000, 2]), { inputScaling: scaling });
    const values = column(x, 2, 1).map((value) => (value - 128) / 70);
    expect(report.columns[1].mean).toBeCloseTo(mean(values), 5);
    expect(report.columns[1].variance).toBeCloseTo(variance(values), 5);
    expect(report.conditionNumber!.standardized).toBeLessThan(1.2);
  });

  test('what it refuses', async () => {
    expect(await refusal(() => inputReport([]))).toMatch(/^empty-data/);
    expect(await refusal(() => inputReport([[1], [2]], { scaling: 1 } as object))).toMatch(/^unknown-name/);
    expect(await refusal(() => inputReport([[1, 2], [3]]))).toMatch(/^shape-mismatch/);
  });
});

test('eigenvalues of symmetric matrices: their sum and the sum of their squares, and those of known ones', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 1e6 }), (n, seed) => {
      const random = new Random(seed);
      const a = new Float64Array(n * n);
      for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = random.uniform(-1, 1);
      const squares = a.reduce((sum, value) => sum + value * value, 0);
      let trace = 0;
      for (let i = 0; i < n; i++) trace += a[i * n + i];
      const values = symmetricEigenvalues(a.slice(), n);
      expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(trace, 10);
      expect(values.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(squares, 10);
      expect([...values]).toEqual([...values].sort((p, q) => p - q));
    }),
  );
  expect([...symmetricEigenvalues(Float64Array.of(2, 1, 1, 2), 2)]).toEqual([1, 3].map((value) => expect.closeTo(value, 12) as number));
  // The second difference: 2 − 2cos(πk/(n+1)).
  const n = 6;
  const second = Float64Array.from({ length: n * n }, (_, at) => [2, -1][Math.abs(Math.floor(at / n) - (at % n))] ?? 0);
  symmetricEigenvalues(second, n).forEach((value, k) => expect(value).toBeCloseTo(2 - 2 * Math.cos((Math.PI * (k + 1)) / (n + 1)), 12));
});

describe('initReport', () => {
  test('gains are fanIn·σ² and units·σ², and the initialisers keep their promises', async () => {
    const layers = [
      dense({ units: 300, activation: 'relu', kernelInitializer: 'heNormal' }),
      dense({ units: 300, activation: 'tanh', kernelInitializer: 'lecunUniform' }),
      dense({ units: 100, kernelInitializer: normal({ standardDeviation: 0.02 }) }),
    ];
    const { layers: found, input } = await initReport(sequential({ inputShape: [200], layers, seed: 5 }));
    expect(input).toBeCloseTo(1, 1);
    const [he, lecun, small] = found;
    for (const { layer, kernelRms, promisedRms } of found) expect(kernelRms / promisedRms!, layer).toBeCloseTo(1, 1);
    expect(he.promisedRms).toBeCloseTo(0.1, 12);
    expect(he.forwardGain).toBeCloseTo(2, 1);
    expect(he.backwardGain / 3).toBeCloseTo(1, 1);
    expect(lecun.forwardGain).toBeCloseTo(1, 1);
    expect(small.promisedRms).toBe(0.02);
    // ReLU halves the mean square, which He's 2 makes up for.
    expect(he.forward).toBeCloseTo(1, 0.5);
    expect(small.forward / (300 * 0.02 ** 2 * lecun.forward)).toBeCloseTo(1, 0.5);
    expect(small.backward).toBe(1);
  });

  test('twenty ReLU layers: He keeps signals and gradients, Glorot fades both a thousandfold and more', async () => {
    const deep = (kernelInitializer: 'heNormal' | 'glorotNormal') =>
      initReport(sequential({ inputShape: [256], layers: Array.from({ length: 20 }, () => dense({ units: 256, activation: 'relu', kernelInitializer })), seed: 1 })); // prettier-ignore
    const [he, glorot] = [await deep('heNormal'), await deep('glorotNormal')];
    for (const ratio of [he.forwardRatio, he.backwardRatio]) expect(Math.abs(Math.log10(ratio))).toBeLessThan(1);
    // Half of the mean square a layer.
    expect(Math.log2(glorot.forwardRatio) / -20).toBeCloseTo(1, 0.5);
    expect(Math.log2(glorot.backwardRatio) / -19).toBeCloseTo(1, 0.5);
  });

  test("given inputs count, and the model's own training stays", async () => {
    const model = sequential({ inputShape: [4], layers: [dense({ units: 3 })], inputScaling: { mean: 10, standardDeviation: 2 } });
    const random = new Random(8);
    const x = tensor(random.floats(400, 8, 12), [100, 4]);
    const { input } = await initReport(model, x);
    expect(input).toBeCloseTo(mean([...x.data].map((value) => ((value - 10) / 2) ** 2)), 4);
    expect(await refusal(() => model.evaluate(x, tensor(random.floats(300), [100, 3])))).toMatch(/^not-compiled/);
  });
});

/** Weights of a layer set by hand. */
function withWeights(inputs: number, layers: readonly Layer[], weights: Readonly<Record<string, readonly number[]>>) {
  const model = sequential({ inputShape: [inputs], layers, seed: 2 });
  model.setWeights(Object.entries(weights).map(([name, data]) => ({ name, data })));
  return model;
}

describe('duplicateUnits', () => {
  test('copies in, copies in and out, and none', async () => {
    // Units 0, 2 and 3 of the first layer share their incoming weights; 0 and 3 their outgoing ones too.
    const model = withWeights(2, [dense({ units: 5, activation: 'tanh' }), dense({ units: 2 })], {
      'dense1/kernel': [1, 2, 1, 1, 5, /**/ -1, 3, -1, -1, -1],
      'dense2/kernel': [1, 2, /**/ 5, 6, /**/ 3, 4, /**/ 1, 2, /**/ 7, 8],
    });
    expect(await duplicateUnits(model)).toEqual([
      { layer: 'dense1', units: 5, incoming: [[0, 2, 3]], inseparable: [[0, 3]] },
      { layer: 'dense2', units: 2, incoming: [], inseparable: [] },
    ]);
    model.setWeights([{ name: 'dense1/bias', data: [0, 0, 0, 1, 0] }]);
    expect((await duplicateUnits(model))[0]).toMatchObject({ incoming: [[0, 2]], inseparable: [] });
  });

  test('a net of constants: every unit is one and the same', async () => {
    const layers = [dense({ units: 6, kernelInitializer: constant({ value: 0.1 }) }), dense({ units: 4, kernelInitializer: zeros() }), dense({ units: 1 })]; // prettier-ignore
    const found = await duplicateUnits(sequential({ inputShape: [3], layers }));
    expect(found.map(({ incoming, inseparable }) => [incoming.map((group) => group.length), inseparable.map((group) => group.length)])).toEqual([
      [[6], [6]],
      [[4], []],
      [[], []],
    ]); // prettier-ignore
  });
});

describe('deadUnits', () => {
  const random = new Random(4);
  const x = tensor(random.floats(3000 * 3), [3000, 3]);

  test('planted cases are counted exactly, over more rows than a batch', async () => {
    const kernel = Array.from({ length: 3 * 8 }, (_, i) => random.uniform(0.5, 1.5) * (i % 2 === 0 ? 1 : -1));
    const bias = new Array<number>(8).fill(0);
    const plant = (unit: number, weights: number, offset: number) => {
      for (let i = 0; i < 3; i++) kernel[i * 8 + unit] *= weights;
      bias[unit] = offset;
    };
    plant(1, 1, -10); // never active
    plant(4, 1, -10);
    plant(5, 0, 2); // constant, and of no weights
    plant(6, 1e-5, 0); // of next to no weights, yet alive
    const model = withWeights(3, [dense({ units: 8, activation: 'relu' }), dense({ units: 2 })], { 'dense1/kernel': kernel, 'dense1/bias': bias }); // prettier-ignore
    const [relu, last] = await deadUnits(model, x);
    expect(relu).toEqual({
      layer: 'dense1',
      activation: 'relu',
      units: 8,
      neverActive: [1, 4],
      saturated: [],
      constant: [5],
      nearZeroWeights: [5, 6],
      dead: 4,
    });
    expect(last).toMatchObject({ layer: 'dense2', neverActive: [], saturated: [], constant: [], nearZeroWeights: [], dead: 0 });
  });

  test.each(['tanh', 'sigmoid', 'gelu', 'softsign', 'hardSigmoid'] as const)('saturated units of %s', async (name) => {
    const kernel = Array.from({ length: 3 * 6 }, (_, i) => (i % 6 === 2 ? 1e-3 : 1) * random.uniform(-0.2, 0.2) + 0.01);
    const model = withWeights(3, [dense({ units: 6, activation: name })], {
      'dense1/kernel': kernel,
      'dense1/bias': [0, 30, 0, -30, 0, 0],
    });
    const [{ saturated, neverActive, constant }] = await deadUnits(model, x);
    // gelu rises with slope 1 on its right side; what it gives on the left is 0 and nothing else.
    expect({ saturated, neverActive, constant }).toEqual(
      name === 'gelu' ? { saturated: [], neverActive: [3], constant: [] } : { saturated: [1, 3], neverActive: [], constant: [] },
    );
  });

  test('a unit that one row in thousands activates is alive', async () => {
    const rare = tensor(new Float32Array(5000).fill(-1), [5000, 1]);
    rare.data[3777] = 1;
    const model = withWeights(1, [dense({ units: 1, activation: 'relu' })], { 'dense1/kernel': [1] });
    expect((await deadUnits(model, rare))[0]).toMatchObject({ neverActive: [], dead: 0 });
    rare.data[3777] = -1;
    expect((await deadUnits(model, rare))[0]).toMatchObject({ neverActive: [0], dead: 1 });
  });
});

describe('signAgreement', () => {
  const build = () => {
    const model = sequential({ inputShape: [6], layers: [dense({ units: 500, activation: 'tanh' }), dense({ units: 4 })], seed: 9 });
    model.compile({ optimizer: sgd(), loss: 'meanSquaredError' });
    return model;
  };

  test('one example with all inputs above 0: exactly 1; centred inputs: near chance', async () => {
    const random = new Random(6);
    const y = tensor(random.floats(4), [1, 4]);
    const [positive] = await signAgreement(build(), tensor(random.floats(6, 0.1, 1), [1, 6]), y);
    expect(positive).toEqual({ layer: 'dense1', columns: 500, sameSign: 1, chance: 1 / 32 });
    // Of one example the signs are those of x: 2 of 64 draws agree.
    const tries = 200;
    let agreeing = 0;
    for (let i = 0; i < tries; i++) agreeing += (await signAgreement(build(), tensor(random.floats(6), [1, 6]), y))[0].sameSign;
    expect(agreeing / tries).toBeLessThan(0.1);
  });

  test('a batch of centred inputs: near chance too', async () => {
    const random = new Random(7);
    const [{ sameSign, columns }] = await signAgreement(
      build(),
      tensor(random.floats(64 * 6), [64, 6]),
      tensor(random.floats(64 * 4), [64, 4]),
    );
    expect(columns).toBe(500);
    expect(Math.abs(sameSign - 1 / 32)).toBeLessThan(0.1);
  });
});
