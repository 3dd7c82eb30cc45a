#include <clinometer/statistics/tilted_mean.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/table.hpp"

namespace clinometer {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

/// (t - top) / beta, where a difference of 0 stays 0 and any other over 0 is -inf.
double exponent(double below, double beta) {
  if (below == 0 || std::isinf(beta)) return 0;
  return beta == 0 ? -kInf : below / beta;
}

}  // namespace

TiltedMean::TiltedMean(std::int64_t d, std::int64_t score_at, std::int64_t n_scores, std::vector<double> betas_)
    : d(d),
      score_at(score_at),
      n_scores(n_scores),
      n_betas(n_scores ? std::int64_t(betas_.size()) / n_scores : 0),
      betas(std::move(betas_)) {
  sum.assign(std::size_t(cells() * d), 0);
}

/// w e of each row of a piece, (count, K B); its largest scores and what the weights sum to.
std::vector<double> TiltedMean::growth(const Block& b, const Piece& p, std::vector<double>& top,
                                       std::vector<double>& total) const {
  const std::int64_t M = cells();
  top.assign(std::size_t(n_scores), -kInf);
  total.assign(std::size_t(M), 0);
  const auto score = [&](std::int64_t i) { return b.score + (p.first + i) * b.n_scores + score_at; };
  for (std::int64_t i = 0; i < p.count; ++i)
    for (std::int64_t k = 0; b.weight[p.first + i] > 0 && k < n_scores; ++k) top[k] = std::max(top[k], score(i)[k]);
  std::vector<double> x(std::size_t(p.count * M), -kInf);
  for (std::int64_t i = 0; i < p.count; ++i)
    for (std::int64_t m = 0; b.weight[p.first + i] > 0 && m < M; ++m)
      x[i * M + m] = exponent(score(i)[m / n_betas] - top[m / n_betas], betas[m]);
  kernels::active().exponentials(x.data(), x.data(), p.count * M);
  for (std::int64_t i = 0; i < p.count; ++i)
    for (std::int64_t m = 0; m < M; ++m) total[m] += x[i * M + m] *= b.weight[p.first + i];
  return x;
}

void TiltedMean::absorb(const Block& b) {
  std::vector<double> weights(std::size_t(b.n * cells()), 0);
  double closed = 0;
  for (const Piece& p : b.pieces) {
    if (!p.begins || !p.ends) {
      divided(b, p);
      continue;
    }
    whole(b, p, weights);
    closed += p.omega;
  }
  mass += closed;
  if (closed == 0) return;
  b.tile->accumulate(weights.data(), cells(), sum.data());
  shifted += closed;
  shift = b.tile->shift;
}

/// The leaf's shift is undone once, and not in every block.
void TiltedMean::leaf_ends() {
  for (std::int64_t m = 0; shifted != 0 && m < cells(); ++m)
    for (std::int64_t c = 0; c < d; ++c) sum[m * d + c] += shifted * shift[c];
  shifted = 0;
}

void TiltedMean::whole(const Block& b, const Piece& p, std::vector<double>& weights) {
  const std::int64_t M = cells();
  std::vector<double> top, total;
  const std::vector<double> w = growth(b, p, top, total);
  for (std::int64_t i = 0; i < p.count; ++i)
    for (std::int64_t m = 0; m < M; ++m) weights[(p.first + i) * M + m] = p.omega * w[i * M + m] / total[m];
}

void TiltedMean::divided(const Block& b, const Piece& p) {
  const std::int64_t M = cells();
  Part part;
  part.begins = p.begins;
  part.ends = p.ends;
  part.omega = p.omega;
  const std::vector<double> w = growth(b, p, part.top, part.mass);
  std::vector<double> weights(std::size_t(b.n * M), 0);
  std::copy(w.begin(), w.end(), weights.begin() + p.first * M);
  part.sum.assign(std::size_t(M * d), 0);
  b.tile->accumulate(weights.data(), M, part.sum.data());
  for (std::int64_t m = 0; m < M; ++m)
    for (std::int64_t c = 0; c < d; ++c) part.sum[m * d + c] += part.mass[m] * b.tile->shift[c];
  take(std::move(part));
}

/// A part in canonical order: the beginning of a prompt, more of the open one, or the end of an earlier state's.
void TiltedMean::take(Part part) {
  if (part.begins) {
    tail = std::move(part);
  } else if (!tail.mass.empty()) {
    append(tail, part);
    close();
  } else {
    append(head, part);
  }
}

void TiltedMean::append(Part& to, Part& later) const {
  if (to.mass.empty()) {
    to = std::move(later);
    return;
  }
  for (std::int64_t m = 0; m < cells(); ++m) {
    const std::int64_t k = m / n_betas;
    const double top = std::max(to.top[k], later.top[k]);
    // a part without a row of positive weight has top -inf and nothing to scale
    const double a = to.top[k] == -kInf ? 0 : std::exp(exponent(to.top[k] - top, betas[m]));
    const double b = later.top[k] == -kInf ? 0 : std::exp(exponent(later.top[k] - top, betas[m]));
    to.mass[m] = a * to.mass[m] + b * later.mass[m];
    for (std::int64_t c = 0; c < d; ++c) to.sum[m * d + c] = a * to.sum[m * d + c] + b * later.sum[m * d + c];
  }
  for (std::int64_t k = 0; k < n_scores; ++k) to.top[k] = std::max(to.top[k], later.top[k]);
  to.ends = later.ends;
}

void TiltedMean::close() {
  if (!tail.ends) return;
  mass += tail.omega;
  for (std::int64_t m = 0; m < cells(); ++m)
    for (std::int64_t c = 0; c < d; ++c) sum[m * d + c] += tail.omega * tail.sum[m * d + c] / tail.mass[m];
  tail = Part();
}

void TiltedMean::join(TiltedMean& later) {
  if (!later.head.mass.empty()) take(std::move(later.head));
  add(sum, later.sum);
  mass += later.mass;
  if (!later.tail.mass.empty()) tail = std::move(later.tail);
}

Results TiltedMean::finish() const {
  Result r{"mean", {n_scores, n_betas, d}, sum};
  for (double& x : r.data) x /= mass;
  return {r, {"mass", {1}, {mass}}};
}

void TiltedMean::Part::fields(Visitor& visit, std::int64_t n_scores, std::int64_t cells, std::int64_t d) {
  visit.field("begins", begins);
  visit.field("ends", ends);
  visit.field("omega", omega);
  visit.field("top", top);
  visit.field("part_mass", mass);
  visit.field("part_sum", sum);
  const bool none = mass.empty();
  visit.need(std::int64_t(top.size()) == (none ? 0 : n_scores), "top");
  visit.need(std::int64_t(mass.size()) == (none ? 0 : cells), "part_mass");
  visit.need(std::int64_t(sum.size()) == (none ? 0 : product({cells, d})), "part_sum");
}

void TiltedMean::settings(Visitor& visit) {
  visit.size("d", d);
  visit.size("score_at", score_at);
  visit.size("n_scores", n_scores);
  visit.size("n_betas", n_betas);
  visit.array("betas", betas, product({n_scores, n_betas}));
}

void TiltedMean::fields(Visitor& visit) {
  visit.array("sum", sum, product({cells(), d}));
  visit.field("mass", mass);
  head.fields(visit, n_scores, cells(), d);
  tail.fields(visit, n_scores, cells(), d);
}

}  // namespace clinometer
