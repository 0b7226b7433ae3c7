// What the doctor concludes: each check makes findings of one examination, with figures, advice and the reason. Nothing is measured
// here; thresholds are in findings.ts.
import type { Training } from '../runtime.js';
import { figure, type Finding, percent, ranked, type Severity, THRESHOLDS } from './findings.js';
import type { Signals } from './gradient-flow.js';
import type { InitReport } from './initialization.js';
import type { InputReport } from './inputs.js';
import type { Neighbours, TargetFacts } from './targets.js';
import type { Trial } from './trials.js';
import type { DeadUnits, DuplicateUnits } from './units.js';

/** All that is looked at; findings are made from it alone. */
export interface Examination {
  readonly columns: readonly string[] | undefined;
  readonly training: Training;
  /** Each layer's name, kind, and activation; softmax too. */
  readonly layers: readonly { readonly name: string; readonly kind: string; readonly activation: string | undefined }[];
  readonly inputs: InputReport;
  readonly targets: TargetFacts;
  /** Whether all biases of the last layer are equal; undefined where it has none. */
  readonly equalOutputBias: boolean | undefined;
  /** Per term, over the sample. */
  readonly loss: number;
  readonly init: InitReport;
  readonly signals: Signals;
  readonly dead: readonly DeadUnits[];
  /** Rows of the sample that differ in their inputs, counted up to 32. */
  readonly differentRows: number;
  readonly duplicates: readonly DuplicateUnits[];
  readonly neighbours: Neighbours | undefined;
  readonly trials: Trials | undefined;
}

export interface Trials {
  /** With the model's own optimizer. */
  readonly own: Trial;
  /** With its learning rate times `factor`; only tried where its own does not learn. */
  readonly others: readonly (Trial & { readonly factor: number })[];
  readonly subset: (Trial & { readonly rows: number; readonly constantLoss: number }) | undefined;
  /** On rows kept back; only where neighbours' targets have nothing in common. */
  readonly generalisation: (Trial & { readonly constantLoss: number }) | undefined;
}

/** Whether a trial got clearly below the best constant. */
export function learnt({ after, diverged }: Trial, { constantLoss }: TargetFacts): boolean {
  return !diverged && after < THRESHOLDS.learnt * constantLoss;
}

/** S-shaped: flat at both ends. ReLU and its kin are flat on purpose. */
const S_SHAPED = new Set(['sigmoid', 'tanh', 'softsign', 'hardSigmoid']);
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

type Check = (seen: Examination) => Finding[];

/** From the larger figure on, or the smaller one. */
function severity(value: number, { warning, error }: { readonly warning: number; readonly error: number }): Severity | undefined {
  const beyond = (limit: number): boolean => (error > warning ? value >= limit : value <= limit);
  return beyond(error) ? 'error' : beyond(warning) ? 'warning' : undefined;
}

function nameOf(columns: readonly string[] | undefined, j: number): string {
  return columns ? `'${columns[j]}'` : String(j);
}

/** The first few columns by name. */
function listed(columns: readonly string[] | undefined, which: readonly number[]): string {
  const shown = which.slice(0, 5).map((j) => nameOf(columns, j));
  return `${which.length === 1 ? 'column' : 'columns'} ${shown.join(', ')}${which.length > 5 ? ` and ${which.length - 5} more` : ''}`;
}

export function nonFinite({ columns, nonFinite, rows }: InputReport, names: readonly string[] | undefined): Finding {
  const which = columns.flatMap((column, j) => (column.nonFinite > 0 ? [j] : []));
  return {
    code: 'non-finite-inputs',
    severity: 'error',
    evidence: { numbers: nonFinite, rows, columns: which.length, firstColumn: which[0] },
    message: `${nonFinite} of the inputs' numbers are NaN or infinite, in ${listed(names, which)}`,
    advice: 'Fill missing values in or leave their rows out; look for divisions by 0 and for logarithms of 0 in what prepares the data.',
    theory: 'One NaN in a batch makes its loss, and with it every weight, NaN.',
  };
}

