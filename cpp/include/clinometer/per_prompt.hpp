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
  Lasting lasting;
};

/// How many of a row's scores and values a statistic looks at, from the first one on.
struct Reads {
  std::int64_t scores = 0, values = 0;
};

/// An incomplete prompt: what each block brought, joined without a copy until it is complete.
struct Fragment {
  std::int64_t first = -1;  // canonical index of the first row absorbed; -1: none
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
    n_scores = b.n_scores;
    n_values = b.n_values;
    Part part;
    part.n = p.count;
    part.score.take(b.score + p.first * n_scores, p.count * n_scores, b.lasting.score);
    part.value.take(b.value + p.first * n_values, p.count * n_values, b.lasting.value);
    part.weight.take(b.weight + p.first, p.count, b.lasting.weight);
    append(std::move(part), true);
    n += p.count;
    ends = p.ends;
  }
  void add(Fragment&& later) {
    if (first < 0) {
      *this = std::move(later);
      return;
    }
    if (n_scores != later.n_scores || n_values != later.n_values)
      throw std::invalid_argument("merge: the parts of a prompt have different scores or values");
    for (Part& p : later.parts) append(std::move(p), false);
    n += later.n;
    ends = later.ends;
  }
  Prompt view() {
    if (parts.size() > 1) join(false);
    const Part& p = parts.front();
    return {n,      p.score.data(), n_scores,     p.value.data(), n_values, p.weight.data(), first, omega,
            unbias, cluster_begins, cluster_ends, origin.data(),  {}};
  }
  /// Whether it is empty, or has so many scores and values a row.
  bool holds(std::int64_t scores, std::int64_t values) const {
    return first < 0 || (n_scores >= scores && n_values >= values);
  }
  void fields(Visitor& visit) {
    join(true);
    visit.field("first", first);
    visit.field("n", n);
    visit.need(first < 0 ? first == -1 && n == 0 : n > 0, "n");
    visit.field("ends", ends);
    visit.field("omega", omega);
    visit.field("unbias", unbias);
    visit.field("cluster_begins", cluster_begins);
    visit.field("cluster_ends", cluster_ends);
    Part& p = parts.front();
    visit.field("score", p.score.own);
    visit.field("value", p.value.own);
    visit.array("weight", p.weight.own, n);
    visit.field("origin", origin);
    visit.size("n_values", n_values);
    p.n = n;
    n_scores = std::int64_t(origin.size());
    visit.need(std::int64_t(p.score.own.size()) == product({n, n_scores}) && (n || origin.empty()), "score");
    visit.need(std::int64_t(p.value.own.size()) == product({n, n_values}), "value");
  }

 private:
  /// Numbers that lie elsewhere (Block::lasting), or here.
  struct Run {
    const double* lent = nullptr;
    std::vector<double> own;
    const double* data() const { return lent ? lent : own.data(); }
    void take(const double* from, std::int64_t count, bool lasts) {
      if (lasts)
        lent = from;
      else
        own.assign(from, from + count);
    }
    /// Whether `later` goes on where these `count` numbers end, both lent.
    bool adjoins(std::int64_t count, const Run& later) const { return lent && lent + count == later.lent; }
  };
  struct Part {
    std::int64_t n = 0;
    Run score, value, weight;
  };
  std::int64_t n_scores = 0, n_values = 0;
  std::vector<Part> parts;

  /// Into the last part where what is lent adjoins. Rows that are kept here follow each other within a leaf (`copy`);
  /// across leaves they stay apart until the prompt is whole, because a tree of merges would copy them at every level.
  void append(Part&& p, bool copy) {
    if (parts.empty()) return parts.push_back(std::move(p));
    Part& last = parts.back();
    const auto fits = [&](const Run& a, const Run& b, std::int64_t width) {
      return a.adjoins(last.n * width, b) || (copy && !a.lent && !b.lent);
    };
    if (!fits(last.score, p.score, n_scores) || !fits(last.value, p.value, n_values) || !fits(last.weight, p.weight, 1))
      return parts.push_back(std::move(p));
    const auto go_on = [](Run& a, const Run& b) { a.own.insert(a.own.end(), b.own.begin(), b.own.end()); };
    go_on(last.score, p.score);
    go_on(last.value, p.value);
    go_on(last.weight, p.weight);
    last.n += p.n;
  }
  /// One part of all; with numbers of its own if another process is to read them.
  void join(bool own) {
    const auto lends = [](const Part& p) { return p.score.lent || p.value.lent || p.weight.lent; };
    if (parts.size() == 1 && !(own && lends(parts.front()))) return;
    Part whole;
    whole.n = n;
    gather(&Part::score, n_scores, own, whole.score);
    gather(&Part::value, n_values, own, whole.value);
    gather(&Part::weight, 1, own, whole.weight);
    parts.clear();
    parts.push_back(std::move(whole));
  }
  void gather(Run Part::* which, std::int64_t width, bool own, Run& to) const {
    bool one = !own && !parts.empty();
    for (std::size_t i = 0; one && i < parts.size(); ++i)
      one = i + 1 == parts.size() ? (parts[i].*which).lent != nullptr
                                  : (parts[i].*which).adjoins(parts[i].n * width, parts[i + 1].*which);
    if (one) {
      to.lent = (parts.front().*which).lent;
      return;
    }
    to.own.reserve(std::size_t(n * width));
    for (const Part& p : parts) {
      const double* const from = (p.*which).data();
      to.own.insert(to.own.end(), from, from + p.n * width);
    }
  }
};

/// S gives prompt(const Prompt&), join(S&), cleared(), finish(), settings(), fields(), and in reads() how many of a
/// row's scores and values it looks at; with prompts(const Prompt*, n) it gets
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
                         p.cluster_ends, p.origin, b.lasting});
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
  void settings(Visitor& visit) override { inner.settings(visit); }
  void fields(Visitor& visit) override {
    inner.fields(visit);
    head.fields(visit);
    tail.fields(visit);
    const auto [scores, values] = inner.reads();
    visit.need(head.holds(scores, values) && tail.holds(scores, values), "an open prompt");
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
