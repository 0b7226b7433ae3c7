// A float64 interpreter of plans: one short function an op says what the instruction means. Tests hold every engine to it.
// It shares no formula with the kernels: written from native/ops.h and the definitions, slow and plain, with Math's own
// functions. Loaded only by those who ask for it. It may assume a plan whose tensors have their places.
//
// State tensors lie in one array in the arena's order, so that a range over all weights and the weights inside it are the
// same numbers. A buffer has an array of its own: where a plan gives one place to two living tensors, the engine differs.
import { ACTIVATION_NAMES, type ActivationName } from './activations.js';
import { GradmillError } from './errors.js';
import type { OpName } from './ops.js';
import { FEED, type Instruction, type Plan, type Tensor } from './plan.js';
import type { Fault } from './runtime.js';

/** A data set: read by gathers, written by scatter and shuffle. */
export interface ReferenceFeed {
  readonly data: Record<number, number>;
  readonly rows: number;
  readonly columns: number;
}

/** A plan that runs here. The same feeds and ranges as the engine's programs have. */
export class Reference {
  /** Why the last run stopped before its end. */
  fault: Pick<Fault, 'kind' | 'row'> | undefined;
  readonly #plan: Plan;
  readonly #state: Float64Array;
  readonly #buffers = new Map<Tensor, Float64Array>();
  readonly #feeds: (ReferenceFeed | undefined)[] = [];

  constructor(plan: Plan) {
    this.#plan = plan;
    let end = 0;
    for (const { operands } of plan.instructions)
      for (const tensor of Object.values(operands)) if (tensor.storage === 'state') end = Math.max(end, place(tensor) + tensor.elements(1));
    this.#state = new Float64Array(end);
  }

