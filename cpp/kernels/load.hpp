// Load<T>: the only place that knows an element format. Each widens exactly: f16 and bf16 subnormals,
// infinities and NaN included, nothing flushed. `one` is portable bit code, read by the baseline table;
// `moved<L>` reads kLanes<L> elements at any byte address, less a shift, and exists at the wide levels.
// The shift is a float in either lane type, so one subtraction rounds once: a column mean of 1e6 costs no
// digit of the spread. f64 elements are shifted in f64 before they are narrowed.
#pragma once
#include <cstdint>

#include "kernels/table.hpp"
#ifdef CLINOMETER_LEVEL
#include "kernels/simd.hpp"
#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#define CLINOMETER_LOAD_NAMESPACE CLINOMETER_ISA_NAMESPACE
#else
#define CLINOMETER_LOAD_NAMESPACE isa_baseline
#endif

namespace clinometer::kernels::CLINOMETER_LOAD_NAMESPACE {
namespace {

/// An element as the bytes hold it, whatever the address.
template <class T>
inline T raw(const void* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

inline float bits_to_float(std::uint32_t bits) { return raw<float>(&bits); }

inline float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16, body = half & 0x7fffu;
  if (body >= 0x7c00u) return bits_to_float(sign | 0x7f800000u | (body & 0x3ffu) << 13);
  if (body >= 0x0400u) return bits_to_float(sign | ((body << 13) + (112u << 23)));
  const float magnitude = static_cast<float>(body) * 0x1p-24f;  // subnormal in f16, normal in f32
  return sign != 0 ? -magnitude : magnitude;
}

#ifdef CLINOMETER_LEVEL
#if defined(__F16C__)
/// N halves at `from`; a name for each width, because the instruction has one.
#if !defined(__AVX512F__)
CLINOMETER_INLINE auto widen_halves(const void* from, Vec<float, 4>*) {
  return (Vec<float, 4>)_mm_cvtph_ps(_mm_loadl_epi64(static_cast<const __m128i*>(from)));
}
#endif
CLINOMETER_INLINE auto widen_halves(const void* from, Vec<float, 8>*) {
  return (Vec<float, 8>)_mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}
#if defined(__AVX512F__)
CLINOMETER_INLINE auto widen_halves(const void* from, Vec<float, 16>*) {
  return (Vec<float, 16>)_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
}
#endif
#elif defined(__aarch64__)
CLINOMETER_INLINE auto widen_halves(const void* from, Vec<float, 2>*) {
  const uint32x2_t pair = vdup_n_u32(raw<std::uint32_t>(from));
  return (Vec<float, 2>)vget_low_f32(vcvt_f32_f16(vreinterpret_f16_u32(pair)));
}
CLINOMETER_INLINE auto widen_halves(const void* from, Vec<float, 4>*) {
  return (Vec<float, 4>)vcvt_f32_f16(vcreate_f16(raw<std::uint64_t>(from)));
}
#endif

/// 16-bit patterns as the upper halves of words. GCC widens a conversion to 512 bits in five instructions, not one.
template <int N>
CLINOMETER_INLINE Vec<float, N> upper_halves(const void* from) {
  using Words = Vec<std::uint32_t, N>;
#if defined(__AVX512F__)
  if constexpr (N == 16) {
    const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
    return (Vec<float, N>)((Words)words << 16);
  }
#endif
  return (Vec<float, N>)(__builtin_convertvector((loadu<std::uint16_t, N>(from)), Words) << 16);
}

/// A format that f32 holds exactly: Half::widen<N> gives N floats.
template <class Format>
struct Narrow {
  /// Elements of a 32-bit word go to two vectors, so that columns of dots and weigh come in the order of table.hpp.
  static constexpr bool by_words = false;
  template <class L>
  static CLINOMETER_INLINE Vec<L> moved(const void* from, const L* shift) {
    constexpr int N = kLanes<L>;
    if constexpr (sizeof(L) == 4) {
      return Format::template widen<N>(from) - loadu<L>(shift);
    } else {
      return to_double(Format::template widen<N>(from)) - loadu<L>(shift);
    }
  }
  /// Either vector of 2 kLanes<L> elements.
  template <class L, bool Second>
  static CLINOMETER_INLINE Vec<L> moved_half(const void* from, const L* shift) {
    constexpr int N = Second ? kLanes<L> : 0;
    return moved<L>(static_cast<const char*>(from) + N * Format::bytes, shift + N);
  }
};
#else
template <class Format>
struct Narrow {};
#endif

template <Dtype T>
struct Load;

template <>
struct Load<Dtype::f32> : Narrow<Load<Dtype::f32>> {
  static constexpr int bytes = 4;
  static double one(const void* from) { return static_cast<double>(raw<float>(from)); }
#ifdef CLINOMETER_LEVEL
  template <int N>
  static CLINOMETER_INLINE Vec<float, N> widen(const void* from) {
    return loadu<float, N>(from);
  }
#endif
};

template <>
struct Load<Dtype::f16> : Narrow<Load<Dtype::f16>> {
  static constexpr int bytes = 2;
  static double one(const void* from) { return static_cast<double>(half_to_float(raw<std::uint16_t>(from))); }
#ifdef CLINOMETER_LEVEL
  template <int N>
  static CLINOMETER_INLINE Vec<float, N> widen(const void* from) {
    return widen_halves(from, static_cast<Vec<float, N>*>(nullptr));
  }
#endif
};

template <>
struct Load<Dtype::bf16> : Narrow<Load<Dtype::bf16>> {
  static constexpr int bytes = 2;
  static double one(const void* from) {
    return static_cast<double>(bits_to_float(std::uint32_t{raw<std::uint16_t>(from)} << 16));
  }
#ifdef CLINOMETER_LEVEL
  template <int N>
  static CLINOMETER_INLINE Vec<float, N> widen(const void* from) {
    return upper_halves<N>(from);
  }
  static constexpr bool by_words = true;
  /// Even columns, then odd ones: one instruction each, where widening in order takes two.
  template <class L, bool Second>
  static CLINOMETER_INLINE Vec<L> moved_half(const void* from, const L* shift) {
    if constexpr (sizeof(L) == 8) {
      return Narrow<Load<Dtype::bf16>>::template moved_half<L, Second>(from, shift);
    } else {
      const Vec<std::uint32_t> words = loadu<std::uint32_t>(from);
      return (Vec<L>)(Second ? words & 0xffff0000u : words << 16) - loadu<L>(shift + (Second ? kLanes<L> : 0));
    }
  }
#endif
};

template <>
struct Load<Dtype::f64> {
  static constexpr int bytes = 8;
  static double one(const void* from) { return raw<double>(from); }
#ifdef CLINOMETER_LEVEL
  template <class L>
  static CLINOMETER_INLINE Vec<L> moved(const void* from, const L* shift) {
    if constexpr (sizeof(L) == 8) {
      return loadu<double>(from) - loadu<double>(shift);
    } else {
      const char* const bytes = static_cast<const char*>(from);
      const Doubles low = loadu<double>(bytes) - to_double(loadu<float, kPace>(shift));
      const Doubles high = loadu<double>(bytes + kBytes) - to_double(loadu<float, kPace>(shift + kPace));
      return narrow<kPace>(low, high);
    }
  }
  static constexpr bool by_words = false;
  template <class L, bool Second>
  static CLINOMETER_INLINE Vec<L> moved_half(const void* from, const L* shift) {
    constexpr int N = Second ? kLanes<L> : 0;
    return moved<L>(static_cast<const char*>(from) + N * bytes, shift + N);
  }
#endif
};

#ifdef CLINOMETER_LEVEL
/// Two vectors of columns, less their shifts.
template <class L>
struct Pair {
  Vec<L> first, second;
};
template <Dtype T, class L>
CLINOMETER_INLINE Pair<L> moved_pair(const void* from, const L* shift) {
  return {Load<T>::template moved_half<L, false>(from, shift), Load<T>::template moved_half<L, true>(from, shift)};
}
#endif

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_LOAD_NAMESPACE
