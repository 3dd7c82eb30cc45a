#include <clinometer/fold.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>

#include "kernels/table.hpp"
#include "src/long_dot.hpp"
#include "src/read_ahead.hpp"

namespace clinometer {
namespace {

constexpr std::int64_t kPilotRows = 16;
constexpr std::int64_t kChunk = 256;             // columns decoded at once: their panels stay in the nearest caches
constexpr std::int64_t kBlockBytes = 256 << 10;  // stored rows of a block: a second use finds them in cache
constexpr std::int64_t kWindowLeaves = 8;
// beyond these a product of two float lanes may overflow or vanish: such blocks are done in double
constexpr double kHuge = 1e15, kTiny = 1e-15;

template <class L>
const kernels::LaneTable<L>& lanes() {
  if constexpr (sizeof(L) == 4) {
    return kernels::active().f32;
  } else {
    return kernels::active().f64;
  }
}

/// Memory at multiples of 64 bytes.
struct alignas(64) CacheLine {
  char bytes[64];
};

/// Stops a pass: set by the first error of any thread, polled between row blocks.
struct Stop {};

}  // namespace

/// One absorb() call: the inputs, where leaves begin, and the directions in lanes.
struct Pass {
  const Rows& rows;
  Prompts prompts;  // begin and end move with the window
  const Scored& scored;
  const Options& options;
  std::int64_t base_row;
  bool rows_needed;
  std::int64_t ld;
  bool prompts_needed;
  bool many_weights = false, absolute = false;
  std::int64_t n_projected, n_scores, lds;
  std::vector<double> scale;
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> done{0};
  std::int64_t total = 0;

  Pass(const Rows& r, const Prompts& p, const Scored& s, const Options& o, std::int64_t base, bool rows_needed,
       bool prompts_needed)
      : rows(r),
        prompts(p),
        scored(s),
        options(o),
        base_row(base),
        rows_needed(rows_needed && !s.kept),
        ld(kernels::padded(r.d)),
        prompts_needed(prompts_needed || s.n_folds > 1),
        n_projected(s.n_directions * s.n_folds),
        n_scores(s.n_directions + s.n_columns) {
    lds = n_projected > kernels::kDots ? kernels::padded(n_projected) : 1;
    while (lds < n_projected) lds *= 2;
    scale.assign(std::size_t(n_projected), 1);
    zero_.assign(std::size_t(n_projected), true);
    for (std::int64_t k = 0; this->rows_needed && k < n_projected; ++k) {
      double largest = 0;
      for (std::int64_t c = 0; c < rows.d; ++c) largest = std::max(largest, std::abs(s.directions[k * rows.d + c]));
      // a power of two brings each direction to unit size: exact, and no lane overflows on its account
      if (largest > 0) scale[k] = std::ldexp(1.0, std::ilogb(largest));
      zero_[std::size_t(k)] = largest == 0;
    }
  }
  bool dots() const { return n_projected <= kernels::kDots; }
  /// The matrix unit, where there is one and it is the fastest way to these scores in lanes of float.
  const kernels::MatrixTable* matrix() const {
    const kernels::MatrixTable* const unit = kernels::active().matrix;
    return unit && n_projected >= unit->least[int(rows.dtype)] ? unit : nullptr;
  }
  /// How dots and weigh take the columns (table.hpp).
  template <class L>
  std::int64_t pair() const {
    return lanes<L>().paired[int(rows.dtype)];
  }
  double direction(std::int64_t k, std::int64_t c) const { return scored.directions[k * rows.d + c] / scale[k]; }
  /// <u_k, x> of every direction in its own scale; x holds floats or what two of them differ by.
  std::vector<double> along(const std::vector<double>& x) const {
    std::vector<double> out;
    for (std::int64_t k = 0; k < n_projected; ++k)
      out.push_back(long_dot(scored.directions + k * rows.d, scale[k], x.data(), rows.d));
    return out;
  }
  /// The prompt of a canonical row.
  std::int64_t prompt_of(std::int64_t row) const {
    return std::upper_bound(prompts.offsets, prompts.offsets + prompts.n_prompts + 1, row) - prompts.offsets - 1;
  }
  double* origins_of(std::int64_t leaf, bool divided) const {
    return scored.origins + (leaf * 2 + divided) * scored.n_folds * n_scores;
  }

