// The sums over lanes of many vectors at once.
#pragma once
#include "kernels/growth.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// Sums of neighbours: those of a, then those of b.
template <int N>  // a template, so that only the branch of this width is compiled
CLINOMETER_INLINE Vec<float, N> neighbour_sums(Vec<float, N> a, Vec<float, N> b) {
  if constexpr (N == 4) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
  } else if constexpr (N == 8) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
  } else {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  }
}

/// to[i] += the sum of the lanes of x[i] for i < n, and zeros up to a multiple of 16.
CLINOMETER_INLINE void add_lane_sums(const Floats* x, std::int64_t n, double* to) {
  for (std::int64_t from = 0; from < n; from += kSingle) {
    Floats part[kSingle];
    CLINOMETER_UNROLL for (int i = 0; i < kSingle; ++i) part[i] = from + i < n ? x[from + i] : Floats{};
    CLINOMETER_UNROLL for (int used = kSingle / 2; used > 0; used /= 2) CLINOMETER_UNROLL for (int i = 0; i < used; ++i)
        part[i] = neighbour_sums<kSingle>(part[2 * i], part[2 * i + 1]);
    add_to(to + from, part[0]);
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
