// Colours of charts. Those of series and of the diverging scale are CSS variables and classes, which the page sets for light
// and dark; an SVG on its own shows the light ones. Series are told apart by dashes too. All pairs are from palettes made for
// readers who are colour-blind (after Okabe and Ito; ColorBrewer RdBu; viridis, which is perceptually uniform).
import type { Plotting } from './plotting.js';

export const SERIES_LIGHT = ['#0072b2', '#d55e00', '#009e73', '#aa4499', '#b58900', '#3a9bd9', '#8c564b', '#5c5c5c'];
export const SERIES_DARK = ['#5fb0ee', '#ff9a57', '#3fcf9f', '#e79bd3', '#f0c24b', '#9fdcff', '#d3a68c', '#b9b9b9'];

export function seriesColor(index: number): string {
  const n = index % SERIES_LIGHT.length;
  return `var(--series-${n + 1}, ${SERIES_LIGHT[n]})`;
}

/** Undefined: a line without gaps. */
export function seriesDash(index: number): string | undefined {
  return [undefined, '7 3', '2 3', '9 3 2 3'][Math.floor(index / 4) % 4];
}

/** Steps of the diverging scale on each side of 0. */
export const DIVERGING_STEPS = 10;
export const DIVERGING_LIGHT = { negative: '#2166ac', middle: '#f4f4f2', positive: '#b2182b' };
export const DIVERGING_DARK = { negative: '#6cb6ff', middle: '#22262b', positive: '#ff8278' };

/** Colours of a scale from 0 to 1. */
export type Ramp = (share: number) => string;

export function viridis({ Plot }: Plotting): Ramp {
  return ramp(Plot.scale({ color: { type: 'linear', domain: [0, 1], scheme: 'viridis' } }));
}

export function diverging({ Plot }: Plotting): Ramp {
  const { negative, middle, positive } = DIVERGING_LIGHT;
  const range = [negative, middle, positive];
  return ramp(Plot.scale({ color: { type: 'linear', domain: [0, 0.5, 1], range, interpolate: 'lab' } }));
}

function ramp(scale: unknown): Ramp {
  const { apply } = scale as { apply: (share: number) => unknown };
  return (share) => String(apply(Math.min(Math.max(share, 0), 1)));
}

/** Black or white, whichever can be read on a colour as ramps give them: 'rgb(…)' or '#rrggbb'. */
export function inkOn(color: string): string {
  const [red, green, blue] = (
    color.startsWith('#') ? [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16)) : (color.match(/[\d.]+/g) ?? [])
  ).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? '#111' : '#fff';
}