  /// Directions in lanes of L: rows for dot products, else packs of 16 (table.hpp). Doubles only if asked for.
  template <class L>
  const L* directions() const {
    auto& lanes = std::get<Lanes<L>>(lanes_);
    std::call_once(lanes.made, [&] {
      lanes.u.assign(std::size_t(lds * ld), L(0));
      for (std::int64_t k = 0; k < n_projected; ++k)
        for (std::int64_t c = 0; c < rows.d; ++c)
          lanes.u[dots() ? k * ld + kernels::paired_at(c, rows.d, pair<L>()) : (k / 16 * ld + c) * 16 + k % 16] =
              L(direction(k, c));
    });
    return lanes.u.data();
  }
  /// Directions in parts, for the matrix unit.
  const void* parts(const kernels::MatrixTable& unit) const {
    std::call_once(parts_made_, [&] {
      std::vector<float> u(std::size_t(lds * ld), 0.0f);
      for (std::int64_t k = 0; k < n_projected; ++k)
        for (std::int64_t c = 0; c < rows.d; ++c)
          u[k * ld + kernels::paired_at(c, rows.d, pair<float>())] = float(direction(k, c));
      parts_.resize(std::size_t(kernels::matrix_packed(rows.d, lds)) / sizeof(CacheLine));
      unit.pack(u.data(), ld, rows.d, lds, parts_.data());
    });
    return parts_.data();
  }
  bool zero(std::int64_t k) const { return zero_[std::size_t(k)]; }
  std::int64_t row(std::int64_t canonical) const { return prompts.order ? prompts.order[canonical] : canonical; }
  void check_stop() const {
    if (stop.load(std::memory_order_relaxed)) throw Stop{};
  }

 private:
  template <class L>
  struct Lanes {
    std::once_flag made;
    std::vector<L> u;
  };
  std::vector<bool> zero_;
  mutable std::tuple<Lanes<float>, Lanes<double>> lanes_;
  mutable std::once_flag parts_made_;
  mutable std::vector<CacheLine> parts_;
};

namespace {

/// The pieces of the prompts in canonical rows [first, first + n), and their weights.
void cut(const Pass& pass, std::int64_t first, std::int64_t n, std::vector<Piece>& pieces,
         std::vector<double>& weight) {
  const Prompts& p = pass.prompts;
  pieces.clear();
  weight.resize(std::size_t(n));
  std::int64_t x = pass.prompt_of(first);
  for (std::int64_t at = first; at < first + n; ++x) {
    const std::int64_t begin = p.offsets[x], end = p.offsets[x + 1], size = end - begin;
    const std::int64_t stop = std::min(end, first + n);
    const bool same_before = p.cluster && x > 0 && p.cluster[x - 1] == p.cluster[x];
    const bool same_after = p.cluster && x + 1 < p.n_prompts && p.cluster[x + 1] == p.cluster[x];
    pieces.push_back({x, at - first, stop - at, at == begin, stop == end, p.omega ? p.omega[x] : 1.0,
                      p.unbias   ? p.unbias[x]
                      : size > 1 ? double(size) / double(size - 1)
                                 : 0.0,
                      !same_before, !same_after, p.fold ? p.fold[x] : 0});
    for (; at < stop; ++at) weight[at - first] = p.weight ? p.weight[at] : 1.0 / double(size);
  }
}

/// Rows of a block: about `wanted`, ending with a prompt where one ends.
std::int64_t block_rows(const Pass& pass, std::int64_t first, std::int64_t end, std::int64_t wanted) {
  if (end - first <= wanted) return end - first;
  const Prompts& p = pass.prompts;
  const std::int64_t border = *(std::upper_bound(p.offsets, p.offsets + p.n_prompts + 1, first + wanted) - 1);
  return border > first ? border - first : wanted;
}

/// Throws for the first row with NaN or Inf, or whose difference from the leaf's shift is; returns if there is none.
void refuse_non_finite(const Pass& pass, const std::vector<const void*>& at, const std::int64_t* row,
                       const std::vector<double>& shift) {
  std::vector<double> tile(std::size_t(pass.ld));
  for (std::size_t i = 0; i < at.size(); ++i)
    if (std::isinf(lanes<double>().decode[int(pass.rows.dtype)](&at[i], 1, 0, pass.rows.d, shift.data(), false,
                                                                tile.data(), 1)))
      throw NonFiniteRow{row[i]};
}

/// Whether lanes of L hold these magnitudes and their products.
template <class L>
bool fits(double largest) {
  return sizeof(L) == 8 ? std::isfinite(largest) : largest <= kHuge && (largest == 0 || largest >= kTiny);
}

bool finite(const std::vector<double>& x) {
  return std::all_of(x.begin(), x.end(), [](double v) { return std::isfinite(v); });
}

/// The stored rows of a block, seen in lanes of L. Elements are watched only where nothing else would show that L is
/// too narrow: a projection is judged by its scores, and sums over rows that have been projected by the sums.
template <class L>
class LaneTile : public Tile {
 public:
  explicit LaneTile(const Pass& pass) : pass_(pass), ld(pass.ld) { d = pass.rows.d; }

