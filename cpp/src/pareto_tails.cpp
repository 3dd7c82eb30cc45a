// Tail index of every tilt from one walk over kept scores. A prompt is passed over where none of its ratios can be in a
// tail: log pi/pi0 = lam t - L, and L is at least 0 where t is centred (Jensen), or what the first moments of t say.
#include <clinometer/pareto.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>

#include "kernels/table.hpp"
#include "src/share.hpp"

namespace clinometer {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr std::int64_t kSide = 8, kMoments = 4;
constexpr std::int64_t kRows = 512;         // of a long prompt at once
constexpr std::int64_t kTaskRows = 8192;    // of whole prompts in a task
constexpr std::int64_t kHeld = 1 << 23;     // ratios held by all threads together
constexpr std::int64_t kSample = 16;        // one of so many prompts says where the tails end
constexpr double kSeries = 5;               // exponents up to which five terms say something, and keep their digits
constexpr std::int64_t kScratch = 1 << 15;  // scores of directions that are centred together

/// What each thread's list of one tilt has at its share of the numbers wanted: together they have enough that are no
/// smaller than the least of these.
class Shares {
 public:
  explicit Shares(std::size_t threads) : at_(threads) {
    for (auto& x : at_) x = -kInf;
  }
  double publish(std::size_t thread, double x) {
    at_[thread].store(x, std::memory_order_relaxed);
    for (const auto& other : at_) x = std::min(x, other.load(std::memory_order_relaxed));
    return x;
  }
  std::size_t threads() const { return at_.size(); }

 private:
  std::vector<std::atomic<double>> at_;
};

/// The largest numbers of those offered to one thread, all of them that are among the `wanted` of all threads.
class Largest {
 public:
  /// None of those wanted is as small as `least`.
  Largest(std::size_t wanted, double least, std::size_t thread, Shares& shares)
      : wanted_(wanted), thread_(thread), shares_(&shares), least_(least) {}
  double least() const { return least_; }
  void offer(double x) {
    if (!(x > least_) && (least_ > -kInf || held_.size() >= wanted_)) return;
    held_.push_back(x);
    if (held_.size() >= 2 * wanted_ + 64) cut();
  }
  void move_to(std::vector<double>& out) {
    out.insert(out.end(), held_.begin(), held_.end());
    held_ = {};
  }

 private:
  std::size_t wanted_, thread_;
  Shares* shares_;
  double least_;
  std::vector<double> held_;
  void cut() {
    const auto last = [&](std::size_t n) { return held_.end() - std::int64_t(n); };
    std::nth_element(held_.begin(), last(wanted_), held_.end());
    held_.erase(held_.begin(), last(wanted_));
    least_ = std::max(least_, held_.front());
    const std::size_t share = (wanted_ + shares_->threads() - 1) / shares_->threads();
    std::nth_element(held_.begin(), last(share), held_.end());
    least_ = std::max(least_, shares_->publish(thread_, *last(share)));
  }
};

/// One tilt of a prompt: t centred under the base weights, with its largest value and magnitude on the support.
struct Lane {
  std::int64_t cell;
  const double* t;
  double lam, top, widest;
  const double* moments;
  bool small() const { return lam * widest < 1 || widest == 0; }

  /// No ratio of the prompt has a larger logarithm: Jensen says lam top - log E e^x <= lam top.
  double first_bound() const { return lam * top; }
  /// The same from e^x >= 1 + x + ... + x^5/5!, which holds for every x.
  double bound() const {
    if (!(lam * widest <= kSeries)) return lam * top;
    const double c = moments[0] + lam * (moments[1] + lam * (moments[2] + lam * moments[3]));
    return lam * top - std::log1p(std::max(lam * lam * c, 0.0));
  }
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
        take({c, t_.data() + i * n_, betas_[c] == 0 ? kInf : 1 / betas_[c], top_[i], widest_[i],
              moments_.data() + i * kMoments});
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
  std::vector<double> x_, grown_, t_, top_, widest_, equal_, moments_;  // E t^m / m! for m = 2 to 5
  std::array<Lane, kSide> lane_{};

