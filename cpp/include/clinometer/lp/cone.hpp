// max t with A v >= t, |v|_inf <= 1: is there a direction that improves every value, and which is best (theory 8.3).
#pragma once
#include <clinometer/lp/status.hpp>

namespace clinometer::lp {

/// Results for P problems, row-major; every pointer is the caller's. lower = min_j (A v)_j of `weights` v and
/// upper = |A' dual|_1 of `dual` enclose the value; both are rounded outward.
struct ConeResults {
  Status* status;   // (P,) improvable: lower > 0 proved; blocked: a Gordan certificate proved, then upper = 0
  double* lower;    // (P,)
  double* upper;    // (P,)
  double* weights;  // (P, d) v
  double* dual;     // (P, k) in the simplex
};

/// a is (P, k, d), row-major. A problem that holds NaN or Inf is `invalid`, its numbers NaN.
void solve_cones(const double* a, std::int64_t problems, std::int64_t k, std::int64_t d, const Work& work,
                 const ConeResults& out);

}  // namespace clinometer::lp
