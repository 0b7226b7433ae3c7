// What another busy process does to a training step: W2 in turns on the machine as it is and beside a process that spins.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { print, printTable, range, show } from './report.js';
import { type Quartiles, quartiles, ratios, takeTurns } from './slices.js';
import { prepare } from './subject.js';
import { examples, mnistNetwork } from './workloads.js';

export interface HogMeasurement {
  readonly threads: number;
  readonly quietMicroseconds: Quartiles;
  readonly hoggedMicroseconds: Quartiles;
  /** Within one round. */
  readonly ratio: Quartiles;
}

const TARGET_RATIO = 3;

export async function hog(options: {
  readonly threads: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
}): Promise<HogMeasurement[]> {
  const results: HogMeasurement[] = [];
  for (const threads of options.threads) {
    const subject = prepare(mnistNetwork, examples(mnistNetwork), threads);
    const quiet = (seconds: number) => subject.slice(seconds);
    const hogged = (seconds: number) => besideHog(() => subject.slice(seconds));
    const figures = await takeTurns(
      [
        { name: 'quiet', slice: quiet },
        { name: 'hogged', slice: hogged },
      ],
      options,
    );
    subject.dispose();
    const microseconds = (name: string) => (figures.get(name) ?? []).map((seconds) => seconds * 1e6);
    const [without, beside] = [microseconds('quiet'), microseconds('hogged')];
    results.push({
      threads,
      quietMicroseconds: quartiles(without),
      hoggedMicroseconds: quartiles(beside),
      ratio: ratios(beside, without),
    });
  }
  print("\nW2's step, in µs, alone and beside a process that holds a core");
  printTable([
    ['threads', 'quiet', 'beside', 'ratio (quartiles)', 'target'],
    ...results.map(({ threads, quietMicroseconds, hoggedMicroseconds, ratio }) => [
      `${threads}`,
      show(quietMicroseconds.median),
      show(hoggedMicroseconds.median),
      range(ratio, (value) => value.toFixed(2)),
      `≤ ${TARGET_RATIO}: ${ratio.median <= TARGET_RATIO ? 'met' : 'MISSED'}`,
    ]),
  ]);
  return results;
}

async function besideHog<T>(work: () => Promise<T>): Promise<T> {
  const spinner = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
  try {
    await once(spinner, 'spawn');
    // Until it has started up and spins.
    await sleep(200);
    return await work();
  } finally {
    spinner.kill('SIGKILL');
    await once(spinner, 'exit');
  }
}
