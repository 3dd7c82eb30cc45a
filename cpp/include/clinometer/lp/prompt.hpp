// One small game a prompt, millions of prompts: the best reweighting of a prompt's responses for its worst value
// (theory 9.3). M_ji = (S_ji - mean_j) / scale_j with the prompt's base weights; t = max_q min_j (M q)_j >= 0.
#pragma once
#include <clinometer/lp/status.hpp>

namespace clinometer::lp {

struct Prompts {
  const double* values;       // (N, k), rows of a prompt together
  const std::int64_t* begin;  // (G + 1,)
  const double* weight;       // (N,), sums to 1 in each prompt
  const double* scale;        // (k,) positive
  std::int64_t count, k;
};

struct PromptResults {
  Status* status;         // (G,) improvable, blocked (t = 0 proved), undecided, invalid (NaN or Inf in the prompt)
  double *lower, *upper;  // (G,)
  double* dual;           // (G, k) in the simplex; NaN for a value that is constant in the prompt
  double* weights;        // (N,) q
};

/// Within-prompt variances (k,): mean over prompts of sum_i w_i (S_ji - mean_j)^2, prompts with NaN or Inf left out.
void within_variances(const Prompts& prompts, const Work& work, double* out);

/// Caps q_i <= cap w_i, cap >= 1; infinity is no cap (rows of weight 0 stay out).
void solve_capped(const Prompts& prompts, double cap, const Work& work, const PromptResults& out);

/// First order in a KL budget: t = sqrt(2 kl) min over the simplex of sqrt(lambda' C lambda), C_jl = sum_i w_i M_ji
/// M_li; q ~ w exp(sqrt(2 kl) z) with z the unit-variance mixture sum_j lambda_j M_j.
void solve_budget(const Prompts& prompts, double kl, const Work& work, const PromptResults& out);

}  // namespace clinometer::lp
