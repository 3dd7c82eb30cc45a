// The portable probes, and the choice among levels.
#include <Eigen/Core>
#include <cstring>

#include "kernels/probe.hpp"

namespace clinometer::kernels {

namespace isa_baseline {
namespace {

constexpr int kChains = 12, kLanes = 4, kSteps = 8;

std::uint64_t read(const void* first, std::int64_t bytes, std::int64_t stride, int streams) {
  std::uint64_t total = 0;
  for (int s = 0; s < streams; ++s) {
    const char* const row = static_cast<const char*>(first) + s * stride;
    std::int64_t c = 0;
    for (; c + 8 <= bytes; c += 8) {
      std::uint64_t word;
      std::memcpy(&word, row + c, sizeof word);
      total += word;
    }
    for (; c < bytes; ++c) total += static_cast<unsigned char>(row[c]);
  }
  return total;
}

float fma(std::int64_t rounds, float factor, float term) {
  using Lanes = Eigen::Array<float, kLanes, 1>;
  Lanes sum[kChains];
  for (int i = 0; i < kChains; ++i) sum[i] = Lanes::Constant(static_cast<float>(i));
  for (std::int64_t r = 0; r < rounds * kSteps; ++r)
    for (Lanes& s : sum) s = s * factor + term;
  Lanes all = Lanes::Zero();
  for (const Lanes& s : sum) all += s;
  return all.sum();
}

void exponential(const float* x, float* out, std::int64_t n) {
  Eigen::Map<Eigen::ArrayXf>(out, n) = Eigen::Map<const Eigen::ArrayXf>(x, n).exp();
}

}  // namespace

const Probes probes = {"baseline", read, fma, 2 * kSteps * kChains * kLanes, exponential};
}  // namespace isa_baseline

#ifdef CLINOMETER_HAVE_AVX2
namespace isa_avx2 {
extern const Probes probes;
}
#endif
#ifdef CLINOMETER_HAVE_AVX512
namespace isa_avx512 {
extern const Probes probes;
}
#endif
#ifdef CLINOMETER_HAVE_NEON
namespace isa_neon {
extern const Probes probes;
}
#endif

const Probes* probes(const char* level) {
  const Probes* const all[] = {
      &isa_baseline::probes,
#ifdef CLINOMETER_HAVE_AVX2
      &isa_avx2::probes,
#endif
#ifdef CLINOMETER_HAVE_AVX512
      &isa_avx512::probes,
#endif
#ifdef CLINOMETER_HAVE_NEON
      &isa_neon::probes,
#endif
  };
  for (const char* const more : {"avx512bf16", "amx"})  // which are avx512 with products that no probe asks
    if (std::strcmp(level, more) == 0) level = "avx512";
  for (const Probes* p : all)
    if (std::strcmp(p->name, level) == 0) return p;
  return nullptr;
}

}  // namespace clinometer::kernels
