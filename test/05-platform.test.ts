// One library for Node, browsers and whatever else runs WebAssembly: what the browser's files may use, the package's entries,
// models as bytes, initialize(), and the workers of the WebAssembly engine. Real browsers are tested elsewhere.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { runInNewContext } from 'node:vm';
import { Linter } from 'eslint';
import ts from 'typescript';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { adam, backend, dense, initialize, loadModel, sequential } from '../src/index.js';
import { nodeHost } from '../src/node/wasm-host.js';
import type { WorkerPort } from '../src/wasm/host.js';
import { root, run } from './child.js';
import { refusal } from './refusal.js';

const read = (path: string) => readFile(join(root, path), 'utf8');

const network = (seed = 1) => {
  const layers = [dense({ units: 3, activation: 'tanh' }), dense({ units: 2 })];
  const model = sequential({ inputShape: [2], seed, layers });
  model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
  return model;
};

describe("the browser's files", () => {
  /** Every module that the entry imports, with its syntax tree. */
  async function graph(entry: string): Promise<Map<string, ts.SourceFile>> {
    const found = new Map<string, ts.SourceFile>();
    const visit = async (path: string): Promise<void> => {
      if (found.has(path)) return;
      const file = ts.createSourceFile(path, await read(path), ts.ScriptTarget.ESNext, true);
      found.set(path, file);
      for (const name of imported(file)) {
        expect(name, path).toMatch(/^\.\.?\/.*\.js$/);
        const source = join(dirname(path), name).replace(/\.js$/, '.ts');
        // The modules' bytes are written by the build: only their types lie in src/.
        if (existsSync(join(root, source))) await visit(source);
        else expect(source).toBe('src/wasm/modules.ts');
      }
    };
    await visit(entry);
    return found;
  }

  const every = (file: ts.Node, look: (node: ts.Node) => void): void => {
    ts.forEachChild(file, (node) => {
      look(node);
      every(node, look);
    });
  };

  /** Names of modules that are loaded: types are erased. */
  function imported(file: ts.SourceFile): string[] {
    const names: string[] = [];
    every(file, (node) => {
      const typesOnly = /^(import|export) type /.test(node.getText());
      if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier && !typesOnly)
        names.push((node.moduleSpecifier as ts.StringLiteral).text);
      if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) names.push(node.arguments[0].getText());
    });
    return names;
  }

  /** Beyond the language, what every browser, their workers, Deno and Bun have. */
  const KNOWN = ['AbortController', 'Blob', 'TextDecoder', 'TextEncoder', 'URL', 'WebAssembly', 'atob', 'console', 'performance'];
  const TIMERS = ['clearInterval', 'clearTimeout', 'setInterval', 'setTimeout'];
  const globals = Object.fromEntries([...KNOWN, ...TIMERS].map((name) => [name, 'readonly' as const]));

  test.each(['src/browser.ts', 'src/browser/kernels.ts'])('from %s on need neither Node, nor packages, nor a page', async (entry) => {
    const files = await graph(entry);
    expect([...files.keys()].filter((path) => path.startsWith('src/node/'))).toEqual([]);
    expect(files.has('src/plan.ts')).toBe(true);
    for (const [path, file] of files) {
      const { outputText } = ts.transpileModule(file.text, {
        compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
      });
      const problems = new Linter().verify(outputText, { languageOptions: { globals }, rules: { 'no-undef': 'error' } });
      expect(problems, path).toEqual([]);
      every(file, (node) => {
        const awaits = ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier);
        if (awaits && !ts.findAncestor(node, ts.isFunctionLike)) expect.fail(`${path}: require(esm) refuses await outside of functions`);
      });
    }
  });
});

