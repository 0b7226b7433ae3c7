// Experiment 5. Units with the same incoming and the same outgoing weights get the same gradients: they stay one unit for ever.
import { adam, constant, dense, glorotUniform, type Initializer, sequential, tensor, type TensorLike } from 'gradmill';
import { duplicateUnits } from 'gradmill/diagnostics';
import type { Experiment, Figure } from '../../src/report/section.js';
import { normalRows } from './random.js';
import { band, mean, meanAndSpread, seedsUpTo } from './statistics.js';

const [ROWS, INPUTS, UNITS, CLASSES, STEPS] = [256, 20, 32, 4, 50];

/** Which of four random linear functions is largest: more than one unit is needed. */
function examples(seed: number, rows: number): { x: TensorLike; y: TensorLike } {
  const x = normalRows(seed, rows, INPUTS);
  const teacher = normalRows(99, INPUTS, CLASSES).data;
  const y = Uint8Array.from({ length: rows }, (_, row) => {
    const scores = Array.from({ length: CLASSES }, (__, label) => {
      let score = 0;
      for (let i = 0; i < INPUTS; i++) score += x.data[row * INPUTS + i] * teacher[i * CLASSES + label];
      return score;
    });
    return scores.indexOf(Math.max(...scores));
  });
  return { x, y: tensor(y, [rows]) };
}

const VALUE = 0.1;
const ARMS: readonly (readonly [name: string, first: Initializer, others: Initializer])[] = [
  ['the whole net constant', constant({ value: VALUE }), constant({ value: VALUE })],
  ['first layer constant, the rest random', constant({ value: VALUE }), glorotUniform()],
  ['all random', glorotUniform(), glorotUniform()],
];

