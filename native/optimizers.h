// Optimizers: one pass over a contiguous range of parameters, formulas as in PyTorch. Hyper-parameters are doubles in the
// arena, so that a schedule may change them between steps:
//   hyper[0] learningRate  [1] momentum or rho  [2] weightDecay  [3] epsilon  [4] beta1  [5] beta2
//        [6] beta1ᵗ  [7] beta2ᵗ  [8] clipValue's limit  [9] clipGlobalNorm's limit  [10] step t
#pragma once
#include "reduce.h"

namespace gradmill {
namespace {

static inline const double* hyperOf(const Call& call, int operand) { return static_cast<const double*>(call.operands[operand]); }

// p = body(i, count, p, g) for each vector of the part, g already clipped by the global norm where the op has a scale.
// A parameter that stops being finite stops the run.
template <class Body>
static inline void updateParameters(const Call& call, int clipOperand, uint32_t part, uint32_t parts, Body body) {
  const Range at = share(call.m, virtualLanes, part, parts);
  float* p = floats(call, 0) + at.begin;
  const float* g = floats(call, 1) + at.begin;
  const bool clipped = call.operands[clipOperand] != nullptr;
  const F clip = F::set(clipped ? floats(call, clipOperand)[0] : 1.0f);
  F finite = F::zero();  // 0 while all are finite, else NaN
  forVectors(at.end - at.begin, [&](size_t i, int count) {
    F gradient = F::loadPartial(g + i, count);
    if (clipped) gradient = gradient * clip;
    const F updated = body(at.begin + i, count, F::loadPartial(p + i, count), gradient);
    updated.storePartial(p + i, count);
    finite = finite + (updated - updated);
  });
  if (any(isnan(finite))) raise(call, Fault::nonFiniteWeight, 0, 0);
}

namespace ops {

static void sgd(const Call& call, uint32_t part, uint32_t parts, char*) {
  const double* hyper = hyperOf(call, 3);
  const F learningRate = F::set(float(hyper[0])), momentum = F::set(float(hyper[1])), decay = F::set(float(hyper[2]));
  float* moment1 = floats(call, 2);
  const bool nesterov = call.immediates[0] != 0, decays = hyper[2] != 0.0;
  updateParameters(call, 4, part, parts, [&](size_t i, int count, F p, F g) {
    if (decays) g = fma(decay, p, g);
    if (moment1) {
      const F velocity = fma(momentum, F::loadPartial(moment1 + i, count), g);
      velocity.storePartial(moment1 + i, count);
      g = nesterov ? fma(momentum, velocity, g) : velocity;
    }
    return fnma(learningRate, g, p);
  });
}

static void rmsprop(const Call& call, uint32_t part, uint32_t parts, char*) {
  const double* hyper = hyperOf(call, 3);
  const F learningRate = F::set(float(hyper[0])), rho = F::set(float(hyper[1])), rest = F::set(float(1.0 - hyper[1]));
  const F decay = F::set(float(hyper[2])), epsilon = F::set(float(hyper[3]));
  float* moment2 = floats(call, 2);
  const bool decays = hyper[2] != 0.0;
  updateParameters(call, 4, part, parts, [&](size_t i, int count, F p, F g) {
    if (decays) g = fma(decay, p, g);
    const F square = fma(rho, F::loadPartial(moment2 + i, count), rest * g * g);
    square.storePartial(moment2 + i, count);
    return fnma(learningRate, g / (sqrt(square) + epsilon), p);
  });
}

static void adagrad(const Call& call, uint32_t part, uint32_t parts, char*) {
  const double* hyper = hyperOf(call, 3);
  const F learningRate = F::set(float(hyper[0])), decay = F::set(float(hyper[2])), epsilon = F::set(float(hyper[3]));
  float* moment2 = floats(call, 2);
  const bool decays = hyper[2] != 0.0;
  updateParameters(call, 4, part, parts, [&](size_t i, int count, F p, F g) {
    if (decays) g = fma(decay, p, g);
    const F square = fma(g, g, F::loadPartial(moment2 + i, count));
    square.storePartial(moment2 + i, count);
    return fnma(learningRate, g / (sqrt(square) + epsilon), p);
  });
}

static void adam(const Call& call, uint32_t part, uint32_t parts, char*) {
  const double* hyper = hyperOf(call, 4);
  const F beta1 = F::set(float(hyper[4])), rest1 = F::set(float(1.0 - hyper[4]));
  const F beta2 = F::set(float(hyper[5])), rest2 = F::set(float(1.0 - hyper[5]));
  const F stepSize = F::set(float(hyper[0] / (1.0 - hyper[6]))), epsilon = F::set(float(hyper[3]));
  float correction[F::lanes];
  sqrt(F::set(float(1.0 / (1.0 - hyper[7])))).store(correction);
  const F secondCorrection = F::set(correction[0]);
  const bool decays = hyper[2] != 0.0, decoupled = call.immediates[0] != 0;
  const F decay = F::set(float(hyper[2])), shrink = F::set(float(1.0 - hyper[0] * hyper[2]));
  float *moment1 = floats(call, 2), *moment2 = floats(call, 3);
  updateParameters(call, 5, part, parts, [&](size_t i, int count, F p, F g) {
    if (decays) {
      if (decoupled)
        p = p * shrink;
      else
        g = fma(decay, p, g);
    }
    const F mean = fma(beta1, F::loadPartial(moment1 + i, count), rest1 * g);
    const F square = fma(beta2, F::loadPartial(moment2 + i, count), rest2 * g * g);
    mean.storePartial(moment1 + i, count);
    square.storePartial(moment2 + i, count);
    return fnma(stepSize, mean / fma(sqrt(square), secondCorrection, epsilon), p);
  });
}

static void advance(const Call& call, uint32_t, uint32_t, char*) {
  double* hyper = static_cast<double*>(call.operands[0]);
  hyper[6] *= hyper[4];
  hyper[7] *= hyper[5];
  hyper[10] += 1.0;
}

static void clipValue(const Call& call, uint32_t part, uint32_t parts, char*) {
  const Range at = share(call.m, virtualLanes, part, parts);
  const F limit = F::set(float(hyperOf(call, 1)[8])), least = F::zero() - limit;
  float* g = floats(call, 0) + at.begin;
  forVectors(at.end - at.begin,
             [&](size_t i, int count) { min(max(F::loadPartial(g + i, count), least), limit).storePartial(g + i, count); });
}

}  // namespace ops
}  // namespace
}  // namespace gradmill
