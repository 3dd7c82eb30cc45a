// Exact tilt of the rows, pi(y|x) ~ w exp(t / beta), in the cancellation-free forms of theory 2.2, for K
// scores, B betas and J values at once. State: clustered gains per (k, b), prompt means of KL, reverse
// KL, chi2, ESS, log-partitions and win rates, and the cumulants k2..k4 of the first-order part per k.
// beta = 0 means the argmax limit, beta = inf the base policy.
// Two ways lead into the state. `prompt` takes any prompt, in f64. `prompts` takes the usual ones of a block
// together in f32 lanes, and hands what f32 cannot hold back to the first.
#pragma once
#include <clinometer/statistics/cross_covariance.hpp>

namespace clinometer {

class Tilt {
 public:
  Tilt() = default;
  /// betas (K, B), each > 0, 0 or inf. share_of_n: ESS as 1/(n sum p^2), for base="reweight". single: f32 lanes.
  /// extras: false for gains, KL and log-partitions alone; everything else is NaN then.
  Tilt(std::int64_t score_at, std::int64_t n_scores, std::int64_t value_at, std::int64_t n_values,
       std::vector<double> betas, bool share_of_n, bool single, bool extras = true);
  Tilt cleared() const {
    Tilt one{score_at, n_scores, value_at, n_values, betas, share_of_n, single, extras};
    one.n_threads = n_threads;
    return one;
  }
  void prompt(const Prompt& p);
  void prompts(const Prompt* p, std::int64_t n);
  /// Brings prompts that wait for their batch into the state.
  void flush();
  void join(Tilt& later);
  Results finish() const;
  Reads reads() const { return {score_at + n_scores, value_at + n_values}; }
  void settings(Visitor& visit);
  void fields(Visitor& visit);
  std::int64_t n_threads = 1;  // for prompts longer than a leaf; changes no bit

 private:
  std::int64_t score_at = 0, n_scores = 0, value_at = 0, n_values = 0, n_betas = 0;
  std::vector<double> betas;
  bool share_of_n = false, single = false, extras = true;
  Clustered gains, baseline;  // (K B, J), (1, J)
  CrossCovariance unbiased;   // ddof 1
  double mass = 0, n_prompts = 0;
  std::vector<double> win, cumulants;  // (K B, J), (3 K, J) sums weighted as the gains
  std::vector<double> mean;            // (K,) omega-weighted sums of prompt means
  std::vector<double> kl, reverse_kl, chi2, ess, log_partition_centred;  // (K B,) omega-weighted sums
  std::vector<double> ess_min, max_log_ratio;

  /// Per-prompt results before they are added: gains and win rates by (tilt, value), weights by value.
  struct Work {
    std::vector<double> gain, win, base, k234, o;
    std::vector<double> c, t, f, unbiased_o;
  };
  struct Waiting;
  struct Lanes;
  struct Batch;
  struct Groups;
  struct Long;
  std::shared_ptr<Batch> batch;    // prompts that wait; none after the end of a leaf
  std::shared_ptr<Groups> groups;  // short ones
  void view(const Prompt& p, const Labelled& l, const std::vector<std::int64_t>& cells, Work& work);
  void moments(const Labelled& l, Work& work) const;
  Work work() const;
  void add(const Prompt& p, Work& work);
  bool long_prompt(const Prompt& p);
  void left_out(const Prompt& p, const std::vector<std::int64_t>& cells);
  void count(const Prompt& p, Batch& batch);
  void find_pilots(Batch& batch);
  void absorb(Batch& batch);
  void settle(const Batch& batch);
  void take_short(const Prompt& p);
  void absorb(Groups& some);
  void count_group(Groups& some, std::int64_t group);
  void tilt_groups(Groups& some);
  void cumulate_groups(Groups& some);
  void give_back(const Groups& some);
  void settle(const Groups& some);
};

}  // namespace clinometer
