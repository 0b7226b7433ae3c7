// The doctor: looks at inputs, targets, weights, signals and gradients, and trains copies for a few steps; checks.ts says what is
// wrong, why and what to change. Figures come from the reports beside this file.
import { GradmillError } from '../errors.js';
import { WIDEST_BATCH } from '../jobs.js';
import { callOn, copyOf, type Sequential } from '../model.js';
import { adam } from '../optimizers.js';
import { checkOptions, finiteNumber, list, show, size } from '../options.js';
import type { Training } from '../runtime.js';
import type { TensorInput } from '../tensor.js';
import { findingsOf } from './checks.js';
import { type Examination, learnt, type Trials } from './checks/examination.js';
import { nonFinite } from './checks/inputs.js';
import { type Finding, THRESHOLDS } from './findings.js';
import { signalsOf } from './gradient-flow.js';
import { initReport } from './initialization.js';
import { inputReport } from './inputs.js';
import { type Neighbours, neighbours, type TargetFacts, targetFacts } from './targets.js';
import { chosenRows, lossOf, type Sample, sampleOf, subset, type Trial, trial, withLearningRate } from './trials.js';
import { activationsOf, deadIn, duplicateUnits } from './units.js';

export interface DiagnoseOptions {
  /** Names of the input columns, for messages. Default: their numbers, from 0. */
  readonly columns?: readonly string[];
  /** Seconds that copies of the model may train for, in all; 0 leaves out what only training tells. Default 10. */
  readonly seconds?: number;
  /** Rows of a training step. Default 32. */
  readonly batchSize?: number;
}

/** Rows that everything but the statistics of inputs is measured on, drawn evenly from all. */
const SAMPLE = 2048;
/** Rows of one batch that signals and gradients are measured in. */
const FLOW_ROWS = 256;
/** Steps of a trial of the optimizer, of learning some rows by heart, and of learning most rows for the sake of others. */
const STEPS = { optimizer: 160, subset: 400, generalisation: 3200 } as const;
/** Rows to learn by heart, at most. */
const SUBSET = 32;
/** Fewer rows cannot tell chance from a relation. */
const NEIGHBOUR_ROWS = 100;

/**
 * What keeps a compiled model from learning these data, errors first, each with figures, advice and the reason. Looks at all
 * rows of x, otherwise at up to 2,048 drawn evenly; trains copies for up to `seconds`. The model does not change.
 * Rejects with GradmillError 'not-compiled', 'shape-mismatch', 'empty-data', 'label-out-of-range', 'invalid-argument', 'unknown-name',
 * 'out-of-memory', 'disposed', and 'non-finite-input' for targets; inputs that are not finite are a finding.
 */
export async function diagnose(model: Sequential, x: TensorInput, y: TensorInput, options: DiagnoseOptions = {}): Promise<Finding[]> {
  const { findings } = await examine(model, x, y, options);
  return findings;
}

/** diagnose, with what it looked at; undefined where inputs are not finite, for nothing can be computed with them. */
export async function examine(
  model: Sequential,
  x: TensorInput,
  y: TensorInput,
  options: DiagnoseOptions,
): Promise<{ readonly findings: Finding[]; readonly examination: Examination | undefined }> {
  const given = checkOptions('diagnose', options, ['columns', 'seconds', 'batchSize']);
  const seconds = finiteNumber('diagnose: seconds', given.seconds ?? 10, { min: 0 });
  const batchSize = size('diagnose: batchSize', given.batchSize ?? 32);
  const subject = await callOn(model, () => Promise.resolve(copyOf(model)));
  try {
    const jobs = await callOn(subject, (jobs) => Promise.resolve(jobs));
    const { runtime } = jobs;
    const columns = given.columns === undefined ? undefined : names(given.columns, runtime.columns);
    const examples = jobs.examples('', x, y);
    const { training, scaling } = runtime;
    if (!training) throw new GradmillError('not-compiled', 'compile the model first: it has no loss yet');
    const inputs = await inputReport(x, scaling === undefined ? {} : { inputScaling: scaling });
    if (inputs.nonFinite > 0) return { findings: [nonFinite(inputs, columns)], examination: undefined };

    // Targets that cannot be are refused by their rows in y, not by those of a sample.
    await callOn(subject, async (_, memory) => {
      const { rows, kind, ...sets } = await jobs.load(examples, memory);
      await jobs.run(`evaluate:${kind}`, Math.min(rows, WIDEST_BATCH), sets, { rows, onlyCheck: true });
    });

    const sample = sampleOf(examples.x, examples.y, examples.kind, SAMPLE);
    const batch = subset(sample, first(Math.min(sample.rows, FLOW_ROWS)));
    const activations = activationsOf(runtime);
    const last = runtime.layers[runtime.layers.length - 1];
    const bias = last.parameters.find(({ name }) => name === `${last.name}/bias`);
    const biases = bias && runtime.floats(bias.value);
    const targets = targetFacts(sample, training.loss, runtime.units);
    const loss = await lossOf(subject, sample);
    const related = sample.rows >= NEIGHBOUR_ROWS ? neighbours(sample, inputs, training.loss.classes || targets.binary) : undefined;
    const examination: Examination = {
      columns,
      training,
      layers: runtime.layers.map(({ name, layer }, l) => ({ name, kind: layer.kind, activation: activations[l] })),
      inputs,
      targets,
      equalOutputBias: biases?.every((value) => value === biases[0]),
      loss,
      init: await initReport(subject, sample.x),
      signals: await signalsOf(subject, batch.x, batch.y),
      differentRows: differentRows(sample, SUBSET).length,
      dead: await deadIn(subject, sample.x, 'training'),
      duplicates: await duplicateUnits(subject),
      neighbours: related,
      trials:
        seconds > 0 ? await trialsOf(subject, sample, { training, targets, related, seconds, batchSize, units: runtime.units }) : undefined,
    };
    return { findings: findingsOf(examination), examination };
  } finally {
    subject.dispose();
  }
}

