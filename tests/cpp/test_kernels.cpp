// Every level of the kernel table against plain loops in wider arithmetic: odd sizes, all formats, all
// patterns of the 16-bit formats, misaligned rows that end where their memory ends, and tilts over 16 decades.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/table.hpp"

namespace k = clinometer::kernels;
using k::Dtype;

namespace {

int failures = 0;
std::string where;

#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition) && ++failures <= 20)                                             \
      std::fprintf(stderr, "line %d, %s: %s\n", __LINE__, where.c_str(), #condition); \
  } while (false)

constexpr int kSizes[] = {1, 3, 7, 15, 17, 33, 130};
std::mt19937_64 engine(20240607);

double normal() { return std::normal_distribution<double>()(engine); }

template <class L>
const k::LaneTable<L>& lanes(const k::Table& table) {
  if constexpr (std::is_same_v<L, float>)
    return table.f32;
  else
    return table.f64;
}

/// Wider than L, for the reference sums.
template <class L>
using Wide = std::conditional_t<std::is_same_v<L, float>, double, long double>;

bool near(long double got, long double want, long double allowed) {
  if (std::isinf(want) || std::isinf(got)) return got == want;
  return std::fabs(got - want) <= allowed;  // false for NaN
}

// ---- formats, read bit by bit with ldexp -------------------------------------------------------

double decode_bits(std::uint32_t bits, int exponent_bits, int fraction_bits) {
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const std::uint32_t fraction = bits & ((1u << fraction_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double value;
  if (exponent == (1 << exponent_bits) - 1)
    value = fraction != 0 ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  else if (exponent == 0)
    value = std::ldexp(static_cast<double>(fraction), 1 - bias - fraction_bits);
  else
    value = std::ldexp(static_cast<double>(fraction + (1u << fraction_bits)), exponent - bias - fraction_bits);
  return (bits >> (exponent_bits + fraction_bits) & 1u) != 0 ? -value : value;
}

int element_bytes(Dtype dtype) { return dtype == Dtype::f64 ? 8 : dtype == Dtype::f32 ? 4 : 2; }

double element(Dtype dtype, const char* from) {
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
void put(Dtype dtype, double value, char* to) {
  if (dtype == Dtype::f64) {
    std::memcpy(to, &value, 8);
    return;
  }
  const float single = static_cast<float>(value);
  std::uint32_t bits;
  std::memcpy(&bits, &single, 4);
  if (dtype == Dtype::f32) std::memcpy(to, &bits, 4);
  if (dtype == Dtype::bf16) std::memcpy(to, reinterpret_cast<const char*>(&bits) + 2, 2);
  if (dtype == Dtype::f16) {
    const int exponent = static_cast<int>(bits >> 23 & 255u) - 112;
    const std::uint32_t body = exponent <= 0 ? 0u : static_cast<std::uint32_t>(exponent) << 10 | (bits >> 13 & 1023u);
    const auto half = static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | (exponent >= 31 ? 0x7c00u : body));
    std::memcpy(to, &half, 2);
  }
}

bool same(double got, double want) {
  if (std::isnan(want)) return std::isnan(got);
  return got == want && std::signbit(got) == std::signbit(want);
}

template <class L>
void check_patterns(const k::Table& table, Dtype dtype) {
  const auto decode = lanes<L>(table).decode[static_cast<int>(dtype)];
  std::vector<std::uint16_t> patterns(65536);
  for (std::uint32_t i = 0; i < 65536; ++i) patterns[i] = static_cast<std::uint16_t>(i);
  const std::vector<double> shift(65536, 0.0);
  std::vector<L> tile(65536);
  const void* row = patterns.data();
  decode(&row, 1, 65536, shift.data(), tile.data(), 65536);
  for (std::size_t i = 0; i < 65536; ++i) {
    const double want = element(dtype, reinterpret_cast<const char*>(&patterns[i]));
    CHECK(same(static_cast<double>(tile[i]), want));
    L one[16];
    const void* single = &patterns[i];
    const k::Decoded seen = decode(&single, 1, 1, shift.data(), one, 16);
    CHECK(same(static_cast<double>(one[0]), want));
    CHECK(seen.first_nonfinite == (std::isfinite(want) ? 1 : 0));
    CHECK(seen.max_abs == (std::isfinite(want) ? std::fabs(want) : 0.0));
  }
}

struct RowSet {
  std::vector<std::vector<char>> memory;  // one exact allocation per row, so a sanitizer sees any overrun
  std::vector<const void*> rows;

  RowSet(Dtype dtype, int n, int d, double mean) {
    for (int i = 0; i < n; ++i) {
      const int offset = i % 4;
      memory.emplace_back(static_cast<std::size_t>(offset + d * element_bytes(dtype)));
      for (int c = 0; c < d; ++c) put(dtype, mean + normal(), at(dtype, i, c));
      rows.push_back(at(dtype, i, 0));
    }
  }
  char* at(Dtype dtype, int i, int c) {
    return memory[static_cast<std::size_t>(i)].data() + i % 4 + c * element_bytes(dtype);
  }
};

template <class L>
void check_decode(const k::Table& table, Dtype dtype, int n, int d, double mean, int bad_row) {
  const auto decode = lanes<L>(table).decode[static_cast<int>(dtype)];
  RowSet set(dtype, n, d, mean);
  if (bad_row < n) {
    put(dtype, -std::numeric_limits<double>::infinity(), set.at(dtype, bad_row, d - 1));
    put(dtype, std::numeric_limits<double>::infinity(), set.at(dtype, n - 1, d / 2));
  }
  std::vector<double> shift(static_cast<std::size_t>(d));
  for (double& s : shift) s = mean + 0.1 * normal();
  const int ld = static_cast<int>(k::padded(d)) + (n % 2) * 16;
  std::vector<L> tile(static_cast<std::size_t>(n * ld), L(7));
  const k::Decoded seen = decode(set.rows.data(), n, d, shift.data(), tile.data(), ld);
  double largest = 0.0;
  int first = n;
  for (int i = 0; i < n; ++i) {
    double spread = 0.0;
    bool finite = true;
    for (int c = 0; c < ld; ++c) {
      const double stored = c < d ? element(dtype, set.at(dtype, i, c)) : 0.0;
      const double moved = c < d ? stored - shift[static_cast<std::size_t>(c)] : 0.0;
      finite = finite && std::isfinite(stored);
      spread = std::fmax(spread, std::fabs(moved));
      CHECK(tile[static_cast<std::size_t>(i * ld + c)] == static_cast<L>(moved));
    }
    if (finite)
      largest = std::fmax(largest, spread);
    else if (i < first)
      first = i;
  }
  CHECK(seen.first_nonfinite == first);
  CHECK(seen.max_abs == largest);
}

template <class L>
void check_extremes(const k::Table& table) {
  const double values[] = {1e300, -1e300, 5e-324, -0.0, 0x1.fffffep127, 1e-45};
  const double shift[6] = {};
  L tile[16];
  const void* row = values;
  const k::Decoded seen = lanes<L>(table).decode[3](&row, 1, 6, shift, tile, 16);
  CHECK(seen.max_abs == 1e300 && seen.first_nonfinite == 1);
  for (int c = 0; c < 6; ++c) CHECK(same(static_cast<double>(tile[c]), static_cast<double>(static_cast<L>(values[c]))));
}

// ---- products -----------------------------------------------------------------------------------

/// A tile of n rows with zero padding, and room for a misaligned start.
template <class L>
struct Tile {
  std::int64_t n, d, ld;
  std::vector<L> memory;
  L* data;

  Tile(int rows, int columns) : n(rows), d(columns), ld(k::padded(columns)) {
    memory.assign(static_cast<std::size_t>(n * ld + 1), L(0));
    data = memory.data() + 1;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t c = 0; c < d; ++c) data[i * ld + c] = static_cast<L>(normal());
  }
};

/// 8 units of L on the sum of magnitudes: a dropped or doubled term stands far above it.
template <class L>
long double allowance(long double magnitudes) {
  return 8.0L * std::numeric_limits<L>::epsilon() * magnitudes + 1e-300L;
}

template <class L>
void check_project(const k::Table& table, int n, int d, int n_directions) {
  const Tile<L> rows(n, d), directions(n_directions, d);
  const int lds = n_directions + 2;
  std::vector<double> scores(static_cast<std::size_t>(n * lds), -5.0);
  lanes<L>(table).project(rows.data, n, rows.ld, directions.data, n_directions, scores.data(), lds);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n_directions; ++j) {
      Wide<L> sum = 0, size = 0;
      for (int c = 0; c < d; ++c) {
        const Wide<L> term = Wide<L>(rows.data[i * rows.ld + c]) * Wide<L>(directions.data[j * rows.ld + c]);
        sum += term;
        size += std::fabs(term);
      }
      CHECK(near(scores[static_cast<std::size_t>(i * lds + j)], sum, allowance<L>(size)));
    }
    CHECK(scores[static_cast<std::size_t>(i * lds + n_directions)] == -5.0);
  }
  std::vector<double> alone(static_cast<std::size_t>(lds), 0.0);  // a score ignores its neighbours
  lanes<L>(table).project(rows.data + (n - 1) * rows.ld, 1, rows.ld, directions.data, n_directions, alone.data(), lds);
  if (std::string(table.name) != "baseline")
    for (int j = 0; j < n_directions; ++j)
      CHECK(alone[static_cast<std::size_t>(j)] == scores[static_cast<std::size_t>((n - 1) * lds + j)]);
}

