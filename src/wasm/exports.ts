// What the modules export, and what C++ and this folder must agree on.

/** wasm/exports.cpp. Addresses come signed: `>>> 0` before use. */
export interface Exports {
  readonly __heap_base: WebAssembly.Global;
  _initialize(): void;
  opCount(): number;
  opText(op: number, column: number): number;
  scratchBytes(): number;
  programBytes(instructions: number): number;
  instructions(program: number): number;
  load(program: number, count: number, arena: number, arenaBytes: number, threads: number, slice: number): number;
  feed(program: number, slot: number, data: number, bytes: number, type: number, rows: number, columns: number): number;
  begin(
    program: number,
    from: number,
    to: number,
    firstRow: number,
    rowCount: number,
    batch: number,
    every: number,
    phase: number,
    watchFrom: number,
    watchTo: number,
    figures: number,
  ): number;
  run(program: number, scratch: number): number;
  estimate(program: number, from: number, to: number, rows: number): number;
  resume(program: number, scratch: number): number;
  gemm(...rest: number[]): void;
  // Of the module with threads:
  memberBytes(): number;
  enlist(member: number, scratch: number): void;
  submit(program: number): void;
}
