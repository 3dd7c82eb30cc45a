#include "src/lp/sieve.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/table.hpp"
#include "src/lp/parallel.hpp"
#include "src/lp/scaled.hpp"

namespace clinometer::lp {
namespace {

constexpr std::int64_t kBlock = 64, kSample = 16384;  // a sample is blocks of columns, no fewer than kSample
constexpr std::int64_t kShare = 128;                  // or k in so many: prices of more rows take more to know
constexpr std::int64_t kChunk = 4096;                 // columns of one task
constexpr int kRounds = 4;
constexpr double kMargin = 1e-9;  // by which columns left out stay below the value, over the size of prices

/// Columns copied out of the game: entries (k, at.size()) and where they stood.
struct Kept {
  std::vector<std::int64_t> at;
  std::vector<double> entries;
  Entries view(std::int64_t k) const {
    const std::int64_t n = std::int64_t(at.size());
    return {entries.data(), n, k, n, nullptr};
  }
};

/// run(row of T) for every row i.
template <class F>
void each_row(const Entries& m, F&& run) {
  for (std::int64_t i = 0; i < m.k; ++i)
    if (m.narrow != nullptr) {
      run(m.narrow + i * m.stride);
    } else {
      run(m.wide + i * m.stride);
    }
}

Kept copied(const Entries& m, std::vector<std::int64_t> at) {
  Kept kept{std::move(at), {}};
  kept.entries.resize(std::size_t(m.k) * kept.at.size());
  double* to = kept.entries.data();
  each_row(m, [&](const auto* row) {
    for (const std::int64_t p : kept.at) *to++ = double(row[p]);
  });
  return kept;
}

Kept sample(const Entries& m) {
  const std::int64_t blocks = std::max(kSample, m.n * std::min<std::int64_t>(m.k, 16) / kShare) / kBlock;
  std::vector<std::int64_t> at;
  for (std::int64_t block = 0; block < blocks; ++block)
    for (std::int64_t p = 0; p < kBlock; ++p) at.push_back(block * (m.n - kBlock) / (blocks - 1) + p);
  return copied(m, std::move(at));
}

class Sieve {
 public:
  Sieve(const Entries& m, const Work& work)
      : m_(m), work_(work), sample_(sample(m)), size_(std::int64_t(sample_.at.size())) {
    for (std::int64_t i = 0; i < m.k; ++i) {
      double size = 0;
      for (std::int64_t p = 0; p < size_; ++p) size = std::max(size, std::fabs(sample_.entries[i * size_ + p]));
      usable_ = usable_ && size > 0x1p-300 && size < 0x1p300;
      scale_.push_back(usable_ ? scale_by(1.0, -exponent_of(size)) : 1);
    }
  }

  std::optional<EnsembleResult> solve() {
    if (!usable_) return std::nullopt;
    EnsembleResult near = solve_ensemble(sample_.view(m_.k), work_);
    std::vector<std::int64_t> good;  // columns in use so far, always kept: they attain near.lower
    for (const std::int64_t p : near.at) good.push_back(sample_.at[p]);
    for (int round = 1; round <= kRounds; ++round) {
      if (near.status == Status::invalid) return std::nullopt;
      double size = 0;
      for (std::int64_t i = 0; i < m_.k; ++i) size += near.dual[i] / scale_[i];
      const double cutoff = near.lower - kMargin * size, reach = choose_reach(near.dual, cutoff);
      if (!(reach > 0)) return std::nullopt;
      // rounding of a price is within k + 2 units of `size` times the length of the column
      const std::optional<Kept> kept = sifted(near.dual, cutoff, reach + double(m_.k + 4) * 0x1p-50 * size, good);
      if (!kept) return std::nullopt;
      EnsembleResult found = solve_whole(kept->view(m_.k), work_);
      for (std::int64_t& p : found.at) p = kept->at[p];
      found.passes = round;
      if (found.status == Status::invalid || distance(found.dual, near.dual) <= reach) return found;
      good = found.at;
      near = std::move(found);
    }
    return std::nullopt;
  }

