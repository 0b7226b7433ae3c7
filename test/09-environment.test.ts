// What decides which engine runs, and what the library says when one cannot: environment variables, a missing or broken addon.
// Each case is a process of its own.
import { cp, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Backend, backend } from '../src/index.js';
import { engine } from '../src/engine.js';
import { root, run } from './child.js';

const { isas } = engine();

/** Tells what runs, or why not. */
const ask = `
  import { backend, dense, GradmillError, sequential } from 'gradmill';
  try {
    const first = backend();
    sequential({ inputShape: [2], layers: [dense({ units: 1 })] }).predictSync([[1, 2]]);
    console.log(JSON.stringify(first));
  } catch (error) {
    if (!(error instanceof GradmillError)) throw error;
    console.log(JSON.stringify({ refused: error.code + ': ' + error.message }));
  }`;

async function told(env: Record<string, string>, cwd?: string): Promise<Backend & { refused?: string }> {
  const { stdout, stderr, status } = await run(ask, { env, ...(cwd !== undefined && { cwd }) });
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return JSON.parse(stdout) as Backend & { refused?: string };
}

describe('import', () => {
  test('loads nothing, asks nothing and prints nothing', async () => {
    // A variable that makes no sense is an error when an engine is needed, not before.
    const env = { GRADMILL_BACKEND: 'abacus' };
    const ended = await run(
      `import 'gradmill'; import 'gradmill/kernels'; import { adam, dense } from 'gradmill'; adam(); dense({ units: 1 });`,
      { env },
    );
    expect(ended).toEqual({ status: 0, stdout: '', stderr: '' });
  });
});

describe('the backend', () => {
  test('is the native one with the best instruction set and all cores', async () => {
    const plain = await told({});
    expect(plain).toEqual({ ...backend(), reason: 'native addon, best instruction set of this machine' });
    expect(plain).toMatchObject({ name: 'native', isa: isas.at(-1), strict: false });
    expect(plain.threads).toBeGreaterThan(0);
  });

  test('takes an empty variable for an unset one', async () => {
    const empty = { GRADMILL_BACKEND: '', GRADMILL_ISA: '', GRADMILL_THREADS: '', GRADMILL_STRICT: '' };
    expect(await told(empty)).toEqual(await told({}));
  });

  test.each(isas)('GRADMILL_ISA=%s', async (isa) => {
    expect(await told({ GRADMILL_ISA: isa })).toMatchObject({ isa, reason: `native addon, GRADMILL_ISA=${isa}` });
  });

  test('GRADMILL_BACKEND=auto and native', async () => {
    expect(await told({ GRADMILL_BACKEND: 'native' })).toMatchObject({ name: 'native' });
    expect(await told({ GRADMILL_BACKEND: 'auto' })).toMatchObject({ name: 'native' });
  });

  test('GRADMILL_BACKEND=wasm, which has one instruction set', async () => {
    const wasm = { name: 'wasm', isa: 'simd128', strict: false, reason: 'GRADMILL_BACKEND=wasm' };
    expect(await told({ GRADMILL_BACKEND: 'wasm' })).toMatchObject(wasm);
    expect(await told({ GRADMILL_BACKEND: 'wasm', GRADMILL_ISA: isas[0] })).toMatchObject(wasm);
  });

  test.each(['native', 'wasm'])('GRADMILL_THREADS, never more than the cores (%s)', async (name) => {
    const env = { GRADMILL_BACKEND: name };
    expect(await told({ ...env, GRADMILL_THREADS: '1' })).toMatchObject({ name, threads: 1 });
    expect((await told({ ...env, GRADMILL_THREADS: '999' })).threads).toBe((await told(env)).threads);
  });

  test.each(['native', 'wasm'])('GRADMILL_STRICT (%s)', async (name) => {
    const env = { GRADMILL_BACKEND: name };
    expect(await told({ ...env, GRADMILL_STRICT: '1' })).toMatchObject({ name, strict: true });
    expect(await told({ ...env, GRADMILL_STRICT: '0' })).toMatchObject({ name, strict: false });
  });
});

