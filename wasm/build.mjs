// Builds the two WebAssembly modules with Emscripten (`npm run build:wasm`) into wasm/*.wasm, with a hash of what they were built
// from. --check builds elsewhere and fails unless the committed ones are the same; --check=hash only compares the hash.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const wasm = fileURLToPath(new URL('.', import.meta.url));
const native = fileURLToPath(new URL('../native/', import.meta.url));
const variants = { simd: 'OFF', threads: 'ON' };

/** Everything that decides the modules' bytes, except the compiler. */
function sourcesHash() {
  const notInModules = ['addon.cpp', 'replay.cpp', 'threads.cpp', 'threads.h', 'cpu.cpp', 'cpu.h', 'memory.h', 'allocations.h'];
  const sources = readdirSync(native).filter((name) => /\.(h|cpp)$|^CMakeLists\.txt$/.test(name) && !notInModules.includes(name));
  const hash = createHash('sha256');
  for (const path of [...sources.sort().map((name) => join(native, name)), join(wasm, 'exports.cpp')])
    hash.update(readFileSync(path, 'utf8').replaceAll('\r\n', '\n'));
  return `${hash.digest('hex')}\n`;
}

/** Debian's Emscripten finds its JavaScript packages only through NODE_PATH. */
function build(into) {
  const env = { ...process.env, NODE_PATH: process.env.NODE_PATH ?? '/usr/share/nodejs' };
  const scratch = mkdtempSync(join(tmpdir(), 'gradmill-wasm-'));
  try {
    for (const [name, threads] of Object.entries(variants)) {
      const out = join(scratch, name);
      const run = (command, ...args) => execFileSync(command, args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
      run('emcmake', 'cmake', '-S', native, '-B', out, `-DGRADMILL_WASM_THREADS=${threads}`, '-DGRADMILL_WERROR=ON');
      run('cmake', '--build', out, '--parallel', '2');
      copyFileSync(join(out, 'gradmill.wasm'), join(into, `${name}.wasm`));
      chmodSync(join(into, `${name}.wasm`), 0o644);
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

const stale = (what) => {
  console.error(`wasm: ${what}; run \`npm run build:wasm\` and commit the result`);
  process.exitCode = 1;
};
const check = process.argv.find((argument) => argument.startsWith('--check'));
const hashFile = join(wasm, 'sources.sha256');

if (check && (!existsSync(hashFile) || readFileSync(hashFile, 'utf8') !== sourcesHash())) {
  stale('the committed modules are older than their sources');
} else if (check === '--check') {
  const fresh = mkdtempSync(join(tmpdir(), 'gradmill-wasm-'));
  build(fresh);
  const differ = Object.keys(variants).filter((name) => !readFileSync(join(fresh, `${name}.wasm`)).equals(readFileSync(join(wasm, `${name}.wasm`))));
  rmSync(fresh, { recursive: true });
  if (differ.length > 0) stale(`the committed ${differ.join(' and ')} differ from a fresh build`);
} else if (!check) {
  build(wasm);
  writeFileSync(hashFile, sourcesHash());
}
