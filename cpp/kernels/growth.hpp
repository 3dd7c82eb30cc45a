// Exponentials and logarithms in f32 lanes that keep their digits at small arguments.
#pragma once
#include "kernels/simd.hpp"
#include "kernels/table.hpp"
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

using Floats = Vec<float>;
using Ints = Vec<std::int32_t>;
constexpr int kSingle = kLanes<float>;

CLINOMETER_INLINE Floats choose(Ints mask, Floats yes, Floats no) { return mask ? yes : no; }

CLINOMETER_INLINE bool any(Ints mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_testz_si256((__m256i)mask, (__m256i)mask) == 0;
#else
  std::int32_t all = 0;
  for (int j = 0; j < kSingle; ++j) all |= mask[j];
  return all != 0;
#endif
}

/// The nearest integer, for |x| < 2^22.
CLINOMETER_INLINE Floats nearest(Floats x) {
#if defined(__AVX512F__)
  return (Floats)_mm512_roundscale_ps((__m512)x, 8);
#else
  return (x + 0x1.8p23f) - 0x1.8p23f;
#endif
}

/// -1, 0 or 1; 0 of NaN.
CLINOMETER_INLINE Floats sign_of(Floats x) {
#if defined(__AVX512F__)
  constexpr int kBySort = int(0xa9a9a888);  // what stands for NaN, NaN, 0, 1, -inf, inf, less and more than 0
  return (Floats)_mm512_fixupimm_ps((__m512)x, (__m512)x, _mm512_set1_epi32(kBySort), 0);
#else
  return __builtin_convertvector((Ints)(x < 0.0f) - (Ints)(x > 0.0f), Floats);
#endif
}
CLINOMETER_INLINE Doubles sign_of(Doubles x) {
  const Doubles one = broadcast(1.0);
  return (x > 0.0 ? one : Doubles{}) - (x < 0.0 ? one : Doubles{});
}

/// x 2^k for integers k in [-126, 127].
CLINOMETER_INLINE Floats times_power(Floats x, Floats k) {
#if defined(__AVX512F__)
  return (Floats)_mm512_scalef_ps((__m512)x, (__m512)k);
#else
  return (Floats)((Ints)x + (((Ints)(k + 0x1.8p23f)) << 23));
#endif
}

/// 1 / x for x of common size, to about 1 ulp: a division would hold up the pipe as long as three rows.
CLINOMETER_INLINE Floats reciprocal(Floats x) {
#if defined(__AVX512F__)
  const Floats y = (Floats)_mm512_rcp14_ps((__m512)x);
  return y + y * (1.0f - x * y);
#elif defined(__AVX2__)
  const Floats y = (Floats)_mm256_rcp_ps((__m256)x), z = y + y * (1.0f - x * y);
  return z + z * (1.0f - x * z);  // 12 bits, 24, and 1 for 1: a prompt of one row has an ESS of 1
#else
  return 1.0f / x;
#endif
}

/// (e^x - 1 - x) / x^2 for |x| <= 1, fitted to 9e-8.
CLINOMETER_INLINE Floats near_series(Floats x) {
  Floats p = broadcast(0x1.a2c58ep-16f);
  p = p * x + 0x1.aa419cp-13f;
  p = p * x + 0x1.6c272ep-10f;
  p = p * x + 0x1.10fceap-7f;
  p = p * x + 0x1.555504p-5f;
  p = p * x + 0x1.55557cp-3f;
  return p * x + 0.5f;
}

/// expm1(t lam) for |t lam| <= 86, rate = lam / log 2: 2^k times a fit of 2^r to 1e-7 that is 1 at 0.
CLINOMETER_INLINE Floats far_growth(Floats t, Floats rate) {
  const Floats kRound = broadcast(0x1.8p23f + 127.0f);  // leaves k and the bias of an exponent in the low bits
  const Floats shifted = t * rate + kRound, k = shifted - kRound, r = t * rate - k;
  Floats p = broadcast(0x1.5bba12p-10f);
  p = p * r + 0x1.3cea88p-7f;
  p = p * r + 0x1.c6b752p-5f;
  p = p * r + 0x1.ebf9bcp-3f;
  p = p * r + 0x1.62e42ap-1f;
  p = p * r + 1.0f;
  return p * (Floats)((Ints)shifted << 23) - 1.0f;
}

/// E = expm1(x) and q = expm1(x) - x to about 2 ulp of each; without `Any` for |x| <= kFar.
template <bool Any>
CLINOMETER_INLINE void grow(Floats x, Floats& grown, Floats& excess) {
  Floats held = x;
  if constexpr (Any) {
    held = x < -kFar ? broadcast(-kFar) : x;      // e^-86 is nothing beside 1
    held = held > kFar ? broadcast(kFar) : held;  // reported anyway
  }
  const Floats k = nearest(held * 0x1.715476p0f);
  Floats r = held - k * 0x1.62e4p-1f;  // k has few bits: exact
  r = r - k * 0x1.7f7d1cp-20f;
  const Floats near_excess = near_series(r) * (r * r), near_grown = r + near_excess;
  const Floats far = times_power(near_grown + 1.0f, k) - 1.0f;
  Ints near = (Ints)(k == 0.0f);
  if constexpr (Any) near &= (Ints)(x > -80.0f);
  grown = choose(near, near_grown, far);
  excess = choose(near, near_excess, far - x);
}

/// log(1 + m) for m >= 0, to about 2 ulp also where m is small.
CLINOMETER_INLINE Floats log_of_one_plus(Floats m) {
  const Floats u = m + 1.0f;
  const Ints k = (((Ints)u + (0x3f800000 - 0x3f3504f3)) >> 23) - 127;
  const Floats f = (Floats)((Ints)u - (k << 23));
  const Ints same = k == 0;
  const Floats top = choose(same, m, f - 1.0f), s = top * reciprocal(choose(same, m + 2.0f, f + 1.0f)), z = s * s;
  Floats p = broadcast(2.0f / 9.0f);
  p = p * z + 2.0f / 7.0f;
  p = p * z + 2.0f / 5.0f;
  p = p * z + 2.0f / 3.0f;
  const Floats power = __builtin_convertvector(k, Floats);
  return power * 0x1.62e43p-1f + (power * -0x1.05c61p-29f + ((p * z) * s + 2.0f * s));
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
