// Peak resident memory of training, beside what it must hold: parameters, gradients, moments and activations. Each library trains
// each workload in a process of its own, whose memory is read from outside.
import { readFileSync, writeFileSync } from 'node:fs';
import { launches, Peer, type Family } from './peers/peer.js';
import { print, printTable } from './report.js';
import { type Workload, describe } from './workloads.js';

export interface MemoryOptions {
  /** Those of steps are measured. */
  readonly workloads: readonly Workload[];
  readonly threads: number;
  readonly families: readonly Family[];
  readonly python: string;
}

/** All in bytes. */
export interface MemoryMeasurement {
  readonly workload: string;
  readonly who: string;
  /** Of the process with its library loaded, before there are examples. */
  readonly bare: number;
  /** The same with the examples made. */
  readonly baseline: number;
  /** The largest while it trains; where the kernel does not forget the one before, since the process began. */
  readonly peak: number;
  readonly sinceStart: boolean;
  /** Of the examples that gradmill's fit copies, which are not the model's; peers make no copy. */
  readonly copied: number;
  /** peak − baseline − copied */
  readonly training: number;
  /** What training must hold. */
  readonly needed: number;
  readonly ratio: number;
}

/** More than this times what training must hold is too much, where that is large enough to be told from a process's own changes. */
const TARGET = 1.25;
const TELLING_BYTES = 16 * 2 ** 20;

/** Steps, and so batches in memory: the second finds all there is. */
const STEPS = 2;

const FLOAT = Float32Array.BYTES_PER_ELEMENT;

/** Bytes of parameters, gradients, moments, and activations: the batch that a step reads and every layer's output. */
export function neededBytes({ units, batch, optimizer }: Workload): number {
  const parameters = units.slice(1).reduce((all, out, i) => all + ((units[i] ?? 0) + 1) * out, 0);
  const moments = optimizer.name === 'adam' ? 2 : optimizer.momentum > 0 ? 1 : 0;
  const activations = batch * units.reduce((all, width) => all + width, 0);
  return FLOAT * ((2 + moments) * parameters + activations);
}

/** @throws Error where there is no /proc */
export async function memory({ workloads, families, threads, python }: MemoryOptions): Promise<MemoryMeasurement[]> {
  const results: MemoryMeasurement[] = [];
  const steps = workloads.filter(({ measures }) => measures === 'step');
  for (const workload of steps)
    for (const family of families) {
      try {
        const [launch] = launches(family, { python, avx512: false, counted: true });
        results.push(await measure(workload, await Peer.start(launch), threads));
      } catch (error) {
        if (family === families[0]) throw error;
        if (workload === steps[0]) print(`${family} is left out: ${(error as Error).message}`);
      }
    }
  printResults(steps, results);
  return results;
}

async function measure(workload: Workload, peer: Peer, threads: number): Promise<MemoryMeasurement> {
  try {
    const rows = STEPS * workload.batch;
    const { resident: bare } = memoryOf(peer.pid);
    await peer.examples(workload, rows);
    const { resident: baseline } = memoryOf(peer.pid);
    const sinceStart = !forgetPeak(peer.pid);
    await peer.train(Math.min(threads, peer.greeting.threads));
    const { peak } = memoryOf(peer.pid);
    const needed = neededBytes(workload);
    const own = peer.family === 'native' || peer.family === 'wasm';
    const copied = own ? rows * ((workload.units[0] ?? 0) + 1) * FLOAT : 0;
    const training = peak - baseline - copied;
    const ratio = training / needed;
    return { workload: workload.name, who: peer.greeting.name, bare, baseline, peak, sinceStart, copied, training, needed, ratio };
  } finally {
    peer.stop();
  }
}

/** In bytes. VmHWM, not getrusage's maximum, which a process inherits from the one that started it. */
function memoryOf(pid: number): { resident: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  return { resident: field('VmRSS'), peak: field('VmHWM') };
}

/** So that what start-up took for a moment does not count; false where the kernel refuses. */
function forgetPeak(pid: number): boolean {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
    return true;
  } catch {
    return false;
  }
}

function printResults(workloads: readonly Workload[], results: readonly MemoryMeasurement[]): void {
  const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
  print(`\nPeak resident memory of ${STEPS} training steps, in MiB. Needed: parameters, gradients, moments, activations.`);
  print('Training: the peak, less the process with its examples, less the copy of them that gradmill makes.');
  if (results.some(({ sinceStart }) => sinceStart)) print('The kernel does not reset peaks here: they count start-up too.');
  printTable([
    ['', '', 'bare process', 'peak', '− with examples', '− own copy', '= training', 'needed', 'training ÷ needed', ''],
    ...results.map(({ workload, who, bare, baseline, peak, copied, training, needed, ratio }) => [
      workload,
      who,
      ...[bare, peak, baseline, copied, training, needed].map(mebibytes),
      ratio.toFixed(2),
      !who.startsWith('gradmill') || needed < TELLING_BYTES ? '' : `≤ ${TARGET}: ${ratio <= TARGET ? 'met' : 'MISSED'}`,
    ]),
  ]);
  for (const workload of workloads) print(`${workload.name}: ${describe(workload)}`);
}
