// The threads of one pass.
#pragma once
#include <chrono>
#include <condition_variable>
#include <exception>
#include <thread>

#include "src/fold/pass.hpp"

namespace clinometer {

/// Threads for the length of one absorb() call; nothing outlives it, so a fork finds no pool.
class Threads : public Team {
 public:
  Threads(std::int64_t n, Pass& pass) : pass_(pass) {
    try {
      for (std::int64_t i = 1; i < n; ++i) workers_.emplace_back([this] { serve(); });
    } catch (...) {
      // no room or no more threads to be had: those that started and the calling one do the work
    }
  }
  ~Threads() override {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
  }

  void parallel(std::int64_t n, const std::function<void(std::int64_t)>& f) override {
    {
      std::lock_guard lock(mutex_);
      task_ = &f;
      size_ = n;
      next_ = 0;
      busy_ = std::int64_t(workers_.size());
      ++round_;
    }
    if (!workers_.empty()) wake_.notify_all();
    work(true);
    std::unique_lock lock(mutex_);
    while (busy_ > 0) {
      idle_.wait_for(lock, std::chrono::milliseconds(20));
      lock.unlock();
      poll();
      lock.lock();
    }
    if (error_) {
      std::exception_ptr e = error_;
      error_ = nullptr;
      std::rethrow_exception(e);
    }
  }

  /// On the calling thread: lets the caller look at signals and report progress.
  void poll() {
    const auto now = std::chrono::steady_clock::now();
    if (now - polled_ < std::chrono::milliseconds(20) || !pass_.options.poll || pass_.stop) return;
    polled_ = now;
    try {
      pass_.options.poll(std::min(pass_.done.load(), pass_.total), pass_.total);
    } catch (...) {
      fail(std::current_exception());
    }
  }
  void fail(std::exception_ptr e) {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = e;
    pass_.stop = true;
  }
  std::int64_t size() const { return std::int64_t(workers_.size()) + 1; }
  bool calling_thread() const { return std::this_thread::get_id() == owner_; }

 private:
  Pass& pass_;
  std::vector<std::thread> workers_;
  std::thread::id owner_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  const std::function<void(std::int64_t)>* task_ = nullptr;
  std::atomic<std::int64_t> next_{0};
  std::int64_t size_ = 0, busy_ = 0, round_ = 0;
  bool closing_ = false;
  std::exception_ptr error_;
  std::chrono::steady_clock::time_point polled_ = std::chrono::steady_clock::now();

  void work(bool caller) {
    try {
      for (std::int64_t i; (i = next_.fetch_add(1)) < size_;) {
        if (caller) poll();
        pass_.check_stop();
        (*task_)(i);
      }
    } catch (const Stop&) {
    } catch (...) {
      fail(std::current_exception());
    }
  }
  void serve() {
    std::int64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return closing_ || round_ != seen; });
        if (closing_) return;
        seen = round_;
      }
      work(false);
      std::lock_guard lock(mutex_);
      if (--busy_ == 0) idle_.notify_all();
    }
  }
};

}  // namespace clinometer
