// Element by element: activations and their derivatives, bias, and what a gemm does to a block of c it has just finished.
#pragma once
#include "activations.h"
#include "gemm.h"
#include "reduce.h"

namespace gradmill {
namespace {

// y = f(x) over n elements; f maps F to F.
template <class Function>
GRADMILL_INLINE void map(const float* x, float* y, size_t n, Function f) {
  forVectors(n, [&](size_t i, int count) { f(F::loadPartial(x + i, count)).storePartial(y + i, count); });
}

template <class Function>
GRADMILL_INLINE void map(const float* x, const float* v, float* y, size_t n, Function f) {
  forVectors(n, [&](size_t i, int count) { f(F::loadPartial(x + i, count), F::loadPartial(v + i, count)).storePartial(y + i, count); });
}

// body(i, j, count) for each vector of a block: whole ones first, so that constants stay in registers from row to row.
template <class Body>
GRADMILL_INLINE void forBlock(size_t rows, size_t columns, Body body) {
  const size_t whole = columns - columns % F::lanes;
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < whole; j += F::lanes) body(i, j, F::lanes);
  if (whole < columns)
    for (size_t i = 0; i < rows; i++) body(i, whole, int(columns - whole));
}

// + bias, then y = a(c) or c = c ⊙ a'(v); each is the unfused op on the same elements in the same order.
struct LayerEpilogue {
  const float* bias;  // [n] or null
  float* y;           // [m, n], c itself, or null for no activation
  const float* v;     // [m, n] or null
  int activation;
  float parameter;

  void apply(float* c, size_t ldc, size_t row, size_t column, size_t rows, size_t columns) const {
    const size_t corner = row * ldc + column;
    const float* const added = bias ? bias + column : nullptr;
    const float* const at = v ? v + corner : nullptr;
    float* const out = y ? y + corner : nullptr;
    if (added && !out)
      forBlock(rows, columns, [=](size_t i, size_t j, int count) {
        (F::loadPartial(c + i * ldc + j, count) + F::loadPartial(added + j, count)).storePartial(c + i * ldc + j, count);
      });
    if (!out && !at) return;
    withActivation(activation, [=, p = F::set(parameter)](auto kind) {
      if (at)
        forBlock(rows, columns, [=](size_t i, size_t j, int count) {
          const F dY = F::loadPartial(c + i * ldc + j, count), value = F::loadPartial(at + i * ldc + j, count);
          (dY * activationDerivative<kind.value>(value, p)).storePartial(c + i * ldc + j, count);
        });
      else
        forBlock(rows, columns, [=](size_t i, size_t j, int count) {
          F z = F::loadPartial(c + i * ldc + j, count);
          if (added) {
            z = z + F::loadPartial(added + j, count);
            if (out != c) z.storePartial(c + i * ldc + j, count);
          }
          activate<kind.value>(z, p).storePartial(out + i * ldc + j, count);
        });
    });
  }

  Epilogue epilogue() const {
    return {[](const void* what, float* c, size_t ldc, size_t row, size_t column, size_t rows, size_t columns) {
              static_cast<const LayerEpilogue*>(what)->apply(c, ldc, row, column, rows, columns);
            },
            this};
  }
};

namespace ops {

static void addBias(const Call& call, uint32_t part, uint32_t parts, char*) {
  const size_t n = call.n;
  const Range rows = share(call.m, 1, part, parts);
  for (size_t i = rows.begin; i < rows.end; i++)
    map(floats(call, 0) + i * n, floats(call, 1), floats(call, 2) + i * n, n, [](F x, F b) { return x + b; });
}

static void activate(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(size_t(call.m) * call.n, virtualLanes, part, parts);
  const F parameter = F::set(immediateFloat(call, 1));
  withActivation(int(call.immediates[0]), [&](auto kind) {
    map(floats(call, 0) + at.begin, floats(call, 1) + at.begin, at.end - at.begin,
        [&](F z) { return gradmill::activate<kind.value>(z, parameter); });
  });
}

static void activationGradient(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(size_t(call.m) * call.n, virtualLanes, part, parts);
  const F parameter = F::set(immediateFloat(call, 1));
  withActivation(int(call.immediates[0]), [&](auto kind) {
    map(floats(call, 0) + at.begin, floats(call, 1) + at.begin, floats(call, 2) + at.begin, at.end - at.begin,
        [&](F dY, F v) { return dY * activationDerivative<kind.value>(v, parameter); });
  });
}

static void fill(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(call.m, virtualLanes, part, parts);
  for (size_t i = at.begin; i < at.end; i++) floats(call, 0)[i] = immediateFloat(call, 0);
}

// A part of a gemm: a block of c.
struct Block {
  Range rows, columns;
  Block(const Call& call, uint32_t part)
      : rows(share(call.m, mr, part / (call.grid >> 16), call.grid & 0xFFFF)),
        columns(share(call.n, nr, part % (call.grid >> 16), call.grid >> 16)) {}
};

static GemmArguments argumentsOf(const Call& call, const Block& block) {
  const auto& [rows, columns] = block;
  const bool transposeA = call.immediates[0] & 1, transposeB = call.immediates[0] & 2;
  const size_t lda = transposeA ? call.m : call.k, ldb = transposeB ? call.k : call.n, ldc = call.n;
  return {rows.end - rows.begin,
          columns.end - columns.begin,
          call.k,
          floats(call, 0) + (transposeA ? rows.begin : rows.begin * lda),
          floats(call, 1) + (transposeB ? columns.begin * ldb : columns.begin),
          floats(call, 2) + rows.begin * ldc + columns.begin,
          lda,
          ldb,
          ldc,
          transposeA,
          transposeB,
          1.0f,
          immediateFloat(call, 1)};
}

// With the epilogue that the instruction asks for.
static void gemm(const Call& call, uint32_t part, uint32_t, char* scratch) {
  const Block block(call, part);
  const size_t firstColumn = block.columns.begin, corner = block.rows.begin * call.n + firstColumn;
  const float *bias = floats(call, 3), *v = floats(call, 5);
  const int activation = int(call.immediates[2]);
  float* y = v ? nullptr : call.operands[4] ? floats(call, 4) : activation == 0 ? nullptr : floats(call, 2);
  const LayerEpilogue layer = {bias ? bias + firstColumn : nullptr, y ? y + corner : nullptr, v ? v + corner : nullptr, activation,
                               immediateFloat(call, 3)};
  gradmill::gemm(argumentsOf(call, block), scratch, bias || y || v ? layer.epilogue() : Epilogue());
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