describe('the package', () => {
  interface Manifest {
    readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
    readonly sideEffects: readonly string[];
    readonly files: readonly string[];
  }
  let manifest: Manifest;
  beforeAll(async () => {
    manifest = JSON.parse(await read('package.json')) as Manifest;
  });
  const targets = () => Object.entries(manifest.exports).flatMap(([name, to]) => (typeof to === 'string' ? [] : [[name, to] as const]));

  /** Entries that load an engine; the others work on models that these have made. */
  const loading = () => targets().filter(([name]) => ['.', './wasm', './kernels'].includes(name));

  test('has entries for Node, and for everybody else', () => {
    expect(targets().map(([name]) => name)).toEqual(['.', './wasm', './kernels', './diagnostics', './pruning']);
    for (const [, to] of targets()) for (const path of Object.values(to)) expect(existsSync(join(root, path)), path).toBe(true);
    for (const [name, to] of targets()) {
      // Deno and Bun take "node" for theirs too: the first that fits is taken.
      expect(Object.keys(to), name).toEqual(['types', 'deno', 'bun', 'node', 'default']);
      expect(to.deno).toBe(to.default);
      expect(to.bun).toBe(to.default);
    }
  });

  test('lets bundlers drop everything but the entries', () => {
    const entries = loading().flatMap(([, to]) => [to.node, to.default]);
    // What the command and the bench import.
    const node = ['./dist/index.js', './dist/node/wasm.js', './dist/kernels.js'];
    expect(new Set(manifest.sideEffects)).toEqual(new Set([...entries, ...node, './dist/cli/main.js']));
  });

  test('gives the same names everywhere', async () => {
    const code = `
      const names = [];
      for (const path of ['gradmill', 'gradmill/wasm', './dist/browser.js', 'gradmill/kernels', './dist/browser/kernels.js'])
        names.push(Object.keys(await import(path)).join());
      console.log(JSON.stringify(names));`;
    const names = JSON.parse((await run(code.replaceAll("'./", `'${root}`))).stdout) as string[];
    expect(names.slice(1, 3)).toEqual([names[0], names[0]]);
    expect(names.slice(3)).toEqual(['gemm', 'gemm']);
  });
});

describe('gradmill/wasm in Node', () => {
  const told = "const { name, reason } = backend(); console.log(name + ': ' + reason);";

  test.each([
    ['alone', `import { backend } from 'gradmill/wasm';`],
    ['before the others', `import 'gradmill/wasm'; import 'gradmill/kernels'; import { backend } from 'gradmill';`],
    ['after the others', `import { backend } from 'gradmill'; import 'gradmill/kernels'; import 'gradmill/wasm';`],
  ])('takes WebAssembly, imported %s', async (_, imports) => {
    expect(await run(imports + told)).toEqual({ status: 0, stdout: 'wasm: gradmill/wasm\n', stderr: '' });
    expect((await run(imports + told, { env: { GRADMILL_BACKEND: 'native' } })).stdout).toBe('wasm: gradmill/wasm\n');
  });

  test('leaves models that were made before it on their engine', async () => {
    const code = `
      import { adam, backend, dense, sequential } from 'gradmill';
      const make = () => sequential({ inputShape: [2], layers: [dense({ units: 2 })] });
      const native = make();
      console.log(backend().name);
      await import('gradmill/wasm');
      console.log(backend().name);
      for (const model of [native, make()]) {
        model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
        const { loss } = await model.fit([[1, 2]], [[0, 0]], { epochs: 3 });
        console.log(loss.length);
      }`;
    expect(await run(code)).toEqual({ status: 0, stdout: 'native\nwasm\n3\n3\n', stderr: '' });
  });

  test('can be required', async () => {
    const flags = ['--disable-warning=ExperimentalWarning'];
    const { stdout } = await run(`const { backend } = require('gradmill/wasm'); ${told}`, { type: 'commonjs', flags });
    expect(stdout).toBe('wasm: gradmill/wasm\n');
  });
});

