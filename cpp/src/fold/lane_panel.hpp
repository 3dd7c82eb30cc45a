// Rows for statistics whose state is too large for a leaf and thread each.
#pragma once
#include "src/fold/lane_tile.hpp"

namespace clinometer {

/// Rows whose results are added to the d x d sums at once: more for wide sums, whose memory is the bottleneck.
inline std::int64_t panel_rows(const Pass& pass) { return pass.rows.d >= 2048 ? 2048 : 1024; }

template <class L>
class LanePanel : public Panel {
 public:
  explicit LanePanel(const Pass& pass) : pass_(pass) {
    d = pass.rows.d;
    width = d + pass.scored.n_values;
    ld = kernels::padded(width);
  }

  /// Takes canonical rows [first, first + n).
  void take_rows(const std::vector<double>& shift, std::int64_t first, std::int64_t rows) {
    n = rows;
    shift64_ = shift;
    cut(pass_, first, n, pieces, weights_);
    weight = weights_.data();
    shift_.assign(shift.begin(), shift.end());
    for (std::int64_t j = d; j < width; ++j) shift_.push_back(L(value(pass_.row(first), j)));
    for (L& s : shift_)
      if (!std::isfinite(s)) s = 0;
    row_.resize(std::size_t(n));
    at_.resize(std::size_t(n));
    for (std::int64_t i = 0; i < n; ++i) at_[i] = pass_.rows.at(row_[i] = pass_.row(first + i));
    too_large_ = false;
  }
  bool fits() const override {
    if (too_large_ && sizeof(L) == 8)
      refuse_non_finite(pass_, at_.data(), std::int64_t(at_.size()), row_.data(), shift64_);
    return !too_large_ || sizeof(L) == 8;
  }

  bool rests() const override { return unit() != nullptr; }
  void reserve(std::int64_t rows, const double* weight) override {
    rows_ = rows;
    lone_ = false;
    share_ = weight;
    root_.clear();
    for (std::int64_t i = 0; !rests() && i < rows; ++i) root_.push_back(L(std::sqrt(weight[i])));
    work_.resize(std::size_t(rows * ld));
  }

  void centre(const Piece& p, const double* w, std::int64_t to, std::int64_t rest, std::int64_t first, std::int64_t end,
              double* mean) override {
    thread_local std::vector<L> tile;
    for (std::int64_t begin = first; begin < end; begin += kChunk) {
      const std::int64_t stop = std::min(end, begin + kChunk);
      look(p, begin, stop, tile);
      for (std::int64_t c = begin; c < stop; c += 16) {
        const L* const panel = tile.data() + (c - begin) * p.count;
        L m[16], *const work = work_.data() + c * rows_;
        if constexpr (sizeof(L) == 4)
          if (rest >= 0) unit()->centre(panel, p.count, w, m, work + rest * 16, work + to * 16);
        if (rest < 0) lanes<L>().deviations(panel, p.count, w, &root_[to], m, work + to * 16);
        for (int j = 0; j < 16 && c + j < width; ++j) mean[c + j] = double(shift_[c + j]) + double(m[j]);
      }
    }
  }
  void put(const double* x, double weight) override {
    lone_ = true;
    const double factor = std::sqrt(weight);
    for (std::int64_t c = 0; c < ld; ++c) work_[c / 16 * 16 * rows_ + c % 16] = c < width ? L(factor * x[c]) : L(0);
  }
  void take(std::int64_t r0, std::int64_t r1, Team& team) override {
    first_ = r0;
    taken_ = r1 - r0;
    if (in_parts()) split(team);
  }
  void gram(std::int64_t a0, std::int64_t a1, std::int64_t b0, std::int64_t b1, double* out,
            std::int64_t ldo) const override {
    if (taken_ == 0) return;
    if (in_parts())
      unit()->gram({items_.data(), parts_.data(), taken_}, a0, a1, b0, b1, by_, out, ldo);
    else
      lanes<L>().gram(work_.data() + first_ * 16, taken_, rows_, a0, a1, b0, b1, out, ldo);
  }
  void squares(double* out) const override {
    for (std::int64_t c = 0; c < ld; ++c)
      for (std::int64_t i = first_; i < first_ + taken_; ++i) {
        const double x = work_[c / 16 * 16 * rows_ + i * 16 + c % 16];
        out[c] += in_parts() ? share_[i] * x * x : x * x;
      }
  }

 private:
  const Pass& pass_;
  std::vector<L> shift_, work_;
  std::vector<double> weights_, shift64_;
  std::atomic<bool> too_large_{false};
  std::vector<const void*> at_;
  std::vector<std::int64_t> row_;
  std::int64_t rows_ = 0;               // of the work tile
  std::int64_t first_ = 0, taken_ = 0;  // those that are summed
  const double* share_ = nullptr;       // weights of the work rows
  std::vector<L> root_;                 // their roots, which rows are multiplied by where there are no rests
  bool lone_ = false;                   // one row, multiplied by its own
  // for a matrix unit: the split rows; weights of rows are 1 at most, and by_ makes up for it
  std::vector<CacheLine> items_;
  std::vector<std::uint8_t> parts_;
  double by_ = 1;

  static const kernels::MatrixTable* unit() { return sizeof(L) == 4 ? kernels::active().matrix : nullptr; }

  /// Whether work rows are without their weights, and summed by the matrix unit.
  bool in_parts() const { return rests() && !lone_; }

  void split(Team& team) {
    const std::int64_t lines = kernels::matrix_panel(taken_) / std::int64_t(sizeof(CacheLine)),
                       counts = 2 * ((taken_ + 31) / 32);
    items_.resize(std::size_t(ld / 16 * lines));
    parts_.resize(std::size_t(ld / 16 * counts));
    double most = 0;
    for (std::int64_t i = first_; i < first_ + taken_; ++i) most = std::max(most, share_[i]);
    by_ = most > 0 ? most : 1;
    std::vector<float> weight;
    for (std::int64_t i = first_; i < first_ + taken_; ++i) weight.push_back(float(share_[i] / by_));
    team.parallel(ld / 16, [&](std::int64_t panel) {
      if constexpr (sizeof(L) == 4)
        unit()->split(work_.data() + (panel * rows_ + first_) * 16, taken_, weight.data(),
                      items_.data() + panel * lines, parts_.data() + panel * counts);
    });
  }

  /// A piece's columns [first, end) in lanes, and whether these hold them.
  void look(const Piece& p, std::int64_t first, std::int64_t end, std::vector<L>& tile) {
    tile.resize(std::size_t(p.count * kernels::padded(end - first)));
    if (first < d) {
      const double largest = lanes<L>().decode[int(pass_.rows.dtype)](
          at_.data() + p.first, p.count, first, std::min(d, end), shift_.data(), false, tile.data(), p.count);
      if (!(largest <= (sizeof(L) == 4 ? kHuge : std::numeric_limits<double>::max()))) too_large_ = true;
    }
    values(p, first, end, tile.data());
  }

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

}  // namespace clinometer
