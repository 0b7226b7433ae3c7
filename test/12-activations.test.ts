// Activations on every kernel table that this machine runs: accuracy over the whole range of floats, values where the
// formulas end or bend, and the ranges of their derivatives (THEORY: a' in [0, 1] is not general).
import { afterAll, describe, expect, test } from 'vitest';
import { type ActivationName, resolveActivation } from '../src/activations.js';
import { roundingOf } from '../src/diagnostics/rounding.js';
import { ELEMENTWISE } from './cases.js';
import { expectSameBits, onEngine, onReference, ran, Random, type Table, tables } from './engines.js';
import { expectRounded, printWorst } from './rounded.js';

type Elementwise = (typeof ELEMENTWISE)[number];

const immediatesOf = (name: Elementwise) => {
  const { code, parameter } = resolveActivation(name);
  return { activation: code, parameter };
};

function activate(name: Elementwise, x: Float32Array, table: Table): Float32Array {
  return onEngine({ op: 'activate', dims: [1, x.length], immediates: immediatesOf(name), operands: { x } }, table).operands
    .y as Float32Array;
}

/** a'(z) as a training step computes it: from z, or from the y that the engine made of it. */
function derivative(name: Elementwise, z: Float32Array, table: Table): Float32Array {
  const v = resolveActivation(name).derivativeNeedsInput ? z : activate(name, z, table);
  const operands = { dY: new Float32Array(z.length).fill(1), v };
  return onEngine({ op: 'activationGradient', dims: [1, z.length], immediates: immediatesOf(name), operands }, table).operands
    .dX as Float32Array;
}

/** Floats of every sign and exponent, 127 of each, subnormals too. */
const everywhere = (() => {
  const bits = new Uint32Array(512 * 128);
  const random = new Random(3);
  for (let i = 0; i < bits.length; i++) bits[i] = Math.floor(i / 128) * 2 ** 23 + (i % 128 === 0 ? 0 : random.integer(2 ** 23));
  return new Float32Array(bits.buffer).filter(Number.isFinite);
})();

/** Where float32 ends before float64 does, both are infinite. */
function expectAccurate(what: string, table: Table, actual: Float32Array, reference: Float64Array, error: Float64Array): void {
  const most = 2 ** 128 - 2 ** 103;
  const wanted = reference.map((value) => (Math.abs(value) >= most ? Math.sign(value) * Infinity : value));
  const got = actual.map((value, i) => (Math.abs(reference[i]) > 0.999999 * most ? wanted[i] : value));
  expectRounded(what, table.name, got, wanted, error);
}

describe(`accuracy over all floats (${ran})`, () => {
  test.each(ELEMENTWISE)('%s', (name) => {
    const given = { op: 'activate', dims: [1, everywhere.length], immediates: immediatesOf(name), operands: { x: everywhere } } as const;
    const { before, after } = onReference(given);
    const shape = { m: 1, n: everywhere.length, k: 0, immediates: given.immediates, errors: {} };
    const { y } = roundingOf({ op: 'activate', ...shape, before, after });
    for (const table of tables) expectAccurate(name, table, activate(name, everywhere, table), after.y, y!);
  });

  test.each(ELEMENTWISE)("%s'", (name) => {
    // Of y where the derivative is read off y: any y that the activation can have.
    const v = resolveActivation(name).derivativeNeedsInput ? everywhere : activate(name, everywhere, tables[0]).filter(Number.isFinite);
    const operands = { dY: new Float32Array(v.length).fill(1), v };
    const given = { op: 'activationGradient', dims: [1, v.length], immediates: immediatesOf(name), operands } as const;
    const { before, after } = onReference(given);
    const shape = { m: 1, n: v.length, k: 0, immediates: given.immediates, errors: {} };
    const { dX } = roundingOf({ op: 'activationGradient', ...shape, before, after });
    for (const table of tables) expectAccurate(`${name}'`, table, onEngine(given, table).operands.dX as Float32Array, after.dX, dX!);
  });
});

