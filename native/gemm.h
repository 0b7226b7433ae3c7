// c = beta·c + (alpha·op(a))·op(b), row-major, all four transpose forms: BLIS's loops round a register tile; and
// ways of their own for products of few rows, columns or terms (`Path`, at the end).
//
// Every element of c goes through the same sequence in every path (packed or not, edge or not, any blocking): c = beta·c
// (beta 0: zero, c is not read), then c = c + (alpha·a)·b for k ascending, one fma or one multiply and one add each. So
// neither blocking, nor threads, nor the rest of the matrix changes a bit.
//
//   for jc in n by nc:  for pc in k by kc:  pack b[kc, nc] into panels of nr columns (before, or each when its turn comes, or not)
//     for ic in m by mc (or m at once):  pack a[mc, kc] into panels of mr rows (or use it in place)
//       for jr in nc by nr:  for ir in mc by mr:  micro-kernel: mr × nr accumulators over kc
#pragma once
#include <type_traits>

#include "kernels.h"
#include "reduce.h"

namespace gradmill {
namespace {

constexpr int mr = gemmRows, nr = gemmVectors * F::lanes;
// A tile of two whole pairs of lines of c, for products whose columns it divides; with 16 lanes alone.
constexpr int wideRows = 6, wideVectors = 4, wideColumns = wideVectors * F::lanes;
// A panel of b (kc·nr floats) takes most of L1 while mc rows of a pass it, and those, packed, a third of L2: a neighbour on
// the same core has the rest. Tiles of 16 lanes take so long that a panel from L2 comes in time, and longer sums save passes over c.
constexpr size_t kc = F::lanes == 16 ? 1024 : 400, mc = (F::lanes == 16 ? 6 : 16) * mr, nc = 1024;
// Floats of a in place that half of L2 holds.
constexpr size_t inPlace = F::lanes == 16 ? 1 << 17 : 1 << 16;
// Rows ahead of the one that is being packed: a page apart, hardware prefetchers do not find them.
constexpr size_t rowsAhead = 24, rowsAheadOfA = 16;
constexpr size_t gemmScratch = (mc * kc + kc * (nc + nr) + size_t(mr) * nr + 2 * F::lanes) * sizeof(float);

static_assert(F::lanes != 16 || (wideRows * wideColumns <= mr * nr && nc % wideColumns == 0), "scratch is enough for wide tiles");

// How the micro-kernel reads a: element (i, p) at a[i + p·stride] when its columns are contiguous (packed, or transposed in
// place), else at a[i·stride + p].
struct View {
  const float* data;
  size_t stride;
};

// c[R, V·lanes] += a[R, depth]·b[depth, V·lanes]; b's rows are `ldb` apart. fresh: c starts from zero. packs: what is read of b is
// written to `packed`, row behind row.
template <int R, int V, bool columnsOfA, bool packs>
static inline void microKernel(size_t depth, View a, const float* __restrict b, size_t ldb, float* __restrict c, size_t ldc, bool fresh,
                               float* __restrict packed) {
  F sum[R][V];
  if (fresh) {
#pragma GCC unroll 32
    for (int i = 0; i < R; i++)
#pragma GCC unroll 8
      for (int j = 0; j < V; j++) sum[i][j] = F::zero();
  } else {
#pragma GCC unroll 32
    for (int i = 0; i < R; i++)
#pragma GCC unroll 8
      for (int j = 0; j < V; j++) sum[i][j] = F::load(c + i * ldc + j * F::lanes);
  }
  constexpr int pointers = columnsOfA ? 1 : (R + rowsAPointer - 1) / rowsAPointer;
  const float* rows[pointers];
#pragma GCC unroll 32
  for (int i = 0; i < pointers; i++) rows[i] = a.data + i * rowsAPointer * a.stride;
  const auto accumulate = [&](size_t strideA, size_t strideB) GRADMILL_INLINE_LAMBDA {
#pragma GCC unroll gemmUnroll
    for (size_t p = 0; p < depth; p++) {
      F column[V];
#pragma GCC unroll 8
      for (int j = 0; j < V; j++) {
        column[j] = F::load(b + j * F::lanes);
        if (packs) {
          __builtin_prefetch(b + rowsAhead * strideB + j * F::lanes);
          column[j].store(packed + j * F::lanes);
        }
      }
#pragma GCC unroll 32
      for (int i = 0; i < R; i++) {
        const F broadcast = F::set(columnsOfA          ? rows[0][i]
                                   : rowsAPointer == 1 ? rows[i][p]
                                                       : rows[i / rowsAPointer][i % rowsAPointer * a.stride]);
#pragma GCC unroll 8
        for (int j = 0; j < V; j++) sum[i][j] = fma(broadcast, column[j], sum[i][j]);
      }
      b += strideB;
      if (packs) packed += V * F::lanes;
      if (columnsOfA) rows[0] += strideA;
      if (!columnsOfA && rowsAPointer > 1)
#pragma GCC unroll 32
        for (int i = 0; i < pointers; i++) rows[i] = opaque(rows[i] + 1);
    }
  };
  // Panels side by side: constants instead of registers.
  if (columnsOfA && a.stride == R && ldb == V * F::lanes && !packs)
    accumulate(R, V * F::lanes);
  else
    accumulate(a.stride, ldb);
#pragma GCC unroll 32
  for (int i = 0; i < R; i++)
#pragma GCC unroll 8
    for (int j = 0; j < V; j++) sum[i][j].store(c + i * ldc + j * F::lanes);
}

// The last columns of c, when they fill no register tile: the same kernel on a copy. b's rows are whole vectors all the same.
template <int R, int V, bool columnsOfA>
static void edgeKernel(size_t depth, View a, const float* b, size_t ldb, float* c, size_t ldc, size_t columns, bool fresh, float* tile) {
  constexpr size_t width = V * F::lanes;
  if constexpr (V > 1 && halvesEdges) {
    if (columns <= F::lanes) return edgeKernel<R, 1, columnsOfA>(depth, a, b, ldb, c, ldc, columns, fresh, tile);
  }
  const auto eachVector = [&](auto move) GRADMILL_INLINE_LAMBDA {
    for (int i = 0; i < R; i++)
      for (size_t j = 0; j < columns; j += F::lanes) move(tile + i * width + j, c + i * ldc + j, int(smaller(columns - j, F::lanes)));
  };
  if (!fresh) eachVector([](float* in, const float* out, int count) { F::loadPartial(out, count).store(in); });
  microKernel<R, V, columnsOfA, false>(depth, a, b, ldb, tile, width, fresh, nullptr);
  eachVector([](const float* in, float* out, int count) { F::load(in).storePartial(out, count); });
}

// A block of c that is computed as its transpose: t[R, V·lanes] in `tile`, whose element (i, j) is c's (j, i).
template <int R, int V>
static inline void moveTransposed(float* tile, float* c, size_t ldc, size_t columns, bool in) {
  constexpr size_t width = V * F::lanes;
  for (size_t i = 0; i < R; i += F::lanes) {
    const int here = int(smaller(R - i, F::lanes));
    for (size_t j = 0; j < columns; j += F::lanes) {
      const size_t rows = smaller(columns - j, F::lanes);
      F block[F::lanes];
#pragma GCC unroll 16
      for (int r = 0; r < F::lanes; r++)
        block[r] = in ? (size_t(r) < rows ? F::loadPartial(c + (j + r) * ldc + i, here) : F::zero())
                      : (r < here ? F::load(tile + (i + r) * width + j) : F::zero());
      transpose(block);
#pragma GCC unroll 16
      for (int r = 0; r < F::lanes; r++) {
        if (in && r < here) block[r].store(tile + (i + r) * width + j);
        if (!in && size_t(r) < rows) block[r].storePartial(c + (j + r) * ldc + i, here);
      }
    }
  }
}

// Turns the run-time number of rows into the kernel's compile-time R. packed: null, or where to write what is read of b.
template <int R, int V, bool columnsOfA, bool sideways>
static GRADMILL_TILE_FUNCTION void kernelOfRows(int rows, size_t depth, View a, const float* b, size_t ldb, float* c, size_t ldc,
                                                size_t columns, bool fresh, float* tile, float* packed) {
  if constexpr (R > 1) {
    if (rows < R) return kernelOfRows<R - 1, V, columnsOfA, sideways>(rows, depth, a, b, ldb, c, ldc, columns, fresh, tile, packed);
  }
  if constexpr (sideways && V > 1) {
    if (columns <= F::lanes) return kernelOfRows<R, 1, columnsOfA, true>(rows, depth, a, b, ldb, c, ldc, columns, fresh, tile, nullptr);
  }
  if constexpr (sideways) {
    if (!fresh) moveTransposed<R, V>(tile, c, ldc, columns, true);
    microKernel<R, V, columnsOfA, false>(depth, a, b, ldb, tile, V * F::lanes, fresh, nullptr);
    return moveTransposed<R, V>(tile, c, ldc, columns, false);
  }
  if (columns < size_t(V) * F::lanes) return edgeKernel<R, V, columnsOfA>(depth, a, b, ldb, c, ldc, columns, fresh, tile);
  if constexpr (packsOnTheWay) {
    if (packed) return microKernel<R, V, columnsOfA, true>(depth, a, b, ldb, c, ldc, fresh, packed);
  }
  microKernel<R, V, columnsOfA, false>(depth, a, b, ldb, c, ldc, fresh, nullptr);
}

// out[p·width + i] = alpha·source(i, p) for i < count, zero up to width. `along`: stride from i to i + 1, `across`: from p to
// p + 1; one of them is 1. Writes whole vectors, so up to F::lanes floats past its end.
static inline void packPanel(const float* source, size_t along, size_t across, size_t count, size_t width, size_t depth, float alpha,
                             float* out) {
  const F factor = F::set(alpha);
  // A vector that overhangs its row spoils the next row's first elements, which are written after it.
  if (along == 1 && count == 2 * F::lanes && width == count && alpha == 1.0f) {
    for (size_t p = 0; p < depth; p++, source += across, out += 2 * F::lanes) {
      F::load(source).store(out);
      F::load(source + F::lanes).store(out + F::lanes);
    }
    return;
  }
  if (along == 1) {
    const auto copyRows = [&](auto far) GRADMILL_INLINE_LAMBDA {
      for (size_t p = 0; p < depth; p++, source += across) {
        if (far) {
          __builtin_prefetch(source + rowsAheadOfA * across);
          __builtin_prefetch(source + rowsAheadOfA * across + width - 1);
        }
        for (size_t i = 0; i < width; i += F::lanes)
          (factor * F::loadPartial(source + i, int(count > i ? smaller(count - i, F::lanes) : 0))).store(out + p * width + i);
      }
    };
    // Rows that come from beyond L2.
    if (across * depth >= 1 << 18)
      copyRows(std::true_type());
    else
      copyRows(std::false_type());
    return;
  }
  for (size_t i = 0; i < width; i += F::lanes) {
    const size_t here = count > i ? smaller(count - i, F::lanes) : 0;
    const bool overhangs = i > 0 && i + F::lanes > width;
    for (size_t p = 0; p < depth; p += F::lanes) {
      const int steps = int(smaller(F::lanes, depth - p));
      const float* corner = source + i * along + p;
      F rows[F::lanes];
      if (here == F::lanes && steps == F::lanes) {
#pragma GCC unroll 16
        for (int r = 0; r < F::lanes; r++) rows[r] = F::load(corner + r * along);
      } else {
        for (size_t r = 0; r < F::lanes; r++) rows[r] = r < here ? F::loadPartial(corner + r * along, steps) : F::zero();
      }
      transpose(rows);
      float* to = out + p * width + i;
      if (steps == F::lanes && !overhangs) {
#pragma GCC unroll 16
        for (int step = 0; step < F::lanes; step++) (factor * rows[step]).store(to + step * width);
        continue;
      }
      for (int step = 0; step < steps; step++) {
        if (overhangs)
          (factor * rows[step]).storePartial(to + step * width, int(width - i));
        else
          (factor * rows[step]).store(to + step * width);
      }
    }
  }
}

// Evenly sized register tiles of at most `most` rows: 32 rows by 6 are 6+6+5+5+5+5, never 6+6+6+6+6+2.
struct RowTiles {
  size_t count, base, larger;
  RowTiles(size_t rows, size_t most) : count((rows + most - 1) / most), base(rows / count), larger(rows % count) {}
  size_t rows(size_t tile) const { return base + (tile < larger); }
  // Of those before it.
  size_t first(size_t tile) const { return tile * base + smaller(tile, larger); }
};

// What follows the product on a finished block of c; see elementwise.h. Called, not inlined: every path of the product has it.
struct Epilogue {
  void (*run)(const void* what, float* c, size_t ldc, size_t row, size_t column, size_t rows, size_t columns) = nullptr;
  const void* what = nullptr;
  bool sideways = false;  // rows and columns are those of c's transpose

