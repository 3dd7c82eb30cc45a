// Column generation for one game over Columns: rows share t by `g` (0: a floor, only to be kept).
#pragma once
#include "src/lp/columns.hpp"
#include "src/lp/scaled.hpp"

namespace clinometer::lp {

class Generation {
 public:
  /// Stop as soon as the sign of the value is known.
  bool sign_only = false;

  Generation(Columns& columns, std::vector<double> g) : columns_(columns), g_(std::move(g)) {}

  /// Begin with this mixture in one piece: it must meet the floors.
  void start_from(const std::vector<std::int64_t>& at, const std::vector<double>& weight);
  void run();

  std::vector<std::int64_t> at;  // the mixture, and its value in t: at least lower
  std::vector<double> weight;
  std::vector<double> y;  // prices of scaled rows, sum g y = 1; no mixture is above upper
  double lower, upper, violation = 0;
  std::int64_t passes = 0;
  bool positive = false, not_positive = false;  // proved signs of the value

 private:
  void master(bool pairs);
  void judge();
  bool gap_closed() const;
  void refresh(const std::vector<Priced>& best);

  Columns& columns_;
  std::vector<double> g_;
  std::vector<std::int64_t> set_;  // columns of the master, ascending within what was added together
  std::vector<double> x_;          // their weights; the piece to start from comes first
  std::vector<std::int64_t> piece_at_;
  std::vector<double> piece_, piece_rows_;
  std::vector<double> trial_y_;
  Aligned work_;
};

}  // namespace clinometer::lp
