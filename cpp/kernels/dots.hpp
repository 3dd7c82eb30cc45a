// Few directions or few weights: one pass over the stored rows, nothing written in between. Several rows go
// together, which keeps several streams of memory busy and loads a direction once for all of them. Columns go in
// pairs of vectors, in the order in which a format gives them for least work (table.hpp: paired).
#pragma once
#include "kernels/decode.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// Lanes of a pair that takes even and odd columns, 0 where columns stay in order.
template <Dtype T, class L>
constexpr std::int64_t kPairLanes = sizeof(L) == 4 && Load<T>::by_words ? kLanes<L> : 0;

/// Whether rows are prefetched: where a vector is a cache line, as many requests are in flight as the caches take, and
/// the second-level cache has room for the next rows beside those in use.
constexpr bool kAsks = kBytes == 64;

template <std::int64_t Bytes>
CLINOMETER_INLINE void ask(const char* from) {
  CLINOMETER_UNROLL for (std::int64_t at = 0; at < Bytes; at += 64) __builtin_prefetch(from + at, 0, 2);
}

template <class L>
struct DotOperands {
  std::int64_t d;
  const L* shift;
  const L* directions;
  std::int64_t ld;
  const L* tail;  // (C, lanes): the last whole vector of each direction, zero where it overlaps the one before
  double* scores;
  std::int64_t lds;
};

template <class L, int R, int C>
CLINOMETER_INLINE void dot_products(const Vec<L> (&x)[R], const L* directions, std::int64_t ld, Vec<L> (&sum)[R][C]) {
  CLINOMETER_UNROLL for (int k = 0; k < C; ++k) {
    const Vec<L> u = loadu<L>(directions + k * ld);
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) sum[r][k] += x[r] * u;
  }
}

/// One vector of columns of R rows.
template <Dtype T, class L, int R, int C>
CLINOMETER_INLINE void dot_step(const void* const* rows, std::int64_t c, const L* shift, const L* directions,
                                std::int64_t ld, Vec<L> (&sum)[R][C]) {
  Vec<L> x[R];
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) x[r] =
      Load<T>::template moved<L>(static_cast<const char*>(rows[r]) + c * Load<T>::bytes, shift);
  dot_products<L, R, C>(x, directions, ld, sum);
}

/// Two vectors of columns of R rows.
template <Dtype T, class L, int R, int C>
CLINOMETER_INLINE void dot_pair(const void* const* rows, std::int64_t c, const L* shift, const L* directions,
                                std::int64_t ld, Vec<L> (&sum)[R][C]) {
  if constexpr (kAsks) {
    constexpr std::int64_t kEarly = 512;
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r)
        ask<2 * kLanes<L> * Load<T>::bytes>(static_cast<const char*>(rows[r]) + c * Load<T>::bytes + kEarly);
  }
  // whichever side is the smaller stays in registers: one or two directions, else the rows
  if constexpr (C == 1 || (C == 2 && kRegisters < 32)) {
    Vec<L> u[C][2];
    CLINOMETER_UNROLL for (int k = 0; k < C; ++k) {
      u[k][0] = loadu<L>(directions + k * ld);
      u[k][1] = loadu<L>(directions + k * ld + kLanes<L>);
    }
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) {
      const Pair<L> x = moved_pair<T, L>(static_cast<const char*>(rows[r]) + c * Load<T>::bytes, shift);
      CLINOMETER_UNROLL for (int k = 0; k < C; ++k) sum[r][k] += x.first * u[k][0];
      CLINOMETER_UNROLL for (int k = 0; k < C; ++k) sum[r][k] += x.second * u[k][1];
    }
  } else {
    // either vector of all rows, so that no more than one of each row is in registers
    Vec<L> x[R];
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) x[r] =
        Load<T>::template moved_half<L, false>(static_cast<const char*>(rows[r]) + c * Load<T>::bytes, shift);
    dot_products<L, R, C>(x, directions, ld, sum);
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) x[r] =
        Load<T>::template moved_half<L, true>(static_cast<const char*>(rows[r]) + c * Load<T>::bytes, shift);
    dot_products<L, R, C>(x, directions + kLanes<L>, ld, sum);
  }
}

