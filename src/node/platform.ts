// Node as a platform: the native engine, else WebAssembly; files; progress on standard output.
import { Progress } from '../cli/progress.js';
import type { Engine } from '../engine.js';
import { GradmillError } from '../errors.js';
import type { Choice, Platform } from '../platform.js';
import { loadWasm } from '../wasm/engine.js';
import { exists, makeFolder, openToAppend, readRegularFile, writeFileAtomic } from './files.js';
import { loadNative } from './native.js';
import { nodeHost } from './wasm-host.js';

export const node: Platform = {
  name: 'node',
  variable(name) {
    const value = process.env[name];
    return value === '' ? undefined : value;
  },
  loadEngine(wanted, choice) {
    if (wanted === 'wasm') return loadWasm({ ...choice, reason: 'GRADMILL_BACKEND=wasm' }, nodeHost);
    try {
      return loadNative(choice);
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      if (wanted === 'auto') return loadInstead(choice, error);
      throw new GradmillError('backend-unavailable', `GRADMILL_BACKEND=native: ${withAdvice(error)}`, { cause: error.cause });
    }
  },
  files: { read: readRegularFile, write: writeFileAtomic, append: openToAppend, exists, makeFolder },
  progress: () => new Progress(process.stdout),
  pause: () => nodeHost.pause(),
};

/** WebAssembly, where the native engine does not run. */
function loadInstead(choice: Choice, native: GradmillError): Engine {
  try {
    return loadWasm({ ...choice, reason: `${native.message}; \`npx gradmill build\` would give the native engine` }, nodeHost);
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    throw new GradmillError('backend-unavailable', `${error.message}; ${withAdvice(native)}`, { cause: error });
  }
}

function withAdvice({ message }: GradmillError): string {
  return `${message}: install a C++ compiler and CMake, then run \`npx gradmill build\``;
}

function isUnavailable(error: unknown): error is GradmillError {
  return error instanceof GradmillError && error.code === 'backend-unavailable';
}
