// The seam: what an engine does for TypeScript, and which engine runs here. Decided once, at first use; nothing is stored by
// the installation.
import { GradmillError } from './errors.js';
import { checkOptions, show, wholeNumber } from './options.js';
import { type CompiledModule, type Platform, platform } from './platform.js';
import type { NumericArray } from './tensor.js';
import type { OpTable } from './ops.js';

/** Memory that the engine reads and scripts cannot take away. */
export interface EngineMemory {
  /** What the engine knows it by. */
  readonly handle: object;
  /** A view for immediate use: never keep it. */
  bytes(): Uint8Array;
  /** Gives it back before it is collected; nothing may use it afterwards, nor a program loaded over it. Optional. */
  release(): void;
}

/**
 * Every so many batches of a run one runs other instructions, `from` to `to`: those whose number in the run, from 0, plus `phase` is
 * a multiple of `every`. What these leave in the arena from line `figures` (64 bytes each) on becomes the next row of FEED.samples.
 */
export type WatchedBatches = readonly [every: number, phase: number, from: number, to: number, figures: number];

/** A plan loaded over an arena. Ranges are of instructions; one run at a time. */
export interface EngineProgram {
  /** Binds a data set to a slot for the runs that follow; undefined unbinds what was bound. */
  feed(slot: number, memory: EngineMemory['handle'] | undefined, type: number, rows: number, columns: number): void;
  /** On this thread. False when the arena's control block holds a fault. */
  run(from: number, to: number, firstRow: number, rowCount: number, batch: number, ...watch: Partial<WatchedBatches>): boolean;
  /** All instructions on this thread, from and into the caller's own arrays. Six arguments: of more the addon's library makes an array. */
  predict(rows: number, batch: number, x: NumericArray, columns: number, out: Float32Array, outColumns: number): boolean;
  /** Rough nanoseconds on one thread, of instructions `from` to `to` for so many rows. */
  estimate(from: number, to: number, rows: number): number;
  /** On the engine's threads. */
  start(from: number, to: number, firstRow: number, rowCount: number, batch: number, ...watch: Partial<WatchedBatches>): Promise<void>;
  /** Gives its memory back before it is collected; nothing may call it afterwards. Undefined: there is none to give. */
  release?(): void;
  /** How threads divide the program. Undefined: this engine does not tell. */
  division?(): Division;
}

export interface Division {
  /** So short, all instructions together, that they are done by one thread where that is found to be faster. */
  readonly short: boolean;
  readonly steps: readonly DividedStep[];
}

export interface DividedStep {
  /** Its number in the plan; those of two phases come twice. */
  readonly instruction: number;
  /** Parts along m and n; 1 along n of what is no product. */
  readonly rowParts: number;
  readonly columnParts: number;
  /** How the largest part of a gemm is computed. */
  readonly product?: ProductWay;
}

