// Counter-based randomness: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011). A value depends on (seed, stream, index) alone,
// never on threads or on what was drawn before.
#pragma once
#include "reduce.h"
#include "vmath.h"

namespace gradmill {
namespace {

// Blocks drawn side by side, a lane each, lie this far apart: transposed, theirs and those between are in order.
constexpr int blockStride = F::lanes / 4;

// Of the blocks counter + lane·blockStride the four words.
static inline void philox(uint64_t counter, uint32_t attempt, uint32_t stream, const uint32_t* seed, I (&word)[4]) {
  int32_t low[F::lanes], high[F::lanes];
  for (int lane = 0; lane < F::lanes; lane++) {
    const uint64_t at = counter + uint64_t(lane) * blockStride;
    low[lane] = int32_t(uint32_t(at)), high[lane] = int32_t(uint32_t(at >> 32));
  }
  I c0 = I::load(low), c1 = I::load(high), c2 = I::set(int32_t(attempt)), c3 = I::set(int32_t(stream));
  uint32_t k0 = seed[0], k1 = seed[1];
  for (int round = 0; round < 10; round++) {
    I low0, high0, low1, high1;
    multiplyWide(c0, 0xD2511F53u, low0, high0);
    multiplyWide(c2, 0xCD9E8D57u, low1, high1);
    c0 = high1 ^ c1 ^ I::set(int32_t(k0));
    c2 = high0 ^ c3 ^ I::set(int32_t(k1));
    c1 = low1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  word[0] = c0, word[1] = c1, word[2] = c2, word[3] = c3;
}

// In [0, 1), 24 bits.
static inline F unit(I word) { return toFloat(shiftRightArithmetic<8>(word) & I::set(0xFFFFFF)) * F::set(0x1p-24f); }

// Streams above any tensor's; dropout's, which src/plan.ts gives out, count from 2³¹.
constexpr uint32_t shuffleStream = 0xFFFFFFFFu;

// Element i is word i mod 4 of block i / 4. draw(counter, four) makes of a call of philox four vectors of numbers; body(i, count, v)
// has them in order. The range begins with a block.
template <class Draw, class Body>
GRADMILL_INLINE void forDrawn(Range at, Draw draw, Body body) {
  for (size_t start = at.begin; start < at.end; start += F::lanes * F::lanes) {
    F square[F::lanes];
    for (int b = 0; b < blockStride; b++) {
      F four[4];
      draw(start / 4 + b, four);
      for (int w = 0; w < 4; w++) square[4 * b + w] = four[w];
    }
    transpose(square);
    const size_t left = at.end - start;
    if (left >= F::lanes * F::lanes)
      for (int v = 0; v < F::lanes; v++) body(start + v * F::lanes, F::lanes, square[v]);
    else
      forVectors(left, [&](size_t i, int count) { body(start + i, count, square[i / F::lanes]); });
  }
}

template <class Body>
GRADMILL_INLINE void forWords(Range at, uint32_t attempt, uint32_t stream, const uint32_t* seed, Body body) {
  const auto draw = [&](uint64_t counter, F(&four)[4]) {
    I word[4];
    philox(counter, attempt, stream, seed, word);
    for (int w = 0; w < 4; w++) four[w] = asFloat(word[w]);
  };
  forDrawn(at, draw, [&](size_t i, int count, F v) { body(i, count, asInt(v)); });
}

// Standard normals by Box–Muller on pairs of words.
static inline void normals(uint64_t counter, uint32_t attempt, uint32_t stream, const uint32_t* seed, F (&z)[4]) {
  I word[4];
  philox(counter, attempt, stream, seed, word);
  for (int pair = 0; pair < 2; pair++) {
    // 1 − u lies in (0, 1]: its logarithm is finite.
    const F radius = sqrt(F::set(-2.0f) * log(F::set(1.0f) - unit(word[2 * pair]))), turn = unit(word[2 * pair + 1]);
    z[2 * pair] = radius * cos2pi(turn);
    z[2 * pair + 1] = radius * sin2pi(turn);
  }
}

// y = mean + standardDeviation·z over the part; accept(z) says which lanes may stay.
template <class Accept>
static inline void fillNormal(const Call& call, uint32_t part, uint32_t parts, Accept accept) {
  const F mean = F::set(immediateFloat(call, 1)), deviation = F::set(immediateFloat(call, 2));
  const uint32_t stream = call.immediates[0], *seed = static_cast<const uint32_t*>(call.operands[1]);
  float* y = floats(call, 0);
  const auto draw = [&](uint64_t counter, F(&z)[4]) {
    normals(counter, 0, stream, seed, z);
    for (uint32_t attempt = 1; !all(accept(z[0]) & accept(z[1]) & accept(z[2]) & accept(z[3])); attempt++) {
      F again[4];
      normals(counter, attempt, stream, seed, again);
      for (int w = 0; w < 4; w++) z[w] = select(accept(z[w]), z[w], again[w]);
    }
  };
  forDrawn(share(call.m, virtualLanes, part, parts), draw,
           [&](size_t i, int count, F z) { (mean + deviation * z).storePartial(y + i, count); });
}

namespace ops {

static void randomUniform(const Call& call, uint32_t part, uint32_t parts, char*) {
  const F low = F::set(immediateFloat(call, 1)), width = F::set(immediateFloat(call, 2)) - low;
  float* y = floats(call, 0);
  forWords(share(call.m, virtualLanes, part, parts), 0, call.immediates[0], static_cast<const uint32_t*>(call.operands[1]),
           [&](size_t i, int count, I word) { (low + width * unit(word)).storePartial(y + i, count); });
}

static void randomNormal(const Call& call, uint32_t part, uint32_t parts, char*) {
  fillNormal(call, part, parts, [](F z) { return eq(z, z); });
}

static void randomTruncatedNormal(const Call& call, uint32_t part, uint32_t parts, char*) {
  fillNormal(call, part, parts, [](F z) { return le(abs(z), F::set(2.0f)); });
}

// The step takes the place of the attempts: a training step's mask differs from the last one's, in every plan alike.
static void dropout(const Call& call, uint32_t part, uint32_t parts, char*) {
  const F rate = F::set(immediateFloat(call, 1)), scale = F::set(1.0f) / (F::set(1.0f) - rate), zero = F::zero();
  const uint32_t* seed = static_cast<const uint32_t*>(call.operands[1]);
  const uint32_t step = uint32_t(uint64_t(static_cast<const double*>(call.operands[2])[10]));
  const float* x = floats(call, 0);
  float *y = floats(call, 3), *mask = floats(call, 4);
  forWords(share(size_t(call.m) * call.n, virtualLanes, part, parts), step, call.immediates[0], seed, [&](size_t i, int count, I word) {
    const F kept = select(lt(unit(word), rate), zero, scale);
    kept.storePartial(mask + i, count);
    (F::loadPartial(x + i, count) * kept).storePartial(y + i, count);
  });
}

static void dropoutGradient(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(size_t(call.m) * call.n, virtualLanes, part, parts);
  const float *dY = floats(call, 0) + at.begin, *mask = floats(call, 1) + at.begin;
  float* dX = floats(call, 2) + at.begin;
  forVectors(at.end - at.begin,
             [&](size_t i, int count) { (F::loadPartial(dY + i, count) * F::loadPartial(mask + i, count)).storePartial(dX + i, count); });
}

// Fisher–Yates from the identity, so that an epoch's order depends on (seed, epoch) alone.
static void shuffle(const Call& call, uint32_t, uint32_t, char*) {
  const Feed& feed = call.feeds[call.immediates[0]];
  uint32_t* order = static_cast<uint32_t*>(feed.data);
  uint32_t* state = static_cast<uint32_t*>(call.operands[0]);
  for (uint64_t i = 0; i < feed.rows; i++) order[i] = uint32_t(i);
  constexpr size_t together = F::lanes * F::lanes;
  int32_t drawn[together];
  for (uint64_t i = feed.rows; i > 1; i--) {
    const size_t at = size_t(feed.rows - i), first = at - at % together;
    if (at == first)
      forWords({first, first + together}, state[2], shuffleStream, state, [&](size_t word, int, I v) { v.store(drawn + (word - first)); });
    const uint64_t j = (uint32_t(drawn[at - first]) * i) >> 32;
    const uint32_t last = order[i - 1];
    order[i - 1] = order[j];
    order[j] = last;
  }
  state[2]++;
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
