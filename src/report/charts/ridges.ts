// Histograms one behind the other, so that a distribution is seen to move; the few values far out do not set the axis.
import { canShow, scaleOf, spaced } from '../axes.js';
import { viridis } from '../colors.js';
import { fitted, widthOf } from '../lettering.js';
import { type Picture, SMALL } from '../picture.js';
import type { Plotting } from '../plotting.js';
import type { RidgesChart } from '../section.js';
import { AXIS, GRID, plotIn, plotScale, rightOf } from './frame.js';

/** Share of a row's values that may lie beyond each end of the axis. */
const TAIL = 0.005;

export function drawRidges(chart: RidgesChart, picture: Picture, library: Plotting): number {
  const { Plot } = library;
  const { x: xAxis, rows } = chart;
  const shown = rows.filter(({ low, high, counts }) => Number.isFinite(low) && Number.isFinite(high) && high >= low && counts.some((count) => count > 0)); // prettier-ignore
  const ends = shown.flatMap((row) => [quantile(row, TAIL), quantile(row, 1 - TAIL)]);
  const x = scaleOf(ends, xAxis, { count: picture.width < 450 ? 5 : 8 });
  const [from, to] = x.domain;
  if (shown.some(({ low, high }) => low < from || high > to))
    picture.notes.push('Of each row at most 0.5 % of the values lie beyond either end of the axis.');
  const empty = rows.length - shown.length;
  if (empty > 0) picture.notes.push(`${empty} ${empty === 1 ? 'row has' : 'rows have'} no finite values.`);
  if (xAxis.scale === 'log' && shown.some(({ low }) => low <= 0))
    picture.notes.push('Values of 0 or below cannot be shown on the log scale.');

  const labels = rows.map(({ name }) => fitted(name, picture.width * 0.3, SMALL));
  const left = Math.max(...labels.map((label) => widthOf(label, SMALL)), 10) + 8;
  const rowHeight = Math.min(Math.max(360 / rows.length, 11), 38);
  const overlap = 1.7;
  const margins = { left, right: rightOf(x), top: picture.top + 4 };
  const ramp = viridis(library);

  const marks = rows.flatMap((row, r) => {
    const base = r + 1;
    const rule = Plot.ruleY([base], { stroke: 'currentColor', strokeOpacity: 0.15 });
    const marks: unknown[] = [];
    if (!shown.includes(row)) return [rule];
    const color = ramp(rows.length === 1 ? 0.4 : 0.2 + (0.68 * r) / (rows.length - 1));
    if (xAxis.scale !== 'log' && row.high - row.low < (to - from) / 250) {
      // All values are one, as far as this axis tells: a needle.
      marks.push(
        Plot.ruleX([(row.low + row.high) / 2], { y1: base, y2: base - overlap, stroke: color, strokeWidth: 2.5, clip: true }),
        rule,
      );
      return marks;
    }
    const outline = ridge(row).filter(({ at }) => canShow(at, xAxis.scale)).map(({ at, share }) => ({ at, base, peak: base - overlap * share })); // prettier-ignore
    const curve = 'monotone-x' as const;
    marks.push(
      Plot.areaY(outline, { x: 'at', y1: 'base', y2: 'peak', curve, fill: color, fillOpacity: 0.82, clip: true }),
      Plot.lineY(outline, { x: 'at', y: 'peak', curve, stroke: 'var(--paper, #fff)', strokeWidth: 1.2, clip: true }),
      rule,
    );
    return marks;
  });
  const rowTicks = spaced(rows.length, rows.length * rowHeight, 14);
  return plotIn(picture, margins, (rows.length + overlap - 1) * rowHeight, xAxis.label, {
    x: plotScale(x),
    y: { type: 'linear', domain: [rows.length, 1 - overlap], axis: null },
    marks: [
      Plot.gridX([...x.ticks], GRID),
      Plot.axisX([...x.ticks], { ...AXIS, tickFormat: (tick: number) => x.format(tick) }),
      ...marks,
      Plot.axisY(rowTicks.map((r) => r + 1), { ...AXIS, dy: -4, tickFormat: (base: number) => labels[base - 1] }), // prettier-ignore
    ],
  });
}

type Row = RidgesChart['rows'][number];

/** Through the middle of each bin, as a share of the highest; to the ground at both ends. One value only: a spike. */
function ridge({ low, high, counts }: Row): { at: number; share: number }[] {
  const highest = counts.reduce((most, count) => Math.max(most, count), 0);
  const bin = high > low ? (high - low) / counts.length : Math.max(Math.abs(low) * 1e-3, 1e-6);
  const from = high > low ? low : low - (bin * counts.length) / 2;
  const middles = counts.map((count, i) => ({ at: from + (i + 0.5) * bin, share: count / highest }));
  return [{ at: from - bin / 2, share: 0 }, ...middles, { at: from + (counts.length + 0.5) * bin, share: 0 }];
}

/** Below which that share of the values lies, taken as spread evenly within a bin. */
function quantile({ low, high, counts }: Row, share: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let below = 0;
  for (const [i, count] of counts.entries()) {
    if (count > 0 && below + count >= share * total) return low + ((high - low) * (i + (share * total - below) / count)) / counts.length;
    below += count;
  }
  return high;
}
