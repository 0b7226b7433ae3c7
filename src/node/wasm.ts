// 'gradmill/wasm' in Node: the WebAssembly engine, whatever else is there. Models made before it was imported keep their engine.
import { usePlatform } from '../platform.js';
import { loadWasm } from '../wasm/engine.js';
import { node } from './platform.js';
import { nodeHost } from './wasm-host.js';

usePlatform({
  ...node,
  forced: true,
  loadEngine: (_, choice) => loadWasm({ ...choice, reason: 'gradmill/wasm' }, nodeHost),
});

export * from '../api.js';
