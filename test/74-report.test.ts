// The log of a fit, the charts and pages made of it, and `gradmill report`: what is read is untrusted, what is written needs
// nothing else, and training outlives its log. How reports look is 83-report-pictures.
import { execFile, spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { parseHTML } from 'linkedom';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../src/cli/command.js';
import { dense, GradmillError, type LogRecord, sequential, sgd } from '../src/index.js';
import { logged } from '../src/log.js';
import { readRegularFile } from '../src/node/files.js';
import { node } from '../src/node/platform.js';
import { usePlatform } from '../src/platform.js';
import { scaleOf } from '../src/report/axes.js';
import { drawChart } from '../src/report/charts.js';
import { renderPage } from '../src/report/html.js';
import { formatNumber } from '../src/report/lettering.js';
import { missing } from '../src/report/plotting.js';
import { parseLog } from '../src/report/read-log.js';
import { runPage } from '../src/report/run-report.js';
import type { Chart, Section } from '../src/report/section.js';
import { linesOf, sampleLog, sampleRun } from './report-runs.js';
import { charts, page } from './report-samples.js';

const root = fileURLToPath(new URL('..', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradmill-report-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});
const path = (name: string): string => join(folder, name);

const HOSTILE = [
  `"><script>alert(1)</script>`,
  `</style></svg><img src=x onerror=alert(1)>`,
  `' onmouseover='alert(1)`,
  '&lt;b&gt; & <b>',
  'nul \u0000, bell \u0007, half \uD800, turn \u202E around',
  'x'.repeat(5000),
  '層 🧠 עברית',
];

/** What these tests use of a document; TypeScript's own types of it are those of browsers. */
interface Element {
  readonly id: string;
  readonly localName: string;
  readonly textContent: string;
  readonly attributes: Iterable<{ readonly name: string }>;
  getAttribute(name: string): string | null;
  querySelector(selector: string): Element | null;
  querySelectorAll(selector: string): Iterable<Element> & { readonly length: number };
}

function parsed(html: string): Element {
  return (parseHTML(html) as unknown as { document: Element }).document;
}

/** What breaks the rules of XML in a text without comments and processing instructions: tags that do not match, bare < & and ". */
function wellFormed(xml: string): string | undefined {
  const open: string[] = [];
  const tag = /<(\/?)([A-Za-z][\w:-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|([^<]+)/gy;
  let at = 0;
  for (let match = tag.exec(xml); match; match = tag.exec(xml)) {
    at = tag.lastIndex;
    const [, closing, name, attributes = '', empty, text = ''] = match;
    if (/&(?!(?:amp|lt|gt|quot|apos|nbsp|#\d+|#x[\da-f]+);)/i.test(attributes + text)) return `a bare & in ${match[0].slice(0, 80)}`;
    if (name === undefined) continue;
    if (closing === '/') {
      if (open.pop() !== name) return `</${name}> closes nothing`;
    } else if (empty !== '/') open.push(name);
  }
  if (at !== xml.length) return `not XML from: ${xml.slice(at, at + 80)}`;
  return open.length > 0 ? `<${open.join('><')}> stay open` : undefined;
}

describe('a chart', () => {
  test.each(charts.map((chart) => [chart.type, chart.title, chart] as const))(
    'of %s, %s, is an SVG with its words',
    async (_, title, chart) => {
      for (const width of [560, 340]) {
        const { svg } = await drawChart(chart, width);
        expect(wellFormed(svg)).toBeUndefined();
        expect(svg).not.toMatch(/NaN|Infinity|undefined|\[object/);
        expect(svg).toContain(`viewBox="0 0 ${width} `);
        const document = parsed(`<html><body>${svg}</body></html>`);
        const text = [...document.querySelectorAll('text')].map(({ textContent }) => textContent).join('\n');
        for (const axis of ['y' in chart ? chart.y : undefined, chart.x]) expect(text).toContain(axis?.label ?? '');
        expect(document.querySelector('svg')?.getAttribute('aria-label')).toContain(title);
        expect(text.split('\n').filter((word) => /\d/.test(word)).length).toBeGreaterThan(1);
      }
    },
  );

  test('names its series, rows, groups and paths', async () => {
    const text = async (type: Chart['type']): Promise<string> => (await drawChart(charts.find((chart) => chart.type === type)!)).svg;
    expect(await text('lines')).toMatch(/ReLU, He[^]*tanh, Glorot[^]*sigmoid, N\(0, 1\)/);
    expect(await text('strip')).toContain('dense20');
    expect(await text('strip')).toContain('RMS of the loss gradient');
    expect(await text('ridges')).toContain('dense12');
    expect(await text('bars')).toMatch(/equal variances[^]*variances 1 and 100/);
    expect(await text('path')).toContain('centred');
    expect(await text('dots')).toMatch(/ours[^]*theirs[^]*as fast as before[^]*a large network[^]*2 threads/);
  });

  test('tells what is missing, exactly 0, or cannot be shown', async () => {
    const strip: Chart = { type: 'strip', title: 't', x: { label: 'epoch' }, y: { label: 'layer' }, columns: [1, 2, 3], rows: ['a'], values: [[1, null, 0]], scale: 'log', unit: 'u' }; // prettier-ignore
    expect((await drawChart(strip)).svg).toMatch(/>exactly 0<[^]*>missing</);
    expect((await drawChart({ ...strip, values: [[1, 2, 3]] })).svg).not.toMatch(/exactly 0|missing/);
    const { notes } = await drawChart({ type: 'lines', title: 't', x: { label: 'step' }, y: { label: 'loss', scale: 'log' }, series: [{ name: 's', points: [[1, 1], [2, 0], [3, -1]] }] }); // prettier-ignore
    expect(notes).toEqual(['2 values of 0 or below cannot be shown on the log scale of loss.']);
    const large = charts.find(({ title }) => title === 'A mask of 300 × 784')!;
    expect((await drawChart(large)).notes).toEqual(['Each cell is the mean of 3 × 6 values.']);
  });

  test('keeps the lowest and the highest of more points than it can show', async () => {
    const points = Array.from({ length: 50_000 }, (_, i) => [i, i === 31_111 ? 100 : i === 17_777 ? -100 : Math.sin(i)] as const);
    const { svg } = await drawChart({ type: 'lines', title: 't', x: { label: 'x' }, y: { label: 'y' }, series: [{ name: '', points }] });
    expect(svg.length).toBeLessThan(60_000);
    expect(svg).toContain('>100<');
    const [, d] = / aria-label="line"[^]*? d="(M[^"]+)"/.exec(svg)!;
    const heights = d.split(/[ML]/).filter((pair) => pair !== '').map((pair) => Number(pair.split(',')[1])); // prettier-ignore
    expect(Math.max(...heights) - Math.min(...heights)).toBeGreaterThan(200);
  });

  test('draws anything that its type allows', { timeout: 120_000 }, async () => {
    const number = fc.oneof(fc.double(), fc.constantFrom(0, -1, 1, 1e-300, 1e300, NaN, Infinity), fc.integer({ min: -5, max: 5 }));
    const axis = fc.record({ label: fc.string(), scale: fc.constantFrom('linear' as const, 'log' as const) });
    const points = fc.array(fc.tuple(number, number), { maxLength: 6 });
    const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 12 }), fc.constantFrom(...HOSTILE));
    const chart: fc.Arbitrary<Chart> = fc.oneof(
      fc.record({ type: fc.constant('lines' as const), title: text, x: axis, y: axis, series: fc.array(fc.record({ name: text, points, low: points, high: points }), { maxLength: 10 }) }), // prettier-ignore
      fc.record({ type: fc.constant('strip' as const), title: text, x: axis, y: axis, columns: fc.array(fc.oneof(number, text), { maxLength: 5 }), rows: fc.array(text, { maxLength: 5 }), values: fc.array(fc.array(fc.option(number), { maxLength: 5 }), { maxLength: 5 }), scale: fc.constantFrom('linear' as const, 'log' as const), unit: text }), // prettier-ignore
      fc.record({ type: fc.constant('ridges' as const), title: text, x: axis, rows: fc.array(fc.record({ name: text, low: number, high: number, counts: fc.array(fc.nat(), { maxLength: 5 }) }), { maxLength: 4 }) }), // prettier-ignore
      fc.record({ type: fc.constant('matrix' as const), title: text, x: axis, y: axis, values: fc.array(fc.array(number, { maxLength: 4 }), { maxLength: 4 }), diverging: fc.boolean() }), // prettier-ignore
      fc.record({ type: fc.constant('bars' as const), title: text, x: axis, y: axis, groups: fc.array(fc.record({ name: text, values: fc.array(fc.record({ label: text, value: number, low: number, high: number }), { maxLength: 3 }) }), { maxLength: 3 }) }), // prettier-ignore
      fc.record({ type: fc.constant('roofline' as const), title: text, x: axis, y: axis, peak: fc.record({ name: text, value: number }), bandwidths: fc.array(fc.record({ name: text, value: number }), { maxLength: 4 }), points: fc.array(fc.record({ name: text, x: number, y: number }), { maxLength: 6 }) }), // prettier-ignore
      fc.record({ type: fc.constant('path' as const), title: text, x: axis, y: axis, loss: fc.constant({ xs: [0, 1, 2], ys: [0, 1], values: [[1, 2, 3], [2, NaN, 9]] }), paths: fc.array(fc.record({ name: text, points }), { maxLength: 3 }) }), // prettier-ignore
    );
    await fc.assert(
      fc.asyncProperty(chart, fc.constantFrom(340, 560), async (given, width) => {
        const { svg } = await drawChart(given, width);
        expect(wellFormed(svg)).toBeUndefined();
        expect(svg.replace(/<text[^]*?<\/text>|<title>[^]*?<\/title>|aria-label="[^"]*"/g, '')).not.toMatch(/NaN|Infinity|undefined/);
      }),
      { numRuns: 60 },
    );
  });
});

describe('axes', () => {
  const ticks = (low: number, high: number, scale: 'linear' | 'log' = 'linear') => {
    const made = scaleOf([low, high], { label: '', scale }, { nice: true });
    return made.ticks.map((tick) => made.format(tick)).join(' ');
  };

  test('have few, round ticks', () => {
    expect(ticks(0, 0.97)).toBe('0 0.2 0.4 0.6 0.8 1.0');
    expect(ticks(0, 1)).toBe('0 1');
    expect(ticks(3, 61_000)).toBe('0 20,000 40,000 60,000 80,000');
    expect(ticks(-0.013, 0.02)).toBe('−0.02 −0.01 0 0.01 0.02');
    expect(ticks(1e-7, 9e-7)).toBe('0 0.2×10⁻⁶ 0.4×10⁻⁶ 0.6×10⁻⁶ 0.8×10⁻⁶ 1.0×10⁻⁶');
    expect(ticks(1e-13, 1, 'log')).toBe('10⁻¹² 10⁻⁹ 10⁻⁶ 10⁻³ 10⁰');
    expect(ticks(0.5, 20, 'log')).toBe('0.3 1 3 10 30');
  });

  test('hold their values, increase, and have two ticks or more', () => {
    fc.assert(
      fc.property(
        fc.double({ min: -1e12, max: 1e12, noNaN: true }),
        fc.double({ min: -1e12, max: 1e12, noNaN: true }),
        fc.boolean(),
        (a, b, nice) => {
          const { domain, ticks } = scaleOf([a, b], { label: '' }, { nice });
          const room = 1e-9 * Math.max(Math.abs(a), Math.abs(b), 1e-200);
          expect(domain[0]).toBeLessThanOrEqual(Math.min(a, b) + room);
          expect(domain[1]).toBeGreaterThanOrEqual(Math.max(a, b) - room);
          expect(ticks.length).toBeGreaterThan(0);
          expect(ticks.length).toBeLessThan(16);
          ticks.slice(1).forEach((tick, i) => expect(tick).toBeGreaterThan(ticks[i]));
        },
      ),
    );
  });

  test('numbers are written as people read them', () => {
    expect([0.043, 2.531e-13, 266610, 1.0712, -0.5, 0, 1e9, 0.98765, NaN, Infinity].map((value) => formatNumber(value))).toEqual([
      '0.043',
      '2.531 × 10⁻¹³',
      '266,610',
      '1.071',
      '−0.5',
      '0',
      '1 × 10⁹',
      '0.9877',
      'not a number',
      '∞',
    ]);
  });
});

describe('a page', () => {
  test('is one file that loads nothing', async () => {
    const html = await renderPage(page);
    expect(html.startsWith('<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">')).toBe(true);
    const document = parsed(html);
    expect(document.querySelectorAll('script, link, img, iframe, object, embed, base, [src], [srcset], a[href^=http]').length).toBe(0);
    expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|url\((?!#)|@import|@font-face/);
    const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const link of document.querySelectorAll('nav a')) expect(ids).toContain(link.getAttribute('href')?.slice(1));
  });

  test('shows each section’s claim, figures with ✓ and ✗, charts and conclusion', async () => {
    const document = parsed(await renderPage(page));
    const [section] = document.querySelectorAll('section');
    for (const text of [page.sections[0].claim, page.sections[0].conclusion, '2.531 × 10⁻¹³', '266,610 weights', 'Took 12 s'])
      expect(section.textContent).toContain(text);
    expect(section.querySelectorAll('tbody .holds').length).toBe(4);
    expect(section.querySelectorAll('tbody .fails').length).toBe(1);
    expect(section.querySelectorAll('figure').length).toBe(3);
    expect(document.querySelector('nav li')?.textContent).toContain('✗ 4/5');
    expect(document.querySelector('.facts')?.textContent).toContain('Linux x64');
    expect(section.querySelector('code')?.textContent).toBe('gradientFlow(model, x, y)');
  });

  test('shows names for what they are, whatever they say', async () => {
    const sections = HOSTILE.map((name, i): Section => ({
      id: i < 5 ? name : `s${i}`,
      title: name,
      claim: name,
      paragraphs: [name],
      figures: [{ label: name, value: name, unit: name, expected: name, holds: true }],
      charts: charts.map((chart) => hostile(chart, name)),
      conclusion: name,
      seconds: 1,
    }));
    const html = await renderPage({ title: HOSTILE[0], lead: HOSTILE[1], facts: [[HOSTILE[2], HOSTILE[3]]], sections });
    const document = parsed(html);
    const elements = [...document.querySelectorAll('*')];
    const names = new Set(elements.map(({ localName }) => localName));
    for (const name of ['script', 'img', 'b', 'a:not([href^="#"])']) expect(document.querySelectorAll(name).length, name).toBe(0);
    expect([...names].filter((name) => !/^[a-z][A-Za-z0-9]*$/.test(name))).toEqual([]);
    for (const element of elements) for (const { name } of element.attributes) expect(name).not.toMatch(/^on|["'<>]/);
    expect(html).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202a-\u202e]/);
    expect(document.querySelector('h1')?.textContent).toBe(HOSTILE[0]);
    expect(document.querySelectorAll('section').length).toBe(HOSTILE.length);
    for (const svg of html.match(/<svg [^]*?<\/svg>/g) ?? []) expect(wellFormed(svg)).toBeUndefined();
  });

  /** The chart with that name wherever it has one. */
  function hostile(chart: Chart, name: string): Chart {
    const renamed = JSON.stringify(chart, (key, value: unknown) =>
      ['title', 'label', 'name', 'unit', 'caption'].includes(key) ? name : typeof value === 'number' && !Number.isFinite(value) ? 0 : value,
    );
    const copy = JSON.parse(renamed) as Chart;
    if (copy.type === 'dots') return { ...copy, series: copy.series.map(() => name) };
    return copy.type === 'strip' ? { ...copy, rows: copy.rows.map(() => name), columns: copy.columns.map(() => name) } : copy;
  }

  test('needs packages that npm installs when asked, and says which', () => {
    const absent = Object.assign(new Error("Cannot find package '@observablehq/plot'"), { code: 'ERR_MODULE_NOT_FOUND' });
    expect(missing(absent)).toMatchObject({ code: 'missing-package', message: expect.stringContaining('npm install @observablehq/plot linkedom') as string }); // prettier-ignore
    const other = new Error('other');
    expect(missing(other)).toBe(other);
  });

  test('only reports need them: the package trains, and says what to install', { timeout: 60_000 }, async () => {
    const alone = path('alone');
    await mkdir(join(alone, 'node_modules'), { recursive: true });
    await symlink(join(root, 'node_modules/csv-parse'), join(alone, 'node_modules/csv-parse'));
    await cp(join(root, 'dist'), join(alone, 'dist'), { recursive: true });
    await cp(join(root, 'wasm'), join(alone, 'wasm'), { recursive: true });
    await writeFile(join(alone, 'package.json'), '{"type":"module"}');
    await writeFile(join(alone, 'run.jsonl'), linesOf(sampleLog(2)));
    const start = (...args: string[]): Promise<string> =>
      new Promise((resolve) => {
        execFile(process.execPath, args, { cwd: alone }, (_, stdout, stderr) => resolve(stdout + stderr));
      });
    const code = `import { dense, sequential } from './dist/index.js'; console.log(typeof sequential({ inputShape: [2], layers: [dense({ units: 1 })] }).fit)`;
    expect(await start('--input-type=module', '-e', code)).toBe('function\n');
    expect(await start('dist/cli/main.js', 'report', 'run.jsonl')).toBe(
      'gradmill: missing-package: reports need a plotting library; run: npm install @observablehq/plot linkedom\n',
    );
  });
});

describe('fit({ log })', () => {
  const x = [[0, 0], [0, 1], [1, 0], [1, 1]]; // prettier-ignore
  const y = [[0], [1], [1], [0]];
  const network = (learningRate = 0.1) => {
    const model = sequential({
      inputShape: [2],
      seed: 3,
      layers: [dense({ units: 4, activation: 'tanh', name: 'hidden' }), dense({ units: 1 })],
    });
    model.compile({ optimizer: sgd({ learningRate }), loss: 'meanSquaredError' });
    return model;
  };

  test('tells a function of the start, each epoch and the end', async () => {
    const records: LogRecord[] = [];
    const history = await network().fit(x, y, { epochs: 3, batchSize: 2, validationData: [x, y], log: (record) => records.push(record) });
    expect(records.map(({ type }) => type)).toEqual(['start', 'epoch', 'epoch', 'epoch', 'end']);
    expect(records[0]).toMatchObject({
      layers: [
        { name: 'hidden', kind: 'dense', activation: 'tanh', units: 4, weights: 12 },
        { name: 'dense2', kind: 'dense', activation: 'linear', units: 1, weights: 5 },
      ],
      optimizer: { name: 'sgd', learningRate: 0.1 },
      loss: { name: 'meanSquaredError' },
      seed: 3,
      rows: 4,
      epochs: 3,
      batchSize: 2,
    });
    expect(records.slice(1, 4).map((record) => ({ ...record, type: undefined }))).toEqual(history.epochs);
    expect('logError' in history).toBe(false);
  });

  test('adds lines to a file, run after run, and changes no weight', async () => {
    const [silent, loud] = [network(), network()];
    await silent.fit(x, y, { epochs: 2 });
    const log = path('fit.jsonl');
    await loud.fit(x, y, { epochs: 2, log });
    expect(loud.weights.map(({ data }) => data)).toEqual(silent.weights.map(({ data }) => data));
    await loud.fit(x, y, { epochs: 5, log });
    const lines = (await readFile(log, 'utf8')).trimEnd().split('\n').map((line) => (JSON.parse(line) as LogRecord).type); // prettier-ignore
    expect(lines).toEqual(['start', 'epoch', 'epoch', 'end', 'start', ...Array.from({ length: 5 }, () => 'epoch'), 'end']);
    const run = parseLog(await readFile(log), log, 'fit');
    expect(run.epochs.length).toBe(5);
    expect(run.notes).toEqual([expect.stringContaining('holds 2 runs')]);
  });

  test('writes how a run failed', async () => {
    const log = path('failed.jsonl');
    await expect(network(1e30).fit(x, y, { epochs: 50, log })).rejects.toMatchObject({ code: 'diverged' });
    expect(parseLog(await readFile(log), log, 'failed').end).toMatchObject({ type: 'error', code: 'diverged' });
    const stop = new AbortController();
    const reason = new Error('enough');
    await expect(network().fit(x, y, { epochs: 9, log, signal: stop.signal, onEpoch: () => stop.abort(reason) })).rejects.toBe(reason);
    expect(parseLog(await readFile(log), log, 'failed').end).toEqual({ type: 'error', code: 'aborted', message: 'enough' });
    const fault = new TypeError('mine');
    const records: LogRecord[] = [];
    const log2 = (record: LogRecord): void => {
      records.push(record);
      if (record.type === 'epoch') throw fault;
    };
    await expect(network().fit(x, y, { epochs: 9, log: log2 })).rejects.toBe(fault);
    expect(records.at(-1)).toEqual({ type: 'error', code: 'callback', message: 'mine' });
  });

  test('to a function that rejects ends the run at the next record, with the first reason', async () => {
    const records: LogRecord[] = [];
    const log = async (record: LogRecord): Promise<void> => {
      records.push(record);
      await Promise.resolve();
      if (record.type !== 'start') throw new TypeError(`no ${record.type}`);
    };
    // A rejection that nobody met would fail this file.
    await expect(network().fit(x, y, { epochs: 9, log })).rejects.toThrow(new TypeError('no epoch'));
    expect(records.map(({ type }) => type)).toEqual(['start', 'epoch', 'error']);
    expect(records[2]).toEqual({ type: 'error', code: 'callback', message: 'no epoch' });
    // Behind the last record comes none.
    const late = (record: LogRecord): unknown => record.type === 'end' && Promise.reject(new Error('late'));
    expect((await network().fit(x, y, { log: late })).loss.length).toBe(1);
  });

  test('refuses what is no log before it trains', async () => {
    const model = network();
    const before = model.weights.map(({ data }) => data);
    await writeFile(path('data.csv'), 'a,b\n1,2');
    for (const [log, code] of [
      [path('data.csv'), 'file-io'],
      [folder, 'file-io'],
      [path('none/run.jsonl'), 'file-io'],
      ['/dev/full', 'file-io'],
      ['', 'invalid-argument'],
      ['a\0b', 'invalid-argument'],
      [7, 'invalid-argument'],
    ] as const)
      await expect(model.fit(x, y, { log: log as string })).rejects.toMatchObject({ code });
    expect(model.weights.map(({ data }) => data)).toEqual(before);
    expect(await readFile(path('data.csv'), 'utf8')).toBe('a,b\n1,2');
  });

  test('outlives a disk that fails: the run ends well, and says so', async () => {
    const written: string[] = [];
    const failing = async (text: string): Promise<void> => {
      if (written.length === 3) throw new GradmillError('file-io', 'no space left on device (ENOSPC)');
      written.push(text);
      return Promise.resolve();
    };
    const files = { ...node.files!, append: () => Promise.resolve({ append: failing, close: () => Promise.resolve() }) };
    usePlatform({ ...node, files });
    try {
      const history = await network().fit(x, y, { epochs: 6, log: 'run.jsonl' });
      expect(history.loss.length).toBe(6);
      expect(history.logError).toMatchObject({ code: 'file-io', message: 'no space left on device (ENOSPC)' });
      expect(written.splice(2).length).toBe(1);
      const start = sampleLog(1)[0] as Parameters<typeof logged>[1];
      await expect(logged('run.jsonl', start, undefined, () => Promise.reject(new Error('first')))).rejects.toThrow('first');
      usePlatform({ ...node, files: undefined });
      await expect(network().fit(x, y, { log: 'run.jsonl' })).rejects.toMatchObject({ code: 'file-io', message: expect.stringContaining('pass a function') as string }); // prettier-ignore
    } finally {
      usePlatform(node);
    }
  });

  test('a process that is killed leaves whole lines, and the next run goes on below them', { timeout: 60_000 }, async () => {
    const log = path('killed.jsonl');
    const code = `
      import { adam, dense, sequential } from ${JSON.stringify(join(root, 'src/index.ts'))};
      const model = sequential({ inputShape: [2], layers: [dense({ units: 1 })] });
      model.compile({ optimizer: adam(), loss: 'meanSquaredError' });
      await model.fit([[1, 2]], [[1]], { epochs: 1e6, log: ${JSON.stringify(log)}, onEpoch: ({ epoch }) => { if (epoch === 20) process.kill(process.pid, 'SIGKILL'); } });`;
    await writeFile(path('killed.mts'), code);
    const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), path('killed.mts')]);
    await new Promise((resolve) => child.once('close', resolve));
    const killed = await readFile(log, 'utf8');
    expect(killed.endsWith('\n')).toBe(true);
    const run = parseLog(Buffer.from(killed), 'killed', 'killed');
    expect(run.epochs.length).toBe(20);
    expect(run.notes[0]).toMatch(/does not tell how the run ended/);

    // As a machine that loses power may leave it.
    await writeFile(log, killed.slice(0, -25));
    expect(parseLog(await readFile(log), 'torn', 'torn')).toMatchObject({ epochs: { length: 19 }, notes: [expect.stringContaining('cut short'), expect.anything()] }); // prettier-ignore
    await network().fit(x, y, { epochs: 2, log });
    expect(parseLog(await readFile(log), 'again', 'again').epochs.length).toBe(2);
  });
});

describe('a log that is read', () => {
  const records = sampleLog(3);
  const refused = (bytes: Uint8Array): string => {
    try {
      parseLog(bytes, 'run.jsonl', 'run');
    } catch (error) {
      expect(error).toBeInstanceOf(GradmillError);
      expect(error).toMatchObject({ code: 'file-invalid' });
      return (error as Error).message;
    }
    return 'accepted';
  };
  const changed = (line: number, change: (record: Record<string, unknown>) => unknown): Uint8Array =>
    linesOf(records.map((record, i) => (i === line - 1 ? (change({ ...record }) ?? {}) : record)));

  test('is what was written', () => {
    const run = parseLog(linesOf(records), 'run.jsonl', 'run');
    expect([run.start, ...run.samples, ...run.epochs, run.end]).toEqual([
      ...records.filter(({ type }) => type === 'start'),
      ...records.filter(({ type }) => type === 'diagnostics'),
      ...records.filter(({ type }) => type === 'epoch'),
      records.at(-1),
    ]);
    expect(run.notes).toEqual([]);
  });

  test('names the line that is wrong', () => {
    const text = (lines: string): Uint8Array => new TextEncoder().encode(lines);
    expect(refused(text(''))).toBe('run.jsonl: there is no run in it');
    expect(refused(text('a,b\n1,2\n'))).toBe('run.jsonl: line 1: not a line of JSON');
    expect(refused(text('[1]\n2\n'))).toBe('run.jsonl: line 1: expected an object, got an array of 1');
    expect(refused(text('{"a":1}\n'))).toBe('run.jsonl: line 1: type: expected a text, but it is missing');
    expect(refused(text('{"type":"epoch"}\n'))).toMatch(/^run\.jsonl: line 1: expected the record 'start' first/);
    expect(refused(text('\xff\n'))).toBe('run.jsonl: line 1: not a line of JSON');
    expect(refused(changed(1, (start) => ({ ...start, layers: 7 })))).toBe('run.jsonl: line 1: layers: expected a list, got 7');
    expect(refused(changed(1, (start) => ({ ...start, layers: [{ kind: 'dense' }] })))).toMatch(
      /^run\.jsonl: line 1: layers\[0\]\.name: expected a text/,
    );
    expect(refused(changed(5, (epoch) => ({ ...epoch, loss: '1' })))).toBe("run.jsonl: line 5: loss: expected a number, got '1'");
    expect(refused(changed(2, (sample) => ({ ...sample, layers: [{ ...records[1] }] })))).toMatch(
      /^run\.jsonl: line 2: layers\[0\]\.layer: /,
    );
    const broken = new TextDecoder().decode(linesOf(records)).split('\n');
    broken[3] = broken[3].slice(0, 40);
    expect(refused(text(broken.join('\n')))).toBe('run.jsonl: line 4: not a line of JSON');
  });

  test('is not read where it is larger than any run', async () => {
    await writeFile(path('large.jsonl'), 'x'.repeat(2000));
    await expect(readRegularFile(path('large.jsonl'), 1999)).rejects.toMatchObject({ code: 'size-overflow' });
    expect((await readRegularFile(path('large.jsonl'), 2000)).length).toBe(2000);
  });

  test('may hold records and fields of later versions', () => {
    const later = [records[0], { type: 'weather', rain: true }, { ...records[4], wind: 3 }, records.at(-1)];
    expect(parseLog(linesOf(later), 'run.jsonl', 'run').epochs.length).toBe(1);
  });

  test('is refused or read, whatever is in it', () => {
    fc.assert(
      fc.property(
        fc.nat(records.length - 1),
        fc.constantFrom('layers', 'loss', 'rows', 'type', 'backend', 'name', 'step'),
        fc.json(),
        (line, field, json) => {
          const bytes = changed(line + 1, (record) => ({ ...record, [field]: JSON.parse(json) as unknown }));
          expect(refused(bytes)).toMatch(/^accepted$|^run\.jsonl: /);
        },
      ),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(refused(bytes)).toMatch(/^run\.jsonl: /);
      }),
    );
  });

  test('becomes a page, whatever its numbers are', { timeout: 60_000 }, async () => {
    const strange = sampleLog(3, { name: (i) => HOSTILE[i] }).map((record, i) =>
      record.type === 'epoch' ? { ...record, loss: [NaN, 0, 1e300, -1][i % 4], valLoss: NaN } : record,
    );
    const run = parseLog(linesOf(strange), 'run.jsonl', HOSTILE[0]);
    const html = await renderPage(runPage([run, { ...run, samples: [], epochs: [], end: undefined }], 'now'));
    const document = parsed(html);
    expect(document.querySelectorAll('script, img').length).toBe(0);
    expect(document.querySelectorAll('figure').length).toBeGreaterThan(8);
  });
});

