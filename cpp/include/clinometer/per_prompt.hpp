// Lifts a statistic written for one whole prompt to leaves: PerPrompt keeps the open first and last
// prompt of a state and stitches them in join(), so a prompt may span blocks, leaves, files, machines.
// An open prompt keeps its scores, values and weights: O(n_x (K + J)) until it ends.
#pragma once
#include <clinometer/statistic.hpp>

namespace clinometer {

/// One whole prompt.
struct Prompt {
  std::int64_t n = 0;
  const double* score = nullptr;  // (n, n_scores)
  std::int64_t n_scores = 0;
  const double* value = nullptr;  // (n, n_values)
  std::int64_t n_values = 0;
  const double* weight = nullptr;
  std::int64_t first = 0;  // canonical index of its first row
  double omega = 1, unbias = 0;
  bool cluster_begins = true, cluster_ends = true;
  const double* origin = nullptr;  // (n_scores,)
};

/// A prompt of which only a part has been seen.
struct Fragment {
  std::int64_t first = -1;  // canonical index of the first row seen; -1: nothing here
  std::int64_t n = 0;
  bool ends = false;
  double omega = 1, unbias = 0;
  bool cluster_begins = true, cluster_ends = true;
  std::vector<double> score, value, weight, origin;

  void add(const Block& b, const Piece& p) {
    if (first < 0) {
      origin.assign(p.origin, p.origin + b.n_scores);
      first = b.first + p.first;
      omega = p.omega;
      unbias = p.unbias;
      cluster_begins = p.cluster_begins;
      cluster_ends = p.cluster_ends;
    }
    const auto append = [&](std::vector<double>& to, const double* from, std::int64_t width) {
      if (width) to.insert(to.end(), from + p.first * width, from + (p.first + p.count) * width);
    };
    append(score, b.score, b.n_scores);
    append(value, b.value, b.n_values);
    append(weight, b.weight, 1);
    n += p.count;
    ends = p.ends;
  }
  void add(const Fragment& later) {
    if (first < 0) {
      *this = later;
      return;
    }
    score.insert(score.end(), later.score.begin(), later.score.end());
    value.insert(value.end(), later.value.begin(), later.value.end());
    weight.insert(weight.end(), later.weight.begin(), later.weight.end());
    n += later.n;
    ends = later.ends;
  }
  Prompt view() const {
    return {n,
            score.data(),
            std::int64_t(score.size()) / n,
            value.data(),
            std::int64_t(value.size()) / n,
            weight.data(),
            first,
            omega,
            unbias,
            cluster_begins,
            cluster_ends,
            origin.data()};
  }
  void fields(Visitor& visit) {
    visit.field("first", first);
    visit.field("n", n);
    visit.field("ends", ends);
    visit.field("omega", omega);
    visit.field("unbias", unbias);
    visit.field("cluster_begins", cluster_begins);
    visit.field("cluster_ends", cluster_ends);
    visit.field("score", score);
    visit.field("value", value);
    visit.field("weight", weight);
    visit.field("origin", origin);
  }
};

/// S gives prompt(const Prompt&), join(S&), cleared(), finish(), fields(); with prompts(const Prompt*, n) it gets
/// the whole prompts of a block at once, and with flush() it may let them wait to the end of a leaf.
template <class S>
class PerPrompt : public StatisticOf<PerPrompt<S>> {
 public:
  PerPrompt() = default;
  explicit PerPrompt(S s) : inner(std::move(s)) {}
  PerPrompt cleared() const { return PerPrompt(inner.cleared()); }

  using Statistic::absorb;
  void absorb(const Block& b) override {
    std::vector<Prompt> whole;
    for (const Piece& p : b.pieces) {
      if (p.begins && p.ends) {
        whole.push_back({p.count, b.score + p.first * b.n_scores, b.n_scores, b.value + p.first * b.n_values,
                         b.n_values, b.weight + p.first, b.first + p.first, p.omega, p.unbias, p.cluster_begins,
                         p.cluster_ends, p.origin});
        continue;
      }
      flush(whole);
      if (p.begins) {
        tail = Fragment();
        tail.add(b, p);
      } else if (tail.first >= 0) {
        tail.add(b, p);
        close();
      } else {
        head.add(b, p);
      }
    }
    flush(whole);
  }
  void use_threads(std::int64_t n) override {
    if constexpr (requires { inner.n_threads; }) inner.n_threads = n;
  }
  void leaf_ends() override {
    if constexpr (requires { inner.flush(); }) inner.flush();
  }
  void join(PerPrompt& later) {
    if (later.head.first >= 0) {
      if (tail.first >= 0) {
        tail.add(later.head);
        close();
      } else {
        head.add(later.head);
      }
    }
    inner.join(later.inner);
    if (later.tail.first >= 0) tail = std::move(later.tail);
  }
  Results finish() const override { return inner.finish(); }
  void fields(Visitor& visit) override {
    inner.fields(visit);
    head.fields(visit);
    tail.fields(visit);
  }

  S inner;

 private:
  Fragment head, tail;
  void flush(std::vector<Prompt>& whole) {
    if constexpr (requires(S s) { s.prompts(whole.data(), std::int64_t(1)); }) {
      inner.prompts(whole.data(), std::int64_t(whole.size()));
    } else {
      for (const Prompt& p : whole) inner.prompt(p);
    }
    whole.clear();
  }
  void close() {
    if (!tail.ends) return;
    inner.prompt(tail.view());
    tail = Fragment();
  }
};

}  // namespace clinometer
