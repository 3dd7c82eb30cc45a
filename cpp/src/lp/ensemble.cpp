#include <clinometer/lp/certificate.hpp>
#include <clinometer/lp/ensemble.hpp>

#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "src/lp/generation.hpp"
#include "src/lp/parallel.hpp"
#include "src/lp/sieve.hpp"

namespace clinometer::lp {
namespace {

constexpr int kFarthest = -100;

/// Prices of scaled rows as weights of the given rows, in the simplex.
std::vector<double> in_simplex(const Columns& columns, const std::vector<double>& y, std::int64_t from) {
  std::vector<double> out;
  int least = std::numeric_limits<int>::max();
  for (std::int64_t i = from; i < columns.k(); ++i)
    if (y[i] > 0) least = std::min(least, columns.exponent(i));
  double total = 0;
  for (std::int64_t i = from; i < columns.k(); ++i) {
    out.push_back(y[i] > 0 ? scale_by(y[i], std::max(least - columns.exponent(i), -1070)) : 0);
    total += out.back();
  }
  for (double& price : out) price /= total;
  return out;
}

void use(EnsembleResult& result, const Generation& game) { result.at = game.at, result.weight = game.weight; }

}  // namespace

EnsembleResult solve_whole(const Entries& m, const Work& work) {
  const std::int64_t k = m.k;
  EnsembleResult result;
  Columns columns(m, nullptr, work);
  result.passes = 1;
  if (!columns.finite()) return result;
  int smallest = std::numeric_limits<int>::max(), largest = std::numeric_limits<int>::min();
  for (std::int64_t i = 0; i < k; ++i) {
    if (columns.zero_row(i)) continue;
    smallest = std::min(smallest, columns.exponent(i)), largest = std::max(largest, columns.exponent(i));
  }
  const bool nothing = smallest > largest;  // every entry is zero
  if (nothing) smallest = largest = 0;
  std::vector<double> g;
  for (std::int64_t i = 0; i < k; ++i)
    g.push_back(columns.zero_row(i) ? 1 : scale_by(1.0, std::max(smallest - columns.exponent(i), kFarthest)));
  Generation game(columns, g);
  game.run();
  result.passes += game.passes;
  use(result, game);
  result.lower = scale_by(game.lower, smallest), result.upper = scale_by(game.upper, smallest);
  result.dual = in_simplex(columns, game.y, 0);
  bool positive = game.positive, blocked = game.not_positive;
  if (!positive && !blocked && smallest != largest) {
    // The sign does not depend on row lengths: ask again with all rows alike.
    Generation alike(columns, std::vector<double>(std::size_t(k), 1));
    alike.sign_only = true;
    alike.run();
    result.passes += alike.passes;
    if (alike.positive) use(result, alike), result.lower = std::numeric_limits<double>::denorm_min();
    if (alike.not_positive) result.dual = in_simplex(columns, alike.y, 0), result.upper = 0;
    positive = alike.positive, blocked = alike.not_positive;
  }
  if (!positive && !blocked) {
    // A value of exactly 0: prices that are ratios of small integers prove it, rounded ones do not.
    std::vector<double> whole;
    if (small_ratios(result.dual, whole)) {
      for (std::int64_t i = 0; i < k; ++i) whole[i] = scale_by(whole[i], columns.exponent(i));
      blocked = columns.none_positive(whole);
      ++result.passes;
      if (blocked) result.upper = 0;
    }
  }
  result.status = positive ? Status::improvable : blocked ? Status::blocked : Status::undecided;
  if (blocked) result.upper = std::min(result.upper, 0.0), result.lower = std::min(result.lower, result.upper);
  if (nothing) result.lower = result.upper = 0;
  return result;
}

EnsembleResult solve_ensemble(const Entries& m, const Work& work) {
  if (std::optional<EnsembleResult> found = solve_sieved(m, work)) return *std::move(found);
  return solve_whole(m, work);
}

void solve_ensembles(const double* m, std::int64_t problems, std::int64_t k, std::int64_t n, const Work& work,
                     const EnsembleResults& out) {
  constexpr std::int64_t large = 1 << 16;
  const auto solve = [&](std::int64_t p, const Work& own) {
    const EnsembleResult found = solve_ensemble({m + p * k * n, n, k, n, nullptr}, own);
    const bool good = found.status != Status::invalid;
    const double number = good ? 0 : std::numeric_limits<double>::quiet_NaN();
    out.status[p] = found.status;
    out.lower[p] = good ? found.lower : number, out.upper[p] = good ? found.upper : number;
    out.passes[p] = found.passes;
    std::fill_n(out.weights + p * n, n, number);
    std::fill_n(out.dual + p * k, k, number);
    if (!good) return;
    for (std::size_t j = 0; j < found.at.size(); ++j) out.weights[p * n + found.at[j]] = found.weight[j];
    std::copy_n(found.dual.begin(), k, out.dual + p * k);
  };
  if (n >= large) {
    for (std::int64_t p = 0; p < problems; ++p) solve(p, work);
  } else {
    parallel(problems, work, [&](std::int64_t p, int) { solve(p, {1, {}}); });
  }
}

EnsembleResult solve_constrained(const Entries& rows, const double* tau, const Work& work) {
  const std::int64_t k = rows.k - 1;
  EnsembleResult result;
  std::vector<double> offset(std::size_t(k + 1), 0);
  std::copy_n(tau, k, offset.begin() + 1);
  Columns columns(rows, offset.data(), work);
  result.passes = 1;
  if (!columns.finite()) return result;
  Entries below = rows;
  below.k = k;
  if (rows.narrow != nullptr) {
    below.narrow += rows.stride;
  } else {
    below.wide += rows.stride;
  }
  Columns floors(below, tau, work);
  ++result.passes;
  Generation feasible(floors, std::vector<double>(std::size_t(k), 1));
  feasible.sign_only = true;
  feasible.run();
  result.passes += feasible.passes;
  result.dual = in_simplex(floors, feasible.y.empty() ? std::vector<double>(std::size_t(k), 1) : feasible.y, 0);
  use(result, feasible);
  result.violation = std::max(0.0, -feasible.lower);
  const double infinite = std::numeric_limits<double>::infinity();
  result.lower = -infinite, result.upper = infinite;
  if (feasible.not_positive && feasible.upper < 0) {
    result.status = Status::infeasible;
    result.upper = -infinite;
    return result;
  }
  result.status = Status::undecided;
  if (result.violation > 1e-13) return result;
  std::vector<double> g(std::size_t(k + 1), 0);
  g[0] = 1;
  Generation best(columns, g);
  best.start_from(feasible.at, feasible.weight);
  best.run();
  result.passes += best.passes;
  use(result, best);
  result.violation = best.violation;
  result.lower = scale_by(best.lower, columns.exponent(0));
  result.upper = scale_by(best.upper, columns.exponent(0));
  for (std::int64_t i = 0; i < k; ++i)
    result.dual[i] = scale_by(best.y[i + 1], columns.exponent(0) - columns.exponent(i + 1));
  result.status = best.violation <= 1e-13 ? Status::optimal : Status::undecided;
  return result;
}

}  // namespace clinometer::lp
