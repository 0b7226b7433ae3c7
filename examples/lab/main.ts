// The lab: the lecture's claims, each put to the test on the real engine. `npm run lab`, `npm run lab -- --quick`,
// `npm run lab -- --only 3,5`. Exit code 1 when a figure does not hold or an experiment fails.
import { writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { backend } from 'gradmill';
import { renderPage } from '../../src/report/html.js';
import type { Experiment, Figure, Section } from '../../src/report/section.js';
import { experiment as vanishing } from './01-vanishing-and-exploding.js';
import { experiment as saturation } from './02-saturation.js';
import { experiment as zigZag } from './03-zig-zag.js';
import { experiment as variances } from './04-unequal-variances.js';
import { experiment as identical } from './05-identical-weights.js';
import { experiment as initialisation } from './06-initialisation.js';
import { experiment as size } from './07-big-and-small.js';
import { experiment as lottery } from './08-lottery-ticket.js';
import { experiment as regularised } from './09-regularise-to-prune.js';
import { experiment as unscaled } from './10-unscaled-data.js';

const EXPERIMENTS: readonly Experiment[] = [
  vanishing,
  saturation,
  zigZag,
  variances,
  identical,
  initialisation,
  size,
  lottery,
  regularised,
  unscaled,
];

const IDS = EXPERIMENTS.map(({ id }) => id).join(', ');

interface Request {
  readonly quick: boolean;
  readonly experiments: readonly Experiment[];
  readonly output: string;
}

const USAGE = `npm run lab -- [options]
  --quick          a minute instead of six: says what is too short to conclude
  --only 3,5       these experiments (${IDS})
  --output FILE    the report (default lab-report.html)`;

/** Undefined: the usage was asked for, or is needed. */
function request(args: readonly string[]): Request | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      output: { type: 'string', default: 'lab-report.html' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const wanted = values.only?.split(',').map(Number) ?? EXPERIMENTS.map(({ id }) => id);
  const unknown = wanted.find((id) => !EXPERIMENTS.some((experiment) => experiment.id === id));
  if (unknown !== undefined) throw new Error(`--only: expected some of ${IDS}, got '${values.only ?? ''}'`);
  return { quick: values.quick, experiments: EXPERIMENTS.filter(({ id }) => wanted.includes(id)), output: values.output };
}

function show({ value, unit }: Figure): string {
  return unit === undefined ? text(value) : `${text(value)} ${unit}`;
}

function text(value: number | string): string {
  if (typeof value === 'string' || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : value.toPrecision(4);
}

const line = (figure: Figure): string => {
  const mark = figure.holds === undefined ? '·' : figure.holds ? '✓' : '✗';
  const expected = figure.expected === undefined ? '' : `  (expected ${figure.expected})`;
  return `  ${mark} ${figure.label}: ${show(figure)}${expected}`;
};

async function run(experiment: Experiment, quick: boolean): Promise<Section> {
  const { id, title, claim } = experiment;
  console.log(`\n${id}. ${title}\n${claim}`);
  const started = performance.now();
  const found = await experiment.run({ quick, note: (text) => console.log(`    ${text}`) }).catch(failed);
  const seconds = (performance.now() - started) / 1000;
  for (const figure of found.figures) console.log(line(figure));
  console.log(`${found.conclusion}\n(${seconds.toFixed(1)} s)`);
  return { id: `experiment-${id}`, title, claim, ...found, seconds };
}

/** What is left of an experiment that threw: a figure that does not hold. */
function failed(error: unknown): Awaited<ReturnType<Experiment['run']>> {
  const value = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const figures = [{ label: 'the experiment', value, expected: 'runs to its end', holds: false }];
  return { paragraphs: [], figures, charts: [], conclusion: 'Nothing can be concluded: the experiment failed.' };
}

const judged = (section: Section): Figure[] => section.figures.filter(({ holds }) => holds !== undefined);
const held = (section: Section): Figure[] => section.figures.filter(({ holds }) => holds);

async function main(args: readonly string[]): Promise<number> {
  const wanted = request(args);
  if (!wanted) {
    console.log(USAGE);
    return 0;
  }
  const { name, isa, threads } = backend();
  const engine = `${name} ${isa}, ${threads} thread${threads === 1 ? '' : 's'}`;
  const length = wanted.quick ? 'quick run' : 'full run';
  console.log(`${length} on ${engine}`);
  const sections: Section[] = [];
  for (const experiment of wanted.experiments) sections.push(await run(experiment, wanted.quick));

  console.log(`\n${'experiment'.padEnd(44)}${'figures that hold'.padEnd(20)}seconds`);
  for (const section of sections) {
    const verdict = `${held(section).length} of ${judged(section).length}`;
    console.log(`${section.title.padEnd(44)}${verdict.padEnd(20)}${section.seconds.toFixed(1).padStart(7)}`);
  }
  const seconds = sections.reduce((sum, section) => sum + section.seconds, 0);
  console.log(`${''.padEnd(64)}${seconds.toFixed(1).padStart(7)}`);
  const page = await renderPage({
    title: 'The lab of gradmill',
    lead:
      'Claims of a lecture on training neural networks, each put to the test on the real engine. Figures with a mark were asserted; the others are reported as measured.' +
      (wanted.quick ? ' This was a quick run: most of it is too short to conclude.' : ''),
    facts: [
      ['run', `${length}, ${formatSeconds(seconds)}`],
      ['engine', engine],
      ['processor', cpus()[0]?.model ?? 'unknown'],
      ['Node.js', process.version],
      ['date', new Date().toISOString().slice(0, 10)],
    ],
    sections,
  });
  await writeFile(wanted.output, page);
  console.log(`report: ${resolve(wanted.output)}`);

  const wrong = sections.flatMap((section) =>
    section.figures.filter(({ holds }) => holds === false).map((figure) => `  ${section.title}\n  ${line(figure)}`),
  );
  if (wrong.length > 0) {
    console.log(`\ndid not hold:\n${wrong.join('\n')}`);
    return 1;
  }
  console.log(`all ${sections.flatMap(judged).length} asserted figures hold`);
  return 0;
}

const formatSeconds = (seconds: number): string =>
  seconds < 100 ? `${seconds.toFixed(0)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  console.error(USAGE);
  process.exitCode = 2;
}
