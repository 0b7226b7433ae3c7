// A model of a training step's time: what each of the plan's steps does, from its costs on paper, and how long that takes on a
// machine of given limits. docs/performance.md, "A model of a step's time", has the formula; predict.ts fits the constants.
// Nothing here measures.
import { costOf, productFlops } from '../src/cost.js';
import type { Division, ProductWay } from '../src/engine.js';
import type { Limits } from '../src/limits.js';
import { type Instruction, type Plan, reads, type Tensor, writes } from '../src/plan.js';

/** What the model does not know from a machine's limits: fitted to measured steps. All above 0. */
export interface Constants {
  /** Share of the peak that a product reaches between its edges. */
  readonly product: number;
  /** Copying an operand of a product into panels, in times that its bytes take to be read. */
  readonly pack: number;
  /** The same where the operand lies across the panels. */
  readonly packAcross: number;
  /** Seconds an element of a product, once for each block of k: a register tile begins with reading them and ends with writing. */
  readonly tile: number;
  /** Share of the peak that elementwise operations reach: their chains are long and divide. */
  readonly elementwise: number;
  /** Share of the bandwidth of reading that elementwise ops reach: they write, too. */
  readonly bandwidth: number;
  /** Seconds an element of an optimizer that divides by a root: no unit does many of those at a time. */
  readonly root: number;
  /** Seconds a row of a loss: sums and logarithms of single rows. */
  readonly row: number;
  /** Seconds a step of the plan. */
  readonly overhead: number;
  /** Seconds that a line of the cache takes from one core to another: to see a step opened, to claim a part, to see it done. */
  readonly transfer: number;
  /** Seconds a byte that another core wrote, beyond reading it from the last cache: nobody foresees such reads. */
  readonly crossing: number;
}

/** Bytes, and how many others a replay touches between two uses of them. */
interface Traffic {
  readonly bytes: number;
  readonly distance: number;
}

/** One step as the engine runs it. */
export interface StepWork {
  readonly op: string;
  /** Parts along m and n that threads divide it into. */
  readonly parts: readonly [rows: number, columns: number];
  /** Float operations, without those of the product. */
  readonly flops: number;
  /** All bytes moved; of a product those of its epilogue alone. */
  readonly traffic: readonly Traffic[];
  /** Of a loss; else 0. */
  readonly rows: number;
  /** Elements of an optimizer that divides by a root; else 0. */
  readonly roots: number;
  readonly product?: Product;
}

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly way: ProductWay;
  readonly a: Traffic;
  readonly b: Traffic;
  readonly c: Traffic;
}

const ROOTS = new Set(['rmsprop', 'adagrad', 'adam']);
const LOSSES = new Set(['softmaxCrossEntropy', 'categoricalCrossEntropy', 'meanSquaredError', 'meanAbsoluteError', 'huber', 'binaryCrossEntropy']); // prettier-ignore

/**
 * The steps of a plan.
 * @param division of the loaded program
 * @param feedBytes of the data sets that batches are gathered from
 */
export function stepsOf(plan: Plan, division: Division, feedBytes: number): StepWork[] {
  const distanceOf = distances(plan, feedBytes);
  return division.steps.map((divided, i) => {
    const { instruction: index, rowParts, columnParts } = divided;
    // A second phase goes over partial results only.
    const trivial = division.steps[i - 1]?.instruction === index;
    const distance = (tensor: Tensor | undefined): number => distanceOf(index, tensor);
    return { ...stepOf(plan.instructions[index], plan.batch, distance, divided.product, trivial), parts: [rowParts, columnParts] };
  });
}

