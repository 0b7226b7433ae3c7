// The WebAssembly engine's memory: ranges of one linear memory, against a simple model of it.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Heap, type Range } from '../src/wasm/heap.js';
import { refusal } from './refusal.js';

const PAGE = 65536;
const newHeap = (start = 1000, maximum = 64) => new Heap(new WebAssembly.Memory({ initial: 1, maximum, shared: false }), start);
const bytes = (heap: Heap, { start, end }: Range) => new Uint8Array(heap.memory.buffer, start, end - start);

describe('a heap', () => {
  test('gives ranges that are aligned, zeroed, and behind what belongs to others', () => {
    const heap = newHeap();
    const sizes = [0, 1, 63, 64, 65, 100_000];
    const ranges = sizes.map((size) => heap.allocate(size));
    expect(ranges[0].start).toBe(1024);
    for (const [i, range] of ranges.entries()) {
      expect(range.start % 64).toBe(0);
      expect(range.end - range.start).toBe(Math.max(64, Math.ceil(sizes[i] / 64) * 64));
      expect(bytes(heap, range).every((byte) => byte === 0)).toBe(true);
    }
    expect(heap.memory.buffer.byteLength).toBe(Math.ceil(ranges[5].end / PAGE) * PAGE);
  });

  test('merges what was freed on both sides, and zeroes it again', () => {
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [0, 2, 1],
      [1, 0, 2],
    ]) {
      // prettier-ignore
      const heap = newHeap();
      const parts = [0, 1, 2].map(() => heap.allocate(64));
      const behind = heap.allocate(64);
      for (const part of order) {
        bytes(heap, parts[part]).fill(255);
        heap.free(parts[part]);
      }
      const whole = heap.allocate(192);
      expect(whole).toEqual({ start: parts[0].start, end: parts[2].end });
      expect(bytes(heap, whole).every((byte) => byte === 0)).toBe(true);
      expect(heap.allocate(64).start).toBe(behind.end);
    }
  });

  test('grows from the free range at its end', () => {
    const heap = newHeap(0);
    const last = heap.allocate(PAGE);
    bytes(heap, last).fill(255);
    heap.free(last);
    const larger = heap.allocate(PAGE + 64);
    expect(larger).toEqual({ start: 0, end: PAGE + 64 });
    expect(bytes(heap, larger).every((byte) => byte === 0)).toBe(true);
  });

  test('refuses what does not fit, and stays as it was', async () => {
    const heap = newHeap(0, 4);
    const kept = heap.allocate(PAGE);
    expect(await refusal(() => heap.allocate(4 * PAGE))).toMatch(/^out-of-memory: 262144 bytes: WebAssembly memory cannot grow/);
    expect(await refusal(() => heap.allocate(5 * 2 ** 30))).toMatch(/^out-of-memory: .* WebAssembly memory ends at 4 GiB/);
    expect(heap.allocate(3 * PAGE)).toEqual({ start: kept.end, end: 4 * PAGE });
  });

  test('gives the first range that is large enough, as a list of 64-byte cells does', () => {
    const step = fc.record({ allocate: fc.boolean(), size: fc.integer({ min: 0, max: 1000 }), which: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const heap = newHeap(0, 16);
        const cells: boolean[] = [];
        const held: Range[] = [];
        for (const { allocate, size, which } of steps) {
          if (!allocate && held.length > 0) {
            const [range] = held.splice(which % held.length, 1);
            bytes(heap, range).fill(255);
            heap.free(range);
            cells.fill(false, range.start / 64, range.end / 64);
            continue;
          }
          const count = Math.max(1, Math.ceil(size / 64));
          // Cells behind the last that was ever used are free too.
          let at = 0;
          while (cells.slice(at, at + count).some(Boolean)) at++;
          const range = heap.allocate(size);
          expect(range).toEqual({ start: at * 64, end: (at + count) * 64 });
          expect(bytes(heap, range).every((byte) => byte === 0)).toBe(true);
          while (cells.length < at + count) cells.push(false);
          cells.fill(true, at, at + count);
          held.push(range);
        }
      }),
      { numRuns: 300 },
    );
  });
});
