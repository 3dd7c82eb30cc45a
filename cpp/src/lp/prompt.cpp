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
  Aligned values, base, m, g, low, high, work, x, y, products, sums;
  std::vector<std::int64_t> done, exponent, fine;
  std::vector<double> q, price, lower, upper, blur;
};

/// The values of up to `w` prompts of one length, centred in lanes; lanes beyond `count` repeat the first.
void centred(const Prompts& p, const std::int64_t* at, std::int64_t count, std::int64_t w, Bench& b) {
  const std::int64_t n = p.begin[at[0] + 1] - p.begin[at[0]], k = p.k;
  b.values.reserve(n * k * w), b.base.reserve(n * w), b.m.reserve(k * n * w);
  b.exponent.resize(std::size_t(w)), b.fine.resize(std::size_t(w)), b.blur.resize(std::size_t(w)),
      b.price.resize(std::size_t(k));
  for (std::int64_t l = 0; l < w; ++l) {
    const std::int64_t begin = p.begin[at[l < count ? l : 0]];
    const double *const from = p.values + begin * k, *const weight = p.weight + begin;
    double *const to = b.values.data() + l, *const base = b.base.data() + l;
    for (std::int64_t e = 0; e < n * k; ++e) to[e * w] = from[e];
    for (std::int64_t i = 0; i < n; ++i) base[i * w] = weight[i];
  }
  for (std::int64_t j = 0; j < k; ++j) b.price[j] = 1 / p.scale[j];
  kernels::active().lp->centre(b.values.data(), b.base.data(), b.price.data(), k, n, b.m.data(), b.blur.data(),
                               b.exponent.data(), b.fine.data());
}

/// A prompt by itself, constant values left out; false if it is answered without a game.
bool alone(const Prompts& p, std::int64_t at, const PromptResults& out, PromptGame& game) {
  if (!varying(p, at, game.rows)) {
    stay(p, at, Status::invalid, out);
  } else if (game.rows.empty()) {
    stay(p, at, Status::blocked, out);
  } else {
    read_game(p, at, game);
    return true;
  }
  return false;
}

