// What the charts show of one network's training, thinned out as it grows long.

const MOST = 800;

export class History {
  epochs: number[] = [];
  loss: number[] = [];
  heldOut: number[] = [];
  /** RMS of the loss gradient, a number for the input and each layer. */
  gradients: (readonly number[])[] = [];

  add(epoch: number, loss: number, heldOut: number, gradients: readonly number[]): void {
    // A picture of the same epoch: points were added while nothing was trained.
    if (this.epochs.at(-1) === epoch) for (const column of [this.epochs, this.loss, this.heldOut, this.gradients]) column.pop();
    this.epochs.push(epoch);
    this.loss.push(loss);
    this.heldOut.push(heldOut);
    this.gradients.push(gradients);
    if (this.epochs.length <= MOST) return;
    const everySecond = <T>(column: T[]): T[] => column.filter((_, i) => i % 2 === 0);
    this.epochs = everySecond(this.epochs);
    this.loss = everySecond(this.loss);
    this.heldOut = everySecond(this.heldOut);
    this.gradients = everySecond(this.gradients);
  }

  clear(): void {
    this.epochs = [];
    this.loss = [];
    this.heldOut = [];
    this.gradients = [];
  }
}
