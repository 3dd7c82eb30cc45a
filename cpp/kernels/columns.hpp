// Sums over rows of a factor in lanes times columns of values.
#pragma once
#include "kernels/growth.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kTiltRows = 64;  // rows between visits to the columns

/// What lanes run over: tilts, so that a number of a row or of a prompt is the same in all, or sixteen prompts, so that
/// a tilt is. Of prompts all arrays of rows and prompts come sixteen-fold, and are given from a first lane on.
enum class Across { tilts, prompts };
template <Across A>
constexpr std::int64_t kFold = A == Across::prompts ? kPad : 1;

template <Across A>
CLINOMETER_INLINE Floats of_row(const float* x, std::int64_t i) {
  if constexpr (A == Across::prompts) return loadu<float>(x + i * kPad);
  return broadcast(x[i]);
}
template <Across A>
CLINOMETER_INLINE Floats of_tilt(const float* x) {
  if constexpr (A == Across::tilts) return loadu<float>(x);
  return broadcast(*x);
}

/// to[j] += sum over rows of moved_i f_ij for C columns at once; few columns take two rows at a time, because an
/// addition waits for the one before.
template <Across A, int C>
CLINOMETER_INLINE void add_columns(const Floats* moved, const float* f, std::int64_t n, std::int64_t width,
                                   Floats* to) {
  constexpr int kStep = C <= 4 ? 2 : 1;
  Floats sum[kStep][C] = {};
  CLINOMETER_UNROLL for (int j = 0; j < C; ++j) sum[0][j] = to[j];
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep)
    CLINOMETER_UNROLL for (int s = 0; s < kStep; ++s) CLINOMETER_UNROLL for (int j = 0; j < C; ++j) sum[s][j] +=
        moved[i + s] * of_row<A>(f, (i + s) * width + j);
  if (kStep == 2 && i < n)
    CLINOMETER_UNROLL for (int j = 0; j < C; ++j) sum[0][j] += moved[i] * of_row<A>(f, i * width + j);
  CLINOMETER_UNROLL for (int j = 0; j < C; ++j) to[j] = kStep == 2 ? sum[0][j] + sum[kStep - 1][j] : sum[0][j];
}

/// The first `used` of `width` columns.
template <Across A>
CLINOMETER_INLINE void add_all_columns(const Floats* moved, const float* f, std::int64_t n, std::int64_t width,
                                       std::int64_t used, Floats* to) {
  std::int64_t j = 0;
  for (; j + 8 <= used; j += 8) add_columns<A, 8>(moved, f + j * kFold<A>, n, width, to + j);
  if (j + 4 <= used) {
    add_columns<A, 4>(moved, f + j * kFold<A>, n, width, to + j);
    j += 4;
  }
  for (; j < used; ++j) add_columns<A, 1>(moved, f + j * kFold<A>, n, width, to + j);
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
