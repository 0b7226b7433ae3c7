// Experiment 3. Inputs that share a sign push all weights of a unit the same way; where one must rise and the other fall, the
// path zig-zags. Two weights, so that the path can be drawn; one example a step, so that nothing averages it away.
import { dense, sequential, sgd, tensor, type TensorLike } from 'gradmill';
import type { Experiment, Figure } from '../../src/report/section.js';
import { random } from './random.js';
import { mean, median, seedsUpTo } from './statistics.js';

type Point = [number, number];

const ROWS = 64;
/** Where the loss is 0. */
const TARGET: Point = [1, 1];
const START: Point = [-0.5, 2.5];
const MOST_STEPS = 3000;

/** x ~ U(0.5, 1.5)², or the same less its mean; targets without noise. */
function examples(seed: number, centred: boolean): { x: TensorLike; y: TensorLike } {
  const { uniform } = random(seed);
  const data = Float64Array.from({ length: 2 * ROWS }, () => 0.5 + uniform());
  if (centred)
    for (const column of [0, 1]) {
      const centre = mean(data.filter((_, i) => i % 2 === column));
      for (let i = column; i < data.length; i += 2) data[i] -= centre;
    }
  const y = Float64Array.from({ length: ROWS }, (_, row) => TARGET[0] * data[2 * row] + TARGET[1] * data[2 * row + 1]);
  return { x: tensor(data, [ROWS, 2]), y: tensor(y, [ROWS, 1]) };
}

const distance = (a: Point, b: Point): number => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** The weights before each step and after the last, one example a step, until the error is a tenth of what it was. */
async function descend(seed: number, centred: boolean, start: Point): Promise<Point[]> {
  const { x, y } = examples(seed, centred);
  let longest = 0;
  for (let row = 0; row < ROWS; row++) longest = Math.max(longest, x.data[2 * row] ** 2 + x.data[2 * row + 1] ** 2);
  const model = sequential({ inputShape: [2], seed, layers: [dense({ units: 1, useBias: false, name: 'line' })] });
  // The derivative of (x·w − t)² is 2(x·w − t)x: with this rate no single example oversteps, in either data set.
  model.compile({ optimizer: sgd({ learningRate: 1 / (2 * longest) }), loss: 'meanSquaredError' });
  model.setWeights([{ name: 'line/kernel', data: start }]);
  const path: Point[] = [start];
  const arrived = new AbortController();
  try {
    await model.fit(x, y, {
      epochs: Math.ceil(MOST_STEPS / ROWS),
      batchSize: 1,
      signal: arrived.signal,
      onBatch: () => {
        const [{ data }] = model.weights;
        path.push([data[0], data[1]]);
        if (distance([data[0], data[1]], TARGET) <= 0.1 * distance(start, TARGET)) arrived.abort();
      },
    });
  } catch (error) {
    if (error !== arrived.signal.reason) throw error;
  }
  model.dispose();
  return path;
}

const stepsOf = (path: readonly Point[]): Point[] => path.slice(1).map(([a, b], i) => [a - path[i][0], b - path[i][1]]);

/** Of the steps that move both weights. */
function sameSignShare(path: readonly Point[]): number {
  const moving = stepsOf(path).filter(([a, b]) => a !== 0 && b !== 0);
  return mean(moving.map(([a, b]) => (a > 0 === b > 0 ? 1 : 0)));
}

function lengthOverDisplacement(path: readonly Point[]): number {
  const length = stepsOf(path).reduce((sum, [a, b]) => sum + Math.hypot(a, b), 0);
  return length / distance(path[0], path[path.length - 1]);
}

