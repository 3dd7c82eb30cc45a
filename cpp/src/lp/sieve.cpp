#include "src/lp/sieve.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "src/lp/columns.hpp"
#include "src/lp/parallel.hpp"
#include "src/lp/scaled.hpp"

namespace clinometer::lp {
namespace {

constexpr std::int64_t kBlock = 64, kSample = 16384;  // a sample is blocks of columns
constexpr std::int64_t kShare = 128;                  // k in so many columns are solved before the whole
constexpr std::int64_t kChunk = 2048;                 // columns of one task
constexpr std::int64_t kFew = 2048;                   // about how many columns are thought to hold the answer
constexpr int kRounds = 4;
constexpr double kMargin = 1e-9;  // by which columns left out stay below the value, over the size of prices

using Places = std::vector<std::int64_t>;

/// Columns whose price at y comes within `reach` times their length of `cutoff`.
struct Question {
  const double *y, *scale;
  double reach, cutoff;
  bool passes(double price, double square) const {  // false only where both are numbers
    const double lack = cutoff - price;
    return !(lack > 0 && reach * reach * square < lack * lack);
  }
};

/// Columns that passed, ascending: where they stand, their prices and squared lengths.
struct Sifted {
  Places at;
  std::vector<double> price, square;
};

Sifted sifted(const Entries& m, std::int64_t begin, std::int64_t count, const Question& q) {
  constexpr std::int64_t room = kChunk + kernels::kMostLanes;
  std::int32_t at[room];
  double price[room], square[room];
  const std::int64_t found = by_width(m, [&](const auto* from, const auto& table) {
    return table.sift(from + begin, m.stride, m.k, count, q.y, q.scale, q.reach, q.cutoff, at, price, square);
  });
  Sifted out{{}, {price, price + found}, {square, square + found}};
  out.at.reserve(std::size_t(found));
  for (std::int64_t j = 0; j < found; ++j) out.at.push_back(begin + at[j]);
  return out;
}

/// Columns copied out of the game, in one piece.
struct Copy {
  std::vector<double> entries;
  Entries view;
  Copy(const Entries& m, const std::int64_t* at, std::int64_t n) : entries(std::size_t(m.k * n)) {
    view = {entries.data(), n, m.k, n, nullptr};
    by_width(m, [&](const auto* from, const auto&) {
      for (std::int64_t i = 0; i < m.k; ++i)
        for (std::int64_t j = 0; j < n; ++j) entries[std::size_t(i * n + j)] = double(from[i * m.stride + at[j]]);
      return 0;
    });
  }
};

EnsembleResult solve_some(const Entries& m, const Places& at, const Work& work) {
  EnsembleResult found = solve_whole(Copy(m, at.data(), std::int64_t(at.size())).view, work);
  for (std::int64_t& p : found.at) p = at[std::size_t(p)];
  return found;
}

Places merged(const Places& a, const Places& b) {
  Places out;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
  return out;
}

Places spread(std::int64_t n) {
  constexpr std::int64_t blocks = kSample / kBlock;
  Places at;
  for (std::int64_t block = 0; block < blocks; ++block)
    for (std::int64_t p = 0; p < kBlock; ++p) at.push_back(block * (n - kBlock) / (blocks - 1) + p);
  return at;
}

class Sieve {
 public:
  Sieve(const Entries& m, const Work& work)
      : m_(m), work_(work), sample_at_(spread(m.n)), sample_(m, sample_at_.data(), kSample) {
    for (std::int64_t i = 0; i < m.k; ++i) {
      double size = 0;
      for (std::int64_t p = 0; p < kSample; ++p) size = std::max(size, std::fabs(sample_.entries[i * kSample + p]));
      usable_ = usable_ && size > 0x1p-300 && size < 0x1p300;
      scale_.push_back(usable_ ? scale_by(1.0, -exponent_of(size)) : 1);
    }
  }

  std::optional<EnsembleResult> solve() {
    if (!usable_) return std::nullopt;
    EnsembleResult near = solve_whole(sample_.view, work_);
    for (std::int64_t& p : near.at) p = sample_at_[std::size_t(p)];
    // Prices of more rows take more columns to know: those of every so many chunks come first.
    const std::int64_t step = std::max<std::int64_t>(1, kShare / std::min<std::int64_t>(m_.k, 16));
    if (m_.n / step >= 2 * kSample) settle(near, step);
    for (int round = 1; round <= kRounds; ++round) {
      const Answer answer = settle(near, 1);
      if (answer == Answer::none) return std::nullopt;
      near.passes = round;
      if (answer == Answer::whole) return near;
    }
    return std::nullopt;
  }

 private:
  enum class Answer { none, nearer, whole };

  /// The game of every `step`th chunk from `near`, which is replaced: by the answer (`whole`), or by prices from which
  /// to try again.
  Answer settle(EnsembleResult& near, std::int64_t step) {
    if (near.status == Status::invalid) return Answer::none;
    const std::vector<double> y = near.dual;
    const double cutoff = cutoff_of(near);
    const auto [few, far] = choose_reach(y, cutoff, (m_.n + step - 1) / step);
    if (!(far > 0)) return Answer::none;
    const double blur = rounding(y);
    const std::vector<Sifted> kept = sift_all({y.data(), scale_.data(), far + blur, cutoff}, step);
    if (kept.empty()) return Answer::none;
    std::sort(near.at.begin(), near.at.end());
    Places set = merged(chosen(kept, {nullptr, nullptr, std::min(few, far) + blur, cutoff}), near.at);
    while (true) {
      near = solve_some(m_, set, work_);
      if (near.status == Status::invalid) return Answer::whole;
      const double moved = distance(near.dual, y);
      if (!(moved <= far)) return Answer::nearer;
      const Places above = still_above(chosen(kept, {nullptr, nullptr, moved + blur, cutoff_of(near)}), set, near);
      if (above.empty()) return Answer::whole;
      set = merged(set, above);
    }
  }

