// Mean and covariance, within prompts (or over all rows: the caller makes them one prompt), by fold.
// Columns beyond d are values, so one pass gives Sigma, Cov(phi, s) and Var(s) (theory 1, A1).
// State: (folds, width, width) scatter. Rows are centred by the mean of their part of a prompt, so nothing
// cancels; parts of a straddling prompt are joined by one more row.
#pragma once
#include <clinometer/fold.hpp>
#include <clinometer/straddle.hpp>

#include <algorithm>
#include <array>
#include <cmath>

namespace clinometer {

class Moments : public StatisticOf<Moments> {
 public:
  Moments() = default;
  Moments(std::int64_t d, std::int64_t n_values, std::int64_t n_folds, std::int64_t ddof, bool full)
      : width(d + n_values), d(d), n_folds(n_folds), ddof(ddof), full(full), ld((width + 15) / 16 * 16) {
    scatter.assign(std::size_t(n_folds * (full ? ld * ld : ld)), 0);
    mean.assign(std::size_t(width), 0);
    mass.assign(std::size_t(n_folds), 0);
  }
  Moments cleared() const { return {d, width - d, n_folds, ddof, full}; }
  Split split() const override { return Split::state; }
  bool needs_rows() const override { return true; }

  using Statistic::absorb;
  void absorb(Panel& panel, Team& team) override {
    const std::int64_t P = std::int64_t(panel.pieces.size());
    std::vector<double> means(std::size_t(P * ld), 0), parts(std::size_t(P), 0);
    panel.reserve(panel.n + P);
    team.parallel(P, [&](std::int64_t i) { piece_mean(panel, panel.pieces[i], &parts[i], &means[i * ld]); });
    // rows sorted by fold, so that each fold's Gram reads one run of them
    std::vector<std::int64_t> start(std::size_t(P), 0), border(std::size_t(n_folds) + 1, 0);
    std::vector<std::pair<double, std::vector<double>>> joins;
    std::vector<std::int64_t> join_fold;
    for (std::int64_t i = 0; i < P; ++i) collect(panel.pieces[i], parts[i], &means[i * ld], joins, join_fold);
    std::int64_t row = 0;
    for (std::int64_t f = 0; f < n_folds; ++f) {
      border[f] = row;
      for (std::int64_t i = 0; i < P; ++i)
        if (panel.pieces[i].fold == f) {
          start[i] = row;
          row += panel.pieces[i].count;
        }
      for (std::size_t j = 0; j < joins.size(); ++j)
        if (join_fold[j] == f) panel.put(joins[j].second.data(), std::sqrt(joins[j].first), row++);
    }
    border[n_folds] = row;
    team.parallel(P, [&](std::int64_t i) {
      const Piece& p = panel.pieces[i];
      for (std::int64_t r = 0; r < p.count; ++r)
        panel.centre(p.first + r, &means[i * ld], std::sqrt(scale(p) * panel.weight[p.first + r]), start[i] + r);
    });
    add_tiles(panel, team, border);
  }

  void join(Moments& later) {
    ends.join(later.ends, [this](double s, const std::vector<double>& x, std::int64_t f) {
      for (std::int64_t a = 0; a < width; ++a) {
        if (!full) scatter[f * ld + a] += s * x[a] * x[a];
        for (std::int64_t b = 0; full && b < width; ++b) scatter[(f * ld + a) * ld + b] += s * x[a] * x[b];
      }
    });
    const double a = total, b = later.total;
    for (std::int64_t c = 0; b > 0 && c < width; ++c) mean[c] += (later.mean[c] - mean[c]) * (b / (a + b));
    add(scatter, later.scatter);
    add(mass, later.mass);
    total += later.total;
  }

  Results finish() const override {
    Result s{"scatter", {n_folds, width, full ? width : 1}, {}};
    s.data.reserve(std::size_t(n_folds * width * (full ? width : 1)));
    for (std::int64_t f = 0; f < n_folds; ++f)
      for (std::int64_t a = 0; a < width; ++a) {
        if (!full) s.data.push_back(scatter[f * ld + a]);
        // tiles fill the upper triangle and the diagonal blocks
        for (std::int64_t b = 0; full && b < width; ++b)
          s.data.push_back(scatter[(f * ld + std::min(a, b)) * ld + std::max(a, b)]);
      }
    return {s, {"mean", {width}, mean}, {"mass", {n_folds}, mass}};
  }

  void fields(Visitor& visit) override {
    visit.field("width", width);
    visit.field("d", d);
    visit.field("n_folds", n_folds);
    visit.field("ddof", ddof);
    visit.field("full", full);
    visit.field("ld", ld);
    visit.field("scatter", scatter);
    visit.field("mean", mean);
    visit.field("mass", mass);
    visit.field("total", total);
    ends.fields(visit);
  }

 private:
  std::int64_t width = 0, d = 0, n_folds = 1, ddof = 0;
  bool full = true;
  std::int64_t ld = 0;
  std::vector<double> scatter, mean, mass;
  double total = 0;
  OpenEnds ends;

  double scale(const Piece& p) const { return p.omega * (ddof ? p.unbias : 1); }

  void piece_mean(const Panel& panel, const Piece& p, double* part, double* out) const {
    std::vector<double> w(panel.weight + p.first, panel.weight + p.first + p.count);
    for (double x : w) *part += x;
    for (double& x : w) x = *part > 0 ? x / *part : 1.0 / double(p.count);
    panel.mean(p.first, p.count, w.data(), out);
  }

  void collect(const Piece& p, double part, const double* m, std::vector<std::pair<double, std::vector<double>>>& joins,
               std::vector<std::int64_t>& join_fold) {
    if (p.begins && scale(p) != 0) mass[p.fold] += p.omega;
    const double before = total;
    total += p.omega * part;
    for (std::int64_t c = 0; total > before && c < width; ++c) mean[c] += (m[c] - mean[c]) * (p.omega * part / total);
    if (p.begins && p.ends) return;
    Straddle s;
    s.mass = part;
    s.scale = scale(p);
    s.ends = p.ends;
    s.fold = p.fold;
    s.mean.assign(m, m + width);
    ends.part(std::move(s), p.begins, [&](double factor, const std::vector<double>& x, std::int64_t f) {
      joins.emplace_back(factor, x);
      join_fold.push_back(f);
    });
  }

  void add_tiles(Panel& panel, Team& team, const std::vector<std::int64_t>& border) {
    const std::int64_t step = full ? std::max<std::int64_t>(64, (ld / 12 + 15) / 16 * 16) : ld;
    std::vector<std::array<std::int64_t, 3>> tiles;
    for (std::int64_t f = 0; f < n_folds; ++f)
      for (std::int64_t a = 0; full && border[f] < border[f + 1] && a < ld; a += step)
        for (std::int64_t b = a; b < ld; b += step) tiles.push_back({f, a, b});
    team.parallel(std::int64_t(tiles.size()), [&](std::int64_t i) {
      const auto [f, a, b] = tiles[i];
      panel.gram(border[f], border[f + 1], a, std::min(a + step, ld), b, std::min(b + step, ld),
                 scatter.data() + f * ld * ld, ld);
    });
    if (full) return;
    // the diagonal alone: 16-wide tiles on the diagonal of a scratch square would waste 15/16
    for (std::int64_t f = 0; f < n_folds; ++f) panel.gram(border[f], border[f + 1], 0, 0, 0, ld, &scatter[f * ld], 0);
  }
};

}  // namespace clinometer
