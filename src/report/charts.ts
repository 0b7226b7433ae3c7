// Each chart as an SVG: text as text, no script, no network. Pages draw a chart twice, for wide and for narrow screens.
import { canShow, type Scale, scaleOf, spaced } from './axes.js';
import { diverging, DIVERGING_STEPS, inkOn, type Ramp, seriesColor, seriesDash, viridis } from './colors.js';
import { clean, fitted, formatNumber, widthOf } from './lettering.js';
import { type Drawing, FONT, missingPath, Picture, round, SMALL, symbolPath, zeroPath } from './picture.js';
import { type Plotting, plotting } from './plotting.js';
import type {
  Axis,
  BarsChart,
  Chart,
  DotsChart,
  LinesChart,
  MatrixChart,
  PathChart,
  RidgesChart,
  RooflineChart,
  StripChart,
} from './section.js';

export type { Drawing } from './picture.js';

/** Widths in pixels for which letters and lines are made: a column of a page, and a telephone. */
export const WIDE = 560;
export const NARROW = 340;

/**
 * @param width of the picture, in pixels
 * @throws GradmillError 'missing-package' where the plotting library is not installed
 */
export async function drawChart(chart: Chart, width = WIDE): Promise<Drawing> {
  const library = await plotting();
  const picture = new Picture(library, width);
  const height = draw(chart, picture, library);
  return picture.finish(height, `${chart.title}. ${chart.x.label}${'y' in chart ? `, ${chart.y.label}` : ''}.`);
}

/** @returns the picture's height */
function draw(chart: Chart, picture: Picture, library: Plotting): number {
  switch (chart.type) {
    case 'lines':
      return drawLines(chart, picture, library);
    case 'strip':
      return drawStrip(chart, picture, library);
    case 'ridges':
      return drawRidges(chart, picture, library);
    case 'matrix':
      return drawMatrix(chart, picture, library);
    case 'path':
      return drawPath(chart, picture, library);
    case 'bars':
      return drawBars(chart, picture, library);
    case 'dots':
      return drawDots(chart, picture, library);
    case 'roofline':
      return drawRoofline(chart, picture, library);
  }
}

type Point = readonly [x: number, y: number];

// ── Axes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const AXIS = { label: null, tickSize: 0, fontSize: SMALL, fillOpacity: 0.85 };
const GRID = { stroke: 'currentColor', strokeOpacity: 0.13, strokeDasharray: 'none' };

/** Room below the frame for ticks and the axis's label. */
const BELOW = 44;

function leftOf(scale: Scale): number {
  return Math.max(...scale.ticks.map((tick) => widthOf(scale.format(tick), SMALL)), 10) + 10;
}

/** Room for half of the last tick's label. */
function rightOf(scale: Scale): number {
  const last = scale.ticks.at(-1);
  return last === undefined ? 8 : Math.max(8, widthOf(scale.format(last), SMALL) / 2 + 2);
}

function plotScale({ type, domain }: Scale): object {
  return { type, domain: [...domain], axis: null };
}

