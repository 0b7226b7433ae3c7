// Both engines in one process, for tests that compare them: models are made on the one that is named.
import { engine, type Engine } from '../src/engine.js';
import '../src/index.js'; // names the platform, for whatever names no engine
import { loadNative } from '../src/node/native.js';
import { node } from '../src/node/platform.js';
import { nodeHost } from '../src/node/wasm-host.js';
import { usePlatform } from '../src/platform.js';
import { type WasmChoice, WasmEngine } from '../src/wasm/engine.js';
import type { WasmHost } from '../src/wasm/host.js';

/** On Node's workers unless another host is given. */
export function wasmEngine(choice: Partial<WasmChoice> = {}, host: Partial<WasmHost> = {}): WasmEngine {
  return new WasmEngine({ strict: true, reason: 'a test', ...choice }, { ...nodeHost, ...host });
}

export function nativeEngine(isa: string | undefined, strict: boolean): Engine {
  return loadNative({ isa, strict, threads: undefined, module: undefined });
}

/** What `make` makes has this engine for ever. */
export function on<T>(chosen: Engine, make: () => T): T {
  usePlatform({ ...node, loadEngine: () => chosen });
  try {
    engine();
    return make();
  } finally {
    usePlatform(node);
  }
}

/** The same for what is made later. */
export async function onWhile<T>(chosen: Engine, make: () => Promise<T>): Promise<T> {
  usePlatform({ ...node, loadEngine: () => chosen });
  try {
    engine();
    return await make();
  } finally {
    usePlatform(node);
  }
}