template <class L>
void check_accumulate(const k::Table& table, int n, int d, int n_weights) {
  const Tile<L> rows(n, d);
  const int ldw = n_weights + 1;
  const std::int64_t ldo = rows.ld + 3;
  std::vector<L> weights(static_cast<std::size_t>(n * ldw));
  for (L& w : weights) w = static_cast<L>(normal());
  std::vector<double> out(static_cast<std::size_t>(n_weights * ldo), 0.25);
  lanes<L>(table).accumulate(rows.data, n, rows.ld, weights.data(), n_weights, ldw, out.data(), ldo);
  for (int m = 0; m < n_weights; ++m)
    for (std::int64_t c = 0; c < ldo; ++c) {
      Wide<L> sum = 0.25, size = 0.25;
      for (int i = 0; c < rows.ld && i < n; ++i) {
        const Wide<L> term =
            Wide<L>(weights[static_cast<std::size_t>(i * ldw + m)]) * Wide<L>(rows.data[i * rows.ld + c]);
        sum += term;
        size += std::fabs(term);
      }
      CHECK(near(out[static_cast<std::size_t>(m * ldo + c)], sum, allowance<L>(size)));
    }
}

template <class L>
void check_gram(const k::Table& table, int n, int d, std::int64_t a0, std::int64_t a1, std::int64_t b0,
                std::int64_t b1) {
  const Tile<L> rows(n, d);
  const std::int64_t ldo = rows.ld + 5;
  std::vector<double> out(static_cast<std::size_t>(rows.ld * ldo), 0.5);
  lanes<L>(table).gram(rows.data, n, rows.ld, a0, a1, b0, b1, out.data(), ldo);
  for (std::int64_t a = 0; a < rows.ld; ++a)
    for (std::int64_t b = 0; b < ldo; ++b) {
      const bool inside = a >= a0 && a < a1 && b >= b0 && b < b1;
      Wide<L> sum = 0.5, size = 0.5;
      for (int i = 0; inside && i < n; ++i) {
        const Wide<L> term = Wide<L>(rows.data[i * rows.ld + a]) * Wide<L>(rows.data[i * rows.ld + b]);
        sum += term;
        size += std::fabs(term);
      }
      CHECK(near(out[static_cast<std::size_t>(a * ldo + b)], sum, allowance<L>(size)));
    }
}

