// The matrix product alone, beside other libraries': GFLOP/s, share of the FMA peak and ratio to the fastest peer over the shapes
// that dense layers make. Ours is a plan of one instruction, replayed many times in one native call, as training runs it.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Engine, type EngineProgram } from '../src/engine.js';
import { type Limits, measureLimits } from '../src/limits.js';
import { ALIGNMENT, Plan, Tensor } from '../src/plan.js';
import { engineWith, peakOf } from './limits.js';
import { type ProductFamily, type ProductPeer, startProducts } from './peers/sgemm.js';
import { print, printTable, range, show } from './report.js';
import { type Quartiles, type Variant, quartiles, ratios, repeated, takeTurns } from './slices.js';
import { type Cell, type Verdict, fastest, layoutOf, roofline, verdicts } from './targets.js';
import { generator } from './workloads.js';

/** c [m, n] = op(a) [m, k] · op(b) [k, n] */
export interface GemmShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

export const layouts = ['NN', 'TN', 'NT'] as const;
export type Layout = (typeof layouts)[number];

export const arithmetics = ['fast', 'strict'] as const;
export type Arithmetic = (typeof arithmetics)[number];

export interface GemmOptions {
  /** Default: the grid. */
  readonly shape?: GemmShape;
  /** Of the grid. */
  readonly layouts: readonly Layout[];
  readonly isas: readonly string[];
  readonly variants: readonly Arithmetic[];
  readonly threads: readonly number[];
  readonly peers: readonly ProductFamily[];
  /** Files of further libraries with a cblas_sgemm. */
  readonly libraries: readonly string[];
  readonly rounds: number;
  readonly seconds: number;
}

export interface PeerMeasurement {
  readonly name: string;
  readonly gflops: Quartiles;
  /** Our rate over its in the same round: above 1, gradmill is faster. */
  readonly ratio: Quartiles;
  /** The greatest difference to our result, as a share of |op(a)|·|op(b)|. */
  readonly difference: number;
}

export interface GemmMeasurement extends GemmShape {
  readonly isa: string;
  readonly variant: Arithmetic;
  readonly threads: number;
  readonly gflops: Quartiles;
  /** Of the peak of the same arithmetic, measured in the same round. */
  readonly shareOfPeak: Quartiles;
  /** GFLOP/s that peak and bandwidth allow. */
  readonly roofline: number;
  readonly peers: readonly PeerMeasurement[];
}

export interface GemmReport {
  readonly results: readonly GemmMeasurement[];
  readonly targets: readonly (Verdict & { readonly isa: string; readonly variant: Arithmetic })[];
}

