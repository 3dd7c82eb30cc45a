// sum_i W[i, m] phi_i for weights given per canonical row: the tilted mean once its weights are known.
#pragma once
#include <clinometer/statistic.hpp>

namespace clinometer {

class WeightedRows : public StatisticOf<WeightedRows> {
 public:
  WeightedRows() = default;
  /// weights (N, m) in canonical order; the caller keeps them alive.
  WeightedRows(std::int64_t d, const double* weights, std::int64_t m)
      : d(d), m(m), weights(weights), sum(std::size_t(m * d), 0) {}
  /// Weights of the rows from canonical row `from` on, for a part of a pass.
  void weigh_by(const double* from_there, std::int64_t from) {
    weights = from_there;
    first = from;
  }
  /// The weights of one canonical row.
  const double* at(std::int64_t row) const { return weights + (row - first) * m; }
  WeightedRows cleared() const {
    WeightedRows out{d, weights, m};
    out.first = first;
    return out;
  }
  bool needs_rows() const override { return true; }
  std::int64_t weights_per_row() const override { return m; }

  using Statistic::absorb;
  void absorb(const Block& b) override {
    if (!weights) throw std::logic_error("WeightedRows: a saved state has sums and no weights for further rows");
    const double* w = at(b.first);
    std::vector<double> mass(std::size_t(m), 0);
    b.tile->accumulate(w, m, sum.data());
    for (std::int64_t i = 0; i < b.n; ++i)
      for (std::int64_t j = 0; j < m; ++j) mass[j] += w[i * m + j];
    for (std::int64_t j = 0; j < m; ++j)
      for (std::int64_t c = 0; c < d; ++c) sum[j * d + c] += mass[j] * b.tile->shift[c];
  }
  void join(WeightedRows& later) { add(sum, later.sum); }
  Results finish() const override { return {{"sum", {m, d}, sum}}; }
  void settings(Visitor& visit) override {
    visit.size("d", d);
    visit.size("m", m);
  }
  void fields(Visitor& visit) override { visit.array("sum", sum, product({m, d})); }

 private:
  std::int64_t d = 0, m = 0;
  const double* weights = nullptr;
  std::int64_t first = 0;  // the canonical row of its first entry
  std::vector<double> sum;
};

}  // namespace clinometer
