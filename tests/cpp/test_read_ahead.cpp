// A reader of a cold file finds its next rows asked for, and no rows beyond its own.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "check.hpp"
#include "src/fold/read_ahead.hpp"

namespace {

constexpr std::int64_t kDim = 4096, kRow = kDim * 2, kRows = 8192, kEnd = 6144;
volatile unsigned char sink;

/// A file of rows, mapped so that the kernel reads nothing ahead by itself.
struct ColdFile {
  char name[32] = "/var/tmp/clinometer-XXXXXX";
  int file = mkstemp(name);
  unsigned char* rows = nullptr;

  ColdFile() {
    const std::vector<char> row(std::size_t(kRow), 1);
    bool written = file >= 0;
    for (std::int64_t i = 0; written && i < kRows; ++i) written = write(file, row.data(), row.size()) == kRow;
    if (!written) return;
    fsync(file);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    void* const at = mmap(nullptr, std::size_t(kRows * kRow), PROT_READ, MAP_SHARED, file, 0);
    if (at == MAP_FAILED) return;
    rows = static_cast<unsigned char*>(at);
    madvise(at, std::size_t(kRows * kRow), MADV_RANDOM);
  }
  ~ColdFile() {
    if (rows != nullptr) munmap(rows, std::size_t(kRows * kRow));
    if (file >= 0) close(file);
    unlink(name);
  }
  /// Rows in [from, to) whose first page is in memory.
  std::int64_t here(std::int64_t from, std::int64_t to) const {
    std::int64_t count = 0;
    for (std::int64_t i = from; i < to; ++i) {
      unsigned char in = 0;
      count += mincore(rows + i * kRow, 1, &in) == 0 && (in & 1) != 0;
    }
    return count;
  }
};

}  // namespace

int main() {
  where = "read ahead";
  const ColdFile cold;
  if (cold.rows == nullptr || cold.here(0, kRows) > 0) {
    std::printf("skipped: no file here can be cold\n");
    return 0;
  }
  sink = cold.rows[0];
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  if (cold.here(2, kRows) > 0) {  // one page may share a large folio
    std::printf("skipped: pages are read ahead whatever is asked for, as where another kernel is emulated\n");
    return 0;
  }
  clinometer::Rows rows{Dtype::bf16, kRows, kDim, {{reinterpret_cast<const std::byte*>(cold.rows), 0, kRows, kRow}}};
  clinometer::ReadAhead ahead(rows);
  ahead.begin(0, kEnd);
  std::int64_t read = 0, waits = 0;
  for (; read < 2048; ++read) {
    ahead.at(read);
    waits += cold.here(read, read + 1) == 0;
    sink = cold.rows[read * kRow];
  }
  CHECK(waits < 1024);  // the first step is cold, and a slow disk may be caught up with; without help all 2048 wait
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(cold.here(read, read + 512) > 256);
  for (; read < kEnd; ++read) {
    ahead.at(read);
    sink = cold.rows[read * kRow];
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(cold.here(kEnd + 1, kRows) == 0);  // one page may share a large folio
  return report();
}
