// `gradmill predict`: applies a model that was trained on a table to another table, and writes CSV to standard output.

import { GradmillError } from '../errors.js';
import { formatCsvRow, parseCsv } from './csv.js';
import { decodeClasses, decodeValues, encodeInputs } from './encode.js';
import { describeFlags, parseCommandLine, toggle, UsageError } from './flags.js';
import { outputWidth, schemaFromMetadata, type Target } from './schema.js';
import { readRegularFile } from '../node/files.js';
import type { Io } from './terminal.js';

const flagTable = { help: toggle('show this help') };

const usage = `usage: gradmill predict MODEL.safetensors DATA.csv > PREDICTIONS.csv

Applies a model that \`gradmill train DATA.csv\` saved. Columns are found by their names, in any order; others are ignored, the
target among them. Each row of the data gives one row of CSV on standard output:

  classification   prediction,probability,CLASS,CLASS,…
                   the likeliest class, its probability, and the probability of each class
  regression       prediction
                   in the target's unit

flags
${describeFlags(flagTable)}
`;

export async function predict(args: readonly string[], { out }: Io): Promise<number> {
  const { flags, positionals } = parseCommandLine(args, flagTable);
  if (flags.help) {
    out.write(usage);
    return 0;
  }
  if (positionals.length !== 2) throw new UsageError('predict needs a model and a table: gradmill predict MODEL.safetensors DATA.csv');
  const [modelPath, dataPath] = positionals;

  const { loadModel } = await import('../index.js');
  const model = await loadModel(modelPath);
  const schema = schemaFromMetadata(model.metadata, modelPath);
  if (schema === undefined) {
    throw new GradmillError('invalid-argument', `${modelPath}: this model was not trained on a table by \`gradmill train DATA.csv\``);
  }
  const table = parseCsv(await readRegularFile(dataPath), dataPath);
  const x = encodeInputs(table, schema.columns);
  const misfit = (part: string, cause?: unknown): GradmillError =>
    new GradmillError('file-invalid', `${modelPath}: the model's ${part} do not fit the table description in its metadata`, { cause });
  const { data: outputs } = await model.predict(x).catch((error: unknown) => {
    throw error instanceof GradmillError && error.code === 'shape-mismatch' ? misfit('inputs', error) : error;
  });
  if (outputs.length !== table.rows.length * outputWidth(schema.target)) {
    throw misfit('outputs');
  }
  for (const row of predictionRows(outputs, schema.target)) out.write(formatCsvRow(row));
  return 0;
}

function* predictionRows(outputs: Float32Array, target: Target): Generator<(string | number)[]> {
  if (target.task === 'regression') {
    yield ['prediction'];
    for (const value of decodeValues(outputs, target)) yield [rounded(value)];
    return;
  }
  yield ['prediction', 'probability', ...target.classes];
  for (const { best, probabilities } of decodeClasses(outputs, target)) {
    yield [target.classes[best], rounded(probabilities[best]), ...probabilities.map(rounded)];
  }
}

/** The outputs are 32-bit floats: nine digits keep all they know. */
function rounded(value: number): number {
  return Number(value.toPrecision(9));
}
