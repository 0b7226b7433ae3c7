// What structured pruning saves: LeNet-300-100 with more and more of its hidden units dead, as it is and without them. Masks
// alone save no time: a product multiplies by zeros as by any other number.
import { adam, dense, sequential, type Sequential } from '../src/index.js';
import { removableUnits, removeUnits } from '../src/pruning/index.js';
import { tensor } from '../src/tensor.js';
import { print, printTable, show } from './report.js';
import { type Quartiles, type Variant, quartiles, repeated, takeTurns } from './slices.js';

const HIDDEN = [300, 100];
const ROWS = 256;
const BATCH = 64;

/** Every unit but each `every`-th is never active. */
function withDeadUnits(every: number): Sequential {
  const layers = [...HIDDEN.map((units) => dense({ units, activation: 'relu' as const })), dense({ units: 10 })];
  const model = sequential({ inputShape: [784], seed: 1, layers });
  model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
  HIDDEN.forEach((units, i) => {
    const data = Float32Array.from({ length: units }, (_, unit) => (unit % every === 0 ? 10 : -1e6));
    model.setWeights([{ name: `dense${i + 1}/bias`, data }]);
  });
  return model;
}

export interface PruningRow {
  /** Of both hidden layers. */
  readonly units: string;
  readonly weights: number;
  /** Of a prediction of 256 rows, and of a training step of 64. */
  readonly predictMicroseconds: Quartiles;
  readonly stepMicroseconds: Quartiles;
}

export async function pruning(options: { readonly rounds: number; readonly seconds: number }): Promise<PruningRow[]> {
  const x = tensor(
    Float32Array.from({ length: ROWS * 784 }, (_, i) => ((i * 37) % 101) / 101),
    [ROWS, 784],
  );
  const y = Int32Array.from({ length: ROWS }, (_, i) => i % 10);
  const out = new Float32Array(ROWS * 10);
  const models: { readonly units: string; readonly weights: number }[] = [];
  const variants: Variant[] = [];
  for (const every of [1, 2, 4, 8]) {
    const whole = withDeadUnits(every);
    const model = await removeUnits(whole, await removableUnits(whole, x));
    const [before, after] = [await whole.predict(x), await model.predict(x)];
    if (before.data.some((value, i) => value !== after.data[i])) throw new Error('removing dead units has changed an output');
    whole.dispose();
    const { weights } = model;
    const units = `${weights[0].shape[1]}-${weights[2].shape[1]}`;
    models.push({ units, weights: weights.reduce((all, { data }) => all + data.length, 0) });
    const predict = (calls: number): Promise<void> => {
      for (let call = 0; call < calls; call++) model.predictSync(x, { out });
      return Promise.resolve();
    };
    const train = async (epochs: number): Promise<void> => {
      await model.fit(x, y, { batchSize: BATCH, epochs });
    };
    const [prediction, epoch] = [repeated(predict), repeated(train)];
    variants.push({ name: `predict ${units}`, slice: async (seconds) => (await prediction(seconds)) * 1e6 });
    variants.push({ name: `step ${units}`, slice: async (seconds) => ((await epoch(seconds)) * 1e6 * BATCH) / ROWS });
  }
  const figures = await takeTurns(variants, options);
  const rows = models.map(({ units, weights }) => ({
    units,
    weights,
    predictMicroseconds: quartiles(figures.get(`predict ${units}`) ?? []),
    stepMicroseconds: quartiles(figures.get(`step ${units}`) ?? []),
  }));
  const [{ predictMicroseconds: predictAll, stepMicroseconds: stepAll }] = rows;
  print('\nLeNet-300-100 without its dead units, in µs: median (and share of the whole network); outputs have the same bits');
  printTable([
    ['units', 'weights', 'prediction of 256 rows', '', 'step of 64 rows', ''],
    ...rows.map(({ units, weights, predictMicroseconds: predict, stepMicroseconds: step }) => [
      units,
      weights.toLocaleString('en'),
      show(predict.median),
      `${Math.round((100 * predict.median) / predictAll.median)} %`,
      show(step.median),
      `${Math.round((100 * step.median) / stepAll.median)} %`,
    ]),
  ]);
  return rows;
}
