// Gradients, proved in two links (THEORY, back propagation): the interpreter's analytic gradients equal its own central
// differences; the engine's float32 gradients equal the interpreter's but for rounding, whose limit follows the plan.
import { afterAll, describe, expect, test } from 'vitest';
import { ACTIVATION_NAMES, type ActivationName, type ActivationOptions } from '../src/activations.js';
import { Differences, kinkArguments, kinksOf, roundedRun } from '../src/diagnostics/gradcheck.js';
import {
  activation,
  adagrad,
  adam,
  adamW,
  batchNormalization,
  dense,
  dropout,
  type Layer,
  layerNormalization,
  rmsNormalization,
  rmsprop,
  sgd,
} from '../src/index.js';
import { LOSS_NAMES, type LossOptions } from '../src/losses.js';
import type { Tensor } from '../src/plan.js';
import type { Reference } from '../src/reference.js';
import { expectSameBits, ran, tables } from './engines.js';
import { Network, type NetworkOptions } from './networks.js';
import { expectRounded, printWorst } from './rounded.js';

// ── Networks: every layer with every activation, every loss with every target ──────────────────────────────────────────

const activations: readonly (ActivationName | ActivationOptions)[] = [
  ...ACTIVATION_NAMES,
  { name: 'leakyRelu', negativeSlope: 0.3 },
  { name: 'elu', alpha: 0.6 },
];

const label = (a: ActivationName | ActivationOptions) => (typeof a === 'string' ? a : JSON.stringify(a));

/** The activation in a layer of its own, inside a dense layer, and last. */
const activationCases = activations.map((a): [string, Omit<NetworkOptions, 'rows' | 'columns'>] => {
  const name = typeof a === 'string' ? a : a.name;
  const layers = [
    activation(a),
    dense({ units: 5, activation: a }),
    dense({ units: 4, useBias: false, activation: a }),
    dense({ units: 3, activation: a }),
  ];
  return [label(a), { layers, loss: 'meanSquaredError', spread: name.startsWith('hard') ? 6 : 2 }];
});

const deep = (...layers: readonly Layer[]): Omit<NetworkOptions, 'rows' | 'columns'> => ({ layers, loss: 'meanSquaredError', spread: 3 });
const bent = (units: number) => dense({ units, activation: 'tanh', useBias: false });
/** Layers whose forward pass differs in training, or that look along rows or columns: first, between others, last, and without their weights. */
const layerCases = Object.entries({
  batchNormalization: [batchNormalization({ epsilon: 0.01 }), batchNormalization({ scale: false, center: false })],
  'batchNormalization of one weight': [batchNormalization({ scale: false }), batchNormalization({ center: false })],
  layerNormalization: [layerNormalization({ epsilon: 0.01 }), layerNormalization({ scale: false, center: false })],
  'layerNormalization of one weight': [layerNormalization({ scale: false }), layerNormalization({ center: false })],
  rmsNormalization: [rmsNormalization({ epsilon: 0.01 }), rmsNormalization({ scale: false })],
  dropout: [dropout({ rate: 0.4 }), dropout({ rate: 0.25 })],
}).flatMap(([name, [layer, bare]]): [string, Omit<NetworkOptions, 'rows' | 'columns'>, string][] => [
  [`${name}, first`, deep(layer, dense({ units: 5, activation: 'tanh' }), bare, dense({ units: 3 })), 'tanh'],
  [
    `${name}, between`,
    deep(dense({ units: 5, activation: 'tanh' }), layer, dense({ units: 4, activation: 'gelu' }), dense({ units: 3 })),
    'tanh',
  ],
  // No bias: its gradient through a normalisation that takes most of it away again is what rounding leaves.
  [`${name}, last`, deep(bent(16), bare, bent(12), layer), 'tanh'],
]);

