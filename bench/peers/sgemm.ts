// The peers of bench/gemm.ts: other libraries' matrix products, each in a process of native/sgemm.cpp for every form of the product
// and every setting that may be its best one; the bench measures them all and compares with the fastest.
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { promisify } from 'node:util';
import type { GemmShape } from '../gemm.js';
import { inCheckout, root } from '../report.js';
import { type Launch, ONEDNN_AVX2, PeerProcess } from './process.js';

const run = promisify(execFile);

export const productFamilies = ['openblas', 'blis', 'onednn', 'libxsmm', 'eigen'] as const;
export type ProductFamily = (typeof productFamilies)[number];

const EIGEN = ['-DEIGEN', '-fopenmp', '-isystem', '/usr/include/eigen3', '-isystem', '/usr/local/include/eigen3'] as const;

/** What native/sgemm.cpp is built with for a library; the first one opens any BLAS. */
const PROGRAMS = {
  blas: ['-ldl'],
  onednn: ['-DONEDNN', '-ldnnl'],
  libxsmm: ['-DLIBXSMM', '-fopenmp', '-lxsmmext', '-lxsmm', '-lxsmmnoblas', '-ldl', '-lpthread'],
  eigen: EIGEN,
  'eigen-avx2': [...EIGEN, '-mno-avx512f'],
} as const;

const PACKAGES: Readonly<Record<ProductFamily, string>> = {
  openblas: 'libopenblas0-openmp libopenblas0-pthread',
  blis: 'libblis4-pthread',
  onednn: 'libdnnl-dev',
  libxsmm: 'libxsmm-dev',
  eigen: 'libeigen3-dev',
};

export interface ProductOptions {
  readonly families: readonly ProductFamily[];
  /** Files of further libraries that have a cblas_sgemm. */
  readonly libraries: readonly string[];
  readonly threads: readonly number[];
  /** Whether they may use it: where one of our runs does. */
  readonly avx512: boolean;
}

export class ProductPeer {
  readonly family: string;
  readonly threads: number;
  readonly #process: PeerProcess<{ readonly name: string }>;

  private constructor(family: string, threads: number, process: PeerProcess<{ readonly name: string }>) {
    this.family = family;
    this.threads = threads;
    this.#process = process;
  }

  /** @throws Error with the reason and what to install */
  static async start(launch: Launch, threads: number): Promise<ProductPeer> {
    const count = String(threads);
    const env = { ...launch.env, OMP_NUM_THREADS: count, OPENBLAS_NUM_THREADS: count, BLIS_NUM_THREADS: count, MKL_NUM_THREADS: count };
    return new ProductPeer(launch.family, threads, await PeerProcess.start({ ...launch, env }));
  }

  /** Library, version, kernels, form. */
  get name(): string {
    return this.#process.greeting.name;
  }

  /**
   * `file` holds the operands a and b, the expected c and |op(a)|·|op(b)|. Resolves to the greatest error as a share of the latter,
   * to undefined where it has no product of this shape.
   */
  async prepare({ m, n, k, transposeA, transposeB }: GemmShape, file: string): Promise<number | undefined> {
    const error = await this.#process.ask(['prepare', m, n, k, Number(transposeA), Number(transposeB), file].join(' '));
    return (error as number | null) ?? undefined;
  }

