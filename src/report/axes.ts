// Domains, ticks and their words for the axes of charts.
import { powerOfTen } from './lettering.js';
import type { Axis } from './section.js';

export interface Scale {
  readonly type: 'linear' | 'log';
  readonly domain: readonly [low: number, high: number];
  readonly ticks: readonly number[];
  format(tick: number): string;
}

interface ScaleOptions {
  /** Ticks wanted, about. Default 6. */
  readonly count?: number;
  /** The domain ends at ticks, not at the outermost values. Default false. */
  readonly nice?: boolean;
  /** The domain holds 0, on a linear scale: 'always', or 'near' where the values reach down to a third of their largest. */
  readonly zero?: 'always' | 'near';
}

/** A scale that holds the values it can show. */
export function scaleOf(values: Iterable<number>, { scale = 'linear', ticks }: Axis, options: ScaleOptions = {}): Scale {
  const shown = [...values].filter((value) => canShow(value, scale));
  const [low, high] = [shown.reduce((a, b) => Math.min(a, b), Infinity), shown.reduce((a, b) => Math.max(a, b), -Infinity)];
  const made = scale === 'log' ? logScale(low, high, options) : linearScale(low, high, shown.every(Number.isInteger), options);
  return ticks ? { ...made, ticks: ticks.filter((tick) => tick >= made.domain[0] && tick <= made.domain[1]) } : made;
}

/** Sums and ratios of what can be shown are finite, and not 0. No float32 is beyond. */
const LARGEST = 1e100;

export function canShow(value: number, scale: 'linear' | 'log' = 'linear'): boolean {
  return Math.abs(value) <= LARGEST && (scale === 'linear' || value >= 1 / LARGEST);
}

function linearScale(low: number, high: number, whole: boolean, { count = 6, nice = false, zero }: ScaleOptions): Scale {
  let [from, to] = low > high ? [0, 1] : [low, high];
  if (zero === 'always' || (zero === 'near' && from > 0 && from < to / 3)) [from, to] = [Math.min(from, 0), Math.max(to, 0)];
  const size = Math.max(Math.abs(from), Math.abs(to));
  // Ticks nearer to each other than that would have the same words.
  if (size < 1e-250) [from, to] = [0, 1];
  else if (to - from <= 1e-9 * size) {
    const room = whole && !nice && size < 1e6 ? 0.5 : size / 10;
    [from, to] = [from - room, to + room];
  }
  const step = Math.max(stepOf((to - from) / count), whole ? 1 : 0);
  if (nice) [from, to] = [Math.floor(from / step) * step, Math.ceil(to / step) * step];
  const first = Math.ceil(from / step - 1e-9);
  const ticks: number[] = [];
  for (let i = first; i * step <= to + 1e-9 * step; i++) ticks.push(i * step);
  const largest = Math.max(Math.abs(from), Math.abs(to));
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const power = Math.floor(Math.log10(largest) + 1e-9);
  const scientific = power >= 6 || decimals > 4;
  const format = (tick: number): string => {
    if (Math.abs(tick) < step / 2) return '0';
    const sign = tick < 0 ? '−' : '';
    const size = Math.abs(tick);
    if (!scientific) return sign + size.toLocaleString('en-US', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    const digits = Math.max(0, power - Math.floor(Math.log10(step) + 1e-9));
    return `${sign}${(size / 10 ** power).toFixed(digits)}×${powerOfTen(power)}`;
  };
  return { type: 'linear', domain: [from, to], ticks, format };
}

/** 1, 2 or 5 times a power of ten, the nearest at or above. */
function stepOf(wanted: number): number {
  const power = 10 ** Math.floor(Math.log10(wanted));
  const ratio = wanted / power;
  return (ratio <= 1.0001 ? 1 : ratio <= 2 ? 2 : ratio <= 5 ? 5 : 10) * power;
}

function logScale(low: number, high: number, { count = 6, nice = false }: ScaleOptions): Scale {
  let [from, to] = low > high ? [0.1, 1] : [low, high];
  if (to / from < 1 + 1e-6) [from, to] = [from / 2, to * 2];
  const decades = Math.log10(to / from);
  const inner = decades <= 1.2 ? [1, 2, 3, 5] : decades <= 2.5 ? [1, 3] : [1];
  if (nice) {
    // To the next tick outwards, or a little beyond where that is far.
    const room = decades > 2.5 ? 10 ** (decades / 40) : 1;
    from = decades > 2.5 ? from / room : below(from, inner);
    to = decades > 2.5 ? to * room : -below(-to, inner);
  }
  const [first, last] = [Math.floor(Math.log10(from)), Math.ceil(Math.log10(to))];
  const stride = inner.length > 1 ? 1 : Math.max(1, Math.ceil((Math.log10(to) - Math.log10(from)) / count));
  const ticks: number[] = [];
  for (let exponent = first; exponent <= last; exponent++) {
    if (exponent % stride !== 0) continue;
    for (const factor of inner) ticks.push(factor * 10 ** exponent);
  }
  const shown = ticks.filter((tick) => tick >= from * 0.9999 && tick <= to * 1.0001);
  const powers = shown.every((tick) => tick >= 0.999e-3 && tick <= 1.001e4) ? undefined : shown;
  return {
    type: 'log',
    domain: [from, to],
    ticks: shown,
    format(tick) {
      const exponent = Math.floor(Math.log10(tick) + 1e-9);
      const factor = Math.round(tick / 10 ** exponent);
      if (!powers) return tick.toLocaleString('en-US', { maximumFractionDigits: Math.max(0, -exponent) });
      return factor === 1 ? powerOfTen(exponent) : `${factor}×${powerOfTen(exponent)}`;
    },
  };
}

/** The largest of the factors times a power of ten that is at most the value; for a negative one, minus the smallest that is at least it. */
function below(value: number, factors: readonly number[]): number {
  const size = Math.abs(value);
  const exponent = Math.floor(Math.log10(size) + 1e-9);
  const marks = [exponent - 1, exponent, exponent + 1].flatMap((power) => factors.map((factor) => factor * 10 ** power));
  return value > 0
    ? Math.max(...marks.filter((mark) => mark <= size * 1.0001))
    : -Math.min(...marks.filter((mark) => mark >= size * 0.9999));
}

/** Of `count` places in a row, those to label: every n-th, so that labels of that width have room. */
export function spaced(count: number, room: number, labelWidth: number): number[] {
  const most = Math.max(1, Math.floor(room / labelWidth));
  const stride = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000].find((n) => Math.ceil(count / n) <= most) ?? count;
  return Array.from({ length: Math.ceil(count / stride) }, (_, i) => i * stride);
}
