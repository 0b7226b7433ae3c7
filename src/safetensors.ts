// The safetensors format: 8-byte little-endian header length, JSON header, raw tensor data.
// saving.ts saves and loads through here. Bytes that are read are untrusted: every number is checked before it is used,
// and all that is wrong with them is a GradmillError 'file-invalid'. Only F32 and U8 exist here: gradmill's weights and masks.

import { GradmillError } from './errors.js';

interface TensorOf<Type, Data> {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: Type;
  readonly data: Data;
}

export type SafetensorsTensor = TensorOf<'F32', Float32Array> | TensorOf<'U8', Uint8Array>;

const ELEMENT_BYTES = { F32: 4, U8: 1 };

export interface SafetensorsContent {
  /** An object without prototype, so that no key a file may hold has a meaning. */
  readonly metadata: Record<string, string>;
  /** In the order of their data. */
  readonly tensors: SafetensorsTensor[];
}

const lengthBytes = 8;
/** Tensor data starts at a multiple of this, so that a memory-mapped file can be read in place by vector loads. */
const dataAlignment = 64;
/** Far above any model of this library and far below what parsing could use to exhaust memory. */
const maxHeaderBytes = 16 * 1024 * 1024;
/** header → tensor → shape; a deeper text is refused before JSON.parse builds it. */
const maxHeaderDepth = 3;
const metadataKey = '__metadata__';

/** The file as chunks to be written one after the other; tensor chunks are views over `data`, not copies. */
export function encodeSafetensors(tensors: readonly SafetensorsTensor[], metadata: Readonly<Record<string, string>>): Uint8Array[] {
  const header = Object.create(null) as Record<string, unknown>;
  for (const [key, value] of Object.entries(metadata)) {
    if (key === '__proto__') throw new GradmillError('invalid-argument', `metadata cannot have the key '__proto__'`);
    if (typeof value !== 'string') {
      throw new GradmillError('invalid-argument', `metadata '${key}' must be a string, got ${typeof value}`);
    }
  }
  header[metadataKey] = metadata;

  const chunks: Uint8Array[] = [];
  let offset = 0;
  for (const { name, shape, dtype, data } of tensors) {
    if (name === '' || name === '__proto__' || name in header) {
      throw new GradmillError('invalid-argument', `tensor name '${name}' is reserved, empty or used twice`);
    }
    const count = elementCount(shape);
    if (count !== data.length) {
      throw new GradmillError('shape-mismatch', `tensor '${name}': shape [${shape.join(', ')}] does not fit ${data.length} values`);
    }
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    chunks.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    offset += data.byteLength;
  }

  const text = new TextEncoder().encode(JSON.stringify(header));
  const dataStart = Math.ceil((lengthBytes + text.length) / dataAlignment) * dataAlignment;
  if (dataStart - lengthBytes > maxHeaderBytes) {
    throw new GradmillError('size-overflow', `names and metadata need a header of more than ${maxHeaderBytes} bytes`);
  }
  const head = new Uint8Array(dataStart).fill(0x20); // the format pads its header with spaces
  new DataView(head.buffer).setBigUint64(0, BigInt(dataStart - lengthBytes), true);
  head.set(text, lengthBytes);
  return [head, ...chunks];
}

/** Reads a whole file's bytes; `source` names them in errors. The tensors are copies. */
export function decodeSafetensors(bytes: Uint8Array, source = 'safetensors data'): SafetensorsContent {
  const invalid = (problem: string, cause?: unknown): GradmillError =>
    new GradmillError('file-invalid', `${source}: ${problem}`, { cause });

  if (bytes.length < lengthBytes) throw invalid(`${bytes.length} bytes are too few for a safetensors file`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerLength = view.getBigUint64(0, true);
  if (headerLength > BigInt(maxHeaderBytes)) {
    throw invalid(`header length ${headerLength} exceeds the limit of ${maxHeaderBytes}: not a safetensors file?`);
  }
  const dataStart = lengthBytes + Number(headerLength);
  if (dataStart > bytes.length) {
    throw invalid(`truncated: the header ends at byte ${dataStart}, the file at ${bytes.length}`);
  }
  const header = parseHeader(bytes.subarray(lengthBytes, dataStart), invalid);

  const metadata = Object.create(null) as Record<string, string>;
  const ranges: ({ name: string } & TensorRange)[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === metadataKey) {
      if (!isObject(entry)) throw invalid(`${metadataKey} is not an object`);
      for (const [key, value] of Object.entries(entry)) {
        if (typeof value !== 'string') throw invalid(`metadata ${quote(key)} is not a string`);
        metadata[key] = value;
      }
    } else {
      ranges.push({ name, ...tensorRange(name, entry, invalid) });
    }
  }

  // Sorted ranges that each begin where the one before ended leave no hole, no overlap and no rest.
  ranges.sort((a, b) => a.begin - b.begin || a.end - b.end);
  const dataLength = bytes.length - dataStart;
  let expected = 0;
  for (const { name, begin, end } of ranges) {
    if (end > dataLength) {
      throw invalid(`tensor ${quote(name)} ends at byte ${end} of the data, which has ${dataLength}: truncated?`);
    }
    if (begin !== expected) {
      const fault = begin > expected ? 'leaves a hole after' : 'overlaps';
      throw invalid(`tensor ${quote(name)} begins at byte ${begin} and ${fault} the data before, which ends at ${expected}`);
    }
    expected = end;
  }
  if (expected !== dataLength) throw invalid(`${dataLength - expected} bytes of data belong to no tensor`);

  const tensors = ranges.map(({ name, shape, dtype, begin, end }): SafetensorsTensor => {
    const data = new Uint8Array(end - begin);
    data.set(bytes.subarray(dataStart + begin, dataStart + end));
    return dtype === 'U8' ? { name, shape, dtype, data } : { name, shape, dtype, data: new Float32Array(data.buffer) };
  });
  return { metadata, tensors };
}

