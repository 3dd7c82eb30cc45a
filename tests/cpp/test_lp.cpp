// The small games at every instruction-set level: bounds hold, witnesses are feasible, company changes no bit.
#include <clinometer/lp/cone.hpp>
#include <clinometer/lp/ensemble.hpp>
#include <clinometer/lp/front.hpp>
#include <clinometer/lp/gram_cone.hpp>
#include <clinometer/lp/prompt.hpp>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/table.hpp"

namespace {

using namespace clinometer;
using lp::Status;
using Vector = std::vector<double>;

int failures = 0;

void check(bool good, const char* what) {
  if (good) return;
  std::printf("FAILED: %s (%s)\n", what, kernels::active().name);
  ++failures;
}

Vector random(std::int64_t count, unsigned seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  Vector out(static_cast<std::size_t>(count));
  for (double& x : out) x = normal(engine);
  return out;
}

struct Cones {
  std::vector<Status> status;
  Vector lower, upper, weights, dual;
};

Cones cones(const Vector& a, std::int64_t problems, std::int64_t k, std::int64_t d, int threads) {
  Cones out{std::vector<Status>(std::size_t(problems)), Vector(std::size_t(problems)), Vector(std::size_t(problems)),
            Vector(std::size_t(problems * d)), Vector(std::size_t(problems * k))};
  lp::solve_cones(a.data(), problems, k, d, {threads, {}},
                  {out.status.data(), out.lower.data(), out.upper.data(), out.weights.data(), out.dual.data()});
  return out;
}

void test_cones(std::int64_t k, std::int64_t d) {
  const std::int64_t problems = 37;
  Vector a = random(problems * k * d, unsigned(100 * k + d));
  const Cones found = cones(a, problems, k, d, 2);
  for (std::int64_t p = 0; p < problems; ++p) {
    long double least = std::numeric_limits<long double>::infinity();
    for (std::int64_t i = 0; i < k; ++i) {
      long double product = 0;
      for (std::int64_t j = 0; j < d; ++j)
        product += static_cast<long double>(a[(p * k + i) * d + j]) * found.weights[p * d + j];
      least = std::min(least, product);
    }
    check(found.lower[p] <= found.upper[p], "cone: lower <= upper");
    check(found.status[p] != Status::undecided, "cone: decided");
    check(found.status[p] != Status::improvable || least > 0, "cone: the witness improves every value");
    check(found.lower[p] <= static_cast<double>(least) + 1e-15, "cone: lower is attained");
  }
  a[5] = std::numeric_limits<double>::quiet_NaN();
  const Cones holed = cones(a, problems, k, d, 1);
  check(holed.status[5 / (k * d)] == Status::invalid, "cone: NaN is invalid");
  const std::int64_t other = problems - 1;
  check(std::memcmp(&holed.weights[other * d], &found.weights[other * d], std::size_t(d) * 8) == 0,
        "cone: a neighbour's NaN changes no bit");
}

void test_grams(std::int64_t k) {
  const std::int64_t problems = 19;
  const Vector rows = random(problems * k * (k + 1), unsigned(k));
  Vector grams(std::size_t(problems * k * k)), lower(19), upper(19), weights(std::size_t(problems * k));
  for (std::int64_t p = 0; p < problems; ++p)
    for (std::int64_t i = 0; i < k; ++i)
      for (std::int64_t j = 0; j < k; ++j)
        for (std::int64_t c = 0; c <= k; ++c)
          grams[(p * k + i) * k + j] += rows[(p * k + i) * (k + 1) + c] * rows[(p * k + j) * (k + 1) + c];
  std::vector<Status> status(19);
  lp::solve_gram_cones(grams.data(), problems, k, {2, {}}, {status.data(), lower.data(), upper.data(), weights.data()});
  for (std::int64_t p = 0; p < problems; ++p) {
    check(status[p] == Status::improvable, "gram: independent rows leave a cone");
    check(upper[p] - lower[p] <= 1e-7 * upper[p], "gram: bounds meet");
  }
}

void test_prompts(std::int64_t n, std::int64_t k) {
  const std::int64_t count = 21;
  const Vector values = random(count * n * k, unsigned(n * k)), weight(std::size_t(count * n), 1.0 / double(n));
  std::vector<std::int64_t> begin;
  for (std::int64_t g = 0; g <= count; ++g) begin.push_back(g * n);
  const Vector scale(std::size_t(k), 1);
  const lp::Prompts prompts{values.data(), begin.data(), weight.data(), scale.data(), count, k};
  std::vector<Status> status(21);
  Vector lower(21), upper(21), dual(std::size_t(count * k)), q(std::size_t(count * n));
  for (const double cap : {1.0, 2.0, std::numeric_limits<double>::infinity()}) {
    lp::solve_capped(prompts, cap, {2, {}}, {status.data(), lower.data(), upper.data(), dual.data(), q.data()});
    for (std::int64_t g = 0; g < count; ++g) {
      double mass = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        mass += q[g * n + i];
        check(q[g * n + i] >= 0 && q[g * n + i] <= cap / double(n) * (1 + 1e-15), "prompt: q keeps its cap");
      }
      check(std::fabs(mass - 1) < 1e-12, "prompt: q has mass 1");
      check(lower[g] >= 0 && lower[g] <= upper[g], "prompt: bounds are ordered");
    }
  }
  lp::solve_budget(prompts, 0.1, {2, {}}, {status.data(), lower.data(), upper.data(), dual.data(), q.data()});
}

