// Data sets on their way into the engine's memory: the same element type, copied once, never a second float copy.
import type { Engine, EngineMemory, EngineProgram } from './engine.js';
import { GradmillError } from './errors.js';
import { elementType, type Rows } from './tensor.js';

/** Rows in the engine's memory. */
export interface DataSet {
  readonly memory: EngineMemory;
  readonly type: number;
  readonly rows: number;
  readonly columns: number;
}

/** Copying pauses after this many bytes, so that the event loop never waits long. */
const SLICE_BYTES = 4 * 2 ** 20;

/**
 * @param what 'x' or 'y', for messages
 * @throws GradmillError 'buffer-detached' when the caller's array loses its data meanwhile, 'out-of-memory'
 */
export async function copyDataSet(engine: Engine, what: string, { data, rows, columns }: Rows): Promise<DataSet> {
  const bytes = data.byteLength;
  const memory = engine.allocate(bytes);
  for (let at = 0; at < bytes; at += SLICE_BYTES) {
    if (at > 0) await new Promise(resolve => setImmediate(resolve));
    if (data.byteLength !== bytes) throw new GradmillError('buffer-detached', `${what}: its buffer was transferred or resized while it was read`);
    memory.bytes().set(new Uint8Array(data.buffer, data.byteOffset + at, Math.min(SLICE_BYTES, bytes - at)), at);
  }
  return { memory, type: elementType(data), rows, columns };
}

/** Uint32 or float32 rows that the engine writes. */
export function blankDataSet(engine: Engine, type: Uint32ArrayConstructor | Float32ArrayConstructor, rows: number, columns: number): DataSet {
  return { memory: engine.allocate(rows * columns * type.BYTES_PER_ELEMENT), type: elementType(new type(0)), rows, columns };
}

export function feed(program: EngineProgram, slot: number, set: DataSet | undefined): void {
  if (set) program.feed(slot, set.memory.handle, set.type, set.rows, set.columns);
  else program.feed(slot, undefined, 0, 0, 0);
}
