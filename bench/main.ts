// `gradmill bench …`, and in a checkout `npm run bench -- …`: measures gradmill, and its peers in the same run.
// docs/performance.md tells how to read the figures.
import { availableParallelism } from 'node:os';
import { extname } from 'node:path';
import {
  decimal,
  describeFlags,
  type FlagTable,
  type FlagValues,
  integer,
  integers,
  names,
  oneOf,
  parseCommandLine,
  someOf,
  text,
  toggle,
  UsageError,
} from '../src/cli/flags.js';
import { printable, type Io } from '../src/cli/terminal.js';
import { engine } from '../src/engine.js';
import { nearestName } from '../src/errors.js';
import { initialize } from '../src/index.js';
import { checkWritable, writeFileAtomic } from '../src/node/files.js';
import { plotting } from '../src/report/plotting.js';
import { browser } from './browser.js';
import { compare, printComparison, readReport, type Report } from './compare.js';
import { eventLoop } from './event-loop.js';
import { fairness } from './fairness.js';
import { arithmetics, gemm, layouts } from './gemm.js';
import { benchPage, trainingSvg } from './html.js';
import { hog } from './hog.js';
import { kernelOps, kernels } from './kernels.js';
import { WASM_ISA, limits } from './limits.js';
import { memory } from './memory.js';
import { backends, peerFamilies } from './peers/peer.js';
import { productFamilies } from './peers/sgemm.js';
import { activations, predict } from './predict.js';
import { pruning } from './pruning.js';
import { cpuTime, disturbance, type Load, load, loadText, print, thisMachine } from './report.js';
import { axes, scaling } from './scaling.js';
import { benchmarkLibrary } from './slices.js';
import { startup } from './startup.js';
import { training } from './training.js';
import {
  familyOf,
  losses,
  networkOf,
  optimizers,
  peerActivations,
  peerOptimizers,
  type Workload,
  workloadFamilies,
  workloads,
} from './workloads.js';

const LARGEST = 1 << 20;

/** All flags of all commands; each command names those it takes. */
const flagTable = {
  workloads: someOf(workloadFamilies, 'W1,W2', 'of W1 to W6 (all)'),
  loss: oneOf(losses, 'NAME', `${losses.join(' or ')} (the first; of one output the second)`),
  backend: someOf(backends, 'NAME', 'native or wasm; native,wasm for training (what runs here)'),
  peers: someOf(
    ['none', ...peerFamilies, ...productFamilies],
    'NAMES',
    `of ${peerFamilies.join(', ')}; for gemm of ${productFamilies.join(', ')}; or none (those that are installed, but for tfjs-cpu and chromium)`,
  ),
  peer: names('FILES', 'more libraries with a cblas_sgemm'),
  python: text('PATH', 'one that has torch (/usr/bin/python3)'),
  m: integer('M', 'rows of one product instead of the grid', 1, LARGEST),
  n: integer('N', 'its columns', 1, LARGEST),
  k: integer('K', 'the length of its sums', 1, LARGEST),
  'transpose-a': toggle('a is [k, m]'),
  'transpose-b': toggle('b is [n, k]'),
  layout: someOf(layouts, 'NN,TN,NT', 'of the grid: X·W, Xᵀ·dY, dY·Wᵀ (all)'),
  variant: someOf(arithmetics, 'fast,strict', 'with fused multiply-add or without (what GRADMILL_STRICT says)'),
  op: someOf(kernelOps, 'gemm,adam', 'ops, as model.plan names them (all)'),
  over: someOf(axes, 'AXES', `of ${axes.join(', ')} (all)`),
  threads: integers('1,2', 'numbers of threads (1 and all that this process may use)', 1, availableParallelism()),
  isa: someOf(undefined, 'avx2,wasm', "instruction sets (the machine's best); elsewhere set GRADMILL_ISA"),
  layers: integers('784,512,10', "sizes from the inputs to the outputs (W2's: 784,512,512,10)", 1, LARGEST),
  batch: integer('N', 'rows of a batch (128)', 1, LARGEST),
  activation: oneOf(activations, 'NAME', 'after every layer but the last (relu)'),
  optimizer: oneOf(optimizers, 'NAME', `one of ${optimizers.join(', ')} (adam)`),
  check: integer('N', 'random networks that the model is fitted to and tested on (48)', 8, 10_000),
  rounds: integer('N', 'of all slices, each in a new random order (9; gemm and kernels 7)', 1, 1000),
  seconds: decimal('S', 'of a slice (0.5; gemm 0.05, kernels 0.02); of limits (1); of one watch in event-loop and fairness (20)', {
    min: 0,
    open: true,
  }),
  json: text('FILE', 'writes machine, load, versions, command and all figures'),
  compare: text('OLD.json', 'says what has become faster or slower since that run, and what only differs by noise'),
  html: text('FILE', 'draws all figures, as one HTML page; needs: npm install @observablehq/plot linkedom'),
  out: { ...text('FILE', 'an .svg, or an .html with all figures; also -o'), short: 'o' },
  help: toggle('show this help'),
} satisfies FlagTable;

