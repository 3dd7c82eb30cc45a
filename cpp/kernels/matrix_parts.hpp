// Split bf16: an f32 is exactly the sum of three bf16 terms (`parts`), which a matrix unit takes. A product of two
// numbers is a sum of nine products of terms; the six of order up to 2^-16 are computed, and the rest is at most 2^-22
// of the product (2^-25 on average), below the rounding of an f32 product. Terms that are all zero are skipped, which
// changes no bit. The unit flushes subnormals to zero.
#pragma once
#include "kernels/decode.hpp"
#include "kernels/matrix_unit.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// A mask of upper halves that stays in a register: the compiler would make it anew at every use.
struct UpperHalf {
  Vec<std::uint32_t> mask = broadcast(0xffff0000u);
  CLINOMETER_INLINE UpperHalf() { asm("" : "+v"(mask)); }
  /// The first bf16 term of each lane, truncated and not rounded.
  CLINOMETER_INLINE Vec<float> of(Vec<float> x) const { return (Vec<float>)((Vec<std::uint32_t>)x & mask); }
  /// The upper halves of two vectors side by side in one.
  CLINOMETER_INLINE Vec<std::uint32_t> both(Vec<float> first, Vec<float> second) const {
    const __m512i low = (__m512i)((Vec<std::uint32_t>)first >> 16);
    return (Vec<std::uint32_t>)_mm512_ternarylogic_epi32(low, (__m512i)second, (__m512i)mask,
                                                         0xf8);  // low | (b & mask)
  }
};

CLINOMETER_INLINE bool any(Vec<std::uint32_t> bits) {
  return _mm512_test_epi32_mask((__m512i)bits, (__m512i)bits) != 0;
}

/// Bits that occur in the second and third terms.
struct Seen {
  Vec<std::uint32_t> second = {}, third = {};
  /// Terms up to the last that is not all zero.
  int parts() const { return any(third) ? 3 : any(second) ? 2 : 1; }
};

/// Whether so many columns have no shift: a bf16 is then what it is.
template <int Columns>
CLINOMETER_INLINE bool unmoved(const float* shift) {
  Vec<std::uint32_t> bits = {};
  CLINOMETER_UNROLL for (int c = 0; c < Columns; c += kLanes<float>) bits |= loadu<std::uint32_t>(shift + c);
  return !any(bits << 1);
}

/// 32 columns of a row as three terms kTileItems apart. NaN and Inf stay in the first, with remainders of NaN.
CLINOMETER_INLINE void store_parts(Pair<float> x, const UpperHalf& upper, std::uint16_t* to, Seen& seen) {
  storeu<std::uint32_t>(to, upper.both(x.first, x.second));
  const Vec<float> a = x.first - upper.of(x.first), b = x.second - upper.of(x.second);
  const Vec<std::uint32_t> second = upper.both(a, b);
  storeu<std::uint32_t>(to + kTileItems, second);
  const Vec<std::uint32_t> third = upper.both(a - upper.of(a), b - upper.of(b));
  storeu<std::uint32_t>(to + 2 * kTileItems, third);
  seen.second |= second;
  seen.third |= third;
}

/// To bf16, to nearest and ties to even; finite numbers of about unit size.
CLINOMETER_INLINE Vec<float> rounded(Vec<float> x, const UpperHalf& upper) {
  const Vec<std::uint32_t> bits = (Vec<std::uint32_t>)x;
  return upper.of((Vec<float>)(bits + 0x7fffu + (bits >> 16 & 1u)));
}

/// The last columns of a row, fewer than 32.
template <Dtype T>
Pair<float> moved_rest(const char* at, const float* shift, std::int64_t count) {
  constexpr int N = kLanes<float>;
  if (count <= N) return {moved_part<T, float>(at, shift, count), Vec<float>{}};
  return {moved_part<T, float>(at, shift, N), moved_part<T, float>(at + N * Load<T>::bytes, shift + N, count - N)};
}

/// 16 words of 16 rows turned: to[j][i] = row[i][j].
CLINOMETER_INLINE void transpose_words(const Vec<std::uint32_t> (&row)[16], std::uint16_t* to) {
  __m512i a[16], b[16];
  CLINOMETER_UNROLL for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32((__m512i)row[i], (__m512i)row[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32((__m512i)row[i], (__m512i)row[i + 1]);
  }
  CLINOMETER_UNROLL for (int i = 0; i < 16; i += 4) CLINOMETER_UNROLL for (int h = 0; h < 2; ++h) {
    b[i + 2 * h] = _mm512_unpacklo_epi64(a[i + h], a[i + h + 2]);
    b[i + 2 * h + 1] = _mm512_unpackhi_epi64(a[i + h], a[i + h + 2]);
  }
  // b[4 q + r] holds words 4 l + r of rows 4 q .. 4 q + 3 in its quarter l
  CLINOMETER_UNROLL for (int r = 0; r < 4; ++r) {
    const __m512i low = _mm512_shuffle_i32x4(b[r], b[4 + r], 0x88), high = _mm512_shuffle_i32x4(b[r], b[4 + r], 0xdd);
    const __m512i more = _mm512_shuffle_i32x4(b[8 + r], b[12 + r], 0x88),
                  most = _mm512_shuffle_i32x4(b[8 + r], b[12 + r], 0xdd);
    const __m512i turned[4] = {_mm512_shuffle_i32x4(low, more, 0x88), _mm512_shuffle_i32x4(high, most, 0x88),
                               _mm512_shuffle_i32x4(low, more, 0xdd), _mm512_shuffle_i32x4(high, most, 0xdd)};
    CLINOMETER_UNROLL for (int l = 0; l < 4; ++l) _mm512_storeu_si512(to + (4 * l + r) * kTileColumns, turned[l]);
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
