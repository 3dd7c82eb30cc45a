// Short prompts in groups of sixteen, one lane a prompt: the commonest shape, a few answers to each of many questions,
// leaves no lane empty whatever the number of directions and betas, and what is made once a prompt is made once for
// sixteen. Prompts of a run of canonical rows are grouped by length; no bit depends on how rows come.
#pragma once
#include "src/lines.hpp"
#include "src/tilt_batch.hpp"

namespace clinometer {

struct Tilt::Groups {
  static constexpr std::int64_t kMostRows = 64, kRunRows = 4096, kSide = kernels::kPad;

  std::int64_t K = 0, J = 0, B = 0, F = 0;
  bool extras = true;
  Waiting waiting;
  std::vector<std::int64_t> rejected;  // of those, what goes through f64

  // arrays of the groups of a run, and the tilts (kernels/table.hpp)
  std::vector<std::int64_t> offsets, member, panel;  // (groups + 1,), (groups, 16) the prompt or -1, (K B,)
  std::vector<float> lam;
  Lines<float> omega, unbias, even, weight, columns, score, top, reach;
  Lines<double> mean, baseline;  // (groups, K, 16), (groups, J, 16)
  std::vector<char> left;

  // of a leaf; sums with their rows one after the other
  std::vector<float> pilot, cumulant_pilot;
  Lines<float> extremes;
  Lines<double> sums, cumulant_sums;
  double leaf_mass = 0;

  void begin(const Tilt& t);
  void clear(std::int64_t next_run);
  /// Puts the prompts that wait into groups, those apart that f32 has no room for.
  void arrange(const Tilt& t);
  std::int64_t groups() const { return std::int64_t(offsets.size()) - 1; }
  std::int64_t width() const { return kernels::padded(kernels::tilt_sums(J, extras)); }
  std::int64_t cumulant_width() const { return kernels::padded(kernels::cumulant_sums(J)); }
  /// What the kernels take of groups [from, to), which are at most so many that columns stay near.
  kernels::TiltBatch arrays(std::int64_t from, std::int64_t to);
  kernels::TiltBatch own_arrays(std::int64_t from, std::int64_t to);
  /// call(from, to) for all groups.
  template <class F>
  void by_some(const F& call) const {
    constexpr std::int64_t kNearRows = 128;
    for (std::int64_t from = 0, to; from < groups(); from = to) {
      to = from + 1;
      while (to < groups() && offsets[std::size_t(to + 1)] - offsets[std::size_t(from)] <= kNearRows) ++to;
      call(from, to);
    }
  }

 private:
  std::vector<Prompt> lane;   // the prompts of one group
  bool positive[kSide] = {};  // all weights of each of them are
  Lines<double> work, weights;
  Lines<float> value_top, value_reach;

  std::vector<std::int64_t> group(std::vector<std::int64_t> some, const Tilt& t);
  void grow(std::int64_t rows);
  bool lay_weights(std::int64_t rows);
  void lay_columns(const Tilt& t, std::int64_t rows, bool same);
  void lay_scores(const Tilt& t, std::int64_t rows, bool same);
  bool holds(const Tilt& t, std::int64_t lane) const;
  kernels::SideBySide call(std::int64_t rows, bool same);
};

}  // namespace clinometer
