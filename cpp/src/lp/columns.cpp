#include "src/lp/columns.hpp"

#include <clinometer/lp/certificate.hpp>
#include <cmath>
#include <limits>

#include "src/lp/parallel.hpp"
#include "src/lp/scaled.hpp"

namespace clinometer::lp {
namespace {

constexpr std::int64_t kChunk = 2048;
constexpr std::int64_t kFirst = 512;  // columns to start with, spread over the chunks
constexpr int kFar = 400;             // exponents beyond this are taken out of the data itself
constexpr double kInfinite = std::numeric_limits<double>::infinity();

struct Sum {
  double high = 0, low = 0, mass = 0;
  void add(double a, double b) {
    const double p = a * b, s = high + p, other = s - high;
    low += std::fma(a, b, -p) + ((high - (s - other)) + (p - other));
    high = s;
    mass += std::fabs(p);
  }
  double value() const { return high + low; }
};

bool before(const Priced& a, const Priced& b) { return a.price > b.price || (a.price == b.price && a.at < b.at); }

void keep_best(std::vector<Priced>& list, std::int64_t most) {
  if (std::int64_t(list.size()) <= most) return;
  std::nth_element(list.begin(), list.begin() + most, list.end(), before);
  list.resize(std::size_t(most));
}

/// Up to `most` of the largest price - constant above `above`.
void collect(const double* prices, std::int64_t begin, std::int64_t count, double constant, double above,
             std::int64_t most, std::vector<Priced>& list) {
  for (std::int64_t p = 0; p < count; ++p) {
    const double price = prices[p] - constant;
    if (!(price > above)) continue;
    list.push_back({begin + p, price});
    if (std::int64_t(list.size()) < 4 * most) continue;
    keep_best(list, most);
    above = std::max_element(list.begin(), list.end(), before)->price;  // the least of those kept
  }
  keep_best(list, most);
}

}  // namespace

Columns::Columns(const Entries& m, const double* offset, const Work& work)
    : m_(m), offset_(std::size_t(m.k), 0), largest_(std::size_t(m.k), 0), work_(work) {
  if (offset != nullptr) offset_.assign(offset, offset + m.k);
  scan();
  if (!finite_) return;
  bool far = false;
  for (std::int64_t i = 0; i < m_.k; ++i) {
    const double size = largest_[i];
    exponent_.push_back(size > 0 ? exponent_of(size) + (offset_[i] != 0 ? 2 : 1) : 0);
    far = far || std::abs(exponent_.back()) > kFar;
  }
  given_ = exponent_;
  if (far) shrink();
}

/// Sizes, finiteness, and candidates: each row's largest entry and, for a coarse grid, the column whose smallest
/// entry is largest.
void Columns::scan() {
  const std::int64_t chunks = (m_.n + kChunk - 1) / kChunk;
  struct Seen {
    std::vector<double> size, top;
    std::vector<std::int64_t> top_at;
    std::vector<Priced> best;
    bool finite = true;
  };
  const std::int64_t each = std::max<std::int64_t>(1, kFirst / chunks), group = (chunks + kFirst - 1) / kFirst;
  std::vector<Seen> seen(std::size_t(chunks), Seen{});
  parallel(chunks, work_, [&](std::int64_t c, int) {
    Seen& s = seen[c];
    const std::int64_t begin = c * kChunk, count = std::min(kChunk, m_.n - begin);
    std::vector<double> least(std::size_t(count), kInfinite);
    for (std::int64_t i = 0; i < m_.k; ++i) {
      double size = 0, top = -kInfinite;
      by_width(m_, [&](const auto* m, const auto& table) {
        const auto* const row = m + i * m_.stride + begin;
        s.finite = (table.scan(row, count, offset_[i], least.data(), &size, &top) == 0) && s.finite;
        s.top_at.push_back(s.finite ? begin + (std::find(row, row + count, top) - row) : begin);
      });
      s.size.push_back(size);
      s.top.push_back(top);
    }
    if (s.finite) collect(least.data(), begin, count, 0, -kInfinite, each, s.best);
  });
  std::vector<std::int64_t> top(std::size_t(m_.k), 0);
  std::vector<double> height(std::size_t(m_.k), -kInfinite);
  for (std::int64_t c = 0; c < chunks; ++c) {
    finite_ = finite_ && seen[c].finite;
    for (std::int64_t i = 0; i < m_.k; ++i) {
      largest_[i] = std::max(largest_[i], seen[c].size[i]);
      if (seen[c].top[i] > height[i]) height[i] = seen[c].top[i], top[i] = seen[c].top_at[i];
    }
    if (c % group == 0)
      for (const Priced& column : seen[c].best) first_.push_back(column.at);
  }
  for (const Seen& s : seen)
    for (std::int64_t i = 0; i < m_.k; ++i) chunk_size_.push_back(s.size[i] + std::fabs(offset_[i]));
  chunk_top_.assign(std::size_t(chunks), kInfinite);
  chunk_y_.assign(chunk_size_.size(), 0);
  for (std::int64_t i = 0; i < m_.k; ++i) largest_[i] = std::max(largest_[i], std::fabs(offset_[i]));
  first_.insert(first_.end(), top.begin(), top.end());
  std::sort(first_.begin(), first_.end());
  first_.erase(std::unique(first_.begin(), first_.end()), first_.end());
}

/// A copy over powers of two, for rows so large or small that prices would leave the range of doubles.
void Columns::shrink() {
  copy_.resize(std::size_t(m_.k * m_.n));
  for (std::int64_t i = 0; i < m_.k; ++i) {
    for (std::int64_t p = 0; p < m_.n; ++p) copy_[i * m_.n + p] = scale_by(given(i, p), -exponent_[i]);
    offset_[i] = scale_by(offset_[i], -exponent_[i]);
    exponent_[i] = 0;
  }
  m_ = {copy_.data(), m_.n, m_.k, m_.n, nullptr};
}

double Columns::given(std::int64_t i, std::int64_t p) const {
  return m_.narrow != nullptr ? double(m_.narrow[i * m_.stride + p]) : m_.wide[i * m_.stride + p];
}

double Columns::entry(std::int64_t i, std::int64_t p) const {
  return scale_by(given(i, p) - offset_[i], -exponent_[i]);
}

std::vector<double> Columns::folded(const std::vector<double>& y, double& constant) const {
  std::vector<double> out(y);
  Sum total;
  for (std::int64_t i = 0; i < m_.k; ++i) {
    out[i] = scale_by(y[i], -exponent_[i]);
    total.add(out[i], offset_[i]);
  }
  constant = total.value();
  return out;
}

double Columns::chunk_prices(std::int64_t chunk, const std::vector<double>& y, double* prices) const {
  const std::int64_t begin = chunk * kChunk;
  return by_width(m_, [&](const auto* m, const auto& table) {
    return table.price(m + begin, m_.stride, m_.k, std::min(kChunk, m_.n - begin), y.data(), prices);
  });
}

double Columns::exact_price(const std::vector<double>& y, std::int64_t p, double& doubt_out) const {
  Sum sum;
  for (std::int64_t i = 0; i < m_.k; ++i) {
    const double by = scale_by(y[i], -exponent_[i]);
    sum.add(by, given(i, p));
    sum.add(-by, offset_[i]);
  }
  doubt_out = doubt(sum.value(), 2 * m_.k, sum.mass);
  return sum.value();
}

Pass Columns::price(const std::vector<double>& y, double cutoff, std::int64_t most) {
  const std::int64_t chunks = (m_.n + kChunk - 1) / kChunk;
  double constant = 0, size = 0;
  const std::vector<double> by = folded(y, constant);
  for (std::int64_t i = 0; i < m_.k; ++i) size += std::fabs(y[i]);
  const double blur = 4 * double(m_.k + 2) * 0x1p-53 * size;  // of a price: entries are at most 1 in size
  std::vector<std::vector<Priced>> found(std::size_t(chunks), std::vector<Priced>{});
  std::vector<double> top(std::size_t(chunks), -kInfinite);
  parallel(chunks, work_, [&](std::int64_t c, int) {
    double reach = chunk_top_[c] + 2 * blur;
    for (std::int64_t i = 0; i < m_.k; ++i)
      reach +=
          std::fabs(y[i] - chunk_y_[c * m_.k + i]) * scale_by(chunk_size_[c * m_.k + i], -given_[i]) * (1 + 0x1p-50);
    if (reach < cutoff) return;
    double prices[kChunk];
    top[c] = chunk_prices(c, by, prices) - constant;
    chunk_top_[c] = top[c] + 2 * blur;
    std::copy(y.begin(), y.end(), chunk_y_.begin() + c * m_.k);
    if (!(top[c] > cutoff)) return;
    collect(prices, c * kChunk, std::min(kChunk, m_.n - c * kChunk), constant, cutoff, most, found[c]);
  });
  Pass pass{{}, -kInfinite, 0};
  const double highest = *std::max_element(top.begin(), top.end());
  std::vector<double> prices(std::size_t(kChunk), 0);
  for (std::int64_t c = 0; c < chunks; ++c) {
    pass.best.insert(pass.best.end(), found[c].begin(), found[c].end());
    if (std::int64_t(pass.best.size()) > 8 * most) keep_best(pass.best, most);
    if (!(top[c] >= highest - 2 * blur)) continue;
    chunk_prices(c, by, prices.data());
    for (std::int64_t p = c * kChunk; p < std::min(m_.n, (c + 1) * kChunk); ++p) {
      if (!(prices[p - c * kChunk] - constant >= highest - 2 * blur)) continue;
      double doubt_of = 0;
      const double price = exact_price(y, p, doubt_of);
      if (price + doubt_of > pass.top + pass.doubt) pass.top = price, pass.doubt = doubt_of;
    }
  }
  keep_best(pass.best, most);
  std::sort(pass.best.begin(), pass.best.end(), before);
  return pass;
}

double Columns::product(std::int64_t i, const std::vector<std::int64_t>& at, const std::vector<double>& w,
                        double& doubt_out) const {
  Sum sum;
  const double factor = scale_by(1.0, -exponent_[i]);
  for (std::size_t j = 0; j < at.size(); ++j) {
    sum.add(w[j], given(i, at[j]) * factor);
    sum.add(-w[j], offset_[i] * factor);
  }
  doubt_out = doubt(sum.value(), 2 * std::int64_t(at.size()), sum.mass);
  return sum.value();
}

bool Columns::none_positive(const std::vector<double>& y) const {
  double constant = 0, size = 0;
  const std::vector<double> by = folded(y, constant);
  for (const double v : y) size += std::fabs(v);
  const double blur = 4 * double(m_.k + 2) * 0x1p-53 * size;
  const std::int64_t chunks = (m_.n + kChunk - 1) / kChunk;
  std::vector<char> good(std::size_t(chunks), 1);
  parallel(chunks, work_, [&](std::int64_t c, int) {
    double prices[kChunk];
    chunk_prices(c, by, prices);
    const std::int64_t begin = c * kChunk, count = std::min(kChunk, m_.n - begin);
    std::vector<double> terms(std::size_t(2 * m_.k), 0), weights(terms);
    for (std::int64_t p = 0; p < count && good[c]; ++p) {
      const double price = prices[p] - constant;
      if (price <= -blur) continue;
      for (std::int64_t i = 0; i < m_.k; ++i) {
        terms[2 * i] = given(i, begin + p), terms[2 * i + 1] = -offset_[i];
        weights[2 * i] = weights[2 * i + 1] = by[i];
      }
      const int sign = price > blur ? 1 : exact_sign(terms.data(), 1, weights.data(), nullptr, 2 * m_.k);
      good[c] = sign == 0 || sign == -1;
    }
  });
  return std::find(good.begin(), good.end(), 0) == good.end();
}

}  // namespace clinometer::lp
