// What has changed between two runs of the bench: rows of the same thing side by side, and whether a difference is more than
// the noise that both runs show. Of two reports as `--json` writes them.
import { GradmillError } from '../src/errors.js';
import { readRegularFile } from '../src/node/files.js';
import { print, printTable, range, show } from './report.js';
import type { Quartiles } from './slices.js';

/** What `--json` writes. */
export interface Report {
  readonly machine: Readonly<Record<string, unknown>>;
  /** By command, in the form of each. */
  readonly results: Readonly<Record<string, unknown>>;
}

/**
 * faster, slower: the quartiles of the two runs do not overlap, and the medians are further apart than runs of one build are. Where
 * slices of a run were fewer than 5, quartiles say too little: 'too few rounds'.
 */
export type Verdict = 'faster' | 'slower' | 'no difference seen' | 'too few rounds';

export interface Change {
  readonly command: string;
  /** 'W2, 1 thread, gradmill native avx2' */
  readonly row: string;
  /** The figure that both rows have: 'microseconds', 'gflops' … */
  readonly figure: string;
  readonly old: Quartiles;
  readonly new: Quartiles;
  /** How many times as fast as before, by the medians. */
  readonly ratio: number;
  /** The same of the shares of the peak that was measured in the same rounds: a clock that has changed does not count. */
  readonly ratioOfShares?: number;
  /** Of the shares, where both rows have them. */
  readonly verdict: Verdict;
}

export interface Comparison {
  readonly changes: readonly Change[];
  /** Rows that only one of the runs has. */
  readonly onlyOld: readonly string[];
  readonly onlyNew: readonly string[];
  /** Commands of both runs whose figures come without quartiles. */
  readonly without: readonly string[];
  /** What else differs: 'node was v20.20.2, is v22.12.0'. */
  readonly differences: readonly string[];
}

/**
 * Medians nearer to each other than that are the same: two runs of one build differ by as much, as their code and data lie elsewhere in
 * memory and others use the machine, which quartiles of a run do not show. On more threads it is also how far apart the cores lie.
 */
const BETWEEN_RUNS = { oneThread: 0.15, moreThreads: 0.3 } as const;
const FEWEST_ROUNDS = 5;

/** Of a row, numbers that say what is measured; texts and truths always do. All other numbers are measured. */
const SETTINGS = new Set(['threads', 'm', 'n', 'k', 'batch', 'rows', 'width', 'depth', 'weights', 'bytes']);

/** Of the machine, what figures depend on. */
const FACTS = ['cpu', 'cpuModel', 'cores', 'caches', 'memoryGiB', 'hugePages', 'system', 'node', 'gradmill', 'backend'];

export function compare(old: Report, now: Report): Comparison {
  const [before, after] = [rowsOf(old), rowsOf(now)];
  const changes: Change[] = [];
  for (const [id, row] of after) {
    const then = before.get(id)?.figures;
    if (then) changes.push(...changesOf(row, then));
  }
  const comparable = new Set([...before.values(), ...after.values()].map(({ command }) => command));
  const missing = (rows: typeof before, others: typeof before) =>
    [...rows].filter(([id]) => !others.has(id)).map(([, { command, row }]) => `${command}: ${row}`);
  return {
    changes,
    onlyOld: missing(before, after),
    onlyNew: missing(after, before),
    without: Object.keys(now.results).filter((command) => command in old.results && !comparable.has(command)),
    // Reports of older versions do not say all of them.
    differences: FACTS.filter((fact) => fact in old.machine && old.machine[fact] !== now.machine[fact]).map(
      (fact) => `${fact} was ${String(old.machine[fact])}, is ${String(now.machine[fact])}`,
    ),
  };
}

/** By figure; those of quartiles alone. */
type Figures = ReadonlyMap<string, Quartiles>;

interface Row {
  readonly command: string;
  readonly row: string;
  /** Whether all of it ran on one; a row that does not say may have used them all. */
  readonly oneThread: boolean;
  readonly figures: Figures;
}

/** Every object of a report that holds quartiles, wherever it stands, by what identifies it. */
function rowsOf({ results }: Report): Map<string, Row> {
  const rows = new Map<string, Row>();
  const visit = (command: string, value: unknown, given: readonly string[]) => {
    if (Array.isArray(value)) {
      for (const item of value) visit(command, item, given);
    } else if (typeof value === 'object' && value !== null) {
      const entries = Object.entries(value);
      const figures = new Map(entries.filter((entry): entry is [string, Quartiles] => isQuartiles(entry[1])));
      const own = [...given, ...entries.flatMap(([name, item]) => identity(name, item))];
      const oneThread = own.includes(ONE_THREAD);
      if (figures.size > 0) rows.set([command, ...own].join('\n'), { command, row: own.join(', '), oneThread, figures });
      else for (const [, item] of entries) visit(command, item, own);
    }
  };
  for (const [command, value] of Object.entries(results)) visit(command, value, []);
  return rows;
}

function isQuartiles(value: unknown): value is Quartiles {
  return typeof value === 'object' && value !== null && ['low', 'median', 'high'].every((name) => typeof (value as Record<string, unknown>)[name] === 'number'); // prettier-ignore
}

const ONE_THREAD = '1 thread';

/** What follows from the rest of a row or from what was measured, and so names nothing. */
const NAMELESS = new Set(['family', 'agrees', 'bound']);