/** Batch, inputs, outputs of a layer: from one example to large squares, thin and tiny ones among them. */
export const LAYERS = [
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

/** Of a difference to a peer's result, as a share of |op(a)|·|op(b)|. */
const TOLERANCE = 1e-4;

/** The products of a layer: Y = X·W, dW = Xᵀ·dY, dX = dY·Wᵀ. */
export const PRODUCTS: Readonly<Record<Layout, (layer: (typeof LAYERS)[number]) => GemmShape>> = {
  NN: ([batch, inputs, outputs]) => ({ m: batch, n: outputs, k: inputs, transposeA: false, transposeB: false }),
  TN: ([batch, inputs, outputs]) => ({ m: inputs, n: outputs, k: batch, transposeA: true, transposeB: false }),
  NT: ([batch, inputs, outputs]) => ({ m: batch, n: inputs, k: outputs, transposeA: false, transposeB: true }),
};

export async function gemm(options: GemmOptions): Promise<GemmReport> {
  const shapes = options.shape ? [options.shape] : LAYERS.flatMap((layer) => options.layouts.map((layout) => PRODUCTS[layout](layer)));
  const folder = await mkdtemp(join(tmpdir(), 'gradmill-bench-'));
  const peers: ProductPeer[] = [];
  try {
    const { peers: families, libraries, threads } = options;
    await startProducts(peers, { families, libraries, threads, avx512: options.isas.includes('avx512') }, print);
    const results: GemmMeasurement[] = [];
    const targets: GemmReport['targets'][number][] = [];
    for (const isa of options.isas)
      for (const variant of options.variants) {
        const limits: Limits[] = [];
        const owner = await engineWith(isa);
        for (const count of threads) limits.push(await measureLimits(owner, { threads: count, isa, strict: variant === 'strict' }));
        const own: GemmMeasurement[] = [];
        for (const shape of shapes) own.push(...(await measure(shape, owner, variant, limits, peers, options, join(folder, 'operands'))));
        printResults(own);
        const reached = verdicts(own.map(cellOf));
        printVerdicts(reached);
        results.push(...own);
        targets.push(...reached.map((verdict) => ({ ...verdict, isa, variant })));
      }
    return { results, targets };
  } finally {
    for (const peer of peers) peer.stop();
    await rm(folder, { recursive: true });
  }
}

async function measure(
  shape: GemmShape,
  owner: Engine,
  variant: Arithmetic,
  limits: readonly Limits[],
  peers: readonly ProductPeer[],
  options: GemmOptions,
  file: string,
): Promise<GemmMeasurement[]> {
  const [{ isa }] = limits;
  const operands = operandsOf(shape);
  const own = options.threads.map((threads) => ({ threads, product: prepare(shape, owner, isa, variant, threads, operands) }));
  const differences = await check(shape, own, operands, peers, file);
  const compared = peers.filter((peer) => differences.has(peer));
  const name = ({ name, threads }: ProductPeer) => `${name} ${threads}`;
  const slices: Variant[] = [
    ...own.map(({ threads, product }) => ({ name: `gradmill ${threads}`, slice: product.slice })),
    ...options.threads.map((threads) => peakOf(owner, { threads, isa, strict: variant === 'strict' })),
    ...compared.map((peer) => ({ name: name(peer), slice: (seconds: number) => peer.slice(seconds) })),
  ];
  const figures = await takeTurns(slices, options);
  for (const { product } of own) product.release();

  const { m, n, k } = shape;
  const rates = (seconds: readonly number[] = []) => seconds.map((s) => (2 * m * n * k) / s / 1e9);
  return limits.map(({ threads, bandwidth }): GemmMeasurement => {
    const ours = rates(figures.get(`gradmill ${threads}`));
    const peak = figures.get(`peak ${threads}`) ?? [];
    return {
      ...shape,
      isa,
      variant,
      threads,
      gflops: quartiles(ours),
      shareOfPeak: ratios(ours, peak),
      roofline: roofline(shape, quartiles(peak).median, bandwidth),
      peers: compared
        .filter((peer) => peer.threads === threads)
        .map((peer) => {
          const theirs = rates(figures.get(name(peer)));
          return { name: peer.name, gflops: quartiles(theirs), ratio: ratios(ours, theirs), difference: differences.get(peer) ?? NaN };
        }),
    };
  });
}

type Operands = Readonly<Record<'a' | 'b', Float32Array>>;

function operandsOf({ m, n, k }: GemmShape): Operands {
  const random = generator(1);
  const matrix = (count: number) => Float32Array.from({ length: count }, () => 2 * random() - 1);
  return { a: matrix(m * k), b: matrix(k * n) };
}

interface Product {
  /** c of these operands, once. */
  result(operands: Operands): Promise<Float32Array>;
  /** Seconds of a product. */
  readonly slice: Variant['slice'];
  release(): void;
}

function prepare(
  { m, n, k, transposeA, transposeB }: GemmShape,
  owner: Engine,
  isa: string,
  variant: Arithmetic,
  threads: number,
  operands: Operands,
): Product {
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
  const floats = (tensor: Tensor) => {
    const bytes = memory.bytes();
    return new Float32Array(bytes.buffer, bytes.byteOffset + tensor.offset, tensor.bytes(1) / 4);
  };
  const set = (values: Operands) => {
    floats(a).set(values.a);
    floats(b).set(values.b);
  };
  set(operands);
  const program: EngineProgram = owner.load(memory, plan.encode(), { isa, strict: variant === 'strict', threads });
  const run = (times: number) => program.start(0, 1, 0, times, 1);
  return {
    async result(values) {
      set(values);
      await run(1);
      set(operands);
      // Its place in memory is larger.
      return floats(c).slice(0, m * n);
    },
    slice: repeated(run),
    release: () => memory.release(),
  };
}

/**
 * Ours computes the same product on any number of threads, and so does every peer. A peer's difference to ours; absent where it has no
 * product of this shape, and where its result is another than that of us and a second peer.
 * @throws Error where no peer agrees with us, or we with ourselves
 */
async function check(
  shape: GemmShape,
  own: readonly { readonly threads: number; readonly product: Product }[],
  operands: Operands,
  peers: readonly ProductPeer[],
  file: string,
): Promise<Map<ProductPeer, number>> {
  const differences = new Map<ProductPeer, number>();
  const [first, ...others] = own;
  const ours = await first.product.result(operands);
  const { m, n, k } = shape;
  const named = `${m}×${n}×${k} ${layoutOf(shape)}`;
  for (const { threads, product } of others) {
    // To the last bit.
    const result = await product.result(operands);
    if (result.some((value, i) => value !== ours[i]))
      throw new Error(`${named}: ours on ${threads} threads differs from that on ${first.threads}`);
  }
  if (peers.length === 0) return differences;
  const magnitudes = { a: operands.a.map(Math.abs), b: operands.b.map(Math.abs) };
  const all = [operands.a, operands.b, ours, await first.product.result(magnitudes)];
  await writeFile(file, Buffer.concat(all.map((floats) => Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength))));
  const wrong: string[] = [];
  for (const peer of peers) {
    const difference = await peer.prepare(shape, file);
    if (difference === undefined) continue;
    if (difference <= TOLERANCE) {
      differences.set(peer, difference);
      continue;
    }
    // The largest number is how sgemm.cpp says NaN.
    const what = difference === Number.MAX_VALUE ? 'gives NaN' : `differs from ours by ${difference} of the terms' magnitude`;
    wrong.push(`${named}: ${peer.name} ${what}`);
  }
  if (wrong.length > 0 && differences.size === 0) throw new Error(wrong.join('; '));
  for (const line of wrong) print(`left out: ${line}`);
  return differences;
}

