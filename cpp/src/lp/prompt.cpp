#include <clinometer/lp/prompt.hpp>

#include <cmath>
#include <limits>

#include "kernels/table.hpp"
#include "src/lp/parallel.hpp"
#include "src/lp/prompt_data.hpp"
#include "src/lp/scaled.hpp"

namespace clinometer::lp {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr std::int64_t kLaneBytes = 1 << 19;
constexpr std::int64_t kTask = 64;  // groups of lanes a task holds

struct Bench {
  std::vector<PromptGame> games;
  Aligned m, g, low, high, work, x, y, products, sums;
  std::vector<std::int64_t> done;
  std::vector<double> q, price;
};

/// Groups of up to `lanes` prompts of one shape, within [begin, end) of the order.
template <class Each>
void groups(const Runs& runs, std::int64_t begin, std::int64_t end, std::int64_t lanes, Each&& each) {
  while (begin < end) {
    std::int64_t next = begin + 1;
    while (next < end && next - begin < lanes && runs.key[runs.order[next]] == runs.key[runs.order[begin]]) ++next;
    each(begin, next);
    begin = next;
  }
}

void fetch(const Prompts& prompts, const Runs& runs, std::int64_t begin, std::int64_t end, Bench& b) {
  if (std::int64_t(b.games.size()) < end - begin) b.games.resize(std::size_t(end - begin));
  for (std::int64_t l = 0; l < end - begin; ++l) {
    varying(prompts, runs.order[begin + l], b.games[l].rows);
    read_game(prompts, runs.order[begin + l], b.games[l]);
  }
}

void write(const Prompts& p, const PromptGame& game, Status status, double lower, double upper, const double* y,
           const PromptResults& out) {
  out.status[game.at] = status;
  out.lower[game.at] = std::ldexp(lower, game.exponent);
  out.upper[game.at] = std::ldexp(upper, game.exponent);
  double total = 0;
  for (std::int64_t r = 0; r < game.k; ++r) total += y[r];
  for (std::int64_t j = 0; j < p.k; ++j) out.dual[game.at * p.k + j] = std::numeric_limits<double>::quiet_NaN();
  for (std::int64_t r = 0; r < game.k; ++r) out.dual[game.at * p.k + game.rows[r]] = y[r] / total;
}

class Capped {
 public:
  Capped(const Prompts& p, double cap, const PromptResults& out)
      : p_(p), cap_(cap), out_(out), table_(*kernels::active().lp) {}
  std::int64_t lanes() const { return table_.lanes; }

  void solve(std::int64_t count, Bench& b) const {
    const std::int64_t n = b.games[0].n, k = b.games[0].k;
    const std::int64_t bytes = 4 * kernels::game_workspace(k, n) * table_.lanes;
    const std::int64_t w = count > 1 && bytes <= kLaneBytes ? table_.lanes : 1;
    for (std::int64_t first = 0; first < count; first += w) {
      load(b, first, std::min(count, first + w), w);
      const kernels::Game game{b.m.data(), b.g.data(), b.low.data(), b.high.data(), k, n, true, -1, b.work.data(),
                               b.x.data(), b.y.data(), nullptr,      b.done.data()};
      (w > 1 ? table_.solve : table_.solve_one)(game);
      evaluate(b, k, n, w);
      for (std::int64_t l = 0; l < std::min(w, count - first); ++l) finish(b, b.games[first + l], l, w);
    }
  }

 private:
  double most(const PromptGame& game, std::int64_t i) const {
    const double weight = p_.weight[p_.begin[game.at] + i];
    return weight > 0 ? cap_ * weight : 0;
  }

  void load(Bench& b, std::int64_t first, std::int64_t last, std::int64_t w) const {
    const std::int64_t n = b.games[0].n, k = b.games[0].k;
    b.m.reserve(k * n * w), b.g.reserve(k * w), b.low.reserve(n * w), b.high.reserve(n * w);
    b.work.reserve(kernels::game_workspace(k, n) * w);
    b.x.reserve(n * w), b.y.reserve(k * w), b.products.reserve(k * w), b.sums.reserve(n * w);
    b.done.resize(std::size_t(w));
    double *const m = b.m.data(), *const high = b.high.data();
    for (std::int64_t l = 0; l < w; ++l) {
      const PromptGame& game = b.games[first + l < last ? first + l : first];
      for (std::int64_t e = 0; e < k * n; ++e) m[e * w + l] = game.m[e];
      for (std::int64_t i = 0; i < n; ++i) high[i * w + l] = most(game, i);
    }
    std::fill_n(b.g.data(), k * w, 1.0);
    std::fill_n(b.low.data(), n * w, 0.0);
  }

