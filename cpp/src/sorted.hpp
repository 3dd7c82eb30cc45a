// Rows in the order of a column, by counting digits: for columns of thousands of rows. Few are compared.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "src/scratch.hpp"

namespace clinometer {
namespace detail {

constexpr int kDigitBits = 11, kDigitSize = 1 << kDigitBits;
constexpr std::int64_t kFew = 384;  // up to here passing over the counts takes longer than comparing
using Counts = std::array<std::int64_t, kDigitSize>;

/// Moves n entries of `rows` into the order of the digit at `shift` of key(entry), by way of `other`. A digit that is
/// the same everywhere costs nothing.
template <class T, class Key>
void by_digit(Scratch<T>& rows, Scratch<T>& other, std::int64_t n, Counts& count, int shift, const Key& key) {
  const auto digit = [&](const T& r) { return (key(r) >> shift) & (kDigitSize - 1); };
  if (n == 0 || count[digit(rows.data()[0])] == n) return;
  std::int64_t at = 0;
  for (std::int64_t& c : count) at += std::exchange(c, at);
  for (const T *r = rows.data(), *end = r + n; r != end; ++r) other.data()[count[digit(*r)]++] = *r;
  std::swap(rows, other);
}

}  // namespace detail

/// Numbers that are floats, ascending, rows of equal ones in their own order: the upper half of an entry is equal for
/// equal numbers and ordered as they are, the lower half is the row. Not `exact`, and nothing else, where a number is
/// not a float.
struct SortedFloats {
  bool exact = true;
  Scratch<std::uint64_t> rows;
};

/// n < 2^32 numbers x[i * stride]; no NaN.
inline SortedFloats sorted_floats(const double* x, std::int64_t stride, std::int64_t n) {
  using namespace detail;
  SortedFloats out{true, Scratch<std::uint64_t>(static_cast<std::size_t>(n))};
  std::uint64_t* const rows = out.rows.data();
  const bool few = n <= kFew;
  std::array<Counts, 3> counts;
  for (Counts& c : counts)
    if (!few) c.fill(0);
  for (std::int64_t i = 0; i < n; ++i) {
    const double value = x[i * stride];
    const float narrow = static_cast<float>(value) + 0.0f;  // -0 is 0
    if (static_cast<double>(narrow) != value) return {false, {}};
    std::uint32_t key;
    std::memcpy(&key, &narrow, 4);
    key ^= key >> 31 ? ~std::uint32_t{0} : std::uint32_t{1} << 31;
    rows[i] = std::uint64_t{key} << 32 | std::uint64_t(i);
    for (int digit = 0; !few && digit < 3; ++digit) ++counts[digit][(key >> (digit * kDigitBits)) & (kDigitSize - 1)];
  }
  if (few) {
    std::sort(rows, rows + n);
    return out;
  }
  Scratch<std::uint64_t> other(static_cast<std::size_t>(n));
  for (int digit = 0; digit < 3; ++digit)
    by_digit(out.rows, other, n, counts[digit], 32 + digit * kDigitBits, [](std::uint64_t r) { return r; });
  return out;
}

struct Keyed {
  std::uint64_t key;  // equal for equal numbers, ordered as they are
  std::int64_t row;
};

/// The key of a number; NaN has one too, at either end.
inline std::uint64_t key_of(double x) {
  const double value = x + 0.0;  // -0 is 0
  std::uint64_t key;
  std::memcpy(&key, &value, 8);
  return key ^ (key >> 63 ? ~std::uint64_t{0} : std::uint64_t{1} << 63);
}

/// Any numbers, ascending, rows of equal ones in their own order.
inline Scratch<Keyed> sorted(const double* x, std::int64_t stride, std::int64_t n) {
  using namespace detail;
  constexpr int kDigits = 6;
  Scratch<Keyed> rows(static_cast<std::size_t>(n));
  if (n <= kFew) {
    for (std::int64_t i = 0; i < n; ++i) rows.data()[i] = {key_of(x[i * stride]), i};
    std::sort(rows.data(), rows.data() + n,
              [](const Keyed& a, const Keyed& b) { return a.key != b.key ? a.key < b.key : a.row < b.row; });
    return rows;
  }
  Scratch<Keyed> other(static_cast<std::size_t>(n));
  std::array<Counts, kDigits> counts{};
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint64_t key = key_of(x[i * stride]);
    rows.data()[i] = {key, i};
    for (int digit = 0; digit < kDigits; ++digit) ++counts[digit][(key >> (digit * kDigitBits)) & (kDigitSize - 1)];
  }
  for (int digit = 0; digit < kDigits; ++digit)
    by_digit(rows, other, n, counts[digit], digit * kDigitBits, [](const Keyed& r) { return r.key; });
  return rows;
}

}  // namespace clinometer
