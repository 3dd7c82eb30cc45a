#include <clinometer/lp/certificate.hpp>
#include <clinometer/lp/cone.hpp>

#include <limits>

#include "kernels/table.hpp"
#include "src/lp/parallel.hpp"
#include "src/lp/scaled.hpp"

namespace clinometer::lp {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kGap = 1e-9;                 // of the value: beyond it a problem is solved again in pairs of doubles
constexpr int kFarthest = -100;               // exponent of the smallest share a row may have in t
constexpr std::int64_t kLaneBytes = 1 << 19;  // of one group of lanes; larger problems are solved one by one

/// One problem: its rows over powers of two, and the best bounds and witnesses so far.
struct Problem {
  std::int64_t at = 0;
  int smallest = 0;  // exponent of the smallest row: t is measured in 2^smallest
  bool improvable = false, blocked = false;
  double lower = 0, upper = 0;
  std::vector<int> exponent;
  std::vector<double> rows, v, lambda;
};

/// Scratch of one thread.
struct Bench {
  std::vector<Problem> problems;
  Aligned m, g, low, high, work, x, y, y_low, products, sums;
  std::vector<std::int64_t> done;
  std::vector<double> one_x, one_y, one_low, one_products, one_sums;
};

class Cones {
 public:
  Cones(const double* a, std::int64_t k, std::int64_t d, const ConeResults& out)
      : a_(a), k_(k), d_(d), out_(out), table_(*kernels::active().lp) {
    const std::int64_t bytes = 8 * kernels::game_workspace(k, d) / 2 * table_.lanes;
    lanes_ = bytes <= kLaneBytes ? table_.lanes : 1;
  }
  std::int64_t lanes() const { return lanes_; }

  /// Problems [begin, end), at most `lanes` of them.
  void solve(std::int64_t begin, std::int64_t end, Bench& bench) const {
    std::int64_t count = 0;
    bench.problems.resize(std::size_t(lanes_));
    for (std::int64_t at = begin; at < end; ++at)
      if (prepare(at, bench.problems[count])) ++count;
    if (count == 0) return;
    first_solution(bench, count);
    for (std::int64_t l = 0; l < count; ++l) {
      Problem& p = bench.problems[l];
      take(bench, l, p);
      if (!settled(p)) again(bench, p);
      write(p);
    }
  }

 private:
  /// False if the answer is already written: NaN, Inf, or a zero row, which no direction improves.
  bool prepare(std::int64_t at, Problem& p) const {
    p.at = at;
    p.exponent.resize(std::size_t(k_));
    p.rows.resize(std::size_t(k_ * d_));
    p.v.assign(std::size_t(d_), 0);
    p.lambda.assign(std::size_t(k_), 0);
    p.improvable = p.blocked = false;
    p.lower = 0, p.upper = std::numeric_limits<double>::infinity();
    std::int64_t zero = 0;
    const Rows kind = scale_rows(a_ + at * k_ * d_, k_, d_, p.rows.data(), p.exponent.data(), zero);
    if (kind == Rows::invalid) {
      out_.status[at] = Status::invalid;
      out_.lower[at] = out_.upper[at] = kNaN;
      std::fill_n(out_.weights + at * d_, d_, kNaN);
      std::fill_n(out_.dual + at * k_, k_, kNaN);
      return false;
    }
    if (kind == Rows::zero) {
      p.blocked = true;
      p.upper = 0;
      p.lambda[zero] = 1;
      write(p);
      return false;
    }
    p.smallest = *std::min_element(p.exponent.begin(), p.exponent.end());
    return true;
  }

  double share(const Problem& p, std::int64_t i) const {
    return scale_by(1.0, std::max(p.smallest - p.exponent[i], kFarthest));
  }

