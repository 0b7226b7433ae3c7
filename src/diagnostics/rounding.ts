// How much rounding may cost: what float32 results are compared with the float64 interpreter by. First-order error analysis
// of one instruction (Higham, Accuracy and Stability of Numerical Algorithms, ch. 3), in units of 2⁻²⁴, half an ulp of 1:
//
//   error of an output = √k × the absolute sum of the k terms that it adds up       (rounding of its own)
//                      + √Σ (∂output/∂input × error of the input)²                  (what comes in)
//
// √ because roundings are independent: k of them add up like a random walk. What is compared may be off by 8 times that:
// for one sum of exact inputs this is 8·√k·2⁻²⁴ of its term-wise absolute sum. A result that only rounds once or twice has
// k = 1: a few ulp. The largest seen are 3 in sums and 6 in activations; a wrong formula is thousands of times beyond.
import { ACTIVATION_NAMES, resolveActivation } from '../activations.js';
import type { OpName } from '../ops.js';
import { activations } from '../reference.js';

type Values = Readonly<Record<string, Float64Array>>;

export interface Executed {
  readonly op: OpName;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly immediates: Readonly<Record<string, number>>;
  /** Every operand that it has, before and after. */
  readonly before: Values;
  readonly after: Values;
  /** Errors of the operands it read, where they are not exact. */
  readonly errors: Partial<Values>;
}

/** Errors of the operands that the instruction wrote; those not named are exact. */
export function roundingOf(executed: Executed): Partial<Values> {
  return rules[executed.op]({ ...executed, optional: executed.before });
}

/** The largest distance from the interpreter's result that an error of so many units explains. */
export function explainedBy(error: number): number {
  return LIMIT * (error * UNIT + SMALLEST);
}

const LIMIT = 8;
const UNIT = 2 ** -24;
/** Results near zero are rounded to multiples of the smallest subnormal, 2⁻¹⁴⁹, perhaps before a factor of a few hundred. */
const SMALLEST = 2 ** -143;

type Rule = (executed: Executed & { optional: Partial<Values> }) => Partial<Values>;

const abs = Math.abs;
const root = (terms: number) => Math.sqrt(Math.max(terms, 1));
const each = (length: number, f: (i: number) => number) => Float64Array.from({ length }, (_, i) => f(i));
const total = (length: number, f: (i: number) => number) => {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += f(i);
  return sum;
};
const exact = () => 0;
const of = (values: Float64Array | undefined) => (values ? (i: number) => values[i] : exact);

/** 2√(2/π)(|z| + 0.044715|z|³), what geluTanh takes exp of: rounding it is felt that many times over. */
const cubic = (z: number) => 1.6 * abs(z) + 0.072 * abs(z) ** 3;

/** y = a(z) for z of a given error. */
function activated({ activation, parameter }: Executed['immediates'], z: number, error: number): number {
  const name = ACTIVATION_NAMES[activation] as keyof typeof activations;
  const { value, slope } = activations[name];
  const y = value(z, parameter);
  const inner = name === 'geluTanh' ? abs(y) * cubic(z) * (z < 0 ? 1 : Math.exp(-cubic(z))) : 0;
  const a = error === 0 ? 0 : slope(resolveActivation(name).derivativeNeedsInput ? z : y, parameter);
  // Where hardSigmoid is cut off, it is exact.
  if (name === 'hardSigmoid' && (y === 0 || y === 1)) return 0;
  return abs(y) + inner + abs(a) * error;
}

/** a'(v) for v of a given error: the terms of the derivative's formula, and the step of a' over the error. */
function differentiated({ activation, parameter }: Executed['immediates'], v: number, error: number): number {
  const name = ACTIVATION_NAMES[activation] as keyof typeof activations;
  const { slope } = activations[name];
  const near = abs(v) * 1e-6 + 1e-9;
  const second = error === 0 ? 0 : abs(slope(v + near, parameter) - slope(v - near, parameter)) / (2 * near);
  return derivativeTerms(name, v, parameter) + second * error;
}

