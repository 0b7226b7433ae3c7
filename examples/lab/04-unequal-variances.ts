// Experiment 4. One learning rate for all weights: the widest feature limits it, the narrowest waits for it.
import { dense, sequential, sgd, Standardizer, tensor, type TensorLike } from 'gradmill';
import type { Experiment, Figure } from '../../src/report/section.js';
import { normalRows } from './random.js';
import { band, mean, seedsUpTo, slope, standardDeviation } from './statistics.js';

const ROWS = 256;
/** Of the initial loss. */
const GOAL = 1e-3;
const MOST_STEPS = 20_000;

interface Examples {
  readonly x: TensorLike;
  readonly y: TensorLike;
  readonly scaling: Standardizer;
  readonly deviations: readonly number[];
}

/** Two features with standard deviations 1 and 1/√ratio that matter equally: t = x₁ + √ratio·x₂. */
function examples(seed: number, ratio: number): Examples {
  const drawn = normalRows(seed, ROWS, 2).data;
  const narrow = 1 / Math.sqrt(ratio);
  const columns = [0, 1].map((column) => {
    const values = Array.from({ length: ROWS }, (_, row) => drawn[2 * row + column] * (column === 0 ? 1 : narrow));
    const centre = mean(values);
    return values.map((value) => value - centre);
  });
  const x = Float64Array.from({ length: 2 * ROWS }, (_, i) => columns[i % 2][i >> 1]);
  const y = Float64Array.from({ length: ROWS }, (_, row) => columns[0][row] + columns[1][row] / narrow);
  const inputs = tensor(x, [ROWS, 2]);
  return {
    x: inputs,
    y: tensor(y, [ROWS, 1]),
    scaling: new Standardizer().fit(inputs),
    deviations: columns.map(standardDeviation),
  };
}

/** Eigenvalues of the loss's second derivative 2·XᵀX/rows: the largest, and its ratio to the smallest. */
function curvature({ x }: Examples, [s1, s2]: readonly number[]): { largest: number; condition: number } {
  let [a, b, c] = [0, 0, 0];
  for (let row = 0; row < ROWS; row++) {
    const [x1, x2] = [x.data[2 * row] / s1, x.data[2 * row + 1] / s2];
    a += (2 * x1 * x1) / ROWS;
    b += (2 * x1 * x2) / ROWS;
    c += (2 * x2 * x2) / ROWS;
  }
  const [middle, radius] = [(a + c) / 2, Math.hypot((a - c) / 2, b)];
  return { largest: middle + radius, condition: (middle + radius) / (middle - radius) };
}

/** Losses before each step of gradient descent over all rows at the rate 1/λmax, until the goal. */
async function descend(data: Examples, seed: number, inputScaling?: Standardizer): Promise<{ losses: number[]; condition: number }> {
  const { largest, condition } = curvature(data, inputScaling ? data.deviations : [1, 1]);
  const model = sequential({
    inputShape: [2],
    seed,
    ...(inputScaling && { inputScaling }),
    layers: [dense({ units: 1, useBias: false, kernelInitializer: 'zeros' })],
  });
  model.compile({ optimizer: sgd({ learningRate: 1 / largest }), loss: 'meanSquaredError' });
  const losses: number[] = [];
  while (losses.length < MOST_STEPS) {
    const { loss } = await model.fit(data.x, data.y, { epochs: 100, batchSize: ROWS, shuffle: false });
    const reached = loss.findIndex((value) => value <= GOAL * (losses[0] ?? loss[0]));
    losses.push(...(reached < 0 ? loss : loss.slice(0, reached + 1)));
    if (reached >= 0) break;
  }
  model.dispose();
  return { losses, condition };
}

