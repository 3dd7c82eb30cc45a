#include "src/tilt_groups.hpp"

#include <algorithm>
#include <numeric>

namespace clinometer {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

}  // namespace

void Tilt::Groups::begin(const Tilt& t) {
  K = t.n_scores, J = t.n_values, B = t.n_betas;
  extras = t.extras;
  F = extras ? 2 * J : J;
  const std::size_t M = std::size_t(K * B);
  lam.resize(M);
  panel.resize(M);
  for (std::size_t cell = 0; cell < M; ++cell) {
    lam[cell] = Lanes::lam_of(t.betas[cell]);
    panel[cell] = std::int64_t(cell) / B;
  }
  pilot.clear();
  cumulant_pilot.clear();
  leaf_mass = 0;
  sums.assign(M * std::size_t(width()), 0);
  cumulant_sums.assign(extras ? std::size_t(K * cumulant_width()) : 0, 0);
  extremes.resize(M * 2 * kSide);
  for (std::size_t i = 0; i < extremes.size(); ++i) extremes[i] = float(i / kSide % 2 == 0 ? kInf : -kInf);
  clear(-1);
}

void Tilt::Groups::clear(std::int64_t next_run) {
  waiting.clear(next_run);
  rejected.clear();
  offsets.assign(1, 0);
  for (auto* v : {&omega, &unbias, &even, &weight, &columns, &score, &top, &reach}) v->clear();
  member.clear();
  mean.clear();
  baseline.clear();
}

