// From canonical rows to blocks: the shift of a leaf, the projections, and what scores are relative to.
#pragma once
#include <algorithm>
#include <stdexcept>

#include "src/fold/lane_tile.hpp"
#include "src/fold/read_ahead.hpp"

namespace clinometer {

inline constexpr std::int64_t kPilotRows = 16;
inline constexpr std::int64_t kNextRows = 64;  // of the next block, told to scores; weighing is told of a whole block
inline constexpr std::int64_t kBlockBytes = 256 << 10;   // stored rows of a block: a second use finds them in cache
inline constexpr std::int64_t kScoredBytes = 256 << 10;  // scores of a block whose rows are used once, held three times
inline constexpr std::int64_t kSummedBytes = 512 << 10;  // the same beside a matrix unit, whose CPUs have 2 MiB a core

/// What the scores of a prompt are relative to: the leaf's shift, or where a leaf border divides the prompt its first
/// row, which every leaf it lies in can read. So no large number is in a score, wherever a pass is cut.
struct Origin {
  std::int64_t prompt = -1;
  std::vector<double> gap;    // (n_projected,) from the leaf's shift to the reference, in scale
  std::vector<double> score;  // (n_folds, n_scores) of the reference
};

/// Reads, shifts, projects: turns canonical rows into Blocks. One per thread.
class Reader {
 public:
  explicit Reader(const Pass& pass) : pass_(pass), ahead_(pass.rows), narrow_(pass), wide_(pass) {
    own_.score.assign(std::size_t(pass.scored.n_folds * pass.n_scores), 0);
  }

  /// The leaf's shift: mean of its first finite rows, representable in the lanes. Undone in f64.
  void begin_leaf(std::int64_t first, std::int64_t n) {
    const std::int64_t d = pass_.rows.d;
    shift_.assign(std::size_t(d), 0);
    wide_leaf_ = pass_.options.in_double;
    leaf_end_ = first + n;
    if (!pass_.rows_needed) return;
    if (!pass_.prompts.order) ahead_.begin(first, first + n);
    look(first, std::min(n, kPilotRows));
    for (std::int64_t c = 0; c < d; ++c) {
      shift_[c] = pass_.rounded() ? 0 : in_float(coarse(mean_[c], spread_[c]));
      if (spread_[c] > kHuge || (spread_[c] > 0 && spread_[c] < kTiny)) wide_leaf_ = true;
    }
    wide_ready_ = false;
    if (!wide_leaf_) narrow_.leaf(shift_);
    begin_scores(first);
  }

  void read(std::int64_t first, std::int64_t n, Block& b) {
    if (pass_.rows_needed) ahead_.at(first);
    if (pass_.prompts_needed) cut(pass_, first, n, b.pieces, weight_);
    for (Piece& p : b.pieces) p.origin = origin_of(p);
    b.first = pass_.base_row + first - pass_.prompts.begin;
    b.n = n;
    row_.resize(std::size_t(n));
    for (std::int64_t i = 0; i < n; ++i) row_[i] = pass_.row(first + i);
    const Scored& s = pass_.scored;
    b.row = row_.data();
    b.weight = weight_.data();
    b.n_values = s.n_values;
    b.n_scores = pass_.n_scores;
    b.tile = nullptr;
    b.lasting = {};
    if (s.kept) return kept(first, b);
    gather(s.values, s.n_values, value_);
    b.value = value_.data();
    score_.resize(std::size_t(pass_.relative ? n * pass_.n_scores : 0));
    absolute_.resize(std::size_t(pass_.absolute ? n * pass_.n_scores : 0));
    if (pass_.rows_needed) rows(first, b);
    for (auto* to : {&score_, &absolute_})
      for (std::int64_t i = 0; !to->empty() && i < n; ++i)
        std::copy_n(s.columns + row_[i] * s.n_columns, s.n_columns, &(*to)[i * pass_.n_scores + s.n_directions]);
    b.score = score_.data();
    b.absolute = absolute_.data();
  }

  const std::vector<double>& shift() const { return shift_; }
  bool wide_leaf() const { return wide_leaf_; }

 private:
  const Pass& pass_;
  ReadAhead ahead_;
  std::vector<double> shift_, offset_, weight_, value_, score_, absolute_, projected_;
  std::vector<double> pilot_, mean_, spread_, low_, high_;  // of a leaf's first rows
  Origin own_, head_, tail_;  // of prompts within the leaf, of one from an earlier leaf, of one that goes on behind
  std::vector<std::int64_t> row_;
  std::vector<const void*> at_;
  LaneTile<float> narrow_;
  LaneTile<double> wide_;
  std::int64_t leaf_end_ = 0;
  bool wide_leaf_ = false, wide_ready_ = false;

