// `gradmill build`: compiles the native engine by hand, where npm was not allowed to run the install script or it failed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { exitCodes } from './exit-codes.js';
import { describeFlags, parseCommandLine, toggle, UsageError } from './flags.js';
import type { Io } from './terminal.js';

const flagTable = { help: toggle('show this help') };

const usage = `usage: gradmill build

Compiles the native engine in the installed package. Needs a C++ compiler and CMake; nothing is downloaded but the headers
of Node.js.

flags
${describeFlags(flagTable)}
`;

export async function build(args: readonly string[], { out }: Io): Promise<number> {
  const { flags, positionals } = parseCommandLine(args, flagTable);
  if (flags.help) {
    out.write(usage);
    return exitCodes.success;
  }
  if (positionals.length > 0) throw new UsageError(`build takes no arguments, got '${positionals[0]}'`);
  // The package's root is two folders up from src/cli and from dist/cli alike.
  const script = fileURLToPath(new URL('../../install.mjs', import.meta.url));
  const child = spawn(process.execPath, [script, '--required'], { stdio: 'inherit' });
  const [status] = (await once(child, 'close')) as [number | null];
  return status === 0 ? exitCodes.success : exitCodes.failure;
}
