// From the f64 columns of a prompt to what f32 lanes take: centred numbers and their extents.
#pragma once
#include "kernels/columns.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// f(a constant of the value n) for n < kPace: the tail of a row has loops of a length the compiler knows.
template <int N = kPace - 1, class F>
CLINOMETER_INLINE void with_width(std::int64_t n, const F& f) {
  if constexpr (N > 0) {
    if (n == N) return f(Count<N>{});
    with_width<N - 1>(n, f);
  }
}

/// sum[k] += sum over rows of w (x_k - pilot_k) for up to kPad columns at x.
void weighted_differences(const double* x, std::int64_t stride, const double* w, std::int64_t n, std::int64_t used,
                          const double* pilot, double* sum) {
  std::int64_t k = 0;
  for (; k + kPace <= used; k += kPace) {
    const Doubles from = loadu<double>(pilot + k);
    Doubles total = {};
    for (std::int64_t i = 0; i < n; ++i) total += w[i] * (loadu<double>(x + i * stride + k) - from);
    add_to(sum + k, total);
  }
  with_width(used - k, [&](auto rest) {
    constexpr int kRest = decltype(rest)::value;
    double total[kRest] = {};
    for (std::int64_t i = 0; i < n; ++i)
      CLINOMETER_UNROLL for (int j = 0; j < kRest; ++j) total[j] += w[i] * (x[i * stride + k + j] - pilot[k + j]);
    for (int j = 0; j < kRest; ++j) sum[k + j] += total[j];
  });
}

/// out[i][k] = x_ik - mean_k as floats for kPad columns, 0 beyond `used`; top and reach (kPad,) their largest value
/// and magnitude so far.
void centred_floats(const double* x, std::int64_t stride, std::int64_t n, std::int64_t used, const double* mean,
                    float* out, float* top, float* reach) {
  constexpr int kWidth = kPace;
  using Half = Vec<float, kWidth>;
  std::int64_t k = 0;
  for (; k + kWidth <= used; k += kWidth) {
    const Doubles from = loadu<double>(mean + k);
    Half high = loadu<float, kWidth>(top + k), low = -loadu<float, kWidth>(reach + k);
    for (std::int64_t i = 0; i < n; ++i) {
      const Half c = __builtin_convertvector(loadu<double>(x + i * stride + k) - from, Half);
      high = c > high ? c : high;
      low = c < low ? c : low;
      storeu<float, kWidth>(out + i * kPad + k, c);
    }
    storeu<float, kWidth>(top + k, high);
    storeu<float, kWidth>(reach + k, high > -low ? high : -low);
  }
  for (std::int64_t z = k; z < kPad; z += kWidth)
    for (std::int64_t i = 0; i < n; ++i) storeu<float, kWidth>(out + i * kPad + z, Half{});
  with_width(used - k, [&](auto rest) {
    constexpr int kRest = decltype(rest)::value;
    CLINOMETER_UNROLL for (int j = 0; j < kRest; ++j) {
      float high = top[k + j], low = -reach[k + j];
      for (std::int64_t i = 0; i < n; ++i) {
        const float c = static_cast<float>(x[i * stride + k + j] - mean[k + j]);
        high = c > high ? c : high;
        low = c < low ? c : low;
        out[i * kPad + k + j] = c;
      }
      top[k + j] = high;
      reach[k + j] = high > -low ? high : -low;
    }
  });
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