/** Where a' is a difference, it is exact only relative to what is subtracted. */
function derivativeTerms(name: keyof typeof activations, v: number, parameter: number): number {
  const d = abs(activations[name].slope(v, parameter));
  const [gate, rest] = [1 / (1 + Math.exp(-v)), 1 / (1 + Math.exp(v))];
  switch (name) {
    case 'gelu': // Φ + zφ
      return d + (2 * abs(v) * Math.exp((-v * v) / 2)) / Math.sqrt(2 * Math.PI);
    case 'geluTanh': // σ(s) + z·σ(s)·σ(−s)·s'
      // Beyond ±10 the engine takes the derivative there, which is about 10⁻³⁶ off.
      return (v > 0 ? 1 : 1e-28) + (1 + cubic(v)) * Math.exp(-cubic(v)) * (1 + abs(v) * (1.6 + 0.216 * v * v));
    case 'silu': // σ(z)(1 + zσ(−z))
      return d + gate * (1 + abs(v) * rest);
    case 'mish': // tanh(softplus z) + zσ(z)/cosh²(softplus z)
      return d + (2 * abs(v) * gate) / Math.cosh(Math.log1p(Math.exp(Math.min(v, 300)))) ** 2;
    case 'elu':
    case 'selu': // y + alpha
      return v > 0 ? d : abs(v) + abs(d - v);
    case 'hardSwish':
      return abs(v) < 3 ? 0.5 + abs(v) / 3 : d;
    default:
      return d;
  }
}

/** exp(x − max x) / Σ: the exponent's rounding is absolute, so it weighs by the distance from the maximum. */
function softmaxErrors(x: Float64Array, n: number, row: number, error: (i: number) => number): { y: Float64Array; error: Float64Array } {
  const at = row * n;
  const most = Math.max(...x.subarray(at, at + n));
  const powers = each(n, (j) => Math.exp(x[at + j] - most));
  const sum = total(n, (j) => powers[j]);
  const y = powers.map((power) => power / sum);
  const spread = root(n) + Math.sqrt(total(n, (j) => (y[j] * (most - x[at + j] + error(at + j))) ** 2));
  return { y, error: each(n, (j) => y[j] * (1 + spread + (most - x[at + j]) + error(at + j))) };
}

const scaleOf = (reduction: number, terms: number) => (reduction === 0 ? 1 / terms : 1);

interface ElementwiseTerm {
  /** Absolute sum of the loss term's parts, and of its slope's. */
  readonly term: (x: number, t: number, delta: number) => number;
  readonly slope: (x: number, t: number, delta: number) => number;
  /** |∂term/∂x| and |∂slope/∂x| */
  readonly first: (x: number, t: number, delta: number) => number;
  readonly second: (x: number, t: number, delta: number) => number;
}

function elementwise({ term, slope, first, second }: ElementwiseTerm): Rule {
  return ({ m, n, immediates: { reduction, delta }, before: { x, t, seed }, errors }) => {
    const error = of(errors.x);
    const scale = abs(seed[0]) * scaleOf(reduction, m * n);
    return {
      rowLoss: each(m, (i) =>
        total(n, (j) => root(n) * term(x[i * n + j], t[i * n + j], delta) + first(x[i * n + j], t[i * n + j], delta) * error(i * n + j)),
      ),
      dX: each(m * n, (i) => scale * (slope(x[i], t[i], delta) + second(x[i], t[i], delta) * error(i))),
    };
  };
}

// ── Normalisation: r = 1/√(variance + epsilon), x̂ = (x − mean)·r ────────────────────────────────────────────────────────

/** Of the mean of `count` numbers. */
function meanErrorOf(count: number, x: (i: number) => number, error: (i: number) => number, mean: number): number {
  return (root(count) * total(count, (i) => abs(x(i))) + Math.sqrt(total(count, (i) => error(i) ** 2))) / count + abs(mean);
}

/** Of the mean square of differences: what the mean is off by costs only its square, for the differences add up to 0. */
function squareErrorOf(count: number, difference: (i: number) => number, error: (i: number) => number, square: number): number {
  return (root(count) + 3) * square + (2 / count) * Math.sqrt(total(count, (i) => (difference(i) * error(i)) ** 2));
}

interface Inverse {
  readonly value: number;
  readonly error: number;
}

function inverseErrorOf(square: number, error: number): Inverse {
  const value = 1 / Math.sqrt(square);
  return { value, error: value * (2 + (square + error) / (2 * square)) };
}

/** Of gamma·x̂, x̂ a difference times r. */
function normalError(difference: number, shift: number, inverse: Inverse, gamma = 1): number {
  return abs(gamma) * (inverse.value * (3 * abs(difference) + shift) + abs(difference) * inverse.error);
}

interface Centred {
  readonly g: (i: number) => number;
  readonly gError: (i: number) => number;
  readonly difference: (i: number) => number;
  /** Of each by itself, and of the mean that all share. */
  readonly differenceError: (i: number) => number;
  readonly meanError: number;
  readonly inverse: Inverse;
}

