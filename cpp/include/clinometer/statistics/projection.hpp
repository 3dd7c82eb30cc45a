// Rows Sigma u_k without Sigma: E_x sum_i w_i (t_ik - tbar_xk) phi_i in one pass (theory 3.1).
// State: (K, d) sums; the means of a prompt that is still open. Inside a block a prompt's weights sum to
// zero, so the leaf's shift drops out.
#pragma once
#include <clinometer/straddle.hpp>

#include <functional>

namespace clinometer {

class CovarianceProjection : public StatisticOf<CovarianceProjection> {
 public:
  CovarianceProjection() = default;
  CovarianceProjection(std::int64_t d, std::int64_t score_at, std::int64_t n_scores, std::int64_t ddof)
      : d(d), score_at(score_at), n_scores(n_scores), ddof(ddof), sum(std::size_t(n_scores * d), 0) {}
  CovarianceProjection cleared() const { return {d, score_at, n_scores, ddof}; }
  bool needs_rows() const override { return true; }
  std::int64_t weights_per_row() const override { return n_scores; }

  using Statistic::absorb;
  void absorb(const Block& b) override {
    thread_local std::vector<double> weights;
    weights.assign(std::size_t(b.n * n_scores), 0);
    for (const Piece& p : b.pieces) piece(b, p, weights);
    b.tile->accumulate(weights.data(), n_scores, sum.data());
  }
  void join(CovarianceProjection& later) {
    ends.join(later.ends, rank_one());
    add(sum, later.sum);
    mass += later.mass;
  }
  Results finish() const override {
    Result r{"projection", {n_scores, d}, sum};
    for (double& x : r.data) x /= mass;
    return {r, {"mass", {1}, {mass}}};
  }
  void settings(Visitor& visit) override {
    visit.size("d", d);
    visit.size("score_at", score_at);
    visit.size("n_scores", n_scores);
    visit.size("ddof", ddof);
  }
  void fields(Visitor& visit) override {
    visit.array("sum", sum, product({n_scores, d}));
    visit.field("mass", mass);
    ends.fields(visit, d + n_scores, 1);
  }

 private:
  std::int64_t d = 0, score_at = 0, n_scores = 0, ddof = 0;
  std::vector<double> sum;
  double mass = 0;
  OpenEnds ends;

  std::function<void(double, const std::vector<double>&, std::int64_t)> rank_one() {
    return [this](double scale, const std::vector<double>& difference, std::int64_t) {
      for (std::int64_t k = 0; k < n_scores; ++k)
        for (std::int64_t c = 0; c < d; ++c) sum[k * d + c] += scale * difference[d + k] * difference[c];
    };
  }

  void piece(const Block& b, const Piece& p, std::vector<double>& weights) {
    const double scale = p.omega * (ddof ? p.unbias : 1);
    if (p.begins && scale != 0) mass += p.omega;
    double part = 0;
    for (std::int64_t i = p.first; i < p.first + p.count; ++i) part += b.weight[i];
    std::vector<double> mean(std::size_t(n_scores), 0);
    const double* pilot = b.score + p.first * b.n_scores + score_at;
    for (std::int64_t i = p.first; part > 0 && i < p.first + p.count; ++i)
      for (std::int64_t k = 0; k < n_scores; ++k)
        mean[k] += b.weight[i] / part * (b.score[i * b.n_scores + score_at + k] - pilot[k]);
    for (std::int64_t i = p.first; i < p.first + p.count; ++i)
      for (std::int64_t k = 0; k < n_scores; ++k)
        weights[i * n_scores + k] = scale * b.weight[i] * (b.score[i * b.n_scores + score_at + k] - pilot[k] - mean[k]);
    if (p.begins && p.ends) return;
    Straddle s;
    s.mass = part;
    s.scale = scale;
    s.ends = p.ends;
    s.mean = row_mean(b, p, part);
    for (std::int64_t k = 0; k < n_scores; ++k) s.mean.push_back(pilot[k] + mean[k]);
    ends.part(std::move(s), p.begins, rank_one());
  }

  std::vector<double> row_mean(const Block& b, const Piece& p, double part) const {
    std::vector<double> w(std::size_t(b.n), 0), out(std::size_t(d), 0);
    for (std::int64_t i = p.first; part > 0 && i < p.first + p.count; ++i) w[i] = b.weight[i] / part;
    b.tile->accumulate(w.data(), 1, out.data());
    for (std::int64_t c = 0; c < d; ++c) out[c] += b.tile->shift[c];
    return out;
  }
};

}  // namespace clinometer
