// Vector types of one instruction-set level, written with the compiler's vector extensions so that one
// source serves every level. Included only by kernels.cpp, inside whose flags it takes its meaning:
// everything lives in an unnamed namespace, so no symbol of a wide object can replace another's.
// Products and sums are meant to contract to FMA (-ffp-contract=fast); nothing here may be reordered.
#pragma once
#include <cstdint>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#ifndef CLINOMETER_LEVEL
#error "define CLINOMETER_LEVEL as baseline, avx2, avx512, avx512bf16, amx or neon"
#endif
#define CLINOMETER_JOIN_(a, b) a##b
#define CLINOMETER_JOIN(a, b) CLINOMETER_JOIN_(a, b)
#define CLINOMETER_ISA_NAMESPACE CLINOMETER_JOIN(isa_, CLINOMETER_LEVEL)
#define CLINOMETER_BYTES_baseline 16
#define CLINOMETER_BYTES_avx2 32
#define CLINOMETER_BYTES_avx512 64
#define CLINOMETER_BYTES_avx512bf16 64
#define CLINOMETER_BYTES_amx 64
#define CLINOMETER_BYTES_neon 16
#define CLINOMETER_REGISTERS_baseline 16
#define CLINOMETER_REGISTERS_avx2 16
#define CLINOMETER_REGISTERS_avx512 32
#define CLINOMETER_REGISTERS_avx512bf16 32
#define CLINOMETER_REGISTERS_amx 32
#define CLINOMETER_REGISTERS_neon 32

#if defined(__clang__)
#define CLINOMETER_UNROLL _Pragma("unroll")
#else
#define CLINOMETER_UNROLL _Pragma("GCC unroll 16")
#endif
#define CLINOMETER_INLINE inline __attribute__((always_inline))

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

constexpr int kBytes = CLINOMETER_JOIN(CLINOMETER_BYTES_, CLINOMETER_LEVEL);
constexpr int kRegisters = CLINOMETER_JOIN(CLINOMETER_REGISTERS_, CLINOMETER_LEVEL);
/// Lanes of one vector of T; double sets the pace where both widths meet.
template <class T>
constexpr int kLanes = kBytes / static_cast<int>(sizeof(T));
constexpr int kPace = kLanes<double>;

// Struct wrappers, because attributes on a dependent typedef are not portable between compilers.
// The unaligned forms may start at any byte: rows of a mapped file carry no alignment promise.
template <class T, int N>
struct Vector;
#define CLINOMETER_VECTOR(T, N)                                                             \
  template <>                                                                               \
  struct Vector<T, N> {                                                                     \
    typedef T type __attribute__((vector_size(N * sizeof(T))));                             \
    typedef T unaligned __attribute__((vector_size(N * sizeof(T)), aligned(1), may_alias)); \
  };
CLINOMETER_VECTOR(float, kPace)
CLINOMETER_VECTOR(float, 2 * kPace)
CLINOMETER_VECTOR(double, kPace)
CLINOMETER_VECTOR(std::uint16_t, kPace)
CLINOMETER_VECTOR(std::uint16_t, 2 * kPace)
CLINOMETER_VECTOR(std::int32_t, kPace)
CLINOMETER_VECTOR(std::int32_t, 2 * kPace)
CLINOMETER_VECTOR(std::uint32_t, kPace)
CLINOMETER_VECTOR(std::uint32_t, 2 * kPace)
CLINOMETER_VECTOR(std::int64_t, kPace)
CLINOMETER_VECTOR(std::uint64_t, kPace)
#undef CLINOMETER_VECTOR

/// A number that the compiler knows.
template <int N>
struct Count {
  static constexpr int value = N;
};

template <class T, int N = kLanes<T>>
using Vec = typename Vector<T, N>::type;
using Doubles = Vec<double>;

template <class T, int N = kLanes<T>>
CLINOMETER_INLINE Vec<T, N> loadu(const void* from) {
  return *static_cast<const typename Vector<T, N>::unaligned*>(from);
}

template <class T, int N = kLanes<T>>
CLINOMETER_INLINE void storeu(void* to, Vec<T, N> value) {
  *static_cast<typename Vector<T, N>::unaligned*>(to) = value;
}

template <class T>
CLINOMETER_INLINE Vec<T> broadcast(T value) {
  return value - Vec<T>{};  // x - 0 is x for every x, also -0
}

/// GCC widens a conversion to 512 bits in pieces, where it is one instruction.
CLINOMETER_INLINE Doubles to_double(Vec<float, kPace> v) {
#if defined(__AVX512F__)
  return (Doubles)_mm512_cvtps_pd((__m256)v);
#else
  return __builtin_convertvector(v, Doubles);
#endif
}
CLINOMETER_INLINE Doubles to_double(Doubles v) { return v; }

