// The order of a model's calls: one runs at a time, in the order they were made. While a fit awaits a callback, calls made on
// the model run at once: they would otherwise wait for the fit that waits for them.

interface Line {
  /** Settles when the last call in line has ended. */
  tail: Promise<void>;
  /** Calls that have not ended. */
  calls: number;
}

const emptyLine = (): Line => ({ tail: Promise.resolve(), calls: 0 });

export class CallQueue {
  #line = emptyLine();
  #callbacks = 0;

  /** Whether a call made now would have to wait. */
  get busy(): boolean {
    return this.#line.calls > 0;
  }

  /** Whether any call has not ended, be it one that awaits a callback. */
  get unfinished(): boolean {
    return this.busy || this.#callbacks > 0;
  }

  /** Runs `call` after those before it. A call whose signal aborts while it waits is not made: it rejects at once. */
  add<T>(call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const line = this.#line;
    line.calls++;
    return new Promise<T>((resolve, reject) => {
      const leave = (): void => {
        // Not always an Error: it is what the caller aborted with.
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', leave);
      line.tail = line.tail.then(async () => {
        signal?.removeEventListener('abort', leave);
        try {
          if (signal?.aborted === true) return;
          const result = call();
          resolve(result);
          await result;
        } catch {
          // Whoever made the call hears of it.
        } finally {
          line.calls--;
        }
      });
    });
  }

  /**
   * Awaits a user's callback within a call, or rejects with the signal's reason as soon as it aborts. Calls made meanwhile
   * have ended when this returns.
   */
  async callback(run: () => unknown, signal: AbortSignal): Promise<void> {
    const outer = this.#line;
    const inner = (this.#line = emptyLine());
    this.#callbacks++;
    try {
      await abortable(run, signal);
    } finally {
      // The inner line stays in place for what the callback left behind, which may be a fit with callbacks of its own.
      await inner.tail;
      this.#callbacks--;
      this.#line = outer;
      await inner.tail;
    }
  }
}

function abortable(run: () => unknown, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', leave);
    const ran = (async () => {
      await run();
    })();
    void ran.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', leave);
    });
  });
}
