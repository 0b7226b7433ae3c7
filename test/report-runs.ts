// Logs of runs that never were, for the tests of reports: numbers from formulas, as fit({ log, diagnostics }) would write them.
import type { LogRecord } from '../src/log.js';
import { parseLog, type Run } from '../src/report/read-log.js';
import { bell } from './report-samples.js';

/** @param depth hidden layers of sigmoid units, through which the gradient fades */
export function sampleLog(depth: number, { epochs = 8, samplesAnEpoch = 3, name = (i: number) => `hidden${i + 1}` } = {}): LogRecord[] {
  const layers = Array.from({ length: depth + 1 }, (_, i) => ({
    name: i === depth ? 'output' : name(i),
    kind: 'dense',
    activation: i === depth ? 'linear' : 'sigmoid',
    units: i === depth ? 10 : 64,
    weights: 64 * (i === depth ? 10 : 64) + (i === depth ? 10 : 64),
  }));
  const [rows, batchSize] = [3000, 100];
  /** Deeper networks learn more slowly. */
  const loss = (time: number): number => 2.3 * Math.exp(-time / (1.5 + depth / 6));
  const records: LogRecord[] = [
    {
      type: 'start',
      version: '0.1.0',
      time: '2026-11-24T00:00:00.000Z',
      backend: { name: 'native', isa: 'avx2', threads: 2, strict: false },
      layers,
      optimizer: { name: 'adam', learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
      loss: { name: 'softmaxCrossEntropy', reduction: 'mean' },
      seed: 1,
      rows,
      epochs,
      batchSize,
    },
  ];
  for (let epoch = 1; epoch <= epochs; epoch++) {
    for (let s = 0; s < samplesAnEpoch; s++) {
      const time = epoch - 1 + (s + 1) / samplesAnEpoch;
      records.push({
        type: 'diagnostics',
        epoch,
        step: Math.round(time * (rows / batchSize)),
        loss: loss(time),
        layers: layers.map((layer, i) => {
          const back = depth - i;
          const rms = 1e-2 * 0.3 ** (back * Math.exp(-time / 20));
          const deviation = 0.25 * (1 + i / 20) + time / 50;
          const histogram = { low: 0, high: 1, counts: bell(0.5, deviation, 0, 1) };
          return {
            layer: layer.name,
            lossGradientRms: rms,
            lossGradientNorm: rms * 80,
            activationFactor: { measured: 0.24, predicted: 0.235 },
            weightFactor: { measured: 1.01, predicted: 1 },
            kernelGradientRms: rms / 3,
            kernelRms: 0.12 + time / 100,
            gradientToWeight: rms / 3 / 0.12,
            updateToWeight: 1e-3 * 0.7 ** back,
            spectralNorm: 1.9 + time / 10 + i / 30,
            after: { mean: 0.5, standardDeviation: deviation, rms: 0.6, min: 0, max: 1, zeros: 0, histogram },
            saturation: i === depth ? 0 : Math.min(0.9, time / 12 + i / 40),
            meanShift: 0.5 / deviation,
          };
        }),
      });
    }
    records.push({
      type: 'epoch',
      epoch,
      epochs,
      loss: loss(epoch),
      accuracy: 1 - 0.39 * loss(epoch),
      valLoss: loss(epoch) + 0.004 * epoch * epoch,
      valAccuracy: 1 - 0.39 * loss(epoch) - 0.01 * epoch,
      seconds: 1.5,
      samplesPerSecond: rows / 1.5,
    });
  }
  records.push({ type: 'end', seconds: 1.6 * epochs });
  return records;
}

export function linesOf(records: readonly unknown[]): Uint8Array {
  return new TextEncoder().encode(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
}

export function sampleRun(name: string, depth: number): Run {
  return parseLog(linesOf(sampleLog(depth)), `${name}.jsonl`, name);
}
