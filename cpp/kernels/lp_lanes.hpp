// Arithmetic the small games are written in, three times over: lanes (one problem each), one double, and a
// pair of doubles with about 106 bits. Lanes do not interact, so an answer does not depend on the
// company a problem was solved in.
#pragma once
#include <utility>

#include "kernels/simd.hpp"
#if defined(__x86_64__) && defined(__FMA__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

constexpr double kUnit = 0x1p-53;

// Compiled without contraction: the error terms below need every operation rounded as written. Where an FMA is
// wanted it is asked for.
CLINOMETER_INLINE double multiply_add(double a, double b, double c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

CLINOMETER_INLINE Doubles multiply_add(Doubles a, Doubles b, Doubles c) {
#if defined(__AVX512F__)
  return (Doubles)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
  return (Doubles)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
  return (Doubles)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}

/// The rounding error of p = a b. Without an FMA instruction by Dekker's halves, whose products are exact.
CLINOMETER_INLINE double product_error(double a, double b, double p) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fma(a, b, -p);
#else
  const double a1 = 134217729.0 * a, b1 = 134217729.0 * b;
  const double ah = a1 - (a1 - a), al = a - ah, bh = b1 - (b1 - b), bl = b - bh;
  return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
#endif
}

CLINOMETER_INLINE Doubles product_error(Doubles a, Doubles b, Doubles p) {
#if defined(__AVX512F__)
  return (Doubles)_mm512_fmsub_pd((__m512d)a, (__m512d)b, (__m512d)p);
#elif defined(__FMA__)
  return (Doubles)_mm256_fmsub_pd((__m256d)a, (__m256d)b, (__m256d)p);
#elif defined(__aarch64__)
  return (Doubles)vfmaq_f64(-(float64x2_t)p, (float64x2_t)a, (float64x2_t)b);
#else
  const Doubles a1 = 134217729.0 * a, b1 = 134217729.0 * b;
  const Doubles ah = a1 - (a1 - a), al = a - ah, bh = b1 - (b1 - b), bl = b - bh;
  return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
#endif
}

/// s = a + b with its rounding error (Knuth).
template <class R>
CLINOMETER_INLINE R sum_error(R a, R b, R s) {
  const R other = s - a;
  return (a - (s - other)) + (b - other);
}

/// hi + lo, |lo| <= ulp(hi) / 2.
struct Twofold {
  double hi = 0, lo = 0;
  Twofold() = default;
  CLINOMETER_INLINE Twofold(double x) : hi(x) {}  // NOLINT: a double is one, exactly
  CLINOMETER_INLINE Twofold(double h, double l) : hi(h), lo(l) {}
};

CLINOMETER_INLINE Twofold renormalised(double a, double b) {
  const double s = a + b;
  return {s, b - (s - a)};
}
CLINOMETER_INLINE Twofold operator-(Twofold a) { return {-a.hi, -a.lo}; }
CLINOMETER_INLINE Twofold operator+(Twofold a, Twofold b) {
  const double s = a.hi + b.hi, t = a.lo + b.lo;
  if (s - s != 0) return s;  // an infinite bound stays one
  const Twofold first = renormalised(s, sum_error(a.hi, b.hi, s) + t);
  return renormalised(first.hi, first.lo + sum_error(a.lo, b.lo, t));
}
CLINOMETER_INLINE Twofold operator-(Twofold a, Twofold b) { return a + (-b); }
CLINOMETER_INLINE Twofold operator*(Twofold a, Twofold b) {
  const double p = a.hi * b.hi;
  if (p - p != 0) return p;
  return renormalised(p, product_error(a.hi, b.hi, p) + (a.hi * b.lo + a.lo * b.hi));
}
CLINOMETER_INLINE Twofold operator/(Twofold a, Twofold b) {
  const double q = a.hi / b.hi;
  if (q - q != 0) return q;
  const Twofold rest = a - b * Twofold(q);
  const double q2 = rest.hi / b.hi;
  const Twofold last = rest - b * Twofold(q2);
  return renormalised(q, q2) + Twofold(last.hi / b.hi);
}
CLINOMETER_INLINE Twofold multiply_add(Twofold a, Twofold b, Twofold c) { return a * b + c; }
CLINOMETER_INLINE bool operator<(Twofold a, Twofold b) { return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo); }

