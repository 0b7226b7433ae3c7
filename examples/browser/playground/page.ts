// The playground: controls, the plane that one can draw on, the charts. It sends the worker its whole wish at every change, and
// paints the pictures that come back.
import { drawLoss, drawStrip } from '../charts.js';
import { onPaletteChange, palette } from '../colours.js';
import type { EngineNote } from '../engine-note.js';
import type { Demonstration } from '../main.js';
import { chosen, element, grouped, percent, say, short, showEngine } from '../page.js';
import { Stage } from '../stage.js';
import { type Cloud, cloud, type DataName, gaussian, random } from './data.js';
import { History } from './history.js';
import type { FromWorker, NetworkChoice, Order, Picture, Points, ToWorker, TrainingChoice } from './messages.js';
import { drawPoints, drawPreview, drawSurface, probability } from './plane.js';

const RATES = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 3];
const POINTS = 400;
const MOST_POINTS = 3000;
/** Between two points of one drag. */
const SPACING = 0.05;
const ERASER = 0.08;
/** Charts are drawn again no more often. */
const CHART_MILLISECONDS = 90;

const LESSONS: Record<string, Record<string, string>> = {
  vanishing: {
    data: 'circles',
    hiddenLayers: '10',
    units: '16',
    activation: 'sigmoid',
    initializer: 'glorotUniform',
    optimizer: 'sgd',
    learningRate: '6',
  },
  he: {
    data: 'circles',
    hiddenLayers: '10',
    units: '16',
    activation: 'relu',
    initializer: 'heNormal',
    optimizer: 'sgd',
    learningRate: '6',
  },
  linear: {
    data: 'xor',
    hiddenLayers: '4',
    units: '16',
    activation: 'linear',
    initializer: 'glorotUniform',
    optimizer: 'adam',
    learningRate: '4',
  },
  heart: {
    data: 'circles',
    noise: '0.2',
    hiddenLayers: '4',
    units: '64',
    activation: 'relu',
    initializer: 'heNormal',
    optimizer: 'adam',
    learningRate: '3',
  },
};

