// Scores on a matrix unit that multiplies bf16 tiles and sums in f32 (Intel AMX). An f32 is a sum of three bf16 parts,
// exactly, so a product of two is a sum of nine products of parts; those of order up to 2^-16 are taken, six of them,
// and what is left out is at most 2^-22 of the product (2^-25 on average), below the rounding of an f32 product. Parts
// of rows that are all zero are left out, which changes no bit: bf16 rows need three products, f16 five. The unit
// takes subnormals for zero, which is 1e-38 beside scores of 1e-15 or more (fold.cpp).
#pragma once
#include "kernels/decode.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// A tile is 16 rows of 64 bytes: 32 columns of 16 rows, or 16 pairs of columns of 16 directions.
constexpr std::int64_t kTileRows = 16, kTileColumns = 32, kTileItems = kTileRows * kTileColumns;

// ---- the unit: tiles 0 to 3 hold sums, 4 and 5 rows, 6 and 7 directions

struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// The unit belongs to the thread for one call: a caller that uses it finds it released and not in a strange state.
struct Unit {
  Unit() {
    const TileShapes shapes;
    asm volatile("ldtilecfg %0" ::"m"(shapes));
  }
  ~Unit() { asm volatile("tilerelease"); }
  Unit(const Unit&) = delete;
  Unit& operator=(const Unit&) = delete;
};

template <int Tile>
CLINOMETER_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
template <int Tile>
CLINOMETER_INLINE void load_tile(const void* from) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(std::int64_t{64}), "i"(Tile) : "memory");
}
template <int Tile>
CLINOMETER_INLINE void store_tile(float* to) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(std::int64_t{64}), "i"(Tile) : "memory");
}
template <int Sum, int Rows, int Directions>
CLINOMETER_INLINE void multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sum), "i"(Rows), "i"(Directions));
}

// ---- rows in parts

/// A mask of upper halves that stays in a register: the compiler would make it anew at every use.
struct UpperHalf {
  Vec<std::uint32_t> mask = broadcast(0xffff0000u);
  CLINOMETER_INLINE UpperHalf() { asm("" : "+v"(mask)); }
  /// The first bf16 part of each lane, cut and not rounded.
  CLINOMETER_INLINE Vec<float> of(Vec<float> x) const { return (Vec<float>)((Vec<std::uint32_t>)x & mask); }
  /// The upper halves of two vectors side by side in one.
  CLINOMETER_INLINE Vec<std::uint32_t> both(Vec<float> first, Vec<float> second) const {
    const __m512i low = (__m512i)((Vec<std::uint32_t>)first >> 16);
    return (Vec<std::uint32_t>)_mm512_ternarylogic_epi32(low, (__m512i)second, (__m512i)mask,
                                                         0xf8);  // low | (b & mask)
  }
};

/// What has been seen in the second and third parts.
struct Seen {
  Vec<std::uint32_t> second = {}, third = {};
};

/// 32 columns of a row as three parts kTileItems apart. NaN and Inf stay in the first, with remainders of NaN.
CLINOMETER_INLINE void store_parts(Pair<float> x, const UpperHalf& upper, std::uint16_t* to, Seen& seen) {
  storeu<std::uint32_t>(to, upper.both(x.first, x.second));
  const Vec<float> a = x.first - upper.of(x.first), b = x.second - upper.of(x.second);
  const Vec<std::uint32_t> second = upper.both(a, b);
  storeu<std::uint32_t>(to + kTileItems, second);
  const Vec<std::uint32_t> third = upper.both(a - upper.of(a), b - upper.of(b));
  storeu<std::uint32_t>(to + 2 * kTileItems, third);
  seen.second |= second;
  seen.third |= third;
}

CLINOMETER_INLINE bool any(Vec<std::uint32_t> bits) {
  return _mm512_test_epi32_mask((__m512i)bits, (__m512i)bits) != 0;
}

/// The last columns of a row, fewer than 32.
template <Dtype T>
Pair<float> moved_rest(const char* at, const float* shift, std::int64_t count) {
  constexpr int N = kLanes<float>;
  if (count <= N) return {moved_part<T, float>(at, shift, count), Vec<float>{}};
  return {moved_part<T, float>(at, shift, N), moved_part<T, float>(at + N * Load<T>::bytes, shift + N, count - N)};
}

