// Gram matrices on a matrix unit. Rows are centred by a number of few digits, so 16-bit formats need few bf16 terms;
// the remainder of a prompt's mean is a row of its own with a negative sign. Weights are in the left side alone. Sums
// of a chain of rows are in f32, then f64.
#pragma once
#include "kernels/dots.hpp"
#include "kernels/matrix_products.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// The power of two in (sqrt(v), 2 sqrt(v)], tiny where v is 0.
CLINOMETER_INLINE Vec<float> grid_of(Vec<float> v) {
  const Vec<std::uint32_t> exponent = (Vec<std::uint32_t>)v >> 23;  // v >= 0; biased by 127, which is odd
  return (Vec<float>)(((exponent + 1u) / 2u + 64u) << 23);
}

/// A panel (n, 16) less a multiple of that grid near its mean, and the rest of the mean, which is summed from what is
/// small: an error of a mean far from zero would count against the deviation. mean (16,) = multiple + rest, under w.
void centre(const float* panel, std::int64_t n, const double* w, float* mean, float* rest, float* to) {
  Vec<float> m = {}, square = {}, left = {};
  for (std::int64_t i = 0; i < n; ++i) m += broadcast(static_cast<float>(w[i])) * loadu<float>(panel + i * kPad);
  for (std::int64_t i = 0; i < n; ++i) {
    const Vec<float> x = loadu<float>(panel + i * kPad) - m;
    square += broadcast(static_cast<float>(w[i])) * x * x;
  }
  const Vec<float> round = grid_of(square) * 0x1.8p23f;  // to add it leaves multiples of the grid
  const Vec<float> middle = (m + round) - round;
  for (std::int64_t i = 0; i < n; ++i) {
    const Vec<float> x = loadu<float>(panel + i * kPad) - middle;
    left += broadcast(static_cast<float>(w[i])) * x;
    storeu<float>(to + i * kPad, x);
  }
  storeu<float>(mean, middle + left);
  storeu<float>(rest, left);
}

/// Runs of 32 rows in one chain of f32 sums.
constexpr std::int64_t kGramRuns = 32;

/// Items of one side of a panel.
constexpr std::int64_t side_items(std::int64_t n) { return runs_of(n) * 3 * kTileItems; }

/// 32 rows of a panel from i as pairs of rows, each row times its weight, or as it is without; how many terms count.
int split_pairs(const float* panel, std::int64_t n, std::int64_t i, const float* weight, std::uint16_t* to) {
  const UpperHalf upper;
  Seen seen;
  for (std::int64_t pair = 0; pair < 16; ++pair) {
    const std::int64_t at = i + 2 * pair;
    Vec<float> a = at < n ? loadu<float>(panel + at * kPad) : Vec<float>{};
    Vec<float> b = at + 1 < n ? loadu<float>(panel + (at + 1) * kPad) : Vec<float>{};
    if (weight != nullptr) {
      a *= broadcast(at < n ? weight[at] : 0.0f);
      b *= broadcast(at + 1 < n ? weight[at + 1] : 0.0f);
    }
    store_parts({a, b}, upper, to + pair * kTileColumns, seen);
  }
  return seen.parts();
}

CLINOMETER_INLINE bool all_one(const float* weight, std::int64_t count) {
  bool one = true;
  for (std::int64_t i = 0; i < count; ++i) one = one && weight[i] == 1;
  return one;
}

/// A run's pairs of rows, of so many terms, to columns; missing terms are zeros, since its neighbour may have more.
void turn(const std::uint16_t* pairs, int parts, std::uint16_t* to) {
  for (int part = 0; part < 3; ++part, to += kTileItems, pairs += kTileItems) {
    if (part >= parts) {
      for (std::int64_t r = 0; r < kTileItems; r += kTileColumns) storeu<std::uint32_t>(to + r, Vec<std::uint32_t>{});
      continue;
    }
    Vec<std::uint32_t> words[16];
    CLINOMETER_UNROLL for (int r = 0; r < 16; ++r) words[r] = loadu<std::uint32_t>(pairs + r * kTileColumns);
    transpose_words(words, to);
  }
}

/// A panel (n, 16) to [side][run][term]: weighted, transposed, then as pairs of rows; terms (2, runs) of either side.
void split_panel(const float* panel, std::int64_t n, const float* weight, void* to, std::uint8_t* parts) {
  auto* left = static_cast<std::uint16_t*>(to);
  std::uint16_t* right = left + side_items(n);
  alignas(64) std::uint16_t weighted[3 * kTileItems];
  for (std::int64_t i = 0, run = 0; i < n; i += kTileColumns, ++run) {
    const bool even = all_one(weight + i, smaller(kTileColumns, n - i));
    const int found = split_pairs(panel, n, i, nullptr, right);
    const int turned = even ? found : split_pairs(panel, n, i, weight, weighted);
    turn(even ? right : weighted, turned, left);
    parts[run] = static_cast<std::uint8_t>(turned);
    parts[runs_of(n) + run] = static_cast<std::uint8_t>(found);
    left += 3 * kTileItems;
    right += 3 * kTileItems;
  }
}

/// Up to 32 by 32 entries times a factor, added to out.
CLINOMETER_INLINE void add_square(const float* sums, std::int64_t rows, std::int64_t columns, double by, double* out,
                                  std::int64_t ldo) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const float* const left = sums + i / kTileRows * 2 * kSumItems + i % kTileRows * kTileRows;
    add<float>(left, kTileRows, by, out + i * ldo);
    if (columns > kTileRows) add<float>(left + kSumItems, kTileRows, by, out + i * ldo + kTileRows);
  }
}

/// One side of two panels, or of one twice: their tiles and terms from a run on.
struct GramSide {
  const std::uint16_t* tile[2];
  const std::uint8_t* parts[2];

  GramSide(const GramParts& g, std::int64_t side, std::int64_t c, std::int64_t end, std::int64_t run) {
    const std::int64_t runs = runs_of(g.n);
    for (std::int64_t t = 0; t < 2; ++t) {
      const std::int64_t at = 2 * (c / kTileRows + (c + kTileRows < end ? t : 0)) + side;
      tile[t] = static_cast<const std::uint16_t*>(g.items) + at * side_items(g.n) + run * 3 * kTileItems;
      parts[t] = g.parts + at * runs + run;
    }
  }
  int count(std::int64_t run) const { return parts[0][run] > parts[1][run] ? parts[0][run] : parts[1][run]; }
};

void gram_parts(const GramParts& g, std::int64_t a0, std::int64_t a1, std::int64_t b0, std::int64_t b1, double by,
                double* out, std::int64_t ldo) {
  constexpr std::int64_t kSide = 2 * kTileRows;
  const Unit unit;
  alignas(64) float sums[4 * kSumItems];
  for (std::int64_t chain = 0, runs = runs_of(g.n); chain < runs; chain += kGramRuns)
    for (std::int64_t a = a0; a < a1; a += kSide) {
      const GramSide x(g, 0, a, a1, chain);
      for (std::int64_t b = a > b0 ? b0 + (a - b0) / kSide * kSide : b0; b < b1; b += kSide) {  // from the diagonal on
        const GramSide y(g, 1, b, b1, chain);
        clear_sums();
        for (std::int64_t run = 0; run < smaller(kGramRuns, runs - chain); ++run)
          multiply_square<Side::left>(x.tile, run * 3 * kTileItems, x.count(run), y.tile, run * 3 * kTileItems,
                                      y.count(run));
        store_sums(sums);
        add_square(sums, smaller(kSide, a1 - a), smaller(kSide, b1 - b), by, out + a * ldo + b, ldo);
      }
    }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
