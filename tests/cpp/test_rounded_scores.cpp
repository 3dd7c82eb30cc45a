// Products of bf16 rows and bf16 directions, at the levels that have them, against products in doubles.
#include "matrix.hpp"

namespace {

struct Directions {
  std::int64_t count, d, ld;
  std::vector<float> natural;
  std::vector<Line> packed;

  Directions(const k::Table* level, int count, int d)
      : count(count),
        d(d),
        ld(k::padded(d)),
        natural(static_cast<std::size_t>(count * ld), 0.0f),
        packed(room(k::rounded_packed(d, count))) {
    for (int j = 0; j < count; ++j)
      for (int c = 0; c < d; ++c) {
        char bits[2];
        put(Dtype::bf16, normal(), bits);
        natural[static_cast<std::size_t>(j * ld + c)] = static_cast<float>(element(Dtype::bf16, bits));
      }
    level->rounded->pack(natural.data(), ld, d, count, packed.data());
  }
};

void score(const k::Table* level, const Stored& stored, const Directions& u, std::int64_t from, std::int64_t n,
           std::int64_t known, double* to, std::int64_t lds) {
  level->rounded->scores(stored.rows.data() + from, n, known, stored.d, u.packed.data(), u.count, to, lds);
}

void check_scores(const k::Table* level, Stored stored, int count) {
  const std::int64_t lds = count + 2;
  const Directions u(level, count, stored.d);
  std::vector<double> scores(static_cast<std::size_t>(stored.n * lds), -5.0);
  score(level, stored, u, 0, stored.n, stored.n, scores.data(), lds);
  for (int i = 0; i < stored.n; ++i) {
    for (int j = 0; j < count; ++j) {
      Sum<float> want;
      want.add(-5.0);
      for (int c = 0; c < stored.d; ++c)
        want.add(element(stored.dtype, stored.at(i, c)) * u.natural[static_cast<std::size_t>(j * u.ld + c)]);
      CHECK(want.near(scores[static_cast<std::size_t>(i * lds + j)]));
    }
    for (std::int64_t j = count; j < lds; ++j) CHECK(scores[static_cast<std::size_t>(i * lds + j)] == -5.0);
  }
}

/// Blocks of any size, with the rows behind them known or not, give the same bits.
void check_cuts(const k::Table* level, const Stored& stored, int count) {
  const Directions u(level, count, stored.d);
  const std::int64_t n = stored.n;
  std::vector<double> whole(static_cast<std::size_t>(n * count), 0.0);
  score(level, stored, u, 0, n, n, whole.data(), count);
  for (const std::int64_t cut : {std::int64_t{1}, std::int64_t{31}, n - 3})
    for (const bool known : {false, true}) {
      std::vector<double> parts(whole.size(), 0.0);
      score(level, stored, u, 0, cut, known ? n : cut, parts.data(), count);
      score(level, stored, u, cut, n - cut, n - cut, parts.data() + cut * count, count);
      CHECK(parts == whole);
    }
}

/// NaN and Inf reach every score of their row and no other.
void check_spoiled(const k::Table* level, Stored& stored, int count) {
  const Directions u(level, count, stored.d);
  for (const double bad : {kNaN, kInfinity})
    for (int i = 0; i < stored.n; i += 5) {
      const double kept = element(stored.dtype, stored.at(i, stored.d - 1));
      stored.set(i, stored.d - 1, bad);
      std::vector<double> scores(static_cast<std::size_t>(stored.n * count), 0.0);
      score(level, stored, u, 0, stored.n, stored.n, scores.data(), count);
      for (std::int64_t at = 0; at < stored.n * count; ++at)
        CHECK(std::isfinite(scores[static_cast<std::size_t>(at)]) == (at / count != i));
      stored.set(i, stored.d - 1, kept);
    }
}

}  // namespace

int main() {
  for (const k::Table* level : levels()) {
    if (level->rounded == nullptr) continue;
    for (const int count : {4, 8, 12, 64}) {
      for (const int n : kSizes)
        for (const int d : kSizes) {
          where = text(level, "rounded n, d, K:", n, d, count);
          check_scores(level, Stored(Dtype::bf16, n, d, 0.0), count);
          check_scores(level, Stored(Dtype::bf16, n, d, 30.0), count);
        }
      where = text(level, "rounded over spans, K:", count);
      check_scores(level, Stored(Dtype::bf16, 13, 3001, 0.0), count);
      check_cuts(level, Stored(Dtype::bf16, 70, 2500, 0.0), count);
      Stored few(Dtype::bf16, 17, 33, 0.0);
      check_spoiled(level, few, count);
    }
  }
  return report();
}
