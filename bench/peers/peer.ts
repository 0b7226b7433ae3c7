// Who trains and predicts: gradmill on each backend, and other libraries, in processes of their own, whose requests are JSON
// ({"do": "prepare" | "check" | "slice" | "examples" | "train", …}).
import { existsSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inCheckout, root } from '../report.js';
import type { Workload } from '../workloads.js';
import { type Launch, ONEDNN_AVX2, PeerProcess } from './process.js';

/** gradmill itself; the addon's slowest form and gradmill in a browser, to compare WebAssembly with, count as peers. */
export const backends = ['native', 'wasm'] as const;
export type BackendName = (typeof backends)[number];

export const peerFamilies = ['pytorch', 'onnxruntime', 'tfjs', 'tfjs-cpu', 'jaxjs', 'brainjs', 'sse2-strict', 'chromium'] as const;
export type PeerFamily = (typeof peerFamilies)[number];

export type Family = BackendName | PeerFamily;

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Beside what is set when the bench starts. */
const ENVIRONMENTS: Readonly<Record<BackendName | 'sse2-strict', NonNullable<Launch['env']>>> = {
  native: { GRADMILL_BACKEND: 'native' },
  wasm: { GRADMILL_BACKEND: 'wasm' },
  'sse2-strict': { GRADMILL_BACKEND: 'native', GRADMILL_ISA: 'sse2', GRADMILL_STRICT: '1' },
};

/** Of glibc: freed memory is kept for the next step, and lies on huge pages where the system gives them for the asking, as ours does. */
const FAST_MEMORY = {
  MALLOC_MMAP_THRESHOLD_: '1073741824',
  MALLOC_TRIM_THRESHOLD_: '4294967296',
  GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1',
} as const;

/** Which npm can install, beside a published gradmill. */
const PACKAGES = {
  onnxruntime: 'onnxruntime-node',
  tfjs: '@tensorflow/tfjs @tensorflow/tfjs-backend-wasm',
  'tfjs-cpu': '@tensorflow/tfjs',
  jaxjs: '@jax-js/jax',
  brainjs: 'brain.js@2.0.0-beta.24',
};

function isPackage(family: Family): family is keyof typeof PACKAGES {
  return family in PACKAGES;
}

interface LaunchOptions {
  readonly python: string;
  readonly avx512: boolean;
  /** Whether its memory is counted: then it has no settings that buy speed with memory. */
  readonly counted?: boolean;
}

/**
 * The processes of a family. PyTorch is started once for each setting that may be its best one: the bench measures them all
 * and compares with the fastest. They share what helps: kernels for this CPU, memory kept between steps and on huge pages. jax-js
 * is started without and with relaxed SIMD where Node has that behind a flag.
 * @throws Error where an installed package lacks what the family needs
 */
export function launches(family: Family, { python, avx512, counted = false }: LaunchOptions): Launch<Family>[] {
  const node = { family, command: process.execPath };
  if (isPackage(family)) {
    const [program = family, backend] = family.split('-');
    // As text: so their packages are those of the folder, wherever the file lies.
    const library = new URL('library.mjs', import.meta.url).href;
    const args = ['--input-type=module', '--eval', readFileSync(file(`${program}.mjs`), 'utf8').replace('./library.mjs', library)];
    const where = existsSync(`${root}bench/peers/node_modules`)
      ? { cwd: `${root}bench/peers`, needs: 'npm install --prefix bench/peers' }
      : { needs: `npm install ${PACKAGES[family]}` };
    const launch = { ...node, args, ...(backend !== undefined && { env: { TFJS_BACKEND: backend } }), ...where };
    return family === 'jaxjs' && process.version.startsWith('v20.')
      ? [launch, { ...launch, args: ['--experimental-wasm-relaxed-simd', ...args] }]
      : [launch];
  }
  if (family === 'chromium') {
    if (!inCheckout) throw new Error('its page runs from a checkout of gradmill only');
    const needs = 'Debian: apt-get install chromium; elsewhere its path in GRADMILL_CHROMIUM';
    return [{ ...node, args: [file('chromium.mjs')], needs }];
  }
  if (family !== 'pytorch') {
    // Where a loader of TypeScript runs the bench, it runs this too.
    const program = file(`gradmill${extname(import.meta.url)}`);
    return [{ ...node, args: [...process.execArgv, program], env: ENVIRONMENTS[family], needs: 'see CONTRIBUTING.md' }];
  }
  const blasKernels = avx512 ? ['Haswell', 'Zen', 'SkylakeX'] : ['Haswell', 'Zen'];
  return blasKernels.map((kernels) => ({
    family,
    command: python,
    args: [file('pytorch.py')],
    env: {
      // Of two OpenBLAS that are installed Debian takes the one with threads of its own, beside torch's of OpenMP.
      LD_LIBRARY_PATH: '/usr/lib/x86_64-linux-gnu/openblas-openmp',
      OPENBLAS_CORETYPE: kernels,
      ATEN_CPU_CAPABILITY: avx512 ? 'avx512' : 'avx2',
      ...(!avx512 && ONEDNN_AVX2),
      ...(!counted && FAST_MEMORY),
    },
    needs: 'Debian: apt-get install python3-torch libopenblas0-openmp; elsewhere a Python with torch, by --python',
  }));
}

export interface Greeting {
  readonly name: string;
  readonly settings: readonly string[];
  /** The most threads it can use. */
  readonly threads: number;
  /** Of gradmill: its instruction set, whose peak its figures are given as shares of. */
  readonly isa?: string;
  /** Of gradmill: why this engine, and why not more threads. */
  readonly reason?: string;
}

export class Peer {
  readonly family: Family;
  readonly #process: PeerProcess<Greeting>;

  private constructor(family: Family, process: PeerProcess<Greeting>) {
    this.family = family;
    this.#process = process;
  }

  /** @throws Error with the reason and what to install */
  static async start(launch: Launch<Family>): Promise<Peer> {
    return new Peer(launch.family, await PeerProcess.start<Greeting>(launch));
  }

  get greeting(): Greeting {
    return this.#process.greeting;
  }

  /** True, or why it has no such workload. */
  async prepare(workload: Workload, rows: number, data: string): Promise<true | string> {
    return (await this.#ask({ do: 'prepare', workload: { ...workload, rows }, file: data })) as true | string;
  }

  /** Losses of the first steps, or a prediction. Nothing where it cannot do the same work. */
  async check(threads: number): Promise<number[]> {
    return (await this.#ask({ do: 'check', threads })) as number[];
  }

  /** Seconds a step. */
  async slice(threads: number, seconds: number): Promise<number> {
    return (await this.#ask({ do: 'slice', threads, seconds })) as number;
  }

  /** Makes so many random examples, in the form that its training takes. */
  examples(workload: Workload, rows: number): Promise<unknown> {
    return this.#ask({ do: 'examples', workload: { ...workload, rows } });
  }

  /** Builds a model for them, as its users do, and goes over them once. */
  train(threads: number): Promise<unknown> {
    return this.#ask({ do: 'train', threads });
  }

  get pid(): number {
    return this.#process.pid;
  }

  stop(): void {
    this.#process.stop();
  }

  #ask(request: object): Promise<unknown> {
    return this.#process.ask(JSON.stringify(request));
  }
}
