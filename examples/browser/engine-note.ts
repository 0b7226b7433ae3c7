/** A worker reports what the engine is. */
export interface EngineNote {
  readonly isa: string;
  readonly threads: number;
  readonly reason: string;
}
