// `gradmill report`: pictures of runs from their logs, as one HTML file.

import { basename, extname } from 'node:path';
import { checkWritable, readRegularFile, writeFileAtomic } from '../node/files.js';
import { describeFlags, parseCommandLine, text, toggle, UsageError } from './flags.js';
import { printable, type Io } from './terminal.js';

const flagTable = {
  out: { ...text('FILE', 'where to write the report (the name of the first log, .html); also -o'), short: 'o' },
  help: toggle('show this help'),
};

const usage = `usage: gradmill report RUN.jsonl [RUN.jsonl …] [flags]

Draws the log of a run, which fit({ log }) and \`gradmill train … --log RUN.jsonl\` write: loss and accuracy, and with
--diagnostics the gradients, updates, activations and weights of each layer. Several runs are compared. The report is one HTML
file that needs no network. Needs: npm install @observablehq/plot linkedom

flags
${describeFlags(flagTable)}
`;

export async function report(args: readonly string[], { out }: Io): Promise<number> {
  const { flags, positionals } = parseCommandLine(args, flagTable);
  if (flags.help) {
    out.write(usage);
    return 0;
  }
  const [first] = positionals;
  if (first === undefined) throw new UsageError('report needs a log: gradmill report RUN.jsonl');
  const { renderPage } = await import('../report/html.js');
  const { LARGEST_LOG, parseLog } = await import('../report/read-log.js');
  const { MOST_RUNS, runPage } = await import('../report/run-report.js');
  if (positionals.length > MOST_RUNS) throw new UsageError(`report compares at most ${MOST_RUNS} runs, got ${positionals.length}`);

  const path = flags.out ?? `${basename(first, extname(first))}.html`;
  const names = namesOf(positionals);
  const runs = [];
  for (const [i, source] of positionals.entries()) runs.push(parseLog(await readRegularFile(source, LARGEST_LOG), source, names[i]));
  await checkWritable(path);
  const html = await renderPage(runPage(runs, new Date().toISOString().slice(0, 16).replace('T', ' ') + ' UTC'));
  await writeFileAtomic(path, [new TextEncoder().encode(html)]);
  out.write(`wrote ${printable(path)}\n`);
  return 0;
}

/** The files' names; where two have the same, their whole paths. */
function namesOf(paths: readonly string[]): string[] {
  const short = paths.map((path) => basename(path, extname(path)));
  return new Set(short).size === short.length ? short : paths.map((path, i) => `${i + 1} ${path}`);
}