  void evaluate(Bench& b, std::int64_t k, std::int64_t n, std::int64_t w) const {
    (w > 1 ? table_.evaluate : table_.evaluate_one)(b.m.data(), k, n, b.x.data(), b.y.data(), b.products.data(),
                                                    b.sums.data());
  }

  /// min_j (M q)_j, and max over the capped simplex of y' M q by the threshold that q suggests: any would be valid.
  void bounds(Bench& b, const PromptGame& game, std::int64_t l, std::int64_t w, double& lower, double& upper) const {
    double mass = 0, size = 0, level = -kInfinite;
    for (std::int64_t i = 0; i < game.n; ++i) mass += b.x.data()[i * w + l];
    for (std::int64_t r = 0; r < game.k; ++r) size += b.y.data()[r * w + l];
    lower = kInfinite;
    for (std::int64_t r = 0; r < game.k; ++r) {
      const double product = b.products.data()[r * w + l];
      lower = std::min(lower, product - doubt(product, game.n, mass));
    }
    for (std::int64_t i = 0; i < game.n; ++i) {
      const double room = b.high.data()[i * w + l];
      if (room > 0 && b.x.data()[i * w + l] < room) level = std::max(level, b.sums.data()[i * w + l]);
    }
    if (level == -kInfinite) level = 0;
    double above = 0;
    for (std::int64_t i = 0; i < game.n; ++i) {
      const double over = b.sums.data()[i * w + l] - level;
      if (over > 0) above += b.high.data()[i * w + l] * over;
    }
    const double slack = 0x1p-52 * double(game.n + 4) * (above + std::fabs(level)) + doubt(level, game.k, size);
    upper = (level + above + slack) / size * (1 + 0x1p-51);
  }

  void finish(Bench& b, const PromptGame& game, std::int64_t l, std::int64_t w) const {
    double lower = 0, upper = 0;
    bounds(b, game, l, w, lower, upper);
    std::vector<double>& y = b.price;
    std::vector<double>& q = b.q;
    keep(b, game, l, w, q, y);
    bool blocked = cap_ <= 1;
    if (!(lower > 0) && !blocked) blocked = nothing_improves(p_, game, y.data());
    if (!blocked && !(lower > 0 && upper - lower <= 1e-9 * upper + 1e-15)) {
      double sharper = 0, bound = 0;
      in_pairs(game, sharper, bound, q, y, lower);
      if (sharper > lower) lower = sharper;
      upper = std::min(upper, bound);
      if (!(lower > 0)) blocked = nothing_improves(p_, game, y.data());
    }
    const Status status = blocked ? Status::blocked : lower > 0 ? Status::improvable : Status::undecided;
    write(p_, game, status, status == Status::improvable ? lower : 0, blocked ? 0 : std::max(upper, 0.0), y.data(),
          out_);
    double* const to = out_.weights + p_.begin[game.at];
    for (std::int64_t i = 0; i < game.n; ++i)
      to[i] = status == Status::improvable ? q[i] : p_.weight[p_.begin[game.at] + i];
  }

  static void keep(Bench& b, const PromptGame& game, std::int64_t l, std::int64_t w, std::vector<double>& q,
                   std::vector<double>& y) {
    q.resize(std::size_t(game.n)), y.resize(std::size_t(game.k));
    for (std::int64_t i = 0; i < game.n; ++i) q[i] = b.x.data()[i * w + l];
    for (std::int64_t r = 0; r < game.k; ++r) y[r] = b.y.data()[r * w + l];
  }

  /// Once more in pairs of doubles, in a bench of its own: the lanes of the group are still being read.
  void in_pairs(const PromptGame& game, double& lower, double& upper, std::vector<double>& q, std::vector<double>& y,
                double known) const {
    Bench own;
    own.games.push_back(game);
    load(own, 0, 1, 1);
    const kernels::Game one{own.m.data(),   own.g.data(), own.low.data(),  own.high.data(), game.k,       game.n,
                            true,           -1,           own.work.data(), own.x.data(),    own.y.data(), nullptr,
                            own.done.data()};
    table_.solve_pairs(one);
    evaluate(own, game.k, game.n, 1);
    bounds(own, game, 0, 1, lower, upper);
    std::vector<double> other;
    if (lower > known)
      keep(own, game, 0, 1, q, y);
    else
      keep(own, game, 0, 1, other, y);
  }

  const Prompts& p_;
  double cap_;
  PromptResults out_;
  const kernels::LpTable& table_;
};

/// Margins of the hulls of the centred values under the base weights.
class Budget {
 public:
  Budget(const Prompts& p, double kl, const PromptResults& out)
      : p_(p), radius_(std::sqrt(2 * kl)), out_(out), table_(*kernels::active().lp) {}
  std::int64_t lanes() const { return table_.lanes; }

