// What is done to gradients before an update and to weights after it: masks and regularisers.
// hyper[0] is the learning rate; see optimizers.h.
#pragma once
#include "optimizers.h"

namespace gradmill {
namespace {
namespace ops {

// Selected, not multiplied: what a pruned weight held, NaN included, is gone.
static void applyMask(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(call.m, virtualLanes, part, parts);
  float* x = floats(call, 0) + at.begin;
  const float* mask = floats(call, 1) + at.begin;
  forVectors(at.end - at.begin, [&](size_t i, int count) {
    select(eq(F::loadPartial(mask + i, count), F::zero()), F::zero(), F::loadPartial(x + i, count)).storePartial(x + i, count);
  });
}

static void addScaled(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(call.m, virtualLanes, part, parts);
  float* y = floats(call, 0) + at.begin;
  const float* x = floats(call, 1) + at.begin;
  const F scale = F::set(immediateFloat(call, 0));
  forVectors(at.end - at.begin, [&](size_t i, int count) {
    fma(scale, F::loadPartial(x + i, count), F::loadPartial(y + i, count)).storePartial(y + i, count);
  });
}

static void softThreshold(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(call.m, virtualLanes, part, parts);
  float* x = floats(call, 0) + at.begin;
  const F limit = F::set(float(hyperOf(call, 1)[0] * immediateFloat(call, 0))), least = F::zero() - limit;
  // Within the limits x − x, which is exactly 0.
  forVectors(at.end - at.begin, [&](size_t i, int count) {
    const F w = F::loadPartial(x + i, count);
    (w - min(max(w, least), limit)).storePartial(x + i, count);
  });
}

static void shrinkColumns(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t n = call.n;
  const Range columns = share(n, virtualLanes, part, parts);
  const float limit = float(hyperOf(call, 1)[0] * immediateFloat(call, 0));
  if (limit == 0.0f) return;
  float* x = floats(call, 0) + columns.begin;
  forVectors(columns.end - columns.begin, [&](size_t j, int count) {
    F squares = F::zero();
    for (size_t i = 0; i < call.m; i++) {
      const F w = F::loadPartial(x + i * n + j, count);
      squares = fma(w, w, squares);
    }
    // A column of zeros: limit / 0 is infinite, and the factor 0.
    const F factor = max(F::set(1.0f) - F::set(limit) / sqrt(squares), F::zero());
    // + 0 turns −0 into 0.
    for (size_t i = 0; i < call.m; i++) fma(F::loadPartial(x + i * n + j, count), factor, F::zero()).storePartial(x + i * n + j, count);
  });
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
