#include <clinometer/statistics/jackknife.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/table.hpp"

namespace clinometer {
namespace {

constexpr std::int64_t kSide = kernels::kMostLanes;

/// What one prompt's tilts need: scores by direction, then side by side for eight tilts.
struct Scratch {
  std::vector<double> t, top, lanes, work = std::vector<double>(kernels::kDeleteOneWork);
};

/// Column k of scores less its mean, taken about the first row, so that scores that agree give exact zeros; rows of
/// weight 0 stay at the top, which is returned.
double centred(const Prompt& p, std::int64_t k, double* t) {
  const auto score = [&](std::int64_t i) { return p.score[i * p.n_scores + k] - p.score[k]; };
  double mean = 0, top = -std::numeric_limits<double>::infinity();
  for (std::int64_t i = 0; i < p.n; ++i) mean += p.weight[i] * score(i);
  for (std::int64_t i = 0; i < p.n; ++i) {
    t[i] = score(i) - mean;
    if (p.weight[i] > 0) top = std::max(top, t[i]);
  }
  for (std::int64_t i = 0; i < p.n; ++i)
    if (!(p.weight[i] > 0)) t[i] = top;
  return top;
}

}  // namespace

Jackknife::Jackknife(std::int64_t n_scores, std::vector<double> betas_, bool kl_too)
    : n_scores(n_scores),
      n_betas(n_scores > 0 ? std::int64_t(betas_.size()) / n_scores : 0),
      betas(std::move(betas_)),
      kl_too(kl_too) {
  for (auto* v : {&gain, &kl, &gain_bias, &kl_bias, &gain_o, &square}) v->assign(betas.size(), 0);
}

void Jackknife::prompt(const Prompt& p) {
  mass += p.omega;
  mass2 += p.omega * p.omega;
  n_prompts += 1;
  if (p.n < 2) return;  // one row: no gain, no KL, nothing to leave out
  thread_local Scratch s;
  s.t.resize(std::size_t(p.n * n_scores));
  s.top.resize(std::size_t(n_scores));
  s.lanes.resize(std::size_t(p.n * kSide));
  for (std::int64_t k = 0; k < n_scores; ++k) s.top[k] = centred(p, k, s.t.data() + k * p.n);
  const double n = double(p.n), o = p.omega;
  const auto cells = std::int64_t(betas.size());
  for (std::int64_t first = 0; first < cells; first += kSide) {
    double top[kSide], lam[kSide], out[4 * kSide];
    for (std::int64_t m = 0; m < kSide; ++m) {
      const std::int64_t cell = std::min(first + m, cells - 1), k = cell / n_betas;
      top[m] = s.top[k], lam[m] = 1 / betas[cell];
      for (std::int64_t i = 0; i < p.n; ++i) s.lanes[i * kSide + m] = s.t[k * p.n + i];
    }
    kernels::active().delete_one(s.lanes.data(), p.weight, p.n, top, lam, kl_too, s.work.data(), out);
    for (std::int64_t m = 0; m < std::min(kSide, cells - first); ++m) {
      const std::int64_t at = first + m;
      const double g = out[m], d = out[kSide + m];
      gain[at] += o * g;
      kl[at] += o * d;
      gain_bias[at] += o * (n - 1) * (out[2 * kSide + m] / n - g);
      if (kl_too) kl_bias[at] += o * (n - 1) * (out[3 * kSide + m] / n - d);
      gain_o[at] += o * o * g;
      square[at] += o * o * g * g;
    }
  }
}

void Jackknife::join(Jackknife& later) {
  for (auto v : {&Jackknife::gain, &Jackknife::kl, &Jackknife::gain_bias, &Jackknife::kl_bias, &Jackknife::gain_o,
                 &Jackknife::square})
    add(this->*v, later.*v);
  mass += later.mass;
  mass2 += later.mass2;
  n_prompts += later.n_prompts;
}

Results Jackknife::finish() const {
  Result se{"se", {n_scores, n_betas}, {}};
  for (std::size_t i = 0; i < betas.size(); ++i) {
    const double mean = gain[i] / mass, sum = square[i] - 2 * mean * gain_o[i] + mean * mean * mass2;
    se.data.push_back(n_prompts > 1 ? std::sqrt(n_prompts / (n_prompts - 1) * std::max(sum, 0.0)) / mass
                                    : std::numeric_limits<double>::quiet_NaN());
  }
  Results out{std::move(se)};
  const auto divided = [&](const char* name, std::vector<double> sums) {
    for (double& x : sums) x /= mass;
    out.push_back({name, {n_scores, n_betas}, std::move(sums)});
  };
  divided("gain", gain);
  divided("kl", kl);
  divided("bias", gain_bias);
  divided("kl_bias", kl_bias);
  return out;
}

void Jackknife::settings(Visitor& visit) {
  visit.size("n_scores", n_scores);
  visit.size("n_betas", n_betas);
  visit.array("betas", betas, product({n_scores, n_betas}));
  visit.field("kl_too", kl_too);
}

void Jackknife::fields(Visitor& visit) {
  visit.field("mass", mass);
  visit.field("mass2", mass2);
  visit.field("n_prompts", n_prompts);
  for (auto* v : {&gain, &kl, &gain_bias, &kl_bias, &gain_o, &square})
    visit.array("sums", *v, std::int64_t(betas.size()));
}

}  // namespace clinometer
