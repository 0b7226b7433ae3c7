// The gradmill program as a user meets it: flags, progress, training on images and tables, predicting, Ctrl-C, closed pipes.
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../src/cli/command.js';
import { parseCsv } from '../src/cli/csv.js';
import { Progress } from '../src/cli/progress.js';
import { formatClock, formatCount, formatLoss, formatPercent, formatSeconds, oneLine, printable } from '../src/cli/terminal.js';
import { loadModel } from '../src/index.js';
import { writeFileAtomic } from '../src/node/files.js';
import { encodeSafetensors } from '../src/safetensors.js';

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const root = fileURLToPath(new URL('..', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradmill-cli-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});
const path = (name: string): string => join(folder, name);

/** Within this process: fast, and shows exactly what a command writes. */
async function run(...args: string[]): Promise<Run> {
  let [out, err] = ['', ''];
  const io = { out: { write: (text: string) => (out += text) }, err: { write: (text: string) => (err += text) }, cwd: folder };
  const code = await runCommand(args, io);
  return { code, out, err };
}

/** A process of its own, as installed: for signals, pipes and flags that set up the engine. */
function start(...args: string[]): ChildProcessWithoutNullStreams {
  const program = join(root, 'src/cli/main.ts');
  return spawn(process.execPath, ['--import', import.meta.resolve('tsx'), program, ...args], { cwd: folder });
}

async function ended(child: ChildProcessWithoutNullStreams): Promise<Run> {
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const [code] = (await once(child, 'close')) as [number];
  return { code, out, err };
}

/** Uniform in [0, 1), the same in every run. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Leaves of three species: two measures, a colour, and a name with a comma. */
function leaves(rows: number): string {
  const random = generator(7);
  const kinds = [
    { species: 'elm', length: 6, width: 3, colors: ['green', 'dark green'] },
    { species: 'oak, red', length: 9, width: 5, colors: ['red', 'green'] },
    { species: 'willow', length: 10, width: 1.5, colors: ['silver', 'green'] },
  ];
  const lines = Array.from({ length: rows }, (_, row) => {
    const { species, length, width, colors } = kinds[Math.floor(random() * kinds.length)];
    const noise = (): number => 1.6 * (random() + random() - 1);
    return `${row},${(length + noise()).toFixed(2)},${(width + noise()).toFixed(2)},${colors[Math.floor(random() * 2)]},"${species}"`;
  });
  return `row,length,width,color,species\n${lines.join('\n')}\n`;
}

/** Houses whose price follows their area, age and town; in dollars, so that nothing is near 0 or 1. */
function houses(rows: number, end: string): string {
  const random = generator(11);
  const towns = [
    ['"Ashford, ""Old Town"""', 90_000],
    ['Bern', 250_000],
    ['Cork', 160_000],
  ] as const;
  const lines = Array.from({ length: rows }, () => {
    const [town, base] = towns[Math.floor(random() * towns.length)];
    const [area, age] = [40 + 160 * random(), 100 * random()];
    const price = base + 2500 * area - 900 * age + 8000 * (random() - 0.5);
    return `${area.toFixed(1)},${town},${Math.round(price)},${age.toFixed(0)}`;
  });
  return `\ufeff${['area,town,price,age', ...lines].join(end)}${end}`;
}

function predictions({ out }: Run): Record<string, string>[] {
  const { header, rows } = parseCsv(Buffer.from(out), 'predictions');
  return rows.map((row) => Object.fromEntries(header.map((name, index) => [name, row[index]])));
}

const lastLines = ({ out }: Run, count: number): string[] => out.trimEnd().split('\n').slice(-count);

