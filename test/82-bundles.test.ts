// gradmill in real pages: the package as npm would publish it, unpacked into an empty application, unbundled and out of three
// bundlers without a line of configuration, in Debian's headless Chromium. How long a page waits while its own thread trains is
// printed, it decides nothing: the machine may have other work.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as esbuild from 'esbuild';
import type { Browser, Page } from 'playwright-core';
import * as vite from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import webpack from 'webpack';
import { workloads } from '../bench/workloads.js';
import type { Backend } from '../src/index.js';
import { root, run } from './child.js';
import { CHROMIUM, installed, launch } from './chromium.js';

const ran = installed ? 'in Chromium' : `not run: there is no ${CHROMIUM}`;
const node = existsSync(join(root, 'native/build/gradmill.node')) ? 'native' : 'wasm';

/** What the page and Node both do. */
const PROGRAM = `
const x = [[0, 0], [0, 1], [1, 0], [1, 1]];
const program = {
  async xor() {
    const layers = [dense({ units: 8, activation: 'tanh' }), dense({ units: 1 })];
    const model = sequential({ inputShape: [2], seed: 1, layers });
    model.compile({ optimizer: adam({ learningRate: 0.05 }), loss: 'binaryCrossEntropy', metrics: ['accuracy'], strict: true });
    const { accuracy } = await model.fit(x, [[0], [1], [1], [0]], { epochs: 200, batchSize: 4 });
    const weights = model.weights.map(({ data }) => [...new Uint32Array(data.buffer, data.byteOffset, data.length)]);
    const copy = await loadModel(await model.serialize());
    const same = copy.predictSync(x).data.every((value, i) => value === model.predictSync(x).data[i]);
    const right = [...model.predictSync(x).data].map((logit) => logit > 0);
    const product = new Float32Array(1);
    gemm({ m: 1, n: 1, k: 2, a: Float32Array.of(2, 3), b: Float32Array.of(5, 7), c: product });
    return { accuracy: accuracy.at(-1), weights, same, right, product: product[0], backend: await initialize() };
  },
};`;
const NAMES = 'adam, backend, dense, initialize, loadModel, sequential, sgd';

interface Trained {
  readonly accuracy: number;
  readonly weights: readonly (readonly number[])[];
  readonly same: boolean;
  readonly right: readonly boolean[];
  readonly product: number;
  readonly backend: Backend;
}

/** Where 'gradmill' is written as a page without a bundler must write it. */
const UNBUNDLED = ['./node_modules/gradmill/dist/browser.js', './node_modules/gradmill/dist/browser/kernels.js'] as const;

/** Trains on the page's own thread, once to have everything compiled and once more; how long messages and frames waited. */
const WAITS = `
program.waits = async ({ name, units, activation, batch, loss, optimizer: { name: kind, ...rates } }, epochs) => {
  const rows = 2 * batch;
  const x = { data: Float32Array.from({ length: rows * units[0] }, (_, i) => Math.sin(i)), shape: [rows, units[0]] };
  const y = Float32Array.from({ length: rows }, (_, i) => (loss === 'meanSquaredError' ? Math.cos(i) : i % 10));
  const layers = units.slice(1).map((out, i) => dense({ units: out, activation: i === units.length - 2 ? 'linear' : activation }));
  const model = sequential({ inputShape: [units[0]], seed: 1, layers });
  model.compile({ optimizer: kind === 'adam' ? adam(rates) : sgd(rates), loss });
  const { port1, port2 } = new MessageChannel();
  const train = async (epochs) => {
    const waits = { message: 0, frame: 0, messages: 0 };
    let running = true;
    const watch = (what, next) => {
      let last = performance.now();
      const look = () => {
        const now = performance.now();
        waits[what] = Math.max(waits[what], now - last);
        last = now;
        if (what === 'message') waits.messages++;
        if (running) next(look);
      };
      next(look);
    };
    watch('frame', requestAnimationFrame);
    watch('message', (look) => {
      port1.onmessage = look;
      port2.postMessage(0);
    });
    const start = performance.now();
    const { loss } = await model.fit(x, y, { epochs, batchSize: batch });
    running = false;
    return { ...waits, loss: loss.at(-1), step: (performance.now() - start) / (2 * epochs) };
  };
  return { first: await train(1), then: await train(epochs) };
};`;

/** Milliseconds; messages: how many came. */
interface Waits {
  readonly message: number;
  readonly frame: number;
  readonly messages: number;
  readonly step: number;
  readonly loss: number;
}

const ISOLATED = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };

let app: string;
const servers: Server[] = [];

/** A plain file server. Returns its address, which ends in a slash. */
async function serve(folder: string, headers: Readonly<Record<string, string>>): Promise<string> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const path = pathname.endsWith('/') ? `${pathname}index.html` : pathname;
    readFile(join(app, folder, path)).then(
      (content) => response.writeHead(200, { ...headers, 'Content-Type': TYPES[extname(path)] ?? 'application/octet-stream' }).end(content),
      () => response.writeHead(404).end(),
    );
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

