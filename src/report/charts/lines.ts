// Lines over a common axis, with bands round them: a gap where a value is missing, dashes where lines coincide.
import { canShow, type Scale, scaleOf } from '../axes.js';
import { seriesColor, seriesDash } from '../colors.js';
import type { Picture } from '../picture.js';
import type { Plotting } from '../plotting.js';
import type { Axis, LinesChart, Point } from '../section.js';
import { first, frame, leftOf, noteHidden, plotIn, plotScale, rightOf, second, shareOf } from './frame.js';

const LINE_WIDTH = 2;

export function drawLines(chart: LinesChart, picture: Picture, library: Plotting): number {
  const { Plot } = library;
  const { x: xAxis, y: yAxis, series } = chart;
  const all = series.flatMap(({ points, low = [], high = [] }) => [...points, ...low, ...high]);
  noteHidden(picture, hiddenOf(all, yAxis, 1), yAxis.label);
  noteHidden(picture, hiddenOf(all, xAxis, 0), xAxis.label);
  const visible = all.filter(([x, y]) => canShow(x, xAxis.scale) && canShow(y, yAxis.scale));

  const x = scaleOf(column(visible, 0), xAxis, { count: picture.width < 450 ? 5 : 8 });
  const y = scaleOf(column(visible, 1), yAxis, { nice: true, zero: 'near' });
  const frameHeight = Math.round(picture.width * (picture.width < 450 ? 0.62 : 0.46));
  const dashes = dashesOf(series.map(({ points }) => points), y, frameHeight); // prettier-ignore
  if (dashes.some((dash, i) => dash !== seriesDash(i))) picture.notes.push('Where lines coincide they are dashed, so that each shows.');
  if (series.length > 1 || series.some(({ name }) => name !== ''))
    picture.legend(series.map(({ name }, i) => ({ label: name, mark: 'line', color: seriesColor(i), dash: dashes[i] })));
  picture.verticalLabel(yAxis.label);
  const margins = { left: leftOf(y), right: rightOf(x), top: picture.top + 6 };

  const marks = series.flatMap(({ points, low, high }, i) => {
    const color = seriesColor(i);
    const line = thinned(
      points.map(([a, b]) => [canShow(a, xAxis.scale) ? a : NaN, canShow(b, yAxis.scale) ? b : NaN]),
      picture.width,
    );
    const alone = line.filter((_, at) => !isPoint(line[at - 1]) && !isPoint(line[at + 1]));
    const dots = points.length <= picture.width / 18 ? line : alone;
    return [
      ...(low && high ? [Plot.areaY(bandOf(low, high, yAxis), { x: 'x', y1: 'low', y2: 'high', fill: color, fillOpacity: 0.16 })] : []),
      Plot.lineY(line, { x: first, y: second, stroke: color, strokeWidth: LINE_WIDTH, strokeDasharray: dashes[i], strokeLinecap: 'round', strokeLinejoin: 'round' }), // prettier-ignore
      Plot.dot(dots.filter(isPoint), { x: first, y: second, fill: color, r: 2.6 }),
    ];
  });
  const options = { x: plotScale(x), y: plotScale(y), marks: [...frame(library, x, y), ...marks] };
  return plotIn(picture, margins, frameHeight, xAxis.label, options);
}

/**
 * Of n lines that coincide the k-th, from 0, has dashes of n − k parts in n over those below: each shows for one part. A line
 * coincides with another where more than a third of its points lie within a line's width of it.
 */
function dashesOf(lines: readonly (readonly Point[])[], y: Scale, frameHeight: number): (string | undefined)[] {
  const heights = lines.map((points) => new Map(points.filter(isPoint).map(([at, value]) => [at, shareOf(value, y) * frameHeight])));
  const groups: number[][] = [];
  for (const [i, line] of heights.entries()) {
    const isOver = (j: number): boolean =>
      [...line].filter(([at, height]) => Math.abs(height - (heights[j].get(at) ?? NaN)) < LINE_WIDTH).length > line.size / 3;
    const group = groups.find((members) => members.some(isOver));
    if (group) group.push(i);
    else groups.push([i]);
  }
  const part = 8;
  return lines.map((_, i) => {
    const group = groups.find((members) => members.includes(i)) ?? [i];
    const k = group.indexOf(i);
    return k === 0 ? seriesDash(i) : `${part * (group.length - k)} ${part * k}`;
  });
}

function isPoint(point: Point | undefined): point is Point {
  return point?.every(Number.isFinite) === true;
}

function column(points: readonly Point[], index: 0 | 1): number[] {
  return points.map((point) => point[index]);
}

function hiddenOf(points: readonly Point[], { scale }: Axis, index: 0 | 1): number {
  return scale === 'log' ? points.filter((point) => Number.isFinite(point[index]) && point[index] <= 0).length : 0;
}

/** On a log axis a lower edge of 0 or below is drawn at the upper edge's hundredth: the band goes on beyond what can be shown. */
function bandOf(low: readonly Point[], high: readonly Point[], axis: Axis): { x: number; low: number; high: number }[] {
  return high.flatMap(([x, top], i) => {
    const bottom = low[i]?.[1] ?? NaN;
    const from = axis.scale === 'log' && bottom <= 0 ? top / 100 : bottom;
    return isPoint([x, top]) && Number.isFinite(from) && canShow(top, axis.scale) ? [{ x, low: from, high: top }] : [];
  });
}

/** More points than a line can show: of each stretch the lowest and the highest, in their order, and every gap. */
function thinned(points: readonly Point[], width: number): readonly Point[] {
  const most = 2 * width;
  if (points.length <= most) return points;
  const stretch = Math.ceil(points.length / (most / 2));
  const kept: Point[] = [];
  for (let at = 0; at < points.length; at += stretch) {
    const part = points.slice(at, at + stretch);
    const finite = part.filter(isPoint).sort((a, b) => a[1] - b[1]);
    const [low, high] = [finite.at(0), finite.at(-1)];
    const gap = part.find(([x, y]) => !isPoint([x, y]));
    kept.push(...part.filter((point) => point === low || point === high || point === gap));
  }
  return kept;
}
