// The loss layer: rowLoss[i] = Σ_j term(x, t) and, when training, dX = seed · scale · ∂term/∂x (THEORY: back propagation).
// Also the epoch's totals, in double, and accuracy.
#pragma once
#include "reduce.h"
#include "vmath.h"

namespace gradmill {
namespace {

constexpr uint32_t reductionSum = 1;  // the immediate `reduction`; 0 is mean

// Operands of every loss op, in the order of ops.h.
struct LossRows {
  const float* x;
  const int32_t* labels;
  const float* t;
  float* rowLoss;
  float* dX;
  float scale;  // of the gradient
};

static inline LossRows lossRows(const Call& call, bool classes) {
  const int first = classes ? 2 : 1;
  const float terms = float(call.m) * (classes ? 1.0f : float(call.n));
  const float seed = floats(call, first + 2)[0];
  return {floats(call, 0),         classes ? static_cast<const int32_t*>(call.operands[1]) : nullptr,
          floats(call, first),     floats(call, first + 1),
          floats(call, first + 3), call.immediates[0] == reductionSum ? seed : seed / terms};
}

struct TermAndSlope {
  F term, slope;
};

// Losses that are a sum over elements. term(x, t) gives both the term and its slope.
template <class Term>
static inline void elementwiseLoss(const Call& call, uint32_t part, uint32_t parts, Term term) {
  const LossRows loss = lossRows(call, false);
  const Range rows = share(call.m, virtualLanes, part, parts);
  const F scale = F::set(loss.scale);
  const auto at = [&](size_t offset, int count) {
    const TermAndSlope both = term(F::loadPartial(loss.x + offset, count), F::loadPartial(loss.t + offset, count));
    if (loss.dX) (scale * both.slope).storePartial(loss.dX + offset, count);
    return firstLanes(both.term, count);
  };
  if (call.n == 1) {
    // One term a row: lanes run across rows.
    forVectors(rows.end - rows.begin,
               [&](size_t i, int count) { (F::zero() + at(rows.begin + i, count)).storePartial(loss.rowLoss + rows.begin + i, count); });
    return;
  }
  for (size_t i = rows.begin; i < rows.end; i++)
    loss.rowLoss[i] = sumOf(call.n, [&](size_t j, int count) { return at(i * call.n + j, count); });
}

static inline float firstLane(F v) {
  float lane[F::lanes];
  v.store(lane);
  return lane[0];
}

// The target distribution of a row: one-hot at the label, or t's row, smoothed to (1 − s)·q + s/n.
struct TargetRow {
  const float* t;
  int32_t label;
  float smoothing, uniform;

