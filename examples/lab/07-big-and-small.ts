// Experiment 7. The same task for networks of growing width: how fast they learn, how many units do nothing, and how many of
// those that do something could go.
import { adam, dense, heNormal, sequential, type Sequential } from 'gradmill';
import { deadUnits } from 'gradmill/diagnostics';
import { removeUnits } from 'gradmill/pruning';
import type { Experiment, Figure } from '../../src/report/section.js';
import { type Digits, digits } from './digits.js';
import { band, mean, meanAndSpread, seedsUpTo, standardDeviation, standardError } from './statistics.js';

const HIDDEN = ['hidden1', 'hidden2'];
const RATES = [1e-3, 1e-2];
/** Accuracy that removal may cost. */
const PRICE = 0.01;

interface Run {
  readonly trainingLoss: number;
  readonly accuracy: number;
  /** Share of the hidden units that are never active on the training rows, and of all four classes. */
  readonly neverActive: number;
  readonly dead: number;
  /** Largest share of each hidden layer that can be removed for PRICE of accuracy, the least important units first. */
  readonly removable: number;
}

/** Spread of each unit's output over rows, times the norm of its outgoing weights, by layer. */
async function importance(model: Sequential, data: Digits): Promise<number[][]> {
  const weights = new Map(model.weights.map((weight) => [weight.name, weight]));
  const result: number[][] = [];
  for (const [layer, name] of HIDDEN.entries()) {
    const units = weights.get(`${name}/bias`)?.data.length ?? 0;
    // The same network up to this layer.
    const head = sequential({
      inputShape: [784],
      inputScaling: data.inputScaling,
      layers: HIDDEN.slice(0, layer + 1).map((one) => dense({ units, activation: 'relu', name: one })),
    });
    head.setWeights([...weights.values()].filter((weight) => HIDDEN.slice(0, layer + 1).some((one) => weight.name.startsWith(`${one}/`))));
    const { data: outputs, shape: [rows] } = await head.predict(data.x); // prettier-ignore
    head.dispose();
    const next = weights.get(`${HIDDEN[layer + 1] ?? 'output'}/kernel`);
    if (!next) throw new Error('the network has no next layer');
    const columns = next.shape[1];
    result.push(
      Array.from({ length: units }, (_, unit) => {
        const given = Float64Array.from({ length: rows }, (__, row) => outputs[row * units + unit]);
        return standardDeviation(given) * Math.hypot(...next.data.subarray(unit * columns, (unit + 1) * columns));
      }),
    );
  }
  return result;
}

async function removableShare(model: Sequential, data: Digits, accuracy: number): Promise<number> {
  const ranked = (await importance(model, data)).map((values) =>
    values.map((value, unit) => ({ value, unit })).sort((a, b) => a.value - b.value),
  );
  const works = async (share: number): Promise<boolean> => {
    const gone = ranked.map((units) =>
      units.slice(0, Math.min(Math.round(share * units.length), units.length - 1)).map(({ unit }) => unit),
    );
    const small = await removeUnits(model, Object.fromEntries(HIDDEN.map((name, layer) => [name, gone[layer]])), { fold: data.x });
    const left = (await small.evaluate(data.testX, data.testY)).accuracy ?? 0;
    small.dispose();
    return left >= accuracy - PRICE;
  };
  // In steps of 5 %, from the bottom: removing more may by chance cost less, and that would not be a promise.
  let share = 0;
  while (share < 0.95 && (await works(share + 0.05))) share = Math.round(100 * (share + 0.05)) / 100;
  return share;
}