  /** The numbers of a tensor, to read and to write; a buffer has room for the largest batch. */
  values(tensor: Tensor): Float64Array {
    if (tensor.storage === 'state') return this.#state.subarray(place(tensor), place(tensor) + tensor.elements(1));
    const known = this.#buffers.get(tensor);
    if (known) return known;
    const values = new Float64Array(tensor.elements(this.#plan.batch));
    this.#buffers.set(tensor, values);
    return values;
  }

  feed(slot: keyof typeof FEED, set: ReferenceFeed): void {
    this.#feeds[FEED[slot]] = set;
  }

  /** Runs instructions [from, to) once a batch. False when one recorded a fault: nothing runs after it. */
  run(from: number, to: number, firstRow: number, rowCount: number, batch: number): boolean {
    this.fault = undefined;
    let at = 0;
    do {
      const rows = Math.min(batch, rowCount - at);
      for (const instruction of this.#plan.instructions.slice(from, to)) if (!this.#execute(instruction, firstRow + at, rows)) return false;
      at += batch;
    } while (at < rowCount);
    return true;
  }

  #execute({ op, dims, operands, immediates }: Instruction, firstRow: number, rows: number): boolean {
    const [needed, optional]: Record<string, Float64Array>[] = [{}, {}];
    for (const operand of op.operands) {
      if (operand.name in operands) (operand.optional ? optional : needed)[operand.name] = this.values(operands[operand.name]);
    }
    const set: Record<string, number> = {};
    for (const { name, float } of op.immediates) {
      const value = name in immediates ? immediates[name] : 0;
      set[name] = float ? Math.fround(value) : value; // as the engine is handed it
    }
    const [m, n, k] = dims.map((dim) => (dim === 'batch' ? rows : dim));
    const stop = (kind: Fault['kind'], row: number) => {
      this.fault ??= { kind, row };
    };
    const feed = this.#feeds[set.feed] ?? { data: [], rows: 0, columns: 0 };
    ops[op.name]({ m, n, k, needed, optional, set, feed, order: this.#feeds[FEED.order], firstRow, stop });
    return this.fault === undefined;
  }
}

/** State's numbers are 4 bytes apart whatever their type: a double leaves the place of its second half unused. */
function place(tensor: Tensor): number {
  return tensor.offset / 4;
}

interface Call {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Operands that every instruction of the op has, and those it may lack. */
  readonly needed: Readonly<Record<string, Float64Array>>;
  readonly optional: Readonly<Partial<Record<string, Float64Array>>>;
  /** Immediates. */
  readonly set: Readonly<Record<string, number>>;
  readonly feed: ReferenceFeed;
  readonly order: ReferenceFeed | undefined;
  /** Of this batch, in the run's order. */
  readonly firstRow: number;
  readonly stop: (kind: Fault['kind'], row: number) => void;
}

type Op = (call: Call) => void;

const ops: Record<OpName, Op> = {
  gemm({ m, n, k, needed: { a, b, c }, optional: { bias, y, v }, set: { transpose, beta, activation, parameter } }) {
    const { value, slope } = activationOf(activation);
    const [aRow, aColumn] = transpose & 1 ? [1, m] : [k, 1];
    const [bRow, bColumn] = transpose & 2 ? [1, k] : [n, 1];
    for (let i = 0; i < m; i++) {
      const row = c.subarray(i * n, (i + 1) * n);
      row.forEach((old, j) => (row[j] = beta === 0 ? 0 : beta * old));
      for (let p = 0; p < k; p++) {
        const factor = a[i * aRow + p * aColumn];
        for (let j = 0; j < n; j++) row[j] += factor * b[p * bRow + j * bColumn];
      }
      row.forEach((sum, j) => {
        const z = sum + (bias ? bias[j] : 0);
        row[j] = v ? z * slope(v[i * n + j], parameter) : y ? z : value(z, parameter);
        if (y) y[i * n + j] = value(z, parameter);
      });
    }
  },

  addBias({ m, n, needed: { x, bias, y } }) {
    for (let at = 0; at < m * n; at++) y[at] = x[at] + bias[at % n];
  },

  activate({ m, n, needed: { x, y }, set: { activation, parameter } }) {
    const { value } = activationOf(activation);
    for (let at = 0; at < m * n; at++) y[at] = value(x[at], parameter);
  },

  activationGradient({ m, n, needed: { dY, v, dX }, set: { activation, parameter } }) {
    const { slope } = activationOf(activation);
    for (let at = 0; at < m * n; at++) dX[at] = dY[at] * slope(v[at], parameter);
  },

  softmax({ m, n, needed: { x, y } }) {
    for (let i = 0; i < m; i++) y.set(softmax(x.subarray(i * n, (i + 1) * n)), i * n);
  },

  softmaxGradient({ m, n, needed: { dY, y, dX } }) {
    for (let i = 0; i < m; i++) {
      const row = range(i * n, n);
      const dot = sum(row.map((at) => dY[at] * y[at]));
      for (const at of row) dX[at] = y[at] * (dY[at] - dot);
    }
  },

  sumRows({ m, n, needed: { x, y } }) {
    for (let j = 0; j < n; j++) y[j] = sum(range(0, m).map((i) => x[i * n + j]));
  },

  columnStatistics({ m, n, needed: { x, mean, variance, low, high, positive, negative, finite } }) {
    for (let j = 0; j < n; j++) {
      const column = range(0, m).flatMap((i) => (Number.isFinite(x[i * n + j]) ? [x[i * n + j]] : []));
      const count = column.length;
      mean[j] = count === 0 ? 0 : sum(column) / count;
      variance[j] = count === 0 ? 0 : sum(column.map((value) => (value - mean[j]) ** 2)) / count;
      low[j] = count === 0 ? 0 : Math.min(...column);
      high[j] = count === 0 ? 0 : Math.max(...column);
      positive[j] = column.filter((value) => value > 0).length;
      negative[j] = column.filter((value) => value < 0).length;
      finite[j] = count;
    }
  },

  // ── Normalisation and dropout ───────────────────────────────────────────────────────────────────────────────────

  batchNormalization({ m, n, needed: { x, y, mean, variance }, optional: { gamma, beta }, set: { epsilon } }) {
    for (let j = 0; j < n; j++) {
      const column = range(0, m).map((i) => x[i * n + j]);
      mean[j] = sum(column) / m;
      variance[j] = sum(column.map((value) => (value - mean[j]) ** 2)) / m;
      column.forEach((value, i) => {
        y[i * n + j] = ((value - mean[j]) / Math.sqrt(variance[j] + epsilon)) * (gamma ? gamma[j] : 1) + (beta ? beta[j] : 0);
      });
    }
  },

  batchNormalizationInference({ m, n, needed: { x, mean, variance, y }, optional: { gamma, beta }, set: { epsilon } }) {
    for (let at = 0; at < m * n; at++) {
      const j = at % n;
      y[at] = ((x[at] - mean[j]) / Math.sqrt(variance[j] + epsilon)) * (gamma ? gamma[j] : 1) + (beta ? beta[j] : 0);
    }
  },

  // By the chain rule through every x of the column: x̂ depends on each by itself, through the mean, and through the variance.
  batchNormalizationGradient({ m, n, needed: { dY, x, mean, variance, dX }, optional: { gamma, dGamma, dBeta }, set: { epsilon } }) {
    for (let j = 0; j < n; j++) {
      const deviation = Math.sqrt(variance[j] + epsilon);
      const at = (i: number) => i * n + j;
      const rows = range(0, m);
      const normal = rows.map((i) => (x[at(i)] - mean[j]) / deviation);
      const dNormal = rows.map((i) => dY[at(i)] * (gamma ? gamma[j] : 1));
      const dVariance = sum(rows.map((i) => dNormal[i] * (x[at(i)] - mean[j]))) * -0.5 * deviation ** -3;
      const dMean = -sum(dNormal) / deviation;
      for (const i of rows) dX[at(i)] = dNormal[i] / deviation + (dVariance * 2 * (x[at(i)] - mean[j])) / m + dMean / m;
      if (dGamma) dGamma[j] = sum(rows.map((i) => dY[at(i)] * normal[i]));
      if (dBeta) dBeta[j] = sum(rows.map((i) => dY[at(i)]));
    }
  },

  updateStatistics({ m, n, needed: { mean, variance, movingMean, movingVariance }, set: { momentum }, stop }) {
    for (let j = 0; j < n; j++) {
      movingMean[j] = momentum * movingMean[j] + (1 - momentum) * mean[j];
      movingVariance[j] = momentum * movingVariance[j] + (1 - momentum) * ((variance[j] * m) / (m - 1));
    }
    if (![...movingMean.subarray(0, n), ...movingVariance.subarray(0, n)].every(Number.isFinite)) stop('nonFiniteWeight', 0);
  },

  layerNormalization({ m, n, needed: { x, y, inverse }, optional: { gamma, beta, mean }, set: { epsilon } }) {
    for (let i = 0; i < m; i++) {
      const row = x.subarray(i * n, (i + 1) * n);
      const centre = mean ? sum(row) / n : 0;
      if (mean) mean[i] = centre;
      inverse[i] = 1 / Math.sqrt(sum(row.map((value) => (value - centre) ** 2)) / n + epsilon);
      row.forEach((value, j) => {
        y[i * n + j] = (value - centre) * inverse[i] * (gamma ? gamma[j] : 1) + (beta ? beta[j] : 0);
      });
    }
  },

  layerNormalizationGradient({ m, n, needed: { dY, x, inverse, dX }, optional: { mean, gamma } }) {
    for (let i = 0; i < m; i++) {
      const row = range(i * n, n);
      const dNormal = row.map((at, j) => dY[at] * (gamma ? gamma[j] : 1));
      const difference = row.map((at) => x[at] - (mean ? mean[i] : 0));
      const dVariance = sum(dNormal.map((d, j) => d * difference[j])) * -0.5 * inverse[i] ** 3;
      const dMean = mean ? -sum(dNormal) * inverse[i] : 0;
      row.forEach((at, j) => (dX[at] = dNormal[j] * inverse[i] + (dVariance * 2 * difference[j]) / n + dMean / n));
    }
  },

  layerNormalizationScaleGradient({ m, n, needed: { dY, x, inverse, dGamma }, optional: { mean } }) {
    for (let j = 0; j < n; j++) dGamma[j] = sum(range(0, m).map((i) => dY[i * n + j] * (x[i * n + j] - (mean ? mean[i] : 0)) * inverse[i]));
  },

  dropout({ m, n, needed: { x, state, hyper, y, mask }, set: { stream, rate } }) {
    for (let i = 0; i < m * n; i++) {
      const u = unit(philox([i >>> 2, 0, hyper[10], stream], [state[0], state[1]])[i % 4]);
      mask[i] = u < rate ? 0 : 1 / (1 - rate);
      y[i] = x[i] * mask[i];
    }
  },

  dropoutGradient({ m, n, needed: { dY, mask, dX } }) {
    for (let at = 0; at < m * n; at++) dX[at] = dY[at] * mask[at];
  },

  // ── Losses ──────────────────────────────────────────────────────────────────────────────────────────────────────

  meanSquaredError: elementwiseLoss(
    (x, t) => (x - t) ** 2,
    (x, t) => 2 * (x - t),
  ),

  meanAbsoluteError: elementwiseLoss(
    (x, t) => Math.abs(x - t),
    (x, t) => Math.sign(x - t),
  ),

  huber: elementwiseLoss(
    (x, t, { delta }) => (Math.abs(x - t) > delta ? delta * (Math.abs(x - t) - delta / 2) : (x - t) ** 2 / 2),
    (x, t, { delta }) => (Math.abs(x - t) > delta ? delta * Math.sign(x - t) : x - t),
  ),

  binaryCrossEntropy: elementwiseLoss(
    (x, t) => softplus(x) - x * t,
    (x, t) => sigmoid(x) - t,
  ),

  softmaxCrossEntropy({ m, n, needed: { x, rowLoss, seed }, optional: { labels, t, dX }, set: { reduction, labelSmoothing }, ...call }) {
    for (let i = 0; i < m; i++) {
      if (labels && !(labels[i] >= 0 && labels[i] < n)) {
        call.stop('labelOutOfRange', call.firstRow + i);
        return;
      }
      const row = x.subarray(i * n, (i + 1) * n);
      const q = targets(i, n, labels, t).map((share) => (1 - labelSmoothing) * share + labelSmoothing / n);
      const most = Math.max(...row);
      const logSum = most + Math.log(sum(row.map((value) => Math.exp(value - most))));
      rowLoss[i] = sum(q.map((share, j) => share * (logSum - row[j])));
      const weight = sum(q);
      softmax(row).forEach((p, j) => dX && (dX[i * n + j] = seed[0] * scaleOf(reduction, m) * (p * weight - q[j])));
    }
  },

  categoricalCrossEntropy({ m, n, needed: { x, rowLoss, seed }, optional: { labels, t, dX }, set: { reduction }, ...call }) {
    const [low, high] = [1e-7, 1 - 1e-7];
    for (let i = 0; i < m; i++) {
      if (labels && !(labels[i] >= 0 && labels[i] < n)) {
        call.stop('labelOutOfRange', call.firstRow + i);
        return;
      }
      const row = x.subarray(i * n, (i + 1) * n);
      const q = targets(i, n, labels, t);
      rowLoss[i] = sum(q.map((share, j) => -share * Math.log(Math.min(Math.max(row[j], low), high))));
      // Where p is cut off, the loss does not depend on it.
      row.forEach((p, j) => dX && (dX[i * n + j] = p < low || p > high ? 0 : (seed[0] * scaleOf(reduction, m) * -q[j]) / p));
    }
  },

  lossTotal({ m, n, needed: { rowLoss, loss, totals }, set: { reduction }, firstRow, stop }) {
    const total = sum(rowLoss.subarray(0, m));
    loss[0] = total * scaleOf(reduction, m * n);
    totals[0] += total;
    totals[1] += m;
    if (!Number.isFinite(total)) stop('nonFiniteLoss', firstRow);
  },

  accuracy({ m, n, needed: { x, totals }, optional: { labels, t }, set: { threshold } }) {
    const largest = (values: Float64Array, i: number) => {
      const row = values.subarray(i * n, (i + 1) * n);
      return row.reduce((best, value, j) => (value > row[best] ? j : best), 0);
    };
    for (let i = 0; i < m; i++) {
      const right =
        n === 1
          ? x[i] > threshold === (labels ? labels[i] > 0 : t !== undefined && t[i] > 0.5)
          : largest(x, i) === (labels ? labels[i] : t && largest(t, i));
      if (right) totals[2]++;
    }
  },

  resetTotals({ needed: { totals } }) {
    totals.fill(0);
  },

  // ── Data sets ───────────────────────────────────────────────────────────────────────────────────────────────────

  gather({ m, n, needed: { y }, optional: { mean, scale }, set, feed, ...call }) {
    for (let i = 0; i < m; i++) {
      const row = sourceRow(i, feed, call);
      if (row === undefined) return;
      for (let j = 0; j < n; j++) {
        const value = feed.data[row * n + j];
        y[i * n + j] = mean && scale ? (value - mean[j]) * scale[j] : value;
      }
      if (set.unchecked === 0 && !y.subarray(i * n, (i + 1) * n).every(Number.isFinite)) {
        call.stop('nonFiniteInput', row);
        return;
      }
    }
  },

  gatherLabels({ m, n, needed: { labels }, feed, ...call }) {
    for (let i = 0; i < m; i++) {
      const row = sourceRow(i, feed, call);
      if (row === undefined) return;
      const label = feed.data[row];
      if (!Number.isInteger(label) || label < 0 || label >= n) {
        call.stop('labelOutOfRange', row);
        return;
      }
      labels[i] = label;
    }
  },

  scatter({ m, n, needed: { x }, feed, firstRow, stop }) {
    if (firstRow + m > feed.rows) stop('rowOutOfRange', firstRow);
    else for (let at = 0; at < m * n; at++) feed.data[firstRow * n + at] = x[at];
  },

  shuffle({ needed: { state }, feed }) {
    const [low, high, epoch] = state;
    for (let i = 0; i < feed.rows; i++) feed.data[i] = i;
    for (let drawn = 0; drawn < feed.rows - 1; drawn++) {
      // The last of those left changes places with one of them, drawn evenly.
      const left = feed.rows - drawn;
      const word = philox([drawn >>> 2, 0, epoch, SHUFFLE_STREAM], [low, high])[drawn % 4];
      const other = Number((BigInt(word) * BigInt(left)) >> 32n);
      [feed.data[left - 1], feed.data[other]] = [feed.data[other], feed.data[left - 1]];
    }
    state[2]++;
  },

  // ── Optimizers ──────────────────────────────────────────────────────────────────────────────────────────────────
  // hyper: learningRate, momentum or rho, weightDecay, epsilon, beta1, beta2, beta1ᵗ, beta2ᵗ, two limits, t

  clipValue({ m, needed: { g, hyper } }) {
    for (let i = 0; i < m; i++) g[i] = Math.min(Math.max(g[i], -hyper[8]), hyper[8]);
  },

  globalNormScale({ m, needed: { g, partials, scale, hyper } }) {
    partials.fill(0);
    for (let i = 0; i < m; i++) partials[Math.floor(i / 4096)] += g[i] ** 2;
    scale[0] = Math.min(1, hyper[9] / (Math.sqrt(sum(partials)) + 1e-6));
  },

  sgd: update(({ hyper: [learningRate, momentum, weightDecay], set: { nesterov } }) => (p, g, old) => {
    const gradient = decayed(g, p, weightDecay);
    if (old.moment1 === undefined) return { p: p - learningRate * gradient };
    const velocity = momentum * old.moment1 + gradient;
    return { p: p - learningRate * (nesterov ? gradient + momentum * velocity : velocity), moment1: velocity };
  }),

  rmsprop: update(({ hyper: [learningRate, rho, weightDecay, epsilon] }) => (p, g, { moment2 = 0 }) => {
    const gradient = decayed(g, p, weightDecay);
    const square = rho * moment2 + (1 - rho) * gradient ** 2;
    return { p: p - (learningRate * gradient) / (Math.sqrt(square) + epsilon), moment2: square };
  }),

  adagrad: update(({ hyper: [learningRate, , weightDecay, epsilon] }) => (p, g, { moment2 = 0 }) => {
    const gradient = decayed(g, p, weightDecay);
    const square = moment2 + gradient ** 2;
    return { p: p - (learningRate * gradient) / (Math.sqrt(square) + epsilon), moment2: square };
  }),

  adam: update(({ hyper, set: { decoupled } }) => {
    const [learningRate, , weightDecay, epsilon, beta1, beta2, power1, power2] = hyper;
    return (p, g, { moment1 = 0, moment2 = 0 }) => {
      const start = decoupled ? p - learningRate * weightDecay * p : p;
      const gradient = decoupled ? g : decayed(g, p, weightDecay);
      const mean = beta1 * moment1 + (1 - beta1) * gradient;
      const square = beta2 * moment2 + (1 - beta2) * gradient ** 2;
      const step = mean / (1 - power1) / (Math.sqrt(square / (1 - power2)) + epsilon);
      return { p: start - learningRate * step, moment1: mean, moment2: square };
    };
  }),

  advance({ needed: { hyper } }) {
    hyper[6] *= hyper[4];
    hyper[7] *= hyper[5];
    hyper[10]++;
  },

  // ── Masks and regularisers ──────────────────────────────────────────────────────────────────────────────────────

  applyMask({ m, needed: { x, mask } }) {
    for (let i = 0; i < m; i++) if (mask[i] === 0) x[i] = 0;
  },

  addScaled({ m, needed: { y, x }, set: { scale } }) {
    for (let i = 0; i < m; i++) y[i] += scale * x[i];
  },

  softThreshold({ m, needed: { x, hyper }, set: { lambda } }) {
    for (let i = 0; i < m; i++) x[i] = Math.sign(x[i]) * Math.max(Math.abs(x[i]) - hyper[0] * lambda, 0);
  },

  shrinkColumns({ m, n, needed: { x, hyper }, set: { lambda } }) {
    for (let j = 0; j < n; j++) {
      const column = range(0, m).map((i) => i * n + j);
      const norm = Math.sqrt(sum(column.map((at) => x[at] ** 2)));
      for (const at of column) x[at] *= norm === 0 ? 0 : Math.max(1 - (hyper[0] * lambda) / norm, 0);
    }
  },

  // ── First values ────────────────────────────────────────────────────────────────────────────────────────────────

  fill({ m, needed: { y }, set: { value } }) {
    y.fill(value, 0, m);
  },

  randomUniform({ m, needed: { y, state }, set: { stream, low, high } }) {
    for (let i = 0; i < m; i++) y[i] = low + (high - low) * unit(philox([i >>> 2, 0, 0, stream], [state[0], state[1]])[i % 4]);
  },

  randomNormal({ m, needed: { y, state }, set: { stream, mean, standardDeviation } }) {
    for (let i = 0; i < m; i++) y[i] = mean + standardDeviation * gaussian(i, 0, stream, state);
  },

  randomTruncatedNormal({ m, needed: { y, state }, set: { stream, mean, standardDeviation } }) {
    for (let i = 0; i < m; i++) {
      let z = gaussian(i, 0, stream, state);
      for (let attempt = 1; Math.abs(z) > 2; attempt++) z = gaussian(i, attempt, stream, state);
      y[i] = mean + standardDeviation * z;
    }
  },

  // Q = L⁻¹·vectors, L the Cholesky factor of their inner products.
  orthogonalize({ m, n, needed: { y }, set: { gain } }) {
    const [count, length, next, along] = m < n ? [m, n, n, 1] : [n, m, 1, n];
    const vectors = Array.from({ length: count }, (_, v) => Array.from({ length }, (_, i) => y[v * next + i * along]));
    for (const [v, vector] of vectors.entries()) if (!vector.some((value) => value !== 0)) vector[v] = 1;
    const lower: number[][] = [];
    vectors.forEach((vector, i) => {
      const row: number[] = [];
      lower.push(row);
      for (let j = 0; j <= i; j++) {
        const rest = sum(vector.map((value, at) => value * vectors[j][at])) - sum(lower[j].slice(0, j).map((value, k) => value * row[k]));
        row.push(j < i ? rest / lower[j][j] : Math.sqrt(rest));
      }
    });
    vectors.forEach((vector, v) => {
      lower[v].slice(0, v).forEach((share, k) => vectors[k].forEach((value, at) => (vector[at] -= share * value)));
      vector.forEach((value, at) => (vector[at] = value / lower[v][v]));
    });
    vectors.forEach((vector, v) => vector.forEach((value, i) => (y[v * next + i * along] = gain * value)));
  },

  // ── Measuring ───────────────────────────────────────────────────────────────────────────────────────────────────

  statistics({ m, n, needed: { x, statistics }, optional: { minus }, set: { threshold } }) {
    const values = differences(x, minus, range(0, m * n));
    if (values.length === 0) {
      statistics.fill(0);
      return;
    }
    const mean = meanOf(values);
    const share = (holds: (value: number) => boolean) => values.filter(holds).length / values.length;
    statistics.set([
      mean,
      meanOf(values.map((value) => (value - mean) ** 2)),
      meanOf(values.map((value) => value ** 2)),
      Math.min(...values),
      Math.max(...values),
      share((value) => value === 0),
      share((value) => Math.abs(value) < threshold),
      values.length,
    ]);
  },

  histogram({ m, n, needed: { x, statistics, counts } }) {
    const [, , , low, high] = statistics;
    counts.fill(0);
    for (const value of x.subarray(0, m * n)) {
      if (!(value >= low && value <= high)) continue;
      counts[low === high ? 0 : Math.min(Math.floor((value - low) * (32 / (high - low))), 31)]++;
    }
  },

  columnDistances({ m, n, needed: { x, from, squares } }) {
    for (let j = 0; j < n; j++) squares[j] = sum(range(0, m).map((i) => (x[i * n + j] - from[i * n + j]) ** 2));
  },

  spectralNorm({ m, n, needed: { x, v, square, next, work }, set: { iterations } }) {
    const norm = (values: readonly number[]) => Math.sqrt(sum(values.map((value) => value ** 2)));
    square[0] = 0;
    next.set(v);
    for (let iteration = 0; iteration < iterations; iteration++) {
      const before = Array.from(next);
      const image = range(0, m).map((i) => sum(before.map((value, j) => x[i * n + j] * value)));
      const back = before.map((_, j) => sum(image.map((value, i) => x[i * n + j] * value)));
      const largest = Math.max(...back.map(Math.abs), 0);
      square[0] = norm(before) === 0 ? 0 : (norm(image) / norm(before)) ** 2;
      work.set(before);
      next.set(largest === 0 ? before : back.map((value) => value / 2 ** Math.floor(Math.log2(largest))));
    }
  },

  multiplyAdd({ m, needed: { y }, set: { times, factor } }) {
    for (let i = 0; i < m; i++) for (let time = 0; time < times; time++) y[i] = y[i] * factor + factor;
  },

  sumWords({ m, n, needed: { x, y }, set: { times } }) {
    for (let i = 0; i < m; i++) y[i] = (times * sum(x.subarray(i * n, (i + 1) * n))) % 2 ** 32;
  },
};

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function meanOf(values: readonly number[]): number {
  return sum(values) / values.length;
}

/** Elements of x, or of x − minus. */
function differences(x: Float64Array, minus: Float64Array | undefined, elements: readonly number[]): number[] {
  return elements.map((at) => x[at] - (minus ? minus[at] : 0));
}

function range(start: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => start + i);
}

/** reduction 0 is the mean. */
function scaleOf(reduction: number, terms: number): number {
  return reduction === 0 ? 1 / terms : 1;
}

type Term = (x: number, t: number, set: Call['set']) => number;

function elementwiseLoss(term: Term, slope: Term): Op {
  return ({ m, n, needed: { x, t, rowLoss, seed }, optional: { dX }, set }) => {
    const scale = seed[0] * scaleOf(set.reduction, m * n);
    for (let i = 0; i < m; i++) {
      const row = range(i * n, n);
      rowLoss[i] = sum(row.map((at) => term(x[at], t[at], set)));
      for (const at of row) if (dX) dX[at] = scale * slope(x[at], t[at], set);
    }
  };
}

/** Row i of the targets as shares of the classes. */
function targets(i: number, n: number, labels: Float64Array | undefined, t: Float64Array | undefined): Float64Array {
  return t ? t.subarray(i * n, (i + 1) * n) : Float64Array.from(range(0, n), (j) => (j === labels?.[i] ? 1 : 0));
}

function softmax(x: Float64Array): Float64Array {
  const most = Math.max(...x);
  const powers = x.map((value) => Math.exp(value - most));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

function sourceRow(
  i: number,
  feed: ReferenceFeed,
  { order, firstRow, stop }: Pick<Call, 'order' | 'firstRow' | 'stop'>,
): number | undefined {
  const position = firstRow + i;
  const row = order ? (position < order.rows ? order.data[position] : feed.rows) : position;
  if (row < feed.rows) return row;
  stop('rowOutOfRange', position);
  return undefined;
}

/** L2. Without it a weight does not reach its gradient, not even as NaN. */
function decayed(g: number, p: number, weightDecay: number): number {
  return weightDecay === 0 ? g : g + weightDecay * p;
}

interface Update {
  readonly p: number;
  readonly moment1?: number;
  readonly moment2?: number;
}

/** ruleOf gives what becomes of one weight and its moments, given its gradient. */
function update(ruleOf: (call: { hyper: Float64Array; set: Call['set'] }) => (p: number, g: number, old: Omit<Update, 'p'>) => Update): Op {
  return ({ m, needed: { p, g, hyper, ...moments }, optional, set, stop }) => {
    const rule = ruleOf({ hyper, set });
    const { clip, moment1, moment2 }: Call['optional'] = { ...moments, ...optional };
    for (let i = 0; i < m; i++) {
      const updated = rule(p[i], g[i] * (clip?.[0] ?? 1), { moment1: moment1?.[i], moment2: moment2?.[i] });
      p[i] = updated.p;
      if (moment1 && updated.moment1 !== undefined) moment1[i] = updated.moment1;
      if (moment2 && updated.moment2 !== undefined) moment2[i] = updated.moment2;
    }
    if (!p.subarray(0, m).every(Number.isFinite)) stop('nonFiniteWeight', 0);
  };
}

// ── Activations ───────────────────────────────────────────────────────────────────────────────────────────────────

interface ActivationFunction {
  /** a(z) */
  readonly value: (z: number, parameter: number) => number;
  /** a'(z), v being y = a(z), or z where src/activations.ts says that the derivative needs it. */
  readonly slope: (v: number, parameter: number) => number;
}

const SELU = { scale: 1.0507009873554805, alpha: 1.6732632423543772 };

/** Everything but softmax, which works on rows. */
export const activations: Record<Exclude<ActivationName, 'softmax'>, ActivationFunction> = {
  linear: { value: (z) => z, slope: () => 1 },
  sigmoid: { value: sigmoid, slope: (y) => y * (1 - y) },
  tanh: { value: Math.tanh, slope: (y) => 1 - y * y },
  relu: { value: (z) => Math.max(z, 0), slope: (y) => (y <= 0 ? 0 : 1) },
  leakyRelu: { value: (z, slope) => (z > 0 ? z : slope * z), slope: (y, slope) => (y <= 0 ? slope : 1) },
  elu: { value: (z, alpha) => (z > 0 ? z : alpha * Math.expm1(z)), slope: (y, alpha) => (y > 0 ? 1 : y + alpha) },
  selu: {
    value: (z) => SELU.scale * (z > 0 ? z : SELU.alpha * Math.expm1(z)),
    slope: (y) => (y > 0 ? SELU.scale : y + SELU.scale * SELU.alpha),
  },
  gelu: { value: (z) => z * normalBelow(z), slope: (z) => normalBelow(z) + (z * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI) },
  geluTanh: {
    // ½z(1 + tanh u) with u = √(2/π)(z + 0.044715z³)
    value: (z) => z * sigmoid(2 * Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)),
    slope: (z) => {
      const gate = sigmoid(2 * Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3));
      const below = sigmoid(-2 * Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3));
      return gate + z * gate * below * 2 * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * z * z);
    },
  },
  silu: { value: (z) => z * sigmoid(z), slope: (z) => sigmoid(z) * (1 + z * sigmoid(-z)) },
  mish: {
    value: (z) => z * Math.tanh(softplus(z)),
    slope: (z) => Math.tanh(softplus(z)) + (z * sigmoid(z)) / Math.cosh(softplus(z)) ** 2,
  },
  softplus: { value: softplus, slope: sigmoid },
  softsign: { value: (z) => z / (1 + Math.abs(z)), slope: (y) => (1 - Math.abs(y)) ** 2 },
  hardSigmoid: { value: (z) => hardGate(z), slope: (y) => (y > 0 && y < 1 ? 1 / 6 : 0) },
  hardSwish: { value: (z) => z * hardGate(z), slope: (z) => (z < -3 ? 0 : z > 3 ? 1 : (2 * z + 3) / 6) },
};

