// npm run bench -- COMMAND [OPTION…]: measures gradmill, and its peers in the same run. docs/performance.md tells how to read
// the figures.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { engine } from '../src/engine.js';
import { initialize } from '../src/index.js';
import { browser } from './browser.js';
import { eventLoop } from './event-loop.js';
import { fairness } from './fairness.js';
import { gemm } from './gemm.js';
import { hog } from './hog.js';
import { memory } from './memory.js';
import { WASM_ISA, peakProgram } from './peak.js';
import { backends, type PeerFamily, peerFamilies } from './peers/peer.js';
import { pruning } from './pruning.js';
import { load, print, printTable, show, thisMachine } from './report.js';
import { training } from './training.js';
import { workloads } from './workloads.js';

const USAGE = `npm run bench -- COMMAND [OPTION…]

  training     W1–W5 training steps and W6 predictions, beside the peers
  browser      W1, W2, W4 and W5 in a page of Chromium beside WebAssembly in Node
  gemm         the matrix product over the shapes of dense layers, or one with --m --n --k [--transpose-a] [--transpose-b]
  peak         float32 operations a second that the cores can do
  event-loop   how late the event loop comes while a model trains
  fairness     how long a small prediction waits while another model trains
  hog          what a busy process beside it does to a training step
  pruning      LeNet-300-100 with and without its dead units
  memory       peak resident memory of W1–W5 beside what training must hold, and beside PyTorch and TensorFlow.js; Linux
  all          everything, in this order

  --threads 1,2        default: 1 and all that the process may use
  --workloads W1,W2    of training, browser and memory; default all
  --backend wasm       native or wasm; native,wasm for training; default what runs here
  --peers pytorch,tfjs,jaxjs,sse2-strict,chromium
                       of training, and the first two of memory; none for none; default all that are installed. sse2-strict: the native engine with
                       128-bit multiply and add, as WebAssembly has them, by default beside wasm only; chromium: a page
  --python PATH        with torch; default /usr/bin/python3
  --isa avx2,wasm      of gemm and peak; elsewhere set GRADMILL_ISA; default the machine's best
  --rounds N           default 9, of all slices in a new random order each
  --seconds S          of one slice (default 0.5), or of one watch in event-loop and fairness (default 20)
  --json FILE          writes machine, load, versions, command and all figures`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string' },
    workloads: { type: 'string' },
    backend: { type: 'string' },
    peers: { type: 'string' },
    python: { type: 'string', default: '/usr/bin/python3' },
    isa: { type: 'string' },
    rounds: { type: 'string', default: '9' },
    seconds: { type: 'string' },
    json: { type: 'string' },
    m: { type: 'string' },
    n: { type: 'string' },
    k: { type: 'string' },
    'transpose-a': { type: 'boolean', default: false },
    'transpose-b': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

function fail(message: string): never {
  console.error(`bench: ${message}\n\n${USAGE}`);
  process.exit(2);
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) fail(`--${name}: expected a positive number, got '${text}'`);
  return value;
}

function list<T extends string>(name: string, text: string, known: readonly T[]): T[] {
  return text
    .split(',')
    .map((item) => known.find((value) => value === item) ?? fail(`--${name}: expected ${known.join(', ')}, got '${item}'`));
}

const measured = values.backend === undefined ? [] : list('backend', values.backend, backends);
// Two are for training alone, which gives each a process of its own.
if (measured.length === 1) process.env.GRADMILL_BACKEND = measured[0];
await initialize();
const own = engine();
if (measured.length === 0) measured.push(own.name);
const threads = values.threads?.split(',').map((count) => positive('threads', count)) ?? [...new Set([1, own.threads])];
const isas = values.isa === undefined ? [own.isa] : list('isa', values.isa.replace('wasm', WASM_ISA), [...own.isas, WASM_ISA]);
const usualPeers = peerFamilies.filter((name) => name !== 'chromium' && (name !== 'sse2-strict' || measured.includes('wasm')));
// 'W6' is two workloads.
const family = (name: string) => name.split(' ')[0];
const families = [...new Set(workloads.map(({ name }) => family(name)))];
const wanted = values.workloads === undefined ? families : list('workloads', values.workloads, families);
const rounds = positive('rounds', values.rounds);
const slice = { rounds, seconds: positive('seconds', values.seconds ?? '0.5') };
const watch = { seconds: positive('seconds', values.seconds ?? '20') };

const trained = { ...slice, threads, workloads: workloads.filter(({ name }) => wanted.includes(family(name))), python: values.python };

/** Those that were asked for. */
function peersOf(usual: readonly PeerFamily[]): readonly PeerFamily[] {
  return values.peers === 'none' ? [] : values.peers === undefined ? usual : list('peers', values.peers, peerFamilies);
}

const commands = {
  training: () => training({ ...trained, backends: measured, peers: peersOf(usualPeers) }),
  browser: () => browser({ ...trained, workloads: trained.workloads.filter(({ name }) => ['W1', 'W2', 'W4', 'W5'].includes(name)) }),
  gemm: () => {
    const { m, n, k, 'transpose-a': transposeA, 'transpose-b': transposeB } = values;
    const given = [m, n, k].filter((size) => size !== undefined).length;
    if (given !== 0 && given !== 3) fail('gemm: give all of --m, --n and --k');
    const shape = m && n && k ? { m: positive('m', m), n: positive('n', n), k: positive('k', k), transposeA, transposeB } : undefined;
    return gemm({ ...slice, ...(shape && { shape }), isas, threads });
  },
  peak: async () => {
    const results = [];
    for (const isa of isas) {
      const measure = await peakProgram(isa);
      for (const count of threads) results.push({ isa, threads: count, ...(await measure(count, 2)) });
    }
    print('\nFloat32 operations a second, in GFLOP/s: the least disturbed window, and the median one');
    printTable([
      ['isa', 'threads', 'best', 'median'],
      ...results.map(({ isa, threads, best, median }) => [isa, `${threads}`, show(best), show(median)]),
    ]);
    return results;
  },
  'event-loop': () => eventLoop(watch),
  fairness: () => fairness(watch),
  hog: () => hog({ ...slice, threads }),
  pruning: () => pruning(slice),
  memory: () => memory({ ...trained, threads: Math.max(...threads), families: [...measured, ...peersOf(['pytorch', 'tfjs'])] }),
} satisfies Record<string, () => Promise<unknown>>;

const names = Object.keys(commands) as (keyof typeof commands)[];
if (values.help) {
  print(USAGE);
} else {
  if (positionals.length !== 1) fail('expected one command');
  const [command] = positionals;
  const chosen = command === 'all' ? names : list('command', command, names);
  const machine = thisMachine();
  for (const [what, value] of Object.entries(machine)) print(`${what.padEnd(10)} ${String(value)}`);
  if ((machine.load[0] ?? 0) > 0.5) print('The machine is busy: absolute figures mean little now, ratios less than usual.');
  const results: Record<string, unknown> = {};
  for (const name of chosen) results[name] = await commands[name]();
  machine.load.push(load());
  print(`\nload before and after: ${machine.load.join(', ')}`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ machine, results }, undefined, 2)}\n`);
}
