// Weighted sums of rows on a matrix unit against sums in doubles: numbers of weights that fill tiles and do not, rows
// that fill runs and do not, columns to the last one.
#include "matrix.hpp"

namespace {

struct Sums {
  std::int64_t wide;
  std::vector<float> weights;
  std::vector<Line> tiles;
  double seen = 0;

  Sums(const k::Table* level, const Stored& stored, std::int64_t count, bool watched)
      : wide(k::padded(count)), tiles(room(4 * k::matrix_sums(stored.d, wide))) {
    for (std::int64_t i = 0; i < stored.n * wide; ++i)
      weights.push_back(i % wide < count ? static_cast<float>(normal()) : 0.0f);
    std::vector<Line> work = room(k::matrix_sum_work(stored.n, wide));
    const std::vector<float> shift = paired_shift(level, stored);
    seen = level->matrix->sums[static_cast<int>(stored.dtype)](stored.rows.data(), stored.n, stored.d, shift.data(),
                                                               weights.data(), wide, watched, work.data(), floats());
  }
  float* floats() { return reinterpret_cast<float*>(tiles.data()); }
};

void check_sums(const k::Table* level, Stored stored, std::int64_t count) {
  Sums sums(level, stored, count, false);
  CHECK(sums.seen == stored.largest<float>());
  for (std::int64_t m = 0; m < count; ++m) {
    std::vector<double> got(static_cast<std::size_t>(stored.d + 1), -5.0);
    level->matrix->add_sums[static_cast<int>(stored.dtype)](sums.floats(), stored.d, sums.wide, m, 0.5, got.data());
    for (int c = 0; c < stored.d; ++c) {
      Sum<float> want;
      want.add(-5.0);
      for (int i = 0; i < stored.n; ++i)
        want.add(0.5 * static_cast<double>(sums.weights[static_cast<std::size_t>(i * sums.wide + m)]) *
                 static_cast<double>(static_cast<float>(stored.moved(i, c))));
      CHECK(want.near(got[static_cast<std::size_t>(c)]));
    }
    CHECK(got.back() == -5.0);
  }
}

void check_spoiled(const k::Table* level, Stored& stored, std::int64_t count) {
  for (const bool watched : {false, true}) {
    CHECK(std::isfinite(Sums(level, stored, count, watched).seen));
    spoil<float>(stored, [&](int) { CHECK(Sums(level, stored, count, watched).seen == kInfinity); });
  }
}

}  // namespace

int main() {
  for (const k::Table* level : levels()) {
    if (level->matrix == nullptr) continue;
    for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::f64})
      for (const int count : {5, 16, 17, 32, 48}) {
        for (const int n : kSizes)
          for (const int d : {1, 15, 17, 33, 63, 64, 65, 130}) {
            where = text(level, "sums dtype, n, d, M:", static_cast<int>(dtype), n, d, count);
            check_sums(level, Stored(dtype, n, d, 0.0), count);
            check_sums(level, Stored(dtype, n, d, large_mean(dtype)), count);
          }
        Stored plain(dtype, 40, 130, 0.0);  // bf16 without a shift go another way
        plain.shift.assign(plain.shift.size(), 0.0f);
        where = text(level, "sums without a shift, dtype, M:", static_cast<int>(dtype), count);
        check_sums(level, plain, count);
        Stored few(dtype, 33, 70, 0.0);
        check_spoiled(level, few, count);
      }
  }
  return report();
}