function activationOf(code: number): ActivationFunction {
  const name = ACTIVATION_NAMES.at(code);
  if (name === undefined || name === 'softmax') throw new GradmillError('invalid-argument', `no activation has the number ${String(code)}`);
  return activations[name];
}

function sigmoid(z: number): number {
  return 1 / (1 + Math.exp(-z));
}

function softplus(z: number): number {
  return Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
}

function hardGate(z: number): number {
  return Math.min(Math.max(z + 3, 0), 6) / 6;
}

/** Φ(z): the share of N(0, 1) below z, to full relative accuracy in the lower tail. */
function normalBelow(z: number): number {
  const x = Math.abs(z);
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  if (x < 3) {
    // Φ(x) − ½ = φ(x)·(x + x³/3 + x⁵/(3·5) + …)
    let [term, total] = [x, x];
    for (let odd = 3; term > total * 1e-17; odd += 2) total += term *= (x * x) / odd;
    return 0.5 + Math.sign(z) * density * total;
  }
  // Φ(−x) = φ(x)/(x + 1/(x + 2/(x + 3/(x + …))))
  let fraction = x;
  for (let i = 100; i > 0; i--) fraction = x + i / fraction;
  return z < 0 ? density / fraction : 1 - density / fraction;
}

// ── Randomness ────────────────────────────────────────────────────────────────────────────────────────────────────

