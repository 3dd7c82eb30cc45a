// Scores of more than four directions. A few rows are decoded, a span of columns at a time, while the first four
// directions are multiplied, into a buffer that stays in the first cache while all others pass over it; the rows read
// next are prefetched meanwhile, so that memory and products overlap. Directions are packed in the order they are read.
#pragma once
#include "kernels/dots.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// Columns decoded at once, and lanes from row to row: no two rows begin in the same cache sets.
template <class L>
constexpr std::int64_t kSpan = kSpanBytes / static_cast<std::int64_t>(sizeof(L));
template <class L>
constexpr std::int64_t kSpanStride = kSpan<L> + kPad;
constexpr std::int64_t kStep = kRegisters >= 32 ? 6 : 3;  // rows of a product with kFour directions
constexpr int kFour = 4;
/// Columns of a product between two prefetches. One burst a product would fill the buffers of cache misses, and the
/// product would wait behind it.
template <class L>
constexpr std::int64_t kAskEvery = 8 * kLanes<L>;
/// Directions up to this size stay near while rows pass from end to end; of larger ones a span does, for a block.
constexpr std::int64_t kNearBytes = 256 << 10;

CLINOMETER_INLINE std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

template <class L>
void pack_four(const L* four, std::int64_t ld, std::int64_t d, std::int64_t first, std::int64_t n_directions, L* to) {
  constexpr int N = kLanes<L>;
  for (std::int64_t begin = 0; begin < d; begin += kSpan<L>) {
    const std::int64_t width = padded(least(kSpan<L>, d - begin));
    L* at = to + begin * n_directions + first * width;
    for (std::int64_t c = begin; c < begin + width; c += N)
      for (int k = 0; k < kFour; ++k, at += N) storeu<L>(at, loadu<L>(four + k * ld + c));
  }
}

/// Prefetches pieces of rows, evenly over `times` calls of ask.
struct Ahead {
  const void* const* rows;
  std::int64_t n, at, lines, each = 0, row = 0, line = 0;

  CLINOMETER_INLINE Ahead(const void* const* from, std::int64_t count, std::int64_t begin, std::int64_t bytes)
      : rows(from), n(count), at(begin), lines((bytes + 63) / 64) {}
  CLINOMETER_INLINE void spread(std::int64_t times) { each = (n * lines + times - 1) / times; }
  CLINOMETER_INLINE void ask() {
    for (std::int64_t count = each; count > 0 && row < n;) {
      const char* const from = static_cast<const char*>(rows[row]) + at;
      const std::int64_t end = least(lines, line + count);
      count -= end - line;
      for (; line < end; ++line) __builtin_prefetch(from + line * 64, 0, 2);
      if (end == lines) line = 0, ++row;
    }
  }
};

/// to[k] += the sum of the lanes of sum[k].
CLINOMETER_INLINE void add_lanes(const Vec<double> (&sum)[kFour], double* to) {
  CLINOMETER_UNROLL for (int k = 0; k < kFour; ++k) to[k] += horizontal_sum(sum[k]);
}

/// Neighbours of a, then those of b, added in each 128 bits.
template <int N>  // a template, so that only the branch of this width is compiled
CLINOMETER_INLINE Vec<float, N> add_neighbours(Vec<float, N> a, Vec<float, N> b) {
  if constexpr (N == 4) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
  } else if constexpr (N == 8) {
    return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
  } else {
    return __builtin_shufflevector(a, b, 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
           __builtin_shufflevector(a, b, 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
  }
}

CLINOMETER_INLINE void add_lanes(const Vec<float> (&sum)[kFour], double* to) {
  constexpr int N = kLanes<float>;
  float lane[N];  // the four by turns
  storeu<float>(lane, add_neighbours<N>(add_neighbours<N>(sum[0], sum[1]), add_neighbours<N>(sum[2], sum[3])));
  const auto total = [&](int first) {
    Doubles x = to_double(loadu<float, kPace>(lane + first));
    for (int l = first + (kPace < kFour ? kFour : kPace); l < N; l += kPace < kFour ? kFour : kPace)
      x += to_double(loadu<float, kPace>(lane + l));
    return x;
  };
  if constexpr (kPace <= kFour) {
    CLINOMETER_UNROLL for (int k = 0; k < kFour; k += kPace) add_to(to + k, total(k));
  } else {
    double both[kPace];
    storeu<double>(both, total(0));
    CLINOMETER_UNROLL for (int k = 0; k < kFour; ++k) to[k] += both[k] + both[k + kFour];
  }
}

/// `columns` of R stored rows by the first four directions; `to` keeps them decoded, zero up to a whole panel.
template <Dtype T, class L, int R>
[[gnu::noinline]] void first_products(const void* const* rows, std::int64_t begin, std::int64_t columns, const L* shift,
                                      L* to, const L* packed, double* scores, std::int64_t lds, Ahead& ahead) {
  constexpr int N = kLanes<L>;
  const char* from[R];
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) from[r] = static_cast<const char*>(rows[r]) + begin * Load<T>::bytes;
  Vec<L> sum[R][kFour] = {};
  std::int64_t c = 0;
  const auto take = [&](auto decode) {
    Vec<L> x[R];
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) storeu<L>(to + r * kSpanStride<L> + c, x[r] = decode(r));
    dot_products<L, R, kFour>(x, packed + kFour * c, N, sum);
    c += N;
  };
  while (c + 2 * N <= columns) {
    const std::int64_t pair = c;
    if (c % kAskEvery<L> == 0) ahead.ask();
    take([&](int r) { return Load<T>::template moved_half<L, false>(from[r] + pair * Load<T>::bytes, shift + pair); });
    take([&](int r) { return Load<T>::template moved_half<L, true>(from[r] + pair * Load<T>::bytes, shift + pair); });
  }
  while (c + N <= columns)
    take([&](int r) { return Load<T>::template moved<L>(from[r] + c * Load<T>::bytes, shift + c); });
  if (c < columns) take([&](int r) { return moved_part<T, L>(from[r] + c * Load<T>::bytes, shift + c, columns - c); });
  for (; c < padded(columns); c += N)
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) storeu<L>(to + r * kSpanStride<L> + c, Vec<L>{});
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) add_lanes(sum[r], scores + r * lds);
}

