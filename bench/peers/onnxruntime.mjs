// ONNX Runtime as a peer of bench/training.ts, for predictions alone; started and spoken to by peer.ts. Its CPU provider with all
// graph optimizations on a model of constant weights, which it packs beforehand; batch and output tensor are fixed.
import { LibraryWorkload, answerRequests } from './library.mjs';

const { default: ort } = await import('onnxruntime-node');

// ONNX files are Protocol Buffers: fields that are numbers, and fields that are texts, bytes or messages. The numbers of the fields
// are those of onnx.proto.
const FLOAT = 1;

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.from([...bytes, value]);
}

const number = (field, value) => Buffer.concat([varint(8 * field), varint(value)]);

function message(field, ...parts) {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  return Buffer.concat([varint(8 * field + 2), varint(body.length), body]);
}

function tensor(name, shape, floats) {
  const bytes = Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength);
  return message(5, ...shape.map((size) => number(1, size)), number(2, FLOAT), message(8, name), message(9, bytes));
}

function placeholder(field, name, shape) {
  const dimensions = shape.map((size) => message(1, number(1, size)));
  return message(field, message(1, name), message(2, message(1, number(1, FLOAT), message(2, ...dimensions))));
}

const node = (operator, inputs, output) => message(1, ...inputs.map((name) => message(1, name)), message(2, output), message(4, operator));

/** y = activation(x · W + b) layer by layer. `take` yields the weights. */
function model({ units, activation, batch }, take) {
  const graph = [message(2, 'network'), placeholder(11, 'y0', [batch, units[0]])];
  const last = units.length - 1;
  for (let i = 0; i < last; i++) {
    graph.push(
      tensor(`w${i}`, [units[i], units[i + 1]], take(units[i] * units[i + 1])),
      tensor(`b${i}`, [units[i + 1]], take(units[i + 1])),
    );
    graph.push(node('Gemm', [`y${i}`, `w${i}`, `b${i}`], i + 1 < last ? `z${i}` : 'out'));
    if (i + 1 < last) graph.push(node(activation === 'relu' ? 'Relu' : 'Tanh', [`z${i}`], `y${i + 1}`));
  }
  graph.push(placeholder(12, 'out', [batch, units.at(-1)]));
  return Buffer.concat([number(1, 7), message(7, ...graph), message(8, message(1, ''), number(2, 13))]);
}

class OnnxWorkload extends LibraryWorkload {
  #sessions = new Map();

  static refusal({ measures }) {
    return measures === 'predict' ? undefined : 'it predicts only';
  }

  constructor(spec, path) {
    super(spec, path);
    const { units, batch } = spec;
    this.model = model(spec, this.take);
    this.feeds = { y0: new ort.Tensor('float32', this.take(batch * units[0]), [batch, units[0]]) };
    this.out = new Float32Array(batch * units.at(-1));
    this.fetches = { out: new ort.Tensor('float32', this.out, [batch, units.at(-1)]) };
  }

  /** With a session of so many threads. */
  async restart(threads) {
    const options = { intraOpNumThreads: threads, interOpNumThreads: 1, graphOptimizationLevel: 'all' };
    if (!this.#sessions.has(threads)) this.#sessions.set(threads, await ort.InferenceSession.create(this.model, options));
    this.session = this.#sessions.get(threads);
  }

  predict() {
    return this.session.run(this.feeds, this.fetches);
  }

  async check(threads) {
    await this.restart(threads);
    await this.predict();
    return [...this.out];
  }

  dispose() {
    for (const session of this.#sessions.values()) void session.release();
  }
}

const settings = ['all graph optimizations', 'output tensor given'];
await answerRequests({ name: `ONNX Runtime ${ort.env.versions.node}`, settings, threads: 1024 }, OnnxWorkload);
