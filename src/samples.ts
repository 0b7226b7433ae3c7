// The samples of a fit. Jobs leave rows of figures; a row becomes an object when somebody reads it: of a small network that takes
// about as long as measuring, and the next epoch would wait for it.
import type { DiagnosticsSample } from './diagnostics/types.js';
import { Figures, type Measures } from './measure.js';

/** What a job measured. */
export interface Measured {
  readonly measures: Measures;
  readonly epoch: number;
  /** The first one, from 1 in the fit, and how many from each to the next. */
  readonly step: number;
  readonly every: number;
  /** Row after row, each as long as what its plan measures. */
  readonly bytes: Uint8Array;
}

export class Samples {
  readonly #samples: DiagnosticsSample[] = [];
  #unread: Measured[] = [];

  add(measured: Measured): void {
    this.#unread.push(measured);
  }

  /** All of them. */
  read(): DiagnosticsSample[] {
    for (const measured of this.#unread) {
      const { measures, epoch, every } = measured;
      let { step } = measured;
      for (const figures of rowsOf(measured)) {
        this.#samples.push({ epoch, step, ...measures.sample(figures) });
        step += every;
      }
    }
    this.#unread = [];
    return this.#samples;
  }
}

/** For immediate use, one after the other. */
export function* rowsOf({ measures: { region }, bytes }: Measured): Generator<Figures> {
  const figures = new Figures(bytes);
  for (let start = 0; start < bytes.length; start += region.bytes(1)) {
    figures.origin = start - region.offset;
    yield figures;
  }
}
