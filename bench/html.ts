// A report of the bench as one HTML page, and its charts: machine, load, versions and command; tables of every figure; training
// beside each peer, products beside the best one, kernels on the roofline, growth of a step's time.
import { GradmillError } from '../src/errors.js';
import { renderPage } from '../src/report/html.js';
import type { Chart, DotsChart, Section, Table } from '../src/report/section.js';
import { standaloneSvg } from '../src/report/standalone.js';
import type { GemmMeasurement } from './gemm.js';
import type { KernelsReport } from './kernels.js';
import type { Report } from './compare.js';
import { type BackendName, backends, type Family } from './peers/peer.js';
import { predictionCharts, type PredictReport } from './predict.js';
import { scalingCharts, type ScalingPoint } from './scaling.js';
import { rooflineCharts } from './roofline.js';
import type { Quartiles } from './slices.js';
import type { Measurement } from './training.js';
import { type Load, loadText, show } from './report.js';
import { fastest, layoutOf } from './targets.js';
import { describe, familyOf, workloads } from './workloads.js';

/** @throws GradmillError 'missing-package' where the plotting library is not installed */
export function benchPage({ machine, results }: Report): Promise<string> {
  const { load, rounds, command, ...facts } = machine;
  return renderPage({
    title: 'gradmill bench',
    lead: `What ran: \`${String(command)}\`. Slices of all variants took turns in a new random order every round; figures are medians over ${String(rounds)} rounds, in parentheses the quartiles.`, // prettier-ignore
    facts: [...Object.entries(facts).map(([name, value]) => [name, String(value)] as const), ['load before and after', loadOf(load)]],
    sections: Object.entries(results).map(([name, result]) => sectionOf(name, result)),
  });
}

/**
 * The training of some runs in one picture; of rows that several have, the last.
 * @throws GradmillError 'file-invalid' where there is none, 'missing-package'
 */
export function trainingSvg(reports: readonly Report[]): Promise<string> {
  const all = reports.flatMap(({ results }) => rowsOf<Measurement>(results.training));
  const rows = new Map(all.map((row) => [[row.workload, row.threads, row.who].join('\n'), row]));
  const [chart] = trainingCharts([...rows.values()].sort((a, b) => a.workload.localeCompare(b.workload, 'en', { numeric: true })));
  const machine = reports.at(-1)?.machine;
  if (!chart || !machine) throw new GradmillError('file-invalid', 'no run of training in these files');
  const { cpu, cores, gradmill, node, date } = machine;
  const facts = `${String(cpu)}, ${String(cores)} cores; gradmill ${String(gradmill)}, Node ${String(node)}; ${String(date).slice(0, 10)}.`;
  return standaloneSvg({ ...chart, caption: `${chart.caption ?? ''} ${facts}` }, SVG_WIDTH);
}

/** As wide as a README. */
const SVG_WIDTH = 760;

/** Of each command. */
function loadOf(load: unknown): string {
  const loads = Object.entries((load ?? {}) as Record<string, Load>);
  return loads.map(([name, each]) => `${name} ${loadText(each)}`).join('; ');
}

const TITLES: Readonly<Record<string, readonly [title: string, claim: string]>> = {
  training: ['Training steps and predictions', 'Both sides did the same work: the check of each row must be equal.'],
  browser: ['In a page of Chromium', 'The same files as in Node, the same workloads.'],
  gemm: ['Matrix products', 'c [m, n] = op(a) · op(b), as dense layers make them.'],
  kernels: ['Kernels', 'Every op against what the machine can do.'],
  limits: ['Limits of this machine', 'What every share is a share of.'],
  scaling: ['How cost grows as work grows', 'One of threads, batch, width and depth at a time.'],
  startup: ['Starting', 'Loading, compiling, and what the public calls add to the engine.'],
  predict: ['The model of a step', 'What FLOPs, bytes and barriers say a step takes.'],
  'event-loop': ['The event loop', 'How late it comes while a model trains.'],
  fairness: ['Fairness', 'How long a small prediction waits while another model trains.'],
  hog: ['Beside a busy process', 'What a process that holds a core does to a step.'],
  pruning: ['Removed units', 'LeNet-300-100 with and without its dead units.'],
  memory: ['Memory', 'Peak resident memory beside what training must hold.'],
};

function sectionOf(name: string, result: unknown): Section {
  const [title, claim] = TITLES[name] ?? [name, ''];
  return { id: name, title, claim, paragraphs: [], figures: [], charts: chartsOf(name, result), tables: tablesOf(result, name), conclusion: '', seconds: 0 }; // prettier-ignore
}

