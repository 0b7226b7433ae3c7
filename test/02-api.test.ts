// The public API as a user meets it: names, types, import and require of the built package, errors.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from 'vitest';
import * as api from '../src/index.js';
import {
  activation,
  adam,
  type Backend,
  backend,
  dense,
  type EpochReport,
  type Evaluation,
  type FitOptions,
  type FloatTensor,
  type Gradients,
  GradmillError,
  type GradmillErrorCode,
  type History,
  type Layer,
  loadModel,
  type Optimizer,
  type Sequential,
  sequential,
  tensor,
  type TensorInput,
  type TensorLike,
  type Weight,
} from '../src/index.js';
import * as kernels from '../src/kernels.js';
import * as pruning from '../src/pruning/index.js';
import { VERSION } from '../src/version.js';
import { root, run } from './child.js';

describe('the names', () => {
  test('of gradmill', () => {
    expect(Object.keys(api).sort()).toEqual([
      'GradmillError',
      'Standardizer',
      'activation',
      'adagrad',
      'adam',
      'adamW',
      'backend',
      'batchNormalization',
      'constant',
      'dense',
      'dropout',
      'gain',
      'glorotNormal',
      'glorotUniform',
      'groupLasso',
      'heNormal',
      'heUniform',
      'initialize',
      'l1',
      'l2',
      'layerNormalization',
      'lecunNormal',
      'lecunUniform',
      'loadModel',
      'lsuv',
      'minMaxScaler',
      'normal',
      'ones',
      'orthogonal',
      'rmsNormalization',
      'rmsprop',
      'robustScaler',
      'scalerFromJSON',
      'sequential',
      'sgd',
      'tensor',
      'truncatedNormal',
      'uniform',
      'varianceScaling',
      'whitening',
      'zeros',
    ]);
  });

  test('of gradmill/pruning', () => {
    expect(Object.keys(pruning).sort()).toEqual([
      'lotteryTicket',
      'masksOf',
      'pruneByMagnitude',
      'pruningSchedule',
      'removableUnits',
      'removeUnits',
      'setMasks',
      'sparsity',
    ]);
  });

  test('of gradmill/kernels', () => {
    expect(Object.keys(kernels)).toEqual(['gemm']);
  });

  test('of a model', () => {
    const model = sequential({ inputShape: [1], layers: [dense({ units: 1 })] });
    expect(Object.getOwnPropertyNames(Object.getPrototypeOf(model)).sort()).toEqual([
      'compile',
      'constructor',
      'dispose',
      'evaluate',
      'fit',
      'gradients',
      'plan',
      'predict',
      'predictSync',
      'profile',
      'save',
      'serialize',
      'setWeights',
      'summary',
      'trainOnBatch',
      'weights',
    ]);
    expect(Object.keys(model)).toEqual(['metadata']);
  });

  test('the version is that of the package', async () => {
    expect(JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))).toHaveProperty('version', VERSION);
  });
});

