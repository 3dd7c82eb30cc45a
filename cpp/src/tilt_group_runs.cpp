// The short prompts of a run of canonical rows, in groups, into the state of a tilt.
#include <algorithm>
#include <cstring>

#include "src/tilt_groups.hpp"

namespace clinometer {
namespace {

/// call(from, to, no_pilots) for all groups, with the pilots (J, cells) of `means`; where these are wanted and it has
/// none, those that the first groups leave become its own.
template <class G, class Call>
void with_pilots(G& groups, Clustered& means, std::int64_t cells, std::int64_t J, bool wanted,
                 std::vector<float>& pilots, const Call& call) {
  const bool first = pilots.empty(), find = first && wanted && !means.settled();
  if (first) pilots.assign(std::size_t(J * cells), 0.0f);
  for (std::int64_t cell = 0; first && wanted && !find && cell < cells; ++cell)
    for (std::int64_t j = 0; j < J; ++j) pilots[j * cells + cell] = float(means.pilot_of(cell, j));
  groups.by_some([&](std::int64_t from, std::int64_t to) { call(from, to, find && from == 0); });
  for (std::int64_t cell = 0; find && cell < cells; ++cell)
    for (std::int64_t j = 0; j < J; ++j) means.offer_pilot(cell, j, double(pilots[j * cells + cell]));
  means.hold();
}

}  // namespace

void Tilt::take_short(const Prompt& p) {
  if (!groups) {
    groups = spare<Groups>();
    groups->begin(*this);
  }
  const std::int64_t run = p.first / Groups::kRunRows;
  if (groups->waiting.run != run) {
    absorb(*groups);
    groups->clear(run);
  }
  groups->waiting.keep(p);
}

void Tilt::absorb(Groups& g) {
  if (g.waiting.prompts() == 0) return;
  g.arrange(*this);
  if (g.groups() > 0) {
    tilt_groups(g);
    if (extras && n_values > 0) cumulate_groups(g);
    for (std::int64_t i = 0; i < g.groups(); ++i) count_group(g, i);
    give_back(g);
  }
  for (std::int64_t p : g.rejected) prompt(g.waiting.view(p));
}

void Tilt::tilt_groups(Groups& g) {
  g.left.assign(std::size_t(g.groups() * n_scores * n_betas * Groups::kSide), 0);
  with_pilots(g, gains, n_scores * n_betas, n_values, extras, g.pilot, [&](auto from, auto to, bool no_pilots) {
    kernels::TiltBatch call = g.arrays(from, to);
    call.no_pilots = no_pilots;
    kernels::active().tilt_groups(call);
  });
}

void Tilt::cumulate_groups(Groups& g) {
  Clustered& means = unbiased.covariance;
  with_pilots(g, means, n_scores, n_values, true, g.cumulant_pilot, [&](auto from, auto to, bool no_pilots) {
    kernels::TiltBatch call = g.own_arrays(from, to);
    call.no_pilots = no_pilots;
    kernels::active().cumulant_groups(call);
  });
}

/// What counts prompts, of one group.
void Tilt::count_group(Groups& g, std::int64_t group) {
  double n = 0, o = 0, o2 = 0, n_unbiased = 0, unbiased_o = 0, unbiased_o2 = 0;
  std::vector<double> one(static_cast<std::size_t>(n_values));
  for (std::int64_t l = 0; l < Groups::kSide; ++l) {
    const std::int64_t at = g.member[group * Groups::kSide + l];
    if (at < 0) break;
    const Prompt& p = g.waiting.kept[std::size_t(at)];
    n += 1;
    o += p.omega;
    o2 += p.omega * p.omega;
    for (std::int64_t k = 0; k < n_scores; ++k)
      mean[k] += p.omega * (p.origin[score_at + k] + g.mean[(group * n_scores + k) * Groups::kSide + l]);
    for (std::int64_t j = 0; j < n_values; ++j) {
      one[j] = g.baseline[(group * n_values + j) * Groups::kSide + l];
      if (l == 0) baseline.offer_pilot(0, j, one[j]);
    }
    baseline.add_cell(0, one.data(), p.omega);
    if (p.unbias == 0) continue;
    n_unbiased += 1;
    unbiased_o += p.omega;
    unbiased_o2 += p.omega * p.omega;
  }
  n_prompts += n;
  mass += o;
  g.leaf_mass += o;
  baseline.count_closed(n, o, o2);
  gains.count_closed(n, o, o2);
  if (n_unbiased > 0) unbiased.covariance.count_closed(n_unbiased, unbiased_o, unbiased_o2);
}

/// Cells that f32 could not hold, in f64.
void Tilt::give_back(const Groups& g) {
  constexpr std::int64_t S = Groups::kSide;
  const std::int64_t M = n_scores * n_betas;
  if (!std::memchr(g.left.data(), 1, g.left.size())) return;
  for (std::size_t lane = 0; lane < g.member.size(); ++lane) {
    if (g.member[lane] < 0) continue;
    const char* const left = g.left.data() + std::int64_t(lane) / S * M * S + std::int64_t(lane) % S;
    std::vector<std::int64_t> cells;
    for (std::int64_t cell = 0; cell < M; ++cell)
      if (left[cell * S]) cells.push_back(cell);
    if (!cells.empty()) left_out(g.waiting.view(g.member[lane]), cells);
  }
}

/// The sums of a leaf into the state.
void Tilt::settle(const Groups& g) {
  const std::int64_t J = n_values, extreme = kernels::ess_min_row(J);
  for (std::int64_t cell = 0; cell < n_scores * n_betas; ++cell) {
    const double* const s = g.sums.data() + cell * g.width();
    kl[cell] += s[0];
    reverse_kl[cell] += s[1];  // with centred scores they are one and the same
    log_partition_centred[cell] += s[1];
    if (!extras) {
      gains.add_sums(cell, s + 2, 1);
      continue;
    }
    gains.add_sums(cell, s + 2, s + 2 + J, s + 6 + 3 * J, 1);
    // a win rate is one half and the kernel's sum
    for (std::int64_t j = 0; j < J; ++j) win[cell * J + j] += s[2 + 2 * J + j] + 0.5 * g.leaf_mass;
    chi2[cell] += s[extreme - 2];
    ess[cell] += s[extreme - 1];
    const float* const e = g.extremes.data() + cell * 2 * Groups::kSide;
    ess_min[cell] = std::min(ess_min[cell], double(*std::min_element(e, e + Groups::kSide)));
    max_log_ratio[cell] =
        std::max(max_log_ratio[cell], double(*std::max_element(e + Groups::kSide, e + 2 * Groups::kSide)));
  }
  for (std::int64_t k = 0; extras && k < n_scores; ++k) {
    const double* const s = g.cumulant_sums.data() + k * g.cumulant_width();
    for (std::int64_t i = 0; i < 3 * J; ++i) cumulants[3 * k * J + i] += s[i];
    unbiased.covariance.add_sums(k, s + 3 * J, s + 4 * J, s + 5 * J, 1);
  }
}

}  // namespace clinometer
