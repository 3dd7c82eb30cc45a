// Decode rows of any format into panels of shifted lanes, and keep watch: the largest magnitude, by the
// integer order of the bits without their sign, in which infinities and NaN come out on top.
#pragma once
#include "kernels/load.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

template <class L>
struct Bits;
template <>
struct Bits<float> {
  using type = std::int32_t;
};
template <>
struct Bits<double> {
  using type = std::int64_t;
};

/// Largest magnitude so far, as bits.
template <class L>
struct Watch {
  using Int = typename Bits<L>::type;
  Vec<Int> top = {};

  CLINOMETER_INLINE void see(Vec<L> x) {
    constexpr Int kMagnitude = sizeof(L) == 4 ? Int(0x7fffffff) : Int(0x7fffffffffffffffll);
    const Vec<Int> bits = (Vec<Int>)x & kMagnitude;
    top = bits > top ? bits : top;
  }
  CLINOMETER_INLINE void done(Vec<L>) {}
  double result() const {
    Int largest = 0;
    for (int j = 0; j < kLanes<L>; ++j) largest = top[j] > largest ? top[j] : largest;
    L value;
    __builtin_memcpy(&value, &largest, sizeof value);
    return value <= __DBL_MAX__ ? static_cast<double>(value) : __builtin_inf();
  }
};

/// Watches sums instead of elements, for a fraction of the work: infinity where a sum is not finite, else 0.
template <class L>
struct OutcomeWatch {
  Vec<L> doubt = {};  // 0 times a sum: NaN where that is NaN or infinite

  CLINOMETER_INLINE void see(Vec<L>) {}
  CLINOMETER_INLINE void done(Vec<L> sum) { doubt += sum * L(0); }
  double result() const {
    for (int j = 0; j < kLanes<L>; ++j)
      if (doubt[j] != 0) return __builtin_inf();
    return 0.0;
  }
};

/// Sees nothing: what is made of the elements is looked at instead.
template <class L>
struct NoWatch {
  CLINOMETER_INLINE void see(Vec<L>) {}
  double result() const { return 0.0; }
};

/// The elements [from, from + count) of a row, count < kLanes<L>, read without touching what lies behind.
template <Dtype T, class L>
CLINOMETER_INLINE Vec<L> moved_part(const void* from, const L* shift, std::int64_t count) {
  char copy[kLanes<L> * Load<T>::bytes] = {};
  L centre[kLanes<L>] = {};
  __builtin_memcpy(copy, from, static_cast<std::size_t>(count * Load<T>::bytes));
  __builtin_memcpy(centre, shift, static_cast<std::size_t>(count) * sizeof(L));
  return Load<T>::template moved<L>(copy, centre);
}

/// R rows of one panel that is whole.
template <Dtype T, class L, int R, class W>
CLINOMETER_INLINE void decode_panel(const void* const* rows, std::int64_t c, const L* shift, L* to, W& watch) {
  CLINOMETER_UNROLL for (int r = 0; r < R; ++r) CLINOMETER_UNROLL for (int v = 0; v < kPad; v += kLanes<L>) {
    const Vec<L> x =
        Load<T>::template moved<L>(static_cast<const char*>(rows[r]) + (c + v) * Load<T>::bytes, shift + c + v);
    watch.see(x);
    storeu<L>(to + r * kPad + v, x);
  }
}

template <Dtype T, class L, class W>
void decode_rest(const void* row, std::int64_t c, std::int64_t end, const L* shift, L* to, W& watch) {
  for (int v = 0; v < kPad; v += kLanes<L>) {
    const std::int64_t left = end - c - v, count = left < 0 ? 0 : left < kLanes<L> ? left : kLanes<L>;
    const Vec<L> x = moved_part<T, L>(static_cast<const char*>(row) + (c + v) * Load<T>::bytes, shift + c + v, count);
    watch.see(x);
    storeu<L>(to + v, x);
  }
}

template <Dtype T, class L, int R, class W>
CLINOMETER_INLINE void decode_rows(const void* const* rows, std::int64_t begin, std::int64_t end, const L* shift,
                                   L* tile, std::int64_t tile_rows, W& watch) {
  std::int64_t c = begin;
  for (; c + kPad <= end; c += kPad, tile += kPad * tile_rows) decode_panel<T, L, R>(rows, c, shift, tile, watch);
  if (c < end)
    for (int r = 0; r < R; ++r) decode_rest<T, L>(rows[r], c, end, shift, tile + r * kPad, watch);
}

template <Dtype T, class L, class W>
double decode_with(const void* const* rows, std::int64_t n, std::int64_t begin, std::int64_t end, const L* shift,
                   L* tile, std::int64_t tile_rows) {
  W watch;
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) decode_rows<T, L, 4>(rows + i, begin, end, shift, tile + i * kPad, tile_rows, watch);
  for (; i < n; ++i) decode_rows<T, L, 1>(rows + i, begin, end, shift, tile + i * kPad, tile_rows, watch);
  return watch.result();
}

template <Dtype T, class L>
double decode(const void* const* rows, std::int64_t n, std::int64_t begin, std::int64_t end, const L* shift, bool seen,
              L* tile, std::int64_t tile_rows) {
  return seen ? decode_with<T, L, NoWatch<L>>(rows, n, begin, end, shift, tile, tile_rows)
              : decode_with<T, L, Watch<L>>(rows, n, begin, end, shift, tile, tile_rows);
}

template <class L>
void deviations(const L* panel, std::int64_t n, const double* w, const L* factor, L* mean, L* to) {
  constexpr int V = static_cast<int>(kPad) / kLanes<L>;
  Vec<L> m[V] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const Vec<L> by = broadcast(static_cast<L>(w[i]));
    CLINOMETER_UNROLL for (int v = 0; v < V; ++v) m[v] += by * loadu<L>(panel + i * kPad + v * kLanes<L>);
  }
  CLINOMETER_UNROLL for (int v = 0; v < V; ++v) storeu<L>(mean + v * kLanes<L>, m[v]);
  for (std::int64_t i = 0; i < n; ++i) {
    const Vec<L> by = broadcast(factor[i]);
    CLINOMETER_UNROLL for (int v = 0; v < V; ++v) {
      const std::int64_t at = i * kPad + v * kLanes<L>;
      storeu<L>(to + at, by * (loadu<L>(panel + at) - m[v]));
    }
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
