// Browsers, their workers, Deno and Bun as a platform: WebAssembly, no files, progress on the console.
import { Progress } from '../cli/progress.js';
import type { Platform } from '../platform.js';
import { compileModule, loadWasm } from '../wasm/engine.js';
import { browserHost } from './wasm-host.js';

export const browser: Platform = {
  name: 'browser',
  variable: () => undefined,
  loadEngine: (_, choice) => loadWasm({ ...choice, reason: 'the native engine runs in Node.js only' }, browserHost),
  compile: () => compileModule(browserHost),
  files: undefined,
  progress: () => new Progress({ write: (text) => console.log(text.trimEnd()) }),
  pause: () => browserHost.pause(),
};
