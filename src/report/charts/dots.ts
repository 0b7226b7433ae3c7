// A dot for each measurement and the range it varied in, in rows: series side by side, so that none hides another.
import { canShow, scaleOf } from '../axes.js';
import { seriesColor } from '../colors.js';
import { clean, fitted, formatNumber, widthOf } from '../lettering.js';
import { FONT, type Picture, round, SMALL, symbolPath } from '../picture.js';
import type { Plotting } from '../plotting.js';
import type { DotsChart } from '../section.js';
import { AXIS, BELOW, GRID, noteHidden, plotScale, shareOf } from './frame.js';

export function drawDots(chart: DotsChart, picture: Picture, library: Plotting): number {
  const { Plot } = library;
  const { x: xAxis, y: yAxis, reference, unit, series, groups } = chart;
  const all = groups.flatMap(({ rows }) => rows.flatMap(({ dots }) => dots));
  const values = all.flatMap(({ value, low = value, high = value }) => [value, low, high]);
  const scale = scaleOf([...values, ...(reference ? [reference.value] : [])], yAxis, { count: picture.width < 450 ? 4 : 6, nice: true, zero: 'always' }); // prettier-ignore
  noteHidden(picture, yAxis.scale === 'log' ? all.filter(({ value }) => value <= 0).length : 0, yAxis.label);

  type Dot = DotsChart['groups'][number]['rows'][number]['dots'][number];
  const lines: { readonly at: number; readonly name: string; readonly dots?: readonly Dot[] }[] = [];
  const rules: number[] = [];
  let at = 0;
  for (const { name, rows } of groups) {
    if (name !== '') lines.push({ at: at++, name });
    for (const { label, dots } of rows) lines.push({ at: at++, name: label, dots });
    at += 0.35;
    rules.push(at - 0.18);
  }
  const words = (dots: readonly Dot[]): string => {
    const first = dots.find((dot) => dot.series === 0);
    return first && Number.isFinite(first.value) ? `${formatNumber(first.value, 3)}${unit}` : '';
  };
  const rowHeight = Math.max(20, 7 * series.length + 10);
  const labelWidth = Math.max(...lines.map(({ name, dots }) => (dots ? widthOf(fitted(name, picture.width * 0.4, SMALL), SMALL) : 0)), 20);
  const left = labelWidth + 12;
  const wordWidth = Math.max(...lines.map(({ dots = [] }) => widthOf(fitted(words(dots), picture.width * 0.25, SMALL), SMALL)), 0);
  const right = wordWidth + 14;
  if (series.length > 1) picture.legend(series.map((label, i) => ({ label, mark: 'dot', color: seriesColor(i), symbol: i })));
  picture.verticalLabel(xAxis.label);
  if (reference) picture.top += 16;
  const top = picture.top;
  const height = top + at * rowHeight + BELOW;
  const place = (value: number): number => left + shareOf(value, scale) * (picture.width - left - right);
  picture.plot({
    height,
    marginTop: top,
    marginRight: right,
    marginBottom: BELOW,
    marginLeft: left,
    x: plotScale(scale),
    y: { type: 'linear', domain: [at, 0], axis: null },
    marks: [
      Plot.gridX([...scale.ticks], GRID),
      Plot.axisX([...scale.ticks], { ...AXIS, tickFormat: (tick: number) => scale.format(tick) }),
    ],
  });
  for (const rule of rules.slice(0, -1)) {
    const y = round(top + rule * rowHeight);
    picture.add('line', { x1: 0, x2: picture.width, y1: y, y2: y, stroke: 'currentColor', 'stroke-opacity': 0.13 });
  }
  if (reference && canShow(reference.value, yAxis.scale)) {
    const x = round(place(reference.value));
    // Not through the groups' names.
    const segments = lines.filter(({ dots }) => dots).map(({ at: row }) => `M${x},${round(top + row * rowHeight)}v${rowHeight}`);
    picture.add('path', { d: segments.join(''), stroke: 'currentColor', 'stroke-opacity': 0.7, 'stroke-dasharray': '4 3' });
    const label = fitted(reference.label, picture.width, SMALL);
    const half = widthOf(label, SMALL) / 2;
    picture.text(Math.min(Math.max(x, half), picture.width - half), top - 6, label, { 'text-anchor': 'middle', 'font-size': SMALL, 'fill-opacity': 0.85 }); // prettier-ignore
  }
  for (const { at: row, name, dots } of lines) {
    const middle = top + (row + 0.5) * rowHeight;
    if (!dots) {
      // Bold letters are wider.
      picture.text(0, middle + 4, fitted(name, picture.width, FONT * 1.12), { 'font-weight': 600 });
      continue;
    }
    picture.text(labelWidth, middle + 4, fitted(name, labelWidth + 1, SMALL), { 'text-anchor': 'end', 'font-size': SMALL });
    // The first series lies on top.
    for (const { series: index, value, low = NaN, high = NaN } of [...dots].sort((a, b) => b.series - a.series)) {
      if (!canShow(value, yAxis.scale)) continue;
      const y = round(middle + (index - (series.length - 1) / 2) * 7);
      const color = seriesColor(index);
      if (canShow(low, yAxis.scale) && canShow(high, yAxis.scale))
        picture.add('line', { x1: round(place(low)), x2: round(place(high)), y1: y, y2: y, stroke: color, 'stroke-width': 2, 'stroke-opacity': 0.75 }); // prettier-ignore
      const shown = clean(`${series[index]}, ${name}: ${formatNumber(value, 3)}${unit}`);
      picture.add('path', { d: symbolPath(index, place(value), y), fill: color }, picture.element('title', {}, shown));
    }
    picture.text(picture.width, middle + 4, fitted(words(dots), wordWidth + 1, SMALL), {
      'text-anchor': 'end',
      'font-size': SMALL,
      'font-weight': 600,
    });
  }
  picture.horizontalLabel(yAxis.label, left, picture.width - right, height - 8);
  return height;
}
