// Rates under a machine's ceilings: names stand where there is room, since points crowd below the ceilings.
import { canShow, scaleOf } from '../axes.js';
import { seriesColor, seriesDash } from '../colors.js';
import { clean, formatNumber, widthOf } from '../lettering.js';
import { type Picture, round, SMALL } from '../picture.js';
import type { Plotting } from '../plotting.js';
import type { RooflineChart } from '../section.js';
import { frame, leftOf, plotIn, plotScale, rightOf, shareOf } from './frame.js';

export function drawRoofline(chart: RooflineChart, picture: Picture, library: Plotting): number {
  const { Plot } = library;
  const { x: xAxis, y: yAxis, peak, bandwidths, points } = chart;
  const shown = points.filter(({ x, y }) => canShow(x, 'log') && canShow(y, 'log'));
  if (shown.length < points.length) picture.notes.push(`${points.length - shown.length} without float operations are not drawn.`);
  const ridges = bandwidths.map(({ value }) => peak.value / value);
  const x = scaleOf(
    [...shown.map((point) => point.x), ...ridges],
    { ...xAxis, scale: 'log' },
    { count: picture.width < 450 ? 5 : 8, nice: true },
  );
  const y = scaleOf([...shown.map((point) => point.y), peak.value], { ...yAxis, scale: 'log' }, { nice: true });
  const ceilings = [...bandwidths, peak].map(({ name, value }, i) => {
    const [low, high] = x.domain;
    const flat = i === bandwidths.length;
    const from = flat ? Math.max(Math.min(...ridges, high), low) : Math.max(low, y.domain[0] / value);
    const to = flat ? high : Math.min(peak.value / value, high);
    const at = flat ? () => value : (intensity: number) => intensity * value;
    return { name, line: from < to ? [[from, at(from)] as const, [to, at(to)] as const] : [] };
  });
  picture.legend(ceilings.map(({ name }, i) => ({ label: name, mark: 'line', color: seriesColor(i), dash: seriesDash(i) })));
  picture.verticalLabel(yAxis.label);
  const [left, right, top] = [leftOf(y), rightOf(x), picture.top + 6];
  const frameHeight = Math.round(picture.width * (picture.width < 450 ? 1 : 0.75));
  const height = plotIn(picture, { left, right, top }, frameHeight, xAxis.label, {
    x: plotScale(x),
    y: plotScale(y),
    marks: [
      ...frame(library, x, y),
      ...ceilings.map(({ line }, i) => Plot.line(line, { stroke: seriesColor(i), strokeWidth: 2, ...(seriesDash(i) && { strokeDasharray: seriesDash(i) }) })), // prettier-ignore
    ],
  });
  const places = shown.map(({ name, x: intensity, y: rate }) => ({
    name: clean(name),
    title: clean(`${name}: ${formatNumber(rate, 3)} ${yAxis.label} at ${formatNumber(intensity, 3)}`),
    at: left + shareOf(intensity, x) * (picture.width - left - right),
    up: top + (1 - shareOf(rate, y)) * frameHeight,
  }));
  for (const { title, at, up } of places)
    picture.add(
      'circle',
      { cx: round(at), cy: round(up), r: 3, fill: 'currentColor', 'fill-opacity': 0.75 },
      picture.element('title', {}, title),
    );
  // Names stand where nothing else does; the rest are read from the table.
  const taken = places.map(({ at, up }) => ({ left: at - 3, right: at + 3, top: up - 3, bottom: up + 3 }));
  let unnamed = 0;
  for (const { name, at, up } of places) {
    const width = widthOf(name, SMALL);
    const spots = [
      [at + 6, up + 4],
      [at - 6 - width, up + 4],
      [at - width / 2, up - 6],
      [at - width / 2, up + 14],
    ].map(([start, base]) => ({ left: start, right: start + width, top: base - 9, bottom: base + 2 }));
    const free = spots.find(
      (spot) =>
        spot.left >= left && spot.right <= picture.width && spot.top >= top && spot.bottom <= top + frameHeight &&
        !taken.some((other) => spot.left < other.right && other.left < spot.right && spot.top < other.bottom && other.top < spot.bottom), // prettier-ignore
    );
    if (!free) {
      unnamed++;
      continue;
    }
    taken.push(free);
    picture.text(free.left, free.bottom - 2, name, { 'font-size': SMALL, 'fill-opacity': 0.85 });
  }
  if (unnamed > 0) picture.notes.push(`${unnamed} ${unnamed === 1 ? 'point has' : 'points have'} no room for a name.`);
  return height;
}
