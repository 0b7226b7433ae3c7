// The idx format of MNIST: a magic number (0, 0, element type, dimensions), big-endian uint32 sizes, row-major elements.
// mnist.ts reads its four files through here. The bytes are untrusted.

import { GradmillError } from '../errors.js';

export type IdxArray = Uint8Array | Int8Array | Int16Array | Int32Array | Float32Array | Float64Array;

export interface IdxTensor {
  readonly shape: readonly number[];
  /** A view over the file's bytes for one-byte elements, a copy in this machine's byte order for the others. */
  readonly data: IdxArray;
}

/** `source` names the bytes in errors. */
export function decodeIdx(bytes: Uint8Array, source = 'idx data'): IdxTensor {
  const invalid = (problem: string): GradmillError => new GradmillError('file-invalid', `${source}: ${problem}`);
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) throw invalid('the file is compressed; decompress it with gunzip');
  if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== 0) throw invalid('not an idx file (wrong magic number)');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = elementTypes.get(bytes[2]);
  if (type === undefined) throw invalid(`unknown element type 0x${bytes[2].toString(16).padStart(2, '0')}`);

  const rank = bytes[3];
  const dataStart = 4 + 4 * rank;
  if (rank === 0) throw invalid('the data has no dimensions');
  if (bytes.length < dataStart) throw invalid(`truncated within the sizes of its ${rank} dimensions`);
  const shape = Array.from({ length: rank }, (_, index) => view.getUint32(4 + 4 * index));

  // Compared at every factor: 255 dimensions of 2³² would overflow even a double.
  const available = bytes.length - dataStart;
  let expected = type.size;
  for (const size of shape) {
    expected *= size;
    if (!Number.isSafeInteger(expected)) throw invalid(`the sizes ${shape.join(' × ')} overflow`);
  }
  if (available !== expected) {
    const fault = available < expected ? 'truncated' : 'too long';
    throw invalid(`${fault}: ${shape.join(' × ')} elements need ${expected} bytes, the file has ${available}`);
  }
  return { shape, data: type.read(view, dataStart, expected / type.size) };
}

/** Decodes data that must be of unsigned bytes with the given number of dimensions. */
export function decodeIdxBytes(bytes: Uint8Array, rank: number, source?: string): IdxTensor & { data: Uint8Array } {
  const { shape, data } = decodeIdx(bytes, source);
  if (!(data instanceof Uint8Array) || shape.length !== rank) {
    throw new GradmillError(
      'file-invalid',
      `${source ?? 'idx data'}: expected ${rank} dimensions of unsigned bytes, found ${shape.length} of ${data.constructor.name}`,
    );
  }
  return { shape, data };
}

interface ElementType {
  readonly size: number;
  readonly read: (view: DataView, start: number, count: number) => IdxArray;
}

const elementTypes: ReadonlyMap<number, ElementType> = new Map<number, ElementType>([
  [0x08, { size: 1, read: (view, start, count) => new Uint8Array(view.buffer, view.byteOffset + start, count) }],
  [0x09, { size: 1, read: (view, start, count) => new Int8Array(view.buffer, view.byteOffset + start, count) }],
  [0x0b, { size: 2, read: (view, start, count) => new Int16Array(count).map((_, i) => view.getInt16(start + 2 * i)) }],
  [0x0c, { size: 4, read: (view, start, count) => new Int32Array(count).map((_, i) => view.getInt32(start + 4 * i)) }],
  [0x0d, { size: 4, read: (view, start, count) => new Float32Array(count).map((_, i) => view.getFloat32(start + 4 * i)) }],
  [0x0e, { size: 8, read: (view, start, count) => new Float64Array(count).map((_, i) => view.getFloat64(start + 8 * i)) }],
]);
