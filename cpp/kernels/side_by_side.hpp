// From the f64 rows of sixteen short prompts to f32 lanes, one lane a prompt: columns centred under each prompt's
// weights, their extents and their mid-ranks. Every lane is its own prompt, so nothing is ever summed across.
#pragma once
#include "kernels/columns.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

using Half = Vec<float, kPace>;

/// Entries of a and b by turns: those of their lower halves, or of their upper.
template <int N, bool Upper>  // templates, so that only the branch of this width is compiled
CLINOMETER_INLINE Vec<double, N> by_turns(Vec<double, N> a, Vec<double, N> b) {
  if constexpr (N == 2) {
    return Upper ? __builtin_shufflevector(a, b, 1, 3) : __builtin_shufflevector(a, b, 0, 2);
  } else if constexpr (N == 4) {
    return Upper ? __builtin_shufflevector(a, b, 2, 6, 3, 7) : __builtin_shufflevector(a, b, 0, 4, 1, 5);
  } else {
    return Upper ? __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
                 : __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  }
}

/// to[e][lane] = from[lane][e] for kPace lanes and numbers.
CLINOMETER_INLINE void transpose(const double* const* from, std::int64_t e, double* to) {
  Doubles x[kPace], y[kPace];
  CLINOMETER_UNROLL for (int lane = 0; lane < kPace; ++lane) x[lane] = loadu<double>(from[lane] + e);
  CLINOMETER_UNROLL for (int round = 1; round < kPace; round *= 2) {
    CLINOMETER_UNROLL for (int i = 0; i < kPace / 2; ++i) {
      y[2 * i] = by_turns<kPace, false>(x[i], x[i + kPace / 2]);
      y[2 * i + 1] = by_turns<kPace, true>(x[i], x[i + kPace / 2]);
    }
    CLINOMETER_UNROLL for (int i = 0; i < kPace; ++i) x[i] = y[i];
  }
  CLINOMETER_UNROLL for (int i = 0; i < kPace; ++i) storeu<double>(to + i * kPad, x[i]);
}

/// work[row][column][lane]; below a prompt's end its first row again, whose weight is 0 there.
void lay_out(const SideBySide& s) {
  const bool adjoin = s.stride == s.width;  // then all rows are one long one
  std::int64_t shared = s.n[0];
  for (std::int64_t lane = 1; lane < kPad; ++lane) shared = s.n[lane] < shared ? s.n[lane] : shared;
  const std::int64_t length = adjoin ? shared * s.width : s.width, whole = length / kPace * kPace;
  for (std::int64_t i = 0; i < (adjoin ? 1 : shared); ++i) {
    double* const to = s.work + i * s.width * kPad;
    for (std::int64_t lane = 0; lane < kPad; lane += kPace) {
      const double* from[kPace];
      for (int l = 0; l < kPace; ++l) from[l] = s.from[lane + l] + i * s.stride;
      for (std::int64_t e = 0; e < whole; e += kPace) transpose(from, e, to + e * kPad + lane);
      for (std::int64_t e = whole; e < length; ++e)
        for (int l = 0; l < kPace; ++l) to[e * kPad + lane + l] = from[l][e];
    }
  }
  for (std::int64_t lane = 0; shared < s.rows && lane < kPad; ++lane)
    for (std::int64_t i = shared; i < s.rows; ++i)
      for (std::int64_t c = 0; c < s.width; ++c)
        s.work[(i * s.width + c) * kPad + lane] = s.from[lane][(i < s.n[lane] ? i : 0) * s.stride + c];
}

/// Column c: means, centred numbers and their extents. Lanes of all prompts go on together: sums wait for each other.
CLINOMETER_INLINE void centre_lanes(const SideBySide& s, std::int64_t c) {
  constexpr int kParts = kPad / kPace;
  const double* const x = s.work + c * kPad;
  const std::int64_t step = s.width * kPad;
  Doubles mean[kParts], sum[kParts] = {};
  CLINOMETER_UNROLL for (int v = 0; v < kParts; ++v) mean[v] = loadu<double>(x + v * kPace);
  for (std::int64_t i = 0; i < s.rows; ++i)
    CLINOMETER_UNROLL for (int v = 0; v < kParts; ++v) sum[v] +=
        loadu<double>(s.weight + i * kPad + v * kPace) * (loadu<double>(x + i * step + v * kPace) - mean[v]);
  CLINOMETER_UNROLL for (int v = 0; v < kParts; ++v) {
    mean[v] += sum[v];
    storeu<double>(s.mean + c * kPad + v * kPace, mean[v]);
  }
  Half high[kParts] = {}, low[kParts] = {};
  float* const out = s.out + c * s.column_step;
  for (std::int64_t i = 0; i < s.rows; ++i) CLINOMETER_UNROLL for (int v = 0; v < kParts; ++v) {
      const Half centred = __builtin_convertvector(loadu<double>(x + i * step + v * kPace) - mean[v], Half);
      high[v] = centred > high[v] ? centred : high[v];
      low[v] = centred < low[v] ? centred : low[v];
      storeu<float, kPace>(out + i * s.row_step + v * kPace, centred);
    }
  CLINOMETER_UNROLL for (int v = 0; v < kParts; ++v) {
    storeu<float, kPace>(s.top + c * kPad + v * kPace, high[v]);
    storeu<float, kPace>(s.reach + c * kPad + v * kPace, high[v] > -low[v] ? high[v] : -low[v]);
  }
}

