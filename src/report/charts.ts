// Each chart as an SVG: text as text, no script, no network. Pages draw a chart twice, for wide and for narrow screens. How each
// kind is drawn is in charts/, a file a kind.
import { drawBars } from './charts/bars.js';
import { drawDots } from './charts/dots.js';
import { drawLines } from './charts/lines.js';
import { drawMatrix } from './charts/matrix.js';
import { drawPath } from './charts/path.js';
import { drawRidges } from './charts/ridges.js';
import { drawRoofline } from './charts/roofline.js';
import { drawStrip } from './charts/strip.js';
import { type Drawing, Picture } from './picture.js';
import { type Plotting, plotting } from './plotting.js';
import type { Chart } from './section.js';

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