type Invalid = (problem: string, cause?: unknown) => GradmillError;

function parseHeader(bytes: Uint8Array, invalid: Invalid): Record<string, unknown> {
  if (bytes[0] !== 0x7b) throw invalid(`the header does not start with '{': not a safetensors file?`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw invalid('the header is not UTF-8', error);
  }
  checkKeys(text, invalid);
  const header = parseJson(text, invalid);
  if (!isObject(header)) throw invalid('the header is not a JSON object');
  return header;
}

/**
 * JSON.parse silently keeps the last of two equal keys, where another reader keeps the first, and builds whatever
 * depth it is given; so the text is scanned before. In JSON a string before a colon is a key, and nothing else is.
 */
function checkKeys(text: string, invalid: Invalid): void {
  const keysOfDepth: Set<string>[] = [];
  const colon = /\s*:/y;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '{' || character === '[') {
      if (keysOfDepth.push(new Set()) > maxHeaderDepth) throw invalid('the header is nested too deeply');
    } else if (character === '}' || character === ']') {
      keysOfDepth.pop();
    } else if (character === '"') {
      const start = at++;
      while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
      colon.lastIndex = at + 1;
      if (!colon.test(text)) continue;
      const key = parseJson(text.slice(start, at + 1), invalid) as string;
      const keys = keysOfDepth.at(-1);
      if (key === '__proto__') throw invalid(`the header has the forbidden key '__proto__'`);
      if (keys?.has(key) === true) throw invalid(`the header has the key ${quote(key)} twice`);
      keys?.add(key);
    }
  }
}

function parseJson(text: string, invalid: Invalid): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw invalid('the header is not JSON', error);
  }
}

interface TensorRange {
  readonly shape: number[];
  readonly dtype: SafetensorsTensor['dtype'];
  readonly begin: number;
  readonly end: number;
}

function tensorRange(name: string, entry: unknown, invalid: Invalid): TensorRange {
  const label = `tensor ${quote(name)}`;
  if (name === '') throw invalid('a tensor has an empty name');
  if (!isObject(entry)) throw invalid(`${label} is not described by an object`);
  const { dtype, shape, data_offsets: offsets, ...others } = entry;
  const other = Object.keys(others).at(0);
  if (other !== undefined) throw invalid(`${label} has the unknown field ${quote(other)}`);
  if (dtype !== 'F32' && dtype !== 'U8') throw invalid(`${label} has dtype ${quote(dtype)}; only F32 and U8 are supported`);
  if (!isCounts(shape)) throw invalid(`${label}: shape is not a list of non-negative integers`);
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw invalid(`${label}: data_offsets is not a pair of non-negative integers`);
  }
  const [begin, end] = offsets as [number, number];
  const size = elementCount(shape) * ELEMENT_BYTES[dtype];
  if (!Number.isSafeInteger(size)) throw invalid(`${label}: the size of shape ${quote(shape)} overflows`);
  if (end - begin !== size) {
    throw invalid(`${label}: data_offsets [${begin}, ${end}] do not hold the ${size} bytes of shape ${quote(shape)}`);
  }
  return { shape, dtype, begin, end };
}

/** Not a safe integer when any product on the way is not, even if a later dimension is 0. */
function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => (Number.isSafeInteger(count * size) ? count * size : NaN), 1);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A hostile name or value, short and on one line. */
function quote(value: unknown): string {
  const text = JSON.stringify(value ?? null);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