describe('without Node', () => {
  /** Runs code with the browser's entry, where nothing of Node is left but the console. `globals`: what the page has. */
  const page = (code: string, globals = '') =>
    run(`
      const { log } = console;
      for (const name of ['process', 'Buffer', 'setImmediate', 'global', 'navigator']) delete globalThis[name];
      globalThis.navigator = { hardwareConcurrency: 2 };
      ${globals}
      const { adam, backend, dense, GradmillError, initialize, loadModel, sequential } = await import('${root}dist/browser.js');
      const tell = (promise) => promise.then(log, ({ code, message }) => log(code + ': ' + message));
      const model = sequential({ inputShape: [2], layers: [dense({ units: 3, activation: 'tanh' }), dense({ units: 2 })], seed: 1 });
      model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
      ${code}`);

  test('a model trains, on one thread', async () => {
    const { stdout, stderr } = await page(`
      const { loss } = await model.fit([[0, 1], [1, 0]], [0, 1], { epochs: 50, verbose: 1 });
      log(loss[49] < loss[0], JSON.stringify(await initialize()));`);
    expect(stderr).toBe('');
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^epoch {2}1\/50 {2}loss 0\.\d{4} {2}accuracy \d+\.\d\d % /);
    expect(lines.at(-1)).toMatch(
      /^true \{"name":"wasm","isa":"simd128","threads":1,"strict":false,"reason":"the native engine runs in Node.js only; /,
    );
  });

  test('there are no files, but bytes', async () => {
    const { stdout } = await page(`
      await tell(model.save('model.safetensors'));
      await tell(loadModel('model.safetensors'));
      await tell(model.save(''));
      const loaded = await loadModel(await model.serialize());
      log(loaded.weights.every(({ data }, i) => data.join() === model.weights[i].data.join()));`);
    expect(stdout.split('\n')).toEqual([
      'file-io: save: there are no files here; serialize() gives the bytes',
      'file-io: loadModel: there are no files here; pass the bytes that serialize() gave',
      "invalid-argument: save: expected a path, got ''",
      'true',
      '',
    ]);
  });

  const worker = (body: string) => `
    globalThis.crossOriginIsolated = true;
    globalThis.Worker = class { constructor(url, { type }) { ${body} } postMessage() {} };`;
  test.each([
    ['the page is not isolated', '', 'the page is not cross-origin isolated'],
    ['there are none', 'globalThis.crossOriginIsolated = true;', 'there are no workers'],
    ['they may not be made', worker(`throw new Error(type + ' workers are forbidden');`), 'module workers are forbidden'],
    [
      'a policy stops them',
      worker('setTimeout(() => this.onerror({ preventDefault() {} }))'),
      'it was not allowed to start (Content-Security-Policy: worker-src blob:)',
    ],
    ['they break at once', worker(`setTimeout(() => this.onerror({ message: 'no WebAssembly', preventDefault() {} }))`), 'no WebAssembly'],
  ])('one thread is used where workers do not start: %s', async (_, globals, reason) => {
    const code = `
      const first = await initialize();
      const { loss } = await model.fit([[0, 1], [1, 0]], [0, 1], { epochs: 2 });
      log(loss.length, first.threads, backend().threads, backend().reason);`;
    const { stdout, stderr } = await page(code, globals);
    expect(stderr).toBe('');
    expect(stdout).toBe(`2 1 1 the native engine runs in Node.js only; one thread, the caller's: ${reason}\n`);
  });
});

