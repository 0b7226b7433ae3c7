// CSV text to a rectangular table of strings, every row with the line it starts on, for columns.ts to type and encode.
// csv-parse knows quotes and separators; this file adds what a user with a broken file needs: the line and the column.

import { CsvError, parse } from 'csv-parse/sync';
import { GradmillError } from '../errors.js';

export interface Table {
  /** Names the table in errors. */
  readonly source: string;
  readonly header: readonly string[];
  /** As long as the header, each. */
  readonly rows: readonly (readonly string[])[];
  /** The 1-based line of the file on which each row starts: rows with quoted line breaks span several. */
  readonly lines: readonly number[];
}

/** Comma-separated UTF-8 with a header row; blank lines are skipped, spaces round unquoted fields dropped. */
export function parseCsv(bytes: Uint8Array, source: string): Table {
  const invalid = (problem: string, cause?: unknown): GradmillError => new GradmillError('csv-invalid', `${source}: ${problem}`, { cause });
  checkUtf8(bytes, invalid);

  const lineOf = lineCounter(bytes);
  const records: string[][] = [];
  const lines: number[] = [];
  let parsed = 0;
  try {
    parse(bytes, {
      bom: true,
      trim: true,
      skip_empty_lines: true,
      relax_column_count: true, // counted below, where the column's name is known
      record_delimiter: ['\r\n', '\n', '\r'], // detection would settle on the first one and miss the others in mixed files
      on_record: (record: string[], { bytes: end }) => {
        records.push(record);
        lines.push(lineOf(parsed));
        parsed = end;
        return null;
      },
    });
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    throw invalid(`line ${lineOf(parsed)}: ${quotingFault(error.code)}`, error);
  }

  const header = records.at(0);
  if (header === undefined) throw invalid('the file is empty; its first line must name the columns');
  checkHeader(header, lines[0], invalid);
  const rows = records.slice(1);
  const rowLines = lines.slice(1);
  for (const [index, row] of rows.entries()) {
    if (row.length === header.length) continue;
    const counts = `line ${rowLines[index]}: ${row.length} fields, but the header names ${header.length} columns`;
    throw invalid(row.length < header.length ? `${counts}; column '${header[row.length]}' is missing` : counts);
  }
  return { source, header, rows, lines: rowLines };
}

type Invalid = (problem: string, cause?: unknown) => GradmillError;

function checkUtf8(bytes: Uint8Array, invalid: Invalid): void {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw invalid('not UTF-8 text; convert the file first', error);
  }
}

/**
 * The line of the first character at or after a byte offset that is not a line break; offsets must ascend.
 * csv-parse's own count is wrong after a CRLF within quotes, and tells where a row ends, not where it starts.
 */
function lineCounter(bytes: Uint8Array): (offset: number) => number {
  const [lineFeed, carriageReturn] = [0x0a, 0x0d];
  let position = 0;
  let line = 1;
  const isBlank = (byte: number): boolean => byte === lineFeed || byte === carriageReturn || byte === 0x20 || byte === 0x09;
  return (offset) => {
    while (position < bytes.length && (position < offset || isBlank(bytes[position]))) {
      const byte = bytes[position++];
      if (byte === lineFeed || (byte === carriageReturn && bytes[position] !== lineFeed)) line += 1;
    }
    return line;
  };
}

function quotingFault(code: string): string {
  switch (code) {
    case 'CSV_QUOTE_NOT_CLOSED':
      return 'a quoted field that starts in this row is never closed';
    case 'CSV_INVALID_CLOSING_QUOTE':
      return 'a quoted field is followed by more text; a quote within quotes is written twice';
    case 'INVALID_OPENING_QUOTE':
      return 'a quote within an unquoted field; quote the whole field and write the quote twice';
    default:
      return `cannot be parsed (${code})`;
  }
}

function checkHeader(header: readonly string[], line: number, invalid: Invalid): void {
  const seen = new Map<string, number>();
  for (const [index, name] of header.entries()) {
    const place = `line ${line}: column ${index + 1}`;
    if (name === '') throw invalid(`${place} of the header has no name`);
    const earlier = seen.get(name);
    if (earlier !== undefined) throw invalid(`${place} of the header is named '${name}' like column ${earlier}`);
    seen.set(name, index + 1);
  }
}

/** An error about one cell; `row` counts from 0 among the table's rows. */
export function cellError(table: Table, row: number, column: string, problem: string): GradmillError {
  return new GradmillError('csv-invalid', `${table.source}: line ${table.lines[row]}, column '${column}': ${problem}`);
}

/** What spreadsheets, R, NumPy and databases write for "no value". */
export function isMissing(cell: string): boolean {
  return ['', 'NA', 'N/A', 'NaN', 'nan', 'null', 'NULL'].includes(cell);
}

/** The finite decimal number that the whole cell is, or undefined: stricter than Number(), which reads '' and '0x10'. */
export function parseNumber(cell: string): number | undefined {
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(cell) ? Number(cell) : NaN;
  return Number.isFinite(number) ? number : undefined;
}

/** One line of CSV, quoted where needed. */
export function formatCsvRow(fields: readonly (string | number)[]): string {
  return fields.map((field) => quoteField(String(field))).join(',') + '\n';
}

/** Outer spaces are quoted too: parsers that trim, ours among them, would lose them. */
function quoteField(field: string): string {
  return field === '' || /[",\r\n]|^\s|\s$/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}