describe('command lines', () => {
  test.each<[string, RegExp]>([
    ['', /^gradmill: a command is needed: train, doctor, predict, info, report, bench, build/],
    ['trian mnist', /unknown command 'trian', did you mean 'train'\?/],
    ['--helpp', /unknown command '--helpp'/],
    ['train', /train needs data: 'mnist', or a CSV file/],
    ['train mnist more', /takes one data set, got 2/],
    ['train mnist --epoch 3', /unknown flag --epoch, did you mean --epochs\?/],
    ['train mnist --frobnicate', /unknown flag --frobnicate$/m],
    ['train mnist -x', /unknown flag -x/],
    ['train mnist --__proto__ 1', /unknown flag --__proto__/],
    ['train mnist --epochs', /--epochs needs a value: --epochs COUNT/],
    ['train mnist --out --strict', /--out needs a value: --out FILE/],
    ['train mnist --out=', /--out expects/],
    ['train mnist --strict=yes', /--strict takes no value, got 'yes'/],
    ['train mnist --epochs 1 --epochs 2', /--epochs is given twice/],
    ['train mnist --epochs 0', /--epochs expects a whole number from 1 to 2147483647, got '0'/],
    ['train mnist --epochs 1.5', /--epochs expects a whole number.*got '1\.5'/],
    ['train mnist --epochs 1e3', /--epochs expects/],
    ['train mnist --batch-size many', /--batch-size expects a whole number/],
    ['train mnist --seed -1', /--seed expects a whole number from 0 to 4294967295, got '-1'/],
    ['train mnist --seed 4294967296', /--seed expects/],
    ['train mnist --threads 0', /--threads expects/],
    ['train mnist --hidden 512,,512', /--hidden expects whole numbers of at least 1 separated by commas, or 'none', got '512,,512'/],
    ['train mnist --hidden 0', /--hidden expects/],
    ['train mnist --learning-rate 0', /--learning-rate expects a number above 0, got '0'/],
    ['train mnist --learning-rate NaN', /--learning-rate expects/],
    ['train mnist --learning-rate 1e999', /--learning-rate expects/],
    ['train mnist --activation rellu', /--activation expects one of linear, .*, got 'rellu'; did you mean 'relu'\?/],
    ['train mnist --backend gpu', /--backend expects one of auto, native, wasm, got 'gpu'$/m],
    ['train mnist --target digit', /--target is for CSV files, not for mnist/],
    ['train a.csv --target x --validation-split 1', /--validation-split expects a number from 0 and below 1, got '1'/],
    ['train a.csv --target x --task clasification', /got 'clasification'; did you mean 'classification'\?/],
    ['train a.csv --target x --ignore a,', /--ignore expects names separated by commas, got 'a,'/],
    ['predict model.safetensors', /predict needs a model and a table/],
    ['predict model.safetensors a.csv b.csv', /predict needs a model and a table/],
    ['info', /info needs one model/],
  ])('gradmill %s: one line on stderr and exit code 2', async (line, message) => {
    const { code, out, err } = await run(...line.split(' ').filter((word) => word !== ''));
    expect(err).toMatch(message);
    expect(err).toMatch(/^gradmill: [^\n]+\n$/);
    expect({ code, out }).toEqual({ code: 2, out: '' });
  });

  test.each(['--help', '-h', 'help', 'train --help', 'train mnist -h', 'predict --help', 'info --help', 'build --help'])(
    'gradmill %s',
    async (line) => {
      const { code, out, err } = await run(...line.split(' '));
      expect({ code, err }).toEqual({ code: 0, err: '' });
      expect(out).toMatch(/^usage: gradmill /);
      expect(Math.max(...out.split('\n').map((text) => text.length))).toBeLessThanOrEqual(130);
    },
  );

  test('gradmill --version', async () => {
    const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
    expect(await run('--version')).toEqual({ code: 0, out: `${version}\n`, err: '' });
  });

  test('a failure is one line with its code, exit code 1, and a stack only on request', async () => {
    const quiet = await run('info', path('none.safetensors'));
    expect(quiet).toMatchObject({ code: 1, out: '' });
    expect(quiet.err).toMatch(/^gradmill: file-io: cannot read '.*none\.safetensors': no such file or directory \(ENOENT\)\n$/);
    process.env.GRADMILL_DEBUG = '1';
    try {
      expect((await run('info', path('none.safetensors'))).err).toMatch(
        /^GradmillError: cannot read[^]*\n {4}at [^]*\ngradmill: file-io: /,
      );
    } finally {
      delete process.env.GRADMILL_DEBUG;
    }
  });

  test('an output that cannot be written is found before training', async () => {
    const { code, out, err } = await run('train', 'mnist', '--out', path('none/model.safetensors'));
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(/^gradmill: file-io: cannot write '.*none\/model\.safetensors': no such file or directory/);
  });
});