type Name = keyof typeof flagTable;

/** What the flags say, with defaults. */
type Settings = Awaited<ReturnType<typeof settle>>;

interface Command {
  readonly help: string;
  readonly takes: readonly Name[];
  /** Flags that mean something else here. */
  readonly own?: FlagTable;
  readonly run: (settings: Settings) => Promise<unknown>;
}

/** Of every command that measures. */
const SLICES = ['threads', 'rounds', 'seconds'] as const;

/** A network of one's own. */
const OWN = ['layers', 'activation', 'batch', 'optimizer', 'loss'] as const;

/** In the order of `bench all`. */
const commands: Readonly<Record<string, Command>> = {
  limits: {
    help: 'what the machine can do: multiply-adds in registers, reads of every cache and of memory',
    takes: ['isa', 'threads', 'seconds'],
    run: ({ isas, threads, probed }) => limits({ isas, threads, ...probed }),
  },
  training: {
    help: 'training steps W1–W5 and predictions W6, or of your own network, beside the peers',
    takes: ['workloads', ...OWN, 'backend', 'peers', 'python', ...SLICES],
    own: {
      layers: integers('784,512,10', 'a network of your own instead: inputs, then the units of each layer', 1, LARGEST),
      activation: oneOf(peerActivations, 'NAME', `after every layer but the last: ${peerActivations.join(', ')} (relu)`),
      optimizer: oneOf(peerOptimizers, 'NAME', `${peerOptimizers.join(', ')} (adam)`),
    },
    run: training,
  },
  browser: {
    help: 'W1, W2, W4 and W5 in a page of Chromium, beside WebAssembly in Node',
    takes: ['workloads', 'python', ...SLICES],
    run: (settings) => {
      const shown = settings.workloads.filter(({ name }) => ['W1', 'W2', 'W4', 'W5'].includes(name));
      return browser({ ...settings, workloads: shown });
    },
  },
  gemm: {
    help: 'the matrix product over the shapes of dense layers, or one of your own, beside other libraries',
    takes: ['m', 'n', 'k', 'transpose-a', 'transpose-b', 'layout', 'isa', 'variant', 'peers', 'peer', ...SLICES],
    run: ({ products, ...settings }) => gemm({ ...settings, ...products }),
  },
  kernels: {
    help: 'every op alone at sizes of L1, L2 and memory, against the roofline',
    takes: ['op', 'isa', ...SLICES],
    run: ({ short, ...settings }) => kernels({ ...settings, ...short }),
  },
  'event-loop': { help: 'how late the event loop comes while a model trains', takes: ['seconds'], run: ({ watch }) => eventLoop(watch) },
  fairness: {
    help: 'how long a small prediction waits while another model trains',
    takes: ['seconds'],
    run: ({ watch }) => fairness(watch),
  },
  hog: { help: 'what a busy process beside it does to a training step', takes: SLICES, run: hog },
  pruning: { help: 'LeNet-300-100 with and without its dead units', takes: ['rounds', 'seconds'], run: pruning },
  scaling: {
    help: 'how the cost of a training step grows with threads, batch size, width and depth',
    takes: ['over', ...SLICES],
    run: scaling,
  },
  predict: {
    help: 'what a training step costs by a model of it: on this machine, checked by measuring, and on larger ones',
    takes: ['layers', 'batch', 'activation', 'optimizer', 'check', 'threads', 'seconds'],
    own: {
      threads: integers('1,8,96', 'of machines to predict for, this one or larger ones (1, all of this one, 8, 32 and 96)', 1, 1024),
      seconds: decimal('S', 'of a measurement (0.1)', { min: 0, open: true }),
    },
    run: ({ predicted }) => predict(predicted),
  },
  startup: { help: 'loading, compiling, and what predict and fit add to the engine', takes: ['rounds', 'seconds'], run: startup },
  memory: {
    help: 'peak resident memory of W1–W5 beside what training must hold, and beside PyTorch and TensorFlow.js; Linux',
    takes: ['workloads', 'backend', 'peers', 'python', 'threads'],
    run: ({ backends, chosenPeers = ['pytorch', 'tfjs'], ...settings }) =>
      memory({ ...settings, threads: Math.max(...settings.threads), families: [...backends, ...chosenPeers] }),
  },
};

/** What all of them take. */
const MEASURING = ['json', 'compare', 'html'] as const;

