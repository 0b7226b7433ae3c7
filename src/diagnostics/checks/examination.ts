// What the checks look at: all that the doctor has measured, and the trials that it ran; and what a check is.
import type { Training } from '../../runtime.js';
import { type Finding, THRESHOLDS } from '../findings.js';
import type { Signals } from '../gradient-flow.js';
import type { InitReport } from '../initialization.js';
import type { InputReport } from '../inputs.js';
import type { Neighbours, TargetFacts } from '../targets.js';
import type { Trial } from '../trials.js';
import type { DeadUnits, DuplicateUnits } from '../units.js';

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

export type Check = (seen: Examination) => Finding[];
