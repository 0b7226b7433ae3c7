// The digits: a lesson for the network, a pad to write on, what the network makes of it.
import { drawLoss } from '../charts.js';
import { palette } from '../colours.js';
import type { EngineNote } from '../engine-note.js';
import type { Demonstration } from '../main.js';
import { chosen, element, grouped, percent, say, showEngine } from '../page.js';
import { type Frame, Stage } from '../stage.js';
import { type Point, type Stroke, toPicture } from './ink.js';
import { type FromWorker, type Lesson, type Misread, SIDE, type ToWorker } from './messages.js';

/** Of the pen, as a share of the pad. */
const PEN = 0.055;

export function openDigits(): Demonstration {
  const form = element('digits-form', HTMLFormElement);
  const learn = element('learn', HTMLButtonElement);
  const canvas = element('pad', HTMLCanvasElement);
  const progress = element('progress', HTMLProgressElement);
  const status = element('digits-status');
  const answer = element('answer');

  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  const post = (message: ToWorker): void => {
    worker.postMessage(message);
  };
  post({ kind: 'base', url: document.baseURI });

  // ── The lesson ────────────────────────────────────────────────────────────────────────────────────────────────────

  let engine: EngineNote | undefined;
  let lesson: Lesson | undefined;
  const seen: number[] = [];
  const losses: number[] = [];
  const epochs: number[] = [];
  const heldOutLosses: number[] = [];
  let most = 60_000;

  const chart = new Stage(element('digits-loss', HTMLCanvasElement), (frame) => {
    drawLoss(frame, [{ x: seen, y: losses }, { x: epochs, y: heldOutLosses, dashed: true, dots: true }], most, 'images seen'); // prettier-ignore
  });

  function start(): void {
    lesson = {
      images: Number(chosen(form, 'images')),
      hidden: chosen(form, 'hidden').split(',').map(Number),
      activation: chosen(form, 'activation') as Lesson['activation'],
      epochs: Number(chosen(form, 'epochs')),
    };
    for (const column of [seen, losses, epochs, heldOutLosses]) column.length = 0;
    most = lesson.images * lesson.epochs;
    for (const id of ['test-accuracy', 'image-speed', 'seconds']) say(element(id), '–');
    say(element('digits-epoch'), `0 of ${lesson.epochs}`);
    say(learn, 'Stop');
    say(status, 'Loading images…');
    chart.invalidate();
    post({ kind: 'train', lesson });
  }

  function end(text: string): void {
    lesson = undefined;
    say(learn, 'Train');
    say(status, text);
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
  });
  learn.addEventListener('click', () => {
    if (lesson) post({ kind: 'stop' });
    else start();
  });

  worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
    if (data.kind === 'engine') {
      engine = data;
      showEngine(engine);
    } else if (data.kind === 'probabilities') {
      if (picture) showProbabilities(data.probabilities, data.trained); // else the pad was cleared meanwhile
    } else if (data.kind === 'sample') showSample(data.pixels, data.label);
    else if (data.kind === 'mistakes') showMistakes(data.count, data.shown);
    else if (data.kind === 'failed') end(`That failed: ${data.message}`);
    else if (data.kind === 'loading') progress.value = data.share;
    else if (data.kind === 'ended') {
      end(data.stopped ? 'Stopped; it keeps what it has learned.' : 'Trained. Now write something.');
      ask();
    } else if (lesson) {
      const { seen: images, imagesPerSecond } = data;
      progress.value = images / most;
      say(element('image-speed'), grouped.format(Number(imagesPerSecond.toPrecision(3))));
      if (data.kind === 'progress') {
        say(status, `Training: ${grouped.format(images)} of ${grouped.format(most)} images seen.`);
        seen.push(images);
        losses.push(data.loss);
        ask();
      } else {
        epochs.push(images);
        heldOutLosses.push(data.heldOutLoss);
        say(element('digits-epoch'), `${data.epoch} of ${lesson.epochs}`);
        say(element('test-accuracy'), percent(data.heldOutAccuracy, 2));
        say(element('seconds'), `${data.seconds.toFixed(1)} s`);
      }
      chart.invalidate();
    }
  });
  worker.addEventListener('error', ({ message }: { message?: string }) => {
    end(`The worker failed: ${message ?? 'its script did not load'}`);
  });

  // ── The pad ───────────────────────────────────────────────────────────────────────────────────────────────────────

  let strokes: Point[][] = [];
  /** A held-out image in place of strokes. */
  let sample: { pixels: Uint8Array; label: number } | undefined;
  let picture: Uint8Array | undefined;
  /** The keyboard's pen. */
  let pen: Point | undefined;
  let penDown = false;

  const pad = new Stage(canvas, (frame) => {
    drawPad(frame, strokes, sample?.pixels, pen);
  });
  const view = new Stage(element('seen', HTMLCanvasElement), (frame) => {
    drawPicture(frame, picture);
    const { context, width, height } = frame;
    const [x, y] = [(4 / SIDE) * width, (4 / SIDE) * height];
    context.strokeStyle = palette().muted;
    context.lineWidth = 1;
    context.setLineDash([2, 3]);
    context.strokeRect(Math.round(x) + 0.5, Math.round(y) + 0.5, width - 2 * Math.round(x) - 1, height - 2 * Math.round(y) - 1);
    context.setLineDash([]);
  });

  let asked = false;
  /** Asks the worker to read what is on the pad, once a frame. */
  function ask(): void {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      picture = sample?.pixels ?? toPicture(strokes);
      view.invalidate();
      if (picture) post({ kind: 'read', pixels: picture });
      else showProbabilities(undefined, false);
    });
  }

  function changed(): void {
    element('pad-empty').hidden = strokes.length > 0 || sample !== undefined || pen !== undefined;
    pad.invalidate();
    ask();
  }

  function clear(): void {
    strokes = [];
    sample = undefined;
    penDown = false;
    changed();
  }

  function setDown(at: Point): void {
    if (sample) clear();
    strokes.push([at]);
    changed();
  }

  function draw(at: Point): void {
    strokes.at(-1)?.push(at);
    changed();
  }

  const place = (event: PointerEvent): Point => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return { x: (event.clientX - left) / width, y: (event.clientY - top) / height };
  };
  let drawing = false;
  canvas.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pen = undefined;
    drawing = true;
    setDown(place(event));
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!drawing) return;
    // Pens report more often than the screen draws.
    for (const part of event.getCoalescedEvents()) draw(place(part));
  });
  const lift = (): void => {
    drawing = false;
  };
  canvas.addEventListener('pointerup', lift);
  canvas.addEventListener('pointercancel', lift);
  canvas.addEventListener('blur', () => {
    pen = undefined;
    penDown = false;
    changed();
  });
  canvas.addEventListener('keydown', (event) => {
    const moves: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (!move && ![' ', 'Delete', 'Backspace'].includes(event.key)) return;
    event.preventDefault();
    pen ??= { x: 0.5, y: 0.5 };
    const clamp = (value: number): number => Math.min(Math.max(value, 0.05), 0.95);
    if (move) {
      pen = { x: clamp(pen.x + 0.04 * move[0]), y: clamp(pen.y + 0.04 * move[1]) };
      if (penDown) draw(pen);
    } else if (event.key === ' ') {
      penDown = !penDown;
      if (penDown) setDown(pen);
    } else clear();
    changed();
  });
  element('clear').addEventListener('click', clear);
  element('sample').addEventListener('click', () => {
    post({ kind: 'sample' });
  });

  function showSample(pixels: Uint8Array, label: number): void {
    strokes = [];
    sample = { pixels, label };
    changed();
  }

  // ── The verdict ───────────────────────────────────────────────────────────────────────────────────────────────────

  const bars = element('bars');
  const rows = Array.from({ length: 10 }, (_, digit) => {
    const row = bars.appendChild(document.createElement('div'));
    const name = row.appendChild(document.createElement('b'));
    const bar = row.appendChild(document.createElement('i')).appendChild(document.createElement('i'));
    const value = row.appendChild(document.createElement('span'));
    name.textContent = String(digit);
    return { row, bar, value };
  });

  function showProbabilities(probabilities: readonly number[] | undefined, trained: boolean): void {
    const best = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
    rows.forEach(({ row, bar, value }, digit) => {
      const probability = probabilities?.[digit];
      row.classList.toggle('best', digit === best);
      bar.style.transform = `scaleX(${probability ?? 0})`;
      say(value, probability === undefined ? '' : percent(probability));
    });
    say(answer, best < 0 ? '–' : String(best));
    const truth = sample ? ` It is a ${sample.label}.` : '';
    say(
      element('certainty'),
      probabilities ? `${percent(probabilities[best])} sure${trained ? '' : ', untrained'}.${truth}` : 'Nothing is written yet.',
    );
    bars.setAttribute(
      'aria-label',
      probabilities
        ? `Probabilities: ${probabilities.map((p, digit) => `${digit}: ${percent(p, 0)}`).join(', ')}`
        : 'Probability of each digit',
    );
  }

  function showMistakes(count: number, shown: readonly Misread[]): void {
    say(
      element('mistakes-note'),
      `${grouped.format(count)} of the 10,000 held-out images${count > shown.length ? `, the first ${shown.length}` : ''}: what it read, and what it was.`,
    );
    element('mistakes').replaceChildren(
      ...shown.map(({ pixels, label, read }) => {
        const item = document.createElement('li');
        const button = item.appendChild(document.createElement('button'));
        button.type = 'button';
        button.title = 'Put it on the pad';
        button.setAttribute('aria-label', `Read ${read}, was ${label}: put it on the pad`);
        const image = button.appendChild(document.createElement('canvas'));
        const text = button.appendChild(document.createElement('span'));
        text.textContent = `${read}, was ${label}`;
        new Stage(image, (frame) => {
          drawPicture(frame, pixels);
        });
        button.addEventListener('click', () => {
          showSample(pixels, label);
          canvas.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
        });
        return item;
      }),
    );
  }

  showProbabilities(undefined, false);
  return {
    enter() {
      if (engine) showEngine(engine);
    },
    leave() {
      if (lesson) post({ kind: 'stop' });
    },
  };
}