export function openPlayground(): Demonstration {
  const form = element('playground-form', HTMLFormElement);
  const brushForm = element('brush-form', HTMLFormElement);
  const play = element('play', HTMLButtonElement);
  const canvas = element('surface', HTMLCanvasElement);
  const status = element('playground-status');

  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  const post = (message: ToWorker): void => {
    worker.postMessage(message);
  };

  let engine: EngineNote | undefined;
  let build = 0;
  let seed = 1;
  let steps = 0;
  let running = false;
  let ended = false;
  let train: Cloud = { x: [], y: [] };
  let heldOut: Cloud = { x: [], y: [] };
  const history = new History();
  let picture: Picture | undefined;
  let cursor: { x: number; y: number } | undefined;
  let byKeyboard = false;

  // ── What the page wants ───────────────────────────────────────────────────────────────────────────────────────────

  const field = (name: string): string => chosen(form, name);
  const rate = (): number => RATES[Number(field('learningRate'))];
  const batchSize = (): number => 2 ** Number(field('batchSize'));
  const pointsOf = ({ x, y }: Cloud): Points => ({ x: Float32Array.from(x), y: Float32Array.from(y) });

  let asked = false;
  /** Sends the wish, once a frame however much of it changed. */
  function order(): void {
    label();
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      const wish: Order = {
        kind: 'order',
        build,
        network: {
          hiddenLayers: Number(field('hiddenLayers')),
          units: Number(field('units')),
          activation: field('activation') as NetworkChoice['activation'],
          initializer: field('initializer') as NetworkChoice['initializer'],
          seed,
        },
        training: { optimizer: field('optimizer') as TrainingChoice['optimizer'], learningRate: rate() },
        batchSize: batchSize(),
        train: pointsOf(train),
        heldOut: pointsOf(heldOut),
        running,
        steps,
        epochsPerPicture: Number(field('epochsPerPicture')),
      };
      post(wish);
    });
  }

  /** A new network. */
  function rebuild(): void {
    build++;
    ended = false;
    history.clear();
    say(element('epoch'), '0');
    say(element('gain'), '');
    say(status, '');
    order();
  }

  function makeData(): void {
    const name = field('data') as DataName;
    const next = random(seed * 7919);
    train = cloud(name, POINTS, Number(field('noise')), next);
    heldOut = cloud(name, POINTS, Number(field('noise')), next);
    element('held-out-key').hidden = heldOut.y.length === 0;
    points.invalidate();
    rebuild();
  }

  function setRunning(wanted: boolean): void {
    running = wanted;
    if (running && ended) rebuild();
    else order();
  }

  // ── What it shows ─────────────────────────────────────────────────────────────────────────────────────────────────

  function label(): void {
    say(play, running ? 'Pause' : 'Train');
    say(element('noise-value'), Number(field('noise')).toFixed(2));
    say(element('layers-value'), field('hiddenLayers'));
    say(element('units-value'), field('units'));
    say(element('rate-value'), String(rate()));
    say(element('batch-value'), String(batchSize()));
    if (train.y.length === 0) say(status, 'Draw some points of both colours on the plane, then train.');
    else if (status.textContent.startsWith('Draw')) say(status, '');
  }

  const most = (): number => Math.max(10, history.epochs.at(-1) ?? 0);
  const surface = new Stage(canvas, (frame) => {
    if (picture) drawSurface(frame, picture.logits);
  });
  // A canvas of their own: points change rarely, the surface with every picture.
  const points = new Stage(element('points', HTMLCanvasElement), (frame) => {
    drawPoints(frame, train, byKeyboard ? cursor : undefined);
  });
  const lossChart = new Stage(
    element('loss', HTMLCanvasElement),
    (frame) => {
      const { epochs, loss, heldOut } = history;
      drawLoss(frame, [{ x: epochs, y: heldOut, dashed: true }, { x: epochs, y: loss }], most(), 'epoch'); // prettier-ignore
    },
    CHART_MILLISECONDS,
  );
  const stripChart = new Stage(
    element('strip', HTMLCanvasElement),
    (frame) => {
      drawStrip(frame, history.epochs, history.gradients, most());
    },
    CHART_MILLISECONDS,
  );

  function show(latest: Picture): void {
    picture = latest;
    const { epoch, train: score, heldOut: heldOutScore, gradients } = latest;
    if (score) history.add(epoch, score.loss, heldOutScore?.loss ?? NaN, gradients);
    say(element('epoch'), grouped.format(epoch));
    say(element('accuracy'), score ? percent(score.accuracy) : '–');
    say(element('held-out'), heldOutScore ? percent(heldOutScore.accuracy) : '–');
    say(element('speed-value'), latest.pointsPerSecond > 0 ? grouped.format(Number(latest.pointsPerSecond.toPrecision(2))) : '–');
    const [first, last] = [gradients[1], gradients.at(-1)];
    const hidden = gradients.length > 2 && first !== undefined && last !== undefined && last > 0;
    say(element('gain'), hidden ? `Layer 1 has ${short(first / last)} times the output’s gradient.` : '');
    say(element('weights'), `${grouped.format(latest.weights)} weights`);
    surface.invalidate();
    lossChart.invalidate();
    stripChart.invalidate();
    probe();
  }

  worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
    if (data.kind === 'engine') {
      engine = data;
      showEngine(engine);
    } else if (data.kind === 'failed') {
      if (data.build !== build) return;
      running = false;
      ended = true;
      label();
      say(status, `Training stopped: ${data.message}`);
    } else
      requestAnimationFrame(() => {
        if (data.build === build) show(data);
        post({ kind: 'drawn' });
      });
  });
  worker.addEventListener('error', ({ message }: { message?: string }) => {
    say(status, `The worker failed: ${message ?? 'its script did not load'}`);
  });

  // ── Drawing on the plane ──────────────────────────────────────────────────────────────────────────────────────────

  const spray = random(1);
  const place = (event: PointerEvent): { x: number; y: number } => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return { x: ((event.clientX - left) / width) * 2 - 1, y: 1 - ((event.clientY - top) / height) * 2 };
  };

  /** @param other add the colour that the brush has not */
  function dab(at: { x: number; y: number }, other: boolean, scatter = 0): void {
    const brush = chosen(brushForm, 'brush');
    if (brush === 'erase') erase(at);
    else if (train.y.length < MOST_POINTS) {
      const clamp = (value: number): number => Math.min(Math.max(value + scatter * gaussian(spray), -1), 1);
      train.x.push(clamp(at.x), clamp(at.y));
      train.y.push(other ? 1 - Number(brush) : Number(brush));
    }
    points.invalidate();
    order();
  }

  function erase({ x, y }: { x: number; y: number }): void {
    const kept: Cloud = { x: [], y: [] };
    train.y.forEach((label, i) => {
      const [px, py] = [train.x[2 * i], train.x[2 * i + 1]];
      if (Math.hypot(px - x, py - y) < ERASER) return;
      kept.x.push(px, py);
      kept.y.push(label);
    });
    train = kept;
    points.invalidate();
    order();
  }

  let last: { x: number; y: number } | undefined;
  canvas.addEventListener('pointerdown', (event) => {
    byKeyboard = false;
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    dab(last, event.shiftKey || event.button === 2);
  });
  canvas.addEventListener('pointermove', (event) => {
    cursor = place(event);
    probe();
    if (!last || Math.hypot(cursor.x - last.x, cursor.y - last.y) < SPACING) return;
    last = cursor;
    dab(last, event.shiftKey || (event.buttons & 2) !== 0, 0.02);
  });
  const lift = (): void => {
    last = undefined;
  };
  canvas.addEventListener('pointerup', lift);
  canvas.addEventListener('pointercancel', lift);
  canvas.addEventListener('pointerleave', () => {
    cursor = undefined;
    probe();
  });
  canvas.addEventListener('contextmenu', (event) => {
    event.preventDefault();
  });
  canvas.addEventListener('blur', () => {
    byKeyboard = false;
    points.invalidate();
  });
  canvas.addEventListener('keydown', (event) => {
    const moves: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const move = moves[event.key];
    if (!move && ![' ', 'Enter', 'Delete', 'Backspace'].includes(event.key)) return;
    event.preventDefault();
    cursor = byKeyboard && cursor ? cursor : { x: 0, y: 0 };
    byKeyboard = true;
    const clamp = (value: number): number => Math.min(Math.max(value, -1), 1);
    if (move) cursor = { x: clamp(cursor.x + 0.05 * move[0]), y: clamp(cursor.y + 0.05 * move[1]) };
    else if (event.key === ' ' || event.key === 'Enter') dab(cursor, event.shiftKey);
    else erase(cursor);
    points.invalidate();
    probe();
  });

  const help = element('surface-help');
  const usual = help.textContent;
  /** What the network believes where the pointer is. */
  function probe(): void {
    if (!cursor || !picture || last) {
      say(help, usual);
      return;
    }
    const orange = probability(picture.logits, cursor.x, cursor.y);
    const belief = orange >= 0.5 ? `orange ${percent(orange, 0)}` : `blue ${percent(1 - orange, 0)}`;
    say(help, `x₁ ${cursor.x.toFixed(2)}, x₂ ${cursor.y.toFixed(2)}: ${belief}`.replaceAll('-', '−'));
  }

  // ── Controls ──────────────────────────────────────────────────────────────────────────────────────────────────────

  form.addEventListener('input', ({ target }) => {
    const { name } = target as HTMLInputElement;
    if (name === 'data' || name === 'noise') makeData();
    else if (['hiddenLayers', 'units', 'activation', 'initializer'].includes(name)) rebuild();
    else order(); // the weights stay
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
  });
  play.addEventListener('click', () => {
    setRunning(!running);
  });
  element('step').addEventListener('click', () => {
    if (ended) rebuild();
    steps++;
    setRunning(false);
  });
  element('restart').addEventListener('click', () => {
    seed++;
    if (field('data') === 'own') rebuild();
    else makeData();
  });
  element('lessons').addEventListener('click', ({ target }) => {
    const lesson = target instanceof HTMLElement ? LESSONS[target.dataset.lesson ?? ''] : undefined;
    if (!lesson) return;
    for (const [name, value] of Object.entries({ noise: '0.02', batchSize: '5', ...lesson })) {
      const control = form.elements.namedItem(name) as HTMLInputElement | RadioNodeList;
      control.value = value;
    }
    running = true;
    makeData();
    canvas.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  });

  for (const preview of form.querySelectorAll<HTMLCanvasElement>('canvas[data-preview]')) {
    const points = cloud(preview.dataset.preview as DataName, 90, 0.02, random(3));
    new Stage(preview, (frame) => {
      drawPreview(frame, points);
    });
  }
  const paintScale = (): void => {
    const { diverging } = palette();
    const stops = [0, 64, 128, 192, 255].map((i) => `rgb(${diverging.subarray(4 * i, 4 * i + 3).join(' ')})`);
    element('surface-scale').style.background = `linear-gradient(to right, ${stops.join(', ')})`;
  };
  onPaletteChange(paintScale);
  paintScale();
  makeData();

  return {
    enter() {
      if (engine) showEngine(engine);
    },
    leave() {
      if (running) setRunning(false);
    },
  };
}