describe('a variable that makes no sense', () => {
  const unsupported = ['sse2', 'avx2', 'avx512', 'neon'].find((isa) => !isas.includes(isa)) ?? 'vax';
  const list = isas.join(', ');
  test.each([
    [{ GRADMILL_BACKEND: 'abacus' }, "invalid-argument: GRADMILL_BACKEND: expected auto, native or wasm, got 'abacus'"],
    [{ GRADMILL_BACKEND: 'Native' }, "invalid-argument: GRADMILL_BACKEND: expected auto, native or wasm, got 'Native'"],
    [{ GRADMILL_ISA: 'avx3' }, `invalid-argument: GRADMILL_ISA: expected one of ${list}, which this machine runs, got 'avx3'`],
    [
      { GRADMILL_ISA: unsupported },
      `invalid-argument: GRADMILL_ISA: expected one of ${list}, which this machine runs, got '${unsupported}'`,
    ],
    [{ GRADMILL_ISA: 'AVX2' }, `invalid-argument: GRADMILL_ISA: expected one of ${list}, which this machine runs, got 'AVX2'`],
    ...['0', '-1', '1.5', 'two', '1e1', '0x2', ' 2', '99999999999'].map((threads): [Record<string, string>, string] => [
      { GRADMILL_THREADS: threads },
      `invalid-argument: GRADMILL_THREADS: expected a whole number of at least 1, got '${threads}'`,
    ]),
    [{ GRADMILL_STRICT: 'true' }, "invalid-argument: GRADMILL_STRICT: expected 0 or 1, got 'true'"],
  ])('%j', async (env, refused) => {
    expect(await told(env)).toEqual({ refused });
  });
});

// Nothing in src/ calls it so: it must not touch memory that is not its own all the same.
describe.skipIf(engine().name === 'wasm')('the addon refuses', () => {
  interface Addon {
    Memory: new (bytes: unknown, alignment: unknown) => unknown;
    Program: new (...given: unknown[]) => unknown;
    gemm: (...given: unknown[]) => void;
  }
  const addon = createRequire(import.meta.url)(join(root, 'native/build/gradmill.node')) as Addon;
  const shared = (bytes: number) => new Uint8Array(new SharedArrayBuffer(bytes));

  test.each([undefined, 0, 1, 3, 96, 1024])('memory aligned to %j of 512 bytes', (alignment) => {
    expect(() => new addon.Memory(shared(512), alignment)).toThrow('an alignment that they have to spare');
  });
  test('memory that could be detached', () => {
    expect(() => new addon.Memory(new Uint8Array(512), 64)).toThrow('expected shared bytes');
  });
  test('more threads than a step has parts', () => {
    const arena = new addon.Memory(shared(512), 64);
    expect(() => new addon.Program(arena, new Uint32Array(0), 'sse2', true, 40_000)).toThrow('too many threads');
  });
  test('a product of bytes', () => {
    const [floats, bytes] = [new Float32Array(4), new Uint8Array(16)];
    for (const arrays of [[bytes, floats, floats], [floats, bytes, floats], [floats, floats, bytes]]) // prettier-ignore
      expect(() => { addon.gemm(engine().isa, false, 2, 2, 2, ...arrays, 2, 2, 2, false, false, 1, 0); }).toThrow('out of bounds'); // prettier-ignore
  });
});

