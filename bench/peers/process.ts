// A process that is measured: it lives as long as the bench and sleeps while others run. It speaks lines: first a greeting, then one
// answer for each request, both JSON.
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface Launch<Family extends string = string> {
  readonly family: Family;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Where it runs, and its packages are found. Default: here. */
  readonly cwd?: string;
  /** What to install when it does not start. */
  readonly needs: string;
}

/** Holds oneDNN, whatever its version, to AVX2. */
export const ONEDNN_AVX2 = { ONEDNN_MAX_CPU_ISA: 'AVX2', DNNL_MAX_CPU_ISA: 'AVX2' } as const;

export class PeerProcess<Greeting> {
  readonly #family: string;
  readonly #process: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #greeting: Greeting | undefined;
  /** What it wrote to standard error. */
  #complaint = '';

  private constructor({ family, command, args, env, cwd }: Launch) {
    const child = spawn(command, args, { env: { ...process.env, ...env }, cwd, stdio: ['pipe', 'pipe', 'pipe'] });
    child.on('error', (error) => (this.#complaint += error.message));
    child.stdin.on('error', () => undefined);
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#complaint += text));
    this.#family = family;
    this.#process = child;
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** @throws Error with the reason and what to install */
  static async start<Greeting>(launch: Launch): Promise<PeerProcess<Greeting>> {
    const peer = new PeerProcess<Greeting>(launch);
    try {
      peer.#greeting = (await peer.#next()) as Greeting;
      return peer;
    } catch (error) {
      throw new Error(`${(error as Error).message} (${launch.needs})`, { cause: error });
    }
  }

  get greeting(): Greeting {
    if (!this.#greeting) throw new Error('no greeting yet');
    return this.#greeting;
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  ask(request: string): Promise<unknown> {
    this.#process.stdin?.write(`${request}\n`);
    return this.#next();
  }

  stop(): void {
    this.#process.kill();
  }

  async #next(): Promise<unknown> {
    const answer = await this.#answers.next();
    if (!answer.done) return JSON.parse(answer.value);
    const lines = this.#complaint.trim().split('\n');
    throw new Error(`${this.#family} has ended: ${lines.find((line) => /^\w*Error/.test(line)) ?? lines.at(-1) ?? ''}`);
  }
}