export const experiment: Experiment = {
  id: 4,
  title: 'Unequal feature variances',
  claim:
    'Features of unequal variance want different learning rates; with one rate, the steps that gradient descent takes grow ' +
    'with the condition number of the inputs. Unit variance brings it to 1.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 1 : 5);
    const ratios = quick ? [1, 10, 100] : [1, 3, 10, 30, 100, 300, 1000];
    const raw: { condition: number; steps: number; seed: number }[] = [];
    const scaled: { condition: number; steps: number }[] = [];
    const rawSteps = seeds.map((): number[] => []);
    const scaledSteps = seeds.map((): number[] => []);
    let curves: { name: string; points: [number, number][] }[] = [];
    for (const ratio of ratios) {
      for (const [i, seed] of seeds.entries()) {
        const data = examples(seed, ratio);
        const as = await descend(data, seed);
        const standardised = await descend(data, seed, data.scaling);
        raw.push({ condition: as.condition, steps: as.losses.length - 1, seed });
        scaled.push({ condition: standardised.condition, steps: standardised.losses.length - 1 });
        rawSteps[i].push(as.losses.length - 1);
        scaledSteps[i].push(standardised.losses.length - 1);
        if (i === 0 && [1, 10, 100].includes(ratio))
          curves.push({ name: `variances 1 : ${ratio}`, points: as.losses.slice(0, 401).map((loss, step) => [step, loss / as.losses[0]]) });
        if (i === 0 && ratio === 100)
          curves = [
            ...curves,
            {
              name: 'variances 1 : 100, standardised',
              points: standardised.losses.map((loss, step) => [step, loss / standardised.losses[0]]),
            },
          ];
      }
      note(
        `variance ratio ${ratio}: ${mean(rawSteps.map((steps) => steps[steps.length - 1]))} steps as it is, ${mean(scaledSteps.map((steps) => steps[steps.length - 1]))} standardised`,
      );
    }
    // (1 − 1/κ)^2k of the narrow feature's half of the loss: k ≈ κ·ln(½/goal)/2 for large κ.
    const predicted = (condition: number): number => Math.log(0.5 / GOAL) / (-2 * Math.log(1 - 1 / condition));
    const steep = raw.filter(({ condition }) => condition >= 5);
    const exponent = slope(steep.map(({ condition, steps }) => [Math.log(condition), Math.log(steps)]));
    const worst = Math.max(...steep.map(({ condition, steps }) => Math.abs(steps / predicted(condition) - 1)));
    const mostScaled = Math.max(...scaled.map(({ steps }) => steps));
    const mostRaw = Math.max(...raw.map(({ steps }) => steps));

    const figures: Figure[] = [
      {
        label: 'steps grow as (condition number)^p: p, fitted over condition numbers from 5',
        value: exponent,
        expected: '1 ± 0.1',
        ...(!quick && { holds: Math.abs(exponent - 1) <= 0.1 }),
      },
      {
        label: 'steps against κ·ln(½/goal)/2: largest difference',
        value: 100 * worst,
        unit: '%',
        expected: 'at most 25 %: the narrow feature’s share of the loss is not exactly ½',
        ...(!quick && { holds: worst <= 0.25 }),
      },
      {
        label: `condition number of the rawest data (variances 1 : ${ratios[ratios.length - 1]}), mean over seeds`,
        value: mean(raw.slice(-seeds.length).map(({ condition }) => condition)),
      },
      { label: 'steps there, as it is (most of any seed)', value: mostRaw },
      {
        label: 'steps when standardised, any ratio (most of any seed)',
        value: mostScaled,
        expected: 'at most 10',
        holds: mostScaled <= 10,
      },
    ];
    return {
      paragraphs: [
        `A linear unit, two features of ${ROWS} rows that matter equally, full-batch gradient descent from 0 at the rate 1/λmax of the loss’s ` +
          `second derivative, until the loss is ${GOAL} of what it was. ${seeds.length} seed${seeds.length === 1 ? '' : 's'}. ` +
          'Standardised means the model’s inputScaling with a Standardizer fitted to the data.',
      ],
      figures,
      charts: [
        {
          type: 'lines',
          title: `Steps to ${GOAL} of the loss`,
          x: { label: 'ratio of the two variances', scale: 'log' },
          y: { label: 'steps', scale: 'log' },
          series: [
            band('as it is', ratios, rawSteps),
            band('standardised', ratios, scaledSteps),
            { name: 'κ·ln(½/goal)/2', points: ratios.filter((ratio) => ratio >= 3).map((ratio) => [ratio, predicted(ratio)]) },
          ],
          caption: `Lines are means, bands the range over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}.`,
        },
        {
          type: 'lines',
          title: 'Loss by step',
          x: { label: 'step' },
          y: { label: 'loss over first loss', scale: 'log' },
          series: curves,
          caption: 'Seed 1; the first 400 steps.',
        },
      ],
      conclusion: quick
        ? `Too short to conclude how steps grow: one seed and ${ratios.length} ratios. Standardised data took at most ${mostScaled} step${mostScaled === 1 ? '' : 's'}.`
        : `Steps grow in proportion to the condition number (power ${exponent.toFixed(2)}): up to ${mostRaw} where standardised data take at most ${mostScaled}.`,
    };
  },
};
