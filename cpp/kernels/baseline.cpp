// The same table at baseline flags: products by Eigen, the rest as plain loops. It runs everywhere, and it
// is the readable reference that every wide level is compared with.
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

/// Rows by columns with a row length: how Eigen maps panels, directions and results.
template <class L>
View<L> view(const L* from, std::int64_t rows, std::int64_t columns, std::int64_t ld) {
  return View<L>(from, rows, columns, Stride(ld));
}

template <class L>
double decode_one(const void* const row, Dtype type, std::int64_t c, double shift, double* top) {
  const char* const bytes = static_cast<const char*>(row);
  double stored = 0.0;
  switch (type) {
    case Dtype::f32:
      stored = Load<Dtype::f32>::one(bytes + 4 * c);
      break;
    case Dtype::f16:
      stored = Load<Dtype::f16>::one(bytes + 2 * c);
      break;
    case Dtype::bf16:
      stored = Load<Dtype::bf16>::one(bytes + 2 * c);
      break;
    case Dtype::f64:
      stored = Load<Dtype::f64>::one(bytes + 8 * c);
      break;
  }
  const L moved = static_cast<L>(stored - shift);
  *top = std::isfinite(moved) ? std::max(*top, std::abs(static_cast<double>(moved)))
                              : std::numeric_limits<double>::infinity();
  return static_cast<double>(moved);
}

template <Dtype T, class L>
double decode(const void* const* rows, std::int64_t n, std::int64_t begin, std::int64_t end, const L* shift, bool,
              L* tile, std::int64_t tile_rows) {
  double top = 0.0;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t c = begin; c < begin + padded(end - begin); ++c)
      tile[(c - begin) / kPad * kPad * tile_rows + i * kPad + (c - begin) % kPad] =
          c < end ? static_cast<L>(decode_one<L>(rows[i], T, c, shift[c], &top)) : L(0);
  return top;
}

template <class L>
void deviations(const L* panel, std::int64_t n, const double* w, const L* factor, L* mean, L* to) {
  std::fill_n(mean, kPad, L(0));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < kPad; ++j) mean[j] += static_cast<L>(w[i]) * panel[i * kPad + j];
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < kPad; ++j) to[i * kPad + j] = factor[i] * (panel[i * kPad + j] - mean[j]);
}

/// The rows as a plain matrix: the readable way to dots and weigh.
template <Dtype T, class L>
Matrix<L> plain(const void* const* rows, std::int64_t n, std::int64_t d, const L* shift, double* top) {
  Matrix<L> x(n, d);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t c = 0; c < d; ++c) x(i, c) = static_cast<L>(decode_one<L>(rows[i], T, c, shift[c], top));
  return x;
}

template <Dtype T, class L>
void dots(const void* const* rows, std::int64_t n, std::int64_t d, const L* shift, const L* directions, std::int64_t ld,
          std::int64_t n_directions, double* scores, std::int64_t lds) {
  double top = 0.0;
  const Matrix<L> x = plain<T, L>(rows, n, d, shift, &top);
  Sums(scores, n, n_directions, Stride(lds)) =
      (x * view(directions, n_directions, d, ld).transpose()).template cast<double>();
}

/// Here as rows of padded(d), one behind the other.
template <class L>
void pack_four(const L* four, std::int64_t ld, std::int64_t d, std::int64_t first, std::int64_t, L* to) {
  for (std::int64_t k = 0; k < 4; ++k) std::copy_n(four + k * ld, padded(d), to + (first + k) * padded(d));
}

template <Dtype T, class L>
void scores(const void* const* rows, std::int64_t n, std::int64_t, std::int64_t d, const L* shift, const L* packed,
            std::int64_t n_directions, L*, double* scores, std::int64_t lds) {
  Matrix<double> found(n, n_directions);
  dots<T, L>(rows, n, d, shift, packed, padded(d), n_directions, found.data(), n_directions);
  Sums(scores, n, n_directions, Stride(lds)) += found;
}

template <Dtype T, class L>
double weigh(const void* const* rows, std::int64_t n, std::int64_t, std::int64_t d, const L* shift, const L* weights,
             std::int64_t n_weights, bool, L* out, std::int64_t ldo) {
  double top = 0.0;
  const Matrix<L> x = plain<T, L>(rows, n, d, shift, &top);
  Eigen::Map<Matrix<L>, Eigen::Unaligned, Stride>(out, n_weights, d, Stride(ldo)) =
      view(weights, n, n_weights, n_weights).transpose() * x;
  return top;
}