/// Columns [c, c + 32) of 16 rows less their shift; how many parts there are before none but zeros follow.
template <Dtype T>
int split_tile(const void* const* rows, std::int64_t c, std::int64_t d, const float* shift, std::uint16_t* to) {
  const bool whole = c + kTileColumns <= d;
  if (T == Dtype::bf16 && whole) {
    const Vec<std::uint32_t> any_shift = loadu<std::uint32_t>(shift + c) | loadu<std::uint32_t>(shift + c + 16);
    if (!any(any_shift << 1)) {  // they are what they are
      CLINOMETER_UNROLL for (std::int64_t r = 0; r < kTileRows; ++r) {
        const char* const at = static_cast<const char*>(rows[r]) + c * Load<T>::bytes;
        storeu<std::uint32_t>(to + r * kTileColumns, loadu<std::uint32_t>(at));
      }
      return 1;
    }
  }
  const UpperHalf upper;
  Seen seen;
  if (whole) {
    CLINOMETER_UNROLL for (std::int64_t r = 0; r < kTileRows; ++r) {
      const char* const at = static_cast<const char*>(rows[r]) + c * Load<T>::bytes;
      store_parts(Load<T>::template moved_pair<float>(at, shift + c), upper, to + r * kTileColumns, seen);
    }
  } else {
    for (std::int64_t r = 0; r < kTileRows; ++r) {
      const char* const at = static_cast<const char*>(rows[r]) + c * Load<T>::bytes;
      store_parts(moved_rest<T>(at, shift + c, d - c), upper, to + r * kTileColumns, seen);
    }
  }
  return any(seen.third) ? 3 : any(seen.second) ? 2 : 1;
}

/// Tiles of columns in one chain of f32 sums.
constexpr std::int64_t kChainTiles = 16;

/// How much is split before it is used, so that it stays in the first cache. More rows at once mean that directions are
/// read less often, which counts where there are many; more columns, that sums are put down less often.
struct Portion {
  std::int64_t rows, tiles;  // a multiple of 32 rows; tiles of 32 columns, a divisor of a chain
};
constexpr Portion portion_of(std::int64_t d, std::int64_t n_directions) {
  return d * n_directions <= 1 << 17 ? Portion{32, 4} : Portion{64, 2};
}

/// Items of a portion's parts.
constexpr std::int64_t kSplitItems = 3 * 32 * 128;
static_assert(kSplitItems == 3 * 64 * 64);

/// A portion of rows as parts: [row tile][column tile][part], and how many parts are to be taken.
struct SplitRows {
  std::uint16_t* items;
  std::int64_t tiles;  // apart, from row tile to row tile
  std::uint8_t parts[4][4];

  const std::uint16_t* row(std::int64_t tile) const { return items + tile * tiles * 3 * kTileItems; }
  std::uint16_t* row(std::int64_t tile) { return items + tile * tiles * 3 * kTileItems; }
};

// ---- directions in parts

/// To bf16, to nearest and ties to even; finite numbers of about unit size.
CLINOMETER_INLINE Vec<float> rounded(Vec<float> x, const UpperHalf& upper) {
  const Vec<std::uint32_t> bits = (Vec<std::uint32_t>)x;
  return upper.of((Vec<float>)(bits + 0x7fffu + (bits >> 16 & 1u)));
}

/// 32 columns of a direction as three parts; part p goes to words to[p][16 j], one for each pair of columns.
CLINOMETER_INLINE void pack_columns(Pair<float> u, const UpperHalf& upper, std::uint32_t* const (&to)[3]) {
  for (std::uint32_t* const part : to) {
    const Vec<float> a = rounded(u.first, upper), b = rounded(u.second, upper);
    const Vec<std::uint32_t> words = upper.both(a, b);
    for (std::int64_t j = 0; j < kTileRows; ++j) part[j * kTileRows] = words[j];
    u = {u.first - a, u.second - b};
  }
}

/// Directions as tiles of pairs of columns: for each 16 of them [column tile][part]; up to 8 as [column tile][2], parts
/// 0 and 1 in the halves of one tile and part 2 in half of another.
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

