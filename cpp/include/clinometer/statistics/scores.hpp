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
  Scores cleared() const { return *this; }
  bool needs_prompts() const override { return relative; }
  bool needs_absolute() const override { return !relative; }

  using Statistic::absorb;
  void absorb(const Block& b) override {
    for (std::int64_t i = 0; i < b.n; ++i) {
      const std::int64_t to = (canonical ? b.first + i : b.row[i]) * n_scores;
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
  void settings(Visitor&) override {}
  void fields(Visitor&) override {}

 private:
  std::int64_t score_at = 0, n_scores = 0;
  void* out = nullptr;
  bool single = true, canonical = false, relative = false;
};

}  // namespace clinometer
