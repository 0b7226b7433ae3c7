// `gradmill bench`: measures gradmill and its peers. What it runs is bench/, beside src/ in a checkout, beside this folder where it
// is built (bench/build.mjs).
import type { Io } from './terminal.js';

interface Bench {
  readonly bench: (args: readonly string[], io: Io) => Promise<number>;
}

export async function bench(args: readonly string[], io: Io): Promise<number> {
  const main = import.meta.url.endsWith('.ts') ? '../../bench/main.ts' : '../bench/main.js';
  return ((await import(new URL(main, import.meta.url).href)) as Bench).bench(args, io);
}
