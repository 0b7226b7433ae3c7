// Trains the playground's network and paints nothing: the page says what it wants, this loop makes it so and sends pictures.
import {
  adagrad,
  adam,
  adamW,
  backend,
  dense,
  type InitializerInput,
  initialize,
  normal,
  type Optimizer,
  rmsprop,
  sequential,
  type Sequential,
  sgd,
  tensor,
  type TensorLike,
} from 'gradmill';
import {
  type FromWorker,
  GRID,
  type NetworkChoice,
  type Order,
  type Points,
  type Score,
  type ToWorker,
  type TrainingChoice,
} from './messages.js';

/** Between two pictures at least. */
const PICTURE_MILLISECONDS = 33;

let order: Order | undefined;
let drawn = true;
let wake: (() => void) | undefined;

onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === 'order') order = data;
  else drawn = true;
  wake?.();
};

function news(): Promise<void> {
  return new Promise((resolve) => (wake = resolve));
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, milliseconds)));
}

function send(message: FromWorker, transfer: Transferable[] = []): void {
  postMessage(message, { transfer });
}

const OPTIMIZERS: Record<TrainingChoice['optimizer'], (learningRate: number) => Optimizer> = {
  sgd: (learningRate) => sgd({ learningRate }),
  momentum: (learningRate) => sgd({ learningRate, momentum: 0.9 }),
  rmsprop: (learningRate) => rmsprop({ learningRate }),
  adagrad: (learningRate) => adagrad({ learningRate }),
  adam: (learningRate) => adam({ learningRate }),
  adamW: (learningRate) => adamW({ learningRate }),
};

const INITIALIZERS: Record<NetworkChoice['initializer'], InitializerInput> = {
  glorotUniform: 'glorotUniform',
  heNormal: 'heNormal',
  lecunNormal: 'lecunNormal',
  normal1: normal({ standardDeviation: 1 }),
  normal001: normal({ standardDeviation: 0.01 }),
};

function networkOf({ hiddenLayers, units, activation, initializer, seed }: NetworkChoice): Sequential {
  const kernelInitializer = INITIALIZERS[initializer];
  const hidden = Array.from({ length: hiddenLayers }, () => dense({ units, activation, kernelInitializer }));
  return sequential({
    inputShape: [2],
    seed,
    inputScaling: { mean: 0, standardDeviation: 0.5 }, // about what points in the square from −1 to 1 have
    layers: [...hidden, dense({ units: 1, kernelInitializer })],
  });
}

const inputs = ({ x, y }: Points): TensorLike => tensor(x, [y.length, 2]);
const targets = ({ y }: Points): TensorLike => tensor(y, [y.length, 1]);

const plane = tensor(
  Float32Array.from({ length: GRID * GRID * 2 }, (_, i) => {
    const at = i % 2 === 0 ? (i >> 1) % GRID : Math.floor((i >> 1) / GRID);
    return (2 * at) / (GRID - 1) - 1;
  }),
  [GRID * GRID, 2],
);

/** A network and how far it is trained. */
class Session {
  readonly model: Sequential;
  epoch = 0;
  /** Of the order's single epochs, done. */
  steps: number;
  /** Milliseconds that an epoch takes. */
  #epochTime = Infinity;
  #pointsPerSecond = 0;
  #training = '';
  readonly #weights: number;

  constructor(
    readonly build: number,
    network: NetworkChoice,
    steps: number,
  ) {
    this.model = networkOf(network);
    this.steps = steps;
    this.#weights = this.model.weights.reduce((sum, { data }) => sum + data.length, 0);
  }

