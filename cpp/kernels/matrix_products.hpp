// Products of two tiles of split rows with other tiles, whose bf16 terms are adjacent or apart.
#pragma once
#include "kernels/matrix_parts.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// Columns of 32 rows that are read next, prefetched between products, which leave the memory path idle. `some`
/// prefetches a tile's lines of eight rows: those where its bytes end, since the ones before came with the previous
/// tile where rows are not aligned.
struct Wanted {
  const char* const* rows;   // (32,)
  std::int64_t begin, step;  // bytes to the first of the columns, and from tile to tile: a line, or two
  template <int First>
  CLINOMETER_INLINE void some(std::int64_t tile) const {
    const std::int64_t at = begin + tile * step + 63;
    CLINOMETER_UNROLL for (int r = First; r < First + 8; ++r) __builtin_prefetch(rows[r] + at, 0, 2);
    if (step == 64) return;
    CLINOMETER_UNROLL for (int r = First; r < First + 8; ++r) __builtin_prefetch(rows[r] + at + 64, 0, 2);
  }
};
struct Nothing {
  template <int First>
  CLINOMETER_INLINE void some(std::int64_t) const {}
};

/// Which operand of a product rows are: scores have them on the left, sums over rows on the right.
enum class Side { left, right };

template <Side S, int Sum, int Rows, int Others>
CLINOMETER_INLINE void multiply() {
  multiply_tiles<Sum, S == Side::left ? Rows : Others, S == Side::left ? Others : Rows>();
}

/// Two tiles of rows by two others, so many terms of either.
template <Side S, class Next = Nothing>
CLINOMETER_INLINE void multiply_square(const std::uint16_t* const (&x)[2], std::int64_t at_x, int of_x,
                                       const std::uint16_t* const (&u)[2], std::int64_t at_u, int of_u,
                                       const Next& next = {}, std::int64_t tile = 0) {
  for (int p = 0; p < of_x; ++p) {
    load_tile<4>(x[0] + at_x + p * kTileItems);
    load_tile<5>(x[1] + at_x + p * kTileItems);
    for (int q = 0; q < of_u && p + q < 3; ++q) {
      load_tile<6>(u[0] + at_u + q * kTileItems);
      load_tile<7>(u[1] + at_u + q * kTileItems);
      const bool first = p + q == 0;
      if (first) next.template some<0>(tile);
      multiply<S, 0, 4, 6>();
      if (first) next.template some<8>(tile);
      multiply<S, 1, 4, 7>();
      if (first) next.template some<16>(tile);
      multiply<S, 2, 5, 6>();
      if (first) next.template some<24>(tile);
      multiply<S, 3, 5, 7>();
    }
  }
}

/// The same over a span of tiles, those of rows `Apart` items apart; all terms of the others.
template <Side S, std::int64_t Apart = 3 * kTileItems, class Next = Nothing>
CLINOMETER_INLINE void multiply_wide(const std::uint16_t* const (&x)[2], const std::uint8_t* parts,
                                     const std::uint16_t* const (&u)[2], std::int64_t tiles, const Next& next = {}) {
  for (std::int64_t t = 0; t < tiles; ++t)
    multiply_square<S>(x, t * Apart, parts[t], u, 3 * t * kTileItems, 3, next, t);
}

/// Two tiles of rows by 16 directions: tiles 1 and 3 sum what their later terms add.
template <class Next>
CLINOMETER_INLINE void multiply_narrow(const std::uint16_t* const (&x)[2], const std::uint8_t* parts,
                                       const std::uint16_t* u, std::int64_t tiles, const Next& next) {
  for (std::int64_t t = 0; t < tiles; ++t)
    for (int p = 0; p < parts[t]; ++p) {
      load_tile<4>(x[0] + (3 * t + p) * kTileItems);
      load_tile<5>(x[1] + (3 * t + p) * kTileItems);
      load_tile<6>(u + 3 * t * kTileItems);
      if (p == 0) next.template some<0>(t);
      multiply_tiles<0, 4, 6>();
      if (p == 0) next.template some<8>(t);
      multiply_tiles<2, 5, 6>();
      for (int q = 1; q + p < 3; ++q) {
        load_tile<7>(u + (3 * t + q) * kTileItems);
        if (p == 0 && q == 1) next.template some<16>(t);
        multiply_tiles<1, 4, 7>();
        if (p == 0 && q == 1) next.template some<24>(t);
        multiply_tiles<3, 5, 7>();
      }
    }
}

/// One tile of columns with up to three terms of weights, which lie in tiles 5 to 7.
template <int Sum>
CLINOMETER_INLINE void multiply_parts(const std::uint16_t* x, int parts) {
  load_tile<4>(x);
  multiply_tiles<Sum, 5, 4>();
  multiply_tiles<Sum, 6, 4>();
  multiply_tiles<Sum, 7, 4>();
  if (parts == 1) return;
  load_tile<4>(x + kTileItems);
  multiply_tiles<Sum, 5, 4>();
  multiply_tiles<Sum, 6, 4>();
  if (parts == 2) return;
  load_tile<4>(x + 2 * kTileItems);
  multiply_tiles<Sum, 5, 4>();
}

/// 16 weights by four tiles of columns, of one run of rows.
CLINOMETER_INLINE void multiply_four(const std::uint16_t* const (&x)[4], int parts, const std::uint16_t* weights) {
  load_tile<5>(weights);
  load_tile<6>(weights + kTileItems);
  load_tile<7>(weights + 2 * kTileItems);
  multiply_parts<0>(x[0], parts);
  multiply_parts<1>(x[1], parts);
  multiply_parts<2>(x[2], parts);
  multiply_parts<3>(x[3], parts);
}

/// Two tiles of rows by 8 directions, whose terms are adjacent.
template <class Next>
CLINOMETER_INLINE void multiply_few(const std::uint16_t* const (&x)[2], const std::uint8_t* parts,
                                    const std::uint16_t* u, std::int64_t tiles, const Next& next) {
  for (std::int64_t t = 0; t < tiles; ++t) {
    load_tile<6>(u + 2 * t * kTileItems);
    load_tile<7>(u + (2 * t + 1) * kTileItems);
    for (int p = 0; p < parts[t]; ++p) {
      load_tile<4>(x[0] + (3 * t + p) * kTileItems);
      load_tile<5>(x[1] + (3 * t + p) * kTileItems);
      if (p == 0) next.template some<0>(t);
      multiply_tiles<0, 4, 6>();
      if (p == 0) next.template some<8>(t);
      multiply_tiles<2, 5, 6>();
      if (p > 0) continue;
      next.template some<16>(t);
      multiply_tiles<1, 4, 7>();
      next.template some<24>(t);
      multiply_tiles<3, 5, 7>();
    }
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
