// What diagnostics measure of a tensor: moments, extremes, counts, histograms, and a matrix's largest singular value. Sums of
// floats are those of reduce.h, a chunk at a time; chunks are added up in double, in order.
#pragma once
#include "reduce.h"

namespace gradmill {
namespace {

constexpr int histogramBins = 32;

// The power of two that brings numbers of up to `most` in size to below 4, so that no square overflows, and none that matters
// vanishes. Multiplying by it is exact.
static inline float powerOfTwo(float most) {
  uint32_t bits;
  __builtin_memcpy(&bits, &most, sizeof bits);
  uint32_t exponent = bits >> 23 & 0xFF;
  exponent = exponent < 1 ? 1 : exponent > 253 ? 253 : exponent;
  bits = (254 - exponent) << 23;
  float scale;
  __builtin_memcpy(&scale, &bits, sizeof scale);
  return scale;
}

// v in the first `count` lanes, `rest` in the others.
GRADMILL_INLINE F padded(F v, int count, float rest) {
  if (count == F::lanes) return v;
  float lane[F::lanes];
  v.store(lane);
  for (int j = count; j < F::lanes; j++) lane[j] = rest;
  return F::load(lane);
}

// The smallest of two, NaN where either is.
static inline double least(double a, double b) { return b < a || b != b ? b : a; }
static inline double most(double a, double b) { return b > a || b != b ? b : a; }

// 1 in the lanes where m holds, of the first `count`.
GRADMILL_INLINE F ones(M m, int count) { return firstLanes(select(m, F::set(1.0f), F::zero()), count); }

static inline double addLanes(F v) {
  float lane[F::lanes];
  v.store(lane);
  double sum = 0.0;
  for (int j = 0; j < F::lanes; j++) sum += double(lane[j]);
  return sum;
}

// The op `statistics` of n > 0 numbers; load(i, count) gives some of them, and zero past count. Without a threshold nothing is small.
template <bool thresholded, class Load>
static inline void describe(size_t n, float threshold, Load load, double* out) {
  float first[F::lanes];
  load(0, n < size_t(F::lanes) ? int(n) : F::lanes).store(first);
  F low = F::set(first[0]), high = low;
  const F zero = F::zero(), limit = F::set(threshold);
  const auto chunkAt = [n](size_t start) { return n - start < reductionChunk ? n - start : reductionChunk; };
  double sum = 0.0, zeros = 0.0, small = 0.0;
  for (size_t start = 0; start < n; start += reductionChunk) {
    // Counts of a chunk are exact as floats.
    F chunkZeros = zero, chunkSmall = zero;
    sum += double(sumChunk(chunkAt(start), [&](size_t i, int count) {
      const F v = load(start + i, count), real = padded(v, count, first[0]);
      // One instruction each, which may lose a NaN; the sum keeps it.
      low = atMost(low, real);
      high = atLeast(high, real);
      chunkZeros = chunkZeros + ones(eq(v, zero), count);
      if (thresholded) chunkSmall = chunkSmall + ones(lt(abs(v), limit), count);
      return v;
    }));
    zeros += addLanes(chunkZeros);
    if (thresholded) small += addLanes(chunkSmall);
  }
  float lows[F::lanes], highs[F::lanes];
  low.store(lows);
  high.store(highs);
  double smallest = double(lows[0]), largest = double(highs[0]);
  for (int j = 1; j < F::lanes; j++) {
    smallest = least(smallest, double(lows[j]));
    largest = most(largest, double(highs[j]));
  }
  // Which of −0 and 0 is met last depends on the lanes: −0 + 0 is 0.
  smallest += 0.0;
  largest += 0.0;
  if (sum != sum)
    forVectors(n, [&](size_t i, int count) {
      if (any(isnan(load(i, count)))) smallest = largest = __builtin_nan("");
    });
  const double mean = smallest == largest ? smallest : sum / double(n);
  const float scale = powerOfTwo(float(most(-smallest, largest)));
  const F factor = F::set(scale), centre = F::set(float(mean));
  double squares = 0.0, deviations = 0.0;
  for (size_t start = 0; start < n; start += reductionChunk) {
    float sums[2];
    sumChunks(chunkAt(start), sums, [&](size_t i, int count, F* term) {
      const F v = load(start + i, count), scaled = v * factor, apart = firstLanes((v - centre) * factor, count);
      term[0] = scaled * scaled;
      term[1] = apart * apart;
    });
    squares += double(sums[0]);
    deviations += double(sums[1]);
  }
  const double terms = double(n) * double(scale) * double(scale);
  out[0] = mean;
  out[1] = smallest == largest ? 0.0 : deviations / terms;
  out[2] = squares / terms;
  out[3] = smallest;
  out[4] = largest;
  out[5] = zeros / double(n);
  out[6] = small / double(n);
  out[7] = double(n);
}

namespace ops {

static void statistics(const Call& call, uint32_t, uint32_t, char*) {
  const float *x = floats(call, 0), *minus = floats(call, 1);
  const size_t n = size_t(call.m) * call.n;
  const float threshold = immediateFloat(call, 0);
  double* out = static_cast<double*>(call.operands[2]);
  for (int i = 0; i < 8; i++) out[i] = 0.0;
  if (n == 0) return;
  const auto value = [=](size_t i, int count) { return F::loadPartial(x + i, count); };
  const auto difference = [=](size_t i, int count) { return F::loadPartial(x + i, count) - F::loadPartial(minus + i, count); };
  if (minus)
    describe<true>(n, threshold, difference, out);
  else if (threshold > 0.0f)
    describe<true>(n, threshold, value, out);
  else
    describe<false>(n, threshold, value, out);
}

static void histogram(const Call& call, uint32_t, uint32_t, char*) {
  const float* x = floats(call, 0);
  const double* statistics = static_cast<const double*>(call.operands[1]);
  uint32_t* counts = static_cast<uint32_t*>(call.operands[2]);
  for (int bin = 0; bin < histogramBins; bin++) counts[bin] = 0;
  const double low = statistics[3], high = statistics[4], perUnit = histogramBins / (high - low);
  const double scale = perUnit > 0.0 && perUnit < 1e300 ? perUnit : 0.0;
  // What is not counted has a bin behind the others.
  constexpr double last = histogramBins - 1;
  const auto binOf = [=](float x) {
    const double v = double(x), place = (v - low) * scale;
    const bool counted = (v >= low) & (v <= high);
    const double bin = place > 0.0 ? place : 0.0;
    return int32_t(counted ? (bin < last ? bin : last) : double(histogramBins));
  };
  // A block's bins are found in a loop without branches, which compilers make vectors of. Neighbours, which are often in the same bin,
  // are counted in tables of their own, so that no count waits for the last one.
  constexpr size_t block = 64, tables = 8;
  uint32_t table[tables][histogramBins + 1] = {};
  int32_t bins[block];
  const size_t n = size_t(call.m) * call.n;
  size_t start = 0;
  for (; start + block <= n; start += block) {
    for (size_t i = 0; i < block; i++) bins[i] = binOf(x[start + i]);
    const int32_t* found = opaque(bins);
    for (size_t i = 0; i < block; i += tables)
      for (size_t t = 0; t < tables; t++) table[t][found[i + t]]++;
  }
  for (; start < n; start++) table[0][binOf(x[start])]++;
  for (const auto& some : table)
    for (int bin = 0; bin < histogramBins; bin++) counts[bin] += some[bin];
}

static void columnDistances(const Call& call, uint32_t part, uint32_t parts, char*) {
  constexpr size_t block = 16;
  const size_t n = call.n;
  const Range columns = share(n, block, part, parts);
  double* squares = static_cast<double*>(call.operands[2]);
  for (size_t first = columns.begin; first < columns.end; first += block) {
    const size_t width = columns.end - first < block ? columns.end - first : block;
    double sum[block] = {};
    for (size_t i = 0; i < call.m; i++)
      for (size_t j = 0; j < width; j++) {
        const double d = double(floats(call, 0)[i * n + first + j]) - double(floats(call, 1)[i * n + first + j]);
        sum[j] += d * d;
      }
    for (size_t j = 0; j < width; j++) squares[first + j] = sum[j];
  }
}

static void spectralNorm(const Call& call, uint32_t, uint32_t, char*) {
  const size_t m = call.m, n = call.n;
  const float *x = floats(call, 0), *v = floats(call, 1);
  double* square = static_cast<double*>(call.operands[2]);
  float *next = floats(call, 3), *present = floats(call, 4);
  square[0] = 0.0;
  for (size_t j = 0; j < n; j++) next[j] = v[j];
  for (uint32_t iteration = 0; iteration < call.immediates[0]; iteration++) {
    double length = 0.0, image = 0.0;
    for (size_t j = 0; j < n; j++) {
      length += double(next[j]) * double(next[j]);
      present[j] = next[j];
      next[j] = 0.0f;
    }
    for (size_t i = 0; i < m; i++) {
      const float* row = x + i * n;
      const float dot = sumOf(n, [&](size_t j, int count) { return F::loadPartial(row + j, count) * F::loadPartial(present + j, count); });
      image += double(dot) * double(dot);
      const F factor = F::set(dot);
      forVectors(n, [&](size_t j, int count) {
        fma(factor, F::loadPartial(row + j, count), F::loadPartial(next + j, count)).storePartial(next + j, count);
      });
    }
    double largest = 0.0;
    for (size_t j = 0; j < n; j++) largest = most(largest, next[j] < 0.0f ? -double(next[j]) : double(next[j]));
    square[0] = length == 0.0 ? 0.0 : image / length;
    const float scale = powerOfTwo(float(largest));
    // What x maps to nothing stays as it is.
    for (size_t j = 0; j < n; j++) next[j] = largest == 0.0 ? present[j] : next[j] * scale;
  }
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
