// What the engine knows of the kernels: one table of function pointers an instruction set, filled by kernels.cpp, which is
// compiled once for each. Kernels trust their arguments: the engine checked every operand when the program was loaded.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "ops.h"

namespace gradmill {

enum Op : uint32_t {
#define OP(name, ...) op_##name,
  GRADMILL_OPS(OP)
#undef OP
      opCount
};

enum class ElementType : uint32_t { i8, u8, i16, u16, i32, u32, f32, f64, count };
constexpr uint32_t bytesOf(ElementType type) {
  return type <= ElementType::u8 ? 1 : type <= ElementType::u16 ? 2 : type == ElementType::f64 ? 8 : 4;
}

// A data set outside the arena, bound to a slot for one run. Two are the engine's to write. feedSamples has a row for each watched
// batch of a run (see Run). feedTimes, if it is there, has a row a batch, in which every instruction of the run has the nanoseconds
// that it took, as doubles that are added to.
struct Feed {
  void* data;
  uint64_t rows;
  uint32_t columns;
  ElementType type;
};
enum FeedSlot : uint32_t { feedInput, feedTarget, feedOrder, feedOutput, feedSamples, feedTimes, feedCount };

// Why a run stopped, besides its end.
enum class Fault : uint32_t { none, nonFiniteInput, labelOutOfRange, rowOutOfRange, nonFiniteLoss, nonFiniteWeight };

struct FaultRecord {
  uint32_t fault;        // a Fault
  uint32_t instruction;  // set by the engine
  uint64_t row;          // of the data set
  uint32_t place;        // of that row in the batch
};

constexpr size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// One instruction with its addresses resolved; its dims hold the running batch's rows.
struct Call {
  uint32_t m, n, k;
  uint32_t phase;
  uint32_t grid;  // gemm: parts along m in the low half, along n in the high half
  uint32_t instruction;
  const uint32_t* immediates;
  void* operands[8];
  const Feed* feeds;  // of the run
  uint64_t firstRow;  // of this batch, in the run's order
  FaultRecord* fault;
};

// Part `part` of `parts` of a call; `scratch` is this thread's own, scratchBytes long.
using Kernel = void (*)(const Call& call, uint32_t part, uint32_t parts, char* scratch);

struct GemmArguments {
  size_t m, n, k;
  const float *a, *b;
  float* c;
  size_t lda, ldb, ldc;
  bool transposeA, transposeB;
  float alpha, beta;
};

// How a block of c is computed: by register tiles (of 0 rows: by none, all at once), whose rows are c's columns where they lie
// sideways; and what is packed.
struct GemmWay {
  uint32_t rows, columns, tileRows, tileColumns;
  bool sideways, packsA, packsB;
};

// Whether a block of c is written along its rows: where the block of b stays in L1; in L2 for short sums, which spend their time on c.
constexpr bool isRowwise(size_t columns, size_t depth) { return columns * depth <= (depth <= 128 ? 24576 : 6144); }

struct KernelTable {
  const char* isa;
  bool strict;
  size_t scratchBytes;
  Kernel kernels[opCount];
  // The bare product, on the calling thread.
  void (*gemm)(const GemmArguments& arguments, char* scratch);
  // Rows and columns that a part of a gemm should be multiples of.
  uint32_t gemmRows, gemmColumns;
  uint32_t gemmDepth;                                   // of k at a time
  double speed;                                         // multiply-adds a nanosecond in a large product, roughly
  GemmWay (*gemmWay)(const Call& call, uint32_t part);  // of a part of a gemm
};

extern "C" const KernelTable kernels_sse2, kernels_avx2, kernels_avx2_strict, kernels_avx512, kernels_avx512_strict, kernels_neon,
    kernels_neon_strict, kernels_wasm;

}  // namespace gradmill
