#include <clinometer/lp/certificate.hpp>

#include <cmath>
#include <numeric>
#include <vector>

namespace clinometer::lp {
namespace {

constexpr double kUnit = 0x1p-53;

/// A sum of doubles held without rounding: components that do not overlap, smallest first (Shewchuk).
class Expansion {
 public:
  void add(double x) {
    std::size_t kept = 0;
    for (const double part : parts_) {
      const double s = x + part, other = s - x, error = (x - (s - other)) + (part - other);
      if (error != 0) parts_[kept++] = error;
      x = s;
    }
    parts_.resize(kept);
    if (x != 0) parts_.push_back(x);
  }
  int sign() const { return parts_.empty() ? 0 : parts_.back() > 0 ? 1 : -1; }

 private:
  std::vector<double> parts_;
};

/// Adds a b; false where the error of the product would be lost below the smallest double.
bool add_product(Expansion& sum, double a, double b) {
  if (a == 0 || b == 0) return true;
  const double p = a * b, size = std::fabs(p);
  if (!(size > 0x1p-960 && size < 0x1p960)) return false;
  sum.add(p);
  sum.add(std::fma(a, b, -p));
  return true;
}

/// Denominator of the simplest fraction within `close` of x in [0, 1], or 0 beyond `most`.
double denominator(double x, double x_low, double close, double most) {
  double before = 0, now = 1, rest = x, rest_low = x_low, whole = 0, top_before = 1, top = 0;
  for (int depth = 0; depth < 64; ++depth) {
    if (depth > 0) {
      const double next = now * whole + before, next_top = top * whole + top_before;
      before = now, now = next, top_before = top, top = next_top;
    }
    if (!(now <= most)) return 0;
    // |x - top / now| with one fused step: enough to compare with `close`
    const double error = (std::fma(-x, now, top) - x_low * now) / now;
    if (std::fabs(error) <= close) return now;
    const double left = rest + rest_low;
    if (!(left > 0)) return 0;
    const double inverse = 1 / left;
    const double inverse_low = -(std::fma(inverse, rest, -1.0) + inverse * rest_low) * inverse;
    whole = std::floor(inverse);
    rest = inverse - whole, rest_low = inverse_low;
    if (rest + rest_low < 0) whole -= 1, rest += 1;
  }
  return 0;
}

/// Weights as integers over one denominator, if their ratios are simple; each below 2^53.
bool as_integers(const std::vector<double>& weight, const std::vector<double>& low, double close,
                 std::vector<double>& integer) {
  constexpr double most = 0x1p52;
  double common = 1;
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const double x = weight[i] * common, below = low[i] * common;
    const double part = x - std::floor(x);
    const double q = denominator(part, below, close * common, most / common);
    if (q == 0) return false;
    common *= q;
    if (!(common <= most)) return false;
  }
  integer.resize(weight.size());
  for (std::size_t i = 0; i < weight.size(); ++i) {
    integer[i] = std::nearbyint(std::fma(weight[i], common, low[i] * common));
    if (!(integer[i] > 0)) return false;
  }
  return true;
}

struct Support {
  std::vector<std::int64_t> rows, columns;  // columns that are not zero over these rows
  std::vector<double> weight, low;          // over the largest weight
};

Support support_of(const double* a, std::int64_t k, std::int64_t d, const double* guess, const double* guess_low) {
  Support s;
  double largest = 0;
  for (std::int64_t i = 0; i < k; ++i) largest = std::fmax(largest, guess[i]);
  for (std::int64_t i = 0; i < k; ++i) {
    if (!(guess[i] > 1e-14 * largest)) continue;
    s.rows.push_back(i);
    const double ratio = guess[i] / largest;
    s.weight.push_back(ratio);
    s.low.push_back(std::fma(-ratio, largest, guess[i]) / largest);
  }
  if (guess_low != nullptr)
    for (std::size_t i = 0; i < s.rows.size(); ++i) {
      // largest carries a low part too: (g + g') / (l + l') ~ g / l + (g' - (g / l) l') / l
      double of_largest = 0;
      for (std::int64_t j = 0; j < k; ++j)
        if (guess[j] == largest) of_largest = guess_low[j];
      s.low[i] += (guess_low[s.rows[i]] - s.weight[i] * of_largest) / largest;
    }
  for (std::int64_t j = 0; j < d; ++j)
    for (const std::int64_t i : s.rows)
      if (a[i * d + j] != 0) {
        s.columns.push_back(j);
        break;
      }
  return s;
}

bool sums_to_zero(const double* a, std::int64_t d, const Support& s, const std::vector<double>& weight) {
  for (const std::int64_t j : s.columns) {
    Expansion sum;
    for (std::size_t i = 0; i < s.rows.size(); ++i)
      if (!add_product(sum, a[s.rows[i] * d + j], weight[i])) return false;
    if (sum.sign() != 0) return false;
  }
  return true;
}

/// inverse of b (s, s) by Gauss and Jordan with row pivots; false if a pivot vanishes.
bool invert(std::vector<double> b, std::int64_t s, std::vector<double>& c) {
  c.assign(std::size_t(s * s), 0);
  for (std::int64_t i = 0; i < s; ++i) c[i * s + i] = 1;
  for (std::int64_t p = 0; p < s; ++p) {
    std::int64_t best = p;
    for (std::int64_t i = p; i < s; ++i)
      if (std::fabs(b[i * s + p]) > std::fabs(b[best * s + p])) best = i;
    if (!(std::fabs(b[best * s + p]) > 0)) return false;
    for (std::int64_t j = 0; j < s && best != p; ++j)
      std::swap(b[p * s + j], b[best * s + j]), std::swap(c[p * s + j], c[best * s + j]);
    const double by = 1 / b[p * s + p];
    for (std::int64_t j = 0; j < s; ++j) b[p * s + j] *= by, c[p * s + j] *= by;
    for (std::int64_t i = 0; i < s; ++i) {
      const double f = b[i * s + p];
      if (i == p || f == 0) continue;
      for (std::int64_t j = 0; j < s; ++j) b[i * s + j] -= f * b[p * s + j], c[i * s + j] -= f * c[p * s + j];
    }
  }
  return true;
}

/// The square system sum_i lambda_i (a_i, 1) = (0, 1) has one solution and it is positive: |I - C B| < 1 for an
/// approximate inverse C, and the residual of the approximate solution bounds its distance from the true one.
bool solution_is_positive(const double* a, std::int64_t d, const Support& support, double blur) {
  const std::int64_t s = std::int64_t(support.rows.size());
  if (std::int64_t(support.columns.size()) + 1 != s) return false;
  std::vector<double> b(std::size_t(s * s), 1), c;
  for (std::int64_t e = 0; e + 1 < s; ++e)
    for (std::int64_t i = 0; i < s; ++i) b[e * s + i] = a[support.rows[i] * d + support.columns[e]];
  if (!invert(b, s, c)) return false;
  const double slack = 4 * double(s + 2) * kUnit;
  double alpha = 0;
  for (std::int64_t i = 0; i < s; ++i) {
    double row = 0;
    for (std::int64_t j = 0; j < s; ++j) {
      double sum = i == j ? -1 : 0, size = i == j ? 1 : 0;
      for (std::int64_t e = 0; e < s; ++e) {
        sum += c[i * s + e] * b[e * s + j];
        size += std::fabs(c[i * s + e] * b[e * s + j]);
      }
      double uncertain = 0;
      for (std::int64_t e = 0; e + 1 < s && blur > 0; ++e) uncertain += std::fabs(c[i * s + e]) * blur;
      row += std::fabs(sum) + slack * size + 2 * uncertain;
    }
    alpha = std::fmax(alpha, row);
  }
  if (!(alpha < 0.5)) return false;
  std::vector<double> residual(std::size_t(s), 0);
  for (std::int64_t e = 0; e < s; ++e) {
    double sum = e + 1 == s ? -1 : 0, size = 1;
    for (std::int64_t i = 0; i < s; ++i) {
      if (e + 1 < s) residual[e] += 2 * blur * std::fabs(c[i * s + s - 1]);
      sum += b[e * s + i] * c[i * s + s - 1];
      size += std::fabs(b[e * s + i] * c[i * s + s - 1]);
    }
    residual[e] += std::fabs(sum) + slack * size;
  }
  double far = 0;
  for (std::int64_t i = 0; i < s; ++i) {
    double sum = 0;
    for (std::int64_t e = 0; e < s; ++e) sum += std::fabs(c[i * s + e]) * residual[e];
    far = std::fmax(far, sum);
  }
  far *= (1 + slack) / (1 - alpha);
  for (std::int64_t i = 0; i < s; ++i)
    if (!(c[i * s + s - 1] > far)) return false;
  return true;
}

}  // namespace