describe('progress', () => {
  class Recorder {
    text = '';
    readonly isTTY: boolean;
    readonly columns: number;
    constructor(isTTY: boolean, columns = 100) {
      this.isTTY = isTTY;
      this.columns = columns;
    }
    write(text: string): void {
      this.text += text;
    }
  }
  const status = {
    epoch: 2,
    epochs: 5,
    batch: 234,
    batches: 468,
    loss: 0.30211,
    accuracy: 0.9123,
    samplesPerSecond: 61234.5,
    secondsLeft: 61,
  };
  const epoch = { epoch: 2, epochs: 5, loss: 0.25, accuracy: 0.925, seconds: 1.234, samplesPerSecond: 60000 };

  test('a terminal has one live line an epoch, no wider than itself', () => {
    const terminal = new Recorder(true);
    const progress = new Progress(terminal);
    progress.batch(status);
    expect(terminal.text).toBe('\repoch 2/5  [===========>            ]  loss 0.3021  accuracy 91.23 %  61,235 samples/s  1:01 left\x1b[K');
    terminal.text = '';
    progress.epoch({ ...epoch, valLoss: 0.5, valAccuracy: 0.75 });
    progress.end();
    const shown = 'epoch 2/5  loss 0.2500  accuracy 92.50 %  validation loss 0.5000  accuracy 75.00 %  60,000 samples/s  1.23 s';
    expect(terminal.text).toBe(`\r${shown}\x1b[K\n`); // stays, so it may wrap
  });

  test.each([
    [0, 79],
    [80, 79],
    [66, 65],
    [40, 39],
  ])('a live line fits a terminal of %i columns', (columns, longest) => {
    const terminal = new Recorder(true, columns);
    new Progress(terminal).batch(status);
    const line = /^\r(.*)\x1b\[K$/.exec(terminal.text)![1];
    expect(line.length).toBeLessThanOrEqual(longest);
    expect(line).toMatch(/^epoch 2\/5 {2}(\[=+> +\] {2})?loss 0\.3021 {2}a/);
  });

  test('a training that ends early leaves its line', () => {
    const terminal = new Recorder(true);
    const progress = new Progress(terminal);
    progress.batch(status);
    progress.end();
    progress.end();
    expect(terminal.text.endsWith('left\x1b[K\n')).toBe(true);
  });

  test('a pipe gets plain lines, a few an epoch, none too soon', () => {
    const pipe = new Recorder(false);
    let now = 0;
    const progress = new Progress(pipe, () => now);
    for (const each of [1, 2]) {
      for (let batch = 1; batch <= 400; batch++) {
        now += each === 1 ? 0.02 : 0.0002; // a slow epoch and a fast one
        progress.batch({ ...status, epoch: each, batch, batches: 400 });
      }
      progress.epoch({ ...epoch, epoch: each });
    }
    expect(pipe.text).not.toMatch(/[\r\x1b]/);
    expect(pipe.text.split('\n').map((line) => line.split('  ').slice(0, 2).join(' '))).toEqual([
      'epoch 1/5 batch 100/400',
      'epoch 1/5 batch 200/400',
      'epoch 1/5 batch 300/400',
      'epoch 1/5 loss 0.2500',
      'epoch 2/5 loss 0.2500',
      '',
    ]);
  });

  test('of many epochs about twenty leave a line, the first and last among them', () => {
    for (const isTTY of [true, false]) {
      const recorder = new Recorder(isTTY);
      const progress = new Progress(recorder);
      for (let each = 1; each <= 1000; each++) progress.epoch({ ...epoch, epoch: each, epochs: 1000 });
      progress.end();
      const lines = recorder.text.trimEnd().split('\n');
      expect(lines).toHaveLength(21);
      expect(lines[0]).toContain('epoch    1/1000');
      expect(lines[20]).toContain('epoch 1000/1000');
    }
  });

  test('numbers as people read them', () => {
    expect([0.30211, 0, 12345.678, 123456, 0.00012345, NaN].map(formatLoss)).toEqual([
      '0.3021',
      '0.0000',
      '12345.6780',
      '1.235e+5',
      '1.234e-4',
      'NaN',
    ]);
    expect(formatPercent(0.97714)).toBe('97.71 %');
    expect([61234.5, 999, Infinity].map(formatCount)).toEqual(['61,235', '999', '–']);
    expect([0, 6.2, 59.4, 750, 3723, NaN].map(formatClock)).toEqual(['0:00', '0:07', '1:00', '12:30', '1:02:03', '-:--']);
    expect([1.234, 12.34, 75].map(formatSeconds)).toEqual(['1.23 s', '12.3 s', '1:15']);
  });

  test('names out of files cannot steer the terminal', () => {
    expect(printable('a\x1b[31m\r\u009bb\nc')).toBe('a?[31m??b\nc');
    expect(oneLine('a \r\n b\x07')).toBe('a b?');
  });
});

describe('a classification of a table', () => {
  let trained: Run;
  beforeAll(async () => {
    await writeFile(path('leaves.csv'), leaves(300));
    trained = await run(
      'train',
      path('leaves.csv'),
      '--target',
      'species',
      '--ignore',
      'row',
      '--epochs',
      '30',
      '--out',
      path('leaves.safetensors'),
    );
  });

  test('says what it does, learns, and ends with its quality', () => {
    expect(trained).toMatchObject({ code: 0, err: '' });
    expect(trained.out).toMatch(/^backend {3}native (sse2|avx2|avx512|neon), \d+ threads?/m);
    expect(trained.out).toMatch(/^data .*leaves\.csv, 240 training and 60 validation rows$/m);
    expect(trained.out).toMatch(/^inputs {4}2 numeric, 1 categorical \(color: 4\) columns, 6 inputs$/m);
    expect(trained.out).toMatch(/^target {4}classification of 'species' into 3 classes \('species' is text\)$/m);
    expect(trained.out).toMatch(/^epoch 30\/30 {2}loss \d\.\d{4} {2}accuracy \d+\.\d\d % {2}validation loss \d\.\d{4} {2}accuracy/m);
    expect(lastLines(trained, 5)).toEqual([
      expect.stringMatching(/^training accuracy \d+\.\d\d % \(240 rows\)$/),
      expect.stringMatching(/^validation accuracy \d+\.\d\d % \(60 rows\)$/),
      expect.stringMatching(/^accuracy \d+\.\d\d % \(all 300 rows\)$/),
      expect.stringMatching(/^trained in .* s, [\d,]+ samples\/s$/),
      `saved ${path('leaves.safetensors')}`,
    ]);
    expect(Number(/^validation accuracy (\S+)/m.exec(trained.out)![1])).toBeGreaterThan(85);
  });

  test('predict on the training file reproduces the accuracy that train printed', async () => {
    const predicted = await run('predict', path('leaves.safetensors'), path('leaves.csv'));
    expect(predicted).toMatchObject({ code: 0, err: '' });
    expect(predicted.out).toMatch(/^prediction,probability,elm,"oak, red",willow\n/);
    const { rows } = parseCsv(Buffer.from(leaves(300)), 'leaves');
    const right = predictions(predicted).filter(({ prediction }, row) => prediction === rows[row][4]).length;
    expect(trained.out).toContain(`\naccuracy ${formatPercent(right / 300)} (all 300 rows)\n`);
    for (const row of predictions(predicted)) {
      const probabilities = ['elm', 'oak, red', 'willow'].map((name) => Number(row[name]));
      expect(probabilities.reduce((sum, value) => sum + value)).toBeCloseTo(1, 6);
      expect(Number(row.probability)).toBe(Math.max(...probabilities));
      expect(Number(row[row.prediction])).toBe(Number(row.probability));
    }
  });

  test('columns are matched by name; the target is not needed, other columns not looked at', async () => {
    const expected = predictions(await run('predict', path('leaves.safetensors'), path('leaves.csv')));
    const { rows } = parseCsv(Buffer.from(leaves(300)), 'leaves');
    await writeFile(
      path('new.csv'),
      'color,note,width,length\r\n' + rows.map(([, length, width, color]) => `${color},,${width},${length}\r\n`).join(''),
    );
    expect(predictions(await run('predict', path('leaves.safetensors'), path('new.csv')))).toEqual(expected);
    await writeFile(path('header.csv'), 'color,width,length\n');
    expect((await run('predict', path('leaves.safetensors'), path('header.csv'))).out).toBe(
      'prediction,probability,elm,"oak, red",willow\n',
    );
  });

  test.each<[string, string, RegExp]>([
    ['an unknown category', 'length,width,color\n1,2,green\n1,2,purple\n', /line 3, column 'color': unknown category 'purple'/],
    ['a missing column', 'length,color\n1,green\n', /line 1: the column 'width' is missing/],
    ['a missing value', 'length,width,color\n1,,green\n', /line 2, column 'width': the value is missing/],
    ['a word for a number', 'length,width,color\n1,"wide\n\nvery",green\n', /line 2, column 'width': 'wide very' is not a number/],
    ['a ragged row', 'length,width,color\n1,2,green\n1,2\n', /line 3: 2 fields, but the header names 3 columns; column 'color' is missing/],
  ])('%s', async (_, text, message) => {
    await writeFile(path('bad.csv'), text);
    const { code, out, err } = await run('predict', path('leaves.safetensors'), path('bad.csv'));
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(/^gradmill: csv-invalid: [^\n]+\n$/);
    expect(err).toMatch(message);
  });

  test('info shows the layers and the columns', async () => {
    const { code, out } = await run('info', path('leaves.safetensors'));
    expect(code).toBe(0);
    expect(out).toMatch(/^input {5}'length', mean [\d.]+, deviation [\d.]+$/m);
    expect(out).toMatch(/^input {5}'color', one of dark green, green, red, silver$/m);
    expect(out).toMatch(/^target {4}classification of 'species': elm, oak, red, willow$/m);
  });

  test('the same seed gives the same file, another seed another', async () => {
    const train = (out: string, seed: string): Promise<Run> =>
      run('train', path('leaves.csv'), '--target', 'species', '--epochs', '2', '--hidden', '8', '--seed', seed, '--out', path(out));
    await Promise.all([train('a', '5'), train('b', '5'), train('c', '6')]);
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => readFile(path(name))));
    expect(a.equals(b)).toBe(true);
    expect(a.equals(c)).toBe(false);
  });

  test.each<[string, string[], RegExp]>([
    ['no target', [], /--target is needed: which column is to be predicted\? columns of .*: row, length, width, color, species/],
    ['a misspelt target', ['--target', 'spezies'], /--target: there is no column 'spezies'; did you mean 'species'\?/],
    ['a misspelt column', ['--target', 'species', '--ignore', 'rwo'], /--ignore: there is no column 'rwo'; did you mean 'row'\?/],
    ['a target left out', ['--target', 'species', '--ignore', 'species'], /--ignore: 'species' cannot be left out/],
  ])('%s', async (_, flags, message) => {
    const { code, out, err } = await run('train', path('leaves.csv'), ...flags);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toMatch(message);
  });

  test('text cannot be a regression', async () => {
    const { code, err } = await run('train', path('leaves.csv'), '--target', 'species', '--task', 'regression');
    expect(code).toBe(1);
    expect(err).toMatch(/csv-invalid: .*leaves\.csv: line 2, column 'species': '.*' is not a number/);
  });
});

