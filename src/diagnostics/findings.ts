// What the doctor may find, and from which figure on: the only place of thresholds. Each was set so that the healthy networks of
// test/46-diagnose.test.ts raise no alarm and every planted fault there does.

export const FINDING_CODES = [
  // In the order of causes: what comes first may explain what follows.
  'non-finite-inputs',
  'wrong-loss',
  'labels-shuffled',
  'unscaled-targets',
  'unscaled-inputs',
  'uncentred-inputs',
  'identical-units',
  'init-too-large',
  'init-too-small',
  'saturated-layer',
  'vanishing-gradient',
  'exploding-gradient',
  'dead-units',
  'learning-rate-too-high',
  'learning-rate-too-low',
  'overfit-subset-failed',
  'loss-at-init',
  'constant-inputs',
  'duplicate-inputs',
  'class-imbalance',
] as const;

export type FindingCode = (typeof FINDING_CODES)[number];

/** 'error': it will not learn. 'warning': it will learn badly, or not what was meant. 'note': good to know. */
export type Severity = 'error' | 'warning' | 'note';

export interface Finding {
  /** Stable: what programs switch on. */
  readonly code: FindingCode;
  readonly severity: Severity;
  /** Where it is about one layer. */
  readonly layer?: string;
  /** The figures it rests on. */
  readonly evidence: Readonly<Record<string, number | string>>;
  /** What is wrong, with the figures. */
  readonly message: string;
  /** What to change. */
  readonly advice: string;
  /** Why, in a sentence; docs/theory.md has the rest. */
  readonly theory: string;
}

/** The figure from which on each finding is made, and why there. */
export const THRESHOLDS = {
  /** RMS of a column. z grows with it: at 10 a weight of its usual size puts a tanh or sigmoid beyond its bend. */
  inputRms: 10,
  /** RMS of the largest column: below, z is the bias alone. */
  inputFaint: 0.01,
  /** Widest standard deviation over that of the lower quartile's column: steps that suit one are a hundred times too small for the other. */
  inputSpread: 100,
  /** Root of Σ mean² over Σ variance: columns that hardly vary count as little as they do in a sum. 1 is what inputs in [0, 1] have: slower, no more; 3 is far from 0. */
  inputShift: { note: 1, warning: 3 },
  /** RMS of regression targets: outputs start at about 1. And their standard deviation, below which errors vanish in the loss. */
  targetRms: 10,
  targetFaint: 0.01,
  /** fanIn·σ² of a kernel: He has 2, the largest of the usual ones. 16 is σ 4/√fanIn, three layers of it a factor 64. */
  forwardGain: 16,
  /** σ²·(fanIn + fanOut)/2 of a hidden kernel: Glorot has 1, N(0, 0.05²) at 64 units 0.16; below 0.1 signals fade threefold a layer. */
  averageGain: 0.1,
  /** Share of |a'| < 0.01 in an S-shaped activation. z ~ N(0, 1) has none, z ~ N(0, 3²) of tanh about a third. */
  saturation: { warning: 0.5, error: 0.9 },
  /** First over last loss-gradient RMS. ReLU with Glorot weights has 1e-3 after 20 layers and still learns. */
  vanishing: { warning: 1e-4, error: 1e-8 },
  exploding: { warning: 1e4, error: 1e8 },
  /** Share of a layer's units that are dead. Small ReLU layers start with some; from 40 % on the layer is half as wide as it looks. */
  dead: { warning: 0.4, error: 0.8 },
  /** Different rows below which a unit that is off for all says little: of 4 random ones it is, once in 16. */
  deadRows: 16,
  /** Share of a layer's units that are copies of another for ever. */
  identical: { warning: 0.1, error: 0.5 },
  /** Loss over that of equal shares, log(classes), in nats: fresh logits of variance 1 to 3 add 0.5 to 1.5, by the draw. */
  lossExcess: 2.5,
  /** Squared and absolute errors: loss over what predicting 0 would cost, or over 1 for small targets. */
  lossFactor: 10,
  /** Entropy that the class frequencies lack, as a share of log(classes). */
  imbalance: 0.1,
  /** Share of the constant prediction's loss that a copy of some rows must fall below to count as learnt by heart. */
  memorised: 0.3,
  /** A trial has learnt when it beats the constant prediction by a tenth, has not when it stays within 2 % of where it began. */
  learnt: 0.9,
  idle: 0.02,
  /** How many standard errors neighbours' targets must agree beyond chance to have to do with the inputs. */
  neighbours: 3,
} as const;

const RANK: Readonly<Record<Severity, number>> = { error: 0, warning: 1, note: 2 };

/** Errors first; among equals, causes before effects. */
export function ranked(findings: readonly Finding[]): Finding[] {
  const place = ({ code, severity }: Finding): number => RANK[severity] * FINDING_CODES.length + FINDING_CODES.indexOf(code);
  return [...findings].sort((a, b) => place(a) - place(b));
}

/** Four significant digits, powers of ten where it is tiny or huge. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

export function percent(share: number): string {
  return `${figure(Number((share * 100).toFixed(1)))} %`;
}
