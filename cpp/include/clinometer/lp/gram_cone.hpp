// The widest round cone inside {v: <a_j, v> > 0} from products of the rows alone: the smallest point of the hull of
// a_j / |a_j| (theory 8.3). A Gram in double holds half the digits of its rows, so a margin below about 2e-8 is
// undecided, whatever the rows were.
#pragma once
#include <clinometer/lp/status.hpp>

namespace clinometer::lp {

/// lower <= margin <= upper, both attained by `weights` lambda in the simplex on unit rows:
/// lower = min (R lambda) / sqrt(lambda' R lambda), upper = sqrt(lambda' R lambda), R the cosines.
struct GramConeResults {
  Status* status;   // (P,) improvable, undecided, invalid; blocked only for a zero row
  double* lower;    // (P,)
  double* upper;    // (P,)
  double* weights;  // (P, k)
};

/// Products of unit rows above this are positive whatever the rounding of the Gram.
inline constexpr double kGramResolution = 0x1p-51;

/// grams is (P, k, k), row-major, symmetric; the lower triangle is read.
void solve_gram_cones(const double* grams, std::int64_t problems, std::int64_t k, const Work& work,
                      const GramConeResults& out);

}  // namespace clinometer::lp
