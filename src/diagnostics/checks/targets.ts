// What may be wrong with targets and the loss: a loss that is not made for them, their size, order and shares, and a loss that is
// worse at the start than knowing nothing.
import { figure, type Finding, percent, type Severity, THRESHOLDS } from '../findings.js';
import type { Check } from './examination.js';

/** What an activation's output can be; of those not named, anything. */
const RANGES: Readonly<Record<string, readonly [number, number]>> = {
  sigmoid: [0, 1],
  hardSigmoid: [0, 1],
  softmax: [0, 1],
  tanh: [-1, 1],
  softsign: [-1, 1],
  relu: [0, Infinity],
  softplus: [0, Infinity],
};

export const targetScale: Check = ({ targets, training }) => {
  const { name } = training.loss;
  if (!['meanSquaredError', 'meanAbsoluteError', 'huber'].includes(name)) return [];
  const { rms, deviation, mean } = targets;
  const tooLarge = rms > THRESHOLDS.targetRms;
  if (!tooLarge && !(deviation > 0 && deviation < THRESHOLDS.targetFaint)) return [];
  return [
    {
      code: 'unscaled-targets',
      severity: 'warning',
      evidence: { mean, standardDeviation: deviation, rms },
      message: tooLarge
        ? `targets are about ${figure(rms)} in size (mean ${figure(mean)}, standard deviation ${figure(deviation)}); outputs start at about 1`
        : `targets differ by ${figure(deviation)} only: the loss is next to nothing before anything is learnt`,
      advice: 'Standardise the targets, and scale predictions back: y·standardDeviation + mean.',
      theory:
        'The loss gradient of a squared error grows with the distance of the target: steps that reach far targets are too long near them.',
    },
  ];
};

const CLASS_LOSSES: readonly string[] = ['softmaxCrossEntropy', 'categoricalCrossEntropy'];

export const lossFits: Check = ({ targets, training, layers }) => {
  const { name } = training.loss;
  const activation = layers[layers.length - 1].activation ?? 'linear';
  const units = targets.frequencies.length;
  const finding = (
    message: string,
    advice: string,
    theory: string,
    grade: Severity = 'error',
    evidence: Finding['evidence'] = {},
  ): Finding[] => [
    {
      code: 'wrong-loss',
      severity: grade,
      layer: layers[layers.length - 1].name,
      evidence: { loss: name, outputActivation: activation, ...evidence },
      message,
      advice,
      theory,
    },
  ];
  if (name === 'softmaxCrossEntropy' && activation !== 'linear')
    return finding(
      `softmaxCrossEntropy takes logits, but the last layer's activation is ${activation}`,
      activation === 'softmax' ? 'Remove the softmax of the last layer, or use categoricalCrossEntropy.' : 'Make the last layer linear.',
      'The loss applies softmax itself: outputs within a narrow range leave every class nearly the same share, whatever the network learns.',
      activation === 'leakyRelu' || activation === 'elu' || activation === 'selu' ? 'warning' : 'error',
    );
  if (name === 'binaryCrossEntropy' && activation !== 'linear')
    return finding(
      `binaryCrossEntropy takes logits, but the last layer's activation is ${activation}`,
      'Make the last layer linear, and apply sigmoid to predictions where probabilities are wanted.',
      'The loss applies sigmoid itself: of outputs in [0, 1] it makes probabilities between 0.5 and 0.73.',
    );
  if (name === 'categoricalCrossEntropy' && activation !== 'softmax')
    return finding(
      `categoricalCrossEntropy takes probabilities, but the last layer's activation is ${activation}`,
      "Give the last layer activation 'softmax', or use softmaxCrossEntropy on its logits.",
      'The logarithm of what is no probability is cut off, and its gradient is 0 there.',
    );
  if (CLASS_LOSSES.includes(name)) {
    if (units === 1)
      return finding(
        `${name} over a single output: its only class always has probability 1`,
        'Use binaryCrossEntropy for one output, or one output a class.',
        'Softmax of one number is 1, whatever the number: loss and gradients are 0.',
      );
    if (targets.columns > 1 && (targets.offShares > 0.01 || targets.min < 0))
      return finding(
        `${name} expects labels or rows of shares that add up to 1; rows of these targets are off by up to ${figure(targets.offShares)}`,
        'For several classes at a time use binaryCrossEntropy, for amounts meanSquaredError.',
        'Cross-entropy compares distributions: targets that are none move the minimum elsewhere.',
        'warning',
        { offShares: targets.offShares },
      );
    return [];
  }
  if (name === 'binaryCrossEntropy' && (targets.min < 0 || targets.max > 1))
    return finding(
      `binaryCrossEntropy expects targets from 0 to 1, these reach from ${figure(targets.min)} to ${figure(targets.max)}`,
      targets.whole ? 'For class labels use softmaxCrossEntropy with one output a class.' : 'For amounts use meanSquaredError or huber.',
      'Beyond 0 and 1 the loss has no minimum: the logit grows for ever.',
      'error',
      { min: targets.min, max: targets.max },
    );
  if (name !== 'binaryCrossEntropy') {
    const [low, high] = RANGES[activation] ?? [-Infinity, Infinity];
    const margin = 1e-3 * Math.max(1, targets.deviation);
    if (targets.min < low - margin || targets.max > high + margin)
      return finding(
        `the last layer's ${activation} gives ${figure(low)} to ${figure(high)}, targets reach from ${figure(targets.min)} to ${figure(targets.max)}`,
        'Make the last layer linear, or scale the targets into its range.',
        'An output activation bounds what can be predicted; at the bound its derivative, and with it all learning, is 0.',
        'error',
        { min: targets.min, max: targets.max },
      );
    if (targets.columns === 1 && targets.whole && targets.max - targets.min >= 2 && targets.max - targets.min <= 20 && targets.min >= 0)
      return finding(
        `targets are whole numbers from ${targets.min} to ${targets.max}: if they are class labels, ${name} is the wrong loss`,
        'For class labels use softmaxCrossEntropy with one output a class; for amounts all is well.',
        'A squared error takes class 3 for nearer to class 2 than to class 0; labels have no such order.',
        'note',
        { min: targets.min, max: targets.max },
      );
    if (targets.binary && targets.min < targets.max)
      return finding(
        `targets are all 0 or 1, and the loss is ${name}`,
        targets.columns === 1
          ? 'For yes or no use binaryCrossEntropy on a linear output.'
          : 'For one class of several use softmaxCrossEntropy on linear outputs.',
        'Behind a sigmoid, the squared error of a confident mistake has next to no gradient; cross-entropy has its largest there.',
        'note',
      );
  }
  return [];
};