  void solve(std::int64_t count, Bench& b) const {
    const std::int64_t k = b.games[0].k, w = table_.lanes;
    b.m.reserve(k * k * w), b.work.reserve(2 * k * (k + 4) * w), b.y.reserve(k * w), b.products.reserve(k * w);
    b.done.resize(std::size_t(w));
    for (std::int64_t l = 0; l < w; ++l) gram(b.games[l < count ? l : 0], b.m.data() + l, w);
    table_.min_norm(b.m.data(), k, 0x1p-50, b.work.data(), b.y.data(), b.done.data());
    for (std::int64_t l = 0; l < w; ++l) {
      double mass = 0;
      for (std::int64_t r = 0; r < k; ++r) mass += b.y.data()[r * w + l];
      for (std::int64_t r = 0; r < k; ++r) b.y.data()[r * w + l] /= mass;
    }
    table_.evaluate(b.m.data(), k, k, b.y.data(), b.y.data(), b.products.data(), nullptr);
    for (std::int64_t l = 0; l < count; ++l) finish(b, b.games[l], l);
  }

 private:
  void gram(const PromptGame& game, double* to, std::int64_t w) const {
    const double* const weight = p_.weight + p_.begin[game.at];
    for (std::int64_t r = 0; r < game.k; ++r)
      for (std::int64_t s = 0; s <= r; ++s) {
        double sum = 0;
        for (std::int64_t i = 0; i < game.n; ++i) sum += weight[i] * game.m[r * game.n + i] * game.m[s * game.n + i];
        to[(r * game.k + s) * w] = to[(s * game.k + r) * w] = sum;
      }
  }

  void finish(Bench& b, const PromptGame& game, std::int64_t l) const {
    const std::int64_t w = table_.lanes;
    double square = 0, least = kInfinite;
    b.price.resize(std::size_t(game.k));
    for (std::int64_t r = 0; r < game.k; ++r) {
      b.price[r] = b.y.data()[r * w + l];
      square += b.price[r] * b.products.data()[r * w + l];
      least = std::min(least, b.products.data()[r * w + l]);
    }
    const double margin = std::sqrt(std::max(square, 0.0));
    const bool improvable = least > 0x1p-50;
    const bool blocked = !improvable && nothing_improves(p_, game, b.price.data());
    const double lower = improvable ? std::min(least / margin, margin) : 0;
    write(p_, game,
          improvable ? Status::improvable
          : blocked  ? Status::blocked
                     : Status::undecided,
          radius_ * lower, blocked ? 0 : radius_ * margin, b.price.data(), out_);
    tilt(b, game, improvable ? radius_ / margin : 0);
  }

  void tilt(Bench& b, const PromptGame& game, double strength) const {
    const std::int64_t begin = p_.begin[game.at];
    double top = -kInfinite, total = 0;
    b.q.assign(std::size_t(game.n), 0);
    for (std::int64_t i = 0; i < game.n; ++i) {
      for (std::int64_t r = 0; r < game.k; ++r) b.q[i] += b.price[r] * game.m[r * game.n + i];
      b.q[i] *= strength;
      if (p_.weight[begin + i] > 0) top = std::max(top, b.q[i]);
    }
    for (std::int64_t i = 0; i < game.n; ++i) {
      b.q[i] = p_.weight[begin + i] > 0 ? p_.weight[begin + i] * std::exp(b.q[i] - top) : 0;
      total += b.q[i];
    }
    for (std::int64_t i = 0; i < game.n; ++i) out_.weights[begin + i] = b.q[i] / total;
  }

  const Prompts& p_;
  double radius_;
  PromptResults out_;
  const kernels::LpTable& table_;
};

template <class Solver>
void run(const Prompts& prompts, const Solver& solver, const Work& work, const PromptResults& out) {
  const Runs runs = by_shape(prompts, work, out);
  const std::int64_t step = kTask * solver.lanes(), count = std::int64_t(runs.order.size());
  std::vector<Bench> benches(std::size_t(std::max(work.threads, 1)));
  parallel((count + step - 1) / step, work, [&](std::int64_t task, int worker) {
    Bench& b = benches[worker];
    groups(runs, task * step, std::min(count, (task + 1) * step), solver.lanes(),
           [&](std::int64_t begin, std::int64_t end) {
             fetch(prompts, runs, begin, end, b);
             solver.solve(end - begin, b);
           });
  });
}

}  // namespace

void solve_capped(const Prompts& prompts, double cap, const Work& work, const PromptResults& out) {
  run(prompts, Capped(prompts, cap, out), work, out);
}

void solve_budget(const Prompts& prompts, double kl, const Work& work, const PromptResults& out) {
  run(prompts, Budget(prompts, kl, out), work, out);
}

}  // namespace clinometer::lp
