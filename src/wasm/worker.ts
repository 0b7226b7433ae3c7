/** What the lowest word of a worker's stack holds. */
export const STACK_GUARD = 0x57ac6a2d;

/**
 * The script of a worker thread, in Node and in browsers: an instance over the shared memory with a stack of its own, which
 * works for the team until the environment ends. Node's host gives it a browser's `postMessage` and `onmessage`. A text, because
 * a file would need every bundler's help.
 */
export const WORKER_SOURCE = `
function start({ module, memory, member, stackTop, stackGuard }) {
  let words = new Int32Array(memory.buffer);
  const word = (address) => {
    if (address >>> 2 >= words.length) words = new Int32Array(memory.buffer);
    return address >>> 2;
  };
  const host = {
    late: () => 0,
    now: () => performance.now() * 1e6,
    wait: (address, value) => {
      const index = word(address);
      Atomics.wait(words, index, value);
    },
    finished: (program) => {
      if (words[word(stackGuard)] !== ${STACK_GUARD}) throw new Error('a stack overflowed');
      postMessage(program >>> 0);
    },
  };
  const { exports } = new WebAssembly.Instance(module, { host, env: { memory } });
  exports.__stack_pointer.value = stackTop;
  postMessage('ready');
  exports.work(member);
}
globalThis.onmessage = ({ data }) => start(data);
`;

export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Address of its Member in team.h. */
  readonly member: number;
  /** Its stack grows down from stackTop to stackGuard. */
  readonly stackTop: number;
  readonly stackGuard: number;
}
