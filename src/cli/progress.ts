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

const barWidth = 24;
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
      this.#redraw(`${epochOf(status)}  ${bar(status)}  ${batchNumbers(status)}`);
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
      this.#redraw(line);
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

  #redraw(line: string): void {
    // A line that wraps could not be overwritten by the next one.
    const width = (this.#out.columns ?? 80) - 1;
    this.#out.write(`\r${line.slice(0, width)}\x1b[K`);
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

function bar({ batch, batches }: BatchStatus): string {
  const filled = Math.round((barWidth * batch) / batches);
  const shaft = '='.repeat(filled);
  return `[${filled > 0 && filled < barWidth ? `${shaft.slice(1)}>` : shaft}${' '.repeat(barWidth - filled)}]`;
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
