// Builds the native engine into native/build/gradmill.node with cmake-js. npm runs this after installing the package, and then it
// only tries: it never fails nor outlasts its limit, because what runs is decided when the library is loaded. With --required
// (`npm run build:native`, `npx gradmill build`) the compiler's output is shown and a failed build is an error.
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const limitMinutes = 10;
const root = fileURLToPath(new URL('.', import.meta.url));
const native = join(root, 'native');
const out = join(native, 'build');
const addon = join(out, 'gradmill.node');
const required = process.argv.includes('--required');
const verbose = Boolean(process.env.GRADMILL_VERBOSE) && !required;

const changedAt = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

function upToDate() {
  const sources = readdirSync(native, { withFileTypes: true }).filter((entry) => entry.isFile());
  return sources.every((entry) => changedAt(join(native, entry.name)) < changedAt(addon));
}

/** Why a build failed, in one line of its log: the compiler's word, else CMake's, else cmake-js's. */
function reason(log) {
  const cause = /^.*\berror: .*$/m.exec(log)?.[0] ?? /CMake Error.*\n+\s+(.*)/.exec(log)?.[1] ?? /ERROR OMG (.*)/.exec(log)?.[1];
  return cause?.trim() ?? 'the build failed';
}

/** Runs cmake-js; throws an Error with one line of reason when there is no addon at the end. */
async function build() {
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  const args = [cmakeJs, 'compile', '--directory', root, '--out', out, '--parallel', String(availableParallelism())];
  // A process group of its own, so that the compilers end with it.
  const child = spawn(process.execPath, args, { cwd: root, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const stop = (why) => {
    stopped ??= why;
    process.kill(-child.pid, 'SIGKILL');
  };
  let stopped;
  let log = '';
  const timer = setTimeout(stop, limitMinutes * 60_000, `the build took more than ${limitMinutes} minutes`);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop(`stopped by ${signal}`));
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      log += text;
      if (required) process.stdout.write(text);
    });
  }
  const status = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  clearTimeout(timer);

  // Written last: cmake-js empties the folder when a build fails.
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, 'build.log'), log);
  if (verbose) console.log(log.split('\n').slice(-30).join('\n'));
  if (stopped) throw new Error(stopped);
  if (status !== 0) throw new Error(reason(log));
}

if (!required && process.env.GRADMILL_SKIP_BUILD) {
  console.log('gradmill: GRADMILL_SKIP_BUILD is set, the native engine is not built');
} else if (required || !upToDate()) {
  const start = Date.now();
  try {
    await build();
    console.log(`gradmill: native engine built in ${((Date.now() - start) / 1000).toFixed(0)} s`);
  } catch (error) {
    console.log(`gradmill: no native engine: ${error.message} (needs a C++ compiler and CMake; to try again: npx gradmill build)`);
    if (required) process.exitCode = 1;
  }
}
