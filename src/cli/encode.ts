// Turns a table into the numbers a model eats, as a schema says, and a model's outputs back into the user's words.
// train.ts and predict.ts both encode through here, so that a column means the same in both.

import { GradmillError, nearestName } from '../errors.js';
import { cellError, isMissing, parseNumber, type Table } from './csv.js';
import { inputWidth, type ClassificationTarget, type InputColumn, type RegressionTarget, type Target } from './schema.js';

export interface Matrix {
  readonly data: Float32Array;
  readonly shape: [rows: number, columns: number];
}

/** Columns are found by name, in any order; others are not looked at. */
export function encodeInputs(table: Table, columns: readonly InputColumn[]): Matrix {
  const rows = table.rows.length;
  const width = inputWidth(columns);
  if (rows * width > 2 ** 31) {
    throw new GradmillError('size-overflow', `${table.source}: ${rows} rows of ${width} inputs do not fit; use --ignore or fewer rows`);
  }
  const data = new Float32Array(rows * width);
  let offset = 0;
  for (const column of columns) {
    const index = columnIndex(table, column.name);
    if (column.kind === 'numeric') {
      for (let row = 0; row < rows; row++) data[row * width + offset] = standardised(table, row, index, column);
      offset += 1;
    } else {
      const positions = new Map(column.categories.map((category, position) => [category, position]));
      for (let row = 0; row < rows; row++) data[row * width + offset + position(table, row, index, positions, 'category')] = 1;
      offset += column.categories.length;
    }
  }
  return { data, shape: [rows, width] };
}

/** Standardised values `[rows, 1]`, or class numbers `[rows]`. */
export function encodeTarget(table: Table, target: Target): Matrix | { data: Int32Array; shape: [rows: number] } {
  const index = columnIndex(table, target.name);
  const rows = table.rows.length;
  if (target.task === 'regression') {
    return { data: Float32Array.from({ length: rows }, (_, row) => standardised(table, row, index, target)), shape: [rows, 1] };
  }
  const positions = new Map(target.classes.map((name, position) => [name, position]));
  return { data: Int32Array.from({ length: rows }, (_, row) => position(table, row, index, positions, 'class')), shape: [rows] };
}

/** The rows of a matrix or list in the given order, copied. */
export function selectRows<T extends { data: Float32Array | Int32Array; shape: number[] }>({ data, shape }: T, rows: readonly number[]): T {
  const width = shape.slice(1).reduce((product, size) => product * size, 1);
  const selected = data instanceof Float32Array ? new Float32Array(rows.length * width) : new Int32Array(rows.length * width);
  for (const [position, row] of rows.entries()) selected.set(data.subarray(row * width, (row + 1) * width), position * width);
  return { data: selected, shape: [rows.length, ...shape.slice(1)] } as T;
}

export interface ClassPrediction {
  /** Index of the class with the largest logit, the first of equals. */
  readonly best: number;
  readonly probabilities: readonly number[];
}

/** Softmax of each row of logits. */
export function decodeClasses(logits: Float32Array, { classes }: ClassificationTarget): ClassPrediction[] {
  return Array.from({ length: logits.length / classes.length }, (_, row) => {
    const values = [...logits.subarray(row * classes.length, (row + 1) * classes.length)];
    const largest = Math.max(...values);
    const exponentials = values.map((value) => Math.exp(value - largest));
    const sum = exponentials.reduce((total, value) => total + value, 0);
    return { best: values.indexOf(largest), probabilities: exponentials.map((value) => value / sum) };
  });
}

/** In the target's own unit. */
export function decodeValues(outputs: Float32Array, { mean, standardDeviation }: RegressionTarget): number[] {
  return Array.from(outputs, (output) => output * standardDeviation + mean);
}

function columnIndex(table: Table, name: string): number {
  const index = table.header.indexOf(name);
  if (index !== -1) return index;
  const nearest = nearestName(name, table.header);
  const hint = nearest === undefined ? '' : ` (is it '${nearest}'?)`;
  throw new GradmillError('csv-invalid', `${table.source}: line 1: the column '${name}' is missing from the header${hint}`);
}

function standardised(table: Table, row: number, index: number, { name, mean, standardDeviation }: Scaled): number {
  const cell = presentCell(table, row, index, name);
  const number = parseNumber(cell);
  if (number === undefined) throw cellError(table, row, name, `'${cell}' is not a number`);
  const scaled = Math.fround((number - mean) / standardDeviation);
  if (!Number.isFinite(scaled)) throw cellError(table, row, name, `${cell} is too far from the training data's mean ${mean}`);
  return scaled;
}

interface Scaled {
  readonly name: string;
  readonly mean: number;
  readonly standardDeviation: number;
}

function position(table: Table, row: number, index: number, positions: ReadonlyMap<string, number>, kind: string): number {
  const name = table.header[index];
  const cell = presentCell(table, row, index, name);
  const found = positions.get(cell);
  if (found !== undefined) return found;
  const known = [...positions.keys()];
  const nearest = nearestName(cell, known);
  const list = known.slice(0, 10).join(', ') + (known.length > 10 ? ', …' : '');
  throw cellError(table, row, name, `unknown ${kind} '${cell}'${nearest === undefined ? `; known: ${list}` : `, is it '${nearest}'?`}`);
}

function presentCell(table: Table, row: number, index: number, name: string): string {
  const cell = table.rows[row][index];
  if (isMissing(cell)) throw cellError(table, row, name, cell === '' ? 'the value is missing' : `the value is missing ('${cell}')`);
  return cell;
}
