// Independent pieces of one call on a few threads of its own.
#pragma once
#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

namespace clinometer {

/// f(0) .. f(n - 1) on up to `threads` threads.
template <class F>
void share(std::int64_t n, std::int64_t threads, const F& f) {
  const std::int64_t used = std::clamp<std::int64_t>(threads, 1, std::max<std::int64_t>(n, 1));
  const auto part = [&](std::int64_t t) {
    for (std::int64_t i = t; i < n; i += used) f(i);
  };
  std::vector<std::thread> others;
  for (std::int64_t t = 1; t < used; ++t) others.emplace_back(part, t);
  part(0);
  for (auto& t : others) t.join();
}

}  // namespace clinometer
