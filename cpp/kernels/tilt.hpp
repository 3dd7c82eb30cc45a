// Sums of the exact tilt of one prompt (theory 2.2), f64 lanes over tilts. Pass 1 finds L for every tilt,
// pass 2 forms l = x - L and its sums. Every term of kl and reverse_kl is non-negative and formed without
// cancellation, so nothing is lost at tilts of 1e-8.
#pragma once
#include "kernels/simd.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// exp(l), expm1(l) and expm1(l) - l, by series inside |l| < 1 and from exp outside. exp is kept beside
/// expm1: outside, expm1 + 1 would lose the digits of a small exp.
struct Growth {
  Doubles exp, expm1, excess;
};

CLINOMETER_INLINE Growth grow(Doubles l) {
  const auto inside = magnitude(l) < 1.0;
  const Doubles series = expm1_minus(inside ? l : Doubles{});
  const Doubles exp = exponential(l), far = exp - 1.0;
  return {exp, inside ? l + series : far, inside ? series : far - l};
}

/// L of kPace tilts. Large regime: log of the mass if that is small, else log1p of the change. The two agree
/// for weights of sum 1; where f64 weights miss 1 by a rounding, the change is not disturbed by it.
CLINOMETER_INLINE void log_masses_at(const double* x, const double* w, const std::int64_t* small, std::int64_t n,
                                     std::int64_t stride, double* log_partition) {
  Doubles excess = {}, change = {}, mass = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const Growth g = grow(loadu<double>(x + i * stride));
    excess += w[i] * g.excess;
    change += w[i] * g.expm1;
    mass += w[i] * g.exp;
  }
  for (int j = 0; j < kPace; ++j)
    log_partition[j] = small[j] != 0      ? __builtin_log1p(excess[j])
                       : change[j] > -0.5 ? __builtin_log1p(change[j])
                                          : __builtin_log(mass[j]);
}

struct LaneSums {
  Doubles top = broadcast(-__builtin_inf());
  Doubles kl = {}, reverse_kl = {}, chi2 = {}, square = {};

  /// Takes one row in and returns w expm1(l), the weight its columns enter the gains with.
  CLINOMETER_INLINE Doubles absorb(Doubles l, double w) {
    const Growth g = grow(l);
    const Doubles floor = broadcast(-1e4);  // e^l is 0 long before: keeps 0 * inf out of kl
    const Doubles finite = l < floor ? floor : l;
    const auto inside = magnitude(l) < 1.0;
    const Doubles p = w * g.exp, moved = w * g.expm1;
    top = larger(l, top);
    kl += w * (inside ? l * g.expm1 - g.excess : g.exp * finite - g.expm1);
    reverse_kl += w * g.excess;
    chi2 += moved * g.expm1;
    square += p * p;
    return moved;
  }
};

/// gain[j] += sum over a few rows of moved * f_j: rows are buffered so that any number of columns fits.
CLINOMETER_INLINE void add_gains(const Doubles* moved, const double* f, std::int64_t rows, std::int64_t n_columns,
                                 double* gain, std::int64_t stride) {
  for (std::int64_t j = 0; j < n_columns; ++j) {
    Doubles sum = loadu<double>(gain + j * stride);
    for (std::int64_t i = 0; i < rows; ++i) sum += moved[i] * f[i * n_columns + j];
    storeu<double>(gain + j * stride, sum);
  }
}

void tilt(const double* x, const double* w, const double* f, const std::int64_t* small, std::int64_t n,
          std::int64_t n_tilts, std::int64_t n_columns, TiltSums out) {
  constexpr std::int64_t kBuffer = 32;
  for (std::int64_t k = 0; k < n_columns * n_tilts; ++k) out.gain[k] = 0.0;
  for (std::int64_t m = 0; m < n_tilts; m += kPace) {
    log_masses_at(x + m, w, small + m, n, n_tilts, out.log_partition + m);
    const Doubles shift = loadu<double>(out.log_partition + m);
    LaneSums sums;
    for (std::int64_t i0 = 0; i0 < n; i0 += kBuffer) {
      const std::int64_t rows = n - i0 < kBuffer ? n - i0 : kBuffer;
      Doubles moved[kBuffer];
      for (std::int64_t i = 0; i < rows; ++i)
        moved[i] = sums.absorb(loadu<double>(x + (i0 + i) * n_tilts + m) - shift, w[i0 + i]);
      add_gains(moved, f + i0 * n_columns, rows, n_columns, out.gain + m, n_tilts);
    }
    storeu<double>(out.max_ratio + m, sums.top);
    storeu<double>(out.kl + m, sums.kl);
    storeu<double>(out.reverse_kl + m, sums.reverse_kl);
    storeu<double>(out.chi2 + m, sums.chi2);
    storeu<double>(out.square + m, sums.square);
  }
}

void log_masses(const double* x, const double* w, const std::int64_t* small, std::int64_t n, std::int64_t n_tilts,
                double* out) {
  for (std::int64_t m = 0; m < n_tilts; m += kPace) log_masses_at(x + m, w, small + m, n, n_tilts, out + m);
}

/// out = exp(x), entry by entry.
void exponentials(const double* x, double* out, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kPace <= n; i += kPace) storeu<double>(out + i, exponential(loadu<double>(x + i)));
  if (i == n) return;
  double rest[kPace] = {};
  for (std::int64_t j = i; j < n; ++j) rest[j - i] = x[j];
  storeu<double>(rest, exponential(loadu<double>(rest)));
  for (std::int64_t j = i; j < n; ++j) out[j] = rest[j - i];
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