  /// The shift of the leaf whose blocks follow.
  void leaf(const std::vector<double>& shift64) {
    shift = shift64.data();
    lane_shift_.assign(shift64.begin(), shift64.end());
    paired_.resize(std::size_t(d));
    for (std::int64_t c = 0; c < d; ++c) paired_[kernels::paired_at(c, d, pass_.pair<L>())] = lane_shift_[c];
  }

  void begin(const std::vector<const void*>& at, const std::int64_t* row) {
    at_ = &at;
    row_ = row;
    seen_ = false;
  }

  /// Scores (n, lds) of the block's rows; false if L is too narrow for them.
  bool project(std::vector<double>& scores) {
    const std::int64_t n = std::int64_t(at_->size()), lds = pass_.lds;
    scores.assign(std::size_t(n * lds), 0);
    seen_ = true;
    if (const kernels::MatrixTable* const unit = sizeof(L) == 4 ? pass_.matrix() : nullptr) {
      if constexpr (sizeof(L) == 4) {
        matrix_work_.resize(std::size_t(kernels::matrix_work(lds)) / sizeof(CacheLine));
        unit->scores[type()](at_->data(), n, d, paired_.data(), pass_.parts(*unit), lds, matrix_work_.data(),
                             scores.data(), lds);
      }
      return trusted(scores);
    }
    const L* const u = pass_.directions<L>();
    if (pass_.dots()) {
      lanes<L>().dots[type()](at_->data(), n, d, paired_.data(), u, ld, lds, scores.data(), lds);
    } else {
      for (std::int64_t c = 0; c < d; c += kChunk) {
        const std::int64_t width = decode(c);
        lanes<L>().project(tile_.data(), n, apart(n), width, u + c * 16, ld, lds, scores.data(), lds);
      }
    }
    return trusted(scores);
  }

  void accumulate(const double* weights, std::int64_t m, double* out) const override {
    auto& self = const_cast<LaneTile&>(*this);  // scratch only
    if (self.add(weights, m, out)) return;
    LaneTile<double> wide(pass_);
    const std::vector<double> shift64(shift, shift + d);
    wide.leaf(shift64);
    wide.begin(*at_, row_);
    wide.add(weights, m, out);
  }

  /// out += weights' rows, or nothing and false if L is too narrow. Lanes of double never are.
  bool add(const double* weights, std::int64_t m, double* out) {
    const std::int64_t n = std::int64_t(at_->size()), wide = m <= 2 ? m : (m + 3) / 4 * 4;
    scale_weights(weights, n, m, wide);
    return wide <= kernels::kFewWeights ? add_few(n, m, wide, out) : add_many(n, m, wide, out);
  }

 private:
  const Pass& pass_;
  const std::int64_t ld;
  std::vector<L> lane_shift_, paired_, tile_, weight_, few_;
  std::vector<double> sum_, factor_, top_;
  std::vector<CacheLine> matrix_work_;
  const std::vector<const void*>* at_ = nullptr;
  const std::int64_t* row_ = nullptr;
  bool seen_ = false;  // a projection has already shown that the elements fit
  double largest_ = 0;

  int type() const { return int(pass_.rows.dtype); }

  /// Whether scores show that no element was beyond L: NaN and Inf always reach a score, and so does overflow.
  bool trusted(const std::vector<double>& scores) {
    if (!finite(scores)) {
      if (sizeof(L) == 8) refuse_non_finite(pass_, *at_, row_, std::vector<double>(shift, shift + d));
      return sizeof(L) == 8;
    }
    if (sizeof(L) == 8) return true;
    top_.assign(std::size_t(pass_.lds), 0);
    for (auto row = scores.begin(); row != scores.end(); row += pass_.lds)
      for (std::size_t k = 0; k < top_.size(); ++k) top_[k] = std::max(top_[k], std::abs(row[std::ptrdiff_t(k)]));
    for (std::int64_t k = 0; k < pass_.n_projected; ++k)
      if (!pass_.zero(k) && (top_[std::size_t(k)] > kHuge || top_[std::size_t(k)] < kTiny)) return false;
    return true;
  }

