// The usual prompts of a run of canonical rows together, in f32 lanes, into the state of a tilt.
#include <algorithm>
#include <cstring>
#include <utility>

#include "src/tilt_groups.hpp"

namespace clinometer {
namespace {

// prompts that begin in one such run of canonical rows make a batch: no bit depends on how rows come in blocks
constexpr std::int64_t kBatchRows = 1024;
constexpr std::int64_t kMostRows = std::int64_t(1) << 16;

/// Asks for what will be read of a prompt: columns are read a few at a time, row by row, and hardware does not look
/// that far ahead.
void fetch(const Prompt& p) {
  constexpr std::int64_t kLine = 8, kMost = 4096;
  const auto lines = [](const double* x, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += kLine) __builtin_prefetch(x + i);
  };
  lines(p.score, std::min(p.n * p.n_scores, kMost));
  lines(p.value, std::min(p.n * p.n_values, kMost));
  lines(p.weight, std::min(p.n, kMost));
}

}  // namespace

void Tilt::prompts(const Prompt* p, std::int64_t n) {
  const bool lanes = single && !share_of_n && kernels::active().tilt_batch && n_values <= kernels::kBatchValues;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool closed = p[i].cluster_begins && p[i].cluster_ends && p[i].n <= kMostRows;
    if (!lanes || !closed) {
      prompt(p[i]);
      continue;
    }
    if (i + 1 < n) fetch(p[i + 1]);
    if (p[i].n <= Groups::kMostRows) {
      take_short(p[i]);
      continue;
    }
    if (!batch) {
      batch = spare<Batch>();
      batch->begin(*this);
    }
    const std::int64_t run = p[i].first / kBatchRows;
    if (batch->waiting.run != run) {
      absorb(*batch);
      batch->clear(run);
    }
    if (batch->take(p[i], *this))
      count(p[i], *batch);
    else
      prompt(p[i]);
  }
}

void Tilt::flush() {
  if (groups) {
    absorb(*groups);
    settle(*groups);
    put_away(std::exchange(groups, nullptr));
  }
  if (!batch) return;
  absorb(*batch);
  settle(*batch);
  put_away(std::exchange(batch, nullptr));
}

/// What counts prompts, as one is taken in.
void Tilt::count(const Prompt& p, Batch& b) {
  mass += p.omega;
  b.leaf_mass += p.omega;
  n_prompts += 1;
  for (std::int64_t k = 0; k < n_scores; ++k) mean[k] += p.omega * (p.origin[score_at + k] + b.mean[k]);
  baseline.add_closed(b.baseline.data(), p.omega);
}

/// What errors are measured from: the figures of the leaf's first prompt, where none has been counted before.
void Tilt::find_pilots(Batch& b) {
  const std::int64_t J = n_values, M = b.tilts(), Kp = b.Kp;
  b.pilot.assign(std::size_t(J * M), 0.0f);
  b.cumulant_pilot.assign(std::size_t(J * Kp), 0.0f);
  if (!extras) return;  // means alone are summed as they are
  const double o = b.waiting.kept[0].omega;
  if (!gains.settled() && o > 0) {
    kernels::TiltBatch first = b.arrays();
    std::vector<double> sums(b.sums.size(), 0);
    first.n_prompts = 1, first.sums = sums.data();
    kernels::active().tilt_batch(first);
    for (std::int64_t lane = 0; lane < M; ++lane)
      for (std::int64_t j = 0; b.cell(lane) >= 0 && j < J; ++j)
        gains.offer_pilot(b.cell(lane), j, sums[(2 + j) * M + lane] / o);
    std::fill(b.left.begin(), b.left.end(), 0);
  }
  if (!unbiased.covariance.settled() && o > 0 && b.unbias[0] != 0) {
    kernels::TiltBatch first = b.own_arrays();
    std::vector<double> sums(b.cumulant_sums.size(), 0);
    first.n_prompts = 1, first.sums = sums.data();
    kernels::active().cumulant_batch(first);
    for (std::int64_t k = 0; k < n_scores; ++k)
      for (std::int64_t j = 0; j < J; ++j) unbiased.covariance.offer_pilot(k, j, sums[(3 * J + j) * Kp + k] / o);
  }
  gains.hold();
  unbiased.covariance.hold();
  for (std::int64_t lane = 0; lane < M; ++lane)
    for (std::int64_t j = 0; b.cell(lane) >= 0 && j < J; ++j)
      b.pilot[j * M + lane] = float(gains.pilot_of(b.cell(lane), j));
  for (std::int64_t k = 0; k < n_scores; ++k)
    for (std::int64_t j = 0; j < J; ++j) b.cumulant_pilot[j * Kp + k] = float(unbiased.covariance.pilot_of(k, j));
}