/// The three kinds of number by one set of names. A mask is -1 or 0 in every lane.
struct Wide {
  using Real = Doubles;
  using Index = Vec<std::int64_t>;
  static constexpr int kCount = kPace;
  static constexpr double kRelative = 1e-13, kPivot = 1e-10, kTie = 1e-14;
};
struct Single {
  using Real = double;
  using Index = std::int64_t;
  static constexpr int kCount = 1;
  static constexpr double kRelative = 1e-13, kPivot = 1e-10, kTie = 1e-14;
};
struct Double {
  using Real = Twofold;
  using Index = std::int64_t;
  static constexpr int kCount = 1;
  static constexpr double kRelative = 1e-28, kPivot = 1e-24, kTie = 0;
};

CLINOMETER_INLINE Wide::Index less(Doubles a, Doubles b) { return (Wide::Index)(a < b); }
CLINOMETER_INLINE std::int64_t less(double a, double b) { return -std::int64_t(a < b); }
CLINOMETER_INLINE std::int64_t less(Twofold a, Twofold b) { return -std::int64_t(a < b); }
CLINOMETER_INLINE Wide::Index equal(Wide::Index a, std::int64_t b) { return (Wide::Index)(a == b); }
CLINOMETER_INLINE std::int64_t equal(std::int64_t a, std::int64_t b) { return -std::int64_t(a == b); }
CLINOMETER_INLINE Doubles choose(Wide::Index m, Doubles a, Doubles b) { return m ? a : b; }
CLINOMETER_INLINE double choose(std::int64_t m, double a, double b) { return m ? a : b; }
CLINOMETER_INLINE Twofold choose(std::int64_t m, Twofold a, Twofold b) { return m ? a : b; }
CLINOMETER_INLINE Wide::Index choose(Wide::Index m, Wide::Index a, Wide::Index b) { return m ? a : b; }
CLINOMETER_INLINE std::int64_t choose(std::int64_t m, std::int64_t a, std::int64_t b) { return m ? a : b; }
CLINOMETER_INLINE bool any(std::int64_t m) { return m != 0; }
CLINOMETER_INLINE bool any(Wide::Index m) {
#if defined(__AVX512F__)
  return _mm512_test_epi64_mask((__m512i)m, (__m512i)m) != 0;
#else
  std::int64_t all = 0;
  for (int l = 0; l < kPace; ++l) all |= m[l];
  return all != 0;
#endif
}
/// The chosen lanes of `v`, in order, to `to`, where a whole vector has room.
CLINOMETER_INLINE void squeeze(Wide::Index chosen, Doubles v, double* to) {
#if defined(__AVX512F__)
  _mm512_storeu_pd(to, _mm512_maskz_compress_pd(_mm512_test_epi64_mask((__m512i)chosen, (__m512i)chosen), (__m512d)v));
#else
  for (int l = 0; l < kPace; ++l) {
    *to = v[l];
    to -= chosen[l];
  }
#endif
}
/// The numbers of the chosen lanes, counted from `first`; returns how many there are.
CLINOMETER_INLINE int squeeze(Wide::Index chosen, std::int32_t first, std::int32_t* to) {
#if defined(__AVX512F__)
  const __mmask8 mask = _mm512_test_epi64_mask((__m512i)chosen, (__m512i)chosen);
  const __m512i number = _mm512_add_epi64(_mm512_set1_epi64(first), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
  const __m256i narrowed = _mm512_cvtepi64_epi32(_mm512_maskz_compress_epi64(mask, number));
  _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(to), narrowed);
  return __builtin_popcount(mask);
#else
  int count = 0;
  for (int l = 0; l < kPace; ++l) {
    to[count] = first + l;
    count -= int(chosen[l]);
  }
  return count;
#endif
}
/// from[at[l]] in lane l.
CLINOMETER_INLINE Doubles gather(const double* from, Wide::Index at) {
#if defined(__AVX512F__)
  return (Doubles)_mm512_i64gather_pd((__m512i)at, from, 8);
#elif defined(__AVX2__)
  return (Doubles)_mm256_i64gather_pd(from, (__m256i)at, 8);
#else
  Doubles out;
  for (int l = 0; l < kPace; ++l) out[l] = from[at[l]];
  return out;
#endif
}
/// Where element `at` of each lane stands in an interleaved array.
CLINOMETER_INLINE Wide::Index interleaved(Wide::Index at) {
  Wide::Index lane;
  for (int l = 0; l < kPace; ++l) lane[l] = l;
  return at * kPace + lane;
}
template <class R>
CLINOMETER_INLINE R size_of(R a) {
  return choose(less(a, R{} - a), R{} - a, a);
}
template <class K>
CLINOMETER_INLINE typename K::Real real(double x) {
  if constexpr (K::kCount > 1) {
    return broadcast(x);
  } else {
    return x;
  }
}
template <class K>
CLINOMETER_INLINE typename K::Index index(std::int64_t i) {
  return typename K::Index{} + i;
}
template <class K>
CLINOMETER_INLINE typename K::Real load(const double* from) {
  if constexpr (K::kCount > 1) {
    return loadu<double>(from);
  } else {
    return *from;
  }
}