export interface ProductWay {
  /** Of the part. */
  readonly rows: number;
  readonly columns: number;
  /** Of a register tile; 0 where there are none, as in products of a single row. */
  readonly tileRows: number;
  readonly tileColumns: number;
  /** A tile's rows are columns of c. */
  readonly sideways: boolean;
  /** Of k at a time: c is read and written once for each. */
  readonly depth: number;
  readonly packsA: boolean;
  readonly packsB: boolean;
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
  /** Bytes of a core's data caches, 0 where there is none or the system does not tell; L3 is that of the cores which share it. Undefined: unknown. */
  readonly caches?: { readonly l1: number; readonly l2: number; readonly l3: number };
  /** Resolves when its workers have started or failed; `threads` and `reason` are final then. Undefined: it has none to wait for. */
  readonly ready?: Promise<void>;
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

/** No machine has more: a size beyond it is a mistake. */
const MOST_BYTES = 2 ** 48;

/** @throws GradmillError 'size-overflow' */
export function checkBytes(bytes: number): void {
  if (!(bytes <= MOST_BYTES)) throw new GradmillError('size-overflow', `${bytes} bytes: too many for any machine`);
}

/** An engine for another processor, or miscompiled, must not train: one known product. @throws GradmillError 'backend-unavailable' */
export function selfTest(what: string, gemm: (call: GemmCall) => void): void {
  const [a, b, c] = [Float32Array.of(1, 2, 3, 4), Float32Array.of(5, 6, 7, 8), new Float32Array(4)];
  gemm({ m: 2, n: 2, k: 2, a, b, c, lda: 2, ldb: 2, ldc: 2, transposeA: false, transposeB: false, alpha: 1, beta: 0 });
  if (c.join() !== '19,22,43,50') throw new GradmillError('backend-unavailable', `${what} computes wrong products (${c.join()})`);
}

/** What an engine was loaded for. */
interface Loaded {
  readonly engine: Engine;
  readonly platform: Platform;
  readonly asked: InitializeOptions;
}

let loaded: Loaded | undefined;

/**
 * The engine of this environment (thread), loaded at first use.
 * GRADMILL_BACKEND=auto|native|wasm, GRADMILL_ISA, GRADMILL_THREADS, GRADMILL_STRICT choose.
 * @throws GradmillError 'backend-unavailable', with the reason; 'invalid-argument' for a variable that makes no sense
 */
export function engine(): Engine {
  return (loaded?.platform === platform() ? loaded : load({})).engine;
}

function load({ threads = countOf('GRADMILL_THREADS'), module }: InitializeOptions): Loaded {
  const host = platform();
  const wanted = host.variable('GRADMILL_BACKEND') ?? 'auto';
  if (wanted !== 'auto' && wanted !== 'native' && wanted !== 'wasm')
    throw new GradmillError('invalid-argument', `GRADMILL_BACKEND: expected auto, native or wasm, got ${show(wanted)}`);
  const strict = host.variable('GRADMILL_STRICT');
  if (strict !== undefined && strict !== '0' && strict !== '1')
    throw new GradmillError('invalid-argument', `GRADMILL_STRICT: expected 0 or 1, got ${show(strict)}`);
  const choice = { isa: host.variable('GRADMILL_ISA'), threads, strict: strict === '1', module };
  return (loaded = { engine: host.loadEngine(wanted, choice), platform: host, asked: { threads, module } });
}

function countOf(name: string): number | undefined {
  const text = platform().variable(name);
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new GradmillError('invalid-argument', `${name}: expected a whole number of at least 1, got ${show(text)}`);
  return Number(text);
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

export interface InitializeOptions {
  /** At most so many threads. Default: GRADMILL_THREADS, else all cores. */
  readonly threads?: number;
  /** WebAssembly only: the package's module, compiled elsewhere, where a page or runtime forbids to compile. Default: compiled here. */
  readonly module?: CompiledModule;
}

/**
 * Loads the engine, and waits until its workers run. Optional: whatever needs the engine loads it otherwise, at once, and
 * computes with the threads that have started. Resolves with what runs, as backend() tells it.
 *
 * Rejects with GradmillError 'backend-unavailable' where no engine runs, and 'invalid-argument' for options or environment
 * variables that make no sense, or when the engine was loaded before with other threads or another module.
 */
export async function initialize(options: InitializeOptions = {}): Promise<Backend> {
  const given = checkOptions('initialize', options, ['threads', 'module']);
  if (given.threads !== undefined) wholeNumber('initialize: threads', given.threads, 1, 1024);
  if (given.module !== undefined && Object.prototype.toString.call(given.module) !== '[object WebAssembly.Module]')
    throw new GradmillError('invalid-argument', `initialize: module: expected a WebAssembly.Module, got ${show(given.module)}`);
  const module =
    given.module ??
    (loaded?.platform === platform()
      ? undefined
      : await platform()
          .compile?.()
          .catch(() => undefined));
  if (loaded?.platform === platform()) refuseOther(loaded, given);
  else load({ ...given, module });
  const { ready } = engine();
  // Workers do not keep a process running: who waits for them does.
  const waiting = ready && setInterval(() => undefined, 1000);
  try {
    await ready;
  } finally {
    clearInterval(waiting);
  }
  return backend();
}

/** @throws GradmillError 'invalid-argument' for what the engine can no longer become */
function refuseOther({ engine, asked }: Loaded, { threads, module }: InitializeOptions): void {
  const advice = 'call initialize before all else';
  if (threads !== undefined && threads !== asked.threads && threads !== engine.threads)
    throw new GradmillError(
      'invalid-argument',
      `initialize: threads: the engine was loaded before, with ${engine.threads}, got ${threads}; ${advice}`,
    );
  if (module !== undefined && module !== asked.module && engine.name === 'wasm')
    throw new GradmillError('invalid-argument', `initialize: module: the engine was loaded before, with another module; ${advice}`);
}