beforeAll(async () => {
  app = await mkdtemp(join(tmpdir(), 'gradmill-app-'));
  const modules = join(app, 'node_modules/gradmill');
  await mkdir(modules, { recursive: true });
  const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', app], { cwd: root, encoding: 'utf8' });
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  execFileSync('tar', ['-xzf', join(app, filename), '-C', modules, '--strip-components=1']);
  const main = (entry: string, kernels: string): string =>
    `import { ${NAMES} } from '${entry}';\nimport { gemm } from '${kernels}';\n${PROGRAM}${WAITS}
program.initialize = initialize;
program.backend = backend;
globalThis.program = program;\n`;
  const html = (script: string): string =>
    `<!doctype html>\n<link rel="icon" href="data:,">\n<script type="module" src="${script}"></script>\n`;
  for (const [path, text] of Object.entries({
    'package.json': '{ "private": true, "type": "module" }',
    'main.js': main('gradmill', 'gradmill/kernels'),
    'small.js': `import { dense, sequential } from 'gradmill';\nconsole.log(sequential({ inputShape: [1], layers: [dense({ units: 1 })] }));\n`,
    'plain.js': main(...UNBUNDLED),
    'index.html': html('./main.js'),
    'plain/index.html': html('../plain.js'),
    'webpack/index.html': html('./main.js'),
    'esbuild/index.html': html('./main.js'),
  })) {
    const file = join(app, path);
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, text);
  }
}, 120_000);

afterAll(async () => {
  for (const server of servers) server.close();
  await rm(app, { recursive: true, force: true });
});

/** Each leaves a page in a folder of the application. */
const ways: readonly (readonly [name: string, folder: string, build: () => Promise<unknown>])[] = [
  ['unbundled', 'plain', () => Promise.resolve()],
  ['built by Vite', 'dist', () => vite.build({ root: app, configFile: false, logLevel: 'error' })],
  [
    'built by webpack',
    'webpack',
    () =>
      new Promise<void>((resolve, reject) => {
        const options = { context: app, entry: './main.js', output: { path: join(app, 'webpack') }, mode: 'production' } as const;
        webpack(options, (error, stats) => {
          if (error ?? stats?.hasErrors()) reject(error ?? new Error(stats?.toString({ all: false, errors: true })));
          else resolve();
        });
      }),
  ],
  [
    'built by esbuild',
    'esbuild',
    () => esbuild.build({ absWorkingDir: app, entryPoints: ['main.js'], bundle: true, outdir: 'esbuild', logLevel: 'error' }),
  ],
];

