// A page with every type of chart, for the tests that read it and those that look at it. Its numbers are made up from formulas.
import type { Page } from '../src/report/html.js';
import type { Chart, Section } from '../src/report/section.js';

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Of a normal distribution, in 32 bins between two ends. */
export function bell(mean: number, deviation: number, low = mean - 4 * deviation, high = mean + 4 * deviation): number[] {
  return range(32).map((i) => {
    const z = (low + ((i + 0.5) * (high - low)) / 32 - mean) / deviation;
    return Math.round(1e4 * Math.exp((-z * z) / 2));
  });
}

const lossCurves: Chart = {
  type: 'lines',
  title: 'Loss over five seeds',
  x: { label: 'epoch' },
  y: { label: 'cross-entropy (nats)', scale: 'log' },
  series: ['ReLU, He', 'tanh, Glorot', 'sigmoid, N(0, 1)'].map((name, s) => {
    const loss = (epoch: number): number => 2.3 * Math.exp(-epoch / (4 + 6 * s)) + 0.02 * (1 + s);
    return {
      name,
      points: range(40).map((epoch) => [epoch, loss(epoch)] as const),
      low: range(40).map((epoch) => [epoch, loss(epoch) * 0.85] as const),
      high: range(40).map((epoch) => [epoch, loss(epoch) * 1.2] as const),
    };
  }),
  caption: 'Lines are means, bands the smallest and the largest of five seeds.',
};

const ticket: Chart = {
  type: 'lines',
  title: 'Accuracy over weights left',
  x: { label: 'weights left (%)', scale: 'log' },
  y: { label: 'test accuracy (share of rows)' },
  series: ['winning ticket', 'new random weights'].map((name, s) => ({
    name,
    points: range(11).map((round) => [100 * 0.8 ** round, 0.981 - s * 0.0011 * round - 0.0002 * round * (round - 5)] as const),
  })),
};

const gradients: Chart = {
  type: 'strip',
  title: 'Loss gradient by layer and epoch',
  x: { label: 'epoch' },
  y: { label: 'layer' },
  columns: range(30).map((epoch) => epoch + 1),
  rows: range(20).map((layer) => `dense${layer + 1}`),
  values: range(20).map((layer) => range(30).map((epoch) => (epoch === 12 && layer > 15 ? null : layer === 4 && epoch > 24 ? 0 : 0.235 ** ((20 - layer) * (1 - epoch / 60)) * 1e-2))), // prettier-ignore
  scale: 'log',
  unit: 'RMS of the loss gradient',
};

const small: Chart = {
  type: 'strip',
  title: 'Saturation, a few columns',
  x: { label: 'initialisation' },
  y: { label: 'layer' },
  columns: ['Glorot', 'He', 'N(0, 1)'],
  rows: ['first hidden', 'second hidden', 'third hidden', 'a layer with a very long name of more than thirty letters'],
  values: [[0, 0.01, 0.62], [0.02, 0.04, 0.71], [0.02, 0.09, 0.83], [0.03, 0.12, null]], // prettier-ignore
  scale: 'linear',
  unit: 'share of saturated outputs',
};

const activations: Chart = {
  type: 'ridges',
  title: 'Outputs by depth',
  x: { label: 'output of the layer' },
  rows: range(12).map((layer) => {
    const deviation = 1.1 * 0.82 ** layer;
    return { name: `dense${layer + 1}`, low: -4 * deviation, high: 4 * deviation, counts: bell(0, deviation) };
  }),
};

const clipped: Chart = {
  type: 'ridges',
  title: 'Outputs of ReLU, and one that is constant',
  x: { label: 'output of the layer' },
  rows: [
    { name: 'relu', low: 0, high: 4, counts: bell(0, 1, 0, 4).map((count, i) => (i === 0 ? 9e4 : count)) },
    { name: 'constant', low: 1, high: 1, counts: range(32).map((i) => (i === 0 ? 10 : 0)) },
    { name: 'none', low: NaN, high: NaN, counts: [] },
  ],
};