function stepOf(
  instruction: Instruction,
  batch: number,
  distanceOf: (tensor: Tensor | undefined) => number,
  way: ProductWay | undefined,
  trivial: boolean,
): Omit<StepWork, 'parts'> {
  const { op, dims, operands, immediates } = instruction;
  const [m = 1, n = 1, k = 1] = dims.map((dim) => (dim === 'batch' ? batch : dim));
  const cost = costOf(instruction, batch);
  const flops = trivial ? 0 : cost.flops - productFlops(instruction, batch);
  const [rows, roots] = [LOSSES.has(op.name) ? m : 0, ROOTS.has(op.name) ? m : 0];
  const traffic = (tensor: Tensor | undefined, bytes: number): Traffic => ({ bytes, distance: distanceOf(tensor) });
  if (way) {
    const transpose = immediates.transpose ?? 0;
    const { a, b, c, y, v } = operands;
    const product = {
      ...{ m, n, k, way, transposeA: (transpose & 1) !== 0, transposeB: (transpose & 2) !== 0 },
      ...{ a: traffic(a, 4 * m * k), b: traffic(b, 4 * k * n), c: traffic(c, 4 * m * n) },
    };
    return { op: op.name, flops, rows, roots, product, traffic: [y, v].flatMap((tensor) => (tensor ? [traffic(tensor, 4 * m * n)] : [])) };
  }
  const touched = [...new Set([...reads(instruction), ...writes(instruction)])];
  const inside = touched.reduce((all, tensor) => all + tensor.bytes(batch), 0);
  const moved = trivial ? 0 : cost.bytesRead + cost.bytesWritten;
  // Of what an instruction reads and writes each tensor has its part by size; what it moves beyond lies in data sets.
  const within = touched.map((tensor) => traffic(tensor, (tensor.bytes(batch) / inside) * Math.min(moved, 2 * inside)));
  const isFeed = op.name === 'gather' || op.name === 'gatherLabels';
  if (!isFeed) return { op: op.name, flops, rows, roots, traffic: within };
  return {
    op: op.name,
    flops,
    rows,
    roots,
    traffic: [...within.map(({ bytes, distance }) => ({ bytes: bytes / 2, distance })), traffic(undefined, cost.bytesRead)],
  };
}

/** How many bytes other uses touch, from the last use of a tensor's bytes to the one by an instruction, when a plan is replayed again and again. */
function distances(plan: Plan, feedBytes: number): (instruction: number, tensor: Tensor | undefined) => number {
  const { instructions, batch } = plan;
  const used = instructions.map(({ operands }) => [...new Set(Object.values(operands))]);
  const end = Math.max(...used.flat().map((tensor) => tensor.offset + tensor.bytes(batch)));
  const piece = Math.max(64, Math.ceil(end / 4096));
  const last = new Float64Array(Math.ceil(end / piece)).fill(-1);
  const found = new Map<string, number>();
  let touched = 0;
  for (const round of [0, 1])
    used.forEach((tensors, i) => {
      for (const tensor of tensors) {
        const bytes = tensor.bytes(batch);
        const [from, to] = [Math.floor(tensor.offset / piece), Math.floor((tensor.offset + bytes - 1) / piece)];
        let sum = 0;
        for (let p = from; p <= to; p++) sum += touched + bytes - Math.max(last[p] ?? 0, 0);
        if (round === 1) found.set(`${i} ${tensor.offset}`, sum / (to - from + 1));
        touched += bytes;
        last.fill(touched, from, to + 1);
      }
    });
  const footprint = last.reduce((all, at) => all + (at < 0 ? 0 : piece), 0);
  return (instruction, tensor) =>
    tensor ? Math.min(found.get(`${instruction} ${tensor.offset}`) ?? footprint, footprint) : footprint + feedBytes;
}

/** Rows of a register tile below which its multiply-adds wait for each other. */
const LEAST_ROWS = 4;

/** What so many threads can do together. */
export interface Machine {
  /** The most that work on a step. */
  readonly threads: number;
  /** Of 1 to all threads. */
  limits(active: number): Limits;
}

/** Seconds that a step of the plan takes. */
export function timeOf(step: StepWork, machine: Machine, constants: Constants): number {
  const parts = step.parts[0] * step.parts[1];
  const active = Math.min(machine.threads, parts);
  const work = partTime(step, machine.limits(active), constants);
  return constants.overhead + (parts === 1 ? work : together(parts, active, work, constants.transfer));
}