  /// A mean to about a deviation, from the rows alone: the fewer digits a shift has, the fewer have rows less it. Most
  /// columns of bf16 stay as they are, and those far from zero fall on a grid as coarse as their own.
  static double coarse(double mean, double deviation) {
    if (!(deviation > 0 && deviation < kHuge)) return mean;  // a leaf of larger ones is done in double
    const double step = std::ldexp(1.0, std::ilogb(deviation) + 1);
    return std::nearbyint(mean / step) * step;
  }
  static double in_float(double x) { return std::abs(x) < 1e38 ? double(static_cast<float>(x)) : 0; }

  /// Mean and largest deviation from it of each column, over m rows without those that hold NaN or Inf.
  void look(std::int64_t first, std::int64_t m) {
    const std::int64_t d = pass_.rows.d;
    const auto decode = lanes<double>().decode[int(pass_.rows.dtype)];
    mean_.assign(std::size_t(d), 0);
    spread_.assign(std::size_t(d), 0);
    low_.assign(std::size_t(d), std::numeric_limits<double>::infinity());
    high_.assign(std::size_t(d), -std::numeric_limits<double>::infinity());
    pilot_.resize(std::size_t(pass_.ld));
    std::int64_t used = 0;
    for (std::int64_t i = 0; i < m; ++i) {
      const void* const at = pass_.rows.at(pass_.row(first + i));
      const double* const unmoved = spread_.data();  // zeros as yet
      if (!std::isfinite(decode(&at, 1, 0, d, unmoved, false, pilot_.data(), 1))) continue;
      ++used;
      for (std::int64_t c = 0; c < d; ++c) {
        mean_[c] += pilot_[c];
        low_[c] = std::min(low_[c], pilot_[c]);
        high_[c] = std::max(high_[c], pilot_[c]);
      }
    }
    if (used == 0) return;
    for (std::int64_t c = 0; c < d; ++c) {
      if (low_[c] == high_[c]) {  // to the last digit: a deviation by rounding would be taken for a tiny one
        mean_[c] = low_[c];
        continue;
      }
      mean_[c] /= double(used);
      spread_[c] = std::max(high_[c] - mean_[c], mean_[c] - low_[c]);
    }
  }

  void begin_scores(std::int64_t first) {
    const std::int64_t end = first + kLeafRows, *const offsets = pass_.prompts.offsets;
    offset_ = pass_.along(shift_);
    own_.gap.assign(offset_.size(), 0);
    name_scores(offset_, own_);
    head_.prompt = tail_.prompt = -1;
    if (!pass_.prompts_needed || pass_.n_projected == 0) return;
    const std::int64_t begins = pass_.prompt_of(first);
    if (offsets[begins] < first) refer(begins, head_);
    if (end < pass_.prompts.n_rows) {
      const std::int64_t ends = pass_.prompt_of(end);
      if (offsets[ends] >= first && offsets[ends] < end) refer(ends, tail_);
    }
    if (!pass_.scored.origins) return;
    std::copy(own_.score.begin(), own_.score.end(), pass_.origins_of(first / kLeafRows, false));
    if (tail_.prompt >= 0) std::copy(tail_.score.begin(), tail_.score.end(), pass_.origins_of(first / kLeafRows, true));
  }

  /// The origin of a prompt that a border divides: its first row, as floats.
  void refer(std::int64_t prompt, Origin& o) {
    const std::int64_t d = pass_.rows.d;
    const void* const at = pass_.rows.at(pass_.row(pass_.prompts.offsets[prompt]));
    std::vector<double> tile(static_cast<std::size_t>(pass_.ld)), gap(shift_);
    const std::vector<double> zero(static_cast<std::size_t>(d), 0.0);
    lanes<double>().decode[int(pass_.rows.dtype)](&at, 1, 0, d, zero.data(), false, tile.data(), 1);
    std::vector<double> reference(tile.begin(), tile.begin() + d);
    for (std::int64_t c = 0; c < d; ++c) gap[c] -= reference[c] = in_float(reference[c]);
    o.prompt = prompt;
    o.gap = pass_.along(gap);
    name_scores(pass_.along(reference), o);
  }
  void name_scores(const std::vector<double>& along, Origin& o) const {
    const std::int64_t F = pass_.scored.n_folds, S = pass_.n_scores;
    o.score.assign(std::size_t(F * S), 0);
    for (std::int64_t at = 0; at < pass_.n_projected; ++at) o.score[at % F * S + at / F] = pass_.scale[at] * along[at];
  }
  const Origin& origin(std::int64_t prompt) const {
    return prompt == head_.prompt ? head_ : prompt == tail_.prompt ? tail_ : own_;
  }
  std::int64_t fold(const Piece& p) const { return pass_.scored.n_folds > 1 ? p.fold : 0; }
  const double* origin_of(const Piece& p) const {
    const std::int64_t in = fold(p) * pass_.n_scores;
    if (!pass_.scored.kept) return origin(p.prompt).score.data() + in;
    if (!pass_.scored.origins) return own_.score.data() + in;
    const std::int64_t *const at = pass_.prompts.offsets + p.prompt, leaf = at[0] / kLeafRows;
    return pass_.origins_of(leaf, at[1] > (leaf + 1) * kLeafRows) + in;
  }

