// Checks of what users pass, in one wording. Everything public goes through these once; inner code trusts.
import { GradmillError, unknownName } from './errors.js';

/** @throws GradmillError 'invalid-argument' for no object, 'unknown-name' for an option that does not exist */
export function checkOptions(what: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw new GradmillError('invalid-argument', `${what}: expected an object of options, got ${show(options)}`);
  for (const name of Object.keys(options)) if (!known.includes(name)) throw unknownName(`option of ${what}`, name, known);
}

export function finiteNumber(what: string, value: unknown, range: { readonly min?: number; readonly max?: number; readonly above?: number; readonly below?: number } = {}): number {
  const { min = -Infinity, max = Infinity, above = -Infinity, below = Infinity } = range;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new GradmillError('invalid-argument', `${what}: expected a finite number, got ${show(value)}`);
  if (value < min || value > max || value <= above || value >= below) {
    const bounds = [
      min > -Infinity && `at least ${String(min)}`,
      above > -Infinity && `more than ${String(above)}`,
      max < Infinity && `at most ${String(max)}`,
      below < Infinity && `less than ${String(below)}`,
    ];
    throw new GradmillError('invalid-argument', `${what}: expected ${bounds.filter(Boolean).join(' and ')}, got ${String(value)}`);
  }
  return value;
}

export function wholeNumber(what: string, value: unknown, min = 0, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw new GradmillError('invalid-argument', `${what}: expected a whole number, got ${show(value)}`);
  return finiteNumber(what, value, { min, ...(max < Number.MAX_SAFE_INTEGER ? { max } : {}) });
}

export function flag(what: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw new GradmillError('invalid-argument', `${what}: expected true or false, got ${show(value)}`);
  return value;
}

export function oneOf<const Name extends string>(what: string, value: unknown, names: readonly Name[]): Name {
  if (typeof value !== 'string') throw new GradmillError('invalid-argument', `${what}: expected a name, got ${show(value)}`);
  if (!(names as readonly string[]).includes(value)) throw unknownName(what, value, names);
  return value as Name;
}

/** A value as a message shows it: short, whatever it is. */
export function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}…` : value}'`;
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return `an array of ${String(value.length)}`;
  if (ArrayBuffer.isView(value)) return value.constructor.name;
  if (typeof value === 'object' && value !== null) return 'an object';
  return String(value);
}
