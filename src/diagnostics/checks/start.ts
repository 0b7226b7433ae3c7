// What may be wrong with a network before its first step: its weights, the signals that they make, the gradients that come back.
import { figure, type Finding, percent, type Severity, THRESHOLDS } from '../findings.js';
import type { Check } from './examination.js';

/** S-shaped: flat at both ends. ReLU and its kin are flat on purpose. */
const S_SHAPED = new Set(['sigmoid', 'tanh', 'softsign', 'hardSigmoid']);

/** From the larger figure on, or the smaller one. */
function severity(value: number, { warning, error }: { readonly warning: number; readonly error: number }): Severity | undefined {
  const beyond = (limit: number): boolean => (error > warning ? value >= limit : value <= limit);
  return beyond(error) ? 'error' : beyond(warning) ? 'warning' : undefined;
}

export const identicalUnits: Check = ({ duplicates }) =>
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

export const initialSize: Check = ({ init, layers, signals }) =>
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

export const saturation: Check = ({ layers, signals }) =>
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

export const gradientSize: Check = ({ signals: { flow } }) => {
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

export const deadLayers: Check = ({ dead, layers, differentRows }) =>
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
