// Bradley-Terry loss and gradient of K constitutions over pairs of rows (theory 1.3): with
// z = t_a - t_b + bias the loss of a label p is softplus(z) - p z, and its gradient (sigma(z) - p)(phi_a - phi_b).
// One pass: a block's scores give the weight of each of its rows, and the weighted sum of rows reads them again
// while they are near. State: (K, d) gradient, loss, bias gradient, weight; and the rows of pairs that a block
// or leaf border divides, until their partners come.
#pragma once
#include <clinometer/statistic.hpp>

#include <algorithm>
#include <cmath>
#include <map>

namespace clinometer {

/// Pairs by canonical row.
struct PairList {
  std::int64_t n = 0;
  std::vector<std::int64_t> first;   // (n,) the row whose victory the label is the probability of
  std::vector<std::int64_t> second;  // (n,)
  std::vector<double> label;         // (n, K); NaN: not judged
  std::vector<double> weight;        // (n, n_weights), one for each label or one for all of a pair
  std::int64_t n_weights = 1;
  std::vector<std::int64_t> by_later;  // pairs sorted by the larger of their rows
  std::vector<std::int64_t> by_earlier;

  double weight_of(std::int64_t p, std::int64_t k) const { return weight[p * n_weights + (n_weights > 1 ? k : 0)]; }
  std::int64_t later(std::int64_t p) const { return std::max(first[p], second[p]); }
  std::int64_t earlier(std::int64_t p) const { return std::min(first[p], second[p]); }
  /// The pairs of which a row is among [begin, end), in the same order.
  PairList touching(std::int64_t begin, std::int64_t end) const {
    PairList out;
    out.n_weights = n_weights;
    const std::int64_t K = n ? std::int64_t(label.size()) / n : 0;
    const auto in = [&](std::int64_t row) { return begin <= row && row < end; };
    for (std::int64_t p = 0; p < n; ++p) {
      if (!in(first[p]) && !in(second[p])) continue;
      ++out.n;
      out.first.push_back(first[p]);
      out.second.push_back(second[p]);
      out.label.insert(out.label.end(), &label[p * K], &label[p * K] + K);
      out.weight.insert(out.weight.end(), &weight[p * n_weights], &weight[p * n_weights] + n_weights);
    }
    return out;
  }
  void sort() {
    by_later.resize(std::size_t(n));
    for (std::int64_t p = 0; p < n; ++p) by_later[p] = p;
    by_earlier = by_later;
    const auto order = [this](auto row) {
      return [this, row](std::int64_t a, std::int64_t b) { return (this->*row)(a) < (this->*row)(b); };
    };
    std::stable_sort(by_later.begin(), by_later.end(), order(&PairList::later));
    std::stable_sort(by_earlier.begin(), by_earlier.end(), order(&PairList::earlier));
  }
};

class Pairs : public StatisticOf<Pairs> {
 public:
  Pairs() = default;
  Pairs(std::int64_t d, std::int64_t score_at, std::int64_t n_scores, std::shared_ptr<const PairList> list,
        std::vector<double> bias)
      : d(d), score_at(score_at), n_scores(n_scores), list(std::move(list)), bias(std::move(bias)) {
    gradient.assign(std::size_t(n_scores * d), 0);
    loss.assign(std::size_t(n_scores), 0);
    bias_gradient = mass = loss;
  }
  const PairList* pairs() const { return list.get(); }
  void take_pairs(std::shared_ptr<const PairList> own) { list = std::move(own); }
  Pairs cleared() const { return {d, score_at, n_scores, list, bias}; }
  bool needs_rows() const override { return true; }
  std::int64_t weights_per_row() const override { return n_scores; }

  using Statistic::absorb;
  void absorb(const Block& b) override {
    if (!list) throw std::logic_error("Pairs: a saved state has sums and no pairs for further rows");
    std::vector<double> weights(std::size_t(b.n * n_scores), 0);
    bool used = false;
    each(list->by_later, &PairList::later, b, [&](std::int64_t p) {
      if (list->earlier(p) >= b.first) {
        inside(b, p, weights);
        used = true;
      } else {
        divided(b, p);
      }
    });
    each(list->by_earlier, &PairList::earlier, b, [&](std::int64_t p) {
      if (list->later(p) >= b.first + b.n) hold(b, list->earlier(p));
    });
    if (!used) return;
    // a pair's two weights cancel, so the leaf's shift drops out
    b.tile->accumulate(weights.data(), n_scores, gradient.data());
  }

  void join(Pairs& after) {
    held.merge(after.held);
    for (Open& p : after.open) meet(std::move(p));
    add(gradient, after.gradient);
    add(loss, after.loss);
    add(bias_gradient, after.bias_gradient);
    add(mass, after.mass);
  }

