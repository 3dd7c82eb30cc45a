// Best mixture of many candidates: max over w in the simplex of min_j (M w)_j (theory 9.1), and the same with floors
// (theory 9.2), by column generation: a game of a few hundred columns, then one pass that prices all of them.
#pragma once
#include <clinometer/lp/status.hpp>
#include <vector>

namespace clinometer::lp {

struct EnsembleResult {
  Status status = Status::invalid;
  double lower = 0, upper = 0;   // what `weight` attains and what `dual` proves, rounded outward
  double violation = 0;          // of a floor, in units of its row's largest entry
  std::vector<std::int64_t> at;  // columns in use, and their weights in the simplex
  std::vector<double> weight;
  std::vector<double> dual;  // (k,) prices; in the simplex, also where infeasible; else of the floors, >= 0
  std::int64_t passes = 0;   // reads of the columns; later ones skip what cannot matter
};

/// Entries (k, n) of a game, row i at i * stride: in double, or in float where `narrow` is set.
struct Entries {
  const double* wide = nullptr;
  std::int64_t stride = 0, k = 0, n = 0;
  const float* narrow = nullptr;
};

/// n may be tens of millions, in a mapped file: memory beyond m is O(k (n / 64 + 20000)).
EnsembleResult solve_ensemble(const Entries& m, const Work& work);

/// Results for P games of one shape, row-major; `weights` (P, n). A game with NaN or Inf is `invalid`, its numbers NaN.
struct EnsembleResults {
  Status* status;
  double *lower, *upper, *weights, *dual;
  std::int64_t* passes;
};

/// m is (P, k, n): small games are shared among threads, large ones share the threads.
void solve_ensembles(const double* m, std::int64_t problems, std::int64_t k, std::int64_t n, const Work& work,
                     const EnsembleResults& out);

/// max c.w with M w >= tau. `rows` is (1 + k, n): c, then M. lower = c.w holds where violation is small.
EnsembleResult solve_constrained(const Entries& rows, const double* tau, const Work& work);

}  // namespace clinometer::lp
