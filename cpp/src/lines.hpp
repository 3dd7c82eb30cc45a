// Arrays that begin on a cache line, for kernels whose vectors are as long as one: a vector across two lines costs two
// loads. Entries are not set to anything before they are written.
#pragma once
#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace clinometer {

template <class T>
struct OnLines {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};

  OnLines() = default;
  template <class U>
  explicit OnLines(const OnLines<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kLine)); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, kLine); }
  template <class U, class... Given>
  void construct(U* at, Given&&... given) {
    if constexpr (sizeof...(Given) > 0)
      ::new (static_cast<void*>(at)) U(std::forward<Given>(given)...);
    else
      ::new (static_cast<void*>(at)) U;
  }
  bool operator==(const OnLines&) const { return true; }
};

template <class T>
using Lines = std::vector<T, OnLines<T>>;

}  // namespace clinometer