describe('a model as bytes', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gradmill-bytes-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  const file = () => join(folder, 'model.safetensors');
  const weightsOf = (model: ReturnType<typeof network>) => model.weights.map(({ name, data }) => [name, ...data]);

  test('is the file that save writes', async () => {
    const model = network();
    for (const options of [{}, { metadata: { by: 'me' } }]) {
      await model.save(file(), options);
      const bytes = await model.serialize(options);
      expect(Object.prototype.toString.call(bytes)).toBe('[object Uint8Array]');
      expect(Buffer.compare(await readFile(file()), bytes)).toBe(0);
    }
  });

  test('is loaded as a file is: weights, scaling, loss, optimizer and metadata', async () => {
    const model = sequential({ inputShape: [2], seed: 5, inputScaling: { mean: 1, standardDeviation: 2 }, layers: [dense({ units: 2 })] });
    model.compile({ optimizer: adam({ learningRate: 0.25 }), loss: 'softmaxCrossEntropy' });
    const bytes = await model.serialize({ metadata: { by: 'me' } });
    const loaded = await loadModel(bytes);
    expect(loaded.metadata).toEqual({ by: 'me' });
    expect(weightsOf(loaded)).toEqual(weightsOf(model));
    expect(await loaded.serialize()).toEqual(bytes);
    expect(await loaded.evaluate([[1, 2]], [1])).toEqual(await model.evaluate([[1, 2]], [1]));
  });

  test('holds the weights of its place in line', async () => {
    const model = network();
    const before = model.serialize();
    void model.fit([[1, 2]], [1], { epochs: 3 });
    const after = model.serialize();
    expect(weightsOf(await loadModel(await before))).toEqual(weightsOf(network()));
    expect(weightsOf(await loadModel(await after))).toEqual(weightsOf(model));
    expect(await before).not.toEqual(await after);
  });

  test('may lie anywhere: in a Buffer, at any offset, in shared memory, in another realm', async () => {
    const model = network(3);
    const bytes = await model.serialize();
    const shifted = new Uint8Array(bytes.length + 7).subarray(3, 3 + bytes.length);
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    const foreign = runInNewContext('new Uint8Array(length)', { length: bytes.length }) as Uint8Array;
    for (const copy of [shifted, shared, foreign]) copy.set(bytes);
    expect(foreign).not.toBeInstanceOf(Uint8Array);
    for (const source of [bytes, Buffer.from(bytes), shifted, shared, foreign])
      expect(weightsOf(await loadModel(source))).toEqual(weightsOf(model));
  });

  test('is read before loadModel returns', async () => {
    const model = network();
    const bytes = await model.serialize();
    const loading = loadModel(bytes);
    bytes.fill(0);
    expect(weightsOf(await loading)).toEqual(weightsOf(model));
  });

  const any = (value: unknown) => value as never;
  const transferred = () => {
    const bytes = new Uint8Array(8);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    return bytes;
  };
  test.each<[string, () => Promise<unknown>, RegExp]>([
    ['of no bytes', () => loadModel(new Uint8Array()), /^file-invalid: model bytes: 0 bytes are too few for a safetensors file$/],
    [
      'of other bytes',
      () => loadModel(new TextEncoder().encode('{"hello":"world"}')),
      /^file-invalid: model bytes: header length \d+ exceeds/,
    ],
    [
      'cut short',
      async () => loadModel((await network().serialize()).subarray(0, -1)),
      /^file-invalid: model bytes: tensor .*truncated\?$/,
    ],
    ['of a buffer that was transferred', () => loadModel(transferred()), /^buffer-detached: loadModel: /],
    ['as an ArrayBuffer', () => loadModel(any(new ArrayBuffer(8))), /^invalid-argument: loadModel: expected a path or a Uint8Array, got a value of type ArrayBuffer$/], // prettier-ignore
    ['as numbers', () => loadModel(any([1, 2])), /^invalid-argument: loadModel: expected a path or a Uint8Array, got an array of 2$/],
    ['as floats', () => loadModel(any(new Float32Array(2))), /^invalid-argument: loadModel: expected a path or a Uint8Array, got /],
    [
      'as an object that lies',
      () => loadModel(any({ [Symbol.toStringTag]: 'Uint8Array' })),
      /^invalid-argument: loadModel: expected a path/,
    ],
  ])('%s is refused', async (_, call, message) => {
    expect(await refusal(call)).toMatch(message);
  });

  test.each<[string, (model: ReturnType<typeof network>) => Promise<unknown>, RegExp]>([
    [
      'an option that does not exist',
      (model) => model.serialize({ meta: {} } as object),
      /^unknown-name: unknown option of serialize 'meta'/,
    ],
    ['metadata that is no text', (model) => model.serialize({ metadata: any({ a: 1 }) }), /^invalid-argument: serialize: metadata: 'a': expected text, got 1$/], // prettier-ignore
    ['metadata of ours', (model) => model.serialize({ metadata: { format: 'x' } }), /^invalid-argument: serialize: metadata: the key 'format' is gradmill's own$/], // prettier-ignore
    ['a model that is gone', (model) => (model.dispose(), model.serialize()), /^disposed: /],
  ])('serialize refuses %s', async (_, call, message) => {
    expect(await refusal(() => call(network()))).toMatch(message);
  });

  test('is not made of weights that are not finite', async () => {
    const model = sequential({ inputShape: [1], layers: [dense({ units: 1, kernelInitializer: 'zeros' })] });
    model.compile({ optimizer: adam({ learningRate: 1e38 }), loss: 'meanSquaredError' });
    await model.fit([[1]], [[1e10]], { epochs: 10 }).catch(() => undefined);
    if (model.weights.every(({ data }) => data.every(Number.isFinite))) expect.fail('the weights stayed finite');
    expect(await refusal(() => model.serialize())).toMatch(/^diverged: serialize: weight '.*' holds a number that is not finite$/);
  });
});

