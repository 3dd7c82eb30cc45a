#include <clinometer/statistics/tilt.hpp>

#include <algorithm>
#include <array>

#include "kernels/table.hpp"
#include "src/sorted.hpp"

namespace clinometer {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr std::int64_t kLanes = 8;

/// Mid-ranks of a column under w, minus 1/2: with p, sum p c is the win rate less one half. In the order of `key_of`,
/// which is one of all numbers.
void mid_ranks(const double* f, const std::vector<double>& w, double* out) {
  const std::int64_t n = std::int64_t(w.size());
  std::vector<Keyed> order(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) order[i] = {key_of(f[i]), i};
  std::sort(order.begin(), order.end(), [](const Keyed& a, const Keyed& b) { return a.key < b.key; });
  double below = 0;
  for (std::int64_t i = 0; i < n;) {
    std::int64_t end = i;
    double tied = 0;
    do tied += w[order[end].row];
    while (++end < n && order[end].key == order[i].key);
    for (; i < end; ++i) out[order[i].row] = below + tied / 2 - 0.5;
    below += tied;
  }
}

/// What a tilt without extras gives.
const std::array<std::string, 7> kPlain = {"betas", "kl",       "reverse_kl",   "log_partition_centred",
                                           "gain",  "baseline", "log_partition"};

/// 0 * inf is 0 here: no covariance, no predicted gain, whatever the tilt.
double scaled(double lam, double k) { return k == 0 || lam == 0 ? 0 : lam * k; }

/// lam t sums beyond float64 at extreme betas though its mean lies inside: log-partitions at large lam are summed in
/// this unit, where their small terms are nothing. An infinite lam counts as 1 of them: only the sign of its sum is
/// used.
double unit(double lam) { return lam > 0x1p600 ? 0x1p-400 : 1; }
double in_units(double lam) { return lam == kInf ? 1 : lam * unit(lam); }

double out_of_units(double sum, double lam) {
  if (lam == kInf && std::abs(sum) > 0x1p-380) return sum > 0 ? kInf : -kInf;
  return sum / unit(lam);
}

/// One strip of tilts: which direction and which inverse beta each lane has, and its reference score.
struct Strip {
  std::vector<std::int64_t> small;
  std::vector<double> lam, reference, x;
};

void fill(Strip& s, std::int64_t m, const Labelled& l, std::int64_t n_scores, std::int64_t k, double beta, double top,
          double widest, std::int64_t M) {
  const double lam = beta == 0 ? kInf : 1 / beta;
  s.lam[m] = lam;
  s.small[m] = lam * widest < 1 || widest == 0;
  s.reference[m] = s.small[m] ? 0 : top;
  for (std::int64_t i = 0; i < l.n; ++i) {
    const double t = s.small[m] ? l.score[i * n_scores + k] : l.below[i * n_scores + k];
    // dividing by nothing: rows of the largest score keep 0, all others fall to -inf
    s.x[i * M + m] = t == 0 ? 0 : lam == 0 ? 0 : lam == kInf ? (s.small[m] ? 0 : -kInf) : lam * t;
  }
}

}  // namespace

Tilt::Tilt(std::int64_t score_at, std::int64_t n_scores, std::int64_t value_at, std::int64_t n_values,
           std::vector<double> betas_, bool share_of_n, bool single, bool extras)
    : score_at(score_at),
      n_scores(n_scores),
      value_at(value_at),
      n_values(n_values),
      n_betas(n_scores ? std::int64_t(betas_.size()) / n_scores : 0),
      betas(std::move(betas_)),
      share_of_n(share_of_n),
      single(single),
      extras(extras),
      gains(n_scores * n_betas, n_values),
      baseline(1, n_values),
      unbiased(score_at, n_scores, value_at, n_values, 1) {
  const std::size_t cells = betas.size();
  for (auto* v : {&kl, &reverse_kl, &chi2, &ess, &log_partition_centred}) v->assign(cells, 0);
  win.assign(cells * std::size_t(n_values), 0);
  cumulants.assign(std::size_t(3 * n_scores * n_values), 0);
  if (!extras) gains.hold();
  mean.assign(std::size_t(n_scores), 0);
  ess_min.assign(cells, kInf);
  max_log_ratio.assign(cells, -kInf);
}