  F operator()(size_t j, int count) const {
    const F hot = t ? F::loadPartial(t + j, count) : select(eq(laneNumbers(), I::set(label - int32_t(j))), F::set(1.0f), F::zero());
    return smoothing == 0.0f ? hot : firstLanes(F::set(1.0f - smoothing) * hot + F::set(uniform), count);
  }
};

namespace ops {

static void meanSquaredError(const Call& call, uint32_t part, uint32_t parts, char*) {
  elementwiseLoss(call, part, parts, [](F x, F t) {
    const F difference = x - t;
    return TermAndSlope{difference * difference, difference + difference};
  });
}

static void meanAbsoluteError(const Call& call, uint32_t part, uint32_t parts, char*) {
  elementwiseLoss(call, part, parts, [](F x, F t) {
    const F difference = x - t, zero = F::zero(), one = F::set(1.0f);
    return TermAndSlope{abs(difference), select(gt(difference, zero), one, select(lt(difference, zero), zero - one, difference))};
  });
}

static void huber(const Call& call, uint32_t part, uint32_t parts, char*) {
  const F delta = F::set(immediateFloat(call, 1)), half = F::set(0.5f);
  elementwiseLoss(call, part, parts, [&](F x, F t) {
    const F difference = x - t, size = abs(difference), zero = F::zero();
    const F outer = select(gt(difference, zero), delta, zero - delta);
    return TermAndSlope{select(gt(size, delta), delta * (size - half * delta), half * difference * difference),
                        select(gt(size, delta), outer, difference)};
  });
}

static void binaryCrossEntropy(const Call& call, uint32_t part, uint32_t parts, char*) {
  elementwiseLoss(call, part, parts, [](F x, F t) {
    const F zero = F::zero();
    return TermAndSlope{max(x, zero) - x * t + log1p(exp(zero - abs(x))), sigmoid(x) - t};
  });
}

static void softmaxCrossEntropy(const Call& call, uint32_t part, uint32_t parts, char*) {
  const LossRows loss = lossRows(call, true);
  const size_t n = call.n;
  const float smoothing = immediateFloat(call, 1);
  const F scale = F::set(loss.scale);
  const Range rows = share(call.m, 1, part, parts);
  for (size_t i = rows.begin; i < rows.end; i++) {
    const float* x = loss.x + i * n;
    float* dX = loss.dX ? loss.dX + i * n : nullptr;
    const int32_t label = loss.labels ? loss.labels[i] : 0;
    if (uint32_t(label) >= n) return raise(call, Fault::labelOutOfRange, uint32_t(i), call.firstRow + i);
    const TargetRow target = {loss.t ? loss.t + i * n : nullptr, label, smoothing, smoothing / float(n)};
    const float most = maxOf(x, n);
    const F shift = F::set(most);
    // exp(x − max) is kept in dX until the sum is known.
    const float sum = sumOf(n, [&](size_t j, int count) {
      const F e = firstLanes(exp(F::loadPartial(x + j, count) - shift), count);
      if (dX) e.storePartial(dX + j, count);
      return e;
    });
    const float logSum = firstLane(log(F::set(sum)));
    float weight = 1.0f;
    if (!target.t && smoothing == 0.0f) {
      loss.rowLoss[i] = (most - x[label]) + logSum;
    } else {
      const F total = F::set(logSum);
      loss.rowLoss[i] = sumOf(n, [&](size_t j, int count) { return target(j, count) * ((shift - F::loadPartial(x + j, count)) + total); });
      if (target.t) weight = sumOf(n, target);
    }
    if (!dX) continue;
    const F divisor = F::set(sum), factor = F::set(weight);
    forVectors(n, [&](size_t j, int count) {
      const F y = F::loadPartial(dX + j, count) / divisor;
      (scale * (y * factor - target(j, count))).storePartial(dX + j, count);
    });
  }
}

static void categoricalCrossEntropy(const Call& call, uint32_t part, uint32_t parts, char*) {
  const LossRows loss = lossRows(call, true);
  const size_t n = call.n;
  const F scale = F::set(loss.scale), zero = F::zero(), low = F::set(1e-7f), high = F::set(1.0f - 1e-7f);
  const Range rows = share(call.m, 1, part, parts);
  for (size_t i = rows.begin; i < rows.end; i++) {
    const float* x = loss.x + i * n;
    const int32_t label = loss.labels ? loss.labels[i] : -1;
    if (loss.labels && uint32_t(label) >= n) return raise(call, Fault::labelOutOfRange, uint32_t(i), call.firstRow + i);
    const TargetRow target = {loss.t ? loss.t + i * n : nullptr, label, 0.0f, 0.0f};
    loss.rowLoss[i] = sumOf(n, [&](size_t j, int count) {
      const F p = F::loadPartial(x + j, count), q = target(j, count), clipped = max(min(p, high), low);
      if (loss.dX) {
        const F slope = select(le(low, p) & le(p, high), (zero - q) / clipped, select(isnan(p), p, zero));
        (scale * slope).storePartial(loss.dX + i * n + j, count);
      }
      return firstLanes((zero - q) * log(clipped), count);
    });
  }
}

static void lossTotal(const Call& call, uint32_t, uint32_t, char*) {
  const float* rowLoss = floats(call, 0);
  double sum = 0.0;
  for (size_t i = 0; i < call.m; i++) sum += double(rowLoss[i]);
  const double terms = double(call.m) * double(call.n);
  floats(call, 1)[0] = float(call.immediates[0] == reductionSum ? sum : sum / terms);
  double* totals = static_cast<double*>(call.operands[2]);
  totals[0] += sum;
  totals[1] += double(call.m);
  if (!(sum - sum == 0.0)) raise(call, Fault::nonFiniteLoss, 0, call.firstRow);
}

static void accuracy(const Call& call, uint32_t, uint32_t, char*) {
  const size_t n = call.n;
  const float *x = floats(call, 0), *t = floats(call, 2);
  const int32_t* labels = static_cast<const int32_t*>(call.operands[1]);
  const float threshold = immediateFloat(call, 0);
  const auto largest = [n](const float* row) {
    size_t best = 0;
    for (size_t j = 1; j < n; j++)
      if (row[j] > row[best]) best = j;
    return best;
  };
  uint32_t correct = 0;
  for (size_t i = 0; i < call.m; i++) {
    if (n == 1)
      correct += (x[i] > threshold) == (labels ? labels[i] > 0 : t[i] > 0.5f);
    else
      correct += largest(x + i * n) == (labels ? size_t(labels[i]) : largest(t + i * n));
  }
  static_cast<double*>(call.operands[3])[2] += double(correct);
}

static void resetTotals(const Call& call, uint32_t, uint32_t, char*) {
  for (int i = 0; i < 8; i++) static_cast<double*>(call.operands[0])[i] = 0.0;
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