  /// Lanes beyond `count` repeat the first problem.
  void first_solution(Bench& b, std::int64_t count) const {
    const std::int64_t w = lanes_;
    b.m.reserve(k_ * d_ * w), b.g.reserve(k_ * w), b.low.reserve(d_ * w), b.high.reserve(d_ * w);
    b.work.reserve(kernels::game_workspace(k_, d_) * w);
    b.x.reserve(d_ * w), b.y.reserve(k_ * w), b.products.reserve(k_ * w), b.sums.reserve(d_ * w);
    b.done.resize(std::size_t(w));
    double *const m = b.m.data(), *const g = b.g.data();
    for (std::int64_t l = 0; l < w; ++l) {
      const Problem& p = b.problems[l < count ? l : 0];
      for (std::int64_t e = 0; e < k_ * d_; ++e) m[e * w + l] = p.rows[e];
      for (std::int64_t i = 0; i < k_; ++i) g[i * w + l] = share(p, i);
    }
    std::fill_n(b.low.data(), d_ * w, -1.0);
    std::fill_n(b.high.data(), d_ * w, 1.0);
    const kernels::Game game{m,          g,          b.low.data(), b.high.data(), k_, d_, false, -1, b.work.data(),
                             b.x.data(), b.y.data(), nullptr,      b.done.data()};
    (w > 1 ? table_.solve : table_.solve_one)(game);
    (w > 1 ? table_.evaluate : table_.evaluate_one)(m, k_, d_, b.x.data(), b.y.data(), b.products.data(),
                                                    b.sums.data());
  }

  void take(Bench& b, std::int64_t l, Problem& p) const {
    const std::int64_t w = lanes_;
    const auto column = [w, l](Aligned& from, std::int64_t count, std::vector<double>& to) {
      to.resize(std::size_t(count));
      const double* const at = from.data() + l;
      for (std::int64_t i = 0; i < count; ++i) to[i] = at[i * w];
    };
    column(b.x, d_, b.one_x), column(b.y, k_, b.one_y);
    column(b.products, k_, b.one_products), column(b.sums, d_, b.one_sums);
    judge(b, p);
  }

  /// Bounds that v (one_x) and the prices of scaled rows (one_y) prove; the better of these and what is held.
  void judge(Bench& b, Problem& p) const {
    double mass = 0, weight = 0, size = 0;
    for (std::int64_t j = 0; j < d_; ++j) mass += std::fabs(b.one_x[j]);
    double lower = std::numeric_limits<double>::infinity();
    bool positive = true;
    for (std::int64_t i = 0; i < k_; ++i) {
      const double least = b.one_products[i] - doubt(b.one_products[i], d_, mass);
      positive = positive && least > 0;
      lower = std::min(lower, scale_by(least, p.exponent[i]));
    }
    if (positive && (lower > p.lower || !p.improvable)) {
      // A product of 1e-320 may round to 0 in the given coordinates; its sign does not.
      p.improvable = true;
      p.lower = std::max(lower, std::numeric_limits<double>::denorm_min());
      p.v = b.one_x;
    }
    for (std::int64_t i = 0; i < k_; ++i) {
      weight += scale_by(b.one_y[i], std::max(p.smallest - p.exponent[i], -1070));
      size += b.one_y[i];
    }
    if (!(weight > 0)) return;
    double upper = 0;
    for (std::int64_t j = 0; j < d_; ++j) upper += std::fabs(b.one_sums[j]) + doubt(b.one_sums[j], k_, size);
    upper = scale_by(upper / weight * (1 + 0x1p-50 * double(d_ + k_)), p.smallest);
    if (upper < p.upper || p.upper == std::numeric_limits<double>::infinity()) {
      p.upper = upper;
      for (std::int64_t i = 0; i < k_; ++i)
        p.lambda[i] = scale_by(b.one_y[i], std::max(p.smallest - p.exponent[i], -1070)) / weight;
    }
  }

  bool settled(const Problem& p) const {
    return p.improvable && p.upper - p.lower <= kGap * p.upper + scale_by(1e-15, p.smallest);
  }

