// The frame around the two demonstrations: which one is shown, the colour scheme, the frame meter. A demonstration starts its
// worker when it is first shown, and stops training when it is left, so that the other has the processor to itself.
import { paletteChanged } from './colours.js';
import { openDigits } from './digits/page.js';
import { watchFrames } from './frames.js';
import { element } from './page.js';
import { openPlayground } from './playground/page.js';

export interface Demonstration {
  enter(): void;
  leave(): void;
}

const sections = { playground: openPlayground, digits: openDigits };
type Name = keyof typeof sections;
const opened = new Map<Name, Demonstration>();

function show(): void {
  const wanted: Name = location.hash === '#digits' ? 'digits' : 'playground';
  for (const name of Object.keys(sections) as Name[]) {
    element(`demo-${name}`).hidden = name !== wanted;
    const link = element(`to-${name}`);
    if (name === wanted) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
    if (name !== wanted) opened.get(name)?.leave();
  }
  scrollTo(0, 0);
  const known = opened.get(wanted);
  if (known) known.enter();
  else opened.set(wanted, sections[wanted]());
}

addEventListener('hashchange', show);

const scheme = element('scheme');
const dark = matchMedia('(prefers-color-scheme: dark)');
const isDark = (): boolean => (document.documentElement.dataset.scheme ?? (dark.matches ? 'dark' : 'light')) === 'dark';
const label = (): void => {
  scheme.textContent = isDark() ? 'Light' : 'Dark';
};
scheme.addEventListener('click', () => {
  document.documentElement.dataset.scheme = isDark() ? 'light' : 'dark';
  label();
  paletteChanged();
});
dark.addEventListener('change', label);
label();

watchFrames();
show();