  /// Weights in lanes, each column by a power of two that brings its largest to unit size. What lies 2^-100 below that
  /// is nothing beside it, and as a subnormal would make every product slow.
  void scale_weights(const double* weights, std::int64_t n, std::int64_t m, std::int64_t wide) {
    factor_.assign(std::size_t(m), 0);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < m; ++j) factor_[j] = std::max(factor_[j], std::abs(weights[i * m + j]));
    for (double& f : factor_) f = f > 0 && std::isfinite(f) ? std::ldexp(1.0, std::ilogb(f)) : 1;
    weight_.assign(std::size_t(n * wide), L(0));
    for (std::int64_t j = 0; j < m; ++j) {
      const double by = 1 / factor_[j];
      for (std::int64_t i = 0; i < n; ++i) {
        const double w = by * weights[i * m + j];
        weight_[i * wide + j] = std::abs(w) < 0x1p-100 ? L(0) : L(w);
      }
    }
  }

  bool add_few(std::int64_t n, std::int64_t m, std::int64_t wide, double* out) {
    few_.resize(std::size_t(wide * ld));
    if (!judged(
            lanes<L>().weigh[type()](at_->data(), n, d, paired_.data(), weight_.data(), wide, seen_, few_.data(), ld)))
      return false;
    for (std::int64_t j = 0; j < m; ++j) lanes<L>().add(few_.data() + j * ld, d, factor_[j], out + j * d);
    return true;
  }
  bool add_many(std::int64_t n, std::int64_t m, std::int64_t wide, double* out) {
    sum_.assign(std::size_t(wide * ld), 0);
    largest_ = 0;
    for (std::int64_t c = 0; c < d; c += kChunk)
      lanes<L>().accumulate(tile_.data(), n, apart(n), decode(c), weight_.data(), wide, wide, sum_.data() + c, ld);
    if (!judged(largest_) || !(finite(sum_) || judged(std::numeric_limits<double>::infinity()))) return false;
    for (std::int64_t j = 0; j < m; ++j) lanes<double>().add(sum_.data() + j * ld, d, factor_[j], out + j * d);
    return true;
  }
  /// What weigh and decode return, taken for an answer; a double may be infinite without a row that is.
  bool judged(double largest) {
    if (fits<L>(largest)) return true;
    if (sizeof(L) == 8) refuse_non_finite(pass_, *at_, row_, std::vector<double>(shift, shift + d));
    return sizeof(L) == 8;
  }

