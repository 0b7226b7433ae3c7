// What training keeps: nothing that grows with the steps, and nothing of models that are forgotten.
import { expect, test } from 'vitest';
import { backend } from '../src/index.js';
import { run } from './child.js';

const programs = new URL('programs/memory.mjs', import.meta.url).href;

async function result(program: string, argument?: number): Promise<unknown> {
  const code = `import { ${program} } from '${programs}'; await ${program}(${argument ?? ''});`;
  const { status, stdout, stderr } = await run(code, { flags: ['--expose-gc'], env: { GRADMILL_THREADS: '2' }, timeout: 110_000 });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout);
}

test('20,000 steps of one job: resident memory grows by at most 2 MiB, the heap by 1 MiB', async () => {
  const { steps, resident, heap } = (await result('steady')) as { steps: number; resident: number; heap: number };
  expect(steps).toBeGreaterThan(10_000);
  expect(resident).toBeLessThanOrEqual(2);
  expect(heap).toBeLessThanOrEqual(1);
}, 120_000);

// WebAssembly gives no page back: what V8 lets lie between two collections, which takes some hundred models to show, stays.
const settled = backend().name === 'wasm' ? 400 : 100;
test(`a thousand models dropped without dispose(): as much memory as after ${settled}`, async () => {
  const [first, last] = (await result('forgotten', settled)) as { native: number; heap: number }[];
  expect(last.native).toBeLessThanOrEqual(first.native * 1.1);
  expect(last.heap).toBeLessThanOrEqual(first.heap + 1);
}, 120_000);

test.runIf(backend().name === 'native' && process.platform === 'linux')(
  'training takes at most 1.25 times its parameters, gradients, moments and activations, from compile on',
  async () => {
    const { peak, needed } = (await result('peak')) as { peak: number; needed: number };
    expect(peak).toBeGreaterThan(needed * 0.9);
    expect(peak).toBeLessThanOrEqual(needed * 1.25);
  },
  120_000,
);
