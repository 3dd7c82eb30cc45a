// Scores on a matrix unit: rows are split in the first-level cache, directions once a pass. bf16 rows need three
// products, f16 five. What the unit takes for zero is 1e-38 beside scores of 1e-15 or more (lane_tile.hpp).
#pragma once
#include "kernels/matrix_products.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

// ---- split rows

/// Columns [c, c + 32) of 16 rows less their shift; terms up to the last that is not all zero.
template <Dtype T>
int split_tile(const char* const* rows, std::int64_t c, std::int64_t d, const float* shift, std::uint16_t* to) {
  const bool whole = c + kTileColumns <= d;
  if (T == Dtype::bf16 && whole && unmoved<kTileColumns>(shift + c)) {
    CLINOMETER_UNROLL for (std::int64_t r = 0; r < kTileRows; ++r) {
      const char* const at = rows[r] + c * Load<T>::bytes;
      storeu<std::uint32_t>(to + r * kTileColumns, loadu<std::uint32_t>(at));
    }
    return 1;
  }
  const UpperHalf upper;
  Seen seen;
  if (whole) {
    CLINOMETER_UNROLL for (std::int64_t r = 0; r < kTileRows; ++r) {
      const char* const at = rows[r] + c * Load<T>::bytes;
      store_parts(moved_pair<T, float>(at, shift + c), upper, to + r * kTileColumns, seen);
    }
  } else {
    for (std::int64_t r = 0; r < kTileRows; ++r) {
      const char* const at = rows[r] + c * Load<T>::bytes;
      store_parts(moved_rest<T>(at, shift + c, d - c), upper, to + r * kTileColumns, seen);
    }
  }
  return seen.parts();
}

/// Tiles of columns in one chain of f32 sums.
constexpr std::int64_t kChainTiles = 16;

/// How much is split before it is used, so that it stays in the first cache. More rows at once mean that directions are
/// read less often, which counts where there are many; more columns, that sums are put down less often.
struct Portion {
  std::int64_t rows, tiles;  // a multiple of 32 rows; tiles of 32 columns, a divisor of a chain
};
constexpr Portion portion_of(std::int64_t d, std::int64_t n_directions) {
  return n_directions <= 64 || d * n_directions <= 1 << 17 ? Portion{32, 4} : Portion{64, 2};
}
/// Tiles that all rows of a call are taken on before the next: whole chains, so many that their directions stay in the
/// second cache.
constexpr std::int64_t span_of(std::int64_t n_directions) {
  const std::int64_t chains = (768 << 10) / (kChainTiles * matrix_packed(kTileColumns, n_directions));
  return (chains > 1 ? chains : 1) * kChainTiles;
}

/// Items of a split portion.
constexpr std::int64_t kSplitItems = 3 * 32 * 128;
static_assert(kSplitItems == 3 * 64 * 64);

/// A split portion of rows: [row tile][column tile][term], and how many terms are used.
struct SplitRows {
  std::uint16_t* items;
  std::int64_t tiles;  // apart, from row tile to row tile
  std::uint8_t parts[4][4];

  const std::uint16_t* row(std::int64_t tile) const { return items + tile * tiles * 3 * kTileItems; }
  std::uint16_t* row(std::int64_t tile) { return items + tile * tiles * 3 * kTileItems; }
};

// ---- split directions

/// 32 columns of a direction as three terms; term p goes to words to[p][16 j], one for each pair of columns.
CLINOMETER_INLINE void pack_columns(Pair<float> u, const UpperHalf& upper, std::uint32_t* const (&to)[3]) {
  for (std::uint32_t* const part : to) {
    const Vec<float> a = rounded(u.first, upper), b = rounded(u.second, upper);
    const Vec<std::uint32_t> words = upper.both(a, b);
    for (std::int64_t j = 0; j < kTileRows; ++j) part[j * kTileRows] = words[j];
    u = {u.first - a, u.second - b};
  }
}