/// A run that is complete, into the sums of its leaf.
void Tilt::absorb(Batch& b) {
  const std::int64_t P = b.waiting.prompts(), M = b.tilts();
  if (P == 0) return;
  b.left.assign(std::size_t(P * M), 0);
  if (b.pilot.empty()) find_pilots(b);
  kernels::active().tilt_batch(b.arrays());
  double o = 0, o2 = 0, n_unbiased = 0, unbiased_o = 0, unbiased_o2 = 0;
  for (const Prompt& p : b.waiting.kept) {
    o += p.omega;
    o2 += p.omega * p.omega;
    if (p.unbias == 0) continue;
    n_unbiased += 1;
    unbiased_o += p.omega;
    unbiased_o2 += p.omega * p.omega;
  }
  gains.count_closed(double(P), o, o2);
  if (n_unbiased > 0) unbiased.covariance.count_closed(n_unbiased, unbiased_o, unbiased_o2);
  if (std::memchr(b.left.data(), 1, b.left.size())) {
    for (std::int64_t p = 0; p < P; ++p) {
      std::vector<std::int64_t> cells;
      for (std::int64_t lane = 0; lane < M; ++lane)
        if (b.left[p * M + lane] && b.cell(lane) >= 0) cells.push_back(b.cell(lane));
      if (!cells.empty()) left_out(b.waiting.view(p), cells);
    }
  }
  if (extras && n_values > 0) kernels::active().cumulant_batch(b.own_arrays());
}

/// The sums of a leaf into the state.
void Tilt::settle(const Batch& b) {
  const std::int64_t J = n_values, M = b.tilts(), Kp = b.Kp;
  const auto row = [&](std::int64_t i) { return b.sums.data() + i * M; };
  const std::int64_t extremes = kernels::ess_min_row(J);
  for (std::int64_t lane = 0; lane < M; ++lane) {
    const std::int64_t cell = b.cell(lane);
    if (cell < 0) continue;
    kl[cell] += row(0)[lane];
    reverse_kl[cell] += row(1)[lane];  // with centred scores they are one and the same
    log_partition_centred[cell] += row(1)[lane];
    if (!extras) {
      gains.add_sums(cell, row(2) + lane, M);
      continue;
    }
    gains.add_sums(cell, row(2) + lane, row(2 + J) + lane, row(6 + 3 * J) + lane, M);
    // a win rate is one half and the kernel's sum
    for (std::int64_t j = 0; j < J; ++j) win[cell * J + j] += row(2 + 2 * J + j)[lane] + 0.5 * b.leaf_mass;
    chi2[cell] += row(extremes - 2)[lane];
    ess[cell] += row(extremes - 1)[lane];
    ess_min[cell] = std::min(ess_min[cell], row(extremes)[lane]);
    max_log_ratio[cell] = std::max(max_log_ratio[cell], row(extremes + 1)[lane]);
  }
  for (std::int64_t k = 0; extras && k < n_scores; ++k) {
    for (std::int64_t i = 0; i < 3 * J; ++i) cumulants[3 * k * J + i] += b.cumulant_sums[i * Kp + k];
    const double* const at = b.cumulant_sums.data() + 3 * J * Kp + k;
    unbiased.covariance.add_sums(k, at, at + J * Kp, at + 2 * J * Kp, Kp);
  }
}

/// Cells of a counted prompt that f32 could not hold, in f64.
void Tilt::left_out(const Prompt& p, const std::vector<std::int64_t>& cells) {
  const std::size_t J = std::size_t(n_values);
  Work w;
  w.gain.assign(betas.size() * J, 0);
  w.win.assign(betas.size() * J, 0);
  w.base.assign(J, 0);
  w.o.assign(J, 0);
  for_each_labelled(p, score_at, n_scores, value_at, n_values, [&](const Labelled& l) { view(p, l, cells, w); });
  for (std::int64_t cell : cells) {
    gains.add_cell(cell, w.gain.data() + cell * n_values, p.omega);
    // the half has been counted with the batch
    for (std::int64_t j = 0; j < n_values; ++j)
      win[cell * n_values + j] += p.omega * (w.win[cell * n_values + j] - 0.5);
  }
}

}  // namespace clinometer
