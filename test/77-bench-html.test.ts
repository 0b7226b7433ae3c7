// The pages and pictures that the bench makes of its figures, from made-up ones. test/83 looks at them in a browser.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseHTML } from 'linkedom';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Report } from '../bench/compare.js';
import { benchPage, gemmCharts, tablesOf, trainingCharts, trainingSvg } from '../bench/html.js';
import type { Measurement } from '../bench/training.js';
import { runCommand } from '../src/cli/command.js';
import { benchReport } from './bench-samples.js';

interface Parsed {
  querySelectorAll(selector: string): Iterable<{ readonly textContent: string }>;
}

const parsed = (html: string): Parsed => (parseHTML(html) as unknown as { document: Parsed }).document;
const texts = (document: Parsed, selector: string): string[] =>
  [...document.querySelectorAll(selector)].map(({ textContent }) => textContent);
const training = (benchReport.results.training as { results: Measurement[] }).results;

describe('a page', () => {
  let html: string;
  beforeAll(async () => {
    html = await benchPage(benchReport);
  });

  test('needs nothing but itself', () => {
    expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|<script|<link|<img|@import|url\(/);
    expect(html).not.toMatch(/NaN|undefined|\[object/);
  });

  test('says what ran where, and how busy that was', () => {
    const facts = texts(parsed(html), 'dl.facts div');
    expect(facts).toEqual(
      expect.arrayContaining([
        'cpuAMD EPYC',
        'nodev20.20.2',
        'load before and aftertraining 0.12, 1.96; gemm 1.9, 1.2 (CPU time: 0 % stolen, 13 % others)',
      ]),
    );
    expect(html).toContain('gradmill bench all --json results.json');
  });

  test('has every row of every command', () => {
    const document = parsed(html);
    expect(texts(document, 'h2')).toHaveLength(Object.keys(benchReport.results).length);
    const titles = texts(document, '.table h3');
    expect(titles).toEqual(['training: peers', 'training', 'gemm', 'gemm: peers', 'fairness', 'pruning']);
    const rows = texts(document, '.table tbody tr');
    expect(rows.filter((row) => row.startsWith('W'))).toHaveLength(training.length);
    expect(rows.filter((row) => row.includes('oneDNN'))).toHaveLength(30);
    expect(rows.some((row) => row.startsWith('W3') && row.includes('TensorFlow.js'))).toBe(true);
  });

  test('has charts with labelled axes', () => {
    const figures = texts(parsed(html), 'figure');
    expect(figures).toHaveLength(3);
    expect(figures[0]).toContain('times as fast as PyTorch 1.13.0');
    for (const gemm of figures.slice(1)) expect(gemm).toContain('% of the peak');
  });

  test('escapes what it is given', async () => {
    const hostile = '<img src=x onerror=alert(1)>';
    const named = JSON.parse(JSON.stringify(benchReport).replaceAll('PyTorch 1.13.0', hostile).replaceAll('AMD EPYC', hostile)) as Report;
    expect(await benchPage(named)).not.toContain('<img');
    expect(await trainingSvg([named])).not.toContain('<img');
  });
});

describe('training', () => {
  test('is compared with the fastest of PyTorch’s settings, losing rows shown', () => {
    const [chart] = trainingCharts(training);
    expect(chart.series).toEqual(['gradmill, native', 'TensorFlow.js 4.22.0 WASM', 'jax-js 0.1.25 WASM']);
    expect(chart.groups.map(({ name }) => name.slice(0, 3))).toEqual(['W1:', 'W2:', 'W3:', 'W4:', 'W5:', 'W6:', 'W6:']);
    const [w1, , w3] = chart.groups.map(({ rows }) => rows[0].dots.map(({ value }) => value));
    expect(w1[0]).toBeCloseTo(475 / 241);
    expect(w1[1]).toBeCloseTo(475 / 7950);
    expect(w3[0]).toBeLessThan(1);
  });

  test('without those that cannot do the same work', () => {
    const others = training.map((row) => (row.family === 'jaxjs' ? { ...row, check: undefined } : row));
    expect(trainingCharts(others)[0].series).toEqual(['gradmill, native', 'TensorFlow.js 4.22.0 WASM']);
  });

  test('without PyTorch is shown in µs', () => {
    const [chart] = trainingCharts(training.filter(({ family }) => family !== 'pytorch'));
    expect(chart).toMatchObject({ y: { label: 'time of a step (µs)' }, unit: ' µs' });
    expect(chart.reference).toBeUndefined();
    expect(chart.groups[0].rows[0].dots[0].value).toBe(241);
  });

  test('of several runs makes one picture, of each row the last', async () => {
    const faster = training.filter(({ workload }) => workload === 'W3').map((row) => ({ ...row, ratios: { native: { ...row.ratios.native!, median: 4 } } })); // prettier-ignore
    const svg = await trainingSvg([benchReport, { ...benchReport, results: { training: { results: faster } } }]);
    expect(svg.match(/>4 ×</g)).toHaveLength(2);
    expect(svg.match(/>W\d: /g)).toHaveLength(7);
    expect(svg).toContain('AMD EPYC, 2 cores; gradmill 0.1.0');
    expect(svg).toContain('prefers-color-scheme:dark');
    expect(svg).not.toMatch(/NaN|undefined|<script|https?:(?!\/\/www\.w3\.org\/2000\/svg)/);
  });
});

test('products are shown beside the fastest peer of each shape', () => {
  const { results } = benchReport.results.gemm as { results: Parameters<typeof gemmCharts>[0] };
  const charts = gemmCharts(results);
  expect(charts.map(({ title }) => title)).toEqual(['Matrix products, avx2, 1 thread', 'Matrix products, avx2, 2 threads']);
  expect(charts[0].groups.map(({ name, rows }) => [name, rows.length])).toEqual([['NN', 5], ['TN', 5], ['NT', 5]]); // prettier-ignore
  const [ours, theirs] = charts[0].groups[0].rows[0].dots;
  expect(ours.value).toBeCloseTo(37);
  expect(theirs.value).toBeCloseTo(35);
});

test('tables have a column for each field and a row for each row', () => {
  const quartiles = { low: 0.5, median: 0.75, high: 1, rounds: 9 };
  expect(
    tablesOf(
      [
        { who: 'a', threads: 1, shareOfPeak: quartiles },
        { who: 'b', threads: 2, extra: { x: 1.25 } },
      ],
      'rows',
    ),
  ).toEqual([
    {
      title: 'rows',
      columns: ['library', 'threads', 'share of peak', 'extra x'],
      rows: [
        ['a', '1', '75 % (50 %–100 %)', ''],
        ['b', '2', '', '1.25'],
      ],
    },
  ]);
  expect(tablesOf([{ isa: 'avx2', levels: [{ bytes: 1 }, { bytes: 2 }] }], 'peak')[1]).toEqual({
    title: 'peak: levels',
    columns: ['isa', 'bytes'],
    rows: [['avx2', '1'], ['avx2', '2']], // prettier-ignore
  });
  expect(tablesOf('nothing', 'x')).toEqual([]);
});

describe('gradmill bench chart', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gradmill-bench-chart-'));
    await writeFile(join(folder, 'results.json'), JSON.stringify(benchReport));
    await writeFile(join(folder, 'gemm.json'), JSON.stringify({ ...benchReport, results: { gemm: benchReport.results.gemm } }));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function chart(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    let [out, err] = ['', ''];
    const io = { out: { write: (text: string) => (out += text) }, err: { write: (text: string) => (err += text) }, cwd: folder };
    return { code: await runCommand(['bench', 'chart', ...args], io), out, err };
  }

  test('writes an SVG or a page', async () => {
    const [results, svg, page] = ['results.json', 'chart.svg', 'page.html'].map((name) => join(folder, name));
    expect(await chart(results, '-o', svg)).toEqual({ code: 0, out: `wrote ${svg}\n`, err: '' });
    expect(await readFile(svg, 'utf8')).toMatch(/^<svg [^]*<\/svg>\n$/);
    expect(await chart(results, '-o', page)).toEqual({ code: 0, out: `wrote ${page}\n`, err: '' });
    expect(await readFile(page, 'utf8')).toMatch(/^<!doctype html>/);
  });

  test('says what it lacks', async () => {
    expect(await chart()).toMatchObject({ code: 2, err: expect.stringContaining('needs a file of --json') as string });
    expect(await chart(join(folder, 'results.json'))).toMatchObject({
      code: 2,
      err: expect.stringContaining('needs -o CHART.svg') as string,
    });
    const svg = join(folder, 'none.svg');
    expect(await chart(join(folder, 'gemm.json'), '-o', svg)).toEqual({ code: 1, out: '', err: 'gradmill: file-invalid: no run of training in these files\n' }); // prettier-ignore
    await expect(readFile(svg)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