/** Share of units whose incoming weights all get gradients of one sign, over single examples; in the first and the second layer. */
async function sameSignColumns(activation: 'tanh' | 'sigmoid', positive: boolean, rows: number, batch = 1): Promise<[number, number]> {
  const [inputs, units] = [8, 16];
  const { uniform } = random(7);
  const model = sequential({
    inputShape: [inputs],
    seed: 7,
    layers: [dense({ units, activation, name: 'first' }), dense({ units, activation, name: 'second' }), dense({ units: 1 })],
  });
  model.compile({ optimizer: sgd(), loss: 'meanSquaredError' });
  const shares: [number[], number[]] = [[], []];
  for (let row = 0; row < rows; row++) {
    const x = Array.from({ length: batch }, () => Array.from({ length: inputs }, () => (positive ? 0.5 : -0.5) + uniform()));
    const { weights } = await model.gradients(
      x,
      x.map(() => [2 * uniform() - 1]),
    );
    for (const [layer, name] of ['first/kernel', 'second/kernel'].entries()) {
      const gradient = weights.find((weight) => weight.name === name);
      if (!gradient) throw new Error(`no gradient of ${name}`);
      const [fanIn] = gradient.shape;
      const same = Array.from({ length: units }, (_, unit) => {
        const column = Array.from({ length: fanIn }, (__, input) => Math.sign(gradient.data[input * units + unit]));
        return column.every((sign) => sign === column[0]) ? 1 : 0;
      });
      shares[layer].push(mean(same));
    }
  }
  model.dispose();
  return [mean(shares[0]), mean(shares[1])];
}

/** The loss over a grid of weights. */
function contours(seed: number, centred: boolean): { xs: number[]; ys: number[]; values: number[][] } {
  const { x, y } = examples(seed, centred);
  const xs = Array.from({ length: 61 }, (_, i) => -1.5 + i * 0.07);
  const ys = Array.from({ length: 61 }, (_, i) => -0.7 + i * 0.07);
  const loss = (a: number, b: number): number =>
    mean(Array.from({ length: ROWS }, (_, row) => (a * x.data[2 * row] + b * x.data[2 * row + 1] - y.data[row]) ** 2));
  return { xs, ys, values: ys.map((b) => xs.map((a) => loss(a, b))) };
}

