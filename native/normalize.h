// Normalisation: batch statistics down the columns (Ioffe & Szegedy 2015), layer and root-mean-square statistics along the rows
// (Ba, Kiros & Hinton 2016; Zhang & Sennrich 2019).
//
// Columns: lanes run across them and rows are added in ascending order, as in sumRows. Rows: reduce.h's one reduction. A mean is
// Σx/n plus the mean of what x then still differs from it by, so that a constant, however large, differs by 0; the variance is
// the mean square of the difference, in a pass of its own.
#pragma once
#include "reduce.h"

namespace gradmill {
namespace {

template <int n>
struct Vectors {
  static constexpr int value = n;
};

// Calls body(column, count, Vectors<n>) for groups of n vectors side by side, which hide each other's latency, then for single ones;
// only the last of these may have a count below F::lanes. A group's rows stay in the cache from one pass to the next.
template <class Body>
GRADMILL_INLINE void forColumns(Range columns, Body body) {
  constexpr size_t group = 4 * F::lanes;
  size_t j = columns.begin;
  for (; j + group <= columns.end; j += group) body(j, F::lanes, Vectors<4>{});
  for (; j < columns.end; j += F::lanes) body(j, columns.end - j < size_t(F::lanes) ? int(columns.end - j) : F::lanes, Vectors<1>{});
}

// Some vectors of a row, from one column on.
template <int n>
struct Strip {
  F v[n];