  /// Panels of the columns from c; their width. Raises `largest_`.
  std::int64_t decode(std::int64_t c) {
    const std::int64_t n = std::int64_t(at_->size()), end = std::min(d, c + kChunk);
    tile_.resize(std::size_t(apart(n) * kChunk));
    largest_ = std::max(
        largest_, lanes<L>().decode[type()](at_->data(), n, c, end, lane_shift_.data(), seen_, tile_.data(), apart(n)));
    return kernels::padded(end - c);
  }
  /// Rows from panel to panel: odd, because panels a power of two apart would share a few sets of the cache.
  static std::int64_t apart(std::int64_t n) { return n | 1; }
};

/// What the scores of a prompt are relative to: the leaf's shift, or where a leaf border divides the prompt its first
/// row, which every leaf it lies in can see. So no large number is in a score, wherever a pass is cut.
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
    if (!pass_.rows_needed) return;
    if (!pass_.prompts.order) ahead_.begin(first, first + n);
    const std::int64_t m = std::min(n, kPilotRows);
    std::vector<double> pilot(std::size_t(m * pass_.ld)), largest(std::size_t(d), 0), mean(largest);
    std::int64_t used = 0;
    for (std::int64_t i = 0; i < m; ++i) {
      const void* const at = pass_.rows.at(pass_.row(first + i));
      double* to = pilot.data() + used * pass_.ld;
      used += std::isfinite(lanes<double>().decode[int(pass_.rows.dtype)](&at, 1, 0, d, shift_.data(), false, to, 1));
    }
    for (std::int64_t i = 0; i < used; ++i)
      for (std::int64_t c = 0; c < d; ++c) mean[c] += (pilot[i * pass_.ld + c] - mean[c]) / double(i + 1);
    for (std::int64_t i = 0; i < used; ++i)
      for (std::int64_t c = 0; c < d; ++c)
        largest[c] = std::max(largest[c], std::abs(pilot[i * pass_.ld + c] - mean[c]));
    for (std::int64_t c = 0; c < d; ++c) {
      shift_[c] = in_float(coarse(mean[c], largest[c]));
      if (largest[c] > kHuge || (largest[c] > 0 && largest[c] < kTiny)) wide_leaf_ = true;
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
    score_.resize(std::size_t(n * pass_.n_scores));
    absolute_.resize(pass_.absolute ? score_.size() : 0);
    if (pass_.rows_needed) rows(b);
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
  Origin own_, head_, tail_;  // of prompts within the leaf, of one from an earlier leaf, of one that goes on behind
  std::vector<std::int64_t> row_;
  std::vector<const void*> at_;
  LaneTile<float> narrow_;
  LaneTile<double> wide_;
  bool wide_leaf_ = false, wide_ready_ = false;

  /// A mean to about a deviation, from the rows alone: the fewer digits a shift has, the fewer have rows less it. Most
  /// columns of bf16 stay as they are, and those far from zero fall on a grid as coarse as their own.
  static double coarse(double mean, double deviation) {
    if (!(deviation > 0)) return mean;
    const double step = std::ldexp(1.0, std::ilogb(deviation) + 1);
    return std::nearbyint(mean / step) * step;
  }
  static double in_float(double x) { return std::abs(x) < 1e38 ? double(static_cast<float>(x)) : 0; }

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

  void rows(Block& b) {
    at_.resize(row_.size());
    for (std::size_t i = 0; i < row_.size(); ++i) at_[i] = pass_.rows.at(row_[i]);
    if (!wide_leaf_) {
      narrow_.begin(at_, row_.data());
      b.tile = &narrow_;
      if (pass_.n_projected == 0) return;
      if (narrow_.project(projected_)) return scores(b);
    }
    if (!wide_ready_) wide_.leaf(shift_);
    wide_ready_ = true;
    wide_.begin(at_, row_.data());
    b.tile = &wide_;
    if (pass_.n_projected == 0) return;
    wide_.project(projected_);
    scores(b);
  }

  /// From lanes to scores: each direction's scale, each prompt's own fold and origin.
  void scores(const Block& b) {
    if (b.pieces.empty()) scores(0, b.n, 0, own_.gap, score_);
    for (const Piece& p : b.pieces) scores(p.first, p.count, fold(p), origin(p.prompt).gap, score_);
    if (!pass_.absolute) return;
    if (b.pieces.empty()) scores(0, b.n, 0, offset_, absolute_);
    for (const Piece& p : b.pieces) scores(p.first, p.count, fold(p), offset_, absolute_);
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
std::int64_t wanted_rows(const Pass& pass) {
  if (!pass.rows_needed) return 1024;
  constexpr std::int64_t item[] = {4, 2, 2, 8};
  const std::int64_t bytes = pass.rows.d * item[int(pass.rows.dtype)];
  return std::clamp<std::int64_t>(kBlockBytes / std::max<std::int64_t>(bytes, 1),
                                  !pass.dots() || pass.many_weights ? 192
                                  : pass.matrix()                   ? 32
                                                                    : 16,
                                  256);
}

/// Threads for the length of one absorb() call; nothing outlives it, so a fork finds no pool.
class Threads : public Team {
 public:
  Threads(std::int64_t n, Pass& pass) : pass_(pass) {
    for (std::int64_t i = 1; i < n; ++i) workers_.emplace_back([this] { serve(); });
  }
  ~Threads() override {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
  }

  void parallel(std::int64_t n, const std::function<void(std::int64_t)>& f) override {
    {
      std::lock_guard lock(mutex_);
      task_ = &f;
      size_ = n;
      next_ = 0;
      busy_ = std::int64_t(workers_.size());
      ++round_;
    }
    if (!workers_.empty()) wake_.notify_all();
    work(true);
    std::unique_lock lock(mutex_);
    while (busy_ > 0) {
      idle_.wait_for(lock, std::chrono::milliseconds(20));
      lock.unlock();
      poll();
      lock.lock();
    }
    if (error_) {
      std::exception_ptr e = error_;
      error_ = nullptr;
      std::rethrow_exception(e);
    }
  }

  /// On the calling thread: lets the caller look at signals and report progress.
  void poll() {
    const auto now = std::chrono::steady_clock::now();
    if (now - polled_ < std::chrono::milliseconds(20) || !pass_.options.poll || pass_.stop) return;
    polled_ = now;
    try {
      pass_.options.poll(std::min(pass_.done.load(), pass_.total), pass_.total);
    } catch (...) {
      fail(std::current_exception());
    }
  }
  void fail(std::exception_ptr e) {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = e;
    pass_.stop = true;
  }
  std::int64_t size() const { return std::int64_t(workers_.size()) + 1; }
  bool calling_thread() const { return std::this_thread::get_id() == owner_; }

 private:
  Pass& pass_;
  std::vector<std::thread> workers_;
  std::thread::id owner_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  const std::function<void(std::int64_t)>* task_ = nullptr;
  std::atomic<std::int64_t> next_{0};
  std::int64_t size_ = 0, busy_ = 0, round_ = 0;
  bool closing_ = false;
  std::exception_ptr error_;
  std::chrono::steady_clock::time_point polled_ = std::chrono::steady_clock::now();

  void work(bool caller) {
    try {
      for (std::int64_t i; (i = next_.fetch_add(1)) < size_;) {
        if (caller) poll();
        pass_.check_stop();
        (*task_)(i);
      }
    } catch (const Stop&) {
    } catch (...) {
      fail(std::current_exception());
    }
  }
  void serve() {
    std::int64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return closing_ || round_ != seen; });
        if (closing_) return;
        seen = round_;
      }
      work(false);
      std::lock_guard lock(mutex_);
      if (--busy_ == 0) idle_.notify_all();
    }
  }
};

