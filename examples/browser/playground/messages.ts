// What the playground's page and worker say to each other.
import type { ActivationName } from 'gradmill';
import type { EngineNote } from '../engine-note.js';

export interface NetworkChoice {
  readonly hiddenLayers: number;
  readonly units: number;
  readonly activation: ActivationName;
  readonly initializer: 'glorotUniform' | 'heNormal' | 'lecunNormal' | 'normal1' | 'normal001';
  readonly seed: number;
}

export interface TrainingChoice {
  readonly optimizer: 'sgd' | 'momentum' | 'rmsprop' | 'adagrad' | 'adam' | 'adamW';
  readonly learningRate: number;
}

/** Points of the plane, each with class 0 (blue) or 1 (orange). */
export interface Points {
  /** x₁, x₂ of each. */
  readonly x: Float32Array;
  readonly y: Float32Array;
}

/** All that the page wants; the worker makes it so. */
export interface Order {
  readonly kind: 'order';
  /** A new number asks for a new network. */
  readonly build: number;
  readonly network: NetworkChoice;
  readonly training: TrainingChoice;
  readonly batchSize: number;
  readonly train: Points;
  readonly heldOut: Points;
  readonly running: boolean;
  /** Single epochs asked for so far. */
  readonly steps: number;
  /** Epochs from picture to picture; 0: as many as there is time for. */
  readonly epochsPerPicture: number;
}

export type ToWorker = Order | { readonly kind: 'drawn' };

export interface Picture {
  readonly kind: 'picture';
  readonly build: number;
  readonly epoch: number;
  /** Over all training points now; undefined without points. */
  readonly train: Score | undefined;
  readonly heldOut: Score | undefined;
  /** Of class 1, [GRID, GRID], rows from x₂ = −1 up. */
  readonly logits: Float32Array<ArrayBuffer>;
  /** RMS of a training point's loss gradient: at the input, then at each layer's output. */
  readonly gradients: readonly number[];
  /** While training, pictures not counted; 0 before. */
  readonly pointsPerSecond: number;
  readonly weights: number;
}

export interface Score {
  readonly loss: number;
  readonly accuracy: number;
}

export type FromWorker =
  Picture | ({ readonly kind: 'engine' } & EngineNote) | { readonly kind: 'failed'; readonly build: number; readonly message: string };

/** Grid points along an axis of the decision surface. */
export const GRID = 81;
