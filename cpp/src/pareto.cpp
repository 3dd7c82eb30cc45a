#include <clinometer/pareto.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace clinometer {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kTie = 1e-12, kLeast = 1e-290;  // excesses below it, beside a largest of at most 1, have no digits
constexpr std::int64_t kFewest = 5;

/// mean_i log(1 - theta x_i): logarithms of products of four, which neither overflow nor vanish below kSafe; small
/// theta x one by one, because the likelihood takes theta over the mean.
double mean_log(const std::vector<double>& x, double theta) {
  constexpr double kSmall = 1e-3, kSafe = 1e70;
  const double widest = std::abs(theta) * x.back();
  const std::size_t n = x.size();
  double sum = 0;
  std::size_t i = 0;
  if (widest > kSmall && widest < kSafe)
    for (; i + 4 <= n; i += 4) {
      const double product =
          ((1 - theta * x[i]) * (1 - theta * x[i + 1])) * ((1 - theta * x[i + 2]) * (1 - theta * x[i + 3]));
      sum += std::log(product);
    }
  for (; i < n; ++i) sum += std::log1p(-theta * x[i]);
  return sum / double(n);
}

/// Posterior-mean shape of Zhang and Stephens (2009), x ascending; prior as in theory 2.7. Their grid is scaled by the
/// first quartile; where that ties with the cutoff, by the least excess above it, its value with a tie fewer.
double shape(const std::vector<double>& x, std::size_t ties) {
  const double n = double(x.size());
  const int m = 30 + int(std::sqrt(n));
  const double scale = x[std::max(ties, std::size_t(n / 4 + 0.5) - 1)];
  if (scale < kLeast) return std::numeric_limits<double>::infinity();
  std::vector<double> theta, profile;
  for (int i = 1; i <= m; ++i) {
    theta.push_back((1 - std::sqrt(m / (i - 0.5))) / (3 * scale) + 1 / x.back());
    const double k = mean_log(x, theta.back());
    const double rate = k == 0 ? n / std::accumulate(x.begin(), x.end(), 0.0) : -theta.back() / k;
    profile.push_back(n * (std::log(rate) - k - 1));
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

}  // namespace

std::int64_t pareto_tail(std::int64_t n) {
  return std::int64_t(std::ceil(std::min(0.2 * double(n), 3 * std::sqrt(double(n))))) + 1;
}

double pareto_k(std::vector<double>& ratios, std::int64_t n) {
  const std::int64_t tail = pareto_tail(n) - 1;
  if (tail < kFewest || std::int64_t(ratios.size()) <= tail) return kNaN;
  const auto cut = ratios.end() - tail - 1;
  std::nth_element(ratios.begin(), cut, ratios.end());
  std::sort(cut + 1, ratios.end());
  const double top = ratios.back(), least = *cut;
  if (!std::isfinite(top)) return kNaN;
  // equal ratios of different prompts differ by the rounding of a logarithm
  const double tie = kTie * std::max(1.0, std::abs(std::isfinite(least) ? least : top));
  const auto above = std::find_if(cut + 1, ratios.end(), [&](double r) { return r - least > tie; });
  const std::int64_t larger = ratios.end() - above;
  if (larger < kFewest || 2 * larger <= tail || (larger == tail && top - *above <= tie)) return kNaN;
  const auto ties = std::size_t(tail - larger);
  std::vector<double> x(ties, 0.0);
  for (auto r = above; r != ratios.end(); ++r) x.push_back(-std::exp(*r - top) * std::expm1(least - *r));
  return shape(x, ties);
}

}  // namespace clinometer
