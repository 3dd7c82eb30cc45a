// What the f32 lanes of a tilt are: which lane holds which tilt, and the arrays of the prompts that go through them
// together (kernels/table.hpp). Whole, closed, fully labelled prompts of scores and values that f32 holds with room
// to spare; everything else, and every lane the kernel gives back, goes through Tilt::prompt.
#pragma once
#include <clinometer/statistics/tilt.hpp>

#include "kernels/table.hpp"

namespace clinometer {

/// Arrays that have grown to their size, one thread's.
template <class Some>
std::vector<std::shared_ptr<Some>>& spares() {
  thread_local std::vector<std::shared_ptr<Some>> some;
  return some;
}
template <class Some>
std::shared_ptr<Some> spare() {
  if (spares<Some>().empty()) return std::make_shared<Some>();
  std::shared_ptr<Some> one = std::move(spares<Some>().back());
  spares<Some>().pop_back();
  return one;
}
template <class Some>
void put_away(std::shared_ptr<Some> some) {
  constexpr std::size_t kSpares = 2;
  if (spares<Some>().size() < kSpares) spares<Some>().push_back(std::move(some));
}

/// Prompts of a run of canonical rows that wait to be taken together: pointers to what lasts of their rows, copies of
/// what does not.
struct Tilt::Waiting {
  std::int64_t run = -1;
  std::vector<Prompt> kept;  // of which only what is no pointer outlives a block: view()
  std::vector<double> raw;
  std::vector<std::size_t> at;

  void clear(std::int64_t next_run);
  std::int64_t prompts() const { return std::int64_t(kept.size()); }
  void keep(const Prompt& p);
  Prompt view(std::int64_t p) const;
};

/// Lanes and the tilts they hold. With few scores lanes run over directions and betas together, else over directions.
struct Tilt::Lanes {
  std::int64_t K = 0, J = 0, B = 0, Kp = 0, F = 0;  // Kp: K padded to 16; F: columns
  bool extras = true;
  std::vector<float> lam;                   // (tilts,)
  std::vector<std::int64_t> panel, source;  // of each 16 tilts; of each tilt, where there are few scores

  void begin(const Tilt& t);
  bool few() const { return K < kFewScores; }
  std::int64_t tilts() const { return few() ? kernels::padded(K * B) : B * Kp; }
  std::int64_t panels() const { return (few() ? tilts() : Kp) / 16; }
  /// The cell (k, b) of a lane, or -1 for padding.
  std::int64_t cell(std::int64_t lane) const {
    if (few()) return lane < K * B ? lane : -1;
    return lane % Kp < K ? lane % Kp * B + lane / Kp : -1;
  }
  /// Rows of own scores, `stride` apart, to panels of 16 tilts.
  void spread(const float* x, std::int64_t n, std::int64_t stride, float* to) const;
  /// Values of n rows less `centre` (J,) to the first J of F columns, and the largest magnitude of each.
  void centre_values(const double* f, std::int64_t stride, std::int64_t n, const double* centre,
                     std::vector<float>& scratch, float* to, float* widest) const;
  /// The sizes of a call of the kernels, and the tilts.
  kernels::TiltBatch call() const;
  /// The same for cumulants, whose lanes are scores.
  kernels::TiltBatch own_call() const;

  /// 1 / beta as the kernels take it.
  static float lam_of(double beta) {
    const double l = 1 / beta;
    return l == 0 ? 0.0f : l > 1e-30 && l < 1e30 ? float(l) : -1.0f;
  }
  /// Whether f32 holds powers up to t^3 f of numbers of this size.
  static bool holds_score(float widest) { return within(double(widest), 1e-8, 1e8); }
  static bool holds_value(float widest) { return within(double(widest), 1e-12, 1e12); }
  /// Whether n numbers are one. What has no reach in f32 may still have one: it is no constant, and f64's.
  static bool constant(const double* x, std::int64_t stride, std::int64_t n) {
    for (std::int64_t i = 1; i < n; ++i)
      if (x[i * stride] != x[0]) return false;
    return true;
  }

 private:
  static constexpr std::int64_t kFewScores = 8;
  static bool within(double largest, double low, double high) {
    return largest == 0 || (largest >= low && largest <= high);
  }
};

/// Arrays of a run of canonical rows, filled prompt by prompt, and the sums of the runs of a leaf.
struct Tilt::Batch : Tilt::Lanes {
  Waiting waiting;
  std::vector<std::int64_t> offsets{0};
  std::vector<float> omega, unbias, even, weight, columns, score, top, reach;
  std::vector<float> spread_score, spread_top, spread_reach;  // for few scores: 16 tilts a panel
  std::vector<double> mean, baseline;                         // (K,), (J,) of the prompt taken in last

  // what the kernels take besides, and the sums of a leaf
  std::vector<float> pilot, cumulant_pilot;
  std::vector<double> sums, cumulant_sums;
  std::vector<char> left;
  double leaf_mass = 0;

  void begin(const Tilt& t);
  void clear(std::int64_t next_run);
  /// Takes a prompt in, or leaves it for f64.
  bool take(const Prompt& p, const Tilt& t);
  /// What a call of the kernels takes.
  kernels::TiltBatch arrays();
  kernels::TiltBatch own_arrays();

 private:
  std::vector<float> centred;  // scratch

  void grow(std::size_t rows, std::size_t prompts);
  bool weights(const Prompt& p);
  bool values(const Prompt& p, const Tilt& t);
  bool scores(const Prompt& p, const Tilt& t);
};

}  // namespace clinometer
