// The corner read-out: how long the page went without drawing a frame. Training is in a worker, so it should never be long.
import { element, say } from './page.js';

const WINDOW = 3000;
const UPDATE = 500;

export function watchFrames(): void {
  const line = element('frames');
  let gaps: { readonly at: number; readonly gap: number }[] = [];
  let last: number | undefined;
  let updated = 0;
  // A hidden page draws nothing, which is no stutter.
  document.addEventListener('visibilitychange', () => (last = undefined));
  const frame = (now: number): void => {
    requestAnimationFrame(frame);
    if (last !== undefined) gaps.push({ at: now, gap: now - last });
    last = now;
    if (now - updated < UPDATE || gaps.length === 0) return;
    updated = now;
    gaps = gaps.filter(({ at }) => now - at <= WINDOW);
    const longest = Math.max(...gaps.map(({ gap }) => gap));
    const mean = gaps.reduce((sum, { gap }) => sum + gap, 0) / gaps.length;
    say(line, `${(1000 / mean).toFixed(0)} frames/s · longest gap ${longest.toFixed(0)} ms in 3 s`);
  };
  requestAnimationFrame(frame);
}
