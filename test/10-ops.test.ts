// Every op on every kernel table that this machine runs, against the float64 interpreter: random variants and shapes, with
// a limit for rounding that follows from the op's formula (src/diagnostics/rounding.ts). GRADMILL_FIGURES=1 prints the worst error of each.
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { roundingOf } from '../src/diagnostics/rounding.js';
import { engine } from '../src/engine.js';
import type { OpName } from '../src/ops.js';
import { activationImmediates, ELEMENTWISE, randomCase, type Sizes } from './cases.js';
import { expectSameBits, onEngine, onReference, type OpCase, ran, Random, tables } from './engines.js';
import { expectRounded, printWorst } from './rounded.js';

/** Empty, one, a vector of any instruction set and its neighbours, register tiles and theirs, and anything between. */
const size = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 47, 48, 49),
  fc.integer({ min: 0, max: 70 }),
);
const sizes: fc.Arbitrary<Sizes> = fc.record({ m: size, n: size, k: size });
const seed = fc.integer({ min: 0, max: 0x7fffffff });

const runningDims = ({ dims, batch }: OpCase) => dims.map((dim, d) => (d === batch?.dim ? batch.rows : dim));

/** Runs it everywhere and compares every operand, written or not. */
function check(given: OpCase): void {
  const { plan, before, after, feeds, fault } = onReference(given);
  const [{ op, immediates }] = plan.instructions;
  const dims = runningDims(given);
  const [m = 0, n = 0, k = 0] = dims;
  const rounded = Object.fromEntries(
    op.immediates.map(({ name, float }) => [name, float ? Math.fround(immediates[name]) : immediates[name]]),
  );
  const errors = roundingOf({ op: given.op, m, n, k, immediates: rounded, before, after, errors: {} });
  for (const table of tables) {
    const outcome = onEngine(given, table);
    expect(outcome.fault, table.name).toEqual(fault);
    for (const { name, extent, written } of op.operands) {
      if (!(name in after)) continue;
      const actual = outcome.operands[name];
      // Nothing else may change: what is only read, and rows beyond the batch.
      const live = written ? extent(dims) : 0;
      const initial = given.operands[name];
      if (initial) expectSameBits(`${given.op} ${name} on ${table.name}`, actual.subarray(live), initial.subarray(live));
      if (written) expectRounded(`${given.op} ${name}`, table.name, actual.subarray(0, live), after[name].subarray(0, live), errors[name]);
    }
    for (const [slot, data] of Object.entries(feeds))
      expectRounded(`${given.op} feed ${slot}`, table.name, outcome.feeds[slot], Float64Array.from(data));
  }
}

describe(`every op (${ran})`, () => {
  for (const op of engine().ops.keys()) {
    test(op, () => {
      fc.assert(
        fc.property(sizes, seed, (sizes, seed) => {
          check(randomCase(op, new Random(seed), sizes));
        }),
        // Truncated draws at the very edge of ±2 may fall on either side in float32: these must be the same draws every time.
        { numRuns: 60, ...(op === 'randomTruncatedNormal' && { seed: 1 }) },
      );
    });
  }
});

describe('every activation after a product, as a derivative of the layer below, with what was before it kept', () => {
  test.each(ELEMENTWISE)('%s', (name) => {
    const random = new Random(5);
    const [m, n, k] = [7, 19, 11];
    const both = { a: random.floats(m * k), b: random.floats(k * n), bias: random.floats(n) };
    const immediates = { transpose: 0, beta: 0, ...activationImmediates(name, random) };
    check({ op: 'gemm', dims: [m, n, k], immediates, operands: both });
    check({ op: 'gemm', dims: [m, n, k], immediates, operands: both, writes: ['y'] });
    check({ op: 'gemm', dims: [m, n, k], immediates, operands: { ...both, v: random.floats(m * n) } });
  });
});

describe('sums longer than a reduction chunk', () => {
  const ops: OpName[] = [
    ...['softmax', 'softmaxGradient', 'meanSquaredError', 'meanAbsoluteError', 'huber', 'binaryCrossEntropy'],
    ...['softmaxCrossEntropy', 'categoricalCrossEntropy', 'globalNormScale', 'accuracy', 'statistics', 'spectralNorm'],
    ...['layerNormalization', 'layerNormalizationGradient'],
  ] as OpName[];

  test.each(ops)('%s', (op) => {
    for (const n of [4095, 4096, 4097, 8192, 12_345]) check(randomCase(op, new Random(n), { m: 2, n, k: 0 }));
  });
});

describe(`NaN passes through every op, and stops a run where it reaches a loss or a weight (${ran})`, () => {
  const floatInputs = (op: OpName) => engine().ops.get(op)!.operands.filter(({ type }) => type === 'f32').map(({ name }) => name); // prettier-ignore

  test.each([...engine().ops.keys()].filter((op) => floatInputs(op).length > 0))('%s', (op) => {
    let met = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const random = new Random(seed);
      const given = randomCase(op, random, { m: 1 + random.integer(9), n: 1 + random.integer(40), k: 1 + random.integer(20) });
      const dims = runningDims(given);
      const { operands } = engine().ops.get(op)!;
      const read = operands.filter(({ name, extent }) => given.operands[name] instanceof Float32Array && extent(dims) > 0);
      const data = given.feeds?.input?.data;
      if (read.length > 0) {
        const { name, extent } = read[random.integer(read.length)];
        given.operands[name]![random.integer(extent(dims))] = NaN;
      } else if (data instanceof Float32Array || data instanceof Float64Array) {
        data.fill(NaN, data.length / 3);
      }
      const { after, fault } = onReference(given);
      for (const table of tables) {
        const outcome = onEngine(given, table);
        expect(outcome.fault, table.name).toEqual(fault);
        for (const { name, extent, written } of operands) {
          if (!written || !(name in after) || fault?.kind === 'nonFiniteInput') continue;
          const isNaN = (values: Iterable<number>) => Array.from(values, Number.isNaN).slice(0, extent(dims));
          expect(isNaN(outcome.operands[name]), `${name} on ${table.name}`).toEqual(isNaN(after[name]));
          if (isNaN(after[name]).includes(true)) met++;
        }
        if (fault) met++;
      }
    }
    const silent: OpName[] = ['accuracy', 'columnStatistics', 'fill', 'histogram', 'scatter'];
    const deaf: OpName[] = [...silent, 'randomUniform', 'randomNormal', 'randomTruncatedNormal'];
    if (!deaf.includes(op)) expect(met).toBeGreaterThan(0);
  });
});

afterAll(printWorst);