/// R decoded rows by the next four.
template <class L, int R>
[[gnu::noinline]] void span_products(const L* decoded, std::int64_t width, const L* packed, double* scores,
                                     std::int64_t lds, Ahead& ahead) {
  constexpr int N = kLanes<L>;
  Vec<L> sum[R][kFour] = {};
  for (std::int64_t c = 0; c < width; c += kPad) {
    if (c % kAskEvery<L> == 0) ahead.ask();
    CLINOMETER_UNROLL for (std::int64_t v = 0; v < kPad; v += N, packed += kFour * N) {
      Vec<L> x[R];
      CLINOMETER_UNROLL for (int r = 0; r < R; ++r) x[r] = loadu<L>(decoded + r * kSpanStride<L> + c + v);
      dot_products<L, R, kFour>(x, packed, N, sum);
    }
  }
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) add_lanes(sum[r], scores + r * lds);
}

template <class L>
struct SpanOperands {
  std::int64_t d;
  const L* shift;
  const L* packed;
  std::int64_t n_directions;
  L* work;
  double* scores;
  std::int64_t lds;
};

/// f(r, R) for the rows r to r + R of m, R one of two constants.
template <class F>
CLINOMETER_INLINE void by_steps(std::int64_t m, F f) {
  std::int64_t r = 0;
  for (; r + kStep <= m; r += kStep) f(r, Count<kStep>{});
  for (; r < m; ++r) f(r, Count<1>{});
}

/// Columns from `begin` of m <= kSpanRows rows, whose scores begin at row `first`.
template <Dtype T, class L>
void span_scores(const void* const* rows, std::int64_t m, std::int64_t first, std::int64_t begin,
                 const SpanOperands<L>& o, Ahead ahead) {
  const std::int64_t columns = least(kSpan<L>, o.d - begin), width = padded(columns);
  const std::int64_t products = o.n_directions / kFour * ((m + kStep - 1) / kStep);
  ahead.spread(products * ((width + kAskEvery<L> - 1) / kAskEvery<L>));
  const L* packed = o.packed + begin * o.n_directions;
  double* to = o.scores + first * o.lds;
  by_steps(m, [&](std::int64_t r, auto R) {
    first_products<T, L, R.value>(rows + r, begin, columns, o.shift + begin, o.work + r * kSpanStride<L>, packed,
                                  to + r * o.lds, o.lds, ahead);
  });
  for (std::int64_t k = kFour; k < o.n_directions; k += kFour) {
    packed += kFour * width;
    to += kFour;
    by_steps(m, [&](std::int64_t r, auto R) {
      span_products<L, R.value>(o.work + r * kSpanStride<L>, width, packed, to + r * o.lds, o.lds, ahead);
    });
  }
}

/// How rows are taken through spans of columns.
struct Walk {
  std::int64_t n, known, d, span;  // rows, these with those behind them, columns, and columns of a span
  bool near;                       // directions stay near while rows pass from end to end
};

/// f(i, m, begin, ahead) for rows i to i + m and a span's columns from `begin`, of items of so many bytes.
template <std::int64_t ItemBytes, class F>
CLINOMETER_INLINE void by_spans(const void* const* rows, const Walk& w, F f) {
  const std::int64_t run = w.near ? kSpanRows : w.n;  // rows that take a span in turn
  for (std::int64_t from = 0; from < w.n; from += run) {
    const std::int64_t to = least(from + run, w.n);
    for (std::int64_t begin = 0; begin < w.d; begin += w.span)
      for (std::int64_t i = from; i < to; i += kSpanRows) {
        const std::int64_t m = least(kSpanRows, to - i);
        // what comes next: further rows of this span, else the next span, else the rows behind
        const bool same = i + m < to, more = begin + w.span < w.d;
        const std::int64_t next = same ? i + m : more ? from : to, column = same ? begin : more ? begin + w.span : 0;
        const std::int64_t count = least(kSpanRows, (same || more ? to : w.known) - next);
        f(i, m, begin, Ahead(rows + next, count, column * ItemBytes, least(w.span, w.d - column) * ItemBytes));
      }
  }
}

template <Dtype T, class L>
void scores(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d, const L* shift,
            const L* packed, std::int64_t n_directions, L* work, double* scores, std::int64_t lds) {
  const SpanOperands<L> o{d, shift, packed, n_directions, work, scores, lds};
  const bool near = padded(d) * n_directions * static_cast<std::int64_t>(sizeof(L)) <= kNearBytes;
  by_spans<Load<T>::bytes>(rows, {n, known, d, kSpan<L>, near},
                           [&](std::int64_t i, std::int64_t m, std::int64_t begin, Ahead ahead) {
                             span_scores<T, L>(rows + i, m, i, begin, o, ahead);
                           });
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
