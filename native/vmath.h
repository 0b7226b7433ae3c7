// Elementary functions on vectors. Everything on the way to a weight uses these, never libm: only + − × ÷, fma, selects
// and integer bit operations, so that strict tables give the same bits on every ISA.
// Called by activations.h, the losses, softmax and the random generators. Any float may come in: NaN gives NaN, limits
// and signed infinities are those of C's math.h, results may be subnormal. Round-to-nearest mode, no flush-to-zero.
// Errors are the largest found on every 7th float of the whole range against float64, in ulp of the result, subnormal
// ones included; where two stand, fast (FMA) / strict. Coefficients: native/tools/fit_coefficients.py.
#pragma once

#include "simd.h"

namespace gradmill {
namespace {

// c₀ + c₁x + c₂x² + …
GRADMILL_INLINE F polynomial(F, float c) { return F::set(c); }
template <class... Rest>
GRADMILL_INLINE F polynomial(F x, float c, Rest... rest) {
  return fma(polynomial(x, rest...), x, F::set(c));
}

// ---- exp and its family ----

// x = n·ln2 + r, n the integer nearest to near/ln2; |near| < 2¹⁵. ln2 is split so that n·ln2 high is exact for |n| < 2¹⁵.
struct ExpParts {
  F r;
  I n;
};
GRADMILL_INLINE ExpParts splitExponent(F x, F near) {
  const F magic = F::set(12582912.0f);  // 1.5·2²³: adding it rounds to an integer that its low bits hold
  const F t = fma(near, F::set(1.44269504f), magic);
  const F n = t - magic;
  const F r = fnma(n, F::set(0.693359375f), x);
  return {fma(n, F::set(2.12194440e-4f), r), asInt(t) - asInt(magic)};
}
GRADMILL_INLINE ExpParts splitExponent(F x) { return splitExponent(x, x); }

// exp(r) − 1 = r + r²·q(r) for |r| ≤ ½ln2, relative error of the approximation 2^-26.1.
GRADMILL_INLINE F expm1Reduced(F r) {
  return fma(polynomial(r, 0.4999999702f, 0.1666654348f, 0.04166750237f, 0.00836655125f, 0.001386461197f), r * r, r);
}

// 2ⁿ for −126 ≤ n ≤ 127.
GRADMILL_INLINE F powerOfTwo(I n) { return asFloat(shiftLeft<23>(n + I::set(127))); }

// y·2ⁿ for −252 ≤ n ≤ 254, in two factors: one alone reaches neither the subnormals nor the overflow.
GRADMILL_INLINE F scaleByPowerOfTwo(F y, I n) {
  const I half = shiftRightArithmetic<1>(n);
  return y * powerOfTwo(half) * powerOfTwo(n - half);
}

// Error ≤ 1.03 ulp.
GRADMILL_INLINE F exp(F x) {
  const ExpParts e = splitExponent(atLeast(F::set(-104.0f), atMost(F::set(89.0f), x)));
  return scaleByPowerOfTwo(F::set(1.0f) + expm1Reduced(e.r), e.n);
}

// exp(x) for −87 ≤ x ≤ 88 or NaN, where one factor is enough.
GRADMILL_INLINE F expInRange(F x) {
  const ExpParts e = splitExponent(x);
  return (F::set(1.0f) + expm1Reduced(e.r)) * powerOfTwo(e.n);
}

// exp(x) − 1 = 2ⁿ(exp(r) − 1) + (2ⁿ − 1). Error ≤ 1.51 / 1.64 ulp.
GRADMILL_INLINE F expm1(F x) {
  const ExpParts e = splitExponent(atLeast(F::set(-18.0f), atMost(F::set(89.0f), x)));
  const F p = expm1Reduced(e.r);
  // Half of everything, as 2¹²⁸ is not a float; n = 0 apart, as half of a subnormal may not be.
  const F half = powerOfTwo(e.n - I::set(1));
  const F y = fma(half, p, half - F::set(0.5f));
  return select(eq(e.n, I::set(0)), p, y + y);
}

// 1/(1 + exp(−x)), written with exp(−|x|) so that neither end loses accuracy. Error ≤ 2.33 ulp.
GRADMILL_INLINE F sigmoid(F x) {
  const F e = exp(minusAbs(x));
  return select(lt(x, F::zero()), e, F::set(1.0f)) / (F::set(1.0f) + e);
}

// |x| < 0.625: x + x³·p(x²); else 1 − 2/(exp(2|x|) + 1). Error ≤ 1.33 ulp.
GRADMILL_INLINE F tanh(F x) {
  const F a = abs(x), a2 = a * a;
  const F p = polynomial(a2, -0.3333328068f, 0.1333141625f, -0.0537379384f, 0.02063411847f, -0.005700091831f);
  const F small = fma(a * a2, p, a);
  const F e = expInRange(atMost(F::set(18.25f), a + a));  // from 18.03 on the result rounds to 1
  const F large = F::set(1.0f) - F::set(2.0f) / (e + F::set(1.0f));
  return select(lt(a, F::set(0.625f)), small, large) | signBit(x);
}

// ---- log ----

// x = 2ⁿ·(1 + f) with 1 + f in [√½, √2), for positive normal x.
struct LogParts {
  F f;
  I n;
};
GRADMILL_INLINE LogParts splitMantissa(F x) {
  const I root = I::set(0x3F3504F3);  // the bits of √½
  const I above = asInt(x) - root;
  return {asFloat((above & I::set(0x7FFFFF)) + root) - F::set(1.0f), shiftRightArithmetic<23>(above)};
}

// n·ln2 + log(1 + f) + c, with log(1 + f) = f − f²/2 + f³·p(f), relative error of the approximation 2^-27.3.
GRADMILL_INLINE F logFromParts(F n, F f, F c) {
  const F f2 = f * f;
  const F p = polynomial(f, 0.3333333135f, -0.2500082254f, 0.2000124902f, -0.1662332416f, 0.1420133263f, -0.1316010356f, 0.1276417375f,
                         -0.07637698203f);
  F y = fma(f * f2, p, c);
  y = fnma(n, F::set(2.12194440e-4f), y);
  y = fnma(F::set(0.5f), f2, y);
  return fma(n, F::set(0.693359375f), f + y);
}

// log's values outside (0, ∞): −∞ at 0, ∞ at ∞, else NaN.
GRADMILL_INLINE F logOutsideDomain(F x) {
  const F infinity = F::set(__builtin_inff());
  return select(eq(x, F::zero()), -infinity, select(eq(x, infinity), x, F::set(__builtin_nanf(""))));
}

// Error ≤ 0.85 ulp.
GRADMILL_INLINE F log(F x) {
  const M subnormal = lt(x, F::set(1.17549435e-38f));
  const LogParts m = splitMantissa(select(subnormal, x * F::set(8388608.0f), x));
  const F n = toFloat(m.n - select(subnormal, I::set(23), I::set(0)));
  const M ordinary = gt(x, F::zero()) & lt(x, F::set(__builtin_inff()));
  return select(ordinary, logFromParts(n, m.f, F::zero()), logOutsideDomain(x));
}

// log(1 + x) = log(u) + c/u where u is 1 + x rounded and c what rounding took. Error ≤ 0.86 ulp.
GRADMILL_INLINE F log1p(F x) {
  const F one = F::set(1.0f), u = one + x;
  const LogParts m = splitMantissa(u);
  const F back = u - one;
  const F c = ((x - back) + (one - (u - back))) / u;
  const M near = eq(m.n, I::set(0));  // u in [√½, √2): f = x itself, nothing was lost
  const M ordinary = gt(u, F::zero()) & lt(u, F::set(__builtin_inff()));
  const F y = logFromParts(toFloat(m.n), select(near, x, m.f), select(near, F::zero(), c));
  return select(ordinary, y, logOutsideDomain(u));
}

// ---- the normal distribution ----

// The normal tail Φ(−u) = tailRatio(u)·exp(−u²/2) keeps its relative accuracy where ½(1 + erf) has lost it all.
// Both for 0 ≤ u ≤ 14.5, beyond which the tail has left float32.
constexpr float normalTailEnd = 14.5f;

// P(u)/Q(u), relative error of the approximation 2^-26.5; no coefficient is negative, so nothing cancels. The tail as a
// whole: error ≤ 5.5 / 6.6 ulp.
GRADMILL_INLINE F tailRatio(F u) {
  return polynomial(u, 0.5f, 0.4373695254f, 0.1825205237f, 0.0403839685f, 0.004076872021f) /
         polynomial(u, 1.0f, 1.672623873f, 1.199597955f, 0.4675768316f, 0.1012342274f, 0.01021907944f);
}

// a·exp(−u²/2). u² needs more than 24 bits: the square of h, u's upper half, is exact, and the rest goes in as a tail.
// a is multiplied in before 2ⁿ, so that a subnormal result is rounded once.
GRADMILL_INLINE F timesBell(F a, F u) {
  const F h = u & I::set(~0xFFF), minusHalf = F::set(-0.5f);
  const F head = minusHalf * (h * h), tail = minusHalf * ((u - h) * (u + h));
  const ExpParts e = splitExponent(head, head + tail);
  return scaleByPowerOfTwo(fma(a, expm1Reduced(e.r + tail), a), e.n);
}

// ---- sine and cosine of a whole turn ----

// sin(2π·t + quadrants·π/2): t = q/4 + r/4 with |r| ≤ ½, exactly; π/2 is a float and a remainder. |t| < 2²⁰.
GRADMILL_INLINE F sinOfTurns(F t, int quadrants) {
  const F magic = F::set(12582912.0f), quarters = t * F::set(4.0f), rounded = quarters + magic;
  const F r = quarters - (rounded - magic), r2 = r * r;
  const I q = asInt(rounded) + I::set(quadrants);
  const F s = fma(r, F::set(1.57079637f), r * polynomial(r2, -4.879794702e-8f, -0.64596349f, 0.07968037575f, -0.004602577072f));
  const F c = polynomial(r2, 1.0f, -1.233700514f, 0.2536686361f, -0.02085651085f, 0.0008967107278f);
  const M odd = eq(q & I::set(1), I::set(1));
  return select(odd, c, s) ^ shiftLeft<30>(q & I::set(2));
}

// t in turns: sin(2πt), cos(2πt) for 0 ≤ t < 1. Error ≤ 1.05 / 1.65 ulp. Both of one t share their work once inlined.
GRADMILL_INLINE F sin2pi(F t) { return sinOfTurns(t, 0); }
GRADMILL_INLINE F cos2pi(F t) { return sinOfTurns(t, 1); }

}  // namespace
}  // namespace gradmill
