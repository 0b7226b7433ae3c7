// Tables: parsing with exact lines, deciding what columns are, encoding, and the schema's way through a model file.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatCsvRow, isMissing, parseCsv, parseNumber, type Table } from '../src/cli/csv.js';
import { decodeClasses, decodeValues, encodeInputs, encodeTarget, selectRows } from '../src/cli/encode.js';
import { inferSchema, type ColumnChoices } from '../src/cli/infer.js';
import { inputWidth, outputWidth, schemaFromMetadata, schemaToMetadata, type TableSchema } from '../src/cli/schema.js';
import { splitRows } from '../src/cli/split.js';
import { GradmillError } from '../src/errors.js';

const table = (text: string): Table => parseCsv(Buffer.from(text), 'data.csv');

const csvInvalid = (message: RegExp): Error =>
  expect.objectContaining({ code: 'csv-invalid', message: expect.stringMatching(message) as string }) as Error;

describe('parsing', () => {
  test('quotes, CRLF, BOM, blank lines, spaces; each row knows the line it starts on', () => {
    const parsed = table('\ufeffname, size\r\n"a ""b"", c",1\r\n\r\n"two\r\nlines\r\nof text" , 2\r\n   \r\n" padded ",3\r\nlast,4');
    expect(parsed.header).toEqual(['name', 'size']);
    expect(parsed.rows).toEqual([
      ['a "b", c', '1'],
      ['two\r\nlines\r\nof text', '2'],
      [' padded ', '3'],
      ['last', '4'],
    ]);
    expect(parsed.lines).toEqual([2, 4, 8, 9]);
  });

  test.each(['\n', '\r\n', '\r'])('line breaks %j, also within quotes', (end) => {
    const parsed = table(['a,b', `"1${end}1",2`, '', `3,"4${end}${end}4"`, '5,6', ''].join(end));
    expect(parsed.rows).toHaveLength(3);
    expect(parsed.lines).toEqual([2, 5, 8]);
  });

  test('mixed line breaks', () => {
    expect(table('a,b\r\n1,2\n3,4\r5,6')).toMatchObject({ rows: [['1', '2'], ['3', '4'], ['5', '6']], lines: [2, 3, 4] }); // prettier-ignore
  });

  test('a header alone is a table without rows', () => {
    expect(table('a,b\n')).toMatchObject({ header: ['a', 'b'], rows: [], lines: [] });
  });

  test.each<[string, string, RegExp]>([
    ['an empty file', '', /data\.csv: the file is empty/],
    ['a file of blank lines', '\n\r\n  \n', /the file is empty/],
    ['a row too short', 'a,b,c\n1,2,3\n4,5\n', /line 3: 2 fields, but the header names 3 columns; column 'c' is missing/],
    ['a row too long', 'a,b\n"x\ny",2\n1,2,3\n', /line 4: 3 fields, but the header names 2 columns$/],
    ['a column without name', 'a,,c\n1,2,3\n', /line 1: column 2 of the header has no name/],
    ['two columns of one name', 'a,b,a\n1,2,3\n', /line 1: column 3 of the header is named 'a' like column 1/],
    ['a quote never closed', 'a,b\n\n1,2\n3,"4\n5,6\n', /line 4: a quoted field that starts in this row is never closed/],
    ['text after a quote', 'a,b\n1,"2"x\n', /line 2: a quoted field is followed by more text/],
    ['a quote within a field', 'a,b\n1,2\n3,x"y"\n', /line 3: a quote within an unquoted field/],
  ])('%s', (_, text, message) => {
    expect(() => table(text)).toThrow(csvInvalid(message));
  });

  test('text that is not UTF-8', () => {
    expect(() => parseCsv(Buffer.from('größe\n1\n', 'latin1'), 'data.csv')).toThrow(csvInvalid(/not UTF-8/));
    expect(() => parseCsv(Buffer.from('\ufeffa\n1\n', 'utf16le'), 'data.csv')).toThrow(csvInvalid(/not UTF-8/));
  });

  test('what formatCsvRow writes is read back', () => {
    const rows = fc.array(fc.array(fc.string({ unit: 'binary' }), { minLength: 2, maxLength: 2 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(rows, (written) => {
        expect(table('a,b\n' + written.map(formatCsvRow).join('')).rows).toEqual(written);
      }),
    );
  });

  test('any text is a table or a GradmillError', () => {
    const piece = fc.constantFrom('"', ',', '\n', '\r\n', '\r', 'a', ' ', '\ufeff', '1', '""', '\0', 'é');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        try {
          const { header, rows, lines } = table(pieces.join(''));
          expect(rows.every((row) => row.length === header.length)).toBe(true);
          expect(lines).toEqual([...lines].sort((a, b) => a - b));
        } catch (error) {
          if (!(error instanceof GradmillError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('numbers and missing values', () => {
    for (const text of ['0', '-1.5', '+2', '.5', '5.', '1e3', '-2.5E-7', '007']) expect(parseNumber(text)).toBe(Number(text));
    for (const text of ['', ' ', '0x10', '1,5', '1_000', 'Infinity', 'NaN', '1e999', '--1', '1e', '.', '١']) {
      expect(parseNumber(text)).toBeUndefined();
    }
    for (const text of ['', 'NA', 'N/A', 'NaN', 'null']) expect(isMissing(text)).toBe(true);
    for (const text of ['0', 'none', 'Nancy', '-']) expect(isMissing(text)).toBe(false);
  });
});

describe('deciding', () => {
  const infer = (text: string, choices: Partial<ColumnChoices> & { target: string }, trainingRows?: number[]) => {
    const parsed = table(text);
    return inferSchema(parsed, { categorical: [], ignore: [], ...choices }, trainingRows ?? [...parsed.rows.keys()]);
  };
  const column = (values: (string | number)[]): string => 'y,x\n' + values.map((value, row) => `${value},${row}\n`).join('');
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

  test('numeric and categorical columns, categories sorted', () => {
    const { schema } = infer('size,color,label\n1,red,b\n3,blue,a\n5,Red,b\n', { target: 'label' });
    expect(schema).toEqual({
      columns: [
        { kind: 'numeric', name: 'size', mean: 3, standardDeviation: Math.sqrt(8 / 3) },
        { kind: 'categorical', name: 'color', categories: ['Red', 'blue', 'red'] },
      ],
      target: { task: 'classification', name: 'label', classes: ['a', 'b'] },
    } satisfies TableSchema);
    expect([inputWidth(schema.columns), outputWidth(schema.target)]).toEqual([4, 2]);
  });

  test('means and deviations are those of the training rows; categories are those of all', () => {
    const { schema } = infer('a,b,y\n1,p,10.5\n3,p,20.5\n1000,q,1000\n', { target: 'y' }, [0, 1]);
    expect(schema.columns).toEqual([
      { kind: 'numeric', name: 'a', mean: 2, standardDeviation: 1 },
      { kind: 'categorical', name: 'b', categories: ['p', 'q'] },
    ]);
    expect(schema.target).toEqual({ task: 'regression', name: 'y', mean: 15.5, standardDeviation: 5 });
  });

  test('a constant column has deviation 1, whatever rounding does to its mean', () => {
    const { schema } = infer(`a,y\n${'0.1,1.5\n'.repeat(3)}0.1,2.5\n`, { target: 'y' });
    expect(schema.columns).toEqual([{ kind: 'numeric', name: 'a', mean: 0.1, standardDeviation: 1 }]);
  });

  test.each<[string, (string | number)[], string, RegExp]>([
    ['text', ['a', 'b', 'a'], 'classification', /'y' into 2 classes \('y' is text\)/],
    ['mostly numbers', [1, 2, 'many'], 'classification', /into 3 classes \('y' is text\)/],
    ['two whole numbers', [0, 1, 1], 'classification', /'y' is one of 2 whole numbers; --task regression to change/],
    ['20 whole numbers', numbers(20), 'classification', /one of 20 whole numbers/],
    ['21 whole numbers', numbers(21), 'regression', /regression of 'y' \('y' is numeric; --task classification to change\)/],
    ['few fractions', [0.5, 1, 1], 'regression', /'y' is numeric/],
  ])('a target of %s', (_, values, task, note) => {
    const { schema, notes } = infer(column(values), { target: 'y' });
    expect(schema.target.task).toBe(task);
    expect(notes).toEqual([expect.stringMatching(note)]);
  });

  test('the user decides otherwise', () => {
    expect(infer(column([0, 1, 1]), { target: 'y', task: 'regression' })).toMatchObject({
      schema: { target: { task: 'regression' } },
      notes: ["regression of 'y' (as asked with --task)"],
    });
    expect(infer(column([0.5, 10, 9]), { target: 'y', task: 'classification' }).schema.target).toMatchObject({
      classes: ['0.5', '9', '10'],
    });
    expect(infer(column(numbers(30)), { target: 'y', categorical: ['y'] }).schema.target.task).toBe('classification');
    expect(infer('zip,y\n02139,a\n2139,b\n', { target: 'y', categorical: ['zip'] }).schema.columns).toEqual([
      { kind: 'categorical', name: 'zip', categories: ['02139', '2139'] },
    ]);
    expect(infer('id,x,y\n,1,a\nNA,2,b\n', { target: 'y', ignore: ['id'] }).schema.columns).toHaveLength(1);
  });

  test('one stray word in a numeric column is reported', () => {
    const { notes } = infer('x,y\n1,a\n2,b\nn. a.,a\n', { target: 'y' });
    expect(notes).toContain("'x' is categorical, not numeric, because of cells like 'n. a.' on line 4");
  });

  test.each<[string, string, Partial<ColumnChoices> & { target: string }, RegExp]>([
    ['a missing value', 'x,y\n1,a\n\n,b\n', { target: 'y' }, /data\.csv: line 4, column 'x': the value is missing; /],
    ['a missing target', 'x,y\n"1\n1",a\n2,NA\n', { target: 'y' }, /line 4, column 'y': the value is missing \('NA'\)/],
    ['a text in a regression', 'x,y\n1,1\n2,two\n', { target: 'y', task: 'regression' }, /line 3, column 'y': 'two' is not a number/],
    ['one class only', 'x,y\n1,a\n2,a\n', { target: 'y' }, /every row of the target 'y' is 'a'/],
    ['nothing to learn from', 'x,y\n1,a\n2,b\n', { target: 'y', ignore: ['x'] }, /no column but the target is left/],
    ['names as categories', column(numbers(1001).map((i) => `n${i}`)), { target: 'x' }, /column 'y' has 1001 different texts.*--ignore y/],
    ['numbers too large', 'x,y\n1e300,a\n-1e300,b\n', { target: 'y' }, /numbers of column 'x' are too large/],
  ])('%s', (_, text, choices, message) => {
    expect(() => infer(text, choices)).toThrow(csvInvalid(message));
  });
});

describe('encoding', () => {
  const schema: TableSchema = {
    columns: [
      { kind: 'numeric', name: 'size', mean: 3, standardDeviation: 2 },
      { kind: 'categorical', name: 'color', categories: ['blue', 'red', 'white'] },
    ],
    target: { task: 'classification', name: 'label', classes: ['a', 'b'] },
  };

  test('columns by name in any order, others ignored', () => {
    const parsed = table('label,color,junk,size\nb,red,,5\na,blue,?,1\n');
    expect(encodeInputs(parsed, schema.columns)).toEqual({ data: Float32Array.of(1, 0, 1, 0, -1, 1, 0, 0), shape: [2, 4] });
    expect(encodeTarget(parsed, schema.target)).toEqual({ data: Int32Array.of(1, 0), shape: [2] });
  });

  test('standardising happens before numbers are cut to 32 bits', () => {
    const columns = [{ kind: 'numeric', name: 't', mean: 1.7e9, standardDeviation: 0.25 } as const];
    expect([...encodeInputs(table('t\n1700000000.25\n1699999999.5\n'), columns).data]).toEqual([1, -2]);
  });

  test.each<[string, string, RegExp]>([
    ['a missing column', 'colour,size\nred,1\n', /line 1: the column 'color' is missing from the header \(is it 'colour'\?\)/],
    ['an unknown category', 'color,size\nred,1\n\nbleu,1\n', /line 4, column 'color': unknown category 'bleu', is it 'blue'\?/],
    ['a distant category', 'color,size\nyellow,1\n', /line 2, column 'color': unknown category 'yellow'; known: blue, red, white/],
    ['a text for a number', 'color,size\nred,"big"\n', /line 2, column 'size': 'big' is not a number/],
    ['a missing number', 'color,size\nred,\n', /line 2, column 'size': the value is missing/],
    ['a missing category', 'color,size\nNA,1\n', /line 2, column 'color': the value is missing \('NA'\)/],
    ['a number beyond 32 bits', 'color,size\nred,1e300\n', /line 2, column 'size': 1e300 is too far/],
  ])('%s', (_, text, message) => {
    expect(() => encodeInputs(table(text), schema.columns)).toThrow(csvInvalid(message));
  });

  test('rows are selected, outputs become words and units', () => {
    const matrix = { data: Float32Array.of(1, 2, 3, 4, 5, 6), shape: [3, 2] as [number, number] };
    expect(selectRows(matrix, [2, 0])).toEqual({ data: Float32Array.of(5, 6, 1, 2), shape: [2, 2] });
    expect(selectRows({ data: Int32Array.of(7, 8, 9), shape: [3] as [number] }, [1])).toEqual({ data: Int32Array.of(8), shape: [1] });
    const classes = decodeClasses(Float32Array.of(0, Math.log(3), 1000, -1000, 2, 2), {
      task: 'classification',
      name: 'y',
      classes: ['a', 'b'],
    });
    expect(classes.map(({ best }) => best)).toEqual([1, 0, 0]);
    expect(classes[0].probabilities[1]).toBeCloseTo(0.75, 6);
    expect(classes[1].probabilities).toEqual([1, 0]);
    expect(decodeValues(Float32Array.of(-1, 0.5), { task: 'regression', name: 'y', mean: 100, standardDeviation: 10 })).toEqual([90, 105]);
  });
});

describe('the schema in a model file', () => {
  const schema: TableSchema = {
    columns: [
      { kind: 'numeric', name: 'a', mean: 0.1, standardDeviation: 1 / 3 },
      { kind: 'categorical', name: '__proto__', categories: ['constructor', 'ünï, "code"\n'] },
    ],
    target: { task: 'regression', name: 'y', mean: -1e-300, standardDeviation: 5e-324 },
  };

  test('comes back as it was, to the last bit', () => {
    expect(schemaFromMetadata(schemaToMetadata(schema), 'model')).toEqual(schema);
    expect(schemaFromMetadata({ other: 'x' }, 'model')).toBeUndefined();
  });

  const damaged = (change: (json: { columns: Record<string, unknown>[]; target: unknown; version: unknown }) => unknown): string => {
    const json = JSON.parse(schemaToMetadata(schema).table) as Parameters<typeof change>[0];
    return JSON.stringify(change(json) ?? json);
  };
  test.each<[string, string, RegExp]>([
    ['not JSON', '{', /is not JSON/],
    ['not an object', '[]', /has no description/],
    ['another version', damaged((json) => ({ ...json, version: 2 })), /has version 2, expected 1/],
    ['no version', damaged((json) => ({ ...json, version: undefined })), /has version null/],
    ['no columns', damaged((json) => ({ ...json, columns: [] })), /no list of columns/],
    ['columns that are no list', damaged((json) => ({ ...json, columns: { length: 1 } })), /no list of columns/],
    ['a column that is null', damaged((json) => ({ ...json, columns: [null] })), /has no column 1/],
    ['a column twice', damaged((json) => ({ ...json, columns: [json.columns[0], json.columns[0]] })), /equal column names/],
    ['a column without name', damaged((json) => ({ ...json, columns: [{ ...json.columns[0], name: '' }] })), /empty name of column 1/],
    ['an unknown kind', damaged((json) => ({ ...json, columns: [{ ...json.columns[0], kind: 'x' }] })), /column 1 of unknown kind/],
    ['a mean that is text', damaged((json) => ({ ...json, columns: [{ ...json.columns[0], mean: '1' }] })), /without a finite mean/],
    ['a deviation of 0', damaged((json) => ({ ...json, columns: [{ ...json.columns[0], standardDeviation: 0 }] })), /without a positive/],
    ['an infinite deviation', damaged((json) => json).replace('5e-324', '1e999'), /without a positive/],
    ['equal categories', damaged((json) => ({ ...json, columns: [{ ...json.columns[1], categories: ['a', 'a'] }] })), /equal categories/],
    ['a category that is a number', damaged((json) => ({ ...json, columns: [{ ...json.columns[1], categories: [1] }] })), /not text/],
    ['no target', damaged((json) => ({ ...json, target: undefined })), /has no target/],
    ['an unknown task', damaged((json) => ({ ...json, target: { name: 'y', task: 'ranking' } })), /unknown task/],
    ['no classes', damaged((json) => ({ ...json, target: { name: 'y', task: 'classification', classes: [] } })), /no list of classes/],
    [
      'too many classes',
      damaged((json) => ({ ...json, target: { name: 'y', task: 'classification', classes: [...Array(1001).keys()].map(String) } })),
      /more than 1000/,
    ],
  ])('%s', (_, text, message) => {
    const read = (): unknown => schemaFromMetadata({ table: text }, 'model.safetensors');
    expect(read).toThrow(message);
    expect(read).toThrow(/^model\.safetensors: the table description in the metadata /);
    expect(read).toThrow(expect.objectContaining({ code: 'file-invalid' }) as Error);
  });

  test('any JSON is a schema or a GradmillError', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.json(),
          fc.jsonValue().map((target) => damaged((json) => ({ ...json, target }))),
        ),
        (text) => {
          try {
            schemaFromMetadata({ table: text }, 'model');
          } catch (error) {
            if (!(error instanceof GradmillError)) throw error;
          }
        },
      ),
    );
  });
});

describe('splitting', () => {
  test('every row is in one part; the seed decides', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.double({ min: 0, max: 0.99, noNaN: true }),
        fc.nat(2 ** 32 - 1),
        (rows, fraction, seed) => {
          const { training, validation } = splitRows(rows, fraction, seed);
          expect([...training, ...validation].sort((a, b) => a - b)).toEqual([...Array(rows).keys()]);
          expect(validation.length).toBe(Math.min(Math.round(rows * fraction), rows - 1));
          expect(splitRows(rows, fraction, seed)).toEqual({ training, validation });
        },
      ),
    );
  });

  test('another seed splits otherwise, and evenly', () => {
    const counts = new Uint32Array(10);
    const splits = Array.from({ length: 2000 }, (_, seed) => splitRows(10, 0.3, seed).validation);
    for (const row of splits.flat()) counts[row] += 1;
    expect(new Set(splits.map(String)).size).toBe(120); // all combinations of 3 in 10
    for (const count of counts) expect(count / 2000).toBeCloseTo(0.3, 1);
  });
});
