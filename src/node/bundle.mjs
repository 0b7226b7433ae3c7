// Part of `npm run build`: what Node imports, in a few files. Of the modules as they are there are 70, and to find, open and link
// that many takes ten times as long.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const source = (path) => fileURLToPath(new URL(`../${path}.ts`, import.meta.url));

await build({
  entryPoints: {
    index: source('index'),
    wasm: source('node/wasm'),
    kernels: source('kernels'),
    diagnostics: source('diagnostics/index'),
    pruning: source('pruning/index'),
  },
  // As deep as dist/node/, whose modules look for the addon and for the WebAssembly beside dist/.
  outdir: fileURLToPath(new URL('../../dist/bundle/', import.meta.url)),
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  packages: 'external',
  minifyWhitespace: true,
  logLevel: 'warning',
});
