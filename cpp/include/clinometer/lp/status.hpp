// What a solved game is called. A status is drawn from witnesses that were evaluated, never from a tolerance.
#pragma once
#include <cstdint>
#include <functional>

namespace clinometer::lp {

enum class Status : std::int8_t { improvable, blocked, undecided, invalid, optimal, infeasible };

/// How many threads share a batch, and what the calling thread looks at every 20 ms (it may throw to stop).
/// No number changes a bit of any answer: a problem is solved by itself.
struct Work {
  int threads = 1;
  std::function<void()> poll;
};

}  // namespace clinometer::lp