template <Dtype T, class L, int R, int C>
CLINOMETER_INLINE void dot_block(const void* const* rows, const DotOperands<L>& o, double* scores) {
  constexpr int N = kLanes<L>;
  Vec<L> sum[R][C] = {};
  std::int64_t c = 0;
  for (; c + 2 * N <= o.d; c += 2 * N) dot_pair<T, L, R, C>(rows, c, o.shift + c, o.directions + c, o.ld, sum);
  if (c + N <= o.d) {
    dot_step<T, L, R, C>(rows, c, o.shift + c, o.directions + c, o.ld, sum);
    c += N;
  }
  if (c < o.d && o.d >= N) {
    dot_step<T, L, R, C>(rows, o.d - N, o.shift + o.d - N, o.tail, N, sum);
  } else if (c < o.d) {
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) {
      const Vec<L> x = moved_part<T, L>(rows[r], o.shift, o.d);
      CLINOMETER_UNROLL for (int k = 0; k < C; ++k) sum[r][k] += x * loadu<L>(o.directions + k * o.ld);
    }
  }
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) CLINOMETER_UNROLL for (int k = 0; k < C; ++k) scores[r * o.lds + k] =
      horizontal_sum(sum[r][k]);
}

template <Dtype T, class L, int R, int C>
void dot_rows(const void* const* rows, std::int64_t n, DotOperands<L> o) {
  constexpr int N = kLanes<L>;
  L tail[C * N] = {};
  const std::int64_t whole = o.d / N * N;
  for (int k = 0; k < C && o.d >= N; ++k)
    for (std::int64_t c = whole; c < o.d; ++c) tail[k * N + c - (o.d - N)] = o.directions[k * o.ld + c];
  o.tail = tail;
  std::int64_t i = 0;
  for (; i + R <= n; i += R) dot_block<T, L, R, C>(rows + i, o, o.scores + i * o.lds);
  for (; i < n; ++i) dot_block<T, L, 1, C>(rows + i, o, o.scores + i * o.lds);
}

template <Dtype T, class L>
void dots(const void* const* rows, std::int64_t n, std::int64_t d, const L* shift, const L* directions, std::int64_t ld,
          std::int64_t n_directions, double* scores, std::int64_t lds) {
  constexpr bool kMany = kRegisters >= 32;
  const DotOperands<L> o{d, shift, directions, ld, nullptr, scores, lds};
  if (n_directions == 1) return dot_rows<T, L, 8, 1>(rows, n, o);
  n_directions == 2 ? dot_rows<T, L, kMany ? 8 : 4, 2>(rows, n, o) : dot_rows<T, L, kMany ? 4 : 3, 4>(rows, n, o);
}

