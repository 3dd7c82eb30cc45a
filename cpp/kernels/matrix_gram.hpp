// Gram matrices on a matrix unit: each panel of 16 columns in parts, once as pairs of rows and once turned. Sums of a
// chain of rows are in f32, then f64.
#pragma once
#include "kernels/matrix_products.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// Runs of 32 rows in one chain of f32 sums, and those of them whose parts are near at a time.
constexpr std::int64_t kGramRuns = 16, kNearRuns = 4;

/// Items of one side of a panel.
constexpr std::int64_t side_items(std::int64_t n) { return runs_of(n) * 3 * kTileItems; }

/// A panel (n, 16) to [side][run][part]: turned, then pairs of rows. False if the unit would take numbers for zero that
/// count beside the column's largest.
bool split_panel(const float* panel, std::int64_t n, void* to) {
  const UpperHalf upper;
  auto* turned = static_cast<std::uint16_t*>(to);
  std::uint16_t* pairs = turned + side_items(n);
  Seen seen;
  Vec<float> largest = {};
  for (std::int64_t i = 0; i < n; i += kTileColumns) {
    for (std::int64_t pair = 0; pair < 16; ++pair) {
      const std::int64_t at = i + 2 * pair;
      const Vec<float> a = at < n ? loadu<float>(panel + at * kPad) : Vec<float>{};
      const Vec<float> b = at + 1 < n ? loadu<float>(panel + (at + 1) * kPad) : Vec<float>{};
      largest = a > largest ? a : largest;
      largest = -a > largest ? -a : largest;
      largest = b > largest ? b : largest;
      largest = -b > largest ? -b : largest;
      store_parts({a, b}, upper, pairs + pair * kTileColumns, seen);
    }
    for (int part = 0; part < 3; ++part, turned += kTileItems, pairs += kTileItems) {
      Vec<std::uint32_t> words[16];
      CLINOMETER_UNROLL for (int r = 0; r < 16; ++r) words[r] = loadu<std::uint32_t>(pairs + r * kTileColumns);
      transpose_words(words, turned);
    }
  }
  for (int j = 0; j < kLanes<float>; ++j)
    if (!(largest[j] == 0 || (largest[j] >= 0x1p-40f && largest[j] <= 0x1p50f))) return false;
  return true;
}

/// Up to 32 by 32 entries, added to out.
CLINOMETER_INLINE void add_square(const float* sums, std::int64_t rows, std::int64_t columns, double* out,
                                  std::int64_t ldo) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const float* const left = sums + i / kTileRows * 2 * kSumItems + i % kTileRows * kTileRows;
    add_to(out + i * ldo, loadu<float>(left));
    if (columns > kTileRows) add_to(out + i * ldo + kTileRows, loadu<float>(left + kSumItems));
  }
}

/// Both sides of a Gram matrix in parts, from one run of rows on.
struct GramSides {
  const std::uint16_t* items;
  std::int64_t side;

  /// The tiles of 32 columns from c, or one twice where there are but 16.
  void left(std::int64_t c, std::int64_t end, const std::uint16_t* (&tile)[2]) const {
    tile[0] = items + c / kTileRows * 2 * side;
    tile[1] = c + kTileRows < end ? tile[0] + 2 * side : tile[0];
  }
  void right(std::int64_t c, std::int64_t end, const std::uint16_t* (&tile)[2]) const {
    left(c, end, tile);
    tile[0] += side;
    tile[1] += side;
  }
};

/// Entries come in squares of 32 by 32; those wholly below the diagonal are left out.
constexpr std::int64_t kSide = 2 * kTileRows;
constexpr std::int64_t first_square(std::int64_t a, std::int64_t b0) {
  return a > b0 ? b0 + (a - b0) / kSide * kSide : b0;
}

/// A few runs of rows for all squares: their sums go on from `held`, one square after the other.
void gram_runs(const GramSides& sides, std::int64_t runs, bool first, std::int64_t a0, std::int64_t a1, std::int64_t b0,
               std::int64_t b1, float* held) {
  const std::uint16_t *x[2], *y[2];
  for (std::int64_t a = a0; a < a1; a += kSide) {
    sides.left(a, a1, x);
    for (std::int64_t b = first_square(a, b0); b < b1; b += kSide, held += 4 * kSumItems) {
      sides.right(b, b1, y);
      if (first)
        clear_sums();
      else
        load_sums(held);
      multiply_all(x, y, runs);
      store_sums(held);
    }
  }
}

void gram_parts(const void* parts, std::int64_t n, std::int64_t a0, std::int64_t a1, std::int64_t b0, std::int64_t b1,
                void* work, double* out, std::int64_t ldo) {
  const Unit unit;
  const std::int64_t runs = runs_of(n);
  for (std::int64_t chain = 0; chain < runs; chain += kGramRuns) {
    const std::int64_t end = smaller(runs, chain + kGramRuns);
    for (std::int64_t run = chain; run < end; run += kNearRuns)
      gram_runs({static_cast<const std::uint16_t*>(parts) + run * 3 * kTileItems, side_items(n)},
                smaller(kNearRuns, end - run), run == chain, a0, a1, b0, b1, static_cast<float*>(work));
    const auto* sums = static_cast<const float*>(work);
    for (std::int64_t a = a0; a < a1; a += kSide)
      for (std::int64_t b = first_square(a, b0); b < b1; b += kSide, sums += 4 * kSumItems)
        add_square(sums, smaller(kSide, a1 - a), smaller(kSide, b1 - b), out + a * ldo + b, ldo);
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
