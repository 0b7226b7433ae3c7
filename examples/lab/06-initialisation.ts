// Experiment 6. What Glorot's and He's variances keep through 50 layers, and what batch normalisation does to bad weights.
import {
  activation as activationLayer,
  batchNormalization,
  dense,
  glorotNormal,
  GradmillError,
  heNormal,
  type Initializer,
  type Layer,
  normal,
  sequential,
  sgd,
} from 'gradmill';
import type { Experiment, Figure } from '../../src/report/section.js';
import { digits } from './digits.js';
import { orDiverged } from './divergence.js';
import { normalRows } from './random.js';
import { band, geometricMean, mean, meanAndSpread, rms, seedsUpTo } from './statistics.js';

const [WIDTH, BATCH, DEPTH] = [256, 256, 50];
const TRAINED_DEPTH = 20;

interface Network {
  readonly name: string;
  readonly activation: 'linear' | 'tanh' | 'relu';
  readonly initialiser: Initializer;
  /** Between the product and the activation. */
  readonly normalised?: boolean;
}

const PLAIN: readonly Network[] = [
  { name: 'linear, Glorot', activation: 'linear', initialiser: glorotNormal() },
  { name: 'tanh, Glorot', activation: 'tanh', initialiser: glorotNormal() },
  { name: 'ReLU, Glorot', activation: 'relu', initialiser: glorotNormal() },
  { name: 'ReLU, He', activation: 'relu', initialiser: heNormal() },
  { name: 'ReLU, σ = 0.01', activation: 'relu', initialiser: normal({ standardDeviation: 0.01 }) },
  { name: 'ReLU, σ = 1', activation: 'relu', initialiser: normal({ standardDeviation: 1 }) },
];
const NORMALISED: readonly Network[] = [
  { name: 'ReLU, He, batch normalisation', activation: 'relu', initialiser: heNormal(), normalised: true },
  { name: 'ReLU, σ = 0.01, batch normalisation', activation: 'relu', initialiser: normal({ standardDeviation: 0.01 }), normalised: true },
  { name: 'ReLU, σ = 1, batch normalisation', activation: 'relu', initialiser: normal({ standardDeviation: 1 }), normalised: true },
];

function layersOf({ activation, initialiser, normalised = false }: Network, units: number, depth: number): Layer[] {
  return Array.from({ length: depth }, () =>
    normalised
      ? [
          dense({ units, useBias: false, kernelInitializer: initialiser }),
          batchNormalization({ epsilon: 1e-5 }),
          activationLayer(activation),
        ]
      : [dense({ units, activation, kernelInitializer: initialiser })],
  ).flat();
}

interface Signals {
  /** RMS of y by layer, the input first. */
  readonly forward: number[];
  /** RMS of ∂loss/∂y of layers 1 …, over that of the last. */
  readonly backward: number[];
}

/** One watched step on one batch, as training sees it: batch normalisation uses the batch's own statistics. */
async function signals(network: Network, seed: number): Promise<Signals | GradmillError> {
  const model = sequential({
    inputShape: [WIDTH],
    seed,
    layers: [...layersOf(network, WIDTH, DEPTH), dense({ units: 10, kernelInitializer: 'glorotNormal' })],
  });
  model.compile({ optimizer: sgd({ learningRate: 1e-9 }), loss: 'softmaxCrossEntropy' });
  const x = normalRows(seed, BATCH, WIDTH);
  const y = Uint8Array.from({ length: BATCH }, (_, row) => row % 10);
  return orDiverged(model, async () => {
    const { diagnostics } = await model.fit(x, y, { epochs: 1, batchSize: BATCH, diagnostics: { every: 1 } });
    const [sample] = diagnostics ?? [];
    // The last of the layers that make up each step of depth.
    const layers = sample.layers.slice(0, -1).filter((_, i) => !network.normalised || i % 3 === 2);
    const last = layers[layers.length - 1].lossGradientRms;
    return {
      forward: [rms(x.data), ...layers.map(({ after }) => after.rms)],
      backward: layers.map(({ lossGradientRms }) => lossGradientRms / last),
    };
  });
}

