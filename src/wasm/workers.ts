// The threads of the team: workers over the same memory, each with a stack and an instance of its own.
import { GradmillError } from '../errors.js';
import type { WasmEngine } from './engine.js';
import type { WasmHost, WorkerPort } from './host.js';
import { STACK_GUARD, WORKER_SOURCE, type WorkerStart } from './worker.js';

const STACK_BYTES = 256 * 1024;

export class Workers {
  /** That are asked for, or, once all have started or failed, that run. */
  count: number;
  readonly #engine: WasmEngine;
  readonly #module: WebAssembly.Module;
  readonly #host: WasmHost;
  readonly #lost: (why: string) => void;
  readonly #waiting = new Map<number, { resolve: (done: boolean) => void; reject: (error: Error) => void }>();
  readonly #ports = new Set<WorkerPort>();
  #started: Promise<void> | undefined;
  #failure: GradmillError | undefined;

  /** @param lost called once when none has started */
  constructor(engine: WasmEngine, module: WebAssembly.Module, host: WasmHost, count: number, lost: (why: string) => void) {
    this.#engine = engine;
    this.#module = module;
    this.#host = host;
    this.count = count;
    this.#lost = lost;
  }

  /** Why nothing runs any more: a worker ended, and others may still write where it worked. */
  get failure(): GradmillError | undefined {
    return this.#failure;
  }

  /** Resolves when every worker runs or has failed. */
  start(): Promise<void> {
    return (this.#started ??= this.#startAll());
  }

  async #startAll(): Promise<void> {
    const failures = (await Promise.all(Array.from({ length: this.count }, () => this.#spawn()))).filter((failure) => failure !== undefined);
    this.count -= failures.length;
    if (this.count > 0) return;
    // No job has been begun: they go on without workers.
    this.#lost(failures[0]);
    for (const { resolve } of this.#waiting.values()) resolve(false);
    this.#waiting.clear();
  }

  /** False when there are no workers to run it. */
  run(program: number): Promise<boolean> {
    const done = new Promise<boolean>((resolve, reject) => this.#waiting.set(program, { resolve, reject }));
    void this.start();
    if (this.#waiting.size === 1) for (const port of this.#ports) port.ref();
    this.#engine.exports.submit(program);
    return done;
  }

  /** Resolves with the reason when the worker does not start. It keeps the process alive until then, and while jobs run. */
  #spawn(): Promise<string | undefined> {
    return new Promise((resolve) => {
      let ready = false;
      let port: WorkerPort | undefined;
      let start: WorkerStart;
      try {
        start = this.#member();
        port = this.#host.spawn(WORKER_SOURCE);
      } catch (error) {
        resolve((error as Error).message);
        return;
      }
      if (!port) {
        resolve('there are no workers');
        return;
      }
      const started = port;
      started.onMessage(
        (message) => {
          if (typeof message === 'number') {
            this.#settle(message);
            return;
          }
          ready = true;
          if (this.#waiting.size === 0) started.unref();
          resolve(undefined);
        },
        (reason) => {
          this.#ports.delete(started);
          if (ready) this.#broken(reason);
          else resolve(reason);
        },
      );
      this.#ports.add(started);
      started.ref();
      started.post(start);
    });
  }

  /** A thread of the team, with its scratch and stack. */
  #member(): WorkerStart {
    const { heap, exports } = this.#engine;
    const member = heap.allocate(exports.memberBytes()).start;
    const stack = heap.allocate(STACK_BYTES);
    new Int32Array(heap.memory.buffer, stack.start, 1)[0] = STACK_GUARD;
    exports.enlist(member, heap.allocate(exports.scratchBytes()).start);
    return { module: this.#module, memory: heap.memory, member, stackTop: stack.end, stackGuard: stack.start };
  }

  #settle(program: number): void {
    const job = this.#waiting.get(program);
    this.#waiting.delete(program);
    if (this.#waiting.size === 0) for (const port of this.#ports) port.unref();
    job?.resolve(true);
  }

  /** A worker that ran has ended: what it worked on is lost, and the team may wait for it for ever. */
  #broken(reason: string): void {
    const error = (this.#failure ??= new GradmillError('backend-unavailable', `a WebAssembly worker ended: ${reason}`));
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    for (const port of this.#ports) port.unref();
  }
}
