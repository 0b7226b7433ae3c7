// Axes, the loss curve and the gradient strip. Charts that share an abscissa share its left margin, so that they can stand one
// above the other.
import { palette } from './colours.js';
import { superscript } from './page.js';
import type { Frame } from './stage.js';

export const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';
const MARGIN = { left: 46, right: 14, top: 12, bottom: 22 };

export interface Curve {
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly dashed?: boolean;
  /** A dot at each point. */
  readonly dots?: boolean;
}

/** Round numbers from 0 to `most`, about `count` of them. */
function ticks(most: number, count: number): number[] {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough;
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => i * step);
}

function thousands(value: number): string {
  if (value >= 1e6) return `${String(Number((value / 1e6).toPrecision(3)))}M`;
  return value >= 10_000 ? `${String(Number((value / 1000).toPrecision(4)))}k` : String(Number(value.toPrecision(4)));
}

function decade(exponent: number): string {
  return exponent >= -2 && exponent <= 2 ? String(Number((10 ** exponent).toPrecision(1))) : `10${superscript(exponent)}`;
}

/** Numbers below the plot, the axis' name at their right end. Returns where a value lies. */
function abscissa({ context, width, height }: Frame, most: number, name: string): (x: number) => number {
  const { ink, muted, rule } = palette();
  const [left, right, bottom] = [MARGIN.left, width - MARGIN.right, height - MARGIN.bottom];
  const place = (x: number): number => left + (x / most) * (right - left);
  context.font = FONT;
  context.strokeStyle = rule;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(left, bottom + 0.5);
  context.lineTo(right, bottom + 0.5);
  context.stroke();
  context.textBaseline = 'top';
  context.textAlign = 'center';
  context.fillStyle = muted;
  const named = right - context.measureText(name).width;
  for (const tick of ticks(most, Math.max(2, (right - left) / 70)))
    if (place(tick) + 20 < named) context.fillText(thousands(tick), place(tick), bottom + 6);
  context.textAlign = 'right';
  context.fillStyle = ink;
  context.fillText(name, right, bottom + 6);
  return place;
}

/** Losses over what was trained on, logarithmic upwards. */
export function drawLoss(frame: Frame, curves: readonly Curve[], most: number, name: string): void {
  const { context, width, height } = frame;
  const { ink, muted, rule, paper } = palette();
  const x = abscissa(frame, most, name);
  const [top, bottom, right] = [MARGIN.top, height - MARGIN.bottom, width - MARGIN.right];
  const values = curves.flatMap((curve) => curve.y).filter((value) => value > 0 && Number.isFinite(value));
  const [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [0.5, 1]);
  const from = Math.max(Math.floor(Math.log10(low)), -9);
  const to = Math.ceil(Math.log10(high));
  const y = (value: number): number => bottom - ((Math.log10(Math.max(value, 10 ** from)) - from) / (to - from)) * (bottom - top);

  context.textAlign = 'right';
  context.textBaseline = 'middle';
  const every = Math.ceil((to - from) / 5);
  for (let exponent = from; exponent <= to; exponent++) {
    if ((to - exponent) % every !== 0) continue;
    const at = Math.round(y(10 ** exponent)) + 0.5;
    if (exponent > from) {
      context.strokeStyle = rule;
      context.beginPath();
      context.moveTo(MARGIN.left, at);
      context.lineTo(right, at);
      context.stroke();
    }
    context.fillStyle = muted;
    context.fillText(decade(exponent), MARGIN.left - 8, at);
  }

  context.lineJoin = 'round';
  for (const curve of curves) {
    context.strokeStyle = curve.dashed ? muted : ink;
    context.lineWidth = 1.5;
    context.setLineDash(curve.dashed ? [4, 3] : []);
    context.beginPath();
    let pen = false;
    curve.y.forEach((value, i) => {
      if (!Number.isFinite(value)) pen = false;
      else if (pen) context.lineTo(x(curve.x[i]), y(value));
      else {
        context.moveTo(x(curve.x[i]), y(value));
        pen = true;
      }
    });
    context.stroke();
    context.setLineDash([]);
    if (!curve.dots) continue;
    context.fillStyle = paper;
    curve.y.forEach((value, i) => {
      context.beginPath();
      context.arc(x(curve.x[i]), y(value), 3, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    });
  }
}

/** Decades that the strip's colours span. */
const FAINTEST = -6;

function shade(value: number): number {
  const share = value > 0 ? 1 - Math.log10(value) / FAINTEST : 0;
  return Math.round(255 * Math.min(Math.max(share, 0), 1));
}

const scratch = document.createElement('canvas');
const scratchContext = scratch.getContext('2d');

/**
 * A row of colour for each layer, the loss's end on top.
 * @param columns one for each time: RMS of the loss gradient at the input, then at each layer's output
 */
export function drawStrip(frame: Frame, times: readonly number[], columns: readonly (readonly number[])[], most: number): void {
  const { context, width, height, ratio } = frame;
  const { ink, muted, paper, sequential } = palette();
  const legend = 30;
  const inner = { ...frame, height: height - legend };
  const layers = columns.at(-1)?.length ?? 0;
  const [left, right, top, bottom] = [MARGIN.left, width - MARGIN.right, 2, inner.height - MARGIN.bottom];
  const place = abscissa(inner, most, 'epoch');
  if (scratchContext && layers > 0) {
    const last = Math.max(1, Math.round((place(times.at(-1) ?? 0) - left) * ratio));
    const image = new ImageData(last, layers);
    const [pixels, colours] = [new Uint32Array(image.data.buffer), new Uint32Array(sequential.buffer)];
    for (let pixel = 0, column = 0; pixel < last; pixel++) {
      const time = ((pixel + 0.5) / ratio / (right - left)) * most;
      while (column < times.length - 1 && times[column] < time) column++;
      for (let layer = 0; layer < layers; layer++) {
        pixels[(layers - 1 - layer) * last + pixel] = colours[shade(columns[column][layer])];
      }
    }
    scratch.width = last;
    scratch.height = layers;
    scratchContext.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(scratch, left, top, last / ratio, bottom - top);
    const row = (bottom - top) / layers;
    context.fillStyle = paper;
    for (let layer = 1; layer < layers; layer++) context.fillRect(left, top + layer * row - 0.5, right - left, 1);
    context.font = FONT;
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    const every = Math.ceil(13 / row);
    for (let layer = 0; layer < layers; layer++) {
      const named = layer === 0 || layer === layers - 1;
      if (!named && (layer % every !== 0 || layers - 1 - layer < every)) continue;
      context.fillStyle = named ? ink : muted;
      context.fillText(layer === 0 ? 'input' : named ? 'output' : String(layer), left - 8, bottom - (layer + 0.5) * row);
    }
  }
  // The colour scale.
  const [at, thick] = [height - legend + 4, 8];
  const gradient = context.createLinearGradient(left, 0, right, 0);
  for (let i = 0; i < 256; i += 15) gradient.addColorStop(i / 255, `rgb(${sequential.subarray(4 * i, 4 * i + 3).join(' ')})`);
  context.fillStyle = gradient;
  context.fillRect(left, at, right - left, thick);
  context.fillStyle = muted;
  context.textBaseline = 'top';
  for (let exponent = FAINTEST; exponent <= 0; exponent += 2) {
    context.textAlign = exponent === 0 ? 'right' : exponent === FAINTEST ? 'left' : 'center';
    const prefix = exponent === FAINTEST ? '≤ ' : exponent === 0 ? '≥ ' : '';
    context.fillText(prefix + decade(exponent), left + (1 - exponent / FAINTEST) * (right - left), at + thick + 4);
  }
}
