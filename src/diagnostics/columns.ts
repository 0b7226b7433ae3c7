// Statistics of columns over all rows of a data set: the op columnStatistics a batch, batches combined here.
import type { RunSets } from '../window.js';
import type { Jobs } from '../jobs.js';
import type { Plan, Tensor } from '../plan.js';
import type { PlanKind } from '../runtime.js';

/** Of a column's finite numbers. */
export interface ColumnStatistics {
  readonly mean: number;
  /** Mean square deviation: divided by their number. */
  readonly variance: number;
  readonly min: number;
  readonly max: number;
  /** Numbers above 0, and below. */
  readonly positive: number;
  readonly negative: number;
  readonly finite: number;
}

/** In the order of the op's operands. */
const OUTPUTS = ['mean', 'variance', 'low', 'high', 'positive', 'negative', 'finite'] as const;

/** Rows of a batch that is measured. */
export const MEASURED_BATCH = 1024;

/** Seven tensors [columns] for Totals.add. */
export function recordColumns(plan: Plan, x: Tensor): Tensor[] {
  const [, columns = 1] = x.shape;
  const into = OUTPUTS.map((name) => plan.buffer(name, [columns]));
  plan.emit('columnStatistics', x.shape, { x, ...Object.fromEntries(OUTPUTS.map((name, i) => [name, into[i]])) });
  return into;
}

/** Runs a 'measure' plan over rows; `read` sees what it measured after each batch. */
export async function measure(
  jobs: Jobs,
  kind: PlanKind & `measure:${string}`,
  sets: RunSets,
  rows: number,
  read: (measured: readonly Float32Array[]) => void,
): Promise<void> {
  const batch = Math.min(rows, MEASURED_BATCH);
  const { runtime } = jobs;
  await jobs.run(kind, batch, sets, {
    rows,
    afterBatch: (_, taken) => {
      read(runtime.plan(kind, batch).measured.map((tensor) => runtime.floats(tensor, taken)));
      return Promise.resolve();
    },
  });
}

/** Batches' statistics put together: Chan, Golub and LeVeque 1979. */
export class Totals {
  #columns: ColumnStatistics[] = [];

  add([mean, variance, low, high, positive, negative, finite]: readonly Float32Array[]): void {
    this.#columns = Array.from(mean, (_, j) => {
      const known = this.#columns.at(j);
      const batch = {
        mean: mean[j],
        variance: variance[j],
        min: low[j],
        max: high[j],
        positive: positive[j],
        negative: negative[j],
        finite: finite[j],
      };
      if (known === undefined || known.finite === 0) return batch;
      if (batch.finite === 0) return known;
      const all = known.finite + batch.finite;
      const step = batch.mean - known.mean;
      const squares = known.variance * known.finite + batch.variance * batch.finite + (step * step * known.finite * batch.finite) / all;
      return {
        mean: known.mean + (step * batch.finite) / all,
        variance: squares / all,
        min: Math.min(known.min, batch.min),
        max: Math.max(known.max, batch.max),
        positive: known.positive + batch.positive,
        negative: known.negative + batch.negative,
        finite: all,
      };
    });
  }

  get columns(): readonly ColumnStatistics[] {
    return this.#columns;
  }
}
