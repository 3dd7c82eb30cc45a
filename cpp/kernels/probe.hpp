// What the machine can do at one instruction-set level: reading, multiply-adds, exponentials. Nothing of the package
// computes with these; `clinometer bench` divides the kernels' times by them. One table per level, as for the kernels.
#pragma once
#include <cstdint>

namespace clinometer::kernels {

struct Probes {
  const char* name;
  /// Reads `streams` (1, 4 or 8) rows of `bytes` at a time; rows lie `stride` bytes apart. Returns a checksum.
  std::uint64_t (*read)(const void* first, std::int64_t bytes, std::int64_t stride, int streams);
  /// `rounds` rounds of independent f32 multiply-adds in registers; `fma_flops` flops a round.
  float (*fma)(std::int64_t rounds, float factor, float term);
  std::int64_t fma_flops;
  /// out = exp(x) in f32, n a multiple of 128, about 1 ulp: degree 7 after reduction to |r| <= ln2 / 2.
  void (*exponential)(const float* x, float* out, std::int64_t n);
};

/// The probes of a level that `available()` lists, or null.
const Probes* probes(const char* level);

}  // namespace clinometer::kernels
