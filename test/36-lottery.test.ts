// The lottery-ticket procedure: exact counts, first values and step k, the control arm, and a run that is interrupted and goes on.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { adam, dense, loadModel, type Sequential, sequential, tensor } from '../src/index.js';
import { lotteryTicket, type LotteryOptions, type LotteryRound, masksOf, sparsity } from '../src/pruning/index.js';
import { bitsOf } from './bits.js';
import { Random } from './engines.js';
import { refusal } from './refusal.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradmill-lottery-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
const any = (value: unknown) => value as never;

/** Four classes in eight inputs, by the signs of two of them. */
function examples(rows: number, seed: number) {
  const data = new Random(seed).floats(rows * 8);
  const labels = Int32Array.from({ length: rows }, (_, i) => Number(data[i * 8] > 0) + 2 * Number(data[i * 8 + 5] > 0));
  return [tensor(data, [rows, 8]), labels] as const;
}

function makeModel(seed: number): Sequential {
  const model = sequential({
    inputShape: [8],
    seed,
    layers: [
      dense({ units: 15, activation: 'relu', kernelInitializer: 'glorotNormal' }),
      dense({ units: 10, activation: 'relu', kernelInitializer: 'glorotNormal' }),
      dense({ units: 4, kernelInitializer: 'glorotNormal' }),
    ],
  });
  model.compile({ optimizer: adam({ learningRate: 0.01 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'], threads: 1 });
  return model;
}

const options: LotteryOptions = {
  makeModel,
  data: examples(96, 1),
  validationData: examples(48, 2),
  rounds: 3,
  epochs: 4,
  batchSize: 16,
  seeds: [1, 7],
};

interface Started {
  readonly seed: number;
  readonly masks: Record<string, string>;
  readonly weights: ReturnType<Sequential['weights']['slice']>;
}

/** makeModel, and what each model held when its training began. */
function watched() {
  const started: Started[] = [];
  const make = (seed: number) => {
    const model = makeModel(seed);
    const fit = model.fit.bind(model);
    model.fit = async (...given) => {
      const masks = Object.fromEntries((await masksOf(model)).map(({ name, data }) => [name, data.join('')]));
      started.push({ seed, masks, weights: model.weights });
      return fit(...given);
    };
    return model;
  };
  return { make, started };
}

const masked = (data: Float32Array, mask: string | undefined) => data.map((weight, i) => (mask?.[i] === '0' ? 0 : weight));

describe('a lottery', () => {
  let report: LotteryRound[];
  let started: Started[];
  beforeAll(async () => {
    const { make, started: seen } = watched();
    report = await lotteryTicket({ ...options, makeModel: make });
    started = seen;
  });

  test('tells every round of both arms for every seed', () => {
    expect(report.map(({ seed, round, arm }) => `${seed} ${round} ${arm}`)).toEqual(
      [1, 7].flatMap((seed) => [
        `${seed} 0 ticket`,
        ...[1, 2, 3].flatMap((round) => [`${seed} ${round} ticket`, `${seed} ${round} control`]),
      ]),
    );
    for (const { valLoss, valAccuracy, loss, accuracy, bestEpoch, bestLoss, bestAccuracy } of report) {
      expect(valLoss).toHaveLength(4);
      expect(loss).toBe(valLoss[3]);
      expect(bestLoss).toBe(Math.min(...valLoss));
      expect(valLoss[bestEpoch - 1]).toBe(bestLoss);
      expect([accuracy, bestAccuracy]).toEqual([valAccuracy?.[3], valAccuracy?.[bestEpoch - 1]]);
    }
  });

  test('prunes 20 % of what is left in hidden kernels and 10 % in the last, in each round', () => {
    // 120, 150, 40 → 96, 120, 36 → 77, 96, 32 → 62, 77, 29
    const left = [310, 96 + 120 + 36, 77 + 96 + 32, 62 + 77 + 29];
    for (const { round, weights, weightsLeft } of report) {
      expect(weights).toBe(left[round]);
      expect(weightsLeft).toBe(left[round] / 310);
    }
  });

  test('tickets start from the first values, control arms from others under the same masks', () => {
    const rounds = report.map((round, i) => ({ ...round, ...started[i], arm: round.arm }));
    for (const seed of [1, 7]) {
      const first = makeModel(seed).weights;
      for (const round of [1, 2, 3]) {
        const [ticket, control] = (['ticket', 'control'] as const).map((arm) =>
          rounds.find((one, i) => report[i].seed === seed && one.round === round && one.arm === arm)!,
        );
        for (const [i, { name, data }] of ticket.weights.entries())
          expect(bitsOf(data), name).toEqual(bitsOf(masked(first[i].data, ticket.masks[name])));
        expect(control.masks).toEqual(ticket.masks);
        expect(control.weights[0].data).not.toEqual(ticket.weights[0].data);
        // Kernels are drawn as the ticket's were: the same spread.
        const spread = (data: Float32Array) => Math.hypot(...data) / Math.sqrt(data.length);
        expect(spread(makeModel(seed + round * 2 ** 32).weights[1].data)).toBeCloseTo(spread(first[1].data), 1);
      }
    }
  });

  test('masks grow: what is pruned stays pruned', () => {
    const tickets = started.filter(({ seed }) => seed === 1);
    for (const [before, after] of [
      [1, 2],
      [2, 3],
    ] as const)
      // prettier-ignore
      for (const [name, mask] of Object.entries(tickets[before].masks))
        for (let i = 0; i < mask.length; i++) if (mask[i] === '0') expect(tickets[after].masks[name][i]).toBe('0');
    expect(tickets[0].masks).toEqual({});
  });

  test('is the same with seeds side by side', async () => {
    expect(await lotteryTicket({ ...options, concurrency: 2 })).toEqual(report);
  });

  test('that was aborted goes on from its directory with the same numbers', async () => {
    const directory = join(folder, 'resumed', 'deep');
    const stop = new AbortController();
    const heard: LotteryRound[] = [];
    const onRound = (round: LotteryRound) => {
      heard.push(round);
      if (heard.length === 5) stop.abort(new Error('enough'));
    };
    await expect(lotteryTicket({ ...options, directory, signal: stop.signal, onRound })).rejects.toThrow('enough');
    expect(heard).toEqual(report.slice(0, 5));
    const more: LotteryRound[] = [];
    expect(await lotteryTicket({ ...options, directory, onRound: (round) => void more.push(round) })).toEqual(report);
    expect(more).toEqual(report.slice(5));
    // Nothing is left to do; and a round more can be asked for.
    const { make, started } = watched();
    expect(await lotteryTicket({ ...options, directory, makeModel: make })).toEqual(report);
    expect(started).toEqual([]);
    expect(await lotteryTicket({ ...options, directory, rounds: 4, seeds: [7], makeModel: make })).toHaveLength(9);
    expect(started).toHaveLength(2);

    const names = await readdir(directory);
    expect(names.filter((name) => name.startsWith('seed-1')).sort()).toEqual([
      ...[0, 1, 2, 3].map((round) => `seed-1-round-${round}.safetensors`),
      'seed-1.json',
    ]);
    const ticket = await loadModel(join(directory, 'seed-1-round-3.safetensors'));
    expect((await sparsity(ticket)).pruned).toBe(310 - 168);
    expect(await ticket.evaluate(...options.validationData)).toEqual({ loss: report[5].loss, accuracy: report[5].accuracy });
  });

  test('that was stopped in the middle of a training does that training again', async () => {
    const directory = join(folder, 'middle');
    const stop = new AbortController();
    let models = 0;
    const make = (seed: number) => {
      if (++models === 3) setTimeout(() => stop.abort(new Error('now')), 1);
      return makeModel(seed);
    };
    const slow = { ...options, epochs: 40, seeds: [1], rounds: 2, directory };
    await expect(lotteryTicket({ ...slow, makeModel: make, signal: stop.signal })).rejects.toThrow('now');
    const resumed = await lotteryTicket(slow);
    expect(resumed).toEqual(await lotteryTicket({ ...slow, directory: undefined }));
  });
});

test('rewinding goes back to the weights of a step, in a resumed run too', async () => {
  const rewound = { ...options, seeds: [1], rounds: 2, rewind: 5, control: false };
  const { make, started } = watched();
  const report = await lotteryTicket({ ...rewound, makeModel: make });
  expect(report.map(({ round, arm }) => [round, arm])).toEqual([[0, 'ticket'], [1, 'ticket'], [2, 'ticket']]); // prettier-ignore

  const model = makeModel(1);
  let steps = 0;
  let then: Sequential['weights'] = [];
  const onBatch = () => {
    if (++steps === 5) then = model.weights;
  };
  await model.fit(...options.data, { epochs: 4, batchSize: 16, onBatch });
  for (const { weights, masks } of started.slice(1))
    for (const [i, { name, data }] of weights.entries()) expect(bitsOf(data), name).toEqual(bitsOf(masked(then[i].data, masks[name])));

  const directory = join(folder, 'rewound');
  const fail = ({ round }: LotteryRound) => {
    if (round === 0) throw new Error('power cut');
  };
  await expect(lotteryTicket({ ...rewound, directory, onRound: fail })).rejects.toThrow('power cut');
  expect(await lotteryTicket({ ...rewound, directory })).toEqual(report);
});

describe('what is refused', () => {
  const run = (changes: object) => refusal(() => lotteryTicket({ ...options, ...changes }));

  test('options that make no sense', async () => {
    expect(await run({ share: 1 })).toMatch(/^invalid-argument: lotteryTicket: share: .*less than 1/);
    expect(await run({ rounds: -1 })).toMatch(/^invalid-argument: lotteryTicket: rounds/);
    expect(await run({ rewind: 25 })).toBe('invalid-argument: lotteryTicket: rewind: expected at most the 24 steps of a round, got 25');
    expect(await run({ seeds: [1, 1] })).toMatch(/^invalid-argument: .*named twice$/);
    expect(await run({ seeds: [2 ** 32] })).toMatch(/^invalid-argument: lotteryTicket: seeds: expected at least 0 and at most 4294967295/);
    expect(await run({ makeModel: 'model' })).toMatch(/^invalid-argument: lotteryTicket: makeModel: expected a function/);
    for (const nothing of [undefined, {}])
      expect(await run({ makeModel: () => nothing })).toMatch(/^invalid-argument: lotteryTicket: makeModel: expected a model, got /);
    for (const onRound of [false, '', null])
      expect(await run({ onRound })).toMatch(/^invalid-argument: lotteryTicket: onRound: expected a function/);
    expect(await run({ validationData: [1] })).toMatch(/^invalid-argument: lotteryTicket: validationData: expected \[x, y\]/);
    expect(await run({ signal: 'now' })).toMatch(/^invalid-argument: lotteryTicket: signal/);
    expect(await run({ round: 3 })).toMatch(/^unknown-name: .*did you mean 'rounds'\?$/);
    expect(await run({ makeModel: () => sequential({ inputShape: [8], layers: [dense({ units: 4 })] }) })).toMatch(/^not-compiled/);
    const aborted = AbortSignal.abort(new Error('before'));
    await expect(lotteryTicket({ ...options, signal: aborted })).rejects.toThrow('before');
  });

  test('a directory of other settings, or one that somebody tampered with', async () => {
    const directory = join(folder, 'other');
    const small = { ...options, directory, seeds: [1], rounds: 1 };
    await lotteryTicket(small);
    expect(await run({ ...small, share: 0.3 })).toMatch(/^invalid-argument: .*seed-1\.json' holds rounds with share 0\.2, not 0\.3/);
    const path = join(directory, 'seed-1.json');
    const stored = JSON.parse(await readFile(path, 'utf8')) as { rounds: Record<string, unknown>[] };
    const put = async (text: string) => {
      await writeFile(path, text);
      return run(small);
    };
    expect(await run({ directory: path })).toMatch(/^file-io: cannot make the folder '.*seed-1\.json': file already exists \(EEXIST\)$/);
    expect(await run({ directory: 5 })).toMatch(/^invalid-argument: lotteryTicket: directory: expected a path, got 5$/);
    expect(await put('{')).toMatch(/^file-invalid: .*not JSON$/);
    expect(await put('null')).toMatch(/^file-invalid: .*not the record of a lottery$/);
    const changed = (change: object) => JSON.stringify({ ...stored, rounds: [stored.rounds[0], { ...stored.rounds[1], ...change }] });
    expect(await put(changed({ round: 2 }))).toMatch(/^file-invalid: .*entry 1 is not round 1 of the ticket$/);
    expect(await put(changed({ loss: '1' }))).toMatch(/^file-invalid/);
    expect(await put(changed({ valLoss: [1] }))).toMatch(/^file-invalid/);
    expect(await put(JSON.stringify({ ...stored, rounds: [any(null)] }))).toMatch(/^file-invalid/);
  });
});
