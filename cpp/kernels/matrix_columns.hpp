// Columns of stored rows as tiles of pairs of rows, split into bf16 terms: what sums over rows multiply by
// their weights.
#pragma once
#include "kernels/matrix_parts.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// 64 columns as four tiles of 16.
constexpr std::int64_t kSumTiles = 4, kSumColumns = kSumTiles * kTileRows;

/// Those columns of a run of 32 rows, [tile][term]; how many terms are used.
struct SplitRun {
  std::uint16_t* items;
  int parts;

  static constexpr std::int64_t kTile = 3 * kTileItems, kItems = kSumTiles * kTile;
  const std::uint16_t* tile(std::int64_t t) const { return items + t * kTile; }
};

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

/// All 64 columns from c of a run of rows, together because a row's line may hold some of either half.
template <Dtype T, class W>
void split_whole(const void* const* rows, std::int64_t c, const float* shift, std::uint16_t* to, Seen& seen, W& watch) {
  constexpr std::int64_t kHalf = kTileColumns * Load<T>::bytes;
  const UpperHalf upper;
  for (std::int64_t pair = 0; pair < 16; ++pair, to += kTileColumns) {
    const char* const a = static_cast<const char*>(rows[2 * pair]) + c * Load<T>::bytes;
    const char* const b = static_cast<const char*>(rows[2 * pair + 1]) + c * Load<T>::bytes;
    CLINOMETER_UNROLL for (int h = 0; h < 2; ++h)
        store_pairs(moved_pair<T, float>(a + h * kHalf, shift + h * kTileColumns),
                    moved_pair<T, float>(b + h * kHalf, shift + h * kTileColumns), upper, to + 2 * h * SplitRun::kTile,
                    to + (2 * h + 1) * SplitRun::kTile, seen, watch);
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
        return c + kTileColumns <= d ? moved_pair<T, float>(at, shift + c) : moved_rest<T>(at, shift + c, d - c);
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
  else if (T == Dtype::bf16 && unmoved<kSumColumns>(shift + c))
    split_plain(rows, c, x.items, watch);
  else
    split_whole<T>(rows, c, shift + c, x.items, seen, watch);
  x.parts = seen.parts();
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
