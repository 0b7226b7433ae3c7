// What a batch's columns hold, for reports on inputs and on units: nothing on the way to a weight. Sums in double over
// ascending rows, each column its own; numbers that are not finite are left out and counted by their absence.
#pragma once
#include "reduce.h"

namespace gradmill {
namespace {
namespace ops {

static void columnStatistics(const Call& call, uint32_t part, uint32_t parts, char*) {
  constexpr size_t block = 16;
  const size_t m = call.m, n = call.n;
  const Range columns = share(n, block, part, parts);
  for (size_t first = columns.begin; first < columns.end; first += block) {
    const size_t width = columns.end - first < block ? columns.end - first : block;
    const float* x = floats(call, 0) + first;
    double sum[block] = {}, squares[block] = {}, mean[block];
    float low[block] = {}, high[block] = {};
    uint32_t positive[block] = {}, negative[block] = {}, finite[block] = {};
    for (size_t i = 0; i < m; i++, x += n)
      for (size_t j = 0; j < width; j++) {
        const float v = x[j];
        if (v - v != 0.0f) continue;
        if (finite[j] == 0 || v < low[j]) low[j] = v;
        if (finite[j] == 0 || v > high[j]) high[j] = v;
        finite[j]++;
        positive[j] += v > 0.0f;
        negative[j] += v < 0.0f;
        sum[j] += double(v);
      }
    for (size_t j = 0; j < width; j++) mean[j] = finite[j] > 0 ? sum[j] / finite[j] : 0.0;
    x = floats(call, 0) + first;
    for (size_t i = 0; i < m; i++, x += n)
      for (size_t j = 0; j < width; j++) {
        const float v = x[j];
        if (v - v != 0.0f) continue;
        const double deviation = double(v) - mean[j];
        squares[j] += deviation * deviation;
      }
    for (size_t j = 0; j < width; j++) {
      floats(call, 1)[first + j] = float(mean[j]);
      floats(call, 2)[first + j] = finite[j] > 0 ? float(squares[j] / finite[j]) : 0.0f;
      floats(call, 3)[first + j] = low[j];
      floats(call, 4)[first + j] = high[j];
      floats(call, 5)[first + j] = float(positive[j]);
      floats(call, 6)[first + j] = float(negative[j]);
      floats(call, 7)[first + j] = float(finite[j]);
    }
  }
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