// ---- tilt ---------------------------------------------------------------------------------------

struct Prompt {
  int n, m, f;
  std::vector<double> x, w, columns;
  std::vector<std::int64_t> small;
};

Prompt random_prompt(int n, int n_tilts, int n_columns, bool skewed) {
  Prompt p{n, n_tilts, n_columns, {}, {}, {}, {}};
  p.x.resize(static_cast<std::size_t>(n * n_tilts));
  p.columns.resize(static_cast<std::size_t>(n * n_columns));
  p.small.resize(static_cast<std::size_t>(n_tilts));
  long double total = 0;
  for (int i = 0; i < n; ++i) p.w.push_back(skewed ? std::exp(4.0 * normal()) : 1.0);
  for (double w : p.w) total += w;
  for (double& w : p.w) w = static_cast<double>(w / total);
  for (double& v : p.columns) v = normal();
  std::vector<double> t;
  for (int i = 0; i < n; ++i) t.push_back(normal());
  long double mean = 0, top = -1e9L;
  for (std::size_t i = 0; i < t.size(); ++i) mean += static_cast<long double>(p.w[i]) * t[i];
  for (double v : t) top = std::fmax(top, static_cast<long double>(v));
  for (int m = 0; m < n_tilts; ++m) {
    const long double lam = n_tilts == 1 ? 1.0L : std::pow(10.0L, -8.0L + 16.0L * m / (n_tilts - 1));
    long double widest = 0;
    for (double v : t) widest = std::fmax(widest, std::fabs(lam * (v - mean)));
    p.small[static_cast<std::size_t>(m)] = widest < 1.0L ? 1 : 0;
    for (int i = 0; i < n; ++i)
      p.x[static_cast<std::size_t>(i * n_tilts + m)] =
          static_cast<double>(lam * (t[static_cast<std::size_t>(i)] - (widest < 1.0L ? mean : top)));
  }
  return p;
}

