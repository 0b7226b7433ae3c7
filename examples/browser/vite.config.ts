// Serves and builds the page. `gradmill` is this repository's own package, found by its name through package.json's exports.
import { defineConfig } from 'vite';
import { mnist } from './mnist.js';

/** A page that is isolated from other origins may share memory, and then gradmill uses threads. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

export default defineConfig({
  root: import.meta.dirname,
  base: './', // a built page may lie in any folder
  plugins: [mnist()],
  worker: { format: 'es' }, // workers import gradmill, which may start workers of its own
  build: { target: 'es2022' },
  server: { headers: isolation },
  preview: { headers: isolation },
});
