// A matrix unit that multiplies bf16 tiles and sums in f32 (Intel AMX).
#pragma once
#include "kernels/simd.hpp"
#include "kernels/table.hpp"

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

/// The four tiles of sums, one after the other in memory.
constexpr std::int64_t kSumItems = kTileRows * kTileRows;

CLINOMETER_INLINE void clear_sums() {
  clear_tile<0>();
  clear_tile<1>();
  clear_tile<2>();
  clear_tile<3>();
}
CLINOMETER_INLINE void load_sums(const float* from) {
  load_tile<0>(from);
  load_tile<1>(from + kSumItems);
  load_tile<2>(from + 2 * kSumItems);
  load_tile<3>(from + 3 * kSumItems);
}
CLINOMETER_INLINE void store_sums(float* to) {
  store_tile<0>(to);
  store_tile<1>(to + kSumItems);
  store_tile<2>(to + 2 * kSumItems);
  store_tile<3>(to + 3 * kSumItems);
}

constexpr std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
/// Runs of 32 rows: the depth of one product over rows.
constexpr std::int64_t runs_of(std::int64_t n) { return (n + kTileColumns - 1) / kTileColumns; }

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
