// Experiment 9. Penalties that make weights leave: L1 and the group lasso reach exact zeros, L2 does not. Which units die, and
// which inputs.
import { dense, groupLasso, l1, l2, type Regularizer, sequential, sgd, tensor, type TensorLike } from 'gradmill';
import { deadUnits } from 'gradmill/diagnostics';
import type { Experiment, Figure } from '../../src/report/section.js';
import { random } from './random.js';
import { band, mean, seedsUpTo } from './statistics.js';

const [INPUTS, RELEVANT, UNITS] = [20, 5, 64];
const NOISE = 0.3;
const ROWS = 400;

/** Only the first five of twenty inputs matter: t = 2·sin x₁ + x₂·x₃ + |x₄| − x₅ + noise. */
function examples(seed: number, rows: number): { x: TensorLike; y: TensorLike } {
  const { normal } = random(seed);
  const x = Float32Array.from({ length: rows * INPUTS }, normal);
  const y = Float32Array.from({ length: rows }, (_, row) => {
    const [a, b, c, d, e] = x.subarray(row * INPUTS, row * INPUTS + RELEVANT);
    return 2 * Math.sin(a) + b * c + Math.abs(d) - e + NOISE * normal();
  });
  return { x: tensor(x, [rows, INPUTS]), y: tensor(y, [rows, 1]) };
}

interface Run {
  readonly testLoss: number;
  /** Share of both kernels that is exactly 0. */
  readonly zeros: number;
  /** Inputs whose outgoing weights are all exactly 0. */
  readonly cut: number[];
  /** Hidden units whose incoming or outgoing weights are all exactly 0. */
  readonly gone: boolean[];
  /** Norm of each unit's incoming weights times its outgoing one. */
  readonly contribution: number[];
  /** As deadUnits counts them, over the training rows. */
  readonly dead: number;
  /** Norm of each input's outgoing weights. */
  readonly inputNorms: number[];
  readonly kernel: number[][];
}

async function train(regularizer: Regularizer | undefined, seed: number, epochs: number): Promise<Run> {
  const kernelRegularizer = regularizer && { kernelRegularizer: regularizer };
  const model = sequential({
    inputShape: [INPUTS],
    seed,
    layers: [
      dense({ units: UNITS, activation: 'relu', kernelInitializer: 'heNormal', name: 'hidden', ...kernelRegularizer }),
      dense({ units: 1, name: 'output', ...kernelRegularizer }),
    ],
  });
  // Plain gradient steps: with them the proximal step solves exactly the penalised problem.
  model.compile({ optimizer: sgd({ learningRate: 0.02 }), loss: 'meanSquaredError' });
  const data = examples(seed, ROWS);
  await model.fit(data.x, data.y, { epochs, batchSize: 20 });
  const test = examples(1000, 2000);
  const { loss } = await model.evaluate(test.x, test.y);
  const dead = (await deadUnits(model, data.x)).find(({ layer }) => layer === 'hidden');
  const [hidden, output] = ['hidden', 'output'].map((name) => {
    const kernel = model.weights.find((weight) => weight.name === `${name}/kernel`);
    if (!kernel) throw new Error(`no kernel of ${name}`);
    return kernel.data;
  });
  model.dispose();
  const row = (input: number): Float32Array => hidden.subarray(input * UNITS, (input + 1) * UNITS);
  const inputs = Array.from({ length: INPUTS }, (_, input) => input);
  const incoming = Array.from({ length: UNITS }, (_, unit) => Math.hypot(...inputs.map((input) => hidden[input * UNITS + unit])));
  const contribution = incoming.map((norm, unit) => norm * Math.abs(output[unit]));
  const gone = incoming.map((norm, unit) => norm === 0 || output[unit] === 0);
  return {
    testLoss: loss,
    zeros: ([...hidden, ...output].filter((weight) => weight === 0).length) / (hidden.length + output.length), // prettier-ignore
    cut: inputs.filter((input) => row(input).every((weight) => weight === 0)),
    gone,
    contribution,
    dead: (dead?.dead ?? 0) / UNITS,
    inputNorms: inputs.map((input) => Math.hypot(...row(input))),
    kernel: inputs.map((input) => [...row(input)]),
  };
}

const shareGone = ({ gone }: Run): number => mean(gone.map(Number));