const losses: readonly LossOptions[] = [
  ...LOSS_NAMES.flatMap((name) => (['mean', 'sum'] as const).map((reduction) => ({ name, reduction }))),
  { name: 'huber', delta: 0.3 },
  { name: 'softmaxCrossEntropy', labelSmoothing: 0.1 },
];

const lossCases = losses.flatMap((loss) => {
  const classes = loss.name.endsWith('CrossEntropy') && loss.name !== 'binaryCrossEntropy';
  const last = loss.name === 'categoricalCrossEntropy' ? 'softmax' : 'linear';
  const layers = (units: number) => [dense({ units: 5, activation: 'tanh' }), dense({ units, activation: last })];
  const network = (units: number, target: 'rows' | 'labels'): [string, Omit<NetworkOptions, 'rows' | 'columns'>] => [
    `${JSON.stringify(loss)}, ${units} units, ${target}`,
    { layers: layers(units), loss, target },
  ];
  return [network(4, 'rows'), ...(classes ? [network(4, 'labels')] : [network(1, 'rows')])];
});

/** How near the network's run comes to a kink of its activations or loss. */
function nearestKink(network: Network): number {
  const reference = network.reference();
  const { instructions } = network.plan;
  reference.run(0, instructions.length, 0, network.options.rows, network.options.rows);
  let nearest = Infinity;
  for (const instruction of instructions) {
    const kinks = kinksOf(instruction);
    if (kinks.length === 0) continue;
    for (const value of kinkArguments(reference, instruction))
      for (const kink of kinks) nearest = Math.min(nearest, Math.abs(value - kink));
  }
  return nearest;
}

/** A network of this kind that keeps away from kinks. */
function smooth(options: NetworkOptions, distance: number): Network {
  for (let seed = 1; seed < 200; seed++) {
    const network = new Network({ ...options, seed, fuse: false });
    if (nearestKink(network) > distance) return network;
  }
  return expect.fail('every network of this kind comes near a kink');
}

// ── First link ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The buffer or weight whose gradient a name stands for. */
function subject({ runtime, outputs }: Network, name: string): Tensor {
  const parameter = runtime.parameters.find((known) => known.name === name);
  return parameter?.value ?? outputs[name === 'x' ? 0 : 1 + runtime.layers.findIndex((layer) => layer.name === name)];
}

/** ∂loss/∂tensor by central differences. */
function differences(network: Network, name: string): Float64Array {
  const found = new Differences(network.reference(), network.plan, network.options.rows);
  found.run();
  const tensor = subject(network, name);
  return found.reference.values(tensor).map((_, i) => found.at(tensor, i) ?? expect.fail(`${name}[${i}]: a kink`));
}

function expectEqualDifferences(options: Omit<NetworkOptions, 'rows' | 'columns'>): void {
  const network = smooth({ ...options, rows: 6, columns: 4 }, 1e-4);
  const found = new Differences(network.reference(), network.plan, 6);
  found.run();
  for (const [what, gradient] of network.gradients) {
    const analytic = found.reference.values(gradient);
    const numeric = differences(network, what);
    const scale = Math.max(...analytic.map(Math.abs));
    expect(scale, `${what}: all gradients are 0`).toBeGreaterThan(1e-6);
    analytic.forEach((value, i) => {
      if (!(Math.abs(value - numeric[i]) <= 1e-6 * scale + found.resolution))
        expect.fail(`${what}[${i}]: ${value}, by differences ${numeric[i]}, of ${scale}`);
    });
  }
}

