// Scores on a matrix unit, at the levels that have one: sums of products of bf16 parts against products in doubles.
#include "matrix.hpp"

namespace {

/// Directions as `pack` takes them, packed; K of them, up to 8 or a multiple of 16.
struct Parts {
  std::int64_t count, d, ld;
  std::vector<float> natural;
  std::vector<Line> packed;

  Parts(const k::Table* level, Dtype dtype, int count, int d)
      : count(count), d(d), ld(k::padded(d)), packed(room(k::matrix_packed(d, count))) {
    std::vector<float> ordered(static_cast<std::size_t>(count * ld), 0.0f);
    for (int j = 0; j < count; ++j)
      for (int c = 0; c < d; ++c) {
        natural.push_back(static_cast<float>(normal()));
        ordered[static_cast<std::size_t>(j * ld + paired_at(c, d, level->f32.paired[static_cast<int>(dtype)]))] =
            natural.back();
      }
    level->matrix->pack(ordered.data(), ld, d, count, packed.data());
  }
};

void score(const k::Table* level, const Stored& stored, const Parts& u, const void* const* rows, std::int64_t n,
           std::int64_t known, std::vector<double>& to, std::int64_t lds) {
  std::vector<Line> work = room(k::matrix_work(u.count));
  const std::vector<float> shift = paired_shift(level, stored);
  level->matrix->scores[static_cast<int>(stored.dtype)](rows, n, known, stored.d, shift.data(), u.packed.data(),
                                                        u.count, work.data(), to.data(), lds);
}

void check_scores(const k::Table* level, Stored stored, int count) {
  const std::int64_t lds = count + 2;
  const Parts u(level, stored.dtype, count, stored.d);
  std::vector<double> scores(static_cast<std::size_t>((stored.n - 1) * lds + count), -5.0);
  score(level, stored, u, stored.rows.data(), stored.n, stored.n, scores, lds);
  for (int i = 0; i < stored.n; ++i) {
    for (int j = 0; j < count; ++j) {
      Sum<float> want;
      want.add(-5.0);
      for (int c = 0; c < stored.d; ++c)
        want.add(static_cast<double>(static_cast<float>(stored.moved(i, c))) *
                 static_cast<double>(u.natural[static_cast<std::size_t>(j * stored.d + c)]));
      CHECK(want.near(scores[static_cast<std::size_t>(i * lds + j)]));
    }
    for (std::int64_t j = count; i + 1 < stored.n && j < lds; ++j)
      CHECK(scores[static_cast<std::size_t>(i * lds + j)] == -5.0);
    std::vector<double> alone(static_cast<std::size_t>(count), -5.0);  // a score ignores its neighbours
    score(level, stored, u, &stored.rows[static_cast<std::size_t>(i)], 1, 1, alone, count);
    for (int j = 0; j < count; ++j)
      CHECK(alone[static_cast<std::size_t>(j)] == scores[static_cast<std::size_t>(i * lds + j)]);
  }
}

/// NaN, Inf and overflow reach every score of their row and no other.
void check_spoiled(const k::Table* level, Stored& stored, int count) {
  const Parts u(level, stored.dtype, count, stored.d);
  spoil<float>(stored, [&](int bad) {
    std::vector<double> scores(static_cast<std::size_t>(stored.n * count), 0.0);
    score(level, stored, u, stored.rows.data(), stored.n, stored.n, scores, count);
    for (int i = 0; i < stored.n; ++i)
      for (int j = 0; j < count; ++j)
        CHECK(std::isfinite(scores[static_cast<std::size_t>(i * count + j)]) == (i != bad));
  });
}

/// Blocks of any size, with the rows behind them known or not, give the same bits; so do columns taken by spans.
void check_cuts(const k::Table* level, const Stored& stored, int count) {
  const Parts u(level, stored.dtype, count, stored.d);
  const std::int64_t n = stored.n;
  std::vector<double> whole(static_cast<std::size_t>(n * count), 0.0);
  score(level, stored, u, stored.rows.data(), n, n, whole, count);
  for (const std::int64_t cut : {std::int64_t{1}, std::int64_t{31}, n - 3})
    for (const bool known : {false, true}) {
      std::vector<double> first(static_cast<std::size_t>(cut * count), 0.0);
      std::vector<double> second(static_cast<std::size_t>((n - cut) * count), 0.0);
      score(level, stored, u, stored.rows.data(), cut, known ? n : cut, first, count);
      score(level, stored, u, stored.rows.data() + cut, n - cut, n - cut, second, count);
      first.insert(first.end(), second.begin(), second.end());
      CHECK(first == whole);
    }
}

}  // namespace

int main() {
  for (const k::Table* level : levels()) {
    if (level->matrix == nullptr) continue;
    for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f64})
      for (const int count : {1, 5, 8, 16, 32, 48}) {
        for (const int n : kSizes)
          for (const int d : kSizes) {
            where = text(level, "matrix dtype, n, d, K:", static_cast<int>(dtype), n, d, count);
            check_scores(level, Stored(dtype, n, d, 0.0), count);
            check_scores(level, Stored(dtype, n, d, large_mean(dtype)), count);
          }
        where = text(level, "matrix over chains, dtype, K:", static_cast<int>(dtype), count);
        check_scores(level, Stored(dtype, 3, 3001, 0.0), count);
        check_cuts(level, Stored(dtype, 70, 200, 0.0), count);
        Stored few(dtype, 17, 33, 0.0);
        check_spoiled(level, few, count);
      }
    where = text(level, "matrix over spans");
    check_scores(level, Stored(Dtype::bf16, 35, 1100, 0.0), 256);
    check_cuts(level, Stored(Dtype::f32, 131, 1100, 0.0), 256);
  }
  return report();
}
