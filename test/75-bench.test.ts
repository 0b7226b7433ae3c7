// `gradmill bench` as a program: command lines, what ships, what it says where something is missing. No test judges a timing.
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../src/cli/command.js';
import { root } from './child.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradmill-bench-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** Within this process, from the sources. */
async function bench(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const io = { out: { write: (text: string) => (out += text) }, err: { write: (text: string) => (err += text) }, cwd: folder };
  const code = await runCommand(['bench', ...args], io);
  return { code, out, err };
}

/** A process of its own, from the files that ship. */
function program(directory: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [join(directory, 'dist/cli/main.js'), 'bench', ...args], { cwd: directory }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

describe('the command line', () => {
  test('is explained, and each command with its own flags', async () => {
    const { code, out } = await bench('--help');
    expect(code).toBe(0);
    const commands = [...out.matchAll(/^ {2}([a-z-]+) {2,}\S/gm)].map(([, name]) => name);
    expect(commands).toEqual(expect.arrayContaining(['training', 'browser', 'gemm', 'hog', 'all']));
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(130);
    for (const command of commands) {
      const help = await bench(command, '--help');
      expect(help).toMatchObject({ code: 0, err: '' });
      expect(help.out).toMatch(new RegExp(`^usage: gradmill bench ${command} [^]*--help`));
    }
    expect((await bench('gemm', '--help')).out).toContain('--transpose-a');
    expect((await bench('gemm', '--help')).out).not.toContain('--python');
  });

  const cores = availableParallelism();
  test.each([
    [[], 'bench needs a command; see gradmill bench --help'],
    [['gem'], "unknown command 'bench gem'; did you mean 'gemm'?"],
    [['xyzzy'], "unknown command 'bench xyzzy'; see gradmill bench --help"],
    [['training', 'W1'], "bench training takes no 'W1'"],
    [['training', '--treads', '1'], 'unknown flag --treads, did you mean --threads?'],
    [['hog', '--threads', '1.5'], `--threads expects whole numbers from 1 to ${cores} separated by commas, got '1.5'`],
    [['hog', '--threads', `${cores + 1}`], `--threads expects whole numbers from 1 to ${cores} separated by commas, got '${cores + 1}'`],
    [['hog', '--rounds', '0'], "--rounds expects a whole number from 1 to 1000, got '0'"],
    [['hog', '--seconds', '-1'], "--seconds expects a number above 0, got '-1'"],
    [['training', '--m', '3'], 'bench training takes no --m'],
    [['scaling', '--over', 'time'], "--over expects names of threads, batch, width, depth, separated by commas, got 'time'"],
    [['predict', '--threads', '8,2000'], "--threads expects whole numbers from 1 to 1024 separated by commas, got '8,2000'"],
    [['predict', '--layers', '784'], '--layers needs the inputs and at least one layer: --layers 784,512,10'],
    [['predict', '--layers', '784,0'], "--layers expects whole numbers from 1 to 1048576 separated by commas, got '784,0'"],
    [['predict', '--activation', 'softmax'], /^--activation expects one of linear, .*, hardSwish, got 'softmax'$/],
    [['predict', '--check', '3'], "--check expects a whole number from 8 to 10000, got '3'"],
    [['gemm', '--m', '3'], 'bench gemm needs all of --m, --n and --k, or none'],
    [['training', '--layers', '784'], '--layers needs the inputs and at least one layer: --layers 784,512,10'],
    [['training', '--batch', '64'], '--batch needs --layers: a network of your own'],
    [['training', '--layers', '784,10', '--workloads', 'W1'], '--layers takes the place of --workloads'],
    [['training', '--layers', '784,10', '--activation', 'rellu'], /^--activation expects one of relu, .*did you mean 'relu'/],
    [['training', '--layers', '8,10', '--loss', 'meanSquaredError'], /^--loss meanSquaredError is for one output/],
    [['gemm', '--transpose-a'], '--transpose-a and --transpose-b need --m, --n and --k'],
    [['training', '--workloads', 'W9'], /^--workloads expects names of W1, .*, got 'W9'/],
    [['training', '--peers', 'pytorch,tensorflow'], /^--peers expects names of none, pytorch, .*, got 'pytorch,tensorflow'/],
    [['gemm', '--isa', 'avx3'], /^--isa expects names of .*wasm, which run here, got 'avx3'/],
  ])('%j is wrong, and says why', async (args, message) => {
    const { code, out, err } = await bench(...args);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toMatch(/^gradmill: [^\n]*\n$/);
    const [, said] = /^gradmill: (.*)\n$/.exec(err)!;
    if (typeof message === 'string') expect(said).toBe(message);
    else expect(said).toMatch(message);
  });
});

describe('as it ships', () => {
  test('measures, and writes figures with their machine', async () => {
    const json = join(folder, 'gemm.json');
    const { code, out, err } = await program(root, 'gemm', '--m=4', '--n=5', '--k=6', '--threads=1', '--rounds=2', '--peers=none', '--seconds=0.01', '--json', json); // prettier-ignore
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^date .*\ncommand +gradmill bench gemm --m=4/);
    const report = JSON.parse(await readFile(json, 'utf8')) as { machine: object; results: { gemm: { results: object[] } } };
    expect(report.machine).toMatchObject({
      cores: expect.any(Number) as number,
      node: process.version,
      rounds: 2,
      load: { gemm: { before: expect.any(Number) as number, after: expect.any(Number) as number } },
    });
    expect(report.results.gemm.results).toHaveLength(1);
    expect(report.results.gemm.results[0]).toMatchObject({
      m: 4,
      n: 5,
      k: 6,
      threads: 1,
      gflops: { rounds: 2, median: expect.any(Number) as number },
    });
  });

  test('trains a network of the user’s own, as the engine and as what it is compared with', async () => {
    const json = join(folder, 'own.json');
    const args = ['--layers=2,4,1', '--activation=sigmoid', '--batch=8', '--optimizer=momentum', '--peers=sse2-strict', '--threads=1'];
    const { code, out, err } = await program(root, 'training', ...args, '--rounds=2', '--seconds=0.01', '--json', json);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain('2-4-1: 2-4-1 sigmoid, meanSquaredError, sgd 0.01 momentum 0.9, batch 8');
    const { results } = JSON.parse(await readFile(json, 'utf8')) as { results: { training: { results: object[] } } };
    expect(results.training.results).toMatchObject([
      { workload: '2-4-1', family: 'native', agrees: true, check: expect.any(Number) as number, microseconds: { rounds: 2 } },
      { workload: '2-4-1', family: 'sse2-strict', agrees: true },
    ]);
  });

  test('says what it needs where Benchmark.js is not installed, and what a peer needs', async () => {
    const alone = join(folder, 'alone');
    const installed = (name: string) => cp(join(root, 'node_modules', name), join(alone, 'node_modules', name), { recursive: true });
    await cp(join(root, 'dist'), join(alone, 'dist'), { recursive: true });
    await cp(join(root, 'package.json'), join(alone, 'package.json'));
    await installed('csv-parse');
    expect(await program(alone, '--help')).toMatchObject({ code: 0, err: '' });
    expect(await program(alone, 'training')).toEqual({
      code: 1,
      out: '',
      err: 'gradmill: missing-package: bench measures with Benchmark.js; run: npm install benchmark\n',
    });
    for (const needed of ['benchmark', 'lodash', 'platform']) await installed(needed);
    await cp(join(root, 'wasm'), join(alone, 'wasm'), { recursive: true, filter: (name) => !/\.(cpp|mjs)$/.test(name) });
    const { code, out, err } = await program(alone, 'training', '--workloads=W4', '--peers=jaxjs,chromium', '--threads=1', '--rounds=1', '--seconds=0.01'); // prettier-ignore
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^commit +published$/m);
    expect(out).toMatch(/^jaxjs is left out: .*Cannot find package '@jax-js\/jax'.*\(npm install @jax-js\/jax\)$/m);
    expect(out).toMatch(/^chromium is left out: its page runs from a checkout of gradmill only$/m);
    expect(out).toMatch(/^gradmill wasm +1 /m);
  });
});
