// One problem's rows after exact powers of two: largest entry of each row in [1/2, 1).
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/table.hpp"

namespace clinometer::lp {

/// Doubles that start on a cache line, so that lanes may be loaded as vectors.
class Aligned {
 public:
  void reserve(std::int64_t count) {
    if (std::int64_t(storage_.size()) < count + 8) storage_.resize(std::size_t(count + 8));
  }
  double* data() {
    const auto at = reinterpret_cast<std::uintptr_t>(storage_.data());
    return storage_.data() + (64 - at % 64) % 64 / sizeof(double);
  }

 private:
  std::vector<double> storage_;
};

/// x 2^e: ldexp, without its call where 2^e is a normal number.
inline double scale_by(double x, int e) {
  if (e < -1000 || e > 1000) return std::ldexp(x, e);
  return x * std::bit_cast<double>(std::uint64_t(e + 1023) << 52);
}

/// ilogb of a positive finite number.
inline int exponent_of(double x) {
  const int biased = int(std::bit_cast<std::uint64_t>(x) >> 52);
  return biased == 0 ? std::ilogb(x) : biased - 1023;
}

enum class Rows { fine, zero, invalid };

/// Exponents of the rows of a (k, d) and the rows over 2^exponent. `zero` names the first zero row in `which`.
inline Rows scale_rows(const double* a, std::int64_t k, std::int64_t d, double* scaled, int* exponent,
                       std::int64_t& which) {
  Rows kind = Rows::fine;
  for (std::int64_t i = 0; i < k; ++i) {
    double largest = 0, poison = 0;
    for (std::int64_t j = 0; j < d; ++j) {
      const double size = std::fabs(a[i * d + j]);
      largest = size > largest ? size : largest;
      poison += a[i * d + j] - a[i * d + j];  // NaN for NaN and Inf
    }
    if (!(poison == 0)) return Rows::invalid;
    if (largest == 0) {
      if (kind == Rows::fine) which = i;
      kind = Rows::zero;
      exponent[i] = 0;
      continue;
    }
    const int e = exponent_of(largest) + 1;
    exponent[i] = e;
    if (e > -1000 && e < 1000) {
      const double factor = scale_by(1.0, -e);
      for (std::int64_t j = 0; j < d; ++j) scaled[i * d + j] = a[i * d + j] * factor;
    } else {
      for (std::int64_t j = 0; j < d; ++j) scaled[i * d + j] = scale_by(a[i * d + j], -e);
    }
  }
  return kind;
}

/// What `evaluate` may be off by, for `terms` terms of total size `mass` and a result `value`.
inline double doubt(double value, std::int64_t terms, double mass) {
  const double n = double(terms + 2);
  return 0x1p-52 * std::fabs(value) + 0x1p-99 * n * n * mass + n * 1e-300;
}

}  // namespace clinometer::lp