describe('a small network', () => {
  const model = sequential({
    inputShape: [2],
    seed: 1,
    layers: [dense({ units: 8, activation: 'tanh', name: 'hidden' }), dense({ units: 1 }), activation('sigmoid')],
  });

  test('learns exclusive or', async () => {
    const x = [[0, 0], [0, 1], [1, 0], [1, 1]]; // prettier-ignore
    model.compile({ optimizer: adam({ learningRate: 0.05 }), loss: 'meanSquaredError', metrics: ['accuracy'] });
    const history = await model.fit(x, [0, 1, 1, 0], { epochs: 300, batchSize: 4 });
    expect(history.loss.at(-1)).toBeLessThan(0.01);
    expect(history.accuracy?.at(-1)).toBe(1);
    expect(Array.from((await model.predict(x)).data, Math.round)).toEqual([0, 1, 1, 0]);
  });

  test('shows its layers', () => {
    expect(model.summary().split('\n')).toEqual([
      'input [2]',
      'layer         kind                   output       weights',
      '─────────────────────────────────────────────────────────',
      'hidden        dense (tanh)           [batch, 8]        24',
      'dense2        dense                  [batch, 1]         9',
      'activation1   activation (sigmoid)   [batch, 1]         0',
      '─────────────────────────────────────────────────────────',
      '33 weights',
    ]);
  });

  test('has named weights', () => {
    expect(model.weights.map(({ name, shape, trainable }) => [name, shape, trainable])).toEqual([
      ['hidden/kernel', [2, 8], true],
      ['hidden/bias', [8], true],
      ['dense2/kernel', [8, 1], true],
      ['dense2/bias', [1], true],
    ]);
  });

  test('has a plan that prints itself', () => {
    const fresh = sequential({ inputShape: [2], layers: [dense({ units: 3 })] });
    expect(fresh.plan.toString()).toMatch(/gemm/);
    expect(fresh.plan.toString()).not.toMatch(/adam/);
    fresh.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    expect(fresh.plan.toString()).toMatch(/softmaxCrossEntropy[^]*adam/);
  });

  test('starts from its seed', () => {
    const weights = (seed?: number) =>
      sequential({ inputShape: [2], layers: [dense({ units: 3 })], ...(seed !== undefined && { seed }) }).weights[0].data;
    expect(weights(5)).toEqual(weights(5));
    expect(weights(5)).not.toEqual(weights(6));
    expect(weights()).toEqual(weights(0));
    expect(weights(2 ** 32)).not.toEqual(weights(0));
    expect(weights(Number.MAX_SAFE_INTEGER)).not.toEqual(weights(0));
  });

  test('layers may be used again and again', async () => {
    const layer = dense({ units: 2 });
    const twice = sequential({ inputShape: [2], layers: [layer, layer] });
    expect(twice.weights.map(({ name }) => name)).toEqual(['dense1/kernel', 'dense1/bias', 'dense2/kernel', 'dense2/bias']);
    expect(twice.weights[0].data).not.toEqual(twice.weights[2].data);
    const optimizer = adam();
    for (const model of [twice, sequential({ inputShape: [2], layers: [layer] })]) {
      model.compile({ optimizer, loss: 'huber' });
      await model.trainOnBatch([[1, 2]], [[1, 2]]);
    }
  });
});

describe('an error', () => {
  test('is a GradmillError, which is an Error', () => {
    const cause = new Error('deep');
    const error = new GradmillError('file-io', 'message', { cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'GradmillError', code: 'file-io', message: 'message', cause });
    expect(Object.prototype.hasOwnProperty.call(new GradmillError('busy', 'x'), 'cause')).toBe(false);
    expect(String(error)).toBe('GradmillError: message');
  });
});