  /// In pairs of doubles: in the given coordinates for the value, then with rows of one size for the sign.
  void again(Bench& b, Problem& p) const {
    if (!p.improvable && prove_blocked(b, p, b.one_y.data(), nullptr)) return;
    solve_pairs(b, p, false);
    if (p.improvable) return;
    solve_pairs(b, p, true);
    if (!p.improvable) prove_blocked(b, p, b.one_y.data(), b.one_low.data());
  }

  void solve_pairs(Bench& b, Problem& p, bool rows_alike) const {
    b.work.reserve(kernels::game_workspace(k_, d_));
    std::vector<double> g(std::size_t(k_), 1), low(std::size_t(d_), -1), high(std::size_t(d_), 1);
    for (std::int64_t i = 0; i < k_ && !rows_alike; ++i) g[i] = share(p, i);
    b.one_x.resize(std::size_t(d_)), b.one_y.resize(std::size_t(k_)), b.one_low.assign(std::size_t(k_), 0);
    std::int64_t done = 0;
    const kernels::Game game{p.rows.data(), g.data(),       low.data(),     high.data(),      k_,   d_, false, -1,
                             b.work.data(), b.one_x.data(), b.one_y.data(), b.one_low.data(), &done};
    table_.solve_pairs(game);
    table_.evaluate_one(p.rows.data(), k_, d_, b.one_x.data(), b.one_y.data(), b.one_products.data(),
                        b.one_sums.data());
    judge(b, p);
  }

  bool prove_blocked(Bench&, Problem& p, const double* y, const double* y_low) const {
    if (!holds_origin(p.rows.data(), k_, d_, y, y_low)) {
      // Integer rows: their weights are simple before rows were scaled, not after.
      std::vector<double> given(std::size_t(k_), 0), low(std::size_t(k_), 0), rows(p.rows);
      for (std::int64_t i = 0; i < k_; ++i) {
        const int e = p.smallest - p.exponent[i];
        if (e < -60) return false;
        given[i] = scale_by(y[i], e);
        if (y_low != nullptr) low[i] = scale_by(y_low[i], e);
        for (std::int64_t j = 0; j < d_; ++j) rows[i * d_ + j] = scale_by(p.rows[i * d_ + j], -e);
      }
      if (!holds_origin(rows.data(), k_, d_, given.data(), y_low == nullptr ? nullptr : low.data())) return false;
    }
    double weight = 0;
    for (std::int64_t i = 0; i < k_; ++i) weight += scale_by(y[i], std::max(p.smallest - p.exponent[i], -1070));
    if (!(weight > 0)) return false;
    for (std::int64_t i = 0; i < k_; ++i)
      p.lambda[i] = scale_by(y[i], std::max(p.smallest - p.exponent[i], -1070)) / weight;
    p.blocked = true;
    p.upper = 0;
    return true;
  }

  void write(const Problem& p) const {
    out_.status[p.at] = p.blocked ? Status::blocked : p.improvable ? Status::improvable : Status::undecided;
    out_.lower[p.at] = p.improvable ? p.lower : 0;
    out_.upper[p.at] = p.upper;
    for (std::int64_t j = 0; j < d_; ++j) out_.weights[p.at * d_ + j] = p.improvable ? p.v[j] : 0;
    std::copy_n(p.lambda.begin(), k_, out_.dual + p.at * k_);
  }

  const double* a_;
  std::int64_t k_, d_, lanes_;
  ConeResults out_;
  const kernels::LpTable& table_;
};

}  // namespace

void solve_cones(const double* a, std::int64_t problems, std::int64_t k, std::int64_t d, const Work& work,
                 const ConeResults& out) {
  const Cones cones(a, k, d, out);
  const std::int64_t step = cones.lanes(), groups = (problems + step - 1) / step, batch = 16;
  std::vector<Bench> benches(std::size_t(std::max(work.threads, 1)));
  parallel((groups + batch - 1) / batch, work, [&](std::int64_t at, int worker) {
    for (std::int64_t g = at * batch; g < std::min(groups, (at + 1) * batch); ++g)
      cones.solve(g * step, std::min(problems, (g + 1) * step), benches[worker]);
  });
}

}  // namespace clinometer::lp
