// Few directions or few weights: one pass over the stored rows, nothing written in between. Several rows go
// in step, which keeps several streams of memory busy and loads a direction once for all of them.
#pragma once
#include "kernels/decode.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

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

template <Dtype T, class L, int R, int C>
CLINOMETER_INLINE void dot_step(const void* const* rows, std::int64_t c, const L* shift, const L* directions,
                                std::int64_t ld, Vec<L> (&sum)[R][C], Watch<L>& watch) {
  // whichever side is the smaller stays in registers: one or two directions, else the rows
  if constexpr (C == 1 || (C == 2 && kRegisters < 32)) {
    Vec<L> u[C];
    CLINOMETER_UNROLL for (int k = 0; k < C; ++k) u[k] = loadu<L>(directions + k * ld);
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) {
      const Vec<L> x = Load<T>::template moved<L>(static_cast<const char*>(rows[r]) + c * Load<T>::bytes, shift);
      watch.see(x);
      CLINOMETER_UNROLL for (int k = 0; k < C; ++k) sum[r][k] += x * u[k];
    }
  } else {
    Vec<L> x[R];
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) {
      x[r] = Load<T>::template moved<L>(static_cast<const char*>(rows[r]) + c * Load<T>::bytes, shift);
      watch.see(x[r]);
    }
    CLINOMETER_UNROLL for (int k = 0; k < C; ++k) {
      const Vec<L> u = loadu<L>(directions + k * ld);
      CLINOMETER_UNROLL for (int r = 0; r < R; ++r) sum[r][k] += x[r] * u;
    }
  }
}

template <Dtype T, class L, int R, int C>
CLINOMETER_INLINE void dot_block(const void* const* rows, const DotOperands<L>& o, double* scores, Watch<L>& watch) {
  constexpr int N = kLanes<L>;
  Vec<L> sum[R][C] = {};
  std::int64_t c = 0;
  for (; c + N <= o.d; c += N) dot_step<T, L, R, C>(rows, c, o.shift + c, o.directions + c, o.ld, sum, watch);
  if (c < o.d && o.d >= N) {
    dot_step<T, L, R, C>(rows, o.d - N, o.shift + o.d - N, o.tail, N, sum, watch);
  } else if (c < o.d) {
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r) {
      const Vec<L> x = moved_part<T, L>(rows[r], o.shift, o.d);
      watch.see(x);
      CLINOMETER_UNROLL for (int k = 0; k < C; ++k) sum[r][k] += x * loadu<L>(o.directions + k * o.ld);
    }
  }
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) CLINOMETER_UNROLL for (int k = 0; k < C; ++k) scores[r * o.lds + k] =
      horizontal_sum(sum[r][k]);
}

template <Dtype T, class L, int R, int C>
void dot_rows(const void* const* rows, std::int64_t n, DotOperands<L> o, Watch<L>& watch) {
  constexpr int N = kLanes<L>;
  L tail[C * N] = {};
  const std::int64_t whole = o.d / N * N;
  for (int k = 0; k < C && o.d >= N; ++k)
    for (std::int64_t c = whole; c < o.d; ++c) tail[k * N + c - (o.d - N)] = o.directions[k * o.ld + c];
  o.tail = tail;
  std::int64_t i = 0;
  for (; i + R <= n; i += R) dot_block<T, L, R, C>(rows + i, o, o.scores + i * o.lds, watch);
  for (; i < n; ++i) dot_block<T, L, 1, C>(rows + i, o, o.scores + i * o.lds, watch);
}

template <Dtype T, class L>
double dots(const void* const* rows, std::int64_t n, std::int64_t d, const L* shift, const L* directions,
            std::int64_t ld, std::int64_t n_directions, double* scores, std::int64_t lds) {
  constexpr bool kMany = kRegisters >= 32;
  Watch<L> watch;
  DotOperands<L> o{d, shift, directions, ld, nullptr, scores, lds};
  switch (n_directions) {
    case 1:
      dot_rows<T, L, 8, 1>(rows, n, o, watch);
      break;
    case 2:
      dot_rows<T, L, kMany ? 8 : 4, 2>(rows, n, o, watch);
      break;
    case 4:
      dot_rows<T, L, kMany ? 4 : 3, 4>(rows, n, o, watch);
      break;
    default:  // twice four: decoding rows again, now near, costs less than eight directions out of reach
      dot_rows<T, L, kMany ? 4 : 3, 4>(rows, n, o, watch);
      o.directions += 4 * ld;
      o.scores += 4;
      dot_rows<T, L, kMany ? 4 : 3, 4>(rows, n, o, watch);
  }
  return watch.result();
}

/// out[m, c] for V vectors of columns from c, over all rows.
template <Dtype T, class L, int M, int V>
CLINOMETER_INLINE void weigh_block(const void* const* rows, std::int64_t n, std::int64_t c, const L* shift,
                                   const L* weights, double* out, std::int64_t ldo, Watch<L>& watch) {
  constexpr int N = kLanes<L>;
  Vec<L> sum[M][V] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const char* const row = static_cast<const char*>(rows[i]) + c * Load<T>::bytes;
    CLINOMETER_UNROLL for (int v = 0; v < V; ++v) {
      const Vec<L> x = Load<T>::template moved<L>(row + v * N * Load<T>::bytes, shift + c + v * N);
      watch.see(x);
      CLINOMETER_UNROLL for (int m = 0; m < M; ++m) sum[m][v] += x * broadcast(weights[i * M + m]);
    }
  }
  CLINOMETER_UNROLL for (int m = 0; m < M; ++m) CLINOMETER_UNROLL for (int v = 0; v < V; ++v)
      add_to(out + m * ldo + c + v * N, sum[m][v]);
}

template <Dtype T, class L, int M>
double weigh_rows(const void* const* rows, std::int64_t n, std::int64_t d, const L* shift, const L* weights,
                  double* out, std::int64_t ldo) {
  constexpr int N = kLanes<L>, V = M == 4 ? (kRegisters >= 32 ? 4 : 2) : 4;
  Watch<L> watch;
  std::int64_t c = 0;
  for (; c + V * N <= d; c += V * N) weigh_block<T, L, M, V>(rows, n, c, shift, weights, out, ldo, watch);
  for (; c + N <= d; c += N) weigh_block<T, L, M, 1>(rows, n, c, shift, weights, out, ldo, watch);
  if (c == d) return watch.result();
  Vec<L> sum[M] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const char* const row = static_cast<const char*>(rows[i]) + c * Load<T>::bytes;
    const Vec<L> x = moved_part<T, L>(row, shift + c, d - c);
    watch.see(x);
    CLINOMETER_UNROLL for (int m = 0; m < M; ++m) sum[m] += x * broadcast(weights[i * M + m]);
  }
  CLINOMETER_UNROLL for (int m = 0; m < M; ++m) add_to(out + m * ldo + c, sum[m]);
  return watch.result();
}

template <Dtype T, class L>
double weigh(const void* const* rows, std::int64_t n, std::int64_t d, const L* shift, const L* weights,
             std::int64_t n_weights, double* out, std::int64_t ldo) {
  if (n_weights == 1) return weigh_rows<T, L, 1>(rows, n, d, shift, weights, out, ldo);
  if (n_weights == 2) return weigh_rows<T, L, 2>(rows, n, d, shift, weights, out, ldo);
  return weigh_rows<T, L, 4>(rows, n, d, shift, weights, out, ldo);
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