  /// A block of a pass on kept scores: what already lies in canonical order is used where it lies.
  void kept(std::int64_t first, Block& b) {
    const Scored& s = pass_.scored;
    const Prompts& p = pass_.prompts;
    b.lasting = {true, !p.order && s.n_values > 0, p.weight != nullptr};
    b.score = s.kept + first * pass_.n_scores;
    if (b.lasting.weight) b.weight = p.weight + first;
    if (!b.lasting.value) gather(s.values, s.n_values, value_);
    b.value = b.lasting.value ? s.values + first * s.n_values : value_.data();
  }
  void gather(const double* from, std::int64_t width, std::vector<double>& to) {
    to.resize(row_.size() * std::size_t(width));
    for (std::size_t i = 0; i < row_.size(); ++i)
      std::copy_n(from + row_[i] * width, width, to.data() + std::int64_t(i) * width);
  }

  void rows(std::int64_t first, Block& b) {
    const std::int64_t next = pass_.n_weights > 0 ? std::max(b.n, kNextRows) : kNextRows;
    const std::int64_t known = std::min(b.n + next, leaf_end_ - first);
    at_.resize(std::size_t(known));
    for (std::int64_t i = 0; i < known; ++i) at_[i] = pass_.rows.at(i < b.n ? row_[i] : pass_.row(first + i));
    if (!wide_leaf_) {
      narrow_.begin(at_.data(), b.n, known, row_.data());
      b.tile = &narrow_;
      if (pass_.n_projected == 0) return;
      if (narrow_.project(projected_)) return scores(b);
    }
    if (!wide_ready_) wide_.leaf(shift_);
    wide_ready_ = true;
    wide_.begin(at_.data(), b.n, known, row_.data());
    b.tile = &wide_;
    if (pass_.n_projected == 0) return;
    wide_.project(projected_);
    scores(b);
  }

  /// From lanes to scores: each direction's scale, each prompt's own fold and origin.
  void scores(const Block& b) {
    if (pass_.relative) {
      if (b.pieces.empty()) scores(0, b.n, 0, own_.gap, score_);
      for (const Piece& p : b.pieces) scores(p.first, p.count, fold(p), origin(p.prompt).gap, score_);
      refuse_overflow(score_, b.n);
    }
    if (!pass_.absolute) return;
    if (b.pieces.empty()) scores(0, b.n, 0, offset_, absolute_);
    for (const Piece& p : b.pieces) scores(p.first, p.count, fold(p), offset_, absolute_);
    refuse_overflow(absolute_, b.n);
  }
  /// Rows of double and directions near the end of it may give scores that are infinite, or whose differences are.
  void refuse_overflow(const std::vector<double>& x, std::int64_t n) const {
    const double steepest = *std::max_element(pass_.scale.begin(), pass_.scale.end());
    if (pass_.rows.dtype != Dtype::f64 && steepest < 0x1p800) return;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t k = 0; k < pass_.scored.n_directions; ++k)
        if (std::abs(x[i * pass_.n_scores + k]) > 0x1p1021)
          throw std::invalid_argument("scores leave float64: divide the directions, or the rows, by a constant");
  }
  void scores(std::int64_t first, std::int64_t n, std::int64_t fold, const std::vector<double>& from,
              std::vector<double>& to) const {
    const std::int64_t K = pass_.scored.n_directions, F = pass_.scored.n_folds, S = pass_.n_scores;
    const double *const scale = pass_.scale.data(), *const add = from.data();
    for (std::int64_t i = first; i < first + n; ++i) {
      double* const row = &to[i * S];
      const double* const x = &projected_[i * pass_.lds];
      if (F == 1)  // a loop of its own, because it has no strides
        for (std::int64_t k = 0; k < K; ++k) row[k] = scale[k] * (x[k] + add[k]);
      else
        for (std::int64_t k = 0, at = fold; k < K; ++k, at += F) row[k] = scale[at] * (x[at] + add[at]);
    }
  }
};

/// Rows of a block: so many that a second use of the stored rows finds them in cache, or where a tile is made of
/// them, so many that reading the directions is spread over enough rows.
inline std::int64_t wanted_rows(const Pass& pass) {
  if (!pass.rows_needed) return 1024;
  const std::int64_t bytes = std::max<std::int64_t>(pass.rows.d * kItemBytes[int(pass.rows.dtype)], 1);
  // no second use of the rows: what follows on scores pays by many prompts at once
  if (pass.n_weights == 0) return std::clamp<std::int64_t>(kScoredBytes / (24 * pass.lds), 96, 1024);
  // split sums read a block by columns, and are added to those of the leaf once a block: rows in cache, and not too few
  if (pass.many_weights() && kernels::active().matrix)
    return std::clamp<std::int64_t>(std::max(kSummedBytes / bytes, 2 * pass.n_weights), 64, kernels::kSumRows);
  return std::clamp<std::int64_t>(kBlockBytes / bytes, pass.many_weights() ? 192 : pass.matrix() ? 32 : 16, 256);
}

}  // namespace clinometer
