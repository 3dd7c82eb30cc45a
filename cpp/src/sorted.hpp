// Rows in the order of a column, by counting digits: for columns of thousands of rows.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

namespace clinometer {

struct Keyed {
  std::uint64_t key;  // equal for equal numbers, ordered as they are
  std::int64_t row;
};

/// Ascending, rows of equal numbers in their own order; no NaN. A digit that is the same everywhere costs nothing, so
/// numbers that came from float take half the passes.
inline std::vector<Keyed> sorted(const double* x, std::int64_t n) {
  constexpr int kBits = 11, kDigits = 6, kSize = 1 << kBits;
  std::vector<Keyed> rows(static_cast<std::size_t>(n)), other(rows.size());
  std::vector<std::array<std::int64_t, kSize>> counts(kDigits);
  for (auto& c : counts) c.fill(0);
  for (std::int64_t i = 0; i < n; ++i) {
    const double value = x[i] + 0.0;  // -0 is 0
    std::uint64_t key;
    std::memcpy(&key, &value, 8);
    key ^= key >> 63 ? ~std::uint64_t{0} : std::uint64_t{1} << 63;
    rows[i] = {key, i};
    for (int digit = 0; digit < kDigits; ++digit) ++counts[digit][(key >> (digit * kBits)) & (kSize - 1)];
  }
  for (int digit = 0; digit < kDigits && n > 0; ++digit) {
    auto& count = counts[digit];
    if (count[(rows[0].key >> (digit * kBits)) & (kSize - 1)] == n) continue;
    std::int64_t at = 0;
    for (std::int64_t& c : count) {
      const std::int64_t here = c;
      c = at;
      at += here;
    }
    for (const Keyed& r : rows) other[count[(r.key >> (digit * kBits)) & (kSize - 1)]++] = r;
    rows.swap(other);
  }
  return rows;
}

}  // namespace clinometer