/// Rows whose results are added to the d x d sums at once: more for wide sums, whose memory is the bottleneck.
std::int64_t panel_rows(const Pass& pass) { return pass.rows.d >= 2048 ? 2048 : 1024; }

template <class L>
class LanePanel : public Panel {
 public:
  explicit LanePanel(const Pass& pass) : pass_(pass) {
    d = pass.rows.d;
    width = d + pass.scored.n_values;
    ld = kernels::padded(width);
  }

  /// Takes canonical rows [first, first + n); false if L is too narrow for them.
  bool fill(const std::vector<double>& shift, std::int64_t first, std::int64_t rows, Team& team) {
    n = rows;
    cut(pass_, first, n, pieces, weights_);
    weight = weights_.data();
    shift_.assign(shift.begin(), shift.end());
    for (std::int64_t j = d; j < width; ++j) shift_.push_back(L(value(pass_.row(first), j)));
    for (L& s : shift_)
      if (!std::isfinite(s)) s = 0;
    row_.resize(std::size_t(n));
    at_.resize(std::size_t(n));
    for (std::int64_t i = 0; i < n; ++i) at_[i] = pass_.rows.at(row_[i] = pass_.row(first + i));
    // a look at every element before any of them is summed; it also brings the rows near
    std::atomic<bool> good{true};
    const std::int64_t step = 64;
    team.parallel((n + step - 1) / step, [&](std::int64_t block) {
      const std::int64_t from = block * step, count = std::min(n - from, step);
      thread_local std::vector<L> scratch;
      for (std::int64_t c = 0; c < d; c += kChunk) {
        scratch.resize(std::size_t(step * kChunk));
        const double largest = lanes<L>().decode[int(pass_.rows.dtype)](
            at_.data() + from, count, c, std::min(d, c + kChunk), shift_.data(), false, scratch.data(), count);
        if (!(largest <= (sizeof(L) == 4 ? kHuge : std::numeric_limits<double>::max()))) good = false;
      }
    });
    if (!good && sizeof(L) == 8) refuse_non_finite(pass_, at_, row_.data(), shift);
    return good;
  }

  void reserve(std::int64_t rows) override {
    rows_ = rows;
    work_.resize(std::size_t(rows * ld));
  }

  void centre(const Piece& p, const double* w, const double* factor, std::int64_t to, std::int64_t first,
              std::int64_t end, double* mean) override {
    thread_local std::vector<L> tile;
    tile.resize(std::size_t(p.count * (end - first)));
    if (first < d)
      lanes<L>().decode[int(pass_.rows.dtype)](at_.data() + p.first, p.count, first, std::min(d, end), shift_.data(),
                                               true, tile.data(), p.count);
    values(p, first, end, tile.data());
    for (std::int64_t c = first; c < end; c += 16) {
      const L* const from = tile.data() + (c - first) * p.count;
      L* const work = work_.data() + c * rows_ + to * 16;
      L m[16] = {};
      for (std::int64_t i = 0; i < p.count; ++i)
        for (int j = 0; j < 16; ++j) m[j] += L(w[i]) * from[i * 16 + j];
      for (int j = 0; j < 16 && c + j < width; ++j) mean[c + j] = double(shift_[c + j]) + double(m[j]);
      for (std::int64_t i = 0; i < p.count; ++i)
        for (int j = 0; j < 16; ++j) work[i * 16 + j] = L(factor[i]) * (from[i * 16 + j] - m[j]);
    }
  }
  void put(const double* x, double factor, std::int64_t to) override {
    for (std::int64_t c = 0; c < ld; ++c)
      work_[c / 16 * 16 * rows_ + to * 16 + c % 16] = c < width ? L(factor * x[c]) : L(0);
  }
  void gram(std::int64_t r0, std::int64_t r1, std::int64_t a0, std::int64_t a1, std::int64_t b0, std::int64_t b1,
            double* out, std::int64_t ldo) const override {
    if (r0 < r1) lanes<L>().gram(work_.data() + r0 * 16, r1 - r0, rows_, a0, a1, b0, b1, out, ldo);
  }
  void squares(std::int64_t r0, std::int64_t r1, double* out) const override {
    for (std::int64_t c = 0; c < ld; ++c)
      for (std::int64_t i = r0; i < r1; ++i) {
        const double x = work_[c / 16 * 16 * rows_ + i * 16 + c % 16];
        out[c] += x * x;
      }
  }

