// Tail index of importance ratios, by the Zhang-Stephens fit (theory 2.7).
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace clinometer {

/// How many of the largest of n ratios decide k-hat.
std::int64_t pareto_tail(std::int64_t n);

/// k-hat of n ratios by the logarithms of the `pareto_tail(n)` largest, or of more of them. Ratios that tie with the
/// cutoff stay in the tail. NaN with fewer than five tail points above the cutoff, where half of the tail ties with it,
/// or where all of it is equal; inf beyond what float64 can hold. -inf is a ratio of zero.
double pareto_k(std::vector<double>& largest, std::int64_t n);

/// Kept scores of G prompts in canonical order, prompt g from offset[g] to offset[g + 1].
struct KeptScores {
  const double* score;  ///< (rows, n_scores)
  std::int64_t n_scores;
  const std::int64_t* offset;
  std::int64_t n_prompts;
  const double* weight;  ///< base weight inside the prompt; null: equal
};

/// out (K, B) = k-hat of the tilts pi/pi0 ~ exp(score / beta), betas (K, B); base (rows,) or null is added to the
/// logarithms of ratios. Without base, rows of weight 0 do not count; of those that do, each `every`th is looked at.
/// One walk over the scores, which keeps what may be in a tail: no array of all ratios. `poll` is called by the calling
/// thread now and then; what it throws ends the walk.
void pareto_tails(const KeptScores& kept, const double* betas, std::int64_t n_betas, const double* base,
                  std::int64_t every, std::int64_t n_threads, const std::function<void()>& poll, double* out);

}  // namespace clinometer