describe('types', () => {
  test('of models and what they return', () => {
    expectTypeOf(sequential).returns.toEqualTypeOf<Sequential>();
    expectTypeOf(loadModel).returns.toEqualTypeOf<Promise<Sequential>>();
    expectTypeOf(backend).returns.toEqualTypeOf<Backend>();
    expectTypeOf(dense).returns.toExtend<Layer>();
    expectTypeOf(adam).returns.toEqualTypeOf<Optimizer>();
    expectTypeOf(tensor).returns.toEqualTypeOf<TensorLike>();
    expectTypeOf<Sequential['fit']>().returns.toEqualTypeOf<Promise<History>>();
    expectTypeOf<Sequential['evaluate']>().returns.toEqualTypeOf<Promise<Evaluation>>();
    expectTypeOf<Sequential['trainOnBatch']>().returns.toEqualTypeOf<Promise<Evaluation>>();
    expectTypeOf<Sequential['predict']>().returns.toEqualTypeOf<Promise<FloatTensor>>();
    expectTypeOf<Sequential['predictSync']>().returns.toEqualTypeOf<FloatTensor>();
    expectTypeOf<Sequential['gradients']>().returns.toEqualTypeOf<Promise<Gradients>>();
    expectTypeOf<Sequential['weights']>().toEqualTypeOf<Weight[]>();
    expectTypeOf<Sequential['summary']>().returns.toBeString();
    expectTypeOf<Sequential['dispose']>().returns.toBeVoid();
    expectTypeOf<FloatTensor['data']>().toEqualTypeOf<Float32Array>();
    expectTypeOf<Backend['name']>().toEqualTypeOf<'native' | 'wasm'>();
    expectTypeOf<GradmillError['code']>().toEqualTypeOf<GradmillErrorCode>();
    expectTypeOf<EpochReport['valLoss']>().toEqualTypeOf<number | undefined>();
  });

  test('of data', () => {
    expectTypeOf<number[]>().toExtend<TensorInput>();
    expectTypeOf<number[][][]>().toExtend<TensorInput>();
    expectTypeOf<Float32Array[]>().toExtend<TensorInput>();
    expectTypeOf<Uint8Array>().toExtend<TensorInput>();
    expectTypeOf<Buffer>().toExtend<TensorInput>();
    expectTypeOf<FloatTensor>().toExtend<TensorInput>();
    expectTypeOf<readonly [number, number]>().toExtend<TensorInput>();
    expectTypeOf<BigInt64Array>().not.toExtend<TensorInput>();
    expectTypeOf<string[]>().not.toExtend<TensorInput>();
    expectTypeOf<DataView>().not.toExtend<TensorInput>();
    expectTypeOf<{ data: number[]; shape: number[] }>().not.toExtend<TensorInput>();
  });

  test('of options', () => {
    expectTypeOf<FitOptions['onBatch']>().parameter(0).toHaveProperty('loss');
    expectTypeOf<FitOptions['verbose']>().toEqualTypeOf<0 | 1 | undefined>();
    expectTypeOf<'relu'>().toExtend<Parameters<typeof activation>[0]>();
    expectTypeOf<'rellu'>().not.toExtend<Parameters<typeof activation>[0]>();
    expectTypeOf<{ optimizer: Optimizer; loss: 'huber' }>().toExtend<Parameters<Sequential['compile']>[0]>();
    expectTypeOf<{ optimizer: Optimizer; loss: 'mse' }>().not.toExtend<Parameters<Sequential['compile']>[0]>();
    expectTypeOf<{ optimizer: 'adam'; loss: 'huber' }>().not.toExtend<Parameters<Sequential['compile']>[0]>();
    expectTypeOf<ReturnType<Sequential['weights']['map']>>().toBeArray();
    // What `weights` returned may be set again.
    expectTypeOf<Weight[]>().toExtend<Parameters<Sequential['setWeights']>[0]>();
  });
});