/** Seconds that each of the threads takes for a part, the largest one. */
function partTime(
  { product, flops, traffic, rows, roots, parts: [rowParts, columnParts] }: StepWork,
  limits: Limits,
  constants: Constants,
): number {
  const share = 1 / (rowParts * columnParts);
  const peak = limits.flops / limits.threads;
  // What a step reads was written by all threads: other cores' part of it comes by way of the last cache at the best.
  const lastCache = limits.bandwidth.at(-2)?.perSecond ?? Infinity;
  const own = 1 / limits.threads;
  const crossing = (bytes: number): number => (1 - own) * bytes * constants.crossing;
  const reading = ({ bytes, distance }: Traffic, portion: number): number => {
    const near = bandwidthAt(limits, distance);
    return bytes * portion * limits.threads * (own / near + (1 - own) / Math.min(near, lastCache));
  };
  const operations = (flops * share) / (peak * constants.elementwise);
  const moving = traffic.reduce((all, each) => all + reading(each, share), 0) / constants.bandwidth;
  const fetching = crossing(traffic.reduce((all, { bytes }) => all + bytes * share, 0));
  const elementwise = Math.max(operations, moving, roots * share * constants.root) + rows * share * constants.row + fetching;
  if (!product) return elementwise;

  const { m, n, k, way, transposeA, transposeB, a, b, c } = product;
  const { rows: rowsHere, columns: columnsHere } = way;
  const elements = computed(way);
  const multiplying = (2 * elements * k) / (peak * constants.product);
  const [readA, readB] = [reading(a, rowsHere / m), reading(b, columnsHere / n)];
  const readC = reading(c, (rowsHere * columnsHere) / (m * n));
  const blocks = Math.ceil(k / way.depth);
  const starting = constants.tile * elements * blocks;
  const moved = readA + readB + 2 * blocks * readC;
  const { pack, packAcross } = constants;
  const packed =
    Number(way.packsA) * readA * (transposeA ? pack : packAcross) + Number(way.packsB) * readB * (transposeB ? packAcross : pack);
  return Math.max(multiplying + starting, moved) + packed + crossing(a.bytes * (rowsHere / m) + b.bytes * (columnsHere / n)) + elementwise;
}

/** Elements that a block of c is computed as: those of whole register tiles, too, and rows to wait for. */
function computed({ rows, columns, tileRows, tileColumns, sideways }: ProductWay): number {
  if (tileRows === 0) return rows * columns;
  const [height, width] = sideways ? [columns, rows] : [rows, columns];
  return Math.max(height, Math.ceil(height / tileRows) * LEAST_ROWS) * Math.ceil(width / tileColumns) * tileColumns;
}

/** Bytes a second in all threads, of data that comes back after `distance` bytes: between two measured sizes by their logarithms. */
export function bandwidthAt({ bandwidth }: Limits, distance: number): number {
  const above = bandwidth.findIndex(({ bytes }) => bytes >= distance);
  const [low, high] = above < 0 ? [bandwidth.at(-1), bandwidth.at(-1)] : [bandwidth[Math.max(above - 1, 0)], bandwidth[above]];
  if (!low || !high) throw new Error('no bandwidth was measured');
  if (low === high) return low.perSecond;
  const between = Math.log(distance / low.bytes) / Math.log(high.bytes / low.bytes);
  return low.perSecond * (high.perSecond / low.perSecond) ** between;
}

/**
 * Seconds from opening a step of equal parts until the leader knows it done. The ticket is one line of the cache: claims come
 * one after another, the leader's first; helpers see the step a transfer after it was opened.
 */
export function together(parts: number, threads: number, work: number, transfer: number): number {
  const free = Array.from({ length: threads }, (_, thread) => (thread === 0 ? 0 : transfer));
  let line = 0;
  for (let part = 0; part < parts; part++) {
    const next = free.indexOf(Math.min(...free));
    line = Math.max(line, free[next] ?? 0) + transfer;
    free[next] = line + work;
  }
  return Math.max(...free) + transfer;
}

