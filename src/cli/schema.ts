// What a model trained on a table must know about it: which column feeds which input, and what the outputs mean.
// infer.ts makes a schema from a table, encode.ts applies it; here are its shape and its passage through a model file.

import { GradmillError } from '../errors.js';

export interface NumericColumn {
  readonly kind: 'numeric';
  readonly name: string;
  /** Of the training rows; the input is (value − mean) / standardDeviation. */
  readonly mean: number;
  readonly standardDeviation: number;
}

export interface CategoricalColumn {
  readonly kind: 'categorical';
  readonly name: string;
  /** Sorted; each is one input, 1 where the cell is that category and 0 elsewhere. */
  readonly categories: readonly string[];
}

export type InputColumn = NumericColumn | CategoricalColumn;

export interface RegressionTarget {
  readonly task: 'regression';
  readonly name: string;
  /** The model's one output is (value − mean) / standardDeviation. */
  readonly mean: number;
  readonly standardDeviation: number;
}

export interface ClassificationTarget {
  readonly task: 'classification';
  readonly name: string;
  /** One output (a logit) each. */
  readonly classes: readonly string[];
}

export type Target = RegressionTarget | ClassificationTarget;

export interface TableSchema {
  readonly columns: readonly InputColumn[];
  readonly target: Target;
}

/** Columns and classes that need more inputs or outputs than this are names or identifiers, not categories. */
export const maxCategories = 1000;

const metadataKey = 'table';
const version = 1;

export function inputWidth(columns: readonly InputColumn[]): number {
  return columns.reduce((width, column) => width + (column.kind === 'numeric' ? 1 : column.categories.length), 0);
}

/** What each of the model's inputs holds: a column's numbers, or whether it is a certain category. */
export function inputNames(columns: readonly InputColumn[]): string[] {
  return columns.flatMap((column) =>
    column.kind === 'numeric' ? [column.name] : column.categories.map((category) => `${column.name}=${category}`),
  );
}

export function outputWidth(target: Target): number {
  return target.task === 'regression' ? 1 : target.classes.length;
}

/** For the metadata of a model file. */
export function schemaToMetadata({ columns, target }: TableSchema): Record<string, string> {
  return { [metadataKey]: JSON.stringify({ version, columns, target }) };
}

/** Undefined when the model was not trained on a table. The text is untrusted: anything odd is a 'file-invalid'. */
export function schemaFromMetadata(metadata: Readonly<Record<string, string>>, source: string): TableSchema | undefined {
  if (!Object.hasOwn(metadata, metadataKey)) return undefined;
  const reader = new SchemaReader(source);
  return reader.schema(metadata[metadataKey]);
}

class SchemaReader {
  readonly #source: string;

  constructor(source: string) {
    this.#source = source;
  }

  schema(text: string): TableSchema {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (error) {
      throw this.#invalid('is not JSON', error);
    }
    const found = this.#object(json, 'description');
    if (found.version !== version) throw this.#invalid(`has version ${JSON.stringify(found.version ?? null)}, expected ${version}`);
    const columns = this.#array(found.columns, 'columns').map((column, index) => this.#column(column, `column ${index + 1}`));
    const target = this.#target(found.target);
    this.#distinct(
      columns.map((column) => column.name),
      'column names',
    );
    return { columns, target };
  }

  #column(json: unknown, place: string): InputColumn {
    const found = this.#object(json, place);
    const name = this.#text(found.name, `name of ${place}`);
    switch (found.kind) {
      case 'numeric':
        return { kind: 'numeric', name, ...this.#scaling(found, place) };
      case 'categorical':
        return { kind: 'categorical', name, categories: this.#texts(found.categories, `categories of ${place}`) };
      default:
        throw this.#invalid(`has a ${place} of unknown kind`);
    }
  }

  #target(json: unknown): Target {
    const found = this.#object(json, 'target');
    const name = this.#text(found.name, 'name of the target');
    switch (found.task) {
      case 'regression':
        return { task: 'regression', name, ...this.#scaling(found, 'target') };
      case 'classification':
        return { task: 'classification', name, classes: this.#texts(found.classes, 'classes') };
      default:
        throw this.#invalid('has a target of unknown task');
    }
  }

  #scaling({ mean, standardDeviation }: Record<string, unknown>, place: string): { mean: number; standardDeviation: number } {
    if (typeof mean !== 'number' || !Number.isFinite(mean)) throw this.#invalid(`has a ${place} without a finite mean`);
    if (typeof standardDeviation !== 'number' || !Number.isFinite(standardDeviation) || standardDeviation <= 0) {
      throw this.#invalid(`has a ${place} without a positive standard deviation`);
    }
    return { mean, standardDeviation };
  }

  #texts(json: unknown, place: string): string[] {
    const texts = this.#array(json, place).map((item) => this.#text(item, place));
    if (texts.length > maxCategories) throw this.#invalid(`has more than ${maxCategories} ${place}`);
    return this.#distinct(texts, place);
  }

  #distinct(texts: string[], place: string): string[] {
    if (new Set(texts).size !== texts.length) throw this.#invalid(`has equal ${place}`);
    return texts;
  }

  #text(json: unknown, place: string): string {
    if (typeof json !== 'string' || json === '') throw this.#invalid(`has an empty ${place}, or one that is not text`);
    return json;
  }

  #array(json: unknown, place: string): unknown[] {
    if (!Array.isArray(json) || json.length === 0) throw this.#invalid(`has no list of ${place}`);
    return json as unknown[];
  }

  #object(json: unknown, place: string): Record<string, unknown> {
    if (typeof json !== 'object' || json === null || Array.isArray(json)) throw this.#invalid(`has no ${place}`);
    return json as Record<string, unknown>;
  }

  #invalid(problem: string, cause?: unknown): GradmillError {
    return new GradmillError('file-invalid', `${this.#source}: the table description in the metadata ${problem}`, { cause });
  }
}