void Tilt::Groups::arrange(const Tilt& t) {
  std::vector<std::int64_t> order(waiting.kept.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rows = [&](std::int64_t p) { return waiting.kept[std::size_t(p)].n; };
  const auto shorter = [&](auto a, auto b) { return rows(a) < rows(b); };
  if (!std::is_sorted(order.begin(), order.end(), shorter)) std::stable_sort(order.begin(), order.end(), shorter);
  for (auto from = order.begin(); from != order.end();) {
    const auto to = from + std::min<std::int64_t>(kSide, order.end() - from);
    std::vector<std::int64_t> some(from, to);
    while (!some.empty()) {
      const std::vector<std::int64_t> good = group(some, t);
      if (good.size() == some.size()) break;
      some = good;  // rejected lanes would disturb the others' sums: once more without them
    }
    from = to;
  }
}

/// One group more, of at most sixteen prompts; or else no group, and those of them that may make one.
std::vector<std::int64_t> Tilt::Groups::group(std::vector<std::int64_t> some, const Tilt& t) {
  lane.clear();
  std::int64_t rows = 0;
  for (std::int64_t p : some) {
    lane.push_back(waiting.view(p));
    rows = std::max(rows, lane.back().n);
  }
  lane.resize(kSide, lane.front());  // lanes that are left over compute what nobody reads
  const auto used = std::int64_t(some.size());
  grow(rows);
  const bool same = lay_weights(rows);
  lay_columns(t, rows, same);
  lay_scores(t, rows, same);
  std::vector<std::int64_t> good;
  for (std::int64_t l = 0; l < used; ++l) (holds(t, l) ? good : rejected).push_back(some[std::size_t(l)]);
  if (good.size() < some.size()) {
    grow(-rows);
    return good;
  }
  offsets.push_back(offsets.back() + rows);
  for (std::int64_t l = 0; l < kSide; ++l) {
    omega.push_back(l < used ? float(lane[l].omega) : 0.0f);
    unbias.push_back(l < used ? float(lane[l].unbias) : 0.0f);
    even.push_back(same ? float(lane[l].weight[0]) : 0.0f);
    member.push_back(l < used ? some[std::size_t(l)] : -1);
  }
  return good;
}

/// Room for a group of so many rows more, or fewer if negative.
void Tilt::Groups::grow(std::int64_t rows) {
  const std::int64_t groups = rows > 0 ? 1 : -1;
  const auto by = [](auto& v, std::int64_t n) { v.resize(std::size_t(std::int64_t(v.size()) + n)); };
  by(weight, rows * kSide);
  by(columns, rows * F * kSide);
  by(score, rows * K * kSide);
  by(mean, groups * K * kSide);
  by(baseline, groups * J * kSide);
  for (auto* v : {&top, &reach}) by(*v, groups * K * kSide);
}

/// Weights, 0 below a prompt's end; whether all prompts are of one length and of one weight a row.
bool Tilt::Groups::lay_weights(std::int64_t rows) {
  weights.assign(std::size_t(rows * kSide), 0.0);
  bool same = true;
  for (std::int64_t l = 0; l < kSide; ++l) {
    const Prompt& p = lane[l];
    const double* const w = p.weight;
    double* const to = weights.data() + l;
    const double first = w[0];
    bool all_same = p.n == rows, all_positive = true;
    for (std::int64_t i = 0; i < p.n; ++i) {
      const double x = w[i];
      all_same &= x == first;
      all_positive &= x > 0;
      to[i * kSide] = x;
    }
    same &= all_same;
    positive[l] = all_positive;
  }
  float* const to = weight.data() + weight.size() - weights.size();
  for (std::size_t i = 0; i < weights.size(); ++i) to[i] = float(weights[i]);
  return same;
}

kernels::SideBySide Tilt::Groups::call(std::int64_t rows, bool same) {
  kernels::SideBySide s{};
  s.rows = rows, s.weight = weights.data(), s.even = same;
  work.resize(std::size_t(rows * 16 * kSide));
  s.work = work.data();
  return s;
}

/// Centred values and their mid-ranks.
void Tilt::Groups::lay_columns(const Tilt& t, std::int64_t rows, bool same) {
  if (J == 0) return;
  const double* from[kSide];
  std::int64_t n[kSide];
  for (std::int64_t l = 0; l < kSide; ++l) n[l] = lane[l].n;
  value_top.resize(std::size_t(J * kSide));
  value_reach.resize(std::size_t(J * kSide));
  for (std::int64_t j = 0; j < J; j += 16) {
    for (std::int64_t l = 0; l < kSide; ++l) from[l] = lane[l].value + t.value_at + j;
    kernels::SideBySide s = call(rows, same);
    s.from = from, s.n = n, s.stride = lane[0].n_values, s.width = std::min<std::int64_t>(16, J - j);
    s.mean = baseline.data() + baseline.size() - std::size_t((J - j) * kSide);
    s.out = columns.data() + columns.size() - std::size_t((rows * F - j) * kSide);
    s.rank = extras ? s.out + J * kSide : nullptr;
    s.row_step = F * kSide, s.column_step = kSide;
    s.top = &value_top[std::size_t(j * kSide)], s.reach = &value_reach[std::size_t(j * kSide)];
    kernels::active().side_by_side(s);
  }
}

/// Centred scores, direction by direction.
void Tilt::Groups::lay_scores(const Tilt& t, std::int64_t rows, bool same) {
  const double* from[kSide];
  std::int64_t n[kSide];
  for (std::int64_t l = 0; l < kSide; ++l) n[l] = lane[l].n;
  const std::size_t at = top.size() - std::size_t(K * kSide);
  for (std::int64_t k = 0; k < K; k += 16) {
    for (std::int64_t l = 0; l < kSide; ++l) from[l] = lane[l].score + t.score_at + k;
    kernels::SideBySide s = call(rows, same);
    s.from = from, s.n = n, s.stride = lane[0].n_scores, s.width = std::min<std::int64_t>(16, K - k);
    s.mean = &mean[at + std::size_t(k * kSide)];
    s.out = score.data() + score.size() - std::size_t(rows * (K - k) * kSide);
    s.row_step = kSide, s.column_step = rows * kSide;
    s.top = &top[at + std::size_t(k * kSide)], s.reach = &reach[at + std::size_t(k * kSide)];
    kernels::active().side_by_side(s);
  }
}

/// Whether f32 has room for a prompt of the group last laid out, all rows have weight and no label is missing.
bool Tilt::Groups::holds(const Tilt& t, std::int64_t l) const {
  if (!positive[l]) return false;
  const Prompt& p = lane[std::size_t(l)];
  for (std::int64_t j = 0; j < J; ++j) {
    const float wide = value_reach[std::size_t(j * kSide + l)];
    if (std::isnan(baseline[baseline.size() - std::size_t((J - j) * kSide - l)]) || !Lanes::holds_value(wide) ||
        (wide == 0 && !Lanes::constant(p.value + t.value_at + j, p.n_values, p.n)))
      return false;
  }
  for (std::int64_t k = 0; k < K; ++k) {
    const float wide = reach[reach.size() - std::size_t((K - k) * kSide - l)];
    if (!Lanes::holds_score(wide) || (wide == 0 && !Lanes::constant(p.score + t.score_at + k, p.n_scores, p.n)))
      return false;
  }
  return true;
}

kernels::TiltBatch Tilt::Groups::arrays(std::int64_t from, std::int64_t to) {
  kernels::TiltBatch out{};
  const std::int64_t lanes = from * kSide;
  out.n_prompts = to - from, out.n_tilts = K * B, out.n_values = J, out.extras = extras, out.n_columns = F;
  out.offsets = offsets.data() + from, out.omega = omega.data() + lanes, out.unbias = unbias.data() + lanes;
  out.weight = weight.data(), out.even = even.data() + lanes, out.columns = columns.data(), out.score = score.data();
  out.n_panels = K, out.panel = panel.data(), out.top = top.data() + lanes * K, out.reach = reach.data() + lanes * K;
  out.lam = lam.data(), out.pilot = pilot.data(), out.sums = sums.data(), out.extremes = extremes.data();
  out.left_out = left.data() + lanes * K * B;
  return out;
}

kernels::TiltBatch Tilt::Groups::own_arrays(std::int64_t from, std::int64_t to) {
  kernels::TiltBatch out = arrays(from, to);
  out.n_tilts = K, out.pilot = cumulant_pilot.data(), out.sums = cumulant_sums.data();
  return out;
}

}  // namespace clinometer