/** In words, or nothing. */
function identity(name: string, value: unknown): string[] {
  if (NAMELESS.has(name)) return [];
  if (typeof value === 'string') return value === '' ? [] : [value];
  if (typeof value === 'boolean') return value ? [name] : [];
  if (typeof value !== 'number' || !SETTINGS.has(name)) return [];
  if (name !== 'threads') return [`${name} ${value}`];
  return [value === 1 ? ONE_THREAD : `${value} threads`];
}

/**
 * Times and bytes want to be small, as do values (of startup) and errors (of predict), rates large; ratios and shares are no figures of
 * their own.
 */
function direction(figure: string): 1 | -1 | undefined {
  if (figure === 'value' || figure === 'error') return -1;
  if (/seconds$|bytes$/i.test(figure) && !/per(micro|milli)?second/i.test(figure)) return -1;
  return /flops|persecond|rate/i.test(figure) ? 1 : undefined;
}

/** Shares of a limit measured in the same rounds. */
const SHARES = /^shareOf(Peak|Limit)$/;

function changesOf({ command, row, oneThread, figures: now }: Row, old: Figures): Change[] {
  const floor = oneThread ? BETWEEN_RUNS.oneThread : BETWEEN_RUNS.moreThreads;
  const shared = [...now.keys()].filter((figure) => old.has(figure));
  const share = shared.find((figure) => SHARES.test(figure));
  return shared.flatMap((figure): Change[] => {
    const sign = direction(figure);
    const [then, is] = [old.get(figure), now.get(figure)];
    if (sign === undefined || !then || !is) return [];
    const [oldShare, newShare] = share === undefined ? [] : [old.get(share), now.get(share)];
    const normalised = oldShare && newShare ? { verdict: verdictOf(oldShare, newShare, 1, floor), ratioOfShares: newShare.median / oldShare.median } : undefined; // prettier-ignore
    const ratio = sign === 1 ? is.median / then.median : then.median / is.median;
    return [{ command, row, figure, old: then, new: is, ratio, verdict: verdictOf(then, is, sign, floor), ...normalised }];
  });
}

/**
 * @param sign 1 where more is faster, −1 where less is
 * @param floor the least difference that counts
 */
function verdictOf(old: Quartiles, now: Quartiles, sign: 1 | -1, floor: number): Verdict {
  if (Math.min(roundsOf(old), roundsOf(now)) < FEWEST_ROUNDS) return 'too few rounds';
  const apart = Math.max(old.median, now.median) / Math.min(old.median, now.median) - 1;
  const overlap = old.low <= now.high && now.low <= old.high;
  if (overlap || !(apart >= floor)) return 'no difference seen';
  return Math.sign(now.median - old.median) === sign ? 'faster' : 'slower';
}

/** Reports of older versions do not say. */
function roundsOf({ rounds }: Partial<Quartiles>): number {
  return rounds ?? Infinity;
}

const LARGEST_REPORT = 64 * 2 ** 20;

/** @throws GradmillError 'file-io', 'file-invalid', 'size-overflow' */
export async function readReport(path: string): Promise<Report> {
  const text = new TextDecoder().decode(await readRegularFile(path, LARGEST_REPORT));
  const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
  try {
    const report = JSON.parse(text) as Partial<Report> | null;
    if (isObject(report?.machine) && isObject(report.results)) return report as Report;
  } catch {
    // The same message.
  }
  throw new GradmillError('file-invalid', `'${path}' is no report of gradmill bench --json`);
}

export function printComparison({ changes, onlyOld, onlyNew, without, differences }: Comparison, old: Report): void {
  print(`\nCompared with ${String(old.machine.gradmill)} (${String(old.machine.commit)}) of ${String(old.machine.date)}`);
  for (const difference of differences) print(`Not the same: ${difference}.`);
  const times = (ratio: number | undefined) => (ratio === undefined ? '–' : `${ratio.toFixed(2)} ×`);
  if (changes.length > 0)
    printTable([
      ['', '', 'was (quartiles)', 'is (quartiles)', 'speed', 'by share of peak', ''],
      ...changes.map(({ row, figure, old, new: now, ratio, ratioOfShares, verdict }) => [
        row,
        figure === 'seconds' ? 'microseconds' : figure,
        ...[old, now].map((quartiles) => range(quartiles, figure === 'seconds' ? (value) => show(value * 1e6) : show)),
        times(ratio),
        times(ratioOfShares),
        verdict,
      ]),
    ]);
  const count = (verdict: Verdict) => changes.filter((change) => change.verdict === verdict).length;
  const verdicts = ['faster', 'slower', 'no difference seen', 'too few rounds'] as const;
  print(verdicts.map((verdict) => `${verdict}: ${count(verdict)}`).join(', '));
  const [one, more] = [BETWEEN_RUNS.oneThread, BETWEEN_RUNS.moreThreads].map((share) => `${100 * share} %`);
  print(`Less than ${one} on one thread, ${more} on more, is no difference: runs of one build are as far apart.`);
  for (const command of without) print(`${command}: nothing to compare, its figures come without quartiles.`);
  for (const row of onlyOld) print(`Only in the older run: ${row}`);
  for (const row of onlyNew) print(`Only in this run: ${row}`);
}
