// The networks that gradmill and its peers are measured on, as data: bench/ sends them to every peer as JSON, so both sides
// run the same shapes, weights and examples. What counts as one step's work is defined here too.
import type { ActivationName } from '../src/activations.js';

/** What every peer can do. */
export const peerActivations = ['relu', 'tanh', 'sigmoid'] as const;

/** Dense layers, and how they are trained. */
export interface Network {
  /** Inputs, then the units of each layer. */
  readonly units: readonly number[];
  /** After every layer but the last. */
  readonly activation: ActivationName;
  readonly loss: 'softmaxCrossEntropy' | 'meanSquaredError';
  readonly optimizer:
    | { readonly name: 'sgd'; readonly learningRate: number; readonly momentum: number }
    | { readonly name: 'rmsprop' | 'adagrad' | 'adam' | 'adamW'; readonly learningRate: number };
  readonly batch: number;
}

/** What peers can do, too. */
export interface Workload extends Network {
  readonly name: string;
  readonly activation: (typeof peerActivations)[number];
  readonly optimizer: Extract<Network['optimizer'], { readonly name: 'sgd' }> | { readonly name: 'adam'; readonly learningRate: number };
  /** 'step': forward, mean loss, backward, update. 'predict': forward alone. */
  readonly measures: 'step' | 'predict';
  /** Of gradmill's predictions: by `predict`, off the event loop unless brief. Else by `predictSync`, on the calling thread as peers do. */
  readonly promise?: boolean;
  /** Steps after which the losses of both sides are compared. */
  readonly checkSteps: number;
}

const adam = { name: 'adam', learningRate: 1e-3 } as const;
const sgd = { name: 'sgd', learningRate: 0.01, momentum: 0 } as const;
const classifier = { activation: 'relu', loss: 'softmaxCrossEntropy', measures: 'step', checkSteps: 10 } as const;

const W1: Workload = { ...classifier, name: 'W1', units: [784, 128, 10], optimizer: sgd, batch: 32 };
const W2: Workload = { ...classifier, name: 'W2', units: [784, 512, 512, 10], optimizer: adam, batch: 128 };
// Few steps to check, as the slowest peer takes ten seconds for one; momentum shows in the third loss.
const W3: Workload = {
  ...classifier,
  name: 'W3',
  units: [784, 2048, 2048, 10],
  optimizer: { ...sgd, momentum: 0.9 },
  batch: 512,
  checkSteps: 3,
};
const W4: Workload = {
  name: 'W4',
  units: [32, 64, 64, 1],
  activation: 'tanh',
  loss: 'meanSquaredError',
  optimizer: adam,
  batch: 64,
  measures: 'step',
  checkSteps: 10,
};
const W5: Workload = {
  ...classifier,
  name: 'W5',
  units: [...new Array<number>(21).fill(256), 10],
  activation: 'tanh',
  optimizer: sgd,
  batch: 128,
};

export const workloads: readonly Workload[] = [
  W1,
  W2,
  W3,
  W4,
  W5,
  { ...W2, name: 'W6 batch 1', measures: 'predict', batch: 1 },
  { ...W2, name: 'W6 batch 64', measures: 'predict', batch: 64 },
  { ...W2, name: 'W6 batch 64 promise', measures: 'predict', batch: 64, promise: true },
];

/** What every peer can do. */
export const losses = ['softmaxCrossEntropy', 'meanSquaredError'] as const;
export const peerOptimizers = ['sgd', 'momentum', 'adam'] as const;

const OPTIMIZERS = {
  sgd,
  momentum: { ...sgd, momentum: 0.9 },
  adam,
  rmsprop: { name: 'rmsprop', learningRate: 1e-3 },
  adagrad: { name: 'adagrad', learningRate: 1e-3 },
  adamW: { name: 'adamW', learningRate: 1e-3 },
} as const;
type OptimizerName = keyof typeof OPTIMIZERS;
export const optimizers = ['sgd', 'momentum', 'rmsprop', 'adagrad', 'adam', 'adamW'] as const satisfies OptimizerName[];