Tilt::Work Tilt::work() const {
  const std::size_t KJ = std::size_t(n_scores * n_values), J = std::size_t(n_values);
  Work w;
  w.gain.assign(betas.size() * J, 0);
  w.win.assign(betas.size() * J, 0);
  w.base.assign(J, 0);
  w.k234.assign(3 * KJ, 0);
  w.o.assign(J, 0);
  w.c.assign(KJ, 0);
  w.t.assign(KJ, 0);
  w.f.assign(J, 0);
  w.unbiased_o.assign(J, 0);
  return w;
}

void Tilt::prompt(const Prompt& p) {
  if (std::none_of(p.weight, p.weight + p.n, [](double w) { return w > 0; })) return;  // no policy to tilt
  if (long_prompt(p)) return;
  Work w = work();
  std::vector<std::int64_t> all(betas.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = std::int64_t(i);
  for_each_labelled(p, score_at, n_scores, value_at, n_values, [&](const Labelled& l) {
    view(p, l, all, w);
    moments(l, w);
    unbiased.covary(p, l, w.c, w.t, w.f, w.unbiased_o);
    for (std::int64_t k = 0; l.whole && k < n_scores; ++k) mean[k] += p.omega * (p.origin[score_at + k] + l.mean[k]);
  });
  add(p, w);
}

void Tilt::add(const Prompt& p, Work& w) {
  const std::size_t J = std::size_t(n_values);
  mass += p.omega;
  n_prompts += 1;
  for (std::size_t i = 0; i < win.size(); ++i) win[i] += w.o[i % J] * w.win[i];
  for (std::size_t i = 0; i < cumulants.size(); ++i) cumulants[i] += w.o[i % J] * w.k234[i];
  gains.add(w.gain.data(), w.o.data(), p.cluster_begins, p.cluster_ends);
  baseline.add(w.base.data(), w.o.data(), p.cluster_begins, p.cluster_ends);
  unbiased.add(p, w.c, w.t, w.f, w.unbiased_o);
}

void Tilt::view(const Prompt& p, const Labelled& l, const std::vector<std::int64_t>& cells, Work& work) {
  const std::int64_t C = std::int64_t(l.columns.size()), F = 2 * C, total = std::int64_t(cells.size());
  for (std::int64_t a = 0; a < C; ++a) {
    work.o[l.columns[a]] = p.omega;
    work.base[l.columns[a]] = l.value_mean[a];
  }
  std::vector<double> f(std::size_t(l.n * F));
  for (std::int64_t a = 0; a < C; ++a) {
    // ranked from a copy of the values, written over it
    std::vector<double> ranks(static_cast<std::size_t>(l.n)), column(static_cast<std::size_t>(l.n));
    for (std::int64_t i = 0; i < l.n; ++i) column[i] = f[i * F + a] = l.value[i * C + a];
    mid_ranks(column.data(), l.weight, ranks.data());
    for (std::int64_t i = 0; i < l.n; ++i) f[i * F + C + a] = ranks[i];
  }
  std::vector<double> top(std::size_t(n_scores), -kInf), widest(std::size_t(n_scores), 0);
  for (std::int64_t i = 0; i < l.n; ++i)
    for (std::int64_t k = 0; k < n_scores; ++k) {
      top[k] = std::max(top[k], l.score[i * n_scores + k]);
      widest[k] = std::max(widest[k], std::abs(l.score[i * n_scores + k]));
    }
  // strips keep the (n, M) block of exponents near the cache
  const std::int64_t widest_strip =
      std::max(kLanes, (std::int64_t(1) << 15) / std::max<std::int64_t>(l.n, 1) / kLanes * kLanes);
  for (std::int64_t start = 0; start < total; start += widest_strip) {
    const std::int64_t used = std::min(widest_strip, total - start), M = (used + kLanes - 1) / kLanes * kLanes;
    Strip s;
    s.small.assign(std::size_t(M), 1);
    s.lam.assign(std::size_t(M), 0);
    s.reference.assign(std::size_t(M), 0);
    s.x.assign(std::size_t(l.n * M), 0);
    for (std::int64_t m = 0; m < used; ++m) {
      const std::int64_t cell = cells[start + m], k = cell / n_betas;
      fill(s, m, l, n_scores, k, betas[cell], top[k], widest[k], M);
    }
    std::vector<double> sums(std::size_t((6 + F) * M), 0);
    double* at = sums.data();
    const kernels::TiltSums out{at, at + M, at + 2 * M, at + 3 * M, at + 4 * M, at + 5 * M, at + 6 * M};
    kernels::active().tilt(s.x.data(), l.weight.data(), f.data(), s.small.data(), l.n, M, F, out);
    for (std::int64_t m = 0; m < used; ++m) {
      const std::int64_t cell = cells[start + m];
      for (std::int64_t a = 0; a < C; ++a) {
        work.gain[cell * n_values + l.columns[a]] = out.gain[a * M + m];
        work.win[cell * n_values + l.columns[a]] = 0.5 + out.gain[(C + a) * M + m];
      }
      if (!l.whole) continue;
      kl[cell] += p.omega * std::max(out.kl[m], 0.0);
      reverse_kl[cell] += p.omega * std::max(out.reverse_kl[m], 0.0);
      chi2[cell] += p.omega * out.chi2[m];
      const double share = share_of_n ? 1 / (double(l.n) * out.square[m]) : 1 / (1 + out.chi2[m]);
      ess[cell] += p.omega * share;
      ess_min[cell] = std::min(ess_min[cell], share);
      max_log_ratio[cell] = std::max(max_log_ratio[cell], out.max_ratio[m]);
      const double lam = s.lam[m];
      log_partition_centred[cell] += p.omega * (unit(lam) * out.log_partition[m] + in_units(lam) * s.reference[m]);
    }
  }
}

/// k2 = Cov(f, t), k3 = E[f t^2], k4 = E[f t^3] - 3 Cov(f, t) Var(t), all centred (theory 2.4).
void Tilt::moments(const Labelled& l, Work& work) const {
  const std::int64_t C = std::int64_t(l.columns.size()), J = n_values;
  for (std::int64_t k = 0; k < n_scores; ++k) {
    double variance = 0;
    std::vector<double> k2(std::size_t(C), 0), k3(std::size_t(C), 0), k4(std::size_t(C), 0);
    for (std::int64_t i = 0; i < l.n; ++i) {
      const double t = l.score[i * n_scores + k], w = l.weight[i];
      variance += w * t * t;
      for (std::int64_t a = 0; a < C; ++a) {
        const double wf = w * l.value[i * C + a] * t;
        k2[a] += wf;
        k3[a] += wf * t;
        k4[a] += wf * t * t;
      }
    }
    for (std::int64_t a = 0; a < C; ++a) {
      work.k234[(3 * k) * J + l.columns[a]] = k2[a];
      work.k234[(3 * k + 1) * J + l.columns[a]] = k3[a];
      work.k234[(3 * k + 2) * J + l.columns[a]] = k4[a] - 3 * k2[a] * variance;
    }
  }
}

void Tilt::join(Tilt& later) {
  gains.join(later.gains);
  baseline.join(later.baseline);
  unbiased.join(later.unbiased);
  mass += later.mass;
  n_prompts += later.n_prompts;
  clinometer::add(win, later.win);
  clinometer::add(cumulants, later.cumulants);
  clinometer::add(mean, later.mean);
  clinometer::add(kl, later.kl);
  clinometer::add(reverse_kl, later.reverse_kl);
  clinometer::add(chi2, later.chi2);
  clinometer::add(ess, later.ess);
  clinometer::add(log_partition_centred, later.log_partition_centred);
  for (std::size_t i = 0; i < ess_min.size(); ++i) {
    ess_min[i] = std::min(ess_min[i], later.ess_min[i]);
    max_log_ratio[i] = std::max(max_log_ratio[i], later.max_log_ratio[i]);
  }
}

Results Tilt::finish() const {
  const std::int64_t K = n_scores, B = n_betas, J = n_values;
  Results out{{"betas", {K, B}, betas}};
  Result base{"baseline", {J}, {}}, gain{"gain", {K, B, J}, {}}, se{"gain_se", {K, B, J}, {}},
      rate{"win_rate", {K, B, J}, {}}, joint{"gain_cov", {K, B, J, J}, {}}, first{"first_order", {K, B, J}, {}},
      second{"second_order", {K, B, J}, {}}, free{"first_order_unbiased", {K, B, J}, {}},
      free_se{"first_order_se", {K, B, J}, {}}, k{"cumulants", {K, 3, J}, {}};
  for (std::int64_t j = 0; j < J; ++j) base.data.push_back(baseline.mean(0, j));
  for (std::int64_t cell = 0; cell < K * B; ++cell) {
    const double lam = betas[cell] == 0 ? kInf : 1 / betas[cell];
    for (std::int64_t j = 0; j < J; ++j) {
      const double labelled = gains.mass[j] > 0 ? gains.mass[j] : std::numeric_limits<double>::quiet_NaN();
      const double* const k = &cumulants[3 * (cell / B) * J + j];
      const double k2 = k[0] / labelled, k3 = k[J] / labelled;
      gain.data.push_back(gains.mean(cell, j));
      se.data.push_back(std::sqrt(gains.covariance(cell, j, j)));
      rate.data.push_back(win[cell * J + j] / labelled);
      first.data.push_back(scaled(lam, k2));
      second.data.push_back(scaled(lam, k2 + scaled(lam, k3 / 2)));
      free.data.push_back(scaled(lam, unbiased.covariance.mean(cell / B, j)));
      free_se.data.push_back(scaled(lam, std::sqrt(unbiased.covariance.covariance(cell / B, j, j))));
      for (std::int64_t i = 0; i < J; ++i) joint.data.push_back(gains.covariance(cell, j, i));
    }
  }
  for (std::int64_t i = 0; i < 3 * K; ++i)
    for (std::int64_t j = 0; j < J; ++j)
      k.data.push_back(gains.mass[j] > 0 ? cumulants[i * J + j] / gains.mass[j]
                                         : std::numeric_limits<double>::quiet_NaN());
  const auto divided = [&](const char* name, const std::vector<double>& sums) {
    Result r{name, {K, B}, sums};
    for (double& x : r.data) x /= mass;
    out.push_back(r);
  };
  divided("kl", kl);
  divided("reverse_kl", reverse_kl);
  divided("chi2", chi2);
  divided("ess", ess);
  divided("log_partition_centred", log_partition_centred);
  Result& centred = out.back();
  Result whole{"log_partition", {K, B}, {}}, ratio{"max_ratio", {K, B}, max_log_ratio};
  for (std::int64_t cell = 0; cell < K * B; ++cell) {
    const double lam = betas[cell] == 0 ? kInf : 1 / betas[cell], sum = centred.data[cell];
    whole.data.push_back(out_of_units(sum + in_units(lam) * (this->mean[cell / B] / mass), lam));
    centred.data[cell] = out_of_units(sum, lam);
  }
  for (double& x : ratio.data) x = std::exp(x);
  out.push_back(std::move(whole));
  out.push_back({"ess_min", {K, B}, ess_min});
  out.push_back(std::move(ratio));
  for (auto* r : {&base, &gain, &se, &rate, &joint, &first, &second, &free, &free_se, &k}) out.push_back(std::move(*r));
  for (auto& r : out)
    if (!extras && std::find(kPlain.begin(), kPlain.end(), r.name) == kPlain.end())
      std::fill(r.data.begin(), r.data.end(), std::numeric_limits<double>::quiet_NaN());
  out.push_back({"n_prompts", {1}, {n_prompts}});
  out.push_back({"n_clusters", {J}, gains.count});
  out.push_back({"n_clusters_unbiased", {J}, unbiased.covariance.count});
  return out;
}

void Tilt::settings(Visitor& visit) {
  visit.size("score_at", score_at);
  visit.size("n_scores", n_scores);
  visit.size("value_at", value_at);
  visit.size("n_values", n_values);
  visit.size("n_betas", n_betas);
  visit.array("betas", betas, product({n_scores, n_betas}));
  visit.field("share_of_n", share_of_n);
  visit.field("single", single);
  visit.field("extras", extras);
}

void Tilt::fields(Visitor& visit) {
  const auto cells = std::int64_t(betas.size());
  gains.fields(visit, cells, n_values);
  baseline.fields(visit, 1, n_values);
  unbiased.settings(visit);
  const CrossCovariance& u = unbiased;
  visit.need(u.score_at == score_at && u.n_scores == n_scores && u.value_at == value_at && u.n_values == n_values &&
                 u.ddof == 1,
             "unbiased");
  unbiased.fields(visit);
  visit.field("mass", mass);
  visit.field("prompts", n_prompts);
  visit.array("win", win, product({cells, n_values}));
  visit.array("cumulants", cumulants, product({3, n_scores, n_values}));
  visit.array("mean", mean, n_scores);
  for (auto* v : {&kl, &reverse_kl, &chi2, &ess, &log_partition_centred, &ess_min, &max_log_ratio})
    visit.array("sums", *v, cells);
}

}  // namespace clinometer