const inputScale: Check = ({ inputs, columns: names }) => {
  const rms = inputs.columns.map(({ mean, variance }) => Math.sqrt(mean * mean + variance));
  const deviations = inputs.columns.flatMap(({ variance, min, max }) => (min === max ? [] : [Math.sqrt(variance)]));
  if (deviations.length === 0) return [];
  const largest = Math.max(...rms);
  const sorted = [...deviations].sort((a, b) => a - b);
  const [quartile, widest] = [sorted[Math.floor((sorted.length - 1) / 4)], sorted[sorted.length - 1]];
  const spread = widest / quartile;
  const tooLarge = rms.flatMap((value, j) => (value > THRESHOLDS.inputRms ? [j] : [])).sort((a, b) => rms[b] - rms[a]);
  if (tooLarge.length === 0 && largest >= THRESHOLDS.inputFaint && spread <= THRESHOLDS.inputSpread) return [];
  const raw = inputs.conditionNumber;
  const what =
    tooLarge.length > 0
      ? `${listed(names, tooLarge)}: numbers of about ${figure(rms[tooLarge[0]])} (root mean square), where a network expects about 1`
      : largest < THRESHOLDS.inputFaint
        ? `all inputs are tiny: about ${figure(largest)} at most (root mean square), where a network expects about 1`
        : `standard deviations of the inputs reach from ${figure(quartile)} to ${figure(widest)}`;
  return [
    {
      code: 'unscaled-inputs',
      severity: largest > 10 * THRESHOLDS.inputRms || spread > 10 * THRESHOLDS.inputSpread ? 'error' : 'warning',
      evidence: {
        largestRms: largest,
        deviationSpread: spread,
        ...(raw && { conditionNumber: raw.raw, conditionNumberStandardized: raw.standardized }),
      },
      message: `inputs are not scaled: ${what}`,
      advice:
        'Standardise each column by its mean and standard deviation over the training rows: sequential({ inputScaling: new Standardizer().fit(x) }) does it as rows are read, and saves it with the model; gradmill train does it without --raw.',
      theory:
        "A weight's gradient is proportional to its input, so one learning rate cannot suit columns of very different size, and large inputs saturate the first layer.",
    },
  ];
};

const inputCentre: Check = ({ inputs, columns: names }) => {
  const varying = inputs.columns.map(({ mean, variance, min, max }) => (min === max ? { mean: 0, variance: 0 } : { mean, variance }));
  const squares = varying.reduce((sum, { mean }) => sum + mean * mean, 0);
  const shift = Math.sqrt(squares / varying.reduce((sum, { variance }) => sum + variance, 0));
  const found: Severity | undefined =
    shift >= THRESHOLDS.inputShift.warning ? 'warning' : shift >= THRESHOLDS.inputShift.note ? 'note' : undefined;
  if (!found) return [];
  const means = varying.map(({ mean }) => Math.abs(mean));
  const worst = means.indexOf(Math.max(...means));
  const worstShift = means[worst] / Math.sqrt(varying[worst].variance);
  return [
    {
      code: 'uncentred-inputs',
      severity: found,
      evidence: { shift, worstShift, worstColumn: names?.[worst] ?? worst, sameSignShare: inputs.sameSignShare },
      message: `inputs are far from zero-centred: their means are ${figure(shift)} times as large as what varies about them (column ${nameOf(names, worst)}: ${figure(worstShift)} standard deviations from 0), and ${percent(inputs.sameSignShare)} of the columns never change sign`,
      advice: "Subtract each column's mean over the training rows; inputScaling does it.",
      theory:
        'Where all inputs of a unit share a sign, one example pushes all its weights up or all down: the path to the minimum zig-zags.',
    },
  ];
};

const uselessInputs: Check = ({ inputs, columns: names }) => {
  const findings: Finding[] = [];
  const { constant, duplicates, columns } = inputs;
  if (constant.length > 0)
    findings.push({
      code: 'constant-inputs',
      severity: constant.length === columns.length ? 'error' : 'note',
      evidence: { columns: constant.length, of: columns.length, firstColumn: names?.[constant[0]] ?? constant[0] },
      message: `${listed(names, constant)} ${constant.length === 1 ? 'holds' : 'hold'} one number in every row`,
      advice: 'Leave constant columns out: their weights learn what the bias learns already.',
      theory: 'A constant input is a second bias; where it is large, it takes the steps meant for others.',
    });
  if (duplicates.length > 0)
    findings.push({
      code: 'duplicate-inputs',
      severity: 'note',
      evidence: { groups: duplicates.length, columns: duplicates.flat().length },
      message: `equal columns: ${duplicates
        .slice(0, 3)
        .map((group) => listed(names, group))
        .join('; ')}${duplicates.length > 3 ? ' …' : ''}`,
      advice: 'Keep one column of each group.',
      theory: 'Equal columns count double in every step, and their covariance is singular: the weights are not determined.',
    });
  return findings;
};

