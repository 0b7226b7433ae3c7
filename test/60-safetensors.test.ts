// The safetensors reader and writer: round trips, every kind of damage, and files that are whole or not there.
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GradmillError, nearestName, unknownName } from '../src/errors.js';
import { readRegularFile, writeFileAtomic } from '../src/node/files.js';
import { decodeSafetensors, encodeSafetensors, type SafetensorsTensor } from '../src/safetensors.js';

function tensor(name: string, shape: number[], values?: number[]): SafetensorsTensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return { name, shape, dtype: 'F32', data: Float32Array.from({ length: count }, (_, i) => values?.[i] ?? i + 0.5) };
}

function joined(chunks: Iterable<Uint8Array>): Uint8Array {
  return new Uint8Array(Buffer.concat([...chunks]));
}

/** A file around a header written by hand. */
function file(header: unknown, dataLength = 0): Uint8Array {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = Buffer.alloc(8 + text.length + dataLength);
  bytes.writeBigUInt64LE(BigInt(text.length));
  text.copy(bytes, 8);
  return bytes;
}

const good = (begin: number, end: number): unknown => ({ dtype: 'F32', shape: [(end - begin) / 4], data_offsets: [begin, end] });

function failure(bytes: Uint8Array): string {
  try {
    decodeSafetensors(bytes, 'model.safetensors');
  } catch (error) {
    if (error instanceof GradmillError && error.code === 'file-invalid') return error.message;
    throw error;
  }
  return 'accepted';
}

describe('format', () => {
  test('what is written is read back', () => {
    const tensors = [tensor('dense1/kernel', [3, 2]), tensor('dense1/bias', [2]), tensor('scalar', []), tensor('empty', [0, 7])];
    const metadata = { format: 'gradmill', 'quoted "key"\n': 'naïve 🧠', empty: '' };
    const content = decodeSafetensors(joined(encodeSafetensors(tensors, metadata)));
    expect(content.tensors).toEqual(tensors);
    expect({ ...content.metadata }).toEqual(metadata);
  });

  test('the header is what the format says: length, JSON padded with spaces, data aligned to 64 bytes', () => {
    const bytes = Buffer.from(joined(encodeSafetensors([tensor('a', [2], [1, -2])], { k: 'v' })));
    const length = Number(bytes.readBigUInt64LE());
    expect((8 + length) % 64).toBe(0);
    const text = bytes.toString('utf8', 8, 8 + length);
    expect(text).toMatch(/^\{.*\} *$/);
    expect(JSON.parse(text)).toEqual({ __metadata__: { k: 'v' }, a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] } });
    expect([bytes.readFloatLE(8 + length), bytes.readFloatLE(12 + length)]).toEqual([1, -2]);
    expect(bytes.length).toBe(16 + length);
  });

  test('every bit pattern survives, at any position of the bytes in their buffer', () => {
    const bits = Uint32Array.of(0x7fc00001, 0xffffffff, 0x80000000, 1, 0x7f800000);
    const bytes = joined(encodeSafetensors([{ name: 'x', shape: [5], dtype: 'F32', data: new Float32Array(bits.buffer) }], {}));
    for (let shift = 0; shift < 4; shift++) {
      const shifted = new Uint8Array(bytes.length + shift);
      shifted.set(bytes, shift);
      const [x] = decodeSafetensors(shifted.subarray(shift)).tensors;
      expect(new Uint32Array(x.data.buffer)).toEqual(bits);
    }
  });

  test('tensors are copies: the bytes may change afterwards', () => {
    const bytes = joined(encodeSafetensors([tensor('x', [2], [1, 2])], {}));
    const { tensors } = decodeSafetensors(bytes);
    bytes.fill(0);
    expect([...tensors[0].data]).toEqual([1, 2]);
  });

  test('a file without padding and with any order of tensors is read', () => {
    const bytes = file({ b: good(4, 12), a: good(0, 4), __metadata__: { from: 'elsewhere' } }, 12);
    const { tensors, metadata } = decodeSafetensors(bytes);
    expect(tensors.map(({ name }) => name)).toEqual(['a', 'b']);
    expect(metadata.from).toBe('elsewhere');
  });

  test.each([
    ['a name used twice', [tensor('a', [1]), tensor('a', [1])], {}, 'invalid-argument'],
    ['an empty name', [tensor('', [1])], {}, 'invalid-argument'],
    ['a reserved name', [tensor('__metadata__', [1])], {}, 'invalid-argument'],
    ['a name that is no plain key', [tensor('__proto__', [1])], {}, 'invalid-argument'],
    ['metadata that is not text', [], { a: 1 as unknown as string }, 'invalid-argument'],
    ['metadata with a key that is no plain key', [], JSON.parse('{"__proto__":"x"}') as Record<string, string>, 'invalid-argument'],
    ['a shape that does not fit', [{ ...tensor('a', [2]), shape: [3] }], {}, 'shape-mismatch'],
    ['a header beyond the limit', [], { a: 'x'.repeat(17 << 20) }, 'size-overflow'],
  ])('refuses to write %s', (_, tensors, metadata, code) => {
    expect(() => encodeSafetensors(tensors, metadata)).toThrow(expect.objectContaining({ code }) as Error);
  });

  test('names and metadata of any kind round-trip', () => {
    const name = fc.string({ unit: 'binary', minLength: 1 }).filter((text) => !['__proto__', '__metadata__'].includes(text));
    const tensors = fc.uniqueArray(fc.tuple(name, fc.array(fc.nat(4), { maxLength: 3 })), { selector: ([key]) => key, maxLength: 6 });
    const metadata = fc.dictionary(
      fc.string({ unit: 'binary' }).filter((key) => key !== '__proto__'),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(tensors, metadata, (entries, given) => {
        const written = entries.map(([key, shape]) => tensor(key, shape));
        const content = decodeSafetensors(joined(encodeSafetensors(written, given)));
        const byName = (a: SafetensorsTensor, b: SafetensorsTensor): number => (a.name < b.name ? -1 : 1);
        expect([...content.tensors].sort(byName)).toEqual(written.sort(byName));
        expect(Object.entries(content.metadata).sort()).toEqual(Object.entries(given).sort());
      }),
    );
  });
});

