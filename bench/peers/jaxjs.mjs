// jax-js on its WebAssembly backend as a peer of bench/training.ts; started and spoken to by peer.ts. The whole step (loss,
// gradients, update) is one jitted function, its fastest form. It fuses multiply-adds where WebAssembly has relaxed SIMD, which Node 20
// has behind a flag; its threads do not start under Node.
// Whatever a function of jax-js is given, it frees; `.ref` keeps it.
import { readFileSync } from 'node:fs';
import { LibraryWorkload, answerRequests } from './library.mjs';

const { defaultDevice, init, jit, nn, numpy: np, tree, valueAndGrad } = await import('@jax-js/jax');
await init('wasm');
defaultDevice('wasm');

const ACTIVATIONS = { relu: nn.relu, tanh: np.tanh, sigmoid: nn.sigmoid };
const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8];

class JaxWorkload extends LibraryWorkload {
  constructor(spec, path) {
    super(spec, path);
    const matrix = (rows, columns) => np.array(this.take(rows * columns)).reshape([rows, columns]);
    this.initial = this.units.slice(1).flatMap((out, i) => [matrix(this.units[i], out), np.array(this.take(out))]);
    const batches = this.rows / this.batch;
    this.x = Array.from({ length: batches }, () => matrix(this.batch, this.units[0]));
    const classes = () => nn.oneHot(np.array(this.take(this.batch)).astype(np.int32), this.units.at(-1));
    this.y = Array.from({ length: batches }, () => (this.regression ? matrix(this.batch, 1) : classes()));
    const lossOf = valueAndGrad((weights, x, y) => this.meanLoss(this.output(weights, x), y));
    const step = ({ weights, moments, powers }, x, y) => {
      const [loss, gradients] = lossOf(tree.ref(weights), x, y);
      return [loss, this.update({ weights, moments, powers }, gradients)];
    };
    this.jittedStep = jit(step);
    this.jittedOutput = jit((weights, x) => this.output(weights, x));
    this.restart();
  }

  get isAdam() {
    return this.optimizer.name === 'adam';
  }

  restart() {
    if (this.state) tree.dispose(this.state);
    const count = this.isAdam ? 2 : this.optimizer.momentum > 0 ? 1 : 0;
    this.state = {
      weights: tree.ref(this.initial),
      moments: Array.from({ length: count }, () => this.initial.map((value) => np.zeros(value.shape))),
      // βᵗ of Adam's two moments
      powers: this.isAdam ? [np.array(1), np.array(1)] : [],
    };
    this.at = 0;
  }

  output(weights, x) {
    let y = x;
    for (let i = 0; i < weights.length; i += 2) {
      y = np.matmul(y, weights[i]).add(weights[i + 1]);
      if (i + 2 < weights.length) y = ACTIVATIONS[this.activation](y);
    }
    return y;
  }

  meanLoss(y, target) {
    return this.regression
      ? np.square(y.sub(target)).mean()
      : nn
          .logSoftmax(y)
          .mul(target)
          .sum()
          .mul(-1 / this.batch);
  }

  update({ weights, moments, powers }, gradients) {
    const { learningRate, momentum } = this.optimizer;
    const mapped = (values, others, f) => values.map((value, i) => f(value, others[i]));
    if (!this.isAdam) {
      const velocity = moments.length > 0 ? mapped(moments[0], gradients, (v, g) => v.mul(momentum).add(g)) : gradients;
      const kept = moments.length > 0 ? [tree.ref(velocity)] : [];
      return { weights: mapped(weights, velocity, (w, v) => w.sub(v.mul(learningRate))), moments: kept, powers };
    }
    const first = mapped(moments[0], gradients, (m, g) => m.mul(BETA1).add(g.ref.mul(1 - BETA1)));
    const second = mapped(moments[1], gradients, (m, g) => m.mul(BETA2).add(np.square(g).mul(1 - BETA2)));
    const [power1, power2] = [powers[0].mul(BETA1), powers[1].mul(BETA2)];
    const unbias1 = np.array(learningRate).div(np.array(1).sub(power1.ref));
    const unbias2 = np.array(1).div(np.array(1).sub(power2.ref));
    const next = weights.map((weight, i) =>
      weight.sub(first[i].ref.mul(unbias1.ref).div(np.sqrt(second[i].ref.mul(unbias2.ref)).add(EPSILON))),
    );
    tree.dispose([unbias1, unbias2]);
    return { weights: next, moments: [first, second], powers: [power1, power2] };
  }

  step() {
    const i = this.at++ % this.x.length;
    const [loss, state] = this.jittedStep(this.state, this.x[i].ref, this.y[i].ref);
    this.state = state;
    // Reading waits for the step, which a device may else put off.
    return loss.dataSync()[0];
  }

  predict() {
    return this.jittedOutput(tree.ref(this.initial), this.x[0].ref).dataSync();
  }

  dispose() {
    tree.dispose([this.state, this.initial, this.x, this.y]);
    this.jittedStep.dispose();
    this.jittedOutput.dispose();
  }
}

/** A function that does f32x4.relaxed_madd. */
const RELAXED = '0061736d0100000001080160037b7b7b017b030201000a0d010b00200020012002fd85020b';
const simd = WebAssembly.validate(Buffer.from(RELAXED, 'hex')) ? 'relaxed SIMD' : 'SIMD';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.resolve('@jax-js/jax')), 'utf8'));
await answerRequests({ name: `jax-js ${version} WASM`, settings: [`${simd}, one thread`, 'whole step jitted'], threads: 1 }, JaxWorkload);
