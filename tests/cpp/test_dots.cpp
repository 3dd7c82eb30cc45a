// dots and weigh at every level: the products that read stored rows without a tile.
#include "check.hpp"

namespace {

/// Directions in rows of a padded length, zero behind the last column.
template <class L>
struct Directions {
  std::int64_t ld;
  std::vector<L> values;

  Directions(int count, int d) : ld(k::padded(d)), values(static_cast<std::size_t>(count * ld)) {
    for (int j = 0; j < count; ++j)
      for (int c = 0; c < d; ++c) values[static_cast<std::size_t>(j * ld + c)] = static_cast<L>(normal());
  }
  Wide<L> at(int j, int c) const { return Wide<L>(values[static_cast<std::size_t>(j * ld + c)]); }
};

template <class L>
void check_dots(const k::Table* level, Stored& stored, int count) {
  const int n = stored.n, lds = count + 2;
  const auto dots = lanes<L>(level).dots[static_cast<int>(stored.dtype)];
  const std::vector<L> shift = stored.shift_in<L>();
  const Directions<L> u(count, stored.d);
  std::vector<double> scores(static_cast<std::size_t>((n - 1) * lds + count), -5.0);
  CHECK(dots(stored.rows.data(), n, stored.d, shift.data(), u.values.data(), u.ld, count, scores.data(), lds) ==
        stored.largest<L>());
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < count; ++j) {
      Sum<L> want;
      for (int c = 0; c < stored.d; ++c) want.add(Wide<L>(stored.moved(i, c)) * u.at(j, c));
      CHECK(want.near(scores[static_cast<std::size_t>(i * lds + j)]));
    }
    if (i + 1 < n)
      for (int j = count; j < lds; ++j) CHECK(scores[static_cast<std::size_t>(i * lds + j)] == -5.0);
  }
  if (!wide(level)) return;
  std::vector<double> alone(static_cast<std::size_t>(count));  // a score ignores its neighbours
  for (int i = 0; i < n; ++i) {
    dots(&stored.rows[static_cast<std::size_t>(i)], 1, stored.d, shift.data(), u.values.data(), u.ld, count,
         alone.data(), count);
    for (int j = 0; j < count; ++j)
      CHECK(alone[static_cast<std::size_t>(j)] == scores[static_cast<std::size_t>(i * lds + j)]);
  }
}

template <class L>
void check_weigh(const k::Table* level, Stored& stored, int count) {
  const int n = stored.n;
  const auto weigh = lanes<L>(level).weigh[static_cast<int>(stored.dtype)];
  const std::vector<L> shift = stored.shift_in<L>();
  const std::int64_t ldo = k::padded(stored.d) + 3;
  std::vector<L> weights(static_cast<std::size_t>(n * count));
  for (L& w : weights) w = static_cast<L>(normal());
  std::vector<double> out(static_cast<std::size_t>((count - 1) * ldo + k::padded(stored.d)), 0.25);
  CHECK(weigh(stored.rows.data(), n, stored.d, shift.data(), weights.data(), count, out.data(), ldo) ==
        stored.largest<L>());
  for (std::int64_t at = 0; at < static_cast<std::int64_t>(out.size()); ++at) {
    const auto m = static_cast<int>(at / ldo), c = static_cast<int>(at % ldo);
    Sum<L> want;
    want.add(0.25);
    for (int i = 0; c < stored.d && i < n; ++i)
      want.add(Wide<L>(weights[static_cast<std::size_t>(i * count + m)]) * Wide<L>(stored.moved(i, c)));
    const double got = out[static_cast<std::size_t>(at)];
    CHECK(c < stored.d ? want.near(got) : got == 0.25);
  }
}

template <class L>
void check_spoiled(const k::Table* level, Stored& stored) {
  const int type = static_cast<int>(stored.dtype);
  const std::vector<L> shift = stored.shift_in<L>();
  const Directions<L> u(8, stored.d);
  const std::vector<L> weights(static_cast<std::size_t>(stored.n * 4), L(1));
  std::vector<double> scores(static_cast<std::size_t>(stored.n * 8)), sums(static_cast<std::size_t>(4 * u.ld));
  spoil<L>(stored, [&](int) {
    for (int count : {1, 2, 4, 8})
      CHECK(lanes<L>(level).dots[type](stored.rows.data(), stored.n, stored.d, shift.data(), u.values.data(), u.ld,
                                       count, scores.data(), 8) == kInfinity);
    for (int count : {1, 2, 4})
      CHECK(lanes<L>(level).weigh[type](stored.rows.data(), stored.n, stored.d, shift.data(), weights.data(), count,
                                        sums.data(), u.ld) == kInfinity);
  });
}

template <class L>
void check_lanes(const k::Table* level) {
  for (int type = 0; type < k::kDtypes; ++type)
    for (int n : kSizes)
      for (int d : kSizes) {
        const auto dtype = static_cast<Dtype>(type);
        where = text(level, "dots dtype, lane bytes, n, d:", type, static_cast<int>(sizeof(L)), n, d);
        Stored near_zero(dtype, n, d, 0.0), far(dtype, n, d, large_mean(dtype));
        for (int count : {1, 2, 4, 8}) check_dots<L>(level, count < 4 ? near_zero : far, count);
        for (int count : {1, 2, 4}) check_weigh<L>(level, count == 2 ? near_zero : far, count);
        if (n <= 17) check_spoiled<L>(level, near_zero);
      }
}

template <class L>
void check_empty(const k::Table* level) {
  where = text(level, "dots of no rows");
  const L shift[5] = {}, directions[16] = {};
  double out[16];
  for (double& x : out) x = 3.0;
  for (int type = 0; type < k::kDtypes; ++type) {
    CHECK(lanes<L>(level).dots[type](nullptr, 0, 5, shift, directions, 16, 1, out, 1) == 0.0);
    CHECK(lanes<L>(level).weigh[type](nullptr, 0, 5, shift, directions, 1, out, 16) == 0.0);
  }
  for (double x : out) CHECK(x == 3.0);
}

}  // namespace

int main() {
  for (const k::Table* level : levels()) {
    check_lanes<float>(level);
    check_lanes<double>(level);
    check_empty<float>(level);
    check_empty<double>(level);
  }
  return report();
}
