// Node as the WebAssembly engine's host: worker_threads.
import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import type { WasmHost, WorkerPort } from '../wasm/host.js';

/** The globals that a worker's script finds in a browser. */
const WORKER_GLOBALS = `
const { parentPort } = require('node:worker_threads');
globalThis.postMessage = (message) => parentPort.postMessage(message);
parentPort.on('message', (data) => globalThis.onmessage({ data }));
`;

export const nodeHost: WasmHost = {
  name: 'node',
  sharedMemory: true,
  get cores() {
    return availableParallelism();
  },
  // Node's modules are loaded here, for whom they are for: an import of these two takes half of the time that all of gradmill takes.
  bytes: (threads) =>
    process.getBuiltinModule('node:fs').readFileSync(new URL(`../../wasm/${threads ? 'threads' : 'simd'}.wasm`, import.meta.url)),
  spawn(source) {
    // The program's own flags (--input-type, --import …) are not for this script, which needs next to no JavaScript memory.
    const threads = process.getBuiltinModule('node:worker_threads');
    const worker = new threads.Worker(WORKER_GLOBALS + source, {
      eval: true,
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: 1 },
    });
    worker.unref();
    return portOf(worker);
  },
  pause: () => new Promise((resolve) => setImmediate(resolve)),
};

function portOf(worker: Worker): WorkerPort {
  return {
    post(message) {
      worker.postMessage(message);
    },
    onMessage(listener, failed) {
      let ended = false;
      const end = (reason: string): void => {
        if (!ended) failed(reason);
        ended = true;
      };
      worker.on('message', listener);
      worker.on('error', (error: Error) => end(error.message));
      worker.on('exit', (code) => end(`it ended with exit code ${code}`));
    },
    ref: () => worker.ref(),
    unref: () => worker.unref(),
  };
}