 private:
  const Pass& pass_;
  std::vector<L> shift_, work_;
  std::vector<double> weights_;
  std::vector<const void*> at_;
  std::vector<std::int64_t> row_;
  std::int64_t rows_ = 0;  // of the work tile

  double value(std::int64_t row, std::int64_t column) const {
    return pass_.scored.values[row * pass_.scored.n_values + column - d];
  }
  /// The values behind the d columns of a decoded piece, in columns [first, end) of it; what is unlabelled counts as
  /// its shift.
  void values(const Piece& p, std::int64_t first, std::int64_t end, L* tile) const {
    const auto at = [&](std::int64_t i, std::int64_t c) -> L& {
      return tile[(c - first) / 16 * 16 * p.count + i * 16 + c % 16];
    };
    for (std::int64_t c = std::max(first, kernels::padded(d)); c < end; ++c)
      for (std::int64_t i = 0; i < p.count; ++i) at(i, c) = 0;
    for (std::int64_t c = std::max(first, d); c < std::min(end, width); ++c)
      for (std::int64_t i = 0; i < p.count; ++i) {
        const double v = value(row_[p.first + i], c);
        if (std::isfinite(v)) at(i, c) = L(v - double(shift_[c]));
      }
  }
};

}  // namespace

void push(std::vector<Node>& nodes, Node next) {
  // a right child has its level's bit set; its sibling, if it is here, is the last node
  while (!nodes.empty() && nodes.back().level == next.level && (next.leaf >> next.level) % 2 == 1 &&
         nodes.back().leaf == next.leaf - (std::int64_t(1) << next.level)) {
    Node left = std::move(nodes.back());
    nodes.pop_back();
    for (std::size_t i = 0; i < left.states.size(); ++i) {
      if (left.states[i])
        left.states[i]->merge(*next.states[i]);
      else
        left.states[i] = std::move(next.states[i]);
    }
    ++left.level;
    next = std::move(left);
  }
  nodes.push_back(std::move(next));
}

Scan::States Scan::empty_states(Split split) const {
  States out;
  for (const auto& s : prototypes_) out.push_back(s->split() == split ? s->empty() : nullptr);
  return out;
}

std::vector<Node> Scan::nodes() {
  std::vector<Node> out = std::move(by_rows_.empty() ? by_state_ : by_rows_);
  for (std::size_t n = 0; n < std::min(out.size(), by_state_.size()); ++n)
    for (std::size_t i = 0; i < prototypes_.size(); ++i)
      if (by_state_[n].states[i]) out[n].states[i] = std::move(by_state_[n].states[i]);
  by_rows_.clear();
  by_state_.clear();
  return out;
}

std::vector<std::unique_ptr<Statistic>> Scan::collapse() {
  States total;
  for (const auto& s : prototypes_) total.push_back(s->empty());
  for (Node& node : nodes())
    for (std::size_t i = 0; i < total.size(); ++i) {
      if (node.states[i]) total[i]->merge(*node.states[i]);
      node.states[i].reset();
    }
  return total;
}

