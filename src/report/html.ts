// Sections as one HTML file that needs nothing else: no script, no font, no picture from anywhere. Every text in it is escaped,
// and a policy in its head forbids the browser to load or run anything, whatever a name in it says.
import { drawChart, NARROW, WIDE } from './charts.js';
import { DIVERGING_DARK, DIVERGING_LIGHT, DIVERGING_STEPS, SERIES_DARK, SERIES_LIGHT } from './colors.js';
import { clean, escape, formatNumber } from './lettering.js';
import type { Chart, Figure, Section, Table } from './section.js';

export interface Page {
  readonly title: string;
  /** A sentence or two below the title. */
  readonly lead: string;
  /** What the figures depend on: machine, date, versions. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly sections: readonly Section[];
}

/** @throws GradmillError 'missing-package' where the plotting library is not installed */
export async function renderPage({ title, lead, facts, sections }: Page): Promise<string> {
  const body: string[] = [];
  for (const [i, section] of sections.entries()) body.push(await sectionOf(section, i + 1));
  const rows = facts.map(([name, value]) => `<div><dt>${escape(name)}</dt><dd>${escape(value)}</dd></div>`).join('');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="gradmill">
<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<header class="top">
<h1>${escape(title)}</h1>
<p class="lead">${prose(lead)}</p>
<dl class="facts">${rows}</dl>
${contents(sections)}
</header>
<main>
${body.join('\n')}
</main>
</body>
</html>
`;
}

function contents(sections: readonly Section[]): string {
  if (sections.length < 2) return '';
  const items = sections.map(({ id, title, figures }) => {
    const { held, judged } = verdict(figures);
    const count = judged === 0 ? '' : ` <span class="${held === judged ? 'holds' : 'fails'}">${held === judged ? '✓' : '✗'} ${held}/${judged}</span>`; // prettier-ignore
    return `<li><a href="#${anchor(id)}">${escape(title)}</a>${count}</li>`;
  });
  return `<nav aria-label="Contents"><ol>${items.join('')}</ol></nav>`;
}

function verdict(figures: readonly Figure[]): { held: number; judged: number } {
  const judged = figures.filter(({ holds }) => holds !== undefined);
  return { held: judged.filter(({ holds }) => holds).length, judged: judged.length };
}

/** Of an id only what an anchor may hold. */
function anchor(id: string): string {
  return clean(id).replace(/[^A-Za-z0-9-]+/g, '-') || 'section';
}

async function sectionOf(section: Section, number: number): Promise<string> {
  const { id, title, claim, paragraphs, figures, charts, tables = [], conclusion, seconds } = section;
  const drawn: string[] = [];
  for (const chart of charts) drawn.push(await figureOf(chart));
  const table = figures.length === 0 ? '' : tableOf(figures, charts.length);
  const time = seconds > 0 ? `<p class="time">Took ${escape(duration(seconds))}.</p>` : '';
  return `<section id="${anchor(id)}">
<h2><span class="number">${number}</span>${escape(title)}</h2>
${claim === '' ? '' : `<p class="claim">${prose(claim)}</p>`}
${paragraphs.map((text) => `<p>${prose(text)}</p>`).join('\n')}
<div class="gallery">
${[table, ...drawn].filter((part) => part !== '').join('\n')}
</div>
${tables.map(wideTable).join('\n')}
${conclusion === '' ? '' : `<p class="conclusion">${prose(conclusion)}</p>`}
${time}
</section>`;
}

/** Text with `code` in it. */
function prose(text: string): string {
  return escape(text).replace(/`([^`]+)`/g, '<code>$1</code>');
}

function duration(seconds: number): string {
  if (seconds < 90) return `${formatNumber(seconds, 2)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** Charts stand beside a table: about one for each seven lines of it. */
function tableOf(figures: readonly Figure[], charts: number): string {
  const beside = Math.max(1, Math.min(Math.round(figures.length / 6.5), charts));
  const judged = figures.some(({ expected, holds }) => expected !== undefined || holds !== undefined);
  const rows = figures.map(({ label, value, unit, expected = '', holds }) => {
    const shown = typeof value === 'number' ? `<span class="whole">${formatNumber(value)}</span>` : escape(value);
    const cells = [
      `<th scope="row">${escape(label)}</th>`,
      `<td class="value">${shown}${unit === undefined ? '' : ` <span class="unit">${escape(unit)}</span>`}</td>`,
      ...(judged ? [`<td class="expected">${escape(expected)}</td><td class="mark">${markOf(holds)}</td>`] : []),
    ];
    return `<tr>${cells.join('')}</tr>`;
  });
  const head = judged ? '<th scope="col">expected</th><th scope="col"><span class="unseen">holds</span></th>' : '';
  return `<div class="figures" style="grid-row:span ${beside}"><table><thead><tr><th scope="col"></th><th scope="col">measured</th>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`; // prettier-ignore
}

function wideTable({ title, columns, rows }: Table): string {
  const isNumber = (text: string): boolean => /^(–|[−-]?[\d.,]+( .*)?)?$/.test(text);
  const numbers = columns.map((_, c) => rows.every((row) => isNumber(row[c] ?? '')));
  const side = (c: number): string => (numbers[c] ? ' class="right"' : '');
  const head = columns.map((column, c) => `<th scope="col"${side(c)}>${escape(column)}</th>`).join('');
  const body = rows.map((row) => `<tr>${columns.map((_, c) => `<td${side(c)}>${escape(row[c] ?? '')}</td>`).join('')}</tr>`).join('');
  return `<div class="table" tabindex="0" role="region" aria-label="${escape(title)}"><h3>${escape(title)}</h3><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>`; // prettier-ignore
}

function markOf(holds: boolean | undefined): string {
  if (holds === undefined) return '';
  return holds ? '<span class="holds" title="as expected">✓</span>' : '<span class="fails" title="not as expected">✗</span>';
}

async function figureOf(chart: Chart): Promise<string> {
  const wide = await drawChart(chart, WIDE);
  const narrow = await drawChart(chart, NARROW);
  const caption = [chart.caption, ...wide.notes].filter((text) => text !== undefined && text !== '').join(' ');
  return `<figure class="${chart.type}"><h3>${escape(chart.title)}</h3>
<div class="wide">${wide.svg}</div><div class="narrow">${narrow.svg}</div>
${caption === '' ? '' : `<figcaption>${prose(caption)}</figcaption>`}</figure>`;
}

function colorVariables(series: readonly string[], { negative, middle, positive }: typeof DIVERGING_LIGHT): string {
  return [...series.map((color, i) => `--series-${i + 1}:${color}`), `--negative:${negative}`, `--middle:${middle}`, `--positive:${positive}`].join(';'); // prettier-ignore
}

/** The steps of charts' diverging scale, mixed from three colours that depend on light and dark. */
function divergingClasses(): string {
  return Array.from({ length: 2 * DIVERGING_STEPS + 1 }, (_, i) => {
    const share = Math.abs(i - DIVERGING_STEPS) / DIVERGING_STEPS;
    const end = i < DIVERGING_STEPS ? '--negative' : '--positive';
    return `.d${i}{fill:color-mix(in oklab,var(${end}) ${Math.round(100 * share)}%,var(--middle))}`;
  }).join('');
}

export const LIGHT = `--paper:#fdfcf9;--ink:#1f2023;--muted:#63656b;--rule:#dcd9d0;--accent:#9a3d0a;--holds:#1a7f4b;--fails:#c2281d;--card:#f5f2ea;${colorVariables(SERIES_LIGHT, DIVERGING_LIGHT)}`; // prettier-ignore
export const DARK = `--paper:#15171b;--ink:#e8e6e1;--muted:#a2a4aa;--rule:#33363d;--accent:#ff9f66;--holds:#5fd394;--fails:#ff7d70;--card:#1c1f24;${colorVariables(SERIES_DARK, DIVERGING_DARK)}`; // prettier-ignore

const STYLE = `
:root{color-scheme:light dark;${LIGHT};--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;--serif:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua",Charter,Georgia,"DejaVu Serif",serif}
@media screen and (prefers-color-scheme:dark){:root{${DARK}}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;padding:clamp(1.5rem,5vw,4.5rem) clamp(1rem,4vw,3.5rem) 5rem;max-width:84rem;background:var(--paper);color:var(--ink);font:1.0625rem/1.62 var(--serif);overflow-wrap:break-word;font-variant-numeric:lining-nums}
h1,h2,h3{line-height:1.18;text-wrap:balance;font-weight:600;margin:0}
h1{font-size:clamp(2rem,5.2vw,3.2rem);letter-spacing:-.018em;max-width:24ch}
h2{font-size:clamp(1.45rem,3vw,1.95rem);letter-spacing:-.01em;max-width:34ch}
h3{font:600 .97rem/1.35 var(--sans)}
p{margin:.85rem 0 0;max-width:66ch;text-wrap:pretty;hyphens:auto}
a{color:inherit;text-decoration-color:var(--accent);text-underline-offset:.2em;text-decoration-thickness:1px}
a:hover{color:var(--accent)}
a:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
code{font:.86em ui-monospace,"Cascadia Mono","DejaVu Sans Mono",monospace;background:var(--card);border-radius:3px;padding:.1em .3em}
.lead{font-size:1.2rem;line-height:1.5;color:var(--muted);max-width:58ch}
.facts{display:flex;flex-wrap:wrap;gap:.7rem 2.2rem;margin:1.8rem 0 0;font:.84rem/1.4 var(--sans)}
.facts div{max-width:34rem}
.facts dt{color:var(--muted);font-size:.76rem}
.facts dd{margin:0;overflow-wrap:anywhere}
nav{margin-top:2rem;border-top:1px solid var(--rule);border-bottom:1px solid var(--rule);padding:1rem 0}
nav ol{margin:0;padding:0;list-style:none;counter-reset:part;columns:22rem;column-gap:3rem;font:.93rem/1.45 var(--sans)}
nav li{break-inside:avoid;counter-increment:part;padding:.2rem 0 .2rem 2rem;position:relative}
nav li::before{content:counter(part);position:absolute;left:0;color:var(--muted);font-variant-numeric:tabular-nums}
nav a{text-decoration:none}
nav span{white-space:nowrap;font-size:.8rem;margin-left:.35em}
section{margin-top:clamp(3.5rem,8vw,5.5rem);scroll-margin-top:1.5rem}
.number{color:var(--accent);margin-right:.6em;font-variant-numeric:tabular-nums}
.claim{font-size:1.2rem;line-height:1.45;font-style:italic;max-width:56ch;margin-top:.7rem}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,33rem),1fr));gap:2.6rem clamp(2rem,4vw,3.5rem);margin-top:1.9rem;align-items:start}
.gallery>*{min-width:0}
figure{margin:0;max-width:42rem}
figure svg{display:block;width:100%;height:auto;font-family:var(--sans);overflow:visible}
figure svg text{white-space:pre}
figure .wide,figure .narrow{margin-top:.75rem}
.narrow{display:none}
figcaption{font:.83rem/1.5 var(--sans);color:var(--muted);margin-top:.55rem;max-width:64ch}
.figures{max-width:42rem}
table{border-collapse:collapse;width:100%;font:.87rem/1.4 var(--sans)}
th,td{text-align:left;vertical-align:top;padding:.42rem .9rem .42rem 0;border-bottom:1px solid var(--rule);font-weight:400;overflow-wrap:anywhere}
thead th{color:var(--muted);font-size:.76rem;padding-top:0;white-space:nowrap}
tbody th{min-width:8rem}
.value{font-variant-numeric:tabular-nums;font-weight:600;min-width:5.5rem}
.table{margin-top:2.2rem;overflow-x:auto}
.table:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
.table table{width:auto;margin-top:.6rem;font-size:.82rem}
.table th,.table td{padding-right:1.3rem;overflow-wrap:normal;max-width:26rem}
.right{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.whole{white-space:nowrap}
.unit{font-weight:400;color:var(--muted)}
.expected{color:var(--muted);font-variant-numeric:tabular-nums;min-width:9.5rem}
th:last-child,td:last-child{padding-right:0}
.mark{width:1.4rem;text-align:right;font-weight:700}
.holds{color:var(--holds)}
.fails{color:var(--fails)}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.conclusion{margin-top:1.9rem;padding-left:1.1rem;border-left:3px solid var(--accent)}
.time{font:.8rem/1.4 var(--sans);color:var(--muted);margin-top:.6rem}
${divergingClasses()}
@media (max-width:36rem){.wide{display:none}.narrow{display:block}body{font-size:1rem}th,td{padding-right:.6rem}tbody th{min-width:6rem}.expected{min-width:5rem}}
@media print{
@page{margin:18mm 16mm}
:root{color-scheme:light}
body{max-width:none;padding:0;font-size:10.5pt;line-height:1.45;background:#fff}
.wide,.strip .narrow{display:none}.narrow,.strip .wide{display:block}
h1{font-size:26pt}h2{font-size:16pt}
h2,h3{break-after:avoid}
figure,.figures tr,.table tr,.conclusion{break-inside:avoid}
.table{overflow:visible}
.table table{width:100%;font-size:6.5pt}
.table th,.table td{padding-right:.6em;white-space:normal;overflow-wrap:anywhere}
.table .right{white-space:normal}
.gallery{display:block}
.gallery>*{margin:0 0 1.4rem;max-width:none}
.gallery>figure{display:inline-block;vertical-align:top;width:47.5%;margin-right:2%}
.gallery>.strip{width:150mm}
section{margin-top:2.4rem}
section+section{break-before:auto}
a{text-decoration:none}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
`
  .trim()
  .replaceAll('\n', '');