describe("the interpreter's gradients equal its own central differences", () => {
  test.each(activationCases)('%s', (_, options) => {
    expectEqualDifferences(options);
  });
  test.each(layerCases)('%s', (_, options) => {
    expectEqualDifferences(options);
  });
  test.each(lossCases)('%s', (_, options) => {
    expectEqualDifferences(options);
  });

  test('the check can fail: a gradient that is one part in a hundred thousand off', () => {
    const network = new Network({ ...activationCases[2][1], rows: 6, columns: 4, fuse: false });
    const reference = network.reference();
    reference.run(0, network.plan.instructions.length, 0, 6, 6);
    const [[name, gradient]] = network.gradients;
    const numeric = differences(network, name);
    const scale = Math.max(...numeric.map(Math.abs));
    const off = (factor: number) =>
      Math.max(...reference.values(gradient).map((value, i) => Math.abs(value * factor - numeric[i]) / scale));
    expect(off(1)).toBeLessThan(1e-7);
    expect(off(1.00001)).toBeGreaterThan(1e-6);
  });
});

// ── Second link ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The interpreter's run, with how much rounding may cost each tensor. */
async function rounded(network: Network): Promise<{ reference: Reference; errors: Map<Tensor, Float64Array> }> {
  const reference = network.reference();
  return { reference, errors: await roundedRun(reference, network.plan, network.options.rows) };
}

async function expectEqualInterpreter(what: string, options: Omit<NetworkOptions, 'rows' | 'columns'>): Promise<void> {
  const unfused = smooth({ ...options, rows: 24, columns: 9 }, 1e-4);
  const { reference, errors } = await rounded(unfused);
  const fused = new Network({ ...unfused.options, fuse: true });
  for (const table of tables)
    for (const network of [unfused, fused]) {
      const engine = network.onEngine(table);
      network.gradients.forEach(([of, tensor], i) => {
        const [, wanted] = unfused.gradients[i];
        const error = errors.get(wanted)!;
        const gradient = reference.values(wanted);
        expectRounded(`gradients, ${what}`, table.name, engine(tensor), gradient, error);
        // A limit that a wrong gradient could hide under would prove nothing.
        const scale = Math.max(...gradient.map(Math.abs));
        expect((8 * Math.max(...error)) / 2 ** 24, `${of}: what rounding may explain`).toBeLessThan(scale / 1000);
      });
    }
}

describe(`the engine's gradients equal the interpreter's, fused and unfused (${ran})`, () => {
  test.each(activationCases)('%s', async (what, options) => {
    await expectEqualInterpreter(what, options);
  });
  test.each(layerCases)('%s', async (what, options) => {
    await expectEqualInterpreter(what, options);
  });
  test.each(lossCases)('%s', async (what, options) => {
    await expectEqualInterpreter(what, options);
  });

  test('a wider network, its sums longer', async () => {
    const layers = [dense({ units: 130, activation: 'gelu' }), dense({ units: 70, activation: 'silu' }), dense({ units: 10 })];
    const network = new Network({ layers, loss: 'softmaxCrossEntropy', target: 'labels', rows: 200, columns: 90 });
    const { reference, errors } = await rounded(network);
    for (const table of tables)
      for (const [, tensor] of network.gradients) {
        expectRounded('gradients, wide', table.name, network.onEngine(table)(tensor), reference.values(tensor), errors.get(tensor));
        expect((8 * Math.max(...errors.get(tensor)!)) / 2 ** 24).toBeLessThan(Math.max(...reference.values(tensor).map(Math.abs)) / 1000);
      }
  });
});

// ── What gradients obey exactly ────────────────────────────────────────────────────────────────────────────────────────

