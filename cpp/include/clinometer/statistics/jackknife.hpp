// Delete-one biases of each judge's own gain and of the KL under some tilts, the gain's error over prompts and the KL:
// what the KL horizons compare (theory 2.8).
#pragma once
#include <clinometer/per_prompt.hpp>

namespace clinometer {

class Jackknife {
 public:
  Jackknife() = default;
  /// betas (n_scores, B), each > 0. kl_too: whether the bias of the KL is wanted; 0 without.
  Jackknife(std::int64_t n_scores, std::vector<double> betas, bool kl_too);
  Jackknife cleared() const { return {n_scores, betas, kl_too}; }
  void prompt(const Prompt& p);
  void join(Jackknife& later);
  Results finish() const;
  Reads reads() const { return {n_scores, 0}; }
  void settings(Visitor& visit);
  void fields(Visitor& visit);

 private:
  std::int64_t n_scores = 0, n_betas = 0;
  std::vector<double> betas;
  bool kl_too = false;
  std::vector<double> gain, kl, gain_bias, kl_bias, gain_o, square;  // (K, B) sums by o; of o^2 gain; of o^2 gain^2
  double mass = 0, mass2 = 0, n_prompts = 0;
};

}  // namespace clinometer
