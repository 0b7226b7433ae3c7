// What measures the limits of the machine: multiply-adds that stay in registers, and reads of memory that come to nothing else.
#pragma once
#include "reduce.h"

namespace gradmill {
namespace {

// Chains of dependent operations, as many at once as hide the latency of a multiplication and the addition behind it. They and the
// factor leave a register free, which engines of WebAssembly keep for themselves.
constexpr int chains = vectorRegisters * 7 / 8;
constexpr int sums = 8;

// The compiler must take it that memory has changed.
GRADMILL_INLINE void forgetMemory() { __asm__ volatile("" ::: "memory"); }

namespace ops {

static void multiplyAdd(const Call& call, uint32_t part, uint32_t parts, char*) {
  constexpr size_t group = chains * F::lanes;
  const Range at = share(call.m, group, part, parts);
  const uint32_t times = call.immediates[0];
  const F factor = F::set(immediateFloat(call, 1));
  float* y = floats(call, 0);
  size_t i = at.begin;
  for (; i + group <= at.end; i += group) {
    F chain[chains];
#pragma GCC unroll 32
    for (int j = 0; j < chains; j++) chain[j] = F::load(y + i + j * F::lanes);
    for (uint32_t time = 0; time < times; time++)
// GCC would put multiplications before additions, which loses a tenth of the peak.
#pragma GCC unroll 32
      for (int j = 0; j < chains; j++) chain[j] = inOrder(fma(chain[j], factor, factor));
#pragma GCC unroll 32
    for (int j = 0; j < chains; j++) chain[j].store(y + i + j * F::lanes);
  }
  forVectors(at.end - i, [&](size_t j, int count) {
    F value = F::loadPartial(y + i + j, count);
    for (uint32_t time = 0; time < times; time++) value = fma(value, factor, factor);
    value.storePartial(y + i + j, count);
  });
}

// A sum modulo 2³² is the same in every order.
static void sumWords(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t n = call.n;
  const Range rows = share(call.m, 1, part, parts);
  for (size_t row = rows.begin; row < rows.end; row++) {
    const int32_t* x = static_cast<const int32_t*>(call.operands[0]) + row * n;
    I sum[sums];
#pragma GCC unroll 8
    for (int v = 0; v < sums; v++) sum[v] = I::set(0);
    uint32_t total = 0;
    for (uint32_t time = 0; time < call.immediates[0]; time++) {
      forgetMemory();
      size_t j = 0;
      for (; j + sums * I::lanes <= n; j += sums * I::lanes)
#pragma GCC unroll 8
        for (int v = 0; v < sums; v++) sum[v] = sum[v] + I::load(x + j + v * I::lanes);
      for (; j < n; j++) total += uint32_t(x[j]);
    }
    for (int v = 0; v < sums; v++) {
      int32_t lane[I::lanes];
      sum[v].store(lane);
      for (int j = 0; j < I::lanes; j++) total += uint32_t(lane[j]);
    }
    static_cast<uint32_t*>(call.operands[1])[row] = total;
  }
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
