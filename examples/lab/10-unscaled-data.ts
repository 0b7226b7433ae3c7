// Experiment 10. A table as people have them: years, square metres and incomes side by side. Why a network fails on it as it
// is, and how the doctor says so. The table is generated, so that its truth is known; the units are those of real ones.
import { parse } from 'csv-parse/sync';
import { dense, GradmillError, sequential, type Sequential, sgd, Standardizer, tensor, type TensorLike } from 'gradmill';
import { diagnose, type Finding, inputReport } from 'gradmill/diagnostics';
import type { Experiment, Figure } from '../../src/report/section.js';
import { orDiverged } from './divergence.js';
import { random } from './random.js';
import { band, mean, meanAndSpread, seedsUpTo, standardDeviation } from './statistics.js';

const COLUMNS = ['area_m2', 'rooms', 'year_built', 'distance_km', 'district_income', 'plot_m2'];
const TARGET = 'price_100k';
const ROWS = 1500;
const TRAINING = 1000;

/** Houses: price from size, age, district and distance, with noise of a tenth of its deviation. */
function houses(seed: number): string {
  const { uniform, normal } = random(seed);
  const lines = Array.from({ length: ROWS }, () => {
    const area = Math.round(45 + 180 * uniform() ** 1.5);
    const rooms = Math.max(1, Math.round(area / 28 + 0.7 * normal()));
    const year = Math.round(2022 - 110 * uniform() ** 1.3);
    const distance = Math.round(10 * (0.5 + 35 * uniform() ** 2)) / 10;
    const income = Math.round((55_000 + 18_000 * normal()) / 100) * 100;
    const plot = Math.round(area * (1.2 + 8 * uniform() ** 2));
    const price =
      0.4 +
      0.018 * area * (1 + 0.5 * Math.exp(-distance / 8)) +
      0.6 * Math.tanh((year - 1980) / 25) +
      ((income - 55_000) / 18_000) * (0.5 + 0.003 * area) +
      0.0004 * plot +
      0.15 * normal();
    return [area, rooms, year, distance, income, plot, Math.max(price, 0.2).toFixed(3)].join(',');
  });
  return [[...COLUMNS, TARGET].join(','), ...lines].join('\n');
}

interface Table {
  readonly x: TensorLike;
  readonly y: TensorLike;
  readonly testX: TensorLike;
  readonly testY: TensorLike;
  /** Of the training rows. */
  readonly scaling: Standardizer;
  readonly testVariance: number;
}

function read(csv: string): Table {
  const records = parse<Record<string, number>>(csv, { columns: true, cast: true });
  const matrix = (rows: Record<string, number>[], names: readonly string[]): TensorLike =>
    tensor(Float64Array.from(rows.flatMap((row) => names.map((name) => row[name]))), [rows.length, names.length]);
  const [training, test] = [records.slice(0, TRAINING), records.slice(TRAINING)];
  const x = matrix(training, COLUMNS);
  return {
    x,
    y: matrix(training, [TARGET]),
    testX: matrix(test, COLUMNS),
    testY: matrix(test, [TARGET]),
    scaling: new Standardizer().fit(x),
    testVariance: standardDeviation(test.map((row) => row[TARGET])) ** 2,
  };
}

function network(seed: number, learningRate: number, inputScaling?: Standardizer): Sequential {
  const model = sequential({
    inputShape: [COLUMNS.length],
    seed,
    ...(inputScaling && { inputScaling }),
    layers: [
      ...[32, 32].map((units) => dense({ units, activation: 'tanh', kernelInitializer: 'glorotNormal' })),
      dense({ units: 1, kernelInitializer: 'glorotNormal' }),
    ],
  });
  model.compile({ optimizer: sgd({ learningRate }), loss: 'meanSquaredError' });
  return model;
}

/** Share of the test prices' variance that the model explains; of one that stopped being finite: undefined. */
async function explained(
  table: Table,
  seed: number,
  learningRate: number,
  epochs: number,
  scaling?: Standardizer,
): Promise<number | undefined> {
  const model = network(seed, learningRate, scaling);
  const share = await orDiverged(model, async () => {
    await model.fit(table.x, table.y, { epochs, batchSize: 20 });
    const { loss } = await model.evaluate(table.testX, table.testY);
    return 1 - loss / table.testVariance;
  });
  return share instanceof GradmillError ? undefined : share;
}

