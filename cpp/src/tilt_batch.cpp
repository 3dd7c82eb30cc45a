#include "src/tilt_batch.hpp"

#include <algorithm>

#include "src/ranks.hpp"

namespace clinometer {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

template <class T>
void ensure(std::vector<T>& v, std::size_t n) {
  if (v.size() < n) v.resize(n + n / 2);
}

}  // namespace

void Tilt::Lanes::begin(const Tilt& t) {
  K = t.n_scores, J = t.n_values, B = t.n_betas, Kp = kernels::padded(K);
  extras = t.extras;
  F = extras ? 2 * J : J;
  const std::int64_t M = tilts();
  lam.assign(std::size_t(M), 0.0f);
  for (std::int64_t lane = 0; lane < M; ++lane) {
    if (cell(lane) < 0) continue;
    lam[lane] = lam_of(t.betas[cell(lane)]);
  }
  panel.resize(std::size_t(M / 16));
  for (std::int64_t g = 0; g < M / 16; ++g) panel[g] = few() ? g : g % (Kp / 16);
  source.assign(std::size_t(M), K);  // the first column of padding
  for (std::int64_t lane = 0; few() && lane < K * B; ++lane) source[lane] = lane / B;
}

void Tilt::Lanes::spread(const float* x, std::int64_t n, std::int64_t stride, float* to) const {
  for (std::int64_t g = 0; g < tilts(); g += 16) {
    const std::int64_t* const from = source.data() + g;
    if (K == 1 && g + 16 <= B) {
      for (std::int64_t i = 0; i < n; ++i, to += 16) std::fill_n(to, 16, x[i * stride]);
      continue;
    }
    for (std::int64_t i = 0; i < n; ++i, to += 16)
      for (std::int64_t l = 0; l < 16; ++l) to[l] = x[i * stride + from[l]];
  }
}

void Tilt::Lanes::centre_values(const double* f, std::int64_t stride, std::int64_t n, const double* centre,
                                std::vector<float>& scratch, float* to, float* widest) const {
  ensure(scratch, std::size_t(n) * 16);
  for (std::int64_t from = 0; from < J; from += 16) {
    const std::int64_t width = std::min<std::int64_t>(16, J - from);
    float high[16] = {}, wide[16] = {};
    kernels::active().centred_floats(f + from, stride, n, width, centre + from, scratch.data(), high, wide);
    std::copy_n(wide, width, widest + from);
    for (std::int64_t i = 0; i < n; ++i) std::copy_n(&scratch[std::size_t(i * 16)], width, to + i * F + from);
  }
}

kernels::TiltBatch Tilt::Lanes::call() const {
  kernels::TiltBatch out{};
  out.n_tilts = tilts(), out.n_values = J, out.extras = extras, out.n_columns = F, out.n_panels = panels();
  out.panel = panel.data(), out.lam = lam.data();
  return out;
}
kernels::TiltBatch Tilt::Lanes::own_call() const {
  kernels::TiltBatch out = call();
  out.n_tilts = Kp, out.n_panels = Kp / 16;
  return out;
}

void Tilt::Batch::begin(const Tilt& t) {
  Lanes::begin(t);
  mean.resize(std::size_t(K));
  pilot.clear();
  leaf_mass = 0;
  const std::int64_t M = tilts();
  sums.assign(std::size_t(kernels::tilt_sums(J, extras) * M), 0);
  if (extras) {
    std::fill_n(sums.begin() + kernels::ess_min_row(J) * M, M, kInf);
    std::fill_n(sums.begin() + (kernels::ess_min_row(J) + 1) * M, M, -kInf);
  }
  cumulant_sums.assign(extras ? std::size_t(kernels::cumulant_sums(J) * Kp) : 0, 0);
  clear(-1);
}

void Tilt::Batch::clear(std::int64_t next_run) {
  waiting.clear(next_run);
  offsets.assign(1, 0);
  for (auto* v :
       {&omega, &unbias, &even, &weight, &columns, &score, &top, &reach, &spread_score, &spread_top, &spread_reach})
    v->clear();
}

void Tilt::Waiting::clear(std::int64_t next_run) {
  run = next_run;
  kept.clear();
  raw.clear();
  at.clear();
}

void Tilt::Waiting::keep(const Prompt& p) {
  kept.push_back(p);
  at.push_back(raw.size());
  const auto copy = [&](const double* from, std::int64_t width, bool lasts) {
    if (!lasts) raw.insert(raw.end(), from, from + p.n * width);
  };
  copy(p.score, p.n_scores, p.lasting.score);
  copy(p.value, p.n_values, p.lasting.value);
  copy(p.weight, 1, p.lasting.weight);
}

Prompt Tilt::Waiting::view(std::int64_t p) const {
  Prompt one = kept[p];
  const double* own = raw.data() + at[p];
  const auto find = [&](const double*& where, std::int64_t width, bool lasts) {
    if (lasts) return;
    where = own;
    own += one.n * width;
  };
  find(one.score, one.n_scores, one.lasting.score);
  find(one.value, one.n_values, one.lasting.value);
  find(one.weight, 1, one.lasting.weight);
  return one;
}

