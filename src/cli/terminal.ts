// Words for the terminal: where commands write, and how they write facts and numbers.

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Io {
  readonly out: Output;
  readonly err: Output;
  /** Where data packages are looked for first. */
  readonly cwd: string;
}

/** Two columns, for a list of facts. */
export function formatFacts(facts: readonly (readonly [name: string, value: string])[]): string {
  return facts.map(([name, value]) => `${name.padEnd(10)}${printable(value)}\n`).join('');
}

/** Names out of files cannot move the cursor or recolour the terminal. Line breaks stay. */
export function printable(text: string): string {
  return text.replaceAll(/(?!\n)\p{Cc}/gu, '?');
}

/** The same, on one line. */
export function oneLine(text: string): string {
  return printable(text.replaceAll(/\s*[\r\n]+\s*/g, ' '));
}

export function formatLoss(loss: number): string {
  const size = Math.abs(loss);
  return Number.isFinite(loss) && size !== 0 && (size < 1e-3 || size >= 1e5) ? loss.toExponential(3) : loss.toFixed(4);
}

/** 0.97714 → '97.71 %' */
export function formatPercent(fraction: number): string {
  return `${(100 * fraction).toFixed(2)} %`;
}

/** 61234.5 → '61,235' */
export function formatCount(count: number): string {
  return Number.isFinite(count) ? Math.round(count).toLocaleString('en-US') : '–';
}

export function formatSeconds(seconds: number): string {
  return seconds < 60 ? `${seconds.toFixed(seconds < 10 ? 2 : 1)} s` : formatClock(seconds);
}

/** Seconds as '0:07', '12:30' or '1:02:03'. */
export function formatClock(seconds: number): string {
  if (!Number.isFinite(seconds)) return '-:--';
  const whole = Math.ceil(Math.max(0, seconds));
  const padded = (part: number): string => String(part).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  const clock = minutes < 60 ? `${minutes}` : `${Math.floor(minutes / 60)}:${padded(minutes % 60)}`;
  return `${clock}:${padded(whole % 60)}`;
}
