// Delete-one bias of each judge's own gain under one tilt, its error over prompts and the KL: what the KL horizon
// compares (theory 2.8).
#pragma once
#include <clinometer/statistics/log_ratios.hpp>

#include <cmath>
#include <limits>

namespace clinometer {

class Jackknife {
 public:
  Jackknife() = default;
  /// betas (n_scores,).
  explicit Jackknife(std::vector<double> betas_) : betas(std::move(betas_)) {
    for (auto* v : {&bias, &gain, &gain_o, &square, &kl}) v->assign(betas.size(), 0);
  }
  Jackknife cleared() const { return Jackknife(betas); }

  void prompt(const Prompt& p) {
    mass += p.omega;
    mass2 += p.omega * p.omega;
    n_prompts += 1;
    std::vector<double>& l = scratch();
    l.resize(std::size_t(p.n));
    for (std::size_t k = 0; k < betas.size(); ++k) one(p, std::int64_t(k), l.data());
  }
  void join(Jackknife& later) {
    for (auto v : {&Jackknife::bias, &Jackknife::gain, &Jackknife::gain_o, &Jackknife::square, &Jackknife::kl})
      add(this->*v, later.*v);
    mass += later.mass;
    mass2 += later.mass2;
    n_prompts += later.n_prompts;
  }
  Results finish() const {
    const auto K = std::int64_t(betas.size());
    Result b{"bias", {K}, bias}, s{"se", {K}, {}}, d{"kl", {K}, kl};
    for (std::int64_t k = 0; k < K; ++k) {
      const double mean = gain[k] / mass, sum = square[k] - 2 * mean * gain_o[k] + mean * mean * mass2;
      s.data.push_back(n_prompts > 1 ? std::sqrt(n_prompts / (n_prompts - 1) * std::max(sum, 0.0)) / mass
                                     : std::numeric_limits<double>::quiet_NaN());
      b.data[k] /= mass;
      d.data[k] /= mass;
    }
    return {b, s, d};
  }
  Reads reads() const { return {std::int64_t(betas.size()), 0}; }
  void settings(Visitor& visit) { visit.field("betas", betas); }
  void fields(Visitor& visit) {
    visit.field("mass", mass);
    visit.field("mass2", mass2);
    visit.field("n_prompts", n_prompts);
    for (auto* v : {&bias, &gain, &gain_o, &square, &kl}) visit.array("sums", *v, reads().scores);
  }

 private:
  std::vector<double> betas;
  std::vector<double> bias, gain, gain_o, square, kl;  // (K,) sums by o; of o^2 gain; of o^2 gain^2
  double mass = 0, mass2 = 0, n_prompts = 0;
  static std::vector<double>& scratch() {
    thread_local std::vector<double> one;
    return one;
  }

  void one(const Prompt& p, std::int64_t k, double* l) {
    LogRatios::one(p, k, betas[std::size_t(k)], l);
    const auto score = [&](std::int64_t i) { return p.score[i * p.n_scores + k] - p.score[k]; };
    double mean = 0, g = 0, divergence = 0, without = 0;
    for (std::int64_t i = 0; i < p.n; ++i) mean += p.weight[i] * score(i);
    std::vector<double>& prob = probabilities();
    prob.resize(std::size_t(p.n));
    for (std::int64_t i = 0; i < p.n; ++i) {
      prob[i] = p.weight[i] * std::exp(l[i]);
      g += prob[i] * (score(i) - mean);
      if (prob[i] > 0) divergence += prob[i] * l[i];
    }
    for (std::int64_t i = 0; i < p.n; ++i) {
      const double t = score(i) - mean;
      without += (g - prob[i] * t) / (1 - prob[i]) + p.weight[i] * t / (1 - p.weight[i]);
    }
    const double n = double(p.n), o = p.omega;
    if (p.n > 1) bias[k] += o * (n - 1) * (without / n - g);
    gain[k] += o * g;
    gain_o[k] += o * o * g;
    square[k] += o * o * g * g;
    kl[k] += o * divergence;
  }
  static std::vector<double>& probabilities() {
    thread_local std::vector<double> one;
    return one;
  }
};

}  // namespace clinometer
