// Shows a running training: on a terminal one live line with a bar, in a pipe a few plain lines an epoch.
// fit.ts feeds it from the model's callbacks.

import { formatClock, formatCount, formatLoss, formatPercent, formatSeconds, type Output } from './terminal.js';

export interface BatchStatus {
  /** 1-based, as are batches. */
  readonly epoch: number;
  readonly epochs: number;
  readonly batch: number;
  readonly batches: number;
  readonly loss: number;
  readonly accuracy?: number;
  readonly samplesPerSecond: number;
  readonly secondsLeft: number;
}

export interface EpochStatus {
  readonly epoch: number;
  readonly epochs: number;
  readonly loss: number;
  readonly accuracy?: number;
  readonly valLoss?: number;
  readonly valAccuracy?: number;
  readonly seconds: number;
  readonly samplesPerSecond: number;
}

const maxBarWidth = 24;
/** A shorter bar says nothing. */
const minBarWidth = 4;
/** Of a long training only about so many epochs leave a line behind. */
const maxEpochLines = 20;
/** Plain lines within an epoch: at each quarter, but never closer than this. */
const minPlainSeconds = 1;

export class Progress {
  readonly #out: Output;
  readonly #now: () => number;
  #live = false;
  #epoch = 0;
  #quarter = 0;
  #lastPlain: number;

  /** `now` returns seconds. */
  constructor(out: Output, now: () => number = () => performance.now() / 1000) {
    this.#out = out;
    this.#now = now;
    this.#lastPlain = now();
  }

  batch(status: BatchStatus): void {
    if (this.#out.isTTY === true) {
      const [head, numbers] = [epochOf(status), batchNumbers(status)];
      const barWidth = Math.min(maxBarWidth, this.#width - `${head}  []  ${numbers}`.length);
      this.#redraw((barWidth < minBarWidth ? [head, numbers] : [head, bar(status, barWidth), numbers]).join('  ').slice(0, this.#width));
      return;
    }
    if (status.epoch !== this.#epoch) {
      this.#epoch = status.epoch;
      this.#quarter = 0;
    }
    const quarter = Math.floor((4 * status.batch) / status.batches);
    if (quarter === this.#quarter || quarter === 4 || this.#now() - this.#lastPlain < minPlainSeconds) return;
    this.#quarter = quarter;
    this.#plain(`${epochOf(status)}  batch ${status.batch}/${status.batches}  ${batchNumbers(status)}`);
  }

  epoch(status: EpochStatus): void {
    const stride = Math.ceil(status.epochs / maxEpochLines);
    const kept = status.epoch === 1 || status.epoch === status.epochs || status.epoch % stride === 0;
    const line = `${epochOf(status)}  ${epochNumbers(status)}`;
    if (this.#out.isTTY === true) {
      this.#redraw(kept ? line : line.slice(0, this.#width));
      if (kept) this.end();
    } else if (kept) {
      this.#plain(line);
    }
  }

  /** Leaves the live line, if any, as it stands. Call it before anything else is printed. */
  end(): void {
    if (this.#live) this.#out.write('\n');
    this.#live = false;
  }

  /** A line that wraps could not be overwritten by the next one. A terminal that does not know its width says 0. */
  get #width(): number {
    const { columns = 0 } = this.#out;
    return (columns > 0 ? columns : 80) - 1;
  }

  #redraw(line: string): void {
    this.#out.write(`\r${line}\x1b[K`);
    this.#live = true;
  }

  #plain(line: string): void {
    this.#lastPlain = this.#now();
    this.#out.write(`${line}\n`);
  }
}

function epochOf({ epoch, epochs }: { epoch: number; epochs: number }): string {
  return `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}`;
}

function bar({ batch, batches }: BatchStatus, width: number): string {
  const filled = Math.round((width * batch) / batches);
  const shaft = '='.repeat(filled);
  return `[${filled > 0 && filled < width ? `${shaft.slice(1)}>` : shaft}${' '.repeat(width - filled)}]`;
}

function batchNumbers(status: BatchStatus): string {
  return [
    `loss ${formatLoss(status.loss)}`,
    ...(status.accuracy === undefined ? [] : [`accuracy ${formatPercent(status.accuracy)}`]),
    `${formatCount(status.samplesPerSecond)} samples/s`,
    `${formatClock(status.secondsLeft)} left`,
  ].join('  ');
}

function epochNumbers(status: EpochStatus): string {
  return [
    `loss ${formatLoss(status.loss)}`,
    ...(status.accuracy === undefined ? [] : [`accuracy ${formatPercent(status.accuracy)}`]),
    ...(status.valLoss === undefined ? [] : [`validation loss ${formatLoss(status.valLoss)}`]),
    ...(status.valAccuracy === undefined ? [] : [`accuracy ${formatPercent(status.valAccuracy)}`]),
    `${formatCount(status.samplesPerSecond)} samples/s`,
    formatSeconds(status.seconds),
  ].join('  ');
}
