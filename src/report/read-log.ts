// Reads the log of a fit. What is read is untrusted: every field is checked, and errors name the line.
import { GradmillError } from '../errors.js';
import type { LogDiagnostics, LogEnd, LogEpoch, LogError, LogStart } from '../log.js';
import { LONGEST_LIST, show } from '../options.js';

/** One fit, from its log. */
export interface Run {
  /** What the report calls it. */
  readonly name: string;
  readonly start: LogStart;
  readonly epochs: readonly LogEpoch[];
  readonly samples: readonly LogDiagnostics[];
  /** Undefined: it broke off, or goes on. */
  readonly end: LogEnd | LogError | undefined;
  /** What a reader must know of the file. */
  readonly notes: readonly string[];
}

/** The largest file read; a run of a thousand samples of fifty layers has about 50 MB. */
export const LARGEST_LOG = 256 * 2 ** 20;

/**
 * The last run of a log. A line cut short at the end of the file, or before another run's start, is what a crash leaves: it is
 * passed over, with a note.
 * @param source names the file in messages
 * @throws GradmillError 'file-invalid', which names the line
 */
export function parseLog(bytes: Uint8Array, source: string, name: string): Run {
  const state = { runs: 0, torn: undefined as { line: number; problem: string } | undefined };
  let run: { start: LogStart; epochs: LogEpoch[]; samples: LogDiagnostics[]; end: LogEnd | LogError | undefined } | undefined;
  const invalid = (line: number, problem: string): GradmillError =>
    new GradmillError('file-invalid', `${source}: line ${line}: ${problem}`);

  for (const { line, text } of linesOf(bytes)) {
    if (text.length === 0) continue;
    const parsed = parseLine(text);
    if ('problem' in parsed) {
      if (state.torn) throw invalid(state.torn.line, state.torn.problem);
      state.torn = { line, problem: parsed.problem };
      continue;
    }
    const fields = new Fields(parsed.record, (problem) => invalid(line, problem));
    const type = fields.text('type');
    if (state.torn && type !== 'start') throw invalid(state.torn.line, state.torn.problem);
    state.torn = undefined;
    if (type === 'start') {
      run = { start: startOf(fields), epochs: [], samples: [], end: undefined };
      state.runs += 1;
      continue;
    }
    if (!run) throw invalid(line, "expected the record 'start' first: this is not a log of gradmill's fit");
    if (type === 'epoch') run.epochs.push(epochOf(fields));
    else if (type === 'diagnostics') run.samples.push(sampleOf(fields));
    else if (type === 'end') run.end = { type, seconds: fields.number('seconds') };
    else if (type === 'error') run.end = { type, code: fields.text('code'), message: fields.text('message') };
  }
  // The file may end within a line, but not with a whole one that is none of ours.
  if (state.torn && bytes.at(-1) === 0x0a) throw invalid(state.torn.line, state.torn.problem);
  if (!run) throw new GradmillError('file-invalid', `${source}: there is no run in it`);
  return {
    name,
    ...run,
    notes: [
      ...(state.runs > 1 ? [`${source} holds ${state.runs} runs, one after the other; this is the last.`] : []),
      ...(state.torn ? [`The last line of ${source} is cut short and was left out.`] : []),
      ...(run.end ? [] : ['The log does not tell how the run ended: it was stopped from outside, or still goes on.']),
    ],
  };
}

function* linesOf(bytes: Uint8Array): Generator<{ line: number; text: Uint8Array }> {
  let line = 0;
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(0x0a, at);
    const stop = end === -1 ? bytes.length : end;
    line += 1;
    yield { line, text: bytes.subarray(at, stop > at && bytes[stop - 1] === 0x0d ? stop - 1 : stop) };
    at = stop + 1;
  }
}

function parseLine(bytes: Uint8Array): { record: object } | { problem: string } {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return { problem: 'not a line of JSON' };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { problem: `expected an object, got ${show(value)}` };
  return { record: value };
}

/** Reads the fields of an object that may be anything. */
class Fields {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(
    values: object,
    readonly invalid: (problem: string) => GradmillError,
    readonly path = '',
  ) {
    this.#values = values as Readonly<Record<string, unknown>>;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#values, name) && this.#values[name] !== undefined;
  }