/** Of g − Σg/count − x̂·(Σ g⊙x̂/count) and of its sums: `along` is Σ g⊙x̂, `level` is Σ g. */
function centredError(
  count: number,
  { g, gError, difference, differenceError, meanError, inverse }: Centred,
  centred: boolean,
): { error: (i: number) => number; along: number; level: number } {
  const normal = (i: number) => difference(i) * inverse.value;
  const sums = { g: total(count, g), product: total(count, (i) => g(i) * normal(i)) };
  const level = root(count) * total(count, (i) => abs(g(i))) + Math.sqrt(total(count, (i) => gError(i) ** 2));
  const carried = total(count, (i) => (g(i) * inverse.value * differenceError(i)) ** 2 + (normal(i) * gError(i)) ** 2);
  const along =
    (root(count) + 3) * total(count, (i) => abs(g(i) * normal(i))) +
    Math.sqrt(carried) +
    abs(sums.g) * inverse.value * meanError +
    (abs(sums.product) * inverse.error) / inverse.value;
  const error = (i: number) => {
    const own = inverse.value * (differenceError(i) + meanError + abs(difference(i))) + abs(difference(i)) * inverse.error;
    const mean = centred ? level / count + (2 * abs(sums.g)) / count : 0;
    const slope = (abs(normal(i)) * (along + 3 * abs(sums.product)) + own * abs(sums.product)) / count;
    return gError(i) + 2 * abs(g(i)) + mean + slope;
  };
  return { error, along, level };
}

/** p − step·numerator/denominator, the numerator a sum of terms. */
const stepped = (before: number, after: number, step: number) => abs(before) + abs(after) + 4 * abs(step);

