// dots, scores and weigh at every level: the products that read stored rows without a tile.
#include "check.hpp"

namespace {

/// What dots and weigh take for a shift: columns in the order of the level's pairs.
template <class L>
std::vector<L> paired(const k::Table* level, Dtype dtype, const std::vector<L>& natural, std::int64_t d) {
  std::vector<L> out = natural;
  for (std::int64_t c = 0; c < d; ++c)
    out[static_cast<std::size_t>(paired_at(c, d, lanes<L>(level).paired[static_cast<int>(dtype)]))] =
        natural[static_cast<std::size_t>(c)];
  return out;
}

/// Directions in rows of a padded length, zero behind the last column.
template <class L>
struct Directions {
  std::int64_t ld;
  std::vector<L> values;

  Directions(int count, int d) : ld(k::padded(d)), values(static_cast<std::size_t>(count * ld)) {
    for (int j = 0; j < count; ++j)
      for (int c = 0; c < d; ++c) values[static_cast<std::size_t>(j * ld + c)] = static_cast<L>(normal());
  }
  std::vector<L> ordered(const k::Table* level, Dtype dtype, int d) const {
    std::vector<L> out;
    for (std::size_t from = 0; from < values.size(); from += static_cast<std::size_t>(ld)) {
      const auto row = values.begin() + static_cast<std::ptrdiff_t>(from);
      const std::vector<L> one = paired(level, dtype, std::vector<L>(row, row + ld), d);
      out.insert(out.end(), one.begin(), one.end());
    }
    return out;
  }
  Wide<L> at(int j, int c) const { return Wide<L>(values[static_cast<std::size_t>(j * ld + c)]); }
};

/// Directions as `scores` takes them; what it may not read behind them is NaN.
template <class L>
std::vector<L> packed(const k::Table* level, Dtype dtype, const Directions<L>& u, int count, int d) {
  const std::vector<L> rows = u.ordered(level, dtype, d);
  std::vector<L> out(static_cast<std::size_t>(count * u.ld), static_cast<L>(kNaN));
  for (int j = 0; j < count; j += 4)
    lanes<L>(level).pack(&rows[static_cast<std::size_t>(j * u.ld)], u.ld, d, j, count, out.data());
  return out;
}

/// Scores near their sums, the same for a row alone; what lies between rows is as before.
template <class L, class Call>
void check_scores(const k::Table* level, Stored& stored, const Directions<L>& u, int count, double start, Call call) {
  const int n = stored.n, lds = count + 2;
  std::vector<double> scores(static_cast<std::size_t>((n - 1) * lds + count), -5.0);
  call(stored.rows.data(), n, scores.data(), lds);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < count; ++j) {
      Sum<L> want;
      want.add(start);
      for (int c = 0; c < stored.d; ++c) want.add(Wide<L>(stored.moved(i, c)) * u.at(j, c));
      CHECK(want.near(scores[static_cast<std::size_t>(i * lds + j)]));
    }
    if (i + 1 < n)
      for (int j = count; j < lds; ++j) CHECK(scores[static_cast<std::size_t>(i * lds + j)] == -5.0);
  }
  if (!wide(level)) return;
  std::vector<double> alone(static_cast<std::size_t>(count));  // a score ignores its neighbours
  for (int i = 0; i < n; ++i) {
    alone.assign(alone.size(), -5.0);
    call(&stored.rows[static_cast<std::size_t>(i)], 1, alone.data(), count);
    for (int j = 0; j < count; ++j)
      CHECK(alone[static_cast<std::size_t>(j)] == scores[static_cast<std::size_t>(i * lds + j)]);
  }
}

template <class L>
void check_dots(const k::Table* level, Stored& stored, int count) {
  const std::vector<L> shift = paired(level, stored.dtype, stored.shift_in<L>(), stored.d);
  const Directions<L> u(count, stored.d);
  const std::vector<L> ordered = u.ordered(level, stored.dtype, stored.d);
  check_scores<L>(level, stored, u, count, 0.0, [&](const void* const* rows, int n, double* to, int lds) {
    lanes<L>(level).dots[static_cast<int>(stored.dtype)](rows, n, stored.d, shift.data(), ordered.data(), u.ld, count,
                                                         to, lds);
  });
}

template <class L>
void check_many(const k::Table* level, Stored& stored, int count) {
  const std::vector<L> shift = paired(level, stored.dtype, stored.shift_in<L>(), stored.d);
  const Directions<L> u(count, stored.d);
  const std::vector<L> ready = packed(level, stored.dtype, u, count, stored.d);
  std::vector<L> work(static_cast<std::size_t>(k::kSpanWork), static_cast<L>(kNaN));
  check_scores<L>(level, stored, u, count, -5.0, [&](const void* const* rows, int n, double* to, int lds) {
    const int known = rows == stored.rows.data() ? stored.n : n;  // others behind are prefetched at most
    lanes<L>(level).scores[static_cast<int>(stored.dtype)](rows, n, known, stored.d, shift.data(), ready.data(), count,
                                                           work.data(), to, lds);
  });
}

