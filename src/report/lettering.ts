// Text in pictures and pages: names come out of files, and are as wide as they like.

/** One line of what can be shown: no control characters, half characters, or marks that turn the direction of what follows. */
export function clean(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\p{Cc}\p{Cs}\uFFFE\uFFFF\u202A-\u202E\u2066-\u2069]/gu, '\uFFFD');
}

/** Text for HTML and XML, between tags and in quoted attributes. */
export function escape(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return clean(text).replace(/[&<>"']/g, (character) => entities[character]);
}

/** Width in pixels, somewhat more than in most sans-serif fonts: the reader's font is not known. */
export function widthOf(text: string, fontSize: number): number {
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width * fontSize;
}

function characterWidth(character: string): number {
  if (/[ijl.,:;|!'()[\] ]/.test(character)) return 0.38;
  if (/[mwMW@%—]/.test(character)) return 0.98;
  if (/[−×+=<>±~→…]/.test(character)) return 0.86;
  if (/[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]/.test(character)) return 0.5;
  if (/\p{Lu}/u.test(character)) return 0.72;
  return character > '\u2E80' ? 1.1 : 0.62;
}

/** The text, cut short with '…' where it is wider than that. */
export function fitted(text: string, width: number, fontSize: number): string {
  const shown = clean(text);
  if (widthOf(shown, fontSize) <= width) return shown;
  let room = width - widthOf('…', fontSize);
  let kept = '';
  for (const character of shown) {
    room -= characterWidth(character) * fontSize;
    if (room < 0) break;
    kept += character;
  }
  return `${kept.trimEnd()}…`;
}

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** 10 to a whole power: '10⁻⁵'. */
export function powerOfTen(exponent: number): string {
  return `10${String(exponent).replace(/./g, (digit) => (digit === '-' ? '⁻' : SUPERSCRIPTS[Number(digit)]))}`;
}

/** A measured number: '0.0430', '2.5 × 10⁻¹³', '266,610'. */
export function formatNumber(value: number, digits = 4): string {
  if (Number.isNaN(value)) return 'not a number';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  const sign = value < 0 ? '−' : '';
  if (Number.isInteger(value) && size < 1e9) return sign + size.toLocaleString('en-US');
  const [mantissa, exponent] = size.toExponential(digits - 1).split('e');
  const power = Number(exponent);
  if (power < -3 || power > 6) return `${sign}${Number(mantissa)} × ${powerOfTen(power)}`;
  const decimals = Math.max(0, digits - 1 - power);
  return sign + size.toLocaleString('en-US', { minimumFractionDigits: 0, maximumFractionDigits: decimals });
}
