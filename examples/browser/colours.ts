// The palette as the style sheet has it, for canvases; read again when the scheme changes.

export interface Palette {
  readonly paper: string;
  readonly ink: string;
  readonly muted: string;
  readonly rule: string;
  readonly blue: string;
  readonly orange: string;
  /** Outline of a point on the decision surface. */
  readonly halo: string;
  /** 256 colours from blue through neutral to orange. */
  readonly diverging: Uint8ClampedArray;
  /** 256 colours from neutral to full. */
  readonly sequential: Uint8ClampedArray;
}

type Colour = readonly [red: number, green: number, blue: number];

let current: Palette | undefined;
const listeners = new Set<() => void>();

export function palette(): Palette {
  return (current ??= read());
}

export function onPaletteChange(listener: () => void): void {
  listeners.add(listener);
}

export function paletteChanged(): void {
  current = undefined;
  for (const listener of listeners) listener();
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paletteChanged);

function read(): Palette {
  // A colour property computes to rgb(…), a custom property to its text.
  const probe = document.body.appendChild(document.createElement('i'));
  const css = (name: string): string => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const named = {
    paper: css('paper'),
    ink: css('ink'),
    muted: css('muted'),
    rule: css('rule'),
    blue: css('blue'),
    orange: css('orange'),
    halo: css('halo'),
    diverging: ramp([css('surface-blue'), css('surface-middle'), css('surface-orange')]),
    sequential: ramp([css('scale-0'), css('scale-1'), css('scale-2'), css('scale-3')]),
  };
  probe.remove();
  return named;
}

/** RGBA of 256 steps through the stops. */
function ramp(stops: readonly string[]): Uint8ClampedArray {
  const colours = stops.map((stop) => (stop.match(/[\d.]+/g) ?? []).map(Number) as unknown as Colour);
  const table = new Uint8ClampedArray(256 * 4);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (colours.length - 1);
    const from = Math.min(Math.floor(at), colours.length - 2);
    const share = at - from;
    for (let channel = 0; channel < 3; channel++)
      table[4 * i + channel] = colours[from][channel] * (1 - share) + colours[from + 1][channel] * share;
    table[4 * i + 3] = 255;
  }
  return table;
}
