// The checks before a long run (docs/theory.md), and how long and how large it will be.
import { callOn, copyOf, type Sequential } from '../model.js';
import { checkOptions, size, wholeNumber } from '../options.js';
import { type TensorInput, toRows, bytesPerElement } from '../tensor.js';
import type { Examination } from './checks/examination.js';
import { type DiagnoseOptions, examine } from './diagnose.js';
import { figure, type Finding, type FindingCode, THRESHOLDS } from './findings.js';
import { sampleOf, withoutLoneRow } from './trials.js';

export interface PreflightOptions extends DiagnoseOptions {
  /** Epochs that the run will have, for the estimate. Default 1. */
  readonly epochs?: number;
}

export interface PreflightCheck {
  readonly name:
    | 'inputs are finite and scaled'
    | 'loss at the start'
    | 'small subset learnt by heart'
    | 'loss falls in the first steps'
    | 'gradients reach the first layer';
  readonly passed: boolean;
  /** The figures, in words. */
  readonly result: string;
}

export interface PreflightReport {
  /** No check failed and no finding is an error. */
  readonly passed: boolean;
  readonly checks: PreflightCheck[];
  readonly findings: Finding[];
  readonly estimate: {
    readonly secondsPerEpoch: number;
    readonly seconds: number;
    /** Weights, gradients, moments and the activations of a batch. */
    readonly modelBytes: number;
    /** Of x and y in the engine's memory. */
    readonly dataBytes: number;
  };
}

/** Steps that the estimate times, after as many that warm up. */
const TIMED_STEPS = 20;

/**
 * What is worth a minute before an hour: diagnose, its figures as checks passed or failed, and an estimate of time and memory from a
 * few steps of a copy. The model does not change. Rejects as diagnose does.
 */
export async function preflight(
  model: Sequential,
  x: TensorInput,
  y: TensorInput,
  options: PreflightOptions = {},
): Promise<PreflightReport> {
  const { epochs = 1, ...rest } = checkOptions('preflight', options, ['columns', 'seconds', 'batchSize', 'epochs']);
  const count = wholeNumber('preflight: epochs', epochs);
  const batchSize = size('preflight: batchSize', rest.batchSize ?? 32);
  const { findings, examination } = await examine(model, x, y, rest);
  const checks = examination ? checksOf(findings, examination) : [check('inputs are finite and scaled', false, findings[0].message)];
  const estimate = await estimated(model, x, y, { batchSize, epochs: count, run: examination !== undefined });
  const passed = checks.every((one) => one.passed) && !findings.some(({ severity }) => severity === 'error');
  return { passed, checks, findings, estimate };
}

function check(name: PreflightCheck['name'], passed: boolean, result: string): PreflightCheck {
  return { name, passed, result };
}

function checksOf(findings: readonly Finding[], { inputs, loss, targets, training, signals, trials }: Examination): PreflightCheck[] {
  const fine = (...codes: FindingCode[]): boolean => !findings.some(({ code, severity }) => severity !== 'note' && codes.includes(code));
  const logits = training.loss.classes || training.loss.name === 'binaryCrossEntropy';
  const raw = inputs.conditionNumber?.raw;
  const condition = raw === undefined ? '' : raw === Infinity ? ', some of which depend on others' : `, condition number ${figure(raw)}`;
  const { subset, own } = trials ?? {};
  return [
    check('inputs are finite and scaled', fine('unscaled-inputs', 'uncentred-inputs', 'constant-inputs'), `${counted(inputs.rows, 'row')} of ${counted(inputs.columns.length, 'column')}${condition}`), // prettier-ignore
    check(
      'loss at the start',
      fine('loss-at-init'),
      `${figure(loss)}; ${logits ? `equal shares have ${figure(targets.ignorantLoss)}` : `predicting 0 has ${figure(targets.ignorantLoss)}`}, the best constant ${figure(targets.constantLoss)}`,
    ),
    check('gradients reach the first layer', fine('vanishing-gradient', 'exploding-gradient'), `at the input ${figure(signals.flow.firstOverLast)} of that at the output`), // prettier-ignore
    ...(own ? [check('loss falls in the first steps', !own.diverged && own.after < own.before, `${figure(own.before)} to ${figure(own.after)} in ${own.steps} steps`)] : []), // prettier-ignore
    ...(subset
      ? [check('small subset learnt by heart', subset.after < THRESHOLDS.memorised * subset.constantLoss, `${subset.rows} rows: loss ${figure(subset.before)} to ${figure(subset.after)} in ${subset.steps} steps`)] // prettier-ignore
      : []),
  ];
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

async function estimated(
  model: Sequential,
  x: TensorInput,
  y: TensorInput,
  { batchSize, epochs, run }: { readonly batchSize: number; readonly epochs: number; readonly run: boolean },
): Promise<PreflightReport['estimate']> {
  const copy = await callOn(model, () => Promise.resolve(copyOf(model)));
  try {
    const [inputs, targets] = [toRows('x', x), toRows('y', y)];
    const { rows } = inputs;
    const batch = Math.min(batchSize, rows);
    let secondsPerEpoch = NaN;
    if (run) {
      const kind = targets.columns === 1 ? 'labels' : 'rows';
      const sample = withoutLoneRow(sampleOf(inputs, targets, kind, batch * TIMED_STEPS), batch);
      const seconds: number[] = [];
      const options = {
        epochs: 3,
        batchSize: Math.min(batch, sample.rows),
        onEpoch: (report: { readonly seconds: number }) => void seconds.push(report.seconds),
      };
      await copy.fit(sample.x, sample.y, options).catch(() => undefined);
      // The first warms up; a run that diverged has at least begun.
      const fastest = Math.min(...(seconds.length > 1 ? seconds.slice(1) : seconds));
      secondsPerEpoch = (fastest / sample.rows) * rows;
    }
    const modelBytes = await callOn(copy, ({ runtime }) => Promise.resolve(runtime.bytes));
    const dataBytes = [inputs, targets].reduce((sum, { rows, columns, type }) => sum + rows * columns * bytesPerElement(type), 0);
    return { secondsPerEpoch, seconds: secondsPerEpoch * epochs, modelBytes, dataBytes };
  } finally {
    copy.dispose();
  }
}
