// What a machine can do at most, measured by the engine itself: multiply-adds in registers, and reads of as much memory as each
// level of the caches holds. Figures of kernels and steps are shares of these.
import type { Engine } from './engine.js';
import type { OpName } from './ops.js';
import { ALIGNMENT, FEED, Plan, Tensor } from './plan.js';
import { FLOAT64, viewOf } from './tensor.js';

export interface Limits {
  readonly threads: number;
  readonly isa: string;
  /** Without fused multiply-add. */
  readonly strict: boolean;
  /** Float operations a second: of fused multiply-adds, or in strict mode of multiplications and additions, in registers. */
  readonly flops: number;
  /** Of L1, L2, L3 and memory, in this order: ascending bytes. */
  readonly bandwidth: readonly Bandwidth[];
}

export interface Bandwidth {
  /** What all threads together read, again and again, each its own part. */
  readonly bytes: number;
  /** Bytes read a second. */
  readonly perSecond: number;
}

export interface LimitOptions {
  readonly threads: number;
  /** Default: the engine's. */
  readonly isa?: string;
  /** Default: the engine's. */
  readonly strict?: boolean;
  /** How long to measure; a little more passes. Default 1 for all limits, 0.1 for the peak alone. */
  readonly seconds?: number;
}

/**
 * The limits of so many threads: each the fastest of many windows of about a millisecond, which is the least disturbed one. Caches
 * whose sizes the engine does not know are taken to be small. Where an engine has no threads and runs take turns with a page,
 * the figures are what those turns leave.
 * @throws GradmillError 'out-of-memory' where four times the last cache, or 64 MiB, or where L3 is unknown eight times all L2, cannot be had
 */
export async function measureLimits(engine: Engine, options: LimitOptions): Promise<Limits> {
  const { threads, isa = engine.isa, strict = engine.strict, seconds = 1 } = options;
  const sets = workingSets(engine, threads);
  const probes = [peak(threads), ...sets.map((bytes) => reads(bytes, threads))];
  const [flops = 0, ...rates] = (await measure(engine, probes, { threads, isa, strict, seconds })).map(({ fastest }) => fastest);
  return { threads, isa, strict, flops, bandwidth: sets.map((bytes, i) => ({ bytes, perSecond: rates[i] ?? 0 })) };
}

/**
 * The multiply-adds in registers that the machine does most of the time: `flops` of the limits, but of the median window. Work that
 * is timed from end to end meets the same clock and the same neighbours.
 */
export async function measurePeak(engine: Engine, options: LimitOptions): Promise<number> {
  const { threads, isa = engine.isa, strict = engine.strict, seconds = 0.1 } = options;
  const [rate] = await measure(engine, [peak(threads, 8)], { threads, isa, strict, seconds });
  return rate?.median ?? 0;
}

/** Smaller than those of most cores: what is taken for L1 is not in L2. */
const UNKNOWN = { l1: 32 * 2 ** 10, l2: 256 * 2 ** 10, l3: 16 * 2 ** 20 };
const LEAST_MEMORY = 64 * 2 ** 20;

/** Half of L1 and of L2 in every thread; a quarter of L3 and four times L3 in all threads, for others use it too. */
function workingSets({ caches = UNKNOWN }: Engine, threads: number): number[] {
  const { l1, l2, l3 } = { l1: caches.l1 || UNKNOWN.l1, l2: caches.l2 || UNKNOWN.l2, l3: caches.l3 };
  const third = Math.max(2 * l2 * threads, l3 / 4);
  const memory = Math.max(4 * l3, 4 * third, LEAST_MEMORY);
  return [(l1 / 2) * threads, (l2 / 2) * threads, third, memory].map((bytes) => {
    const grain = ALIGNMENT * threads;
    return Math.round(bytes / grain) * grain;
  });
}

/** An instruction of half a millisecond or more, and what it does. */
interface Probe {
  readonly op: OpName;
  readonly dims: readonly number[];
  readonly times: number;
  /** Float operations, or bytes. */
  readonly work: number;
}

/** Elements that fill the accumulators of every instruction set, once or several times (native/roofline.h). */
const CHAINED = 448;
const LINKS = 2 ** 16;
/** @param rounds eight are so long that threads waking and meeting take no share of them */
function peak(threads: number, rounds = 1): Probe {
  const elements = CHAINED * threads * rounds;
  return { op: 'multiplyAdd', dims: [elements], times: LINKS, work: 2 * elements * LINKS };
}

const BYTES_AT_A_TIME = 64 * 2 ** 20;

function reads(bytes: number, threads: number): Probe {
  const times = Math.max(1, Math.min(4096, Math.round((BYTES_AT_A_TIME * threads) / bytes)));
  return { op: 'sumWords', dims: [threads, bytes / 4 / threads], times, work: bytes * times };
}

/** Of all probes, in one run. */
const BATCHES = 4;

/** Work a second. */
interface Rate {
  readonly fastest: number;
  readonly median: number;
}

/** The rates of each probe. They take turns, so that a disturbance of some milliseconds spoils none of them. */
async function measure(
  engine: Engine,
  probes: readonly Probe[],
  { threads, isa, strict, seconds }: Required<LimitOptions>,
): Promise<Rate[]> {
  const deadline = performance.now() + 1000 * seconds;
  const plan = new Plan(engine.ops, 1, false);
  let end = ALIGNMENT;
  for (const { op, dims, times } of probes) {
    const place = (name: string, shape: readonly number[], type: 'f32' | 'u32'): Tensor => {
      const tensor = new Tensor(name, shape, 'state', type);
      tensor.offset = end;
      end += tensor.bytes(1);
      return tensor;
    };
    if (op === 'multiplyAdd') plan.emit(op, dims, { y: place('y', dims, 'f32') }, { times, factor: 0.5 });
    else plan.emit(op, dims, { y: place('y', dims.slice(0, 1), 'u32'), x: place('x', dims, 'u32') }, { times });
  }
  const memories = [engine.allocate(end), engine.allocate(8 * BATCHES * probes.length)] as const;
  const [arena, times] = memories;
  try {
    // Untouched memory is a single page of zeros.
    arena.bytes().fill(1, ALIGNMENT);
    const program = engine.load(arena, plan.encode(), { isa, strict, threads });
    program.feed(FEED.times, times.handle, FLOAT64, BATCHES, probes.length);
    const windows = probes.map((): number[] => []);
    do {
      times.bytes().fill(0);
      await program.start(0, probes.length, 0, BATCHES, 1);
      const nanoseconds = viewOf(FLOAT64, times.bytes(), BATCHES * probes.length);
      nanoseconds.forEach((time, i) => windows[i % probes.length]?.push(time));
    } while (performance.now() < deadline);
    program.release?.();
    return probes.map(({ work }, i) => {
      const times = Float64Array.from(windows[i] ?? []).sort();
      const rate = (nanoseconds = NaN) => (1e9 * work) / nanoseconds;
      return { fastest: rate(times[0]), median: rate(times[times.length >> 1]) };
    });
  } finally {
    for (const memory of memories) memory.release();
  }
}
