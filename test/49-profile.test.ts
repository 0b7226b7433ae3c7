// model.profile: that it leaves the model alone, that its rows are the plan's instructions and its shares those of one whole, and
// that the engine computes the same bits while it keeps time. No test judges a time.
import { beforeAll, describe, expect, test } from 'vitest';
import { architecture } from '../src/architecture.js';
import { engine } from '../src/engine.js';
import {
  adam,
  batchNormalization,
  dense,
  dropout,
  l1,
  type Profile,
  type ProfileOptions,
  sequential,
  type Sequential,
  sgd,
} from '../src/index.js';
import { resolveLoss } from '../src/losses.js';
import { FEED } from '../src/plan.js';
import { Runtime } from '../src/runtime.js';
import { elementType } from '../src/tensor.js';
import { bitsOf } from './bits.js';
import { Random } from './engines.js';
import { refusal } from './refusal.js';
import { onWhile, wasmEngine } from './two-engines.js';

const columns = 20;
const random = new Random(1);
const x = { data: random.floats(90 * columns), shape: [90, columns] };
const y = random.labels(90, 4);
/** Enough to see everything, few enough for an emulator. */
const few = { batchSize: 16, steps: 5 } as const;

interface Choice {
  readonly fuse?: boolean;
  readonly threads?: number;
}

/** Momentum, randomness, running statistics and a proximal step: all the state that a step can change. */
function make({ fuse = true, threads = 2 }: Choice = {}): Sequential {
  const layers = [
    dense({ units: 30, activation: 'tanh', kernelRegularizer: l1(1e-4) }),
    batchNormalization(),
    dropout({ rate: 0.2 }),
    dense({ units: 12, activation: 'relu' }),
    dense({ units: 4 }),
  ];
  const model = sequential({ inputShape: [columns], seed: 3, layers });
  model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', metrics: ['accuracy'], fuse, threads });
  return model;
}

const sum = (numbers: readonly number[]) => numbers.reduce((all, number) => all + number, 0);

describe('the model', () => {
  test('does not change by a bit: weights, moments, seed, epochs, steps', async () => {
    const [profiled, other] = [make(), make()];
    for (const model of [profiled, other]) await model.fit(x, y, { batchSize: 16 });
    const before = bitsOf(profiled.weights);
    await profiled.profile(x, y, few);
    expect(bitsOf(profiled.weights)).toEqual(before);
    for (const model of [profiled, other]) await model.fit(x, y, { batchSize: 16, epochs: 2 });
    expect(bitsOf(profiled.weights)).toEqual(bitsOf(other.weights));
  });

  test('is busy meanwhile, and takes its calls in turn', async () => {
    const model = make();
    const [profile, fit] = [model.profile(x, y, few), model.fit(x, y)];
    expect(await refusal(() => model.weights)).toMatch(/^busy/);
    expect((await profile).steps).toBe(5);
    expect((await fit).loss).toHaveLength(1);
  });

  test('stays as it is when a profile fails', async () => {
    const model = make();
    const before = bitsOf(model.weights);
    const bad = { data: x.data.slice(), shape: x.shape };
    bad.data[7 * columns + 3] = NaN;
    expect(await refusal(() => model.profile(bad, y, { batchSize: 90 }))).toMatch(/^non-finite-input: x: row 7, column 3/);
    expect(await refusal(() => model.profile(x, y.fill(4, 2, 3), { batchSize: 90 }))).toMatch(/^label-out-of-range: y: row 2/);
    y[2] = 0;
    expect(bitsOf(model.weights)).toEqual(before);
    expect((await model.profile(x, y, few)).steps).toBe(5);
  });

  test('that diverges says where', async () => {
    const model = sequential({ inputShape: [columns], layers: [dense({ units: 8 }), dense({ units: 1 })] });
    model.compile({ optimizer: sgd({ learningRate: 1e30 }), loss: 'meanSquaredError' });
    expect(await refusal(() => model.profile(x, random.floats(90), few))).toMatch(/^diverged: .* the first tensor that did: /);
  });
});