  /** Another optimizer or learning rate: the weights stay, its moments start afresh. */
  compile(training: TrainingChoice): void {
    const wanted = JSON.stringify(training);
    if (wanted === this.#training) return;
    const optimizer = OPTIMIZERS[training.optimizer](training.learningRate);
    this.model.compile({ optimizer, loss: 'binaryCrossEntropy', metrics: ['accuracy'] });
    this.#training = wanted;
  }

  /** As many epochs as `milliseconds` hold, by what the last ones took. */
  affordable(milliseconds: number): number {
    return Math.min(Math.max(Math.floor(milliseconds / this.#epochTime), 1), 1000);
  }

  async train({ train, batchSize }: Order, epochs: number): Promise<void> {
    const started = performance.now();
    const rows = train.y.length;
    await this.model.fit(inputs(train), targets(train), { epochs, batchSize: Math.min(batchSize, rows) });
    const time = Math.max(performance.now() - started, 0.01);
    this.epoch += epochs;
    this.#epochTime = time / epochs;
    const speed = (rows * epochs * 1000) / time;
    this.#pointsPerSecond = this.#pointsPerSecond === 0 ? speed : 0.9 * this.#pointsPerSecond + 0.1 * speed;
  }

  async picture({ train, heldOut }: Order): Promise<void> {
    const { data } = await this.model.predict(plane);
    const logits = new Float32Array(data);
    const message: FromWorker = {
      kind: 'picture',
      build: this.build,
      epoch: this.epoch,
      train: await this.#score(train),
      heldOut: await this.#score(heldOut),
      logits,
      gradients: await this.#gradients(train),
      pointsPerSecond: this.#pointsPerSecond,
      weights: this.#weights,
    };
    send(message, [logits.buffer]);
  }

  async #score(points: Points): Promise<Score | undefined> {
    if (points.y.length === 0) return undefined;
    const { loss, accuracy = NaN } = await this.model.evaluate(inputs(points), targets(points));
    return { loss, accuracy };
  }

  /** The loss is a mean over the points: times their number it is one point's. */
  async #gradients(points: Points): Promise<number[]> {
    const rows = points.y.length;
    if (rows === 0) return [];
    const { inputGradient, lossGradients } = await this.model.gradients(inputs(points), targets(points));
    return [inputGradient, ...lossGradients].map(({ data }) => rows * Math.sqrt(data.reduce((sum, g) => sum + g * g, 0) / data.length));
  }
}

async function work(): Promise<never> {
  await initialize({ threads: 1 }); // networks this small gain nothing from more
  const { isa, threads, reason } = backend();
  send({ kind: 'engine', isa, threads, reason });
  let session: Session | undefined;
  let seen: Order | undefined;
  let lastPicture = -Infinity;
  let failed = -1;
  for (;;) {
    const wanted = order;
    if (!wanted || wanted.build === failed) {
      await news();
      continue;
    }
    try {
      const fresh = session?.build !== wanted.build; // first shown untrained
      if (!session || fresh) {
        session?.model.dispose();
        session = new Session(wanted.build, wanted.network, wanted.steps);
      }
      session.compile(wanted.training);
      const changed = wanted !== seen;
      seen = wanted;
      const single = session.steps < wanted.steps;
      const train = !fresh && wanted.train.y.length > 0 && (single || wanted.running);
      if (train && single) {
        session.steps++;
        await session.train(wanted, 1);
      } else if (train) {
        await session.train(wanted, wanted.epochsPerPicture || session.affordable(PICTURE_MILLISECONDS));
      }
      if (wanted.train.y.length === 0) session.steps = wanted.steps;
      // Wait for the page to have drawn the last picture, and at full speed train meanwhile.
      if (train && !single && wanted.epochsPerPicture === 0 && !drawn) {
        await pause(0);
        continue;
      }
      if (train || changed) {
        while (!drawn && order === wanted) await news();
        await pause(lastPicture + PICTURE_MILLISECONDS - performance.now());
        drawn = false;
        lastPicture = performance.now();
        await session.picture(wanted);
      } else if (order === wanted) {
        await news();
      }
    } catch (error) {
      failed = wanted.build;
      send({ kind: 'failed', build: wanted.build, message: error instanceof Error ? error.message : String(error) });
    }
  }
}

work().catch(reportError);
