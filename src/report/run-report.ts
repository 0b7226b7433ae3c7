// A report of one run, or several compared, from their logs: curves, gradients by layer, updates, activations, weights.
import { formatNumber } from './lettering.js';
import type { Page } from './html.js';
import type { Run } from './read-log.js';
import type { Chart, Figure, LinesChart, Section } from './section.js';

/** More lines than that cannot be told apart. */
const MOST_LINES = 8;

/** More rows than that are not read. */
const MOST_LAYERS = 100;

/** Runs that are compared in one report, at most. */
export const MOST_RUNS = 8;

/** @param made when the report was made, in the reader's words */
export function runPage(runs: readonly Run[], made: string): Page {
  const [run] = runs;
  const sections = [learning(runs), ...gradientsCompared(runs), ...runs.flatMap((each) => depth(each, runs.length > 1)), ...runs.map((each) => network(each, runs.length > 1))]; // prettier-ignore
  return {
    title: runs.length === 1 ? `Training run: ${run.name}` : `${runs.length} training runs compared`,
    lead: runs.length === 1 ? leadOf(run) : runs.map((each) => `${each.name}: ${leadOf(each)}`).join(' '),
    facts: [
      ...(runs.length === 1
        ? ([
            ['started', run.start.time],
            ['engine', engineOf(run)],
            ['data', `${formatNumber(run.start.rows)} rows, batches of ${formatNumber(run.start.batchSize)}, seed ${run.start.seed}`],
            ['optimizer', settingsOf(run.start.optimizer)],
            ['loss', settingsOf(run.start.loss)],
          ] as const)
        : []),
      ['report made', made],
    ],
    sections,
  };
}

function leadOf({ start, epochs, end, notes }: Run): string {
  const done = `${epochs.length} of ${formatNumber(start.epochs)} ${start.epochs === 1 ? 'epoch' : 'epochs'}`;
  const weights = start.layers.reduce((sum, layer) => sum + layer.weights, 0);
  const ended = end?.type === 'error' ? ` It ended with an error (${end.code}): ${end.message}` : '';
  return [`${start.layers.length} layers, ${formatNumber(weights)} weights, ${done}.${ended}`, ...notes].join(' ');
}

function engineOf({ start: { backend, version } }: Run): string {
  const threads = `${backend.threads} ${backend.threads === 1 ? 'thread' : 'threads'}`;
  return `gradmill ${version}, ${backend.name} ${backend.isa}, ${threads}${backend.strict ? ', strict' : ''}`;
}

/** { name: 'adam', learningRate: 0.001 } → 'adam, learningRate 0.001' */
function settingsOf(config: object): string {
  return Object.entries(config)
    .map(([name, value]) => (name === 'name' ? String(value) : `${name} ${String(value)}`))
    .join(', ');
}

// ── Learning ──────────────────────────────────────────────────────────────────────────────────────────────────────

type Curve = 'loss' | 'valLoss' | 'accuracy' | 'valAccuracy';
type Series = LinesChart['series'][number];

function curve(run: Run, what: Curve, name: string): Series[] {
  const points = run.epochs.map((report) => [report.epoch, report[what] ?? NaN] as const);
  return points.some(([, value]) => Number.isFinite(value)) ? [{ name, points }] : [];
}

function learning(runs: readonly Run[]): Section {
  const one = runs.length === 1;
  const lines = (title: string, label: string, series: readonly Series[]): Chart[] =>
    series.length === 0 ? [] : [{ type: 'lines', title, x: { label: 'epoch' }, y: { label, scale: scaleFor(series) }, series }];
  const both = (what: 'loss' | 'accuracy', validation: 'valLoss' | 'valAccuracy', label: string): Chart[] =>
    one
      ? lines(capital(what), label, [...curve(runs[0], what, 'training'), ...curve(runs[0], validation, 'validation')])
      : [
          ...lines(`${capital(what)} in training`, label, runs.flatMap((run) => curve(run, what, run.name))), // prettier-ignore
          ...lines(`${capital(what)} in validation`, label, runs.flatMap((run) => curve(run, validation, run.name))), // prettier-ignore
        ];
  return {
    id: 'learning',
    title: 'Learning',
    claim: '',
    paragraphs: [
      'In training, the means over an epoch, each batch measured before its update; in validation, over all held-out rows after the epoch.',
    ],
    figures: runs.flatMap((run) => learningFigures(run, one ? '' : `${run.name}: `)),
    charts: [...both('loss', 'valLoss', 'loss'), ...both('accuracy', 'valAccuracy', 'accuracy (share of rows)')],
    conclusion: runs.map((run) => (one ? outcome(run) : `${run.name}: ${outcome(run)}`)).join(' '),
    seconds: 0,
  };
}

