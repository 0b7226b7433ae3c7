// TensorFlow.js as a peer of bench/training.ts; started and spoken to by peer.ts: on its WebAssembly backend, or on the one that
// TFJS_BACKEND names. Its core loop (optimizer.minimize inside tidy), which is faster than its model.fit. SIMD is on; its threads
// do not start under Node.
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { LibraryWorkload, answerRequests } from './library.mjs';

const tf = await import('@tensorflow/tfjs');
const backend = process.env.TFJS_BACKEND ?? 'wasm';
if (backend === 'wasm') {
  const wasm = await import('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(`${dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm'))}/`);
}
await tf.setBackend(backend);
await tf.ready();

class TensorFlowWorkload extends LibraryWorkload {
  constructor(spec, path) {
    super(spec, path);
    const tensor = (...shape) => tf.tensor(this.take(shape.reduce((all, size) => all * size, 1)), shape);
    this.initial = this.units.slice(1).flatMap((out, i) => [tensor(this.units[i], out), tensor(out)]);
    this.weights = this.initial.map((value) => tf.variable(value));
    const x = tensor(this.rows, this.units[0]);
    const targets = tensor(this.rows);
    const y = this.regression ? targets.reshape([this.rows, 1]) : tf.oneHot(targets.toInt(), this.units.at(-1));
    const batches = this.rows / this.batch;
    this.x = tf.split(x, batches);
    this.y = tf.split(y, batches);
    this.restart();
  }

  restart() {
    this.weights.forEach((weight, i) => weight.assign(this.initial[i]));
    this.trainer?.dispose();
    const { name, learningRate, momentum } = this.optimizer;
    if (name === 'adam') this.trainer = tf.train.adam(learningRate, 0.9, 0.999, 1e-8);
    else this.trainer = momentum > 0 ? tf.train.momentum(learningRate, momentum) : tf.train.sgd(learningRate);
    this.at = 0;
  }

  output(x) {
    const { weights } = this;
    let y = x;
    for (let i = 0; i < weights.length; i += 2) {
      y = tf.add(tf.matMul(y, weights[i]), weights[i + 1]);
      if (i + 2 < weights.length) y = tf[this.activation](y);
    }
    return y;
  }

  step(readLoss) {
    const i = this.at++ % this.x.length;
    return tf.tidy(() => {
      const loss = this.trainer.minimize(() => {
        const y = this.output(this.x[i]);
        return this.regression ? tf.losses.meanSquaredError(this.y[i], y) : tf.losses.softmaxCrossEntropy(this.y[i], y);
      }, readLoss);
      return readLoss ? loss.dataSync()[0] : undefined;
    });
  }

  predict() {
    return tf.tidy(() => this.output(this.x[0]).dataSync());
  }

  dispose() {
    this.trainer.dispose();
    tf.dispose([this.initial, this.weights, this.x, this.y]);
  }
}

/** Makes random examples; what it returns builds a model and goes over them once. */
function examples({ rows, units, batch, loss: lossName, activation, optimizer }) {
  const regression = lossName === 'meanSquaredError';
  const batches = rows / batch;
  const make = () => {
    const x = tf.split(tf.randomUniform([rows, units[0]]), batches);
    const y = regression ? tf.randomUniform([rows, 1]) : tf.oneHot(tf.range(0, rows, 1, 'int32').mod(units.at(-1)).toInt(), units.at(-1));
    return { x, y: tf.split(y, batches) };
  };
  const { x, y } = tf.tidy(make);
  return () => {
    const weights = units
      .slice(1)
      .flatMap((out, i) => [tf.variable(tf.randomNormal([units[i], out], 0, 1 / Math.sqrt(units[i]))), tf.variable(tf.zeros([out]))]);
    const output = (rows) => {
      let result = rows;
      for (let i = 0; i < weights.length; i += 2) {
        result = tf.add(tf.matMul(result, weights[i]), weights[i + 1]);
        if (i + 2 < weights.length) result = tf[activation](result);
      }
      return result;
    };
    const trainer =
      optimizer.name === 'adam'
        ? tf.train.adam(optimizer.learningRate)
        : optimizer.momentum > 0
          ? tf.train.momentum(optimizer.learningRate, optimizer.momentum)
          : tf.train.sgd(optimizer.learningRate);
    const loss = regression ? tf.losses.meanSquaredError : tf.losses.softmaxCrossEntropy;
    for (let i = 0; i < batches; i++) tf.tidy(() => void trainer.minimize(() => loss(y[i], output(x[i]))));
  };
}

const simd = backend === 'wasm' && (await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT'));
const name = `TensorFlow.js ${tf.version.tfjs} ${backend === 'wasm' ? 'WASM' : backend}`;
const settings = [`${simd ? 'SIMD' : 'no SIMD'}, one thread`, 'core loop'];
let train;
await answerRequests({ name, settings, threads: 1 }, TensorFlowWorkload, {
  examples({ workload }) {
    train = examples(workload);
  },
  train: () => train(),
});
