// The lab, as `npm run lab -- --quick` runs it: every experiment runs on the built library, and what is too short says so.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Ended, root } from './child.js';

const EXPERIMENTS = [
  [1, 'Vanishing and exploding gradients'],
  [2, 'Saturation over training'],
  [3, 'Zig-zag: inputs that share a sign'],
  [4, 'Unequal feature variances'],
  [5, 'Identical weights'],
  [6, 'Initialisation through 50 layers'],
  [7, 'Big and small networks, dead units'],
  [8, 'The lottery ticket'],
  [9, 'Regularise to prune'],
  [10, 'Real data: a table that was not scaled'],
] as const;

function lab(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const command = ['--import', 'tsx', join(root, 'examples/lab/main.ts'), ...args];
    execFile(process.execPath, command, { cwd: root, timeout: 110_000 }, (error, stdout, stderr) => {
      resolve({ status: error ? (error.code ?? error.signal ?? null) : 0, stdout, stderr });
    });
  });
}

describe('npm run lab -- --quick', () => {
  let folder: string;
  let ended: Ended;
  let report: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gradmill-lab-'));
    const output = join(folder, 'report.html');
    ended = await lab('--quick', '--output', output);
    report = await readFile(output, 'utf8').catch(() => '');
  }, 120_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('runs all experiments, and all that it asserts holds', () => {
    expect(ended.stderr).toBe('');
    expect(ended.stdout).not.toContain('✗');
    expect(ended.stdout).toMatch(/all \d+ asserted figures hold/);
    expect(ended.status).toBe(0);
  });

  test.each(EXPERIMENTS)('experiment %i, %s: what is too short to conclude says so', (id, title) => {
    const section = ended.stdout.split(/\n(?=\d+\. )/).find((part) => part.startsWith(`${id}. ${title}\n`));
    expect(section).toMatch(/Too short to conclude/);
    expect(section).toMatch(/^ {2}[✓·] /m);
    expect(report).toContain(title);
  });

  test('writes a report of pictures that needs nothing else', () => {
    expect(report.match(/<svg/g)?.length).toBeGreaterThanOrEqual(EXPERIMENTS.length);
    expect(report).not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
  });
});

test('refuses experiments that do not exist', async () => {
  const { status, stderr } = await lab('--only', '3,11');
  expect(status).toBe(2);
  expect(stderr).toContain('--only');
});