describe.each([
  ['\n', 'LF'],
  ['\r\n', 'CRLF'],
])('a regression of a table with BOM, quotes and line breaks %j', (end, name) => {
  let trained: Run;
  beforeAll(async () => {
    await writeFile(path(`${name}.csv`), houses(400, end));
    trained = await run('train', path(`${name}.csv`), '--target', 'price', '--epochs', '60', '--out', path(`${name}.safetensors`));
  });

  test('is decided by the target and measured in its unit', () => {
    expect(trained).toMatchObject({ code: 0, err: '' });
    expect(trained.out).toMatch(/^target {4}regression of 'price' \('price' is numeric; --task classification to change\)$/m);
    const [, rmse, r2] = /^validation RMSE (\S+) R² (\S+) \(80 rows\)$/m.exec(trained.out)!;
    expect(Number(rmse)).toBeGreaterThan(1000); // the noise alone has 2309
    expect(Number(rmse)).toBeLessThan(15_000);
    expect(Number(r2)).toBeGreaterThan(0.98);
  });

  test('predictions are in the unit of the target', async () => {
    const predicted = predictions(await run('predict', path(`${name}.safetensors`), path(`${name}.csv`)));
    const { rows } = parseCsv(Buffer.from(houses(400, end)), 'houses');
    const squares = predicted.map(({ prediction }, row) => (Number(prediction) - Number(rows[row][2])) ** 2);
    const rmse = Math.sqrt(squares.reduce((sum, square) => sum + square) / 400);
    const printed = Number(/^RMSE (\S+) R² \S+ \(all 400 rows\)$/m.exec(trained.out)![1]);
    expect(rmse / printed).toBeCloseTo(1, 3);
  });
});

