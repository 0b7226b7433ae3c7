// What the bench concludes from two runs: fixed figures, no timing.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compare, readReport, type Report } from '../bench/compare.js';
import type { Quartiles } from '../bench/slices.js';
import { refusal } from './refusal.js';

const machine = { cpu: 'AMD EPYC', cores: 2, node: 'v20.20.2', gradmill: '0.1.0', backend: 'native, avx2 of sse2 avx2, 2 threads', date: 'x' }; // prettier-ignore

/** The median, and quartiles that many percent round it. */
function about(median: number, percent = 1, rounds = 9): Quartiles {
  return { low: median * (1 - percent / 100), median, high: median * (1 + percent / 100), rounds };
}

function gemm(gflops: Quartiles, shareOfPeak?: Quartiles, threads = 1): Report {
  const row = { m: 128, n: 512, k: 784, transposeA: false, transposeB: true, isa: 'avx2', threads, gflops };
  return { machine, results: { gemm: [{ ...row, ...(shareOfPeak && { shareOfPeak }) }] } };
}

const verdict = (old: Report, now: Report) => compare(old, now).changes.map(({ verdict }) => verdict);

describe('a verdict', () => {
  test.each([
    ['the same figures', about(100), about(100), 'no difference seen'],
    ['quartiles that do not overlap', about(100), about(120), 'faster'],
    ['and the other way', about(120), about(100), 'slower'],
    ['quartiles that overlap', about(100, 15), about(120, 15), 'no difference seen'],
    ['one noisy run', about(100, 1), about(120, 20), 'no difference seen'],
    ['no noise, but no more than between runs of one build', about(100, 0), about(114.9, 0), 'no difference seen'],
    ['a difference just large enough', about(100, 0), about(115.1, 0), 'faster'],
    ['few rounds', about(100, 0, 4), about(200, 0, 9), 'too few rounds'],
    ['reports that do not state rounds', { low: 99, median: 100, high: 101 } as Quartiles, about(120), 'faster'],
  ])('%s', (_, old, now, expected) => {
    expect(verdict(gemm(old), gemm(now))).toEqual([expected]);
  });

  test('on more threads, or an unknown number of them, wants a larger difference', () => {
    const [share, row] = [about(1, 0), { what: 'compile', unit: 'ms' }];
    const of = (value: number): Report => ({ machine, results: { startup: [{ ...row, value: about(value, 0) }] } });
    expect(verdict(gemm(about(100, 0), share, 2), gemm(about(100, 0), about(1.29, 0), 2))).toEqual(['no difference seen']);
    expect(verdict(gemm(about(100, 0), share, 2), gemm(about(100, 0), about(1.3, 0), 2))).toEqual(['faster']);
    expect(verdict(of(100), of(129))).toEqual(['no difference seen']);
    expect(verdict(of(100), of(130))).toEqual(['slower']);
  });

  test('of an error: less is better', () => {
    const errors = (error: Quartiles): Report => ({ machine, results: { predict: { errors: [{ half: 'tested', threads: 1, error }] } } });
    expect(compare(errors(about(0.2)), errors(about(0.1))).changes).toMatchObject([
      { row: 'tested, 1 thread', ratio: 2, verdict: 'faster' },
    ]);
  });

  test('of times: less is faster', () => {
    const steps = (microseconds: Quartiles): Report => ({ machine, results: { hog: [{ threads: 1, quietMicroseconds: microseconds }] } });
    expect(compare(steps(about(200)), steps(about(100))).changes).toMatchObject([
      { command: 'hog', row: '1 thread', figure: 'quietMicroseconds', ratio: 2, verdict: 'faster' },
    ]);
    expect(verdict(steps(about(100)), steps(about(200)))).toEqual(['slower']);
  });

  test('is that of the shares of the peak: a slower clock is no regression', () => {
    const slowClock = compare(gemm(about(180), about(0.9)), gemm(about(150), about(0.9)));
    expect(slowClock.changes).toMatchObject([{ figure: 'gflops', ratio: 150 / 180, ratioOfShares: 1, verdict: 'no difference seen' }]);
    const fastClock = compare(gemm(about(150), about(0.9)), gemm(about(150), about(0.7)));
    expect(fastClock.changes).toMatchObject([{ ratio: 1, ratioOfShares: 0.7 / 0.9, verdict: 'slower' }]);
  });
});