int exact_sign(const double* a, std::int64_t stride, const double* b, const double* b_low, std::int64_t n) {
  Expansion sum;
  for (std::int64_t i = 0; i < n; ++i) {
    if (!add_product(sum, a[i * stride], b[i])) return 2;
    if (b_low != nullptr && !add_product(sum, a[i * stride], b_low[i])) return 2;
  }
  return sum.sign();
}

bool small_ratios(const std::vector<double>& weight, std::vector<double>& integer) {
  std::vector<double> used, whole;
  double largest = 0;
  for (const double w : weight) largest = std::fmax(largest, w);
  for (const double w : weight)
    if (w > 1e-14 * largest) used.push_back(w / largest);
  if (used.empty() || !as_integers(used, std::vector<double>(used.size(), 0), 1e-13, whole)) return false;
  integer.assign(weight.size(), 0);
  std::size_t next = 0;
  for (std::size_t i = 0; i < weight.size(); ++i)
    if (weight[i] > 1e-14 * largest) integer[i] = whole[next++];
  return true;
}

bool holds_origin(const double* a, std::int64_t k, std::int64_t d, const double* guess, const double* guess_low,
                  double blur) {
  const Support support = support_of(a, k, d, guess, guess_low);
  if (support.rows.empty()) return false;
  if (support.columns.empty() || solution_is_positive(a, d, support, blur)) return true;
  if (blur > 0) return false;
  std::vector<double> integer;
  for (const double close : {1e-13, guess_low == nullptr ? 0.0 : 1e-26})
    if (close > 0 && as_integers(support.weight, support.low, close, integer) && sums_to_zero(a, d, support, integer))
      return true;
  return false;
}

}  // namespace clinometer::lp