describe('an installation', () => {
  let folder: string;
  const addon = () => join(folder, 'node_modules', 'gradmill', 'native', 'build', 'gradmill.node');
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gradmill-install-'));
    const home = join(folder, 'node_modules', 'gradmill');
    await mkdir(join(home, 'native', 'build'), { recursive: true });
    await cp(join(root, 'dist'), join(home, 'dist'), { recursive: true });
    await cp(join(root, 'package.json'), join(home, 'package.json'));
    await cp(join(root, 'wasm'), join(home, 'wasm'), { recursive: true });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const help = 'install a C++ compiler and CMake, then run `npx gradmill build`';
  const instead = '; `npx gradmill build` would give the native engine';
  const native = { GRADMILL_BACKEND: 'native' };

  test('without addon runs WebAssembly and tells why', async () => {
    expect(await told({}, folder)).toMatchObject({ name: 'wasm', reason: `the native addon is not built${instead}` });
    const kernels = await run(
      `import { gemm } from 'gradmill/kernels'; console.log(gemm({ m: 1, n: 1, k: 1, a: Float32Array.of(2), b: Float32Array.of(3) })[0])`,
      { cwd: folder },
    );
    expect(kernels).toEqual({ status: 0, stdout: '6\n', stderr: '' });
  });

  test('without addon says what to install when it is asked for', async () => {
    const refused = `backend-unavailable: GRADMILL_BACKEND=native: the native addon is not built: ${help}`;
    expect(await told(native, folder)).toEqual({ refused });
    const kernels = await run(
      `import { gemm } from 'gradmill/kernels'; gemm({ m: 1, n: 1, k: 1, a: new Float32Array(1), b: new Float32Array(1) })`,
      { cwd: folder, env: native },
    );
    expect(kernels.stderr).toMatch(/GradmillError: GRADMILL_BACKEND=native: the native addon is not built/);
    for (const call of ["loadModel('nothing')", 'initialize()']) {
      const code = `import { initialize, loadModel } from 'gradmill'; ${call}.catch(({ code }) => console.log(code))`;
      expect((await run(code, { cwd: folder, env: native })).stdout).toBe('backend-unavailable\n');
    }
  });

  test('without any engine gives both reasons', async () => {
    const modules = join(folder, 'node_modules', 'gradmill', 'wasm');
    await rename(modules, `${modules}-away`);
    try {
      expect((await told({}, folder)).refused).toMatch(
        /^backend-unavailable: WebAssembly .*; the native addon is not built: install a C\+\+/,
      );
    } finally {
      await rename(`${modules}-away`, modules);
    }
  });

  test('built meanwhile, works without a restart', async () => {
    const code = `
      import { copyFileSync } from 'node:fs';
      import { backend } from 'gradmill';
      try { backend(); } catch ({ code }) { console.log(code); }
      copyFileSync(${JSON.stringify(join(root, 'native', 'build', 'gradmill.node'))}, ${JSON.stringify(addon())});
      console.log(backend().name);`;
    expect(await run(code, { cwd: folder, env: native })).toMatchObject({ stdout: 'backend-unavailable\nnative\n', stderr: '' });
    expect(await told({}, folder)).toMatchObject({ name: 'native' });
  });

  test.each([
    ['that is no library', () => Buffer.from('no library')],
    ['that is empty', () => Buffer.alloc(0)],
  ])('with an addon %s says so', async (_, bytes) => {
    await writeFile(addon(), bytes());
    const { name, reason } = await told({}, folder);
    expect(name).toBe('wasm');
    expect(reason).toMatch(/^the native addon does not load \([^\n]*\); `npx gradmill build` would give the native engine$/);
    expect((await told(native, folder)).refused).toMatch(
      /^backend-unavailable: GRADMILL_BACKEND=native: the native addon does not load \([^\n]*\): install a C\+\+ compiler and CMake, then run/,
    );
  });

  /** Replaces what the addon exports. */
  const pretend = (exported: string) => `
    import { Module } from 'node:module';
    const load = Module._extensions['.node'];
    Module._extensions['.node'] = (module, path) => {
      load(module, path);
      const addon = module.exports;
      module.exports = ${exported};
    };
    const { backend } = await import('gradmill');
    const { name, reason } = backend();
    console.log(name + ': ' + reason);`;

  test('with an addon of another make says so', async () => {
    expect((await run(pretend('{ hello: 1 }'))).stdout).toBe(`wasm: the native addon is not one of this version${instead}\n`);
  });

  test('with an addon that computes wrongly does not use it', async () => {
    const wrong = 'Object.create(addon, { gemm: { value() {} } })';
    expect((await run(pretend(wrong))).stdout).toBe(`wasm: the native addon computes wrong products (0,0,0,0)${instead}\n`);
  });

  test('that is a link works', async () => {
    const linked = await mkdtemp(join(tmpdir(), 'gradmill-link-'));
    try {
      await mkdir(join(linked, 'node_modules'));
      await symlink(root, join(linked, 'node_modules', 'gradmill'));
      expect(await told({}, linked)).toMatchObject({ name: 'native' });
    } finally {
      await rm(linked, { recursive: true });
    }
  });
});
