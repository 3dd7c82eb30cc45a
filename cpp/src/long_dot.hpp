// A dot product whose sum keeps about twice the digits of a double.
#pragma once
#include <cstdint>
#include <cstring>

namespace clinometer {

/// sum_c u_c x_c / scale, scale a power of two. Where x holds floats every product is exact too, because u is cut
/// into halves: the result is then the exact sum to an ulp of itself and some 1e-32 of the sum of magnitudes.
inline double long_dot(const double* u, double scale, const double* x, std::int64_t n) {
  constexpr int kChains = 4;
  double sum[kChains] = {}, rest[kChains] = {};
  const auto add = [&](int j, double term) {
    const double total = sum[j] + term, taken = total - sum[j];
    rest[j] += (sum[j] - (total - taken)) + (term - taken);
    sum[j] = total;
  };
  const auto product = [&](int j, std::int64_t c) {
    const double a = u[c] / scale;
    std::uint64_t bits;
    std::memcpy(&bits, &a, 8);
    bits &= ~((std::uint64_t{1} << 27) - 1);
    double high;
    std::memcpy(&high, &bits, 8);
    add(j, high * x[c]);
    add(j, (a - high) * x[c]);
  };
  std::int64_t c = 0;
  for (; c + kChains <= n; c += kChains)
    for (int j = 0; j < kChains; ++j) product(j, c + j);
  for (; c < n; ++c) product(0, c);
  for (int j = 1; j < kChains; ++j) {
    add(0, sum[j]);
    rest[0] += rest[j];
  }
  return sum[0] + rest[0];
}

}  // namespace clinometer
