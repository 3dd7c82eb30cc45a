// Prompts under a KL budget, to first order: smallest points of hulls of the centred values.
#include <cmath>
#include <limits>

#include "kernels/table.hpp"
#include "src/lp/prompt_data.hpp"
#include "src/lp/scaled.hpp"

namespace clinometer::lp {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

struct Bench {
  std::vector<PromptGame> games;
  Aligned m, work, y, products;
  std::vector<std::int64_t> done;
  std::vector<double> q, price;
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
    answer(p_, game,
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

}  // namespace

void solve_budget(const Prompts& prompts, double kl, const Work& work, const PromptResults& out) {
  each_group<Bench>(prompts, Budget(prompts, kl, out), work);
}

}  // namespace clinometer::lp