export const shuffledLabels: Check = ({ neighbours: near, trials }) => {
  const tried = trials?.generalisation;
  if (!near || !tried || tried.cutShort || tried.after < THRESHOLDS.learnt * tried.constantLoss) return [];
  return [
    {
      code: 'labels-shuffled',
      severity: 'warning',
      evidence: {
        neighbourAgreement: near.agreement,
        chance: near.chance,
        standardErrors: near.errors,
        rows: near.rows,
        lossOnRowsKeptBack: tried.after,
        lossOfConstant: tried.constantLoss,
      },
      message: `inputs say nothing about targets: rows with like inputs agree as often as chance (${figure(near.agreement)} against ${figure(near.chance)}), and after ${tried.steps} steps the loss on rows kept back is ${figure(tried.after)}, no better than the ${figure(tried.constantLoss)} of a constant`,
      advice:
        'Look whether x and y are in the same order: something may have shuffled or sorted one without the other. Else the columns do not hold what the target depends on.',
      theory: 'A network can learn shuffled labels by heart, and the training loss falls; only rows it has not seen tell.',
    },
  ];
};

export const startingLoss: Check = ({ loss, targets, training }) => {
  const { classes, name } = training.loss;
  const logits = classes || name === 'binaryCrossEntropy';
  const usual = logits ? targets.ignorantLoss : Math.max(targets.constantLoss, targets.ignorantLoss, 1);
  const limit = logits ? usual + THRESHOLDS.lossExcess : THRESHOLDS.lossFactor * usual;
  if (loss <= limit) return [];
  return [
    {
      code: 'loss-at-init',
      severity: Number.isFinite(loss) ? 'warning' : 'error',
      evidence: { loss, expected: usual, constantLoss: targets.constantLoss },
      message: Number.isFinite(loss)
        ? `the loss is ${figure(loss)}, worse than knowing nothing: ${logits ? `equal shares have ${figure(usual)}` : `about ${figure(usual)} is usual`}, the best constant ${figure(targets.constantLoss)}`
        : 'the loss is not a finite number',
      advice:
        'Before training this means weights, inputs or targets of the wrong size: see the findings on them. The first steps only undo it.',
      theory: logits
        ? 'Fresh weights should give every class about the same share: a loss of log(classes).'
        : "Fresh weights should give outputs of about the targets' size.",
    },
  ];
};

export const classBalance: Check = ({ targets, equalOutputBias, training }) => {
  const { frequencies, constantLoss, ignorantLoss } = targets;
  const binary = training.loss.name === 'binaryCrossEntropy' && targets.columns === 1;
  if (!training.loss.classes && !binary) return [];
  const lacking = 1 - constantLoss / ignorantLoss;
  if (!(lacking >= THRESHOLDS.imbalance)) return [];
  const shares = binary ? [1 - targets.mean, targets.mean] : frequencies;
  const advice = binary
    ? `log(share / (1 − share)) = ${figure(Math.log(targets.mean / (1 - targets.mean)))}`
    : 'the logarithms of the class frequencies';
  return [
    {
      code: 'class-imbalance',
      severity: 'note',
      evidence: { smallestShare: Math.min(...shares), largestShare: Math.max(...shares), constantLoss, classes: shares.length },
      message: `classes are unequal: from ${percent(Math.min(...shares))} to ${percent(Math.max(...shares))} of the rows; always guessing the most frequent is right in ${percent(Math.max(...shares))}`,
      advice: `${equalOutputBias === true ? `Start the last layer's bias at ${advice}, so that the first steps need not learn it. ` : ''}Judge by more than accuracy.`,
      theory: 'With the class frequencies in the output bias, the loss starts at their entropy rather than at log(classes).',
    },
  ];
};