interface Kernel {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Largest difference between two columns (units' incoming weights) in any row: 0 when all units are the same. */
function columnSpread({ shape: [rows, columns], data }: Kernel): number {
  let spread = 0;
  for (let row = 0; row < rows; row++) {
    const values = data.subarray(row * columns, (row + 1) * columns);
    spread = Math.max(spread, Math.max(...values) - Math.min(...values));
  }
  return spread;
}

/** The same of rows: units' outgoing weights. */
function rowSpread({ shape: [rows, columns], data }: Kernel): number {
  const transposed = Float32Array.from({ length: data.length }, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]);
  return columnSpread({ shape: [columns, rows], data: transposed });
}

function distinctColumns({ shape: [rows, columns], data }: Kernel): number {
  const column = (c: number): string => Array.from({ length: rows }, (_, row) => data[row * columns + c]).join(' ');
  return new Set(Array.from({ length: columns }, (_, c) => column(c))).size;
}

interface Trained {
  /** After each of the first steps, of the first kernel. */
  readonly spreads: number[];
  readonly first: Kernel;
  readonly second: Kernel;
  readonly last: Kernel;
  /** Hidden units, of both layers, that duplicateUnits says can never part from another. */
  readonly inseparable: number;
  readonly accuracy: number;
}

async function train([, first, others]: (typeof ARMS)[number], seed: number, steps: number): Promise<Trained> {
  const model = sequential({
    inputShape: [INPUTS],
    seed,
    layers: [
      dense({ units: UNITS, activation: 'tanh', kernelInitializer: first, name: 'first' }),
      dense({ units: UNITS, activation: 'tanh', kernelInitializer: others, name: 'second' }),
      dense({ units: CLASSES, kernelInitializer: others, name: 'last' }),
    ],
  });
  model.compile({ optimizer: adam({ learningRate: 0.01 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
  const { x, y } = examples(seed, ROWS);
  const kernel = (name: string): Kernel => {
    const found = model.weights.find((weight) => weight.name === `${name}/kernel`);
    if (!found) throw new Error(`no kernel of ${name}`);
    return found;
  };
  const spreads: number[] = [];
  await model.fit(x, y, { epochs: STEPS, batchSize: ROWS, onEpoch: () => spreads.push(columnSpread(kernel('first'))) });
  const kernels = { first: kernel('first'), second: kernel('second'), last: kernel('last') };
  const duplicates = await duplicateUnits(model);
  const inseparable = duplicates.flatMap((layer) => layer.inseparable).reduce((units, group) => units + group.length, 0);
  if (steps > STEPS) await model.fit(x, y, { epochs: steps - STEPS, batchSize: ROWS });
  const test = examples(1000, 2000);
  const { accuracy = NaN } = await model.evaluate(test.x, test.y);
  model.dispose();
  return { spreads, ...kernels, inseparable, accuracy };
}

const rowsOf = ({ shape: [rows, columns], data }: Kernel): number[][] =>
  Array.from({ length: rows }, (_, row) => [...data.subarray(row * columns, (row + 1) * columns)]);

export const experiment: Experiment = {
  id: 5,
  title: 'Identical weights',
  claim:
    'Units that start with identical incoming and outgoing weights get identical gradients and never part: a net of constants ' +
    'is as good as one unit a layer. A constant layer under a random one is not lost: its units have different outgoing weights.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 1 : 5);
    const steps = quick ? STEPS : 400;
    const arms: { name: string; runs: Trained[] }[] = [];
    for (const arm of ARMS) {
      const runs: Trained[] = [];
      for (const seed of seeds) runs.push(await train(arm, seed, steps));
      arms.push({ name: arm[0], runs });
      note(`${arm[0]}: accuracy ${meanAndSpread(runs.map(({ accuracy }) => accuracy))}`);
    }
    const [constants, oneLayer, random] = arms.map(({ runs }) => runs);
    const accuracies = [constants, oneLayer, random].map((runs) => runs.map(({ accuracy }) => accuracy));
    const most = (runs: Trained[], of: (run: Trained) => number): number => Math.max(...runs.map(of));
    const zero = (label: string, value: number): Figure => ({ label, value, expected: 'exactly 0', holds: value === 0 });
    const gap = Math.min(...accuracies[2].map((accuracy, i) => accuracy - accuracies[0][i]));
    const leastSpread = Math.min(...oneLayer.map(({ first }) => columnSpread(first)));
    const leastDistinct = Math.min(...oneLayer.map(({ first }) => distinctColumns(first)));

    const figures: Figure[] = [
      zero(
        `whole net constant: column spread of the first kernel after ${STEPS} steps`,
        most(constants, ({ first }) => columnSpread(first)),
      ),
      zero(
        `whole net constant: column spread of the second kernel after ${STEPS} steps`,
        most(constants, ({ second }) => columnSpread(second)),
      ),
      zero(
        `whole net constant: row spread of the last kernel after ${STEPS} steps`,
        most(constants, ({ last }) => rowSpread(last)),
      ),
      {
        label: `first layer constant, the rest random: column spread of the first kernel after ${STEPS} steps (least of any seed)`,
        value: leastSpread,
        expected: 'more than 0',
        holds: leastSpread > 0,
      },
      {
        label: 'first layer constant, the rest random: different units of 32 (least of any seed)',
        value: leastDistinct,
        expected: `all ${UNITS}`,
        holds: leastDistinct === UNITS,
      },
      ...arms.map(({ name, runs }, i) => {
        const [expected, found] = [i === 0 ? 2 * UNITS : 0, runs.map(({ inseparable }) => inseparable)];
        return {
          label: `${name}: hidden units that duplicateUnits says can never part, of ${2 * UNITS}`,
          value: [...new Set(found)].join(', '),
          expected: `${expected}, at every seed`,
          holds: found.every((units) => units === expected),
        };
      }),
      ...arms.map(({ name }, i) => ({ label: `test accuracy after ${steps} steps: ${name}`, value: meanAndSpread(accuracies[i]) })),
      {
        label: 'accuracy that the net of constants lacks, least of any seed',
        value: gap,
        expected: 'at least 0.1',
        ...(!quick && { holds: gap >= 0.1 }),
      },
    ];
    return {
      paragraphs: [
        `${INPUTS} inputs, two tanh layers of ${UNITS} units, ${CLASSES} classes (which of four random linear functions is largest); ${ROWS} training rows, Adam 0.01, ` +
          `full batch, constants ${VALUE}; ${seeds.length} seed${seeds.length === 1 ? '' : 's'}; accuracy on 2,000 other rows.`,
        'The classes tell the output units apart from the first step: so it is the rows of the last kernel, the outgoing weights of the units below, that stay identical.',
      ],
      figures,
      charts: [
        ...arms.map(({ name, runs: [run] }) => ({
          type: 'matrix' as const,
          title: `First kernel after ${STEPS} steps: ${name}`,
          values: rowsOf(run.first),
          x: { label: 'unit' },
          y: { label: 'input' },
          diverging: true,
          caption: 'Seed 1. Identical columns are identical units.',
        })),
        {
          type: 'lines',
          title: 'How the first layer’s units part',
          x: { label: 'step' },
          y: { label: 'column spread of the first kernel' },
          series: arms.map(({ name, runs }) =>
            band(
              name,
              runs[0].spreads.map((_, i) => i + 1),
              runs.map(({ spreads }) => spreads),
            ),
          ),
          caption: `Lines are means, bands the range over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}.`,
        },
        {
          type: 'bars',
          title: `Test accuracy after ${steps} steps`,
          x: { label: 'initial weights' },
          y: { label: 'accuracy' },
          groups: [
            {
              name: '',
              values: arms.map(({ name }, i) => ({
                label: name,
                value: mean(accuracies[i]),
                low: Math.min(...accuracies[i]),
                high: Math.max(...accuracies[i]),
              })),
            },
          ],
        },
      ],
      conclusion:
        `After ${STEPS} steps the units of the constant net are equal to the last bit, and those of the constant layer under random ones are all different.` +
        (quick
          ? ' Too short to conclude what it costs: one seed.'
          : ` The net of constants lacks at least ${(100 * gap).toFixed(0)} points of accuracy; the one with a constant layer ended ` +
            `at ${(100 * mean(accuracies[1])).toFixed(1)} %, all random at ${(100 * mean(accuracies[2])).toFixed(1)} %: one constant layer alone does no harm here.`),
    };
  },
};