const engines: [name: string, profile: (choice: Choice, options?: ProfileOptions) => Promise<Profile>, turns: boolean][] = [
  [engine().name, (choice, options) => make(choice).profile(x, y, { ...few, ...options }), false],
  [
    'WebAssembly that takes turns on this thread',
    (choice, options) =>
      onWhile(wasmEngine({}, { sharedMemory: 'not in this test' }), () => make(choice).profile(x, y, { ...few, ...options })),
    true,
  ],
];

describe.each(engines)('a profile, %s', (_, profileOf, turns) => {
  const choices: Choice[] = [{ threads: 1 }, { threads: 2 }, { threads: 2, fuse: false }];

  describe.each(choices)('%o', (choice) => {
    let profile: Profile;
    beforeAll(async () => {
      profile = await profileOf(choice);
    });

    test('has a row for every instruction of the plan that trains', async () => {
      const model = make(choice);
      await model.trainOnBatch(x, y);
      const rows = profile.instructions.map(
        ({ index, layer, op, operands }) => `${String(index).padStart(3)}  ${layer.padEnd(12)} ${op.padEnd(20)} ${operands}`,
      );
      expect(rows).toEqual(model.plan.toString().split('\n'));
      expect(profile.instructions.every(({ calls }) => calls === 5)).toBe(true);
    });

    test('adds up to the whole step', () => {
      const { instructions, layers, ops, outside, microseconds } = profile;
      expect(microseconds).toBeGreaterThan(0);
      expect(instructions.every((row) => row.microseconds >= 0)).toBe(true);
      expect(sum(instructions.map((row) => row.microseconds)) + outside).toBeCloseTo(microseconds, 6);
      expect(sum(instructions.map((row) => row.share))).toBeLessThanOrEqual(1 + 1e-9);
      for (const groups of [layers, ops]) {
        expect(sum(groups.map((group) => group.instructions))).toBe(instructions.length);
        expect(sum(groups.map((group) => group.calls))).toBe(5 * instructions.length);
        expect(sum(groups.map((group) => group.microseconds))).toBeCloseTo(sum(instructions.map((row) => row.microseconds)), 6);
        expect(sum(groups.map((group) => group.share))).toBeCloseTo(sum(instructions.map((row) => row.share)), 9);
        expect(groups.map((group) => group.microseconds)).toEqual(groups.map((group) => group.microseconds).sort((a, b) => b - a));
      }
      expect(layers.map(({ name }) => name).sort()).toEqual([...new Set(instructions.map(({ layer }) => layer))].sort());
      expect(ops.map(({ name }) => name).sort()).toEqual([...new Set(instructions.map(({ op }) => op))].sort());
    });

    test('has rates that follow from time and cost', () => {
      for (const { microseconds, flops, bytes, gflops, gigabytesPerSecond, shareOfLimit, bound } of profile.instructions) {
        expect(gflops * microseconds).toBeCloseTo(microseconds === 0 ? 0 : flops / 1e3, 6);
        expect(gigabytesPerSecond * microseconds).toBeCloseTo(microseconds === 0 ? 0 : bytes / 1e3, 6);
        expect(Number.isFinite(shareOfLimit) && shareOfLimit >= 0).toBe(true);
        const least = shareOfLimit * microseconds * 1e-6;
        if (microseconds > 0 && bound === 'flops') expect(least).toBeCloseTo(flops / profile.limits.flops, 12);
      }
      expect(profile.shareOfLimit).toBeGreaterThan(0);
    });

    test('names what it ran on', () => {
      const threads = turns ? 1 : Math.min(choice.threads!, engine().threads);
      expect(profile).toMatchObject({ batchSize: 16, steps: 5, threads, isa: turns ? 'simd128' : engine().isa });
      expect(profile.limits.threads).toBe(threads);
    });
  });
});

