// The one error class of gradmill and the wording for misspelt names.
// Every module throws through here; user code switches on `code`, which is stable, never on the message.

export type GradmillErrorCode =
  /** A wrong type or value. */
  | 'invalid-argument'
  /** An option, layer, loss, activation … that does not exist; the message suggests the nearest one. */
  | 'unknown-name'
  | 'shape-mismatch'
  | 'non-finite-input'
  | 'label-out-of-range'
  | 'empty-data'
  | 'size-overflow'
  /** A loss or weight stopped being finite in training. */
  | 'diverged'
  | 'not-compiled'
  | 'busy'
  | 'disposed'
  /** A truncated, damaged or hostile file. */
  | 'file-invalid'
  /** A file that cannot be read or written. */
  | 'file-io'
  | 'csv-invalid'
  | 'backend-unavailable'
  | 'buffer-detached'
  | 'out-of-memory'
  | 'missing-package';

export class GradmillError extends Error {
  override readonly name = 'GradmillError';
  readonly code: GradmillErrorCode;

  constructor(code: GradmillErrorCode, message: string, options?: { readonly cause?: unknown }) {
    // An explicit `cause: undefined` would still define the property.
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
  }
}

/** Whether an import failed because its package is not installed. */
export function isMissingPackage(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND';
}

/** The candidate a typist most likely meant (edit distance, letter case ignored), or undefined when none is near. */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  // Hostile input may hold names of any length; nothing this long is a slip of the finger.
  if (name.length > 100) return undefined;
  const wanted = name.toLowerCase();
  let nearest: string | undefined;
  let smallest = Infinity;
  for (const candidate of candidates) {
    const distance = editDistance(wanted, candidate.toLowerCase());
    const tolerated = Math.max(1, Math.floor(Math.max(wanted.length, candidate.length) / 3));
    if (distance <= tolerated && distance < smallest) {
      nearest = candidate;
      smallest = distance;
    }
  }
  return nearest;
}

/** The error for a name that is not among the candidates: `unknown <kind> 'rellu', did you mean 'relu'?` */
export function unknownName(kind: string, name: string, candidates: Iterable<string>): GradmillError {
  const known = [...candidates];
  const nearest = nearestName(name, known);
  const listed = known.length > 20 ? [...known.slice(0, 20), '…'] : known;
  const hint = nearest === undefined ? ` (known: ${listed.join(', ')})` : `, did you mean '${nearest}'?`;
  const shown = name.length > 100 ? `${name.slice(0, 100)}…` : name;
  return new GradmillError('unknown-name', `unknown ${kind} '${shown}'${known.length === 0 ? '' : hint}`);
}

/** Optimal string alignment: insertions, deletions, substitutions and swapped neighbours each cost 1. */
function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + substitution);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, beforePrevious[j - 2] + 1);
      }
      current.push(cost);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length];
}
