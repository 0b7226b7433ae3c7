// Decides from a table and the user's flags what each column is and what is to be predicted; every decision that a user
// might want to change is said in a note. train.ts calls it; means and deviations come from the training rows only.

import { GradmillError } from '../errors.js';
import { Standardizer } from '../scaling/standardizer.js';
import { cellError, isMissing, parseNumber, type Table } from './csv.js';
import { maxCategories, type InputColumn, type TableSchema, type Target } from './schema.js';

export type Task = Target['task'];

export interface ColumnChoices {
  readonly target: string;
  readonly task?: Task | undefined;
  /** Columns whose numbers are names: postal codes, months. */
  readonly categorical: readonly string[];
  readonly ignore: readonly string[];
  /** Numeric inputs are left as they are. Default false. */
  readonly raw?: boolean;
}

export interface InferredSchema {
  readonly schema: TableSchema;
  readonly notes: readonly string[];
}

/** Whole numbers with at most this many values are taken for classes. */
const maxNumericClasses = 20;

const UNSCALED = { mean: 0, standardDeviation: 1 };

/** All names in `choices` must be columns of the table. */
export function inferSchema(table: Table, choices: ColumnChoices, trainingRows: readonly number[]): InferredSchema {
  const notes: string[] = [];
  const columns: InputColumn[] = [];
  let target: Target | undefined;
  for (const [index, name] of table.header.entries()) {
    if (choices.ignore.includes(name)) continue;
    const column = readColumn(table, index);
    if (name === choices.target) {
      target = inferTarget(table, column, choices, trainingRows, notes);
    } else if (column.numbers !== undefined && !choices.categorical.includes(name)) {
      columns.push({ kind: 'numeric', name, ...(choices.raw ? UNSCALED : scaling(table, name, column.numbers, trainingRows)) });
    } else {
      noteMixture(table, column, choices, notes);
      columns.push({ kind: 'categorical', name, categories: sortedCategories(table, column) });
    }
  }
  if (target === undefined) throw new GradmillError('invalid-argument', `${table.source}: no target column '${choices.target}'`);
  if (columns.length === 0) throw new GradmillError('csv-invalid', `${table.source}: no column but the target is left to learn from`);
  return { schema: { columns, target }, notes };
}

interface Column {
  readonly name: string;
  readonly cells: readonly string[];
  /** Undefined when any cell is not a number. */
  readonly numbers: readonly number[] | undefined;
}

function readColumn(table: Table, index: number): Column {
  const name = table.header[index];
  const cells = table.rows.map((row) => row[index]);
  const missing = cells.findIndex(isMissing);
  if (missing !== -1) {
    const shown = cells[missing] === '' ? 'the value is missing' : `the value is missing ('${cells[missing]}')`;
    throw cellError(table, missing, name, `${shown}; fill it in, remove the row, or leave the column out with --ignore`);
  }
  const numbers = cells.map(parseNumber);
  return { name, cells, numbers: numbers.every((number) => number !== undefined) ? numbers : undefined };
}

function inferTarget(table: Table, column: Column, choices: ColumnChoices, trainingRows: readonly number[], notes: string[]): Target {
  const { name, cells, numbers } = column;
  const distinct = new Set(cells).size;
  const wholeNumbers = numbers?.every(Number.isInteger) === true;
  const looksLikeClasses = numbers === undefined || (wholeNumbers && distinct <= maxNumericClasses) || choices.categorical.includes(name);
  const task = choices.task ?? (looksLikeClasses ? 'classification' : 'regression');

  let reason = 'as asked with --task';
  if (choices.task === undefined) {
    if (numbers === undefined) reason = `'${name}' is text`;
    else if (task === 'regression') reason = `'${name}' is numeric; --task classification to change`;
    else if (choices.categorical.includes(name)) reason = 'as asked with --categorical';
    else reason = `'${name}' is one of ${distinct} whole numbers; --task regression to change`;
  }

  if (task === 'classification') {
    const classes = sortedCategories(table, column);
    if (classes.length < 2) {
      throw new GradmillError(
        'csv-invalid',
        `${table.source}: every row of the target '${name}' is '${classes[0]}'; nothing to tell apart`,
      );
    }
    notes.push(`classification of '${name}' into ${classes.length} classes (${reason})`);
    return { task, name, classes };
  }
  if (numbers === undefined) {
    const row = cells.findIndex((cell) => parseNumber(cell) === undefined);
    throw cellError(table, row, name, `'${cells[row]}' is not a number, as the target of a regression must be`);
  }
  notes.push(`regression of '${name}' (${reason})`);
  return { task, name, ...scaling(table, name, numbers, trainingRows) };
}

/** One stray word makes a numeric column categorical; the user should hear of it. */
function noteMixture(table: Table, { name, cells, numbers }: Column, choices: ColumnChoices, notes: string[]): void {
  if (numbers !== undefined || choices.categorical.includes(name)) return;
  const row = cells.findIndex((cell) => parseNumber(cell) === undefined);
  const numeric = cells.filter((cell) => parseNumber(cell) !== undefined).length;
  if (numeric > cells.length / 2) {
    notes.push(`'${name}' is categorical, not numeric, because of cells like '${cells[row]}' on line ${table.lines[row]}`);
  }
}

function sortedCategories(table: Table, { name, cells, numbers }: Column): string[] {
  const categories = [...new Set(cells)];
  if (categories.length > maxCategories) {
    throw new GradmillError(
      'csv-invalid',
      `${table.source}: column '${name}' has ${categories.length} different texts, more than the ${maxCategories} that can be categories; ` +
        `is it a name or identifier? leave it out with --ignore ${name}`,
    );
  }
  // Code units, not a locale, so that the same file gives the same model everywhere; '10' goes after '9' where all are numbers.
  const byText = (a: string, b: string): number => (a < b ? -1 : 1);
  return categories.sort(numbers === undefined ? byText : (a, b) => Number(a) - Number(b) || byText(a, b));
}

function scaling(
  table: Table,
  name: string,
  values: readonly number[],
  trainingRows: readonly number[],
): { mean: number; standardDeviation: number } {
  try {
    const { mean, standardDeviation } = new Standardizer().fit(Float64Array.from(trainingRows, (row) => values[row])).inputScaling;
    return { mean: mean[0], standardDeviation: standardDeviation[0] };
  } catch (cause) {
    const problem = `the numbers of column '${name}' are too large to standardise`;
    throw new GradmillError('csv-invalid', `${table.source}: ${problem}`, { cause });
  }
}
