// Jobs of different models share the threads: how long a small prediction takes while another model trains, in one job of
// hundreds of steps, against the training's own step.
import { setTimeout as sleep } from 'node:timers/promises';
import { engine } from '../src/engine.js';
import { print, printTable } from './report.js';
import { quantile } from './slices.js';
import { modelOf } from './subject.js';
import { type Workload, examples, mnistLike, mnistNetwork } from './workloads.js';

export interface FairnessMeasurement {
  /** All in milliseconds; from a prediction's call to its result. */
  readonly step: number;
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
  readonly predictions: number;
}

const TARGET_STEPS = 3;
const EVERY_MILLISECONDS = 50;
/** Small, but of so many rows that it is not computed at once on the calling thread. */
const small: Workload = { ...mnistNetwork, name: 'small', units: [32, 64, 10], batch: 512 };

export async function fairness({ seconds }: { readonly seconds: number }): Promise<FairnessMeasurement> {
  const { threads } = engine();
  const predictor = modelOf(small, threads);
  const [columns = 0] = small.units;
  const rows = { data: examples(small).x.slice(0, small.batch * columns), shape: [small.batch, columns] };
  const { milliseconds, step } = await whileTraining(threads, async () => {
    const milliseconds: number[] = [];
    for (const end = performance.now() + seconds * 1000; performance.now() < end;) {
      await sleep(EVERY_MILLISECONDS);
      const asked = performance.now();
      await predictor.predict(rows);
      milliseconds.push(performance.now() - asked);
    }
    return milliseconds;
  });
  predictor.dispose();
  const [p50, p99] = [quantile(milliseconds, 0.5), quantile(milliseconds, 0.99)];
  const result = { step, p50, p99, longest: Math.max(...milliseconds), predictions: milliseconds.length };
  print(`\nA small predict every ${EVERY_MILLISECONDS} ms while W2 trains on ${threads} threads: milliseconds from call to result`);
  printTable([
    ["W2's step", 'p50', 'p99', 'longest', 'predictions', 'target'],
    [
      ...[step, p50, p99, result.longest].map((value) => value.toFixed(2)),
      `${result.predictions}`,
      `p99 ≤ ${TARGET_STEPS} steps: ${(p99 / step).toFixed(2)} ${p99 <= TARGET_STEPS * step ? 'met' : 'MISSED'}`,
    ],
  ]);
  return result;
}

/** Begins when the first steps are done; `step` is the mean over the time that `work` takes. */
async function whileTraining(threads: number, work: () => Promise<number[]>): Promise<{ milliseconds: number[]; step: number }> {
  const { x, y } = mnistLike();
  const stop = new AbortController();
  const reports: { at: number; steps: number }[] = [];
  let running: () => void;
  const begun = new Promise<void>((resolve) => (running = resolve));
  const model = modelOf(mnistNetwork, threads);
  const training = model
    .fit(x, y, {
      batchSize: mnistNetwork.batch,
      epochs: 1_000_000,
      signal: stop.signal,
      onProgress({ epoch, batch, batches }) {
        reports.push({ at: performance.now(), steps: (epoch - 1) * batches + batch });
        running();
      },
    })
    .catch((error: unknown) => {
      if (error !== stop.signal.reason) throw error;
    });
  await Promise.race([begun, training]);
  const milliseconds = await work();
  stop.abort();
  await training;
  model.dispose();
  const [first, last] = [reports.at(0), reports.at(-1)];
  return { milliseconds, step: first && last ? (last.at - first.at) / (last.steps - first.steps) : NaN };
}
