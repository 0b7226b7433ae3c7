// Orthonormal vectors out of independent ones, for initial weights: modified Gram–Schmidt by panels, so that most of it is
// products, and every panel twice, which makes the result orthogonal to rounding (Giraud, Langou, Rozložník 2005). Lengths are
// positive, as is the diagonal of R in a QR decomposition whose signs were corrected: normal draws become uniformly distributed
// rotations (Mezzadri 2007).
#pragma once
#include "elementwise.h"

namespace gradmill {
namespace {

constexpr size_t panelVectors = 32;

// Rows of a panel, `length` long and side by side; the panel's first is vector `first`. A vector of zeros becomes a unit vector.
static void orthonormalizeRows(float* panel, size_t count, size_t length, size_t first) {
  for (size_t j = 0; j < count; j++) {
    float* x = panel + j * length;
    const auto dot = [&](const float* other) {
      return sumOf(length, [&](size_t i, int lanes) { return F::loadPartial(x + i, lanes) * F::loadPartial(other + i, lanes); });
    };
    float square = dot(x);
    if (square == 0.0f) x[first + j] = square = 1.0f;
    const F norm = sqrt(F::set(square));
    map(x, x, length, [&](F v) { return v / norm; });
    for (size_t k = j + 1; k < count; k++) {
      float* other = panel + k * length;
      const F share = F::set(dot(other));
      map(other, x, other, length, [&](F v, F q) { return v - q * share; });
    }
  }
}

// The same for columns of a panel whose rows are `stride` apart: lanes across columns, sums over ascending rows.
static void orthonormalizeColumns(float* panel, size_t count, size_t length, size_t stride, size_t first) {
  for (size_t j = 0; j < count; j++) {
    const size_t others = count - j;
    // Of column j with itself and those after it.
    float dots[panelVectors + F::lanes];
    const auto multiply = [&] {
      F sum[panelVectors / F::lanes];
      for (F& each : sum) each = F::zero();
      for (size_t i = 0; i < length; i++) {
        const float* x = panel + i * stride + j;
        const F own = F::set(*x);
        for (size_t k = 0, v = 0; k < others; k += F::lanes, v++) sum[v] = sum[v] + own * F::loadPartial(x + k, int(others - k));
      }
      for (size_t k = 0, v = 0; k < others; k += F::lanes, v++) sum[v].store(dots + k);
    };
    multiply();
    if (dots[0] == 0.0f) {
      panel[(first + j) * stride + j] = 1.0f;
      multiply();
    }
    float norm[F::lanes];
    sqrt(F::set(dots[0])).store(norm);
    // Shares of q = x / norm in them.
    for (size_t k = 0; k < others; k++) dots[k] /= norm[0];
    for (size_t i = 0; i < length; i++) {
      float* x = panel + i * stride + j;
      const float q = *x / norm[0];
      map(x, dots, x, others, [&](F v, F share) { return v - F::set(q) * share; });
      *x = q;
    }
  }
}

namespace ops {

static void orthogonalize(const Call& call, uint32_t, uint32_t, char* scratch) {
  float* y = floats(call, 0);
  const size_t m = call.m, n = call.n;
  const bool rows = m < n;
  const size_t count = rows ? m : n, step = rows ? n : 1;
  float shares[panelVectors * panelVectors];
  const auto product = [&](GemmArguments g) { gradmill::gemm(g, scratch, Epilogue()); };
  for (size_t first = 0; first < count; first += panelVectors) {
    const size_t width = smaller(panelVectors, count - first);
    float* panel = y + first * step;
    for (int pass = 0; pass < 2; pass++) {
      // Without what it has of the panels before it.
      for (size_t before = 0; before < first; before += panelVectors) {
        const float* known = y + before * step;
        if (rows) {
          product({width, panelVectors, n, panel, known, shares, n, n, panelVectors, false, true, 1.0f, 0.0f});
          product({width, n, panelVectors, shares, known, panel, panelVectors, n, n, false, false, -1.0f, 1.0f});
        } else {
          product({panelVectors, width, m, known, panel, shares, n, n, width, true, false, 1.0f, 0.0f});
          product({m, width, panelVectors, known, shares, panel, n, width, n, false, false, -1.0f, 1.0f});
        }
      }
      if (rows)
        orthonormalizeRows(panel, width, n, first);
      else
        orthonormalizeColumns(panel, width, m, n, first);
    }
  }
  const F gain = F::set(immediateFloat(call, 0));
  map(y, y, m * n, [&](F q) { return gain * q; });
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