function cellOf({ gflops, shareOfPeak, peers, ...product }: GemmMeasurement): Cell {
  const best = fastest(peers, rateOf);
  return {
    ...product,
    rate: gflops.median,
    shareOfPeak: shareOfPeak.median,
    best: best && { name: best.name, rate: best.gflops.median, ratio: best.ratio.median },
  };
}

function rateOf({ gflops }: PeerMeasurement): number {
  return gflops.median;
}

function printResults(results: readonly GemmMeasurement[]): void {
  print('\nc [m, n] = op(a) · op(b), op transposing where T stands');
  printTable([
    [
      'm',
      'n',
      'k',
      'a b',
      'isa',
      'threads',
      'GFLOP/s (quartiles)',
      '% of peak',
      'of roofline',
      'ours ÷ best peer',
      'its GFLOP/s',
      'best peer',
    ],
    ...results.map((result) => {
      const { m, n, k, isa, variant, threads, gflops, shareOfPeak, peers } = result;
      const peer = fastest(peers, rateOf);
      return [
        `${m}`,
        `${n}`,
        `${k}`,
        layoutOf(result),
        variant === 'strict' ? `${isa} strict` : isa,
        `${threads}`,
        range(gflops),
        range(shareOfPeak, (share) => (100 * share).toFixed(0)),
        ((100 * gflops.median) / result.roofline).toFixed(0),
        ...(peer ? [range(peer.ratio, (ratio) => ratio.toFixed(2)), show(peer.gflops.median), peer.name] : ['–', '–', '–']),
      ];
    }),
  ]);
}

function printVerdicts(targets: readonly Verdict[]): void {
  if (targets.length === 0) return;
  print('\nWhat was wanted');
  printTable([
    ['threads', '', 'wanted', 'reached', '', 'products', 'worst'],
    ...targets.map(({ threads, target, wanted, got, met, reached, where }) => [
      `${threads}`,
      target,
      `≥ ${wanted.toFixed(2)}`,
      got.toFixed(3),
      met ? 'met' : 'MISSED',
      reached ? `${reached[0]} of ${reached[1]}` : '',
      where,
    ]),
  ]);
}
