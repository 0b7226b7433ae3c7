// 'gradmill' and 'gradmill/wasm' everywhere but in Node: WebAssembly. Nothing here imports a Node module or a package, so the
// files run in a browser as they are.
import { browser } from './browser/platform.js';
import { usePlatform } from './platform.js';

usePlatform(browser);

export * from './api.js';