/** Dense layers, trained by a named optimizer. */
export function networkOf<Activation extends ActivationName, Optimizer extends OptimizerName>(
  units: readonly number[],
  batch: number,
  activation: Activation,
  optimizer: Optimizer,
) {
  // Softmax of one output is always 1.
  const loss: Network['loss'] = units.at(-1) === 1 ? 'meanSquaredError' : 'softmaxCrossEntropy';
  return { units, batch, activation, loss, optimizer: OPTIMIZERS[optimizer] };
}

/** 'W6' is several workloads. */
export function familyOf({ name }: Workload): string {
  return name.split(' ')[0];
}

export const workloadFamilies: readonly string[] = [...new Set(workloads.map(familyOf))];

/** MNIST's network, on which the library's manners are measured. */
export const mnistNetwork = W2;

/** 784-512-512-10 relu, softmaxCrossEntropy, adam, batch 128 */
export function describe({
  units,
  activation,
  loss,
  optimizer,
  batch,
  measures,
  promise,
}: Network & Partial<Pick<Workload, 'measures' | 'promise'>>): string {
  const hidden = units.slice(1, -1);
  const deep = hidden.length > 4 && new Set(hidden).size === 1;
  const shape = deep ? `${units[0] ?? 0}-${hidden[0] ?? 0}×${hidden.length}-${units.at(-1) ?? 0}` : units.join('-');
  if (measures === 'predict') return `predict ${shape} ${activation}, batch ${batch}${promise ? ', by promise' : ''}`;
  const momentum = optimizer.name === 'sgd' && optimizer.momentum > 0 ? ` momentum ${optimizer.momentum}` : '';
  return `${shape} ${activation}, ${loss}, ${optimizer.name} ${optimizer.learningRate}${momentum}, batch ${batch}`;
}

/** Floating-point operations of the matrix products, which is what share of the machine's peak is counted in. */
export function flops({ units, batch, measures }: Network & { readonly measures?: Workload['measures'] }): number {
  const layers = units.slice(1).map((out, i) => 2 * batch * out * (units[i] ?? 0));
  const forward = layers.reduce((all, layer) => all + layer, 0);
  // Backward: dW of every layer, dX of every layer but the first.
  return measures === 'predict' ? forward : 3 * forward - (layers[0] ?? 0);
}

/** Batches in memory: enough that no step finds its own last examples in L1 or L2. */
export const BATCHES = 8;

export interface Examples {
  /** [rows, inputs], uniform with unit variance */
  readonly x: Float32Array;
  /** Class labels, or targets [rows, 1]; learnable, so that gradients stay ordinary numbers. */
  readonly y: Float32Array;
  readonly rows: number;
}

export function examples({ units, loss, batch }: Workload): Examples {
  const [columns = 0] = units;
  const classes = units.at(-1) ?? 0;
  const rows = BATCHES * batch;
  const random = generator(1);
  const x = Float32Array.from({ length: rows * columns }, () => (2 * random() - 1) * Math.sqrt(3));
  const y = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const own = x.subarray(row * columns, (row + 1) * columns);
    y[row] =
      loss === 'meanSquaredError'
        ? own[0] * (own[1] ?? 1) + (own[2] ?? 0)
        : own.subarray(0, classes).indexOf(Math.max(...own.subarray(0, classes)));
  }
  return { x, y, rows };
}

/** As many bytes and labels as MNIST has, for what only shows with real amounts: copies, checks, epochs that last. */
export function mnistLike(): { readonly x: { readonly data: Uint8Array; readonly shape: readonly number[] }; readonly y: Uint8Array } {
  const [rows, columns] = [60_000, 784];
  const random = generator(2);
  // Small values, so that training stays calm without scaling.
  const data = new Uint8Array(rows * columns);
  for (let i = 0; i < data.length; i++) data[i] = 3 * random();
  return { x: { data, shape: [rows, columns] }, y: Uint8Array.from({ length: rows }, () => 10 * random()) };
}

/** Uniform in [0, 1): xorshift32, good enough for inputs. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