template <class L>
void add(const L* from, std::int64_t n, double factor, double* to) {
  for (std::int64_t c = 0; c < n; ++c) to[c] += factor * static_cast<double>(from[c]);
}

template <class L>
void accumulate(const L* tile, std::int64_t n, std::int64_t tile_rows, std::int64_t width, const L* weights,
                std::int64_t n_weights, std::int64_t ldw, double* out, std::int64_t ldo) {
  for (std::int64_t c = 0; c < width; c += kPad)
    Sums(out + c, n_weights, kPad, Stride(ldo)) +=
        (view(weights, n, n_weights, ldw).transpose() * view(tile + c * tile_rows, n, kPad, kPad))
            .template cast<double>();
}

template <class L>
void gram(const L* tile, std::int64_t n, std::int64_t tile_rows, std::int64_t a0, std::int64_t a1, std::int64_t b0,
          std::int64_t b1, double* out, std::int64_t ldo) {
  for (std::int64_t a = a0; a < a1; a += kPad)
    for (std::int64_t b = b0; b < b1; b += kPad)
      Sums(out + a * ldo + b, kPad, kPad, Stride(ldo)) +=
          (view(tile + a * tile_rows, n, kPad, kPad).transpose() * view(tile + b * tile_rows, n, kPad, kPad))
              .template cast<double>();
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

void exponentials(const double* x, double* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = std::exp(x[i]);
}

void log_masses(const double* x, const double* w, const std::int64_t* small, std::int64_t n, std::int64_t n_tilts,
                double* out) {
  for (std::int64_t m = 0; m < n_tilts; ++m) out[m] = log_mass(x + m, w, small[m] != 0, n, n_tilts);
}

void delete_one(const double* t, const double* w, std::int64_t n, const double* top, const double* lam, bool kl_too,
                double*, double* out) {
  constexpr std::int64_t M = kMostLanes;
  for (std::int64_t m = 0; m < M; ++m) {
    const auto exponent = [&](std::int64_t i) { return lam[m] * (t[i * M + m] - top[m]); };
    double mass = 0.0, moment = 0.0, gains = 0.0, kls = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double e = w[i] * std::exp(exponent(i));
      mass += e;
      moment += e * t[i * M + m];
    }
    const double gain = moment / mass, log_mass = std::log(mass), kl = lam[m] * (gain - top[m]) - log_mass;
    for (std::int64_t i = 0; i < n; ++i) {
      const double x = exponent(i), p = w[i] * std::exp(x) / mass, left = 1.0 / (1.0 - p);
      gains += (gain - p * t[i * M + m]) * left + w[i] / (1.0 - w[i]) * t[i * M + m];
      if (kl_too) kls += (kl - p * (x - log_mass)) * left + std::log((1.0 - w[i]) * left);
    }
    out[m] = gain, out[M + m] = kl, out[2 * M + m] = gains, out[3 * M + m] = kls;
  }
}

template <class L>
constexpr LaneTable<L> lane_table() {
  return {{decode<Dtype::f32, L>, decode<Dtype::f16, L>, decode<Dtype::bf16, L>, decode<Dtype::f64, L>},
          {dots<Dtype::f32, L>, dots<Dtype::f16, L>, dots<Dtype::bf16, L>, dots<Dtype::f64, L>},
          pack_four<L>,
          {scores<Dtype::f32, L>, scores<Dtype::f16, L>, scores<Dtype::bf16, L>, scores<Dtype::f64, L>},
          {},
          {weigh<Dtype::f32, L>, weigh<Dtype::f16, L>, weigh<Dtype::bf16, L>, weigh<Dtype::f64, L>},
          deviations<L>,
          add<L>,
          accumulate<L>,
          gram<L>};
}

}  // namespace

extern const LpTable lp_table;
extern const Table table;
const Table table = {"baseline",
                     lane_table<float>(),
                     lane_table<double>(),
                     tilt,
                     exponentials,
                     log_masses,
                     delete_one,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     nullptr,
                     &lp_table,
                     nullptr};

}  // namespace clinometer::kernels::isa_baseline
