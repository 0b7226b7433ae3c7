// The only file that knows an instruction set: a vector of floats F, of 32-bit integers I, a lane mask M, and the
// GEMM tile that fits the registers. Every kernel header is written over these and compiled once per ISA by
// kernels.cpp with GRADMILL_ISA_<name> and GRADMILL_STRICT=0|1.
// On finite values every operation gives the same bits on every ISA, except that fma/fnma round once in fast
// AVX2, AVX-512 and NEON tables and twice elsewhere. Requires -ffp-contract=off: intrinsics are plain + and * to GCC.
// Loads and stores need no alignment. Anonymous namespace: code for one ISA must never be linked into another's table.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(GRADMILL_ISA_SSE2)
#include <emmintrin.h>
#elif defined(GRADMILL_ISA_AVX2)
#include <immintrin.h>
#elif defined(GRADMILL_ISA_AVX512)
#ifndef __clang__  // GCC 12 warns of its own _mm512_undefined_ps
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#ifndef __clang__
#pragma GCC diagnostic pop
#endif
#elif defined(GRADMILL_ISA_NEON)
#include <arm_neon.h>
#elif defined(GRADMILL_ISA_WASM)
#include <wasm_simd128.h>
#else
#error "define one of GRADMILL_ISA_SSE2, _AVX2, _AVX512, _NEON, _WASM"
#endif

#ifndef GRADMILL_STRICT
#error "define GRADMILL_STRICT as 0 or 1"
#endif

#define GRADMILL_INLINE inline __attribute__((always_inline))
#define GRADMILL_INLINE_LAMBDA __attribute__((always_inline))

namespace gradmill {
namespace {

#if defined(GRADMILL_ISA_SSE2)

constexpr int vectorRegisters = 16;
constexpr int gemmRows = 4, gemmVectors = 2;  // 8 accumulators: two-operand mul + add wants spare registers
constexpr bool fusedMultiplyAdd = false;

struct M {
  __m128 v;
};
struct I {
  __m128i v;
  static constexpr int lanes = 4;
  static GRADMILL_INLINE I load(const int32_t* p) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))}; }
  static GRADMILL_INLINE I set(int32_t x) { return {_mm_set1_epi32(x)}; }
  GRADMILL_INLINE void store(int32_t* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
};
struct F {
  __m128 v;
  static constexpr int lanes = 4;
  static GRADMILL_INLINE F load(const float* p) { return {_mm_loadu_ps(p)}; }
  static GRADMILL_INLINE F set(float x) { return {_mm_set1_ps(x)}; }
  static GRADMILL_INLINE F zero() { return {_mm_setzero_ps()}; }
  GRADMILL_INLINE void store(float* p) const { _mm_storeu_ps(p, v); }
  static GRADMILL_INLINE F loadPartial(const float* p, int n) {
    if (n >= 4) return load(p);
    if (n == 1) return {_mm_load_ss(p)};
    if (n <= 0) return zero();
    const __m128 low = _mm_loadl_pi(_mm_setzero_ps(), reinterpret_cast<const __m64*>(p));
    return {n == 2 ? low : _mm_movelh_ps(low, _mm_load_ss(p + 2))};
  }
  GRADMILL_INLINE void storePartial(float* p, int n) const {
    if (n >= 4) return store(p);
    if (n == 1) _mm_store_ss(p, v);
    if (n < 2) return;
    _mm_storel_pi(reinterpret_cast<__m64*>(p), v);
    if (n == 3) _mm_store_ss(p + 2, _mm_movehl_ps(v, v));
  }
};

GRADMILL_INLINE F operator+(F a, F b) { return {_mm_add_ps(a.v, b.v)}; }
GRADMILL_INLINE F operator-(F a, F b) { return {_mm_sub_ps(a.v, b.v)}; }
GRADMILL_INLINE F operator*(F a, F b) { return {_mm_mul_ps(a.v, b.v)}; }
GRADMILL_INLINE F operator/(F a, F b) { return {_mm_div_ps(a.v, b.v)}; }
GRADMILL_INLINE F sqrt(F a) { return {_mm_sqrt_ps(a.v)}; }

