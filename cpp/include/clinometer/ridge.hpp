// Small dense solves on finished states, one thread each: they stay quick on a machine whose cores are busy,
// where a threaded library's threads wait for each other.
#pragma once
#include <cstdint>

namespace clinometer {

/// out (m, n) = rhs (m, n) (sigma + ridge I)^-1 for symmetric sigma (n, n), by Cholesky; false if the matrix
/// is not positive definite in double precision. Cost: n^3/3 + m n^2 multiply-adds.
bool solve_ridge(const double* sigma, std::int64_t n, double ridge, const double* rhs, std::int64_t m, double* out);

}  // namespace clinometer
