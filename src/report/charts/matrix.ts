// A heat map of a matrix: of a large one, means of blocks, since a screen has no more pixels.
import { type Scale, scaleOf } from '../axes.js';
import { diverging, DIVERGING_STEPS, viridis } from '../colors.js';
import { type Picture, round } from '../picture.js';
import type { Plotting } from '../plotting.js';
import type { Axis, MatrixChart } from '../section.js';
import { AXIS, colorBar, leftOf, plotIn, plotScale, shareOf } from './frame.js';

export function drawMatrix(chart: MatrixChart, picture: Picture, library: Plotting): number {
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
