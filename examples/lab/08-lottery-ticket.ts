// Experiment 8. The lottery ticket of Frankle & Carbin 2018 on LeNet-300-100 and MNIST: train, prune the smallest weights, put
// the rest back to their first values, again; beside it the same masks over new random values. Seeds run side by side, a thread
// each.
import { adam, dense, glorotNormal, sequential, type Sequential } from 'gradmill';
import { lotteryTicket, type LotteryRound } from 'gradmill/pruning';
import type { Experiment, Figure } from '../../src/report/section.js';
import { digits } from './digits.js';
import { band, mean, meanAndSpread, seedsUpTo, standardError } from './statistics.js';

const CONCURRENCY = 2;

export const experiment: Experiment = {
  id: 8,
  title: 'The lottery ticket',
  claim:
    'A trained network holds a small part that, put back to its first values, trains as well as the whole. It is those first values that matter: ' +
    'the same connections with new random values do worse.',
  async run({ quick, note }) {
    const seeds = seedsUpTo(quick ? 1 : 5);
    const [rounds, epochs, rows, testRows] = quick ? [2, 1, 600, 1000] : [14, 3, 20_000, 10_000];
    const data = await digits(rows, testRows);
    const makeModel = (seed: number): Sequential => {
      const model = sequential({
        inputShape: [784],
        seed,
        inputScaling: data.inputScaling,
        layers: [
          dense({ units: 300, activation: 'relu', kernelInitializer: glorotNormal() }),
          dense({ units: 100, activation: 'relu', kernelInitializer: glorotNormal() }),
          dense({ units: 10, kernelInitializer: glorotNormal() }),
        ],
      });
      model.compile({ optimizer: adam({ learningRate: 1.2e-3 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'], threads: 1 });
      return model;
    };
    const report = await lotteryTicket({
      makeModel,
      data: [data.x, data.y],
      validationData: [data.testX, data.testY],
      rounds,
      epochs,
      batchSize: 60,
      share: 0.2,
      outputShare: 0.1,
      seeds,
      concurrency: CONCURRENCY,
      onRound: ({ seed, round, arm, weightsLeft, accuracy = NaN }) =>
        note(`seed ${seed}, round ${round}, ${(100 * weightsLeft).toFixed(1)} % left, ${arm}: ${(100 * accuracy).toFixed(2)} %`),
    });

    const whole = report.filter(({ round }) => round === 0);
    /** One accuracy a seed, in the order of seeds; in round 0 both arms are the whole network. */
    const of = (arm: LotteryRound['arm'], round: number, value: (round: LotteryRound) => number): number[] =>
      report.filter((done) => done.round === round && (done.arm === arm || round === 0)).map(value);
    const final = ({ accuracy = NaN }: LotteryRound): number => 100 * accuracy;
    const early = ({ valAccuracy = [] }: LotteryRound): number => 100 * valAccuracy[0];
    const left = Array.from({ length: rounds + 1 }, (_, round) => 100 * of('ticket', round, ({ weightsLeft }) => weightsLeft)[0]);
    /** Ticket less control, seed by seed. */
    const gaps = (round: number, value = final): number[] => {
      const control = of('control', round, value);
      return of('ticket', round, value).map((ticket, i) => ticket - control[i]);
    };
    // The first round with at most so many percent of the weights.
    const roundAt = (percent: number): number => {
      const round = left.findIndex((share) => share <= percent);
      return round < 0 ? rounds : round;
    };
    const [quarter, tenth] = [roundAt(25), roundAt(10)];
    const dense100 = of('ticket', 0, final);
    const lost = of('ticket', quarter, final).map((accuracy, i) => dense100[i] - accuracy);
    const beyond = (values: number[]): boolean => mean(values) > 2 * standardError(values);
    const gap = (round: number, what: string, value: typeof final): Figure => ({
      label: `ticket less control, ${what}, ${left[round].toFixed(1)} % of the weights`,
      value: meanAndSpread(gaps(round, value), 2),
      unit: 'points',
      expected: 'above 0 by more than 2 standard errors of the mean over seeds (paired)',
      ...(!quick && { holds: beyond(gaps(round, value)) }),
    });
    const pruned = left.slice(1).map((_, i) => i + 1);
    // From here on every round is ahead by more than chance.
    const ahead = pruned.filter((round) => !beyond(gaps(round))).reduce((last, round) => Math.max(last, round), 0) + 1;
    const where =
      ahead === 1
        ? 'Tickets are ahead by more than chance in every round.'
        : ahead > rounds
          ? 'But they are not ahead by more than chance to the end.'
          : `They are ahead by more than chance only from ${left[ahead].toFixed(0)} % downwards: with more weights left, new values do as well.`;
    const figures: Figure[] = [
      {
        label: 'ticket less control, means over seeds, by weights left',
        value: pruned.map((round) => `${left[round].toFixed(0)} %: ${mean(gaps(round)).toFixed(2)}`).join(', '),
        unit: 'points',
      },
      {
        label: 'weights of the whole network’s kernels',
        value: whole[0].weights,
        expected: '266,200 = 784·300 + 300·100 + 100·10',
        holds: whole[0].weights === 266_200,
      },
      {
        label: 'weights left after the last round',
        value: left[rounds],
        unit: '%',
        expected: 'at most 10 %',
        ...(!quick && { holds: left[rounds] <= 10 }),
      },
      { label: 'test accuracy of the whole network', value: meanAndSpread(dense100, 2), unit: '%' },
      {
        label: `test accuracy that the ticket of ${left[quarter].toFixed(1)} % lacks behind the whole network, mean over seeds`,
        value: mean(lost),
        unit: 'points',
        expected: 'at most 0.5: as good as the whole',
        ...(!quick && { holds: mean(lost) <= 0.5 }),
      },
      ...[...new Set([quarter, tenth, rounds])].flatMap((round) => [
        {
          label: `test accuracy, ${left[round].toFixed(1)} % of the weights: ticket`,
          value: meanAndSpread(of('ticket', round, final), 2),
          unit: '%',
        },
        {
          label: `test accuracy, ${left[round].toFixed(1)} % of the weights: control`,
          value: meanAndSpread(of('control', round, final), 2),
          unit: '%',
        },
      ]),
      ...[...new Set([tenth, rounds])].map((round) => gap(round, 'final accuracy', final)),
      gap(tenth, 'accuracy after the first epoch', early),
    ];
    const curves = (value: typeof final): ReturnType<typeof band>[] =>
      (['ticket', 'control'] as const).map((arm) => {
        const rowsBySeed = seeds.map((_, seed) => left.map((__, round) => of(arm, round, value)[seed]));
        return band(arm === 'ticket' ? 'ticket: first values' : 'control: new random values', left, rowsBySeed);
      });
    const caption = `Each point is a round; lines are means, bands the range over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}.`;
    const x = { label: 'weights left (%)', scale: 'log' as const };
    return {
      paragraphs: [
        `LeNet 784-300-100-10, ReLU, Glorot normal, Adam 1.2e-3, batches of 60; the first ${rows.toLocaleString('en-US')} digits of MNIST, ${epochs} epoch${epochs === 1 ? '' : 's'} a round, ` +
          `accuracy on ${testRows.toLocaleString('en-US')} test digits; ${rounds} rounds of 20 % in the hidden layers and 10 % in the output layer; ${seeds.length} seed${seeds.length === 1 ? '' : 's'}, ` +
          'each with one draw of new values a round. ' +
          'Frankle & Carbin train 60,000 digits for about 50 epochs: what is shown here is the same procedure at a small part of its length.',
      ],
      figures,
      charts: [
        {
          type: 'lines',
          title: 'Accuracy over weights left',
          x,
          y: { label: `test accuracy after ${epochs} epoch${epochs === 1 ? '' : 's'} (%)` },
          series: curves(final),
          caption,
        },
        {
          type: 'lines',
          title: 'How fast they learn',
          x,
          y: { label: 'test accuracy after the first epoch (%)' },
          series: curves(early),
          caption,
        },
        {
          type: 'lines',
          title: 'What the first values are worth',
          x,
          y: { label: 'ticket less control (points of accuracy)' },
          series: [
            band('after all epochs', left.slice(1), seeds.map((_, seed) => left.slice(1).map((__, i) => gaps(i + 1)[seed]))), // prettier-ignore
            band('after the first epoch', left.slice(1), seeds.map((_, seed) => left.slice(1).map((__, i) => gaps(i + 1, early)[seed]))), // prettier-ignore
          ],
          caption,
        },
      ],
      conclusion: quick
        ? `Too short to conclude: one seed, ${rounds} rounds of one epoch on ${rows} digits.`
        : `With ${left[quarter].toFixed(0)} % of the weights the ticket is ${Math.abs(mean(lost)).toFixed(2)} points ${mean(lost) > 0 ? 'behind' : 'ahead of'} the whole network; at ${left[tenth].toFixed(1)} % it is ` +
          `${mean(gaps(tenth)).toFixed(2)} points ahead of the same connections with new values, at ${left[rounds].toFixed(1)} % ${mean(gaps(rounds)).toFixed(2)}. ` +
          where,
    };
  },
};