  /// What columns left out stay below.
  double cutoff_of(const EnsembleResult& near) const { return near.lower - kMargin * size_of(near.dual); }
  double size_of(const std::vector<double>& y) const {
    double size = 0;
    for (std::int64_t i = 0; i < m_.k; ++i) size += y[i] / scale_[i];
    return size;
  }
  /// Over the length of a column, its price is within k + 2 units of size_of(y).
  double rounding(const std::vector<double>& y) const { return double(m_.k + 4) * 0x1p-50 * size_of(y); }

  double distance(const std::vector<double>& a, const std::vector<double>& b) const {
    double sum = 0;
    for (std::int64_t i = 0; i < m_.k; ++i) sum += (a[i] - b[i]) / scale_[i] * ((a[i] - b[i]) / scale_[i]);
    return std::sqrt(sum) * (1 + 0x1p-40);
  }

  /// How far prices may move for about kFew of n columns to be kept, and for 64 sqrt(n), or one in 16, by the sample.
  std::pair<double, double> choose_reach(const std::vector<double>& y, double cutoff, std::int64_t n) const {
    std::vector<double> lack(std::size_t(kSample), 0), price(lack), square(lack);
    for (std::int64_t i = 0; i < m_.k; ++i)
      for (std::int64_t p = 0; p < kSample; ++p) {
        const double x = sample_.entries[i * kSample + p], part = x * scale_[i];
        price[p] += y[i] * x;
        square[p] += part * part;
      }
    for (std::int64_t p = 0; p < kSample; ++p)
      lack[p] = square[p] > 0 ? (cutoff - price[p]) / std::sqrt(square[p]) : std::numeric_limits<double>::infinity();
    const auto rank = std::int64_t(double(kSample) * std::min(64 / std::sqrt(double(n)), 1.0 / 16));
    const std::int64_t first = std::min(kSample * kFew / n, rank);
    std::nth_element(lack.begin(), lack.begin() + rank, lack.end());
    const double far = std::min(lack[rank], 1e3 * distance(y, std::vector<double>(std::size_t(m_.k), 0)));
    std::nth_element(lack.begin(), lack.begin() + first, lack.begin() + rank + 1);
    return {lack[first], far};
  }

  /// By chunk, or nothing where more pass than are worth it.
  std::vector<Sifted> sift_all(const Question& q, std::int64_t step) const {
    const std::int64_t chunks = (m_.n + kChunk * step - 1) / (kChunk * step), most = m_.n / (8 * step);
    std::vector<Sifted> parts(std::size_t(chunks), Sifted{});
    std::atomic<std::int64_t> total{0};
    parallel(chunks, work_, [&](std::int64_t c, int) {
      if (total > most) return;
      const std::int64_t begin = c * step * kChunk;
      parts[c] = sifted(m_, begin, std::min(kChunk, m_.n - begin), q);
      total += std::int64_t(parts[c].at.size());
    });
    if (total > most) parts.clear();
    return parts;
  }

  /// Of the columns kept, those that pass a narrower question about the same prices.
  static Places chosen(const std::vector<Sifted>& kept, const Question& q) {
    Places out;
    for (const Sifted& part : kept)
      for (std::size_t j = 0; j < part.at.size(); ++j)
        if (q.passes(part.price[j], part.square[j])) out.push_back(part.at[j]);
    return out;
  }

  /// Of the columns at `at` outside `set`, those whose price is not below the value: the others change nothing.
  Places still_above(const Places& at, const Places& set, const EnsembleResult& near) const {
    Places open, above;
    std::set_difference(at.begin(), at.end(), set.begin(), set.end(), std::back_inserter(open));
    const Question q{near.dual.data(), scale_.data(), rounding(near.dual), cutoff_of(near)};
    const std::int64_t n = std::int64_t(open.size()), chunks = (n + kChunk - 1) / kChunk;
    std::vector<Places> parts(std::size_t(chunks), Places{});
    parallel(chunks, work_, [&](std::int64_t c, int) {
      const std::int64_t begin = c * kChunk, count = std::min(kChunk, n - begin);
      parts[c] = sifted(Copy(m_, open.data() + begin, count).view, 0, count, q).at;
      for (std::int64_t& p : parts[c]) p = open[std::size_t(begin + p)];
    });
    for (const Places& part : parts) above.insert(above.end(), part.begin(), part.end());
    return above;
  }

  const Entries& m_;
  const Work& work_;
  const Places sample_at_;
  const Copy sample_;
  std::vector<double> scale_;
  bool usable_ = true;
};

}  // namespace

std::optional<EnsembleResult> solve_sieved(const Entries& m, const Work& work) {
  if (m.n < 4 * kSample) return std::nullopt;
  return Sieve(m, work).solve();
}

}  // namespace clinometer::lp
