// Experiment 2. Where |a'| is next to 0 nothing passes back: saturation from the first step on, and over training.
import { dense, glorotNormal, type Initializer, normal, sequential, sgd } from 'gradmill';
import { activationStats, type LayerActivations } from 'gradmill/diagnostics';
import type { Experiment, Figure } from '../../src/report/section.js';
import { digits } from './digits.js';
import { band, mean, meanAndSpread, rms, seedsUpTo } from './statistics.js';

const [LAYERS, UNITS] = [5, 128];
const NETWORKS: readonly (readonly [name: string, activation: 'tanh' | 'sigmoid', initialiser: Initializer])[] = [
  ['tanh, N(0, 1)', 'tanh', normal({ standardDeviation: 1 })],
  ['tanh, Glorot', 'tanh', glorotNormal()],
  ['sigmoid, N(0, 1)', 'sigmoid', normal({ standardDeviation: 1 })],
  ['sigmoid, Glorot', 'sigmoid', glorotNormal()],
];

interface Run {
  /** After each epoch, the first before training: one entry a hidden layer. */
  readonly epochs: LayerActivations[][];
  /** RMS(W after − W before) / RMS(W before) of each hidden layer's kernel. */
  readonly moved: number[];
  readonly accuracy: number;
}

export const experiment: Experiment = {
  id: 2,
  title: 'Saturation over training',
  claim:
    'Weights that are too large push bounded activations to their ends, where a′ is next to 0: such units pass nothing back, ' +
    'and training does not get them out again. Weights of Glorot’s size start unsaturated.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 1 : 3);
    const epochs = quick ? 2 : 12;
    const data = await digits(quick ? 1000 : 5000, quick ? 500 : 5000);
    const probe = await digits(256, 1);

    const train = async ([, activation, kernelInitializer]: (typeof NETWORKS)[number], seed: number): Promise<Run> => {
      const model = sequential({
        inputShape: [784],
        seed,
        inputScaling: data.inputScaling,
        layers: [
          ...Array.from({ length: LAYERS }, () => dense({ units: UNITS, activation, kernelInitializer })),
          dense({ units: 10, kernelInitializer: 'glorotNormal' }),
        ],
      });
      model.compile({ optimizer: sgd({ learningRate: 0.05, momentum: 0.9 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
      const kernels = (): Float32Array[] => model.weights.filter(({ name }) => name.endsWith('/kernel')).map((weight) => weight.data);
      const look = async (): Promise<LayerActivations[]> => (await activationStats(model, probe.x)).slice(0, LAYERS);
      const before = kernels();
      const watched = [await look()];
      await model.fit(data.x, data.y, { epochs, batchSize: 50, onEpoch: async () => watched.push(await look()) });
      const moved = kernels().map((kernel, layer) => rms(kernel.map((weight, i) => weight - before[layer][i])) / rms(before[layer]));
      const { accuracy = NaN } = await model.evaluate(data.testX, data.testY);
      model.dispose();
      return { epochs: watched, moved: moved.slice(0, LAYERS), accuracy };
    };

    const networks: { name: string; runs: Run[] }[] = [];
    for (const network of NETWORKS) {
      const runs: Run[] = [];
      for (const seed of seeds) runs.push(await train(network, seed));
      networks.push({ name: network[0], runs });
      note(`${network[0]}: accuracy ${meanAndSpread(runs.map(({ accuracy }) => accuracy))}`);
    }
    const share = (run: Run, epoch: number): number => mean(run.epochs[epoch].map(({ saturation }) => saturation));
    const shares = (runs: Run[], epoch: number): number[] => runs.map((run) => share(run, epoch));
    const [tanhLarge, tanhGlorot, sigmoidLarge, sigmoidGlorot] = networks.map(({ runs }) => runs);
    const least = Math.min(...shares(tanhLarge, 0));
    const leastAfter = Math.min(...shares(tanhLarge, epochs));
    const mostGlorot = Math.max(...shares(tanhGlorot, 0));
    const gap = Math.min(...tanhGlorot.map(({ accuracy }, i) => accuracy - tanhLarge[i].accuracy));

    const figures: Figure[] = [
      {
        label: 'tanh, N(0, 1): share of saturated outputs before training, mean of the hidden layers (least of any seed)',
        value: least,
        expected: 'more than half',
        holds: least > 0.5,
      },
      {
        label: `tanh, N(0, 1): the same after ${epochs} epochs`,
        value: leastAfter,
        expected: 'still more than half',
        ...(!quick && { holds: leastAfter > 0.5 }),
      },
      {
        label: 'tanh, Glorot: the same before training (most of any seed)',
        value: mostGlorot,
        expected: 'less than 0.05',
        holds: mostGlorot < 0.05,
      },
      { label: `tanh, Glorot: after ${epochs} epochs`, value: meanAndSpread(shares(tanhGlorot, epochs)) },
      {
        label: 'sigmoid, N(0, 1): before training and after',
        value: `${mean(shares(sigmoidLarge, 0)).toFixed(3)}, ${mean(shares(sigmoidLarge, epochs)).toFixed(3)}`,
      },
      {
        label: 'sigmoid, Glorot: before training and after',
        value: `${mean(shares(sigmoidGlorot, 0)).toFixed(3)}, ${mean(shares(sigmoidGlorot, epochs)).toFixed(3)}`,
      },
      ...networks.map(({ name, runs }) => ({
        label: `${name}: movement of the hidden kernels, RMS(ΔW)/RMS(W) over all of training, mean of the layers`,
        value: mean(runs.map(({ moved }) => mean(moved))),
      })),
      ...networks.map(({ name, runs }) => ({
        label: `${name}: test accuracy`,
        value: meanAndSpread(runs.map(({ accuracy }) => accuracy)),
      })),
      {
        label: 'accuracy that tanh with N(0, 1) lacks behind Glorot, least of any seed',
        value: gap,
        expected: 'at least 0.05',
        ...(!quick && { holds: gap >= 0.05 }),
      },
    ];
    const epochAxis = Array.from({ length: epochs + 1 }, (_, epoch) => epoch);
    const layerNames = Array.from({ length: LAYERS }, (_, layer) => `layer ${layer + 1}`);
    return {
      paragraphs: [
        `${LAYERS} hidden layers of ${UNITS} units on ${data.y.shape[0]} digits of MNIST, SGD 0.05 with momentum 0.9, batches of 50, ${epochs} epochs, ` +
          `${seeds.length} seed${seeds.length === 1 ? '' : 's'}; accuracy on ${data.testY.shape[0]} test digits. An output counts as saturated where |a′| < 0.01; 256 digits are looked at after every epoch.`,
      ],
      figures,
      charts: [
        {
          type: 'lines',
          title: 'Saturated share of the hidden outputs',
          x: { label: 'epoch' },
          y: { label: 'share with |a′| < 0.01' },
          series: networks.map(({ name, runs }) =>
            band(
              name,
              epochAxis,
              runs.map((run) => epochAxis.map((epoch) => share(run, epoch))),
            ),
          ),
          caption: `Means of ${LAYERS} layers; bands: the range over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}.`,
        },
        ...networks.map(({ name, runs: [run] }) => ({
          type: 'strip' as const,
          title: `Saturation by layer and epoch: ${name}`,
          x: { label: 'epoch (0: before training)' },
          y: { label: 'layer' },
          columns: epochAxis,
          rows: layerNames,
          values: layerNames.map((_, layer) => epochAxis.map((epoch) => run.epochs[epoch][layer].saturation)),
          scale: 'linear' as const,
          domain: [0, 1] as const,
          unit: 'share with |a′| < 0.01',
          caption: 'Seed 1.',
        })),
        ...networks.slice(0, 2).map(({ name, runs: [run] }) => ({
          type: 'ridges' as const,
          title: `Outputs by depth before training: ${name}`,
          x: { label: 'output of a unit' },
          rows: run.epochs[0].map(({ after }, layer) => ({ name: layerNames[layer], ...after.histogram })),
          caption: 'Seed 1, 256 digits.',
        })),
      ],
      conclusion: quick
        ? `Too short to conclude what training does: ${epochs} epochs, one seed. Before training, σ = 1 saturates ${(100 * least).toFixed(0)} % of the tanh outputs, Glorot’s weights ${(100 * mostGlorot).toFixed(1)} %.`
        : `σ = 1 saturates a wide tanh net before the first step (${(100 * least).toFixed(0)} %), and ${epochs} epochs later ${(100 * leastAfter).toFixed(0)} % still are; ` +
          `it ends at least ${(100 * gap).toFixed(0)} points of accuracy behind Glorot’s weights. ` +
          `Not to be saturated is not enough: deep sigmoids with Glorot’s weights are not (${(100 * mean(shares(sigmoidGlorot, 0))).toFixed(1)} %), and learn least of all ` +
          `(${(100 * mean(sigmoidGlorot.map(({ accuracy }) => accuracy))).toFixed(0)} %; with σ = 1 ${(100 * mean(sigmoidLarge.map(({ accuracy }) => accuracy))).toFixed(0)} %), for their gradient vanishes as in experiment 1.`,
    };
  },
};