describe(`exactly (${ran})`, () => {
  test.each(lossCases)('a seed of 2ᵏ scales every gradient by 2ᵏ: %s', (_, options) => {
    const network = new Network({ ...options, rows: 13, columns: 7 });
    for (const table of tables) {
      const plain = network.onEngine(table);
      for (const power of [-17, -1, 1, 20]) {
        const scaled = network.onEngine(table, { lossSeed: 2 ** power });
        for (const [name, tensor] of network.gradients)
          expectSameBits(`${name} on ${table.name}`, scaled(tensor), plain(tensor).map((value) => value * 2 ** power)); // prettier-ignore
        expectSameBits('the loss', scaled(network.loss), plain(network.loss));
      }
    }
  });

  test.each(losses.filter(({ reduction }) => reduction === 'mean'))('the mean is the sum over the terms: $name', (loss) => {
    const classes = ['softmaxCrossEntropy', 'categoricalCrossEntropy'].includes(loss.name);
    // 8 rows of 4 units, and powers of two divide exactly.
    const layers = [dense({ units: 4, activation: loss.name === 'categoricalCrossEntropy' ? 'softmax' : 'linear' })];
    const [mean, sum] = (['mean', 'sum'] as const).map(
      (reduction) => new Network({ layers, loss: { ...loss, reduction }, rows: 8, columns: 3 }),
    );
    const terms = classes ? 8 : 32;
    for (const table of tables) {
      const [divided, whole] = [mean.onEngine(table), sum.onEngine(table)];
      mean.gradients.forEach(([name, tensor], i) => {
        expectSameBits(name, divided(tensor), whole(sum.gradients[i][1]).map((value) => value / terms)); // prettier-ignore
      });
    }
  });

  test('a short batch is divided by its own rows', () => {
    const options = { layers: [dense({ units: 6, activation: 'tanh' }), dense({ units: 3 })], rows: 5, columns: 7 } as const;
    for (const loss of LOSS_NAMES) {
      const [room, exact] = [32, 5].map((batch) => new Network({ ...options, loss }, 'gradients', batch));
      for (const table of tables) {
        const [short, full] = [room.onEngine(table), exact.onEngine(table)];
        room.gradients.forEach(([name, tensor], i) => {
          const expected = full(exact.gradients[i][1]);
          expectSameBits(`${loss}, ${name}`, short(tensor).subarray(0, expected.length), expected);
        });
      }
    }
  });
});

// ── Whole steps ────────────────────────────────────────────────────────────────────────────────────────────────────────

describe(`five steps of training, engine and interpreter (${ran})`, () => {
  const clips = { clipValue: 0.3, clipGlobalNorm: 0.5 };
  test.each([
    sgd({ learningRate: 0.1 }),
    sgd({ learningRate: 0.1, momentum: 0.9, weightDecay: 0.01 }),
    sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true, ...clips }),
    rmsprop({ weightDecay: 0.01 }),
    rmsprop(clips),
    adagrad(),
    adagrad({ weightDecay: 0.01, ...clips }),
    adam({ learningRate: 0.01 }),
    adam({ learningRate: 0.01, weightDecay: 0.01, ...clips }),
    adamW({ learningRate: 0.01, weightDecay: 0.1 }),
  ])('$name $config', (optimizer) => {
    const layers = [dense({ units: 19, activation: 'tanh' }), dense({ units: 3 })];
    const network = new Network({ layers, loss: 'softmaxCrossEntropy', target: 'labels', rows: 20, columns: 9, optimizer }, 'train');
    const reference = network.reference();
    const { instructions } = network.plan;
    const hyper = instructions.flatMap(({ operands }) => ('hyper' in operands ? [operands.hyper] : []))[0];
    reference.values(hyper).set(optimizer.hyper);
    for (let step = 0; step < 5; step++) reference.run(0, instructions.length, 0, 20, 20);
    for (const table of tables) {
      const trained = network.onEngine(table, { steps: 5 });
      for (const { name, value } of network.runtime.parameters) {
        const start = network.runtime.floats(value);
        const [wanted, got] = [reference.values(value), trained(value)];
        // Steps are compared, not weights: a step may be small beside its weight, which then rounds it five times.
        const scale = Math.max(...wanted.map((weight, i) => Math.abs(weight - start[i])));
        wanted.forEach((weight, i) => {
          const off = Math.abs(got[i] - weight);
          if (!(off <= 1e-4 * scale + 5 * 2 ** -24 * Math.abs(weight)))
            expect.fail(`${name}[${i}]: ${got[i]}, the interpreter says ${weight}`);
        });
      }
    }
  });
});

afterAll(printWorst);
