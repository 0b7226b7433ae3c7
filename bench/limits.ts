// The machine's limits by instruction set and number of threads, of which the other figures of bench/ are shares.
import { type Engine, engine } from '../src/engine.js';
import { type LimitOptions, type Limits, measureLimits, measurePeak } from '../src/limits.js';
import { platform } from '../src/platform.js';
import { print, printTable, show, sizeOf } from './report.js';
import type { Variant } from './slices.js';

/** What the WebAssembly engine calls its instruction set. */
export const WASM_ISA = 'simd128';

let beside: Promise<Engine> | undefined;

/** The engine of this process, or WebAssembly beside it. */
export async function engineWith(isa: string): Promise<Engine> {
  const own = engine();
  if (own.isas.includes(isa)) return own;
  return (beside ??= startWasm(own.strict));
}

async function startWasm(strict: boolean): Promise<Engine> {
  const wasm = platform().loadEngine('wasm', { isa: undefined, threads: undefined, strict, module: undefined });
  await wasm.ready;
  return wasm;
}

/** The instruction set of the native engine, which peers are given as well; undefined where it does not run. */
export function nativeIsa(): string | undefined {
  const own = engine();
  if (own.name === 'native') return own.isa;
  try {
    const isa = platform().variable('GRADMILL_ISA');
    return platform().loadEngine('native', { isa, threads: undefined, strict: false, module: undefined }).isa;
  } catch {
    return undefined;
  }
}

/** `peak N`: GFLOP/s of multiply-adds by N threads, in turns with what is told as a share of it. */
export function peakOf(owner: Engine, options: Omit<LimitOptions, 'seconds'>): Variant {
  return { name: `peak ${options.threads}`, slice: async (seconds) => (await measurePeak(owner, { ...options, seconds })) / 1e9 };
}

interface LimitsOptions {
  readonly isas: readonly string[];
  readonly threads: readonly number[];
  /** Of each measurement. */
  readonly seconds: number;
}

export async function limits({ isas, threads, seconds }: LimitsOptions): Promise<Limits[]> {
  const results: Limits[] = [];
  for (const isa of isas) {
    const owner = await engineWith(isa);
    for (const count of threads) results.push(await measureLimits(owner, { threads: count, isa, seconds }));
  }
  printLimits(results);
  return results;
}

export function printLimits(limits: readonly Limits[]): void {
  print('\nFloat32 multiply-adds in registers, and reads of L1, L2, L3 and memory by all threads together, in the least disturbed moments');
  printTable([
    ['isa', 'threads', 'GFLOP/s', ...['L1', 'L2', 'L3', 'memory'].map((level) => `${level}, GB/s`)],
    ...limits.map(({ isa, strict, threads, flops, bandwidth }) => [
      strict ? `${isa} strict` : isa,
      `${threads}`,
      show(flops / 1e9),
      ...bandwidth.map(({ bytes, perSecond }) => `${show(perSecond / 1e9)} (${sizeOf(bytes)})`),
    ]),
  ]);
}
