// Reports of the bench as `--json` writes them, made up from formulas, for the tests that read their pages and those that look.
import type { Report } from '../bench/compare.js';
import type { Quartiles } from '../bench/slices.js';

function about(median: number, percent = 6): Quartiles {
  return { low: median * (1 - percent / 100), median, high: median * (1 + percent / 50), rounds: 9 };
}

const machine = {
  date: '2026-11-24T00:00:00.000Z',
  command: 'gradmill bench all --json results.json',
  cpu: 'AMD EPYC',
  cpuModel: 'cpu family 25, model 1, stepping 1',
  cores: 2,
  caches: 'L1 32 KiB, L2 512 KiB, L3 32 MiB',
  memoryGiB: 24,
  hugePages: 'madvise',
  system: 'Linux 6.1 x86_64',
  node: 'v20.20.2',
  gradmill: '0.1.0',
  commit: 'v0.1-1-g0123456',
  backend: 'native, avx2 of sse2 avx2, 2 threads',
  rounds: 9,
  load: { training: { before: 0.12, after: 1.96 }, gemm: { before: 1.9, after: 1.2, stolen: 0.004, others: 0.125 } },
};

/** Times of a step in µs on 1 thread; of those on 2, what gradmill and PyTorch save. */
const STEPS = [
  { workload: 'W1', pytorch: 475, native: 241, tfjs: 7950, jaxjs: 961 },
  { workload: 'W2', pytorch: 9091, native: 6636, tfjs: 272000, jaxjs: 23570 },
  { workload: 'W3', pytorch: 199000, native: 207040, tfjs: 16.9e6, jaxjs: 874000 },
  { workload: 'W4', pytorch: 690, native: 55.5, tfjs: 2890, jaxjs: 975 },
  { workload: 'W5', pytorch: 21300, native: 17209, tfjs: 585000, jaxjs: 62200 },
  { workload: 'W6 batch 1', pytorch: 70, native: 55, tfjs: 161, jaxjs: 300 },
  { workload: 'W6 batch 64', pytorch: 1200, native: 1100, tfjs: 3320, jaxjs: 4000 },
];

const step = (workload: string, threads: number, who: string, family: string, time: number, native: number) => ({
  workload,
  threads,
  who,
  family,
  microseconds: about(time),
  samplesPerSecond: 32e6 / time,
  gflops: 2e4 / time,
  shareOfPeak: about(0.6, 3),
  ratios: { native: about(time / native, 4) },
  speedup: about(1, 1),
  check: 2.30258,
  agrees: true,
});

const training = STEPS.flatMap(({ workload, pytorch, native, tfjs, jaxjs }) =>
  [1, 2].flatMap((threads) => {
    const own = threads === 1 ? native : native * (workload === 'W4' ? 1.29 : 0.65);
    const theirs = threads === 1 ? pytorch : pytorch * 0.6;
    return [
      step(workload, threads, 'gradmill native avx2', 'native', own, own),
      step(workload, threads, 'PyTorch 1.13.0, OPENBLAS_CORETYPE=Haswell', 'pytorch', theirs * 1.1, own),
      step(workload, threads, 'PyTorch 1.13.0, OPENBLAS_CORETYPE=Zen', 'pytorch', theirs, own),
      step(workload, threads, 'TensorFlow.js 4.22.0 WASM, SIMD, one thread', 'tfjs', tfjs, own),
      step(workload, threads, 'jax-js 0.1.25 WASM, SIMD, one thread', 'jaxjs', jaxjs, own),
    ];
  }),
);

const SHAPES = [
  { m: 1, n: 512, k: 784, share: 0.37, peer: 0.35 },
  { m: 16, n: 64, k: 64, share: 0.8, peer: 0.9 },
  { m: 128, n: 512, k: 784, share: 0.91, peer: 0.93 },
  { m: 1024, n: 1024, k: 1024, share: 0.94, peer: 0.9 },
  { m: 128, n: 10, k: 512, share: 0.6, peer: 0.5 },
];

const gemm = [1, 2].flatMap((threads) =>
  ['NN', 'TN', 'NT'].flatMap((layout) =>
    SHAPES.map(({ m, n, k, share, peer }) => ({
      m,
      n,
      k,
      transposeA: layout.startsWith('T'),
      transposeB: layout.endsWith('T'),
      isa: 'avx2',
      variant: 'fast',
      threads,
      gflops: about(share * 105 * threads, 2),
      shareOfPeak: about(share, 2),
      peers: [
        { name: 'OpenBLAS', gflops: about(peer * 100 * threads, 2), ratio: about((1.05 * share) / peer, 2), difference: 1e-7 },
        { name: 'oneDNN', gflops: about(peer * 105 * threads, 2), ratio: about(share / peer, 2), difference: 1e-7 },
      ],
    })),
  ),
);

const greetings = [{ name: 'PyTorch 1.13.0', settings: ['OPENBLAS_CORETYPE=Zen', 'addmm'], threads: 1024 }];

export const benchReport: Report = {
  machine,
  results: {
    training: { peers: greetings, results: training },
    gemm: { results: gemm, targets: [] },
    fairness: { step: 4.3, p50: 4.6, p99: 5.1, longest: 9.25, predictions: 380 },
    pruning: [{ units: '300-100', weights: 266610, predictMicroseconds: about(900), stepMicroseconds: about(800) }],
  },
};
