// Tail index of every tilt from one walk over kept scores. A prompt is passed over where none of its ratios can be in a
// tail: log pi/pi0 = lam t - L, and L is at least lam times the mean of t (Jensen), so the largest is at most lam times
// the centred top.
#include <clinometer/pareto.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/table.hpp"
#include "src/share.hpp"

namespace clinometer {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr std::int64_t kSide = 8;
constexpr std::int64_t kRows = 512;         // of a long prompt at once
constexpr std::int64_t kTaskRows = 8192;    // of whole prompts in a task
constexpr std::int64_t kHeld = 1 << 23;     // ratios held by all threads together
constexpr std::int64_t kScratch = 1 << 15;  // scores of directions that are centred together

/// The largest numbers of those offered, all of them down to the `wanted`th.
class Largest {
 public:
  explicit Largest(std::size_t wanted) : wanted_(wanted) {}
  double least() const { return least_; }
  void offer(double x) {
    if (!(x > least_) && held_.size() >= wanted_) return;
    held_.push_back(x);
    if (held_.size() >= 2 * wanted_ + 64) cut();
  }
  void move_to(std::vector<double>& out) {
    out.insert(out.end(), held_.begin(), held_.end());
    held_ = {};
  }

 private:
  std::size_t wanted_;
  std::vector<double> held_;
  double least_ = -kInf;
  void cut() {
    std::nth_element(held_.begin(), held_.end() - std::int64_t(wanted_), held_.end());
    held_.erase(held_.begin(), held_.end() - std::int64_t(wanted_));
    least_ = held_.front();
  }
};

/// One tilt of a prompt: t centred under the base weights, with its largest value and magnitude on the support.
struct Lane {
  std::int64_t cell;
  const double* t;
  double lam, top, widest;
  bool small() const { return lam * widest < 1 || widest == 0; }
};

/// A prompt's tilts, eight at a time.
class Walk {
 public:
  Walk(const KeptScores& kept, const double* betas, std::int64_t n_betas, const double* base, std::int64_t every)
      : kept_(kept), betas_(betas), n_betas_(n_betas), base_(base), every_(every), x_(kRows * kSide) {}

  /// Ratios of prompt g for cells [from, to) of (K, B) to lists[cell - first].
  void prompt(std::int64_t g, std::int64_t from, std::int64_t to, std::int64_t first, std::vector<Largest>& lists) {
    lists_ = &lists, first_ = first;
    begin_ = kept_.offset[g], n_ = kept_.offset[g + 1] - begin_;
    equal_.assign(std::size_t(kept_.weight ? 0 : n_), 1 / double(n_));
    w_ = kept_.weight ? kept_.weight + begin_ : equal_.data();
    const std::int64_t some = std::clamp<std::int64_t>(kScratch / n_, 1, 16);
    for (std::int64_t cell = from; cell < to;) {
      const std::int64_t k = cell / n_betas_, end = std::min(to, (k + some) * n_betas_);
      centre(k, (end - 1) / n_betas_ + 1);
      used_ = 0;
      for (std::int64_t c = cell; c < end; ++c) {
        const std::int64_t i = c / n_betas_ - k;
        take({c, t_.data() + i * n_, betas_[c] == 0 ? kInf : 1 / betas_[c], top_[i], widest_[i]});
      }
      settle();
      cell = end;
    }
  }

 private:
  const KeptScores& kept_;
  const double* betas_;
  std::int64_t n_betas_;
  const double* base_;
  std::int64_t every_, first_ = 0, begin_ = 0, n_ = 0, used_ = 0;
  const double* w_ = nullptr;
  std::vector<Largest>* lists_ = nullptr;
  std::vector<double> x_, grown_, t_, top_, widest_, equal_;
  std::array<Lane, kSide> lane_;

  /// Directions [from, to), each in a column; rows of weight 0 stay at the top, where they disturb nothing.
  void centre(std::int64_t from, std::int64_t to) {
    const std::int64_t K = kept_.n_scores, many = to - from;
    t_.resize(std::size_t(many * n_));
    top_.assign(std::size_t(many), -kInf);
    widest_.assign(std::size_t(many), 0);
    for (std::int64_t i = 0; i < many; ++i) {
      const double* const score = kept_.score + begin_ * K + from + i;
      double* const t = t_.data() + i * n_;
      double mean = 0;
      for (std::int64_t r = 0; r < n_; ++r) mean += w_[r] * (score[r * K] - score[0]);
      for (std::int64_t r = 0; r < n_; ++r) {
        t[r] = (score[r * K] - score[0]) - mean;
        if (!(w_[r] > 0)) continue;
        top_[i] = std::max(top_[i], t[r]);
        widest_[i] = std::max(widest_[i], std::abs(t[r]));
      }
      for (std::int64_t r = 0; r < n_; ++r)
        if (!(w_[r] > 0)) t[r] = top_[i];
    }
  }

  Largest& list(const Lane& l) { return (*lists_)[std::size_t(l.cell - first_)]; }

  void take(const Lane& l) {
    const double most = l.lam * l.top;
    if (!base_ && most < kInf && most * (1 + 1e-9) + 1e-12 < list(l).least()) return;
    lane_[used_++] = l;
    if (used_ == kSide) settle();
  }

  /// x = lam (t - reference) of rows [at, at + rows): the reference is the mean of a small tilt, else the top.
  void fill(std::int64_t at, std::int64_t rows) {
    for (std::int64_t m = 0; m < kSide; ++m) {
      const Lane& l = lane_[std::size_t(std::min(m, used_ - 1))];
      const double from = l.small() ? 0 : l.top;
      for (std::int64_t r = 0; r < rows; ++r) {
        const double t = l.t[at + r] - from;
        x_[r * kSide + m] = t == 0 || l.lam == 0 ? 0 : l.lam * t;  // without a tilt no difference counts
      }
    }
  }