template <class L>
void check_weigh(const k::Table* level, Stored& stored, int count) {
  const int n = stored.n;
  const auto weigh = lanes<L>(level).weigh[static_cast<int>(stored.dtype)];
  const std::vector<L> shift = paired(level, stored.dtype, stored.shift_in<L>(), stored.d);
  const std::int64_t ldo = k::padded(stored.d) + 3;
  std::vector<L> weights(static_cast<std::size_t>(n * count));
  for (L& w : weights) w = static_cast<L>(normal());
  std::vector<L> out(static_cast<std::size_t>((count - 1) * ldo + k::padded(stored.d)), L(0.25)), unwatched = out;
  const auto into = [&](std::vector<L>& to, bool seen) {
    return weigh(stored.rows.data(), n, n, stored.d, shift.data(), weights.data(), count, seen, to.data(), ldo);
  };
  CHECK(into(out, false) == stored.largest<L>());
  into(unwatched, true);
  for (std::int64_t at = 0; at < static_cast<std::int64_t>(out.size()); ++at) {
    const auto m = static_cast<int>(at / ldo), c = static_cast<int>(at % ldo);
    const L got = out[static_cast<std::size_t>(at)];
    Sum<L> want;
    for (int i = 0; c < stored.d && i < n; ++i)
      want.add(Wide<L>(weights[static_cast<std::size_t>(i * count + m)]) * Wide<L>(stored.moved(i, c)));
    if (c < stored.d) {
      CHECK(want.near(static_cast<double>(got)));
      CHECK(unwatched[static_cast<std::size_t>(at)] == got);
    } else if (c >= k::padded(stored.d)) {
      CHECK(got == L(0.25));  // another row's
    }
  }
}

template <class L>
void check_add(const k::Table* level) {
  where = text(level, "add");
  for (int n : kSizes) {
    std::vector<L> from(static_cast<std::size_t>(n));
    for (L& x : from) x = static_cast<L>(normal());
    std::vector<double> to(static_cast<std::size_t>(n + 1), 2.0);
    lanes<L>(level).add(from.data(), n, -0.5, to.data());
    for (int c = 0; c < n; ++c) {
      const auto at = static_cast<std::size_t>(c);
      CHECK(to[at] == 2.0 - 0.5 * static_cast<double>(from[at]));
    }
    CHECK(to[static_cast<std::size_t>(n)] == 2.0);
  }
}

template <class L>
void check_spoiled(const k::Table* level, Stored& stored) {
  const int type = static_cast<int>(stored.dtype);
  const std::vector<L> shift = stored.shift_in<L>();
  const Directions<L> u(8, stored.d);
  const std::vector<L> ready = packed(level, stored.dtype, u, 8, stored.d);
  std::vector<L> work(static_cast<std::size_t>(k::kSpanWork));
  const std::vector<L> weights(static_cast<std::size_t>(stored.n * 4), L(1));
  std::vector<double> scores(static_cast<std::size_t>(stored.n * 8));
  std::vector<L> sums(static_cast<std::size_t>(4 * u.ld));
  spoil<L>(stored, [&](int i) {
    for (int count : {1, 2, 4}) {
      lanes<L>(level).dots[type](stored.rows.data(), stored.n, stored.d, shift.data(), u.values.data(), u.ld, count,
                                 scores.data(), 8);
      for (int j = 0; j < count; ++j) CHECK(!std::isfinite(scores[static_cast<std::size_t>(i * 8 + j)]));
    }
    scores.assign(scores.size(), 0.0);
    lanes<L>(level).scores[type](stored.rows.data(), stored.n, stored.n, stored.d, shift.data(), ready.data(), 8,
                                 work.data(), scores.data(), 8);
    for (int j = 0; j < 8; ++j) CHECK(!std::isfinite(scores[static_cast<std::size_t>(i * 8 + j)]));
    for (int count : {1, 2, 4})
      for (bool seen : {false, true})
        CHECK(lanes<L>(level).weigh[type](stored.rows.data(), stored.n, stored.n, stored.d, shift.data(),
                                          weights.data(), count, seen, sums.data(), u.ld) == kInfinity);
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
        for (int count : {1, 2, 4}) check_dots<L>(level, count < 2 ? near_zero : far, count);
        for (int count : {4, 12, 16}) check_many<L>(level, count < 16 ? near_zero : far, count);
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
  L sums[16];
  L work[1];
  for (int type = 0; type < k::kDtypes; ++type) {
    lanes<L>(level).dots[type](nullptr, 0, 5, shift, directions, 16, 1, out, 1);
    lanes<L>(level).scores[type](nullptr, 0, 0, 5, shift, directions, 4, work, out, 4);
    CHECK(lanes<L>(level).weigh[type](nullptr, 0, 0, 5, shift, directions, 1, false, sums, 16) == 0.0);
    for (int c = 0; c < 5; ++c) CHECK(sums[c] == L(0));
  }
  for (double x : out) CHECK(x == 3.0);
}

}  // namespace

/// Rows of several spans; directions that stay near, and such as do not, so that spans take turns over a block.
template <class L>
void check_wide(const k::Table* level) {
  for (int type = 0; type < k::kDtypes; ++type) {
    where = text(level, "scores of wide rows, dtype, lane bytes:", type, static_cast<int>(sizeof(L)));
    Stored stored(static_cast<Dtype>(type), 20, 1543, 0.0);
    for (int count : {8, 300}) check_many<L>(level, stored, count);
  }
}

int main() {
  for (const k::Table* level : levels()) {
    check_wide<float>(level);
    check_wide<double>(level);
    check_lanes<float>(level);
    check_lanes<double>(level);
    check_add<float>(level);
    check_add<double>(level);
    check_empty<float>(level);
    check_empty<double>(level);
  }
  return report();
}
