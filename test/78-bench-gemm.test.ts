// What bench/ makes of its figures, on figures that are given. Nothing is timed here.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type GemmShape, gemm } from '../bench/gemm.js';
import { disturbance, loadText } from '../bench/report.js';
import { quantile, quartiles, ratios, repeated } from '../bench/slices.js';
import { engine } from '../src/engine.js';
import '../src/index.js';
import { type Cell, fastest, geometricMean, layoutOf, roofline, verdicts } from '../bench/targets.js';

const NN = { transposeA: false, transposeB: false };

/** Ours beside one peer of 100 GFLOP/s. */
function cell(sizes: readonly [m: number, n: number, k: number], threads: number, rate: number, more: Partial<Cell> = {}): Cell {
  const [m, n, k] = sizes;
  const best = { name: 'peer', rate: 100, ratio: rate / 100 };
  return { m, n, k, ...NN, threads, rate, shareOfPeak: rate / 100, best, roofline: 100, ...more };
}

const find = (cells: readonly Cell[], target: RegExp, threads = 1) =>
  verdicts(cells).find((verdict) => verdict.threads === threads && target.test(verdict.target));

describe('figures of a run', () => {
  it('takes quartiles by linear interpolation', () => {
    expect(quartiles([4, 1, 3, 2])).toEqual({ low: 1.75, median: 2.5, high: 3.25, rounds: 4 });
    expect(quantile([7], 0.25)).toBe(7);
    expect(quantile([], 0.5)).toBeNaN();
  });

  it('takes ratios within a round', () => {
    expect(ratios([1, 4, 9], [1, 2, 3])).toEqual({ low: 1.5, median: 2, high: 2.5, rounds: 3 });
  });

  it('says what the host took and what others used', () => {
    const before = { all: 1000, stolen: 10, busy: 500, own: 100 };
    const shares = disturbance(before, { all: 1200, stolen: 20, busy: 650, own: 150 });
    expect(shares).toEqual({ stolen: 0.05, others: 0.5 });
    expect(loadText({ before: 1, after: 2, ...shares })).toBe('1, 2 (CPU time: 5 % stolen, 50 % others)');
    expect(disturbance(before, before)).toBeUndefined();
    expect(loadText({ before: 1, after: 2 })).toBe('1, 2');
  });

  it('compares with the peer of the greatest median', () => {
    const peer = (name: string, ...rates: number[]) => ({ name, rate: quartiles(rates).median });
    const rateOf = ({ rate }: { rate: number }) => rate;
    expect(fastest([peer('lucky once', 40, 41, 90), peer('steady', 50, 50, 50), peer('slow', 1, 2, 3)], rateOf)?.name).toBe('steady');
    expect(fastest([], rateOf)).toBeUndefined();
  });

  it('takes the mean of ratios geometrically', () => {
    expect(geometricMean([0.5, 2])).toBeCloseTo(1, 12);
    expect(geometricMean([1, 2, 4])).toBeCloseTo(2, 12);
  });

  it('names layouts as BLAS does', () => {
    expect([NN, { ...NN, transposeA: true }, { ...NN, transposeB: true }].map(layoutOf)).toEqual(['NN', 'TN', 'NT']);
  });
});

describe('a slice', () => {
  const slow = (jobs: number[]) => async (calls: number) => {
    jobs.push(calls);
    await new Promise((resolve) => setTimeout(resolve, 20));
  };

  it('shorter than a call has one untimed and one timed', async () => {
    const jobs: number[] = [];
    const slice = repeated(slow(jobs), { start: () => jobs.push(0) });
    expect(await slice(0.001)).toBeGreaterThan(0.01);
    // Before the first, one more tells how long a call takes.
    expect(jobs).toEqual([1, 0, 1, 1]);
    await slice(0.001);
    expect(jobs).toEqual([1, 0, 1, 1, 0, 1, 1]);
  });

  it('has no job of more calls than it can do', async () => {
    const jobs: number[] = [];
    await repeated((calls) => Promise.resolve(void jobs.push(calls)), { most: 3 })(0.001);
    expect(Math.max(...jobs)).toBe(3);
  });

  it('fails where a call does', async () => {
    const failing = repeated(() => Promise.reject(new Error('stopped')));
    await expect(failing(0.001)).rejects.toThrow('stopped');
  });
});

