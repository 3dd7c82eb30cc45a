#include "src/ranks.hpp"

#include <limits>

#include "src/sorted.hpp"

namespace clinometer {
namespace {

/// From rows in ascending order: row(i), and same(i, k) whether the i-th and k-th are equal.
template <class Row, class Same>
void from_order(std::int64_t n, const double* w, bool even, float* out, std::int64_t step, const Row& row,
                const Same& same) {
  double below = 0;
  for (std::int64_t i = 0; i < n;) {
    std::int64_t end = i;
    double tied = 0;
    do {
      tied += even ? w[0] : w[row(end)];
      ++end;
    } while (end < n && same(i, end));
    const auto rank = static_cast<float>(below + tied / 2 - 0.5);
    for (; i < end; ++i) out[row(i) * step] = rank;
    below = even ? double(end) * w[0] : below + tied;
  }
}

}  // namespace

void long_ranks(const double* f, std::int64_t stride, const double* w, std::int64_t n, bool even, float* out,
                std::int64_t step) {
  if (n < std::numeric_limits<std::uint32_t>::max()) {
    const SortedFloats order = sorted_floats(f, stride, n);
    if (order.exact) {
      const std::uint64_t* const at = order.rows.data();
      return from_order(
          n, w, even, out, step, [&](std::int64_t i) { return std::int64_t(at[i] & 0xffffffffu); },
          [&](std::int64_t i, std::int64_t k) { return at[i] >> 32 == at[k] >> 32; });
    }
  }
  const Scratch<Keyed> order = sorted(f, stride, n);
  const Keyed* const at = order.data();
  from_order(
      n, w, even, out, step, [&](std::int64_t i) { return at[i].row; },
      [&](std::int64_t i, std::int64_t k) { return at[i].key == at[k].key; });
}

}  // namespace clinometer