describe('initialize', () => {
  test('tells what runs', async () => {
    expect(await initialize()).toEqual(backend());
    expect(await initialize({ threads: backend().threads })).toEqual(backend());
    expect(await Promise.all([initialize(), initialize({})])).toEqual([backend(), backend()]);
  });

  const any = (value: unknown) => value as object;
  test.each<[string, object, RegExp]>([
    ['no options', any(7), /^invalid-argument: initialize: expected an object of options, got 7$/],
    ['an option that does not exist', { thread: 1 }, /^unknown-name: unknown option of initialize 'thread', did you mean 'threads'\?$/],
    ['no threads', { threads: 0 }, /^invalid-argument: initialize: threads: expected at least 1/],
    ['half a thread', { threads: 1.5 }, /^invalid-argument: initialize: threads: expected a whole number, got 1.5$/],
    ['too many threads', { threads: 2000 }, /^invalid-argument: initialize: threads: expected .*at most 1024, got 2000$/],
    ['a path', { module: 'gradmill.wasm' }, /^invalid-argument: initialize: module: expected a WebAssembly.Module, got 'gradmill.wasm'$/],
    ['bytes', { module: new Uint8Array(8) }, /^invalid-argument: initialize: module: expected a WebAssembly.Module, got a value of type Uint8Array$/], // prettier-ignore
    [
      'other threads than before',
      { threads: 900 },
      /^invalid-argument: initialize: threads: the engine was loaded before, with \d+, got 900; call/,
    ],
  ])('refuses %s', async (_, options, message) => {
    backend();
    expect(await refusal(() => initialize(options))).toMatch(message);
  });

  /** What code logs that has `initialize`, `backend`, `tell(promise)` and a module without threads. */
  const told = async (name: string, code: string, env: Record<string, string> = {}) => {
    const setup = `
      import { readFileSync } from 'node:fs';
      import { backend, initialize } from 'gradmill';
      const compile = () => new WebAssembly.Module(readFileSync('${root}wasm/simd.wasm'));
      const tell = (promise) => promise.then(({ name, threads }) => console.log(name, threads), ({ code, message }) => console.log(code + ': ' + message));`;
    const ended = await run(setup + code, { env: { GRADMILL_BACKEND: name, ...env } });
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    return ended.stdout.trimEnd().split('\n');
  };

  test.each(['native', 'wasm'])('sets the threads, whatever the environment says (%s)', async (name) => {
    const code = `await tell(initialize({ threads: 1 })); await tell(initialize({ threads: 1 })); await tell(initialize()); console.log(backend().threads);`;
    expect(await told(name, code, { GRADMILL_THREADS: '2' })).toEqual([`${name} 1`, `${name} 1`, `${name} 1`, '1']);
  });

  test.each(['native', 'wasm'])('asked twice for more threads than there are cores is asked for the same (%s)', async (name) => {
    const [first, second] = await told(name, `await tell(initialize({ threads: 1000 })); await tell(initialize({ threads: 1000 }));`);
    expect(first).toMatch(new RegExp(`^${name} \\d+$`));
    expect(second).toBe(first);
  });

  test('takes a module that was compiled elsewhere, but not after another', async () => {
    const code = `
      const module = compile();
      await tell(initialize({ module }));
      await tell(initialize({ module }));
      await tell(initialize({ module: compile() }));`;
    const [first, second, third] = await told('wasm', code);
    expect([first, second]).toEqual(['wasm 1', 'wasm 1']);
    expect(third).toMatch(
      /^invalid-argument: initialize: module: the engine was loaded before, with another module; call initialize before/,
    );
  });

  test('needs no module natively', async () => {
    expect(
      await told('native', `await tell(initialize({ module: compile(), threads: 1 })); await tell(initialize({ module: compile() }));`),
    ).toEqual(['native 1', 'native 1']);
  });

  test('can be asked again after it was refused', async () => {
    const code = `
      process.env.GRADMILL_STRICT = 'yes';
      await tell(initialize({ threads: 1 }));
      process.env.GRADMILL_STRICT = '';
      await tell(initialize({ threads: 1 }));`;
    expect(await told('native', code)).toEqual(["invalid-argument: GRADMILL_STRICT: expected 0 or 1, got 'yes'", 'native 1']);
  });
});