describe('tables that are hard to learn from', () => {
  const train = async (text: string, ...flags: string[]): Promise<Run> => {
    await writeFile(path('hard.csv'), text);
    return run('train', path('hard.csv'), '--target', 'y', '--epochs', '2', '--out', path('hard.safetensors'), ...flags);
  };

  test('two rows', async () => {
    expect(await train('x,y\n1,a\n2,b\n')).toMatchObject({ code: 0, err: '' });
  });

  test('no validation rows, no hidden layers, constant columns', async () => {
    const { code, out } = await train('x,c,y\n1,5,0.5\n2,5,1.5\n3,5,2.5\n', '--validation-split', '0', '--hidden=none');
    expect(code).toBe(0);
    expect(out).not.toContain('validation RMSE');
    expect(out).toMatch(/^training RMSE \S+ R² \S+ \(3 rows\)$/m);
  });

  test('a constant target', async () => {
    expect((await train('x,y\n1,0.5\n2,0.5\n')).out).toMatch(/^RMSE \S+ R² undefined \(all 2 rows\)$/m);
  });

  test.each<[string, string, RegExp]>([
    ['no rows', 'x,y\n', /empty-data: .*hard\.csv: there are no rows/],
    ['a missing value', 'x,y\n1,a\n2,b\n,a\n', /csv-invalid: .*hard\.csv: line 4, column 'x': the value is missing/],
    ['a ragged row', 'x,y\n1,a\n2\n', /csv-invalid: .*hard\.csv: line 3: 1 fields/],
    ['one class', 'x,y\n1,a\n2,a\n', /csv-invalid: .*every row of the target 'y' is 'a'/],
  ])('%s', async (_, text, message) => {
    const { code, out, err } = await train(text);
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(message);
  });
});

