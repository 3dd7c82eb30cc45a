#include <clinometer/statistics/log_ratios.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/table.hpp"

namespace clinometer {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

/// expm1(x) - x for |x| < 1 by its series.
double rest(double x) {
  double term = x * x / 2, sum = 0;
  for (int m = 3; m < 22 && std::abs(term) > 0; term *= x / m++) sum += term;
  return sum;
}

}  // namespace

void LogRatios::one(const Prompt& p, std::int64_t k, double beta, double* to) {
  const double lam = beta == 0 ? kInf : 1 / beta;
  const auto score = [&](std::int64_t i) { return p.score[i * p.n_scores + k]; };
  double top = -kInf;
  for (std::int64_t i = 0; i < p.n; ++i)
    if (p.weight[i] > 0) top = std::max(top, score(i));
  double sum = 0, small = 0, mean = 0, widest = 0;
  for (std::int64_t i = 0; i < p.n; ++i) {
    const double t = score(i) - top;
    to[i] = p.weight[i] > 0 ? (t == 0 || lam == 0 ? 0 : lam == kInf ? -kInf : lam * t) : -kInf;
    if (p.weight[i] > 0) {
      mean += p.weight[i] * to[i];
      widest = std::max(widest, -to[i]);
    }
  }
  if (widest < 0.5) {  // a narrow tilt is centred first: log1p(sum w (expm1 x - x)) loses nothing
    for (std::int64_t i = 0; i < p.n; ++i)
      if (p.weight[i] > 0) small += p.weight[i] * rest(to[i] - mean);
  } else {
    thread_local std::vector<double> grown;
    grown.resize(std::size_t(p.n));
    kernels::active().exponentials(to, grown.data(), p.n);
    for (std::int64_t i = 0; i < p.n; ++i)
      if (p.weight[i] > 0) sum += p.weight[i] * grown[i];
  }
  const double log_partition = widest < 0.5 ? mean + std::log1p(small) : std::log(sum);
  for (std::int64_t i = 0; i < p.n; ++i) to[i] -= log_partition;
}

}  // namespace clinometer
