// The machine's limits: that they are measured, not how high they are.
import { describe, expect, test } from 'vitest';
import { engine } from '../src/engine.js';
import { measureLimits, measurePeak } from '../src/limits.js';
import { tables } from './engines.js';

describe('limits', () => {
  test.each(tables)('$name', async ({ isa, strict }) => {
    for (const threads of [1, 2]) {
      const limits = await measureLimits(engine(), { threads, isa, strict, seconds: 0.01 });
      expect(limits).toMatchObject({ threads, isa, strict });
      expect(limits.bandwidth).toHaveLength(4);
      for (const rate of [limits.flops, ...limits.bandwidth.map(({ perSecond }) => perSecond)]) {
        expect(rate).toBeGreaterThan(0);
        expect(rate).toBeLessThan(1e16);
      }
      const sizes = limits.bandwidth.map(({ bytes }) => bytes);
      expect(sizes).toEqual([...new Set(sizes)].sort((a, b) => a - b));
      for (const bytes of sizes) expect(bytes % (64 * threads)).toBe(0);
      expect(await measurePeak(engine(), { threads, isa, strict, seconds: 0.01 })).toBeGreaterThan(0);
    }
  });

  test('of the engine as it is, where nothing is said', async () => {
    const { isa, strict } = engine();
    expect(await measureLimits(engine(), { threads: 1, seconds: 0.01 })).toMatchObject({ isa, strict });
  });

  test('the caches that the engine knows grow from level to level', () => {
    const { l1 = 0, l2 = 0, l3 = 0 } = engine().caches ?? {};
    const known = [l1, l2, l3].filter((bytes) => bytes > 0);
    expect(known).toEqual([...known].sort((a, b) => a - b));
    for (const bytes of known) expect(bytes % 1024).toBe(0);
  });
});