export const experiment: Experiment = {
  id: 9,
  title: 'Regularise to prune',
  claim:
    'An L1 penalty sets weights to exactly 0, and a group lasso whole units; L2 makes weights small and none of them 0. ' +
    'The units that die are those that would have contributed least.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 1 : 5);
    const epochs = quick ? 20 : 200;
    const lambdas = quick ? [0, 1e-2] : [0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 2e-1, 4e-1];
    const penalties = [
      { name: 'L1', make: l1 },
      { name: 'group lasso', make: groupLasso },
      { name: 'L2', make: l2 },
    ];
    const runs: Run[][][] = []; // [penalty][λ][seed]
    for (const { name, make } of penalties) {
      const byLambda: Run[][] = [];
      for (const lambda of lambdas) {
        const ofLambda: Run[] = [];
        for (const seed of seeds) ofLambda.push(await train(lambda === 0 ? undefined : make(lambda), seed, epochs));
        byLambda.push(ofLambda);
      }
      runs.push(byLambda);
      note(`${name}: ${lambdas.length} strengths, ${seeds.length} seed${seeds.length === 1 ? '' : 's'}`);
    }
    const [lasso, grouped, ridge] = runs;
    const lossAt = (byLambda: Run[][], i: number): number => mean(byLambda[i].map(({ testLoss }) => testLoss));
    const bestOf = (byLambda: Run[][]): number =>
      lambdas.reduce((best, _, i) => (lossAt(byLambda, i) < lossAt(byLambda, best) ? i : best), 0);
    const best = bestOf(lasso);
    const chosen = lasso[best];
    const isRelevant = (input: number): boolean => input < RELEVANT;
    // How much larger the weights of inputs that matter are.
    const contrast = ({ inputNorms }: Run): number => mean(inputNorms.slice(0, RELEVANT)) / mean(inputNorms.slice(RELEVANT));
    const sharper = Math.min(...chosen.map((run, seed) => contrast(run) / contrast(lasso[0][seed])));
    const mostCut = Math.max(...chosen.map(({ cut }) => cut.filter(isRelevant).length));
    const lost = Array.from({ length: RELEVANT }, (_, input) => ({
      input,
      runs: lasso.flat().filter(({ cut }) => cut.includes(input)).length,
    })).filter(({ runs: count }) => count > 0);
    const leftBehind = lasso
      .flat()
      .filter(({ cut }) => cut.some(isRelevant))
      .map(({ cut }) => INPUTS - RELEVANT - cut.filter((input) => !isRelevant(input)).length);
    // The same seed makes the same units: what those that L1 removes contribute where nothing is penalised, over those that stay.
    const weaker = chosen.map(({ gone }, seed) => {
      const { contribution } = lasso[0][seed];
      return mean(contribution.filter((_, unit) => gone[unit])) / mean(contribution.filter((_, unit) => !gone[unit]));
    });
    const ridgeZeros = Math.max(...ridge.flatMap((ofLambda) => ofLambda.map(({ zeros }) => zeros)));
    const mostGone = Math.max(...grouped.map((ofLambda) => mean(ofLambda.map(shareGone))));
    const bestGrouped = bestOf(grouped);

    const figures: Figure[] = [
      { label: 'L1: strength with the best test loss (of means over seeds)', value: lambdas[best] },
      {
        label: 'L1: test loss there, and without a penalty',
        value: `${lossAt(lasso, best).toFixed(4)}, ${lossAt(lasso, 0).toFixed(4)}`,
        expected: `better with it, and not below the noise’s ${(NOISE * NOISE).toFixed(2)}`,
        ...(!quick && { holds: best > 0 && lossAt(lasso, best) >= NOISE * NOISE }),
      },
      {
        label: 'L1: share of weights exactly 0 there, mean over seeds',
        value: mean(chosen.map(({ zeros }) => zeros)),
        expected: 'at least half',
        ...(!quick && { holds: mean(chosen.map(({ zeros }) => zeros)) >= 0.5 }),
      },
      {
        label: 'L1: weights of inputs that matter over those of the others (norms): without a penalty, there',
        value: [lasso[0], chosen].map((ofLambda) => mean(ofLambda.map(contrast)).toFixed(1)).join(', '),
        expected: 'larger with L1, at every seed',
        ...(!quick && { holds: sharper > 1 }),
      },
      {
        label: `L1: of the ${RELEVANT} inputs that matter, cut off there (most of any seed)`,
        value: mostCut,
        expected: '0',
        ...(!quick && { holds: mostCut === 0 }),
      },
      {
        label: 'L1: inputs that matter cut off at any strength',
        value: lost.map(({ input, runs: count }) => `x${input + 1} in ${count} run${count === 1 ? '' : 's'}`).join(', ') || 'none',
      },
      {
        label: `L1: of the ${INPUTS - RELEVANT} others, not yet cut off in those runs (most of any)`,
        value: leftBehind.length > 0 ? Math.max(...leftBehind) : 'no such run',
      },
      {
        label: 'L1: what the units that die contribute without a penalty, over those that stay, mean over seeds',
        value: mean(weaker),
        expected: 'less than 1, at every seed',
        ...(!quick && { holds: Math.max(...weaker) < 1 }),
      },
      {
        label: 'L2: largest share of weights exactly 0, at any strength and seed',
        value: ridgeZeros,
        expected: 'at most 0.1 %: small is not 0',
        holds: ridgeZeros <= 0.001,
      },
      {
        label: 'L1: units gone (all incoming or all outgoing weights 0) at its best test loss, mean over seeds',
        value: 100 * mean(chosen.map(shareGone)),
        unit: '% of the units',
      },
      {
        label: 'group lasso: units gone at its best test loss, mean over seeds',
        value: 100 * mean(grouped[bestGrouped].map(shareGone)),
        unit: '% of the units',
      },
      {
        label: 'group lasso: most units gone at any strength, mean over seeds',
        value: 100 * mostGone,
        unit: '% of the units',
        expected: 'at least 50 %',
        ...(!quick && { holds: mostGone >= 0.5 }),
      },
      { label: 'group lasso: best test loss', value: lossAt(grouped, bestGrouped) },
      { label: 'L2: best test loss', value: lossAt(ridge, bestOf(ridge)) },
      ...penalties.map(({ name }, i) => ({
        label: `${name}: dead units as deadUnits counts them, by strength ${lambdas.join(', ')}`,
        value: runs[i].map((ofLambda) => mean(ofLambda.map(({ dead }) => dead)).toFixed(2)).join(', '), // prettier-ignore
      })),
    ];
    const positive = lambdas.filter((lambda) => lambda > 0);
    const offset = lambdas.length - positive.length;
    const x = { label: 'strength λ', scale: 'log' as const };
    const curve = (of: (run: Run) => number): ReturnType<typeof band>[] =>
      penalties.map(({ name }, i) =>
        band(
          name,
          positive,
          seeds.map((_, seed) => positive.map((__, at) => of(runs[i][at + offset][seed]))),
        ),
      );
    const norms = (from: number, to: number): number[][] =>
      seeds.flatMap((_, seed) =>
        Array.from({ length: to - from }, (__, input) => positive.map((___, at) => lasso[at + offset][seed].inputNorms[from + input])),
      );
    const caption = `Lines are means, bands the range over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}.`;
    return {
      paragraphs: [
        `${INPUTS} inputs, of which ${RELEVANT} matter: t = 2·sin x₁ + x₂·x₃ + |x₄| − x₅ + noise of deviation ${NOISE}. ${ROWS} training rows, ${UNITS} ReLU units, SGD 0.02, batches of 20, ${epochs} epochs, ` +
          `${seeds.length} seed${seeds.length === 1 ? '' : 's'}; test loss over 2,000 other rows. L1 and the group lasso (a group: a unit’s incoming weights) are proximal steps.`,
      ],
      figures,
      charts: [
        {
          type: 'lines',
          title: 'The L1 path of the inputs',
          x,
          y: { label: 'norm of an input’s outgoing weights' },
          series: [
            band(`the ${RELEVANT} that matter`, positive, norms(0, RELEVANT)),
            band('the others', positive, norms(RELEVANT, INPUTS)),
          ],
          caption: 'Lines are means, bands the range over inputs and seeds.',
        },
        {
          type: 'lines',
          title: 'Exact zeros',
          x,
          y: { label: 'share of weights exactly 0' },
          series: curve(({ zeros }) => zeros),
          caption,
        },
        { type: 'lines', title: 'Units gone', x, y: { label: 'share of hidden units' }, series: curve(shareGone), caption },
        {
          type: 'lines',
          title: 'Test loss',
          x,
          y: { label: 'mean squared error', scale: 'log' },
          series: curve(({ testLoss }) => testLoss),
          caption,
        },
        ...[0, best].map((i) => ({
          type: 'matrix' as const,
          title: i === 0 ? 'First kernel without a penalty' : `First kernel, L1 of ${lambdas[i]}`,
          values: lasso[i][0].kernel,
          x: { label: 'unit' },
          y: { label: 'input (the first five matter)' },
          diverging: true,
          caption: 'Seed 1.',
        })),
      ],
      conclusion: quick
        ? `Too short to conclude: one seed, ${epochs} epochs and two strengths.`
        : `At its best strength (${lambdas[best]}) L1 leaves ${(100 * (1 - mean(chosen.map(({ zeros }) => zeros)))).toFixed(0)} % of the weights and keeps every input that matters; ` +
          `L2 sets none to 0. The units that die are the weak ones (${mean(weaker).toFixed(2)} of the others’ contribution). ` +
          `But weights do not leave in the order of their inputs’ worth: most zeros are those of whole units` +
          (lost.length > 0
            ? `, and a strong penalty cuts ${lost.map(({ input }) => `x${input + 1}`).join(' and ')} off before all useless inputs are gone. `
            : '. ') +
          `The group lasso takes whole units: ${(100 * mean(grouped[bestGrouped].map(shareGone))).toFixed(0)} % of them at its best test loss, which structured pruning can then remove.`,
    };
  },
};
