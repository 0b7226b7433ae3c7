// The matrix product alone: GFLOP/s and share of the FMA peak over the shapes that dense layers make. The product is a plan of
// one instruction, replayed many times in one native call, as training runs it.
import { type Engine, engine, type EngineMemory, type EngineProgram } from '../src/engine.js';
import { ALIGNMENT, Plan, Tensor } from '../src/plan.js';
import { platform } from '../src/platform.js';
import { peakProgram } from './peak.js';
import { print, printTable, show } from './report.js';
import { type Quartiles, type Variant, callsWorth, quartiles, takeTurns, timeSlice } from './slices.js';
import { generator } from './workloads.js';

/** c [m, n] = op(a) [m, k] · op(b) [k, n] */
export interface GemmShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

export interface GemmOptions {
  /** Default: the grid. */
  readonly shape?: GemmShape;
  readonly isas: readonly string[];
  readonly threads: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
}

export interface GemmMeasurement extends GemmShape {
  readonly isa: string;
  readonly threads: number;
  readonly gflops: Quartiles;
  readonly shareOfPeak?: Quartiles;
}

/** Batch, inputs, outputs of a layer: from one example to large squares, thin and tiny ones among them. */
const LAYERS = [
  [1, 784, 512],
  [32, 784, 128],
  [32, 784, 512],
  [128, 784, 512],
  [128, 512, 512],
  [256, 1024, 1024],
  [1024, 1024, 1024],
  [2048, 2048, 2048],
  [64, 128, 128],
  [16, 64, 64],
  [128, 512, 10],
  [4096, 64, 64],
] as const;

/** The three products of a layer: Y = X·W, dW = Xᵀ·dY, dX = dY·Wᵀ. */
function productsOf([batch, inputs, outputs]: (typeof LAYERS)[number]): GemmShape[] {
  return [
    { m: batch, n: outputs, k: inputs, transposeA: false, transposeB: false },
    { m: inputs, n: outputs, k: batch, transposeA: true, transposeB: false },
    { m: batch, n: inputs, k: outputs, transposeA: false, transposeB: true },
  ];
}

export async function gemm(options: GemmOptions): Promise<GemmMeasurement[]> {
  const results: GemmMeasurement[] = [];
  const shapes = options.shape ? [options.shape] : LAYERS.flatMap(productsOf);
  for (const isa of options.isas) {
    const owner = await engineWith(isa);
    const peakOf = await peakProgram(isa).catch(() => undefined);
    for (const shape of shapes) {
      const { m, n, k } = shape;
      const variants: Variant[] = [];
      const memories: EngineMemory[] = [];
      for (const threads of options.threads) {
        const { memory, slice } = prepare(shape, owner, isa, threads);
        memories.push(memory);
        variants.push({ name: `gemm ${threads}`, slice });
        if (peakOf) variants.push({ name: `peak ${threads}`, slice: async () => (await peakOf(threads, 0.1)).best });
      }
      const figures = await takeTurns(variants, options);
      for (const memory of memories) memory.release();
      for (const threads of options.threads) {
        const rates = (figures.get(`gemm ${threads}`) ?? []).map((seconds) => (2 * m * n * k) / seconds / 1e9);
        const peak = figures.get(`peak ${threads}`);
        results.push({
          ...shape,
          isa,
          threads,
          gflops: quartiles(rates),
          ...(peak && { shareOfPeak: quartiles(rates.map((rate, round) => rate / (peak[round] ?? NaN))) }),
        });
      }
    }
  }
  printResults(results);
  return results;
}

/** The engine of this process, or WebAssembly beside it. */
async function engineWith(isa: string): Promise<Engine> {
  const own = engine();
  if (own.isas.includes(isa)) return own;
  const other = platform().loadEngine('wasm', { isa: undefined, threads: undefined, strict: own.strict, module: undefined });
  await other.ready;
  return other;
}

function prepare(
  { m, n, k, transposeA, transposeB }: GemmShape,
  owner: Engine,
  isa: string,
  threads: number,
): { memory: EngineMemory; slice: Variant['slice'] } {
  const plan = new Plan(owner.ops, 1, false);
  const a = new Tensor('a', transposeA ? [k, m] : [m, k], 'state');
  const b = new Tensor('b', transposeB ? [n, k] : [k, n], 'state');
  const c = new Tensor('c', [m, n], 'state');
  let end = ALIGNMENT;
  for (const tensor of [a, b, c]) {
    tensor.offset = end;
    end += tensor.bytes(1);
  }
  plan.gemm(transposeA ? a.T : a, transposeB ? b.T : b, c);
  plan.finish(end, { fuse: false });
  const memory = owner.allocate(end);
  const random = generator(1);
  const bytes = memory.bytes();
  const inputs = new Float32Array(bytes.buffer, bytes.byteOffset + a.offset, (c.offset - a.offset) / 4);
  for (let i = 0; i < inputs.length; i++) inputs[i] = 2 * random() - 1;
  const program: EngineProgram = owner.load(memory, plan.encode(), { isa, strict: owner.strict, threads });
  const run = (times: number) => program.start(0, 1, 0, times, 1);
  return {
    memory,
    async slice(seconds) {
      await run(1);
      const times = await callsWorth(run);
      return (await timeSlice(() => run(times), seconds)) / times;
    },
  };
}

function printResults(results: readonly GemmMeasurement[]): void {
  const range = ({ low, median, high }: Quartiles, format: (value: number) => string) =>
    `${format(median)} (${format(low)}–${format(high)})`;
  print('\nc [m, n] = op(a) · op(b), op transposing where T stands');
  printTable([
    ['m', 'n', 'k', 'a b', 'isa', 'threads', 'GFLOP/s (quartiles)', '% of peak'],
    ...results.map(({ m, n, k, transposeA, transposeB, isa, threads, gflops, shareOfPeak }) => [
      `${m}`,
      `${n}`,
      `${k}`,
      `${transposeA ? 'T' : 'N'}${transposeB ? 'T' : 'N'}`,
      isa,
      `${threads}`,
      range(gflops, show),
      shareOfPeak ? range(shareOfPeak, (share) => (100 * share).toFixed(0)) : '–',
    ]),
  ]);
}
