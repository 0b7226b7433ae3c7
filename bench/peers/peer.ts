// Peers: other libraries in processes of their own, which live as long as the bench and sleep while others run. They speak
// JSON lines: first a greeting, then one answer for each request ({"do": "prepare" | "check" | "slice", …}).
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Workload } from '../workloads.js';

export const peerFamilies = ['pytorch', 'tfjs'] as const;
export type PeerFamily = (typeof peerFamilies)[number];

interface Launch {
  readonly family: PeerFamily;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** What to install when it does not start. */
  readonly needs: string;
}

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/**
 * The processes of a family. PyTorch is started once for each setting that may be its best one: the bench measures them all
 * and compares with the fastest. They share what always helps: kernels for this CPU, memory kept between steps.
 */
export function launches(family: PeerFamily, { python, avx512 }: { readonly python: string; readonly avx512: boolean }): Launch[] {
  if (family === 'tfjs')
    return [{ family, command: process.execPath, args: [file('tfjs.mjs')], env: {}, needs: 'npm install --prefix bench/peers' }];
  const blasKernels = avx512 ? ['Haswell', 'Zen', 'SkylakeX'] : ['Haswell', 'Zen'];
  return blasKernels.map((kernels) => ({
    family,
    command: python,
    args: [file('pytorch.py')],
    env: {
      OPENBLAS_CORETYPE: kernels,
      ATEN_CPU_CAPABILITY: avx512 ? 'avx512' : 'avx2',
      MALLOC_MMAP_THRESHOLD_: '1073741824',
      MALLOC_TRIM_THRESHOLD_: '4294967296',
    },
    needs: 'Debian: apt-get install python3-torch libopenblas0-openmp; elsewhere a Python with torch, by --python',
  }));
}

export interface Greeting {
  readonly name: string;
  readonly settings: readonly string[];
  /** The most threads it can use. */
  readonly threads: number;
}

export class Peer {
  readonly family: PeerFamily;
  readonly greeting: Greeting;
  readonly #process: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  private constructor(family: PeerFamily, child: ChildProcess, answers: AsyncIterator<string>, greeting: Greeting) {
    this.family = family;
    this.greeting = greeting;
    this.#process = child;
    this.#answers = answers;
  }

  /** @throws Error with the reason and what to install */
  static async start({ family, command, args, env, needs }: Launch): Promise<Peer> {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    let complaint = '';
    child.on('error', (error) => (complaint += error.message));
    child.stdin.on('error', () => undefined);
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text));
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    try {
      return new Peer(family, child, answers, (await next(answers)) as Greeting);
    } catch (cause) {
      const lines = complaint.trim().split('\n');
      const reason = lines.find((line) => line.includes('Error')) ?? lines.at(-1) ?? '';
      throw new Error(`${family} is left out: ${reason} (${needs})`, { cause });
    }
  }

  prepare(workload: Workload, rows: number, data: string): Promise<unknown> {
    return this.#ask({ do: 'prepare', workload: { ...workload, rows }, file: data });
  }

  /** Losses of the first steps, or a prediction. */
  async check(threads: number): Promise<number[]> {
    return (await this.#ask({ do: 'check', threads })) as number[];
  }

  /** Seconds a step. */
  async slice(threads: number, seconds: number): Promise<number> {
    return (await this.#ask({ do: 'slice', threads, seconds })) as number;
  }

  stop(): void {
    this.#process.kill();
  }

  async #ask(request: object): Promise<unknown> {
    this.#process.stdin?.write(`${JSON.stringify(request)}\n`);
    return next(this.#answers);
  }
}

async function next(answers: AsyncIterator<string>): Promise<unknown> {
  const answer = await answers.next();
  if (answer.done) throw new Error('the peer has ended');
  return JSON.parse(answer.value);
}
