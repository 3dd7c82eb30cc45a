#include "src/lp/generation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_set>

#include "kernels/table.hpp"

namespace clinometer::lp {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr std::int64_t kMostPasses = 200;
constexpr std::int64_t kWhole = 256;  // games this small have no need of generation

}  // namespace

void Generation::start_from(const std::vector<std::int64_t>& columns, const std::vector<double>& weights) {
  piece_at_ = columns, piece_ = weights;
  piece_rows_.clear();
  for (std::int64_t i = 0; i < columns_.k(); ++i) {
    double doubt = 0;
    piece_rows_.push_back(columns_.product(i, piece_at_, piece_, doubt));
  }
}

void Generation::run() {
  const std::int64_t k = columns_.k(), more = std::max<std::int64_t>(64, 8 * k);
  lower = -kInfinite, upper = kInfinite;
  set_ = columns_.first();
  if (columns_.n() <= kWhole) {
    set_.resize(std::size_t(columns_.n()));
    for (std::int64_t p = 0; p < columns_.n(); ++p) set_[p] = p;
  }
  bool pairs = false;
  while (passes < kMostPasses) {
    master(pairs);
    judge();
    if (sign_only && positive) return;
    const Pass pass = columns_.price(trial_y_, lower, more);
    ++passes;
    const double bound = pass.top + pass.doubt;
    if (bound < upper) upper = bound, y = trial_y_;
    not_positive = not_positive || bound <= 0;
    if (gap_closed() || (sign_only && upper < 0)) return;
    const std::size_t size = set_.size();
    refresh(pass.best);
    const bool nothing_new = set_.size() == size;
    if (nothing_new && pairs) return;
    pairs = pairs || nothing_new || upper - lower < 1e-11;
  }
}

bool Generation::gap_closed() const {
  return upper - lower <= std::max(1e-9 * std::min(std::fabs(lower), std::fabs(upper)), 1e-15) && violation <= 1e-13;
}

/// The game of the columns in the set; those out of use and priced far below are dropped before it grows again.
void Generation::master(bool pairs) {
  const std::int64_t k = columns_.k(), piece = piece_.empty() ? 0 : 1, s = std::int64_t(set_.size()) + piece;
  std::vector<double> m(std::size_t(k * s), 0), low(std::size_t(s), 0), high(std::size_t(s), kInfinite);
  for (std::int64_t i = 0; i < k; ++i) {
    if (piece) m[i * s] = piece_rows_[i];
    for (std::int64_t j = piece; j < s; ++j) m[i * s + j] = columns_.entry(i, set_[j - piece]);
  }
  x_.assign(std::size_t(s), 0);
  trial_y_.assign(std::size_t(k), 0);
  work_.reserve(kernels::game_workspace(k, s));
  std::int64_t done = 0;
  const kernels::Game game{m.data(),       g_.data(),    low.data(), high.data(),     k,       s,    true,
                           piece ? 0 : -1, work_.data(), x_.data(),  trial_y_.data(), nullptr, &done};
  const kernels::LpTable& table = *kernels::active().lp;
  table.solve_one(game);
  if (pairs || !done) table.solve_pairs(game);
}

/// The value of the master's weights, and its prices normalised to sum g y = 1.
void Generation::judge() {
  std::map<std::int64_t, double> mixture;
  const std::size_t piece = piece_.empty() ? 0 : 1;
  for (std::size_t j = piece; j < x_.size(); ++j)
    if (x_[j] > 0) mixture[set_[j - piece]] += x_[j];
  for (std::size_t j = 0; j < piece_.size(); ++j)
    if (x_[0] * piece_[j] > 0) mixture[piece_at_[j]] += x_[0] * piece_[j];
  std::vector<std::int64_t> trial_at;
  std::vector<double> trial;
  double total = 0;
  for (const auto& [column, x] : mixture) trial_at.push_back(column), trial.push_back(x), total += x;
  for (double& x : trial) x /= total;
  double least = kInfinite, short_of = 0;
  bool all_positive = true;
  for (std::int64_t i = 0; i < columns_.k(); ++i) {
    double doubt = 0;
    const double product = columns_.product(i, trial_at, trial, doubt);
    if (g_[i] > 0) {
      least = std::min(least, (product - doubt) / g_[i]);
      all_positive = all_positive && product - doubt > 0;
    } else {
      short_of = std::max(short_of, -product);
    }
  }
  positive = positive || all_positive;
  const bool better = least > lower && (short_of <= 1e-13 || short_of <= violation);
  if (better || at.empty() || (violation > 1e-13 && short_of < violation))
    at = trial_at, weight = trial, lower = least, violation = short_of;
  double share = 0;
  for (std::size_t i = 0; i < g_.size(); ++i) share += g_[i] * trial_y_[i];
  if (share > 0)
    for (double& price : trial_y_) price /= share;
}

void Generation::refresh(const std::vector<Priced>& best) {
  const std::size_t piece = piece_.empty() ? 0 : 1;
  constexpr std::size_t kKept = 1024;
  if (set_.size() > kKept) {
    std::vector<std::int64_t> used;
    for (std::size_t j = 0; j < set_.size(); ++j)
      if (x_[j + piece] > 0 || j + 512 >= set_.size()) used.push_back(set_[j]);
    set_ = used;
  }
  std::unordered_set<std::int64_t> held(set_.begin(), set_.end());
  for (const Priced& column : best)
    if (held.insert(column.at).second) set_.push_back(column.at);
}

}  // namespace clinometer::lp
