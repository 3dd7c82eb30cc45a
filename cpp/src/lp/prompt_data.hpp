// A prompt's game in numbers: values centred, scaled, constant ones left out; and prompts of one length together.
#pragma once
#include <clinometer/lp/prompt.hpp>
#include <vector>

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

/// t = 0 proved: the differences to one response hold the origin, with prices near `y`.
bool nothing_improves(const Prompts& prompts, const PromptGame& game, const double* y);
/// The answer q = w, t = 0.
void stay(const Prompts& prompts, std::int64_t at, Status status, const PromptResults& out);

}  // namespace clinometer::lp
