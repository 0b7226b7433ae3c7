// What every result of bench/ comes with: the machine, its load, versions and the command; tables for people, JSON for machines.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus, loadavg, machine, release, totalmem, type } from 'node:os';
import { fileURLToPath } from 'node:url';
import { engine } from '../src/engine.js';
import { VERSION } from '../src/version.js';
import type { Quartiles } from './slices.js';

export interface Machine {
  readonly date: string;
  readonly command: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  readonly gradmill: string;
  readonly commit: string;
  readonly backend: string;
  /** Of all slices: quartiles are over as many figures. */
  readonly rounds: number;
}

/** Of the package, or of the checkout. */
export const root = fileURLToPath(new URL('.', import.meta.resolve('gradmill/package.json')));

/** Whether these are the files of a checkout, with all its peers, and not those that npm installs. */
export const inCheckout = existsSync(`${root}bench/peers`);

export function thisMachine(args: readonly string[], rounds: number): Machine {
  const { name, isa, isas, threads, strict } = engine();
  return {
    date: new Date().toISOString(),
    command: `gradmill bench ${args.join(' ')}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()} ${machine()}`,
    node: process.version,
    gradmill: VERSION,
    commit: commit(),
    backend: `${name}, ${isa} of ${isas.join(' ')}, ${threads} threads${strict ? ', strict' : ''}`,
    rounds,
  };
}

/** Runnable processes over the last minute. */
export function load(): number {
  return Number((loadavg()[0] ?? 0).toFixed(2));
}

function commit(): string {
  // An installed package lies in somebody else's repository.
  if (!inCheckout) return 'published';
  try {
    const args = ['-C', root, 'describe', '--always', '--dirty'];
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

export function print(line = ''): void {
  console.log(line);
}

/** Columns of equal width, numbers to the right; the first row is the heading. */
export function printTable(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const leftAligned = (column: number) => rows.slice(1).some((row) => /^[^\d–<>-]/.test(row[column] ?? ''));
  const left = widths.map((_, column) => leftAligned(column));
  for (const row of rows) {
    const cells = widths.map((width, column) => (left[column] ? (row[column] ?? '').padEnd(width) : (row[column] ?? '').padStart(width)));
    print(cells.join('  ').trimEnd());
  }
}

/** The median, and the quartiles in parentheses. */
export function range(quartiles: Quartiles | undefined, format: (value: number) => string = show): string {
  return quartiles ? `${format(quartiles.median)} (${format(quartiles.low)}–${format(quartiles.high)})` : '–';
}

/** '24 KiB' */
export function sizeOf(bytes: number): string {
  return bytes < 2 ** 20 ? `${Math.round(bytes / 2 ** 10)} KiB` : `${Math.round(bytes / 2 ** 20)} MiB`;
}

/** Three significant digits or so. */
export function show(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en');
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
