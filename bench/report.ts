// What every result of bench/ comes with: the machine, its load, versions and the command; tables for people, JSON for machines.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cpus, loadavg, machine, release, totalmem, type } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type Engine, engine } from '../src/engine.js';
import { VERSION } from '../src/version.js';
import type { Quartiles } from './slices.js';

export interface Machine {
  readonly date: string;
  readonly command: string;
  readonly cpu: string;
  /** Where the name is but a family's. */
  readonly cpuModel: string;
  readonly cores: number;
  /** Of data, of a core; the last is shared by some. */
  readonly caches: string;
  readonly memoryGiB: number;
  /** When Linux gives them: always, madvise, never. */
  readonly hugePages: string;
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
    cpuModel: ['cpu family', 'model', 'stepping'].map((field) => `${field} ${cpuInfo(field)}`).join(', '),
    cores: cpus().length,
    caches: cachesOf(engine()),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    hugePages: /\[(\w+)\]/.exec(textOf('/sys/kernel/mm/transparent_hugepage/enabled'))?.[1] ?? 'unknown',
    system: `${type()} ${release()} ${machine()}`,
    node: process.version,
    gradmill: VERSION,
    commit: commit(),
    backend: `${name}, ${isa} of ${isas.join(' ')}, ${threads} threads${strict ? ', strict' : ''}`,
    rounds,
  };
}

/** Of a command. */
export interface Load {
  readonly before: number;
  readonly after: number;
  /** Shares of the time of all cores; absent where there is no /proc. */
  readonly stolen?: number;
  readonly others?: number;
}

/** '0.12, 1.96 (CPU time: 0 % stolen, 3 % others)' */
export function loadText({ before, after, stolen, others }: Load): string {
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  const taken = stolen === undefined || others === undefined ? '' : ` (CPU time: ${percent(stolen)} stolen, ${percent(others)} others)`;
  return `${before}, ${after}${taken}`;
}

/** Runnable processes over the last minute. */
export function load(): number {
  return Number((loadavg()[0] ?? 0).toFixed(2));
}

/** A virtual machine may keep them from the engine. */
function cachesOf({ caches }: Engine): string {
  const sizes = Object.entries(caches ?? {}).filter(([, bytes]) => bytes > 0);
  if (sizes.length === 0) return `${cpuInfo('cache size')} (/proc/cpuinfo)`;
  return sizes.map(([level, bytes]) => `${level.toUpperCase()} ${sizeOf(bytes)}`).join(', ');
}

function cpuInfo(field: string): string {
  return new RegExp(`^${field}\\s*: (.*)$`, 'm').exec(textOf('/proc/cpuinfo'))?.[1] ?? 'unknown';
}

/** In ticks of the clock, since the machine started: of all cores, taken by its host, and of processes; of these our own. */
export interface CpuTime {
  readonly all: number;
  readonly stolen: number;
  readonly busy: number;
  readonly own: number;
}

/** All zero where there is no /proc. */
export function cpuTime(): CpuTime {
  const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0, stolen = 0] = numbersOf(
    /^cpu +(.*)/.exec(textOf('/proc/stat'))?.[1],
  );
  const busy = user + nice + system + irq + softirq;
  return { all: busy + idle + wait + stolen, stolen, busy, own: treeTime(process.pid) };
}

/** Of a process, of those that it has started, and of those of them that have ended. */
function treeTime(root: number): number {
  const names = existsSync('/proc/self/stat') ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : [];
  // Behind the name, which may hold anything: state, parent, …, user and system time, the same of children that have ended.
  const all = names.map((pid) => ({ pid: Number(pid), fields: numbersOf(textOf(`/proc/${pid}/stat`).replace(/^.*\) /s, '')) }));
  const timeOf = (pid: number, fields: readonly number[]): number =>
    fields.slice(11, 15).reduce((sum, ticks) => sum + ticks, 0) +
    all.filter((each) => each.fields[1] === pid).reduce((sum, child) => sum + timeOf(child.pid, child.fields), 0);
  return timeOf(root, all.find(({ pid }) => pid === root)?.fields ?? []);
}

function numbersOf(text = ''): number[] {
  return text.split(' ').map(Number);
}

/** Shares of all cores' time between two moments: what the host took, and what processes that are not ours used. */
export function disturbance(before: CpuTime, after: CpuTime): { readonly stolen: number; readonly others: number } | undefined {
  const since = (what: keyof CpuTime) => after[what] - before[what];
  const all = since('all');
  // Ticks of ours are counted in another way than those of the machine.
  return all > 0 ? { stolen: since('stolen') / all, others: Math.max(0, since('busy') - since('own')) / all } : undefined;
}

/** Of a file of the system; empty where there is none. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
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
