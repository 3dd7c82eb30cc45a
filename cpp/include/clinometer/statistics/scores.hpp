// Writes scores where the caller wants them: in dump order (`score`) or in canonical order (kept scores), as they
// are or relative to the origins of their prompts.
#pragma once
#include <clinometer/statistic.hpp>

namespace clinometer {

class Scores : public StatisticOf<Scores> {
 public:
  Scores() = default;
  /// out (N, n_scores) of float (single) or double; the caller keeps it alive.
  Scores(std::int64_t score_at, std::int64_t n_scores, void* out, bool single, bool canonical, bool relative)
      : score_at(score_at), n_scores(n_scores), out(out), single(single), canonical(canonical), relative(relative) {}
  /// Where rows from canonical row `from` on go, for a part of a pass; nothing else is written.
  void write_to(void* table, std::int64_t from) {
    out = table;
    first = from;
    canonical = true;
  }
  /// Rows that a part has written: table (n, n_scores) of canonical rows from.., which are `row` in the dump.
  void receive(const void* table, std::int64_t from, std::int64_t n, const std::int64_t* row) {
    const std::int64_t bytes = n_scores * (single ? 4 : 8);
    for (std::int64_t i = 0; i < n; ++i)
      std::memcpy(static_cast<char*>(out) + (canonical || !row ? from + i - first : row[i]) * bytes,
                  static_cast<const char*>(table) + i * bytes, std::size_t(bytes));
  }
  Scores cleared() const { return *this; }
  bool needs_prompts() const override { return relative; }
  bool needs_absolute() const override { return !relative; }
  bool needs_relative() const override { return relative; }

  using Statistic::absorb;
  void absorb(const Block& b) override {
    if (!out) throw std::logic_error("Scores: a saved state has no table to write to");
    for (std::int64_t i = 0; i < b.n; ++i) {
      const std::int64_t to = (canonical ? b.first + i - first : b.row[i]) * n_scores;
      const double* from = (relative ? b.score : b.absolute) + i * b.n_scores + score_at;
      for (std::int64_t k = 0; k < n_scores; ++k) {
        if (single) {
          static_cast<float*>(out)[to + k] = static_cast<float>(from[k]);
        } else {
          static_cast<double*>(out)[to + k] = from[k];
        }
      }
    }
  }
  void join(Scores&) {}
  Results finish() const override { return {}; }
  void settings(Visitor& visit) override {
    visit.size("score_at", score_at);
    visit.size("n_scores", n_scores);
    visit.field("single", single);
    visit.field("canonical", canonical);
    visit.field("relative", relative);
  }
  void fields(Visitor&) override {}

 private:
  std::int64_t score_at = 0, n_scores = 0;
  void* out = nullptr;
  std::int64_t first = 0;  // the canonical row of its first entry
  bool single = true, canonical = false, relative = false;
};

}  // namespace clinometer