/// Two tiles of rows by 32 directions over a span of columns.
CLINOMETER_INLINE void multiply_wide(const std::uint16_t* const (&x)[2], const std::uint8_t* parts,
                                     const std::uint16_t* const (&u)[2], std::int64_t tiles) {
  for (std::int64_t t = 0; t < tiles; ++t)
    for (int p = 0; p < parts[t]; ++p) {
      load_tile<4>(x[0] + (3 * t + p) * kTileItems);
      load_tile<5>(x[1] + (3 * t + p) * kTileItems);
      for (int q = 0; q + p < 3; ++q) {
        load_tile<6>(u[0] + (3 * t + q) * kTileItems);
        load_tile<7>(u[1] + (3 * t + q) * kTileItems);
        multiply_tiles<0, 4, 6>();
        multiply_tiles<1, 4, 7>();
        multiply_tiles<2, 5, 6>();
        multiply_tiles<3, 5, 7>();
      }
    }
}

/// Two tiles of rows by 16 directions: tiles 1 and 3 sum what their later parts add.
CLINOMETER_INLINE void multiply_narrow(const std::uint16_t* const (&x)[2], const std::uint8_t* parts,
                                       const std::uint16_t* u, std::int64_t tiles) {
  for (std::int64_t t = 0; t < tiles; ++t)
    for (int p = 0; p < parts[t]; ++p) {
      load_tile<4>(x[0] + (3 * t + p) * kTileItems);
      load_tile<5>(x[1] + (3 * t + p) * kTileItems);
      load_tile<6>(u + 3 * t * kTileItems);
      multiply_tiles<0, 4, 6>();
      multiply_tiles<2, 5, 6>();
      for (int q = 1; q + p < 3; ++q) {
        load_tile<7>(u + (3 * t + q) * kTileItems);
        multiply_tiles<1, 4, 7>();
        multiply_tiles<3, 5, 7>();
      }
    }
}

/// Two tiles of rows by 8 directions, whose parts lie side by side.
CLINOMETER_INLINE void multiply_few(const std::uint16_t* const (&x)[2], const std::uint8_t* parts,
                                    const std::uint16_t* u, std::int64_t tiles) {
  for (std::int64_t t = 0; t < tiles; ++t) {
    load_tile<6>(u + 2 * t * kTileItems);
    load_tile<7>(u + (2 * t + 1) * kTileItems);
    for (int p = 0; p < parts[t]; ++p) {
      load_tile<4>(x[0] + (3 * t + p) * kTileItems);
      load_tile<5>(x[1] + (3 * t + p) * kTileItems);
      multiply_tiles<0, 4, 6>();
      multiply_tiles<2, 5, 6>();
      if (p > 0) continue;
      multiply_tiles<1, 4, 7>();
      multiply_tiles<3, 5, 7>();
    }
  }
}

enum class Breadth { wide, narrow, few };

/// A portion's columns in their chain of f32 sums, which lie in `held` between portions.
struct Link {
  std::int64_t tiles;
  bool first, last;
};

constexpr std::int64_t kSumItems = kTileRows * kTileRows;

