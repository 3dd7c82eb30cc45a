// One register-blocked product serves weighted sums and Gram matrices: F factors by V vectors of sums, both operands
// contiguous in the panels of a tile (table.hpp).
#pragma once
#include "kernels/simd.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// sum[f][v] += sum_s a[s * step + f] * b[v][16 s ...].
template <class L, int F, int V>
CLINOMETER_INLINE void product(const L* a, std::int64_t step, const L* const (&b)[V], std::int64_t steps,
                               Vec<L> (&sum)[F][V]) {
  for (std::int64_t s = 0; s < steps; ++s) {
    Vec<L> right[V];
    CLINOMETER_UNROLL for (int v = 0; v < V; ++v) right[v] = loadu<L>(b[v] + s * kPad);
    CLINOMETER_UNROLL for (int f = 0; f < F; ++f) {
      const Vec<L> left = broadcast(a[s * step + f]);
      CLINOMETER_UNROLL for (int v = 0; v < V; ++v) sum[f][v] += left * right[v];
    }
  }
}

template <class L>
constexpr int kVectorsPerPanel = static_cast<int>(kPad) / kLanes<L>;

/// How many factors and vectors a product across panels takes: 24 or 12 sums, and operands.
constexpr int kFactors = kRegisters >= 32 ? 8 : 4;
constexpr int kVectors = 3;
/// Rows of one chain of f32 sums. Squares add up with one sign, and those of coarse values (bf16, or f32 far from 0)
/// are all 0 or 1 modulo 4 in their last place, so that a long chain rounds them down time after time.
constexpr std::int64_t kChain = 256, kSquareChain = 32;

/// F factors by V vectors of a tile's columns over its rows: rows are the summation.
template <class L, int F, int V, std::int64_t Chain>
CLINOMETER_INLINE void across_block(const L* left, std::int64_t step, const L* tile, std::int64_t n,
                                    std::int64_t tile_rows, std::int64_t vector, double* out, std::int64_t ldo) {
  Vec<L> total[F][V] = {};
  const L* b[V];
  CLINOMETER_UNROLL for (int v = 0; v < V; ++v) {
    const std::int64_t at = vector + v;
    b[v] = tile + at / kVectorsPerPanel<L> * kPad * tile_rows + at % kVectorsPerPanel<L> * kLanes<L>;
  }
  for (std::int64_t i = 0; i < n; i += Chain) {
    const std::int64_t rows = n - i < Chain ? n - i : Chain;
    Vec<L> sum[F][V] = {};
    product<L, F, V>(left + i * step, step, b, rows, sum);
    CLINOMETER_UNROLL for (int v = 0; v < V; ++v) b[v] += rows * kPad;
    CLINOMETER_UNROLL for (int f = 0; f < F; ++f) CLINOMETER_UNROLL for (int v = 0; v < V; ++v) total[f][v] +=
        sum[f][v];
  }
  CLINOMETER_UNROLL for (int f = 0; f < F; ++f) CLINOMETER_UNROLL for (int v = 0; v < V; ++v)
      add_to(out + f * ldo + (vector + v) * kLanes<L>, total[f][v]);
}

/// All vectors [from, to) for F factors.
template <class L, int F, std::int64_t Chain>
void across_strip(const L* left, std::int64_t step, const L* tile, std::int64_t n, std::int64_t tile_rows,
                  std::int64_t from, std::int64_t to, double* out, std::int64_t ldo) {
  std::int64_t v = from;
  for (; v + kVectors <= to; v += kVectors)
    across_block<L, F, kVectors, Chain>(left, step, tile, n, tile_rows, v, out, ldo);
  for (; v + 2 <= to; v += 2) across_block<L, F, 2, Chain>(left, step, tile, n, tile_rows, v, out, ldo);
  for (; v < to; ++v) across_block<L, F, 1, Chain>(left, step, tile, n, tile_rows, v, out, ldo);
}

template <class L>
void accumulate(const L* tile, std::int64_t n, std::int64_t tile_rows, std::int64_t width, const L* weights,
                std::int64_t n_weights, std::int64_t ldw, double* out, std::int64_t ldo) {
  // columns outside: a few panels stay near while all weights pass over them
  constexpr std::int64_t kStep = 2 * kVectors;
  const std::int64_t vectors = width / kLanes<L>;
  for (std::int64_t v = 0; v < vectors; v += kStep) {
    const std::int64_t to = v + kStep < vectors ? v + kStep : vectors;
    std::int64_t m = 0;
    for (; m + kFactors <= n_weights; m += kFactors)
      across_strip<L, kFactors, kChain>(weights + m, ldw, tile, n, tile_rows, v, to, out + m * ldo, ldo);
    for (; m < n_weights; m += 4)
      across_strip<L, 4, kChain>(weights + m, ldw, tile, n, tile_rows, v, to, out + m * ldo, ldo);
  }
}

template <class L>
void gram(const L* tile, std::int64_t n, std::int64_t tile_rows, std::int64_t a0, std::int64_t a1, std::int64_t b0,
          std::int64_t b1, double* out, std::int64_t ldo) {
  constexpr std::int64_t kStep = 2 * kVectors;
  const std::int64_t last = b1 / kLanes<L>;
  for (std::int64_t v = b0 / kLanes<L>; v < last; v += kStep) {
    const std::int64_t to = v + kStep < last ? v + kStep : last;
    for (std::int64_t a = a0; a < a1 && a < to * kLanes<L>; a += kFactors) {
      const std::int64_t diagonal = a / kLanes<L>, from = v > diagonal ? v : diagonal;  // nothing below the diagonal
      across_strip<L, kFactors, kSquareChain>(tile + a / kPad * kPad * tile_rows + a % kPad, kPad, tile, n, tile_rows,
                                              from, to, out + a * ldo, ldo);
    }
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
