// Command lines: each command declares its flags in a table, which parses, checks, and prints itself for --help.
// A UsageError is one line for the user and exit code 2; nothing else on a command line may throw.

import { parseArgs } from 'node:util';
import { nearestName } from '../errors.js';

export class UsageError extends Error {}

export interface Flag<T> {
  /** Shown after the name in --help; a flag without it is a switch. */
  readonly value?: string;
  readonly help: string;
  /** One letter: '-o' for '--out'. */
  readonly short?: string;
  /** What `parse` accepts, for the error: 'a whole number from 1 to 9'. */
  readonly expects?: string;
  /** The names it accepts, if it is one of few. */
  readonly options?: readonly string[];
  /** Returns undefined for text that is not a value of this flag. */
  readonly parse: (text: string) => T | undefined;
}

export type FlagTable = Readonly<Record<string, Flag<unknown>>>;

export type FlagValues<Table extends FlagTable> = {
  readonly [Name in keyof Table]?: Table[Name] extends Flag<infer T> ? T : never;
};

export interface CommandLine<Table extends FlagTable> {
  readonly flags: FlagValues<Table>;
  readonly positionals: readonly string[];
}

export function parseCommandLine<Table extends FlagTable>(args: readonly string[], table: Table): CommandLine<Table> {
  const { tokens, positionals } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(table).map(([name, flag]) => [
        name,
        { type: flag.value === undefined ? 'boolean' : 'string', ...shortOf(name, flag) },
      ]),
    ),
    strict: false, // strict parseArgs stops at the first error with words of its own and suggests nothing
    allowPositionals: true,
    tokens: true,
  });
  const flags: Record<string, unknown> = {};
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    const flag = Object.hasOwn(table, name) ? table[name] : undefined;
    if (flag === undefined) {
      const nearest = nearestName(name, Object.keys(table));
      throw new UsageError(`unknown flag ${rawName}${nearest === undefined ? '' : `, did you mean --${nearest}?`}`);
    }
    if (Object.hasOwn(flags, name)) throw new UsageError(`${rawName} is given twice`);
    if (flag.value === undefined) {
      if (value !== undefined) throw new UsageError(`${rawName} takes no value, got '${value}'`);
      flags[name] = flag.parse('');
      continue;
    }
    // `--out --strict` is a forgotten value, not a file called --strict; `--out=--strict` says what it means.
    if (value === undefined || (!token.inlineValue && value.startsWith('--'))) {
      throw new UsageError(`${rawName} needs a value: ${rawName} ${flag.value}`);
    }
    const parsed = flag.parse(value);
    if (parsed === undefined) {
      const nearest = nearestName(value, flag.options ?? []);
      const hint = nearest === undefined ? '' : `; did you mean '${nearest}'?`;
      throw new UsageError(`${rawName} expects ${flag.expects ?? flag.value}, got '${value}'${hint}`);
    }
    flags[name] = parsed;
  }
  return { flags: flags as FlagValues<Table>, positionals };
}

function shortOf(name: string, { short = name === 'help' ? 'h' : undefined }: Flag<unknown>): { short?: string } {
  return short === undefined ? {} : { short };
}

/** The lines of --help that describe the flags. */
export function describeFlags(table: FlagTable): string {
  const heads = Object.entries(table).map(([name, { value }]) => `  --${name}${value === undefined ? '' : ` ${value}`}`);
  const width = Math.max(...heads.map((head) => head.length)) + 2;
  return Object.values(table)
    .map(({ help }, index) => `${heads[index].padEnd(width)}${help}`)
    .join('\n');
}

export const toggle = (help: string): Flag<true> => ({ help, parse: () => true });

export const text = (value: string, help: string): Flag<string> => ({
  value,
  help,
  expects: 'a text',
  parse: (given) => (given === '' ? undefined : given),
});

export const names = (value: string, help: string): Flag<string[]> => ({
  value,
  help,
  expects: 'names separated by commas',
  parse: (given) => {
    const list = given.split(',').map((name) => name.trim());
    return list.includes('') ? undefined : list;
  },
});

export const integer = (value: string, help: string, min: number, max: number): Flag<number> => ({
  value,
  help,
  expects: `a whole number from ${min} to ${max}`,
  parse: (given) => parseInteger(given, min, max),
});

/** A decimal number with min ≤ x < max, or min < x when `open`. */
export const decimal = (
  value: string,
  help: string,
  { min, max = Infinity, open = false }: { min: number; max?: number; open?: boolean },
): Flag<number> => ({
  value,
  help,
  expects: [`a number ${open ? 'above' : 'from'} ${min}`, ...(max < Infinity ? [`below ${max}`] : [])].join(' and '),
  parse: (given) => {
    const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(given) ? Number(given) : NaN;
    return number < max && (open ? number > min : number >= min) ? number : undefined;
  },
});

export const oneOf = <Name extends string>(options: readonly Name[], value: string, help: string): Flag<Name> => ({
  value,
  help,
  expects: `one of ${options.join(', ')}`,
  options,
  parse: (given) => options.find((option) => option === given),
});

/** Names separated by commas; any, where their options are known later. */
export const someOf = <Name extends string>(options: readonly Name[] | undefined, value: string, help: string): Flag<Name[]> => ({
  value,
  help,
  expects: `names${options === undefined ? '' : ` of ${options.join(', ')}`}, separated by commas`,
  ...(options && { options }),
  parse: (given) => {
    const list = given.split(',').map((name) => (options === undefined ? (name as Name) : options.find((option) => option === name)));
    return list.every((name) => name !== undefined && name !== '') ? (list as Name[]) : undefined;
  },
});

export const integers = (value: string, help: string, min: number, max: number): Flag<number[]> => ({
  value,
  help,
  expects: `whole numbers from ${min} to ${max} separated by commas`,
  parse: (given) => {
    const list = given.split(',').map((number) => parseInteger(number, min, max));
    return list.every((number) => number !== undefined) ? list : undefined;
  },
});

/** '512,512' → [512, 512]; 'none' → [], a model without hidden layers. */
export const layerSizes = (value: string, help: string): Flag<number[]> => ({
  value,
  help,
  expects: "whole numbers of at least 1 separated by commas, or 'none'",
  parse: (given) => {
    if (given === 'none') return [];
    const sizes = given.split(',').map((size) => parseInteger(size.trim(), 1, 1 << 20));
    return sizes.every((size) => size !== undefined) ? sizes : undefined;
  },
});

function parseInteger(given: string, min: number, max: number): number | undefined {
  const number = /^\d{1,16}$/.test(given) ? Number(given) : NaN;
  return number >= min && number <= max ? number : undefined;
}
