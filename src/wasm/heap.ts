// Ranges of one linear memory: first fit, neighbours merged. WebAssembly cannot give pages back to the system, so what was
// freed is what the next allocation gets.
import type { EngineMemory } from '../engine.js';
import { GradmillError } from '../errors.js';
import { ALIGNMENT } from '../plan.js';

const PAGE = 65536;
/** The last page stays unused, so that every end is a 32-bit number. */
export const MOST_PAGES = 65535;

export interface Range {
  start: number;
  end: number;
}

export class Heap {
  /** In order, never touching each other. */
  readonly #free: Range[] = [];
  #end: number;

  /** @param start first byte that belongs to nobody else */
  constructor(
    readonly memory: WebAssembly.Memory,
    start: number,
  ) {
    this.#end = align(start);
  }

  /** Zeroed, 64-byte aligned. @throws GradmillError 'out-of-memory' */
  allocate(bytes: number): Range {
    const size = align(Math.max(bytes, 1));
    const at = this.#free.findIndex(({ start, end }) => end - start >= size);
    if (at < 0) return this.#extend(size);
    const found = this.#free[at];
    const range = { start: found.start, end: found.start + size };
    if (found.end === range.end) this.#free.splice(at, 1);
    else found.start = range.end;
    new Uint8Array(this.memory.buffer, range.start, size).fill(0);
    return range;
  }

  free({ start, end }: Range): void {
    let at = this.#free.findIndex((range) => range.start > start);
    if (at < 0) at = this.#free.length;
    this.#free.splice(at, 0, { start, end });
    const [before, here, after] = [this.#free[at - 1], this.#free[at], this.#free[at + 1]];
    if (after?.start === end) {
      here.end = after.end;
      this.#free.splice(at + 1, 1);
    }
    if (before?.end === start) {
      before.end = here.end;
      this.#free.splice(at, 1);
    }
  }

  /** New memory from the end, which comes zeroed; a free range there is used up first. */
  #extend(size: number): Range {
    const last = this.#free.at(-1);
    const start = last?.end === this.#end ? last.start : this.#end;
    const end = start + size;
    const pages = Math.ceil(end / PAGE) - this.memory.buffer.byteLength / PAGE;
    if (pages > 0) {
      const most = MOST_PAGES * PAGE;
      if (end > most) throw new GradmillError('out-of-memory', `${size} bytes: WebAssembly memory ends at 4 GiB, ${most - start} are left`);
      try {
        this.memory.grow(pages);
      } catch (cause) {
        throw new GradmillError('out-of-memory', `${size} bytes: WebAssembly memory cannot grow to ${end}`, { cause });
      }
    }
    if (start < this.#end) {
      this.#free.pop();
      new Uint8Array(this.memory.buffer, start, this.#end - start).fill(0);
    }
    this.#end = end;
    return { start, end };
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** Gives memory back once nobody can reach its owner. */
const abandoned = new FinalizationRegistry<{ readonly heap: Heap; readonly range: Range }>(({ heap, range }) => {
  heap.free(range);
});

export class WasmMemory implements EngineMemory {
  readonly start: number;
  readonly #heap: Heap;
  #range: Range | undefined;
  #view: Uint8Array | undefined;
  /** V8 collects the sooner the more memory its objects hold, and does not see this one's. Costs addresses, no memory. */
  #weight: ArrayBuffer | undefined;

  constructor(
    heap: Heap,
    readonly size: number,
  ) {
    this.#heap = heap;
    this.#range = heap.allocate(size);
    this.start = this.#range.start;
    this.#weight = weightOf(size);
    abandoned.register(this, { heap, range: this.#range }, this);
  }

  get handle(): object {
    return this;
  }

  bytes(): Uint8Array {
    const { buffer } = this.#heap.memory;
    // Made again only when the memory has grown: predictSync allocates nothing.
    return this.#view?.buffer === buffer ? this.#view : (this.#view = new Uint8Array(buffer, this.start, this.size));
  }

  release(): void {
    if (!this.#range) return;
    abandoned.unregister(this);
    this.#heap.free(this.#range);
    this.#range = undefined;
    this.#weight = undefined;
  }
}

/** An array of so many bytes that are never touched. */
function weightOf(bytes: number): ArrayBuffer | undefined {
  try {
    return bytes < PAGE ? undefined : new ArrayBuffer(bytes, { maxByteLength: bytes });
  } catch {
    return undefined;
  }
}