const rules: Record<OpName, Rule> = {
  gemm({ m, n, k, immediates, before: { a, b, c }, optional: { bias, y: output, v }, errors }) {
    const { transpose, beta } = immediates;
    const [aRow, aColumn] = transpose & 1 ? [1, m] : [k, 1];
    const [bRow, bColumn] = transpose & 2 ? [1, k] : [n, 1];
    const [errorA, errorB, errorC] = [of(errors.a), of(errors.b), of(errors.c)];
    const [z, terms, carried] = [0, 1, 2].map(() => new Float64Array(m * n));
    for (let i = 0; i < m; i++) {
      for (let p = 0; p < k; p++) {
        const left = i * aRow + p * aColumn;
        for (let j = 0; j < n; j++) {
          const right = p * bRow + j * bColumn;
          const product = a[left] * b[right];
          z[i * n + j] += product;
          terms[i * n + j] += abs(product);
          if (errors.a ?? errors.b) carried[i * n + j] += (a[left] * errorB(right)) ** 2 + (b[right] * errorA(left)) ** 2;
        }
      }
    }
    const error = each(m * n, (i) => {
      const old = beta === 0 ? 0 : abs(beta * c[i]);
      z[i] += (beta === 0 ? 0 : beta * c[i]) + (bias ? bias[i % n] : 0);
      return (
        root(k) * (terms[i] + old) + Math.sqrt(carried[i]) + abs(beta) * errorC(i) + (bias ? abs(bias[i % n]) + of(errors.bias)(i % n) : 0)
      );
    });
    if (v) {
      const slope = activations[ACTIVATION_NAMES[immediates.activation] as keyof typeof activations].slope;
      return {
        c: each(
          m * n,
          (i) => abs(slope(v[i], immediates.parameter)) * error[i] + abs(z[i]) * differentiated(immediates, v[i], of(errors.v)(i)),
        ),
      };
    }
    const y = each(m * n, (i) => activated(immediates, z[i], error[i]));
    return output ? { c: error, y } : { c: y };
  },

  addBias: ({ m, n, after: { y }, errors }) => ({ y: each(m * n, (i) => abs(y[i]) + of(errors.x)(i) + of(errors.bias)(i % n)) }),

  activate: ({ m, n, immediates, before: { x }, errors }) => ({ y: each(m * n, (i) => activated(immediates, x[i], of(errors.x)(i))) }),

  activationGradient({ m, n, immediates, before: { dY, v }, errors }) {
    const { slope } = activations[ACTIVATION_NAMES[immediates.activation] as keyof typeof activations];
    return {
      dX: each(
        m * n,
        (i) => abs(dY[i]) * differentiated(immediates, v[i], of(errors.v)(i)) + abs(slope(v[i], immediates.parameter)) * of(errors.dY)(i),
      ),
    };
  },

  softmax({ m, n, before: { x }, errors }) {
    const y = new Float64Array(m * n);
    for (let i = 0; i < m; i++) y.set(softmaxErrors(x, n, i, of(errors.x)).error, i * n);
    return { y };
  },

  softmaxGradient({ m, n, before: { dY, y }, errors }) {
    const [errorD, errorY] = [of(errors.dY), of(errors.y)];
    const dX = new Float64Array(m * n);
    for (let i = 0; i < m; i++) {
      const at = i * n;
      const dot = total(n, (j) => dY[at + j] * y[at + j]);
      const terms = total(n, (j) => abs(dY[at + j] * y[at + j]));
      const carried = total(n, (j) => (dY[at + j] * errorY(at + j)) ** 2 + (y[at + j] * errorD(at + j)) ** 2);
      const dotError = root(n) * terms + Math.sqrt(carried);
      for (let j = at; j < at + n; j++) dX[j] = y[j] * (abs(dY[j]) + dotError + errorD(j)) + errorY(j) * abs(dY[j] - dot);
    }
    return { dX };
  },

  sumRows: ({ m, n, before: { x }, errors }) => ({
    y: each(n, (j) => root(m) * total(m, (i) => abs(x[i * n + j])) + Math.sqrt(total(m, (i) => of(errors.x)(i * n + j) ** 2))),
  }),

  // Summed in double: one rounding at the end; a variance beside a far larger mean is as good as the double mean it leaves out.
  columnStatistics: ({ after: { mean, variance } }) => ({ mean: mean.map(abs), variance: variance.map(abs) }),
  batchNormalization({ m, n, immediates: { epsilon }, before: { x }, optional: { gamma, beta }, after: { y, mean, variance }, errors }) {
    const error = of(errors.x);
    const meanError = each(n, (j) => meanErrorOf(m, (i) => x[i * n + j], (i) => error(i * n + j), mean[j])); // prettier-ignore
    const varianceError = each(n, (j) => squareErrorOf(m, (i) => x[i * n + j] - mean[j], (i) => error(i * n + j), variance[j])); // prettier-ignore
    return {
      y: each(m * n, (at) => {
        const j = at % n;
        const inverse = inverseErrorOf(variance[j] + epsilon, varianceError[j]);
        return normalError(x[at] - mean[j], meanError[j] + error(at), inverse, gamma?.[j]) + abs(y[at]) + abs(beta?.[j] ?? 0);
      }),
      mean: meanError,
      variance: varianceError,
    };
  },

  batchNormalizationInference: ({
    m,
    n,
    immediates: { epsilon },
    before: { x, mean, variance },
    optional: { gamma, beta },
    after: { y },
    errors,
  }) => ({
    y: each(m * n, (at) => {
      const j = at % n;
      const inverse = inverseErrorOf(variance[j] + epsilon, of(errors.variance)(j));
      const shift = of(errors.mean)(j) + of(errors.x)(at);
      return normalError(x[at] - mean[j], shift, inverse, gamma?.[j]) + abs(y[at]) + abs(beta?.[j] ?? 0);
    }),
  }),

  batchNormalizationGradient({
    m,
    n,
    immediates: { epsilon },
    before: { dY, x, mean, variance },
    optional: { gamma },
    after: { dX },
    errors,
  }) {
    const made = { dX: new Float64Array(m * n), dGamma: new Float64Array(n), dBeta: new Float64Array(n) };
    for (let j = 0; j < n; j++) {
      const inverse = inverseErrorOf(variance[j] + epsilon, of(errors.variance)(j));
      const at = (i: number) => i * n + j;
      const column = {
        g: (i: number) => dY[at(i)],
        gError: (i: number) => of(errors.dY)(at(i)),
        difference: (i: number) => x[at(i)] - mean[j],
        differenceError: (i: number) => of(errors.x)(at(i)),
        meanError: of(errors.mean)(j),
        inverse,
      };
      const { error, along, level } = centredError(m, column, true);
      made.dGamma[j] = along;
      made.dBeta[j] = level;
      const factor = abs(gamma?.[j] ?? 1) * inverse.value;
      for (let i = 0; i < m; i++) made.dX[at(i)] = factor * error(i) + abs(dX[at(i)]) * (2 + inverse.error / inverse.value);
    }
    return made;
  },

  updateStatistics({ m, n, immediates: { momentum }, before, after, errors }) {
    const moved = (old: Float64Array, fresh: Float64Array, now: Float64Array, error: (j: number) => number) =>
      each(n, (j) => abs(momentum * old[j]) + (1 - momentum) * (3 * abs(fresh[j]) + error(j)) + abs(now[j]));
    const unbiased = before.variance.map((value) => (value * m) / (m - 1));
    return {
      movingMean: moved(before.movingMean, before.mean, after.movingMean, of(errors.mean)),
      movingVariance: moved(before.movingVariance, unbiased, after.movingVariance, (j) => (of(errors.variance)(j) * m) / (m - 1)),
    };
  },

  layerNormalization({ m, n, immediates: { epsilon }, before: { x }, optional: { gamma, beta }, after, errors }) {
    const made = { y: new Float64Array(m * n), inverse: new Float64Array(m), mean: new Float64Array(m) };
    for (let i = 0; i < m; i++) {
      const mean = 'mean' in after ? after.mean[i] : 0;
      const error = (j: number) => of(errors.x)(i * n + j);
      made.mean[i] = 'mean' in after ? meanErrorOf(n, (j) => x[i * n + j], error, mean) : 0;
      const difference = (j: number) => x[i * n + j] - mean;
      const variance = total(n, (j) => difference(j) ** 2) / n;
      const inverse = inverseErrorOf(variance + epsilon, squareErrorOf(n, difference, error, variance));
      made.inverse[i] = inverse.error;
      for (let j = 0; j < n; j++) {
        const own = normalError(difference(j), made.mean[i] + error(j), inverse, gamma?.[j]);
        made.y[i * n + j] = own + abs(after.y[i * n + j]) + abs(beta?.[j] ?? 0);
      }
    }
    return made;
  },

  layerNormalizationGradient({ m, n, before: { dY, x, inverse }, optional: { mean, gamma }, after: { dX }, errors }) {
    const made = new Float64Array(m * n);
    for (let i = 0; i < m; i++) {
      const at = (j: number) => i * n + j;
      const row = {
        g: (j: number) => dY[at(j)] * (gamma?.[j] ?? 1),
        gError: (j: number) => (gamma ? abs(dY[at(j)] * gamma[j]) : 0) + of(errors.dY)(at(j)) * abs(gamma?.[j] ?? 1),
        difference: (j: number) => x[at(j)] - (mean ? mean[i] : 0),
        differenceError: (j: number) => of(errors.x)(at(j)),
        meanError: mean ? of(errors.mean)(i) : 0,
        inverse: { value: inverse[i], error: of(errors.inverse)(i) },
      };
      const { error } = centredError(n, row, mean !== undefined);
      for (let j = 0; j < n; j++) made[at(j)] = inverse[i] * error(j) + abs(dX[at(j)]) * (1 + row.inverse.error / inverse[i]);
    }
    return { dX: made };
  },

  layerNormalizationScaleGradient: ({ m, n, before: { dY, x, inverse }, optional: { mean }, errors }) => ({
    dGamma: each(n, (j) => {
      const difference = (i: number) => x[i * n + j] - (mean ? mean[i] : 0);
      const terms = total(m, (i) => abs(dY[i * n + j] * difference(i)) * inverse[i]);
      const carried = total(m, (i) => {
        const [d, own] = [dY[i * n + j], difference(i)];
        const shift = abs(own) + of(errors.x)(i * n + j) + of(errors.mean)(i);
        return (d * inverse[i] * shift) ** 2 + (d * own * of(errors.inverse)(i)) ** 2 + (own * inverse[i] * of(errors.dY)(i * n + j)) ** 2;
      });
      return (root(m) + 1) * terms + Math.sqrt(carried);
    }),
  }),

  dropout: ({ m, n, after: { y, mask }, errors }) => ({
    y: each(m * n, (i) => 3 * abs(y[i]) + mask[i] * of(errors.x)(i)),
    mask: mask.map((value, i) => (i < m * n ? 2 * value : 0)),
  }),
  dropoutGradient: ({ m, n, before: { dY, mask }, after: { dX }, errors }) => ({
    dX: each(m * n, (i) => abs(dX[i]) + mask[i] * of(errors.dY)(i) + abs(dY[i]) * of(errors.mask)(i)),
  }),

  meanSquaredError: elementwise({
    term: (x, t) => (x - t) ** 2,
    slope: (x, t) => 2 * abs(x - t),
    first: (x, t) => 2 * abs(x - t),
    second: () => 2,
  }),
  meanAbsoluteError: elementwise({ term: (x, t) => abs(x - t), slope: () => 1, first: () => 1, second: exact }),
  huber: elementwise({
    term: (x, t, delta) => (abs(x - t) > delta ? delta * (abs(x - t) + delta / 2) : (x - t) ** 2 / 2),
    slope: (x, t, delta) => Math.min(abs(x - t), delta),
    first: (x, t, delta) => Math.min(abs(x - t), delta),
    second: (x, t, delta) => (abs(x - t) > delta ? 0 : 1),
  }),
  binaryCrossEntropy: elementwise({
    term: (x, t) => Math.max(x, 0) + abs(x * t) + Math.log1p(Math.exp(-abs(x))),
    slope: (x, t) => 1 / (1 + Math.exp(-x)) + abs(t),
    first: (x, t) => abs(1 / (1 + Math.exp(-x)) - t),
    second: (x) => 1 / (2 + Math.exp(x) + Math.exp(-x)),
  }),

  softmaxCrossEntropy({ m, n, immediates: { reduction, labelSmoothing }, before: { x, seed }, optional: { labels, t }, errors }) {
    const scale = abs(seed[0]) * scaleOf(reduction, m);
    const [rowLoss, dX] = [new Float64Array(m), new Float64Array(m * n)];
    for (let i = 0; i < m; i++) {
      const at = i * n;
      const { y, error } = softmaxErrors(x, n, i, of(errors.x));
      const q = each(n, (j) => (1 - labelSmoothing) * (t ? t[at + j] : Number(labels?.[i] === j)) + labelSmoothing / n);
      const most = Math.max(...x.subarray(at, at + n));
      const log = abs(Math.log(total(n, (j) => Math.exp(x[at + j] - most))));
      const spread = root(n) + Math.sqrt(total(n, (j) => (y[j] * (most - x[at + j] + of(errors.x)(at + j))) ** 2));
      rowLoss[i] = total(n, (j) => abs(q[j]) * (root(n) * (most - x[at + j] + log) + spread + of(errors.x)(at + j)));
      const weight = total(n, (j) => abs(q[j]));
      for (let j = 0; j < n; j++) dX[at + j] = scale * (error[j] * weight + abs(q[j]) + y[j] * root(n) * weight);
    }
    return { rowLoss, dX };
  },

  categoricalCrossEntropy({ m, n, immediates: { reduction }, before: { x, seed }, optional: { labels, t }, errors }) {
    const scale = abs(seed[0]) * scaleOf(reduction, m);
    const q = (i: number, j: number) => abs(t ? t[i * n + j] : Number(labels?.[i] === j));
    const error = of(errors.x);
    return {
      // The ends of the clip are floats, off by up to 2⁻²⁴.
      rowLoss: each(m, (i) =>
        total(n, (j) => {
          const p = Math.min(Math.max(x[i * n + j], 1e-7), 1);
          return q(i, j) * (root(n) * (1 + abs(Math.log(p))) + error(i * n + j) / p);
        }),
      ),
      dX: each(m * n, (at) => {
        const [i, j] = [Math.floor(at / n), at % n];
        return scale * q(i, j) * (1 / x[at] + error(at) / x[at] ** 2);
      }),
    };
  },

  lossTotal: ({ m, n, immediates: { reduction }, after: { loss }, errors }) => ({
    loss: each(1, () => abs(loss[0]) + scaleOf(reduction, m * n) * total(m, of(errors.rowLoss))),
  }),

  accuracy: () => ({}),
  resetTotals: () => ({}),

  gather: ({ m, n, optional: { mean, scale }, after: { y } }) => ({
    y: each(m * n, (i) => abs(y[i]) + (mean && scale ? abs(mean[i % n] * scale[i % n]) : 0)),
  }),
  gatherLabels: () => ({}),
  scatter: () => ({}),
  shuffle: () => ({}),

  clipValue: ({ after: { g } }) => ({ g: g.map(abs) }),
  globalNormScale: ({ m, after: { partials, scale } }) => ({
    partials: partials.map((value) => root(Math.min(m, 4096)) * value),
    scale: each(1, () => root(m) * scale[0]),
  }),

  sgd({ m, before: { p, g, hyper }, optional: { moment1, clip }, after }) {
    const [learningRate, momentum, weightDecay] = hyper;
    const gradient = (i: number) => abs(g[i] * (clip ? clip[0] : 1)) + abs(weightDecay * p[i]);
    const velocity = (i: number) => gradient(i) + (moment1 ? momentum * abs(moment1[i]) : 0);
    return {
      p: each(m, (i) => stepped(p[i], after.p[i], learningRate * (gradient(i) + velocity(i)))),
      moment1: each(m, (i) => 2 * velocity(i)),
    };
  },
  rmsprop: ({ m, before: { p, g, moment2, hyper }, optional: { clip }, after }) =>
    rootOptimizer(m, p, after, hyper, (i) => [
      hyper[1] * moment2[i],
      1 - hyper[1],
      abs(g[i] * (clip ? clip[0] : 1)) + hyper[2] * abs(p[i]),
    ]),
  adagrad: ({ m, before: { p, g, moment2, hyper }, optional: { clip }, after }) =>
    rootOptimizer(m, p, after, hyper, (i) => [moment2[i], 1, abs(g[i] * (clip ? clip[0] : 1)) + hyper[2] * abs(p[i])]),
  adam({ m, immediates: { decoupled }, before: { p, g, moment1, moment2, hyper }, optional: { clip }, after }) {
    const [learningRate, , weightDecay, epsilon, beta1, beta2, power1, power2] = hyper;
    const gradient = (i: number) => abs(g[i] * (clip ? clip[0] : 1)) + (decoupled ? 0 : weightDecay * abs(p[i]));
    const mean = (i: number) => beta1 * abs(moment1[i]) + (1 - beta1) * gradient(i);
    return {
      p: each(m, (i) =>
        stepped(p[i], after.p[i], (learningRate * mean(i)) / (1 - power1) / (Math.sqrt(after.moment2[i] / (1 - power2)) + epsilon)),
      ),
      moment1: each(m, (i) => 2 * mean(i)),
      moment2: each(m, (i) => 2 * (beta2 * moment2[i] + (1 - beta2) * gradient(i) ** 2)),
    };
  },
  advance: () => ({}),

  applyMask: ({ m, errors }) => ({ x: each(m, of(errors.x)) }),
  addScaled: ({ m, immediates: { scale }, before: { y, x }, errors }) => ({
    y: each(m, (i) => abs(y[i]) + 2 * abs(scale * x[i]) + of(errors.y)(i) + abs(scale) * of(errors.x)(i)),
  }),
  softThreshold: ({ m, immediates: { lambda }, before: { x, hyper } }) => ({ x: each(m, (i) => abs(x[i]) + hyper[0] * lambda) }),
  shrinkColumns({ m, n, immediates: { lambda }, before: { x, hyper } }) {
    const cut = each(n, (j) => (hyper[0] * lambda) / Math.sqrt(total(m, (i) => x[i * n + j] ** 2)));
    // The factor 1 − cut is exact only relative to what is subtracted, of which √m roundings are those of the norm.
    return { x: each(m * n, (i) => (cut[i % n] < 2 ? abs(x[i]) * (2 + (root(m) + 2) * cut[i % n]) : 0)) };
  },

  fill: () => ({}),
  randomUniform: ({ m, immediates: { low, high } }) => ({ y: each(m, () => abs(low) + abs(high)) }),
  // Box–Muller's radius is at most √(2·24·log 2) = 5.8.
  randomNormal: ({ m, immediates: { mean, standardDeviation } }) => ({ y: each(m, () => abs(mean) + 6 * standardDeviation) }),
  randomTruncatedNormal: ({ m, immediates: { mean, standardDeviation } }) => ({ y: each(m, () => abs(mean) + 6 * standardDeviation) }),
  // Of vectors far from dependent, as the cases are: each is rounded against all before it.
  orthogonalize: ({ m, n, immediates: { gain } }) => ({ y: each(m * n, () => gain * root(Math.min(m, n))) }),
  statistics({ m, n, immediates: { threshold }, before: { x }, optional: { minus }, after: { statistics }, errors }) {
    const count = m * n;
    const [values, error] = measured(x, minus, errors, range(0, count));
    const [mean, variance, square, low, high] = statistics;
    const spread = moments(values, error, mean);
    return {
      statistics: Float64Array.of(
        spread.mean,
        (root(count) + 3) * variance + spread.squares / Math.max(count, 1),
        (root(count) + 2) * square + (2 * total(count, (i) => abs(values[i]) * error[i])) / Math.max(count, 1),
        minus ? abs(low) : 0,
        minus ? abs(high) : 0,
        0,
        near(values, error, threshold) / Math.max(count, 1) / UNIT,
        0,
      ),
    };
  },
  histogram: () => ({}),
  columnDistances: ({ m, n, before: { x, from }, after: { squares }, errors }) => ({
    squares: squares.map(
      (square, j) =>
        square + 2 * total(m, (i) => abs(x[i * n + j] - from[i * n + j]) * (of(errors.x)(i * n + j) + of(errors.from)(i * n + j))),
    ),
  }),
  spectralNorm({ m, n, immediates: { iterations }, before: { x, v }, after: { square, next }, errors }) {
    let [y, error] = [Array.from(v), Array.from(v, (_, j) => of(errors.v)(j))];
    let [off, before] = [0, error];
    for (let iteration = 0; iteration < iterations; iteration++) {
      const image = range(0, m).map((i) => total(n, (j) => x[i * n + j] * y[j]));
      const imageError = range(0, m).map(
        (i) => root(n) * total(n, (j) => abs(x[i * n + j] * y[j])) + Math.sqrt(total(n, (j) => (x[i * n + j] * error[j]) ** 2)),
      );
      const length = total(n, (j) => y[j] ** 2);
      before = error;
      const share = total(m, (i) => image[i] ** 2) / length;
      off = (2 * total(m, (i) => abs(image[i]) * imageError[i]) + 2 * share * total(n, (j) => abs(y[j]) * error[j])) / length + share;
      const back = range(0, n).map((j) => total(m, (i) => x[i * n + j] * image[i]));
      error = back.map((_, j) => root(m) * total(m, (i) => abs(x[i * n + j] * image[i])) + Math.sqrt(total(m, (i) => (x[i * n + j] * imageError[i]) ** 2))); // prettier-ignore
      const largest = Math.max(...back.map(abs), 0);
      if (largest === 0) break;
      const scale = 2 ** -Math.floor(Math.log2(largest));
      [y, error] = [back.map((value) => value * scale), error.map((value) => value * scale)];
    }
    return { square: square.map(() => off), next: next.map((_, j) => error[j]), work: next.map((_, j) => before[j]) };
  },
  multiplyAdd: ({ m, immediates: { times, factor }, before: { y }, errors }) => ({
    y: each(m, (i) => {
      let [value, error] = [y[i], of(errors.y)(i)];
      for (let time = 0; time < times; time++) {
        const product = value * factor;
        value = product + factor;
        error = abs(factor) * error + abs(product) + abs(value);
      }
      return error;
    }),
  }),
  sumWords: () => ({}),
};

