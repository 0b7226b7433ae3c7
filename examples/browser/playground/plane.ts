// Paints the decision surface, the line where the network is undecided, and the points.
import { palette } from '../colours.js';
import type { Frame } from '../stage.js';
import type { Cloud } from './data.js';
import { GRID } from './messages.js';

const scratch = document.createElement('canvas');
scratch.width = scratch.height = GRID;
const scratchContext = scratch.getContext('2d');
const image = new ImageData(GRID, GRID);
const pixels = new Uint32Array(image.data.buffer);

const sigmoid = (logit: number): number => 1 / (1 + Math.exp(-logit));

/** Of orange at a place of the plane, interpolated between the grid's points. */
export function probability(logits: Float32Array, x: number, y: number): number {
  const [column, row] = [x, y].map((at) => Math.min(Math.max(((at + 1) / 2) * (GRID - 1), 0), GRID - 1.001));
  const [i, j] = [Math.floor(column), Math.floor(row)];
  const [a, b] = [column - i, row - j];
  const at = (di: number, dj: number): number => logits[(j + dj) * GRID + i + di];
  return sigmoid((1 - b) * ((1 - a) * at(0, 0) + a * at(1, 0)) + b * ((1 - a) * at(0, 1) + a * at(1, 1)));
}

export function drawSurface(frame: Frame, logits: Float32Array): void {
  drawBelief(frame, logits);
  drawBoundary(frame, logits);
}

/** @param cursor where the keyboard is, if it is used */
export function drawPoints(frame: Frame, points: Cloud, cursor?: { x: number; y: number }): void {
  const { context, width, height } = frame;
  drawCloud(frame, points, Math.min(Math.max(width / 130, 2.5), 4.5) * (points.y.length > 1000 ? 0.8 : 1), true);
  if (!cursor) return;
  const [x, y] = [((cursor.x + 1) / 2) * width, ((1 - cursor.y) / 2) * height];
  context.strokeStyle = palette().ink;
  context.lineWidth = 1.5;
  context.beginPath();
  for (const [dx, dy] of [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
  ]) {
    // prettier-ignore
    context.moveTo(x + 5 * dx, y + 5 * dy);
    context.lineTo(x + 14 * dx, y + 14 * dy);
  }
  context.stroke();
}

export function drawPreview(frame: Frame, points: Cloud): void {
  if (points.y.length > 0) {
    drawCloud(frame, points, 1.4, false);
    return;
  }
  const { context, width, height } = frame;
  context.strokeStyle = palette().muted;
  context.lineWidth = 1.25;
  context.beginPath();
  context.moveTo(width / 2 - 6, height / 2);
  context.lineTo(width / 2 + 6, height / 2);
  context.moveTo(width / 2, height / 2 - 6);
  context.lineTo(width / 2, height / 2 + 6);
  context.stroke();
}

function drawBelief({ context, width, height }: Frame, logits: Float32Array): void {
  const { diverging } = palette();
  const colours = new Uint32Array(diverging.buffer);
  for (let row = 0; row < GRID; row++)
    for (let column = 0; column < GRID; column++)
      pixels[(GRID - 1 - row) * GRID + column] = colours[Math.round(255 * sigmoid(logits[row * GRID + column]))];
  scratchContext?.putImageData(image, 0, 0);
  // The middles of the outer pixels lie on the plane's edges.
  const [cellWidth, cellHeight] = [width / (GRID - 1), height / (GRID - 1)];
  context.imageSmoothingEnabled = true;
  context.drawImage(scratch, -cellWidth / 2, -cellHeight / 2, GRID * cellWidth, GRID * cellHeight);
}

/** Where the logit is 0: marching squares over the grid. */
function drawBoundary({ context, width, height }: Frame, logits: Float32Array): void {
  const [stepX, stepY] = [width / (GRID - 1), height / (GRID - 1)];
  let crossings = 0;
  /** The next end of a line in a cell; the first of two begins it. */
  const cross = (column: number, row: number): void => {
    if (crossings++ % 2 === 0) context.moveTo(column * stepX, height - row * stepY);
    else context.lineTo(column * stepX, height - row * stepY);
  };
  context.beginPath();
  for (let row = 0; row < GRID - 1; row++) {
    for (let column = 0; column < GRID - 1; column++) {
      const at = row * GRID + column;
      const [a, b, c, d] = [logits[at], logits[at + 1], logits[at + GRID + 1], logits[at + GRID]];
      if (a > 0 === b > 0 && b > 0 === c > 0 && c > 0 === d > 0) continue;
      if (a > 0 !== b > 0) cross(column + a / (a - b), row);
      if (b > 0 !== c > 0) cross(column + 1, row + b / (b - c));
      if (c > 0 !== d > 0) cross(column + 1 - c / (c - d), row + 1);
      if (d > 0 !== a > 0) cross(column, row + 1 - d / (d - a));
    }
  }
  context.strokeStyle = palette().ink;
  context.lineWidth = 1.25;
  context.globalAlpha = 0.75;
  context.stroke();
  context.globalAlpha = 1;
}

/** Discs for blue, diamonds for orange: told apart without colour too. */
function drawCloud({ context, width, height }: Frame, { x, y }: Cloud, radius: number, outlined: boolean): void {
  const { blue, orange, halo } = palette();
  [blue, orange].forEach((colour, label) => {
    context.beginPath();
    y.forEach((other, i) => {
      if (other !== label) return;
      const [px, py] = [((x[2 * i] + 1) / 2) * width, ((1 - x[2 * i + 1]) / 2) * height];
      if (label === 0) {
        context.moveTo(px + radius, py);
        context.arc(px, py, radius, 0, 2 * Math.PI);
      } else {
        const reach = 1.25 * radius;
        context.moveTo(px, py - reach);
        context.lineTo(px + reach, py);
        context.lineTo(px, py + reach);
        context.lineTo(px - reach, py);
        context.closePath();
      }
    });
    if (outlined) {
      context.strokeStyle = halo;
      context.lineWidth = 2;
      context.stroke();
    }
    context.fillStyle = colour;
    context.fill();
  });
}
