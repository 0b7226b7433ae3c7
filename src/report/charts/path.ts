// Paths on a loss surface, over its contour lines.
import { canShow, type Scale, scaleOf } from '../axes.js';
import { seriesColor, seriesDash } from '../colors.js';
import { formatNumber } from '../lettering.js';
import type { Picture } from '../picture.js';
import type { Plotting } from '../plotting.js';
import type { PathChart } from '../section.js';
import { first, frame, leftOf, plotIn, plotScale, rightOf, second } from './frame.js';

export function drawPath(chart: PathChart, picture: Picture, library: Plotting): number {
  const { Plot } = library;
  const { x: xAxis, y: yAxis, loss, paths } = chart;
  const { xs, ys } = loss;
  const x = within(scaleOf(xs, { label: '' }, { count: 6 }), xs);
  const y = within(scaleOf(ys, { label: '' }, { count: 6 }), ys);
  const outside = paths.flatMap(({ points }) => points).filter(([a, b]) => !(a >= x.domain[0] && a <= x.domain[1] && b >= y.domain[0] && b <= y.domain[1])).length; // prettier-ignore
  if (outside > 0) picture.notes.push(`${outside} ${outside === 1 ? 'step lies' : 'steps lie'} outside the picture.`);

  picture.legend(paths.map(({ name }, i) => ({ label: name, mark: 'line', color: seriesColor(i), dash: seriesDash(i) })));
  picture.verticalLabel(yAxis.label);
  const [left, right, top] = [leftOf(y), rightOf(x), picture.top + 4];
  const levels = contourLevels(loss.values);
  const ends = levels.length > 1 ? [levels[0], levels[levels.length - 1]].map((level) => formatNumber(level, 2)) : [];
  if (ends.length > 0)
    picture.notes.push(`${levels.length} contour lines, from a loss of ${ends[0]} to ${ends[1]}: the stronger the tone, the higher.`);

  const [halfX, halfY] = [xs, ys].map((places) => ((places.at(-1) ?? 1) - places[0]) / (places.length - 1) / 2);
  const grid = {
    width: xs.length,
    height: ys.length,
    x1: xs[0] - halfX,
    x2: (xs.at(-1) ?? 1) + halfX,
    y1: ys[0] - halfY,
    y2: (ys.at(-1) ?? 1) + halfY,
    thresholds: levels,
    clip: true,
  };
  const surface = levels.length > 0 ? [Plot.contour(loss.values.flat(), { ...grid, fill: 'currentColor', fillOpacity: 0.045, stroke: 'currentColor', strokeOpacity: 0.28, strokeWidth: 0.7 } as never)] : []; // prettier-ignore
  const marks = paths.flatMap(({ points }, i) => {
    const steps = points.filter((point) => point.every((place) => canShow(place)));
    const color = seriesColor(i);
    const start = steps.slice(0, 1);
    return [
      Plot.line(steps, { x: first, y: second, stroke: color, strokeWidth: 1.8, strokeDasharray: seriesDash(i), strokeLinejoin: 'round', clip: true }), // prettier-ignore
      Plot.dot(steps.length <= 80 ? steps.slice(1) : steps.slice(-1), { x: first, y: second, fill: color, r: 2.2, clip: true }),
      Plot.dot(start, { x: first, y: second, fill: 'var(--paper, #fff)', stroke: color, strokeWidth: 2, r: 4.5, clip: true }),
    ];
  });
  picture.notes.push('A ring marks where a path starts.');
  return plotIn(picture, { left, right, top }, Math.round((picture.width - left - right) * 0.72), xAxis.label, {
    x: plotScale(x),
    y: plotScale(y),
    marks: [...surface, ...frame(library, x, y).slice(2), Plot.frame({ stroke: 'currentColor', strokeOpacity: 0.3 }), ...marks],
  });
}

function within(scale: Scale, places: readonly number[]): Scale {
  return { ...scale, domain: [places[0], places.at(-1) ?? 1] };
}

/** Equally far apart for a bowl: by the root of the loss above its least. */
function contourLevels(values: PathChart['loss']['values']): number[] {
  const finite = values.flat().filter(Number.isFinite);
  const [low, high] = [finite.reduce((a, b) => Math.min(a, b), Infinity), finite.reduce((a, b) => Math.max(a, b), -Infinity)];
  if (!(high > low)) return [];
  const count = 14;
  return Array.from({ length: count }, (_, i) => low + (high - low) * ((i + 0.5) / count) ** 2);
}
