// E_x Var_{y|x}(t) of each score on the rows and, unbiased, of the policy behind them.
#pragma once
#include <clinometer/per_prompt.hpp>

#include <limits>

namespace clinometer {

class ScoreVariance {
 public:
  ScoreVariance() = default;
  explicit ScoreVariance(std::int64_t n_scores) : n_scores(n_scores) {
    for (auto* v : {&sum, &unbiased}) v->assign(std::size_t(n_scores), 0);
  }
  ScoreVariance cleared() const { return ScoreVariance(n_scores); }

  /// About the first row, then about the mean: scores that agree give exact zeros.
  void prompt(const Prompt& p) {
    const double* const pilot = p.score;
    std::vector<double>& mean = scratch();
    mean.assign(std::size_t(2 * n_scores), 0);
    double* const square = mean.data() + n_scores;
    for (std::int64_t i = 0; i < p.n; ++i)
      for (std::int64_t k = 0; k < n_scores; ++k) mean[k] += p.weight[i] * (p.score[i * p.n_scores + k] - pilot[k]);
    for (std::int64_t i = 0; i < p.n; ++i)
      for (std::int64_t k = 0; k < n_scores; ++k) {
        const double t = (p.score[i * p.n_scores + k] - pilot[k]) - mean[k];
        square[k] += p.weight[i] * (t * t);
      }
    for (std::int64_t k = 0; k < n_scores; ++k) {
      sum[k] += p.omega * square[k];
      unbiased[k] += p.omega * p.unbias * square[k];
    }
    mass += p.omega;
    if (p.unbias > 0) unbiased_mass += p.omega;
  }
  void join(ScoreVariance& later) {
    add(sum, later.sum);
    add(unbiased, later.unbiased);
    mass += later.mass;
    unbiased_mass += later.unbiased_mass;
  }
  Results finish() const {
    Result r{"variance", {n_scores}, sum}, u{"unbiased", {n_scores}, unbiased};
    for (double& x : r.data) x /= mass;
    // NaN without two rows in any prompt
    for (double& x : u.data) x = unbiased_mass > 0 ? x / unbiased_mass : std::numeric_limits<double>::quiet_NaN();
    return {r, u};
  }
  Reads reads() const { return {n_scores, 0}; }
  void settings(Visitor& visit) { visit.size("n_scores", n_scores); }
  void fields(Visitor& visit) {
    for (auto* v : {&sum, &unbiased}) visit.array("sums", *v, n_scores);
    visit.field("mass", mass);
    visit.field("unbiased_mass", unbiased_mass);
  }

 private:
  std::int64_t n_scores = 0;
  std::vector<double> sum, unbiased;
  double mass = 0, unbiased_mass = 0;
  static std::vector<double>& scratch() {
    thread_local std::vector<double> one;
    return one;
  }
};

}  // namespace clinometer
