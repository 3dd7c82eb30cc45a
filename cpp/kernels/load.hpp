// Load<T>: the only place that knows an element format. Each widens exactly: f16 and bf16 subnormals,
// infinities and NaN included, nothing flushed. `one` is portable bit code, read by the baseline table;
// `lanes` reads kPace elements at any byte address into double lanes and exists at the wide levels.
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

template <Dtype T>
struct Load;

template <>
struct Load<Dtype::f32> {
  static constexpr int bytes = 4;
  static double one(const void* from) { return static_cast<double>(raw<float>(from)); }
#ifdef CLINOMETER_LEVEL
  static CLINOMETER_INLINE Doubles lanes(const void* from) { return to_double(loadu<float, kPace>(from)); }
#endif
};

template <>
struct Load<Dtype::f16> {
  static constexpr int bytes = 2;
  static double one(const void* from) { return static_cast<double>(half_to_float(raw<std::uint16_t>(from))); }
#ifdef CLINOMETER_LEVEL
  static CLINOMETER_INLINE Doubles lanes(const void* from) {
#if defined(__F16C__) && CLINOMETER_JOIN(CLINOMETER_BYTES_, CLINOMETER_LEVEL) == 64
    return to_double((Vec<float, kPace>)_mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(from))));
#elif defined(__F16C__)
    return to_double((Vec<float, kPace>)_mm_cvtph_ps(_mm_loadl_epi64(static_cast<const __m128i*>(from))));
#elif defined(__aarch64__)
    const uint32x2_t pair = vdup_n_u32(raw<std::uint32_t>(from));
    return (Doubles)vcvt_f64_f32(vget_low_f32(vcvt_f32_f16(vreinterpret_f16_u32(pair))));
#endif
  }
#endif
};

template <>
struct Load<Dtype::bf16> {
  static constexpr int bytes = 2;
  static double one(const void* from) {
    return static_cast<double>(bits_to_float(std::uint32_t{raw<std::uint16_t>(from)} << 16));
  }
#ifdef CLINOMETER_LEVEL
  static CLINOMETER_INLINE Doubles lanes(const void* from) {
    using Words = Vec<std::uint32_t, kPace>;
    const auto bits = __builtin_convertvector((loadu<std::uint16_t, kPace>(from)), Words) << 16;
    return to_double((Vec<float, kPace>)bits);
  }
#endif
};

template <>
struct Load<Dtype::f64> {
  static constexpr int bytes = 8;
  static double one(const void* from) { return raw<double>(from); }
#ifdef CLINOMETER_LEVEL
  static CLINOMETER_INLINE Doubles lanes(const void* from) { return loadu<double>(from); }
#endif
};

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_LOAD_NAMESPACE