describe('gradmill report', () => {
  async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    let [out, err] = ['', ''];
    const io = { out: { write: (text: string) => (out += text) }, err: { write: (text: string) => (err += text) }, cwd: folder };
    return { code: await runCommand(args, io), out, err };
  }

  test('draws what gradmill train logged', { timeout: 60_000 }, async () => {
    const rows = Array.from({ length: 80 }, (_, i) => `${i % 7},${(i * i) % 11},${i % 2 ? 'odd' : 'even'}`);
    await writeFile(path('table.csv'), `a,b,parity\n${rows.join('\n')}\n`);
    const [log, out] = [path('table.jsonl'), path('table.html')];
    const trained = await run(
      'train',
      path('table.csv'),
      '--target',
      'parity',
      '--epochs',
      '4',
      '--log',
      log,
      '--out',
      path('table.safetensors'),
    );
    expect(trained).toMatchObject({ code: 0, err: '' });
    expect(await run('report', log, '-o', out)).toEqual({ code: 0, out: `wrote ${out}\n`, err: '' });
    const document = parsed(await readFile(out, 'utf8'));
    expect(document.querySelector('h1')?.textContent).toBe('Training run: table');
    expect([...document.querySelectorAll('h3')].map(({ textContent }) => textContent)).toEqual(
      expect.arrayContaining(['Loss', 'Accuracy']),
    );
    expect(document.querySelector('#network')?.textContent).toContain('dense (relu)');
    expect(document.querySelector('#diagnostics')?.textContent).toContain('diagnostics: { every: 100 }');
    // To the same file again: replaced.
    expect(await run('report', log, `--out=${out}`)).toMatchObject({ code: 0 });
  });

  test('draws the layers that gradmill train measured', { timeout: 60_000 }, async () => {
    const rows = Array.from({ length: 80 }, (_, i) => `${i % 7},${(i * i) % 11},${i % 2 ? 'odd' : 'even'}`);
    await writeFile(path('measured.csv'), `a,b,parity\n${rows.join('\n')}\n`);
    const [log, out] = [path('measured.jsonl'), path('measured.html')];
    const to = ['--log', log, '--diagnostics', '5', '--out', path('measured.safetensors')];
    expect(await run('train', path('measured.csv'), '--target', 'parity', '--epochs', '8', ...to)).toMatchObject({ code: 0, err: '' });
    const { samples } = parseLog(await readFile(log), log, 'measured');
    expect(samples.length).toBeGreaterThan(1);
    expect(samples.map(({ step }) => step)).toEqual(samples.map((_, i) => 1 + 5 * i));
    expect(await run('report', log, '-o', out)).toMatchObject({ code: 0, err: '' });
    const gradients = parsed(await readFile(out, 'utf8')).querySelector('#gradients');
    expect(gradients?.textContent).toContain('first over last layer');
    expect(gradients?.querySelectorAll('figure').length).toBeGreaterThan(0);
  });

  test('compares runs, and draws layers where they were sampled', { timeout: 60_000 }, async () => {
    await writeFile(path('deep.jsonl'), linesOf(sampleLog(12)));
    await writeFile(path('flat.jsonl'), linesOf(sampleLog(2)));
    expect(await run('report', path('deep.jsonl'), path('flat.jsonl'), '--out', path('two.html'))).toMatchObject({ code: 0, err: '' });
    const document = parsed(await readFile(path('two.html'), 'utf8'));
    expect(document.querySelector('h1')?.textContent).toBe('2 training runs compared');
    const titles = [...document.querySelectorAll('h3')].map(({ textContent }) => textContent);
    for (const title of [
      'Loss in training',
      'Loss in validation',
      'Loss gradient by layer',
      'Saturation by layer',
      'Update over weight',
      'Outputs by layer, step 10',
      'Spectral norm of the kernel',
    ])
      // prettier-ignore
      expect(titles).toContain(title);
    expect(document.querySelector('#gradients-compared')?.textContent).toContain('first over last layer, flat');
    expect(document.querySelector('#deep-gradients')?.textContent).toContain('first over last layer');
    // By the log's own formula the first of 13 layers has 0.3^(12·e^(−1/60)) of the last one's at the first sample.
    const [ratio] = runPage([sampleRun('deep', 12)], '').sections[1].figures.map(({ value }) => value as number);
    expect(ratio / 0.3 ** (12 * Math.exp(-1 / 60))).toBeCloseTo(1, 6);
  });

  test('says what is wrong with a command line or a file', async () => {
    await writeFile(path('bad.jsonl'), 'x\ny\n');
    expect(await run('report')).toMatchObject({ code: 2, err: 'gradmill: report needs a log: gradmill report RUN.jsonl\n' });
    expect(await run('report', path('bad.jsonl'))).toEqual({ code: 1, out: '', err: `gradmill: file-invalid: ${path('bad.jsonl')}: line 1: not a line of JSON\n` }); // prettier-ignore
    expect(await run('report', path('absent.jsonl'))).toMatchObject({ code: 1, err: expect.stringContaining('file-io') as string });
    expect(await run('report', ...Array.from({ length: 9 }, () => path('deep.jsonl')))).toMatchObject({ code: 2 });
    expect(await run('report', path('deep.jsonl'), '--out', path('none/x.html'))).toMatchObject({ code: 1, err: expect.stringContaining('none/x.html') as string }); // prettier-ignore
    expect((await run('report', '--help')).out).toContain('--out FILE');
    expect((await run('--help')).out).toContain('report RUN.jsonl');
    expect(await run('train', 'mnist', '--diagnostics', '5')).toMatchObject({ code: 2, err: expect.stringContaining('--log') as string });
  });
});
