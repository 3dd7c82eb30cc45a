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

/// A prompt of which only a part has been seen: what each block brought, joined without a copy until it is whole.
struct Fragment {
  std::int64_t first = -1;  // canonical index of the first row seen; -1: nothing here
  std::int64_t n = 0;
  bool ends = false;
  double omega = 1, unbias = 0;
  bool cluster_begins = true, cluster_ends = true;
  std::vector<double> origin;

  void add(const Block& b, const Piece& p) {
    if (first < 0) {
      origin.assign(p.origin, p.origin + b.n_scores);
      first = b.first + p.first;
      omega = p.omega;
      unbias = p.unbias;
      cluster_begins = p.cluster_begins;
      cluster_ends = p.cluster_ends;
    }
    const double* const score = b.score + p.first * b.n_scores;
    // scores that stay where they are need no copy, and adjacent ones make one run
    if (parts.empty() || b.lasting != (parts.back().lent != nullptr) ||
        (b.lasting && parts.back().lent + parts.back().n * b.n_scores != score)) {
      parts.emplace_back();
      if (b.lasting) parts.back().lent = score;
    }
    Part& to = parts.back();
    const auto append = [&](std::vector<double>& v, const double* from, std::int64_t width) {
      if (width) v.insert(v.end(), from + p.first * width, from + (p.first + p.count) * width);
    };
    if (!b.lasting) append(to.score, b.score, b.n_scores);
    append(to.value, b.value, b.n_values);
    append(to.weight, b.weight, 1);
    to.n += p.count;
    n += p.count;
    n_scores = b.n_scores;
    n_values = b.n_values;
    ends = p.ends;
  }
  void add(Fragment&& later) {
    if (first < 0) {
      *this = std::move(later);
      return;
    }
    for (Part& p : later.parts) {
      Part* const last = &parts.back();
      if (last->lent && last->lent + last->n * n_scores == p.lent) {
        last->value.insert(last->value.end(), p.value.begin(), p.value.end());
        last->weight.insert(last->weight.end(), p.weight.begin(), p.weight.end());
        last->n += p.n;
      } else {
        parts.push_back(std::move(p));
      }
    }
    n += later.n;
    ends = later.ends;
  }
  Prompt view() {
    if (parts.size() > 1) join(false);
    const Part& p = parts.front();
    return {n,
            p.lent ? p.lent : p.score.data(),
            n_scores,
            p.value.data(),
            n_values,
            p.weight.data(),
            first,
            omega,
            unbias,
            cluster_begins,
            cluster_ends,
            origin.data()};
  }
  void fields(Visitor& visit) {
    join(true);
    visit.field("first", first);
    visit.field("n", n);
    visit.field("ends", ends);
    visit.field("omega", omega);
    visit.field("unbias", unbias);
    visit.field("cluster_begins", cluster_begins);
    visit.field("cluster_ends", cluster_ends);
    Part& p = parts.front();
    visit.field("score", p.score);
    visit.field("value", p.value);
    visit.field("weight", p.weight);
    visit.field("origin", origin);
    p.n = n;
    n_scores = n ? std::int64_t(p.score.size()) / n : 0;
    n_values = n ? std::int64_t(p.value.size()) / n : 0;
  }

 private:
  struct Part {
    std::int64_t n = 0;
    const double* lent = nullptr;  // scores elsewhere (Block::lasting); else they are here
    std::vector<double> score, value, weight;
  };
  std::int64_t n_scores = 0, n_values = 0;
  std::vector<Part> parts;

  /// One part of all; with scores of its own if another process is to read them.
  void join(bool own) {
    if (parts.size() == 1 && !(own && parts.front().lent)) return;
    Part whole;
    whole.score.reserve(std::size_t(n * n_scores));
    whole.value.reserve(std::size_t(n * n_values));
    whole.weight.reserve(std::size_t(n));
    for (const Part& p : parts) {
      const double* const score = p.lent ? p.lent : p.score.data();
      whole.score.insert(whole.score.end(), score, score + p.n * n_scores);
      whole.value.insert(whole.value.end(), p.value.begin(), p.value.end());
      whole.weight.insert(whole.weight.end(), p.weight.begin(), p.weight.end());
    }
    whole.n = n;
    parts.clear();
    parts.push_back(std::move(whole));
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
        tail.add(std::move(later.head));
        close();
      } else {
        head.add(std::move(later.head));
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
