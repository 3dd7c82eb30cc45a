// The same table at baseline flags: products by Eigen, the rest as plain loops. It runs everywhere, and it
// is the readable twin that every wide level is compared with.
#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/load.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::isa_baseline {
namespace {

using Stride = Eigen::OuterStride<>;
template <class L>
using Matrix = Eigen::Matrix<L, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class L>
using View = Eigen::Map<const Matrix<L>, Eigen::Unaligned, Stride>;
using Sums = Eigen::Map<Matrix<double>, Eigen::Unaligned, Stride>;

template <Dtype T, class L>
Decoded decode(const void* const* rows, std::int64_t n, std::int64_t d, const double* shift, L* tile, std::int64_t ld) {
  Decoded seen{0.0, n};
  for (std::int64_t i = 0; i < n; ++i) {
    const char* const row = static_cast<const char*>(rows[i]);
    L* const to = tile + i * ld;
    double spread = 0.0;
    bool finite = true;
    for (std::int64_t c = 0; c < d; ++c) {
      const double stored = Load<T>::one(row + c * Load<T>::bytes), moved = stored - shift[c];
      finite = finite && std::isfinite(stored);
      spread = std::max(spread, std::abs(moved));
      to[c] = static_cast<L>(moved);
    }
    std::fill(to + d, to + ld, L(0));
    if (finite)
      seen.max_abs = std::max(seen.max_abs, spread);
    else
      seen.first_nonfinite = std::min(seen.first_nonfinite, i);
  }
  return seen;
}

template <class L>
void project(const L* tile, std::int64_t n, std::int64_t ld, const L* directions, std::int64_t n_directions,
             double* scores, std::int64_t lds) {
  const View<L> rows(tile, n, ld, Stride(ld)), columns(directions, n_directions, ld, Stride(ld));
  Sums(scores, n, n_directions, Stride(lds)) = (rows * columns.transpose()).template cast<double>();
}

template <class L>
void accumulate(const L* tile, std::int64_t n, std::int64_t ld, const L* weights, std::int64_t n_weights,
                std::int64_t ldw, double* out, std::int64_t ldo) {
  const View<L> rows(tile, n, ld, Stride(ld)), factors(weights, n, n_weights, Stride(ldw));
  Sums(out, n_weights, ld, Stride(ldo)) += (factors.transpose() * rows).template cast<double>();
}

template <class L>
void gram(const L* tile, std::int64_t n, std::int64_t ld, std::int64_t a0, std::int64_t a1, std::int64_t b0,
          std::int64_t b1, double* out, std::int64_t ldo) {
  const View<L> left(tile + a0, n, a1 - a0, Stride(ld)), right(tile + b0, n, b1 - b0, Stride(ld));
  Sums(out + a0 * ldo + b0, a1 - a0, b1 - b0, Stride(ldo)) += (left.transpose() * right).template cast<double>();
}

/// expm1(l) - l = sum_{m >= 2} l^m / m!, by series where the subtraction would cancel.
double expm1_minus(double l) {
  if (!(std::abs(l) < 1.0)) return std::expm1(l) - l;
  double sum = 0.0;
  for (int m = 19; m >= 2; --m) sum = (sum * l + 1.0) / m;  // nested: l/2 (1 + l/3 (1 + ...))
  return sum * l * l;
}

double log_mass(const double* x, const double* w, bool small, std::int64_t n, std::int64_t stride) {
  double excess = 0.0, change = 0.0, mass = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    excess += w[i] * expm1_minus(x[i * stride]);
    change += w[i] * std::expm1(x[i * stride]);
    mass += w[i] * std::exp(x[i * stride]);
  }
  if (small) return std::log1p(excess);
  return change > -0.5 ? std::log1p(change) : std::log(mass);
}

void tilt(const double* x, const double* w, const double* f, const std::int64_t* small, std::int64_t n,
          std::int64_t n_tilts, std::int64_t n_columns, TiltSums out) {
  for (std::int64_t m = 0; m < n_tilts; ++m) {
    const double shift = log_mass(x + m, w, small[m] != 0, n, n_tilts);
    double top = -std::numeric_limits<double>::infinity(), kl = 0.0, reverse_kl = 0.0, chi2 = 0.0, square = 0.0;
    for (std::int64_t j = 0; j < n_columns; ++j) out.gain[j * n_tilts + m] = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double l = x[i * n_tilts + m] - shift, change = std::expm1(l), excess = expm1_minus(l);
      const double p = w[i] * std::exp(l);
      top = std::max(top, l);
      // e^l l - expm1(l); e^l is 0 long before -1e4, which keeps 0 * inf out.
      kl += w[i] * (std::abs(l) < 1.0 ? l * change - excess : std::exp(l) * std::max(l, -1e4) - change);
      reverse_kl += w[i] * excess;
      chi2 += w[i] * change * change;
      square += p * p;
      for (std::int64_t j = 0; j < n_columns; ++j) out.gain[j * n_tilts + m] += w[i] * change * f[i * n_columns + j];
    }
    out.log_partition[m] = shift;
    out.max_ratio[m] = top;
    out.kl[m] = kl;
    out.reverse_kl[m] = reverse_kl;
    out.chi2[m] = chi2;
    out.square[m] = square;
  }
}

}  // namespace

extern const LpTable lp_table;
extern const Table table;
const Table table = {
    "baseline",
    {{decode<Dtype::f32, float>, decode<Dtype::f16, float>, decode<Dtype::bf16, float>, decode<Dtype::f64, float>},
     project<float>,
     accumulate<float>,
     gram<float>},
    {{decode<Dtype::f32, double>, decode<Dtype::f16, double>, decode<Dtype::bf16, double>, decode<Dtype::f64, double>},
     project<double>,
     accumulate<double>,
     gram<double>},
    tilt,
    &lp_table};

}  // namespace clinometer::kernels::isa_baseline
