#!/usr/bin/env node
// The gradmill program: the process around a command.

import { runCommand } from './command.js';
import { exitCodes } from './exit-codes.js';

// `gradmill predict … | head` closes the pipe early; that is no error, and nobody is left to read more.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.success);
  process.stderr.write(`gradmill: standard output cannot be written: ${error.message}\n`);
  process.exit(exitCodes.failure);
});

void runCommand(process.argv.slice(2), { out: process.stdout, err: process.stderr, cwd: process.cwd() }).then((code) => {
  // Not process.exit(): output to a pipe may still be on its way.
  process.exitCode = code;
});
