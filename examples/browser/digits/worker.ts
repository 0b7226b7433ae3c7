// Trains on MNIST, and reads what is written meanwhile: a page's question is answered between two batches.
import { adam, backend, dense, initialize, sequential, type Sequential, tensor, type TensorLike } from 'gradmill';
import { type FromWorker, HELD_OUT, type Lesson, type Misread, PIECE, PIXELS, type ToWorker } from './messages.js';

const BATCH = 128;
const REPORT_MILLISECONDS = 100;
const MISTAKES = 30;

interface Images {
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
}

/** The page's address: a worker's own script may lie elsewhere. */
let base = '';
let model: Sequential | undefined;
let trained = false;
let stop: AbortController | undefined;
/** The newest question; older ones that were not answered no longer matter. */
let question: Uint8Array | undefined;
let heldOut: Promise<Images> | undefined;

function send(message: FromWorker): void {
  postMessage(message);
}

function report(error: unknown): void {
  send({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
}

const inputs = ({ pixels }: Images): TensorLike => tensor(pixels, [pixels.length / PIXELS, PIXELS]);
const targets = ({ labels }: Images): TensorLike => tensor(labels, [labels.length]);

// ── Data ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** @param rows a multiple of PIECE */
async function load(set: 'train' | 'test', rows: number, loaded: (share: number) => void = () => undefined): Promise<Images> {
  const images = { pixels: new Uint8Array(rows * PIXELS), labels: new Uint8Array(rows) };
  for (let piece = 0; piece * PIECE < rows; piece++) {
    const response = await fetch(new URL(`mnist/${set}-${piece}.bin`, base));
    if (!response.ok) throw new Error(`mnist/${set}-${piece}.bin: the server answered ${response.status}`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    images.pixels.set(bytes.subarray(0, PIECE * PIXELS), piece * PIECE * PIXELS);
    images.labels.set(bytes.subarray(PIECE * PIXELS), piece * PIECE);
    loaded(((piece + 1) * PIECE) / rows);
  }
  return images;
}

function loadHeldOut(): Promise<Images> {
  heldOut ??= load('test', HELD_OUT).catch((error: unknown) => {
    heldOut = undefined; // so that it can be tried again
    throw error;
  });
  return heldOut;
}

/** Mean and deviation over all pixels, from how often each of the 256 values occurs. */
function statistics(pixels: Uint8Array): { mean: number; standardDeviation: number } {
  const counts = new Float64Array(256);
  for (const pixel of pixels) counts[pixel]++;
  const mean = counts.reduce((sum, count, value) => sum + count * value, 0) / pixels.length;
  const variance = counts.reduce((sum, count, value) => sum + count * (value - mean) ** 2, 0) / pixels.length;
  return { mean, standardDeviation: Math.sqrt(variance) };
}

// ── Training ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** MNIST's statistics, for a network that has not seen it yet. */
const UNTRAINED = { lesson: { hidden: [128], activation: 'relu' } as const, scaling: { mean: 33.3, standardDeviation: 78.6 } };

function build(
  { hidden, activation }: Pick<Lesson, 'hidden' | 'activation'>,
  inputScaling: { mean: number; standardDeviation: number },
): Sequential {
  const kernelInitializer = ['relu', 'gelu'].includes(activation) ? 'heNormal' : 'glorotUniform';
  const layers = hidden.map((units) => dense({ units, activation, kernelInitializer }));
  const built = sequential({ inputShape: [PIXELS], seed: 1, inputScaling, layers: [...layers, dense({ units: 10 })] });
  built.compile({ optimizer: adam({ learningRate: 1e-3 }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });
  return built;
}

async function train(lesson: Lesson): Promise<void> {
  const { images: rows, epochs } = lesson;
  const { signal } = (stop = new AbortController());
  try {
    const images = await load('train', rows, (share) => send({ kind: 'loading', share }));
    const test = await loadHeldOut();
    signal.throwIfAborted();
    model = build(lesson, statistics(images.pixels));
    trained = true;
    const learner = model;
    let seconds = 0;
    let report = { at: performance.now(), batches: 0, loss: 0 };
    let imagesPerSecond = 0;
    await learner.fit(inputs(images), targets(images), {
      epochs,
      batchSize: BATCH,
      signal,
      validationData: [inputs(test), targets(test)],
      onProgress: ({ samplesPerSecond }) => {
        imagesPerSecond = samplesPerSecond;
      },
      onBatch: async ({ epoch, batch, loss }) => {
        report.batches++;
        report.loss += loss;
        if (performance.now() - report.at > REPORT_MILLISECONDS) {
          const seen = (epoch - 1) * rows + Math.min(batch * BATCH, rows);
          send({ kind: 'progress', seen, loss: report.loss / report.batches, imagesPerSecond });
          report = { at: performance.now(), batches: 0, loss: 0 };
        }
        if (question) await answer(learner);
      },
      onEpoch: ({ epoch, valLoss = NaN, valAccuracy = NaN, samplesPerSecond, seconds: took }) => {
        seconds += took;
        send({
          kind: 'epoch',
          epoch,
          seen: epoch * rows,
          heldOutLoss: valLoss,
          heldOutAccuracy: valAccuracy,
          imagesPerSecond: samplesPerSecond,
          seconds,
        });
      },
    });
    send({ kind: 'ended', stopped: false });
  } catch (error) {
    if (!signal.aborted) throw error;
    send({ kind: 'ended', stopped: true });
  } finally {
    stop = undefined;
  }
  if (model) await showMistakes(model);
}

async function showMistakes(reader: Sequential): Promise<void> {
  const test = await loadHeldOut();
  const { data } = await reader.predict(inputs(test));
  const wrong: Misread[] = [];
  let count = 0;
  test.labels.forEach((label, row) => {
    const logits = data.subarray(row * 10, row * 10 + 10);
    const read = logits.indexOf(Math.max(...logits));
    if (read === label) return;
    count++;
    if (wrong.length < MISTAKES) wrong.push({ pixels: test.pixels.slice(row * PIXELS, (row + 1) * PIXELS), label, read });
  });
  send({ kind: 'mistakes', count, shown: wrong });
}

// ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function answer(reader: Sequential): Promise<void> {
  while (question) {
    const pixels = question;
    question = undefined;
    const { data } = await reader.predict(tensor(pixels, [1, PIXELS]));
    const most = Math.max(...data);
    const weights = Array.from(data, (logit) => Math.exp(logit - most));
    const sum = weights.reduce((a, b) => a + b, 0);
    send({ kind: 'probabilities', probabilities: weights.map((weight) => weight / sum), trained });
  }
}

async function sample(): Promise<void> {
  const test = await loadHeldOut();
  const row = Math.floor(Math.random() * HELD_OUT);
  send({ kind: 'sample', pixels: test.pixels.slice(row * PIXELS, (row + 1) * PIXELS), label: test.labels[row] });
}

onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === 'base') base = data.url;
  else if (data.kind === 'train') train(data.lesson).catch(report);
  else if (data.kind === 'stop') stop?.abort();
  else if (data.kind === 'sample') sample().catch(report);
  else {
    question = data.pixels;
    // While it trains, the question waits for the end of a batch.
    if (!stop) answer((model ??= build(UNTRAINED.lesson, UNTRAINED.scaling))).catch(report);
  }
};

// A core is left to the page.
initialize({ threads: Math.max(navigator.hardwareConcurrency - 1, 1) })
  .then(() => {
    const { isa, threads, reason } = backend();
    send({ kind: 'engine', isa, threads, reason });
  })
  .catch(report);