describe.skipIf(!installed)(`a page with gradmill, ${ran}`, () => {
  let browser: Browser;
  /** XOR in Node. */
  let expected: Trained;

  beforeAll(async () => {
    browser = await launch();
    const imports = `import { ${NAMES} } from 'gradmill'; import { gemm } from 'gradmill/kernels';`;
    const { stdout } = await run(`${imports}${PROGRAM}\nconsole.log(JSON.stringify(await program.xor()));`, {
      env: { GRADMILL_BACKEND: 'auto' },
    });
    expected = JSON.parse(stdout) as Trained;
    expect(expected).toMatchObject({ accuracy: 1, backend: { name: node } });
  }, 120_000);
  afterAll(() => browser?.close());

  /** Opens the page, does the work, closes it. It must not report an error meanwhile, but for those that are expected. */
  async function visit<T>(address: string, work: (page: Page) => Promise<T>, allowed = /^$/): Promise<T> {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', ({ message }) => errors.push(message));
    page.on('console', (message) => {
      if (message.type() === 'error' && !allowed.test(message.text())) errors.push(message.text());
    });
    try {
      await page.goto(address);
      await page.waitForFunction(() => 'program' in globalThis, undefined, { timeout: 30_000 });
      const result = await work(page);
      expect(errors).toEqual([]);
      return result;
    } finally {
      await page.close();
    }
  }
  const xor = (page: Page): Promise<Trained> => page.evaluate<Trained>('program.xor()');
  const check = (trained: Trained): void => {
    expect(trained).toMatchObject({ accuracy: 1, same: true, right: [false, true, true, false], product: 31 });
    expect(trained.weights).toEqual(expected.weights);
    expect(trained.backend).toMatchObject({ name: 'wasm', isa: 'simd128' });
  };

  describe.each(ways)('%s', (_, folder, build) => {
    beforeAll(build, 120_000);
    // Without a bundler the page lies beside node_modules.
    const [served, path] = folder === 'plain' ? ['', 'plain/'] : [folder, ''];

    test(`trains with threads on an isolated page: the same bits as ${node} in Node`, async () => {
      const { cores, trained } = await visit((await serve(served, ISOLATED)) + path, async (page) => ({
        cores: await page.evaluate<number>('navigator.hardwareConcurrency'),
        trained: await xor(page),
      }));
      check(trained);
      expect(trained.backend).toMatchObject({ threads: cores, reason: 'the native engine runs in Node.js only' });
    });

    test('trains on one thread elsewhere, and says why: the same bits', async () => {
      const trained = await visit((await serve(served, {})) + path, xor);
      check(trained);
      expect(trained.backend.threads).toBe(1);
      expect(trained.backend.reason).toMatch(/; one thread, the caller's: the page is not cross-origin isolated$/);
    });
  });

  test.each([
    ['with threads', 'threads', ISOLATED],
    ['without', 'simd', {}],
    ['without, where threads would run', 'simd', ISOLATED],
  ])('takes a module that was compiled before, %s', async (_, module, headers) => {
    const trained = await visit(`${await serve('', headers)}plain/`, async (page) => {
      const address = JSON.stringify(`../node_modules/gradmill/wasm/${module}.wasm`);
      await page.evaluate(`WebAssembly.compileStreaming(fetch(${address})).then((module) => program.initialize({ module }))`);
      return xor(page);
    });
    check(trained);
    if (module === 'simd') expect(trained.backend.threads).toBe(1);
    else expect(trained.backend.threads).toBeGreaterThanOrEqual(1);
  });

  test('refuses a module with threads where memory cannot be shared', async () => {
    const message = await visit(`${await serve('', {})}plain/`, (page) =>
      page.evaluate<string>(`
        WebAssembly.compileStreaming(fetch('../node_modules/gradmill/wasm/threads.wasm'))
          .then((module) => program.initialize({ module }))
          .catch(({ code, message }) => code + ': ' + message)`),
    );
    expect(message).toMatch(/^invalid-argument: initialize: module: .*the page is not cross-origin isolated/);
  });

  const policy = (value: string) => ({ ...ISOLATED, 'Content-Security-Policy': `script-src 'self' ${value}` });
  const VIOLATION = /Content Security Policy/;

  test('trains on one thread where a policy forbids workers out of blobs, and says so', async () => {
    const address = await serve('', policy("'wasm-unsafe-eval'"));
    const trained = await visit(`${address}plain/`, xor, VIOLATION);
    check(trained);
    expect(trained.backend.threads).toBe(1);
    expect(trained.backend.reason).toMatch(/; one thread, the caller's: .*Content.Security.Policy/);
  });

  test('says so where a policy forbids WebAssembly', async () => {
    const address = await serve('', policy(''));
    const message = await visit(
      `${address}plain/`,
      (page) => page.evaluate<string>(`program.initialize().catch(({ code, message }) => code + ': ' + message)`),
      VIOLATION,
    );
    expect(message).toMatch(/^backend-unavailable: .*Content Security Policy/);
  });

  test('gives up its turn while its own thread trains', { timeout: 300_000 }, async () => {
    const address = `${await serve('', {})}plain/`;
    for (const workload of workloads.filter(({ measures }) => measures === 'step')) {
      const epochs = { W1: 200, W2: 8, W3: 1, W4: 800, W5: 5 }[workload.name] ?? 1;
      const { first, then } = await visit(address, (page) =>
        page.evaluate<Record<'first' | 'then', Waits>>(`program.waits(${JSON.stringify(workload)}, ${epochs})`),
      );
      const longest = ({ message, frame }: Waits): string => `${message.toFixed(1)} ms, a frame ${frame.toFixed(1)} ms`;
      const shown = `a step took ${then.step.toFixed(2)} ms, a message waited at most ${longest(then)}; in the first fit ${longest(first)}`;
      console.log(`${workload.name} on the page's own thread: ${shown}`);
      expect(then.loss).toBeGreaterThan(0);
      expect(then.messages).toBeGreaterThan(20);
    }
  });
});

describe('what a page loads', () => {
  test('are modules of less than 150 kB, compressed', async () => {
    const read = (path: string): Promise<Buffer> => readFile(join(app, 'node_modules/gradmill', path));
    const size = (bytes: Buffer): number => gzipSync(bytes, { level: 9 }).length;
    const [simd, threads, script] = (await Promise.all(['wasm/simd.wasm', 'wasm/threads.wasm', 'dist/wasm/modules.js'].map(read))).map(
      size,
    );
    console.log(`gzip -9: simd.wasm ${simd} bytes, threads.wasm ${threads}; both in base64, as pages load them, ${script}`);
    expect(simd + threads).toBeLessThan(150_000);
  });

  test('is only what it uses', async () => {
    const bundle = async (entry: string) => {
      const bundling = { absWorkingDir: app, entryPoints: [entry], bundle: true, format: 'esm' as const };
      const { outputFiles, metafile } = await esbuild.build({ ...bundling, write: false, metafile: true });
      return { text: outputFiles[0].text, files: Object.keys(metafile.inputs).map((path) => path.replace(/.*\/dist\//, '')) };
    };
    const [small, all] = await Promise.all(['small.js', 'main.js'].map(bundle));
    const parts = { loadModel: 'pass the bytes that serialize() gave', gemm: 'function gemm(', adam: 'function adam(' };
    for (const [part, text] of Object.entries(parts)) {
      expect(all.text.includes(text), part).toBe(true);
      expect(small.text.includes(text), part).toBe(false);
    }
    expect(all.files.filter((path) => /^(index|reference|node\/|cli\/(?!progress|terminal))/.test(path))).toEqual([]);
  });
});