describe('options', () => {
  test('threads: others than the model was compiled with', async () => {
    const model = make({ threads: 2 });
    expect((await model.profile(x, y, { ...few, threads: 1 })).threads).toBe(1);
    expect((await model.profile(x, y, few)).threads).toBe(Math.min(2, engine().threads));
  });

  test('batchSize: a last batch that is not full is left out, as one that is too small for its statistics', async () => {
    const model = make();
    expect(await refusal(() => model.fit(x, y, { batchSize: 89 }))).toMatch(/^invalid-argument: fit: batchSize 89 makes a last batch of 1/);
    const profile = await model.profile(x, y, { batchSize: 89, steps: 3 });
    const [gemm] = profile.instructions.filter(({ op }) => op === 'gemm');
    // 20 inputs, 30 units, and bias and tanh behind it
    expect(gemm.flops).toBeGreaterThanOrEqual(2 * 89 * 20 * 30);
    expect(gemm.flops).toBeLessThan(2 * 90 * 20 * 30 + 90 * 30 * 50);
    expect(gemm.bytes).toBe(4 * (89 * 20 + 20 * 30 + 30 + 89 * 30));
  });

  test('by default 32 rows, or all, and as many steps as half a second has', async () => {
    const model = make();
    const profile = await model.profile(x, y);
    expect(profile.batchSize).toBe(32);
    expect(profile.steps).toBeGreaterThanOrEqual(5);
    expect(profile.steps).toBeLessThanOrEqual(1000);
    const less = { data: x.data.slice(0, 7 * columns), shape: [7, columns] };
    expect((await model.profile(less, y.subarray(0, 7), { steps: 1 })).batchSize).toBe(7);
  });

  test('data of other types, nested, or read in place by fit', async () => {
    const bytes = { data: Uint8Array.from(x.data, (value) => 100 * (value + 1)), shape: x.shape };
    const gatherOf = async (data: Parameters<Sequential['profile']>[0]) => (await make().profile(data, y, few)).instructions[0];
    expect((await gatherOf(x)).bytes).toBe(16 * columns * (4 + 4));
    expect((await gatherOf(bytes)).bytes).toBe(16 * columns * (4 + 1));
    const nested = Array.from({ length: 90 }, (_, row) => [...x.data.subarray(row * columns, (row + 1) * columns)]);
    expect((await gatherOf(nested)).bytes).toBe(16 * columns * (4 + 4));
  });

  test('what makes no sense is refused when the call is made', async () => {
    const model = make();
    const refused = (options: unknown) => refusal(() => model.profile(x, y, options as ProfileOptions));
    expect(await refused({ steps: 0 })).toBe('invalid-argument: profile: steps: expected at least 1, got 0');
    expect(await refused({ steps: -1 })).toBe('invalid-argument: profile: steps: expected at least 1, got -1');
    expect(await refused({ steps: 1.5 })).toBe('invalid-argument: profile: steps: expected a whole number, got 1.5');
    expect(await refused({ batchSize: 91 })).toBe('invalid-argument: profile: batchSize: expected at most the 90 rows given, got 91');
    expect(await refused({ batchSize: 0 })).toBe('invalid-argument: profile: batchSize: expected at least 1, got 0');
    expect(await refused({ batchSize: 1 })).toMatch(/^invalid-argument: profile: layer '.*' takes statistics over the batch/);
    expect(await refused({ threads: 0 })).toMatch(/^invalid-argument: profile: threads/);
    expect(await refused({ batch: 16 })).toMatch(/^unknown-name: unknown option of profile 'batch'/);
    expect(await refused(null)).toMatch(/^invalid-argument: profile: expected an object of options/);
    expect(await refusal(() => model.profile(x, y.subarray(1)))).toMatch(/^shape-mismatch/);
    expect(await refusal(() => model.profile([], []))).toMatch(/^empty-data/);
    const raw = sequential({ inputShape: [columns], layers: [dense({ units: 4 })] });
    expect(await refusal(() => raw.profile(x, y))).toMatch(/^not-compiled/);
    raw.dispose();
    expect(await refusal(() => raw.profile(x, y))).toMatch(/^disposed/);
  });
});