void test_ensembles(std::int64_t k, std::int64_t n) {
  const Vector rows = random((k + 1) * n, unsigned(k + n));
  const lp::EnsembleResult one = lp::solve_ensemble({rows.data(), n, k, n, nullptr}, {1, {}});
  const lp::EnsembleResult two = lp::solve_ensemble({rows.data(), n, k, n, nullptr}, {2, {}});
  check(one.at == two.at && one.weight == two.weight && one.upper == two.upper, "ensemble: threads change no bit");
  check(one.upper - one.lower <= 1e-9 * std::fabs(one.lower) + 1e-14, "ensemble: gap");
  const std::vector<float> narrow(rows.begin(), rows.end());
  const Vector widened(narrow.begin(), narrow.end());
  const lp::EnsembleResult in_float = lp::solve_ensemble({nullptr, n, k, n, narrow.data()}, {1, {}});
  const lp::EnsembleResult in_double = lp::solve_ensemble({widened.data(), n, k, n, nullptr}, {1, {}});
  check(in_float.at == in_double.at && in_float.upper == in_double.upper, "ensemble: floats are read as they are");
  if (n > 65536) check(one.passes <= 3, "ensemble: a sieve leaves few columns");
  const Vector tau(std::size_t(k), one.lower - 0.1);
  const lp::EnsembleResult floors = lp::solve_constrained({rows.data(), n, k + 1, n, nullptr}, tau.data(), {2, {}});
  check(floors.status == Status::optimal || floors.status == Status::infeasible, "floors: decided");
}

void test_front() {
  const Vector points = random(3000, 9);
  std::vector<std::uint8_t> keep(1000);
  for (const std::int64_t k : {1, 2, 3, 5}) lp::pareto_front(points.data(), 3000 / k / 3, k, {2, {}}, keep.data());
  lp::pareto_front(points.data(), 1000, 3, {1, {}}, keep.data());
  bool some = false;
  for (const std::uint8_t kept : keep) some = some || kept;
  check(some, "front: not empty");
  for (const std::int64_t k : {4, 5, 9}) {
    const std::int64_t n = 3000 / k;
    lp::pareto_front(points.data(), n, k, {2, {}}, keep.data());
    for (std::int64_t i = 0; i < n; ++i) {
      bool best = true;
      for (std::int64_t f = 0; f < n && best; ++f) {
        bool above = f != i;
        for (std::int64_t j = 0; j < k && above; ++j) above = points[f * k + j] >= points[i * k + j];
        best = !above;
      }
      check(best == (keep[i] != 0), "front: as by brute force");
    }
  }
}

}  // namespace

int main() {
  const kernels::Table* tables[8];
  const int count = kernels::available(tables, 8);
  for (int t = 0; t < count; ++t) {
    kernels::select(tables[t]->name);
    for (const auto& [k, d] : std::vector<std::pair<int, int>>{{1, 6}, {2, 3}, {3, 3}, {8, 4}, {17, 17}, {33, 20}})
      test_cones(k, d);
    for (const int k : {1, 2, 7, 16, 33}) test_grams(k);
    for (const int n : {1, 2, 8, 33, 400})
      for (const int k : {1, 2, 3, 4, 8, 9}) test_prompts(n, k);
    for (const auto& [k, n] :
         std::vector<std::pair<int, int>>{{1, 1}, {1, 7}, {3, 2}, {4, 40000}, {9, 3000}, {5, 70001}})
      test_ensembles(k, n);
    test_front();
  }
  if (failures == 0) std::printf("small games: %d levels pass\n", count);
  return failures == 0 ? 0 : 1;
}