void write(const Prompts& p, const PromptGame& game, Status status, double lower, double upper, const double* y,
           const PromptResults& out) {
  out.status[game.at] = status;
  out.lower[game.at] = scale_by(lower, game.exponent);
  out.upper[game.at] = scale_by(upper, game.exponent);
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

  void solve(const std::int64_t* at, std::int64_t count, Bench& b) const {
    const std::int64_t n = p_.begin[at[0] + 1] - p_.begin[at[0]], w = table_.lanes;
    std::vector<std::int64_t> slow;
    if (n < 2 || cap_ <= 1 || 4 * kernels::game_workspace(p_.k, n) * w > kLaneBytes) {
      slow.assign(at, at + count);
    } else {
      centred(p_, at, count, w, b);
      play(b, p_.k, n, w);
      b.lower.resize(std::size_t(w)), b.upper.resize(std::size_t(w));
      table_.settle(b.products.data(), b.sums.data(), b.x.data(), b.high.data(), b.y.data(), p_.k, n, b.lower.data(),
                    b.upper.data());
      for (std::int64_t l = 0; l < count; ++l) {
        if (b.fine[l] && b.lower[l] > b.blur[l] && closed(b.lower[l], b.upper[l])) {
          write_lane(b, at[l], n, l, w);
        } else {
          slow.push_back(at[l]);
        }
      }
    }
    PromptGame game;
    for (const std::int64_t prompt : slow)
      if (alone(p_, prompt, out_, game)) by_itself(game, b);
  }

 private:
  static bool closed(double lower, double upper) { return lower > 0 && upper - lower <= 1e-9 * upper + 1e-15; }

  double most(double weight) const { return weight > 0 ? cap_ * weight : 0; }

  /// One game a lane on b.m; base weights are in b.base.
  void play(Bench& b, std::int64_t k, std::int64_t n, std::int64_t w) const {
    b.g.reserve(k * w), b.low.reserve(n * w), b.high.reserve(n * w), b.work.reserve(kernels::game_workspace(k, n) * w);
    b.x.reserve(n * w), b.y.reserve(k * w), b.products.reserve(k * w), b.sums.reserve(n * w);
    b.done.resize(std::size_t(w));
    for (std::int64_t e = 0; e < n * w; ++e) b.high.data()[e] = most(b.base.data()[e]);
    std::fill_n(b.g.data(), k * w, 1.0);
    std::fill_n(b.low.data(), n * w, 0.0);
    (w > 1 ? table_.solve : table_.solve_one)(game_of(b, k, n));
    (w > 1 ? table_.evaluate : table_.evaluate_one)(b.m.data(), k, n, b.x.data(), b.y.data(), b.products.data(),
                                                    b.sums.data());
  }

  static kernels::Game game_of(Bench& b, std::int64_t k, std::int64_t n) {
    return {b.m.data(), b.g.data(), b.low.data(), b.high.data(), k, n, true, -1, b.work.data(),
            b.x.data(), b.y.data(), nullptr,      b.done.data()};
  }

  void write_lane(Bench& b, std::int64_t at, std::int64_t n, std::int64_t l, std::int64_t w) const {
    const double* const y = b.y.data() + l;
    out_.status[at] = Status::improvable;
    out_.lower[at] = scale_by(b.lower[l], int(b.exponent[l]));
    out_.upper[at] = scale_by(b.upper[l], int(b.exponent[l]));
    double total = 0;
    for (std::int64_t r = 0; r < p_.k; ++r) total += y[r * w];
    for (std::int64_t r = 0; r < p_.k; ++r) out_.dual[at * p_.k + r] = y[r * w] / total;
    double* const to = out_.weights + p_.begin[at];
    const double* const x = b.x.data() + l;
    for (std::int64_t i = 0; i < n; ++i) to[i] = x[i * w];
  }

  /// min_j (M q)_j, and max over the capped simplex of y' M q by the threshold that q suggests: any would be valid.
  static void bounds(Bench& b, const PromptGame& game, double& lower, double& upper) {
    const double *const x = b.x.data(), *const high = b.high.data(), *const price = b.sums.data();
    double mass = 0, size = 0, level = -kInfinite, above = 0;
    for (std::int64_t i = 0; i < game.n; ++i) mass += x[i];
    for (std::int64_t r = 0; r < game.k; ++r) size += b.y.data()[r];
    lower = kInfinite;
    for (std::int64_t r = 0; r < game.k; ++r)
      lower = std::min(lower, b.products.data()[r] - doubt(b.products.data()[r], game.n, mass));
    for (std::int64_t i = 0; i < game.n; ++i)
      if (high[i] > 0 && x[i] < high[i]) level = std::max(level, price[i]);
    if (level == -kInfinite) level = 0;
    for (std::int64_t i = 0; i < game.n; ++i)
      if (price[i] > level && high[i] > 0) above += high[i] * (price[i] - level);
    const double slack = 0x1p-52 * double(game.n + 4) * (above + std::fabs(level)) + doubt(level, game.k, size);
    upper = (level + above + slack) / size * (1 + 0x1p-51);
  }

  static void keep(Bench& b, const PromptGame& game) {
    b.q.assign(b.x.data(), b.x.data() + game.n);
    b.price.assign(b.y.data(), b.y.data() + game.k);
  }

  /// In double, then where that does not settle it in pairs of doubles, then by a proof that nothing improves.
  void by_itself(const PromptGame& game, Bench& b) const {
    const std::int64_t begin = p_.begin[game.at];
    double lower = 0, upper = 0, sharper = 0, bound = 0;
    b.m.reserve(game.k * game.n), b.base.reserve(game.n);
    std::copy(game.m.begin(), game.m.end(), b.m.data());
    std::copy_n(p_.weight + begin, game.n, b.base.data());
    play(b, game.k, game.n, 1);
    bounds(b, game, lower, upper);
    keep(b, game);
    bool blocked = cap_ <= 1 || (!(lower > game.blur) && nothing_improves(p_, game, b.price.data()));
    // Up to `blur` the game played may differ from the one the values define: a smaller margin proves nothing.
    if (!blocked && !(lower > game.blur && closed(lower, upper))) {
      table_.solve_pairs(game_of(b, game.k, game.n));
      table_.evaluate_one(b.m.data(), game.k, game.n, b.x.data(), b.y.data(), b.products.data(), b.sums.data());
      bounds(b, game, sharper, bound);
      upper = std::min(upper, bound);
      if (sharper >= lower) lower = sharper, keep(b, game);
      if (!(lower > game.blur)) blocked = nothing_improves(p_, game, b.y.data());
    }
    const bool improvable = !blocked && lower > game.blur;
    write(p_, game,
          blocked      ? Status::blocked
          : improvable ? Status::improvable
                       : Status::undecided,
          improvable ? lower : 0, blocked ? 0 : std::max(upper, 0.0), b.price.data(), out_);
    for (std::int64_t i = 0; i < game.n; ++i) out_.weights[begin + i] = improvable ? b.q[i] : p_.weight[begin + i];
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

  void solve(const std::int64_t* at, std::int64_t count, Bench& b) const {
    if (std::int64_t(b.games.size()) < count + 1) b.games.resize(std::size_t(count + 1));
    std::int64_t ready = 0;
    for (std::int64_t l = 0; l < count; ++l) {
      if (!alone(p_, at[l], out_, b.games[ready])) continue;
      ++ready;
      if (ready > 1 && b.games[ready - 1].k != b.games[0].k) {  // another number of values that vary
        play(ready - 1, b);
        std::swap(b.games[0], b.games[ready - 1]);
        ready = 1;
      }
    }
    if (ready > 0) play(ready, b);
  }

 private:
  void play(std::int64_t count, Bench& b) const {
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
    const bool improvable = least > 0x1p-50 + 2 * game.blur;
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
void run(const Prompts& prompts, const Solver& solver, const Work& work) {
  const Runs order = by_length(prompts);
  const auto length = [&prompts](std::int64_t at) { return prompts.begin[at + 1] - prompts.begin[at]; };
  const std::int64_t lanes = solver.lanes(), step = kTask * lanes, count = std::int64_t(order.size());
  std::vector<Bench> benches(std::size_t(std::max(work.threads, 1)));
  parallel((count + step - 1) / step, work, [&](std::int64_t task, int worker) {
    const std::int64_t end = std::min(count, (task + 1) * step);
    for (std::int64_t begin = task * step; begin < end;) {
      std::int64_t next = begin + 1;
      while (next < end && next - begin < lanes && length(order[next]) == length(order[begin])) ++next;
      solver.solve(order.data() + begin, next - begin, benches[worker]);
      begin = next;
    }
  });
}

}  // namespace

void solve_capped(const Prompts& prompts, double cap, const Work& work, const PromptResults& out) {
  run(prompts, Capped(prompts, cap, out), work);
}

void solve_budget(const Prompts& prompts, double kl, const Work& work, const PromptResults& out) {
  run(prompts, Budget(prompts, kl, out), work);
}

}  // namespace clinometer::lp
