// This machine's limit: float32 operations a second in registers, for an instruction set and a number of threads, by the small
// program native/peak.cpp, for WebAssembly by peak-wasm.mjs. Figures of bench/ are given as shares of it.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const source = fileURLToPath(new URL('native/peak.cpp', import.meta.url));
const wasmProgram = fileURLToPath(new URL('peak-wasm.mjs', import.meta.url));
const folder = fileURLToPath(new URL('native/build/', import.meta.url));

/** As many chains as the registers hold: two more are needed for the operands. */
const FLAGS: Readonly<Record<string, readonly string[]>> = {
  sse2: ['-DVECTOR_BYTES=16', '-DCHAINS=14', '-DFUSED=0'],
  avx2: ['-DVECTOR_BYTES=32', '-DCHAINS=14', '-DFUSED=1', '-mavx2', '-mfma'],
  avx512: ['-DVECTOR_BYTES=64', '-DCHAINS=24', '-DFUSED=1', '-mavx512f', '-mprefer-vector-width=512'],
  neon: ['-DVECTOR_BYTES=16', '-DCHAINS=24', '-DFUSED=1'],
};

/** What the WebAssembly engine calls its instruction set. */
export const WASM_ISA = 'simd128';

export interface Peak {
  /** GFLOP/s over all threads, in the least disturbed few milliseconds. */
  readonly best: number;
  readonly median: number;
}

/** @throws where no C++ compiler is found, or no checkout */
export async function peakProgram(isa: string): Promise<(threads: number, seconds: number) => Promise<Peak>> {
  if (!existsSync(wasmProgram)) throw new Error('the programs that measure peaks run from a checkout of gradmill only');
  const [command, ...args] = isa === WASM_ISA ? [process.execPath, '--no-liftoff', wasmProgram] : [await built(isa)];
  return async (threads, seconds) => {
    const { stdout } = await run(command, [...args, String(threads), String(seconds)]);
    return JSON.parse(stdout) as Peak;
  };
}

/** The program for an instruction set, built where it is older than its source. */
async function built(isa: string): Promise<string> {
  const program = `${folder}peak-${isa}`;
  const builtAt = statSync(program, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (builtAt < statSync(source).mtimeMs) {
    mkdirSync(folder, { recursive: true });
    await run(process.env.CXX ?? 'c++', [
      '-O2',
      '-std=c++17',
      '-pthread',
      '-ffp-contract=fast',
      ...(FLAGS[isa] ?? []),
      source,
      '-o',
      program,
    ]);
  }
  return program;
}
