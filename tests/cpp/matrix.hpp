// What the tests of a matrix unit share: memory as it wants it, and shifts in the order of its rows.
#pragma once
#include "check.hpp"

struct alignas(64) Line {
  char bytes[64];
};
inline std::vector<Line> room(std::int64_t bytes) {
  return std::vector<Line>(static_cast<std::size_t>(bytes + 63) / 64);
}

inline std::vector<float> paired_shift(const k::Table* level, const Stored& stored) {
  std::vector<float> out(stored.shift.size());
  for (int c = 0; c < stored.d; ++c)
    out[static_cast<std::size_t>(paired_at(c, stored.d, level->f32.paired[static_cast<int>(stored.dtype)]))] =
        stored.shift[static_cast<std::size_t>(c)];
  return out;
}
