// A prompt's game in numbers: values centred, scaled, constant ones left out; and prompts of one length together.
#pragma once
#include <clinometer/lp/prompt.hpp>
#include <vector>

#include "src/lp/parallel.hpp"

namespace clinometer::lp {

struct PromptGame {
  std::int64_t at = 0, n = 0, k = 0;  // k values that vary
  int exponent = 0;                   // entries of m are the game's over 2^exponent, at most 1 in size
  double blur = 0;                    // what rounding may have done to an entry of m
  std::vector<std::int64_t> rows;     // which values these are
  std::vector<double> m;              // (k, n)
};

/// Values whose spread in the prompt is at most this share of their size or of their scale are constant.
inline constexpr double kConstant = 1e-12;

/// Which values vary in the prompt, and whether it holds NaN or Inf.
bool varying(const Prompts& prompts, std::int64_t at, std::vector<std::int64_t>& rows);
void read_game(const Prompts& prompts, std::int64_t at, PromptGame& game);

/// Prompts by length, in their order where lengths are equal.
using Runs = std::vector<std::int64_t>;
Runs by_length(const Prompts& prompts);

/// A prompt by itself, constant values left out; false if it is answered without a game.
bool alone(const Prompts& prompts, std::int64_t at, const PromptResults& out, PromptGame& game);
/// Status, bounds (of the scaled game) and prices y of the values that vary.
void answer(const Prompts& prompts, const PromptGame& game, Status status, double lower, double upper, const double* y,
            const PromptResults& out);
/// t = 0 proved: the differences to one response hold the origin, with prices near `y`.
bool nothing_improves(const Prompts& prompts, const PromptGame& game, const double* y);
/// The answer q = w, t = 0.
void stay(const Prompts& prompts, std::int64_t at, Status status, const PromptResults& out);

/// Prompts of one length, up to `solver.lanes()` at a time, with the scratch of their thread.
template <class Bench, class Solver>
void each_group(const Prompts& prompts, const Solver& solver, const Work& work) {
  const Runs order = by_length(prompts);
  const auto length = [&prompts](std::int64_t at) { return prompts.begin[at + 1] - prompts.begin[at]; };
  constexpr std::int64_t groups = 64;  // a task
  const std::int64_t lanes = solver.lanes(), step = groups * lanes, count = std::int64_t(order.size());
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

}  // namespace clinometer::lp