/** What a command says of itself: those that measure, and what is made of their figures. */
const known: Readonly<Record<string, Pick<Command, 'help' | 'takes' | 'own'>>> = {
  ...Object.fromEntries(
    Object.entries(commands).map(([name, { help, takes, own }]) => [name, { help, takes: [...takes, ...MEASURING], ...(own && { own }) }]),
  ),
  all: { help: 'everything above, in this order', takes: [...Object.values(commands).flatMap(({ takes }) => takes), ...MEASURING] },
  chart: { help: 'draws training from one or more files of --json: gradmill bench chart RESULTS.json … -o CHART.svg', takes: ['out'] },
};

const usage = `usage: gradmill bench COMMAND [flags]

Measures gradmill on this machine, and its peers in the same run. Slices of all variants take turns in a new random order every
round; medians and quartiles over the rounds are printed.

commands
${Object.entries(known)
  .map(([name, { help }]) => `  ${name.padEnd(12)}${help}`)
  .join('\n')}

'gradmill bench COMMAND --help' shows the flags of a command. Needs: npm install benchmark
`;

function usageOf(name: string): string {
  const { help, takes, own } = known[name];
  return `usage: gradmill bench ${name} [flags]

${help[0].toUpperCase()}${help.slice(1)}.

flags
${describeFlags(tableOf(takes, own))}
`;
}

/** Some flags and --help, in the table's order. */
function tableOf(taken: readonly Name[], own: FlagTable = {}): FlagTable {
  return Object.fromEntries(Object.entries({ ...flagTable, ...own }).filter(([name]) => name === 'help' || taken.includes(name as Name)));
}

/** @throws UsageError, GradmillError; resolves to the exit code */
export async function bench(args: readonly string[], { out }: Io): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h') {
    if (name === undefined) throw new UsageError('bench needs a command; see gradmill bench --help');
    out.write(usage);
    return 0;
  }
  if (!(name in known)) {
    const nearest = nearestName(name, Object.keys(known));
    const hint = nearest === undefined ? 'see gradmill bench --help' : `did you mean '${nearest}'?`;
    throw new UsageError(`unknown command 'bench ${name}'; ${hint}`);
  }
  const { flags, positionals } = parseFlags(name, rest);
  if (flags.help) {
    out.write(usageOf(name));
    return 0;
  }
  if (name === 'chart') return chart(positionals, flags, out);
  if (positionals.length > 0) throw new UsageError(`bench ${name} takes no '${positionals[0]}'`);
  return measure(name, flags, args);
}

async function measure(name: string, flags: Flags, args: readonly string[]): Promise<number> {
  await benchmarkLibrary();
  for (const path of [flags.json, flags.html]) if (path !== undefined) await checkWritable(path);
  if (flags.html !== undefined) await plotting();
  const old = flags.compare === undefined ? undefined : await readReport(flags.compare);
  const settings = await settle(name, flags);

  const machine = thisMachine(args, settings.rounds);
  for (const [what, value] of Object.entries(machine)) print(`${what.padEnd(10)} ${String(value)}`);
  if (load() > 0.5) print('The machine is busy: absolute figures mean little now, ratios less than usual.');
  const results: Record<string, unknown> = {};
  const loads: Record<string, Load> = {};
  for (const each of name === 'all' ? Object.keys(commands) : [name]) {
    const [before, started] = [load(), cpuTime()];
    results[each] = await commands[each].run(settings);
    loads[each] = { before, after: load(), ...disturbance(started, cpuTime()) };
    print(`\nload before and after ${each}: ${loadText(loads[each])}`);
  }
  const json = JSON.stringify({ machine: { ...machine, load: loads }, results }, undefined, 2);
  if (flags.json !== undefined) await writeFileAtomic(flags.json, [encode(`${json}\n`)]);
  const report = JSON.parse(json) as Report;
  if (old) printComparison(compare(old, report), old);
  if (flags.html !== undefined) await writeFileAtomic(flags.html, [encode(await benchPage(report))]);
  return 0;
}