  void operator()(float* c, size_t ldc, size_t row, size_t column, size_t rows, size_t columns) const {
    if (!run) return;
    if (sideways)
      run(what, c, 1, column, row, columns, rows);
    else
      run(what, c, ldc, row, column, rows, columns);
  }
};

// How a product's operands reach the micro-kernel: in place, or packed into panels. Chosen by shape alone.
struct Packing {
  bool a, b;
};

// The next tile's rows lie a page apart, where no hardware prefetcher looks: fetched while this tile is computed, into L2, as rows
// a power of two apart share a set of L1.
template <int R, size_t width>
static inline void prefetchTile(const float* c, size_t ldc) {
  constexpr size_t step = width > 48 ? 16 : width - 1;
#pragma GCC unroll 32
  for (int i = 0; i < R; i++)
#pragma GCC unroll 4
    for (size_t j = 0; j < width; j += step) __builtin_prefetch(c + i * ldc + j, 0, 2);
}

// One block of c on one thread, by register tiles of R rows and V vectors. The epilogue is called as
// (c, ldc, row, column, rows, columns) on each finished block while it is in L1. sideways: element (i, j) lies at c[j·ldc + i].
template <int R, int V, bool columnsOfA, bool sideways = false>
static void gemmBlock(const GemmArguments& g, Packing packing, char* scratch, const Epilogue& epilogue) {
  constexpr size_t width = V * F::lanes;
  float* packedA = reinterpret_cast<float*>(scratch);
  float* packedB = packedA + mc * kc + F::lanes;
  float* edge = packedB + kc * (nc + nr) + F::lanes;
  const size_t aRow = g.transposeA ? 1 : g.lda, aColumn = g.transposeA ? g.lda : 1;
  const size_t bRow = g.transposeB ? 1 : g.ldb, bColumn = g.transposeB ? g.ldb : 1;
  // An a in place is one block where L2 holds it beside a strip of c: b's panels then go through the room of one.
  const bool oneBlock = !packing.a && g.m <= 512 && g.m * smaller(g.k, kc) <= inPlace;
  const RowTiles tiles(g.m, R), blocks(tiles.count, oneBlock ? tiles.count : mc / R);
  const size_t strips = (g.n + nc - 1) / nc, strip = ((g.n + strips - 1) / strips + width - 1) / width * width;
  for (size_t jc = 0; jc < g.n; jc += strip) {
    const size_t columns = smaller(strip, g.n - jc);
    size_t pc = 0;
    // Equal steps: 784 by 400 are 392 + 392.
    const size_t steps = (g.k + kc - 1) / kc, step = steps ? (g.k + steps - 1) / steps : 0;
    // Once even for k = 0: c is written and the epilogue runs.
    do {
      const size_t depth = smaller(step, g.k - pc);
      const bool fresh = g.beta == 0.0f && pc == 0, last = pc + depth >= g.k;
      const float* b = g.b + pc * bRow + jc * bColumn;
      // The kernel reads whole vectors: the last panel is packed even if the others are read in place.
      const size_t wholePanels = columns / width * width;
      const bool onTheWay = packsOnTheWay && packing.b && !g.transposeB && g.k > 64;
      const size_t firstPacked = packing.b && !onTheWay ? 0 : wholePanels;
      const bool rowwise = !sideways && isRowwise(columns, depth), onePanel = oneBlock && !rowwise;
      const auto roomOf = [&](size_t j) { return packedB + (onePanel ? 0 : j * depth); };
      const auto packAt = [&](size_t j) {
        packPanel(b + j * bColumn, bColumn, bRow, smaller(width, columns - j), width, depth, 1.0f, roomOf(j));
      };
      if (!onePanel)
        for (size_t j = firstPacked; j < columns; j += width) packAt(j);
      for (size_t block = 0; block < blocks.count; block++) {
        const size_t firstTile = blocks.first(block), tileCount = blocks.rows(block), ic = tiles.first(firstTile);
        const size_t rows = tiles.first(firstTile + tileCount) - ic;
        const float* a = g.a + ic * aRow + pc * aColumn;
        const auto rowOf = [&](size_t t) { return tiles.first(firstTile + t) - ic; };
        if (packing.a)
          for (size_t t = 0; t < tileCount; t++) {
            const size_t height = tiles.rows(firstTile + t);
            packPanel(a + rowOf(t) * aRow, aRow, aColumn, height, height, depth, g.alpha, packedA + rowOf(t) * depth);
          }
        const size_t cRow = sideways ? 1 : g.ldc, cColumn = sideways ? g.ldc : 1;
        float* c = g.c + ic * cRow + jc * cColumn;
        const auto tile = [&](size_t t, size_t jr) GRADMILL_INLINE_LAMBDA {
          const size_t i = rowOf(t), height = tiles.rows(firstTile + t);
          const bool packsNow = onTheWay && firstTile + t == 0 && jr < wholePanels;
          const bool packed = packsNow ? false : packing.b || jr >= wholePanels;
          const View view = packing.a ? View{packedA + i * depth, height} : View{a + i * aRow, g.lda};
          float* panel = roomOf(jr);
          if (onePanel && t == 0 && jr >= firstPacked) packAt(jr);
          kernelOfRows<R, V, columnsOfA, sideways>(
              int(height), depth, view, packed ? panel : b + jr, packed ? width : g.ldb, c + i * cRow + jr * cColumn, g.ldc,
              sideways ? smaller(width, columns - jr) : columns - jr, fresh, edge, packsNow ? panel : nullptr);
        };
        if (sideways) {
          for (size_t jr = 0; jr < columns; jr += width) {
            for (size_t t = 0; t < tileCount; t++) tile(t, jr);
            if (last) epilogue(c + jr * g.ldc, g.ldc, jc + jr, ic, smaller(width, columns - jr), rows);
          }
          continue;
        }
        if (rowwise) {
          for (size_t t = 0; t < tileCount; t++) {
            for (size_t jr = 0; jr < columns; jr += width) tile(t, jr);
            if (last) epilogue(c + rowOf(t) * g.ldc, g.ldc, ic + rowOf(t), jc, tiles.rows(firstTile + t), columns);
          }
          continue;
        }
        for (size_t jr = 0; jr < columns; jr += width) {
          for (size_t t = 0; t < tileCount; t++) {
            prefetchTile<R, width>(t + 1 < tileCount ? c + rowOf(t + 1) * g.ldc + jr : c + jr + width, g.ldc);
            tile(t, jr);
          }
          if (last) epilogue(c + jr, g.ldc, ic, jc + jr, rows, smaller(width, columns - jr));
        }
      }
      pc += depth;
    } while (pc < g.k);
  }
}

// sum[i] += a[i, steps]·(b[lanes, steps])ᵀ: rows of b turned into columns in registers. whole: all rows and steps are there.
template <int R, bool whole>
GRADMILL_INLINE void addTransposed(F* sum, const float* a, size_t lda, const float* b, size_t ldb, size_t rows, size_t steps) {
  F columns[F::lanes];
#pragma GCC unroll 16
  for (size_t r = 0; r < F::lanes; r++)
    columns[r] = whole ? F::load(b + r * ldb) : r < rows ? F::loadPartial(b + r * ldb, int(steps)) : F::zero();
  transpose(columns);
#pragma GCC unroll 16
  for (size_t s = 0; s < F::lanes; s++) {
    if (!whole && s >= steps) break;
#pragma GCC unroll 4
    for (int i = 0; i < R; i++) sum[i] = fma(F::set(a[i * lda + s]), columns[s], sum[i]);
  }
}

// A few rows of a times rows of b, turned in registers.
template <int R>
static void thinTransposed(const GemmArguments& g, const Epilogue& epilogue) {
  constexpr size_t most = F::lanes == 16 ? 2 : 4, groups = R < most ? most / R : 1;  // of sums side by side, to hide the latency of fma
  constexpr size_t line = 16;  // floats of a cache line, used up before others evict it
  constexpr size_t width = groups * F::lanes;
  const float* a = g.a;
  for (size_t j = 0; j < g.n; j += width) {
    const size_t columns = smaller(width, g.n - j);
    const float* b = g.b + j * g.ldb;
    float* c = g.c + j;
    F sum[groups][R];
    const auto count = [&](size_t group) { return int(smaller(F::lanes, columns - smaller(columns, group * F::lanes))); };
    for (size_t group = 0; group < groups; group++)
      for (int i = 0; i < R; i++)
        sum[group][i] = g.beta == 0.0f ? F::zero() : F::loadPartial(c + i * g.ldc + group * F::lanes, count(group));
    size_t p = 0;
    if (columns == width)
      for (; p + line <= g.k; p += line)
#pragma GCC unroll 4
        for (size_t group = 0; group < groups; group++)
#pragma GCC unroll 4
          for (size_t q = 0; q < line; q += F::lanes)
            addTransposed<R, true>(sum[group], a + p + q, g.lda, b + group * F::lanes * g.ldb + p + q, g.ldb, F::lanes, F::lanes);
    for (; p < g.k; p += F::lanes)
      for (size_t group = 0; group < groups && count(group) > 0; group++)
        addTransposed<R, false>(sum[group], a + p, g.lda, b + group * F::lanes * g.ldb + p, g.ldb, count(group),
                                smaller(F::lanes, g.k - p));
    for (size_t group = 0; group < groups; group++)
      for (int i = 0; i < R; i++) sum[group][i].storePartial(c + i * g.ldc + group * F::lanes, count(group));
    epilogue(c, g.ldc, 0, j, R, columns);
  }
}

// c[R, n] += a[R, k]·b[k, n], a few rows times many: a few rows of b at a time from end to end, as a stream from memory wants it,
// while c stays in L1.
template <int R>
static void thinRows(const GemmArguments& g, const Epilogue& epilogue) {
  constexpr size_t group = vectorRegisters / 2 / R >= 8   ? 8
                           : vectorRegisters / 2 / R >= 4 ? 4
                                                          : 2;  // rows of b, whose factors stay in registers
  const auto add = [&](size_t p, size_t depth, auto whole) GRADMILL_INLINE_LAMBDA {
    const float* b = g.b + p * g.ldb;
    const bool fresh = g.beta == 0.0f && p == 0;
    F factors[R][group];
#pragma GCC unroll 8
    for (int i = 0; i < R; i++)
#pragma GCC unroll 8
      for (size_t q = 0; q < group; q++) factors[i][q] = whole || q < depth ? F::set(g.a[i * g.lda + p + q]) : F::zero();
    forVectors(g.n, [&](size_t j, int count) {
      F sum[R];
#pragma GCC unroll 8
      for (int i = 0; i < R; i++) sum[i] = fresh ? F::zero() : F::loadPartial(g.c + i * g.ldc + j, count);
#pragma GCC unroll 8
      for (size_t q = 0; q < group; q++) {
        if (!whole && q >= depth) break;
        const F row = F::loadPartial(b + q * g.ldb + j, count);
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) sum[i] = fma(factors[i][q], row, sum[i]);
      }
#pragma GCC unroll 8
      for (int i = 0; i < R; i++) sum[i].storePartial(g.c + i * g.ldc + j, count);
    });
  };
  size_t p = 0;
  for (; p + group <= g.k; p += group) add(p, group, std::true_type());
  if (p < g.k || g.k == 0) add(p, g.k - p, std::false_type());
  epilogue(g.c, g.ldc, 0, 0, R, g.n);
}

// c[m, n] += a[m, 1]·b[1, n]: row after row, as a stream to memory wants it; the epilogue while rows are in L1.
static void outer(const GemmArguments& g, const Epilogue& epilogue) {
  const size_t stride = g.transposeA ? 1 : g.lda, most = g.n < 2048 ? 2048 / g.n : 1;
  const auto addRow = [&](float* c, F factor, auto fresh) GRADMILL_INLINE_LAMBDA {
    forVectors(g.n, [&](size_t j, int count) {
      const F sum = fresh ? F::zero() : F::loadPartial(c + j, count);
      fma(factor, F::loadPartial(g.b + j, count), sum).storePartial(c + j, count);
    });
  };
  for (size_t first = 0; first < g.m; first += most) {
    const size_t rows = smaller(most, g.m - first);
    for (size_t i = first; i < first + rows; i++) {
      const F factor = F::set(g.a[i * stride]);
      if (g.beta == 0.0f)
        addRow(g.c + i * g.ldc, factor, std::true_type());
      else
        addRow(g.c + i * g.ldc, factor, std::false_type());
    }
    epilogue(g.c + first * g.ldc, g.ldc, first, 0, rows, g.n);
  }
}

// Ways through a product, which differ in speed alone.
enum class Path { outer, column, thinTransposed, thinRows, turned, wide, blocked };
constexpr size_t thinTransposedMost = 4, thinRowsMost = vectorRegisters / 8;

static bool farApart(size_t stride) { return stride % 1024 == 0; }  // such rows share a set of L1

static Path pathOf(const GemmArguments& g) {
  if (g.alpha != 1.0f) return Path::blocked;  // where a is packed it is scaled
  if (g.k == 1 && g.n >= nr && (!g.transposeB || g.ldb == 1)) return Path::outer;
  // A single column: its transpose, a single row, has lanes across the outputs.
  if (g.n == 1 && g.ldc == 1 && g.m > 1 && (g.transposeB || g.ldb == 1)) return Path::column;
  if (g.transposeB) {
    if (g.transposeA) return Path::blocked;
    // To pack b would take longer than the product.
    if (g.m <= thinTransposedMost) return Path::thinTransposed;
    // b's rows are many and long, a's few: the transpose of the product needs neither packed, and turns c around instead of b.
    const bool turns = g.m <= g.k && (g.m <= 128 || !farApart(g.ldb)) && (g.m > F::lanes || g.k >= 256);
    return turnsC && turns ? Path::turned : Path::blocked;
  }
  // Wide tiles, but where the lines of a, which they read in place, would push each other out of L1.
  if (F::lanes == 16 && g.n % wideColumns == 0 && g.m >= 16 && (g.k <= 32 || !g.transposeA || !farApart(g.lda))) return Path::wide;
  // Columns of c that fill no register tiles, and more rows, along which a lies as b does: so rows fill the lanes.
  if (turnsC && g.transposeA && g.n % nr != 0 && g.m >= 2 * g.n && (g.k >= 32 || g.n <= nr)) return Path::turned;
  return !g.transposeA && g.m <= thinRowsMost ? Path::thinRows : Path::blocked;
}

// Packing pays once enough columns use a again, and enough rows b, over a depth whose columns overflow L1.
static Packing packingOf(const GemmArguments& g) {
  const bool packsA = g.k > 64 && (g.transposeA ? g.n >= 8 * size_t(nr) && g.m >= 4 * mr : g.n >= 16 * size_t(nr) && g.m >= 8 * mr);
  return {packsA || g.alpha != 1.0f, g.transposeB || g.m >= 8 * mr};
}

// Wide tiles use more of a row of b at a time, so that it may stay in place: where its rows spread over L1, and all of it fits in L2
// or few rows of a use it. Of a transposed a there are many.
static inline Packing packingOfWide(const GemmArguments& g) {
  if (g.transposeA) return {false, g.n >= 256};
  return {false, farApart(g.ldb) ? g.m >= 32 : g.m >= 8 * mr && g.k * g.n >= 3 << 16};
}

static GemmArguments turned(const GemmArguments& g) {
  return {g.n, g.m, g.k, g.b, g.a, g.c, g.ldb, g.lda, g.ldc, !g.transposeB, !g.transposeA, g.alpha, g.beta};
}

template <int R, int V, bool sideways>
static void inBlocks(const GemmArguments& g, Packing packing, char* scratch, const Epilogue& epilogue) {
  if (packing.a || g.transposeA) return gemmBlock<R, V, true, sideways>(g, packing, scratch, epilogue);
  gemmBlock<R, V, false, sideways>(g, packing, scratch, epilogue);
}

// Calls body with the number of rows, 1 to `most`, as a constant.
template <size_t most, class Body>
static inline void withRows(size_t rows, Body body) {
  if constexpr (most > 1) {
    if (rows < most) return withRows<most - 1>(rows, body);
  }
  body(std::integral_constant<int, int(most)>());
}

static GemmWay wayOf(const GemmArguments& g) {
  GemmWay way = {uint32_t(g.m), uint32_t(g.n), 0, 0, false, false, false};
  const auto tiled = [&](uint32_t rows, uint32_t columns, Packing packing) {
    way.tileRows = rows, way.tileColumns = columns, way.packsA = packing.a, way.packsB = packing.b;
  };
  switch (pathOf(g)) {
    case Path::turned:
      tiled(mr, nr, {!g.transposeA, false});
      way.sideways = true;
      return way;
    case Path::wide:
      tiled(wideRows, wideColumns, packingOfWide(g));
      return way;
    case Path::blocked:
      tiled(mr, nr, packingOf(g));
      return way;
    default:
      return way;
  }
}

static void gemm(const GemmArguments& given, char* scratch, const Epilogue& epilogue) {
  GemmArguments g = given;
  if (g.m == 0 || g.n == 0) return;
  if (g.beta != 0.0f && g.beta != 1.0f) {
    for (size_t i = 0; i < g.m; i++)
      for (size_t j = 0; j < g.n; j++) g.c[i * g.ldc + j] = g.beta * g.c[i * g.ldc + j];
    g.beta = 1.0f;
  }
  switch (pathOf(g)) {
    case Path::outer:
      return outer(g, epilogue);
    case Path::column: {
      GemmArguments t = turned(g);
      t.transposeA = false;  // its one row is contiguous either way
      const Epilogue sideways = {epilogue.run, epilogue.what, true};
      return t.transposeB ? thinTransposed<1>(t, sideways) : thinRows<1>(t, sideways);
    }
    case Path::thinTransposed:
      return withRows<thinTransposedMost>(g.m, [&](auto rows) { thinTransposed<rows.value>(g, epilogue); });
    case Path::thinRows:
      return withRows<thinRowsMost>(g.m, [&](auto rows) { thinRows<rows.value>(g, epilogue); });
    case Path::turned:
      if constexpr (turnsC) {
        const GemmArguments t = turned(g);
        inBlocks<mr, gemmVectors, true>(t, {false, t.transposeB}, scratch, epilogue);
      }
      return;
    case Path::wide:
      if constexpr (F::lanes == 16) inBlocks<wideRows, wideVectors, false>(g, packingOfWide(g), scratch, epilogue);
      return;
    case Path::blocked:
      return inBlocks<mr, gemmVectors, false>(g, packingOf(g), scratch, epilogue);
  }
}

}  // namespace
}  // namespace gradmill
