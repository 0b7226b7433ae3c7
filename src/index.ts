// 'gradmill' in Node: the native engine, else WebAssembly.
import { node } from './node/platform.js';
import { usePlatform } from './platform.js';

usePlatform(node);

export * from './api.js';