async function chart(paths: readonly string[], { out: path }: Flags, out: Io['out']): Promise<number> {
  if (paths.length === 0) throw new UsageError('bench chart needs a file of --json: gradmill bench chart RESULTS.json -o CHART.svg');
  const type = extname(path ?? '');
  if (path === undefined || !['.svg', '.html'].includes(type)) throw new UsageError('bench chart needs -o CHART.svg or -o REPORT.html');
  const reports = await Promise.all(paths.map(readReport));
  if (type === '.html' && reports.length > 1) throw new UsageError('an .html shows one file of --json');
  await checkWritable(path);
  await writeFileAtomic(path, [encode(type === '.svg' ? await trainingSvg(reports) : await benchPage(reports[0]))]);
  out.write(`wrote ${printable(path)}\n`);
  return 0;
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

type Flags = FlagValues<typeof flagTable>;

/** Flags of other commands are errors that say so. */
function parseFlags(name: string, args: readonly string[]): { flags: Flags; positionals: readonly string[] } {
  const { takes, own } = known[name];
  const parsed = parseCommandLine(args, { ...flagTable, ...own });
  const taken = tableOf(takes, own);
  const foreign = Object.keys(parsed.flags).find((flag) => !(flag in taken));
  if (foreign !== undefined) throw new UsageError(`bench ${name} takes no --${foreign}`);
  return parsed;
}

/** The user's own network, where one is described. */
function ownTraining(flags: Flags): Workload | undefined {
  const { layers, batch = 128 } = flags;
  const alone = OWN.find((flag) => flag !== 'layers' && flags[flag] !== undefined);
  if (layers === undefined && alone !== undefined) throw new UsageError(`--${alone} needs --layers: a network of your own`);
  if (layers === undefined) return undefined;
  if (flags.workloads !== undefined) throw new UsageError('--layers takes the place of --workloads');
  const activation = peerActivations.find((name) => name === flags.activation) ?? 'relu';
  const optimizer = peerOptimizers.find((name) => name === flags.optimizer) ?? 'adam';
  const network = networkOf(layers, batch, activation, optimizer);
  if (flags.loss !== undefined && flags.loss !== network.loss)
    throw new UsageError('--loss meanSquaredError is for one output, softmaxCrossEntropy for two or more');
  return { ...network, name: layers.join('-'), measures: 'step', checkSteps: 10 };
}

/** Starts the engine, on which defaults depend. */
async function settle(name: string, flags: Flags) {
  const { m, n, k, 'transpose-a': transposeA = false, 'transpose-b': transposeB = false, seconds } = flags;
  const given = [m, n, k].filter((size) => size !== undefined).length;
  if (given !== 0 && given !== 3) throw new UsageError('bench gemm needs all of --m, --n and --k, or none');
  if (given === 0 && (transposeA || transposeB)) throw new UsageError('--transpose-a and --transpose-b need --m, --n and --k');
  if (flags.layers?.length === 1) throw new UsageError('--layers needs the inputs and at least one layer: --layers 784,512,10');
  const trained = name === 'predict' ? undefined : ownTraining(flags);
  const measured = flags.backend ?? [];
  // Two are for training alone, which gives each a process of its own.
  if (measured.length === 1) process.env.GRADMILL_BACKEND = measured[0];
  await initialize();
  const own = engine();
  const isas = flags.isa?.map((isa) => (isa === 'wasm' ? WASM_ISA : isa)) ?? [own.isa];
  const unknown = isas.find((isa) => ![...own.isas, WASM_ISA].includes(isa));
  if (unknown !== undefined)
    throw new UsageError(`--isa expects names of ${[...own.isas, 'wasm'].join(', ')}, which run here, got '${unknown}'`);
  const wanted = flags.workloads ?? workloadFamilies;
  const slow: readonly string[] = ['tfjs-cpu', 'chromium'];
  const usual = peerFamilies.filter((name) => !slow.includes(name) && (name !== 'sse2-strict' || measured.includes('wasm')));
  const chosen: readonly string[] | undefined = flags.peers;
  const chosenPeers = chosen && peerFamilies.filter((name) => chosen.includes(name));
  return {
    workloads: trained ? [trained] : workloads.filter((workload) => wanted.includes(familyOf(workload))),
    backends: measured.length === 0 ? [own.name] : measured,
    ...(chosenPeers && { chosenPeers }),
    peers: chosenPeers ?? usual,
    python: flags.python ?? '/usr/bin/python3',
    ...(m && n && k && { shape: { m, n, k, transposeA, transposeB } }),
    threads: flags.threads ?? [...new Set([1, own.threads])],
    isas,
    ops: flags.op ?? kernelOps,
    over: flags.over ?? axes,
    products: {
      layouts: flags.layout ?? layouts,
      variants: flags.variant ?? [own.strict ? 'strict' : 'fast'],
      peers: chosen ? productFamilies.filter((name) => chosen.includes(name)) : productFamilies,
      libraries: flags.peer ?? [],
      // Hundreds of them, and most are short.
      rounds: flags.rounds ?? 7,
      seconds: seconds ?? 0.05,
    },
    predicted: {
      network: networkOf(flags.layers ?? [784, 512, 512, 10], flags.batch ?? 128, flags.activation ?? 'relu', flags.optimizer ?? 'adam'),
      threads: flags.threads ?? [...new Set([1, own.threads, 8, 32, 96])].sort((a, b) => a - b),
      networks: flags.check ?? 48,
      seconds: seconds ?? 0.1,
    },
    /** Of hundreds of short things. */
    short: { rounds: flags.rounds ?? 7, seconds: seconds ?? 0.02 },
    rounds: flags.rounds ?? 9,
    /** Of one slice. */
    seconds: seconds ?? 0.5,
    watch: { seconds: seconds ?? 20 },
    probed: { seconds: seconds ?? 1 },
  };
}
