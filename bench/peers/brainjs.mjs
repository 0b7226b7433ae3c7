// brain.js as a peer of bench/training.ts; started and spoken to by peer.ts. It trains on one example at a time, by squared error,
// with the activation after the last layer too: no minibatches, no cross-entropy. Its step here is one pass over a batch's
// examples from the same weights, which is not the same work, so no loss is compared.
import { readFileSync } from 'node:fs';
import { LibraryWorkload, answerRequests } from './library.mjs';

const { default: brain } = await import('brain.js');

/** Weights times rows: a step of more takes it most of a minute. */
const MOST_WORK = 1e9;

class BrainWorkload extends LibraryWorkload {
  static refusal({ measures, units, batch }) {
    if (measures === 'predict') return 'it has no last layer without an activation';
    const weights = units.slice(1).reduce((all, out, i) => all + units[i] * out, 0);
    return weights * batch > MOST_WORK ? 'its steps take most of a minute' : undefined;
  }

  constructor(spec, path) {
    super(spec, path);
    const { units, activation, optimizer, rows } = this;
    this.initial = units.slice(1).map((out, i) => ({ kernel: this.take(units[i] * out), bias: this.take(out) }));
    const x = this.take(rows * units[0]);
    const y = this.take(rows);
    const target = (row) => (this.regression ? [y[row]] : Array.from({ length: units.at(-1) }, (_, i) => Number(i === y[row])));
    this.examples = Array.from({ length: rows }, (_, row) => ({
      input: x.slice(row * units[0], (row + 1) * units[0]),
      output: Float32Array.from(target(row)),
    }));
    const { learningRate, momentum = 0, name } = optimizer;
    this.net = new brain.NeuralNetwork({ activation, learningRate, ...(name === 'adam' && { praxis: 'adam' }) });
    // Its constructor wants more than 0.
    this.net.trainOpts.momentum = momentum;
    this.net.sizes = [...units];
  }

  restart() {
    this.net.initialize();
    this.initial.forEach(({ kernel, bias }, i) => {
      this.net.biases[i + 1].set(bias);
      this.net.weights[i + 1].forEach((row, unit) => row.forEach((_, j) => (row[j] = kernel[j * bias.length + unit])));
    });
    this.at = 0;
  }

  step() {
    const first = this.at;
    for (let i = 0; i < this.batch; i++) this.net.trainPattern(this.examples[first + i], false);
    this.at = (first + this.batch) % this.examples.length;
  }

  /** Nothing that could be compared. */
  check() {
    return [];
  }

  dispose() {}
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.resolve('brain.js')), 'utf8'));
await answerRequests({ name: `brain.js ${version}`, settings: ['one example at a time'], threads: 1 }, BrainWorkload);