GRADMILL_INLINE M lt(F a, F b) { return {_mm_cmplt_ps(a.v, b.v)}; }
GRADMILL_INLINE M le(F a, F b) { return {_mm_cmple_ps(a.v, b.v)}; }
GRADMILL_INLINE M eq(F a, F b) { return {_mm_cmpeq_ps(a.v, b.v)}; }
GRADMILL_INLINE M isnan(F a) { return {_mm_cmpunord_ps(a.v, a.v)}; }
GRADMILL_INLINE M eq(I a, I b) { return {_mm_castsi128_ps(_mm_cmpeq_epi32(a.v, b.v))}; }
GRADMILL_INLINE M operator&(M a, M b) { return {_mm_and_ps(a.v, b.v)}; }
GRADMILL_INLINE bool any(M m) { return _mm_movemask_ps(m.v) != 0; }
GRADMILL_INLINE bool all(M m) { return _mm_movemask_ps(m.v) == 15; }
GRADMILL_INLINE F select(M m, F t, F f) { return {_mm_or_ps(_mm_and_ps(m.v, t.v), _mm_andnot_ps(m.v, f.v))}; }

GRADMILL_INLINE I operator+(I a, I b) { return {_mm_add_epi32(a.v, b.v)}; }
GRADMILL_INLINE I operator-(I a, I b) { return {_mm_sub_epi32(a.v, b.v)}; }
GRADMILL_INLINE I operator&(I a, I b) { return {_mm_and_si128(a.v, b.v)}; }
GRADMILL_INLINE I operator|(I a, I b) { return {_mm_or_si128(a.v, b.v)}; }
GRADMILL_INLINE I operator^(I a, I b) { return {_mm_xor_si128(a.v, b.v)}; }
template <int n>
GRADMILL_INLINE I shiftLeft(I a) {
  return {_mm_slli_epi32(a.v, n)};
}
template <int n>
GRADMILL_INLINE I shiftRightArithmetic(I a) {
  return {_mm_srai_epi32(a.v, n)};
}

GRADMILL_INLINE F asFloat(I a) { return {_mm_castsi128_ps(a.v)}; }
GRADMILL_INLINE I asInt(F a) { return {_mm_castps_si128(a.v)}; }
GRADMILL_INLINE F toFloat(I a) { return {_mm_cvtepi32_ps(a.v)}; }

// The 64-bit products of unsigned numbers.
GRADMILL_INLINE void multiplyWide(I a, uint32_t b, I& low, I& high) {
  const __m128i factor = _mm_set1_epi32(int32_t(b)), first = _mm_set1_epi64x(0xFFFFFFFF);
  const __m128i even = _mm_mul_epu32(a.v, factor), odd = _mm_mul_epu32(_mm_srli_epi64(a.v, 32), factor);
  low = {_mm_or_si128(_mm_and_si128(first, even), _mm_slli_epi64(odd, 32))};
  high = {_mm_or_si128(_mm_srli_epi64(even, 32), _mm_andnot_si128(first, odd))};
}

// maxps returns its second operand when the comparison is false, so a NaN there passes through.
GRADMILL_INLINE F atLeast(F bound, F x) { return {_mm_max_ps(bound.v, x.v)}; }
GRADMILL_INLINE F atMost(F bound, F x) { return {_mm_min_ps(bound.v, x.v)}; }

GRADMILL_INLINE void transpose(F (&r)[4]) { _MM_TRANSPOSE4_PS(r[0].v, r[1].v, r[2].v, r[3].v); }

#elif defined(GRADMILL_ISA_AVX2)

constexpr int vectorRegisters = 16;
constexpr int gemmRows = 6, gemmVectors = 2;  // 12 accumulators + 2 of B + a broadcast of A + a product
constexpr bool fusedMultiplyAdd = !GRADMILL_STRICT;

