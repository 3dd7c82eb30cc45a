// Proof that 0 is a convex combination of rows (Gordan): no direction has a positive product with all of them.
#pragma once
#include <cstdint>
#include <vector>

namespace clinometer::lp {

/// Whether some lambda >= 0, lambda != 0 with lambda' A = 0 exactly is proved to exist near `guess` (+ `guess_low`,
/// which may be null, its rounding). Two routes: weights of small rational ratios, summed without rounding; or a
/// square system in the support whose solution is enclosed by a verified inverse. a is (k, d) with entries at most
/// 1 in size, each known to within `blur` (if not 0, only the second route can tell); cost O(s^3) for s rows in use.
bool holds_origin(const double* a, std::int64_t k, std::int64_t d, const double* guess, const double* guess_low,
                  double blur = 0);

/// Non-negative weights as integers over one denominator below 2^52, where their ratios are that simple.
bool small_ratios(const std::vector<double>& weight, std::vector<double>& integer);

/// Sign of sum_i (b_i + b_low_i) a_i without rounding (b_low may be null); 2 if a product leaves the range of doubles.
int exact_sign(const double* a, std::int64_t stride, const double* b, const double* b_low, std::int64_t n);

}  // namespace clinometer::lp