export const experiment: Experiment = {
  id: 10,
  title: 'Real data: a table that was not scaled',
  claim:
    'A table whose columns have the units they came in does not train, at any learning rate; standardised, it does. ' +
    'The doctor finds the reason before the first epoch.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 1 : 5);
    const epochs = quick ? 5 : 60;
    const rates = quick ? [1e-2] : [1e-5, 1e-4, 1e-3, 1e-2, 1e-1];
    const arms = [{ name: 'as it came' }, { name: 'standardised' }];
    const shares: number[][][] = arms.map(() => []); // [arm][rate][seed]; a run that was not finite explains nothing: 0
    const findings: Finding[][][] = arms.map(() => []); // [arm][seed]
    let conditions: { raw: number; standardized: number } | undefined;
    for (const [arm, { name }] of arms.entries()) {
      for (const rate of rates) {
        const ofRate: number[] = [];
        for (const seed of seeds) {
          const table = read(houses(seed));
          ofRate.push((await explained(table, seed, rate, epochs, arm === 1 ? table.scaling : undefined)) ?? 0);
        }
        shares[arm].push(ofRate);
      }
      for (const seed of seeds) {
        const table = read(houses(seed));
        const model = network(seed, 1e-2, arm === 1 ? table.scaling : undefined);
        findings[arm].push(await diagnose(model, table.x, table.y, { columns: COLUMNS, seconds: quick ? 0 : 2 }));
        model.dispose();
        conditions ??= (await inputReport(table.x)).conditionNumber;
      }
      note(`${name}: explains ${shares[arm].map((ofRate) => mean(ofRate).toFixed(2)).join(', ')} at rates ${rates.join(', ')}`);
    }
    const best = shares.map((byRate) => byRate.reduce((top, ofRate) => (mean(ofRate) > mean(top) ? ofRate : top)));
    const has = (arm: number, code: Finding['code']): number[] =>
      findings[arm].map((list) => (list.some((finding) => finding.code === code) ? 1 : 0));
    const [sick] = findings[0];
    const named = sick.find(({ code }) => code === 'unscaled-inputs');
    const gap = Math.min(...best[1].map((share, i) => share - best[0][i]));
    const figures: Figure[] = [
      {
        label: 'condition number of the inputs, as they came',
        value: conditions?.raw ?? NaN,
        expected: 'above 1e6: it limits gradient descent',
        holds: (conditions?.raw ?? 0) > 1e6,
      },
      {
        label: 'condition number, standardised',
        value: conditions?.standardized ?? NaN,
        expected: 'below 100',
        holds: (conditions?.standardized ?? Infinity) < 100,
      },
      {
        label: `as it came: share of the variance of test prices explained, best of ${rates.length} learning rates`,
        value: meanAndSpread(best[0]),
        expected: 'less than ½',
        ...(!quick && { holds: mean(best[0]) < 0.5 }),
      },
      {
        label: `standardised: the same`,
        value: meanAndSpread(best[1]),
        expected: 'more than 0.9',
        ...(!quick && { holds: mean(best[1]) > 0.9 }),
      },
      { label: 'what standardising adds, least of any seed', value: gap, expected: 'at least 0.3', ...(!quick && { holds: gap >= 0.3 }) },
      {
        label: "runs where the doctor finds 'unscaled-inputs' before training, as it came",
        value: `${has(0, 'unscaled-inputs').reduce((a, b) => a + b, 0)} of ${seeds.length}`,
        expected: 'all',
        holds: has(0, 'unscaled-inputs').every(Boolean),
      },
      {
        label: "runs where the doctor finds 'unscaled-inputs', standardised",
        value: `${has(1, 'unscaled-inputs').reduce((a, b) => a + b, 0)} of ${seeds.length}`,
        expected: 'none',
        holds: !has(1, 'unscaled-inputs').some(Boolean),
      },
      { label: 'what the doctor says first, as it came', value: sick[0]?.code ?? 'nothing' },
      {
        label: 'what the doctor says at all, standardised',
        value: [...new Set(findings[1].flat().map(({ code }) => code))].join(', ') || 'nothing',
      },
    ];
    return {
      paragraphs: [
        `${ROWS} generated houses a seed (${COLUMNS.join(', ')}; target: the price in 100,000s), ${TRAINING} of them to train on, read from CSV. Two tanh layers of 32 units, SGD, batches of 20, ${epochs} epochs, ` +
          `${seeds.length} seed${seeds.length === 1 ? '' : 's'} with a table each. A run that stops being finite explains nothing.`,
        ...(named ? [`The doctor: ${named.message}. ${named.advice} ${named.theory}`] : []),
        'The same from the command line: gradmill doctor houses.csv --target price_100k.',
      ],
      figures,
      charts: [
        {
          type: 'lines',
          title: 'What the network learned, by learning rate',
          x: { label: 'learning rate', scale: 'log' },
          y: { label: 'share of the test variance explained' },
          series: arms.map(({ name }, arm) =>
            band(
              name,
              rates,
              seeds.map((_, seed) => shares[arm].map((ofRate) => Math.max(ofRate[seed], -0.5))),
            ),
          ),
          caption: `Lines are means, bands the range over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}; below −½ drawn there.`,
        },
      ],
      conclusion: quick
        ? `Too short to conclude how well either trains: one seed, ${epochs} epochs, one rate. The doctor found the reason before the first epoch.`
        : `No learning rate mends a table of unequal columns: ${mean(best[0]).toFixed(2)} of the variance explained at best, ${mean(best[1]).toFixed(2)} once it is standardised. ` +
          'The doctor names the columns in all runs before the first epoch, and is silent about the standardised table.',
    };
  },
};
