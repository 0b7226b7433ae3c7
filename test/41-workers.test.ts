// The engine in worker_threads that are killed, in processes that end in the middle of a step, over buffers that are taken away:
// never a crash, never a leak, and nothing left running. Each program (programs/training.mjs) has a process of its own.
import { describe, expect, test } from 'vitest';
import { type Ended, run } from './child.js';

const programs = new URL('programs/training.mjs', import.meta.url).href;

function start(program: string, flags: readonly string[] = []): Promise<Ended> {
  // On WebAssembly each of a hundred workers starts two more, which compile the engine.
  return run(`import { ${program} } from '${programs}'; await ${program}();`, { flags, env: { GRADMILL_THREADS: '2' }, timeout: 110_000 });
}

/** What a program that ends well has printed. */
async function result(program: string, flags?: readonly string[]): Promise<unknown> {
  const { status, stdout, stderr } = await start(program, flags);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return JSON.parse(stdout);
}

describe('an environment may end while it trains', () => {
  test('a hundred workers are killed, eight at a time; no memory is lost', async () => {
    const { kills, grown } = (await result('killed')) as { kills: number; grown: number };
    expect(kills).toBe(100);
    // Megabytes between the 40th and the last. Each worker held more than one: sixty leaks would be plain to see.
    expect(grown).toBeLessThan(30);
  }, 120_000);

  test('process.exit()', async () => {
    const { status, stdout, stderr } = await start('exits');
    expect({ status, stderr, worker: JSON.parse(stdout) as unknown }).toEqual({ status: 7, stderr: '', worker: { code: 5 } });
  });

  test('an exception that nobody catches', async () => {
    const { status, stderr } = await start('throws');
    expect(status).toBe(1);
    expect(stderr).toContain('Error: thrown while training');
  });
});

describe('memory in use stays', () => {
  test('a model that nobody holds trains to its end', async () => {
    expect(await result('dropped', ['--expose-gc'])).toEqual({ ended: [3, 3, 3, 3, 3] });
  });

  test('buffers may be transferred or shrunk at any moment', async () => {
    const outcomes = (await result('transferred')) as Record<string, string>;
    const allowed = ['unaffected', 'buffer-detached'];
    expect(Object.entries(outcomes).filter(([, outcome]) => !allowed.includes(outcome))).toEqual([]);
    expect(Object.keys(outcomes)).toHaveLength(5 * 3 * 3 + 3 + 2);
    expect(new Set(Object.values(outcomes))).toEqual(new Set(allowed));
  });
});

describe('threads', () => {
  test('when nothing trains they use no processor, and let the process end', async () => {
    const { busyMilliseconds } = (await result('idles')) as { busyMilliseconds: number };
    expect(busyMilliseconds).toBeLessThan(250);
  });

  test('environments that train at the same time compute what each would alone', async () => {
    expect(await result('together')).toEqual({ workers: 3, weights: 64 * 96 + 96 + 96 * 96 + 96 + 96 * 8 + 8, same: true });
  });

  test('one model predicts while another trains', async () => {
    expect(await result('meanwhile')).toEqual({ right: 50, during: true, after: 'AbortError' });
  });
});