describe('files that are not what they should be', () => {
  test('a model that was not trained on a table', async () => {
    await writeFile(path('digits.csv'), 'x\n1\n');
    await run('train', 'mnist', '--epochs', '1', '--hidden', 'none', '--batch-size', '1000', '--out', path('digits.safetensors'));
    const { code, err } = await run('predict', path('digits.safetensors'), path('digits.csv'));
    expect(code).toBe(1);
    expect(err).toMatch(/invalid-argument: .*digits\.safetensors: this model was not trained on a table/);
    expect((await run('info', path('digits.safetensors'))).code).toBe(0);
  });

  test('a model file without a model, or none at all', async () => {
    await writeFileAtomic(path('empty.safetensors'), encodeSafetensors([], {}));
    expect((await run('info', path('empty.safetensors'))).err).toMatch(/^gradmill: file-invalid: /);
    expect((await run('info', path('leaves.csv'))).err).toMatch(/^gradmill: file-invalid: /);
  });

  test('a model whose table description was tampered with', async () => {
    const model = await loadModel(path('leaves.safetensors'));
    const tampered = async (change: (text: string) => string): Promise<Run> => {
      await model.save(path('tampered.safetensors'), { metadata: { table: change(model.metadata.table) } });
      return run('predict', path('tampered.safetensors'), path('leaves.csv'));
    };
    expect((await tampered((text) => text)).code).toBe(0);
    expect((await tampered((text) => text.slice(1))).err).toMatch(
      /^gradmill: file-invalid: .*table description in the metadata is not JSON/,
    );
    expect((await tampered((text) => text.replace('"elm",', ''))).err).toMatch(/^gradmill: file-invalid: .*outputs do not fit/);
    expect((await tampered((text) => text.replace('"silver"', '"silver","x"'))).err).toMatch(
      /^gradmill: file-invalid: .*inputs do not fit/,
    );
  });
});

