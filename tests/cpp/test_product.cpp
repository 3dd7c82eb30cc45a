// accumulate, gram and deviations at every level. Whatever a product may not read is NaN here: rows behind the
// last, columns of packs and weights behind the last.
#include "check.hpp"

namespace {

/// n of `stride` rows in panels of 16 columns, zero behind column d.
template <class L>
struct Tile {
  std::int64_t n, stride, width;
  std::vector<L> panels;

  Tile(int rows, int d, int more_rows)
      : n(rows),
        stride(rows + more_rows),
        width(k::padded(d)),
        panels(static_cast<std::size_t>(width * stride), static_cast<L>(kNaN)) {
    for (std::int64_t c = 0; c < width; ++c)
      for (std::int64_t i = 0; i < n; ++i) panels[index(i, c)] = c < d ? static_cast<L>(normal()) : L(0);
  }
  std::size_t index(std::int64_t i, std::int64_t c) const {
    return static_cast<std::size_t>((c / 16 * stride + i) * 16 + c % 16);
  }
  Wide<L> at(std::int64_t i, std::int64_t c) const { return Wide<L>(panels[index(i, c)]); }
};

/// Reference sums (rows, columns): each entry as the levels see it, computed once for all of them.
template <class L, class Term>
std::vector<Sum<L>> reference(std::int64_t rows, std::int64_t columns, std::int64_t terms, double start, Term term) {
  std::vector<Sum<L>> sums(static_cast<std::size_t>(rows * columns));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) {
      Sum<L>& sum = sums[static_cast<std::size_t>(r * columns + c)];
      sum.add(start);
      for (std::int64_t t = 0; t < terms; ++t) sum.add(term(r, c, t));
    }
  return sums;
}

/// Entries (rows, columns) of `got` near their references; what lies between rows is as before.
template <class L>
void compare(const std::vector<double>& got, std::int64_t ld, const std::vector<Sum<L>>& want, std::int64_t columns,
             double start) {
  for (std::int64_t at = 0; at < static_cast<std::int64_t>(got.size()); ++at) {
    const std::int64_t r = at / ld, c = at % ld;
    const double value = got[static_cast<std::size_t>(at)];
    CHECK(c < columns ? want[static_cast<std::size_t>(r * columns + c)].near(value) : value == start);
  }
}

template <class L>
void check_accumulate(int n, int d, int count) {
  const Tile<L> tile(n, d, n % 3);
  const std::int64_t ldw = count + 4, ldo = tile.width + 3;
  std::vector<L> weights(static_cast<std::size_t>(n * ldw), static_cast<L>(kNaN));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t m = 0; m < count; ++m) weights[static_cast<std::size_t>(i * ldw + m)] = static_cast<L>(normal());
  const auto want = reference<L>(count, tile.width, n, 0.25, [&](std::int64_t m, std::int64_t c, std::int64_t i) {
    return Wide<L>(weights[static_cast<std::size_t>(i * ldw + m)]) * tile.at(i, c);
  });
  for (const k::Table* level : levels()) {
    where = text(level, "accumulate lane bytes, n, d, M:", static_cast<int>(sizeof(L)), n, d, count);
    std::vector<double> out(static_cast<std::size_t>((count - 1) * ldo + tile.width), 0.25);
    lanes<L>(level).accumulate(tile.panels.data(), n, tile.stride, tile.width, weights.data(), count, ldw, out.data(),
                               ldo);
    compare<L>(out, ldo, want, tile.width, 0.25);
  }
}