  static GRADMILL_INLINE Strip set(float x) {
    Strip strip;
    for (int i = 0; i < n; i++) strip.v[i] = F::set(x);
    return strip;
  }
  static GRADMILL_INLINE Strip load(const float* p, int count) {
    Strip strip;
    for (int i = 0; i < n; i++) strip.v[i] = F::loadPartial(p + i * F::lanes, n > 1 ? F::lanes : count);
    return strip;
  }
  // `otherwise` where there is no such operand.
  static GRADMILL_INLINE Strip loadOr(float otherwise, const float* p, size_t column, int count) {
    return p ? load(p + column, count) : set(otherwise);
  }
  GRADMILL_INLINE void store(float* p, int count) const {
    for (int i = 0; i < n; i++) v[i].storePartial(p + i * F::lanes, n > 1 ? F::lanes : count);
  }
  GRADMILL_INLINE void storeTo(float* p, size_t column, int count) const {
    if (p) store(p + column, count);
  }
};

static inline F inverseDeviation(F variance, F epsilon) { return F::set(1.0f) / sqrt(variance + epsilon); }

static inline F meanOf(const float* x, size_t n) {
  const F elements = F::set(float(n)),
          mean = F::set(sumOf(n, [&](size_t j, int count) { return F::loadPartial(x + j, count); })) / elements;
  const float rest = sumOf(n, [&](size_t j, int count) { return firstLanes(F::loadPartial(x + j, count) - mean, count); });
  return mean + F::set(rest) / elements;
}

namespace ops {

static void batchNormalization(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t m = call.m, n = call.n;
  const float *x = floats(call, 0), *gamma = floats(call, 1), *beta = floats(call, 2);
  float *y = floats(call, 3), *means = floats(call, 4), *variances = floats(call, 5);
  const F epsilon = F::set(immediateFloat(call, 0)), rows = F::set(float(m));
  forColumns(share(n, virtualLanes, part, parts), [&](size_t j, int count, auto width) {
    constexpr int w = width.value;
    using S = Strip<w>;
    S mean = S::set(0.0f), rest = S::set(0.0f), variance = S::set(0.0f), factor = S::loadOr(1.0f, gamma, j, count);
    const S shift = S::loadOr(0.0f, beta, j, count);
    for (size_t i = 0; i < m; i++) {
      const S at = S::load(x + i * n + j, count);
      for (int v = 0; v < w; v++) mean.v[v] = mean.v[v] + at.v[v];
    }
    for (int v = 0; v < w; v++) mean.v[v] = mean.v[v] / rows;
    for (size_t i = 0; i < m; i++) {
      const S at = S::load(x + i * n + j, count);
      for (int v = 0; v < w; v++) rest.v[v] = rest.v[v] + (at.v[v] - mean.v[v]);
    }
    for (int v = 0; v < w; v++) mean.v[v] = mean.v[v] + rest.v[v] / rows;
    for (size_t i = 0; i < m; i++) {
      const S at = S::load(x + i * n + j, count);
      for (int v = 0; v < w; v++) {
        const F d = at.v[v] - mean.v[v];
        variance.v[v] = fma(d, d, variance.v[v]);
      }
    }
    for (int v = 0; v < w; v++) {
      variance.v[v] = variance.v[v] / rows;
      factor.v[v] = factor.v[v] * inverseDeviation(variance.v[v], epsilon);
    }
    mean.store(means + j, count);
    variance.store(variances + j, count);
    for (size_t i = 0; i < m; i++) {
      S at = S::load(x + i * n + j, count);
      for (int v = 0; v < w; v++) at.v[v] = fma(at.v[v] - mean.v[v], factor.v[v], shift.v[v]);
      at.store(y + i * n + j, count);
    }
  });
}

static void batchNormalizationInference(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t m = call.m, n = call.n;
  const float *x = floats(call, 0), *means = floats(call, 1), *variances = floats(call, 2), *gamma = floats(call, 3),
              *beta = floats(call, 4);
  float* y = floats(call, 5);
  const F epsilon = F::set(immediateFloat(call, 0));
  forColumns(share(n, virtualLanes, part, parts), [&](size_t j, int count, auto width) {
    constexpr int w = width.value;
    using S = Strip<w>;
    const S mean = S::load(means + j, count), variance = S::load(variances + j, count), shift = S::loadOr(0.0f, beta, j, count);
    S factor = S::loadOr(1.0f, gamma, j, count);
    for (int v = 0; v < w; v++) factor.v[v] = factor.v[v] * inverseDeviation(variance.v[v], epsilon);
    for (size_t i = 0; i < m; i++) {
      S at = S::load(x + i * n + j, count);
      for (int v = 0; v < w; v++) at.v[v] = fma(at.v[v] - mean.v[v], factor.v[v], shift.v[v]);
      at.store(y + i * n + j, count);
    }
  });
}

static void batchNormalizationGradient(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t m = call.m, n = call.n;
  const float *dY = floats(call, 0), *x = floats(call, 1), *means = floats(call, 2), *variances = floats(call, 3), *gamma = floats(call, 4);
  float *dX = floats(call, 5), *dGamma = floats(call, 6), *dBeta = floats(call, 7);
  const F epsilon = F::set(immediateFloat(call, 0)), rows = F::set(float(m));
  forColumns(share(n, virtualLanes, part, parts), [&](size_t j, int count, auto width) {
    constexpr int w = width.value;
    using S = Strip<w>;
    const S mean = S::load(means + j, count), variance = S::load(variances + j, count);
    S inverse, factor = S::loadOr(1.0f, gamma, j, count), sum = S::set(0.0f), product = S::set(0.0f);
    for (int v = 0; v < w; v++) {
      inverse.v[v] = inverseDeviation(variance.v[v], epsilon);
      factor.v[v] = factor.v[v] * inverse.v[v];
    }
    for (size_t i = 0; i < m; i++) {
      const S at = S::load(x + i * n + j, count), d = S::load(dY + i * n + j, count);
      for (int v = 0; v < w; v++) {
        sum.v[v] = sum.v[v] + d.v[v];
        product.v[v] = fma(d.v[v], (at.v[v] - mean.v[v]) * inverse.v[v], product.v[v]);
      }
    }
    product.storeTo(dGamma, j, count);
    sum.storeTo(dBeta, j, count);
    for (int v = 0; v < w; v++) {
      sum.v[v] = sum.v[v] / rows;
      product.v[v] = product.v[v] / rows;
    }
    for (size_t i = 0; i < m; i++) {
      const S at = S::load(x + i * n + j, count);
      S d = S::load(dY + i * n + j, count);
      for (int v = 0; v < w; v++) d.v[v] = factor.v[v] * fnma((at.v[v] - mean.v[v]) * inverse.v[v], product.v[v], d.v[v] - sum.v[v]);
      d.store(dX + i * n + j, count);
    }
  });
}

static void updateStatistics(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range columns = share(call.n, virtualLanes, part, parts);
  const float *mean = floats(call, 0), *variance = floats(call, 1);
  float *movingMean = floats(call, 2), *movingVariance = floats(call, 3);
  const float momentum = immediateFloat(call, 0), rest = 1.0f - momentum;
  const F old = F::set(momentum), fresh = F::set(rest), unbiased = F::set(float(call.m) / (float(call.m) - 1.0f));
  F finite = F::zero();  // 0 while all are finite, else NaN
  forVectors(columns.end - columns.begin, [&](size_t i, int count) {
    const size_t j = columns.begin + i;
    const F newMean = fma(old, F::loadPartial(movingMean + j, count), fresh * F::loadPartial(mean + j, count));
    const F newVariance =
        fma(old, F::loadPartial(movingVariance + j, count), fresh * firstLanes(F::loadPartial(variance + j, count) * unbiased, count));
    newMean.storePartial(movingMean + j, count);
    newVariance.storePartial(movingVariance + j, count);
    finite = finite + ((newMean - newMean) + (newVariance - newVariance));
  });
  if (any(isnan(finite))) raise(call, Fault::nonFiniteWeight, 0, 0);
}

static void layerNormalization(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t n = call.n;
  const float *gamma = floats(call, 1), *beta = floats(call, 2);
  float *means = floats(call, 5), *inverses = floats(call, 4);
  const F epsilon = F::set(immediateFloat(call, 0)), one = F::set(1.0f), zero = F::zero();
  const Range rows = share(call.m, 1, part, parts);
  for (size_t i = rows.begin; i < rows.end; i++) {
    const float* x = floats(call, 0) + i * n;
    float* y = floats(call, 3) + i * n;
    const F mean = means ? meanOf(x, n) : zero;
    if (means) mean.storePartial(means + i, 1);
    const float squares = sumOf(n, [&](size_t j, int count) {
      const F d = firstLanes(F::loadPartial(x + j, count) - mean, count);
      return d * d;
    });
    const F inverse = inverseDeviation(F::set(squares) / F::set(float(n)), epsilon);
    inverse.storePartial(inverses + i, 1);
    forVectors(n, [&](size_t j, int count) {
      const F normal = (F::loadPartial(x + j, count) - mean) * inverse;
      const F factor = gamma ? F::loadPartial(gamma + j, count) : one, shift = beta ? F::loadPartial(beta + j, count) : zero;
      fma(normal, factor, shift).storePartial(y + j, count);
    });
  }
}

static void layerNormalizationGradient(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t n = call.n;
  const float *inverses = floats(call, 2), *means = floats(call, 3), *gamma = floats(call, 4);
  const F one = F::set(1.0f), columns = F::set(float(n));
  const Range rows = share(call.m, 1, part, parts);
  for (size_t i = rows.begin; i < rows.end; i++) {
    const float *dY = floats(call, 0) + i * n, *x = floats(call, 1) + i * n;
    float* dX = floats(call, 5) + i * n;
    const F mean = F::set(means ? means[i] : 0.0f), inverse = F::set(inverses[i]);
    const auto scaled = [&](size_t j, int count) {
      return F::loadPartial(dY + j, count) * (gamma ? F::loadPartial(gamma + j, count) : one);
    };
    const auto normal = [&](size_t j, int count) { return (F::loadPartial(x + j, count) - mean) * inverse; };
    const F along = F::set(sumOf(n, [&](size_t j, int count) { return scaled(j, count) * normal(j, count); })) / columns;
    const F level = means ? F::set(sumOf(n, scaled)) / columns : F::zero();
    forVectors(
        n, [&](size_t j, int count) { (inverse * fnma(normal(j, count), along, scaled(j, count) - level)).storePartial(dX + j, count); });
  }
}

static void layerNormalizationScaleGradient(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t m = call.m, n = call.n;
  const float *dY = floats(call, 0), *x = floats(call, 1), *inverses = floats(call, 2), *means = floats(call, 3);
  float* dGamma = floats(call, 4);
  forColumns(share(n, virtualLanes, part, parts), [&](size_t j, int count, auto width) {
    constexpr int w = width.value;
    using S = Strip<w>;
    S product = S::set(0.0f);
    for (size_t i = 0; i < m; i++) {
      const S at = S::load(x + i * n + j, count), d = S::load(dY + i * n + j, count);
      const F mean = F::set(means ? means[i] : 0.0f), inverse = F::set(inverses[i]);
      for (int v = 0; v < w; v++) product.v[v] = fma(d.v[v], (at.v[v] - mean) * inverse, product.v[v]);
    }
    product.store(dGamma + j, count);
  });
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
