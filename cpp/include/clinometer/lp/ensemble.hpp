// Best mixture of many candidates: max over w in the simplex of min_j (M w)_j (theory L1), and the same with floors
// (theory L2), by column generation: a game of a few hundred columns, then one pass that prices all of them.
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

/// m is (k, n), row i at m + i * stride. n may be millions: memory beyond m is O(k (n / 1024 + 1000)).
EnsembleResult solve_ensemble(const double* m, std::int64_t stride, std::int64_t k, std::int64_t n, const Work& work);

/// max c.w with M w >= tau. `rows` is (1 + k, n): c, then M. lower = c.w holds where violation is small.
EnsembleResult solve_constrained(const double* rows, std::int64_t stride, std::int64_t k, std::int64_t n,
                                 const double* tau, const Work& work);

}  // namespace clinometer::lp
