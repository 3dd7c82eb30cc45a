// Many columns of a game, read in passes: scanned once for size and first candidates, then priced. Columns come on a
// fixed grid of chunks and are merged in grid order, so the number of threads changes no choice.
#pragma once
#include <clinometer/lp/ensemble.hpp>
#include <cstdint>
#include <vector>

#include "kernels/table.hpp"

namespace clinometer::lp {

/// run(entries, loops) for the width m is held in.
template <class F>
auto by_width(const Entries& m, F&& run) {
  const kernels::LpTable& table = *kernels::active().lp;
  return m.narrow != nullptr ? run(m.narrow, table.narrow) : run(m.wide, table.wide);
}

/// A column and its price.
struct Priced {
  std::int64_t at;
  double price;
};

/// What one pricing pass saw: the best columns above a cutoff, best first, and the largest price of all, evaluated
/// in twice the precision (`top`, within `doubt` of the truth).
struct Pass {
  std::vector<Priced> best;
  double top, doubt;
};

/// Entry (i, p) is (m[i * stride + p] - offset[i]) / 2^exponent[i], at most 1 in size.
class Columns {
 public:
  /// offset may be null. Reads all columns once.
  Columns(const Entries& m, const double* offset, const Work& work);
  bool finite() const { return finite_; }
  std::int64_t k() const { return m_.k; }
  std::int64_t n() const { return m_.n; }
  int exponent(std::int64_t i) const { return given_[i]; }
  bool zero_row(std::int64_t i) const { return largest_[i] == 0; }
  const std::vector<std::int64_t>& first() const { return first_; }
  double entry(std::int64_t i, std::int64_t p) const;

  /// max_p sum_i y_i entry(i, p) and up to `most` columns above `cutoff`, which must not exceed that maximum. Chunks
  /// that cannot reach `cutoff` are not read again: since they were last priced, no price there rose by more than
  /// sum_i |change of y_i| (largest entry of row i).
  Pass price(const std::vector<double>& y, double cutoff, std::int64_t most);
  /// sum_p w_p entry(i, at_p) for row i in twice the precision, and what it may be off by.
  double product(std::int64_t i, const std::vector<std::int64_t>& at, const std::vector<double>& w,
                 double& doubt) const;
  /// Whether sum_i y_i entry(i, p) <= 0 for all p, decided without rounding; y are integers held in doubles.
  bool none_positive(const std::vector<double>& y) const;

 private:
  void scan();
  void shrink();
  double given(std::int64_t i, std::int64_t p) const;
  double exact_price(const std::vector<double>& y, std::int64_t p, double& doubt) const;
  double chunk_prices(std::int64_t chunk, const std::vector<double>& y, double* prices) const;
  std::vector<double> folded(const std::vector<double>& y, double& constant) const;

  Entries m_;
  std::vector<double> offset_, largest_, copy_;
  std::vector<double> chunk_size_, chunk_top_, chunk_y_;  // (chunks, k), (chunks,), (chunks, k): see price
  std::vector<int> exponent_, given_;                     // of m_ as it is now, and as it came
  std::vector<std::int64_t> first_;
  bool finite_ = true;
  const Work& work_;
};

}  // namespace clinometer::lp