// ── Painting ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const scratch = document.createElement('canvas');
scratch.width = scratch.height = SIDE;
const scratchContext = scratch.getContext('2d');
const image = new ImageData(SIDE, SIDE);

/** Pixels as they are: ink on paper. */
function drawPicture({ context, width, height }: Frame, picture: Uint8Array | undefined): void {
  if (!picture || !scratchContext) return;
  const ink = (palette().ink.match(/\d+/g) ?? []).map(Number);
  picture.forEach((value, i) => image.data.set([ink[0], ink[1], ink[2], value], 4 * i));
  scratchContext.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, 0, 0, width, height);
}

function drawPad(frame: Frame, strokes: readonly Stroke[], sample: Uint8Array | undefined, pen: Point | undefined): void {
  const { context, width, height } = frame;
  const { ink, orange } = palette();
  if (sample) drawPicture(frame, sample);
  context.strokeStyle = ink;
  context.lineWidth = PEN * width;
  context.lineCap = context.lineJoin = 'round';
  context.beginPath();
  for (const [first, ...rest] of strokes) {
    context.moveTo(first.x * width, first.y * height);
    if (rest.length === 0) context.lineTo(first.x * width, first.y * height);
    for (const { x, y } of rest) context.lineTo(x * width, y * height);
  }
  context.stroke();
  if (!pen) return;
  context.beginPath();
  context.arc(pen.x * width, pen.y * height, (PEN * width) / 2 + 2, 0, 2 * Math.PI);
  context.strokeStyle = orange;
  context.lineWidth = 2;
  context.stroke();
}
