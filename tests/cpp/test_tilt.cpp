// The exact tilt at every level, over 16 decades of lambda, against its definition in wider arithmetic.
#include "check.hpp"

namespace {

bool near(long double got, long double want, long double allowed) {
  if (std::isinf(want) || std::isinf(got)) return got == want;
  return std::fabs(got - want) <= allowed;  // false for NaN
}

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

}  // namespace

int main() {
  for (const k::Table* level : levels()) {
    engine.seed(20240607);  // every level meets the same data
    check_tilts(*level);
  }
  return report();
}