function chartsOf(name: string, result: unknown): Chart[] {
  switch (name) {
    case 'training':
      return trainingCharts(rowsOf<Measurement>(result));
    case 'gemm':
      return gemmCharts(rowsOf<GemmMeasurement>(result));
    case 'scaling':
      return scalingCharts(rowsOf<ScalingPoint>(result));
    case 'predict':
      return predictionCharts(result as PredictReport);
    case 'kernels':
      return rooflineCharts(result as KernelsReport);
    default:
      return [];
  }
}

/** Of a list, or of a report that holds one. */
function rowsOf<Row>(result: unknown): Row[] {
  const { results = result } = (result ?? {}) as { readonly results?: unknown };
  return Array.isArray(results) ? (results as Row[]) : [];
}

// ── Training ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** What others are compared with. */
const PYTORCH = 'pytorch';

/**
 * How many times as fast as PyTorch at its best setting: gradmill by the ratios within a round, others by medians. Without PyTorch
 * the time of a step.
 */
export function trainingCharts(all: readonly Measurement[]): DotsChart[] {
  // One that cannot do the same work is no measure.
  const results = all.filter(({ check, agrees }) => check !== undefined && agrees);
  const compared = results.filter(({ family }) => family === PYTORCH);
  const ratios = compared.length > 0;
  const present = new Set(results.map(({ family }) => family).filter((family) => family !== PYTORCH));
  // gradmill first: its values are written.
  const families = [...present].sort((a, b) => Number(isOwn(b)) - Number(isOwn(a)));
  const groups = [...new Set(results.map(({ workload }) => workload))].map((workload) => {
    const rows = results.filter((row) => row.workload === workload);
    const counts = [...new Set(rows.map(({ threads }) => threads))];
    const known = workloads.find(({ name }) => name === workload);
    return {
      name: known ? `${familyOf(known)}: ${describe(known).replace(`${known.loss}, `, '')}` : workload,
      rows: counts.map((threads) => {
        const beside = rows.filter((row) => row.threads === threads);
        const pytorch = fastest(
          beside.filter(({ family }) => family === PYTORCH),
          speedOf,
        );
        const dots = families.flatMap((family, series) => {
          const row = fastest(
            beside.filter((other) => other.family === family),
            speedOf,
          );
          if (!row || (ratios && !pytorch)) return [];
          const value = pytorch ? speedOver(pytorch, row) : row.microseconds;
          return [{ series, value: value.median, low: value.low, high: value.high }];
        });
        return { label: `${threads} ${threads === 1 ? 'thread' : 'threads'}`, dots };
      }),
    };
  });
  if (groups.length === 0) return [];
  return [
    {
      type: 'dots',
      title: ratios ? 'How many times as fast as PyTorch at its best setting' : 'Time of a step',
      x: { label: '' },
      y: { label: ratios ? `times as fast as ${compared[0].who.split(',')[0]}` : 'time of a step (µs)', scale: 'log' },
      ...(ratios && { reference: { value: 1, label: 'as fast as PyTorch' } }),
      unit: ratios ? ' ×' : ' µs',
      series: families.map((family) => nameOf(family, results)),
      groups,
      caption: `Dots are medians, lines go from quartile to quartile${ratios ? '; left of the dashed line PyTorch is faster' : ''}. The axis is logarithmic.`, // prettier-ignore
    },
  ];
}

function isOwn(family: Family): family is BackendName {
  return backends.some((backend) => backend === family);
}

function nameOf(family: Family, results: readonly Measurement[]): string {
  if (isOwn(family)) return family === 'wasm' ? 'gradmill, WebAssembly' : 'gradmill, native';
  return results.find((row) => row.family === family)?.who.split(',')[0] ?? family;
}

function speedOf({ samplesPerSecond }: Measurement): number {
  return samplesPerSecond;
}

/** How many times as fast a row is as PyTorch: within rounds, where that was measured. */
function speedOver(pytorch: Measurement, { family, microseconds }: Measurement): Omit<Quartiles, 'rounds'> {
  const within = isOwn(family) ? pytorch.ratios[family] : undefined;
  if (within) return within;
  const { median } = pytorch.microseconds;
  return { low: median / microseconds.high, median: median / microseconds.median, high: median / microseconds.low };
}

