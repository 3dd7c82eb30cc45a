// Mean representation under each tilt, E_x sum_i p_i phi_i with p ~ w exp(t / beta), in the pass that scores the
// rows (theory 2.2). State: (K B, d) sums. A prompt that a border divides keeps the same sums relative to its
// largest score so far; their terms have one sign, so parts of it are joined by rescaling.
#pragma once
#include <clinometer/statistic.hpp>

namespace clinometer {

class TiltedMean : public StatisticOf<TiltedMean> {
 public:
  TiltedMean() = default;
  /// betas (K, B), each > 0, 0 (argmax) or inf (the base policy).
  TiltedMean(std::int64_t d, std::int64_t score_at, std::int64_t n_scores, std::vector<double> betas);
  TiltedMean cleared() const { return {d, score_at, n_scores, betas}; }
  bool needs_rows() const override { return true; }
  std::int64_t weights_per_row() const override { return cells(); }
  using Statistic::absorb;
  void absorb(const Block& b) override;
  void leaf_ends() override;
  void join(TiltedMean& later);
  Results finish() const override;
  void settings(Visitor& visit) override;
  void fields(Visitor& visit) override;

 private:
  /// Of one prompt, the rows absorbed so far: per cell sum w e and sum w e phi, e = exp((t - top) / beta).
  struct Part {
    bool begins = false, ends = false;
    double omega = 1;
    std::vector<double> top, mass, sum;  // (K,), (K B,), (K B, d); empty: nothing here
    void fields(Visitor& visit, std::int64_t n_scores, std::int64_t cells, std::int64_t d);
  };
  std::int64_t d = 0, score_at = 0, n_scores = 0, n_betas = 0;
  std::vector<double> betas, sum;
  double mass = 0;
  Part head, tail;
  // inside a leaf: mass whose shift is not in `sum` yet, and that shift
  double shifted = 0;
  const double* shift = nullptr;

  std::int64_t cells() const { return n_scores * n_betas; }
  std::vector<double> growth(const Block& b, const Piece& p, std::vector<double>& top,
                             std::vector<double>& total) const;
  void whole(const Block& b, const Piece& p, std::vector<double>& weights);
  void divided(const Block& b, const Piece& p);
  void take(Part part);
  void append(Part& to, Part& later) const;
  void close();
};

}  // namespace clinometer
