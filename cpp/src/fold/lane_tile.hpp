// The stored rows of a block in lanes, and whether the lanes hold them.
#pragma once
#include <limits>

#include "src/fold/pass.hpp"

namespace clinometer {

inline constexpr std::int64_t kChunk = 256;  // columns decoded at once: their panels stay in the nearest caches
// beyond these a product of two float lanes may overflow or vanish: such blocks are done in double
inline constexpr double kHuge = 1e15, kTiny = 1e-15;

/// Throws for the first row with NaN or Inf, or whose difference from the leaf's shift is; returns if there is none.
inline void refuse_non_finite(const Pass& pass, const void* const* at, std::int64_t n, const std::int64_t* row,
                              const std::vector<double>& shift) {
  std::vector<double> tile(std::size_t(pass.ld));
  for (std::int64_t i = 0; i < n; ++i)
    if (std::isinf(lanes<double>().decode[int(pass.rows.dtype)](&at[i], 1, 0, pass.rows.d, shift.data(), false,
                                                                tile.data(), 1)))
      throw NonFiniteRow{row[i]};
}

/// Whether lanes of L hold these magnitudes and their products.
template <class L>
bool fits(double largest) {
  return sizeof(L) == 8 ? std::isfinite(largest) : largest <= kHuge && (largest == 0 || largest >= kTiny);
}

inline bool finite(const std::vector<double>& x) {
  return std::all_of(x.begin(), x.end(), [](double v) { return std::isfinite(v); });
}

/// The stored rows of a block in lanes of L. Elements are watched only where nothing else would show that L is
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
    kernels::to_pairs(lane_shift_.data(), d, pass_.pair<L>(), paired_.data());
  }

  /// A block of n rows; behind them may stand others, up to `known` in all, which are read next.
  void begin(const void* const* at, std::int64_t n, std::int64_t known, const std::int64_t* row) {
    at_ = at;
    n_ = n;
    known_ = known;
    row_ = row;
    seen_ = false;
  }

  /// Scores (n, lds) of the block's rows; false if L is too narrow for them.
  bool project(std::vector<double>& scores) {
    const std::int64_t n = n_, lds = pass_.lds;
    scores.assign(std::size_t(n * lds), 0);
    seen_ = true;
    if (const kernels::MatrixTable* const unit = sizeof(L) == 4 ? pass_.matrix() : nullptr) {
      if constexpr (sizeof(L) == 4) {
        matrix_work_.resize(std::size_t(kernels::matrix_work(lds)) / sizeof(CacheLine));
        unit->scores[type()](at_, n, known_, d, paired_.data(), pass_.parts(*unit), lds, matrix_work_.data(),
                             scores.data(), lds);
      }
      return trusted(scores);
    }
    if (const kernels::RoundedTable* const products = sizeof(L) == 4 ? pass_.rounded() : nullptr) {
      products->scores(at_, n, known_, d, pass_.halves(*products), lds, scores.data(), lds);
      return trusted(scores);
    }
    const L* const u = pass_.directions<L>();
    if (pass_.dots()) {
      lanes<L>().dots[type()](at_, n, d, paired_.data(), u, ld, lds, scores.data(), lds);
    } else {
      tile_.resize(std::size_t(kernels::kSpanWork));
      lanes<L>().scores[type()](at_, n, known_, d, paired_.data(), u, lds, tile_.data(), scores.data(), lds);
    }
    return trusted(scores);
  }

  void accumulate(const double* weights, std::int64_t m, double* out) const override {
    auto& self = const_cast<LaneTile&>(*this);  // scratch only
    if (self.add(weights, m, out)) return;
    LaneTile<double> wide(pass_);
    const std::vector<double> shift64(shift, shift + d);
    wide.leaf(shift64);
    wide.begin(at_, n_, n_, row_);
    wide.add(weights, m, out);
  }

  /// out += weights' rows, or nothing and false if L is too narrow. Lanes of double never are.
  bool add(const double* weights, std::int64_t m, double* out) {
    const std::int64_t n = n_, wide = m <= 2 ? m : (m + 3) / 4 * 4;
    if (wide > kernels::kFewWeights) {
      const kernels::MatrixTable* const unit = sizeof(L) == 4 ? kernels::active().matrix : nullptr;
      return unit && n <= kernels::kSumRows ? add_parts(*unit, weights, n, m, out) : add_many(weights, n, m, wide, out);
    }
    return add_few(weights, n, m, wide, out);
  }

 private:
  const Pass& pass_;
  const std::int64_t ld;
  std::vector<L> lane_shift_, paired_, tile_, weight_, few_;
  std::vector<double> sum_, factor_, top_;
  std::vector<CacheLine> matrix_work_;
  const void* const* at_ = nullptr;
  std::int64_t n_ = 0, known_ = 0;
  const std::int64_t* row_ = nullptr;
  bool seen_ = false;  // a projection has already shown that the elements fit
  double largest_ = 0;

  int type() const { return int(pass_.rows.dtype); }

  /// Whether scores show that no element was beyond L: NaN and Inf always reach a score, and so does overflow.
  bool trusted(const std::vector<double>& scores) {
    // one look at each: the largest, and a sum that NaN and Inf spoil
    top_.assign(std::size_t(2 * pass_.lds), 0);
    double *const top = top_.data(), *const spoiled = top + pass_.lds;
    for (const double *row = scores.data(), *const end = row + scores.size(); row != end; row += pass_.lds)
      for (std::int64_t k = 0; k < pass_.lds; ++k) {
        top[k] = std::max(top[k], std::abs(row[k]));
        spoiled[k] += row[k] - row[k];
      }
    if (!std::all_of(spoiled, spoiled + pass_.lds, [](double x) { return x == 0; })) {
      if (sizeof(L) == 8) refuse_non_finite(pass_, at_, n_, row_, std::vector<double>(shift, shift + d));
      return sizeof(L) == 8;
    }
    for (std::int64_t k = 0; sizeof(L) == 4 && k < pass_.n_projected; ++k)
      if (!pass_.zero(k) && (top[k] > kHuge || top[k] < kTiny)) return false;
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

  bool add_few(const double* weights, std::int64_t n, std::int64_t m, std::int64_t wide, double* out) {
    scale_weights(weights, n, m, wide);
    few_.resize(std::size_t(wide * ld));
    if (!judged(
            lanes<L>().weigh[type()](at_, n, known_, d, paired_.data(), weight_.data(), wide, seen_, few_.data(), ld)))
      return false;
    for (std::int64_t j = 0; j < m; ++j) lanes<L>().add(few_.data() + j * ld, d, factor_[j], out + j * d);
    return true;
  }
  bool add_parts(const kernels::MatrixTable& unit, const double* weights, std::int64_t n, std::int64_t m, double* out) {
    const std::int64_t wide = kernels::padded(m);
    scale_weights(weights, n, m, wide);
    few_.resize(std::size_t(kernels::matrix_sums(d, wide)));
    matrix_work_.resize(std::size_t(kernels::matrix_sum_work(n, wide)) / sizeof(CacheLine));
    if constexpr (sizeof(L) == 4) {
      if (!judged(unit.sums[type()](at_, n, d, paired_.data(), weight_.data(), wide, seen_, matrix_work_.data(),
                                    few_.data())))
        return false;
      for (std::int64_t j = 0; j < m; ++j) unit.add_sums[type()](few_.data(), d, wide, j, factor_[j], out + j * d);
    }
    return true;
  }
  bool add_many(const double* weights, std::int64_t n, std::int64_t m, std::int64_t wide, double* out) {
    scale_weights(weights, n, m, wide);
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
    if (sizeof(L) == 8) refuse_non_finite(pass_, at_, n_, row_, std::vector<double>(shift, shift + d));
    return sizeof(L) == 8;
  }

  /// Panels of the columns from c; their width. Raises `largest_`.
  std::int64_t decode(std::int64_t c) {
    const std::int64_t n = n_, end = std::min(d, c + kChunk);
    tile_.resize(std::size_t(apart(n) * kChunk));
    largest_ = std::max(largest_,
                        lanes<L>().decode[type()](at_, n, c, end, lane_shift_.data(), seen_, tile_.data(), apart(n)));
    return kernels::padded(end - c);
  }
  /// Rows from panel to panel: odd, because panels a power of two apart would share a few sets of the cache.
  static std::int64_t apart(std::int64_t n) { return n | 1; }
};

}  // namespace clinometer
