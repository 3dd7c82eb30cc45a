// Gram block as a register-blocked outer product: A values of the left columns by B vectors of the right
// ones, tile rows inner. Both operands are first copied to contiguous strips, because tile rows are often
// a power of two apart and would fall into one cache set. A strip is summed in lanes of L, then joins f64.
#pragma once
#include "kernels/simd.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

constexpr int kLeftValues = kRegisters >= 32 ? 8 : 4;
constexpr int kRightVectors = 3;
constexpr int kLeftColumns = 64;
/// Rows of a strip: 512 bytes over the element, so the strips take the same stack for both lane types.
template <class L>
constexpr int kStripRows = 512 / static_cast<int>(sizeof(L));

template <class L>
struct LeftStrip {
  L values[kLeftColumns / kLeftValues][kStripRows<L>][kLeftValues];

  void copy(const L* tile, int n, std::int64_t ld, int columns) {
    for (int i = 0; i < n; ++i)
      for (int a = 0; a < columns; a += kLeftValues)
        __builtin_memcpy(values[a / kLeftValues][i], tile + i * ld + a, sizeof(L) * kLeftValues);
  }
};

template <class L>
struct RightStrip {
  Vec<L> values[kStripRows<L>][kRightVectors];

  void copy(const L* tile, int n, std::int64_t ld, int vectors) {
    for (int i = 0; i < n; ++i)
      for (int v = 0; v < vectors; ++v) values[i][v] = loadu<L>(tile + i * ld + v * kLanes<L>);
  }
};

template <class L, int V>
CLINOMETER_INLINE void gram_block(const L (*left)[kLeftValues], const RightStrip<L>& right, int n, double* out,
                                  std::int64_t ldo) {
  Vec<L> sum[kLeftValues][V] = {};
  for (int i = 0; i < n; ++i) {
    Vec<L> part[V];
    CLINOMETER_UNROLL for (int v = 0; v < V; ++v) part[v] = right.values[i][v];
    CLINOMETER_UNROLL for (int a = 0; a < kLeftValues; ++a) {
      const Vec<L> factor = broadcast(left[i][a]);
      CLINOMETER_UNROLL for (int v = 0; v < V; ++v) sum[a][v] += factor * part[v];
    }
  }
  CLINOMETER_UNROLL for (int a = 0; a < kLeftValues; ++a) CLINOMETER_UNROLL for (int v = 0; v < V; ++v)
      add_to(out + a * ldo + v * kLanes<L>, sum[a][v]);
}

template <class L, int V>
void gram_column(const LeftStrip<L>& left, int columns, const RightStrip<L>& right, int n, double* out,
                 std::int64_t ldo) {
  for (int a = 0; a < columns; a += kLeftValues)
    gram_block<L, V>(left.values[a / kLeftValues], right, n, out + a * ldo, ldo);
}

/// `columns` left columns from `tile + a` by all right columns [b0, b1), over n <= kStripRows rows.
template <class L>
void gram_strip(const L* tile, int n, std::int64_t ld, std::int64_t a, int columns, std::int64_t b0, std::int64_t b1,
                double* out, std::int64_t ldo) {
  LeftStrip<L> left;
  RightStrip<L> right;
  left.copy(tile + a, n, ld, columns);
  for (std::int64_t b = b0; b < b1; b += kRightVectors * kLanes<L>) {
    const std::int64_t vectors = (b1 - b) / kLanes<L>;
    double* const to = out + a * ldo + b;
    right.copy(tile + b, n, ld, vectors < kRightVectors ? static_cast<int>(vectors) : kRightVectors);
    if (vectors >= 3)
      gram_column<L, 3>(left, columns, right, n, to, ldo);
    else if (vectors == 2)
      gram_column<L, 2>(left, columns, right, n, to, ldo);
    else
      gram_column<L, 1>(left, columns, right, n, to, ldo);
  }
}

template <class L>
void gram(const L* tile, std::int64_t n, std::int64_t ld, std::int64_t a0, std::int64_t a1, std::int64_t b0,
          std::int64_t b1, double* out, std::int64_t ldo) {
  for (std::int64_t i = 0; i < n; i += kStripRows<L>) {
    const int rows = static_cast<int>(n - i < kStripRows<L> ? n - i : kStripRows<L>);
    for (std::int64_t a = a0; a < a1; a += kLeftColumns) {
      const int columns = static_cast<int>(a1 - a < kLeftColumns ? a1 - a : kLeftColumns);
      gram_strip<L>(tile + i * ld, rows, ld, a, columns, b0, b1, out, ldo);
    }
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
