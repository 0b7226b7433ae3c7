// The seam: what an engine does for TypeScript, and which engine runs here. Decided once, at first use; nothing is stored by
// the installation.
import { GradmillError } from './errors.js';
import { loadNative } from './native.js';
import { show } from './options.js';
import type { NumericArray } from './tensor.js';
import type { OpTable } from './ops.js';

/** Memory that the engine reads and scripts cannot take away. */
export interface EngineMemory {
  /** What the engine knows it by. */
  readonly handle: object;
  /** A view for immediate use: never keep it. */
  bytes(): Uint8Array;
}

/** A plan loaded over an arena. Ranges are of instructions; one run at a time. */
export interface EngineProgram {
  /** Binds a data set to a slot for the runs that follow; nothing unbinds it. */
  feed(slot: number, memory: EngineMemory['handle'] | undefined, type: number, rows: number, columns: number): void;
  /** On this thread. False when the arena's control block holds a fault. */
  run(from: number, to: number, firstRow: number, rowCount: number, batch: number): boolean;
  /** On this thread, from and into the caller's own arrays. */
  predict(
    from: number,
    to: number,
    rows: number,
    batch: number,
    x: NumericArray,
    columns: number,
    out: Float32Array,
    outColumns: number,
  ): boolean;
  /** On the engine's threads. */
  start(from: number, to: number, firstRow: number, rowCount: number, batch: number): Promise<void>;
}

export interface GemmCall {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly c: Float32Array;
  readonly lda: number;
  readonly ldb: number;
  readonly ldc: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly alpha: number;
  readonly beta: number;
}

export interface Engine {
  readonly name: 'native' | 'wasm';
  readonly isa: string;
  /** Every instruction set that this machine can run. */
  readonly isas: readonly string[];
  /** Threads by default, and the most that a model gets. */
  readonly threads: number;
  readonly strict: boolean;
  /** Why this engine and not another. */
  readonly reason: string;
  readonly ops: OpTable;
  /** Zeroed. @throws GradmillError 'out-of-memory', 'size-overflow' beyond what any machine has */
  allocate(bytes: number): EngineMemory;
  /** @throws GradmillError 'backend-unavailable' for a plan that the engine refuses */
  load(
    arena: EngineMemory,
    words: Uint32Array,
    options: { readonly isa?: string; readonly strict: boolean; readonly threads: number },
  ): EngineProgram;
  gemm(call: GemmCall, options: { readonly isa?: string; readonly strict: boolean }): void;
}

/** An environment variable; empty counts as unset. */
function variable(name: string): string | undefined {
  const value = process.env[name];
  return value === undefined || value === '' ? undefined : value;
}

function positive(name: string): number | undefined {
  const text = variable(name);
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new GradmillError('invalid-argument', `${name}: expected a whole number of at least 1, got ${show(text)}`);
  return Number(text);
}

let current: Engine | undefined;

/**
 * The engine of this environment (thread), loaded at first use.
 * GRADMILL_BACKEND=auto|native|wasm, GRADMILL_ISA, GRADMILL_THREADS, GRADMILL_STRICT choose.
 * @throws GradmillError 'backend-unavailable', with the reason; 'invalid-argument' for a variable that makes no sense
 */
export function engine(): Engine {
  if (current) return current;
  const wanted = variable('GRADMILL_BACKEND') ?? 'auto';
  if (!['auto', 'native', 'wasm'].includes(wanted))
    throw new GradmillError('invalid-argument', `GRADMILL_BACKEND: expected auto, native or wasm, got ${show(wanted)}`);
  if (wanted === 'wasm')
    throw new GradmillError(
      'backend-unavailable',
      'GRADMILL_BACKEND=wasm: this version has no WebAssembly engine; unset it or set it to native',
    );
  const strict = variable('GRADMILL_STRICT');
  if (strict !== undefined && strict !== '0' && strict !== '1')
    throw new GradmillError('invalid-argument', `GRADMILL_STRICT: expected 0 or 1, got ${show(strict)}`);
  current = loadNative({ isa: variable('GRADMILL_ISA'), threads: positive('GRADMILL_THREADS'), strict: strict === '1' });
  return current;
}

/** What runs here: engine, instruction set, threads, strict mode, and why. */
export interface Backend {
  readonly name: 'native' | 'wasm';
  readonly isa: string;
  readonly threads: number;
  readonly strict: boolean;
  readonly reason: string;
}

/** @throws GradmillError 'backend-unavailable' where no engine runs, 'invalid-argument' for an environment variable that makes no sense */
export function backend(): Backend {
  const { name, isa, threads, strict, reason } = engine();
  return { name, isa, threads, strict, reason };
}
