// Matrix products beside the best of their peers: what is made of a grid of cells, and what was wanted of them.

/** A product on a number of threads. */
export interface Cell {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly threads: number;
  /** GFLOP/s, the median of the rounds. */
  readonly rate: number;
  /** Of the FMA peak. */
  readonly shareOfPeak: number;
  /** The fastest peer, its GFLOP/s, and how many times as fast as it we are; undefined where there is none. */
  readonly best: { readonly name: string; readonly rate: number; readonly ratio: number } | undefined;
  /** GFLOP/s that peak and bandwidth allow. */
  readonly roofline: number;
}

/** One line of the list of targets. */
export interface Verdict {
  readonly threads: number;
  readonly target: string;
  readonly wanted: number;
  readonly got: number;
  readonly met: boolean;
  /** The cell that decides; empty where all of them do. */
  readonly where: string;
  /** How many cells reach what is wanted, and of how many, where each cell counts. */
  readonly reached?: readonly [reached: number, cells: number];
}

/** Batch, inputs and outputs of the layers whose products are thin or tiny. */
export const THIN_LAYERS = [
  [16, 64, 64],
  [128, 512, 10],
  [1, 784, 512],
] as const;

/**
 * GFLOP/s that a machine allows: the peak, or what remains of it while the operands are read and written once, at the bandwidth of
 * the smallest cache that holds them all. Weights larger than L2 are read from L3 again and again.
 */
export function roofline(
  { m, n, k }: Pick<Cell, 'm' | 'n' | 'k'>,
  peak: number,
  bandwidth: readonly { readonly bytes: number; readonly perSecond: number }[],
): number {
  const bytes = 4 * (m * k + k * n + m * n);
  // Each was measured on half of a cache or less; the last one is memory's.
  const level = bandwidth.find((cache) => bytes <= 2 * cache.bytes) ?? bandwidth.at(-1);
  return level ? Math.min(peak, (2 * m * n * k * level.perSecond) / bytes / 1e9) : peak;
}

/** NN, TN, NT or TT. */
export function layoutOf({ transposeA, transposeB }: { readonly transposeA: boolean; readonly transposeB: boolean }): string {
  return `${transposeA ? 'T' : 'N'}${transposeB ? 'T' : 'N'}`;
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** The one to compare with: of the greatest speed, which is that of the median round. */
export function fastest<Peer>(peers: readonly Peer[], speedOf: (peer: Peer) => number): Peer | undefined {
  return [...peers].sort((a, b) => speedOf(b) - speedOf(a)).at(0);
}

/** The targets, for each number of threads that was measured. */
export function verdicts(cells: readonly Cell[]): Verdict[] {
  return [...new Set(cells.map(({ threads }) => threads))].flatMap((threads) => {
    const own = cells.filter((cell) => cell.threads === threads);
    const alone = threads === 1;
    const compared = own.flatMap((cell) => (cell.best ? { cell, figure: cell.best.ratio } : []));
    const mean = geometricMean(compared.map(({ figure }) => figure));
    const wanted = alone ? 1 : 1.05;
    const target = `geometric mean of ${compared.length} products ÷ best peer`;
    return [
      ...(compared.length > 0 ? [{ threads, target, wanted, got: mean, met: mean >= wanted, where: '' }] : []),
      ...worst('worst product ÷ best peer', threads, 0.9, compared),
      ...worst(
        'large products, share of the FMA peak',
        threads,
        alone ? 0.93 : 0.92,
        own.flatMap((cell) => (isLarge(cell) ? { cell, figure: cell.shareOfPeak } : [])),
      ),
      ...(alone
        ? worst(
            'thin and tiny products ÷ what is wanted of them',
            threads,
            1,
            own.flatMap((cell) => (isThin(cell) && cell.best ? { cell, figure: cell.rate / wantedOfThin(cell, cell.best.rate) } : [])),
          )
        : worst(
            'thin and tiny products ÷ one thread',
            threads,
            1,
            own.flatMap((cell) => {
              const single = cells.find((other) => other.threads === 1 && sameProduct(cell, other));
              return isThin(cell) && single ? { cell, figure: cell.rate / single.rate } : [];
            }),
          )),
    ];
  });
}

/** A target that every cell has to reach; nothing without cells. */
function worst(target: string, threads: number, wanted: number, figures: readonly { cell: Cell; figure: number }[]): Verdict[] {
  const [last] = [...figures].sort((a, b) => a.figure - b.figure);
  if (!last) return [];
  const { cell, figure: got } = last;
  const reached = figures.filter(({ figure }) => figure >= wanted).length;
  const where = `${cell.m}×${cell.n}×${cell.k} ${layoutOf(cell)}${cell.best ? `, ${cell.best.name}` : ''}`;
  return [{ threads, target, wanted, got, met: got >= wanted, where, reached: [reached, figures.length] }];
}

/** GFLOP/s: the best peer's or 92 % of the roofline, whichever is lower, but 1.2 times the peer's where that is below 75 % of the roofline. */
function wantedOfThin({ roofline }: Cell, peer: number): number {
  return peer < 0.75 * roofline ? 1.2 * peer : Math.min(peer, 0.92 * roofline);
}

function isLarge({ m, n, k }: Cell): boolean {
  return Math.min(m, n, k) >= 1024;
}

/** A product of one of THIN_LAYERS, whichever of the three: its sizes in any order. */
function isThin({ m, n, k }: Cell): boolean {
  const sorted = (sizes: readonly number[]) => [...sizes].sort((a, b) => a - b).join();
  return THIN_LAYERS.some((layer) => sorted(layer) === sorted([m, n, k]));
}

function sameProduct(a: Cell, b: Cell): boolean {
  return a.m === b.m && a.n === b.n && a.k === b.k && layoutOf(a) === layoutOf(b);
}
