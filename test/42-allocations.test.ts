// The engine allocates nothing while it trains, or predicts on the calling thread. An addon of the same objects, whose linker counts every call of malloc, new and
// their kin (native/allocations.h), is built here and put into a copy of the package.
import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { root, run } from './child.js';

// Only the linkers of Linux replace functions by name.
describe.skipIf(process.platform !== 'linux')('allocations', () => {
  let folder: string;
  let addon: string;

  beforeAll(async () => {
    const build = join(root, 'native/build');
    await promisify(execFile)('cmake', ['--build', build, '--target', 'gradmill_counting']);
    folder = await mkdtemp(join(tmpdir(), 'gradmill-allocations-'));
    const library = join(folder, 'node_modules/gradmill');
    addon = join(library, 'native/build/gradmill.node');
    for (const path of ['package.json', 'dist']) await cp(join(root, path), join(library, path), { recursive: true });
    await cp(join(build, 'gradmill_counting.node'), addon);
    await cp(join(root, 'test/programs/memory.mjs'), join(folder, 'memory.mjs'));
  }, 300_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('none in a job of 20,000 steps', async () => {
    const program = `import { counted } from './memory.mjs'; await counted(${JSON.stringify(addon)});`;
    const { status, stdout, stderr } = await run(program, { cwd: folder, env: { GRADMILL_THREADS: '2' } });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const { steps, duringSteps, fits } = JSON.parse(stdout) as { steps: number[]; duringSteps: number; fits: number[] };
    expect(steps[1]).toBeGreaterThanOrEqual(20_000);
    expect(duringSteps).toBe(0);
    // Counting works: a model, its plans and its jobs do allocate. And the first steps, before the first count, did not either.
    expect(Math.min(...fits)).toBeGreaterThan(5);
    expect(Math.max(...fits)).toBeLessThan(100);
  });

  test('none in 10,000 predictions on the calling thread', async () => {
    const program = `import { predicted } from './memory.mjs'; await predicted(${JSON.stringify(addon)});`;
    const { status, stdout, stderr } = await run(program, { cwd: folder, env: { GRADMILL_THREADS: '2' } });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({ counts: [0, 0] });
  });
});
