// Tail index of importance ratios, by the Zhang-Stephens fit (theory 2.7).
#pragma once
#include <cstdint>

namespace clinometer {

/// out[m] = k-hat of exp(log_ratio[m, i] + base[i]), i < n, from the tail of the largest; base may be null. Ratios that
/// tie with the cutoff stay in the tail. NaN with fewer than five tail points above the cutoff, where half of the tail
/// ties with it, or where all of it is equal; inf beyond what float64 can hold. Entries of -inf are ratios of zero, NaN
/// are rows that are not there.
void pareto_k(const double* log_ratio, std::int64_t m, std::int64_t n, const double* base, std::int64_t n_threads,
              double* out);

}  // namespace clinometer