const range = (start: number, count: number) => Array.from({ length: count }, (_, i) => start + i);

/** Elements of x, or of x − minus, and their errors. */
function measured(
  x: Float64Array,
  minus: Float64Array | undefined,
  errors: Partial<Values>,
  elements: readonly number[],
): [values: number[], errors: number[]] {
  const values = elements.map((at) => x[at] - (minus ? minus[at] : 0));
  return [values, elements.map((at, i) => of(errors.x)(at) + (minus ? abs(values[i]) : 0))];
}

/** What rounding costs the mean, and the squares around it: those of a mean that is off grow by its error squared. */
function moments(values: readonly number[], error: readonly number[], mean: number): { mean: number; squares: number } {
  const count = values.length;
  const sums = root(count) * total(count, (i) => abs(values[i])) + Math.sqrt(total(count, (i) => error[i] ** 2));
  const off = sums / Math.max(count, 1) + abs(mean);
  return { mean: off, squares: 2 * total(count, (i) => abs(values[i] - mean) * error[i]) + LIMIT * UNIT * count * off ** 2 };
}

/** Numbers that rounding may take across ±threshold. */
const near = (values: readonly number[], error: readonly number[], threshold: number) =>
  values.filter((value, i) => error[i] > 0 && abs(abs(value) - threshold) <= LIMIT * UNIT * error[i]).length;

/** p − learningRate·g/(√square + epsilon), square = old + share·g². */
function rootOptimizer(
  m: number,
  p: Float64Array,
  after: Values,
  hyper: Float64Array,
  parts: (i: number) => [old: number, share: number, gradient: number],
): Values {
  const step = (i: number) => (hyper[0] * parts(i)[2]) / (Math.sqrt(after.moment2[i]) + hyper[3]);
  return {
    p: each(m, (i) => stepped(p[i], after.p[i], step(i))),
    moment2: each(m, (i) => 2 * (parts(i)[0] + parts(i)[1] * parts(i)[2] ** 2)),
  };
}