function learningFigures({ epochs, end }: Run, prefix: string): Figure[] {
  const [first, last] = [epochs.at(0), epochs.at(-1)];
  if (!first || !last) return [];
  const best = epochs.reduce((least, report) => ((report.valLoss ?? NaN) < (least.valLoss ?? Infinity) ? report : least), first);
  const seconds = epochs.reduce((sum, report) => sum + report.seconds, 0);
  const figure = (label: string, value: number | undefined, unit?: string): Figure[] =>
    value === undefined ? [] : [{ label: prefix + label, value, ...(unit !== undefined && { unit }) }];
  return [
    ...figure('loss, first epoch', first.loss),
    ...figure('loss, last epoch', last.loss),
    ...figure('validation loss, last epoch', last.valLoss),
    ...(best.valLoss === undefined ? [] : figure('validation loss, least', best.valLoss, `in epoch ${best.epoch}`)),
    ...figure('accuracy, last epoch', last.accuracy),
    ...figure('validation accuracy, last epoch', last.valAccuracy),
    ...figure('time of training', seconds, 's'),
    ...(end?.type === 'end' ? figure('time of the whole fit', end.seconds, 's') : []),
    ...figure('speed, last epoch', last.samplesPerSecond, 'rows/s'),
  ];
}

/** What the curves say, and no more. */
function outcome({ epochs }: Run): string {
  const [first, last] = [epochs.at(0), epochs.at(-1)];
  if (!first || !last) return 'No epoch was finished.';
  if (first === last) return `One epoch was finished, with a loss of ${formatNumber(last.loss)}.`;
  const verb = last.loss < first.loss ? 'fell' : last.loss > first.loss ? 'rose' : 'stayed';
  const trained = `In ${epochs.length} epochs the loss ${verb} from ${formatNumber(first.loss)} to ${formatNumber(last.loss)}.`;
  const validated = epochs.filter(({ valLoss }) => valLoss !== undefined && Number.isFinite(valLoss));
  if (validated.length < 2) return trained;
  const best = validated.reduce((least, report) => ((report.valLoss ?? 0) < (least.valLoss ?? 0) ? report : least));
  const [least, now] = [best.valLoss ?? 0, validated.at(-1)?.valLoss ?? 0];
  return now > least * 1.05
    ? `${trained} The validation loss was least in epoch ${best.epoch}, at ${formatNumber(least)}, and has risen to ${formatNumber(now)} since: from there on the network learns its rows by heart.`
    : `${trained} The validation loss ended at ${formatNumber(now)}, its least being ${formatNumber(least)} in epoch ${best.epoch}.`;
}