/// A reference sum, and the size its error is measured by.
struct Bounded {
  long double sum = 0, size = 0;
  void add(long double term, long double slip) {
    sum += term;
    size += std::fabs(term) + slip;
  }
};

void check_tilt(const k::Table& table, const Prompt& p) {
  const auto size = static_cast<std::size_t>(p.m);
  std::vector<double> sums[6], gain(size * static_cast<std::size_t>(p.f), 9.0);
  for (auto& s : sums) s.assign(size, 9.0);
  table.tilt(
      p.x.data(), p.w.data(), p.columns.data(), p.small.data(), p.n, p.m, p.f,
      {sums[0].data(), sums[1].data(), sums[2].data(), sums[3].data(), sums[4].data(), sums[5].data(), gain.data()});
  for (int m = 0; m < p.m; ++m) {
    const auto at = static_cast<std::size_t>(m);
    const auto x = [&](int i) { return static_cast<long double>(p.x[static_cast<std::size_t>(i * p.m + m)]); };
    const auto w = [&](int i) { return static_cast<long double>(p.w[static_cast<std::size_t>(i)]); };
    const auto excess = [](long double v) {  // expm1(v) - v, by enough of its series near 0
      if (std::fabs(v) >= 0.5L) return std::expm1(v) - v;
      long double sum = 0;
      for (int j = 25; j >= 2; --j) sum = (sum * v + 1.0L) / j;
      return sum * v * v;
    };
    // f64 weights miss the sum 1 by roundings; the policy meant is that of the normalised weights.
    long double mass = 0, total = 0, top = -std::numeric_limits<long double>::infinity();
    for (int i = 0; i < p.n; ++i) total += w(i);
    for (int i = 0; i < p.n; ++i) mass += w(i) * (p.small[at] != 0 ? excess(x(i)) : std::exp(x(i))) / total;
    const long double shift = p.small[at] != 0 ? std::log1p(mass) : std::log(mass);
    // Plain sums of n terms: L is good to about n eps |L|, hence l to `slip` below. Each allowance is
    // unit * (the terms + what a slip of l does to them), a forward bound and not a fitted number.
    const long double unit = (2.0L * p.n + 64.0L) * std::numeric_limits<double>::epsilon();
    Bounded kl, reverse, chi2, square;
    std::vector<Bounded> gains(static_cast<std::size_t>(p.f));
    for (int i = 0; i < p.n; ++i) {
      const long double l = x(i) - shift, change = std::expm1(l), growth = std::exp(l);
      const long double slip = std::isinf(l) ? 0.0L : std::fabs(x(i)) + std::fabs(shift);
      const long double near_zero = l * change - excess(l), tilted = w(i) * growth;
      const long double kl_term = std::fabs(l) < 0.5L ? near_zero : std::isinf(l) ? 1.0L : growth * l - change;
      kl.add(w(i) * kl_term, std::isinf(l) ? 0.0L : tilted * std::fabs(l) * slip);
      reverse.add(w(i) * excess(l), w(i) * std::fabs(change) * slip);
      chi2.add(w(i) * change * change, 2.0L * tilted * std::fabs(change) * slip);
      square.add(tilted * tilted, 2.0L * tilted * tilted * slip);
      top = std::fmax(top, l);
      for (int j = 0; j < p.f; ++j) {
        const long double f = p.columns[static_cast<std::size_t>(i * p.f + j)];
        gains[static_cast<std::size_t>(j)].add(w(i) * change * f, tilted * std::fabs(f) * slip);
      }
    }
    CHECK(near(sums[0][at], shift, unit * std::fabs(shift)));
    CHECK(near(sums[1][at], top, unit * (std::fabs(top) + std::fabs(shift))));
    CHECK(near(sums[2][at], kl.sum, unit * kl.size));
    CHECK(near(sums[3][at], reverse.sum, unit * reverse.size));
    CHECK(near(sums[4][at], chi2.sum, unit * chi2.size));
    CHECK(near(sums[5][at], square.sum, unit * square.size));
    CHECK(sums[2][at] >= 0.0 && sums[3][at] >= 0.0);
    for (int j = 0; j < p.f; ++j) {
      const Bounded& want = gains[static_cast<std::size_t>(j)];
      CHECK(near(gain[static_cast<std::size_t>(j * p.m + m)], want.sum, unit * want.size));
    }
  }
}

