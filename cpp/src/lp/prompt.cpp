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

struct Bench {
  Aligned values, base, m, g, low, high, work, x, y, products, sums, bounds;
  std::vector<std::int64_t> done, exponent, fine, support;
  std::vector<double> q, price, blur;
};

/// The values of up to `w` prompts of one length, centred in lanes; lanes beyond `count` repeat the first.
void centred(const Prompts& p, const std::int64_t* at, std::int64_t count, std::int64_t w, Bench& b) {
  const std::int64_t n = p.begin[at[0] + 1] - p.begin[at[0]], k = p.k;
  b.values.reserve(n * k * w), b.base.reserve(n * w), b.m.reserve(k * n * w);
  b.exponent.resize(std::size_t(w)), b.fine.resize(std::size_t(w)), b.blur.resize(std::size_t(w)),
      b.price.resize(std::size_t(k));
  const double *values[kernels::kMostLanes], *weights[kernels::kMostLanes];
  for (std::int64_t l = 0; l < w; ++l) {
    const std::int64_t begin = p.begin[at[l < count ? l : 0]];
    values[l] = p.values + begin * k, weights[l] = p.weight + begin;
  }
  kernels::active().lp->pack(values, n * k, b.values.data());
  kernels::active().lp->pack(weights, n, b.base.data());
  for (std::int64_t j = 0; j < k; ++j) b.price[j] = 1 / p.scale[j];
  kernels::active().lp->centre(b.values.data(), b.base.data(), b.price.data(), k, n, b.m.data(), b.blur.data(),
                               b.exponent.data(), b.fine.data());
}

class Capped {
 public:
  Capped(const Prompts& p, double cap, const PromptResults& out)
      : p_(p), cap_(cap), out_(out), table_(*kernels::active().lp), whole_(cap == kInfinite) {
    bool some_out = false;
    for (std::int64_t i = p.begin[0]; i < p.begin[p.count] && whole_; ++i) some_out = some_out | !(p.weight[i] > 0);
    whole_ = whole_ && !some_out;
  }
  std::int64_t lanes() const { return table_.lanes; }

  void solve(const std::int64_t* at, std::int64_t count, Bench& b) const {
    const std::int64_t n = p_.begin[at[0] + 1] - p_.begin[at[0]], w = table_.lanes;
    std::vector<std::int64_t> slow;
    if (n < 2 || cap_ <= 1 || 8 * (p_.k * n + kernels::mixture_workspace(p_.k, n)) * w > kLaneBytes) {
      slow.assign(at, at + count);
    } else {
      centred(p_, at, count, w, b);
      play(b, at, count, n);
      for (std::int64_t l = 0; l < count; ++l) {
        if (b.fine[l] && b.done[l] && b.bounds.data()[l] > b.blur[l] &&
            closed(b.bounds.data()[l], b.bounds.data()[w + l])) {
          write_lane(b, at[l], l, w);
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

  /// A game in each lane of b.m; base weights are in b.base. Weights of all are written; what the slow road answers
  /// is written over later.
  void play(Bench& b, const std::int64_t* at, std::int64_t count, std::int64_t n) const {
    const std::int64_t k = p_.k, w = table_.lanes;
    b.work.reserve(kernels::mixture_workspace(k, n) * w), b.bounds.reserve(2 * w);
    b.x.reserve(std::max(k, n) * w), b.y.reserve(k * w), b.products.reserve(k * w), b.high.reserve(n * w);
    b.done.resize(std::size_t(w)), b.support.resize(std::size_t(k * w));
    kernels::MixtureGame game{
        b.m.data(),      nullptr,      k, n, b.work.data(), b.x.data(), b.support.data(), b.y.data(),
        b.bounds.data(), b.done.data()};
    if (whole_) {
      table_.mixture(game);
      for (std::int64_t l = 0; l < count; ++l) {
        double* const to = out_.weights + p_.begin[at[l]];
        std::fill_n(to, n, 0.0);
        for (std::int64_t q = 0; q < k; ++q)
          if (b.support[q * w + l] < n) to[b.support[q * w + l]] = b.x.data()[q * w + l];
      }
      return;
    }
    for (std::int64_t e = 0; e < n * w; ++e) b.high.data()[e] = most(b.base.data()[e]);
    game.high = b.high.data();
    table_.mixture(game);
    table_.evaluate(b.m.data(), k, n, b.x.data(), b.y.data(), b.products.data(), nullptr);
    table_.settle(b.m.data(), b.products.data(), b.x.data(), b.high.data(), b.y.data(), k, n, b.bounds.data(),
                  b.bounds.data() + w);
    double* to[kernels::kMostLanes];
    if (count < w) b.q.resize(std::size_t(n));
    for (std::int64_t l = 0; l < w; ++l) to[l] = l < count ? out_.weights + p_.begin[at[l]] : b.q.data();
    table_.unpack(b.x.data(), n, to);
  }

  /// One game.
  void play_one(Bench& b, std::int64_t k, std::int64_t n) const {
    b.g.reserve(k), b.low.reserve(n), b.high.reserve(n), b.work.reserve(kernels::game_workspace(k, n));
    b.x.reserve(n), b.y.reserve(k), b.products.reserve(k), b.sums.reserve(n);
    b.done.resize(1);
    for (std::int64_t i = 0; i < n; ++i) b.high.data()[i] = most(b.base.data()[i]);
    std::fill_n(b.g.data(), k, 1.0);
    std::fill_n(b.low.data(), n, 0.0);
    table_.solve_one(game_of(b, k, n));
    table_.evaluate_one(b.m.data(), k, n, b.x.data(), b.y.data(), b.products.data(), b.sums.data());
  }

  static kernels::Game game_of(Bench& b, std::int64_t k, std::int64_t n) {
    return {b.m.data(), b.g.data(), b.low.data(), b.high.data(), k, n, true, -1, b.work.data(),
            b.x.data(), b.y.data(), nullptr,      b.done.data()};
  }

  void write_lane(Bench& b, std::int64_t at, std::int64_t l, std::int64_t w) const {
    const double* const y = b.y.data() + l;
    out_.status[at] = Status::improvable;
    out_.lower[at] = scale_by(b.bounds.data()[l], int(b.exponent[l]));
    out_.upper[at] = scale_by(b.bounds.data()[w + l], int(b.exponent[l]));
    double total = 0;
    for (std::int64_t r = 0; r < p_.k; ++r) total += y[r * w];
    const double share = 1 / total;
    for (std::int64_t r = 0; r < p_.k; ++r) out_.dual[at * p_.k + r] = y[r * w] * share;
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
    play_one(b, game.k, game.n);
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
    answer(p_, game,
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
  bool whole_;  // no caps, and no row of weight 0 that must stay out
};

}  // namespace

void solve_capped(const Prompts& prompts, double cap, const Work& work, const PromptResults& out) {
  each_group<Bench>(prompts, Capped(prompts, cap, out), work);
}

}  // namespace clinometer::lp
