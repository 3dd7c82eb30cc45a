// Gram matrices on a matrix unit: each panel of 16 columns in parts, once as pairs of rows and once turned. Sums of a
// chain of rows are in f32, then f64.
#pragma once
#include "kernels/matrix_products.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// Runs of 32 rows in one chain of f32 sums.
constexpr std::int64_t kGramRuns = 16;

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
CLINOMETER_INLINE void add_square(const float* held, std::int64_t rows, std::int64_t columns, double* out,
                                  std::int64_t ldo) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const float* const left = held + i / kTileRows * 2 * kSumItems + i % kTileRows * kTileRows;
    add_to(out + i * ldo, loadu<float>(left));
    if (columns > kTileRows) add_to(out + i * ldo + kTileRows, loadu<float>(left + kSumItems));
  }
}

void gram_parts(const void* parts, std::int64_t n, std::int64_t a0, std::int64_t a1, std::int64_t b0, std::int64_t b1,
                void* work, double* out, std::int64_t ldo) {
  constexpr std::int64_t kSide = 2 * kTileRows;
  constexpr std::uint8_t all[kGramRuns] = {3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3};
  const Unit unit;
  const auto* const items = static_cast<const std::uint16_t*>(parts);
  const std::int64_t runs = runs_of(n), side = side_items(n);
  auto* const held = static_cast<float*>(work);
  for (std::int64_t run = 0; run < runs; run += kGramRuns) {
    const std::int64_t depth = smaller(kGramRuns, runs - run), at = run * 3 * kTileItems;
    for (std::int64_t a = a0; a < a1; a += kSide) {
      const std::int64_t rows = smaller(kSide, a1 - a);
      const std::uint16_t* const x0 = items + a / kTileRows * 2 * side + at;
      const std::uint16_t* const x[2] = {x0, rows > kTileRows ? x0 + 2 * side : x0};
      for (std::int64_t b = b0; b < b1; b += kSide) {
        const std::int64_t columns = smaller(kSide, b1 - b);
        if (b + columns <= a) continue;  // nothing below the diagonal
        const std::uint16_t* const y0 = items + b / kTileRows * 2 * side + side + at;
        const std::uint16_t* const y[2] = {y0, columns > kTileRows ? y0 + 2 * side : y0};
        clear_sums();
        multiply_wide<Side::left>(x, all, y, depth);
        store_sums(held);
        add_square(held, rows, columns, out + a * ldo + b, ldo);
      }
    }
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