void check_tilts(const k::Table& table) {
  where = std::string(table.name) + " tilt";
  for (int n : {1, 2, 3, 7, 17, 33, 130, 1001})
    for (bool skewed : {false, true})
      for (int columns : {0, 1, 5}) check_tilt(table, random_prompt(n, 40, columns, skewed));
  where = std::string(table.name) + " tilt with -inf";
  Prompt forbidden = random_prompt(5, 8, 2, false);
  for (std::size_t m = 0; m < 8; ++m) {
    forbidden.small[m] = 0;
    for (std::size_t i = 0; i < 5; ++i)
      forbidden.x[i * 8 + m] = i < 2 ? -0.3 * static_cast<double>(i * m) : -std::numeric_limits<double>::infinity();
  }
  check_tilt(table, forbidden);
  where = std::string(table.name) + " tilt with subnormal weights after exp";
  Prompt deep = random_prompt(6, 8, 1, false);
  for (std::size_t m = 0; m < 8; ++m) {
    deep.small[m] = 0;
    for (std::size_t i = 0; i < 6; ++i)
      deep.x[i * 8 + m] = -static_cast<double>(i) * (140.0 + 1.3 * static_cast<double>(m));
  }
  check_tilt(table, deep);
}

// ---- levels -------------------------------------------------------------------------------------

