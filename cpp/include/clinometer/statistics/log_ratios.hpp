// log pi(y|x)/pi0(y|x) of every row for each tilt, written in canonical order: what Pareto k, the
// jackknife, pooled errors, examples and tilted means start from (theory 2). Rows of weight 0 get -inf.
#pragma once
#include <clinometer/per_prompt.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace clinometer {

class LogRatios {
 public:
  LogRatios() = default;
  /// betas (n_scores, B); out (n_scores * B, n_rows), kept alive by the caller.
  LogRatios(std::int64_t score_at, std::int64_t n_scores, std::vector<double> betas, double* out, std::int64_t n_rows)
      : score_at(score_at), n_scores(n_scores), betas(std::move(betas)), out(out), n_rows(n_rows) {}
  LogRatios cleared() const { return *this; }

  void prompt(const Prompt& p) {
    const std::int64_t B = n_scores ? std::int64_t(betas.size()) / n_scores : 0;
    for (std::int64_t cell = 0; cell < n_scores * B; ++cell)
      one(p, cell / B, betas[cell], out + cell * n_rows + p.first);
  }
  void join(LogRatios&) {}
  Results finish() const { return {}; }
  void fields(Visitor&) {}

 private:
  std::int64_t score_at = 0, n_scores = 0;
  std::vector<double> betas;
  double* out = nullptr;
  std::int64_t n_rows = 0;

  void one(const Prompt& p, std::int64_t k, double beta, double* to) const {
    constexpr double inf = std::numeric_limits<double>::infinity();
    const double lam = beta == 0 ? inf : 1 / beta;
    const auto score = [&](std::int64_t i) { return p.score[i * p.n_scores + score_at + k]; };
    double top = -inf;
    for (std::int64_t i = 0; i < p.n; ++i)
      if (p.weight[i] > 0) top = std::max(top, score(i));
    double sum = 0, small = 0, mean = 0, widest = 0;
    for (std::int64_t i = 0; i < p.n; ++i) {
      const double t = score(i) - top;
      to[i] = p.weight[i] > 0 ? (t == 0 || lam == 0 ? 0 : lam == inf ? -inf : lam * t) : -inf;
      if (p.weight[i] > 0) {
        sum += p.weight[i] * std::exp(to[i]);
        mean += p.weight[i] * to[i];
        widest = std::max(widest, -to[i]);
      }
    }
    // for a narrow tilt centre first: log1p(sum w (expm1 x - x)) loses nothing
    for (std::int64_t i = 0; widest < 0.5 && i < p.n; ++i)
      if (p.weight[i] > 0) small += p.weight[i] * rest(to[i] - mean);
    const double log_partition = widest < 0.5 ? mean + std::log1p(small) : std::log(sum);
    for (std::int64_t i = 0; i < p.n; ++i) to[i] -= log_partition;
  }

  /// expm1(x) - x for |x| < 1 by its series.
  static double rest(double x) {
    double term = x * x / 2, sum = 0;
    for (int m = 3; m < 22 && std::abs(term) > 0; term *= x / m++) sum += term;
    return sum;
  }
};

}  // namespace clinometer
