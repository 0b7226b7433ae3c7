// The door between data sets and the arena: batch rows in the run's order, converted to float and scaled on the way in.
// Data sets are untrusted: what is not finite, and labels out of range, stop the run.
#pragma once
#include "reduce.h"

namespace gradmill {
namespace {

// Calls body(pointer) with the feed's data as its element type.
template <class Body>
static inline void withElements(const Feed& feed, Body body) {
  switch (feed.type) {
    case ElementType::i8:
      return body(static_cast<const int8_t*>(feed.data));
    case ElementType::u8:
      return body(static_cast<const uint8_t*>(feed.data));
    case ElementType::i16:
      return body(static_cast<const int16_t*>(feed.data));
    case ElementType::u16:
      return body(static_cast<const uint16_t*>(feed.data));
    case ElementType::i32:
      return body(static_cast<const int32_t*>(feed.data));
    case ElementType::u32:
      return body(static_cast<const uint32_t*>(feed.data));
    case ElementType::f32:
      return body(static_cast<const float*>(feed.data));
    case ElementType::f64:
      return body(static_cast<const double*>(feed.data));
    case ElementType::count:
      return;
  }
}

GRADMILL_INLINE F toFloats(const float* source, int count) { return F::loadPartial(source, count); }
template <class Element>
GRADMILL_INLINE F toFloats(const Element* source, int count) {
  float converted[F::lanes];
  if (count == F::lanes)
    for (int j = 0; j < F::lanes; j++) converted[j] = float(source[j]);
  else
    for (int j = 0; j < F::lanes; j++) converted[j] = j < count ? float(source[j]) : 0.0f;
  return F::load(converted);
}

// The data set's row that is the batch's row i; feed.rows where there is none.
static inline uint64_t sourceRow(const Call& call, const Feed& feed, uint64_t i) {
  const uint64_t position = call.firstRow + i;
  const Feed& order = call.feeds[feedOrder];
  const uint64_t row = order.data ? (position < order.rows ? static_cast<const uint32_t*>(order.data)[position] : feed.rows) : position;
  return row < feed.rows ? row : feed.rows;
}

namespace ops {

static void gather(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Feed& feed = call.feeds[call.immediates[0]];
  const size_t n = call.n;
  const float *mean = floats(call, 1), *scale = floats(call, 2);
  const Range rows = share(call.m, 1, part, parts);
  // Rows lie anywhere in the data set: one that is about 4 KiB ahead is fetched while this one is converted.
  const size_t most = 1 + 4096 / (n * bytesOf(feed.type) + 1), half = 1 + (rows.end - rows.begin) / 2, ahead = smaller(most, half);
  for (size_t i = rows.begin; i < rows.end; i++) {
    float* y = floats(call, 0) + i * n;
    const uint64_t row = sourceRow(call, feed, i);
    if (row == feed.rows) return raise(call, Fault::rowOutOfRange, uint32_t(i), call.firstRow + i);
    const uint64_t next = i + ahead < rows.end ? sourceRow(call, feed, i + ahead) : row;
    F finite = F::zero();  // 0 while all are finite, else NaN
    withElements(feed, [&](auto* elements) {
      const auto* source = elements + row * n;
      const auto* later = elements + (next == feed.rows ? row : next) * n;
      forVectors(n, [&](size_t j, int count) {
        __builtin_prefetch(later + j);
        F x = toFloats(source + j, count);
        if (mean) x = (x - F::loadPartial(mean + j, count)) * F::loadPartial(scale + j, count);
        finite = finite + (x - x);
        x.storePartial(y + j, count);
      });
    });
    if (call.immediates[1] == 0 && any(isnan(finite))) return raise(call, Fault::nonFiniteInput, uint32_t(i), row);
  }
}

static void gatherLabels(const Call& call, uint32_t, uint32_t, char*) {
  const Feed& feed = call.feeds[call.immediates[0]];
  int32_t* labels = static_cast<int32_t*>(call.operands[0]);
  withElements(feed, [&](auto* source) {
    for (uint32_t i = 0; i < call.m; i++) {
      const uint64_t row = sourceRow(call, feed, i);
      if (row == feed.rows) return raise(call, Fault::rowOutOfRange, i, call.firstRow + i);
      const double label = double(source[row]);
      // Also false for NaN.
      if (!(label >= 0.0 && label < double(call.n)) || double(int32_t(label)) != label) return raise(call, Fault::labelOutOfRange, i, row);
      labels[i] = int32_t(label);
    }
  });
}

static void scatter(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Feed& feed = call.feeds[call.immediates[0]];
  const Range rows = share(call.m, 1, part, parts);
  if (rows.end > feed.rows || call.firstRow > feed.rows - rows.end) return raise(call, Fault::rowOutOfRange, 0, call.firstRow);
  __builtin_memcpy(static_cast<float*>(feed.data) + (call.firstRow + rows.begin) * call.n, floats(call, 0) + rows.begin * call.n,
                   (rows.end - rows.begin) * call.n * sizeof(float));
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
