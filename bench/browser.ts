// WebAssembly in a page against WebAssembly in Node: the same files, the same workloads, in the same rounds.
import { print, printTable, show } from './report.js';
import { type TrainingOptions, type TrainingReport, training } from './training.js';

const TARGET_SHARE = 0.85;

export async function browser(options: Omit<TrainingOptions, 'backends' | 'peers'>): Promise<TrainingReport> {
  const report = await training({ ...options, backends: ['wasm'], peers: ['chromium'] });
  const { results } = report;
  print("\nSteps in Chromium: the share of Node's speed, median (quartiles) of the rounds");
  printTable([
    ['', 'threads', 'µs in Node', 'µs in Chromium', 'share', 'target'],
    ...results
      .filter(({ family }) => family === 'chromium')
      .map(({ workload, threads, microseconds, ratios }) => {
        const node = results.find((other) => other.family === 'wasm' && other.workload === workload && other.threads === threads);
        const { low = NaN, median = NaN, high = NaN } = ratios.wasm ?? {};
        const percent = (ratio: number) => (100 / ratio).toFixed(0);
        return [
          workload,
          `${threads}`,
          show(node?.microseconds.median ?? NaN),
          show(microseconds.median),
          `${percent(median)} % (${percent(high)}–${percent(low)})`,
          `≥ ${100 * TARGET_SHARE} %: ${1 / median >= TARGET_SHARE ? 'met' : 'MISSED'}`,
        ];
      }),
  ]);
  return report;
}
