// Part of `npm run build`: what Node imports, in two files. Of the modules as they are there are 75, and to find, open and link
// that many takes ten times as long.
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const source = (path) => fileURLToPath(new URL(`../${path}.ts`, import.meta.url));
const input = {
  index: source('index'),
  wasm: source('node/wasm'),
  kernels: source('kernels'),
  diagnostics: source('diagnostics/index'),
  pruning: source('pruning/index'),
};

/** The module and all that it imports. */
function imported(id, getModuleInfo, found = new Set()) {
  if (found.has(id)) return found;
  found.add(id);
  for (const next of getModuleInfo(id).importedIds) imported(next, getModuleInfo, found);
  return found;
}

/** What both whole entries have names no platform: one file. Left alone, the bundler makes one of every set of entries that share a module. */
function manualChunks(id, { getModuleInfo }) {
  const shared = [input.index, input.wasm].every((entry) => imported(entry, getModuleInfo).has(id));
  return shared && id.endsWith('.ts') ? 'core' : undefined;
}

await build({
  configFile: false,
  logLevel: 'warn',
  // Names are for whoever reads a stack or prints an object; ASCII, as V8 compiles bytes faster than 16-bit characters.
  esbuild: { minifyWhitespace: true, minifySyntax: true, minifyIdentifiers: false, charset: 'ascii' },
  build: {
    ssr: true,
    target: 'node20.19',
    minify: 'esbuild',
    // As deep as dist/node/, whose modules look for the addon and for the WebAssembly beside dist/.
    outDir: fileURLToPath(new URL('../../dist/bundle/', import.meta.url)),
    rollupOptions: {
      input,
      output: { entryFileNames: '[name].js', chunkFileNames: '[name].js', hoistTransitiveImports: false, manualChunks },
    },
  },
});
