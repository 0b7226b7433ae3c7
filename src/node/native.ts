// The native engine: loads the addon, tests it once, and dresses it as an Engine.
import { createRequire } from 'node:module';
import { totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { checkBytes, type Engine, type EngineMemory, type EngineProgram, selfTest } from '../engine.js';
import { GradmillError } from '../errors.js';
import { type OpText, parseOps } from '../ops.js';
import { show } from '../options.js';
import { ALIGNMENT } from '../plan.js';
import type { Choice } from '../platform.js';

interface AddonMemory {
  readonly offset: number;
  release(): void;
}

interface Addon {
  readonly isas: readonly string[];
  readonly cores: number;
  readonly caches: NonNullable<Engine['caches']>;
  readonly ops: readonly OpText[];
  readonly Memory: new (bytes: Uint8Array, alignment: number) => AddonMemory;
  readonly Program: new (arena: AddonMemory, words: Uint32Array, isa: string, strict: boolean, threads: number) => EngineProgram;
  configure(threads: number): void;
  gemm(
    isa: string,
    strict: boolean,
    m: number,
    n: number,
    k: number,
    a: Float32Array,
    b: Float32Array,
    c: Float32Array,
    ...rest: readonly (number | boolean)[]
  ): void;
}

const ADDON = fileURLToPath(new URL('../../native/build/gradmill.node', import.meta.url));

/** Linux gives whole ones of them: a step reads and writes far apart, and small pages are scattered over memory. */
const HUGE_PAGE = 2 ** 21;

class NativeMemory implements EngineMemory {
  readonly handle: AddonMemory;
  readonly #bytes: Uint8Array;

  constructor(addon: Addon, bytes: number) {
    const alignment = bytes < HUGE_PAGE ? ALIGNMENT : HUGE_PAGE;
    const raw = new Uint8Array(new SharedArrayBuffer(bytes + alignment));
    this.handle = new addon.Memory(raw, alignment);
    this.#bytes = raw.subarray(this.handle.offset, this.handle.offset + bytes);
  }

  bytes(): Uint8Array {
    return this.#bytes;
  }

  release(): void {
    this.handle.release();
  }
}

const SMALL_BYTES = 2 ** 28;

/** What the process's cgroup has, else what the machine has left. A cgroup's own count of what is left takes files it has read for used. */
function memoryLimit(): number {
  const granted = process.constrainedMemory();
  return granted > 0 && granted < totalmem() ? granted : process.availableMemory();
}

/** @throws GradmillError 'backend-unavailable', which says why; 'invalid-argument' for an unknown or unsupported isa */
export function loadNative({ isa: wanted, threads: asked, strict }: Choice): Engine {
  const addon = load();
  const best = addon.isas.at(-1) ?? '';
  if (wanted !== undefined && !addon.isas.includes(wanted))
    throw new GradmillError(
      'invalid-argument',
      `GRADMILL_ISA: expected one of ${addon.isas.join(', ')}, which this machine runs, got ${show(wanted)}`,
    );
  const isa = wanted ?? best;
  const threads = Math.min(asked ?? addon.cores, addon.cores);
  addon.configure(threads);
  const gemm: Engine['gemm'] = (call, options) => {
    const { m, n, k, a, b, c, lda, ldb, ldc, transposeA, transposeB, alpha, beta } = call;
    addon.gemm(options.isa ?? isa, options.strict, m, n, k, a, b, c, lda, ldb, ldc, transposeA, transposeB, alpha, beta);
  };
  selfTest('the native addon', (call) => {
    gemm(call, { strict: true });
  });
  return {
    name: 'native',
    isa,
    isas: addon.isas,
    threads,
    strict,
    reason: wanted === undefined ? 'native addon, best instruction set of this machine' : `native addon, GRADMILL_ISA=${wanted}`,
    ops: parseOps(addon.ops),
    caches: addon.caches,
    allocate(bytes) {
      checkBytes(bytes);
      // Linux grants more than there is, and ends the process when it is used.
      const most = bytes > SMALL_BYTES ? memoryLimit() : SMALL_BYTES;
      if (bytes > most) throw new GradmillError('out-of-memory', `${bytes} bytes: this process may use ${most}`);
      try {
        return new NativeMemory(addon, bytes);
      } catch (cause) {
        throw new GradmillError('out-of-memory', `${bytes} bytes: not granted`, { cause });
      }
    },
    load(arena, words, options) {
      try {
        return new addon.Program(arena.handle as AddonMemory, words, options.isa ?? isa, options.strict, options.threads);
      } catch (cause) {
        throw new GradmillError('backend-unavailable', `the engine refused a plan: ${(cause as Error).message}`, { cause });
      }
    },
    gemm,
  };
}

function load(): Addon {
  let addon: Partial<Addon>;
  try {
    addon = createRequire(import.meta.url)(ADDON) as Partial<Addon>;
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
    const [why] = (cause as Error).message.split('\n');
    throw new GradmillError('backend-unavailable', missing ? 'the native addon is not built' : `the native addon does not load (${why})`, {
      cause,
    });
  }
  if (!Array.isArray(addon.isas) || !Array.isArray(addon.ops) || typeof addon.gemm !== 'function')
    throw new GradmillError('backend-unavailable', 'the native addon is not one of this version');
  return addon as Addon;
}