const kernel: Chart = {
  type: 'matrix',
  title: 'Kernel of the first layer',
  values: range(28).map((r) => range(28).map((c) => Math.sin(r / 3) * Math.cos(c / 4) * Math.exp(-((r - 14) ** 2 + (c - 14) ** 2) / 120))),
  x: { label: 'pixel column' },
  y: { label: 'pixel row' },
  diverging: true,
};

const large: Chart = {
  type: 'matrix',
  title: 'A mask of 300 × 784',
  values: range(300).map((r) => range(784).map((c) => (((r * 7919 + c * 104729) % 97) / 97) * Math.exp(-((c - 392) ** 2) / 60000))),
  x: { label: 'input' },
  y: { label: 'unit' },
  diverging: false,
};

const zigzag: Chart = {
  type: 'path',
  title: 'All-positive and centred inputs',
  x: { label: 'w₁' },
  y: { label: 'w₂' },
  loss: {
    xs: range(41).map((i) => -2 + i / 10),
    ys: range(31).map((i) => -1.5 + i / 10),
    values: range(31).map((r) => range(41).map((c) => 4 * (r / 10 - 1.5 + 0.6 * (c / 10 - 2)) ** 2 + 0.3 * (c / 10 - 2) ** 2)),
  },
  paths: [
    {
      name: 'inputs as they are',
      points: range(24).map((i) => [-1.8 + i * 0.07, 1.2 * (i % 2 ? -0.6 : 1) * 0.9 ** i + 0.9 - i * 0.04] as const),
    },
    { name: 'centred', points: range(12).map((i) => [-1.8 * 0.72 ** i, 1.2 * 0.7 ** i] as const) },
  ],
};

const bars: Chart = {
  type: 'bars',
  title: 'Steps until the loss is below 0.01',
  x: { label: 'inputs' },
  y: { label: 'steps', scale: 'log' },
  groups: [
    { name: 'equal variances', values: [{ label: 'as they are', value: 84, low: 80, high: 91 }, { label: 'standardised', value: 82, low: 79, high: 88 }] }, // prettier-ignore
    { name: 'variances 1 and 100', values: [{ label: 'as they are', value: 9120, low: 8800, high: 9700 }, { label: 'standardised', value: 83, low: 80, high: 90 }] }, // prettier-ignore
  ],
  caption: 'Medians of 20 seeds, with quartiles.',
};

const plain: Chart = {
  type: 'bars',
  title: 'Dead units',
  x: { label: '' },
  y: { label: 'share of units (%)' },
  groups: [{ name: '', values: [{ label: 'never active', value: 31.5 }, { label: 'constant', value: 2 }, { label: 'saturated', value: 0 }, { label: 'weights near zero', value: 12.25 }] }], // prettier-ignore
};

const dots: Chart = {
  type: 'dots',
  title: 'Speed against before',
  x: { label: '' },
  y: { label: 'times as fast', scale: 'log' },
  unit: ' ×',
  series: ['ours', 'theirs', 'others'],
  reference: { value: 1, label: 'as fast as before' },
  groups: ['a large network', 'a small one'].map((name, g) => ({
    name,
    rows: ['1 thread', '2 threads'].map((label, r) => ({
      label,
      dots: [
        { series: 0, value: 1.4 + r + g, low: 1.2 + r + g, high: 1.5 + r + g },
        { series: 1, value: 0.9 - 0.2 * r },
        ...(g === 0 ? [{ series: 2, value: 0.03, low: 0.02, high: 0.1 }] : []),
      ],
    })),
  })),
};

