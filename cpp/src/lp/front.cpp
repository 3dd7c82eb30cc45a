#include <clinometer/lp/front.hpp>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "kernels/table.hpp"
#include "src/lp/parallel.hpp"

namespace clinometer::lp {
namespace {

class Front {
 public:
  Front(const double* points, std::int64_t n, std::int64_t k, const Work& work, std::uint8_t* keep)
      : points_(points), n_(n), k_(k), work_(work), keep_(keep), order_(std::size_t(n), 0) {
    std::iota(order_.begin(), order_.end(), std::int64_t{0});
    // Largest first, coordinate by coordinate: a point can then be dominated only by one before it.
    std::sort(order_.begin(), order_.end(), [this](std::int64_t a, std::int64_t b) {
      const double *x = at(a), *y = at(b);
      for (std::int64_t j = 0; j < k_; ++j)
        if (x[j] != y[j]) return x[j] > y[j];
      return a < b;
    });
  }

  void run() {
    if (k_ <= 2) {
      sweep_plane();
    } else if (k_ == 3) {
      sweep_space();
    } else {
      sift();
    }
  }

 private:
  const double* at(std::int64_t i) const { return points_ + i * k_; }
  bool same(std::int64_t a, std::int64_t b) const { return std::equal(at(a), at(a) + k_, at(b)); }

  void sweep_plane() {
    const double* last = nullptr;
    double best = 0;
    for (const std::int64_t i : order_) {
      const double y = at(i)[k_ - 1];
      const bool in = last == nullptr || y > best || (k_ == 1 ? y == best : std::equal(last, last + k_, at(i)));
      keep_[i] = in;
      if (in) last = at(i), best = y;
    }
  }

  /// The staircase of (second, third) over points with larger first: third falls as second rises.
  void sweep_space() {
    std::map<double, double> stairs;
    std::int64_t before = -1;
    for (const std::int64_t i : order_) {
      if (before >= 0 && same(before, i)) {
        keep_[i] = keep_[before];
        continue;
      }
      before = i;
      const double y = at(i)[1], z = at(i)[2];
      auto step = stairs.lower_bound(y);  // the nearest stair at least as far in the second coordinate
      keep_[i] = step == stairs.end() || step->second < z;
      if (!keep_[i]) continue;
      step = stairs.insert_or_assign(y, z).first;
      while (step != stairs.begin() && std::prev(step)->second <= z) stairs.erase(std::prev(step));
    }
  }

  bool dominates(const double* a, const double* b) const {
    for (std::int64_t j = 0; j < k_; ++j)
      if (a[j] < b[j]) return false;
    return true;  // distinct points only come here
  }

  void append(std::vector<double>& packed, std::int64_t number, const double* point) const {
    constexpr std::int64_t w = kernels::kMostLanes;
    if (number % w == 0) packed.resize(packed.size() + std::size_t(w * k_), -std::numeric_limits<double>::infinity());
    double* const block = packed.data() + number / w * w * k_;
    for (std::int64_t j = 0; j < k_; ++j) block[j * w + number % w] = point[j];
  }

  /// By falling sum no point is dominated by a later one, and strong points come first. A block is compared with
  /// the front so far by all threads, then against itself in order.
  void sift() {
    std::vector<double> sum(std::size_t(n_), 0);
    for (std::int64_t i = 0; i < n_; ++i) sum[i] = std::accumulate(at(i), at(i) + k_, 0.0);
    std::vector<std::int64_t> first;  // one of each group of equal points
    std::vector<std::int64_t> leader(std::size_t(n_), 0);
    for (std::int64_t s = 0; s < n_; ++s) {
      const bool again = s > 0 && same(order_[s - 1], order_[s]);
      leader[order_[s]] = again ? leader[order_[s - 1]] : order_[s];
      if (!again) first.push_back(order_[s]);
    }
    // Sums are rounded alike for equal coordinates and monotone in each, so only ties need the order above.
    std::stable_sort(first.begin(), first.end(), [&sum](std::int64_t a, std::int64_t b) { return sum[a] > sum[b]; });
    const auto dominated = kernels::active().lp->dominated;
    std::vector<const double*> front;
    std::vector<double> packed;  // the front in blocks, as `dominated` takes it
    std::vector<char> alive(first.size(), 1);
    constexpr std::int64_t block = 4096, share = 64;
    for (std::int64_t begin = 0; begin < std::int64_t(first.size()); begin += block) {
      const std::int64_t end = std::min<std::int64_t>(begin + block, std::int64_t(first.size()));
      const auto blocks = std::int64_t(packed.size()) / (kernels::kMostLanes * k_);
      parallel((end - begin + share - 1) / share, work_, [&](std::int64_t part, int) {
        for (std::int64_t s = begin + part * share; s < std::min(end, begin + (part + 1) * share); ++s)
          alive[s] = !dominated(packed.data(), blocks, k_, at(first[s]));
      });
      const std::size_t old = front.size();
      for (std::int64_t s = begin; s < end; ++s) {
        for (std::size_t f = old; f < front.size() && alive[s]; ++f) alive[s] = !dominates(front[f], at(first[s]));
        if (alive[s]) front.push_back(at(first[s]));
      }
      for (std::size_t f = old; f < front.size(); ++f) append(packed, std::int64_t(f), front[f]);
    }
    std::vector<std::uint8_t> kept(std::size_t(n_), 0);
    for (std::size_t s = 0; s < first.size(); ++s) kept[first[s]] = std::uint8_t(alive[s]);
    for (std::int64_t i = 0; i < n_; ++i) keep_[i] = kept[leader[i]];
  }

  const double* points_;
  std::int64_t n_, k_;
  const Work& work_;
  std::uint8_t* keep_;
  std::vector<std::int64_t> order_;
};

}  // namespace

void pareto_front(const double* points, std::int64_t n, std::int64_t k, const Work& work, std::uint8_t* keep) {
  if (n > 0) Front(points, n, k, work, keep).run();
}

}  // namespace clinometer::lp
