import { existsSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

// What needs no engine, or names its engine itself, in processes of its own.
const ONCE = [
  '02-api', // the package as npm would install it: names, types, conditions
  '05-platform', // both engines in turn
  '09-environment', // how an engine is chosen
  '40-replay', // records cases for native/replay.cpp, and runs that under sanitizers
  '42-allocations', // counts the addon's calls of malloc; WebAssembly has no malloc
  '60-safetensors', // TypeScript alone, as the next three
  '70-idx',
  '71-csv',
  '72-cli',
  '74-report', // draws; its own process chooses the engine that trains
  '75-bench', // a program, and what it makes of figures, as the next three
  '76-bench-compare',
  '77-bench-html',
  '78-bench-gemm',
  '80-wasm', // the engine by name, beside the native one
  '81-browser-example', // a browser's, which has only WebAssembly, as the next
  '82-bundles',
  '83-report-pictures',
  '85-step-model', // arithmetic on figures of bench/
  '84-lab', // the experiments of examples/lab, as a program
].map((name) => `test/${name}*.test.ts`);

const built = existsSync(new URL('native/build/gradmill.node', import.meta.url));

export default defineConfig({
  test: {
    // Processes rather than threads: a crash in native code fails one file, and process.exit and signals behave as in a program.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: process.env.CI ? ['default', ['json', { outputFile: 'test/.results.json' }]] : ['default'],
    // The same files on both engines; processes that they start inherit the choice.
    projects: [
      ...(built
        ? [{ extends: true as const, test: { name: 'native', include: ['test/**/*.test.ts'], env: { GRADMILL_BACKEND: '' } } }]
        : []),
      {
        extends: true,
        test: {
          name: built ? 'wasm' : 'wasm (the native engine is not built)',
          include: ['test/**/*.test.ts'],
          exclude: ONCE,
          env: { GRADMILL_BACKEND: 'wasm' },
        },
      },
    ],
  },
});
