// What may be wrong with inputs: numbers that are none, sizes, means far from 0, columns that say nothing.
import { figure, type Finding, percent, type Severity, THRESHOLDS } from '../findings.js';
import type { InputReport } from '../inputs.js';
import type { Check } from './examination.js';

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

export const inputScale: Check = ({ inputs, columns: names }) => {
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

export const inputCentre: Check = ({ inputs, columns: names }) => {
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

export const uselessInputs: Check = ({ inputs, columns: names }) => {
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
