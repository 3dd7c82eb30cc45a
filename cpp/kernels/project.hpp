// Scores: dot products of tile rows with directions, lanes over columns. Each (row, direction) pair owns
// one vector accumulator whatever block it falls in, so a score does not depend on its neighbours.
// Panels of kPanel columns are summed in lanes of L and joined in f64: an f32 chain stays short.
#pragma once
#include "kernels/simd.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kPanel = 1024;

/// One view of the operands of a panel, so that blocks are called with little noise.
template <class L>
struct Panel {
  const L* tile;
  const L* directions;
  std::int64_t ld, width;
  double* scores;
  std::int64_t lds;
};

/// R rows by C directions; R * C accumulators live in registers.
template <class L, int R, int C>
CLINOMETER_INLINE void project_block(const Panel<L>& p, std::int64_t i, std::int64_t k) {
  const L* const rows = p.tile + i * p.ld;
  const L* const directions = p.directions + k * p.ld;
  Vec<L> sum[R][C] = {};
  for (std::int64_t c = 0; c < p.width; c += kLanes<L>) {
    Vec<L> direction[C];
    CLINOMETER_UNROLL for (int b = 0; b < C; ++b) direction[b] = loadu<L>(directions + b * p.ld + c);
    CLINOMETER_UNROLL for (int a = 0; a < R; ++a) {
      const Vec<L> row = loadu<L>(rows + a * p.ld + c);
      CLINOMETER_UNROLL for (int b = 0; b < C; ++b) sum[a][b] += row * direction[b];
    }
  }
  CLINOMETER_UNROLL for (int a = 0; a < R; ++a) CLINOMETER_UNROLL for (int b = 0; b < C; ++b)
      p.scores[(i + a) * p.lds + k + b] += horizontal_sum(sum[a][b]);
}

template <class L, int R, int C>
void project_column(const Panel<L>& p, std::int64_t n, std::int64_t k) {
  std::int64_t i = 0;
  for (; i + R <= n; i += R) project_block<L, R, C>(p, i, k);
  for (; i < n; ++i) project_block<L, 1, C>(p, i, k);
}

template <class L>
void project(const L* tile, std::int64_t n, std::int64_t ld, const L* directions, std::int64_t n_directions,
             double* scores, std::int64_t lds) {
  // Sixteen registers hold 3 x 4 sums with operands; thirty-two hold 4 x 4 with room to spare.
  constexpr int kRows = kRegisters >= 32 ? 4 : 3;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t k = 0; k < n_directions; ++k) scores[i * lds + k] = 0.0;
  for (std::int64_t c = 0; c < ld; c += kPanel) {
    const Panel<L> p{tile + c, directions + c, ld, ld - c < kPanel ? ld - c : kPanel, scores, lds};
    std::int64_t k = 0;
    for (; k + 4 <= n_directions; k += 4) project_column<L, kRows, 4>(p, n, k);
    switch (n_directions - k) {  // fewer directions take more rows, to keep the FMA units fed
      case 3:
        project_column<L, kRows, 3>(p, n, k);
        break;
      case 2:
        project_column<L, 4, 2>(p, n, k);
        break;
      case 1:
        project_column<L, 8, 1>(p, n, k);
        break;
      default:
        break;
    }
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
