// What native/peak.cpp measures, in WebAssembly: as many chains of multiplications as of additions, as many at once as hide
// their latency. The module is written here byte by byte, so that no toolchain is needed.
//   node --no-liftoff peak-wasm.mjs THREADS SECONDS   prints the best and the median window, in GFLOP/s over all threads;
//   the flag skips V8's quick first compilation
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

/** All that the 15 registers hold which V8 leaves to code, with their operand. */
const CHAINS = 14;
/** 1 to 3 ms: short enough that some windows are undisturbed. */
const TURNS = 1_600_000;

/**
 * (func (export "chains") (param $turns i32) (param $zero f32) (result f32)
 *   (local $operand v128) (local $c0 … $c13 v128)
 *   (local.set $operand (f32x4.splat (local.get $zero)))
 *   (loop
 *     (local.set $c0 (f32x4.mul (local.get $c0) (local.get $operand)))
 *     (local.set $c1 (f32x4.add (local.get $c1) (local.get $operand)))   … and so on
 *     (br_if 0 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
 *   (f32x4.extract_lane 0 (f32x4.add … (f32x4.add (local.get $c0) (local.get $c1)) …)))
 * Zero keeps every chain where it is, and comes as a parameter, so that the compiler does not simplify. One link of every chain in
 * a turn: of more, V8 puts those of one chain side by side, where they wait for each other (measured: an eighth slower).
 */
function moduleBytes() {
  const [I32, F32, V128, FUNCTION] = [0x7f, 0x7d, 0x7b, 0x60];
  const [END, LOOP, BR_IF, I32_CONST, I32_SUB, EMPTY] = [0x0b, 0x03, 0x0d, 0x41, 0x6b, 0x40];
  const get = (local) => [0x20, local];
  const set = (local) => [0x21, local];
  const tee = (local) => [0x22, local];
  const simd = (op) => [0xfd, ...unsigned(op)];
  const [SPLAT, EXTRACT_0, ADD, MUL] = [simd(0x13), [...simd(0x1f), 0], simd(0xe4), simd(0xe6)];
  const [turns, zero, operand, first] = [0, 1, 2, 3];
  const chains = Array.from({ length: CHAINS }, (_, i) => first + i);
  const link = chains.flatMap((chain, i) => [...get(chain), ...get(operand), ...(i % 2 ? ADD : MUL), ...set(chain)]);
  const code = [
    ...[...get(zero), ...SPLAT, ...set(operand)],
    ...[LOOP, EMPTY, ...link],
    ...[...get(turns), I32_CONST, 1, I32_SUB, ...tee(turns), BR_IF, 0, END],
    ...[...get(chains[0]), ...chains.slice(1).flatMap((chain) => [...get(chain), ...ADD]), ...EXTRACT_0, END],
  ];
  const sized = (bytes) => [...unsigned(bytes.length), ...bytes];
  const section = (id, item) => [id, ...sized([1, ...item])];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [FUNCTION, ...sized([I32, F32]), ...sized([F32])]),
    ...section(3, [0]),
    ...section(7, [...sized([...Buffer.from('chains')]), 0x00, 0]),
    ...section(10, sized([1, 1 + CHAINS, V128, ...code])),
  ]);
}

/** LEB128 */
function unsigned(value) {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** All threads go through a window together: it begins when the last one is there and ends when the last one is done. */
function run(arrived, threads, seconds) {
  const { chains } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes())).exports;
  const work = threads * TURNS * CHAINS * 4;
  const [MEETING, STOP] = [0, 1];
  let meetings = 0;
  const meet = () => {
    meetings += threads;
    Atomics.add(arrived, MEETING, 1);
    while (Atomics.load(arrived, MEETING) < meetings);
  };
  const windows = [];
  const deadline = performance.now() + seconds * 1000;
  do {
    meet();
    const start = performance.now();
    chains(TURNS, 0);
    meet();
    windows.push(work / (performance.now() - start) / 1e6);
    if (isMainThread) Atomics.store(arrived, STOP, performance.now() > deadline ? 1 : 0);
    meet();
  } while (!Atomics.load(arrived, STOP));
  return windows.sort((a, b) => a - b);
}

if (isMainThread) {
  const [threads = 1, seconds = 1] = process.argv.slice(2).map(Number);
  const arrived = new Int32Array(new SharedArrayBuffer(8));
  const others = Array.from({ length: threads - 1 }, () => new Worker(new URL(import.meta.url), { workerData: { arrived, threads } }));
  // This thread must not wait before the others have started: it starts them.
  await Promise.all(others.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
  const windows = run(arrived, threads, seconds);
  console.log(JSON.stringify({ best: windows.at(-1), median: windows[Math.floor(windows.length / 2)] }));
} else {
  parentPort.postMessage('here');
  run(workerData.arrived, workerData.threads, 0);
}
