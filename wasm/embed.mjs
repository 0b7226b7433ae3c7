// Part of `npm run build`: the modules' bytes as a script, dist/wasm/modules.js, for browsers and bundlers, which load nothing else.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const base64 = (name) => readFileSync(new URL(`${name}.wasm`, import.meta.url)).toString('base64');
const out = new URL('../dist/wasm/', import.meta.url);
mkdirSync(out, { recursive: true });
writeFileSync(new URL('modules.js', out), ['simd', 'threads'].map((name) => `export const ${name} = '${base64(name)}';\n`).join(''));