describe('hostile and damaged files', () => {
  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(0), /0 bytes are too few/],
    ['seven bytes', new Uint8Array(7), /7 bytes are too few/],
    ['a header length of 2⁶⁴−1', new Uint8Array(8).fill(255), /header length 18446744073709551615 exceeds the limit/],
    ['a header longer than the file', file('{}').subarray(0, 9), /truncated: the header ends at byte 10, the file at 9/],
    ['an empty header', file(''), /does not start with '\{'/],
    ['a header that is an array', file('[]'), /does not start with '\{'/],
    ['a header that starts with spaces', file('  {}'), /does not start with '\{'/],
    ['a header that is not JSON', file('{"a":}'), /the header is not JSON/],
    ['text after the header', file('{} x'), /the header is not JSON/],
    ['a string without end', file('{"\\'), /the header is not JSON/],
    ['a header that is not UTF-8', file('{"a":"\u0001"}').map((byte) => (byte === 1 ? 0xff : byte)), /the header is not UTF-8/],
    ['a tensor twice', file(`{"a":${JSON.stringify(good(0, 4))},"a" :${JSON.stringify(good(0, 4))}}`, 4), /the key "a" twice/],
    ['a key twice by an escape', file('{"__metadata__":{"a":"1","\\u0061":"2"}}'), /the key "a" twice/],
    ['deep nesting', file(`{"a":${'['.repeat(100_000)}`), /nested too deeply/],
    ['__proto__ as tensor', file(`{"__proto__":${JSON.stringify(good(0, 4))}}`, 4), /forbidden key '__proto__'/],
    ['__proto__ in metadata', file('{"__metadata__":{"__proto__":"x"}}'), /forbidden key '__proto__'/],
    ['__proto__ behind an escape', file('{"__metadata__":{"\\u005f_proto__":"x"}}'), /forbidden key '__proto__'/],
    ['__proto__ in a tensor', file('{"a":{"__proto__":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}}', 4), /forbidden key/],
    ['metadata that is a list', file({ __metadata__: ['a'] }), /__metadata__ is not an object/],
    ['metadata that is a number', file({ __metadata__: { version: 1 } }), /metadata "version" is not a string/],
    ['a tensor without name', file({ '': good(0, 4) }, 4), /empty name/],
    ['a tensor that is null', file({ a: null }), /"a" is not described by an object/],
    ['another type', file({ a: { dtype: 'F16', shape: [2], data_offsets: [0, 4] } }, 4), /dtype "F16"; only F32 and U8/],
    ['no type', file({ a: { shape: [1], data_offsets: [0, 4] } }, 4), /dtype null/],
    ['an unknown field', file({ a: { dtype: 'F32', shape: [1], data_offsets: [0, 4], strides: [4] } }, 4), /unknown field "strides"/],
    ['a shape that is text', file({ a: { dtype: 'F32', shape: '1', data_offsets: [0, 4] } }, 4), /shape is not a list/],
    ['a negative size', file({ a: { dtype: 'F32', shape: [-1], data_offsets: [0, 4] } }, 4), /shape is not a list/],
    ['a fractional size', file({ a: { dtype: 'F32', shape: [0.5], data_offsets: [0, 2] } }, 4), /shape is not a list/],
    ['sizes that overflow', file({ a: { dtype: 'F32', shape: [2 ** 31, 2 ** 31], data_offsets: [0, 4] } }, 4), /overflows/],
    ['sizes that overflow, then 0', file({ a: { dtype: 'F32', shape: [2 ** 40, 2 ** 40, 0], data_offsets: [0, 0] } }), /overflows/],
    ['an infinite size', file('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', 4), /shape is not a list/],
    ['one offset', file({ a: { dtype: 'F32', shape: [1], data_offsets: [0] } }, 4), /data_offsets is not a pair/],
    ['a negative offset', file({ a: { dtype: 'F32', shape: [1], data_offsets: [-4, 0] } }, 4), /data_offsets is not a pair/],
    ['offsets that do not fit the shape', file({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 4] } }, 4), /do not hold the 8 bytes/],
    ['offsets backwards', file({ a: { dtype: 'F32', shape: [1], data_offsets: [4, 0] } }, 4), /do not hold the 4 bytes/],
    ['data beyond the end', file({ a: good(0, 8) }, 4), /ends at byte 8 of the data, which has 4/],
    ['a huge tensor in a small file', file({ a: good(0, 2 ** 50) }, 4), /ends at byte 1125899906842624/],
    ['a hole', file({ a: good(0, 4), b: good(8, 12) }, 12), /"b" begins at byte 8 and leaves a hole/],
    ['a hole at the start, off alignment', file({ a: good(1, 5) }, 5), /"a" begins at byte 1 and leaves a hole/],
    ['tensors that overlap', file({ a: good(0, 8), b: good(4, 12) }, 12), /"b" begins at byte 4 and overlaps/],
    ['two tensors on the same bytes', file({ a: good(0, 4), b: good(0, 4) }, 4), /overlaps/],
    ['bytes that belong to nobody', file({ a: good(0, 4) }, 7), /3 bytes of data belong to no tensor/],
  ])('%s', (_, bytes, message) => {
    expect(failure(bytes)).toMatch(message);
    expect(failure(bytes)).toMatch(/^model\.safetensors: /);
  });

  test('a message stays short and on one line whatever the file holds', () => {
    const message = failure(file({ [`\n\u001b[31m${'x'.repeat(1e6)}`]: null }));
    expect(message.length).toBeLessThan(200);
    expect(message).not.toMatch(/\p{Cc}/u);
  });

  test('scanning a header takes time in proportion to its length', () => {
    const started = performance.now();
    for (const hostile of ['\\"', '"', '" ', '"a" ', '{"']) failure(file(`{${hostile.repeat(200_000)}`));
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test('random damage is an error or a valid file, never anything else', () => {
    const bytes = joined(encodeSafetensors([tensor('dense/kernel', [3, 4]), tensor('dense/bias', [4])], { a: 'b', c: '{"d":1}' }));
    const flips = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 })), { maxLength: 6 });
    fc.assert(
      fc.property(flips, fc.nat(bytes.length), fc.boolean(), (changes, length, truncate) => {
        const damaged = bytes.slice();
        for (const [index, mask] of changes) damaged[index] ^= mask;
        failure(truncate ? damaged.subarray(0, length) : damaged); // throws what is not 'file-invalid'
      }),
      { numRuns: 5000 },
    );
  });

  test('any JSON as header is an error or a valid file', () => {
    const field = fc.oneof(fc.constantFrom('F32', 'dtype', [0, 4], [1], {}, null, 2 ** 53, -0), fc.jsonValue({ maxDepth: 2 }));
    const entry = fc.oneof(fc.record({ dtype: field, shape: field, data_offsets: field }, { requiredKeys: [] }), fc.jsonValue());
    fc.assert(
      fc.property(fc.dictionary(fc.oneof(fc.constant('__metadata__'), fc.string()), entry), fc.nat(16), (header, length) => {
        failure(file(header, length));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('files', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gradmill-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  const fileIo = (message: RegExp): Error =>
    expect.objectContaining({ code: 'file-io', message: expect.stringMatching(message) as string }) as Error;

  test('a file is written whole, over an older one, and nothing else is left behind', async () => {
    const path = join(folder, 'model.safetensors');
    await writeFile(path, 'old and longer than what follows'.repeat(100));
    await writeFileAtomic(path, encodeSafetensors([tensor('a', [3])], { k: 'v' }));
    expect(decodeSafetensors(await readRegularFile(path))).toMatchObject({ metadata: { k: 'v' }, tensors: [tensor('a', [3])] });
    expect(await readdir(folder)).toEqual(['model.safetensors']);
  });

  test('a failure keeps the old file and removes the temporary one', async () => {
    const path = join(folder, 'model.safetensors');
    await writeFile(path, 'old');
    function* chunks(): Generator<Uint8Array> {
      yield new Uint8Array(1000);
      throw new Error('the disk is on fire');
    }
    await expect(writeFileAtomic(path, chunks())).rejects.toThrow(fileIo(/cannot write '.*model\.safetensors': .*on fire/));
    expect(await readFile(path, 'utf8')).toBe('old');
    expect(await readdir(folder)).toEqual(['model.safetensors']);
  });

  test('two writers at once leave one whole file', async () => {
    const path = join(folder, 'model');
    const contents = Array.from({ length: 8 }, (_, i) => new Uint8Array(100_000).fill(i));
    await Promise.all(contents.map((content) => writeFileAtomic(path, [content])));
    const found = await readFile(path);
    expect(found.length).toBe(100_000);
    expect(new Set(found).size).toBe(1);
    expect(await readdir(folder)).toEqual(['model']);
  });

  test('a symbolic link keeps pointing at the file that is replaced', async () => {
    const [target, link] = [join(folder, 'target'), join(folder, 'link')];
    await writeFile(target, 'old');
    await symlink(target, link);
    await writeFileAtomic(link, [Buffer.from('new')]);
    expect(await readFile(target, 'utf8')).toBe('new');
    expect((await readdir(folder, { withFileTypes: true })).find(({ name }) => name === 'link')?.isSymbolicLink()).toBe(true);
  });

  test('places that cannot be written', async () => {
    await expect(writeFileAtomic(join(folder, 'none', 'a'), [])).rejects.toThrow(fileIo(/none\/a': no such file or directory \(ENOENT\)/));
    await expect(writeFileAtomic(folder, [])).rejects.toThrow(fileIo(/exists and is not a regular file/));
    await expect(writeFileAtomic('/dev/null', [])).rejects.toThrow(fileIo(/exists and is not a regular file/));
    await writeFile(join(folder, 'file'), '');
    await expect(writeFileAtomic(join(folder, 'file', 'a'), [])).rejects.toThrow(fileIo(/not a directory \(ENOTDIR\)/));
    await expect(writeFileAtomic(join(folder, 'x'.repeat(300)), [])).rejects.toThrow(fileIo(/name too long \(ENAMETOOLONG\)/));
    expect(await readdir(folder)).toEqual(['file']);
  });

  test.skipIf(process.getuid?.() === 0)('a folder without permission', async () => {
    const locked = join(folder, 'locked');
    await mkdir(locked);
    await chmod(locked, 0o500);
    await expect(writeFileAtomic(join(locked, 'a'), [])).rejects.toThrow(fileIo(/permission denied \(EACCES\)/));
  });

  test('files that cannot be read', async () => {
    await expect(readRegularFile(join(folder, 'none'))).rejects.toThrow(fileIo(/cannot read '.*none': no such file or directory/));
    await expect(readRegularFile(folder)).rejects.toThrow(fileIo(/not a regular file/));
    await expect(readRegularFile('/dev/zero')).rejects.toThrow(fileIo(/not a regular file/));
  });

  test('a truncated file is named', async () => {
    const path = join(folder, 'model.safetensors');
    await writeFileAtomic(path, [joined(encodeSafetensors([tensor('a', [3])], {})).slice(0, -1)]);
    const bytes = await readRegularFile(path);
    expect(() => decodeSafetensors(bytes, path)).toThrow(/model\.safetensors: tensor "a" ends at byte 12 of the data, which has 11/);
  });
});

describe('misspelt names', () => {
  test.each([
    ['rellu', 'relu'],
    ['RELU', 'relu'],
    ['leakyrelu', 'leakyRelu'],
    ['sigmiod', 'sigmoid'],
    ['gelu', 'gelu'],
    ['transformer', undefined],
    ['', undefined],
    ['x'.repeat(1e6), undefined],
  ])('%s', (typed, meant) => {
    expect(nearestName(typed, ['relu', 'elu', 'gelu', 'selu', 'leakyRelu', 'sigmoid', 'tanh'])).toBe(meant);
  });

  test('the error says what was meant, or what there is', () => {
    expect(unknownName('activation', 'rellu', ['relu', 'tanh'])).toMatchObject({
      name: 'GradmillError',
      code: 'unknown-name',
      message: "unknown activation 'rellu', did you mean 'relu'?",
    });
    expect(unknownName('loss', 'x', ['huber', 'meanSquaredError']).message).toBe("unknown loss 'x' (known: huber, meanSquaredError)");
    expect(new GradmillError('file-io', 'a')).not.toHaveProperty('cause');
    expect(new GradmillError('file-io', 'a', { cause: 1 }).cause).toBe(1);
  });
});