/** Test accuracy after training; undefined where a number stopped being finite. */
async function train(network: Network, seed: number, rows: number, epochs: number): Promise<number | undefined> {
  const data = await digits(rows, 2000);
  const model = sequential({
    inputShape: [784],
    seed,
    inputScaling: data.inputScaling,
    layers: [...layersOf(network, 128, TRAINED_DEPTH), dense({ units: 10, kernelInitializer: 'glorotNormal' })],
  });
  model.compile({ optimizer: sgd({ learningRate: 0.01, momentum: 0.9 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
  const accuracy = await orDiverged(model, async () => {
    await model.fit(data.x, data.y, { epochs, batchSize: 50 });
    return (await model.evaluate(data.testX, data.testY)).accuracy;
  });
  return accuracy instanceof GradmillError ? undefined : accuracy;
}

export const experiment: Experiment = {
  id: 6,
  title: 'Initialisation through 50 layers',
  claim:
    'Glorot’s variance keeps a signal’s size through linear layers, He’s through ReLU layers, and Glorot’s loses a factor √½ in ' +
    'each ReLU layer. Batch normalisation puts the size right at every layer, whatever the weights; it does not make them learn equally fast.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 1 : 5);
    const measured: { network: Network; runs: Signals[]; left?: GradmillError }[] = [];
    for (const network of [...PLAIN, ...NORMALISED]) {
      const entry: (typeof measured)[number] = { network, runs: [] };
      for (const seed of seeds) {
        const run = await signals(network, seed);
        if (run instanceof GradmillError) entry.left ??= run;
        else entry.runs.push(run);
      }
      measured.push(entry);
    }
    note(`signals through ${DEPTH} layers: ${measured.length} networks, ${seeds.length} seed${seeds.length === 1 ? '' : 's'}`);
    const runsOf = (name: string): Signals[] => measured.find(({ network }) => network.name === name)?.runs ?? [];
    const perLayer = (name: string): number => geometricMean(runsOf(name).map(({ forward }) => forward[DEPTH] / forward[0])) ** (1 / DEPTH);
    const backPerLayer = (name: string): number => geometricMean(runsOf(name).map(({ backward }) => backward[0])) ** (1 / (DEPTH - 1));

    const [trainedRows, epochs] = quick ? [500, 1] : [5000, 5];
    const trainedSeeds = seedsUpTo(quick ? 1 : 3);
    const trained: { name: string; accuracies: (number | undefined)[] }[] = [];
    for (const network of [...PLAIN.slice(3), ...NORMALISED]) {
      const accuracies: (number | undefined)[] = [];
      for (const seed of trainedSeeds) accuracies.push(await train(network, seed, trainedRows, epochs));
      trained.push({ name: network.name, accuracies });
      note(`${network.name}: accuracy ${accuracies.map((accuracy) => accuracy?.toFixed(3) ?? 'not finite').join(', ')}`);
    }
    const CHANCE = 0.1;
    const accuracyOf = (name: string): number[] =>
      (trained.find((entry) => entry.name === name)?.accuracies ?? []).map((accuracy) => accuracy ?? CHANCE);
    const least = (better: string, worse: string): number => {
      const behind = accuracyOf(worse);
      return Math.min(...accuracyOf(better).map((accuracy, i) => accuracy - behind[i]));
    };
    const [normalHe, normalSmall, normalLarge] = NORMALISED.map(({ name }) => name);
    const rescued = least(normalSmall, 'ReLU, σ = 0.01');
    const behindHe = least(normalHe, normalLarge);

    const growth = (name: string, expected: number, tolerance: number, why: string): Figure => {
      const value = perLayer(name);
      return {
        label: `${name}: growth of the signal's RMS a layer, ${DEPTH} layers`,
        value,
        expected: `${expected.toPrecision(3)} ± ${100 * tolerance} %: ${why}`,
        ...(!quick && { holds: Math.abs(value / expected - 1) <= tolerance }),
      };
    };
    // Seed by seed the same draws, scaled: normalised networks differ by epsilon alone.
    const [small, large] = ['ReLU, σ = 0.01, batch normalisation', 'ReLU, σ = 1, batch normalisation'].map(runsOf);
    const difference = Math.max(
      ...small.flatMap(({ forward }, run) => forward.map((value, layer) => Math.abs(value / large[run].forward[layer] - 1))),
    );
    const normalisedEnds = NORMALISED.flatMap(({ name }) => runsOf(name).flatMap(({ forward }) => forward.slice(1)));
    const figures: Figure[] = [
      growth('linear, Glorot', 1, 0.02, 'variance 256·1/256'),
      growth('ReLU, He', 1, 0.02, 'E[y²] = ½·256·2/256'),
      growth('ReLU, Glorot', Math.SQRT1_2, 0.02, 'half of the second moment is cut off'),
      {
        label: `tanh, Glorot: RMS at layer ${DEPTH}`,
        value: mean(runsOf('tanh, Glorot').map(({ forward }) => forward[DEPTH])),
        expected: 'less than the input’s 1, but by no constant factor: tanh bends less as the signal shrinks',
      },
      {
        label: `ReLU, σ = 0.01: RMS at layer ${DEPTH}`,
        value: mean(runsOf('ReLU, σ = 0.01').map(({ forward }) => forward[DEPTH])),
        expected: '0.113⁵⁰ is below float32: 0',
      },
      {
        label: `ReLU, σ = 1: ${DEPTH} layers`,
        value: measured.find(({ network }) => network.name === 'ReLU, σ = 1')?.left ? 'left float32' : 'finite',
        expected: '11.3⁵⁰ is beyond float32',
      },
      {
        label: 'batch normalisation: RMS after each ReLU, over layers, weights and seeds',
        value: `${Math.min(...normalisedEnds).toFixed(3)} … ${Math.max(...normalisedEnds).toFixed(3)}`,
        expected: 'near √½ = 0.707 at every layer, between 0.6 and 0.8',
        holds: Math.min(...normalisedEnds) > 0.6 && Math.max(...normalisedEnds) < 0.8,
      },
      {
        label: 'batch normalisation: largest difference of any layer’s RMS between σ = 0.01 and σ = 1',
        value: 100 * difference,
        unit: '%',
        expected: 'at most 1 %: weights’ size cancels, but for epsilon',
        holds: difference <= 0.01,
      },
      {
        label: 'batch normalisation: growth of the loss gradient a layer on its way back, He',
        value: backPerLayer('ReLU, He, batch normalisation'),
        expected: 'not 1: √(π/(π − 1)) = 1.21 in wide networks (Yang et al. 2019)',
      },
      ...trained.map(({ name, accuracies }) => ({
        label: `${TRAINED_DEPTH} layers trained, ${name}: test accuracy`,
        value: accuracies.includes(undefined) ? 'stopped: a number was not finite' : meanAndSpread(accuracyOf(name)),
      })),
      {
        label: 'what batch normalisation adds to the accuracy at σ = 0.01, least of any seed',
        value: rescued,
        expected: 'at least 0.3',
        ...(!quick && { holds: rescued >= 0.3 }),
      },
      {
        label: 'the same at σ = 1 (a network that was not finite counts as chance, 0.1)',
        value: least(normalLarge, 'ReLU, σ = 1'),
      },
      {
        label: 'normalised: accuracy that σ = 1 lacks behind He, least of any seed',
        value: behindHe,
        expected:
          'more than 0: weights whose size cancels turn at the rate η/σ² (van Laarhoven 2017), in layers of 128 inputs at σ = 1 a 64th of He’s',
        ...(!quick && { holds: behindHe > 0 }),
      },
    ];
    const lines = (networks: readonly Network[], curve: (run: Signals) => number[], first: number): ReturnType<typeof band>[] =>
      networks
        .filter(({ name }) => runsOf(name).length > 0)
        .map(({ name }) => {
          const curves = runsOf(name).map(curve);
          return band(
            name,
            curves[0].map((_, i) => i + first),
            curves,
          );
        });
    const caption = `Lines are means, bands the range over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}.`;
    return {
      paragraphs: [
        `${DEPTH} layers of ${WIDTH} units, ${BATCH} rows of N(0, 1), ${seeds.length} seed${seeds.length === 1 ? '' : 's'}, at initialisation. ` +
          'Batch normalisation stands between the product and the activation, with epsilon 1e-5.',
        `Then ${TRAINED_DEPTH} layers of 128 units on ${trainedRows} digits of MNIST: SGD 0.01 with momentum 0.9, batches of 50, ${epochs} epoch${epochs === 1 ? '' : 's'}, ` +
          `${trainedSeeds.length} seed${trainedSeeds.length === 1 ? '' : 's'}, accuracy on 2,000 test digits.`,
      ],
      figures,
      charts: [
        {
          type: 'lines',
          title: 'The signal on its way forward',
          x: { label: 'layer (0 is the input)' },
          y: { label: 'RMS of the outputs', scale: 'log' },
          series: lines(PLAIN, ({ forward }) => forward, 0),
          caption,
        },
        {
          type: 'lines',
          title: 'The same with batch normalisation',
          x: { label: 'layer (0 is the input)' },
          y: { label: 'RMS of the outputs' },
          series: lines(NORMALISED, ({ forward }) => forward, 0),
          caption,
        },
        {
          type: 'lines',
          title: 'The loss gradient on its way back',
          x: { label: 'layer' },
          y: { label: 'RMS of ∂loss/∂y, over that of the last layer', scale: 'log' },
          series: lines([...PLAIN.slice(0, 4), NORMALISED[0]], ({ backward }) => backward, 1),
          caption,
        },
        {
          type: 'bars',
          title: `Test accuracy, ${TRAINED_DEPTH} ReLU layers, ${epochs} epoch${epochs === 1 ? '' : 's'}`,
          x: { label: 'initial weights' },
          y: { label: 'accuracy' },
          groups: ['plain', 'batch normalisation'].map((group) => ({
            name: group,
            values: ['He', 'σ = 0.01', 'σ = 1'].map((weights) => {
              const accuracies = accuracyOf(`ReLU, ${weights}${group === 'plain' ? '' : ', batch normalisation'}`);
              return { label: weights, value: mean(accuracies), low: Math.min(...accuracies), high: Math.max(...accuracies) };
            }),
          })),
          caption: `Range over ${trainedSeeds.length} seed${trainedSeeds.length === 1 ? '' : 's'}; a run that stopped being finite counts as chance, 0.1.`,
        },
      ],
      conclusion: quick
        ? 'Too short to conclude: one seed, and networks that have hardly been trained.'
        : `Forward, the claims hold as they stand: He keeps ReLU’s signal (${perLayer('ReLU, He').toFixed(3)} a layer), Glorot does not (${perLayer('ReLU, Glorot').toFixed(3)}), and batch ` +
          'normalisation makes the size of the weights irrelevant to it. For training it is not: at the same learning rate large weights turn slowly, ' +
          `and after ${epochs} epochs 20 normalised layers reach ${mean(accuracyOf(normalHe)).toFixed(2)} with He, ${mean(accuracyOf(normalSmall)).toFixed(2)} at σ = 0.01 (chance without normalisation), ` +
          `but ${mean(accuracyOf(normalLarge)).toFixed(2)} at σ = 1 (not finite without): a gain of 0.3 was expected there too, and was not found. ` +
          `Backward it has a price: the gradient of a fresh normalised ReLU network grows by ` +
          `${backPerLayer('ReLU, He, batch normalisation').toFixed(2)} a layer, so that depth is not free.`,
    };
  },
};
