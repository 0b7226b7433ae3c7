// The WebAssembly engine: one module, one linear memory, and, where memory can be shared, workers that run the jobs. The
// calling thread has an instance of its own over the same memory for what returns at once.
import { checkBytes, type Engine, type EngineMemory, type EngineProgram, type GemmCall, selfTest } from '../engine.js';
import { GradmillError } from '../errors.js';
import { type OpTable, parseOps } from '../ops.js';
import type { Exports } from './exports.js';
import { Heap, MOST_PAGES, WasmMemory } from './heap.js';
import type { WasmHost } from './host.js';
import { WasmProgram } from './program.js';
import { Workers } from './workers.js';

export interface WasmChoice {
  /** Default: host.cores. */
  readonly threads?: number | undefined;
  readonly strict: boolean;
  /** Why not another engine. */
  readonly reason: string;
  /** Compiled from either of the modules that ship, for those who may not compile here. */
  readonly module?: WebAssembly.Module | undefined;
}

/** As the modules are linked. */
const FIRST_PAGES = 16;
/** A run on the calling thread gives up its turn after so long. */
const TURN_MILLISECONDS = 5;

/** @throws GradmillError 'backend-unavailable' where WebAssembly, its SIMD instructions or memory are missing */
export function loadWasm(choice: WasmChoice, host: WasmHost): Engine {
  return new WasmEngine(choice, host);
}

export class WasmEngine implements Engine {
  readonly name = 'wasm';
  readonly isa = 'simd128';
  readonly isas = ['simd128'];
  readonly strict: boolean;
  readonly ops: OpTable;
  readonly heap: Heap;
  readonly exports: Exports;
  /** Of the calling thread. */
  readonly scratch: number;
  readonly #host: WasmHost;
  readonly #module: WebAssembly.Module;
  #workers: Workers | undefined;
  #reason: string;
  #turnEnds = 0;

  constructor({ threads, strict, reason, module }: WasmChoice, host: WasmHost) {
    this.#host = host;
    this.strict = strict;
    this.#reason = reason;
    const shared = module ? WebAssembly.Module.exports(module).some(({ name }) => name === 'submit') : host.sharedMemory === true;
    if (host.sharedMemory !== true) this.#oneThread(host.sharedMemory);
    if (shared && host.sharedMemory !== true)
      throw new GradmillError('invalid-argument', `initialize: module: it needs shared memory (${host.sharedMemory}); give the one without threads`);
    try {
      this.#module = module ?? new WebAssembly.Module(host.bytes(shared));
      const memory = newMemory(shared);
      this.exports = this.#instantiate(memory);
      this.heap = new Heap(memory, this.exports.__heap_base.value >>> 0);
    } catch (cause) {
      if (cause instanceof GradmillError) throw cause;
      throw new GradmillError('backend-unavailable', `WebAssembly with SIMD does not run here: ${(cause as Error).message}`, { cause });
    }
    this.exports._initialize();
    this.scratch = this.heap.allocate(this.exports.scratchBytes()).start;
    this.ops = parseOps(
      Array.from({ length: this.exports.opCount() }, (_, op) => {
        const [name, dims, immediates, operands] = [0, 1, 2, 3].map((column) => this.text(this.exports.opText(op, column)));
        return { name, dims, immediates, operands };
      }),
    );
    selfTest('the WebAssembly engine', (call) => {
      this.gemm(call);
    });
    if (shared) {
      const count = Math.min(threads ?? host.cores, host.cores);
      this.#workers = new Workers(this, this.#module, host, count, (why) => {
        this.#workers = undefined;
        this.#oneThread(why);
      });
    }
  }

  get threads(): number {
    return this.#workers?.count ?? 1;
  }

  /** Why nothing runs any more. */
  get failure(): GradmillError | undefined {
    return this.#workers?.failure;
  }

  get reason(): string {
    return this.#reason;
  }

  get ready(): Promise<void> {
    return this.#workers?.start() ?? Promise.resolve();
  }

  allocate(bytes: number): WasmMemory {
    checkBytes(bytes);
    return new WasmMemory(this.heap, bytes);
  }

  load(arena: EngineMemory, words: Uint32Array, { threads }: { readonly threads: number }): EngineProgram {
    if (!(arena instanceof WasmMemory)) throw new GradmillError('backend-unavailable', 'the arena is of another engine');
    return new WasmProgram(this, arena, words, threads);
  }

  gemm({ m, n, k, a, b, c, lda, ldb, ldc, transposeA, transposeB, alpha, beta }: GemmCall): void {
    const memories = [a, b, c].map((array) => {
      const memory = this.allocate(array.byteLength);
      this.floats(memory.start, array.length).set(array);
      return memory;
    });
    const [left, right, out] = memories.map(({ start }) => start);
    this.exports.gemm(m, n, k, left, right, out, lda, ldb, ldc, Number(transposeA), Number(transposeB), alpha, beta, this.scratch);
    c.set(this.floats(out, c.length));
    for (const memory of memories) memory.release();
  }

  // ── For programs ────────────────────────────────────────────────────────────────────────────────────────────────

  floats(start: number, length: number): Float32Array {
    return new Float32Array(this.heap.memory.buffer, start, length);
  }

  /** A C string. */
  text(address: number): string {
    const bytes = new Uint8Array(this.heap.memory.buffer);
    let text = '';
    for (let at = address >>> 0; bytes[at] !== 0; at++) text += String.fromCharCode(bytes[at]);
    return text;
  }

  /** The run that `begin` has checked: on the workers, or in turns with whatever else this thread has to do. */
  async finish(program: number): Promise<void> {
    if (this.#workers && (await this.#workers.run(program))) return;
    for (;;) {
      // Runs that follow each other share a turn.
      if (performance.now() >= this.#turnEnds) {
        await this.#host.pause();
        this.#turnEnds = performance.now() + TURN_MILLISECONDS;
      }
      if (this.exports.resume(program, this.scratch) === 0) return;
    }
  }

  /** Whether runs take turns on the calling thread. */
  get takesTurns(): boolean {
    return !this.#workers;
  }

  #oneThread(why: string): void {
    this.#reason += `; one thread, the caller's: ${why}`;
  }

  #instantiate(memory: WebAssembly.Memory): Exports {
    const host = {
      late: () => Number(performance.now() >= this.#turnEnds),
      now: () => performance.now() * 1e6,
      // Whoever asks looks again: the calling thread may not sleep.
      wait: () => undefined,
      finished: () => undefined,
    };
    return new WebAssembly.Instance(this.#module, { host, env: { memory } }).exports as unknown as Exports;
  }
}

/** The module that ships for this host, compiled off the thread. */
export async function compileModule(host: WasmHost): Promise<WebAssembly.Module> {
  return WebAssembly.compile(host.bytes(host.sharedMemory === true));
}

/** As large as the machine lets it become: a 4 GiB range cannot always be reserved. */
function newMemory(shared: boolean): WebAssembly.Memory {
  for (let maximum = MOST_PAGES; ; maximum = Math.floor(maximum / 2)) {
    try {
      return new WebAssembly.Memory({ initial: FIRST_PAGES, maximum, shared });
    } catch (error) {
      if (maximum < 1024) throw error;
    }
  }
}