const SHUFFLE_STREAM = 0xffffffff;

type Words = readonly [number, number, number, number];

/** Philox4x32-10 of Salmon, Moraes, Dror and Shaw 2011: ten rounds of two 32 × 32 → 64 bit products. */
export function philox([a, b, c, d]: Words, [low, high]: readonly [number, number]): Words {
  for (let round = 0; round < 10; round++) {
    const [first, second] = [BigInt(a) * 0xd2511f53n, BigInt(c) * 0xcd9e8d57n];
    const [upperFirst, upperSecond] = [Number(first >> 32n), Number(second >> 32n)];
    const [keyLow, keyHigh] = [low + Math.imul(round, 0x9e3779b9), high + Math.imul(round, 0xbb67ae85)];
    [a, b, c, d] = [
      (upperSecond ^ b ^ keyLow) >>> 0,
      Number(second & 0xffffffffn),
      (upperFirst ^ d ^ keyHigh) >>> 0,
      Number(first & 0xffffffffn),
    ];
  }
  return [a, b, c, d];
}

/** A word's upper 24 bits as a number in [0, 1). */
function unit(word: number): number {
  return (word >>> 8) / 2 ** 24;
}

/** Standard normal number i of a stream: Box and Muller 1958, on a block's word pairs; the even one is the cosine. */
function gaussian(i: number, attempt: number, stream: number, state: Float64Array): number {
  const words = philox([i >>> 2, 0, attempt, stream], [state[0], state[1]]);
  const pair = i % 4 < 2 ? 0 : 2;
  const radius = Math.sqrt(-2 * Math.log(1 - unit(words[pair])));
  const angle = 2 * Math.PI * unit(words[pair + 1]);
  return radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
}
