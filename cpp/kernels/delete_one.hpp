// Tilts of one prompt's own score with and without each of its rows (theory 2.8), f64 lanes over
// tilts.
#pragma once
#include "kernels/simd.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kRatios = 8;  // ratios of at most 1e16 whose product has a logarithm

CLINOMETER_INLINE Doubles logarithms(Doubles x) {
  double lane[kPace];
  for (int j = 0; j < kPace; ++j) lane[j] = __builtin_log(x[j]);
  return loadu<double>(lane);
}

/// kPace tilts: what is left without a row of tilted weight p is the rest over 1 - p.
template <bool KlToo>
CLINOMETER_INLINE void delete_one_at(const double* t, const double* w, std::int64_t n, Doubles top, Doubles lam,
                                     double* work, double* out) {
  constexpr std::int64_t M = kMostLanes;
  const bool keep = n <= kDeleteOneRows;
  Doubles mass = {}, moment = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const Doubles score = loadu<double>(t + i * M), e = w[i] * exponential(lam * (score - top));
    if (keep) storeu<double>(work + i * kPace, e);
    mass += e;
    moment += e * score;
  }
  const Doubles inverse = 1.0 / mass, gain = moment * inverse, log_mass = logarithms(mass);
  const Doubles kl = lam * (gain - top) - log_mass;
  Doubles gains = {}, kls = {}, factor = broadcast(1.0);
  for (std::int64_t i = 0; i < n; ++i) {
    const Doubles score = loadu<double>(t + i * M), x = lam * (score - top);
    const Doubles p = inverse * (keep ? loadu<double>(work + i * kPace) : w[i] * exponential(x));
    const Doubles left = 1.0 / (1.0 - p);
    gains += (gain - p * score) * left + w[i] / (1.0 - w[i]) * score;
    if constexpr (KlToo) {
      kls += (kl - p * (x - log_mass)) * left;
      factor *= (1.0 - w[i]) * left;
      if (i % kRatios != kRatios - 1 && i + 1 < n) continue;
      kls += logarithms(factor);
      factor = broadcast(1.0);
    }
  }
  storeu<double>(out, gain);
  storeu<double>(out + M, kl);
  storeu<double>(out + 2 * M, gains);
  storeu<double>(out + 3 * M, kls);
}

void delete_one(const double* t, const double* w, std::int64_t n, const double* top, const double* lam, bool kl_too,
                double* work, double* out) {
  for (std::int64_t m = 0; m < kMostLanes; m += kPace) {
    const Doubles most = loadu<double>(top + m), by = loadu<double>(lam + m);
    if (kl_too)
      delete_one_at<true>(t + m, w, n, most, by, work, out + m);
    else
      delete_one_at<false>(t + m, w, n, most, by, work, out + m);
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