bool Tilt::Batch::take(const Prompt& p, const Tilt& t) {
  const std::size_t rows = std::size_t(offsets.back()), P = waiting.kept.size();
  grow(rows + std::size_t(p.n), P + 1);
  if (!weights(p) || !values(p, t) || !scores(p, t)) {
    grow(rows, P);
    return false;
  }
  waiting.keep(p);
  offsets.push_back(offsets.back() + p.n);
  omega.push_back(float(p.omega));
  unbias.push_back(float(p.unbias));
  return true;
}

kernels::TiltBatch Tilt::Batch::arrays() {
  kernels::TiltBatch out = call();
  out.n_prompts = waiting.prompts(), out.offsets = offsets.data(), out.omega = omega.data(), out.unbias = unbias.data();
  out.weight = weight.data(), out.even = even.data(), out.columns = columns.data();
  out.score = few() ? spread_score.data() : score.data();
  out.top = few() ? spread_top.data() : top.data();
  out.reach = few() ? spread_reach.data() : reach.data();
  out.pilot = pilot.data(), out.sums = sums.data(), out.left_out = left.data();
  return out;
}
kernels::TiltBatch Tilt::Batch::own_arrays() {
  kernels::TiltBatch out = arrays();
  out.n_tilts = Kp, out.n_panels = Kp / 16, out.score = score.data();
  out.pilot = cumulant_pilot.data(), out.sums = cumulant_sums.data();
  return out;
}

/// Room for rows and prompts; what lies there is written before it is read.
void Tilt::Batch::grow(std::size_t rows, std::size_t prompts) {
  ensure(weight, rows);
  ensure(columns, rows * std::size_t(F));
  ensure(score, rows * std::size_t(Kp));
  even.resize(prompts);
  for (auto* v : {&top, &reach}) v->resize(prompts * std::size_t(Kp));
  if (!few()) return;
  ensure(spread_score, rows * std::size_t(tilts()));
  for (auto* v : {&spread_top, &spread_reach}) v->resize(prompts * std::size_t(tilts()));
}

bool Tilt::Batch::weights(const Prompt& p) {
  float* const to = weight.data() + offsets.back();
  bool positive = p.n > 0, same = true;
  for (std::int64_t i = 0; i < p.n; ++i) {
    positive = positive && p.weight[i] > 0;
    same = same && p.weight[i] == p.weight[0];
    to[i] = float(p.weight[i]);
  }
  even.back() = same && positive ? to[0] : 0.0f;
  return positive;
}

/// Centred values and their mid-ranks; false where f32 has no room for them or a label is missing.
bool Tilt::Batch::values(const Prompt& p, const Tilt& t) {
  if (J == 0) return true;
  const double* const f = p.value + t.value_at;
  float* const to = columns.data() + offsets.back() * F;
  baseline.assign(f, f + J);
  for (std::int64_t from = 0; from < J; from += 16) {
    const std::int64_t width = std::min<std::int64_t>(16, J - from);
    double sum[16] = {};
    kernels::active().weighted_differences(f + from, p.n_values, p.weight, p.n, width, f + from, sum);
    for (std::int64_t j = 0; j < width; ++j) baseline[std::size_t(from + j)] += sum[j];
  }
  float wide[kernels::kBatchValues];
  centre_values(f, p.n_values, p.n, baseline.data(), centred, to, wide);
  for (std::int64_t j = 0; j < J; ++j)
    if (std::isnan(baseline[j]) || !holds_value(wide[j]) || (wide[j] == 0 && !constant(f + j, p.n_values, p.n)))
      return false;
  for (std::int64_t j = 0; extras && j < J; ++j)
    long_ranks(f + j, p.n_values, p.weight, p.n, even.back() != 0, to + J + j, F);
  return true;
}

/// Centred scores in panels; false where f32 has no room for them.
bool Tilt::Batch::scores(const Prompt& p, const Tilt& t) {
  const kernels::Table& table = kernels::active();
  const double* const from = p.score + t.score_at;
  float* const to = score.data() + offsets.back() * Kp;
  float* const high = &top[top.size() - std::size_t(Kp)];
  float* const wide = &reach[reach.size() - std::size_t(Kp)];
  std::fill_n(high, Kp, 0.0f);
  std::fill_n(wide, Kp, 0.0f);
  for (std::int64_t q = 0; q < K; q += 16) {
    const std::int64_t used = std::min<std::int64_t>(16, K - q);
    double part[16] = {};
    table.weighted_differences(from + q, p.n_scores, p.weight, p.n, used, from + q, part);
    for (std::int64_t k = 0; k < used; ++k) mean[q + k] = from[q + k] + part[k];
    table.centred_floats(from + q, p.n_scores, p.n, used, &mean[q], to + q * p.n, high + q, wide + q);
  }
  if (few()) {
    spread(to, p.n, 16, spread_score.data() + offsets.back() * tilts());
    spread(high, 1, Kp, &spread_top[spread_top.size() - std::size_t(tilts())]);
    spread(wide, 1, Kp, &spread_reach[spread_reach.size() - std::size_t(tilts())]);
  }
  for (std::int64_t k = 0; k < K; ++k)
    if (!holds_score(wide[k]) || (wide[k] == 0 && !constant(from + k, p.n_scores, p.n))) return false;
  return true;
}

}  // namespace clinometer
