// What the digits' page and worker say to each other.
import type { ActivationName } from 'gradmill';
import type { EngineNote } from '../engine-note.js';

export interface Lesson {
  readonly images: number;
  readonly hidden: readonly number[];
  readonly activation: ActivationName;
  readonly epochs: number;
}

export type ToWorker =
  /** First of all: where the page, and so its data, lies. */
  | { readonly kind: 'base'; readonly url: string }
  | { readonly kind: 'train'; readonly lesson: Lesson }
  | { readonly kind: 'stop' }
  /** 28 × 28 of 0 (paper) to 255 (ink). */
  | { readonly kind: 'read'; readonly pixels: Uint8Array }
  | { readonly kind: 'sample' };

export interface Misread {
  readonly pixels: Uint8Array;
  readonly label: number;
  readonly read: number;
}

export type FromWorker =
  | ({ readonly kind: 'engine' } & EngineNote)
  | { readonly kind: 'loading'; readonly share: number }
  /** Loss: mean of the batches since the last report. */
  | { readonly kind: 'progress'; readonly seen: number; readonly loss: number; readonly imagesPerSecond: number }
  | {
      readonly kind: 'epoch';
      readonly epoch: number;
      readonly seen: number;
      /** Of the 10,000 held-out images, after this epoch. */
      readonly heldOutLoss: number;
      readonly heldOutAccuracy: number;
      readonly imagesPerSecond: number;
      /** Training since the start, evaluation not counted. */
      readonly seconds: number;
    }
  | { readonly kind: 'ended'; readonly stopped: boolean }
  | { readonly kind: 'mistakes'; readonly count: number; readonly shown: readonly Misread[] }
  | { readonly kind: 'probabilities'; readonly probabilities: readonly number[]; readonly trained: boolean }
  | { readonly kind: 'sample'; readonly pixels: Uint8Array; readonly label: number }
  | { readonly kind: 'failed'; readonly message: string };

export const SIDE = 28;
export const PIXELS = SIDE * SIDE;
export const HELD_OUT = 10_000;
/** Images in each file that mnist.ts makes. */
export const PIECE = 10_000;
