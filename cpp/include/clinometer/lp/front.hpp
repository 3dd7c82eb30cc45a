// Which points no other point dominates: at least as large in every coordinate and larger in one.
#pragma once
#include <clinometer/lp/status.hpp>

namespace clinometer::lp {

/// points is (n, k), row-major, finite; keep (n,) is 1 for points of the front. Equal points stand or fall together.
/// O(n log n) for k <= 3; above, O(n f k) for a front of f points at worst, with the strongest points tried first.
void pareto_front(const double* points, std::int64_t n, std::int64_t k, const Work& work, std::uint8_t* keep);

}  // namespace clinometer::lp
