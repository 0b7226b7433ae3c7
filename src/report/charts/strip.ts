// A coloured cell for each row and column. What has no colour, a missing value or a 0 on a log scale, has a mark of its own.
import { canShow, scaleOf, spaced } from '../axes.js';
import { inkOn, viridis } from '../colors.js';
import { clean, fitted, formatNumber, widthOf } from '../lettering.js';
import { missingPath, type Picture, SMALL, zeroPath } from '../picture.js';
import type { Plotting } from '../plotting.js';
import type { StripChart } from '../section.js';
import { AXIS, colorBar, plotIn, shareOf } from './frame.js';

export function drawStrip(chart: StripChart, picture: Picture, library: Plotting): number {
  const { Plot } = library;
  const { x: xAxis, y: yAxis, rows, unit, scale } = chart;
  const labels = rows.map((row) => fitted(row, picture.width * 0.3, SMALL));
  const left = Math.max(...labels.map((label) => widthOf(label, SMALL)), 10) + 8;
  const right = 2;
  const room = picture.width - left - right;
  const columns = everyNth(chart.columns.length, Math.floor(room / 5));
  if (columns.length < chart.columns.length)
    picture.notes.push(`Of ${chart.columns.length} columns every ${ordinal(columns[1] - columns[0])} is drawn.`);

  const cells = rows.flatMap((row, r) =>
    columns.map((c, at) => ({ row, r, at, name: chart.columns[c], value: chart.values[r]?.[c] ?? NaN })),
  );
  const colored = cells.filter(({ value }) => canShow(value, scale));
  const zeros = scale === 'log' ? cells.filter(({ value }) => value === 0) : [];
  const missing = cells.filter((cell) => !canShow(cell.value, scale) && !zeros.includes(cell));
  const values = scaleOf([...(chart.domain ?? []), ...colored.map(({ value }) => value)], { label: unit, scale }, { count: 4, nice: scale === 'linear', zero: 'near' }); // prettier-ignore
  const ramp = viridis(library);
  const colorOf = (value: number): string => ramp(shareOf(value, values));

  colorBar(picture, unit, values, ramp);
  picture.legend([
    ...(zeros.length > 0 ? [{ label: 'exactly 0', mark: 'zero' as const }] : []),
    ...(missing.length > 0 ? [{ label: 'missing', mark: 'missing' as const }] : []),
  ]);
  picture.verticalLabel(yAxis.label);
  const top = picture.top;
  const cellHeight = Math.min(Math.max(300 / rows.length, 7), 30);
  const cellWidth = room / columns.length;
  const box = ({ r, at }: { r: number; at: number }): { x: number; y: number; width: number; height: number } => ({
    x: left + at * cellWidth,
    y: top + r * cellHeight,
    width: cellWidth,
    height: cellHeight,
  });

  const names = columns.map((c) => columnName(chart.columns[c]));
  const ticks = spaced(columns.length, room, Math.max(...names.map((name) => Math.min(widthOf(name, SMALL), room / 3)), 10) + 12);
  const written = cellWidth > 46 && cellHeight >= 16 ? colored : [];
  const rowTicks = spaced(rows.length, rows.length * cellHeight, 14);
  const height = plotIn(picture, { left, right, top }, rows.length * cellHeight, xAxis.label, {
    x: { type: 'band', domain: columns.map((_, at) => at), axis: null, padding: 0, round: false },
    y: { type: 'band', domain: rows.map((_, r) => r), axis: null, padding: 0, round: false },
    marks: [
      Plot.cell(colored, {
        x: 'at',
        y: 'r',
        fill: ({ value }: { value: number }) => colorOf(value),
        inset: cellWidth > 8 && cellHeight > 8 ? 0.75 : 0,
        rx: cellWidth > 8 && cellHeight > 8 ? 2 : 0,
        ...(cells.length <= 1000 && {
          title: ({ row, name, value }: (typeof cells)[number]) =>
            `${clean(row)}, ${clean(xAxis.label)} ${clean(String(name))}: ${formatNumber(value)}`,
        }),
      }),
      Plot.text(written, {
        x: 'at',
        y: 'r',
        text: ({ value }: { value: number }) => shortNumber(value),
        fill: ({ value }: { value: number }) => inkOn(colorOf(value)),
        fontSize: 10,
      }),
      Plot.axisX(ticks, { ...AXIS, tickFormat: (at: number) => fitted(names[at], room / 3, SMALL) }),
      Plot.axisY(rowTicks, { ...AXIS, tickFormat: (r: number) => labels[r] }),
    ],
    color: { type: 'identity' },
  });
  if (missing.length > 0)
    picture.add('path', { d: missing.map((cell) => missingPath(box(cell))).join(''), fill: 'none', stroke: 'currentColor', 'stroke-opacity': 0.3 }); // prettier-ignore
  if (zeros.length > 0)
    picture.add('path', { d: zeros.map((cell) => zeroPath(box(cell))).join(''), fill: 'currentColor', 'fill-opacity': 0.75 });
  return height;
}

/** At most `most` of the first `count` numbers, in equal steps. */
function everyNth(count: number, most: number): number[] {
  const step = Math.max(1, Math.ceil(count / Math.max(most, 1)));
  return Array.from({ length: Math.ceil(count / step) }, (_, i) => i * step);
}

function ordinal(n: number): string {
  const teens = n % 100 >= 11 && n % 100 <= 13;
  return `${n}${teens ? 'th' : (['th', 'st', 'nd', 'rd'][n % 10] ?? 'th')}`;
}

function columnName(name: number | string): string {
  return typeof name === 'number' ? formatNumber(name) : clean(name);
}

/** '2.5e-13', '0.04': for cells of a few letters' width. */
function shortNumber(value: number): string {
  const size = Math.abs(value);
  return size !== 0 && (size < 0.01 || size >= 1000) ? value.toExponential(1).replace('e+', 'e') : String(Number(value.toPrecision(2)));
}
