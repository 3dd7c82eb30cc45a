// Decode rows of any format into a shifted tile. The difference is formed in f64 and rounded once to L,
// so a column mean of 1e6 costs no digit of the spread. max_abs looks at that f64 difference over rows
// that are finite throughout; a row with NaN or Inf is decoded too, and reported.
#pragma once
#include "kernels/load.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

CLINOMETER_INLINE void store_lanes(double* to, Doubles v) { storeu<double>(to, v); }
CLINOMETER_INLINE void store_lanes(float* to, Doubles v) {
  using Narrow = Vec<float, kPace>;
  storeu<float, kPace>(to, __builtin_convertvector(v, Narrow));
}

/// One row's running view: v - v is 0 for a finite value and NaN otherwise.
struct RowWatch {
  Doubles spread = {}, invalid = {};
};

template <Dtype T, class L>
CLINOMETER_INLINE void decode_lanes(const void* from, Doubles shift, L* to, RowWatch& watch) {
  const Doubles stored = Load<T>::lanes(from), moved = stored - shift;
  watch.spread = larger(magnitude(moved), watch.spread);
  watch.invalid += stored - stored;
  store_lanes(to, moved);
}

/// R rows together, so that a shift is read once for all of them.
template <Dtype T, class L, int R>
CLINOMETER_INLINE void decode_rows(const void* const* rows, std::int64_t d, const double* shift, L* tile,
                                   std::int64_t ld, RowWatch (&watch)[R]) {
  constexpr int kElement = Load<T>::bytes;
  const std::int64_t whole = d / kPace * kPace;
  for (std::int64_t c = 0; c < whole; c += kPace) {
    const Doubles centre = loadu<double>(shift + c);
    CLINOMETER_UNROLL for (int r = 0; r < R; ++r)
        decode_lanes<T>(static_cast<const char*>(rows[r]) + c * kElement, centre, tile + r * ld + c, watch[r]);
  }
  std::int64_t end = whole;
  if (whole < d) {  // the last part goes through a zeroed copy: a row is never read past its end
    double centre[kPace] = {};
    __builtin_memcpy(centre, shift + whole, static_cast<std::size_t>(d - whole) * sizeof(double));
    for (int r = 0; r < R; ++r) {
      char copy[kPace * kElement] = {};
      __builtin_memcpy(copy, static_cast<const char*>(rows[r]) + whole * kElement,
                       static_cast<std::size_t>((d - whole) * kElement));
      decode_lanes<T>(copy, loadu<double>(centre), tile + r * ld + whole, watch[r]);
    }
    end += kPace;
  }
  for (int r = 0; r < R; ++r)
    for (std::int64_t c = end; c < ld; ++c) tile[r * ld + c] = L(0);
}

template <Dtype T, class L>
Decoded decode(const void* const* rows, std::int64_t n, std::int64_t d, const double* shift, L* tile, std::int64_t ld) {
  Doubles spread = {};
  std::int64_t first = n;
  const auto note = [&](const RowWatch& watch, std::int64_t i) {
    if (horizontal_sum(watch.invalid) == 0.0)
      spread = larger(watch.spread, spread);
    else if (i < first)
      first = i;
  };
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    RowWatch watch[4];
    decode_rows<T, L, 4>(rows + i, d, shift, tile + i * ld, ld, watch);
    for (int r = 0; r < 4; ++r) note(watch[r], i + r);
  }
  for (; i < n; ++i) {
    RowWatch watch[1];
    decode_rows<T, L, 1>(rows + i, d, shift, tile + i * ld, ld, watch);
    note(watch[0], i);
  }
  double largest = 0.0;
  for (int j = 0; j < kPace; ++j) largest = spread[j] > largest ? spread[j] : largest;
  return {largest, first};
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
