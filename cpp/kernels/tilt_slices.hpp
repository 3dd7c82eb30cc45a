// Raw sums of the slices of one long prompt in f32 lanes, one lane a tilt.
#pragma once
#include "kernels/tilt_sums.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

template <Way R, bool Square>
void tilt_slice(const TiltBatch& b, std::int64_t p, std::int64_t at, Floats lam, const float* t, Floats* columns) {
  const TiltSum s = tilt_weighted<Across::tilts, R, Square>(b, p, 0, t, lam, columns);
  float* const out = b.raw + p * (3 + b.n_columns) * b.n_tilts + at;
  storeu<float>(out, s.m);
  storeu<float>(out + b.n_tilts, s.a);
  if constexpr (Square) storeu<float>(out + 2 * b.n_tilts, s.c);
  for (std::int64_t j = 0; j < b.n_columns; ++j) storeu<float>(out + (3 + j) * b.n_tilts, columns[j]);
}

/// Raw sums of slices [from, to) of one long prompt: m, sum w x E, sum w E^2 and the columns of each.
template <bool Square>
void all_slices(const TiltBatch& b, std::int64_t from, std::int64_t to) {
  Floats columns[2 * kBatchValues];
  for (std::int64_t p = from; p < to; ++p)
    for (std::int64_t at = 0; at < b.n_tilts; at += kSingle) {
      const std::int64_t panel = b.panel[at / kPad], lane = at % kPad, rows = b.offsets[p + 1] - b.offsets[p];
      const Floats given = loadu<float>(b.lam + at), lam = given < 0.0f ? Floats{} : given;
      const float* const t = b.score + (b.offsets[p] * b.n_panels + panel * rows) * kPad + lane;
      const Way way = b.way[at / kPad];
      if (way == Way::near) tilt_slice<Way::near, Square>(b, p, at, lam, t, columns);
      if (way == Way::far) tilt_slice<Way::far, Square>(b, p, at, lam, t, columns);
      if (way == Way::between) tilt_slice<Way::between, Square>(b, p, at, lam, t, columns);
      if (way == Way::careful) tilt_slice<Way::careful, Square>(b, p, at, lam, t, columns);
    }
}

void tilt_slices(const TiltBatch& b, std::int64_t from, std::int64_t to) {
  b.extras ? all_slices<true>(b, from, to) : all_slices<false>(b, from, to);
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
