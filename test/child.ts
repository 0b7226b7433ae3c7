// Runs code in a process of its own, on the built library (dist/), as a user's program would. `npm test` builds it first.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

export interface Ended {
  readonly status: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Options {
  /** Added to an environment without any of the library's variables but the backend that these tests are for. */
  readonly env?: Readonly<Record<string, string>>;
  /** Of Node.js. */
  readonly flags?: readonly string[];
  /** Where 'gradmill' is looked up. Default: the package itself, which may import its own name. */
  readonly cwd?: string;
  /** Milliseconds after which it is ended. Default 50,000. */
  readonly timeout?: number;
  /** Default 'module'. */
  readonly type?: 'module' | 'commonjs';
}

export function run(code: string, { env = {}, flags = [], cwd = root, timeout = 50_000, type = 'module' }: Options = {}): Promise<Ended> {
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(GRADMILL_(?!BACKEND$)|NODE_|VITEST|npm_)/.test(name)),
  );
  return new Promise((resolve) => {
    const args = [...flags, `--input-type=${type}`, '-e', code];
    execFile(process.execPath, args, { cwd, env: { ...inherited, ...env }, timeout }, (error, stdout, stderr) => {
      resolve({ status: error ? (error.code ?? error.signal ?? null) : 0, stdout, stderr });
    });
  });
}
