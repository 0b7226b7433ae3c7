// `gradmill doctor` and `gradmill train --doctor`: what a stranger with a CSV file sees.
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../src/cli/command.js';
import { Random } from './engines.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradmill-doctor-'));
  await writeFile(join(folder, 'houses.csv'), houses());
  await writeFile(join(folder, 'noise.csv'), noise());
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function run(args: string, { isTTY = false } = {}): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const io = {
    out: { write: (text: string) => (out += text), isTTY, columns: 100 },
    err: { write: (text: string) => (err += text) },
    cwd: folder,
  };
  const words = args.split(' ').map((word) => (word.endsWith('.csv') || word.endsWith('.safetensors') ? join(folder, word) : word));
  const code = await runCommand(words, io);
  return { code, out, err };
}

/** Prices after area, year, income and town, among columns that say nothing new. */
function houses(): string {
  const random = new Random(3);
  const towns = ['Bern', 'Cork', 'Ash'];
  const lines = Array.from({ length: 300 }, (_, i) => {
    const [area, year, income, town] = [
      random.uniform(40, 200),
      1950 + random.integer(70),
      random.uniform(20_000, 90_000),
      random.integer(3),
    ];
    const zone = 1 + random.integer(3);
    const price = 2500 * area - 900 * (2020 - year) + 2 * income + 50_000 * zone + 30_000 * town + random.uniform(-5000, 5000);
    return [i + 1, area.toFixed(1), year, income.toFixed(0), (income / 1e7).toFixed(6), zone, 7, (area * 10.7639).toFixed(2), area.toFixed(1), towns[town], price.toFixed(0)]; // prettier-ignore
  });
  return ['id,area,year,income,share,zone,version,sqft,size,town,price', ...lines.map((line) => line.join())].join('\n');
}

/** A class that has nothing to do with the columns. */
function noise(): string {
  const random = new Random(4);
  const lines = Array.from({ length: 600 }, () => [
    random.uniform(),
    random.uniform(),
    random.uniform(),
    random.integer(2) === 0 ? 'yes' : 'no',
  ]);
  return ['a,b,c,answer', ...lines.map((line) => line.join())].join('\n');
}

describe('gradmill doctor', () => {
  test('a sound table: columns explained, checks passed, exit code 0, nothing saved', async () => {
    const { code, out, err } = await run('doctor houses.csv --target price');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/numeric columns, as they are in the file\n {2}column +mean +deviation +least +most\n/);
    const remark = (column: string) => new RegExp(`^  ${column} .*\\d  ([a-z].*)$`, 'm').exec(out)?.[1];
    expect(remark('id')).toBe('large; perhaps row numbers: --ignore id');
    expect(remark('year')).toBe('large; far from 0');
    expect(remark('share')).toBe('follows from income by a straight line; tiny');
    expect(remark('zone')).toBe('few whole numbers; if they are names: --categorical zone');
    expect(remark('version')).toBe('the same in every row: --ignore version');
    expect(remark('sqft')).toBe('follows from area by a straight line; large');
    expect(remark('size')).toBe('equal to area: --ignore size; large');
    expect(out.match(/^ {2}ok /gm)).toHaveLength(5);
    expect(out).not.toMatch(/FAIL|undefined|NaN|\x1b/);
    expect(out).toMatch(/^estimate: 100 epochs in \S+ m?s \(\S+ m?s each\); memory: \S+ MB for the model, \S+ MB for the data$/m);
    expect(await readdir(folder)).toEqual(['houses.csv', 'noise.csv']);
  });

  test('the same columns unscaled: errors, each with what to do and why, and exit code 1', async () => {
    const { code, out } = await run('doctor houses.csv --target price --raw');
    expect(code).toBe(1);
    expect(out).toMatch(/^ {2}FAIL {2}inputs are finite and scaled /m);
    expect(out).toMatch(/^findings: \d errors?/m);
    const [, finding] = out.split(/\n\n(?= {2}error {2})/);
    expect(finding).toMatch(/^ {2}error {2}unscaled-inputs\n {4}inputs are not scaled: columns? '(income|year)'/);
    expect(finding).toMatch(/\n {4}do: Standardise each column/);
    expect(finding).toMatch(/\n {4}why: A weight's gradient is proportional to its input/);
    for (const line of out.split('\n').slice(20)) expect(line.length).toBeLessThanOrEqual(120);
  });

  test('a target that the columns say nothing about', async () => {
    const { code, out } = await run('doctor noise.csv --target answer');
    expect(code).toBe(0);
    expect(out).toMatch(/^ {2}warning {2}labels-shuffled$/m);
  });

  test('colours on a terminal only', async () => {
    const { out } = await run('doctor houses.csv --target price --raw', { isTTY: true });
    expect(out).toMatch(/\x1b\[31merror\x1b\[0m/);
    expect(out).toMatch(/\x1b\[31mFAIL\x1b\[0m/);
  });

  test.each<[string, RegExp, number]>([
    ['doctor', /^gradmill: doctor takes one CSV file, got 0/, 2],
    ['doctor houses.csv', /--target is needed/, 2],
    ['doctor houses.csv --target prise', /did you mean 'price'/, 2],
    ['doctor houses.csv --target price --rawr', /did you mean --raw\?/, 2],
    ['doctor nowhere.csv --target price', /^gradmill: file-io: /, 1],
    ['docter houses.csv', /did you mean 'doctor'/, 2],
  ])('gradmill %s', async (line, message, code) => {
    const result = await run(line);
    expect(result).toMatchObject({ code, out: '' });
    expect(result.err).toMatch(message);
  });

  test('--help', async () => {
    const { code, out } = await run('doctor --help');
    expect(code).toBe(0);
    expect(out).toMatch(/^usage: gradmill doctor DATA\.csv --target COLUMN/);
    expect(out).toMatch(/Exit codes: 0 no errors were found/);
  });
});

test('gradmill train --doctor says what it found, and trains all the same', async () => {
  const { code, out } = await run('train houses.csv --target price --doctor --epochs 3 --out houses.safetensors');
  expect(code).toBe(0);
  expect(out.indexOf('findings: ')).toBeGreaterThan(0);
  expect(out.indexOf('epoch 1/3')).toBeGreaterThan(out.indexOf('findings: '));
  expect(out).toMatch(/^saved .*houses\.safetensors$/m);
});