const targetScale: Check = ({ targets, training }) => {
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

const lossFits: Check = ({ targets, training, layers }) => {
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

const shuffledLabels: Check = ({ neighbours: near, trials }) => {
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

const startingLoss: Check = ({ loss, targets, training }) => {
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

const classBalance: Check = ({ targets, equalOutputBias, training }) => {
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

const identicalUnits: Check = ({ duplicates }) =>
  duplicates.flatMap(({ layer, units, inseparable, incoming }): Finding[] => {
    const copies = (groups: number[][]): number => groups.reduce((sum, group) => sum + group.length - 1, 0);
    if (incoming.length === 0) return [];
    const share = copies(inseparable) / units;
    const grade = inseparable.length === 0 ? 'note' : (severity(share, THRESHOLDS.identical) ?? 'note');
    return [
      {
        code: 'identical-units',
        severity: grade,
        layer,
        evidence: { units, copies: copies(incoming), inseparableCopies: copies(inseparable) },
        message:
          inseparable.length > 0
            ? `layer '${layer}': ${copies(inseparable)} of ${units} units are copies of another, with equal weights in and out; they will stay equal however long it trains`
            : `layer '${layer}': ${copies(incoming)} of ${units} units have the weights of another; what follows tells them apart, but they start as one`,
        advice: "Draw initial weights at random: kernelInitializer 'heNormal' for ReLU, 'glorotUniform' for others.",
        theory:
          'Units with equal weights in and out have equal gradients, so every step keeps them equal: the layer is as wide as its different units.',
      },
    ];
  });

const initialSize: Check = ({ init, layers, signals }) =>
  init.layers.flatMap(({ layer, kernelRms, promisedRms, forwardGain, backwardGain }): Finding[] => {
    const at = layers.findIndex(({ name }) => name === layer);
    // Normalisation takes any scale back.
    if (
      layers
        .at(at + 1)
        ?.kind.toLowerCase()
        .includes('normalization') === true &&
      at + 1 < layers.length
    )
      return [];
    const isLast = init.layers[init.layers.length - 1].layer === layer;
    const average = (forwardGain + backwardGain) / 2;
    const z = signals.activations.find((known) => known.layer === layer)?.before?.rms;
    const evidence = {
      kernelRms,
      forwardGain,
      backwardGain,
      ...(promisedRms !== undefined && { initialiserRms: promisedRms }),
      ...(z !== undefined && { rmsBeforeActivation: z }),
    };
    if (forwardGain > THRESHOLDS.forwardGain)
      return [
        {
          code: 'init-too-large',
          severity: 'warning',
          layer,
          evidence,
          message: `layer '${layer}': its weights (${figure(kernelRms)} in root mean square) make signals ${figure(Math.sqrt(forwardGain))} times as large; 1 to 1.4 keeps them`,
          advice: `Draw them from kernelInitializer 'heNormal' (ReLU), 'lecunNormal' or 'glorotUniform': a standard deviation of about ${figure(kernelRms / Math.sqrt(forwardGain))}.`,
          theory:
            'A sum of fanIn products has fanIn·σ² times the variance of one input: σ = 1/√fanIn keeps it, σ = √(2/fanIn) behind ReLU.',
        },
      ];
    if (!isLast && average < THRESHOLDS.averageGain)
      return [
        {
          code: 'init-too-small',
          severity: 'warning',
          layer,
          evidence,
          message: `layer '${layer}': its weights (${figure(kernelRms)} in root mean square) shrink signals and gradients to ${figure(Math.sqrt(average))} of their size`,
          advice: "Draw them from kernelInitializer 'heNormal' (ReLU), 'lecunNormal' or 'glorotUniform'.",
          theory:
            'A sum of fanIn products has fanIn·σ² times the variance of one input; below 1 every layer fades both signal and gradient.',
        },
      ];
    return [];
  });

const saturation: Check = ({ layers, signals }) =>
  signals.activations.flatMap(({ layer, saturation, before }): Finding[] => {
    const activation = layers.find(({ name }) => name === layer)?.activation;
    const grade = severity(saturation, THRESHOLDS.saturation);
    if (activation === undefined || !S_SHAPED.has(activation) || !grade) return [];
    return [
      {
        code: 'saturated-layer',
        severity: grade,
        layer,
        evidence: { saturation, activation, rmsBeforeActivation: before?.rms ?? 0, meanBeforeActivation: before?.mean ?? 0 },
        message: `layer '${layer}': ${percent(saturation)} of its ${activation} outputs lie where the curve is flat (|a'| < 0.01); what enters it is ${figure(before?.rms ?? 0)} in root mean square`,
        advice: 'Scale the inputs, draw smaller weights, or normalise before the activation (batchNormalization).',
        theory: `Gradients pass an activation times its derivative: where ${activation} is flat, nothing comes through.`,
      },
    ];
  });

const gradientSize: Check = ({ signals: { flow } }) => {
  const { firstOverLast, decayPerLayer, layers } = flow;
  // All gradients 0 is another matter: units are dead, or the loss is at its minimum.
  if (!(firstOverLast > 0)) return [];
  const vanishing = severity(firstOverLast, THRESHOLDS.vanishing);
  const grade = vanishing ?? severity(firstOverLast, THRESHOLDS.exploding);
  if (!grade) return [];
  // Of the loss gradient, from a layer's output to its input.
  const factors = layers.map(({ layer, activationFactor, weightFactor }) => ({ layer, factor: activationFactor.measured * weightFactor.measured })); // prettier-ignore
  const sorted = [...factors].sort((a, b) => a.factor - b.factor);
  const worst = sorted[vanishing ? 0 : sorted.length - 1];
  return [
    {
      code: vanishing ? 'vanishing-gradient' : 'exploding-gradient',
      severity: grade,
      layer: worst.layer,
      evidence: {
        firstOverLast,
        decayPerLayer,
        layers: layers.length,
        factorOfWorst: worst.factor,
      },
      message: vanishing
        ? `the loss gradient fades on its way back: at the input it is ${figure(firstOverLast)} of that at the output, ${figure(decayPerLayer)} a layer; most in layer '${worst.layer}'`
        : `the loss gradient grows on its way back: at the input it is ${figure(firstOverLast)} times that at the output, ${figure(decayPerLayer)} a layer; most in layer '${worst.layer}'`,
      advice: vanishing
        ? "Use activation 'relu' with kernelInitializer 'heNormal' (or tanh with 'glorotUniform'), fewer layers, or batchNormalization between them."
        : "Draw smaller weights (kernelInitializer 'heNormal' or 'glorotUniform'), or cut gradients with clipGlobalNorm.",
      theory: `Back through each layer the gradient is multiplied by a' and by the weights; ${layers.length} factors ${vanishing ? 'below' : 'above'} 1 multiply to next to ${vanishing ? 'nothing' : 'infinity'}.`,
    },
  ];
};

const deadLayers: Check = ({ dead, layers, differentRows }) =>
  dead.flatMap(({ layer, units, neverActive, saturated, constant, nearZeroWeights, dead }, at): Finding[] => {
    // What the last layer gives is judged by the loss.
    if (dead === 0 || at === layers.length - 1) return [];
    const share = dead / units;
    const kinds = [
      [neverActive.length, 'never active'],
      [saturated.length, 'saturated'],
      [constant.length, 'constant'],
      [nearZeroWeights.length, 'of next to no weights'],
    ] as const;
    return [
      {
        code: 'dead-units',
        // Few rows leave many units off by chance.
        severity: dead < units && differentRows < THRESHOLDS.deadRows ? 'note' : (severity(share, THRESHOLDS.dead) ?? 'note'),
        layer,
        evidence: {
          units,
          dead,
          neverActive: neverActive.length,
          saturated: saturated.length,
          constant: constant.length,
          nearZeroWeights: nearZeroWeights.length,
        },
        message: `layer '${layer}': ${dead} of ${units} units are dead (${kinds.flatMap(([count, kind]) => (count > 0 ? [`${count} ${kind}`] : [])).join(', ')})`,
        advice:
          'Lower the learning rate or the biases that switch units off; leakyRelu keeps a slope. Units that stay dead can be pruned without a change.',
        theory: 'A ReLU unit that is off for every row has gradient 0 for every row: no step brings it back.',
      },
    ];
  });

const learningRate: Check = ({ trials, targets, training }) => {
  if (!trials) return [];
  const { own, others } = trials;
  const rate = training.optimizer.hyper[0];
  const best = others.filter((other) => learnt(other, targets)).sort((a, b) => a.after - b.after);
  const lower = best.find(({ factor }) => factor < 1);
  const higher = best.find(({ factor }) => factor > 1);
  if (own.cutShort && !own.diverged) return [];
  const idle = !own.diverged && Math.abs(own.before - own.after) < THRESHOLDS.idle * own.before;
  const shared = { learningRate: rate, steps: own.steps, lossBefore: own.before, lossAfter: own.after };
  const told = own.diverged ? 'the loss stopped being a finite number' : `the loss went from ${figure(own.before)} to ${figure(own.after)}`;
  if (own.diverged || (lower && !idle))
    return [
      {
        code: 'learning-rate-too-high',
        severity: own.diverged ? 'error' : 'warning',
        evidence: { ...shared, ...(lower && { betterRate: rate * lower.factor, lossThen: lower.after }) },
        message: `learning rate ${figure(rate)} is too high: in ${own.diverged ? 'a trial' : `${own.steps} steps`} ${told}${lower ? `; with ${figure(rate * lower.factor)} to ${figure(lower.after)}` : ''}`,
        advice: lower
          ? `Use ${training.optimizer.name}({ learningRate: ${figure(rate * lower.factor)} }).`
          : 'Lower it by powers of ten; scale inputs and targets first.',
        theory: "A step longer than twice the inverse of the loss's curvature climbs the other side higher than it started.",
      },
    ];
  if (idle && higher)
    return [
      {
        code: 'learning-rate-too-low',
        severity: 'warning',
        evidence: { ...shared, betterRate: rate * higher.factor, lossThen: higher.after },
        message: `learning rate ${figure(rate)} is too low: in ${own.steps} steps ${told}; with ${figure(rate * higher.factor)} to ${figure(higher.after)}`,
        advice: `Use ${training.optimizer.name}({ learningRate: ${figure(rate * higher.factor)} }).`,
        theory:
          "The distance covered is the learning rate times the gradients' sum: a hundredth of the rate needs a hundred times the steps.",
      },
    ];
  return [];
};

const memorisation: Check = ({ trials }) => {
  const tried = trials?.subset;
  if (!tried || tried.cutShort || tried.after < THRESHOLDS.memorised * tried.constantLoss) return [];
  return [
    {
      code: 'overfit-subset-failed',
      severity: 'error',
      evidence: {
        rows: tried.rows,
        steps: tried.steps,
        lossBefore: tried.before,
        lossAfter: tried.after,
        constantLoss: tried.constantLoss,
      },
      message: `the network cannot learn even ${tried.rows} rows by heart: after ${tried.steps} steps of Adam the loss on them is ${figure(tried.after)}, a constant prediction has ${figure(tried.constantLoss)}`,
      advice:
        'Look at the other findings first. Else the network is too narrow or too deep for its initialisation, or inputs and targets are not what they seem.',
      theory: 'A network with more weights than rows can fit any targets; where it does not, gradients do not reach its weights.',
    },
  ];
};

const CHECKS: readonly Check[] = [
  lossFits,
  shuffledLabels,
  targetScale,
  inputScale,
  inputCentre,
  identicalUnits,
  initialSize,
  saturation,
  gradientSize,
  deadLayers,
  learningRate,
  memorisation,
  startingLoss,
  uselessInputs,
  classBalance,
];

/** All findings, errors first. */
export function findingsOf(examination: Examination): Finding[] {
  return ranked(CHECKS.flatMap((check) => check(examination)));
}
