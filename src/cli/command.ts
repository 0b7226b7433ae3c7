// Runs a gradmill command line: picks the command, turns what it throws into one line on stderr and an exit code.
// main.ts calls it with the process's streams, tests with their own. Commands load the library only when they need it.

import { GradmillError, nearestName } from '../errors.js';
import { VERSION } from '../version.js';
import { bench } from './bench.js';
import { build } from './build.js';
import { doctor } from './doctor.js';
import { exitCodes } from './exit-codes.js';
import { UsageError } from './flags.js';
import { info } from './info.js';
import { predict } from './predict.js';
import { report } from './report.js';
import { oneLine, type Io } from './terminal.js';
import { train } from './train.js';

const commands = new Map<string, (args: readonly string[], io: Io) => Promise<number>>([
  ['train', train],
  ['doctor', doctor],
  ['predict', predict],
  ['info', info],
  ['report', report],
  ['bench', bench],
  ['build', build],
]);

const usage = `usage: gradmill COMMAND

  train mnist                        train on images of handwritten digits
  train DATA.csv --target COLUMN     train on your own table
  doctor DATA.csv --target COLUMN    find what keeps a network from learning your table
  predict MODEL.safetensors DATA.csv apply a model to a table
  info MODEL.safetensors             show what a model file holds
  report RUN.jsonl                   draw what a training logged, as an HTML file
  bench training                     measure training steps on this machine, beside other libraries
  build                              compile the native engine, after an installation that could not

  --help      show this help; 'gradmill COMMAND --help' explains a command
  --version   show the version

GRADMILL_DEBUG=1 adds a stack trace to errors. Exit codes: 0 success, 1 failure, 2 wrong command line, 130 stopped by Ctrl-C.
`;

/** Never throws; returns the exit code. */
export async function runCommand(args: readonly string[], io: Io): Promise<number> {
  try {
    return await dispatch(args, io);
  } catch (error) {
    if (process.env.GRADMILL_DEBUG && error instanceof Error) io.err.write(`${error.stack ?? ''}\n`);
    if (error instanceof UsageError) {
      io.err.write(`gradmill: ${oneLine(error.message)}\n`);
      return exitCodes.usage;
    }
    const kind = error instanceof GradmillError ? error.code : 'internal error';
    io.err.write(`gradmill: ${kind}: ${oneLine(error instanceof Error ? error.message : String(error))}\n`);
    return exitCodes.failure;
  }
}

async function dispatch(line: readonly string[], io: Io): Promise<number> {
  const name = line.at(0);
  switch (name) {
    case undefined:
      throw new UsageError(`a command is needed: ${[...commands.keys()].join(', ')}; see gradmill --help`);
    case '--help':
    case '-h':
    case 'help':
      io.out.write(usage);
      return exitCodes.success;
    case '--version':
      io.out.write(`${VERSION}\n`);
      return exitCodes.success;
  }
  const command = commands.get(name);
  if (command === undefined) {
    const nearest = nearestName(name, commands.keys());
    throw new UsageError(`unknown command '${name}'${nearest === undefined ? '; see gradmill --help' : `, did you mean '${nearest}'?`}`);
  }
  return command(line.slice(1), io);
}
