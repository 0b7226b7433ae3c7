// What the core needs of the environment it runs in. Each entry of the package (index.ts, browser.ts, …) names its platform as
// it is loaded; everything behind api.ts asks here, and so runs in Node and in browsers alike.
import type { Engine } from './engine.js';
import { GradmillError } from './errors.js';
import type { EpochReport, ProgressReport } from './fit.js';

/** A WebAssembly.Module; any object where TypeScript does not know that type (without its lib "dom"). */
export type CompiledModule = object &
  (typeof globalThis extends { WebAssembly: { Module: { prototype: infer Module } } } ? Module : unknown);

/** What was asked of an engine; undefined: its own default. */
export interface Choice {
  /** Native only: WebAssembly has one instruction set. */
  readonly isa: string | undefined;
  readonly threads: number | undefined;
  readonly strict: boolean;
  /** WebAssembly only. */
  readonly module: CompiledModule | undefined;
}

/** Errors are GradmillErrors 'file-io' that name the path. */
export interface Files {
  /** A regular file's bytes. */
  read(path: string): Promise<Uint8Array>;
  /** The chunks, one after the other: whoever reads meets the old file or the whole new one. */
  write(path: string, chunks: Iterable<Uint8Array>): Promise<void>;
  exists(path: string): Promise<boolean>;
  /** With those above it, where there is none yet. */
  makeFolder(path: string): Promise<void>;
  /** A file to add lines to: a new one, or one that begins with `header`; a line that a crash cut short is ended first. */
  append(path: string, header: string): Promise<Appender>;
}

export interface Appender {
  /** Whole lines. They are the system's when it resolves: this program's end no longer loses them. */
  append(text: string): Promise<void>;
  /** Once the lines are on the disk. */
  close(): Promise<void>;
}

/** Shows a fit while it runs. */
export interface ProgressPrinter {
  batch(report: ProgressReport): void;
  epoch(report: EpochReport): void;
  end(): void;
}

export interface Platform {
  readonly name: 'node' | 'browser';
  /** Its engine is the caller's choice, which an entry loaded later does not undo. */
  readonly forced?: boolean;
  /** An environment variable; undefined where it is unset or empty, and where there are none. */
  variable(name: string): string | undefined;
  /** @throws GradmillError 'backend-unavailable', with the reason; 'invalid-argument' for a choice that makes no sense */
  loadEngine(wanted: 'auto' | 'native' | 'wasm', choice: Choice): Engine;
  /** What loadEngine would compile while everybody waits, compiled elsewhere; absent where nothing is. */
  compile?(): Promise<CompiledModule>;
  readonly files: Files | undefined;
  progress(): ProgressPrinter;
  /** Gives up the turn of the event loop, shortly. */
  pause(): Promise<void>;
}

let current: Platform | undefined;

/** Called by entries as they are loaded. */
export function usePlatform(platform: Platform): void {
  if (current?.forced !== true) current = platform;
}

/** @throws GradmillError 'backend-unavailable' when no entry of the package was loaded */
export function platform(): Platform {
  if (!current) throw new GradmillError('backend-unavailable', 'no platform: import gradmill, not a file inside it');
  return current;
}

/** @throws GradmillError 'file-io' where there are no files */
export function checkFiles(call: string, instead: string): Files {
  const { files } = platform();
  if (!files) throw new GradmillError('file-io', `${call}: there are no files here; ${instead}`);
  return files;
}