struct M {
  __m256 v;
};
struct I {
  __m256i v;
  static constexpr int lanes = 8;
  static GRADMILL_INLINE I load(const int32_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
  static GRADMILL_INLINE I set(int32_t x) { return {_mm256_set1_epi32(x)}; }
  GRADMILL_INLINE void store(int32_t* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
};
struct F {
  __m256 v;
  static constexpr int lanes = 8;
  static GRADMILL_INLINE F load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static GRADMILL_INLINE F set(float x) { return {_mm256_set1_ps(x)}; }
  static GRADMILL_INLINE F zero() { return {_mm256_setzero_ps()}; }
  GRADMILL_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  static GRADMILL_INLINE __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  // Whole vectors take the plain instruction: masked stores are slow on AMD.
  static GRADMILL_INLINE F loadPartial(const float* p, int n) {
    return {n >= lanes ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first(n))};
  }
  GRADMILL_INLINE void storePartial(float* p, int n) const {
    if (n >= lanes) return store(p);
    _mm256_maskstore_ps(p, first(n), v);
  }
};

GRADMILL_INLINE F operator+(F a, F b) { return {_mm256_add_ps(a.v, b.v)}; }
GRADMILL_INLINE F operator-(F a, F b) { return {_mm256_sub_ps(a.v, b.v)}; }
GRADMILL_INLINE F operator*(F a, F b) { return {_mm256_mul_ps(a.v, b.v)}; }
GRADMILL_INLINE F operator/(F a, F b) { return {_mm256_div_ps(a.v, b.v)}; }
GRADMILL_INLINE F sqrt(F a) { return {_mm256_sqrt_ps(a.v)}; }
#if !GRADMILL_STRICT
GRADMILL_INLINE F fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
GRADMILL_INLINE F fnma(F a, F b, F c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
#endif

GRADMILL_INLINE M lt(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
GRADMILL_INLINE M le(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
GRADMILL_INLINE M eq(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
GRADMILL_INLINE M isnan(F a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
GRADMILL_INLINE M eq(I a, I b) { return {_mm256_castsi256_ps(_mm256_cmpeq_epi32(a.v, b.v))}; }
GRADMILL_INLINE M operator&(M a, M b) { return {_mm256_and_ps(a.v, b.v)}; }
GRADMILL_INLINE bool any(M m) { return _mm256_movemask_ps(m.v) != 0; }
GRADMILL_INLINE bool all(M m) { return _mm256_movemask_ps(m.v) == 255; }
GRADMILL_INLINE F select(M m, F t, F f) { return {_mm256_blendv_ps(f.v, t.v, m.v)}; }

GRADMILL_INLINE I operator+(I a, I b) { return {_mm256_add_epi32(a.v, b.v)}; }
GRADMILL_INLINE I operator-(I a, I b) { return {_mm256_sub_epi32(a.v, b.v)}; }
GRADMILL_INLINE I operator&(I a, I b) { return {_mm256_and_si256(a.v, b.v)}; }
GRADMILL_INLINE I operator|(I a, I b) { return {_mm256_or_si256(a.v, b.v)}; }
GRADMILL_INLINE I operator^(I a, I b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int n>
GRADMILL_INLINE I shiftLeft(I a) {
  return {_mm256_slli_epi32(a.v, n)};
}
template <int n>
GRADMILL_INLINE I shiftRightArithmetic(I a) {
  return {_mm256_srai_epi32(a.v, n)};
}

GRADMILL_INLINE F asFloat(I a) { return {_mm256_castsi256_ps(a.v)}; }
GRADMILL_INLINE I asInt(F a) { return {_mm256_castps_si256(a.v)}; }
GRADMILL_INLINE F toFloat(I a) { return {_mm256_cvtepi32_ps(a.v)}; }

GRADMILL_INLINE void multiplyWide(I a, uint32_t b, I& low, I& high) {
  const __m256i factor = _mm256_set1_epi32(int32_t(b));
  const __m256i even = _mm256_mul_epu32(a.v, factor), odd = _mm256_mul_epu32(_mm256_srli_epi64(a.v, 32), factor);
  low = {_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA)};
  high = {_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA)};
}

// maxps returns its second operand when the comparison is false, so a NaN there passes through.
GRADMILL_INLINE F atLeast(F bound, F x) { return {_mm256_max_ps(bound.v, x.v)}; }
GRADMILL_INLINE F atMost(F bound, F x) { return {_mm256_min_ps(bound.v, x.v)}; }

GRADMILL_INLINE void transpose(F (&r)[8]) {
  // Pairs of rows, then pairs of pairs, inside each 128-bit half; then the halves change places.
  const __m256 a0 = _mm256_unpacklo_ps(r[0].v, r[1].v), a1 = _mm256_unpackhi_ps(r[0].v, r[1].v);
  const __m256 a2 = _mm256_unpacklo_ps(r[2].v, r[3].v), a3 = _mm256_unpackhi_ps(r[2].v, r[3].v);
  const __m256 a4 = _mm256_unpacklo_ps(r[4].v, r[5].v), a5 = _mm256_unpackhi_ps(r[4].v, r[5].v);
  const __m256 a6 = _mm256_unpacklo_ps(r[6].v, r[7].v), a7 = _mm256_unpackhi_ps(r[6].v, r[7].v);
  const __m256 b0 = _mm256_shuffle_ps(a0, a2, 0x44), b1 = _mm256_shuffle_ps(a0, a2, 0xEE);
  const __m256 b2 = _mm256_shuffle_ps(a1, a3, 0x44), b3 = _mm256_shuffle_ps(a1, a3, 0xEE);
  const __m256 b4 = _mm256_shuffle_ps(a4, a6, 0x44), b5 = _mm256_shuffle_ps(a4, a6, 0xEE);
  const __m256 b6 = _mm256_shuffle_ps(a5, a7, 0x44), b7 = _mm256_shuffle_ps(a5, a7, 0xEE);
  r[0].v = _mm256_permute2f128_ps(b0, b4, 0x20), r[4].v = _mm256_permute2f128_ps(b0, b4, 0x31);
  r[1].v = _mm256_permute2f128_ps(b1, b5, 0x20), r[5].v = _mm256_permute2f128_ps(b1, b5, 0x31);
  r[2].v = _mm256_permute2f128_ps(b2, b6, 0x20), r[6].v = _mm256_permute2f128_ps(b2, b6, 0x31);
  r[3].v = _mm256_permute2f128_ps(b3, b7, 0x20), r[7].v = _mm256_permute2f128_ps(b3, b7, 0x31);
}

#elif defined(GRADMILL_ISA_AVX512)

constexpr int vectorRegisters = 32;
constexpr int gemmRows = 14, gemmVectors = 2;  // 28 accumulators + 2 of B + a broadcast of A + a product
constexpr bool fusedMultiplyAdd = !GRADMILL_STRICT;

struct M {
  __mmask16 v;
};
struct I {
  __m512i v;
  static constexpr int lanes = 16;
  static GRADMILL_INLINE I load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  static GRADMILL_INLINE I set(int32_t x) { return {_mm512_set1_epi32(x)}; }
  GRADMILL_INLINE void store(int32_t* p) const { _mm512_storeu_si512(p, v); }
};
struct F {
  __m512 v;
  static constexpr int lanes = 16;
  static GRADMILL_INLINE F load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static GRADMILL_INLINE F set(float x) { return {_mm512_set1_ps(x)}; }
  static GRADMILL_INLINE F zero() { return {_mm512_setzero_ps()}; }
  GRADMILL_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  // A shift by 32 would be one by 0.
  static GRADMILL_INLINE __mmask16 first(int n) { return static_cast<__mmask16>(n >= lanes ? 0xFFFFu : (1u << n) - 1u); }
  static GRADMILL_INLINE F loadPartial(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
  GRADMILL_INLINE void storePartial(float* p, int n) const { _mm512_mask_storeu_ps(p, first(n), v); }
};

GRADMILL_INLINE F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
GRADMILL_INLINE F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
GRADMILL_INLINE F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
GRADMILL_INLINE F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
GRADMILL_INLINE F sqrt(F a) { return {_mm512_sqrt_ps(a.v)}; }
#if !GRADMILL_STRICT
GRADMILL_INLINE F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
GRADMILL_INLINE F fnma(F a, F b, F c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
#endif

GRADMILL_INLINE M lt(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
GRADMILL_INLINE M le(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
GRADMILL_INLINE M eq(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
GRADMILL_INLINE M isnan(F a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
GRADMILL_INLINE M eq(I a, I b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
GRADMILL_INLINE M operator&(M a, M b) { return {static_cast<__mmask16>(a.v & b.v)}; }
GRADMILL_INLINE bool any(M m) { return m.v != 0; }
GRADMILL_INLINE bool all(M m) { return m.v == 0xFFFF; }
GRADMILL_INLINE F select(M m, F t, F f) { return {_mm512_mask_blend_ps(m.v, f.v, t.v)}; }

GRADMILL_INLINE I operator+(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
GRADMILL_INLINE I operator-(I a, I b) { return {_mm512_sub_epi32(a.v, b.v)}; }
GRADMILL_INLINE I operator&(I a, I b) { return {_mm512_and_si512(a.v, b.v)}; }
GRADMILL_INLINE I operator|(I a, I b) { return {_mm512_or_si512(a.v, b.v)}; }
GRADMILL_INLINE I operator^(I a, I b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int n>
GRADMILL_INLINE I shiftLeft(I a) {
  return {_mm512_slli_epi32(a.v, n)};
}
template <int n>
GRADMILL_INLINE I shiftRightArithmetic(I a) {
  return {_mm512_srai_epi32(a.v, n)};
}

GRADMILL_INLINE F asFloat(I a) { return {_mm512_castsi512_ps(a.v)}; }
GRADMILL_INLINE I asInt(F a) { return {_mm512_castps_si512(a.v)}; }
GRADMILL_INLINE F toFloat(I a) { return {_mm512_cvtepi32_ps(a.v)}; }

GRADMILL_INLINE void multiplyWide(I a, uint32_t b, I& low, I& high) {
  const __m512i factor = _mm512_set1_epi32(int32_t(b));
  const __m512i even = _mm512_mul_epu32(a.v, factor), odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), factor);
  low = {_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32))};
  high = {_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd)};
}

// maxps returns its second operand when the comparison is false, so a NaN there passes through.
GRADMILL_INLINE F atLeast(F bound, F x) { return {_mm512_max_ps(bound.v, x.v)}; }
GRADMILL_INLINE F atMost(F bound, F x) { return {_mm512_min_ps(bound.v, x.v)}; }

GRADMILL_INLINE void transpose(F (&r)[16]) {
  // 4×4 blocks inside the 128-bit quarters of each group of four rows, then a 4×4 transpose of the quarters.
  __m512 b[16];
  for (int g = 0; g < 16; g += 4) {
    const __m512 a0 = _mm512_unpacklo_ps(r[g].v, r[g + 1].v), a1 = _mm512_unpackhi_ps(r[g].v, r[g + 1].v);
    const __m512 a2 = _mm512_unpacklo_ps(r[g + 2].v, r[g + 3].v), a3 = _mm512_unpackhi_ps(r[g + 2].v, r[g + 3].v);
    b[g] = _mm512_shuffle_ps(a0, a2, 0x44), b[g + 1] = _mm512_shuffle_ps(a0, a2, 0xEE);
    b[g + 2] = _mm512_shuffle_ps(a1, a3, 0x44), b[g + 3] = _mm512_shuffle_ps(a1, a3, 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    const __m512 even01 = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
    const __m512 odd01 = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xDD);
    const __m512 even23 = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
    const __m512 odd23 = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xDD);
    r[i].v = _mm512_shuffle_f32x4(even01, even23, 0x88), r[i + 8].v = _mm512_shuffle_f32x4(even01, even23, 0xDD);
    r[i + 4].v = _mm512_shuffle_f32x4(odd01, odd23, 0x88), r[i + 12].v = _mm512_shuffle_f32x4(odd01, odd23, 0xDD);
  }
}

#elif defined(GRADMILL_ISA_NEON)

constexpr int vectorRegisters = 32;
constexpr int gemmRows = 6, gemmVectors = 4;  // 24 accumulators + 4 of B + a broadcast of A + a product
constexpr bool fusedMultiplyAdd = !GRADMILL_STRICT;

struct M {
  uint32x4_t v;
};
struct I {
  int32x4_t v;
  static constexpr int lanes = 4;
  static GRADMILL_INLINE I load(const int32_t* p) { return {vld1q_s32(p)}; }
  static GRADMILL_INLINE I set(int32_t x) { return {vdupq_n_s32(x)}; }
  GRADMILL_INLINE void store(int32_t* p) const { vst1q_s32(p, v); }
};
struct F {
  float32x4_t v;
  static constexpr int lanes = 4;
  static GRADMILL_INLINE F load(const float* p) { return {vld1q_f32(p)}; }
  static GRADMILL_INLINE F set(float x) { return {vdupq_n_f32(x)}; }
  static GRADMILL_INLINE F zero() { return {vdupq_n_f32(0.0f)}; }
  GRADMILL_INLINE void store(float* p) const { vst1q_f32(p, v); }
  static GRADMILL_INLINE F loadPartial(const float* p, int n) {
    if (n >= 4) return load(p);
    F r = zero();
    if (n > 0) r.v = vld1q_lane_f32(p, r.v, 0);
    if (n > 1) r.v = vld1q_lane_f32(p + 1, r.v, 1);
    if (n > 2) r.v = vld1q_lane_f32(p + 2, r.v, 2);
    return r;
  }
  GRADMILL_INLINE void storePartial(float* p, int n) const {
    if (n >= 4) return store(p);
    if (n > 0) vst1q_lane_f32(p, v, 0);
    if (n > 1) vst1q_lane_f32(p + 1, v, 1);
    if (n > 2) vst1q_lane_f32(p + 2, v, 2);
  }
};

GRADMILL_INLINE F operator+(F a, F b) { return {vaddq_f32(a.v, b.v)}; }
GRADMILL_INLINE F operator-(F a, F b) { return {vsubq_f32(a.v, b.v)}; }
GRADMILL_INLINE F operator*(F a, F b) { return {vmulq_f32(a.v, b.v)}; }
GRADMILL_INLINE F operator/(F a, F b) { return {vdivq_f32(a.v, b.v)}; }
GRADMILL_INLINE F sqrt(F a) { return {vsqrtq_f32(a.v)}; }
#if !GRADMILL_STRICT
GRADMILL_INLINE F fma(F a, F b, F c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
GRADMILL_INLINE F fnma(F a, F b, F c) { return {vfmsq_f32(c.v, a.v, b.v)}; }
#endif

GRADMILL_INLINE M lt(F a, F b) { return {vcltq_f32(a.v, b.v)}; }
GRADMILL_INLINE M le(F a, F b) { return {vcleq_f32(a.v, b.v)}; }
GRADMILL_INLINE M eq(F a, F b) { return {vceqq_f32(a.v, b.v)}; }
GRADMILL_INLINE M isnan(F a) { return {vmvnq_u32(vceqq_f32(a.v, a.v))}; }
GRADMILL_INLINE M eq(I a, I b) { return {vceqq_s32(a.v, b.v)}; }
GRADMILL_INLINE M operator&(M a, M b) { return {vandq_u32(a.v, b.v)}; }
GRADMILL_INLINE bool any(M m) { return vmaxvq_u32(m.v) != 0; }
GRADMILL_INLINE bool all(M m) { return vminvq_u32(m.v) != 0; }
GRADMILL_INLINE F select(M m, F t, F f) { return {vbslq_f32(m.v, t.v, f.v)}; }

GRADMILL_INLINE I operator+(I a, I b) { return {vaddq_s32(a.v, b.v)}; }
GRADMILL_INLINE I operator-(I a, I b) { return {vsubq_s32(a.v, b.v)}; }
GRADMILL_INLINE I operator&(I a, I b) { return {vandq_s32(a.v, b.v)}; }
GRADMILL_INLINE I operator|(I a, I b) { return {vorrq_s32(a.v, b.v)}; }
GRADMILL_INLINE I operator^(I a, I b) { return {veorq_s32(a.v, b.v)}; }
template <int n>
GRADMILL_INLINE I shiftLeft(I a) {
  return {vshlq_n_s32(a.v, n)};
}
template <int n>
GRADMILL_INLINE I shiftRightArithmetic(I a) {
  return {vshrq_n_s32(a.v, n)};
}

GRADMILL_INLINE F asFloat(I a) { return {vreinterpretq_f32_s32(a.v)}; }
GRADMILL_INLINE I asInt(F a) { return {vreinterpretq_s32_f32(a.v)}; }
GRADMILL_INLINE F toFloat(I a) { return {vcvtq_f32_s32(a.v)}; }

GRADMILL_INLINE void multiplyWide(I a, uint32_t b, I& low, I& high) {
  const uint32x4_t from = vreinterpretq_u32_s32(a.v);
  const int32x4_t first = vreinterpretq_s32_u64(vmull_u32(vget_low_u32(from), vdup_n_u32(b)));
  const int32x4_t second = vreinterpretq_s32_u64(vmull_u32(vget_high_u32(from), vdup_n_u32(b)));
  low = {vuzp1q_s32(first, second)};
  high = {vuzp2q_s32(first, second)};
}

// Not vmaxq: it orders -0 below +0, which x86 does not.
GRADMILL_INLINE F atLeast(F bound, F x) { return {vbslq_f32(vcgtq_f32(bound.v, x.v), bound.v, x.v)}; }
GRADMILL_INLINE F atMost(F bound, F x) { return {vbslq_f32(vcltq_f32(bound.v, x.v), bound.v, x.v)}; }

GRADMILL_INLINE void transpose(F (&r)[4]) {
  const float32x4x2_t a = vtrnq_f32(r[0].v, r[1].v), b = vtrnq_f32(r[2].v, r[3].v);
  r[0].v = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
  r[1].v = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
  r[2].v = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
  r[3].v = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

#elif defined(GRADMILL_ISA_WASM)

constexpr int vectorRegisters = 16;           // of the x86 that will most often run it
constexpr int gemmRows = 4, gemmVectors = 2;  // as SSE2, which engines compile it to
constexpr int gemmUnroll = 1;                 // they move all loads of a longer body to its start, and spill
constexpr bool fusedMultiplyAdd = false;

struct M {
  v128_t v;
};
struct I {
  v128_t v;
  static constexpr int lanes = 4;
  static GRADMILL_INLINE I load(const int32_t* p) { return {wasm_v128_load(p)}; }
  static GRADMILL_INLINE I set(int32_t x) { return {wasm_i32x4_splat(x)}; }
  GRADMILL_INLINE void store(int32_t* p) const { wasm_v128_store(p, v); }
};
struct F {
  v128_t v;
  static constexpr int lanes = 4;
  static GRADMILL_INLINE F load(const float* p) { return {wasm_v128_load(p)}; }
  static GRADMILL_INLINE F set(float x) { return {wasm_f32x4_splat(x)}; }
  static GRADMILL_INLINE F zero() { return set(0.0f); }
  GRADMILL_INLINE void store(float* p) const { wasm_v128_store(p, v); }
  static GRADMILL_INLINE F loadPartial(const float* p, int n) {
    if (n >= 4) return load(p);
    if (n == 1) return {wasm_v128_load32_zero(p)};
    if (n <= 0) return zero();
    const v128_t low = wasm_v128_load64_zero(p);
    return {n == 2 ? low : wasm_v128_load32_lane(p + 2, low, 2)};
  }
  GRADMILL_INLINE void storePartial(float* p, int n) const {
    if (n >= 4) return store(p);
    if (n == 1) wasm_v128_store32_lane(p, v, 0);
    if (n < 2) return;
    wasm_v128_store64_lane(p, v, 0);
    if (n == 3) wasm_v128_store32_lane(p + 2, v, 2);
  }
};

GRADMILL_INLINE F operator+(F a, F b) { return {wasm_f32x4_add(a.v, b.v)}; }
GRADMILL_INLINE F operator-(F a, F b) { return {wasm_f32x4_sub(a.v, b.v)}; }
GRADMILL_INLINE F operator*(F a, F b) { return {wasm_f32x4_mul(a.v, b.v)}; }
GRADMILL_INLINE F operator/(F a, F b) { return {wasm_f32x4_div(a.v, b.v)}; }
GRADMILL_INLINE F sqrt(F a) { return {wasm_f32x4_sqrt(a.v)}; }

GRADMILL_INLINE M lt(F a, F b) { return {wasm_f32x4_lt(a.v, b.v)}; }
GRADMILL_INLINE M le(F a, F b) { return {wasm_f32x4_le(a.v, b.v)}; }
GRADMILL_INLINE M eq(F a, F b) { return {wasm_f32x4_eq(a.v, b.v)}; }
GRADMILL_INLINE M isnan(F a) { return {wasm_f32x4_ne(a.v, a.v)}; }
GRADMILL_INLINE M eq(I a, I b) { return {wasm_i32x4_eq(a.v, b.v)}; }
GRADMILL_INLINE M operator&(M a, M b) { return {wasm_v128_and(a.v, b.v)}; }
GRADMILL_INLINE bool any(M m) { return wasm_v128_any_true(m.v); }
GRADMILL_INLINE bool all(M m) { return wasm_i32x4_all_true(m.v); }
GRADMILL_INLINE F select(M m, F t, F f) { return {wasm_v128_bitselect(t.v, f.v, m.v)}; }

GRADMILL_INLINE I operator+(I a, I b) { return {wasm_i32x4_add(a.v, b.v)}; }
GRADMILL_INLINE I operator-(I a, I b) { return {wasm_i32x4_sub(a.v, b.v)}; }
GRADMILL_INLINE I operator&(I a, I b) { return {wasm_v128_and(a.v, b.v)}; }
GRADMILL_INLINE I operator|(I a, I b) { return {wasm_v128_or(a.v, b.v)}; }
GRADMILL_INLINE I operator^(I a, I b) { return {wasm_v128_xor(a.v, b.v)}; }
template <int n>
GRADMILL_INLINE I shiftLeft(I a) {
  return {wasm_i32x4_shl(a.v, n)};
}
template <int n>
GRADMILL_INLINE I shiftRightArithmetic(I a) {
  return {wasm_i32x4_shr(a.v, n)};
}

GRADMILL_INLINE F asFloat(I a) { return {a.v}; }
GRADMILL_INLINE I asInt(F a) { return {a.v}; }
GRADMILL_INLINE F toFloat(I a) { return {wasm_f32x4_convert_i32x4(a.v)}; }

GRADMILL_INLINE void multiplyWide(I a, uint32_t b, I& low, I& high) {
  const v128_t factor = wasm_i32x4_splat(int32_t(b));
  const v128_t first = wasm_u64x2_extmul_low_u32x4(a.v, factor), second = wasm_u64x2_extmul_high_u32x4(a.v, factor);
  low = {wasm_i32x4_shuffle(first, second, 0, 2, 4, 6)};
  high = {wasm_i32x4_shuffle(first, second, 1, 3, 5, 7)};
}

// pmax(a, b) is b > a ? b : a: with the operands turned round a NaN in x passes through, as with maxps.
GRADMILL_INLINE F atLeast(F bound, F x) { return {wasm_f32x4_pmax(x.v, bound.v)}; }
GRADMILL_INLINE F atMost(F bound, F x) { return {wasm_f32x4_pmin(x.v, bound.v)}; }

GRADMILL_INLINE void transpose(F (&r)[4]) {
  const v128_t a = wasm_i32x4_shuffle(r[0].v, r[1].v, 0, 4, 1, 5), b = wasm_i32x4_shuffle(r[0].v, r[1].v, 2, 6, 3, 7);
  const v128_t c = wasm_i32x4_shuffle(r[2].v, r[3].v, 0, 4, 1, 5), d = wasm_i32x4_shuffle(r[2].v, r[3].v, 2, 6, 3, 7);
  r[0].v = wasm_i64x2_shuffle(a, c, 0, 2), r[1].v = wasm_i64x2_shuffle(a, c, 1, 3);
  r[2].v = wasm_i64x2_shuffle(b, d, 0, 2), r[3].v = wasm_i64x2_shuffle(b, d, 1, 3);
}

#endif

// ---- What follows from the above, the same on every ISA ----

#if !defined(GRADMILL_ISA_WASM)
constexpr int gemmUnroll = 4;
#endif

// How a gemm reaches its operands, where measurements differ. rowsAPointer: rows of a that one address register serves, by x86's
// addressing; 14 rows would need 14. The rest costs code, which a page has to load, and was not measured on ARM.
#if defined(GRADMILL_ISA_AVX512)
constexpr int rowsAPointer = 3;
#else
constexpr int rowsAPointer = 1;
#endif
#if defined(GRADMILL_ISA_AVX2) || defined(GRADMILL_ISA_AVX512)
constexpr bool packsOnTheWay = true, turnsC = true, halvesEdges = true;
#else
constexpr bool packsOnTheWay = false, turnsC = false, halvesEdges = false;
#endif
// V8 11, which Node 20 has, repeats the body of a small loop, the more so the deeper it is nested, and runs out of registers; but
// not where its function has no loop round it.
#if defined(GRADMILL_ISA_WASM)
#define GRADMILL_TILE_FUNCTION __attribute__((noinline))
#else
#define GRADMILL_TILE_FUNCTION inline
#endif

#if GRADMILL_STRICT || defined(GRADMILL_ISA_SSE2) || defined(GRADMILL_ISA_WASM)
GRADMILL_INLINE F fma(F a, F b, F c) { return a * b + c; }
GRADMILL_INLINE F fnma(F a, F b, F c) { return c - a * b; }
#endif

GRADMILL_INLINE M gt(F a, F b) { return lt(b, a); }
GRADMILL_INLINE I select(M m, I t, I f) { return asInt(select(m, asFloat(t), asFloat(f))); }

GRADMILL_INLINE F operator&(F a, I bits) { return asFloat(asInt(a) & bits); }
GRADMILL_INLINE F operator|(F a, I bits) { return asFloat(asInt(a) | bits); }
GRADMILL_INLINE F operator^(F a, I bits) { return asFloat(asInt(a) ^ bits); }
GRADMILL_INLINE F abs(F a) { return a & I::set(0x7FFFFFFF); }
GRADMILL_INLINE F minusAbs(F a) { return a | I::set(INT32_MIN); }
GRADMILL_INLINE F operator-(F a) { return a ^ I::set(INT32_MIN); }
GRADMILL_INLINE I signBit(F a) { return asInt(a) & I::set(INT32_MIN); }

// NaN in either operand gives NaN; of equal operands (±0) b is returned. Where only one operand can be NaN,
// atLeast(bound, x) and atMost(bound, x) do the same in one instruction and let a NaN in x through.
GRADMILL_INLINE F max(F a, F b) { return select(isnan(a), a, atLeast(a, b)); }
GRADMILL_INLINE F min(F a, F b) { return select(isnan(a), a, atMost(a, b)); }

// x, whose operations the compiler then leaves before those that use it, and before the next that is so marked.
GRADMILL_INLINE F inOrder(F x) {
#if defined(GRADMILL_ISA_AVX512)
  __asm__ volatile("" : "+v"(x.v));
#elif defined(GRADMILL_ISA_NEON)
  __asm__ volatile("" : "+w"(x.v));
#elif !defined(GRADMILL_ISA_WASM)
  __asm__ volatile("" : "+x"(x.v));
#endif
  return x;
}

// p, of which the compiler then knows nothing: it cannot make another variable of p plus something.
template <class T>
GRADMILL_INLINE const T* opaque(const T* p) {
  __asm__("" : "+r"(p));
  return p;
}

static_assert(F::lanes == I::lanes && 16 % F::lanes == 0, "a reduction has 16 virtual lanes");
static_assert(gemmRows * gemmVectors + gemmVectors + 2 <= vectorRegisters, "the GEMM tile must stay in registers");

}  // namespace
}  // namespace gradmill
