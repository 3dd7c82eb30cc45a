// Scores of bf16 rows by directions that are bf16 too: a pair of products in each 32 bits, summed in f32. Rows are read
// as they are stored, without a shift: a mean of 256 deviations leaves bf16 no digit of the spread.
#pragma once
#include "kernels/spans.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// Columns of one vector, and of a span.
constexpr std::int64_t kHalves = kBytes / 2, kHalfSpan = kSpanBytes / 2;
static_assert(kHalves == kHalfStep);

/// Columns from c of what lies in memory, zero from `columns` on.
CLINOMETER_INLINE __m512bh halves(const char* from, std::int64_t columns) {
  const __mmask32 held = columns >= kHalves ? ~__mmask32{0} : (__mmask32{1} << columns) - 1;
  return (__m512bh)_mm512_maskz_loadu_epi16(held, from);
}

/// `columns` of R stored rows by four packed directions.
template <int R>
[[gnu::noinline]] void rounded_products(const void* const* rows, std::int64_t begin, std::int64_t columns,
                                        const std::uint16_t* packed, double* scores, std::int64_t lds, Ahead& ahead) {
  const char* from[R];
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) from[r] = static_cast<const char*>(rows[r]) + begin * 2;
  __m512 sum[R][kFour] = {};
  const auto take = [&](auto load) {
    __m512bh x[R];
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) x[r] = load(r);
    CLINOMETER_UNROLL for (int k = 0; k < kFour; ++k) {
      const __m512bh u = (__m512bh)_mm512_loadu_si512(packed + k * kHalves);
      CLINOMETER_UNROLL for (int r = 0; r < R; ++r) sum[r][k] = _mm512_dpbf16_ps(sum[r][k], x[r], u);
    }
    packed += kFour * kHalves;
  };
  std::int64_t c = 0;
  for (; c + kHalves <= columns; c += kHalves) {
    if (c % kAskEvery<std::uint16_t> == 0) ahead.ask();
    take([&](int r) { return (__m512bh)_mm512_loadu_si512(from[r] + c * 2); });
  }
  if (c < columns) take([&](int r) { return halves(from[r] + c * 2, columns - c); });
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) {
    Vec<float> lanes[kFour];
    CLINOMETER_UNROLL for (int k = 0; k < kFour; ++k) lanes[k] = (Vec<float>)sum[r][k];
    add_lanes(lanes, scores + r * lds);
  }
}

void pack_halves(const float* directions, std::int64_t ld, std::int64_t d, std::int64_t n_directions, void* to) {
  auto* at = static_cast<std::uint16_t*>(to);
  for (std::int64_t begin = 0; begin < d; begin += kHalfSpan)
    for (std::int64_t first = 0; first < n_directions; first += kFour)
      for (std::int64_t c = begin; c < least(begin + kHalfSpan, d); c += kHalves)
        for (std::int64_t k = first; k < first + kFour; ++k)
          for (std::int64_t j = c; j < c + kHalves; ++j) {
            std::uint32_t bits = 0;
            if (j < d) __builtin_memcpy(&bits, directions + k * ld + j, sizeof bits);
            *at++ = static_cast<std::uint16_t>(bits >> 16);
          }
}

void rounded_scores(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d, const void* packed,
                    std::int64_t n_directions, double* scores, std::int64_t lds) {
  const Walk walk{n, known, d, kHalfSpan, rounded_packed(d, n_directions) <= kNearBytes};
  by_spans<2>(rows, walk, [&](std::int64_t i, std::int64_t m, std::int64_t begin, Ahead ahead) {
    const std::int64_t columns = least(kHalfSpan, d - begin), width = (columns + kHalves - 1) / kHalves * kHalves;
    ahead.spread(n_directions / kFour * ((m + kStep - 1) / kStep) *
                 ((columns + kAskEvery<std::uint16_t> - 1) / kAskEvery<std::uint16_t>));
    const std::uint16_t* u = static_cast<const std::uint16_t*>(packed) + begin * n_directions;
    double* to = scores + i * lds;
    for (std::int64_t k = 0; k < n_directions; k += kFour, u += kFour * width, to += kFour)
      by_steps(m, [&](std::int64_t r, auto R) {
        rounded_products<R.value>(rows + i + r, begin, columns, u, to + r * lds, lds, ahead);
      });
  });
}

}  // namespace

extern const RoundedTable rounded;
const RoundedTable rounded = {pack_halves, rounded_scores};

}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
