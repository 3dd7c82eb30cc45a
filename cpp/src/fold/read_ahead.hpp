// Keeps a cold disk busy while rows are computed with: the kernel is told of stored rows before they are needed.
#pragma once
#include <clinometer/rows.hpp>

#include <algorithm>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#endif

namespace clinometer {

/// One reader's view of the rows in front of it, in dump order. A look costs a system call every few MiB; pages are
/// asked for only after the reader had to wait for the disk, because asking for what is in memory costs as much as
/// reading it. Nothing is asked for that the reader will not read.
class ReadAhead {
 public:
  explicit ReadAhead(const Rows& rows) : rows_(rows) {
    row_bytes_ = std::max<std::int64_t>(rows.d * kItemBytes[int(rows.dtype)], 1);
    step_ = std::max<std::int64_t>(kStep / row_bytes_, 1);
  }

  /// Rows [first, end) follow.
  void begin(std::int64_t first, std::int64_t end) {
    end_ = end;
    next_ = asked_ = first;
    quiet_ = kQuiet;
  }

  /// `row` is next.
  void at(std::int64_t row) {
    if (row < next_) return;
    next_ = row + step_;
    if (waited()) quiet_ = 0;
    if (quiet_ >= kQuiet) return;
    ++quiet_;
    const std::int64_t from = std::max(asked_, row), to = std::min(end_, row + kAhead * step_);
    if (from >= to) return;
    ask(from, to);
    asked_ = to;
  }

 private:
  static constexpr std::int64_t kStep = 4 << 20;  // bytes between looks
  static constexpr std::int64_t kAhead = 8;       // steps requested ahead of the reader
  static constexpr std::int64_t kQuiet = 24;      // steps without a wait after which the file counts as warm
  static constexpr std::uintptr_t kRequest = 128 << 10;
  const Rows& rows_;
  std::int64_t row_bytes_, step_, end_ = 0, next_ = 0, asked_ = 0, quiet_ = kQuiet, waits_ = -1;

#if defined(__linux__)
  /// Whether this thread has waited for a page since the last look.
  bool waited() {
    rusage use{};
    if (getrusage(RUSAGE_THREAD, &use) != 0) return false;
    const bool more = waits_ >= 0 && use.ru_majflt > waits_;
    waits_ = use.ru_majflt;
    return more;
  }
  void ask(std::int64_t from, std::int64_t to) const {
    static const std::uintptr_t page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    for (const Segment& s : rows_.segments) {
      const std::int64_t a = std::max(from, s.row_start), b = std::min(to, s.row_start + s.rows);
      if (a >= b || s.stride < row_bytes_ || s.stride > 2 * row_bytes_) continue;  // nothing of a sparse view
      const auto low = reinterpret_cast<std::uintptr_t>(s.data + (a - s.row_start) * s.stride) / page * page;
      const auto high = reinterpret_cast<std::uintptr_t>(s.data + (b - 1 - s.row_start) * s.stride + row_bytes_);
      // a kernel reads no more for one call than one request to the disk takes; and this is advice: what is not a
      // file's, or gone, is none of our business
      for (std::uintptr_t at = low; at < high; at += kRequest)
        (void)madvise(reinterpret_cast<void*>(at), std::min(kRequest, high - at), MADV_WILLNEED);
    }
  }
#else
  bool waited() { return false; }
  void ask(std::int64_t, std::int64_t) const {}
#endif
};

}  // namespace clinometer
