// Results of engines against the float64 interpreter's, by what rounding explains (src/diagnostics/rounding.ts).
import { expect } from 'vitest';
import { explainedBy } from '../src/diagnostics/rounding.js';

/** By what and where: the largest error met, in units of 2⁻²⁴ of what one rounding costs. */
const worst = new Map<string, Record<string, number>>();

/** GRADMILL_FIGURES=1: prints the largest errors of a test file. */
export function printWorst(): void {
  if (process.env.GRADMILL_FIGURES) console.table(Object.fromEntries(worst));
}

/** Fails where a float32 result is further from the interpreter's than rounding explains. No error: equal numbers only. */
export function expectRounded(what: string, where: string, actual: ArrayLike<number>, reference: Float64Array, error?: Float64Array): void {
  let most = worst.get(what)?.[where] ?? 0;
  for (let i = 0; i < reference.length; i++) {
    const [got, wanted] = [actual[i], reference[i]];
    if (got === wanted || (Number.isNaN(got) && Number.isNaN(wanted))) continue;
    const off = Math.abs(got - wanted);
    const explained = error ? explainedBy(error[i]) : 0;
    if (!(off <= explained))
      expect.fail(`${what}[${i}] on ${where}: ${got}, the interpreter says ${wanted}; off by ${off}, rounding explains ${explained}`);
    most = Math.max(most, (8 * off) / explained);
  }
  worst.set(what, { ...worst.get(what), [where]: Number(most.toFixed(2)) });
}