export const experiment: Experiment = {
  id: 3,
  title: 'Zig-zag: inputs that share a sign',
  claim:
    'The gradient of a unit’s incoming weights is δ times the layer’s input. If all inputs are positive, all incoming weights ' +
    'move the same way in a step, and a path that must raise one and lower the other zig-zags. Centred inputs do away with it.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 3 : 20);
    const arms = [
      { name: 'all-positive inputs', centred: false },
      { name: 'centred inputs', centred: true },
    ];
    const measured: { name: string; centred: boolean; paths: Point[][]; drawn: Point[] }[] = [];
    for (const { name, centred } of arms) {
      const paths: Point[][] = [];
      for (const seed of seeds) {
        // From all around, so that no direction of the start decides.
        const angle = (2 * Math.PI * (seed - 0.5)) / seeds.length;
        paths.push(await descend(seed, centred, [TARGET[0] + 2 * Math.cos(angle), TARGET[1] + 2 * Math.sin(angle)]));
      }
      measured.push({ name, centred, paths, drawn: await descend(1, centred, START) });
      note(`${name}: ${median(paths.map((path) => path.length - 1))} steps (median of ${seeds.length} starts)`);
    }
    const [positive, centred] = measured;
    const steps = measured.map(({ paths }) => median(paths.map((path) => path.length - 1)));
    const shares = measured.map(({ paths }) => paths.map(sameSignShare));
    const lengths = measured.map(({ drawn }) => lengthOverDisplacement(drawn));

    const examplesSeen = quick ? 50 : 400;
    const [positiveColumns] = await sameSignColumns('tanh', true, examplesSeen);
    const [centredColumns] = await sameSignColumns('tanh', false, examplesSeen);
    const [batchColumns] = await sameSignColumns('tanh', true, Math.ceil(examplesSeen / 8), 32);
    const [, aboveSigmoid] = await sameSignColumns('sigmoid', false, examplesSeen);
    const [, aboveTanh] = await sameSignColumns('tanh', false, examplesSeen);
    const chance = 2 ** -7;
    // 16 units of one example share its signs up to one factor: examples are independent, units are not.
    const margin = 4 * Math.sqrt((chance * (1 - chance)) / examplesSeen);

    const figures: Figure[] = [
      {
        label: 'two weights, all-positive inputs: share of steps that move both the same way',
        value: Math.min(...shares[0]),
        expected: 'exactly 1, at every seed',
        holds: shares[0].every((share) => share === 1),
      },
      { label: 'two weights, centred inputs: the same share', value: mean(shares[1]), expected: 'near ½, the chance level' },
      {
        label: 'steps to a tenth of the error, all-positive over centred inputs (medians)',
        value: steps[0] / steps[1],
        expected: 'about 9 = the ratio of the slowest rates; at least 3',
        ...(!quick && { holds: steps[0] / steps[1] >= 3 }),
      },
      {
        label: 'path over displacement of the drawn paths: all-positive, centred',
        value: `${lengths[0].toFixed(2)}, ${lengths[1].toFixed(2)}`,
        expected: 'the all-positive path is longer',
        holds: lengths[0] > lengths[1],
      },
      {
        label: '8 inputs, all positive: share of same-sign gradient columns, one example',
        value: positiveColumns,
        expected: 'exactly 1',
        holds: positiveColumns === 1,
      },
      {
        label: '8 inputs, centred: the same share',
        value: centredColumns,
        expected: `the chance level 2⁻⁷ = ${chance.toFixed(4)}, within ${margin.toFixed(4)} (4 standard errors)`,
        ...(!quick && { holds: Math.abs(centredColumns - chance) <= margin }),
      },
      {
        label: '8 inputs, all positive: the same share for batches of 32',
        value: batchColumns,
        expected: 'below 1: the examples’ δ may differ in sign',
        holds: batchColumns < 1,
      },
      {
        label: 'the layer above a sigmoid layer, centred inputs, one example',
        value: aboveSigmoid,
        expected: 'exactly 1: outputs of a sigmoid are all positive',
        holds: aboveSigmoid === 1,
      },
      {
        label: 'the layer above a tanh layer, centred inputs, one example',
        value: aboveTanh,
        expected: 'far below 1',
        holds: aboveTanh < 0.5,
      },
    ];
    return {
      paragraphs: [
        `One linear unit, two weights, mean squared error, ${ROWS} examples, one a step. All-positive inputs are U(0.5, 1.5); the centred ones are ` +
          'the same less their mean. The learning rate is 1/(2·max‖x‖²) in both.',
        `Steps are counted over ${seeds.length} seeds, each starting in another direction at distance 2 from the minimum. ` +
          'The drawn paths start where one weight must rise and the other fall.',
        `Gradient columns are those of a network of two layers of 16 units over ${examplesSeen} single examples.`,
      ],
      figures,
      charts: [positive, centred].map(({ name, centred: isCentred, drawn }) => ({
        type: 'path' as const,
        title: `Path of two weights: ${name}`,
        x: { label: 'weight 1' },
        y: { label: 'weight 2' },
        loss: contours(1, isCentred),
        paths: [{ name: `${drawn.length - 1} steps to a tenth of the error`, points: drawn }],
        caption: 'Contours: loss over all examples. Seed 1; each step follows one example.',
      })),
      conclusion:
        `With all-positive inputs every single step moved both weights the same way, and a path took ${(steps[0] / steps[1]).toFixed(1)} times as many steps. ` +
        `The share is exact for one example; in batches of 32 it was ${batchColumns.toFixed(2)}, since their δ may differ in sign. ` +
        'A sigmoid layer gives the next layer all-positive inputs however well the data were centred.' +
        (quick ? ` Too short to conclude how many steps: ${seeds.length} starts.` : ''),
    };
  },
};
