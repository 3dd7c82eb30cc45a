#include <clinometer/pareto.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "src/share.hpp"

namespace clinometer {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// mean_i log(1 - theta x_i): logarithms of products of four, which neither overflow nor vanish below kSafe.
double mean_log(const std::vector<double>& x, double theta) {
  constexpr double kSafe = 1e70;
  const std::size_t n = x.size();
  double sum = 0;
  std::size_t i = 0;
  if (std::abs(theta) * x.back() < kSafe)
    for (; i + 4 <= n; i += 4) {
      const double product =
          ((1 - theta * x[i]) * (1 - theta * x[i + 1])) * ((1 - theta * x[i + 2]) * (1 - theta * x[i + 3]));
      sum += std::log(product);
    }
  for (; i < n; ++i) sum += std::log1p(-theta * x[i]);
  return sum / double(n);
}

/// Posterior-mean shape of Zhang and Stephens (2009), x ascending and positive; prior as in theory 2.
double shape(const std::vector<double>& x) {
  const double n = double(x.size());
  const int m = 30 + int(std::sqrt(n));
  std::vector<double> theta, profile;
  for (int i = 1; i <= m; ++i) {
    theta.push_back((1 - std::sqrt(m / (i - 0.5))) / (3 * x[std::size_t(n / 4 + 0.5) - 1]) + 1 / x.back());
    const double k = mean_log(x, theta.back());
    profile.push_back(n * (std::log(-theta.back() / k) - k - 1));
  }
  double total = 0, mean = 0;
  for (int i = 0; i < m; ++i) {
    double others = 0;
    for (const double p : profile) others += std::exp(p - profile[i]);
    total += 1 / others;
    mean += theta[i] / others;
  }
  return (n * mean_log(x, mean / total) + 5) / (n + 10);
}

double one(std::vector<double>& ratios) {
  const double n = double(ratios.size());
  const auto tail = std::int64_t(std::ceil(std::min(0.2 * n, 3 * std::sqrt(n))));
  if (tail < 5 || std::int64_t(ratios.size()) <= tail) return kNaN;
  const auto cut = ratios.end() - tail - 1;
  std::nth_element(ratios.begin(), cut, ratios.end());
  std::sort(cut + 1, ratios.end());
  const double shift = ratios.back(), least = *cut;
  std::vector<double> x;
  for (auto r = cut + 1; r != ratios.end(); ++r) {
    const double excess = -std::exp(*r - shift) * std::expm1(least - *r);
    if (excess > 0) x.push_back(excess);
  }
  if (x.size() < 5 || x.back() - x.front() <= 1e-12 * x.back()) return kNaN;
  return shape(x);
}

}  // namespace

void pareto_k(const double* log_ratio, std::int64_t m, std::int64_t n, const double* base, std::int64_t n_threads,
              double* out) {
  share(m, n_threads, [&](std::int64_t row) {
    std::vector<double> ratios;
    ratios.reserve(std::size_t(n));
    for (std::int64_t i = 0; i < n; ++i) {
      const double l = log_ratio[row * n + i] + (base ? base[i] : 0);
      if (std::isfinite(l)) ratios.push_back(l);
    }
    out[row] = one(ratios);
  });
}

}  // namespace clinometer