/// Stores a pair of sums in the order of the columns.
template <Dtype T, class L>
CLINOMETER_INLINE void store_pair(L* to, Vec<L> first, Vec<L> second) {
  constexpr int N = kLanes<L>;
  if constexpr (kPairLanes<T, L> == 0) {
    storeu<L>(to, first);
    storeu<L>(to + N, second);
  } else if constexpr (N == 4) {
    storeu<L>(to, __builtin_shufflevector(first, second, 0, 4, 1, 5));
    storeu<L>(to + N, __builtin_shufflevector(first, second, 2, 6, 3, 7));
  } else if constexpr (N == 8) {
    storeu<L>(to, __builtin_shufflevector(first, second, 0, 8, 1, 9, 2, 10, 3, 11));
    storeu<L>(to + N, __builtin_shufflevector(first, second, 4, 12, 5, 13, 6, 14, 7, 15));
  } else {
    storeu<L>(to, __builtin_shufflevector(first, second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
    storeu<L>(to + N,
              __builtin_shufflevector(first, second, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31));
  }
}

template <class L>
struct WeighOperands {
  std::int64_t n, next, asked;  // rows, those behind them that are read next, columns of these to prefetch
  const L* shift;
  const L* weights;
  L* out;
  std::int64_t ldo;
};

/// out[m, c] for P pairs of vectors of columns from c, over all rows.
template <Dtype T, class L, int M, int P, class W>
CLINOMETER_INLINE void weigh_pairs(const void* const* rows, std::int64_t c, const WeighOperands<L>& o, W& watch) {
  constexpr int N = kLanes<L>;
  Vec<L> first[M][P] = {}, second[M][P] = {};
  for (std::int64_t i = 0; i < o.n; ++i) {
    const char* const row = static_cast<const char*>(rows[i]) + c * Load<T>::bytes;
    if (kAsks && c < o.asked && i < o.next)
      ask<2 * P * N * Load<T>::bytes>(static_cast<const char*>(rows[o.n + i]) + c * Load<T>::bytes);
    CLINOMETER_UNROLL for (int p = 0; p < P; ++p) {
      const Pair<L> x = moved_pair<T, L>(row + 2 * p * N * Load<T>::bytes, o.shift + c + 2 * p * N);
      watch.see(x.first);
      watch.see(x.second);
      CLINOMETER_UNROLL for (int m = 0; m < M; ++m) {
        const Vec<L> w = broadcast(o.weights[i * M + m]);
        first[m][p] += x.first * w;
        second[m][p] += x.second * w;
      }
    }
  }
  CLINOMETER_UNROLL for (int m = 0; m < M; ++m) CLINOMETER_UNROLL for (int p = 0; p < P; ++p) {
    watch.done(first[m][p]);
    watch.done(second[m][p]);
    store_pair<T, L>(o.out + m * o.ldo + c + 2 * p * N, first[m][p], second[m][p]);
  }
}

/// What is left of a row: less than a pair, in order.
template <Dtype T, class L, int M, class W>
void weigh_rest(const void* const* rows, std::int64_t c, std::int64_t d, const WeighOperands<L>& o, W& watch) {
  constexpr int N = kLanes<L>;
  for (; c < d; c += N) {
    Vec<L> sum[M] = {};
    for (std::int64_t i = 0; i < o.n; ++i) {
      const char* const row = static_cast<const char*>(rows[i]) + c * Load<T>::bytes;
      const Vec<L> x =
          c + N <= d ? Load<T>::template moved<L>(row, o.shift + c) : moved_part<T, L>(row, o.shift + c, d - c);
      watch.see(x);
      CLINOMETER_UNROLL for (int m = 0; m < M; ++m) sum[m] += x * broadcast(o.weights[i * M + m]);
    }
    CLINOMETER_UNROLL for (int m = 0; m < M; ++m) {
      watch.done(sum[m]);
      storeu<L>(o.out + m * o.ldo + c, sum[m]);
    }
  }
}

template <Dtype T, class L, int M, class W>
double weigh_rows(const void* const* rows, std::int64_t d, const WeighOperands<L>& o) {
  constexpr int N = kLanes<L>, P = M == 4 && kRegisters < 32 ? 1 : 2;
  W watch;
  std::int64_t c = 0;
  for (; c + 2 * P * N <= d; c += 2 * P * N) weigh_pairs<T, L, M, P>(rows, c, o, watch);
  for (; c + 2 * N <= d; c += 2 * N) weigh_pairs<T, L, M, 1>(rows, c, o, watch);
  weigh_rest<T, L, M>(rows, c, d, o, watch);
  return watch.result();
}

template <Dtype T, class L, class W>
double weigh_with(const void* const* rows, std::int64_t d, const WeighOperands<L>& o, std::int64_t n_weights) {
  if (n_weights == 1) return weigh_rows<T, L, 1, W>(rows, d, o);
  if (n_weights == 2) return weigh_rows<T, L, 2, W>(rows, d, o);
  return weigh_rows<T, L, 4, W>(rows, d, o);
}

template <Dtype T, class L>
double weigh(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d, const L* shift,
             const L* weights, std::int64_t n_weights, bool seen, L* out, std::int64_t ldo) {
  const WeighOperands<L> o{n, known - n < n ? known - n : n, d / 4, shift, weights, out, ldo};
  return seen ? weigh_with<T, L, OutcomeWatch<L>>(rows, d, o, n_weights)
              : weigh_with<T, L, Watch<L>>(rows, d, o, n_weights);
}

/// to += factor * from, in f64.
template <class L>
void add(const L* from, std::int64_t n, double factor, double* to) {
  const Doubles by = broadcast(factor);
  std::int64_t c = 0;
  for (; c + kPace <= n; c += kPace) add_to(to + c, by * to_double(loadu<L, kPace>(from + c)));
  for (; c < n; ++c) to[c] += factor * static_cast<double>(from[c]);
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