  /// Directions [from, to), each in a column; rows of weight 0 stay at the top, where they disturb nothing.
  void centre(std::int64_t from, std::int64_t to) {
    const std::int64_t K = kept_.n_scores, many = to - from;
    t_.resize(std::size_t(many * n_));
    top_.assign(std::size_t(many), -kInf);
    widest_.assign(std::size_t(many), 0);
    moments_.assign(std::size_t(many * kMoments), 0);
    for (std::int64_t i = 0; i < many; ++i) {
      const double* const score = kept_.score + begin_ * K + from + i;
      double* const t = t_.data() + i * n_;
      double mean = 0;
      for (std::int64_t r = 0; r < n_; ++r) mean += w_[r] * (score[r * K] - score[0]);
      double top = -kInf, widest = 0, m2 = 0, m3 = 0, m4 = 0, m5 = 0;
      bool all = true;
      for (std::int64_t r = 0; r < n_; ++r) {
        const double w = w_[r], x = (score[r * K] - score[0]) - mean, x2 = x * x, wx2 = w * x2;
        t[r] = x;
        all = all && w > 0;
        if (!(w > 0)) continue;
        top = std::max(top, x);
        widest = std::max(widest, std::abs(x));
        m2 += wx2, m3 += wx2 * x, m4 += wx2 * x2, m5 += wx2 * x2 * x;
      }
      for (std::int64_t r = 0; !all && r < n_; ++r)
        if (!(w_[r] > 0)) t[r] = top;
      top_[i] = top, widest_[i] = widest;
      double* const moments = moments_.data() + i * kMoments;
      moments[0] = m2 / 2, moments[1] = m3 / 6, moments[2] = m4 / 24, moments[3] = m5 / 120;
    }
  }

  /// Whether x is less, whatever it lost by rounding.
  static bool below(double x, double least) { return std::isfinite(x) && x + 1e-9 * std::abs(x) + 1e-12 < least; }

  Largest& list(const Lane& l) { return (*lists_)[std::size_t(l.cell - first_)]; }

  void take(const Lane& l) {
    if (!base_ && (below(l.first_bound(), list(l).least()) || below(l.bound(), list(l).least()))) return;
    lane_[used_++] = l;
    if (used_ == kSide) settle();
  }