describe(`where formulas end (${ran})`, () => {
  test.each(ELEMENTWISE)('%s of NaN is NaN, in every lane', (name) => {
    for (const table of tables) {
      const y = activate(
        name,
        Float32Array.from({ length: 19 }, (_, i) => (i % 3 === 0 ? NaN : 1)),
        table,
      );
      expect(Array.from(y, Number.isNaN), table.name).toEqual(Array.from(y, (_, i) => i % 3 === 0));
    }
  });

  const selu = -Math.fround(1.0507009873554805 * 1.6732632423543772);
  const limits: [name: Elementwise, below: number | undefined, above: number][] = [
    ['linear', -Infinity, Infinity],
    ['sigmoid', 0, 1],
    ['tanh', -1, 1],
    ['relu', 0, Infinity],
    ['leakyRelu', -Infinity, Infinity],
    ['elu', -1, Infinity],
    ['selu', selu, Infinity],
    // −∞·0, as the formulas say
    ['gelu', undefined, Infinity],
    ['geluTanh', undefined, Infinity],
    ['silu', undefined, Infinity],
    ['mish', undefined, Infinity],
    ['hardSwish', undefined, Infinity],
    ['softplus', 0, Infinity],
    ['hardSigmoid', 0, 1],
  ];
  test.each(limits)('%s at ∓∞', (name, below, above) => {
    for (const table of tables) {
      const [low, high] = activate(name, Float32Array.of(-Infinity, Infinity), table);
      if (below !== undefined) expect(low, table.name).toBe(below);
      expect(high, table.name).toBe(above);
    }
  });

  // ReLU'(0) = 0 by convention; the others as PyTorch 1.13.
  const kinks: [name: Elementwise, at: number, slope: number][] = [
    ['relu', 0, 0],
    ['relu', -0, 0],
    ['leakyRelu', 0, Math.fround(0.01)],
    ['elu', 0, 1],
    ['selu', 0, -selu],
    ['hardSigmoid', -3, 0],
    ['hardSigmoid', 3, 0],
    ['hardSwish', -3, -0.5],
    ['hardSwish', 3, 1.5],
    ['softsign', 0, 1],
  ];
  test.each(kinks)("%s'(%f) = %f", (name, at, slope) => {
    for (const table of tables) expect(derivative(name, Float32Array.of(at), table)[0], table.name).toBe(slope);
  });
});

describe(`ranges of a' (${ran})`, () => {
  /** −8 … 8, finely, 0 among them: beyond, float32's tanh is 1. */
  const z = Float32Array.from({ length: 2 ** 17 + 1 }, (_, i) => (i - 2 ** 16) / 2 ** 13);
  const rangeOf = (name: Elementwise, table: Table) => derivative(name, z, table).reduce(([low, high], a) => [Math.min(low, a), Math.max(high, a)], [Infinity, -Infinity]); // prettier-ignore

  const bounds: [name: Elementwise, low: number, high: number][] = [
    ['gelu', -0.1289, 1.1289],
    ['geluTanh', -0.1289, 1.1289],
    ['silu', -0.0998, 1.0998],
    ['mish', -0.1125, 1.0885],
    ['hardSwish', -0.5, 1.5],
  ];
  test.each(bounds)("%s' in [%f, %f], and reaches both", (name, low, high) => {
    for (const table of tables) {
      const [lowest, highest] = rangeOf(name, table);
      expect(lowest).toBeCloseTo(low, name === 'geluTanh' ? 3 : 4);
      expect(highest).toBeCloseTo(high, name === 'geluTanh' ? 3 : 4);
    }
  });

  const above0: [name: Elementwise, high: number, at: number][] = [
    ['sigmoid', 0.25, 0],
    ['tanh', 1, 0],
    ['softsign', 1, 0],
    ['elu', 1, 8],
    ['selu', Math.fround(1.0507009873554805 * 1.6732632423543772), 0],
  ];
  test.each(above0)("%s' in (0, %f], the maximum at %f", (name, high, at) => {
    for (const table of tables) {
      const [lowest, highest] = rangeOf(name, table);
      expect(lowest, table.name).toBeGreaterThan(0);
      expect(highest, table.name).toBe(high);
      expect(derivative(name, Float32Array.of(at), table)[0], table.name).toBe(high);
    }
  });

  const discrete: [name: Elementwise, values: number[]][] = [
    ['linear', [1]],
    ['relu', [0, 1]],
    ['leakyRelu', [Math.fround(0.01), 1]],
    ['hardSigmoid', [0, Math.fround(1 / 6)]],
  ];
  test.each(discrete)("%s' is one of %j", (name, values) => {
    for (const table of tables) expect([...new Set(derivative(name, z, table))].sort(), table.name).toEqual(values);
  });

  test('every activation is in one of these lists but softplus, whose derivative is the sigmoid', () => {
    const listed = new Set<ActivationName>([...bounds, ...above0, ...discrete].map(([name]) => name));
    expect(ELEMENTWISE.filter((name) => !listed.has(name))).toEqual(['softplus']);
    for (const table of tables) expectSameBits(table.name, derivative('softplus', z, table), activate('sigmoid', z, table));
  });
});

describe(`softmax (${ran})`, () => {
  const softmax = (x: number[], table: Table) => [
    ...onEngine({ op: 'softmax', dims: [1, x.length], operands: { x: Float32Array.from(x) } }, table).operands.y,
  ];

  test.each(tables)('$name: no overflow, exact zeros, equal shares, NaN everywhere', (table) => {
    expect(softmax([1e38, 1e38], table)).toEqual([0.5, 0.5]);
    expect(softmax([-3e38, 3e38], table)).toEqual([0, 1]);
    expect(softmax([0, -Infinity, 0], table)).toEqual([0.5, 0, 0.5]);
    expect(softmax(new Array<number>(64).fill(7), table)).toEqual(new Array(64).fill(1 / 64));
    expect(softmax([5], table)).toEqual([1]);
    for (const at of [0, 7, 8, 20]) expect(softmax(Array.from({ length: 21 }, (_, i) => (i === at ? NaN : i)), table).every(Number.isNaN)).toBe(true); // prettier-ignore
  });
});

afterAll(printWorst);
