// log pi(y|x)/pi0(y|x) of every row for each tilt, written in canonical order: what Pareto k, the
// jackknife, pooled errors, examples and tilted means start from (theory 2.2). Rows of weight 0 get -inf.
#pragma once
#include <clinometer/per_prompt.hpp>

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
      one(p, score_at + cell / B, betas[cell], out + cell * n_rows + p.first);
  }
  /// Score k of one prompt at one beta, (n,).
  static void one(const Prompt& p, std::int64_t k, double beta, double* to);
  void join(LogRatios&) {}
  Results finish() const { return {}; }
  Reads reads() const { return {score_at + n_scores, 0}; }
  void settings(Visitor&) {}
  void fields(Visitor&) {}

 private:
  std::int64_t score_at = 0, n_scores = 0;
  std::vector<double> betas;
  double* out = nullptr;
  std::int64_t n_rows = 0;
};

}  // namespace clinometer
