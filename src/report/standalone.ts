// A chart as an SVG file of its own, such as a README shows: with title, notes, paper and colours, for light screens and dark ones.
import { drawChart } from './charts.js';
import { DARK, LIGHT } from './html.js';
import { escape, fitted, widthOf } from './lettering.js';
import type { Chart } from './section.js';

const MARGIN = 20;
const [TITLE, NOTE] = [16, 11];

/**
 * @param width of the chart in pixels, without margins
 * @throws GradmillError 'missing-package' where the plotting library is not installed
 */
export async function standaloneSvg(chart: Chart, width: number): Promise<string> {
  const { svg, notes } = await drawChart(chart, width);
  const [, height] = /height="(\d+)"/.exec(svg) ?? [];
  const lines = [chart.caption ?? '', ...notes].flatMap((text) => wrapped(text, width, NOTE));
  const top = MARGIN + TITLE + 14;
  const noted = top + Number(height) + 12;
  const [fullWidth, fullHeight] = [width + 2 * MARGIN, noted + lines.length * (NOTE + 5) + MARGIN];
  const text = (x: number, y: number, size: number, words: string, rest = '') => `<text x="${x}" y="${y}" font-size="${size}"${rest}>${escape(words)}</text>`; // prettier-ignore
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${fullWidth} ${fullHeight}" width="${fullWidth}" height="${fullHeight}" role="img" aria-label="${escape(chart.title)}" font-family="system-ui, sans-serif">
<style>svg{${LIGHT};color:var(--ink);fill:var(--ink)}@media (prefers-color-scheme:dark){svg{${DARK}}}</style>
<rect width="100%" height="100%" rx="8" style="fill:var(--paper)"/>
${text(MARGIN, MARGIN + TITLE - 2, TITLE, fitted(chart.title, width, TITLE), ' font-weight="600"')}
${svg.replace('<svg ', `<svg x="${MARGIN}" y="${top}" `)}
${lines.map((line, i) => text(MARGIN, noted + (i + 1) * (NOTE + 5), NOTE, line, ' fill-opacity="0.75"')).join('\n')}
</svg>
`;
}

function wrapped(text: string, width: number, fontSize: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ').filter((each) => each !== '')) {
    const longer = `${lines.at(-1) ?? ''} ${word}`;
    if (lines.length > 0 && widthOf(longer, fontSize) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}
