// What peers that are libraries of JavaScript share: they read a workload, check it, time it and answer peer.ts alike.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

// Standard output belongs to the answers.
console.log = console.info = console.warn = console.error;

/**
 * A workload in a library. A class of its own has its `restart` and `predict`, which may be asynchronous where it checks itself,
 * `step` and `dispose`; a static `refusal` says why it has none of such a workload.
 */
export class LibraryWorkload {
  constructor(spec, path) {
    Object.assign(this, spec);
    this.regression = this.loss === 'meanSquaredError';
    const bytes = readFileSync(path);
    const floats = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    let taken = 0;
    /** The next so many numbers of the file. */
    this.take = (count) => floats.slice(taken, (taken += count));
  }

  check() {
    if (this.measures === 'predict') return [...this.predict()];
    this.restart();
    return Array.from({ length: this.checkSteps }, () => this.step(true));
  }

  /** Seconds a step, over so many seconds; untimed steps come first, as many as in warmUp of slices.ts. */
  async slice(seconds, threads) {
    await this.restart(threads);
    const run = () => (this.measures === 'predict' ? this.predict() : this.step(false));
    await repeat(run, Math.min(0.01, seconds / 3));
    return repeat(run, seconds);
  }
}

/** Calls for so many seconds or a little longer, and at least one; the mean of a call. */
async function repeat(run, seconds) {
  const start = performance.now();
  for (let calls = 1; ; calls++) {
    const running = run();
    // Only where there is something to wait for: a turn of the queue takes its time.
    if (running instanceof Promise) await running;
    const elapsed = (performance.now() - start) / 1000;
    if (elapsed >= seconds) return elapsed / calls;
  }
}

/** Greets, then answers requests with workloads of that class; `others` does what else a library is asked for. */
export async function answerRequests(greeting, Workload, others = {}) {
  const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  answer(greeting);
  let workload;
  const replies = {
    prepare({ workload: spec, file }) {
      workload?.dispose();
      const refusal = Workload.refusal?.(spec);
      workload = refusal === undefined ? new Workload(spec, file) : undefined;
      return refusal;
    },
    check: ({ threads }) => workload.check(threads),
    slice: ({ seconds, threads }) => workload.slice(seconds, threads),
    ...others,
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    answer((await replies[request.do](request)) ?? true);
  }
}
