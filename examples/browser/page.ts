// What both demonstrations need of the document.
import type { EngineNote } from './engine-note.js';

/** The element with this id, which is of this type. */
export function element(id: string): HTMLElement;
export function element<T extends HTMLElement>(id: string, type: new () => T): T;
export function element(id: string, type = HTMLElement): HTMLElement {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

/** Writes only what changed: setting the same text again would make the browser lay out for nothing. */
export function say(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/** The value of the radio button that is chosen. */
export function chosen(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name);
  return typeof value === 'string' ? value : '';
}

export const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

export function percent(share: number, digits = 1): string {
  // Never rounded up to perfection.
  const scale = 10 ** digits;
  const value = share < 1 ? Math.min(share * 100, 100 - 1 / scale) : 100;
  return `${value.toFixed(digits)} %`;
}

/** Three significant digits, or a power of ten where zeros would be many. */
export function short(value: number): string {
  if (value === 0) return '0';
  if (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e4) return value.toPrecision(3);
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  return `${(value / 10 ** exponent).toFixed(1)} × 10${superscript(exponent)}`;
}

export function superscript(value: number): string {
  return String(value).replace(/./g, (digit) => (digit === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)]));
}

export function showEngine({ isa, threads, reason }: EngineNote): void {
  const line = element('engine');
  say(line, `WebAssembly (${isa}), ${threads === 1 ? '1 thread' : `${threads} threads`}`);
  line.title = reason;
}