describe('the built package', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gradmill-user-'));
    await mkdir(join(folder, 'node_modules', '@types'), { recursive: true });
    await symlink(root, join(folder, 'node_modules', 'gradmill'));
    await symlink(join(root, 'node_modules', '@types', 'node'), join(folder, 'node_modules', '@types', 'node'));
    await symlink(join(root, 'node_modules', 'undici-types'), join(folder, 'node_modules', 'undici-types'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const train = `
    const model = sequential({ inputShape: [2], layers: [dense({ units: 2 })] });
    model.compile({ optimizer: adam(), loss: 'softmaxCrossEntropy' });
    model.fit([[0, 1], [1, 0]], [0, 1], { epochs: 3 }).then(({ loss }) => {
      const c = gemm({ m: 1, n: 1, k: 2, a: Float32Array.of(1, 2), b: Float32Array.of(3, 4) });
      console.log(loss.length, c[0], backend().name);
    });`;

  test('can be imported', async () => {
    const code = `import { adam, backend, dense, sequential } from 'gradmill'; import { gemm } from 'gradmill/kernels'; ${train}`;
    expect(await run(code, { cwd: folder })).toEqual({ status: 0, stdout: '3 11 native\n', stderr: '' });
  });

  test('can be required', async () => {
    const code = `const { adam, backend, dense, sequential } = require('gradmill'); const { gemm } = require('gradmill/kernels'); ${train}`;
    const { status, stdout, stderr } = await run(code, { cwd: folder, type: 'commonjs', flags: ['--disable-warning=ExperimentalWarning'] });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '3 11 native\n', stderr: '' });
  });

  test('is one and the same, imported or required', async () => {
    const code = `
      import { createRequire } from 'node:module';
      import { GradmillError, tensor } from 'gradmill';
      const required = createRequire(import.meta.url)('gradmill');
      console.log(required.GradmillError === GradmillError, required.tensor === tensor);`;
    expect(await run(code, { cwd: folder, flags: ['--disable-warning=ExperimentalWarning'] })).toMatchObject({ stdout: 'true true\n' });
  });

  test('shows its package.json and no other file', async () => {
    const code = `
      import { readFileSync } from 'node:fs';
      console.log(JSON.parse(readFileSync(new URL(import.meta.resolve('gradmill/package.json')), 'utf8')).name);
      for (const path of ['gradmill/dist/index.js', 'gradmill/dist/plan.js', 'gradmill/native/build/gradmill.node'])
        await import(path).catch(({ code }) => console.log(code));`;
    const { stdout } = await run(code, { cwd: folder });
    expect(stdout).toBe('gradmill\n' + 'ERR_PACKAGE_PATH_NOT_EXPORTED\n'.repeat(3));
  });

  test('has types for both, with every file of declarations checked', async () => {
    const body = `
      async function main(): Promise<number> {
        const model = sequential({ inputShape: [784], seed: 1, layers: [dense({ units: 512, activation: 'relu' }), dense({ units: 10 })] });
        model.compile({ optimizer: adam({ learningRate: 1e-3 }), loss: { name: 'softmaxCrossEntropy', labelSmoothing: 0.1 }, metrics: ['accuracy'] });
        const x = tensor(new Uint8Array(784), [1, 784]);
        const history = await model.fit(x, [3], { epochs: 1, signal: AbortSignal.timeout(1000), onEpoch: async ({ valLoss }) => void valLoss?.toFixed() });
        const { loss, accuracy }: { loss: number; accuracy?: number } = await model.evaluate(x, Int32Array.of(3));
        const out: Float32Array = model.predictSync(x, { out: new Float32Array(10) }).data;
        // @ts-expect-error a misspelt option
        await model.fit(x, [3], { epoch: 1 }).catch((error: unknown) => error instanceof GradmillError && error.code === 'unknown-name');
        // @ts-expect-error a misspelt activation
        const layer = () => dense({ units: 1, activation: 'rellu' });
        // @ts-expect-error text is no data
        const data = () => model.predict(['a']);
        gemm({ m: 1, n: 1, k: 1, a: out, b: out, transposeA: true });
        const bytes: Uint8Array = await model.serialize({ metadata: { by: 'me' } });
        const { threads }: Backend = await initialize({ threads: 2 });
        // @ts-expect-error a module is an object
        const start = () => initialize({ module: 'module.wasm' });
        await loadModel(bytes);
        return history.loss[0] + loss + (accuracy ?? 0) + layer.length + data.length + threads + start.length + (await loadModel('x')).weights.length;
      }
      main().catch(() => 0);`;
    await writeFile(
      join(folder, 'user.mts'),
      `import { adam, type Backend, dense, GradmillError, initialize, loadModel, sequential, tensor } from 'gradmill'; import { gemm } from 'gradmill/kernels'; import { backend } from 'gradmill/wasm'; backend().name; ${body}`,
    );
    await writeFile(
      join(folder, 'user.cts'),
      `import gradmill = require('gradmill'); import kernels = require('gradmill/kernels'); import type { Backend } from 'gradmill'; const { adam, dense, GradmillError, initialize, loadModel, sequential, tensor } = gradmill; const { gemm } = kernels; ${body}`,
    );
    const options = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'nodenext', '--types', 'node', '--preserveSymlinks'];
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const printed = await new Promise<string>((resolve) => {
      execFile(process.execPath, [tsc, ...options, 'user.mts', 'user.cts'], { cwd: folder }, (_, stdout, stderr) => {
        resolve(stdout + stderr);
      });
    });
    expect(printed).toBe('');
  }, 180_000);
});
