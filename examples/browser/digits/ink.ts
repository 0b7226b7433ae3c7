// From pen strokes to the picture that a network trained on MNIST expects: the digit fitted to a box of 20 × 20 pixels, its
// proportions kept, and its centre of mass put in the middle of 28 × 28. The pen is always as thick as in MNIST, however large
// one wrote.
import { PIXELS, SIDE } from './messages.js';

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** From where the pen was set down to where it was lifted; one point is a dot. */
export type Stroke = readonly Point[];

const BOX = 20;
/** Of the pen, in pixels of the picture. */
const THICK = 2.2;
/** Enlarged at most so much: a dot stays a dot. In pixels of the picture for the pad's whole side. */
const LARGEST = 80;

/**
 * @param strokes coordinates from 0 to 1 over the pad, y downwards
 * @returns [28 × 28] of 0 (paper) to 255 (ink), or undefined without ink
 */
export function toPicture(strokes: readonly Stroke[]): Uint8Array | undefined {
  const points = strokes.flat();
  if (points.length === 0) return undefined;
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min((BOX - THICK) / Math.max(right - left, bottom - top, 1e-9), LARGEST);
  // First in the middle by its box; ink there tells how far the centre of mass is off.
  const middle = { x: SIDE / 2 - (scale * (left + right)) / 2, y: SIDE / 2 - (scale * (top + bottom)) / 2 };
  const first = rasterise(strokes, scale, middle);
  const mass = centre(first);
  return rasterise(strokes, scale, { x: middle.x + SIDE / 2 - mass.x, y: middle.y + SIDE / 2 - mass.y });
}

/** Ink by each pixel's distance from the nearest stroke, softened over a pixel. */
function rasterise(strokes: readonly Stroke[], scale: number, shift: Point): Uint8Array {
  const distances = new Float32Array(PIXELS).fill(Infinity);
  for (const stroke of strokes) {
    const placed = stroke.map(({ x, y }) => ({ x: scale * x + shift.x, y: scale * y + shift.y }));
    for (let i = 0; i < placed.length; i++) {
      const [from, to] = [placed[Math.max(i - 1, 0)], placed[i]];
      // Only pixels that the segment may reach.
      const [x0, x1] = [Math.min(from.x, to.x) - THICK, Math.max(from.x, to.x) + THICK];
      const [y0, y1] = [Math.min(from.y, to.y) - THICK, Math.max(from.y, to.y) + THICK];
      for (let row = Math.max(Math.floor(y0), 0); row < Math.min(y1, SIDE); row++)
        for (let column = Math.max(Math.floor(x0), 0); column < Math.min(x1, SIDE); column++) {
          const at = row * SIDE + column;
          distances[at] = Math.min(distances[at], distance({ x: column + 0.5, y: row + 0.5 }, from, to));
        }
    }
  }
  return Uint8Array.from(distances, (d) => Math.round(255 * Math.min(Math.max(THICK / 2 + 0.5 - d, 0), 1)));
}

function distance(point: Point, from: Point, to: Point): number {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  const along = length === 0 ? 0 : Math.min(Math.max(((point.x - from.x) * dx + (point.y - from.y) * dy) / length, 0), 1);
  return Math.hypot(point.x - from.x - along * dx, point.y - from.y - along * dy);
}

/** Of the ink, in pixels. */
export function centre(picture: Uint8Array): Point {
  let [sum, x, y] = [0, 0, 0];
  picture.forEach((ink, i) => {
    sum += ink;
    x += ink * ((i % SIDE) + 0.5);
    y += ink * (Math.floor(i / SIDE) + 0.5);
  });
  return { x: x / sum, y: y / sum };
}
