// Experiment 1. Back propagation multiplies the loss gradient by a'·Wᵀ at every layer: what that product does over depth, for
// three activations and four initialisers. No training: the gradients are those of freshly made networks.
import { dense, glorotNormal, GradmillError, heNormal, type Initializer, normal, sequential, sgd, type TensorLike } from 'gradmill';
import { gradientFlow } from 'gradmill/diagnostics';
import { formatNumber } from '../../src/report/lettering.js';
import type { Experiment, Figure } from '../../src/report/section.js';
import { orDiverged } from './divergence.js';
import { normalRows, random } from './random.js';
import { band, geometricMean, rms, seedsUpTo } from './statistics.js';

const WIDTH = 256;
const BATCH = 128;
const CLASSES = 10;
const ACTIVATIONS = ['sigmoid', 'tanh', 'relu'] as const;
type Activation = (typeof ACTIVATIONS)[number];
const INITIALISERS: readonly (readonly [name: string, initialiser: Initializer])[] = [
  ['Glorot', glorotNormal()],
  ['He', heNormal()],
  ['N(0, 1)', normal({ standardDeviation: 1 })],
  ['N(0, 0.01²)', normal({ standardDeviation: 0.01 })],
];
const REFERENCE_DEPTH = 20;

/** A tower of equal layers under a small classifier, which gives the last of them a loss gradient of random direction. */
function tower(activation: Activation, kernelInitializer: Initializer, depth: number, seed: number): ReturnType<typeof sequential> {
  const layers = Array.from({ length: depth }, () => dense({ units: WIDTH, activation, kernelInitializer }));
  const model = sequential({
    inputShape: [WIDTH],
    seed,
    layers: [...layers, dense({ units: CLASSES, kernelInitializer: 'glorotNormal' })],
  });
  model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' });
  return model;
}

function batch(seed: number): { x: TensorLike; y: TensorLike } {
  const { uniform } = random(1000 + seed);
  return {
    x: normalRows(seed, BATCH, WIDTH),
    y: { data: Uint8Array.from({ length: BATCH }, () => Math.floor(uniform() * CLASSES)), shape: [BATCH] },
  };
}

/** RMS of ∂loss/∂y of the input (layer 0) and of layers 1 … depth; the error where the forward pass left float32. */
async function gradientByLayer(
  activation: Activation,
  initialiser: Initializer,
  depth: number,
  seed: number,
): Promise<number[] | GradmillError> {
  const model = tower(activation, initialiser, depth, seed);
  const { x, y } = batch(seed);
  return orDiverged(model, async () => {
    const { inputGradient, lossGradients } = await model.gradients(x, y);
    return [inputGradient, ...lossGradients.slice(0, depth)].map(({ data }) => rms(data));
  });
}

/** What THEORY's item 8 says of 20 layers; tolerance of the factor a layer, which is 1.03²⁰ = 1.8 of the whole. */
const REFERENCES = [
  { activation: 'sigmoid', initialiser: 'Glorot', perLayer: 0.235, whole: 2.5e-13 },
  { activation: 'relu', initialiser: 'Glorot', perLayer: 0.717, whole: 1.3e-3 },
  { activation: 'relu', initialiser: 'He', perLayer: 1.003, whole: 1.07 },
] as const;
const TOLERANCE = 0.03;

/** Largest difference of a measured factor from the one predicted from forward values, over the layers of a tower. */
async function worstPrediction(activation: Activation, initialiser: Initializer, seed: number): Promise<number> {
  const model = tower(activation, initialiser, REFERENCE_DEPTH, seed);
  const { x, y } = batch(seed);
  const { layers } = await gradientFlow(model, x, y);
  model.dispose();
  const factors = layers.slice(0, REFERENCE_DEPTH).flatMap(({ activationFactor, weightFactor }) => [activationFactor, weightFactor]);
  return Math.max(...factors.map(({ measured, predicted }) => Math.abs(measured / predicted - 1)));
}

