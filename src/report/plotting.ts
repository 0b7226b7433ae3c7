// Loads the plotting library, which only reports need, when the first chart is drawn: Observable Plot, and linkedom for the
// document it draws in.
import { GradmillError, isMissingPackage } from '../errors.js';

/** What charts use of an SVG element; TypeScript's own types of it are those of browsers. */
export interface SvgElement {
  setAttribute(name: string, value: string): void;
  append(...children: (SvgElement | string)[]): void;
  readonly innerHTML: string;
}

export interface SvgDocument {
  createElementNS(namespace: string, name: string): SvgElement;
}

export interface Plotting {
  readonly Plot: typeof import('@observablehq/plot');
  readonly document: SvgDocument;
}

let loaded: Promise<Plotting> | undefined;

/** @throws GradmillError 'missing-package', with the command that installs it */
export function plotting(): Promise<Plotting> {
  return (loaded ??= load());
}

async function load(): Promise<Plotting> {
  try {
    const [Plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
    const { document } = parseHTML('<html></html>') as unknown as { document: SvgDocument };
    return { Plot, document };
  } catch (error) {
    loaded = undefined;
    throw missing(error);
  }
}

/** The error for a package that is not there; any other fault stays what it is. */
export function missing(error: unknown): unknown {
  if (!isMissingPackage(error)) return error;
  return new GradmillError('missing-package', 'reports need a plotting library; run: npm install @observablehq/plot linkedom', {
    cause: error,
  });
}