  /// log sum_i w_i exp(x_i) of each lane.
  void log_masses(double* out) {
    std::int64_t small[kSide];
    for (std::int64_t m = 0; m < kSide; ++m) small[m] = lane_[std::size_t(std::min(m, used_ - 1))].small();
    if (n_ <= kRows) {
      fill(0, n_);
      kernels::active().log_masses(x_.data(), w_, small, n_, kSide, out);
      return;
    }
    const std::int64_t all[kSide] = {1, 1, 1, 1, 1, 1, 1, 1};
    const bool any_small = std::any_of(small, small + kSide, [](auto s) { return s != 0; });
    double mass[kSide] = {}, excess[kSide] = {}, part[kSide];
    grown_.resize(x_.size());
    for (std::int64_t at = 0; at < n_; at += kRows) {
      const std::int64_t rows = std::min(kRows, n_ - at);
      fill(at, rows);
      kernels::active().exponentials(x_.data(), grown_.data(), rows * kSide);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t m = 0; m < kSide; ++m) mass[m] += w_[at + r] * grown_[r * kSide + m];
      if (!any_small) continue;
      kernels::active().log_masses(x_.data(), w_ + at, all, rows, kSide, part);
      for (std::int64_t m = 0; m < kSide; ++m) excess[m] += std::expm1(part[m]);
    }
    for (std::int64_t m = 0; m < kSide; ++m) out[m] = small[m] ? std::log1p(excess[m]) : std::log(mass[m]);
  }

  /// Offers the ratios of the lanes taken.
  void settle() {
    if (used_ == 0) return;
    double log_mass[kSide];
    log_masses(log_mass);
    for (std::int64_t at = 0; at < n_; at += kRows) {
      const std::int64_t rows = std::min(kRows, n_ - at);
      if (n_ > kRows) fill(at, rows);
      for (std::int64_t m = 0; m < used_; ++m) offer(m, at, rows, log_mass[m]);
    }
    used_ = 0;
  }

  void offer(std::int64_t m, std::int64_t at, std::int64_t rows, double log_mass) {
    const Lane& l = lane_[std::size_t(m)];
    Largest& to = list(l);
    if (!base_ && (l.small() ? l.lam * l.top : 0) - log_mass <= to.least()) return;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t row = at + r;
      if (every_ > 1 && (begin_ + row) % every_ != 0) continue;
      if (base_)
        to.offer(w_[row] > 0 ? x_[r * kSide + m] - log_mass + base_[begin_ + row] : -kInf);
      else if (w_[row] > 0)
        to.offer(x_[r * kSide + m] - log_mass);
    }
  }
};

/// First prompt of each task: whole prompts of about kTaskRows rows.
std::vector<std::int64_t> tasks_of(const KeptScores& kept) {
  std::vector<std::int64_t> out{0};
  for (std::int64_t g = 1; g <= kept.n_prompts; ++g)
    if (g == kept.n_prompts || kept.offset[g + 1] - kept.offset[out.back()] > kTaskRows) out.push_back(g);
  return out;
}

std::int64_t counted_rows(const KeptScores& kept, bool all, std::int64_t every) {
  const std::int64_t n = kept.offset[kept.n_prompts];
  std::int64_t out = 0;
  for (std::int64_t i = 0; i < n; i += every) out += all || !kept.weight || kept.weight[i] > 0;
  return out;
}

}  // namespace

void pareto_tails(const KeptScores& kept, const double* betas, std::int64_t n_betas, const double* base,
                  std::int64_t every, std::int64_t n_threads, const std::function<void()>& poll, double* out) {
  const std::int64_t cells = kept.n_scores * n_betas, n = counted_rows(kept, base != nullptr, every);
  const std::int64_t wanted = pareto_tail(n);
  const std::vector<std::int64_t> tasks = tasks_of(kept);
  const std::int64_t blocks = std::int64_t(tasks.size()) - 1;
  const std::int64_t strip = std::max<std::int64_t>(kSide, kHeld / (n_threads * (2 * wanted + 64)));
  std::vector<Walk> walks(static_cast<std::size_t>(n_threads), Walk(kept, betas, n_betas, base, every));
  for (std::int64_t first = 0; first < cells; first += strip) {
    const std::int64_t many = std::min(strip, cells - first);
    // few prompts: threads take tilts apart instead
    const std::int64_t parts = std::clamp<std::int64_t>(8 * n_threads / std::max<std::int64_t>(blocks, 1), 1, many);
    const std::vector<Largest> none(static_cast<std::size_t>(many), Largest(static_cast<std::size_t>(wanted)));
    std::vector<std::vector<Largest>> held(static_cast<std::size_t>(n_threads), none);
    share(blocks * parts, n_threads, poll, [&](std::int64_t i, int worker) {
      const std::int64_t part = i % parts, from = first + many * part / parts, to = first + many * (part + 1) / parts;
      for (std::int64_t g = tasks[i / parts]; g < tasks[i / parts + 1]; ++g)
        walks[std::size_t(worker)].prompt(g, from, to, first, held[std::size_t(worker)]);
    });
    share(many, n_threads, poll, [&](std::int64_t cell, int) {
      std::vector<double> ratios;
      for (auto& lists : held) lists[std::size_t(cell)].move_to(ratios);
      out[first + cell] = pareto_k(ratios, n);
    });
  }
}

}  // namespace clinometer
