// What the WebAssembly engine needs of Node or a browser; src/node/ and src/browser/ have one each.

export interface WorkerPort {
  post(message: unknown): void;
  /** Called once, before the first post. `failed` tells that the worker did not start or broke. */
  onMessage(listener: (message: unknown) => void, failed: (reason: string) => void): void;
  /** Whether the worker keeps the process alive; a new one does not. Nothing in browsers. */
  ref(): void;
  unref(): void;
}

export interface WasmHost {
  readonly name: 'node' | 'browser';
  /** That this process or page may use. */
  readonly cores: number;
  /** Whether workers can share memory here; where not, why in a few words. */
  readonly sharedMemory: true | string;
  /** The module that ships: with threads, or without. */
  bytes(threads: boolean): Uint8Array;
  /** A worker that runs this script, or undefined where there is none. */
  spawn(source: string): WorkerPort | undefined;
  /** Gives others their turn on this thread's event loop; resolves soon. */
  pause(): Promise<void>;
}