/// Both halves in one vector; by way of memory the wide load would wait for the two narrow stores.
template <int N>  // a template, so that only the branch of this width is compiled
CLINOMETER_INLINE Vec<float, 2 * N> narrow(Vec<double, N> low, Vec<double, N> high) {
  using Half = Vec<float, N>;
  const Half a = __builtin_convertvector(low, Half), b = __builtin_convertvector(high, Half);
  if constexpr (N == 2) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3);
  } else if constexpr (N == 4) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
  } else {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  }
}

CLINOMETER_INLINE Doubles magnitude(Doubles v) { return (Doubles)((Vec<std::uint64_t>)v & ~(std::uint64_t{1} << 63)); }

/// Larger of the two; a NaN in `candidate` loses.
CLINOMETER_INLINE Doubles larger(Doubles candidate, Doubles held) { return candidate > held ? candidate : held; }

/// Sum of the lanes in f64, always in the same order.
CLINOMETER_INLINE double horizontal_sum(Doubles v) {
  double lane[kPace];
  storeu<double>(lane, v);
  for (int width = kPace / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) lane[j] += lane[j + width];
  return lane[0];
}

CLINOMETER_INLINE double horizontal_sum(Vec<float> v) {
  float lane[2 * kPace];
  storeu<float>(lane, v);
  return horizontal_sum(to_double(loadu<float, kPace>(lane)) + to_double(loadu<float, kPace>(lane + kPace)));
}

/// to[0 .. lanes) += v, in f64.
CLINOMETER_INLINE void add_to(double* to, Doubles v) { storeu<double>(to, loadu<double>(to) + v); }

CLINOMETER_INLINE void add_to(double* to, Vec<float> v) {
#if defined(__AVX512F__)
  add_to(to, (Doubles)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)v)));
  add_to(to + kPace, (Doubles)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)v, 1)));
#else
  float lane[2 * kPace];
  storeu<float>(lane, v);
  add_to(to, to_double(loadu<float, kPace>(lane)));
  add_to(to + kPace, to_double(loadu<float, kPace>(lane + kPace)));
#endif
}

/// exp to about 1 ulp: exp(-inf) = 0, gradual underflow, +inf above 709.78, NaN stays NaN.
CLINOMETER_INLINE Doubles exponential(Doubles x) {
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low bits
  const Doubles low = broadcast(-746.0), high = broadcast(710.0);
  x = x < low ? low : x;
  x = x > high ? high : x;
  const Doubles k = (x * 0x1.71547652b82fep0 + kRound) - kRound;
  Doubles r = x - k * 0x1.62e42fefa0000p-1;  // exact: the constant has 20 trailing zeros or more
  r = r - k * 0x1.cf79abc9e3b3ap-40;
  // exp(r) - 1 - r - r^2/2 for |r| <= ln2/2; Taylor to r^13, remainder below 5e-18.
  Doubles p = broadcast(1.0 / 6227020800.0);
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = (p * r) * r + r + 1.0;
  // 2^k in two factors, so that subnormal results round once and 2^1024 is never formed.
  const Doubles half = (k * 0.5 + kRound) - kRound;
  const auto power = [](Doubles whole) {
    const Vec<std::uint64_t> bits = (Vec<std::uint64_t>)(whole + kRound);
    return (Doubles)((bits + std::uint64_t{1023}) << 52);
  };
  return p * power(half) * power(k - half);
}

/// expm1(l) - l = sum_{m >= 2} l^m / m! for |l| < 1, relative error about 2 ulp (terms end at l^19 / 19!).
CLINOMETER_INLINE Doubles expm1_minus(Doubles l) {
  Doubles p = broadcast(1.0 / 121645100408832000.0);
  p = p * l + 1.0 / 6402373705728000.0;
  p = p * l + 1.0 / 355687428096000.0;
  p = p * l + 1.0 / 20922789888000.0;
  p = p * l + 1.0 / 1307674368000.0;
  p = p * l + 1.0 / 87178291200.0;
  p = p * l + 1.0 / 6227020800.0;
  p = p * l + 1.0 / 479001600.0;
  p = p * l + 1.0 / 39916800.0;
  p = p * l + 1.0 / 3628800.0;
  p = p * l + 1.0 / 362880.0;
  p = p * l + 1.0 / 40320.0;
  p = p * l + 1.0 / 5040.0;
  p = p * l + 1.0 / 720.0;
  p = p * l + 1.0 / 120.0;
  p = p * l + 1.0 / 24.0;
  p = p * l + 1.0 / 6.0;
  p = p * l + 0.5;
  return p * l * l;
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
