// Checks of what users pass, in one wording. Everything public goes through these once; inner code trusts.
import { GradmillError, unknownName } from './errors.js';

/** The largest size of one dimension: the engine counts in 31 bits. */
export const LARGEST_SIZE = 0x7fffffff;

/**
 * A plain copy of the options, each read once: what is checked is what is used, whatever the caller's object does later.
 * Options that are undefined are left out.
 * @throws GradmillError 'invalid-argument' for no object or one that cannot be read, 'unknown-name' for an option that does not exist
 */
export function checkOptions<Options>(what: string, options: Options, known: readonly string[]): Options {
  return reading(what, () => {
    if (!isPlain(options)) throw new GradmillError('invalid-argument', `${what}: expected an object of options, got ${show(options)}`);
    for (const name of Object.keys(options)) if (!known.includes(name)) throw unknownName(`option of ${what}`, name, known);
    // Without a prototype, '__proto__' is a name like any other.
    const copy = Object.create(null) as Record<string, unknown>;
    for (const name of known) {
      const value = (options as Record<string, unknown>)[name];
      if (value !== undefined) copy[name] = value;
    }
    return copy as Options;
  });
}

/** No array, promise, map or other special object: reading options from one would find none, silently. */
function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && ['Object', 'Module'].includes(kindOf(value));
}

/** 'Object', 'Promise', 'Map' … */
function kindOf(value: object): string {
  return Object.prototype.toString.call(value).slice('[object '.length, -1);
}

/** Runs code that reads a caller's object: an error out of its getters becomes ours. */
export function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw unreadable(what, cause);
  }
}

/** What the caller's object threw while it was read, as an error of ours. */
export function unreadable(what: string, cause: unknown): GradmillError {
  if (cause instanceof GradmillError) return cause;
  return new GradmillError('invalid-argument', `${what}: reading it failed: ${cause instanceof Error ? cause.message : show(cause)}`, {
    cause,
  });
}

interface Range {
  readonly min?: number;
  readonly max?: number;
  readonly above?: number;
  readonly below?: number;
}

/** A number that is finite in float32 too, for all of them end there. */
export function finiteNumber(what: string, value: unknown, range: Range = {}): number {
  const { min = -Infinity, max = Infinity, above = -Infinity, below = Infinity } = range;
  if (typeof value !== 'number' || !Number.isFinite(value))
    throw new GradmillError('invalid-argument', `${what}: expected a finite number, got ${show(value)}`);
  if (value < min || value > max || value <= above || value >= below) {
    const bounds = [
      min > -Infinity && `at least ${min}`,
      above > -Infinity && `more than ${above}`,
      max < Infinity && `at most ${max}`,
      below < Infinity && `less than ${below}`,
    ];
    throw new GradmillError('invalid-argument', `${what}: expected ${bounds.filter(Boolean).join(' and ')}, got ${value}`);
  }
  if (!Number.isFinite(Math.fround(value))) throw new GradmillError('invalid-argument', `${what}: ${value} is too large for a float32`);
  return value;
}

export function wholeNumber(what: string, value: unknown, min = 0, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value))
    throw new GradmillError('invalid-argument', `${what}: expected a whole number, got ${show(value)}`);
  return finiteNumber(what, value, { min, ...(max < Number.MAX_SAFE_INTEGER ? { max } : {}) });
}

/** A size of one dimension. @throws GradmillError 'invalid-argument', 'size-overflow' beyond 2³¹ − 1 */
export function size(what: string, value: unknown, min = 1): number {
  if (typeof value === 'number' && Number.isInteger(value) && value > LARGEST_SIZE)
    throw new GradmillError('size-overflow', `${what}: expected at most ${LARGEST_SIZE}, got ${value}`);
  return wholeNumber(what, value, min);
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

/** Longer lists of layers or sizes are mistakes, or attacks. */
export const LONGEST_LIST = 10_000;

/** A list of anything, copied. @throws GradmillError 'invalid-argument', 'size-overflow' beyond `most` */
export function list(what: string, value: unknown, most = LONGEST_LIST): readonly unknown[] {
  return reading(what, () => {
    if (!Array.isArray(value)) throw new GradmillError('invalid-argument', `${what}: expected an array, got ${show(value)}`);
    if (value.length > most) throw new GradmillError('size-overflow', `${what}: expected at most ${most} elements, got ${value.length}`);
    return Array.from(value as readonly unknown[]);
  });
}

/** [x, y], each read once. @throws GradmillError 'invalid-argument' */
export function pairOf<T>(what: string, given: readonly [T, T]): readonly [T, T] {
  return reading(what, () => {
    if (!Array.isArray(given) || (given.length as number) !== 2)
      throw new GradmillError('invalid-argument', `${what}: expected [x, y], got ${show(given)}`);
    return [given[0], given[1]];
  });
}

/** @throws GradmillError 'invalid-argument' */
export function checkPath(call: string, path: unknown, others = ''): string {
  if (typeof path !== 'string' || path === '' || path.includes('\0'))
    throw new GradmillError('invalid-argument', `${call}: expected a path${others}, got ${show(path)}`);
  return path;
}

/** A value as a message shows it: short, whatever it is. */
export function show(value: unknown): string {
  try {
    if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}…` : value}'`;
    if (typeof value === 'bigint') return `${value}n`;
    if (typeof value === 'function') return `the function ${value.name}`.trimEnd();
    if (Array.isArray(value)) return `an array of ${value.length}`;
    if (typeof value !== 'object' || value === null) return String(value);
    const kind = kindOf(value);
    return kind === 'Object' ? 'an object' : `a value of type ${kind}`;
  } catch {
    return 'an object that cannot be read';
  }
}

/** [2, 3, 4], cut short where it is long. */
export function showShape(shape: readonly unknown[]): string {
  const sizes = Array.from(shape.slice(0, 8), (size) => (typeof size === 'number' ? String(size) : show(size)));
  return `[${sizes.join(', ')}${shape.length > 8 ? ', …' : ''}]`;
}