  Results finish() const override {
    return {{"gradient", {n_scores, d}, gradient},
            {"loss", {n_scores}, loss},
            {"bias_gradient", {n_scores}, bias_gradient},
            {"mass", {n_scores}, mass}};
  }
  void settings(Visitor& visit) override {
    visit.size("d", d);
    visit.size("score_at", score_at);
    visit.size("n_scores", n_scores);
    visit.field("bias", bias);
    visit.need(bias.empty() || std::int64_t(bias.size()) == n_scores, "bias");
  }
  void fields(Visitor& visit) override {
    visit.array("gradient", gradient, product({n_scores, d}));
    for (auto* v : {&loss, &bias_gradient, &mass}) visit.array("sums", *v, n_scores);
    std::int64_t rows = std::int64_t(held.size()), pairs = std::int64_t(open.size());
    visit.size("held", rows);
    visit.size("open", pairs);
    std::vector<std::pair<std::int64_t, Row>> kept;
    for (auto& [i, r] : held) kept.emplace_back(i, std::move(r));
    held.clear();
    // one by one: a count from a file is no reason to ask for memory
    for (std::int64_t i = 0; i < rows; ++i) {
      if (i == std::int64_t(kept.size())) kept.emplace_back();
      auto& [index, row] = kept[i];
      visit.field("row", index);
      visit.field("waits", row.waits);
      visit.array("score", row.score, n_scores);
      visit.array("x", row.x, d);
      visit.need(row.waits > 0 && !held.contains(index), "row");
      held.emplace(index, std::move(row));
    }
    for (std::int64_t i = 0; i < pairs; ++i) {
      if (i == std::int64_t(open.size())) open.emplace_back();
      Open& p = open[i];
      visit.field("first", p.first);
      visit.field("second", p.second);
      visit.array("label", p.label, n_scores);
      visit.array("weight", p.weight, n_scores);
    }
  }

 private:
  /// A row kept for `waits` pairs whose other row has not come.
  struct Row {
    std::int64_t waits = 0;
    std::vector<double> score, x;
  };
  /// A pair whose earlier row lies before this state.
  struct Open {
    std::int64_t first = 0, second = 0;
    std::vector<double> label, weight;  // (K,)
  };
  std::int64_t d = 0, score_at = 0, n_scores = 0;
  std::shared_ptr<const PairList> list;
  std::vector<double> bias, gradient, loss, bias_gradient, mass;
  std::map<std::int64_t, Row> held;  // rows of divided pairs, by canonical index
  std::vector<Open> open;

  template <class F>
  void each(const std::vector<std::int64_t>& order, std::int64_t (PairList::*row)(std::int64_t) const, const Block& b,
            F&& f) const {
    const auto before = [&](std::int64_t p, std::int64_t at) { return (list.get()->*row)(p) < at; };
    auto it = std::lower_bound(order.begin(), order.end(), b.first, before);
    for (; it != order.end() && (list.get()->*row)(*it) < b.first + b.n; ++it) f(*it);
  }

  /// Loss and residual of one label; adds to the sums and returns weight * (sigma(z) - p).
  double residual(std::int64_t k, double label, double w, double z) {
    if (std::isnan(label) || w == 0) return 0;
    z += bias.empty() ? 0 : bias[k];
    const double e = std::exp(-std::abs(z)), sigma = (z >= 0 ? 1 : e) / (1 + e), r = w * (sigma - label);
    loss[k] += w * (std::max(z, 0.0) + std::log1p(e) - label * z);
    bias_gradient[k] += r;
    mass[k] += w;
    return r;
  }

  void inside(const Block& b, std::int64_t p, std::vector<double>& weights) {
    const std::int64_t a = list->first[p] - b.first, c = list->second[p] - b.first;
    for (std::int64_t k = 0; k < n_scores; ++k) {
      const double* const s = b.score + score_at + k;
      const double r =
          residual(k, list->label[p * n_scores + k], list->weight_of(p, k), s[a * b.n_scores] - s[c * b.n_scores]);
      weights[a * n_scores + k] += r;
      weights[c * n_scores + k] -= r;
    }
  }

  void divided(const Block& b, std::int64_t p) {
    hold(b, list->later(p));
    Open one{list->first[p], list->second[p], {}, {}};
    for (std::int64_t k = 0; k < n_scores; ++k) {
      one.label.push_back(list->label[p * n_scores + k]);
      one.weight.push_back(list->weight_of(p, k));
    }
    meet(std::move(one));
  }
  void hold(const Block& b, std::int64_t row) {
    Row& r = held[row];
    if (r.waits++ > 0) return;
    const double* const s = b.score + (row - b.first) * b.n_scores + score_at;
    r.score.assign(s, s + n_scores);
    r.x.assign(std::size_t(d), 0);
    std::vector<double> one(std::size_t(b.n), 0);
    one[row - b.first] = 1;
    b.tile->accumulate(one.data(), 1, r.x.data());
    for (std::int64_t c = 0; c < d; ++c) r.x[c] += b.tile->shift[c];
  }
  void release(std::map<std::int64_t, Row>::iterator row) {
    if (--row->second.waits == 0) held.erase(row);
  }
  /// A divided pair whose later row is held: summed if the earlier one is too, else left open.
  void meet(Open p) {
    const auto a = held.find(p.first), c = held.find(p.second);
    if (a == held.end() || c == held.end()) {
      open.push_back(std::move(p));
      return;
    }
    for (std::int64_t k = 0; k < n_scores; ++k) {
      const double r = residual(k, p.label[k], p.weight[k], a->second.score[k] - c->second.score[k]);
      for (std::int64_t i = 0; i < d; ++i) gradient[k * d + i] += r * (a->second.x[i] - c->second.x[i]);
    }
    release(a);
    release(c);
  }
};

}  // namespace clinometer
