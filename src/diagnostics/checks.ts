// What the doctor concludes: each check makes findings of one examination, with figures, advice and the reason. Nothing is measured
// here; thresholds are in findings.ts, the checks themselves in checks/, a file a subject.
import type { Check, Examination } from './checks/examination.js';
import { inputCentre, inputScale, uselessInputs } from './checks/inputs.js';
import { deadLayers, gradientSize, identicalUnits, initialSize, saturation } from './checks/start.js';
import { classBalance, lossFits, shuffledLabels, startingLoss, targetScale } from './checks/targets.js';
import { learningRate, memorisation } from './checks/trials.js';
import { type Finding, ranked } from './findings.js';

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