/// On and above the diagonal every entry is promised; below it, inside the range, an entry is either as before
/// or the whole sum.
template <class L>
void check_gram(const Tile<L>& tile, const std::vector<Sum<L>>& want, std::int64_t a0, std::int64_t a1, std::int64_t b0,
                std::int64_t b1) {
  const std::int64_t ldo = tile.width + 5;
  for (const k::Table* level : levels()) {
    where = text(level, "gram lane bytes, n, width, range:", static_cast<int>(sizeof(L)), tile.n, tile.width, a0, a1,
                 b0, b1);
    const std::int64_t units =
        wide(level) ? 8 : std::max<std::int64_t>(8, tile.n);  // baseline sums squares in one chain
    std::vector<double> out(static_cast<std::size_t>((tile.width - 1) * ldo + tile.width), 0.5);
    lanes<L>(level).gram(tile.panels.data(), tile.n, tile.stride, a0, a1, b0, b1, out.data(), ldo);
    for (std::int64_t at = 0; at < static_cast<std::int64_t>(out.size()); ++at) {
      const std::int64_t a = at / ldo, b = at % ldo;
      const bool inside = a >= a0 && a < a1 && b >= b0 && b < b1;
      const double got = out[static_cast<std::size_t>(at)];
      if (!inside)
        CHECK(got == 0.5);
      else
        CHECK((b < a && got == 0.5) || want[static_cast<std::size_t>(a * tile.width + b)].near(got, units));
    }
  }
}

template <class L>
void check_grams(int n, int d) {
  const Tile<L> tile(n, d, n % 3);
  const auto want = reference<L>(tile.width, tile.width, n, 0.5, [&](std::int64_t a, std::int64_t b, std::int64_t i) {
    return tile.at(i, a) * tile.at(i, b);
  });
  const std::int64_t width = tile.width, middle = width / 32 * 16;
  check_gram<L>(tile, want, 0, width, 0, width);
  check_gram<L>(tile, want, 0, middle, middle, width);  // above the diagonal
  check_gram<L>(tile, want, middle, width, middle, width);
  check_gram<L>(tile, want, 0, width, middle, width);  // across it
}

/// Rows less their weighted mean, times a factor each.
template <class L>
void check_deviations(int n) {
  const Tile<L> x(n, 16, 0);
  std::vector<double> w;
  std::vector<L> factor;
  for (int i = 0; i < n; ++i) {
    w.push_back(std::fabs(normal()));
    factor.push_back(static_cast<L>(normal()));
  }
  for (const k::Table* level : levels()) {
    where = text(level, "deviations lane bytes, n:", static_cast<int>(sizeof(L)), n);
    std::vector<L> mean(16), to(x.panels.size());
    lanes<L>(level).deviations(x.panels.data(), n, w.data(), factor.data(), mean.data(), to.data());
    for (int c = 0; c < 16; ++c) {
      Sum<L> want;
      for (int i = 0; i < n; ++i) want.add(Wide<L>(w[static_cast<std::size_t>(i)]) * x.at(i, c));
      CHECK(want.near(static_cast<double>(mean[static_cast<std::size_t>(c)])));
      for (int i = 0; i < n; ++i) {
        const Wide<L> by = Wide<L>(factor[static_cast<std::size_t>(i)]);
        Sum<L> moved;
        moved.add(by * x.at(i, c));
        moved.add(-by * Wide<L>(mean[static_cast<std::size_t>(c)]));
        CHECK(moved.near(static_cast<double>(to[static_cast<std::size_t>(16 * i + c)])));
      }
    }
  }
}

template <class L>
void check_lanes() {
  for (int n : kSizes)
    for (int d : kSizes)
      for (int count : kSizes) check_accumulate<L>(n, d, (count + 3) / 4 * 4);
  for (int n : {1, 3, 7, 15, 17, 33, 130, 300})
    for (int d : kSizes) check_grams<L>(n, d);
  for (int n : kSizes) check_deviations<L>(n);
  check_accumulate<L>(700, 40, 8);
}

void check_empty(const k::Table* level) {
  where = text(level, "products of no rows");
  const float tile[256] = {};
  double out[64];
  for (double& x : out) x = 3.0;
  level->f32.accumulate(tile, 0, 16, 16, tile, 4, 4, out, 16);
  level->f32.gram(tile, 0, 16, 0, 0, 0, 16, out, 16);
  level->f32.gram(tile, 0, 16, 0, 16, 16, 16, out, 16);
  for (double x : out) CHECK(x == 3.0);
}

}  // namespace

int main() {
  check_lanes<float>();
  check_lanes<double>();
  for (const k::Table* level : levels()) check_empty(level);
  return report();
}