export const experiment: Experiment = {
  id: 1,
  title: 'Vanishing and exploding gradients',
  claim:
    'The loss gradient of an early layer is a product of one activation factor and one weight factor for each layer above it: ' +
    'it shrinks or grows geometrically with depth, unless both factors together are 1.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 1 : 5);
    const depths = quick ? [2, 10, REFERENCE_DEPTH] : [2, 5, 10, REFERENCE_DEPTH, 35, 50];
    const deepest = depths[depths.length - 1];

    // ratios[name][depth]: first over last loss gradient, one for each seed that stayed within float32.
    const results: { name: string; activation: Activation; initialiser: string; byDepth: Map<number, number[][]>; left?: GradmillError }[] =
      [];
    for (const activation of ACTIVATIONS) {
      for (const [initialiser, make] of INITIALISERS) {
        const result: (typeof results)[number] = { name: `${activation}, ${initialiser}`, activation, initialiser, byDepth: new Map() };
        for (const depth of depths) {
          const curves: number[][] = [];
          for (const seed of seeds) {
            const curve = await gradientByLayer(activation, make, depth, seed);
            if (curve instanceof GradmillError) result.left ??= curve;
            else curves.push(curve);
          }
          result.byDepth.set(depth, curves);
        }
        results.push(result);
      }
      note(
        `${activation}: ${INITIALISERS.length} initialisers, ${depths.join(', ')} layers, ${seeds.length} seed${seeds.length === 1 ? '' : 's'}`,
      );
    }
    const find = (activation: Activation, initialiser: string): (typeof results)[number] => {
      const found = results.find((result) => result.activation === activation && result.initialiser === initialiser);
      if (!found) throw new Error(`no result for ${activation}, ${initialiser}`);
      return found;
    };
    const wholeOf = (result: (typeof results)[number], depth: number): number[] =>
      (result.byDepth.get(depth) ?? []).map((curve) => curve[0] / curve[depth]);
    const perLayerOf = (result: (typeof results)[number], depth = REFERENCE_DEPTH): number =>
      geometricMean(wholeOf(result, depth)) ** (1 / depth);

    const figures: Figure[] = [];
    for (const { activation, initialiser, perLayer, whole } of REFERENCES) {
      const ratios = wholeOf(find(activation, initialiser), REFERENCE_DEPTH);
      const measured = geometricMean(ratios);
      const factor = measured ** (1 / REFERENCE_DEPTH);
      figures.push(
        {
          label: `${activation}, ${initialiser}: factor a layer, ${REFERENCE_DEPTH} layers`,
          value: factor,
          expected: `${perLayer} ± 3 %`,
          ...(!quick && { holds: Math.abs(factor / perLayer - 1) <= TOLERANCE }),
        },
        {
          label: `${activation}, ${initialiser}: first over last loss gradient`,
          value: measured,
          expected: `about ${formatNumber(whole)}, within a factor of 1.8 (3 % a layer)`,
          ...(!quick && { holds: Math.abs(Math.log(measured / whole)) <= REFERENCE_DEPTH * Math.log(1 + TOLERANCE) }),
        },
      );
    }
    const sigmoid = Math.max(...wholeOf(find('sigmoid', 'Glorot'), REFERENCE_DEPTH));
    figures.push({
      label: `sigmoid, Glorot: largest ratio of any seed, ${REFERENCE_DEPTH} layers`,
      value: sigmoid,
      expected: `at most ¼²⁰ = ${(0.25 ** 20).toExponential(1)}: a' ≤ ¼`,
      holds: sigmoid <= 0.25 ** 20,
    });
    // Where the activation keeps its slope (ReLU: half of the units), the factor is σ·√(256·E[a'²]) from the initialiser alone.
    for (const [activation, initialiser, expected] of [
      ['relu', 'N(0, 1)', Math.sqrt(WIDTH / 2)],
      ['relu', 'N(0, 0.01²)', 0.01 * Math.sqrt(WIDTH / 2)],
      ['tanh', 'N(0, 0.01²)', 0.01 * Math.sqrt(WIDTH)],
      ['sigmoid', 'N(0, 0.01²)', 0.01 * Math.sqrt(WIDTH) * 0.25],
    ] as const) {
      const factor = perLayerOf(find(activation, initialiser));
      figures.push({
        label: `${activation}, ${initialiser}: factor a layer, ${REFERENCE_DEPTH} layers`,
        value: factor,
        expected: `σ·√(256·E[a'²]) = ${expected.toPrecision(3)} ± 3 %`,
        ...(!quick && { holds: Math.abs(factor / expected - 1) <= TOLERANCE }),
      });
    }
    for (const [activation, initialiser] of [
      ['tanh', 'Glorot'],
      ['tanh', 'He'],
      ['tanh', 'N(0, 1)'],
      ['sigmoid', 'N(0, 1)'],
    ] as const)
      figures.push({
        label: `${activation}, ${initialiser}: factor a layer, ${REFERENCE_DEPTH} layers`,
        value: perLayerOf(find(activation, initialiser)),
      });
    const { left } = find('relu', 'N(0, 1)');
    if (!quick)
      figures.push({
        label: 'relu, N(0, 1), 50 layers: what float32 says',
        value: left ? left.message.replace(/:? *try .*$/, '') : 'every number was finite',
        expected: `11.3⁵⁰ = ${(Math.sqrt(WIDTH / 2) ** 50).toExponential(0)} is beyond float32's 3.4e38`,
        holds: left !== undefined,
      });
    const differences: number[] = [];
    for (const { activation, initialiser } of REFERENCES) {
      const [, make] = INITIALISERS.find(([name]) => name === initialiser) ?? INITIALISERS[0];
      for (const seed of seeds) differences.push(await worstPrediction(activation, make, seed));
    }
    figures.push({
      label: 'measured against predicted factors: largest difference, 3 networks × 20 layers',
      value: 100 * Math.max(...differences),
      unit: '%',
      expected: "at most 10 %: √E[a'²] and σ_W·√units from forward values alone",
      ...(!quick && { holds: Math.max(...differences) <= 0.1 }),
    });

    const layersOf = (depth: number): number[] => Array.from({ length: depth + 1 }, (_, layer) => layer);
    const relative = (curve: readonly number[]): number[] => curve.map((value) => value / curve[curve.length - 1]);
    return {
      paragraphs: [
        `Towers of 2 to ${deepest} layers of ${WIDTH} units under a classifier of ${CLASSES} classes; ${BATCH} rows of N(0, 1), random labels; ` +
          `${seeds.length} seed${seeds.length === 1 ? '' : 's'}, each with its own weights, inputs and labels. Ratios are geometric means over seeds.`,
        'Layer 0 is the input. What float32 rounds to 0 cannot be drawn on a logarithmic scale.',
      ],
      figures,
      charts: [
        ...ACTIVATIONS.map((activation) => ({
          type: 'lines' as const,
          title: `${activation}: loss gradient by layer, ${REFERENCE_DEPTH} layers`,
          x: { label: 'layer (0 is the input)' },
          y: { label: 'RMS of ∂loss/∂y, over that of the last layer', scale: 'log' as const },
          series: results
            .filter((result) => result.activation === activation)
            .map(({ initialiser, byDepth }) =>
              band(initialiser, layersOf(REFERENCE_DEPTH), (byDepth.get(REFERENCE_DEPTH) ?? []).map(relative)),
            ),
          caption: `Lines are means, bands the range over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}.`,
        })),
        {
          type: 'lines',
          title: 'The whole product against depth',
          x: { label: 'layers' },
          y: { label: 'first over last loss gradient', scale: 'log' },
          series: results
            .filter(({ initialiser, activation }) => initialiser !== 'He' || activation === 'relu')
            .map((result) => ({
              name: result.name,
              points: depths.flatMap((depth): [number, number][] => {
                const ratios = wholeOf(result, depth);
                return ratios.length > 0 ? [[depth, geometricMean(ratios)]] : [];
              }),
            })),
          caption: 'A line ends where float32 does.',
        },
        {
          type: 'strip',
          title: `Gradient strip: ${deepest} layers at initialisation`,
          x: { label: 'layer (0 is the input)' },
          y: { label: 'network' },
          columns: layersOf(deepest),
          rows: results.map(({ name }) => name),
          values: results.map(({ byDepth }) => {
            const [curve] = (byDepth.get(deepest) ?? []).map(relative);
            return layersOf(deepest).map((layer) => curve?.[layer] ?? null);
          }),
          scale: 'log',
          unit: 'RMS over that of the last layer',
          caption: 'Seed 1. Missing: the forward pass left float32.',
        },
      ],
      conclusion: quick
        ? `Too short to conclude: one seed. The factors of this run are in the table.`
        : `The loss gradient is a product over depth: with Glorot’s weights sigmoid keeps ${perLayerOf(find('sigmoid', 'Glorot')).toFixed(3)} of it a layer and ReLU ` +
          `${perLayerOf(find('relu', 'Glorot')).toFixed(3)}, with He’s ReLU keeps it all. σ = 0.01 fades all three, σ = 1 makes ReLU networks overflow. ` +
          `One thing is not as often told: with σ = 1 the gradients of saturated nets explode too (tanh ${perLayerOf(find('tanh', 'N(0, 1)')).toFixed(2)} a layer, sigmoid ` +
          `${perLayerOf(find('sigmoid', 'N(0, 1)')).toFixed(2)}), since the few units that are not saturated pass more than the others lose.`,
    };
  },
};
