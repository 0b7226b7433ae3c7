// Bars by group, each with its value in words beside it.
import { canShow, scaleOf } from '../axes.js';
import { seriesColor } from '../colors.js';
import { clean, fitted, formatNumber, widthOf } from '../lettering.js';
import { FONT, type Picture, SMALL } from '../picture.js';
import type { Plotting } from '../plotting.js';
import type { BarsChart } from '../section.js';
import { AXIS, GRID, noteHidden, plotIn, plotScale, shareOf } from './frame.js';

export function drawBars(chart: BarsChart, picture: Picture, library: Plotting): number {
  const { Plot } = library;
  const { x: xAxis, y: yAxis, groups } = chart;
  const all = groups.flatMap(({ values }) => values);
  const names = [...new Set(all.map(({ label }) => label))];
  const hidden = yAxis.scale === 'log' ? all.filter(({ value }) => value <= 0).length : 0;
  noteHidden(picture, hidden, yAxis.label);
  interface Line {
    readonly at: number;
    readonly name: string;
    /** Of a line without a bar: what is named, a group or the bar below. */
    readonly of?: 'group' | 'bar';
    readonly bar?: { readonly value: number; readonly low: number; readonly high: number; readonly color: string; readonly words: string };
  }
  // Labels that are too wide to stand beside their bars stand above them.
  const widest = Math.max(0, ...all.map(({ label }) => widthOf(clean(label), SMALL)));
  const beside = widest <= picture.width * 0.34;
  const lines: Line[] = [];
  let at = 0;
  for (const { name, values } of groups) {
    if (name !== '') lines.push({ at: at++, name, of: 'group' });
    for (const { label, value, low = NaN, high = NaN } of values) {
      const spread = Number.isFinite(low) && Number.isFinite(high) ? ` (${formatNumber(low, 3)} … ${formatNumber(high, 3)})` : '';
      if (!beside) lines.push({ at, name: label, of: 'bar' });
      if (!beside) at += 0.8;
      lines.push({ at: at++, name: beside ? label : '', bar: { value, low, high, color: seriesColor(names.indexOf(label)), words: formatNumber(value, 3) + spread } }); // prettier-ignore
    }
    at += 0.5;
  }
  const rowHeight = 23;
  const left = beside ? Math.max(widest, 20) + 10 : 8;
  if (xAxis.label !== '') picture.verticalLabel(xAxis.label);
  const top = picture.top;
  const words = Math.max(0, ...lines.map(({ bar }) => (bar ? widthOf(bar.words, SMALL) : 0)));
  // Words stand right of the longest bar where there is room, else within the frame's own line.
  const right = Math.min(words + 12, picture.width * 0.42);
  const scale = scaleOf(
    all.flatMap(({ value, low = value, high = value }) => [value, low, high]),
    yAxis,
    { count: Math.min(Math.max(Math.floor((picture.width - left - right) / 45), 1), 5), nice: true, zero: 'always' },
  );
  const base = yAxis.scale === 'log' ? scale.domain[0] : 0;
  if (yAxis.scale === 'log')
    picture.notes.push(
      `Bars start at ${scale.format(base) === '0' ? base : formatNumber(base, 2)}: their lengths compare on a log scale only.`,
    );
  const bars = lines.flatMap(({ at: place, bar }) => (bar && canShow(bar.value, yAxis.scale) ? [{ place, ...bar }] : []));
  const height = plotIn(picture, { left, right, top }, at * rowHeight, yAxis.label, {
    x: plotScale(scale),
    y: { type: 'linear', domain: [at, 0], axis: null },
    color: { type: 'identity' },
    marks: [
      Plot.gridX([...scale.ticks], GRID),
      Plot.axisX([...scale.ticks], { ...AXIS, tickFormat: (tick: number) => scale.format(tick) }),
      Plot.rect(bars, { x1: () => base, x2: 'value', y1: ({ place }: { place: number }) => place + 0.14, y2: ({ place }: { place: number }) => place + 0.86, fill: 'color', rx: 2 }), // prettier-ignore
      Plot.ruleY(bars.filter(({ low, high }) => canShow(low, yAxis.scale) && canShow(high, yAxis.scale)), { y: ({ place }: { place: number }) => place + 0.5, x1: 'low', x2: 'high', stroke: 'currentColor', strokeWidth: 1.6 }), // prettier-ignore
    ],
  });
  for (const { at: place, name, of, bar } of lines) {
    const y = top + (place + 0.5) * rowHeight + 4;
    if (of === 'group') picture.text(0, y, fitted(name, picture.width, FONT), { 'font-weight': 600 });
    if (of === 'bar') picture.text(left, y, fitted(name, picture.width - left, SMALL), { 'font-size': SMALL });
    if (!bar) continue;
    if (name !== '') picture.text(left - 8, y, fitted(name, left - 8, SMALL), { 'text-anchor': 'end', 'font-size': SMALL });
    const end = Math.max(bar.value, Number.isFinite(bar.high) ? bar.high : bar.value, base);
    const share = canShow(end, yAxis.scale) ? Math.min(Math.max(shareOf(end, scale), 0), 1) : 0;
    const from = left + share * (picture.width - left - right) + 7;
    picture.text(from, y, fitted(bar.words, picture.width - from, SMALL), { 'font-size': SMALL, 'fill-opacity': 0.85 });
  }
  return height;
}