function names(given: readonly string[], columns: number): readonly string[] {
  const checked = list('diagnose: columns', given, Math.max(columns, 1));
  if (checked.length !== columns || checked.some((name) => typeof name !== 'string'))
    throw new GradmillError('invalid-argument', `diagnose: columns: expected ${columns} names, got ${show(given)}`);
  return checked as readonly string[];
}

function first(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

// ── Trials ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface TrialNeeds {
  readonly training: Training;
  readonly targets: TargetFacts;
  readonly related: Neighbours | undefined;
  readonly seconds: number;
  readonly batchSize: number;
  readonly units: number;
}

async function trialsOf(subject: Sequential, sample: Sample, needs: TrialNeeds): Promise<Trials> {
  const { training, targets, related, seconds, batchSize } = needs;
  const started = performance.now();
  /** A share of the time that is left. */
  const share = (part: number): number => Math.max(0.05, (seconds - (performance.now() - started) / 1000) * part);
  const own = await trial(subject, sample, { steps: STEPS.optimizer, batchSize, seconds: share(0.2) });
  const others: (Trial & { factor: number })[] = [];
  if (!learnt(own, targets) && !own.cutShort)
    for (const factor of [0.1, 10, 0.01, 100]) {
      const optimizer = withLearningRate(training.optimizer, training.optimizer.hyper[0] * factor);
      others.push({ factor, ...(await trial(subject, sample, { optimizer, steps: STEPS.optimizer, batchSize, seconds: share(0.15) })) });
    }
  return {
    own,
    others,
    subset: await memorising(subject, sample, needs, () => share(0.3)),
    generalisation:
      related && related.errors < THRESHOLDS.neighbours ? await generalising(subject, sample, needs, () => share(0.45)) : undefined,
  };
}

/** The better of two trials at rates that most networks learn by; the first where that is enough. */
async function atUsualRates(attempt: (learningRate: number) => Promise<Trial>, below: number): Promise<Trial> {
  const first = await attempt(0.01);
  if (first.after < below) return first;
  const second = await attempt(0.001);
  const better = second.after < first.after ? second : first;
  // More time might have taught either of them.
  return { ...better, cutShort: better.after >= below && (first.cutShort || second.cutShort) };
}

/** Rows of different inputs, as many as the weights can take in, learnt by heart with Adam; the better of two rates. */
async function memorising(subject: Sequential, sample: Sample, needs: TrialNeeds, share: () => number): Promise<Trials['subset']> {
  const { loss } = needs.training;
  const weights = subject.weights.filter(({ trainable }) => trainable).reduce((sum, { data }) => sum + data.length, 0);
  const units = sample.y.data.length / sample.rows;
  const most = Math.min(SUBSET, Math.floor(weights / (4 * units)));
  const rows = differentRows(sample, most);
  if (rows.length < 2) return undefined;
  const some = subset(sample, rows);
  const { constantLoss } = targetFacts(some, loss, needs.units);
  // One class only, or equal targets: a constant learns them.
  if (!(constantLoss > 0)) return undefined;
  const below = THRESHOLDS.memorised * constantLoss;
  const best = await atUsualRates((learningRate) =>
    trial(subject, some, { optimizer: adam({ learningRate }), steps: STEPS.subset, batchSize: some.rows, seconds: share(), below }), below); // prettier-ignore
  return { ...best, rows: some.rows, constantLoss };
}

function differentRows({ x, rows }: Sample, most: number): number[] {
  const seen = new Set<string>();
  const columns = x.data.length / rows;
  const chosen: number[] = [];
  for (let row = 0; row < rows && chosen.length < most; row++) {
    const key = chosenRows(x.data, [row], columns).join();
    if (seen.has(key)) continue;
    seen.add(key);
    chosen.push(row);
  }
  return chosen;
}

/** Trains on three quarters, judges by the rest. */
async function generalising(
  subject: Sequential,
  sample: Sample,
  needs: TrialNeeds,
  share: () => number,
): Promise<Trials['generalisation']> {
  const cut = Math.floor(sample.rows * 0.75);
  const [known, unknown] = [
    subset(sample, first(cut)),
    subset(
      sample,
      first(sample.rows - cut).map((row) => row + cut),
    ),
  ];
  const { constantLoss } = targetFacts(unknown, needs.training.loss, needs.units);
  const below = THRESHOLDS.learnt * constantLoss;
  const shared = { steps: STEPS.generalisation, batchSize: 32, judge: unknown, below };
  const best = await atUsualRates((learningRate) =>
    trial(subject, known, { ...shared, optimizer: adam({ learningRate }), seconds: share() }), below); // prettier-ignore
  return { ...best, constantLoss };
}
