// Counter-based randomness: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011). A value depends on (seed, stream, index) alone,
// never on threads or on what was drawn before.
#pragma once
#include "reduce.h"
#include "vmath.h"

namespace gradmill {
namespace {

struct Block {
  uint32_t word[4];
};

static inline Block philox(uint64_t counter, uint32_t attempt, uint32_t stream, const uint32_t* seed) {
  uint32_t c0 = uint32_t(counter), c1 = uint32_t(counter >> 32), c2 = attempt, c3 = stream, k0 = seed[0], k1 = seed[1];
  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c1 = uint32_t(p1);
    c3 = uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// In [0, 1), 24 bits.
static inline float unit(uint32_t word) { return float(int32_t(word >> 8)) * 0x1p-24f; }

// Streams above any tensor's; dropout's, which src/plan.ts gives out, count from 2³¹.
constexpr uint32_t shuffleStream = 0xFFFFFFFFu;

// F::lanes blocks of four standard normals: z[w][lane] is element 4·(block + lane) + w. Box–Muller on word pairs.
static inline void normals(uint64_t block, uint32_t attempt, uint32_t stream, const uint32_t* seed, F (&z)[4]) {
  float u[4][F::lanes];
  for (int lane = 0; lane < F::lanes; lane++) {
    const Block b = philox(block + lane, attempt, stream, seed);
    for (int w = 0; w < 4; w++) u[w][lane] = unit(b.word[w]);
  }
  for (int pair = 0; pair < 2; pair++) {
    // 1 − u lies in (0, 1]: its logarithm is finite.
    const F radius = sqrt(F::set(-2.0f) * log(F::set(1.0f) - F::load(u[2 * pair]))), turn = F::load(u[2 * pair + 1]);
    z[2 * pair] = radius * cos2pi(turn);
    z[2 * pair + 1] = radius * sin2pi(turn);
  }
}

// y = mean + standardDeviation·z over the part; accept(z) says which lanes may stay.
template <class Accept>
static inline void fillNormal(const Call& call, uint32_t part, uint32_t parts, Accept accept) {
  constexpr size_t grain = 4 * F::lanes;
  const Range at = share(call.m, 4 * virtualLanes, part, parts);
  const F mean = F::set(immediateFloat(call, 1)), deviation = F::set(immediateFloat(call, 2));
  const uint32_t* seed = static_cast<const uint32_t*>(call.operands[1]);
  float* y = floats(call, 0);
  for (size_t start = at.begin; start < at.end; start += grain) {
    F z[4];
    normals(start / 4, 0, call.immediates[0], seed, z);
    for (uint32_t attempt = 1; !all(accept(z[0]) & accept(z[1]) & accept(z[2]) & accept(z[3])); attempt++) {
      F again[4];
      normals(start / 4, attempt, call.immediates[0], seed, again);
      for (int w = 0; w < 4; w++) z[w] = select(accept(z[w]), z[w], again[w]);
    }
    float values[4][F::lanes];
    for (int w = 0; w < 4; w++) (mean + deviation * z[w]).store(values[w]);
    for (size_t i = 0; i < grain && start + i < at.end; i++) y[start + i] = values[i % 4][i / 4];
  }
}

namespace ops {

static void randomUniform(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(call.m, virtualLanes, part, parts);
  const float low = immediateFloat(call, 1), width = immediateFloat(call, 2) - low;
  const uint32_t* seed = static_cast<const uint32_t*>(call.operands[1]);
  float* y = floats(call, 0);
  for (size_t start = at.begin; start < at.end; start += 4) {
    const Block b = philox(start / 4, 0, call.immediates[0], seed);
    for (size_t i = 0; i < 4 && start + i < at.end; i++) y[start + i] = low + width * unit(b.word[i]);
  }
}

static void randomNormal(const Call& call, uint32_t part, uint32_t parts, char*) {
  fillNormal(call, part, parts, [](F z) { return eq(z, z); });
}

static void randomTruncatedNormal(const Call& call, uint32_t part, uint32_t parts, char*) {
  fillNormal(call, part, parts, [](F z) { return le(abs(z), F::set(2.0f)); });
}

// The step takes the place of the attempts: a training step's mask differs from the last one's, in every plan alike.
static void dropout(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(size_t(call.m) * call.n, virtualLanes, part, parts);
  const float *x = floats(call, 0), rate = immediateFloat(call, 1), scale = 1.0f / (1.0f - rate);
  const uint32_t* seed = static_cast<const uint32_t*>(call.operands[1]);
  const uint32_t step = uint32_t(uint64_t(static_cast<const double*>(call.operands[2])[10]));
  float *y = floats(call, 3), *mask = floats(call, 4);
  for (size_t start = at.begin; start < at.end; start += 4) {
    const Block b = philox(start / 4, step, call.immediates[0], seed);
    for (size_t i = 0; i < 4 && start + i < at.end; i++) {
      mask[start + i] = unit(b.word[i]) < rate ? 0.0f : scale;
      y[start + i] = x[start + i] * mask[start + i];
    }
  }
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
  Block b = {};
  for (uint64_t i = feed.rows; i > 1; i--) {
    const uint64_t drawn = feed.rows - i;
    if (drawn % 4 == 0) b = philox(drawn / 4, state[2], shuffleStream, state);
    const uint64_t j = (b.word[drawn % 4] * i) >> 32;
    const uint32_t last = order[i - 1];
    order[i - 1] = order[j];
    order[j] = last;
  }
  state[2]++;
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