/** Logarithmic where the values span more than a factor of 30. */
function scaleFor(series: readonly Series[]): 'linear' | 'log' {
  const values = series.flatMap(({ points }) => points.map(([, value]) => value)).filter(Number.isFinite);
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  return low > 0 && high / low > 30 ? 'log' : 'linear';
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// ── By layer ──────────────────────────────────────────────────────────────────────────────────────────────────────

type Sample = Run['samples'][number];
type Layer = Sample['layers'][number];

/** Gradients, updates, activations and weights by layer, where the fit sampled them. */
function depth(run: Run, named: boolean): Section[] {
  const [prefix, of] = named ? [`${run.name}: `, `${run.name}-`] : ['', ''];
  const first = run.samples.find(({ layers }) => layers.length > 0);
  const last = run.samples.findLast(({ layers }) => layers.length > 0);
  if (!first || !last) return [withoutSamples(`${of}diagnostics`, prefix)];
  const layers = thin(first.layers.map(({ layer }) => layer), MOST_LAYERS); // prettier-ignore
  const kernels = layers.filter((name) => (layerOf(first, name)?.kernelRms ?? 0) > 0);
  const grid = new Grid(run);
  const section = (id: string, title: string, parts: Omit<Section, 'id' | 'title' | 'seconds'>): Section => ({
    id: of + id,
    title: prefix + title,
    ...parts,
    seconds: 0,
  });
  const skipped =
    layers.length < first.layers.length ? [`Of ${first.layers.length} layers ${layers.length} are shown, evenly picked.`] : [];

  const sections = [
    section('gradients', 'Gradients through depth', {
      claim: '',
      paragraphs: [
        'The loss gradient at a layer’s output says how much the loss would change with it. It should have much the same size in every layer: where it fades on its way back, the early layers do not learn; where it grows, steps become wild.',
        ...skipped,
      ],
      figures: gradientFigures(first, last),
      charts: [
        grid.strip('Loss gradient by layer', 'RMS of the loss gradient', 'log', layers, ({ lossGradientRms }) => lossGradientRms),
        {
          type: 'lines',
          title: 'Loss gradient through depth',
          x: { label: 'layer, from the input' },
          y: { label: 'RMS of the loss gradient', scale: 'log' },
          series: pair(first, last).map(({ name, sample }) => ({
            name,
            points: sample.layers.map(({ lossGradientRms }, i) => [i + 1, lossGradientRms] as const),
          })),
        },
      ],
      conclusion: '',
    }),
    section('updates', 'Updates', {
      claim: '',
      paragraphs: [
        'How far one step moves a layer’s kernel, as a share of the kernel’s own size. Around 10⁻³ is usual; far below that a layer hardly learns, near 1 it forgets what it knew.',
      ],
      figures: [],
      charts: [
        ...grid.chart('Update over weight', 'RMS(ΔW) / RMS(W)', kernels, ({ updateToWeight = NaN }) => updateToWeight),
        ...grid.chart('Gradient over weight', 'RMS(∂loss/∂W) / RMS(W)', kernels, ({ gradientToWeight }) => gradientToWeight),
      ],
      conclusion: '',
    }),
    section('activations', 'Activations', {
      claim: '',
      paragraphs: [
        'What comes out of each layer, over one batch. Saturation is the share of outputs at which the activation is so flat (|a′| < 0.01) that next to no gradient passes.',
      ],
      figures: [],
      charts: [
        ...pair(first, last).map(({ name, sample }) => ridges(name, sample, layers)),
        grid.strip('Saturation by layer', 'share of saturated outputs', 'linear', layers, ({ saturation }) => saturation),
        grid.strip('Outputs that are exactly 0', 'share of zeros', 'linear', layers, ({ after }) => after.zeros),
      ],
      conclusion: '',
    }),
    section('weights', 'Weights', {
      claim: '',
      paragraphs: ['The spectral norm of a kernel is the most by which it can stretch its input; the RMS is the size of a typical weight.'],
      figures: [],
      charts: [
        ...grid.chart('Spectral norm of the kernel', 'largest singular value', kernels, ({ spectralNorm }) => spectralNorm),
        ...grid.chart('Size of the kernel', 'RMS(W)', kernels, ({ kernelRms }) => kernelRms),
      ],
      conclusion: '',
    }),
  ];
  return kernels.length > 0 ? sections : sections.filter(({ charts }) => charts.length > 0);
}

/** The runs' last samples in one picture. */
function gradientsCompared(runs: readonly Run[]): Section[] {
  const series = runs.flatMap(({ name, samples }) => {
    const layers = samples.findLast((sample) => sample.layers.length > 0)?.layers;
    return layers ? [{ name, points: layers.map(({ lossGradientRms }, i) => [i + 1, lossGradientRms] as const) }] : [];
  });
  if (series.length < 2) return [];
  return [
    {
      id: 'gradients-compared',
      title: 'Gradients compared',
      claim: '',
      paragraphs: ['The loss gradient at the output of each layer, in the last sample of each run.'],
      figures: series.map(({ name, points }) => ({
        label: `first over last layer, ${name}`,
        value: (points[0]?.[1] ?? NaN) / (points.at(-1)?.[1] ?? NaN),
      })),
      charts: [
        {
          type: 'lines',
          title: 'Loss gradient through depth',
          x: { label: 'layer, from the input' },
          y: { label: 'RMS of the loss gradient', scale: 'log' },
          series,
        },
      ],
      conclusion: '',
      seconds: 0,
    },
  ];
}

function withoutSamples(id: string, prefix: string): Section {
  return {
    id,
    title: `${prefix}Gradients, updates, activations`,
    claim: '',
    paragraphs: [
      'This log has no samples of them. To get some, train with `fit({ log, diagnostics: { every: 100 } })`, or with `gradmill train … --log run.jsonl --diagnostics 100`: every 100th step is measured as it is done, and the weights stay what they are without.',
    ],
    figures: [],
    charts: [],
    conclusion: '',
    seconds: 0,
  };
}

function layerOf({ layers }: Sample, name: string): Layer | undefined {
  return layers.find(({ layer }) => layer === name);
}

function pair(first: Sample, last: Sample): { name: string; sample: Sample }[] {
  const named = (sample: Sample): { name: string; sample: Sample } => ({ name: `step ${formatNumber(sample.step)}`, sample });
  return first === last ? [named(first)] : [named(first), named(last)];
}

function gradientFigures(first: Sample, last: Sample): Figure[] {
  return pair(first, last).flatMap(({ name, sample: { layers } }) => {
    const ratio = (layers[0]?.lossGradientRms ?? NaN) / (layers.at(-1)?.lossGradientRms ?? NaN);
    const decay = ratio ** (1 / (layers.length - 1));
    return [
      { label: `first over last layer, ${name}`, value: ratio },
      ...(layers.length > 2 ? [{ label: `factor a layer on the way back, ${name}`, value: decay }] : []),
    ];
  });
}

function ridges(name: string, { layers }: Sample, shown: readonly string[]): Chart {
  return {
    type: 'ridges',
    title: `Outputs by layer, ${name}`,
    x: { label: 'output of the layer' },
    rows: layers.filter(({ layer }) => shown.includes(layer)).map(({ layer, after }) => ({ name: layer, ...after.histogram })),
    caption: 'Histograms of one batch, each scaled to its own highest bin.',
  };
}

/** At most so many, evenly picked, the first and the last among them. */
function thin<T>(items: readonly T[], most: number): readonly T[] {
  if (items.length <= most) return items;
  return Array.from({ length: most }, (_, i) => items[Math.round((i * (items.length - 1)) / (most - 1))]);
}

/** Layers by samples: the axes that most charts of a run share. */
class Grid {
  readonly #samples: readonly Sample[];
  readonly #byName: readonly ReadonlyMap<string, Layer>[];
  readonly #places: readonly number[];
  readonly #label: string;

  constructor({ samples, start: { rows, batchSize } }: Run) {
    // A strip has no room for more, and a line does not need them.
    this.#samples = thin(samples, 400);
    this.#byName = this.#samples.map(({ layers }) => new Map(layers.map((layer) => [layer.layer, layer])));
    const stepsAnEpoch = Math.max(1, Math.ceil(rows / batchSize));
    const byEpoch = (samples.at(-1)?.step ?? 0) >= 2 * stepsAnEpoch;
    this.#label = byEpoch ? 'epochs trained' : 'step';
    this.#places = this.#samples.map(({ step }) => (byEpoch ? Math.round((step / stepsAnEpoch) * 100) / 100 : step));
  }

  strip(title: string, unit: string, scale: 'log' | 'linear', rows: readonly string[], value: (layer: Layer) => number): Chart {
    const values = rows.map((row) => this.#row(row, value));
    return { type: 'strip', title, x: { label: this.#label }, y: { label: 'layer' }, columns: this.#places, rows, values, scale, unit };
  }

  /** Lines where there are few layers, else a strip. */
  chart(title: string, unit: string, rows: readonly string[], value: (layer: Layer) => number): Chart[] {
    if (rows.length === 0) return [];
    if (rows.length > MOST_LINES) return [this.strip(title, unit, 'log', rows, value)];
    const series = rows.map((row) => ({
      name: row,
      points: this.#row(row, value).map((each, i) => [this.#places[i], each ?? NaN] as const),
    }));
    return [{ type: 'lines', title, x: { label: this.#label }, y: { label: unit, scale: 'log' }, series }];
  }

  #row(row: string, value: (layer: Layer) => number): (number | null)[] {
    return this.#byName.map((layers) => {
      const layer = layers.get(row);
      return layer ? value(layer) : null;
    });
  }
}

// ── The network ───────────────────────────────────────────────────────────────────────────────────────────────────

function network({ name, start }: Run, named: boolean): Section {
  const shown = thin(start.layers, MOST_LAYERS);
  const figures = shown.map(({ name: layer, kind, activation, units, weights }) => ({
    label: layer,
    value: `${kind}${activation !== undefined && activation !== 'linear' ? ` (${activation})` : ''}`,
    unit: `${formatNumber(units)} ${units === 1 ? 'unit' : 'units'}, ${formatNumber(weights)} weights`,
  }));
  return {
    id: named ? `${name}-network` : 'network',
    title: named ? `${name}: the network` : 'The network',
    claim: '',
    paragraphs: [
      ...(named
        ? [`${engineOfStart(start)}; ${settingsOf(start.optimizer)}; ${settingsOf(start.loss)}; seed ${start.seed}; started ${start.time}.`]
        : []),
      ...(shown.length < start.layers.length ? [`Of ${start.layers.length} layers ${shown.length} are shown, evenly picked.`] : []),
    ],
    figures,
    charts: [],
    conclusion: '',
    seconds: 0,
  };
}

function engineOfStart(start: Run['start']): string {
  return engineOf({ start } as Run);
}
