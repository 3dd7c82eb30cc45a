// Weighted sums of rows, lanes over columns: W rows of weights by V vectors of columns in registers, tile
// rows inner. Runs of kRun rows are summed in lanes of L and added to f64, which bounds the f32 chain and
// keeps the pages of a run within the first-level TLB.
#pragma once
#include "kernels/simd.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kRun = 64;

template <class L>
struct Run {
  const L* tile;
  std::int64_t n, ld;
  const L* weights;
  std::int64_t ldw;
  double* out;
  std::int64_t ldo;
};

template <class L, int W, int V>
CLINOMETER_INLINE void accumulate_block(const Run<L>& run, std::int64_t m, std::int64_t c) {
  Vec<L> sum[W][V] = {};
  const L* row = run.tile + c;
  const L* weight = run.weights + m;
  for (std::int64_t i = 0; i < run.n; ++i, row += run.ld, weight += run.ldw) {
    Vec<L> part[V];
    CLINOMETER_UNROLL for (int v = 0; v < V; ++v) part[v] = loadu<L>(row + v * kLanes<L>);
    CLINOMETER_UNROLL for (int a = 0; a < W; ++a) {
      const Vec<L> factor = broadcast(weight[a]);
      CLINOMETER_UNROLL for (int v = 0; v < V; ++v) sum[a][v] += factor * part[v];
    }
  }
  CLINOMETER_UNROLL for (int a = 0; a < W; ++a) CLINOMETER_UNROLL for (int v = 0; v < V; ++v)
      add_to(run.out + (m + a) * run.ldo + c + v * kLanes<L>, sum[a][v]);
}

/// All columns for W weights; ld is a multiple of one vector.
template <class L, int W, int V>
void accumulate_strip(const Run<L>& run, std::int64_t m) {
  std::int64_t c = 0;
  for (; c + V * kLanes<L> <= run.ld; c += V * kLanes<L>) accumulate_block<L, W, V>(run, m, c);
  for (; c < run.ld; c += kLanes<L>) accumulate_block<L, W, 1>(run, m, c);
}

template <class L>
void accumulate(const L* tile, std::int64_t n, std::int64_t ld, const L* weights, std::int64_t n_weights,
                std::int64_t ldw, double* out, std::int64_t ldo) {
  constexpr int kWide = kRegisters >= 32 ? 4 : 2;
  for (std::int64_t i = 0; i < n; i += kRun) {
    const Run<L> run{tile + i * ld, n - i < kRun ? n - i : kRun, ld, weights + i * ldw, ldw, out, ldo};
    std::int64_t m = 0;
    for (; m + 4 <= n_weights; m += 4) accumulate_strip<L, 4, kWide>(run, m);
    switch (n_weights - m) {
      case 3:
        accumulate_strip<L, 3, kWide>(run, m);
        break;
      case 2:
        accumulate_strip<L, 2, 4>(run, m);
        break;
      case 1:
        accumulate_strip<L, 1, 8>(run, m);
        break;
      default:
        break;
    }
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