describe('the program', () => {
  test('the main job: MNIST in a process of its own', async () => {
    const flags = ['--epochs', '2', '--hidden', '32', '--threads', '1', '--strict', '--backend', 'native', '--seed', '3'];
    const mnist = await ended(start('train', 'mnist', ...flags));
    expect(mnist).toMatchObject({ code: 0, err: '' });
    expect(mnist.out).toMatch(/^backend {3}native \S+, 1 thread, strict/m);
    expect(mnist.out).toMatch(/^data {6}MNIST, 60,000 training and 10,000 test images of 784 pixels$/m);
    expect(mnist.out).toMatch(/^training {2}2 epochs, batch 128, Adam 0\.001, seed 3$/m);
    expect(mnist.out).toMatch(/^epoch 2\/2 {2}loss 0\.\d{4} {2}accuracy 9\d\.\d\d % {2}[\d,]+ samples\/s/m);
    expect(lastLines(mnist, 3)).toEqual([
      expect.stringMatching(/^test accuracy 9[4-6]\.\d\d %$/),
      expect.stringMatching(/^trained in \S+( s)?, [\d,]+ samples\/s$/),
      'saved mnist.safetensors',
    ]);
    expect((await stat(path('mnist.safetensors'))).size).toBeGreaterThan(4 * (784 * 32 + 32 * 10));
  });

  test('Ctrl-C stops, saves what was learned, and says so', async () => {
    const child = start('train', 'mnist', '--epochs', '1000', '--hidden', '64', '--out', 'stopped.safetensors');
    const run = ended(child);
    child.stdout.on('data', (text: string) => {
      if (text.includes('epoch    1/1000  ')) child.kill('SIGINT');
    });
    const { code, out, err } = await run;
    expect({ code, err }).toEqual({ code: 130, err: '' });
    expect(out).toMatch(/\nstopped by Ctrl-C in epoch \d+ of 1000; saved what was learned: stopped\.safetensors\n$/);
    const model = await loadModel(path('stopped.safetensors'));
    expect(model.weights.map(({ shape }) => shape)).toEqual([[784, 64], [64], [64, 10], [10]]);
  });

  test('a reader that leaves early is no error', async () => {
    await writeFile(path('many.csv'), leaves(20_000));
    const child = start('predict', 'leaves.safetensors', 'many.csv');
    child.stdout.once('data', () => child.stdout.destroy());
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    const [code] = (await once(child, 'exit')) as [number];
    expect({ code, err }).toEqual({ code: 0, err: '' });
  });

  test('on WebAssembly when asked to', async () => {
    const { code, out, err } = await ended(start('train', path('leaves.csv'), '--target', 'species', '--epochs', '2', '--backend', 'wasm'));
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^backend {3}wasm simd128, \d+ threads? \(GRADMILL_BACKEND=wasm\)$/m);
  });

  describe('without the native addon', () => {
    beforeAll(async () => {
      const home = path('installed');
      await mkdir(home);
      for (const part of ['dist', 'wasm', 'package.json']) await cp(join(root, part), join(home, part), { recursive: true });
      await symlink(join(root, 'node_modules'), join(home, 'node_modules'));
    });
    const installed = (...args: string[]) => ended(spawn(process.execPath, [path('installed/dist/cli/main.js'), ...args], { cwd: folder }));

    test('trains on WebAssembly, and says in one line why and what would help', async () => {
      const { code, out, err } = await installed('train', 'leaves.csv', '--target', 'species', '--epochs', '2');
      expect({ code, err }).toEqual({ code: 0, err: '' });
      expect(out).toMatch(
        /^backend {3}wasm simd128, \d+ threads? \(the native addon is not built; `npx gradmill build` would give the native engine\)$/m,
      );
      expect(out).toMatch(/^saved leaves\.safetensors$/m);
    });

    test('refuses --backend native in one line', async () => {
      const { code, err } = await installed('train', 'leaves.csv', '--target', 'species', '--backend', 'native');
      expect(code).toBe(1);
      expect(err).toMatch(/^gradmill: backend-unavailable: GRADMILL_BACKEND=native: [^\n]+`npx gradmill build`\n$/);
    });
  });
});
