// Exact tilt of the rows, pi(y|x) ~ w exp(t / beta), in the cancellation-free forms of theory 2, for K
// scores, B betas and J values at once. State: clustered gains per (k, b), prompt means of KL, reverse
// KL, chi2, ESS, log-partitions and win rates, and the cumulants k2..k4 of the first-order part per k.
// beta = 0 means the argmax limit, beta = inf the base policy.
#pragma once
#include <clinometer/statistics/cross_covariance.hpp>

namespace clinometer {

class Tilt {
 public:
  Tilt() = default;
  /// betas (K, B), each > 0, 0 or inf. share_of_n: ESS as 1/(n sum p^2), for base="reweight".
  Tilt(std::int64_t score_at, std::int64_t n_scores, std::int64_t value_at, std::int64_t n_values,
       std::vector<double> betas, bool share_of_n);
  Tilt cleared() const { return {score_at, n_scores, value_at, n_values, betas, share_of_n}; }
  void prompt(const Prompt& p);
  void join(Tilt& later);
  Results finish() const;
  void fields(Visitor& visit);

 private:
  std::int64_t score_at = 0, n_scores = 0, value_at = 0, n_values = 0, n_betas = 0;
  std::vector<double> betas;
  bool share_of_n = false;
  Clustered gains, win, baseline, cumulants;  // (K B, J), (K B, J), (1, J), (3 K, J)
  CrossCovariance unbiased;                   // ddof 1
  double mass = 0, prompts = 0;
  std::vector<double> kl, reverse_kl, chi2, ess, log_partition, log_partition_centred;  // (K B,) omega-weighted sums
  std::vector<double> ess_min, max_ratio;

  struct Work;
  void view(const Prompt& p, const Labelled& l, Work& work);
  void moments(const Labelled& l, Work& work) const;
};

}  // namespace clinometer
