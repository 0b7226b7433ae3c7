// `gradmill train mnist`, the main job: a network of dense layers on all 60,000 images, tested on the other 10,000.

import { adam, dense, sequential } from '../index.js';
import { showFindings } from './findings.js';
import { conclude, describeBackend, logOf, trainLive } from './fit.js';
import { loadMnist, mnistClasses } from './mnist.js';
import { formatCount, formatFacts, formatPercent, type Io } from './terminal.js';
import type { TrainFlags } from './train-flags.js';

export async function trainMnist(flags: TrainFlags, path: string, { out, cwd }: Io): Promise<number> {
  const { epochs = 5, 'batch-size': batchSize = 128, hidden = [512, 512], activation = 'relu' } = flags;
  const { 'learning-rate': learningRate = 1e-3, seed = 1 } = flags;
  const { train, test, pixels } = await loadMnist(cwd);
  const pixelCount = train.images.shape[1];

  const model = sequential({
    inputShape: [pixelCount],
    seed,
    // The pixels stay bytes in memory; the engine scales them while it gathers a batch.
    inputScaling: { mean: pixels.mean, standardDeviation: pixels.standardDeviation },
    layers: [...hidden.map((units) => dense({ units, activation })), dense({ units: mnistClasses })],
  });
  model.compile({ optimizer: adam({ learningRate }), loss: 'softmaxCrossEntropy', metrics: ['accuracy'] });

  const [trainRows, testRows] = [train, test].map(({ images }) => formatCount(images.shape[0]));
  out.write(
    formatFacts([
      ['backend', describeBackend()],
      ['data', `MNIST, ${trainRows} training and ${testRows} test images of ${pixelCount} pixels`],
      ['training', `${epochs} epoch${epochs === 1 ? '' : 's'}, batch ${batchSize}, Adam ${learningRate}, seed ${seed}`],
    ]),
  );
  out.write(`\n${model.summary().trimEnd()}\n\n`);

  const data = { x: train.images, y: train.labels };
  if (flags.doctor) await showFindings(model, data, { batchSize, epochs }, out);
  const training = await trainLive(model, data, { epochs, batchSize }, logOf(flags), { path, metadata: { data: 'mnist' } }, out);
  if (training.stoppedAt === undefined) {
    const { accuracy } = await model.evaluate(test.images, test.labels);
    out.write(`test accuracy ${formatPercent(accuracy ?? NaN)}\n`);
  }
  return conclude(training, out);
}