// ── Products ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** For each instruction set and number of threads a chart: share of the peak of each shape, and of the fastest peer for it. */
export function gemmCharts(results: readonly GemmMeasurement[]): DotsChart[] {
  const variants = [...new Set(results.map(variantOf))];
  return variants.map((variant) => {
    const rows = results.filter((row) => variantOf(row) === variant);
    const layouts = [...new Set(rows.map(layoutOf))];
    return {
      type: 'dots',
      title: `Matrix products, ${variant}`,
      x: { label: 'm × n × k' },
      y: { label: '% of the peak' },
      unit: ' %',
      series: rows.some((row) => bestPeer(row)) ? ['gradmill', 'the fastest peer for the shape'] : ['gradmill'],
      groups: layouts.map((layout) => ({
        name: layout,
        rows: rows
          .filter((row) => layoutOf(row) === layout)
          .map((row) => ({ label: `${row.m} × ${row.n} × ${row.k}`, dots: sharesOf(row) })),
      })),
      caption: 'Dots are medians, lines go from quartile to quartile. T: that operand is transposed.',
    };
  });
}

function variantOf({ isa, variant, threads }: GemmMeasurement): string {
  return [isa, ...(variant === 'strict' ? [variant] : []), `${threads} ${threads === 1 ? 'thread' : 'threads'}`].join(', ');
}

function bestPeer({ peers }: GemmMeasurement): Quartiles | undefined {
  return fastest(peers, ({ gflops }) => gflops.median)?.gflops;
}

function sharesOf(row: GemmMeasurement): DotsChart['groups'][number]['rows'][number]['dots'] {
  const { gflops, shareOfPeak } = row;
  const percent = (series: number, { low, median, high }: Quartiles, times: number) => ({ series, value: median * times, low: low * times, high: high * times }); // prettier-ignore
  const peer = bestPeer(row);
  // The peak of the same rounds.
  const peak = gflops.median / shareOfPeak.median;
  return [percent(0, shareOfPeak, 100), ...(peer ? [percent(1, peer, 100 / peak)] : [])];
}

// ── Tables ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Every list of rows in a result as a table with a column for each of their fields; lists within rows as one more, with whose they are. */
export function tablesOf(result: unknown, title: string): Table[] {
  if (!Array.isArray(result)) {
    const lists = Object.entries(isObject(result) ? result : {}).filter(([, value]) => isList(value));
    if (lists.length === 0) return isObject(result) ? tablesOf([result], title) : [];
    return lists.flatMap(([name, value]) => tablesOf(value, name === 'results' ? title : `${title}: ${words(name)}`));
  }
  const rows = result.filter(isObject);
  if (rows.length === 0) return [];
  const cells = rows.map((row) => new Map(Object.entries(row).flatMap(([name, value]) => cellsOf(name, value))));
  const columns = [...new Set(cells.flatMap((row) => [...row.keys()]))];
  const inner = [...new Set(rows.flatMap((row) => Object.keys(row).filter((name) => isList(row[name]))))];
  return [
    { title: words(title), columns: columns.map(words), rows: cells.map((row) => columns.map((column) => row.get(column) ?? '')) },
    ...inner.flatMap((name) => {
      const whose = (row: Record<string, unknown>) => Object.entries(row).filter(([, value]) => typeof value !== 'object');
      const lists = rows.flatMap((row) => (row[name] as object[]).map((item) => ({ ...Object.fromEntries(whose(row)), ...item })));
      return tablesOf(lists, `${title}: ${words(name)}`);
    }),
  ];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Of rows, not of plain values. */
function isList(value: unknown): boolean {
  return Array.isArray(value) && value.some(isObject);
}

/** A field as cells: quartiles in one, an object's fields one by one, lists of rows in none. */
function cellsOf(name: string, value: unknown): [string, string][] {
  if (isList(value)) return [];
  if (Array.isArray(value)) return [[name, value.map(String).join(', ')]];
  if (!isObject(value)) return [[name, plain(name, value)]];
  const { low, median, high } = value;
  if (typeof low === 'number' && typeof median === 'number' && typeof high === 'number') {
    const [a, b, c] = [median, low, high].map((figure) => plain(name, figure));
    return [[name, `${a} (${b}–${c})`]];
  }
  return Object.entries(value).flatMap(([inner, item]) => cellsOf(`${name} ${inner}`, item));
}

function plain(name: string, value: unknown): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'string') return value;
  if (typeof value !== 'number') return '–';
  if (name.startsWith('shareOf')) return `${(100 * value).toFixed(0)} %`;
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return Math.abs(value) < 0.1 ? value.toPrecision(3) : show(value);
}

const UNITS: Readonly<Record<string, string>> = { microseconds: 'µs', milliseconds: 'ms', gflops: 'GFLOP/s', who: 'library' };

/** 'shareOfPeak' → 'share of peak' */
function words(name: string): string {
  return UNITS[name] ?? name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace('microseconds', 'µs').replace('milliseconds', 'ms'); // prettier-ignore
}