void Scan::absorb_leaves(Pass& pass, Team& team) {
  auto& threads = static_cast<Threads&>(team);
  const std::int64_t begin = pass.prompts.begin, n = pass.prompts.end, leaves = (n - begin + kLeafRows - 1) / kLeafRows;
  const std::int64_t wanted = wanted_rows(pass);
  std::mutex mutex;
  std::vector<std::unique_ptr<Reader>> idle;  // buffers outlive a leaf
  std::map<std::int64_t, States> finished;
  std::int64_t next_push = 0;
  team.parallel(leaves, [&](std::int64_t leaf) {
    std::unique_ptr<Reader> reader;
    {
      std::lock_guard lock(mutex);
      if (!idle.empty()) {
        reader = std::move(idle.back());
        idle.pop_back();
      }
    }
    if (!reader) reader = std::make_unique<Reader>(pass);
    States states = empty_states(Split::rows);
    const std::int64_t first = begin + leaf * kLeafRows, end = std::min(n, first + kLeafRows);
    reader->begin_leaf(first, end - first);
    Block block;
    for (std::int64_t at = first; at < end; at += block.n) {
      if (threads.calling_thread()) threads.poll();
      pass.check_stop();
      reader->read(at, block_rows(pass, at, end, wanted), block);
      for (auto& s : states)
        if (s) s->absorb(block);
    }
    for (auto& s : states)
      if (s) s->leaf_ends();
    pass.done += end - first;
    std::lock_guard lock(mutex);
    idle.push_back(std::move(reader));
    finished[leaf] = std::move(states);
    for (auto it = finished.find(next_push); it != finished.end(); it = finished.find(++next_push)) {
      push(by_rows_, {(pass.base_row + next_push * kLeafRows) / kLeafRows, 0, std::move(it->second)});
      finished.erase(it);
    }
  });
}

void Scan::absorb_panels(Pass& pass, Team& team) {
  const std::int64_t n = pass.prompts.end;
  Reader reader(pass);
  LanePanel<float> narrow(pass);
  LanePanel<double> wide(pass);
  ReadAhead ahead(pass.rows);
  if (!pass.prompts.order) ahead.begin(pass.prompts.begin, n);
  for (std::int64_t leaf = pass.prompts.begin; leaf < n; leaf += kLeafRows) {
    const std::int64_t leaf_end = std::min(n, leaf + kLeafRows);
    reader.begin_leaf(leaf, leaf_end - leaf);
    States states = empty_states(Split::state);
    for (std::size_t i = 0; !by_state_.empty() && i < states.size(); ++i)
      if (states[i] && states[i]->running()) states[i] = std::move(by_state_.back().states[i]);
    for (std::int64_t at = leaf; at < leaf_end;) {
      pass.check_stop();
      ahead.at(at);
      const std::int64_t rows = block_rows(pass, at, leaf_end, panel_rows(pass));
      Panel* panel = &narrow;
      if (reader.wide_leaf() || !narrow.fill(reader.shift(), at, rows, team)) {
        panel = &wide;
        wide.fill(reader.shift(), at, rows, team);
      }
      for (auto& s : states)
        if (s) s->absorb(*panel, team);
      at += rows;
    }
    push(by_state_, {(pass.base_row + leaf - pass.prompts.begin) / kLeafRows, 0, std::move(states)});
    pass.done += leaf_end - leaf;
  }
}

void Scan::absorb(const Rows& rows, const Prompts& prompts, const Scored& scored, const Options& options) {
  const std::int64_t n = prompts.end - prompts.begin;
  if (n <= 0) return;
  bool by_rows = false, by_state = false, needs_rows = scored.n_directions > 0, needs_prompts = false;
  for (const auto& s : prototypes_) {
    (s->split() == Split::rows ? by_rows : by_state) = true;
    needs_rows = needs_rows || s->needs_rows();
    needs_prompts = needs_prompts || s->needs_prompts();
  }
  Pass pass(rows, prompts, scored, options, base_row_, needs_rows, needs_prompts);
  // small work stays on the calling thread; more threads than leaves help only inside a leaf's panels
  const double work = double(n) * double(std::max<std::int64_t>(rows.d, 16));
  const std::int64_t useful =
      by_state ? options.n_threads : std::min(options.n_threads, (n + kLeafRows - 1) / kLeafRows);
  Threads team(work < 1e6 ? 1 : std::max<std::int64_t>(useful, 1), pass);
  pass.total = n;
  for (auto& s : prototypes_) {
    s->use_threads(team.size());
    pass.many_weights = pass.many_weights || s->weights_per_row() > kernels::kFewWeights;
    pass.absolute = pass.absolute || s->needs_absolute();
  }
  // statistics of both kinds take turns over windows of leaves, so that the disk is read once
  const std::int64_t step = by_rows && by_state ? kWindowLeaves * kLeafRows : n;
  for (std::int64_t at = prompts.begin; at < prompts.end; at += step) {
    pass.prompts.begin = at;
    pass.prompts.end = std::min(prompts.end, at + step);
    pass.base_row = base_row_ + at - prompts.begin;
    if (by_rows) absorb_leaves(pass, team);
    if (by_state) absorb_panels(pass, team);
  }
  if (options.poll) options.poll(n, n);
  base_row_ += n;
}

}  // namespace clinometer
