// WebAssembly beside the native engine: the same weight bits in strict mode, whatever the instruction set and the number of
// threads; the same losses, but for rounding, in fast mode; files of one are files of the other.
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Engine } from '../src/engine.js';
import { adagrad, adam, adamW, dense, loadModel, type Optimizer, rmsprop, type Sequential, sequential, sgd } from '../src/index.js';
import { bitsOf } from './bits.js';
import { Random } from './engines.js';
import { nativeEngine, on, onWhile, wasmEngine } from './two-engines.js';

interface Network {
  readonly name: string;
  readonly hidden: readonly (readonly [units: number, activation: Parameters<typeof dense>[0]['activation']])[];
  readonly optimizer: () => Optimizer;
  readonly loss: 'softmaxCrossEntropy' | 'binaryCrossEntropy' | 'meanSquaredError' | 'huber' | 'categoricalCrossEntropy';
  readonly outputs: number;
}

const networks: readonly Network[] = [
  { name: 'relu, sgd with momentum', hidden: [[64, 'relu'], [33, 'leakyRelu']], optimizer: () => sgd({ learningRate: 0.05, momentum: 0.9 }), loss: 'softmaxCrossEntropy', outputs: 10 }, // prettier-ignore
  { name: 'gelu and tanh, adam', hidden: [[47, 'gelu'], [40, 'tanh']], optimizer: () => adam({ clipGlobalNorm: 1 }), loss: 'softmaxCrossEntropy', outputs: 5 }, // prettier-ignore
  { name: 'mish and softplus, adamW', hidden: [[30, 'mish'], [30, 'softplus']], optimizer: () => adamW(), loss: 'meanSquaredError', outputs: 3 }, // prettier-ignore
  { name: 'silu and selu, rmsprop', hidden: [[25, 'silu'], [130, 'selu']], optimizer: () => rmsprop(), loss: 'binaryCrossEntropy', outputs: 1 }, // prettier-ignore
  { name: 'sigmoid, elu and geluTanh, adagrad', hidden: [[20, 'sigmoid'], [20, 'elu'], [20, 'geluTanh']], optimizer: () => adagrad(), loss: 'huber', outputs: 2 }, // prettier-ignore
];

const [rows, columns, batchSize, epochs] = [245, 37, 25, 20]; // ten steps an epoch, the last of them short
const steps = Math.ceil(rows / batchSize) * epochs;

function data({ loss, outputs }: Network) {
  const random = new Random(11);
  const x = { data: random.floats(rows * columns), shape: [rows, columns] };
  if (loss === 'softmaxCrossEntropy') return { x, y: random.labels(rows, outputs) };
  return { x, y: { data: random.floats(rows * outputs, 0, 1), shape: [rows, outputs] } };
}

function make({ hidden, optimizer, loss, outputs }: Network, engine: Engine, threads: number): Sequential {
  return on(engine, () => {
    // The usual initialiser for one half, that of normal draws for the other.
    const layers = hidden.map(([units, activation], i) =>
      dense({ units, activation, ...(i % 2 === 0 && { kernelInitializer: 'heNormal' }) }),
    );
    const model = sequential({
      inputShape: [columns],
      seed: 4,
      layers: [...layers, dense({ units: outputs, activation: loss === 'binaryCrossEntropy' ? 'sigmoid' : 'linear' })],
    });
    model.compile({ optimizer: optimizer(), loss, threads, strict: engine.strict });
    return model;
  });
}

async function trained(network: Network, engine: Engine, threads: number) {
  const model = make(network, engine, threads);
  const { x, y } = data(network);
  const started = bitsOf(model.weights);
  const { loss } = await model.fit(x, y, { epochs, batchSize });
  const result = { started, loss, weights: bitsOf(model.weights), output: bitsOf((await model.predict(x)).data) };
  model.dispose();
  return result;
}

const { isas } = nativeEngine(undefined, true);
// More workers than cores are slow, and compute the same.
const hostOf = (threads: number) => ({ cores: Math.max(threads, 1) });

describe(`${steps} steps, strict, native ${isas.join(', ')} and WebAssembly on 1, 2 and 4 workers of ${availableParallelism()} cores`, () => {
  test.each(networks)('$name', async (network) => {
    const expected = await trained(network, nativeEngine(isas[0], true), 1);
    expect(expected.loss[epochs - 1]).toBeLessThan(expected.loss[0]);
    for (const isa of isas.slice(1)) expect(await trained(network, nativeEngine(isa, true), 2), isa).toEqual(expected);
    for (const threads of [1, 2, 4]) {
      const engine = wasmEngine({ threads }, hostOf(threads));
      await engine.ready;
      expect({ threads: engine.threads, reason: engine.reason }).toEqual({ threads, reason: 'a test' });
      expect(await trained(network, engine, threads), `${threads} workers`).toEqual(expected);
    }
    // The module without threads, in turns on this thread.
    const alone = wasmEngine({}, { sharedMemory: 'not in this test' });
    expect(alone.threads).toBe(1);
    expect(await trained(network, alone, 1), 'no workers').toEqual(expected);
  });
});

describe('fast mode', () => {
  // Fused multiply-add rounds once where WebAssembly rounds twice, and training carries the difference on: 200 steps of rmsprop,
  // which divides by the roots of small squares, make 7e-3 of it.
  const [tolerance, compared] = [1e-5, 5];
  test.each(networks)(`$name: the losses of the first ${compared} epochs within ${tolerance} of the native ones`, async (network) => {
    const native = await trained(network, nativeEngine(undefined, false), 1);
    const wasm = await trained(network, wasmEngine({ strict: false, threads: 1 }), 1);
    const differences = native.loss.slice(0, compared).map((loss, epoch) => Math.abs(wasm.loss[epoch] - loss) / loss);
    console.log(`${network.name}: ${differences.map((difference) => difference.toExponential(1)).join(' ')}`);
    for (const difference of differences) expect(difference).toBeLessThan(tolerance);
  });
});

describe('a file', () => {
  const [first] = networks;
  const engines = { native: () => nativeEngine(undefined, true), wasm: () => wasmEngine() };
  test.each([
    ['native', 'wasm'],
    ['wasm', 'native'],
  ] as const)('that %s saved loads on %s: the same weights, and the training goes on as it would have', async (from, to) => {
    const { x, y } = data(first);
    const model = make(first, engines[from](), 1);
    await model.fit(x, y, { epochs: 3, batchSize });
    const folder = await mkdtemp(join(tmpdir(), 'gradmill-parity-'));
    try {
      const path = join(folder, 'model.safetensors');
      await model.save(path);
      const engine = engines[to]();
      // Loaded models are made when the file has been read.
      const bytes = await model.serialize();
      for (const source of [path, bytes]) {
        const loaded = await onWhile(engine, () => loadModel(source));
        expect(bitsOf(loaded.weights)).toEqual(bitsOf(model.weights));
        expect(bitsOf((await loaded.predict(x)).data)).toEqual(bitsOf((await model.predict(x)).data));
        expect(await loaded.serialize()).toEqual(bytes);
        loaded.dispose();
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
