// decode at every level: all patterns of the 16-bit formats, panels and their padding, rows that end where
// their memory ends, and what is returned.
#include "check.hpp"

namespace {

template <class L>
void check_patterns(const k::Table* level, Dtype dtype) {
  where = text(level, "patterns of dtype", static_cast<int>(dtype));
  const auto decode = lanes<L>(level).decode[static_cast<int>(dtype)];
  std::vector<std::uint16_t> patterns(65536);
  for (std::uint32_t i = 0; i < 65536; ++i) patterns[i] = static_cast<std::uint16_t>(i);
  const std::vector<L> shift(65536, L(0));
  std::vector<L> tile(65536);
  const void* row = patterns.data();
  CHECK(decode(&row, 1, 0, 65536, shift.data(), false, tile.data(), 1) == kInfinity);
  for (std::size_t i = 0; i < 65536; ++i) {
    const double want = element(dtype, reinterpret_cast<const char*>(&patterns[i]));
    CHECK(same(static_cast<double>(tile[i]), want));
    L one[16];
    const void* single = &patterns[i];
    const double seen = decode(&single, 1, 0, 1, shift.data(), false, one, 1);
    CHECK(same(static_cast<double>(one[0]), want));
    CHECK(seen == (std::isfinite(want) ? std::fabs(want) : kInfinity));
  }
}

/// Values that f32 rounds, holds as subnormals, or cannot hold.
template <class L>
void check_extremes(const k::Table* level) {
  where = text(level, "extremes");
  const double values[] = {1e300, -1e300, 5e-324, -0.0, 0x1.fffffep127, 1e-45, 1.0 + 0x1p-24};
  const L shift[7] = {};
  L tile[16];
  const void* row = values;
  const double seen = lanes<L>(level).decode[3](&row, 1, 0, 7, shift, false, tile, 1);
  CHECK(seen == (sizeof(L) == 8 ? 1e300 : kInfinity));
  for (int c = 0; c < 7; ++c) CHECK(same(static_cast<double>(tile[c]), static_cast<double>(static_cast<L>(values[c]))));
  const float far[] = {3e38f, -3e38f};  // finite as stored, too far from the shift for f32
  const L other[] = {L(-3e38f), L(-3e38f)};
  row = far;
  const double apart = lanes<L>(level).decode[0](&row, 1, 0, 2, other, false, tile, 1);
  CHECK(apart == (sizeof(L) == 8 ? 2 * static_cast<double>(3e38f) : kInfinity));
}

template <class L>
void check_panels(const k::Table* level, Stored& stored, int begin, int more_rows) {
  const auto decode = lanes<L>(level).decode[static_cast<int>(stored.dtype)];
  const std::vector<L> shift = stored.shift_in<L>();
  const std::int64_t tile_rows = stored.n + more_rows, width = k::padded(stored.d - begin);
  std::vector<L> tile(static_cast<std::size_t>(width * tile_rows), L(7));
  const auto into = [&](std::vector<L>& to, bool seen) {
    return decode(stored.rows.data(), stored.n, begin, stored.d, shift.data(), seen, to.data(), tile_rows);
  };
  CHECK(into(tile, false) == stored.largest<L>(begin));
  std::vector<L> unwatched(tile.size(), L(7));
  into(unwatched, true);
  CHECK(unwatched == tile);
  for (std::int64_t at = 0; at < width * tile_rows; ++at) {
    const int i = static_cast<int>(at / 16 % tile_rows);
    const int c = begin + static_cast<int>(at / 16 / tile_rows * 16 + at % 16);
    const L want = i >= stored.n ? L(7) : c < stored.d ? static_cast<L>(stored.moved(i, c)) : L(0);
    CHECK(tile[static_cast<std::size_t>(at)] == want);
  }
}

template <class L>
void check_spoiled(const k::Table* level, Stored& stored) {
  const auto decode = lanes<L>(level).decode[static_cast<int>(stored.dtype)];
  const std::vector<L> shift = stored.shift_in<L>();
  std::vector<L> tile(static_cast<std::size_t>(k::padded(stored.d) * stored.n));
  spoil<L>(stored, [&](int) {
    CHECK(decode(stored.rows.data(), stored.n, 0, stored.d, shift.data(), false, tile.data(), stored.n) == kInfinity);
  });
}

template <class L>
void check_lanes(const k::Table* level) {
  for (int type = 0; type < k::kDtypes; ++type)
    for (int n : kSizes)
      for (int d : kSizes) {
        const auto dtype = static_cast<Dtype>(type);
        where = text(level, "decode dtype, lane bytes, n, d:", type, static_cast<int>(sizeof(L)), n, d);
        Stored near_zero(dtype, n, d, 0.0), far(dtype, n, d, large_mean(dtype));
        check_panels<L>(level, near_zero, 0, 0);
        for (int begin = 0; begin < d; begin += 16) check_panels<L>(level, far, begin, n % 3);
        if (n <= 17) check_spoiled<L>(level, near_zero);
      }
  check_patterns<L>(level, Dtype::f16);
  check_patterns<L>(level, Dtype::bf16);
  check_extremes<L>(level);
}

void check_empty(const k::Table* level) {
  where = text(level, "decode of no rows");
  const float shift[5] = {};
  float tile[16] = {3.0f};
  for (const auto decode : level->f32.decode) CHECK(decode(nullptr, 0, 0, 5, shift, false, tile, 1) == 0.0);
  CHECK(tile[0] == 3.0f);
}

}  // namespace

int main() {
  for (const k::Table* level : levels()) {
    check_lanes<float>(level);
    check_lanes<double>(level);
    check_empty(level);
  }
  return report();
}