  /// x = lam (t - reference) of rows [at, at + rows): the reference is the mean of a small tilt, else the top.
  void fill(std::int64_t at, std::int64_t rows) {
    const double* t[kSide];
    double lam[kSide], from[kSide];
    bool finite = true;
    for (std::int64_t m = 0; m < kSide; ++m) {
      const Lane& l = lane_[std::size_t(std::min(m, used_ - 1))];
      t[m] = l.t + at, lam[m] = l.lam, from[m] = l.small() ? 0 : l.top;
      finite = finite && l.lam < kInf;
    }
    double* x = x_.data();
    for (std::int64_t r = 0; finite && r < rows; ++r, x += kSide)
      for (std::int64_t m = 0; m < kSide; ++m) x[m] = lam[m] * (t[m][r] - from[m]);
    for (std::int64_t r = 0; !finite && r < rows; ++r, x += kSide)
      for (std::int64_t m = 0; m < kSide; ++m) {
        const double below = t[m][r] - from[m];
        x[m] = below == 0 || lam[m] == 0 ? 0 : lam[m] * below;  // without a tilt no difference counts
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

/// The tails of some tilts at a time.
class Tails {
 public:
  Tails(const KeptScores& kept, const double* betas, std::int64_t n_betas, const double* base, std::int64_t every,
        std::int64_t n_threads, const std::function<void()>& poll)
      : n_threads_(n_threads),
        n_prompts_(kept.n_prompts),
        n_(counted_rows(kept, base != nullptr, every)),
        wanted_(pareto_tail(n_)),
        tasks_(tasks_of(kept)),
        poll_(poll),
        walks_(static_cast<std::size_t>(n_threads), Walk(kept, betas, n_betas, base, every)) {}

  std::int64_t at_once() const { return std::max<std::int64_t>(kSide, kHeld / (n_threads_ * (2 * wanted_ + 64))); }

  /// k-hat of cells [first, first + many). What a sample of the prompts has for the end of a tail is surely not above
  /// it where enough are found beyond, as nearly always; else that cell is looked at without.
  void cells(std::int64_t first, std::int64_t many, double* out) {
    std::vector<double> least(static_cast<std::size_t>(many), -kInf);
    if (n_prompts_ >= kSample * kSample) guess(first, least);
    Ratios found = largest(first, least, wanted_, 1);
    for (std::int64_t cell = 0; cell < many; ++cell) {
      auto& ratios = found[std::size_t(cell)];
      if (least[std::size_t(cell)] == -kInf || std::int64_t(ratios.size()) >= wanted_) continue;
      ratios = std::move(largest(first + cell, {-kInf}, wanted_, 1)[0]);
    }
    share(many, n_threads_, poll_, [&](std::int64_t cell, int) { out[cell] = pareto_k(found[std::size_t(cell)], n_); });
  }

 private:
  using Ratios = std::vector<std::vector<double>>;
  std::int64_t n_threads_, n_prompts_, n_, wanted_;
  std::vector<std::int64_t> tasks_;
  const std::function<void()>& poll_;
  std::vector<Walk> walks_;

  /// Numbers that are hardly in each tail: rather more than its share of the ratios of a sample are larger.
  void guess(std::int64_t first, std::vector<double>& least) {
    const double part = double(wanted_) / double(kSample);
    const auto rank = std::int64_t(1.25 * part + 3 * std::sqrt(part)) + 1;
    Ratios some = largest(first, least, rank, kSample);
    for (std::size_t cell = 0; cell < least.size(); ++cell) {
      auto& ratios = some[cell];
      if (std::int64_t(ratios.size()) < rank) continue;
      std::nth_element(ratios.begin(), ratios.end() - rank, ratios.end());
      least[cell] = std::nextafter(*(ratios.end() - rank), -kInf);  // ties with it count
    }
  }

  /// Of every `step`th prompt all ratios of cells from `first` on that are among so many wanted and above `least`, and
  /// perhaps others.
  Ratios largest(std::int64_t first, const std::vector<double>& least, std::int64_t wanted, std::int64_t step) {
    const auto many = std::int64_t(least.size()), blocks = std::int64_t(tasks_.size()) - 1;
    std::vector<Shares> shares;
    for (std::int64_t cell = 0; cell < many; ++cell) shares.emplace_back(static_cast<std::size_t>(n_threads_));
    std::vector<std::vector<Largest>> held(static_cast<std::size_t>(n_threads_));
    for (std::size_t thread = 0; thread < held.size(); ++thread)
      for (std::size_t cell = 0; cell < shares.size(); ++cell)
        held[thread].emplace_back(static_cast<std::size_t>(wanted), least[cell], thread, shares[cell]);
    // few prompts: threads take tilts apart instead
    const std::int64_t parts = std::clamp<std::int64_t>(8 * n_threads_ / std::max<std::int64_t>(blocks, 1), 1, many);
    share(blocks * parts, n_threads_, poll_, [&](std::int64_t i, int worker) {
      const std::int64_t part = i % parts, from = first + many * part / parts, to = first + many * (part + 1) / parts;
      const std::int64_t begin = (tasks_[i / parts] + step - 1) / step * step;
      for (std::int64_t g = begin; g < tasks_[i / parts + 1]; g += step)
        walks_[std::size_t(worker)].prompt(g, from, to, first, held[std::size_t(worker)]);
    });
    Ratios out(least.size());
    for (std::size_t cell = 0; cell < out.size(); ++cell)
      for (auto& lists : held) lists[cell].move_to(out[cell]);
    return out;
  }
};

}  // namespace

void pareto_tails(const KeptScores& kept, const double* betas, std::int64_t n_betas, const double* base,
                  std::int64_t every, std::int64_t n_threads, const std::function<void()>& poll, double* out) {
  Tails tails(kept, betas, n_betas, base, every, n_threads, poll);
  const std::int64_t cells = kept.n_scores * n_betas, strip = tails.at_once();
  for (std::int64_t first = 0; first < cells; first += strip)
    tails.cells(first, std::min(strip, cells - first), out + first);
}

}  // namespace clinometer