describe('rows', () => {
  const row = (workload: string, threads: number, who: string, family: string) => ({
    workload,
    threads,
    who,
    family,
    microseconds: about(100),
    samplesPerSecond: 1,
    shareOfPeak: about(0.5),
    ratios: { native: about(2) },
    speedup: about(1),
    check: 0.5,
    agrees: true,
  });
  const report = (...results: object[]): Report => ({
    machine,
    results: { training: { peers: [{ name: 'x', settings: [], threads: 1 }], results } },
  });

  test('are matched by what they measure, in any order', () => {
    const ours = row('W1', 1, 'gradmill native avx2', 'native');
    const theirs = row('W1', 1, 'PyTorch 1.13.0', 'pytorch');
    const { changes, onlyOld, onlyNew } = compare(
      report(ours, theirs),
      report(theirs, { ...ours, microseconds: about(50), shareOfPeak: about(1) }),
    );
    expect(onlyOld.concat(onlyNew)).toEqual([]);
    expect(changes.map(({ row, figure, verdict }) => [row, figure, verdict])).toEqual([
      ['W1, 1 thread, PyTorch 1.13.0', 'microseconds', 'no difference seen'],
      ['W1, 1 thread, gradmill native avx2', 'microseconds', 'faster'],
    ]);
  });

  test('that only one run has are named', () => {
    const { changes, onlyOld, onlyNew } = compare(
      report(row('W1', 1, 'a', 'x'), row('W1', 2, 'a', 'x')),
      report(row('W1', 2, 'a', 'x'), row('W2', 2, 'a', 'x')),
    );
    expect(changes).toHaveLength(1);
    expect(onlyOld).toEqual(['training: W1, 1 thread, a']);
    expect(onlyNew).toEqual(['training: W2, 2 threads, a']);
  });

  test('of different shapes and commands are different', () => {
    const { results } = gemm(about(1));
    const [product] = results.gemm as object[];
    const other = { machine, results: { gemm: [{ ...product, transposeA: true }], kernels: [product] } };
    expect(compare(gemm(about(1)), other)).toMatchObject({
      changes: [],
      onlyOld: ['gemm: m 128, n 512, k 784, transposeB, avx2, 1 thread'],
      onlyNew: [
        'gemm: m 128, n 512, k 784, transposeA, transposeB, avx2, 1 thread',
        'kernels: m 128, n 512, k 784, transposeB, avx2, 1 thread',
      ],
    });
  });
});

test('an op that another limit bounds is the same op', () => {
  const kernel = (bound: string): Report => ({ machine, results: { kernels: [{ op: 'adam', threads: 1, bound, seconds: about(1) }] } });
  expect(compare(kernel('flops'), kernel('bytes'))).toMatchObject({ onlyOld: [], onlyNew: [], changes: [{ row: 'adam, 1 thread' }] });
});

test('commands whose figures have no quartiles are said', () => {
  const report: Report = { machine, results: { ...gemm(about(1)).results, limits: [{ isa: 'avx2', flops: 1 }], fairness: { p99: 5 } } };
  expect(compare(report, report)).toMatchObject({ without: ['limits', 'fairness'], onlyOld: [], onlyNew: [] });
  expect(compare(gemm(about(1)), report).without).toEqual([]);
});

test('other machines and versions are said', () => {
  const other = { ...gemm(about(1)), machine: { ...machine, cores: 8, node: 'v22.12.0', date: 'y' } };
  expect(compare(gemm(about(1)), other).differences).toEqual(['cores was 2, is 8', 'node was v20.20.2, is v22.12.0']);
  expect(compare(other, other).differences).toEqual([]);
});

test('a file that is no report is refused', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gradmill-compare-'));
  const file = join(folder, 'report.json');
  for (const text of ['', 'null', '[]', '{"machine": {}}', '{"machine": {}, "results": null}']) {
    await writeFile(file, text);
    expect(await refusal(() => readReport(file))).toBe(`file-invalid: '${file}' is no report of gradmill bench --json`);
  }
  expect(await refusal(() => readReport(join(folder, 'none.json')))).toMatch(/^file-io: /);
  await writeFile(file, JSON.stringify(gemm(about(1))));
  expect(await readReport(file)).toEqual(gemm(about(1)));
  await rm(folder, { recursive: true });
});
