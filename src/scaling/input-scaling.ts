// Standardised inputs: x becomes (x − mean) / standardDeviation while the engine reads it. Checked and copied here for model.ts.
import { GradmillError } from '../errors.js';
import { checkOptions, finiteNumber, reading, show } from '../options.js';
import { Scaler } from './scaler.js';

export interface InputScaling {
  readonly mean: number | readonly number[];
  /** More than 0. */
  readonly standardDeviation: number | readonly number[];
}

/**
 * @param given may be a scaler that was fitted
 * @param columns numbers that one example has
 * @throws GradmillError 'invalid-argument', 'unknown-name', 'shape-mismatch'
 */
export function checkScaling(given: InputScaling | Scaler, columns: number): InputScaling {
  const plain = reading('inputScaling', () => (given instanceof Scaler ? given.inputScaling : given));
  const { mean, standardDeviation } = checkOptions('inputScaling', plain, ['mean', 'standardDeviation']);
  const perColumn = (what: string, value: unknown, check: (what: string, value: unknown) => number): number | readonly number[] => {
    if (typeof value === 'number') return check(what, value);
    return reading(what, () => {
      if (!Array.isArray(value))
        throw new GradmillError('invalid-argument', `${what}: expected a number, or an array with one for each input, got ${show(value)}`);
      if (value.length !== columns)
        throw new GradmillError('shape-mismatch', `${what}: expected a number or ${columns} numbers, got ${value.length}`);
      return Array.from(value as readonly unknown[], (element, column) => check(`${what}[${column}]`, element));
    });
  };
  return {
    mean: perColumn('inputScaling: mean', mean, (what, value) => finiteNumber(what, value)),
    standardDeviation: perColumn('inputScaling: standardDeviation', standardDeviation, (what, value) => {
      const deviation = finiteNumber(what, value, { above: 0 });
      finiteNumber(`1 / ${what}`, 1 / deviation);
      return deviation;
    }),
  };
}
