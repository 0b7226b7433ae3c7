// What the doctor found, as lines for the terminal: for `gradmill doctor` and `gradmill train --doctor`.

import { type Finding, preflight, type PreflightReport, type Severity } from '../diagnostics/index.js';
import type { Model, TrainingData } from './fit.js';
import { formatCount, formatSeconds, oneLine, type Output } from './terminal.js';

export interface ExaminedRun {
  /** Names of the model's inputs. */
  readonly columns?: readonly string[];
  readonly batchSize: number;
  readonly epochs: number;
}

/** Examines a model before it is trained on the data, and says what it found. */
export async function showFindings(model: Model, { x, y }: TrainingData, run: ExaminedRun, out: Output): Promise<PreflightReport> {
  const report = await preflight(model, x, y, run);
  const paint = paletteOf(out);
  const width = Math.min(out.columns !== undefined && out.columns > 40 ? out.columns : 100, 120);
  const lines = [...checkLines(report, paint), '', ...findingLines(report.findings, paint, width), '', estimateLine(report, run), ''];
  out.write(`${lines.join('\n')}\n`);
  return report;
}

type Palette = Readonly<Record<Severity | 'passed' | 'heading', (text: string) => string>>;

/** Colours on a terminal only, and not where NO_COLOR is set (no-color.org). */
export function paletteOf({ isTTY }: Output): Palette {
  const coloured = isTTY === true && !process.env.NO_COLOR;
  const code = (number: number) => (text: string) => (coloured ? `\x1b[${number}m${text}\x1b[0m` : text);
  return { error: code(31), warning: code(33), note: code(36), passed: code(32), heading: code(1) };
}

function checkLines({ checks }: PreflightReport, paint: Palette): string[] {
  const width = Math.max(...checks.map(({ name }) => name.length));
  return [
    paint.heading('checks'),
    ...checks.map(({ name, passed, result }) => {
      const mark = passed ? paint.passed('ok  ') : paint.error('FAIL');
      return `  ${mark}  ${name.padEnd(width)}  ${oneLine(result)}`;
    }),
  ];
}

function findingLines(findings: readonly Finding[], paint: Palette, width: number): string[] {
  const counts = (['error', 'warning', 'note'] as const).flatMap((severity) => {
    const count = findings.filter((finding) => finding.severity === severity).length;
    return count === 0 ? [] : [`${count} ${severity}${count === 1 ? '' : 's'}`];
  });
  return [
    paint.heading(`findings: ${counts.length === 0 ? 'none' : counts.join(', ')}`),
    ...findings.flatMap(({ code, severity, message, advice, theory }, i) => {
      // What a finding of the layer before has said already.
      const repeated = findings.at(i - 1)?.code === code && i > 0;
      const told = findings.at(i + 1)?.code === code;
      return [
        ...(repeated ? [] : ['', `  ${paint[severity](severity)}  ${paint.heading(code)}`]),
        ...paragraph('', message, width),
        ...(told ? [] : [...paragraph('do: ', advice, width), ...paragraph('why: ', theory, width)]),
      ];
    }),
  ];
}

const INDENT = 4;

/** Wrapped at words, indented; what follows the first line stands below the text, not below its label. */
function paragraph(label: string, text: string, width: number): string[] {
  const margin = ' '.repeat(INDENT + label.length);
  const lines: string[] = [];
  let line = ' '.repeat(INDENT) + label;
  let empty = true;
  for (const word of oneLine(text).split(' ')) {
    if (!empty && line.length + 1 + word.length > width) {
      lines.push(line);
      line = margin;
      empty = true;
    }
    line += (empty ? '' : ' ') + word;
    empty = false;
  }
  return [...lines, line];
}

function estimateLine({ estimate }: PreflightReport, { epochs }: ExaminedRun): string {
  const { secondsPerEpoch, seconds, modelBytes, dataBytes } = estimate;
  const megabytes = (bytes: number): string => `${bytes < 1e7 ? (bytes / 1e6).toFixed(1) : formatCount(bytes / 1e6)} MB`;
  const memory = `memory: ${megabytes(modelBytes)} for the model, ${megabytes(dataBytes)} for the data`;
  if (!Number.isFinite(seconds)) return memory;
  return `estimate: ${epochs} epoch${epochs === 1 ? '' : 's'} in ${duration(seconds)} (${duration(secondsPerEpoch)} each); ${memory}`;
}

function duration(seconds: number): string {
  return seconds < 0.1 ? `${Number((seconds * 1000).toPrecision(2))} ms` : formatSeconds(seconds);
}