template <class L>
void check_lanes(const k::Table& table) {
  for (int type = 0; type < k::kDtypes; ++type)
    for (int n : kSizes)
      for (int d : kSizes)
        for (double mean : {0.0, 1e6}) {
          where = std::string(table.name) + " decode dtype " + std::to_string(type) + " n " + std::to_string(n) +
                  " d " + std::to_string(d);
          check_decode<L>(table, static_cast<Dtype>(type), n, d, mean, n);
          check_decode<L>(table, static_cast<Dtype>(type), n, d, mean, n / 2);
        }
  where = std::string(table.name) + " patterns";
  check_patterns<L>(table, Dtype::f16);
  check_patterns<L>(table, Dtype::bf16);
  check_extremes<L>(table);
  for (int n : kSizes)
    for (int d : kSizes)
      for (int count : kSizes) {
        where = std::string(table.name) + " n " + std::to_string(n) + " d " + std::to_string(d) + " K " +
                std::to_string(count);
        check_project<L>(table, n, d, count);
        check_accumulate<L>(table, n, d, count);
      }
  where = std::string(table.name) + " long rows";
  check_project<L>(table, 5, 5000, 3);  // more than one panel of columns
  check_accumulate<L>(table, 300, 40, 6);
  for (int n : {1, 3, 7, 15, 17, 33, 130, 300})
    for (int d : kSizes) {
      const std::int64_t ld = k::padded(d), middle = ld / 32 * 16;
      where = std::string(table.name) + " gram n " + std::to_string(n) + " d " + std::to_string(d);
      check_gram<L>(table, n, d, 0, ld, 0, ld);
      check_gram<L>(table, n, d, middle, ld, 0, middle);
      check_gram<L>(table, n, d, 0, middle, middle, ld);
    }
}

void check_empty(const k::Table& table) {
  where = std::string(table.name) + " empty";
  double out[16] = {3.0}, shift[16] = {};
  const float tile[16] = {};
  float to[16] = {};
  const k::Decoded seen = table.f32.decode[0](nullptr, 0, 5, shift, to, 16);
  CHECK(seen.max_abs == 0.0 && seen.first_nonfinite == 0);
  table.f32.project(tile, 0, 16, tile, 1, out, 1);
  table.f32.accumulate(tile, 0, 16, tile, 1, 1, out, 16);
  table.f32.gram(tile, 0, 16, 0, 0, 0, 16, out, 16);
  CHECK(out[0] == 3.0);
}

void check_dispatch() {
  where = "dispatch";
  const auto refused = [] {
    try {
      k::active();
    } catch (const std::invalid_argument& error) {
      return std::string(error.what()).find("baseline") != std::string::npos;
    }
    return false;
  };
#ifndef _WIN32
  setenv("CLINOMETER_ISA", "sse1", 1);
  CHECK(refused());
  setenv("CLINOMETER_ISA", "baseline", 1);
  CHECK(std::string(k::active().name) == "baseline");
#endif
  const k::Table* levels[8];
  const int count = k::available(levels, 8);
  CHECK(count >= 1 && std::string(levels[0]->name) == "baseline");
  CHECK(k::available(levels, 1) == 1);
  k::available(levels, 8);
  for (int i = 0; i < count; ++i) CHECK(k::select(levels[i]->name) && &k::active() == levels[i]);
  CHECK(!k::select("avx1024") && !k::select(nullptr) && &k::active() == levels[count - 1]);
}

}  // namespace

int main() {
  check_dispatch();
  const k::Table* levels[8];
  const int count = k::available(levels, 8);
  for (int i = 0; i < count; ++i) {
    const k::Table& table = *levels[i];
    engine.seed(20240607);  // every level meets the same data
    check_lanes<float>(table);
    check_lanes<double>(table);
    check_tilts(table);
    check_empty(table);
    std::printf("%s: %d failures so far\n", table.name, failures);
  }
  return failures == 0 ? 0 : 1;
}