describe('a worker of the WebAssembly engine in Node', () => {
  let port: WorkerPort | undefined;
  afterEach(() => port?.unref());
  /** Resolves with the first thing that comes. */
  const heard = (source: string, ...messages: unknown[]) =>
    new Promise((resolve) => {
      port = nodeHost.spawn(source);
      port?.ref();
      port?.onMessage(resolve, (reason) => resolve(`failed: ${reason}`));
      for (const message of messages) port?.post(message);
    });

  test('hears and answers, by the names that a browser has', async () => {
    expect(await heard('globalThis.onmessage = ({ data }) => postMessage(data * 2);', 21)).toBe(42);
  });

  test.each([
    ['does not parse', 'let let', /^failed: .*let/],
    ['throws', `throw new Error('out of luck')`, /^failed: out of luck$/],
    ['throws later', `globalThis.onmessage = () => { throw new Error('too late'); };`, /^failed: too late$/],
    ['ends', 'process.exit(3)', /^failed: it ended with exit code 3$/],
  ])('that %s is reported', async (_, source, message) => {
    expect(await heard(source, 'go')).toMatch(message);
  });

  test("does not keep a process running, nor take the program's flags for its own", async () => {
    const code = `
      import { backend, dense, initialize, sequential } from 'gradmill';
      const { threads } = await initialize();
      console.log(backend().name, threads === backend().threads);
      sequential({ inputShape: [1], layers: [dense({ units: 1 })] }).predict([1]).then(() => console.log('predicted'));`;
    // Code given as an ES module: the flag for it would make the worker's script one.
    expect(await run(code, { env: { GRADMILL_BACKEND: 'wasm' } })).toEqual({ status: 0, stdout: 'wasm true\npredicted\n', stderr: '' });
  });

  test('pauses let timers and input through', async () => {
    let passed = false;
    setTimeout(() => (passed = true), 1);
    for (let turns = 0; !passed && turns < 1e6; turns++) await nodeHost.pause();
    expect(passed).toBe(true);
  });
});