const roofline: Chart = {
  type: 'roofline',
  title: 'Ops whose operands lie in L2',
  x: { label: 'float operations a byte', scale: 'log' },
  y: { label: 'GFLOP/s', scale: 'log' },
  peak: { name: 'peak, 104 GFLOP/s', value: 104 },
  bandwidths: [{ name: 'L1 (16 KiB), 168 GB/s', value: 168 }, { name: 'L2 (256 KiB), 97 GB/s', value: 97 }, { name: 'memory (128 MiB), 21 GB/s', value: 21 }], // prettier-ignore
  points: [
    { name: 'gemm NN 128×512×512', x: 73, y: 98 },
    { name: 'gemm TN 128×512×512', x: 72, y: 97 },
    { name: 'activate tanh', x: 4.9, y: 41 },
    { name: 'softmax', x: 3.6, y: 28 },
    { name: 'adam', x: 0.46, y: 22 },
    { name: 'addBias', x: 0.125, y: 9 },
    { name: 'fill', x: 0, y: 0 },
  ],
  caption: 'Medians of 5 rounds.',
};

export const charts: readonly Chart[] = [
  lossCurves,
  ticket,
  gradients,
  small,
  activations,
  clipped,
  kernel,
  large,
  zigzag,
  bars,
  plain,
  dots,
  roofline,
];

const vanishing: Section = {
  id: 'vanishing',
  title: 'Vanishing and exploding gradients',
  claim: 'With sigmoid units the loss gradient shrinks by a factor of about 0.235 a layer; ReLU with He’s initialisation keeps it.',
  paragraphs: [
    'Networks of 20 layers of 256 units were drawn from 5 seeds and given one batch of 256 rows from N(0, 1). Nothing was trained. The loss gradient was measured at the output of each layer by `gradientFlow(model, x, y)`.',
    'The prediction beside each figure comes from forward values alone: √E[a′²] for the activation and σ_W·√units for the weights.',
  ],
  figures: [
    { label: 'sigmoid, N(0, 1/n): first over last layer', value: 2.531e-13, expected: 'about 2.5 × 10⁻¹³', holds: true },
    { label: 'a layer', value: 0.2351, expected: '0.235 ± 2 %', holds: true },
    { label: 'ReLU, Glorot: first over last layer', value: 0.00131, expected: 'about 1.3 × 10⁻³', holds: true },
    { label: 'ReLU, He: first over last layer', value: 1.0712, expected: 'about 1.07', holds: true },
    { label: 'a planted failure', value: 266610, unit: 'weights', expected: '266,600', holds: false },
  ],
  charts: [gradients, lossCurves, activations],
  conclusion: 'The claim holds: the gradient of the first sigmoid layer is nothing but rounding, while that of ReLU with He arrives whole.',
  seconds: 12.4,
};

const rest: Section = {
  id: 'every-chart',
  title: 'Every other chart',
  claim: 'Pictures say it sooner than words.',
  paragraphs: [],
  figures: [{ label: 'charts', value: 8 }],
  charts: [zigzag, ticket, kernel, bars, small, clipped, plain, large],
  conclusion: '',
  seconds: 0,
};

const alone: Section = {
  id: 'one-chart',
  title: 'A section of one chart and no figures',
  claim: 'A new random draw loses what the ticket keeps.',
  paragraphs: ['Five seeds, ten rounds.'],
  figures: [],
  charts: [ticket, dots],
  tables: [
    {
      title: 'Rounds',
      columns: ['ticket', 'weights left (%)'],
      rows: [
        ['winning', '21.1'],
        ['random <b>', '80.0'],
      ],
    },
  ],
  conclusion: 'Too short to conclude.',
  seconds: 431,
};

export const page: Page = {
  title: 'What makes a network learn',
  lead: 'The claims of a lecture on training neural networks, each put to the test on real runs of gradmill.',
  facts: [
    ['engine', 'gradmill 0.1.0, native avx512, 2 threads'],
    ['machine', '2 cores, Linux x64, Node 22.12.0'],
    ['date', '2026-11-24'],
  ],
  sections: [vanishing, rest, alone],
};