/// Up to 32 rows on a portion's columns: sums go on from `held` and back, or in the end to scores, in f64.
template <Breadth B>
CLINOMETER_INLINE void score_block(const std::uint16_t* const (&x)[2], const std::uint8_t* parts,
                                   const std::uint16_t* const (&u)[2], const Link& link, std::int64_t rows,
                                   std::int64_t n_directions, float* held, double* scores, std::int64_t lds) {
  if (link.first) {
    clear_tile<0>();
    clear_tile<1>();
    clear_tile<2>();
    clear_tile<3>();
  } else {
    load_tile<0>(held);
    load_tile<1>(held + kSumItems);
    load_tile<2>(held + 2 * kSumItems);
    load_tile<3>(held + 3 * kSumItems);
  }
  if constexpr (B == Breadth::wide) multiply_wide(x, parts, u, link.tiles);
  if constexpr (B == Breadth::narrow) multiply_narrow(x, parts, u[0], link.tiles);
  if constexpr (B == Breadth::few) multiply_few(x, parts, u[0], link.tiles);
  store_tile<0>(held);
  store_tile<1>(held + kSumItems);
  store_tile<2>(held + 2 * kSumItems);
  store_tile<3>(held + 3 * kSumItems);
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

/// A portion of rows in parts against all directions; its columns begin at tile `begin` of `all`.
void score_portion(const SplitRows& x, std::int64_t n, std::int64_t begin, std::int64_t all, const Link& link,
                   const std::uint16_t* packed, std::int64_t n_directions, float* held, double* scores,
                   std::int64_t lds) {
  const bool few = n_directions <= kTileRows / 2;
  const std::int64_t apart = 3 * kTileItems * all;  // of 16 directions and the next
  for (std::int64_t k = 0; k < n_directions; k += 2 * kTileRows) {
    const std::uint16_t* const u0 = packed + k / kTileRows * apart + begin * (few ? 2 : 3) * kTileItems;
    const std::uint16_t* const u[2] = {u0, u0 + apart};
    for (std::int64_t i = 0; i < n; i += 2 * kTileRows) {
      const std::int64_t rows = n - i < 2 * kTileRows ? n - i : 2 * kTileRows, tile = i / kTileRows;
      const std::int64_t second = rows > kTileRows ? tile + 1 : tile;
      const std::uint16_t* const pair[2] = {x.row(tile), x.row(second)};
      std::uint8_t parts[4];
      for (std::int64_t t = 0; t < link.tiles; ++t) {
        const std::uint8_t a = x.parts[tile][t], b = x.parts[second][t];
        parts[t] = a > b ? a : b;
      }
      double* const to = scores + i * lds + k;
      if (few)
        score_block<Breadth::few>(pair, parts, u, link, rows, n_directions, held, to, lds);
      else if (n_directions - k > kTileRows)
        score_block<Breadth::wide>(pair, parts, u, link, rows, n_directions, held, to, lds);
      else
        score_block<Breadth::narrow>(pair, parts, u, link, rows, n_directions, held, to, lds);
      held += 4 * kSumItems;
    }
  }
}

template <Dtype T>
void split_rows(const void* const* rows, std::int64_t n, std::int64_t begin, std::int64_t tiles, std::int64_t d,
                const float* shift, SplitRows& x) {
  for (std::int64_t r = 0; r < n; r += kTileRows) {
    const void* of[kTileRows];
    for (std::int64_t j = 0; j < kTileRows; ++j) of[j] = rows[r + j < n ? r + j : n - 1];
    for (std::int64_t t = 0; t < tiles; ++t)
      x.parts[r / kTileRows][t] = static_cast<std::uint8_t>(
          split_tile<T>(of, (begin + t) * kTileColumns, d, shift, x.row(r / kTileRows) + t * 3 * kTileItems));
  }
}

constexpr std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

template <Dtype T>
void scores(const void* const* rows, std::int64_t n, std::int64_t d, const float* shift, const void* packed,
            std::int64_t n_directions, void* work, double* scores, std::int64_t lds) {
  const Unit unit;
  const Portion portion = portion_of(d, n_directions);
  const std::int64_t all = (d + kTileColumns - 1) / kTileColumns;
  SplitRows x{static_cast<std::uint16_t*>(work), portion.tiles, {}};
  auto* const held = static_cast<float*>(work) + kSplitItems / 2;
  for (std::int64_t i = 0; i < n; i += portion.rows) {
    const std::int64_t count = smaller(n - i, portion.rows);
    for (std::int64_t t = 0; t < all; t += portion.tiles) {
      const std::int64_t next = smaller(t + portion.tiles, all);
      const Link link{next - t, t % kChainTiles == 0, next % kChainTiles == 0 || next == all};
      split_rows<T>(rows + i, count, t, link.tiles, d, shift, x);
      score_portion(x, count, t, all, link, static_cast<const std::uint16_t*>(packed), n_directions, held,
                    scores + i * lds, lds);
    }
  }
}

}  // namespace

extern const MatrixTable matrix;
const MatrixTable matrix = {
    {128, 9, 8, 128}, pack, {scores<Dtype::f32>, scores<Dtype::f16>, scores<Dtype::bf16>, scores<Dtype::f64>}};

}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
