// Cumulants of values and scores, k2 to k4, of prompts in f32 lanes, one lane a score or one lane a prompt
// (theory 2.4).
#pragma once
#include "kernels/columns.hpp"
#include "kernels/lane_sums.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

struct Cumulants {
  Floats k2[kBatchValues], k3[kBatchValues], k4[kBatchValues], variance;  // of the first J values
};

/// Writes sums of w f t, w f t^2, w f t^3 and w t^2 of one prompt or slice and one vector of lanes.
template <Across A>
CLINOMETER_INLINE void cumulate(const TiltBatch& b, std::int64_t p, std::int64_t side, const float* t, Cumulants& c) {
  const std::int64_t J = b.n_values, F = b.n_columns, begin = b.offsets[p], end = b.offsets[p + 1];
  for (std::int64_t j = 0; j < J; ++j) c.k2[j] = c.k3[j] = c.k4[j] = Floats{};
  c.variance = Floats{};
  for (std::int64_t i = begin; i < end; i += kTiltRows) {
    const std::int64_t n = end - i < kTiltRows ? end - i : kTiltRows;
    const float *const w = b.weight + i * kFold<A> + side, *const f = b.columns + i * F * kFold<A> + side;
    Floats first[kTiltRows], second[kTiltRows], third[kTiltRows], part = {};
    for (std::int64_t r = 0; r < n; ++r) {
      const Floats x = loadu<float>(t + (i - begin + r) * kPad);
      first[r] = of_row<A>(w, r) * x;
      second[r] = first[r] * x;
      third[r] = second[r] * x;
      part += second[r];
    }
    c.variance += part;
    add_all_columns<A>(first, f, n, F, J, c.k2);
    add_all_columns<A>(second, f, n, F, J, c.k3);
    add_all_columns<A>(third, f, n, F, J, c.k4);
  }
}

/// One prompt's k2, k3, k4 of one vector of lanes into the batch's sums, and its unbiased covariances.
template <Across A>
CLINOMETER_INLINE void cumulant_prompt(const TiltBatch& b, std::int64_t p, std::int64_t tilt, std::int64_t side,
                                       const float* t, Floats* sums) {
  const std::int64_t J = b.n_values;
  Cumulants c;
  cumulate<A>(b, p, side, t, c);
  const Floats omega = of_row<A>(b.omega + side, p), factor = of_row<A>(b.unbias + side, p);
  const Floats counted = factor != 0.0f ? omega : Floats{};
  Floats* const moment = sums;       // 3 J
  Floats* const d = moment + 3 * J;  // J
  Floats* const mass = d + J;        // J
  Floats* pair = mass + J;           // J (J + 1) / 2
  Floats one[kBatchValues];
  for (std::int64_t j = 0; j < J; ++j) {
    float* const pilot = b.pilot + j * b.n_tilts + tilt;
    if (A == Across::prompts && b.no_pilots && p + side == 0) *pilot = c.k2[j][0] * factor[0];
    moment[j] += c.k2[j] * omega;
    moment[J + j] += c.k3[j] * omega;
    moment[2 * J + j] += (c.k4[j] - 3.0f * (c.k2[j] * c.variance)) * omega;
    one[j] = (c.k2[j] * factor - of_tilt<A>(pilot)) * counted;
    d[j] += one[j];
    mass[j] += one[j] * counted;
    for (std::int64_t i = 0; i <= j; ++i) *pair++ += one[j] * one[i];
  }
}

/// All prompts of a batch for one vector of lanes.
template <Across A>
CLINOMETER_INLINE void cumulant_vector(const TiltBatch& b, std::int64_t tilt, std::int64_t panel, std::int64_t lane,
                                       std::int64_t side, Floats* sums) {
  for (std::int64_t p = 0; p < b.n_prompts; ++p) {
    const std::int64_t rows = b.offsets[p + 1] - b.offsets[p];
    const float* const t = b.score + (b.offsets[p] * b.n_panels + panel * rows) * kPad + lane;
    cumulant_prompt<A>(b, p, tilt, side, t, sums);
  }
}

void cumulant_batch(const TiltBatch& b) {
  const std::int64_t n_sums = cumulant_sums(b.n_values);
  Floats sums[cumulant_sums(kBatchValues)];
  for (std::int64_t at = 0; at < b.n_tilts; at += kSingle) {
    for (std::int64_t i = 0; i < n_sums; ++i) sums[i] = Floats{};
    cumulant_vector<Across::tilts>(b, at, at / kPad, at % kPad, 0, sums);
    for (std::int64_t i = 0; i < n_sums; ++i) add_to(b.sums + i * b.n_tilts + at, sums[i]);
  }
}

void cumulant_groups(const TiltBatch& b) {
  const std::int64_t n_sums = cumulant_sums(b.n_values);
  Floats sums[cumulant_sums(kBatchValues)];
  for (std::int64_t k = 0; k < b.n_tilts; ++k) {
    for (std::int64_t i = 0; i < n_sums; ++i) sums[i] = Floats{};
    for (std::int64_t side = 0; side < kPad; side += kSingle)
      cumulant_vector<Across::prompts>(b, k, k, side, side, sums);
    add_lane_sums(sums, n_sums, b.sums + k * padded(n_sums));
  }
}

void cumulant_slices(const TiltBatch& b, std::int64_t from, std::int64_t to) {
  const std::int64_t J = b.n_values;
  for (std::int64_t p = from; p < to; ++p)
    for (std::int64_t at = 0; at < b.n_tilts; at += kSingle) {
      const std::int64_t rows = b.offsets[p + 1] - b.offsets[p];
      Cumulants c;
      cumulate<Across::tilts>(b, p, 0, b.score + (b.offsets[p] * b.n_panels + at / kPad * rows) * kPad + at % kPad, c);
      float* const out = b.raw + p * (1 + 3 * J) * b.n_tilts + at;
      storeu<float>(out, c.variance);
      for (std::int64_t j = 0; j < J; ++j) {
        storeu<float>(out + (1 + j) * b.n_tilts, c.k2[j]);
        storeu<float>(out + (1 + J + j) * b.n_tilts, c.k3[j]);
        storeu<float>(out + (1 + 2 * J + j) * b.n_tilts, c.k4[j]);
      }
    }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
