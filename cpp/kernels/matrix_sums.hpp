// Weighted sums of rows on a matrix unit: a tile of weights, 16 of them by 32 rows, times tiles of 16 pairs of rows.
#pragma once
#include "kernels/dots.hpp"
#include "kernels/matrix_products.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// 16 weights of all rows as [run][part]; rows past the last have none.
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

/// 64 columns as four tiles of 16.
constexpr std::int64_t kSumTiles = 4, kSumColumns = kSumTiles * kTileRows;

/// Those columns of a run of 32 rows, [tile][part]; how many parts are to be taken.
struct SplitRun {
  std::uint16_t* items;
  int parts;

  static constexpr std::int64_t kTile = 3 * kTileItems, kItems = kSumTiles * kTile;
  const std::uint16_t* tile(std::int64_t t) const { return items + t * kTile; }
};

CLINOMETER_INLINE bool all_zero(const float* shift) {
  Vec<std::uint32_t> bits = {};
  CLINOMETER_UNROLL for (int c = 0; c < kSumColumns; c += kLanes<float>) bits |= loadu<std::uint32_t>(shift + c);
  return !any(bits << 1);
}

/// 32 columns of two rows where bf16 have no shift: they are what they are.
template <class W>
CLINOMETER_INLINE void store_plain(const char* a, const char* b, const UpperHalf& upper, std::uint16_t* first,
                                   std::uint16_t* second, W& watch) {
  const Vec<std::uint32_t> x = loadu<std::uint32_t>(a), y = loadu<std::uint32_t>(b);
  storeu<std::uint32_t>(first, upper.both((Vec<float>)(x << 16), (Vec<float>)(y << 16)));
  storeu<std::uint32_t>(second, upper.both((Vec<float>)x, (Vec<float>)y));
  watch.see((Vec<float>)(x << 16));
  watch.see(upper.of((Vec<float>)x));
  watch.see(upper.of((Vec<float>)y));
  watch.see((Vec<float>)(y << 16));
}

template <class W>
CLINOMETER_INLINE void store_pairs(Pair<float> u, Pair<float> v, const UpperHalf& upper, std::uint16_t* first,
                                   std::uint16_t* second, Seen& seen, W& watch) {
  watch.see(u.first);
  watch.see(u.second);
  watch.see(v.first);
  watch.see(v.second);
  store_parts({u.first, v.first}, upper, first, seen);
  store_parts({u.second, v.second}, upper, second, seen);
}

/// All 64 columns from c of a run of rows, side by side because a row's line may hold parts of both halves.
template <Dtype T, class W>
void split_whole(const void* const* rows, std::int64_t c, const float* shift, std::uint16_t* to, Seen& seen, W& watch) {
  constexpr std::int64_t kHalf = kTileColumns * Load<T>::bytes;
  const UpperHalf upper;
  for (std::int64_t pair = 0; pair < 16; ++pair, to += kTileColumns) {
    const char* const a = static_cast<const char*>(rows[2 * pair]) + c * Load<T>::bytes;
    const char* const b = static_cast<const char*>(rows[2 * pair + 1]) + c * Load<T>::bytes;
    CLINOMETER_UNROLL for (int h = 0; h < 2; ++h)
        store_pairs(Load<T>::template moved_pair<float>(a + h * kHalf, shift + h * kTileColumns),
                    Load<T>::template moved_pair<float>(b + h * kHalf, shift + h * kTileColumns), upper,
                    to + 2 * h * SplitRun::kTile, to + (2 * h + 1) * SplitRun::kTile, seen, watch);
  }
}
template <class W>
void split_plain(const void* const* rows, std::int64_t c, std::uint16_t* to, W& watch) {
  const UpperHalf upper;
  for (std::int64_t pair = 0; pair < 16; ++pair, to += kTileColumns) {
    const char* const a = static_cast<const char*>(rows[2 * pair]) + c * 2;
    const char* const b = static_cast<const char*>(rows[2 * pair + 1]) + c * 2;
    store_plain(a, b, upper, to, to + SplitRun::kTile, watch);
    store_plain(a + 64, b + 64, upper, to + 2 * SplitRun::kTile, to + 3 * SplitRun::kTile, watch);
  }
}
/// The last columns, fewer than 64; those behind them count as 0.
template <Dtype T, class W>
void split_rest(const void* const* rows, std::int64_t c, std::int64_t d, const float* shift, std::uint16_t* to,
                Seen& seen, W& watch) {
  const UpperHalf upper;
  for (std::int64_t t = 0; t < kSumTiles; t += 2, c += kTileColumns, to += 2 * SplitRun::kTile)
    for (std::int64_t pair = 0; pair < 16; ++pair) {
      const auto columns = [&](const void* row) {
        const char* const at = static_cast<const char*>(row) + c * Load<T>::bytes;
        if (c >= d) return Pair<float>{};
        return c + kTileColumns <= d ? Load<T>::template moved_pair<float>(at, shift + c)
                                     : moved_rest<T>(at, shift + c, d - c);
      };
      store_pairs(columns(rows[2 * pair]), columns(rows[2 * pair + 1]), upper, to + pair * kTileColumns,
                  to + SplitRun::kTile + pair * kTileColumns, seen, watch);
    }
}

template <Dtype T, class W>
CLINOMETER_INLINE void split_run(const void* const* rows, std::int64_t c, std::int64_t d, const float* shift,
                                 SplitRun& x, W& watch) {
  Seen seen;
  if (c + kSumColumns > d)
    split_rest<T>(rows, c, d, shift, x.items, seen, watch);
  else if (T == Dtype::bf16 && all_zero(shift + c))
    split_plain(rows, c, x.items, watch);
  else
    split_whole<T>(rows, c, shift + c, x.items, seen, watch);
  x.parts = any(seen.third) ? 3 : any(seen.second) ? 2 : 1;
}

// ---- sums, as tiles: [64 columns][16 weights][4 tiles]

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
