// Sums in the one order defined for the whole library, and the row-wise and column-wise kernels built on them.
//
// A sum over n elements: chunks of 4096; in a chunk 16 virtual lanes (lane j takes i ≡ j mod 16, ascending), folded in
// halves; chunk results in chunk order. The order does not depend on the vector's length, so neither does the result.
#pragma once
#include "kernels.h"
#include "vmath.h"

namespace gradmill {
namespace {

constexpr size_t reductionChunk = 4096;
constexpr int virtualLanes = 16, laneVectors = virtualLanes / F::lanes;

struct Range {
  size_t begin, end;
};

// The part's share of `total`, in multiples of `grain`.
static inline Range share(size_t total, size_t grain, uint32_t part, uint32_t parts) {
  const uint64_t grains = (total + grain - 1) / grain;  // times a part's number it is more than WebAssembly's size_t holds
  const uint64_t begin = grains * part / parts * grain, end = grains * (part + 1) / parts * grain;
  return {size_t(begin < total ? begin : total), size_t(end < total ? end : total)};
}

static inline float foldLanes(const F (&sum)[laneVectors]) {
  float lane[virtualLanes];
  for (int v = 0; v < laneVectors; v++) sum[v].store(lane + v * F::lanes);
  for (int half = virtualLanes / 2; half > 0; half /= 2)
    for (int j = 0; j < half; j++) lane[j] += lane[j + half];
  return lane[0];
}

// Calls body(i, count) for each vector of [0, n): count is F::lanes, fewer only in the last.
template <class Body>
GRADMILL_INLINE void forVectors(size_t n, Body body) {
  size_t i = 0;
  for (; i + F::lanes <= n; i += F::lanes) body(i, F::lanes);
  if (i < n) body(i, int(n - i));
}

// Sums over one chunk, n ≤ 4096, in one pass: terms(i, count, term) gives a vector of each, whose lanes past count must be zero.
template <int sums, class Terms>
GRADMILL_INLINE void sumChunks(size_t n, float (&total)[sums], Terms terms) {
  F sum[sums][laneVectors];
  for (int s = 0; s < sums; s++)
    for (int v = 0; v < laneVectors; v++) sum[s][v] = F::zero();
  const auto add = [&](size_t i, int count, int v) {
    F term[sums];
    terms(i, count, term);
    for (int s = 0; s < sums; s++) sum[s][v] = sum[s][v] + term[s];
  };
  size_t i = 0;
  for (; i + virtualLanes <= n; i += virtualLanes)
    for (int v = 0; v < laneVectors; v++) add(i + v * F::lanes, F::lanes, v);
  for (int v = 0; i < n; i += F::lanes, v++) add(i, int(n - i < size_t(F::lanes) ? n - i : F::lanes), v);
  for (int s = 0; s < sums; s++) total[s] = foldLanes(sum[s]);
}

// Σ term(i, count) over one chunk.
template <class Term>
GRADMILL_INLINE float sumChunk(size_t n, Term term) {
  float total[1];
  sumChunks(n, total, [&](size_t i, int count, F* one) { one[0] = term(i, count); });
  return total[0];
}

template <class Term>
static inline float sumOf(size_t n, Term term) {
  if (n <= reductionChunk) return sumChunk(n, term);
  float total = 0.0f;
  for (size_t start = 0; start < n; start += reductionChunk)
    total += sumChunk(n - start < reductionChunk ? n - start : reductionChunk, [&](size_t i, int count) { return term(start + i, count); });
  return total;
}

GRADMILL_INLINE I laneNumbers() {
  alignas(64) static constexpr int32_t numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return I::load(numbers);
}

// a in the first `count` lanes, b in the rest.
GRADMILL_INLINE F firstLanes(F a, int count, F b = F::zero()) {
  return count == F::lanes ? a : select(lt(toFloat(laneNumbers()), F::set(float(count))), a, b);
}

// NaN where one is.
static inline float maxOf(const float* x, size_t n) {
  F most = F::set(x[0]);
  forVectors(n, [&](size_t i, int count) { most = max(most, firstLanes(F::loadPartial(x + i, count), count, most)); });
  float lane[F::lanes];
  most.store(lane);
  for (int half = F::lanes / 2; half > 0; half /= 2)
    for (int j = 0; j < half; j++) lane[j] = lane[j + half] > lane[j] || lane[j + half] != lane[j + half] ? lane[j + half] : lane[j];
  return lane[0];
}

static inline float* floats(const Call& call, int operand) { return static_cast<float*>(call.operands[operand]); }

static inline float immediateFloat(const Call& call, int index) {
  float value;
  __builtin_memcpy(&value, &call.immediates[index], sizeof value);
  return value;
}

// Of the faults that a step's parts find, the one of the batch's first row is kept, whoever comes first.
static inline void raise(const Call& call, Fault fault, uint32_t place, uint64_t row) {
  constexpr uint32_t none = uint32_t(Fault::none), held = ~0u;
  FaultRecord& record = *call.fault;
  uint32_t kept;
  do kept = __atomic_load_n(&record.fault, __ATOMIC_RELAXED);
  while (kept == held || !__atomic_compare_exchange_n(&record.fault, &kept, held, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
  if (kept == none || place < record.place) {
    record.instruction = call.instruction;
    record.row = row;
    record.place = place;
    kept = uint32_t(fault);
  }
  __atomic_store_n(&record.fault, kept, __ATOMIC_RELEASE);
}

namespace ops {

static void softmax(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t n = call.n;
  const Range rows = share(call.m, 1, part, parts);
  for (size_t i = rows.begin; i < rows.end; i++) {
    const float* x = floats(call, 0) + i * n;
    float* y = floats(call, 1) + i * n;
    const F most = F::set(maxOf(x, n));
    const float sum = sumOf(n, [&](size_t j, int count) {
      const F e = firstLanes(exp(F::loadPartial(x + j, count) - most), count);
      e.storePartial(y + j, count);
      return e;
    });
    forVectors(n, [&](size_t j, int count) { (F::loadPartial(y + j, count) / F::set(sum)).storePartial(y + j, count); });
  }
}

static void softmaxGradient(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t n = call.n;
  const Range rows = share(call.m, 1, part, parts);
  for (size_t i = rows.begin; i < rows.end; i++) {
    const float *dY = floats(call, 0) + i * n, *y = floats(call, 1) + i * n;
    float* dX = floats(call, 2) + i * n;
    const F dot = F::set(sumOf(n, [&](size_t j, int count) { return F::loadPartial(dY + j, count) * F::loadPartial(y + j, count); }));
    forVectors(n, [&](size_t j, int count) {
      (F::loadPartial(y + j, count) * (F::loadPartial(dY + j, count) - dot)).storePartial(dX + j, count);
    });
  }
}

static void sumRows(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t n = call.n;
  const Range columns = share(n, virtualLanes, part, parts);
  const float* x = floats(call, 0) + columns.begin;
  float* y = floats(call, 1) + columns.begin;
  const size_t width = columns.end - columns.begin;
  // Four vectors side by side hide the latency of the additions.
  constexpr size_t group = 4 * F::lanes;
  size_t j = 0;
  for (; j + group <= width; j += group) {
    F sum[4] = {F::zero(), F::zero(), F::zero(), F::zero()};
    for (size_t i = 0; i < call.m; i++)
      for (int v = 0; v < 4; v++) sum[v] = sum[v] + F::load(x + i * n + j + v * F::lanes);
    for (int v = 0; v < 4; v++) sum[v].store(y + j + v * F::lanes);
  }
  for (; j < width; j += F::lanes) {
    const int count = width - j < size_t(F::lanes) ? int(width - j) : F::lanes;
    F sum = F::zero();
    for (size_t i = 0; i < call.m; i++) sum = sum + F::loadPartial(x + i * n + j, count);
    sum.storePartial(y + j, count);
  }
}

static void globalNormScale(const Call& call, uint32_t part, uint32_t parts, char*) {
  const float* g = floats(call, 0);
  float* partials = floats(call, 1);
  if (call.phase == 0) {
    const Range elements = share(call.m, reductionChunk, part, parts);
    for (size_t start = elements.begin; start < elements.end; start += reductionChunk) {
      const size_t n = elements.end - start < reductionChunk ? elements.end - start : reductionChunk;
      partials[start / reductionChunk] = sumChunk(n, [&](size_t i, int count) {
        const F v = F::loadPartial(g + start + i, count);
        return v * v;
      });
    }
    return;
  }
  float sum = 0.0f;
  for (size_t chunk = 0; chunk * reductionChunk < call.m; chunk++) sum += partials[chunk];
  float norm[F::lanes];
  sqrt(F::set(sum)).store(norm);
  const float limit = float(static_cast<const double*>(call.operands[3])[9]);
  const float scale = limit / (norm[0] + 1e-6f);
  floats(call, 2)[0] = scale > 1.0f ? 1.0f : scale;
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
