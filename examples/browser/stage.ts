// A canvas with as many pixels as the screen gives it, painted at most once a frame, or more seldom.
import { onPaletteChange } from './colours.js';

export interface Frame {
  readonly context: CanvasRenderingContext2D;
  /** In CSS pixels, as all coordinates of the context. */
  readonly width: number;
  readonly height: number;
  /** Device pixels in a CSS pixel. */
  readonly ratio: number;
}

export class Stage {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #paint: (frame: Frame) => void;
  #width = 0;
  #height = 0;
  #asked = false;
  #painted = -Infinity;

  /** @param milliseconds between two paintings at least */
  constructor(
    canvas: HTMLCanvasElement,
    paint: (frame: Frame) => void,
    readonly milliseconds = 0,
  ) {
    const context = canvas.getContext('2d');
    if (!context) throw new Error('this browser gives no 2D canvas');
    this.#canvas = canvas;
    this.#context = context;
    this.#paint = paint;
    const observer = new ResizeObserver(([entry]) => {
      const { width, height } = entry.contentRect;
      const exact = entry.devicePixelContentBoxSize?.[0];
      this.#width = width;
      this.#height = height;
      canvas.width = exact?.inlineSize ?? Math.round(width * devicePixelRatio);
      canvas.height = exact?.blockSize ?? Math.round(height * devicePixelRatio);
      this.#now(); // resizing emptied the canvas: fill it before it is shown
    });
    try {
      observer.observe(canvas, { box: 'device-pixel-content-box' });
    } catch {
      observer.observe(canvas); // Safari
    }
    onPaletteChange(() => {
      this.invalidate();
    });
  }

  /** Paints in the next frame, or in the first one that is due. */
  invalidate(): void {
    if (this.#asked) return;
    this.#asked = true;
    const frame = (now: number): void => {
      if (now - this.#painted < this.milliseconds) {
        requestAnimationFrame(frame);
        return;
      }
      this.#asked = false;
      this.#painted = now;
      this.#now();
    };
    requestAnimationFrame(frame);
  }

  #now(): void {
    if (this.#width === 0 || this.#height === 0) return; // hidden
    const ratio = this.#canvas.width / this.#width;
    this.#context.setTransform(ratio, 0, 0, this.#canvas.height / this.#height, 0, 0);
    this.#context.clearRect(0, 0, this.#width, this.#height);
    this.#paint({ context: this.#context, width: this.#width, height: this.#height, ratio });
  }
}