 private:
  double distance(const std::vector<double>& a, const std::vector<double>& b) const {
    double sum = 0;
    for (std::int64_t i = 0; i < m_.k; ++i) sum += (a[i] - b[i]) / scale_[i] * ((a[i] - b[i]) / scale_[i]);
    return std::sqrt(sum) * (1 + 0x1p-40);
  }

  /// How far prices may move for about 64 sqrt(n) columns, or one in 16, to be kept, judged by the sample.
  double choose_reach(const std::vector<double>& y, double cutoff) const {
    std::vector<double> lack(std::size_t(kSample), 0);
    for (std::int64_t p = 0; p < kSample; ++p) {
      double price = 0, square = 0;
      for (std::int64_t i = 0; i < m_.k; ++i) {
        const double x = sample_.entries[i * size_ + p * size_ / kSample];
        price += y[i] * x;
        square += x * scale_[i] * (x * scale_[i]);
      }
      lack[p] = square > 0 ? (cutoff - price) / std::sqrt(square) : std::numeric_limits<double>::infinity();
    }
    const auto rank = std::int64_t(double(kSample) * std::min(64 / std::sqrt(double(m_.n)), 1.0 / 16));
    std::nth_element(lack.begin(), lack.begin() + rank, lack.end());
    return std::min(lack[rank], 1e3 * distance(y, std::vector<double>(std::size_t(m_.k), 0)));
  }

  std::optional<Kept> sifted(const std::vector<double>& y, double cutoff, double reach,
                             const std::vector<std::int64_t>& good) const {
    const std::int64_t chunks = (m_.n + kChunk - 1) / kChunk, most = m_.n / 8;  // more are not worth a copy
    std::vector<Kept> parts(std::size_t(chunks), Kept{});
    std::atomic<std::int64_t> total{0};
    parallel(chunks, work_, [&](std::int64_t c, int) {
      if (total > most) return;
      std::int32_t at[kChunk];
      const std::int64_t begin = c * kChunk, count = std::min(kChunk, m_.n - begin);
      const kernels::LpTable& table = *kernels::active().lp;
      const std::int64_t found =
          m_.narrow != nullptr
              ? table.narrow.sift(m_.narrow + begin, m_.stride, m_.k, count, y.data(), scale_.data(), reach, cutoff, at)
              : table.wide.sift(m_.wide + begin, m_.stride, m_.k, count, y.data(), scale_.data(), reach, cutoff, at);
      std::vector<std::int64_t> columns;
      for (std::int64_t j = 0; j < found; ++j) columns.push_back(begin + at[j]);
      for (const std::int64_t p : good)
        if (p >= begin && p < begin + count) columns.push_back(p);
      std::sort(columns.begin(), columns.end());
      columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
      total += std::int64_t(columns.size());
      parts[c] = copied(m_, std::move(columns));
    });
    if (total > most) return std::nullopt;
    Kept all;
    for (const Kept& part : parts) all.at.insert(all.at.end(), part.at.begin(), part.at.end());
    for (std::int64_t i = 0; i < m_.k; ++i)
      for (const Kept& part : parts) {
        const auto row = part.entries.begin() + std::ptrdiff_t(i * std::int64_t(part.at.size()));
        all.entries.insert(all.entries.end(), row, row + std::ptrdiff_t(part.at.size()));
      }
    return all;
  }

  const Entries& m_;
  const Work& work_;
  Kept sample_;
  std::int64_t size_;
  std::vector<double> scale_;
  bool usable_ = true;
};

}  // namespace

std::optional<EnsembleResult> solve_sieved(const Entries& m, const Work& work) {
  if (m.n < 4 * kSample) return std::nullopt;
  return Sieve(m, work).solve();
}

}  // namespace clinometer::lp
