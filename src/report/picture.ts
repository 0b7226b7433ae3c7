// The paper a chart is drawn on: Plot draws the marks, this file the words round them, with room for all of them.
import { widthOf, escape, fitted } from './lettering.js';
import type { Plotting, SvgElement } from './plotting.js';

export const FONT = 12;
export const SMALL = 11;

/** An SVG of its own, which needs nothing but the page's fonts and colours. */
export interface Drawing {
  readonly svg: string;
  /** What the picture leaves out or cannot show, in sentences. */
  readonly notes: readonly string[];
}

export interface LegendItem {
  readonly label: string;
  readonly mark: 'line' | 'dot' | 'missing' | 'zero';
  readonly color?: string;
  readonly dash?: string | undefined;
  /** Which of the symbols a dot is. */
  readonly symbol?: number;
}

type Attributes = Readonly<Record<string, string | number | undefined>>;

export class Picture {
  readonly notes: string[] = [];
  readonly #plotting: Plotting;
  readonly #elements: string[] = [];
  /** Where the header ends: marks begin below it. */
  top = 4;

  constructor(
    plotting: Plotting,
    readonly width: number,
  ) {
    this.#plotting = plotting;
  }

  element(name: string, attributes: Attributes, ...children: (SvgElement | string)[]): SvgElement {
    const element = this.#plotting.document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [attribute, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(attribute, String(value));
    element.append(...children);
    return element;
  }

  add(name: string, attributes: Attributes, ...children: (SvgElement | string)[]): void {
    const holder = this.element('g', {});
    holder.append(this.element(name, attributes, ...children));
    this.#elements.push(holder.innerHTML);
  }

  text(x: number, y: number, text: string, attributes: Attributes = {}): void {
    this.add('text', { x: round(x), y: round(y), 'text-anchor': 'start', 'font-size': FONT, ...attributes }, text);
  }

  /** Marks of Observable Plot. */
  plot(options: object): void {
    const { Plot, document } = this.#plotting;
    const figure = Plot.plot({ document, width: this.width, ...options }) as SvgElement;
    this.#elements.push(figure.innerHTML.replace(/^<style>[^]*?<\/style>/, ''));
  }

  /** Rows of what the colours mean. */
  legend(items: readonly LegendItem[]): void {
    const [swatch, gap] = [22, 18];
    let x = 0;
    let y = this.top + 10;
    for (const item of items) {
      const label = fitted(item.label, this.width - swatch - 6, FONT);
      const needed = swatch + 6 + widthOf(label, FONT);
      if (x > 0 && x + needed > this.width) [x, y] = [0, y + 18];
      this.#swatch(item, x, y - 4, swatch);
      this.text(x + swatch + 6, y, label);
      x += needed + gap;
    }
    if (items.length > 0) this.top = y + 10;
  }

  #swatch({ mark, color, dash, symbol = 0 }: LegendItem, x: number, y: number, width: number): void {
    if (mark === 'dot') {
      this.add('path', { d: symbolPath(symbol, x + width / 2, y), fill: color });
      return;
    }
    if (mark === 'line') {
      this.add('line', { x1: x, x2: x + width, y1: y, y2: y, stroke: color, 'stroke-width': 2.5, 'stroke-dasharray': dash });
      return;
    }
    const box = { x: x + 6, y: y - 5, width: 12, height: 11, rx: 2 };
    if (mark === 'missing') this.missing(box);
    else this.zero(box);
  }

  /** A cell without a value. */
  missing(box: { x: number; y: number; width: number; height: number }): void {
    this.add('path', { d: missingPath(box), fill: 'none', stroke: 'currentColor', 'stroke-opacity': 0.35 });
  }

  /** A cell whose value is exactly 0, where colours are logarithmic. */
  zero(box: { x: number; y: number; width: number; height: number }): void {
    this.add('path', { d: zeroPath(box), fill: 'currentColor', 'fill-opacity': 0.75 });
  }

  /** A line of text above the vertical axis. */
  verticalLabel(label: string): void {
    if (label === '') return;
    this.text(0, this.top + 15, fitted(label, this.width, FONT), { 'fill-opacity': 0.75 });
    this.top += 26;
  }

  /** A line of text below the horizontal axis, in the middle of the frame. */
  horizontalLabel(label: string, left: number, right: number, y: number): void {
    const shown = fitted(label, this.width, FONT);
    const half = widthOf(shown, FONT) / 2;
    const middle = Math.min(Math.max((left + right) / 2, half), this.width - half);
    this.text(middle, y, shown, { 'text-anchor': 'middle', 'fill-opacity': 0.75 });
  }

  /** @param height of the whole picture; @param label what it shows, for those who cannot see it */
  finish(height: number, label: string): Drawing {
    const [w, h] = [Math.round(this.width), Math.ceil(height)];
    const svg =
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" width="${w}" height="${h}" role="img" ` +
      `aria-label="${escape(label)}" font-family="system-ui, sans-serif" font-size="${FONT}" text-anchor="middle" fill="currentColor">` +
      `${this.#elements.join('')}</svg>`;
    return { svg, notes: this.notes };
  }
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Circle, diamond, square, triangle: symbols of equal weight, which tell series apart where colours do not. */
export function symbolPath(symbol: number, x: number, y: number): string {
  const [r, a, b, c] = [4.6, 5.6, 4.1, 6].map(round);
  const at = (dx: number, dy: number): string => `${round(x + dx)},${round(y + dy)}`;
  switch (symbol % 4) {
    case 0:
      return `M${at(-r, 0)}a${r},${r},0,1,0,${2 * r},0a${r},${r},0,1,0,${-2 * r},0z`;
    case 1:
      return `M${at(0, -a)}L${at(a, 0)}L${at(0, a)}L${at(-a, 0)}z`;
    case 2:
      return `M${at(-b, -b)}h${2 * b}v${2 * b}h${-2 * b}z`;
    default:
      return `M${at(0, -c + 1)}L${at(c * 0.9, c - 2)}L${at(-c * 0.9, c - 2)}z`;
  }
}

/** An empty box with a stroke through it. */
export function missingPath({ x, y, width, height }: Box): string {
  const [left, top, w, h] = [x + 0.5, y + 0.5, Math.max(width - 1, 0.5), Math.max(height - 1, 0.5)].map(round);
  return `M${left},${top}h${w}v${h}h${-w}zM${left},${round(top + h)}l${w},${-h}`;
}

/** A dot. */
export function zeroPath({ x, y, width, height }: Box): string {
  const r = round(Math.min(width, height, 9) / 3.5);
  return `M${round(x + width / 2 - r)},${round(y + height / 2)}a${r},${r},0,1,0,${2 * r},0a${r},${r},0,1,0,${-2 * r},0z`;
}

export function round(value: number): number {
  return Math.round(value * 100) / 100;
}
