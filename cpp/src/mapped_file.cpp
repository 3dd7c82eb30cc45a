#include <clinometer/mapped_file.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <system_error>

namespace clinometer {
namespace {

// A fixed table of atomics: a signal handler may not take a lock or allocate.
struct Slot {
  std::atomic<std::uintptr_t> begin{0}, end{0};
  std::atomic<bool> faulted{false};
};
constexpr int kSlots = 32768;  // a kernel has 65530 maps for a process
Slot slots[kSlots];
int next_slot = 0;
struct sigaction previous;
std::once_flag installed;
std::mutex slots_mutex;

void on_fault(int signal, siginfo_t* info, void* context) {
  const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (Slot& s : slots) {
    const std::uintptr_t begin = s.begin.load(std::memory_order_acquire), end = s.end.load(std::memory_order_acquire);
    if (begin == 0 || at < begin || at >= end) continue;
    const int saved = errno;
    const std::uintptr_t page = at & ~std::uintptr_t(sysconf(_SC_PAGESIZE) - 1);
    // one mapping to the end of the range: page by page would exhaust the kernel's map count
    void* zeros =
        mmap(reinterpret_cast<void*>(page), end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = saved;
    if (zeros == MAP_FAILED) break;
    s.faulted.store(true, std::memory_order_release);
    return;
  }
  if (previous.sa_flags & SA_SIGINFO) {
    if (previous.sa_sigaction) return previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    return previous.sa_handler(signal);
  }
  // not ours and nobody else's: the default action, when the instruction faults again
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGBUS, &standard, nullptr);
}

void install() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous);
}

int claim(std::uintptr_t begin, std::uintptr_t end) {
  std::lock_guard lock(slots_mutex);
  for (int tried = 0; tried < kSlots; ++tried) {
    const int i = next_slot;
    next_slot = (next_slot + 1) % kSlots;
    if (slots[i].begin.load() != 0) continue;
    slots[i].faulted = false;
    slots[i].end.store(end, std::memory_order_release);
    slots[i].begin.store(begin, std::memory_order_release);
    return i;
  }
  throw std::system_error(EMFILE, std::generic_category(), "too many mapped files at once; close some dumps");
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(std::filesystem::absolute(path).string()) {
  // O_NONBLOCK: a FIFO without a writer must not hang the open. A map outlives its descriptor, of which there are few.
  const int fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), path);
  try {
    struct stat st = {};
    if (fstat(fd, &st) != 0) throw std::system_error(errno, std::generic_category(), path);
    if (!S_ISREG(st.st_mode)) throw std::invalid_argument(path + ": not a plain file");
    size_ = static_cast<std::size_t>(st.st_size);
    mtime_s_ = st.st_mtim.tv_sec;
    mtime_ns_ = st.st_mtim.tv_nsec;
    inode_ = st.st_ino;
    device_ = st.st_dev;
    if (size_ > 0) {
      std::call_once(installed, install);
      void* at = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
      if (at == MAP_FAILED) throw std::system_error(errno, std::generic_category(), path);
      data_ = static_cast<std::byte*>(at);
      const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
      const auto begin = reinterpret_cast<std::uintptr_t>(data_);
      slot_ = claim(begin, (begin + size_ + page - 1) / page * page);
    }
  } catch (...) {
    ::close(fd);
    close();
    throw;
  }
  ::close(fd);
}

MappedFile::~MappedFile() { close(); }

void MappedFile::close() {
  if (slot_ >= 0) slots[slot_].begin.store(0, std::memory_order_release);
  if (data_) munmap(data_, size_);
  slot_ = -1;
  data_ = nullptr;
}

void MappedFile::release() const {
  if (data_) (void)madvise(data_, size_, MADV_DONTNEED);  // a hint: nothing is lost where it is refused
}

void MappedFile::check() const {
  if (slot_ >= 0 && slots[slot_].faulted.load(std::memory_order_acquire))
    throw dump_changed(path_ + ": the file shrank while it was being read; open the dump again");
  struct stat now = {};
  if (stat(path_.c_str(), &now) != 0) return;  // removed: the map still holds what it was
  if (now.st_ino != inode_ || now.st_dev != device_)
    throw dump_changed(path_ + ": the file was replaced since the dump was opened; open it again");
  if (static_cast<std::size_t>(now.st_size) != size_ || now.st_mtim.tv_sec != mtime_s_ ||
      now.st_mtim.tv_nsec != mtime_ns_)
    throw dump_changed(path_ + ": the file's size or time changed since the dump was opened; open it again");
}

}  // namespace clinometer
