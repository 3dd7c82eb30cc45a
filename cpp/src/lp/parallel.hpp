// Independent tasks shared by a few threads. Tasks write to places of their own, so the number of threads
// changes no bit. The calling thread works too, and looks at the caller's poll between tasks.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <clinometer/lp/status.hpp>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace clinometer::lp {

/// Run task(index, worker) for index < count; worker < threads names the scratch space to use.
template <class Task>
void parallel(std::int64_t count, const Work& work, Task&& task) {
  // A thread that would find fewer than four tasks costs more to start than it saves.
  const int threads = int(std::clamp<std::int64_t>(work.threads, 1, std::max<std::int64_t>(count / 4, 1)));
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> stop{false};
  std::exception_ptr error;
  std::mutex held;
  const auto run = [&](int worker) {
    try {
      auto last = std::chrono::steady_clock::now();
      for (std::int64_t i = next++; i < count && !stop; i = next++) {
        task(i, worker);
        if (worker != 0 || !work.poll) continue;
        const auto now = std::chrono::steady_clock::now();
        if (now - last < std::chrono::milliseconds(20)) continue;
        work.poll();
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
    for (int worker = 1; worker < threads; ++worker) others.emplace_back(run, worker);
  } catch (const std::system_error&) {
    // no more threads to be had: those that started and this one do the work
  }
  run(0);
  for (std::thread& other : others) other.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace clinometer::lp