test('a profile prints as a table for a terminal', async () => {
  const profile = await make({ threads: 1 }).profile(x, y, few);
  const lines = String(profile).split('\n');
  const [title, limits, , head, ...rest] = lines;
  expect(title).toMatch(/^a step of 16 rows: [\d.,]+ µs, [\d.]+ % of the limit; 5 steps timed, 1 thread, \w+$/);
  expect(limits).toMatch(/^limits: [\d.,]+ GFLOP\/s; ([\d.,]+ GB\/s of [\d.,]+ [KM]iB(, )?){4}$/);
  expect(head.split(/ {2,}/)).toEqual(['layer', 'op', 'calls', 'µs', '%', 'GFLOP/s', 'GB/s', '% of limit', 'limit']);
  const count = profile.instructions.length;
  profile.instructions.forEach(({ layer, op, bound, operands }, i) => {
    // Columns begin, and numbers end, where the heading's do.
    expect(rest[i].startsWith(layer)).toBe(true);
    expect(rest[i].indexOf(op, head.indexOf('op'))).toBe(head.indexOf('op'));
    expect(rest[i].slice(0, head.indexOf(' % of limit') + ' % of limit'.length)).toMatch(/\d$/);
    expect(rest[i].slice(head.length - 'limit'.length)).toBe(`${bound}   ${operands}`);
  });
  expect(rest[count]).toContain('outside instructions');
  const byLayer = rest.slice(count + 2, count + 3 + profile.layers.length);
  expect(byLayer.map((line) => line.length)).toEqual(byLayer.map(() => byLayer[0].length));
  expect(byLayer[0]).toMatch(/^by layer .* % of limit$/);
  expect(lines).toHaveLength(4 + count + 1 + 2 + profile.layers.length + 2 + profile.ops.length);
});

describe('the engine computes the same bits while it keeps time', () => {
  /** A runtime's own train plan over 5 batches of 16 rows and one of 10, and what it leaves. */
  async function train(threads: number, timed: boolean) {
    const layers = [dense({ units: 40, activation: 'gelu' }), dropout({ rate: 0.3 }), dense({ units: 4 })];
    const runtime = new Runtime(engine(), architecture([columns], layers), 5, undefined);
    const loss = resolveLoss('softmaxCrossEntropy');
    // Two phases of one instruction: a global norm.
    const optimizer = adam({ clipGlobalNorm: 0.1 });
    runtime.compile({ optimizer, loss, accuracy: true, fuse: true, threads, strict: engine().strict });
    const { plan, program } = runtime.plan('train:labels', 16);
    const { length } = plan.instructions;
    const feed = (slot: number, data: Float32Array | Int32Array | Float64Array, rows: number, width: number) => {
      const memory = engine().allocate(data.byteLength);
      memory.bytes().set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      program.feed(slot, memory.handle, elementType(data), rows, width);
      return () => new Float64Array(memory.bytes().slice().buffer, 0, (rows * width * data.BYTES_PER_ELEMENT) / 8);
    };
    feed(FEED.input, x.data, 90, columns);
    feed(FEED.target, y, 90, 1);
    // A row more than there are batches.
    const times = timed ? feed(FEED.times, new Float64Array(7 * length), 7, length) : undefined;
    await program.start(0, length, 0, 90, 16);
    expect(runtime.fault.kind).toBe('none');
    return { length, state: bitsOf(runtime.parameters.map(({ value }) => ({ data: runtime.floats(value).slice() }))), times: times?.() };
  }

  test.each([1, 2])('on %i threads', async (threads) => {
    const [plain, timed] = [await train(threads, false), await train(threads, true)];
    expect(timed.state).toEqual(plain.state);
    const { length, times } = timed;
    for (let batch = 0; batch < 6; batch++) {
      const row = times!.subarray(batch * length, (batch + 1) * length);
      expect(row.every((nanoseconds) => nanoseconds >= 0)).toBe(true);
      expect(row.some((nanoseconds) => nanoseconds > 0)).toBe(true);
    }
    // There is no seventh batch.
    expect(times!.subarray(6 * length).every((nanoseconds) => nanoseconds === 0)).toBe(true);
  });
});
