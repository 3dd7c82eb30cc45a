// Independent pieces of one call on a few threads of its own. Pieces write to places of their own, so the number of
// threads changes no bit.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace clinometer {

/// f(i, worker) for i < n; worker < threads names the scratch space to use. The calling thread works too and looks at
/// `poll` (which may throw) between pieces, every 20 ms. The first error of any thread ends the call.
template <class F>
void share(std::int64_t n, std::int64_t threads, const std::function<void()>& poll, const F& f) {
  const std::int64_t used = std::clamp<std::int64_t>(threads, 1, std::max<std::int64_t>(n, 1));
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> stop{false};
  std::exception_ptr error;
  std::mutex held;
  const auto run = [&](int worker) {
    try {
      auto last = std::chrono::steady_clock::now();
      for (std::int64_t i = next++; i < n && !stop; i = next++) {
        f(i, worker);
        if (worker != 0 || !poll) continue;
        const auto now = std::chrono::steady_clock::now();
        if (now - last < std::chrono::milliseconds(20)) continue;
        poll();
        last = now;
      }
    } catch (...) {
      stop = true;
      const std::lock_guard lock(held);
      if (!error) error = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  try {
    for (int worker = 1; worker < used; ++worker) others.emplace_back(run, worker);
  } catch (...) {
    // no room or no more threads to be had: those that started and this one do the work
  }
  run(0);
  for (std::thread& other : others) other.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace clinometer