/// One round of a transposition: lanes whose number lacks bit `s` of `b` change places with the others of `a`.
template <int s, int... lane>
CLINOMETER_INLINE void trade(Doubles& a, Doubles& b, std::integer_sequence<int, lane...>) {
  const Doubles x = __builtin_shufflevector(a, b, ((lane & s) ? kPace + lane - s : lane)...);
  b = __builtin_shufflevector(a, b, ((lane & s) ? kPace + lane : lane + s)...);
  a = x;
}
template <int s>
CLINOMETER_INLINE void transpose(Doubles (&rows)[kPace]) {
  CLINOMETER_UNROLL
  for (int i = 0; i < kPace; ++i)
    if ((i & s) == 0) trade<s>(rows[i], rows[i + s], std::make_integer_sequence<int, kPace>{});
  if constexpr (2 * s < kPace) transpose<2 * s>(rows);
}

/// to[e * kPace + l] = from[l][e].
void pack(const double* const* from, std::int64_t count, double* to) {
  std::int64_t e = 0;
  for (; e + kPace <= count; e += kPace) {
    Doubles rows[kPace];
    CLINOMETER_UNROLL
    for (int l = 0; l < kPace; ++l) rows[l] = loadu<double>(from[l] + e);
    transpose<1>(rows);
    CLINOMETER_UNROLL
    for (int l = 0; l < kPace; ++l) storeu<double>(to + (e + l) * kPace, rows[l]);
  }
  for (; e < count; ++e)
    for (int l = 0; l < kPace; ++l) to[e * kPace + l] = from[l][e];
}

/// to[l][e] = from[e * kPace + l].
void unpack(const double* from, std::int64_t count, double* const* to) {
  std::int64_t e = 0;
  for (; e + kPace <= count; e += kPace) {
    Doubles rows[kPace];
    CLINOMETER_UNROLL
    for (int l = 0; l < kPace; ++l) rows[l] = loadu<double>(from + (e + l) * kPace);
    transpose<1>(rows);
    CLINOMETER_UNROLL
    for (int l = 0; l < kPace; ++l) storeu<double>(to[l] + e, rows[l]);
  }
  for (; e < count; ++e)
    for (int l = 0; l < kPace; ++l) to[l][e] = from[e * kPace + l];
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