/// Directions as tiles of pairs of columns: for each 16 of them [column tile][term]; up to 8 as [column tile][2], terms
/// 0 and 1 in the halves of one tile and term 2 in half of another.
void pack(const float* directions, std::int64_t ld, std::int64_t d, std::int64_t n_directions, void* to) {
  const UpperHalf upper;
  const bool few = n_directions <= kTileRows / 2;
  const std::int64_t all = (d + kTileColumns - 1) / kTileColumns, items = kTileItems / 2;
  auto* const words = static_cast<std::uint32_t*>(to);
  for (std::int64_t i = 0; few && i < 2 * all * items; ++i) words[i] = 0;
  for (std::int64_t k = 0; k < n_directions; ++k)
    for (std::int64_t t = 0; t < all; ++t) {
      const float* const u = directions + k * ld + t * kTileColumns;
      const bool half = t * kTileColumns + kTileRows >= ld;
      const Pair<float> columns{loadu<float>(u), half ? Vec<float>{} : loadu<float>(u + kTileRows)};
      std::uint32_t* const at =
          few ? words + 2 * t * items + k : words + (k / kTileRows * all + t) * 3 * items + k % kTileRows;
      pack_columns(columns, upper, {at, few ? at + kTileRows / 2 : at + items, few ? at + items : at + 2 * items});
    }
}

// ---- products

enum class Breadth { wide, narrow, few };

/// A portion's columns in their chain of f32 sums, which lie in `held` between portions.
struct Link {
  std::int64_t tiles;
  bool first, last;
};

/// Up to 32 rows on a portion's columns: sums go on from `held` and back, or in the end to scores, in f64.
template <Breadth B, class Next>
CLINOMETER_INLINE void score_block(const std::uint16_t* const (&x)[2], const std::uint8_t* parts,
                                   const std::uint16_t* const (&u)[2], const Link& link, const Next& next,
                                   std::int64_t rows, std::int64_t n_directions, float* held, double* scores,
                                   std::int64_t lds) {
  if (link.first) {
    clear_sums();
  } else {
    load_sums(held);
  }
  if constexpr (B == Breadth::wide) multiply_wide<Side::left>(x, parts, u, link.tiles, next);
  if constexpr (B == Breadth::narrow) multiply_narrow(x, parts, u[0], link.tiles, next);
  if constexpr (B == Breadth::few) multiply_few(x, parts, u[0], link.tiles, next);
  store_sums(held);
  if (!link.last) return;
  for (std::int64_t i = 0; i < rows; ++i) {
    const float* const left = held + i / kTileRows * 2 * kSumItems + i % kTileRows * kTileRows;
    const float* const right = left + kSumItems;
    double* const to = scores + i * lds;
    if constexpr (B == Breadth::few) {
      for (std::int64_t k = 0; k < n_directions; ++k)
        to[k] += (double(left[k]) + double(left[k + kTileRows / 2])) + double(right[k]);
    } else {
      add_to(to, loadu<float>(left));
      add_to(B == Breadth::wide ? to + kTileRows : to, loadu<float>(right));
    }
  }
}

/// Directions [k, K), up to 32 of them, on a portion's columns.
template <class Next>
CLINOMETER_INLINE void score_some(const std::uint16_t* const (&x)[2], const std::uint8_t* parts,
                                  const std::uint16_t* const (&u)[2], const Link& link, const Next& next,
                                  std::int64_t rows, std::int64_t n_directions, float* held, double* scores,
                                  std::int64_t lds) {
  if (n_directions > kTileRows)
    score_block<Breadth::wide>(x, parts, u, link, next, rows, n_directions, held, scores, lds);
  else if (n_directions > kTileRows / 2)
    score_block<Breadth::narrow>(x, parts, u, link, next, rows, n_directions, held, scores, lds);
  else
    score_block<Breadth::few>(x, parts, u, link, next, rows, n_directions, held, scores, lds);
}

/// A split portion of rows against all directions; its columns begin at tile `begin` of `all`. What is read next is
/// prefetched while the first directions are multiplied.
void score_portion(const SplitRows& x, std::int64_t n, std::int64_t begin, std::int64_t all, const Link& link,
                   const Wanted& next, const std::uint16_t* packed, std::int64_t n_directions, float* held,
                   double* scores, std::int64_t lds) {
  const std::int64_t of_each = n_directions <= kTileRows / 2 ? 2 : 3;  // tiles of packed columns
  const std::int64_t apart = 3 * kTileItems * all;                     // of 16 directions and the next
  for (std::int64_t k = 0; k < n_directions; k += 2 * kTileRows) {
    const std::uint16_t* const u0 = packed + k / kTileRows * apart + begin * of_each * kTileItems;
    const std::uint16_t* const u[2] = {u0, u0 + apart};
    for (std::int64_t i = 0; i < n; i += 2 * kTileRows) {
      const std::int64_t rows = smaller(n - i, 2 * kTileRows), tile = i / kTileRows;
      const std::int64_t second = rows > kTileRows ? tile + 1 : tile;
      const std::uint16_t* const pair[2] = {x.row(tile), x.row(second)};
      std::uint8_t parts[4];
      for (std::int64_t t = 0; t < link.tiles; ++t) {
        const std::uint8_t a = x.parts[tile][t], b = x.parts[second][t];
        parts[t] = a > b ? a : b;
      }
      double* const to = scores + i * lds + k;
      if (k == 0)
        score_some(pair, parts, u, link, Wanted{next.rows + i, next.begin, next.step}, rows, n_directions, held, to,
                   lds);
      else
        score_some(pair, parts, u, link, Nothing{}, rows, n_directions - k, held, to, lds);
      held += 4 * kSumItems;
    }
  }
}

