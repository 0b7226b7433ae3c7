// Activation functions and their derivatives on vectors: one formula each, shared by every kernel that applies them
// (elementwise, GEMM epilogues, the fused derivative of the layer below). Softmax works on rows and lives elsewhere.
// Formulas, constants and values at kinks are PyTorch 1.13's. NaN passes through every activation. The one parameter is
// leakyRelu's negativeSlope and elu's alpha; both must be ≥ 0, as the derivative reads the sign of z off y = a(z).
// Largest errors on every 7th float against float64, fast (FMA) / strict:
//   in ulp of y    sigmoid 2.4, tanh 1.4, elu 1.0, selu 1.8, softplus 1.7, softsign, hardSigmoid, hardSwish 1.5;
//                  silu 3.2 (z > −87), mish 4.5 (3.4 for z > −1), gelu 5.2 / 6.8 (3.5 / 4.1 for z > −1), geluTanh 16 for
//                  z > −3 (2.9 for z > −1): these four have a tail that goes to 0, and err ≤ 2.5·2⁻²⁴·|z| everywhere
//   of a' in 2⁻²⁴  sigmoid, softplus, hardSwish 2.4, tanh, softsign, selu 2, gelu 2.3, the other curved ones 4
#pragma once

#include "vmath.h"

namespace gradmill {
namespace {

// The order is part of the plan format: TypeScript sends these numbers.
struct Activation {
  enum Kind : int {
    linear,
    sigmoid,
    tanh,
    relu,
    leakyRelu,
    elu,
    selu,
    gelu,
    geluTanh,
    silu,
    mish,
    softplus,
    softsign,
    hardSigmoid,
    hardSwish,
    count
  };
};

constexpr float seluScale = 1.05070098f, seluScaleAlpha = 1.75809934f;  // Klambauer et al. 2017
constexpr float inverseSqrt2Pi = 0.398942280f;
constexpr float geluTanhLinear = 1.59576912f, geluTanhCubic = 0.0713548163f;  // 2√(2/π) and that times 0.044715

// y = a(z).
template <int A>
GRADMILL_INLINE F activate(F z, [[maybe_unused]] F parameter) {
  static_assert(A >= 0 && A < Activation::count, "unknown activation");
  const F zero = F::zero(), one = F::set(1.0f);
  if constexpr (A == Activation::sigmoid) return sigmoid(z);
  if constexpr (A == Activation::tanh) return tanh(z);
  if constexpr (A == Activation::relu) return atLeast(zero, z);
  if constexpr (A == Activation::leakyRelu) return select(gt(z, zero), z, parameter * z);
  if constexpr (A == Activation::elu) return select(gt(z, zero), z, parameter * expm1(z));
  if constexpr (A == Activation::selu) return select(gt(z, zero), F::set(seluScale) * z, F::set(seluScaleAlpha) * expm1(z));
  if constexpr (A == Activation::gelu) {  // z·Φ(z), which is −u·Φ(−u) at −u and u − u·Φ(−u) at u
    const F u = atMost(F::set(normalTailEnd), abs(z));
    return atLeast(zero, z) - timesBell(u * tailRatio(u), u);
  }
  if constexpr (A == Activation::geluTanh)  // ½z(1 + tanh(s/2)) = z·sigmoid(s)
    return z * sigmoid(z * fma(z * z, F::set(geluTanhCubic), F::set(geluTanhLinear)));
  if constexpr (A == Activation::silu) return z * sigmoid(z);
  if constexpr (A == Activation::mish) {        // z·tanh(log(1 + e)) = z·n/(n + 2), n = e(e + 2), e = exp(z)
    const F e = exp(atMost(F::set(20.0f), z));  // n/(n + 2) is 1 from there on
    const F n = e * (e + F::set(2.0f));
    return z * (n / (n + F::set(2.0f)));
  }
  // PyTorch's threshold of 20 needs no branch: from 17 on the logarithm is below half an ulp of z.
  if constexpr (A == Activation::softplus) return atLeast(zero, z) + log1p(exp(minusAbs(z)));
  if constexpr (A == Activation::softsign) return z / (one + abs(z));
  if constexpr (A == Activation::hardSigmoid || A == Activation::hardSwish) {
    const F six = F::set(6.0f), gate = atLeast(zero, atMost(six, z + F::set(3.0f))) / six;
    return A == Activation::hardSwish ? z * gate : gate;
  }
  return z;
}

// a'(z); v is z for gelu, geluTanh, silu, mish, softplus and hardSwish, else y: of the others z need not be kept.
template <int A>
GRADMILL_INLINE F activationDerivative([[maybe_unused]] F v, [[maybe_unused]] F parameter) {
  static_assert(A >= 0 && A < Activation::count, "unknown activation");
  const F zero = F::zero(), one = F::set(1.0f);
  if constexpr (A == Activation::sigmoid) return v * (one - v);
  if constexpr (A == Activation::tanh) return (one - v) * (one + v);  // 1 − y², accurate at saturation too
  if constexpr (A == Activation::relu) return select(le(v, zero), zero, one);
  if constexpr (A == Activation::leakyRelu) return select(le(v, zero), parameter, one);
  if constexpr (A == Activation::elu) return select(gt(v, zero), one, v + parameter);
  if constexpr (A == Activation::selu) return select(gt(v, zero), F::set(seluScale), v + F::set(seluScaleAlpha));
  if constexpr (A == Activation::gelu) {  // Φ(z) + z·φ(z), which at u is one minus its value at −u
    const F u = atMost(F::set(normalTailEnd), abs(v));
    const F below = timesBell(fnma(u, F::set(inverseSqrt2Pi), tailRatio(u)), u);
    return select(lt(v, zero), below, one - below);
  }
  if constexpr (A == Activation::geluTanh) {                                    // σ(s) + z·σ(s)·σ(−s)·s'
    const F z = atLeast(F::set(-10.0f), atMost(F::set(10.0f), v)), z2 = z * z;  // 0 or 1 beyond
    const F e = exp(minusAbs(z * fma(z2, F::set(geluTanhCubic), F::set(geluTanhLinear))));
    const F upper = one / (one + e), lower = e * upper;
    const F slope = fma(z2, F::set(3.0f * geluTanhCubic), F::set(geluTanhLinear));
    return fma(z * (upper * lower), slope, select(lt(z, zero), lower, upper));
  }
  if constexpr (A == Activation::silu) {  // σ(z)·(1 + z·σ(−z))
    const F e = exp(minusAbs(v)), upper = one / (one + e), lower = e * upper;
    const M negative = lt(v, zero);
    return select(negative, lower, upper) * fma(v, select(negative, upper, lower), one);
  }
  if constexpr (A == Activation::mish) {  // n/(n + 2) + z·4e(1 + e)/(n + 2)², as in activate
    const F z = atMost(F::set(20.0f), v), e = exp(z), n = e * (e + F::set(2.0f));
    const F inverse = one / (n + F::set(2.0f));
    return fma(z, F::set(4.0f) * (e * inverse) * ((one + e) * inverse), n * inverse);
  }
  if constexpr (A == Activation::softplus) return sigmoid(v);
  if constexpr (A == Activation::softsign) {  // (1 − |y|)²
    const F d = one - abs(v);
    return d * d;
  }
  if constexpr (A == Activation::hardSigmoid) return select(gt(v, zero) & lt(v, one), F::set(1.0f / 6.0f), zero);
  if constexpr (A == Activation::hardSwish) {
    const F inside = v / F::set(3.0f) + F::set(0.5f);
    return select(lt(v, F::set(-3.0f)), zero, select(gt(v, F::set(3.0f)), one, inside));
  }
  return one;
}

// body(tag) with tag.value the run-time kind as a constant: the choice is made once, outside the loop over vectors.
//   withActivation(kind, [&](auto tag) { … activate<tag.value>(z, parameter) … });
template <int A>
struct ActivationTag {
  static constexpr int value = A;
};
template <class Body>
inline void withActivation(int kind, Body body) {
  switch (kind) {
    case Activation::sigmoid:
      return body(ActivationTag<Activation::sigmoid>{});
    case Activation::tanh:
      return body(ActivationTag<Activation::tanh>{});
    case Activation::relu:
      return body(ActivationTag<Activation::relu>{});
    case Activation::leakyRelu:
      return body(ActivationTag<Activation::leakyRelu>{});
    case Activation::elu:
      return body(ActivationTag<Activation::elu>{});
    case Activation::selu:
      return body(ActivationTag<Activation::selu>{});
    case Activation::gelu:
      return body(ActivationTag<Activation::gelu>{});
    case Activation::geluTanh:
      return body(ActivationTag<Activation::geluTanh>{});
    case Activation::silu:
      return body(ActivationTag<Activation::silu>{});
    case Activation::mish:
      return body(ActivationTag<Activation::mish>{});
    case Activation::softplus:
      return body(ActivationTag<Activation::softplus>{});
    case Activation::softsign:
      return body(ActivationTag<Activation::softsign>{});
    case Activation::hardSigmoid:
      return body(ActivationTag<Activation::hardSigmoid>{});
    case Activation::hardSwish:
      return body(ActivationTag<Activation::hardSwish>{});
    default:
      return body(ActivationTag<Activation::linear>{});
  }
}

}  // namespace
}  // namespace gradmill
