// The probes of the wide levels: compiled once per level beside kernels.cpp, under the same rules.
#include "kernels/probe.hpp"

#include "kernels/simd.hpp"

#define CLINOMETER_TEXT_(x) #x
#define CLINOMETER_TEXT(x) CLINOMETER_TEXT_(x)

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

// twice the vectors that hide a latency of 4 on two units; the rest of the registers hold the operands
constexpr int kChains = kRegisters >= 32 ? 16 : 12;
constexpr int kSteps = 8;

template <int S>
std::uint64_t read_streams(const char* first, std::int64_t bytes, std::int64_t stride) {
  Vec<std::int32_t> sum[S] = {}, more[S] = {};
  std::int64_t c = 0;
  for (; c + 2 * kBytes <= bytes; c += 2 * kBytes) {
    CLINOMETER_UNROLL for (int s = 0; s < S; ++s) {
      sum[s] ^= loadu<std::int32_t>(first + s * stride + c);
      more[s] ^= loadu<std::int32_t>(first + s * stride + c + kBytes);
    }
  }
  std::uint64_t total = 0;
  for (; c < bytes; ++c)
    for (int s = 0; s < S; ++s) total += static_cast<unsigned char>(first[s * stride + c]);
  for (int s = 0; s < S; ++s) {
    std::int32_t lane[kLanes<std::int32_t>];
    storeu<std::int32_t>(lane, sum[s] ^ more[s]);
    for (const std::int32_t x : lane) total += static_cast<std::uint32_t>(x);
  }
  return total;
}

std::uint64_t read(const void* first, std::int64_t bytes, std::int64_t stride, int streams) {
  const char* const at = static_cast<const char*>(first);
  if (streams == 8) return read_streams<8>(at, bytes, stride);
  if (streams == 4) return read_streams<4>(at, bytes, stride);
  return read_streams<1>(at, bytes, stride);
}

float fma(std::int64_t rounds, float factor, float term) {
  const Vec<float> f = broadcast(factor), t = broadcast(term);
  Vec<float> sum[kChains];
  CLINOMETER_UNROLL for (int i = 0; i < kChains; ++i) sum[i] = broadcast(static_cast<float>(i));
  for (std::int64_t r = 0; r < rounds; ++r)
    CLINOMETER_UNROLL for (int s = 0; s < kSteps; ++s) CLINOMETER_UNROLL for (int i = 0; i < kChains; ++i) sum[i] =
        sum[i] * f + t;
  Vec<float> all = sum[0];
  for (int i = 1; i < kChains; ++i) all += sum[i];
  return static_cast<float>(horizontal_sum(all));
}

/// exp for |x| < 87: 2^k exp(r), Taylor to r^7, remainder below 6e-9.
CLINOMETER_INLINE Vec<float> exp_single(Vec<float> x) {
  constexpr float kRound = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits
  const Vec<float> shifted = x * 0x1.715476p0f + kRound, k = shifted - kRound;
  Vec<float> r = x - k * 0x1.62e4p-1f;  // exact: the constant has 9 trailing zeros
  r = r - k * 0x1.7f7d1cp-20f;
  Vec<float> p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return (Vec<float>)((Vec<std::uint32_t>)p + ((Vec<std::uint32_t>)shifted << 23));
}

void exponential(const float* x, float* out, std::int64_t n) {
  constexpr int N = kLanes<float>, kTogether = kRegisters >= 32 ? 8 : 4;
  for (std::int64_t i = 0; i < n; i += kTogether * N) {
    Vec<float> y[kTogether];
    CLINOMETER_UNROLL for (int v = 0; v < kTogether; ++v) y[v] = exp_single(loadu<float>(x + i + v * N));
    CLINOMETER_UNROLL for (int v = 0; v < kTogether; ++v) storeu<float>(out + i + v * N, y[v]);
  }
}

}  // namespace

extern const Probes probes;
const Probes probes = {CLINOMETER_TEXT(CLINOMETER_LEVEL), read, fma, 2 * kSteps * kChains * kLanes<float>, exponential};

}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
