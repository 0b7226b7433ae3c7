// Reports as a reader sees them, in Debian's headless Chromium: every picture has its size, no words overlap or leave their
// picture, nothing is loaded, nothing is complained of; light and dark, wide and narrow, on screen and printed. Screenshots are
// left in test/.screenshots.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { benchPage } from '../bench/html.js';
import { renderPage } from '../src/report/html.js';
import { runPage } from '../src/report/run-report.js';
import { benchReport } from './bench-samples.js';
import { CHROMIUM, installed, launch, shotPath } from './chromium.js';
import { page as sample } from './report-samples.js';
import { sampleRun } from './report-runs.js';

/** Faults of the pictures that are shown, in words; run in the page. */
const LOOK = `(() => {
  const faults = [];
  const shown = [...document.querySelectorAll('figure svg')].filter((svg) => svg.getClientRects().length > 0);
  for (const svg of shown) {
    const name = svg.getAttribute('aria-label').slice(0, 60);
    const frame = svg.getBoundingClientRect();
    if (frame.width < 200 || frame.height < 80) faults.push(name + ': ' + frame.width + ' × ' + frame.height);
    const texts = [...svg.querySelectorAll('text')].filter((text) => text.textContent.trim() !== '');
    const boxes = texts.map((text) => text.getBoundingClientRect());
    texts.forEach((text, i) => {
      const box = boxes[i];
      const words = '“' + text.textContent.slice(0, 40) + '”';
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        faults.push(name + ': ' + words + ' leaves the picture');
      for (let j = 0; j < i; j++) {
        const other = boxes[j];
        const across = Math.min(box.right, other.right) - Math.max(box.left, other.left);
        const down = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
        // Boxes have room above and below their letters.
        if (across > 1 && down > 0.3 * Math.min(box.height, other.height))
          faults.push(name + ': ' + words + ' over “' + texts[j].textContent.slice(0, 40) + '”');
      }
    });
  }
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth)
    faults.push('the page is ' + document.documentElement.scrollWidth + ' wide in a window of ' + document.documentElement.clientWidth);
  return { faults, shown: shown.length };
})()`;

describe.skipIf(!installed)(installed ? 'reports in Chromium' : `reports: not looked at, there is no ${CHROMIUM}`, () => {
  let browser: Browser;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gradmill-report-'));
    browser = await launch();
    const [deep, other] = [sampleRun('deep sigmoid', 12), sampleRun('short', 4)];
    await writeFile(join(folder, 'sample.html'), await renderPage(sample));
    await writeFile(join(folder, 'bench.html'), await benchPage(benchReport));
    await writeFile(join(folder, 'run.html'), await renderPage(runPage([deep], '2026-11-24 00:00 UTC')));
    await writeFile(join(folder, 'runs.html'), await renderPage(runPage([deep, other], '2026-11-24 00:00 UTC')));
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** Opens a report and sees that nothing is loaded besides it and nothing complained of. */
  async function open(name: string, options: Parameters<Browser['newPage']>[0] = {}): Promise<Page> {
    const page = await browser.newPage({ viewport: { width: 1360, height: 900 }, ...options });
    const address = pathToFileURL(join(folder, `${name}.html`)).href;
    page.on('console', (message) => {
      throw new Error(`the console says: ${message.text()}`);
    });
    page.on('pageerror', (error) => {
      throw error;
    });
    page.on('request', (request) => {
      if (request.url() !== address) throw new Error(`the page asks for ${request.url()}`);
    });
    await page.goto(address);
    return page;
  }

  const looks = {
    light: {},
    dark: { colorScheme: 'dark' },
    tablet: { viewport: { width: 820, height: 1100 } },
    narrow: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 },
  } as const;

  for (const name of ['sample', 'run', 'runs', 'bench']) {
    for (const [look, options] of Object.entries(looks)) {
      if (name === 'runs' && look !== 'light' && look !== 'narrow') continue;
      test(`${name}, ${look}`, async () => {
        const page = await open(name, options);
        await page.screenshot({ path: shotPath(`report-${name}-${look}.png`), fullPage: true });
        const { faults, shown } = await page.evaluate<{ faults: string[]; shown: number }>(LOOK);
        expect(faults).toEqual([]);
        expect(shown).toBe(await page.locator('figure').count());
        expect(shown).toBeGreaterThan(2);
        await page.close();
      });
    }

    if (name === 'runs') continue;
    test(`${name}, printed`, async () => {
      const page = await open(name, { viewport: { width: 680, height: 960 }, colorScheme: 'dark' });
      await page.emulateMedia({ media: 'print' });
      await page.screenshot({ path: shotPath(`report-${name}-print.png`), fullPage: true });
      const { faults } = await page.evaluate<{ faults: string[] }>(LOOK);
      expect(faults).toEqual([]);
      // Dark ink on nothing, whatever the screen's colours.
      const style = '[getComputedStyle(document.body).color, getComputedStyle(document.documentElement).colorScheme]';
      expect(await page.evaluate(style)).toEqual(['rgb(31, 32, 35)', 'light']);
      const pdf = await page.pdf({ format: 'A4', path: shotPath(`report-${name}.pdf`) });
      expect(pdf.length).toBeGreaterThan(10_000);
      await page.close();
    });
  }

  test('every picture is XML that stands by itself', async () => {
    const page = await open('sample');
    const problems = await page.evaluate<string[]>(`[...document.querySelectorAll('figure svg')].flatMap((svg) => {
      const parsed = new DOMParser().parseFromString(svg.outerHTML, 'image/svg+xml');
      return [...parsed.querySelectorAll('parsererror')].map((error) => error.textContent);
    })`);
    expect(problems).toEqual([]);
    await page.close();
  });
});
