// Browsers as the WebAssembly engine's host. Workers come out of a Blob, so that no file need lie anywhere.
import type { WasmHost, WorkerPort } from '../wasm/host.js';
import { simd, threads } from '../wasm/modules.js';

// Of the types of browsers only what is used here: with lib "dom" the core could name what only browsers know.
interface WebWorker {
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  onmessageerror: (() => void) | null;
  onerror: ((event: { readonly message?: string; preventDefault?(): void }) => void) | null;
  postMessage(message: unknown): void;
  // Bun has these.
  ref?(): void;
  unref?(): void;
}
interface Port {
  onmessage: (() => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}
interface Web {
  readonly MessageChannel: new () => { readonly port1: Port; readonly port2: Port };
  readonly Worker?: new (url: string, options: { readonly type: 'classic' | 'module'; readonly name: string }) => WebWorker;
  readonly crossOriginIsolated?: boolean;
  readonly navigator?: { readonly hardwareConcurrency?: number };
}
const web = globalThis as unknown as Web;

export const browserHost: WasmHost = {
  name: 'browser',
  get sharedMemory() {
    return web.crossOriginIsolated === true ? true : 'the page is not cross-origin isolated';
  },
  get cores() {
    return web.navigator?.hardwareConcurrency ?? 1;
  },
  bytes: (withThreads) => Uint8Array.from(atob(withThreads ? threads : simd), (character) => character.charCodeAt(0)),
  spawn(source) {
    const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
    try {
      const worker = workerOf(url);
      worker?.unref?.();
      return worker && portOf(worker, url);
    } catch (error) {
      URL.revokeObjectURL(url);
      throw error;
    }
  },
  pause: () =>
    new Promise((resolve) => {
      const { port1, port2 } = new web.MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(undefined);
    }),
};

/** @throws what a page throws that allows no workers, or none out of a Blob */
function workerOf(url: string): WebWorker | undefined {
  if (!web.Worker) return undefined;
  try {
    return new web.Worker(url, { type: 'classic', name: 'gradmill' });
  } catch {
    // Deno knows only module workers.
    return new web.Worker(url, { type: 'module', name: 'gradmill' });
  }
}

function portOf(worker: WebWorker, url: string): WorkerPort {
  return {
    post(message) {
      worker.postMessage(message);
    },
    onMessage(listener, failed) {
      let ended = false;
      const end = (reason: string): void => {
        URL.revokeObjectURL(url);
        if (!ended) failed(reason);
        ended = true;
      };
      worker.onmessage = ({ data }) => {
        // Not before: some browsers read the script only after the constructor has returned.
        URL.revokeObjectURL(url);
        worker.onmessage = (event) => listener(event.data);
        listener(data);
      };
      worker.onmessageerror = () => end('a message of the worker could not be read');
      worker.onerror = (event) => {
        event.preventDefault?.();
        // A policy's refusal comes without words.
        end(event.message ?? 'it was not allowed to start (Content-Security-Policy: worker-src blob:)');
      };
    },
    ref: () => worker.ref?.(),
    unref: () => worker.unref?.(),
  };
}
