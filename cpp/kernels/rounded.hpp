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

/// The bits of a bf16 number that a float holds.
CLINOMETER_INLINE std::uint32_t half_bits(const float* from) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return bits >> 16;
}

void few_scores(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d,
                const std::uint16_t* packed, std::int64_t n_directions, double* scores, std::int64_t lds) {
  const Walk walk{n, known, d, kHalfSpan, rounded_packed(d, n_directions) <= kNearBytes};
  by_spans<2>(rows, walk, [&](std::int64_t i, std::int64_t m, std::int64_t begin, Ahead ahead) {
    const std::int64_t columns = least(kHalfSpan, d - begin), width = (columns + kHalves - 1) / kHalves * kHalves;
    ahead.spread(n_directions / kFour * ((m + kStep - 1) / kStep) *
                 ((columns + kAskEvery<std::uint16_t> - 1) / kAskEvery<std::uint16_t>));
    const std::uint16_t* u = packed + begin * n_directions;
    double* to = scores + i * lds;
    for (std::int64_t k = 0; k < n_directions; k += kFour, u += kFour * width, to += kFour)
      by_steps(m, [&](std::int64_t r, auto R) {
        rounded_products<R.value>(rows + i + r, begin, columns, u, to + r * lds, lds, ahead);
      });
  });
}

void pack_few(const float* directions, std::int64_t ld, std::int64_t d, std::int64_t n_directions, std::uint16_t* to) {
  for (std::int64_t begin = 0; begin < d; begin += kHalfSpan)
    for (std::int64_t first = 0; first < n_directions; first += kFour)
      for (std::int64_t c = begin; c < least(begin + kHalfSpan, d); c += kHalves)
        for (std::int64_t k = first; k < first + kFour; ++k)
          for (std::int64_t j = c; j < c + kHalves; ++j)
            *to++ = j < d ? static_cast<std::uint16_t>(half_bits(directions + k * ld + j)) : 0;
}

// ---- many directions, in lanes: a pair of columns of a row is one number to all of them, and sums stay apart

constexpr std::int64_t kManyRows = 12, kPairs = 256;  // rows at once; pairs of columns of a span
constexpr int kVectors = 2;                           // of directions at once

/// Pair p of a row's columns.
CLINOMETER_INLINE __m512bh both(const char* row, std::int64_t p) {
  std::uint32_t pair;
  __builtin_memcpy(&pair, row + 4 * p, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(static_cast<int>(pair));
}

/// R rows from their column `begin`, `columns` of them, by V vectors of directions.
template <int R, int V>
[[gnu::noinline]] void lane_products(const void* const* rows, std::int64_t begin, std::int64_t columns,
                                     const std::uint32_t* packed, double* scores, std::int64_t lds, Ahead& ahead) {
  constexpr std::int64_t kPairsOfAsk = 32;
  const char* from[R];
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) from[r] = static_cast<const char*>(rows[r]) + begin * 2;
  __m512 sum[R][V] = {};
  const auto take = [&](auto pair_of) {
    __m512bh u[V];
    CLINOMETER_UNROLL for (int v = 0; v < V; ++v, packed += 16) u[v] = (__m512bh)_mm512_loadu_si512(packed);
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) {
      const __m512bh x = pair_of(r);
      CLINOMETER_UNROLL for (int v = 0; v < V; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], u[v], x);
    }
  };
  std::int64_t p = 0;
  while (p < columns / 2) {
    ahead.ask();
    for (const std::int64_t end = least(p + kPairsOfAsk, columns / 2); p < end; ++p)
      take([&](int r) { return both(from[r], p); });
  }
  if (columns % 2 != 0)
    take([&](int r) {
      std::uint16_t last;
      __builtin_memcpy(&last, from[r] + 4 * p, sizeof last);
      return (__m512bh)_mm512_set1_epi32(last);
    });
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) CLINOMETER_UNROLL for (int v = 0; v < V; ++v)
      add_to(scores + r * lds + 16 * v, (Vec<float>)sum[r][v]);
}

/// All rows of a call by V vectors of directions.
template <int V>
void lane_rows(const void* const* rows, std::int64_t n, std::int64_t begin, std::int64_t columns,
               const std::uint32_t* packed, double* scores, std::int64_t lds, Ahead& ahead) {
  std::int64_t i = 0;
  for (; i + kManyRows <= n; i += kManyRows)
    lane_products<kManyRows, V>(rows + i, begin, columns, packed, scores + i * lds, lds, ahead);
  for (; i + 4 <= n; i += 4) lane_products<4, V>(rows + i, begin, columns, packed, scores + i * lds, lds, ahead);
  for (; i < n; ++i) lane_products<1, V>(rows + i, begin, columns, packed, scores + i * lds, lds, ahead);
}

void many_scores(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d,
                 const std::uint32_t* packed, std::int64_t n_directions, double* scores, std::int64_t lds) {
  for (std::int64_t begin = 0; begin < d; begin += 2 * kPairs) {
    const std::int64_t columns = least(2 * kPairs, d - begin), pairs = (columns + 1) / 2, next = begin + columns;
    const bool more = next < d;
    Ahead ahead(more ? rows : rows + n, more ? n : least(n, known - n), more ? 2 * next : 0,
                2 * least(2 * kPairs, more ? d - next : d));
    ahead.spread(((n_directions + 31) / 32) * ((n + kManyRows - 1) / kManyRows) * ((pairs + 31) / 32));
    std::int64_t k = 0;
    for (; k + 16 * kVectors <= n_directions; k += 16 * kVectors, packed += 16 * kVectors * pairs)
      lane_rows<kVectors>(rows, n, begin, columns, packed, scores + k, lds, ahead);
    for (; k < n_directions; k += 16, packed += 16 * pairs)
      lane_rows<1>(rows, n, begin, columns, packed, scores + k, lds, ahead);
  }
}

void pack_many(const float* directions, std::int64_t ld, std::int64_t d, std::int64_t n_directions, std::uint32_t* to) {
  for (std::int64_t begin = 0; begin < d; begin += 2 * kPairs)
    for (std::int64_t first = 0, wide = 0; first < n_directions; first += wide) {
      wide = first + 16 * kVectors <= n_directions ? 16 * kVectors : 16;
      for (std::int64_t c = begin; c < least(begin + 2 * kPairs, d); c += 2)
        for (std::int64_t k = first; k < first + wide; ++k) {
          const float* const u = directions + k * ld + c;
          *to++ = half_bits(u) | (c + 1 < d ? half_bits(u + 1) << 16 : 0);
        }
    }
}

void pack_halves(const float* directions, std::int64_t ld, std::int64_t d, std::int64_t n_directions, void* to) {
  n_directions < kManyRounded ? pack_few(directions, ld, d, n_directions, static_cast<std::uint16_t*>(to))
                              : pack_many(directions, ld, d, n_directions, static_cast<std::uint32_t*>(to));
}

void rounded_scores(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d, const void* packed,
                    std::int64_t n_directions, double* scores, std::int64_t lds) {
  n_directions < kManyRounded
      ? few_scores(rows, n, known, d, static_cast<const std::uint16_t*>(packed), n_directions, scores, lds)
      : many_scores(rows, n, known, d, static_cast<const std::uint32_t*>(packed), n_directions, scores, lds);
}

}  // namespace

extern const RoundedTable rounded;
const RoundedTable rounded = {pack_halves, rounded_scores};

}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
