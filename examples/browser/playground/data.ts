// The playground's data sets: points in the square from −1 to 1, half of each class, drawn from a seed.

export type DataName = 'spirals' | 'circles' | 'xor' | 'own';

/** Growable: the user adds points. */
export interface Cloud {
  /** x₁, x₂ of each point. */
  readonly x: number[];
  /** 0 (blue) or 1 (orange) of each point. */
  readonly y: number[];
}

export type Random = () => number;

/** Mulberry32: numbers in [0, 1). */
export function random(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function gaussian(next: Random): number {
  return Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

type Place = (label: number, next: Random) => [number, number];

const PLACES: Record<Exclude<DataName, 'own'>, Place> = {
  spirals(label, next) {
    const along = Math.sqrt(next()); // evenly spread over the length, about
    const angle = along * 3.2 * Math.PI + label * Math.PI;
    const radius = 0.05 + 0.87 * along;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
  circles(label, next) {
    const angle = 2 * Math.PI * next();
    const radius = label === 1 ? 0.45 * Math.sqrt(next()) : 0.65 + 0.25 * next();
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  },
  xor(label, next) {
    const [a, b] = [0.05 + 0.85 * next(), 0.05 + 0.85 * next()];
    const side = next() < 0.5 ? -1 : 1;
    return [side * a, (label === 1 ? -side : side) * b];
  },
};

/** @param noise standard deviation of what is added to each coordinate */
export function cloud(name: DataName, points: number, noise: number, next: Random): Cloud {
  const made: Cloud = { x: [], y: [] };
  if (name === 'own') return made;
  for (let i = 0; i < points; i++) {
    const label = i % 2;
    for (const coordinate of PLACES[name](label, next)) made.x.push(Math.min(Math.max(coordinate + noise * gaussian(next), -1), 1));
    made.y.push(label);
  }
  return made;
}
