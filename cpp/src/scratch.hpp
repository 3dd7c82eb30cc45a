// Large arrays for the length of one call: not set to anything, and on huge pages where the system has them, because
// touching new pages one by one costs more than what is then done with them.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace clinometer {

template <class T>
class Scratch {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Scratch() = default;
  explicit Scratch(std::size_t n) : memory_(static_cast<T*>(allocate(n * sizeof(T)))) {}
  T* data() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> memory_;

  static void* allocate(std::size_t bytes) {
    constexpr std::size_t kHuge = std::size_t(2) << 20;
    void* p = nullptr;
    if (bytes < kHuge) {
      p = std::malloc(bytes > 0 ? bytes : 1);
    } else {
      bytes = (bytes + kHuge - 1) / kHuge * kHuge;
      p = std::aligned_alloc(kHuge, bytes);
#ifdef __linux__
      if (p) madvise(p, bytes, MADV_HUGEPAGE);  // a hint: nothing is lost where it is refused
#endif
    }
    if (!p) throw std::bad_alloc();
    return p;
  }
};

}  // namespace clinometer