function inOnePart({ product, ...step }: StepWork): StepWork {
  if (!product) return { ...step, parts: [1, 1] };
  return { ...step, parts: [1, 1], product: { ...product, way: { ...product.way, rows: product.m, columns: product.n } } };
}

/** A training step. */
export interface TrainingStep {
  readonly steps: readonly StepWork[];
  /** The engine tries it without helpers, too, and goes on as is faster. */
  readonly short: boolean;
}

/** Seconds of a training step. */
export function stepTime({ steps, short }: TrainingStep, machine: Machine, constants: Constants): number {
  const total = (all: readonly StepWork[]): number => all.reduce((sum, step) => sum + timeOf(step, machine, constants), 0);
  const helped = total(steps);
  if (!short || machine.threads === 1) return helped;
  return Math.min(helped, total(steps.map(inOnePart)));
}

/**
 * Limits of more threads than were measured: peak, L1 and L2 grow with them; the last cache and memory keep the bandwidth that
 * was measured ('shared'), or grow as well ('growing'). Neither is measured: machines lie between, and large ones run at a lower
 * clock when all cores work.
 */
export function scaledLimits(limits: Limits, threads: number, outer: 'shared' | 'growing'): Limits {
  const factor = threads / limits.threads;
  const own = limits.bandwidth.length - 2;
  return {
    ...limits,
    threads,
    flops: limits.flops * factor,
    bandwidth: limits.bandwidth.map(({ bytes, perSecond }, level) => {
      const grows = level < own || outer === 'growing';
      return { bytes: grows ? bytes * factor : bytes, perSecond: grows ? perSecond * factor : perSecond };
    }),
  };
}

/** A measured step. */
export interface Sample extends TrainingStep {
  readonly machine: Machine;
  readonly seconds: number;
}

/** Below this relative error a fit is good enough: the misfit is smooth there, so that steps of one constant find the way. */
const FINE = 0.1;

/** Of each sample about |log| of predicted over measured: the relative error, and no better for always saying too little. */
function misfit(samples: readonly Sample[], constants: Constants): number {
  return samples.reduce((all, sample) => all + Math.hypot(FINE, Math.log(stepTime(sample, sample.machine, constants) / sample.seconds)), 0);
}

/** Where fitting starts. */
export const TYPICAL: Constants = {
  ...{ product: 0.85, pack: 2, packAcross: 3, tile: 5e-11 },
  ...{ elementwise: 0.2, bandwidth: 0.6, root: 5e-10, row: 3e-8, overhead: 1e-7, transfer: 1e-7, crossing: 1e-11 },
};

const SHARE = [0.01, 1] as const;
const PASSES = [0.5, 20] as const;
/** Values that can be, whatever a disturbed machine seems to say: a copy costs a read at least, a line takes as long as an access to the last cache. */
const BOUNDS: Partial<Record<keyof Constants, readonly [least: number, most: number]>> = {
  ...{ product: SHARE, elementwise: SHARE, bandwidth: SHARE, pack: PASSES, packAcross: PASSES },
  transfer: [2e-8, 1e-6],
  crossing: [1e-13, 1e-9],
};

/**
 * The constants of `names` for which the samples' misfit is least, by steps up and down each in turn, from larger to smaller ones.
 * Deterministic.
 */
export function fit(samples: readonly Sample[], names: readonly (keyof Constants)[], from: Constants): Constants {
  let [best, least] = [from, misfit(samples, from)];
  for (let stride = 2; stride > 1.01; stride = Math.sqrt(stride))
    for (let improved = true; improved;) {
      improved = false;
      for (const name of names)
        for (const factor of [stride, 1 / stride]) {
          const [low, high] = BOUNDS[name] ?? [0, Infinity];
          const value = Math.min(Math.max(best[name] * factor, low), high);
          const next = { ...best, [name]: value };
          const error = misfit(samples, next);
          if (error < least * (1 - 1e-5)) [best, least, improved] = [next, error, true];
        }
    }
  return best;
}
