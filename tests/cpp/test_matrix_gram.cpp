// Gram matrices on a matrix unit: what `centre` leaves makes up the covariance, few digits stay few parts, and weighted
// products of parts are those of doubles.
#include "matrix.hpp"

namespace {

/// Panels of 16 columns of n rows.
struct Panels {
  std::int64_t n, columns;
  std::vector<float> items, weight;

  Panels(std::int64_t n, std::int64_t columns, bool coarse, bool even)
      : n(n), columns(columns), items(static_cast<std::size_t>(n * columns)) {
    // every other panel of few digits: neighbours have different numbers of parts
    for (std::size_t i = 0; i < items.size(); ++i)
      items[i] = static_cast<float>(
          coarse && i / static_cast<std::size_t>(16 * n) % 2 == 0 ? std::round(16 * normal()) / 16 : normal());
    for (std::int64_t i = 0; i < n; ++i) weight.push_back(even ? 1.0f : static_cast<float>(normal()));
  }
  double at(std::int64_t i, std::int64_t c) const {
    return static_cast<double>(items[static_cast<std::size_t>((c / 16 * n + i) * 16 + c % 16)]);
  }
};

void check_gram(const k::Table* level, const Panels& x, std::int64_t a0, std::int64_t a1, std::int64_t b0,
                std::int64_t b1) {
  const std::int64_t panels = x.columns / 16, counts = 2 * ((x.n + 31) / 32), ldo = x.columns + 3;
  std::vector<Line> parts = room(panels * k::matrix_panel(x.n));
  std::vector<std::uint8_t> count(static_cast<std::size_t>(panels * counts), 9);
  for (std::int64_t p = 0; p < panels; ++p)
    level->matrix->split(x.items.data() + p * x.n * 16, x.n, x.weight.data(),
                         reinterpret_cast<char*>(parts.data()) + p * k::matrix_panel(x.n), count.data() + p * counts);
  std::vector<double> got(static_cast<std::size_t>(x.columns * ldo), -5.0);
  level->matrix->gram({parts.data(), count.data(), x.n}, a0, a1, b0, b1, 0.25, got.data(), ldo);
  for (std::int64_t a = 0; a < x.columns; ++a)
    for (std::int64_t b = 0; b < ldo; ++b) {
      const double value = got[static_cast<std::size_t>(a * ldo + b)];
      if (a < a0 || a >= a1 || b < b0 || b >= b1) CHECK(value == -5.0);
      if (a < a0 || a >= a1 || b < b0 || b >= b1 || b < a) continue;
      Sum<float> want;
      want.add(-5.0);
      for (std::int64_t i = 0; i < x.n; ++i)
        want.add(0.25 * static_cast<double>(x.weight[static_cast<std::size_t>(i)]) * x.at(i, a) * x.at(i, b));
      CHECK(want.near(value));
    }
}

/// Rows less a middle that few digits hold, and what is left of the mean, to the digits of what is left.
void check_centre(const k::Table* level, int n, double mean, double spread) {
  std::vector<float> panel, to(static_cast<std::size_t>(16 * n));
  std::vector<double> w;
  for (int i = 0; i < n; ++i) w.push_back(1.0 / n);
  for (int i = 0; i < 16 * n; ++i) panel.push_back(static_cast<float>(mean + spread * normal()));
  float m[16], rest[16];
  level->matrix->centre(panel.data(), n, w.data(), m, rest, to.data());
  for (int c = 0; c < 16; ++c) {
    Sum<float> sum, square, left;
    for (int i = 0; i < n; ++i) sum.add(static_cast<double>(panel[static_cast<std::size_t>(16 * i + c)]) / n);
    for (int i = 0; i < n; ++i) {
      const auto at = static_cast<std::size_t>(16 * i + c);
      square.add(std::pow(static_cast<double>(panel[at]) - sum.value, 2) / n);
      left.add(static_cast<double>(to[at]) / n);
    }
    CHECK(std::fabs(static_cast<double>(m[c]) - sum.value) <= n * 0x1p-24 * sum.size);  // a chain of n sums
    CHECK(std::fabs(static_cast<double>(rest[c]) - left.value) <= n * 0x1p-24 * left.size);
    const double deviation = std::sqrt(square.value);
    CHECK(std::fabs(static_cast<double>(rest[c])) <= 1.001 * deviation + 1e-6 * std::fabs(mean));
    if (n == 1) continue;
    const double grid = std::ldexp(1.0, static_cast<int>(std::floor(std::log2(0.999 * deviation))));
    const double middle = grid * std::round((static_cast<double>(m[c]) - static_cast<double>(rest[c])) / grid);
    for (int i = 0; i < n; ++i) {
      const auto at = static_cast<std::size_t>(16 * i + c);
      CHECK(to[at] == static_cast<float>(static_cast<double>(panel[at]) - middle));
    }
  }
}

/// Small whole numbers less a middle that is one of them are one part, of either side.
void check_counts(const k::Table* level) {
  std::vector<float> panel, weight(40, 1.0f);
  for (int i = 0; i < 16 * 40; ++i) panel.push_back(static_cast<float>(std::round(20 * normal())));
  std::vector<Line> parts = room(k::matrix_panel(40));
  std::uint8_t count[4] = {9, 9, 9, 9};
  level->matrix->split(panel.data(), 40, weight.data(), parts.data(), count);
  for (const std::uint8_t c : count) CHECK(c == 1);
  weight[35] = 1.0f / 3;
  level->matrix->split(panel.data(), 40, weight.data(), parts.data(), count);
  CHECK(count[0] == 1 && count[1] == 3 && count[2] == 1 && count[3] == 1);
}

}  // namespace

int main() {
  for (const k::Table* level : levels()) {
    if (level->matrix == nullptr) continue;
    for (const int n : {1, 3, 31, 32, 33, 130, 1030})
      for (const bool coarse : {false, true})
        for (const bool even : {false, true}) {
          where = text(level, "gram n, coarse, even:", n, coarse, even);
          const Panels x(n, 80, coarse, even);
          check_gram(level, x, 0, 80, 0, 80);
          check_gram(level, x, 32, 48, 32, 80);
          check_gram(level, x, 0, 32, 48, 64);
        }
    for (const int n : kSizes)
      for (const double mean : {0.0, 1.0, 1000.0})
        for (const double spread : {1.0, 1e-3, 1e6}) {
          where = text(level, "centre n, mean, spread:", n, mean, spread);
          check_centre(level, n, mean, spread);
        }
    where = text(level, "counts of parts");
    check_counts(level);
  }
  return report();
}