template <Dtype T>
void split_rows(const char* const* rows, std::int64_t n, std::int64_t begin, std::int64_t tiles, std::int64_t d,
                const float* shift, SplitRows& x) {
  for (std::int64_t r = 0; r < n; r += kTileRows)
    for (std::int64_t t = 0; t < tiles; ++t)
      x.parts[r / kTileRows][t] = static_cast<std::uint8_t>(
          split_tile<T>(rows + r, (begin + t) * kTileColumns, d, shift, x.row(r / kTileRows) + t * 3 * kTileItems));
}

/// Rows of a portion, the last one again and again where there are fewer.
struct RowsAt {
  const char* at[4 * kTileRows];
  RowsAt(const void* const* rows, std::int64_t n) {
    for (std::int64_t r = 0; r < 4 * kTileRows; ++r) at[r] = static_cast<const char*>(rows[smaller(r, n - 1)]);
  }
};

/// Rows on a span of tiles, and the rows and the tile that are read after them.
struct Stretch {
  RowsAt rows;
  std::int64_t count, begin, end;
  RowsAt later;
  std::int64_t later_tile;
};

/// What comes after rows [i, i + count) of n on a span: the rows behind them, the first on the next span, or in the end
/// rows of another call.
Stretch stretch_of(const void* const* rows, std::int64_t i, std::int64_t count, std::int64_t n, std::int64_t known,
                   std::int64_t begin, std::int64_t end, std::int64_t all) {
  const std::int64_t after = i + count;
  const RowsAt now(rows + i, count);
  if (after >= n && end < all) return {now, count, begin, end, RowsAt(rows, n), end};
  if (after >= known) return {now, count, begin, end, now, begin};
  return {now, count, begin, end, RowsAt(rows + after, known - after), after < n ? begin : 0};
}

template <Dtype T>
void score_stretch(const Stretch& s, std::int64_t d, const float* shift, const void* packed, std::int64_t n_directions,
                   void* work, double* scores, std::int64_t lds) {
  constexpr std::int64_t step = kTileColumns * Load<T>::bytes;
  const std::int64_t all = (d + kTileColumns - 1) / kTileColumns, tiles = portion_of(d, n_directions).tiles;
  SplitRows x{static_cast<std::uint16_t*>(work), tiles, {}};
  auto* const held = static_cast<float*>(work) + kSplitItems / 2;
  for (std::int64_t t = s.begin; t < s.end; t += tiles) {
    const std::int64_t next = smaller(t + tiles, s.end);
    const Link link{next - t, t % kChainTiles == 0, next % kChainTiles == 0 || next == all};
    const Wanted wanted =
        next < s.end ? Wanted{s.rows.at, next * step, step} : Wanted{s.later.at, s.later_tile * step, step};
    split_rows<T>(s.rows.at, s.count, t, link.tiles, d, shift, x);
    score_portion(x, s.count, t, all, link, wanted, static_cast<const std::uint16_t*>(packed), n_directions, held,
                  scores, lds);
  }
}

template <Dtype T>
void scores(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d, const float* shift,
            const void* packed, std::int64_t n_directions, void* work, double* scores, std::int64_t lds) {
  const Unit unit;
  const std::int64_t all = (d + kTileColumns - 1) / kTileColumns;
  const std::int64_t span = span_of(n_directions), some = portion_of(d, n_directions).rows;
  for (std::int64_t begin = 0; begin < all; begin += span)
    for (std::int64_t i = 0; i < n; i += some) {
      const Stretch s = stretch_of(rows, i, smaller(n - i, some), n, known, begin, smaller(begin + span, all), all);
      score_stretch<T>(s, d, shift, packed, n_directions, work, scores + i * lds, lds);
    }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
