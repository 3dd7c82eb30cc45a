// What the kernel tests share: CHECK, the levels of this machine, sizes, stored rows, error bounds.
// References are plain loops in arithmetic wider than the lanes.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/table.hpp"

namespace k = clinometer::kernels;
using k::Dtype;

inline int failures = 0;
inline std::string where;

#define CHECK(condition)                                                                      \
  do {                                                                                        \
    if (!(condition) && ++failures <= 20)                                                     \
      std::fprintf(stderr, "%s:%d, %s: %s\n", __FILE__, __LINE__, where.c_str(), #condition); \
  } while (false)

/// The end of every test: its exit code.
inline int report() {
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}

inline constexpr int kSizes[] = {1, 3, 7, 15, 17, 33, 130};
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
inline std::mt19937_64 engine(20240607);

inline double normal() { return std::normal_distribution<double>()(engine); }

/// Where column c of d stands in the order of lane tables: the twin of `to_pairs`.
constexpr std::int64_t paired_at(std::int64_t c, std::int64_t d, std::int64_t pair) {
  if (pair == 0 || c >= d / (2 * pair) * (2 * pair)) return c;
  const std::int64_t run = c / (2 * pair) * (2 * pair), within = c - run;
  return run + within / 2 + within % 2 * pair;
}

inline std::vector<const k::Table*> levels() {
  const k::Table* found[8];
  const int count = k::available(found, 8);
  return {found, found + count};
}
inline bool wide(const k::Table* level) { return std::string(level->name) != "baseline"; }

template <class L>
const k::LaneTable<L>& lanes(const k::Table* level) {
  if constexpr (std::is_same_v<L, float>) {
    return level->f32;
  } else {
    return level->f64;
  }
}

template <class... Numbers>
std::string text(const k::Table* level, const char* what, Numbers... numbers) {
  std::string line = std::string(level->name) + " " + what;
  ((line += " " + std::to_string(numbers)), ...);
  return line;
}

/// Wider than L, for the reference sums.
template <class L>
using Wide = std::conditional_t<std::is_same_v<L, float>, double, long double>;

/// A reference sum, and the sum of the magnitudes of its terms.
template <class L>
struct Sum {
  Wide<L> value = 0, size = 0;
  void add(Wide<L> term) {
    value += term;
    size += std::fabs(term);
  }
  /// Within some units of L on the magnitudes: a dropped or doubled term stands far above it. False for NaN.
  bool near(double got, std::int64_t units = 8) const {
    return std::fabs(Wide<L>(got) - value) <=
           Wide<L>(units) * Wide<L>(std::numeric_limits<L>::epsilon()) * size + 1e-300;
  }
};

inline bool same(double got, double want) {
  if (std::isnan(want)) return std::isnan(got);
  return got == want && std::signbit(got) == std::signbit(want);
}

// ---- stored rows, read bit by bit with ldexp ----------------------------------------------------

inline double decode_bits(std::uint32_t bits, int exponent_bits, int fraction_bits) {
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const std::uint32_t fraction = bits & ((1u << fraction_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double value;
  if (exponent == (1 << exponent_bits) - 1)
    value = fraction != 0 ? kNaN : kInfinity;
  else if (exponent == 0)
    value = std::ldexp(static_cast<double>(fraction), 1 - bias - fraction_bits);
  else
    value = std::ldexp(static_cast<double>(fraction + (1u << fraction_bits)), exponent - bias - fraction_bits);
  return (bits >> (exponent_bits + fraction_bits) & 1u) != 0 ? -value : value;
}

inline int element_bytes(Dtype dtype) { return dtype == Dtype::f64 ? 8 : dtype == Dtype::f32 ? 4 : 2; }

inline double element(Dtype dtype, const char* from) {
  if (dtype == Dtype::f64) {
    double value;
    std::memcpy(&value, from, 8);
    return value;
  }
  std::uint32_t bits = 0;
  std::memcpy(&bits, from, static_cast<std::size_t>(element_bytes(dtype)));
  if (dtype == Dtype::f32) return decode_bits(bits, 8, 23);
  return dtype == Dtype::f16 ? decode_bits(bits, 5, 10) : decode_bits(bits, 8, 7);
}

/// Bytes of `value` in `dtype`; 16-bit formats are cut, not rounded: any pattern serves.
inline void put(Dtype dtype, double value, char* to) {
  const float single = static_cast<float>(value);
  std::uint32_t bits;
  std::memcpy(&bits, &single, 4);
  if (dtype == Dtype::f64) std::memcpy(to, &value, 8);
  if (dtype == Dtype::f32) std::memcpy(to, &bits, 4);
  if (dtype == Dtype::bf16) {
    const auto high = static_cast<std::uint16_t>(bits >> 16);
    std::memcpy(to, &high, 2);
  }
  if (dtype == Dtype::f16) {
    const int exponent = static_cast<int>(bits >> 23 & 255u) - 112;
    const std::uint32_t body = exponent <= 0 ? 0u : static_cast<std::uint32_t>(exponent) << 10 | (bits >> 13 & 1023u);
    const std::uint32_t special = std::isnan(value) ? 0x7e00u : 0x7c00u;
    const auto half = static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | (exponent >= 31 ? special : body));
    std::memcpy(to, &half, 2);
  }
}

/// A column mean that each format holds with some of the spread around it.
inline double large_mean(Dtype dtype) { return dtype == Dtype::f16 ? 3e4 : 1e6; }

/// n rows of normal spread around one mean, each at its own odd address in an exact allocation of its own: a
/// sanitizer sees any overrun. The shift is an f32 near the mean.
struct Stored {
  Dtype dtype;
  int n, d;
  std::vector<std::vector<char>> memory;
  std::vector<const void*> rows;
  std::vector<float> shift;

  Stored(Dtype dtype, int n, int d, double mean) : dtype(dtype), n(n), d(d) {
    for (int i = 0; i < n; ++i) {
      memory.emplace_back(static_cast<std::size_t>(offset(i) + d * element_bytes(dtype)));
      for (int c = 0; c < d; ++c) set(i, c, mean + normal());
      rows.push_back(memory.back().data() + offset(i));
    }
    for (int c = 0; c < d; ++c) shift.push_back(static_cast<float>(mean + 0.1 * normal()));
  }
  static int offset(int row) { return (row + 1) % 4; }
  char* at(int i, int c) { return memory[static_cast<std::size_t>(i)].data() + offset(i) + c * element_bytes(dtype); }
  void set(int i, int c, double value) { put(dtype, value, at(i, c)); }
  /// The stored value less the shift: exact, or rounded once to double.
  double moved(int i, int c) {
    return element(dtype, at(i, c)) - static_cast<double>(shift[static_cast<std::size_t>(c)]);
  }
  template <class L>
  std::vector<L> shift_in() const {
    return {shift.begin(), shift.end()};
  }
  /// What decode, dots and weigh return: the largest |stored - shift| in lanes of L, or infinity.
  template <class L>
  double largest(int begin = 0) {
    double top = 0.0;
    for (int i = 0; i < n; ++i)
      for (int c = begin; c < d; ++c) {
        const double lane = static_cast<double>(static_cast<L>(moved(i, c)));
        top = std::isfinite(lane) ? std::fmax(top, std::fabs(lane)) : kInfinity;
      }
    return top;
  }
};

/// Sets one element after another to what lanes of L cannot hold, and calls see(row) while it is there.
template <class L, class See>
void spoil(Stored& stored, See see) {
  const double too_large = stored.dtype == Dtype::f64 && sizeof(L) == 4 ? 1e300 : kInfinity;
  for (const double bad : {kInfinity, -kInfinity, kNaN, too_large})
    for (int i = 0; i < stored.n; ++i) {
      const int c = (5 * i + stored.d - 1) % stored.d;  // the last column first, then across the row
      const double held = element(stored.dtype, stored.at(i, c));
      stored.set(i, c, bad);
      see(i);
      stored.set(i, c, held);
    }
}