  /** Seconds of a product. */
  async slice(seconds: number): Promise<number> {
    return (await this.#process.ask(`slice ${seconds}`)) as number;
  }

  stop(): void {
    this.#process.stop();
  }
}

/** Starts all that are installed, a process for each number of threads, and adds them to `started`; tells `report` what is missing. */
export async function startProducts(started: ProductPeer[], options: ProductOptions, report: (line: string) => void): Promise<void> {
  for (const family of [...productFamilies, ...options.libraries]) {
    const known = productFamilies.find((name) => name === family);
    if (known && !options.families.includes(known)) {
      report(`${family} is left out: not asked for`);
      continue;
    }
    const needs = known ? `Debian: apt-get install ${PACKAGES[known]}` : 'a library with cblas_sgemm';
    try {
      for (const threads of options.threads)
        for (const { program, args, env } of formsOf(family, threads, options.avx512)) {
          const peer = await ProductPeer.start({ family, command: await built(program, needs), args, env, needs }, threads);
          started.push(peer);
          report(`${peer.name}, ${threads} thread${threads === 1 ? '' : 's'}`);
        }
    } catch (error) {
      report(`${family} is left out: ${(error as Error).message}`);
    }
  }
}

interface Form {
  readonly program: keyof typeof PROGRAMS;
  /** A form that the program knows, or for a BLAS what to call it; the library's file. */
  readonly args: readonly string[];
  readonly env: NonNullable<Launch['env']>;
}

function formsOf(family: string, threads: number, avx512: boolean): Form[] {
  const env = {};
  const x64 = process.arch === 'x64';
  const onlyAvx2 = x64 && !avx512;
  switch (family) {
    case 'openblas': {
      // With one thread the builds are the same.
      const builds = threads === 1 ? openblasBuilds().slice(0, 1) : openblasBuilds();
      const cores = ['Zen', 'Haswell', ...(avx512 ? ['SkylakeX'] : [])];
      const settings = x64 ? cores.map((core) => ({ OPENBLAS_CORETYPE: core })) : [env];
      // Its threads spin for 2²² cycles between products, not 2²⁶, so that they sleep when another has its turn.
      return builds.flatMap((args) =>
        settings.map((setting) => ({ program: 'blas' as const, args, env: { OPENBLAS_THREAD_TIMEOUT: '22', ...setting } })),
      );
    }
    case 'blis':
      return (x64 ? ['haswell', 'zen3', ...(avx512 ? ['skx'] : [])] : ['']).map((form) => ({
        program: 'blas',
        args: [form, 'libblis.so.4'],
        env,
      }));
    case 'onednn':
      return ['sgemm', 'matmul'].map((form) => ({
        program: 'onednn',
        args: [form],
        env: onlyAvx2 ? ONEDNN_AVX2 : env,
      }));
    case 'libxsmm':
      return (threads === 1 ? ['kernel', 'tiled'] : ['tiled']).map((form) => ({
        program: 'libxsmm',
        args: [form],
        env: onlyAvx2 ? { LIBXSMM_TARGET: 'hsw' } : env,
      }));
    case 'eigen':
      return [{ program: onlyAvx2 ? 'eigen-avx2' : 'eigen', args: [''], env }];
    default:
      return [{ program: 'blas', args: ['', family], env }];
  }
}

/** Their threads and files: Debian has builds side by side; elsewhere the loader finds one. */
function openblasBuilds(): [threads: string, file: string][] {
  const debian = `/usr/lib/${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu`;
  const folders = existsSync(debian) ? readdirSync(debian).filter((name) => name.startsWith('openblas-')) : [];
  const builds = folders
    .map((name): [string, string] => [name.replace('openblas-', ''), `${debian}/${name}/libopenblas.so.0`])
    .filter(([, file]) => existsSync(file));
  return builds.length > 0 ? builds : [['', 'libopenblas.so.0']];
}

/** The program, built where it is older than its source. @throws Error where there is no compiler, or not what the library needs */
async function built(name: keyof typeof PROGRAMS, needs: string): Promise<string> {
  if (!inCheckout) throw new Error('its program is built in a checkout of gradmill only');
  const folder = `${root}bench/native/build/`;
  const source = `${root}bench/native/sgemm.cpp`;
  const program = `${folder}sgemm-${name}`;
  const compiler = process.env.CXX ?? 'c++';
  if (!existsSync(program) || statSync(program).mtimeMs < statSync(source).mtimeMs) {
    mkdirSync(folder, { recursive: true });
    const args = ['-O3', '-march=native', '-std=c++17', source, '-o', program, ...PROGRAMS[name]];
    await run(compiler, args).catch((error: unknown) => {
      throw new Error(`${compiler} could not build bench/native/sgemm.cpp for it (${needs})`, { cause: error });
    });
  }
  return program;
}