  #get(name: string, expected: string): unknown {
    if (!this.has(name)) throw this.invalid(`${this.path}${name}: expected ${expected}, but it is missing`);
    return this.#values[name];
  }

  text(name: string): string {
    const value = this.#get(name, 'a text');
    if (typeof value !== 'string') throw this.invalid(`${this.path}${name}: expected a text, got ${show(value)}`);
    return value.length > 1000 ? `${value.slice(0, 1000)}…` : value;
  }

  /** null, as JSON writes what is not finite, is NaN. */
  number(name: string): number {
    const value = this.#get(name, 'a number');
    if (value === null) return NaN;
    if (typeof value !== 'number') throw this.invalid(`${this.path}${name}: expected a number, got ${show(value)}`);
    return value;
  }

  optionalNumber(name: string): number | undefined {
    return this.has(name) ? this.number(name) : undefined;
  }

  flag(name: string): boolean {
    const value = this.#get(name, 'true or false');
    if (typeof value !== 'boolean') throw this.invalid(`${this.path}${name}: expected true or false, got ${show(value)}`);
    return value;
  }

  numbers(name: string): number[] {
    return this.#list(name).map((value, i) => {
      if (value === null) return NaN;
      if (typeof value !== 'number') throw this.invalid(`${this.path}${name}[${i}]: expected a number, got ${show(value)}`);
      return value;
    });
  }

  object(name: string): Fields {
    return this.#fields(this.#get(name, 'an object'), name);
  }

  objects(name: string): Fields[] {
    return this.#list(name).map((value, i) => this.#fields(value, `${name}[${i}]`));
  }

  /** Texts, numbers and truth values of an object; what is deeper, as JSON. */
  settings(name: string): Record<string, string | number | boolean> {
    const entries = Object.entries(this.object(name).#values).slice(0, 100);
    return Object.fromEntries(
      entries.map(([key, value]) => [
        key,
        typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : JSON.stringify(value).slice(0, 200),
      ]),
    );
  }

  #list(name: string): readonly unknown[] {
    const value = this.#get(name, 'a list');
    if (!Array.isArray(value)) throw this.invalid(`${this.path}${name}: expected a list, got ${show(value)}`);
    if (value.length > LONGEST_LIST) throw this.invalid(`${this.path}${name}: expected at most ${LONGEST_LIST} elements, got ${value.length}`); // prettier-ignore
    return value;
  }

  #fields(value: unknown, name: string): Fields {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw this.invalid(`${this.path}${name}: expected an object, got ${show(value)}`);
    return new Fields(value, this.invalid, `${this.path}${name}.`);
  }
}

function startOf(fields: Fields): LogStart {
  const backend = fields.object('backend');
  return {
    type: 'start',
    version: fields.text('version'),
    time: fields.text('time'),
    backend: {
      name: backend.text('name') as LogStart['backend']['name'],
      isa: backend.text('isa'),
      threads: backend.number('threads'),
      strict: backend.flag('strict'),
    },
    layers: fields.objects('layers').map((layer) => ({
      name: layer.text('name'),
      kind: layer.text('kind'),
      ...(layer.has('activation') && { activation: layer.text('activation') }),
      units: layer.number('units'),
      weights: layer.number('weights'),
    })),
    optimizer: fields.settings('optimizer'),
    loss: fields.settings('loss') as unknown as LogStart['loss'],
    seed: fields.number('seed'),
    rows: fields.number('rows'),
    epochs: fields.number('epochs'),
    batchSize: fields.number('batchSize'),
  };
}

function epochOf(fields: Fields): LogEpoch {
  const optional = (name: 'accuracy' | 'valLoss' | 'valAccuracy'): object => (fields.has(name) ? { [name]: fields.number(name) } : {});
  return {
    type: 'epoch',
    epoch: fields.number('epoch'),
    epochs: fields.number('epochs'),
    loss: fields.number('loss'),
    ...optional('accuracy'),
    ...optional('valLoss'),
    ...optional('valAccuracy'),
    seconds: fields.number('seconds'),
    samplesPerSecond: fields.number('samplesPerSecond'),
  };
}

function sampleOf(fields: Fields): LogDiagnostics {
  return {
    type: 'diagnostics',
    epoch: fields.number('epoch'),
    step: fields.number('step'),
    loss: fields.number('loss'),
    layers: fields.objects('layers').map(layerOf),
  };
}

type Layer = LogDiagnostics['layers'][number];

function layerOf(fields: Fields): Layer {
  const updateToWeight = fields.optionalNumber('updateToWeight');
  return {
    layer: fields.text('layer'),
    lossGradientRms: fields.number('lossGradientRms'),
    lossGradientNorm: fields.number('lossGradientNorm'),
    activationFactor: factorOf(fields.object('activationFactor')),
    weightFactor: factorOf(fields.object('weightFactor')),
    kernelGradientRms: fields.number('kernelGradientRms'),
    kernelRms: fields.number('kernelRms'),
    gradientToWeight: fields.number('gradientToWeight'),
    ...(updateToWeight !== undefined && { updateToWeight }),
    spectralNorm: fields.number('spectralNorm'),
    ...(fields.has('before') && { before: distributionOf(fields.object('before')) }),
    after: distributionOf(fields.object('after')),
    saturation: fields.number('saturation'),
    meanShift: fields.number('meanShift'),
  };
}

function factorOf(fields: Fields): Layer['activationFactor'] {
  return { measured: fields.number('measured'), predicted: fields.number('predicted') };
}

function distributionOf(fields: Fields): Layer['after'] {
  const histogram = fields.object('histogram');
  return {
    mean: fields.number('mean'),
    standardDeviation: fields.number('standardDeviation'),
    rms: fields.number('rms'),
    min: fields.number('min'),
    max: fields.number('max'),
    zeros: fields.number('zeros'),
    histogram: { low: histogram.number('low'), high: histogram.number('high'), counts: histogram.numbers('counts') },
  };
}