describe('targets of the matrix product', () => {
  const cells = [cell([128, 512, 512], 1, 80), cell([64, 128, 128], 1, 125), cell([32, 128, 784], 1, 95, { transposeB: true })];

  it('judges the mean of all products and the worst one', () => {
    const mean = find(cells, /^geometric mean of 3 /);
    expect(mean).toMatchObject({ wanted: 1, met: false });
    expect(mean?.got).toBeCloseTo((0.8 * 1.25 * 0.95) ** (1 / 3), 12);
    expect(find(cells, /^worst/)).toEqual({
      threads: 1,
      target: 'worst product ÷ best peer',
      wanted: 0.9,
      got: 0.8,
      met: false,
      where: '128×512×512 NN, peer',
      reached: [2, 3],
    });
  });

  it('judges each number of threads for itself, and more threads by more', () => {
    const both = [...cells, cell([128, 512, 512], 2, 104)];
    expect(find(both, /^geometric/, 2)).toMatchObject({ wanted: 1.05, met: false });
    expect(find(both, /^worst/, 2)).toMatchObject({ met: true, reached: [1, 1] });
    expect(find(both, /^worst/, 1)).toMatchObject({ got: 0.8 });
  });

  it('judges large products by their share of the peak', () => {
    const large = [cell([1024, 1024, 1024], 1, 95, { shareOfPeak: 0.94 }), cell([2048, 2048, 2048], 1, 95, { shareOfPeak: 0.9 })];
    expect(find([...large, cell([256, 1024, 1024], 1, 95, { shareOfPeak: 0.5 })], /^large/)).toMatchObject({
      wanted: 0.93,
      got: 0.9,
      met: false,
      where: '2048×2048×2048 NN, peer',
      reached: [1, 2],
    });
  });

  it.each([
    ['as fast as the peer', 100, 105, true],
    ['slower than the peer and than its roofline allows', 95, 105, false],
    ['slower than the peer, but near its roofline', 95, 101, true],
    ['a little faster than a peer that is far from the roofline', 110, 140, false],
    ['much faster than a peer that is far from the roofline', 121, 140, true],
  ])('judges a thin product that is %s', (_, rate, roofline, met) => {
    // dW of 1×784×512: the sizes in another order
    const verdict = find([cell([784, 512, 1], 1, rate, { transposeA: true, roofline })], /^thin/);
    expect(verdict).toMatchObject({ met, reached: [Number(met), 1] });
  });

  it('compares thin products on two threads with our own one', () => {
    const thin = [cell([16, 64, 64], 1, 80), cell([16, 64, 64], 2, 60), cell([1, 512, 784], 1, 10), cell([1, 512, 784], 2, 20)];
    expect(find(thin, /^thin/, 2)).toMatchObject({ got: 0.75, met: false, where: '16×64×64 NN, peer', reached: [1, 2] });
  });

  it('allows what peak and bandwidth do', () => {
    const bandwidth = [
      { bytes: 16 * 1024, perSecond: 200e9 },
      { bytes: 256 * 1024, perSecond: 100e9 },
      { bytes: 8 * 2 ** 20, perSecond: 50e9 },
      { bytes: 128 * 2 ** 20, perSecond: 20e9 },
    ];
    const of = (m: number, n: number, k: number, peak = 100) => roofline({ m, n, k }, peak, bandwidth);
    // 24 KiB in L1, at 5.3 operations a byte
    expect(of(16, 64, 64)).toBe(100);
    expect(of(16, 64, 64, 2000)).toBeCloseTo((2 * 16 * 64 * 64 * 200) / (24 * 1024), 9);
    // 1.6 MB of weights in L3
    expect(of(1, 512, 784)).toBeCloseTo((2 * 512 * 784 * 50) / (4 * (784 + 512 * 784 + 512)), 9);
    expect(of(1, 16384, 16384)).toBeCloseTo((2 * 2 ** 28 * 20) / (4 * (2 ** 28 + 2 ** 15)), 9);
  });

  it('is silent about what was not measured', () => {
    expect(verdicts([cell([128, 512, 512], 1, 80, { best: undefined })])).toEqual([]);
    expect(verdicts([])).toEqual([]);
  });
});

describe('a library beside ours', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gradmill-bench-test-'));
    vi.spyOn(console, 'log').mockReturnValue();
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await rm(folder, { recursive: true });
  });

  /** A BLAS of one function, whose products are `factor` times the right ones. */
  async function library(factor: number): Promise<string> {
    const [source, file] = [join(folder, `blas${factor}.c`), join(folder, `libblas${factor}.so`)];
    await writeFile(
      source,
      `void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
                        float beta, float *c, int ldc) {
        for (int i = 0; i < m; i++)
          for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int l = 0; l < k; l++) sum += (double)a[ta == 112 ? l * lda + i : i * lda + l] * b[tb == 112 ? j * ldb + l : l * ldb + j];
            c[i * ldc + j] = ${factor} * alpha * sum;
          }
      }`,
    );
    await promisify(execFile)(process.env.CC ?? 'cc', ['-shared', '-fPIC', source, '-o', file]);
    return file;
  }

  const run = (shape: GemmShape, file: string) =>
    gemm({
      shape,
      layouts: [],
      isas: [engine().isa],
      variants: ['fast'],
      threads: [1],
      peers: [],
      libraries: [file],
      rounds: 1,
      seconds: 0.001,
    });

  it.each([
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ])(
    'computes the same product, operands transposed: %s, %s',
    async (transposeA, transposeB) => {
      const { results } = await run({ m: 7, n: 33, k: 21, transposeA, transposeB }, await library(1));
      expect(results).toHaveLength(1);
      expect(results[0].peers).toMatchObject([{ name: 'libblas1.so', gflops: { rounds: 1 } }]);
      expect(results[0].peers[0].difference).toBeLessThan(1e-6);
    },
    120_000,
  );

  it('is refused where its product is another', async () => {
    const wrong = run({ m: 7, n: 33, k: 21, transposeA: false, transposeB: false }, await library(1.001));
    await expect(wrong).rejects.toThrow('7×33×21 NN: libblas1.001.so differs from ours by 0.0');
  });
});