/** Grid and tick labels of both axes. */
function frame({ Plot }: Plotting, x: Scale, y: Scale): unknown[] {
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
function plotIn(picture: Picture, { left, right, top }: Margins, frameHeight: number, xLabel: string, options: object): number {
  const height = top + frameHeight + BELOW;
  picture.plot({ height, marginTop: top, marginRight: right, marginBottom: BELOW, marginLeft: left, ...options });
  picture.horizontalLabel(xLabel, left, picture.width - right, height - 8);
  return height;
}

/** Says how many values a log axis cannot show. */
function noteHidden(picture: Picture, hidden: number, what: string): void {
  if (hidden > 0)
    picture.notes.push(`${hidden} ${hidden === 1 ? 'value' : 'values'} of 0 or below cannot be shown on the log scale of ${what}.`);
}

// ── Lines ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const LINE_WIDTH = 2;

function drawLines(chart: LinesChart, picture: Picture, library: Plotting): number {
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

const first = ([x]: Point): number => x;
const second = ([, y]: Point): number => y;

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

// ── Strips ────────────────────────────────────────────────────────────────────────────────────────────────────────

function drawStrip(chart: StripChart, picture: Picture, library: Plotting): number {
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

/** Where a value lies in a scale, from 0 to 1. */
function shareOf(value: number, { type, domain: [low, high] }: Scale): number {
  return type === 'log' ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

/** What colours stand for: the unit, a bar, and its ticks. @param style the class of a step of a scale that pages recolour */
function colorBar(picture: Picture, unit: string, scale: Scale, ramp: Ramp, style?: (share: number) => string): void {
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

// ── Ridges ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Share of a row's values that may lie beyond each end of the axis. */
const TAIL = 0.005;

function drawRidges(chart: RidgesChart, picture: Picture, library: Plotting): number {
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

// ── Matrices ──────────────────────────────────────────────────────────────────────────────────────────────────────

function drawMatrix(chart: MatrixChart, picture: Picture, library: Plotting): number {
  const { Plot } = library;
  const { x: xAxis, y: yAxis } = chart;
  const { values, block } = pooled(chart.values, picture.width < 450 ? 100 : 140);
  const [rows, columns] = [values.length, Math.max(...values.map((row) => row.length), 0)];
  if (block[0] * block[1] > 1) picture.notes.push(`Each cell is the mean of ${block[0]} × ${block[1]} values.`);
  const finite = values.flat().filter(Number.isFinite);
  const bad = rows * columns - finite.length;
  if (bad > 0) picture.notes.push(`${bad} ${bad === 1 ? 'cell is' : 'cells are'} missing or not finite, and left blank.`);

  const most = finite.reduce((size, value) => Math.max(size, Math.abs(value)), 0) || 1;
  const linear: Axis = { label: '' };
  const scale = chart.diverging ? scaleOf([-most, most], linear, { count: 5 }) : scaleOf(finite, linear, { count: 4 });
  const ramp = chart.diverging ? diverging(library) : viridis(library);
  const steps = chart.diverging ? 2 * DIVERGING_STEPS + 1 : 32;
  const step = (share: number): number => Math.min(Math.floor(share * steps), steps - 1);
  const style = (share: number): string | undefined => (chart.diverging ? `d${step(share)}` : undefined);
  colorBar(picture, 'value', scale, ramp, chart.diverging ? (share) => style(share) ?? '' : undefined);
  picture.verticalLabel(yAxis.label);

  const rowScale = indexScale(chart.values.length, block[0], yAxis);
  const columnScale = indexScale(chart.values[0]?.length ?? 0, block[1], xAxis);
  const [left, top] = [leftOf(rowScale), picture.top];
  let cellWidth = (picture.width - left - 8) / Math.max(columns, 1);
  const cellHeight = Math.min(Math.max(cellWidth, 110 / Math.max(rows, 1)), 420 / Math.max(rows, 1));
  if (cellWidth > cellHeight && cellWidth < 2.2 * cellHeight) cellWidth = cellHeight;
  const right = picture.width - left - columns * cellWidth;

  // One path a colour, of runs of cells in a row.
  const paths = Array.from({ length: steps }, () => '');
  for (const [r, row] of values.entries()) {
    for (let c = 0; c < row.length;) {
      const start = c;
      const colour = Number.isFinite(row[c]) ? step(shareOf(row[c], scale)) : undefined;
      while (c < row.length && (Number.isFinite(row[c]) ? step(shareOf(row[c], scale)) : undefined) === colour) c++;
      if (colour !== undefined) paths[colour] += `M${start},${r}h${c - start}v1h${start - c}z`;
    }
  }
  const transform = `translate(${round(left)},${round(top)}) scale(${round4(cellWidth)},${round4(cellHeight)})`;
  const layers = paths.flatMap((d, i) => {
    const share = (i + 0.5) / steps;
    return d === '' ? [] : [picture.element('path', { d, fill: ramp(share), class: style(share) })];
  });
  picture.add('g', { transform, 'shape-rendering': 'crispEdges' }, ...layers);
  return plotIn(picture, { left, right, top }, rows * cellHeight, xAxis.label, {
    x: plotScale(columnScale),
    y: { ...plotScale(rowScale), reverse: true },
    marks: [
      Plot.axisX([...columnScale.ticks], { ...AXIS, tickFormat: (tick: number) => columnScale.format(tick) }),
      Plot.axisY([...rowScale.ticks], { ...AXIS, tickFormat: (tick: number) => rowScale.format(tick) }),
    ],
  });
}

/** Of rows or columns counted from 0, each with its number at its middle. */
function indexScale(count: number, block: number, axis: Axis): Scale {
  const inner = scaleOf([0, Math.max(count - 1, 1)], { label: axis.label }, { count: 5 });
  const ticks = inner.ticks.filter((tick) => tick < count).map((tick) => tick + 0.5);
  const length = Math.ceil(count / block) * block;
  return { type: 'linear', domain: [0, Math.max(length, 1)], ticks, format: (tick) => inner.format(tick - 0.5) };
}

/** Means of blocks, where there are more rows or columns than can be seen. */
function pooled(
  values: MatrixChart['values'],
  most: number,
): { values: readonly (readonly number[])[]; block: [rows: number, columns: number] } {
  const columns = Math.max(...values.map((row) => row.length), 0);
  const block: [number, number] = [Math.max(1, Math.ceil(values.length / most)), Math.max(1, Math.ceil(columns / most))];
  if (block[0] * block[1] === 1) return { values, block };
  const means = Array.from({ length: Math.ceil(values.length / block[0]) }, (_, r) =>
    Array.from({ length: Math.ceil(columns / block[1]) }, (_, c) => {
      const inside = values.slice(r * block[0], (r + 1) * block[0]).flatMap((row) => row.slice(c * block[1], (c + 1) * block[1]));
      return inside.reduce((sum, value) => sum + value, 0) / inside.length;
    }),
  );
  return { values: means, block };
}

function round4(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}

// ── Paths on a loss surface ───────────────────────────────────────────────────────────────────────────────────────

function drawPath(chart: PathChart, picture: Picture, library: Plotting): number {
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

// ── Bars ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function drawBars(chart: BarsChart, picture: Picture, library: Plotting): number {
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

// ── Dots ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function drawDots(chart: DotsChart, picture: Picture, library: Plotting): number {
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

// ── Rooflines ─────────────────────────────────────────────────────────────────────────────────────────────────────

function drawRoofline(chart: RooflineChart, picture: Picture, library: Plotting): number {
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
