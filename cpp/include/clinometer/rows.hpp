// Rows of a dump as a view: pointers into somebody else's memory, nothing owned, nothing copied.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace clinometer {

enum class Dtype : int { f32 = 0, f16 = 1, bf16 = 2, f64 = 3 };
inline constexpr int kDtypes = 4;
/// Bytes of an element.
inline constexpr std::int64_t kItemBytes[kDtypes] = {4, 2, 2, 8};

/// A run of rows in one piece of memory; `stride` is in bytes, elements of a row are adjacent.
struct Segment {
  const std::byte* data;
  std::int64_t row_start;
  std::int64_t rows;
  std::int64_t stride;
};

/// phi: n rows of d elements of one dtype, in ascending, gapless segments.
struct Rows {
  Dtype dtype = Dtype::f32;
  std::int64_t n = 0;
  std::int64_t d = 0;
  std::vector<Segment> segments;

  const void* at(std::int64_t row) const {
    std::size_t s = 0;
    if (segments.size() > 1) {
      std::size_t low = 0, high = segments.size();
      while (high - low > 1) {
        const std::size_t middle = (low + high) / 2;
        (segments[middle].row_start <= row ? low : high) = middle;
      }
      s = low;
    }
    return segments[s].data + (row - segments[s].row_start) * segments[s].stride;
  }
};

}  // namespace clinometer
