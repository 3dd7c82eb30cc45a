// Mean and covariance, within prompts (or over all rows: the caller makes them one prompt), by fold.
// Columns beyond d are values, so one pass gives Sigma, Cov(phi, s) and Var(s) (theory 1.1).
// State: (folds, width, width) scatter, its upper triangle by rows of tiles. Rows are centred by the mean of their
// part of a prompt, so nothing cancels; parts of a straddling prompt are joined by one more row.
// With folds a state runs over several leaves: adding up d x d nodes for every leaf would cost more than the rows.
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
    scatter.assign(std::size_t(n_folds * size()), 0);
    mean.assign(std::size_t(width), 0);
    mass.assign(std::size_t(n_folds), 0);
  }
  Moments cleared() const { return {d, width - d, n_folds, ddof, full}; }
  bool clear() override {
    for (auto* x : {&scatter, &mean, &mass}) std::fill(x->begin(), x->end(), 0.0);
    total = 0;
    ends = {};
    return true;
  }
  Split split() const override { return Split::state; }
  bool needs_rows() const override { return true; }
  /// A tree holds a state a level, so large ones have few levels.
  std::int64_t span() const override {
    if (n_folds == 1 && ld <= kWide) return 1;
    return 8 * n_folds * size() <= kLargeBytes ? 8 : 512;
  }

  using Statistic::absorb;
  bool absorb(Panel& panel, Team& team) override {
    const std::int64_t P = std::int64_t(panel.pieces.size());
    std::vector<double>& means = panel.scratch;
    means.assign(std::size_t(P * ld), 0);
    std::vector<double> parts(std::size_t(P), 0);
    // rows sorted by fold, so that each fold's Gram reads one run of them
    std::vector<Place> place(static_cast<std::size_t>(P));
    std::vector<std::int64_t> border(std::size_t(n_folds) + 1, 0);
    std::int64_t row = 0;
    for (std::int64_t f = 0; f < n_folds; ++f) {
      border[f] = row;
      for (std::int64_t i = 0; i < P; ++i)
        if (own_fold(panel.pieces[i]) == f) {
          place[i].first = row;
          row += panel.pieces[i].count;
        }
      for (std::int64_t i = 0; panel.rests() && i < P; ++i)
        if (own_fold(panel.pieces[i]) == f) place[i].rest = row++;
    }
    border[n_folds] = row;
    weigh(panel, place, row, parts);
    panel.reserve(row, share_.data());
    centre(panel, team, place, means);
    if (!panel.fits()) return false;
    for (std::int64_t f = 0; f < n_folds; ++f) add_tiles(panel, team, f, border[f], border[f + 1]);
    for (std::int64_t i = 0; i < P; ++i) collect(panel, team, panel.pieces[i], parts[i], &means[i * ld]);
    return true;
  }

  void join(Moments& later) {
    ends.join(later.ends, [this](double s, const std::vector<double>& x, std::int64_t f) {
      for (std::int64_t a = 0; a < width; ++a) {
        if (!full) scatter[f * ld + a] += s * x[a] * x[a];
        for (std::int64_t b = a; full && b < width; ++b) scatter[at(f, a, b)] += s * x[a] * x[b];
      }
    });
    const double a = total, b = later.total;
    for (std::int64_t c = 0; b > 0 && c < width; ++c) mean[c] += (later.mean[c] - mean[c]) * (b / (a + b));
    add(scatter, later.scatter);
    add(mass, later.mass);
    total += later.total;
  }

  Results finish() const override {
    const std::int64_t w = full ? width : 1;
    Result s{"scatter", {n_folds, width, w}, std::vector<double>(std::size_t(n_folds * width * w))};
    for (std::int64_t f = 0; f < n_folds; ++f)
      if (full)
        mirror(f, s.data.data() + f * width * width);
      else
        std::copy_n(scatter.data() + f * ld, width, s.data.data() + f * width);
    Results out{{"mean", {width}, mean}, {"mass", {n_folds}, mass}};
    out.push_back(std::move(s));  // a list would copy it
    return out;
  }

  void settings(Visitor& visit) override {
    visit.size("width", width);
    visit.size("d", d);
    visit.size("n_folds", n_folds);
    visit.size("ddof", ddof);
    visit.field("full", full);
    visit.size("ld", ld);
    visit.need(d >= 1 && d <= width && ld == (width + 15) / 16 * 16 && (!full || ld <= kWidest), "width");
    visit.need(n_folds >= 1, "n_folds");
  }
  void fields(Visitor& visit) override {
    visit.array("scatter", scatter, product({n_folds, size()}));
    visit.array("mean", mean, width);
    visit.array("mass", mass, n_folds);
    visit.field("total", total);
    ends.fields(visit, width, n_folds);
  }

 private:
  static constexpr std::int64_t kWide = 2048, kLargeBytes = std::int64_t(1) << 27;
  static constexpr std::int64_t kWidest = 1 << 24;  // of a matrix: more could be counted but not held
  std::int64_t width = 0, d = 0, n_folds = 1, ddof = 0;
  bool full = true;
  std::int64_t ld = 0;
  std::vector<double> scatter, mean, mass;
  double total = 0;
  OpenEnds ends;
  std::vector<double> weight_, share_;  // of the panel at hand

  /// The whole symmetric matrix of a fold, in small squares: written column by column, every number misses the cache.
  void mirror(std::int64_t f, double* square) const {
    constexpr std::int64_t kSide = 32;
    for (std::int64_t a0 = 0; a0 < width; a0 += kSide)
      for (std::int64_t b0 = a0; b0 < width; b0 += kSide)
        for (std::int64_t a = a0; a < std::min(width, a0 + kSide); ++a) {
          const double* const row = scatter.data() + at(f, a, 0);
          for (std::int64_t b = std::max(a, b0); b < std::min(width, b0 + kSide); ++b)
            square[a * width + b] = square[b * width + a] = row[b];
        }
  }
  /// Prompts carry the folds of the directions in their pass, which a state of one fold does not ask about.
  std::int64_t own_fold(const Piece& p) const { return n_folds > 1 ? p.fold : 0; }
  /// Columns of a tile.
  std::int64_t step() const { return full ? std::max<std::int64_t>(96, (ld / 16 + 95) / 96 * 96) : ld; }
  /// Where the row of tiles that begins at column a would have its column 0 of row 0; each is ld - a wide.
  std::int64_t origin(std::int64_t a) const {
    const std::int64_t before = a / step();
    return before * step() * ld - step() * step() * before * (before - 1) / 2 - a * (ld - a) - a;
  }
  std::int64_t at(std::int64_t f, std::int64_t a, std::int64_t b) const {
    const std::int64_t tile = a / step() * step();
    return f * size() + origin(tile) + a * (ld - tile) + b;
  }
  /// Entries of one fold.
  std::int64_t size() const {
    if (!full) return ld;
    const std::int64_t last = (ld - 1) / step() * step();
    return origin(last) + ld * (ld - last) + last;
  }

  double scale(const Piece& p) const { return p.omega * (ddof ? p.unbias : 1); }

  /// Where a piece stands in the work tile.
  struct Place {
    std::int64_t first = 0, rest = -1;
  };

  /// Weights of the panel's rows that sum to 1 in each piece, and what each work row counts; `parts` gets what the base
  /// weights of a piece sum to.
  void weigh(const Panel& panel, const std::vector<Place>& place, std::int64_t rows, std::vector<double>& parts) {
    weight_.assign(panel.weight, panel.weight + panel.n);
    share_.assign(std::size_t(rows), 0);
    for (std::size_t x = 0; x < parts.size(); ++x) {
      const Piece& p = panel.pieces[x];
      double* const w = weight_.data() + p.first;
      for (std::int64_t i = 0; i < p.count; ++i) parts[x] += w[i];
      for (std::int64_t i = 0; i < p.count; ++i) {
        share_[place[x].first + i] = scale(p) * w[i];
        w[i] = parts[x] > 0 ? w[i] / parts[x] : 1.0 / double(p.count);
      }
      if (place[x].rest >= 0) share_[place[x].rest] = -scale(p) * parts[x];
    }
  }

  /// The pieces' rows into the work tile, centred: short prompts one by one, a long one by its columns.
  void centre(Panel& panel, Team& team, const std::vector<Place>& place, std::vector<double>& means) {
    constexpr std::int64_t kColumns = 256, kEntries = 1 << 16;
    std::vector<std::array<std::int64_t, 2>> tasks;
    const auto columns = [&](const Piece& p) { return p.count * ld > kEntries ? kColumns : ld; };
    for (std::int64_t x = 0; x < std::int64_t(panel.pieces.size()); ++x)
      for (std::int64_t c = 0; c < ld; c += columns(panel.pieces[x])) tasks.push_back({x, c});
    team.parallel(std::int64_t(tasks.size()), [&](std::int64_t i) {
      const auto [x, c] = tasks[i];
      const Piece& p = panel.pieces[x];
      panel.centre(p, &weight_[p.first], place[x].first, place[x].rest, c, std::min(c + columns(p), ld),
                   &means[x * ld]);
    });
  }

  void collect(Panel& panel, Team& team, const Piece& p, double part, const double* m) {
    if (p.begins && scale(p) != 0) mass[own_fold(p)] += p.omega;
    const double before = total;
    total += p.omega * part;
    for (std::int64_t c = 0; total > before && c < width; ++c) mean[c] += (m[c] - mean[c]) * (p.omega * part / total);
    if (p.begins && p.ends) return;
    Straddle s;
    s.mass = part;
    s.scale = scale(p);
    s.ends = p.ends;
    s.fold = own_fold(p);
    s.mean.assign(m, m + width);
    // the rows are done: a join takes the place of the first of them
    ends.part(std::move(s), p.begins, [&](double factor, const std::vector<double>& x, std::int64_t f) {
      panel.put(x.data(), factor);
      add_tiles(panel, team, f, 0, 1);
    });
  }

  /// One fold's sums, tile by tile over the threads.
  void add_tiles(Panel& panel, Team& team, std::int64_t f, std::int64_t from, std::int64_t to) {
    if (from == to) return;
    panel.take(from, to, team);
    if (!full) return panel.squares(&scatter[f * ld]);
    std::vector<std::array<std::int64_t, 2>> tiles;
    for (std::int64_t a = 0; a < ld; a += step())
      for (std::int64_t b = a; b < ld; b += step()) tiles.push_back({a, b});
    team.parallel(std::int64_t(tiles.size()), [&](std::int64_t i) {
      const auto [a, b] = tiles[i];
      panel.gram(a, std::min(a + step(), ld), b, std::min(b + step(), ld), scatter.data() + f * size() + origin(a),
                 ld - a);
    });
  }
};

}  // namespace clinometer
