// One absorb() call: the inputs, where leaves begin, and the directions in lanes.
#pragma once
#include <clinometer/fold.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <tuple>

#include "kernels/table.hpp"
#include "src/long_dot.hpp"

namespace clinometer {

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
  bool absolute = false, relative = false;  // which scores a statistic takes
  std::int64_t n_weights = 0;               // the most that a statistic gives each row
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
    lds = n_projected > 8 ? kernels::padded(n_projected) : 1;
    while (lds < n_projected) lds *= 2;
    if (rounded() ? n_projected < kernels::kManyRounded : !dots() && !matrix()) lds = (n_projected + 3) / 4 * 4;
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
  bool many_weights() const { return n_weights > kernels::kFewWeights; }
  bool dots() const { return n_projected <= kernels::kDots; }
  /// The matrix unit, where there is one and it is the fastest way to these scores in lanes of float.
  const kernels::MatrixTable* matrix() const {
    const kernels::MatrixTable* const unit = kernels::active().matrix;
    return unit && n_projected >= unit->least[int(rows.dtype)] ? unit : nullptr;
  }
  /// Products of bf16 without decoding, where there are such and directions are as short: for few, memory sets the
  /// pace.
  const kernels::RoundedTable* rounded() const {
    const bool asked = options.rounded && !options.in_double && rows.dtype == Dtype::bf16;
    return asked && !dots() && !matrix() ? kernels::active().rounded : nullptr;
  }
  /// How dots and weigh take the columns (table.hpp).
  template <class L>
  std::int64_t pair() const {
    return lanes<L>().paired[int(rows.dtype)];
  }
  /// Direction k in its own scale, in lanes of L.
  template <class L>
  void direction(std::int64_t k, L* to) const {
    const double *const u = scored.directions + k * rows.d, by = 1 / scale[k];
    if (std::isfinite(by))
      for (std::int64_t c = 0; c < rows.d; ++c) to[c] = L(by * u[c]);
    else
      for (std::int64_t c = 0; c < rows.d; ++c) to[c] = L(u[c] / scale[k]);
  }
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

  /// Directions in lanes of L: rows for dot products, else packed (table.hpp). Doubles only if asked for.
  template <class L>
  const L* directions() const {
    auto& lanes = std::get<Lanes<L>>(lanes_);
    std::call_once(lanes.made, [&] {
      lanes.u.assign(std::size_t(lds * ld), L(0));
      std::vector<L> u(std::size_t(rows.d)), four(std::size_t(dots() ? 0 : 4 * ld));
      for (std::int64_t k = 0; k < lds; ++k) {
        u.assign(u.size(), L(0));
        if (k < n_projected) direction(k, u.data());
        kernels::to_pairs(u.data(), rows.d, pair<L>(), dots() ? &lanes.u[k * ld] : &four[k % 4 * ld]);
        if (!dots() && k % 4 == 3) clinometer::lanes<L>().pack(four.data(), ld, rows.d, k - 3, lds, lanes.u.data());
      }
    });
    return lanes.u.data();
  }
  /// Split directions, for the matrix unit.
  const void* parts(const kernels::MatrixTable& unit) const {
    std::call_once(parts_made_, [&] {
      std::vector<float> u(std::size_t(lds * ld), 0.0f), one(std::size_t(rows.d));
      for (std::int64_t k = 0; k < n_projected; ++k) {
        direction(k, one.data());
        kernels::to_pairs(one.data(), rows.d, pair<float>(), &u[k * ld]);
      }
      parts_.resize(std::size_t(kernels::matrix_packed(rows.d, lds)) / sizeof(CacheLine));
      unit.pack(u.data(), ld, rows.d, lds, parts_.data());
    });
    return parts_.data();
  }
  /// Directions in bf16, in the order of the columns.
  const void* halves(const kernels::RoundedTable& products) const {
    std::call_once(parts_made_, [&] {
      std::vector<float> u(std::size_t(lds * ld), 0.0f);
      for (std::int64_t k = 0; k < n_projected; ++k) direction(k, &u[k * ld]);
      parts_.resize(std::size_t(kernels::rounded_packed(rows.d, lds)) / sizeof(CacheLine));
      products.pack(u.data(), ld, rows.d, lds, parts_.data());
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

/// The pieces of the prompts in canonical rows [first, first + n), and their weights.
inline void cut(const Pass& pass, std::int64_t first, std::int64_t n, std::vector<Piece>& pieces,
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
inline std::int64_t block_rows(const Pass& pass, std::int64_t first, std::int64_t end, std::int64_t wanted) {
  if (end - first <= wanted) return end - first;
  const Prompts& p = pass.prompts;
  const std::int64_t border = *(std::upper_bound(p.offsets, p.offsets + p.n_prompts + 1, first + wanted) - 1);
  return border > first ? border - first : wanted;
}

}  // namespace clinometer
