// gradmill in a page of headless Chromium as a peer of bench/training.ts; started and spoken to by peer.ts. The page runs the
// package's files as they are, unbundled, and the same subject.ts as the processes of Node. It is cross-origin isolated, so that
// threads run. GRADMILL_CHROMIUM is the browser's path; default /usr/bin/chromium.
import { readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']; // prettier-ignore

const root = fileURLToPath(new URL('../../', import.meta.url));
/** When the newest of those files was written. */
const writtenAt = (folder, recursive = true) =>
  Math.max(
    ...readdirSync(root + folder, { recursive })
      .filter((name) => /\.(ts|js|wasm)$/.test(name))
      .map((name) => statSync(`${root}${folder}/${name}`).mtimeMs),
  );
const sources = Math.max(writtenAt('src'), writtenAt('wasm'), writtenAt('bench', false), writtenAt('bench/peers', false));
if (sources > writtenAt('dist')) throw new Error('dist/ is older than its sources: npm run build');

const benchmark = createRequire(import.meta.url).resolve('benchmark');
const script = (name) => createRequire(benchmark).resolve(name);

const PAGE = `<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
${['lodash', 'platform', 'benchmark'].map((name) => `<script src="/script/${name}"></script>`).join('\n')}
<script type="importmap">{ "imports": { "benchmark": "data:text/javascript,export default Benchmark" } }</script>
<script type="module">
  import { initialize } from '/browser.js';
  import { reply } from '/bench/peers/requests.js';
  window.gradmill = { initialize, reply };
</script>`;

/** What stands at a path: a file of dist/, a script, or the page. */
async function contentOf(path) {
  if (path === '/') return PAGE;
  const [, name] = /^\/script\/(\w+)$/.exec(path) ?? [];
  if (name !== undefined) return readFile(name === 'benchmark' ? benchmark : script(name), 'utf8');
  if (!/^(\/[\w-]+)+\.js$/.test(path)) throw new Error(`${path}: no such file`);
  return readFile(`${root}dist${path}`, 'utf8');
}

const server = createServer((request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname;
  contentOf(path).then(
    (content) =>
      response
        .writeHead(200, {
          'content-type': path === '/' ? 'text/html' : 'text/javascript',
          'cross-origin-opener-policy': 'same-origin',
          'cross-origin-embedder-policy': 'require-corp',
        })
        .end(content),
    (error) => response.writeHead(404).end(error.message),
  );
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const browser = await chromium.launch({
  executablePath: process.env.GRADMILL_CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  handleSIGTERM: false,
  args: FLAGS,
});
// With the browser ends this process, and the browser with it: the bench ends its peers by a signal.
browser.on('disconnected', () => process.exit(1));
process.once('SIGTERM', () => browser.close());
const page = await browser.newPage();
page.on('pageerror', (error) => console.error(error.message));
page.on('console', (message) => console.error(message.text()));
await page.goto(`http://127.0.0.1:${server.address().port}/`);
await page.waitForFunction(() => 'gradmill' in window, undefined, { timeout: 10_000 });

const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const { threads, reason } = await page.evaluate(() => window.gradmill.initialize());
answer({ name: `gradmill in Chromium ${browser.version().split('.')[0]}`, settings: [], threads, reason });
for await (const line of createInterface({ input: process.stdin }))
  answer(await page.evaluate((request) => window.gradmill.reply(request), JSON.parse(line)));
await browser.close();