export const experiment: Experiment = {
  id: 7,
  title: 'Big and small networks, dead units',
  claim: 'A big network trains more easily than a small one, and many of its units end up useless: dead, or so weak that they can go.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 1 : 5);
    const widths = quick ? [4, 64] : [4, 16, 64, 256, 512];
    const [rows, epochs] = quick ? [1000, 1] : [5000, 5];
    const data = await digits(rows, quick ? 1000 : 5000);

    const train = async (units: number, learningRate: number, seed: number): Promise<Run> => {
      const model = sequential({
        inputShape: [784],
        seed,
        inputScaling: data.inputScaling,
        layers: [
          ...HIDDEN.map((name) => dense({ units, activation: 'relu', kernelInitializer: heNormal(), name })),
          dense({ units: 10, name: 'output' }),
        ],
      });
      model.compile({ optimizer: adam({ learningRate }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
      await model.fit(data.x, data.y, { epochs, batchSize: 50 });
      const { loss } = await model.evaluate(data.x, data.y);
      const { accuracy = NaN } = await model.evaluate(data.testX, data.testY);
      const layers = (await deadUnits(model, data.x)).filter(({ layer }) => HIDDEN.includes(layer));
      const count = (of: (layer: (typeof layers)[number]) => number): number =>
        layers.reduce((sum, layer) => sum + of(layer), 0) / (2 * units);
      const removable = await removableShare(model, data, accuracy);
      model.dispose();
      return {
        trainingLoss: loss,
        accuracy,
        neverActive: count((layer) => layer.neverActive.length),
        dead: count((layer) => layer.dead),
        removable,
      };
    };

    const runs = new Map<number, Run[][]>(); // [learning rate][width][seed]
    for (const rate of RATES) {
      const byWidth: Run[][] = [];
      for (const width of widths) {
        const ofWidth: Run[] = [];
        for (const seed of seeds) ofWidth.push(await train(width, rate, seed));
        byWidth.push(ofWidth);
        note(`Adam ${rate}, 2 × ${width} units: training loss ${meanAndSpread(ofWidth.map(({ trainingLoss }) => trainingLoss))}`);
      }
      runs.set(rate, byWidth);
    }
    const at = (rate: number): Run[][] => runs.get(rate) ?? [];
    const [usual, high] = RATES.map(at);
    const falls = usual.every((ofWidth, i) =>
      i === 0 || mean(ofWidth.map(({ trainingLoss }) => trainingLoss)) < mean(usual[i - 1].map(({ trainingLoss }) => trainingLoss)),
    ); // prettier-ignore
    const last = widths.length - 1;
    const everySeed = seeds.every((_, seed) => usual[last][seed].trainingLoss < usual[0][seed].trainingLoss);
    const removable = widths.map((__, i) => usual[i].map((run) => run.removable));
    const moreRemovable = removable[last].map((share, seed) => share - removable[quick ? 0 : 1][seed]);
    const moreDead = high[last].map(({ dead }, seed) => dead - usual[last][seed].dead);
    const beyond = (values: number[]): boolean => mean(values) > 2 * standardError(values);
    const byWidth = (label: string, of: (run: Run) => number, digits: number, rate: number): Figure => ({
      label: `Adam ${rate}: ${label}, 2 × ${widths.join(', ')} units`,
      value: at(rate).map((ofWidth) => mean(ofWidth.map(of)).toFixed(digits)).join(', '), // prettier-ignore
    });
    const figures: Figure[] = [
      {
        ...byWidth(`training loss after ${epochs} epoch${epochs === 1 ? '' : 's'}`, ({ trainingLoss }) => trainingLoss, 4, RATES[0]),
        expected: 'falls from width to width (means over seeds), and from the least to the largest width at every seed',
        ...(!quick && { holds: falls && everySeed }),
      },
      byWidth('test accuracy', ({ accuracy }) => accuracy, 3, RATES[0]),
      byWidth('share of hidden units never active', ({ neverActive }) => neverActive, 3, RATES[0]),
      byWidth('share of hidden units dead in any of the four ways', ({ dead }) => dead, 3, RATES[0]),
      byWidth(`share of units removable for ${100 * PRICE} point of accuracy`, ({ removable: share }) => share, 2, RATES[0]),
      {
        label: `more of them in the widest networks than in ${quick ? 'the narrowest' : 'those of 2 × 16 units'}`,
        value: meanAndSpread(moreRemovable),
        expected: 'above 0 by more than 2 standard errors of the mean over seeds (paired)',
        ...(!quick && { holds: beyond(moreRemovable) }),
      },
      byWidth('share of hidden units never active', ({ neverActive }) => neverActive, 3, RATES[1]),
      byWidth('share of hidden units dead in any of the four ways', ({ dead }) => dead, 3, RATES[1]),
      byWidth('test accuracy', ({ accuracy }) => accuracy, 3, RATES[1]),
      {
        label: 'share of dead units that ten times the rate adds in the widest networks',
        value: meanAndSpread(moreDead),
        expected: 'above 0 by more than 2 standard errors of the mean over seeds (paired)',
        ...(!quick && { holds: beyond(moreDead) }),
      },
    ];
    const lines = (of: (run: Run) => number, rates: readonly number[] = RATES): ReturnType<typeof band>[] =>
      rates.map((rate) => {
        const byRate = at(rate);
        return band(`Adam ${rate}`, widths, seeds.map((_, seed) => byRate.map((ofWidth) => of(ofWidth[seed])))); // prettier-ignore
      });
    const caption = `Lines are means, bands the range over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}.`;
    const x = { label: 'units in each of the two hidden layers', scale: 'log' as const, ticks: widths };
    const [deadUsual, deadHigh] = [usual, high].map((byRate) => mean(byRate[last].map(({ dead }) => dead)));
    return {
      paragraphs: [
        `Two hidden ReLU layers, He weights, on ${rows} digits of MNIST: Adam, batches of 50, ${epochs} epoch${epochs === 1 ? '' : 's'}, ${seeds.length} seed${seeds.length === 1 ? '' : 's'}; ` +
          `accuracy on ${data.testY.shape[0]} test digits. Dead units are counted over all training rows. ` +
          'Removable: the units whose output varies least, times the norm of their outgoing weights, leave both layers in steps of 5 % (what they give on average goes to the next bias) while accuracy falls by at most a point.',
      ],
      figures,
      charts: [
        {
          type: 'lines',
          title: 'Training loss',
          x,
          y: { label: `training loss after ${epochs} epoch${epochs === 1 ? '' : 's'}`, scale: 'log' },
          series: lines(({ trainingLoss }) => trainingLoss),
          caption,
        },
        {
          type: 'lines',
          title: 'Useless units',
          x,
          y: { label: 'share of the hidden units that can be removed' },
          series: lines(({ removable: share }) => share),
          caption,
        },
        { type: 'lines', title: 'Dead units', x, y: { label: 'share of the hidden units' }, series: lines(({ dead }) => dead), caption },
      ],
      conclusion: quick
        ? 'Too short to conclude: one seed, two widths and one epoch.'
        : `The training loss falls with width at the same number of steps. Useless units: of the widest networks ${(100 * mean(removable[last])).toFixed(0)} % can go for a point of accuracy without ` +
          `training again, of those of 2 × 16 units ${(100 * mean(removable[1])).toFixed(0)} %: ${meanAndSpread(moreRemovable, 2)} of the units more. ` +
          `0.25 more was expected at every seed; the least of any seed was ${Math.min(...moreRemovable).toFixed(2)}. Useless is not the same as dead: ` +
          `at the usual rate ${(100 * deadUsual).toFixed(1)} % of the units of the widest networks are dead, at ten times that rate ${(100 * deadHigh).toFixed(1)} %.`,
    };
  },
};
