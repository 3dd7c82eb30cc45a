// Weighted sums of rows on a matrix unit: a tile of weights, 16 of them by 32 rows, times tiles of 16 pairs of
// rows. Sums leave as tiles: [64 columns][16 weights][4 tiles].
#pragma once
#include "kernels/dots.hpp"
#include "kernels/matrix_columns.hpp"
#include "kernels/matrix_products.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// 16 weights of all rows as [run][term]; rows past the last have none.
void pack_weights(const float* weights, std::int64_t n, std::int64_t ldw, std::uint16_t* to) {
  const UpperHalf upper;
  for (std::int64_t i = 0; i < n; i += kTileColumns) {
    Vec<std::uint32_t> words[3][16];
    for (std::int64_t pair = 0; pair < 16; ++pair) {
      const std::int64_t at = i + 2 * pair;
      Vec<float> a = at < n ? loadu<float>(weights + at * ldw) : Vec<float>{};
      Vec<float> b = at + 1 < n ? loadu<float>(weights + (at + 1) * ldw) : Vec<float>{};
      for (auto& part : words) {
        const Vec<float> x = rounded(a, upper), y = rounded(b, upper);
        part[pair] = upper.both(x, y);
        a -= x;
        b -= y;
      }
    }
    for (const auto& part : words) {
      transpose_words(part, to);
      to += kTileItems;
    }
  }
}

template <class W>
CLINOMETER_INLINE void watch_sums(const float* sums, W& watch) {
  CLINOMETER_UNROLL for (std::int64_t i = 0; i < kSumTiles * kSumItems; i += kLanes<float>)
      watch.done(loadu<float>(sums + i));
}

/// 16 weights. What has just been stored cannot be loaded into a tile or out of one without a wait, so the next run is
/// split before this one is multiplied, and sums are looked at when the next are done.
template <Dtype T, class W>
void sum_narrow(const void* const* rows, std::int64_t runs, std::int64_t d, const float* shift,
                const std::uint16_t* weights, std::uint16_t* items, float* sums, W& watch) {
  SplitRun slots[2] = {{items, 0}, {items + SplitRun::kItems, 0}};
  split_run<T>(rows, 0, d, shift, slots[0], watch);
  std::int64_t turn = 0;
  for (std::int64_t c = 0; c < d; c += kSumColumns, sums += kSumTiles * kSumItems) {
    clear_sums();
    for (std::int64_t run = 0; run < runs; ++run, ++turn) {
      const bool last = run + 1 == runs;
      if (!last || c + kSumColumns < d)
        split_run<T>(rows + (last ? 0 : (run + 1) * kTileColumns), last ? c + kSumColumns : c, d, shift,
                     slots[(turn + 1) % 2], watch);
      const SplitRun& x = slots[turn % 2];
      multiply_four({x.tile(0), x.tile(1), x.tile(2), x.tile(3)}, x.parts, weights + run * 3 * kTileItems);
    }
    store_sums(sums);
    if (c > 0) watch_sums(sums - kSumTiles * kSumItems, watch);
  }
  watch_sums(sums - kSumTiles * kSumItems, watch);
}

/// Any number of weights: 64 columns of all rows are split, and 32 weights by 32 columns taken at a time.
template <Dtype T, class W>
void sum_wide(const void* const* rows, std::int64_t runs, std::int64_t d, const float* shift,
              const std::uint16_t* weights, std::int64_t n_weights, std::uint16_t* items, float* sums, W& watch) {
  constexpr std::int64_t kBlock = kSumTiles * kSumItems;
  const std::int64_t apart = runs * 3 * kTileItems, blocks = n_weights / kTileRows;
  std::uint8_t parts[kSumRows / kTileColumns];
  for (std::int64_t c = 0; c < d; c += kSumColumns, sums += blocks * kBlock) {
    for (std::int64_t run = 0; run < runs; ++run) {
      SplitRun x{items + run * SplitRun::kItems, 0};
      split_run<T>(rows + run * kTileColumns, c, d, shift, x, watch);
      parts[run] = static_cast<std::uint8_t>(x.parts);
    }
    for (std::int64_t m = 0; m < blocks; m += 2)
      for (std::int64_t t = 0; t < kSumTiles; t += 2) {
        const std::uint16_t* const columns[2] = {items + t * SplitRun::kTile, items + (t + 1) * SplitRun::kTile};
        const bool two = m + 1 < blocks;
        const std::uint16_t* const u[2] = {weights + m * apart, weights + (two ? m + 1 : m) * apart};
        clear_sums();
        multiply_wide<Side::right, SplitRun::kItems>(columns, parts, u, runs);
        float* const to = sums + m * kBlock + t * kSumItems;
        store_tile<0>(to);
        store_tile<2>(to + kSumItems);
        if (!two) continue;
        store_tile<1>(to + kBlock);
        store_tile<3>(to + kBlock + kSumItems);
      }
    for (std::int64_t m = 0; m < blocks; ++m) watch_sums(sums + m * kBlock, watch);
  }
}

template <Dtype T, class W>
double sums_of(const void* const* rows, std::int64_t n, std::int64_t d, const float* shift, const float* weights,
               std::int64_t n_weights, void* work, float* out) {
  const Unit unit;
  const std::int64_t runs = runs_of(n);
  const void* of[kSumRows];  // behind the last row that row again, without weight
  for (std::int64_t i = 0; i < runs * kTileColumns; ++i) of[i] = rows[i < n ? i : n - 1];
  auto* const packed = static_cast<std::uint16_t*>(work);
  for (std::int64_t m = 0; m < n_weights; m += kTileRows)
    pack_weights(weights + m, n, n_weights, packed + m / kTileRows * runs * 3 * kTileItems);
  std::uint16_t* const items = packed + n_weights / kTileRows * runs * 3 * kTileItems;
  W watch;
  if (n_weights == kTileRows)
    sum_narrow<T>(of, runs, d, shift, packed, items, out, watch);
  else
    sum_wide<T>(of, runs, d, shift, packed, n_weights, items, out, watch);
  return watch.result();
}

template <Dtype T>
double sums(const void* const* rows, std::int64_t n, std::int64_t d, const float* shift, const float* weights,
            std::int64_t n_weights, bool seen, void* work, float* out) {
  return seen ? sums_of<T, OutcomeWatch<float>>(rows, n, d, shift, weights, n_weights, work, out)
              : sums_of<T, Watch<float>>(rows, n, d, shift, weights, n_weights, work, out);
}

/// One weight's sums, times a factor, from tiles to the columns of `to`.
template <Dtype T>
void add_sums(const float* sums, std::int64_t d, std::int64_t n_weights, std::int64_t m, double factor, double* to) {
  const std::int64_t step = n_weights * kSumColumns;
  sums += m / kTileRows * kSumTiles * kSumItems + m % kTileRows * kTileRows;
  for (std::int64_t c = 0; c < d; c += kSumColumns, sums += step)
    for (std::int64_t t = 0; t < kSumTiles && c + t * kTileRows < d; t += 2) {
      const std::int64_t at = c + t * kTileRows;
      float columns[kTileColumns];
      const Vec<float> a = loadu<float>(sums + t * kSumItems), b = loadu<float>(sums + (t + 1) * kSumItems);
      if (at + kTileColumns <= d) {
        store_pair<T, float>(columns, a, b);
        add<float>(columns, kTileColumns, factor, to + at);
      } else {
        storeu<float>(columns, a);
        storeu<float>(columns + kTileRows, b);
        add<float>(columns, d - at, factor, to + at);
      }
    }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