/// rank[i] = sum over j of w_j sign(x_i - x_j) for lanes of T, kPad apart: twice the mid-rank less one half.
template <bool Even, class T>
CLINOMETER_INLINE void compare_all(const T* x, const T* w, std::int64_t n, T* rank) {
  for (std::int64_t i = 0; i < n; ++i) storeu<T>(rank + i * kPad, Vec<T>{});
  for (std::int64_t i = 0; i < n; ++i) {
    const Vec<T> mine = loadu<T>(x + i * kPad), weight = Even ? Vec<T>{} : loadu<T>(w + i * kPad);
    Vec<T> own[2] = {};  // by turns: an addition waits for the one before
    const auto compare = [&](std::int64_t j, Vec<T>& to) {
      const Vec<T> sign = sign_of(loadu<T>(x + j * kPad) - mine), other = loadu<T>(rank + j * kPad);
      to -= Even ? sign : loadu<T>(w + j * kPad) * sign;
      storeu<T>(rank + j * kPad, other + (Even ? sign : weight * sign));
    };
    std::int64_t j = i + 1;
    for (; j + 1 < n; j += 2) {
      compare(j, own[0]);
      compare(j + 1, own[1]);
    }
    if (j < n) compare(j, own[0]);
    storeu<T>(rank + i * kPad, loadu<T>(rank + i * kPad) + (own[0] + own[1]));
  }
}

/// Mid-ranks less one half of column c, whose numbers are x.
template <class T>
CLINOMETER_INLINE void rank_lanes(const SideBySide& s, std::int64_t c, const T* x) {
  T w[kTiltRows * kPad], rank[kTiltRows * kPad], half[kPad];
  for (std::int64_t i = 0; i < (s.even ? 1 : s.rows) * kPad; ++i) w[i] = static_cast<T>(s.weight[i]);
  for (std::int64_t lane = 0; lane < kPad; lane += kLanes<T>)
    s.even ? compare_all<true, T>(x + lane, w + lane, s.rows, rank + lane)
           : compare_all<false, T>(x + lane, w + lane, s.rows, rank + lane);
  for (std::int64_t lane = 0; lane < kPad; ++lane) half[lane] = s.even ? T(0.5) * w[lane] : T(0.5);
  for (std::int64_t i = 0; i < s.rows; ++i)
    for (std::int64_t lane = 0; lane < kPad; ++lane)
      s.rank[i * s.row_step + c * s.column_step + lane] = static_cast<float>(half[lane] * rank[i * kPad + lane]);
}

/// Column c as floats, and whether its numbers are such.
CLINOMETER_INLINE bool narrow_lanes(const SideBySide& s, std::int64_t c, float* to) {
  Vec<std::int64_t> other = {};
  for (std::int64_t i = 0; i < s.rows; ++i)
    for (std::int64_t lane = 0; lane < kPad; lane += kPace) {
      const Doubles x = loadu<double>(s.work + (i * s.width + c) * kPad + lane);
      const Half as_float = __builtin_convertvector(x, Half);
      storeu<float, kPace>(to + i * kPad + lane, as_float);
      other |= (Vec<std::int64_t>)(to_double(as_float) != x);
    }
  return horizontal_sum((Doubles)(other & (Vec<std::int64_t>)broadcast(1.0))) == 0;
}

/// In f32 where every number is one: twice the lanes.
CLINOMETER_INLINE void rank_column(const SideBySide& s, std::int64_t c) {
  float single[kTiltRows * kPad];
  if (narrow_lanes(s, c, single)) return rank_lanes<float>(s, c, single);
  double whole[kTiltRows * kPad];
  for (std::int64_t i = 0; i < s.rows; ++i)
    for (std::int64_t lane = 0; lane < kPad; ++lane) whole[i * kPad + lane] = s.work[(i * s.width + c) * kPad + lane];
  rank_lanes<double>(s, c, whole);
}

void side_by_side(const SideBySide& s) {
  lay_out(s);
  for (std::int64_t c = 0; c < s.width; ++c) {
    centre_lanes(s, c);
    if (s.rank) rank_column(s, c);
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
