// Does training leave the event loop free? How late a 1 ms timer comes while model.fit trains on all threads, copying and
// checking its data included, against the same time without training.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { engine } from '../src/engine.js';
import { print, printTable } from './report.js';
import { modelOf } from './subject.js';
import { mnistLike, mnistNetwork } from './workloads.js';

export interface StallMeasurement {
  readonly what: 'idle' | 'training';
  readonly seconds: number;
  /** Milliseconds that the event loop came late. */
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

const TARGET_MILLISECONDS = 10;

export async function eventLoop({ seconds }: { readonly seconds: number }): Promise<StallMeasurement[]> {
  const { threads } = engine();
  const { x, y } = mnistLike();
  const model = modelOf(mnistNetwork, threads);
  const train = async () => {
    const signal = AbortSignal.timeout(seconds * 1000);
    await model.fit(x, y, { batchSize: mnistNetwork.batch, epochs: 1_000_000, signal }).catch((error: unknown) => {
      if (error !== signal.reason) throw error;
    });
  };
  const results = [await watch('idle', () => sleep(seconds * 1000)), await watch('training', train)];
  model.dispose();
  print(`\nHow late the event loop comes, in milliseconds, while W2 trains on ${threads} threads`);
  printTable([
    ['', 'p50', 'p99', 'longest', 'target'],
    ...results.map(({ what, p50, p99, longest }) => [
      what,
      p50.toFixed(2),
      p99.toFixed(2),
      longest.toFixed(2),
      what === 'training' ? `p99 < ${TARGET_MILLISECONDS}: ${p99 < TARGET_MILLISECONDS ? 'met' : 'MISSED'}` : '',
    ]),
  ]);
  return results;
}

async function watch(what: StallMeasurement['what'], work: () => Promise<void>): Promise<StallMeasurement> {
  // The histogram holds the time from one tick of a 1 ms timer to the next.
  const resolution = 1;
  const delay = monitorEventLoopDelay({ resolution });
  const started = performance.now();
  delay.enable();
  await work();
  delay.disable();
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolution);
  return {
    what,
    seconds: (performance.now() - started) / 1000,
    p50: late(delay.percentile(50)),
    p99: late(delay.percentile(99)),
    longest: late(delay.max),
  };
}
