// What comes before and around the steps: loading the library, compiling a model, a prediction's promise, and what fit adds to the
// bare steps. Loading and compiling are timed in fresh processes, the rest in turns.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { engine } from '../src/engine.js';
import { ALIGNMENT, Plan, Tensor } from '../src/plan.js';
import { print, printTable } from './report.js';
import { type Quartiles, quartiles, ratios, repeated, takeTurns } from './slices.js';
import { modelOf, prepare } from './subject.js';
import { examples, mnistLike, mnistNetwork, type Workload, workloads } from './workloads.js';

export interface StartupMeasurement {
  readonly what: string;
  /** Of the figure itself: ms, or a ratio within a round. */
  readonly unit: 'ms' | '×';
  readonly value: Quartiles;
  /** At most. */
  readonly target: number;
}

export async function startup(options: { readonly rounds: number; readonly seconds: number }): Promise<StartupMeasurement[]> {
  const { rounds } = options;
  const fresh: { load: number; compile: number }[] = [];
  for (let round = 0; round < rounds; round++) fresh.push(await inFreshProcess());
  const results: StartupMeasurement[] = [
    { what: 'import and load the engine', unit: 'ms', value: quartiles(fresh.map(({ load }) => load)), target: 15 },
    { what: 'compile W5', unit: 'ms', value: quartiles(fresh.map(({ compile }) => compile)), target: 5 },
    ...(await predictOverheads(options)),
    { what: 'fit of 60,000 rows ÷ bare steps of W2', unit: '×', value: await fitOverhead(options), target: 1.08 },
  ];
  print(`\nStarting, and what public calls add to the engine: median and quartiles of ${rounds}`);
  printTable([
    ['', '', 'median', 'quartiles', 'target'],
    ...results.map(({ what, unit, value: { low, median, high }, target }) => [
      what,
      unit,
      median.toFixed(2),
      `${low.toFixed(2)}–${high.toFixed(2)}`,
      `≤ ${target}: ${median <= target ? 'met' : 'MISSED'}`,
    ]),
  ]);
  return results;
}

/** The built package, as a program of its own that imports it first of all: a file, as Node itself takes 6 ms longer for `--eval`. In milliseconds. */
async function inFreshProcess(): Promise<{ load: number; compile: number }> {
  const w5 = workloads.find(({ name }) => name === 'W5');
  const code = `
    const start = performance.now();
    const { backend, dense, sequential, sgd } = await import(${JSON.stringify(import.meta.resolve('gradmill'))});
    backend();
    const load = performance.now() - start;
    const units = ${JSON.stringify(w5?.units)};
    const layers = units.slice(1).map((out, i) => dense({ units: out, activation: i === units.length - 2 ? 'linear' : 'tanh' }));
    const model = sequential({ inputShape: [units[0]], seed: 1, layers });
    const built = performance.now();
    model.compile({ optimizer: sgd(), loss: 'softmaxCrossEntropy' });
    console.log(JSON.stringify({ load, compile: performance.now() - built }));`;
  const folder = await mkdtemp(join(tmpdir(), 'gradmill-startup-'));
  try {
    const file = join(folder, 'program.mjs');
    await writeFile(file, code);
    const { stdout } = await promisify(execFile)(process.execPath, [file]);
    return JSON.parse(stdout) as { load: number; compile: number };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What the promise adds to the same prediction on the calling thread, in jobs of the engine that do one multiplication. */
async function predictOverheads(options: { readonly rounds: number; readonly seconds: number }): Promise<StartupMeasurement[]> {
  const owner = engine();
  const plan = new Plan(owner.ops, 1, false);
  const [a, b, c] = ['a', 'b', 'c'].map((name, i) => {
    const tensor = new Tensor(name, [1, 1], 'state');
    tensor.offset = ALIGNMENT * (i + 1);
    return tensor;
  });
  plan.gemm(a, b, c);
  plan.finish(4 * ALIGNMENT, { fuse: false });
  const memory = owner.allocate(4 * ALIGNMENT);
  const program = owner.load(memory, plan.encode(), { isa: owner.isa, strict: owner.strict, threads: 1 });
  const empty = async (calls: number) => {
    for (let i = 0; i < calls; i++) await program.start(0, 1, 0, 1, 1);
  };
  const BATCHES = [1, 64];
  const subjects = BATCHES.flatMap((batch) =>
    [true, false].map((promise) => {
      const workload: Workload = { ...mnistNetwork, measures: 'predict', batch, promise };
      return { name: `${promise ? 'predict' : 'predictSync'} ${batch}`, ...prepare(workload, examples(workload), owner.threads) };
    }),
  );
  const figures = await takeTurns([...subjects, { name: 'empty', slice: repeated(empty) }], options);
  for (const subject of subjects) subject.dispose();
  memory.release();
  const of = (name: string) => figures.get(name) ?? [];
  return BATCHES.map((batch) => ({
    what: `predict of ${batch} − predictSync ÷ an empty job`,
    unit: '×',
    value: ratios(
      of(`predict ${batch}`).map((time, round) => time - of(`predictSync ${batch}`)[round]),
      of('empty'),
    ),
    target: 1.2,
  }));
}

/** An epoch with shuffling, conversion from bytes, accuracy and progress. */
async function fitOverhead(options: { readonly rounds: number; readonly seconds: number }): Promise<Quartiles> {
  const { threads } = engine();
  const { x, y } = mnistLike();
  const { batch } = mnistNetwork;
  const subject = prepare(mnistNetwork, examples(mnistNetwork), threads);
  const model = modelOf(mnistNetwork, threads, { metrics: ['accuracy'] });
  const steps = Math.ceil(y.length / batch);
  const epoch = async () => {
    const start = performance.now();
    await model.fit(x, y, { batchSize: batch, epochs: 1, onProgress: () => undefined });
    return (performance.now() - start) / 1000 / steps;
  };
  await epoch();
  const figures = await takeTurns(
    [
      { name: 'fit', slice: epoch },
      { name: 'steps', slice: (seconds) => subject.slice(Math.max(seconds, 1)) },
    ],
    options,
  );
  subject.dispose();
  model.dispose();
  return ratios(figures.get('fit'), figures.get('steps'));
}
