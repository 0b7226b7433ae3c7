// What several kinds of charts share: a frame with its grid, ticks and labels, the room that they take, points, where a value lies
// in a scale, and the bar that says what colours stand for.
import type { Scale } from '../axes.js';
import type { Ramp } from '../colors.js';
import { fitted, widthOf } from '../lettering.js';
import { FONT, type Picture, round, SMALL } from '../picture.js';
import type { Plotting } from '../plotting.js';
import type { Point } from '../section.js';

export const AXIS = { label: null, tickSize: 0, fontSize: SMALL, fillOpacity: 0.85 };
export const GRID = { stroke: 'currentColor', strokeOpacity: 0.13, strokeDasharray: 'none' };

/** Room below the frame for ticks and the axis's label. */
export const BELOW = 44;

export function leftOf(scale: Scale): number {
  return Math.max(...scale.ticks.map((tick) => widthOf(scale.format(tick), SMALL)), 10) + 10;
}

/** Room for half of the last tick's label. */
export function rightOf(scale: Scale): number {
  const last = scale.ticks.at(-1);
  return last === undefined ? 8 : Math.max(8, widthOf(scale.format(last), SMALL) / 2 + 2);
}

export function plotScale({ type, domain }: Scale): object {
  return { type, domain: [...domain], axis: null };
}

/** Grid and tick labels of both axes. */
export function frame({ Plot }: Plotting, x: Scale, y: Scale): unknown[] {
  return [
    Plot.gridY([...y.ticks], GRID),
    Plot.gridX([...x.ticks], { ...GRID, strokeOpacity: 0.07 }),
    Plot.axisX([...x.ticks], { ...AXIS, tickFormat: (tick: number) => x.format(tick) }),
    Plot.axisY([...y.ticks], { ...AXIS, tickFormat: (tick: number) => y.format(tick) }),
  ];
}

interface Margins {
  readonly left: number;
  readonly right: number;
  readonly top: number;
}

/**
 * Marks in a frame of that height between margins, above ticks and the horizontal axis's label.
 * @returns the height of all of it
 */
export function plotIn(picture: Picture, { left, right, top }: Margins, frameHeight: number, xLabel: string, options: object): number {
  const height = top + frameHeight + BELOW;
  picture.plot({ height, marginTop: top, marginRight: right, marginBottom: BELOW, marginLeft: left, ...options });
  picture.horizontalLabel(xLabel, left, picture.width - right, height - 8);
  return height;
}

/** Says how many values a log axis cannot show. */
export function noteHidden(picture: Picture, hidden: number, what: string): void {
  if (hidden > 0)
    picture.notes.push(`${hidden} ${hidden === 1 ? 'value' : 'values'} of 0 or below cannot be shown on the log scale of ${what}.`);
}

export const first = ([x]: Point): number => x;
export const second = ([, y]: Point): number => y;

/** Where a value lies in a scale, from 0 to 1. */
export function shareOf(value: number, { type, domain: [low, high] }: Scale): number {
  return type === 'log' ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

/** What colours stand for: the unit, a bar, and its ticks. @param style the class of a step of a scale that pages recolour */
export function colorBar(picture: Picture, unit: string, scale: Scale, ramp: Ramp, style?: (share: number) => string): void {
  const barWidth = Math.min(220, picture.width * 0.5);
  const ends = widthOf(scale.format(scale.ticks.at(-1) ?? 0), SMALL) / 2 + 4;
  const beside = widthOf(unit, FONT) + 24 + barWidth + ends <= picture.width;
  picture.text(0, picture.top + 11, fitted(unit, picture.width, FONT));
  const left = beside ? picture.width - barWidth - ends : 8;
  const y = picture.top + (beside ? 2 : 22);
  const steps = 44;
  for (let i = 0; i < steps; i++) {
    const share = (i + 0.5) / steps;
    // Each reaches under the next one: no seams.
    const width = (barWidth / steps) * (i === steps - 1 ? 1 : 1.6);
    picture.add('rect', { x: round(left + (i / steps) * barWidth), y, width: round(width), height: 9, fill: ramp(share), class: style?.(share) }); // prettier-ignore
  }
  let free = -Infinity;
  for (const tick of scale.ticks) {
    const [x, half] = [left + shareOf(tick, scale) * barWidth, widthOf(scale.format(tick), SMALL) / 2];
    if (x - half < free) continue;
    free = x + half + 6;
    picture.add('line', { x1: round(x), x2: round(x), y1: y + 9, y2: y + 12, stroke: 'currentColor', 'stroke-opacity': 0.6 });
    picture.text(x, y + 23, scale.format(tick), { 'text-anchor': 'middle', 'font-size': SMALL, 'fill-opacity': 0.85 });
  }
  picture.top = y + 34;
}
