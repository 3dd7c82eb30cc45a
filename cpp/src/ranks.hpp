// Mid-ranks of a long column, by sorting.
#pragma once
#include <cstdint>

namespace clinometer {

/// out[i * step] = w(f < f_i) + w(f = f_i) / 2 - 1/2 for n entries f[i * stride] without NaN and weights of sum 1;
/// `even`: they are all the same.
void long_ranks(const double* f, std::int64_t stride, const double* w, std::int64_t n, bool even, float* out,
                std::int64_t step);

}  // namespace clinometer
