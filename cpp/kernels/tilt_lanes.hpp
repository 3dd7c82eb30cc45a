// Sums of the exact tilt over a batch of prompts in f32 lanes, one lane a tilt (a direction and a beta).
// Scores are centred under the base policy, so with x = lam t, E = expm1(x) and q = E - x >= 0
//   m = sum w q, L = log1p(m), KL = sum w x E / (1 + m) - L, chi2 = (sum w E^2 - m^2) / (1 + m)^2,
//   gain_j = sum w E f_j / (1 + m), reverse KL = L                                  (theory 2)
// and no term cancels at small tilts. A lane where f32 would not do is left out and reported: the caller
// forms it in f64 (tilt.hpp). One exponential a row, one logarithm a prompt. How E is formed depends on the
// reach of a prompt's exponents, and costs ten operations a row in the two usual ways.
#pragma once
#include "kernels/tilt_sums.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kTogether = 8;  // prompts between visits to the logarithms

/// Adds one prompt's finished figures to the batch's sums of this vector; returns the lanes left out, of which
/// nothing is added.
template <bool Extras>
CLINOMETER_INLINE Ints tilt_close(const TiltBatch& b, std::int64_t p, const TiltSum& s, Floats lam, Floats top,
                                  Floats* columns, const float* pilot, Floats* sums) {
  const std::int64_t J = b.n_values;
  const Floats inverse = reciprocal(s.m + 1.0f), L = log_of_one_plus(s.m), kl = s.a * inverse - L, peak = lam * top;
  // f32 will not do: exponents too large, KL lost between two terms, squares near underflow, a tilt out of range
  const Ints unsafe = (Ints)(peak > 40.0f) | (Ints)(kl * 32.0f < L) | (Ints) !(kl >= 1e-24f);
  const Ints bad = (unsafe & (Ints)(peak != 0.0f)) | (Ints)(lam < 0.0f) | (Ints)(top != top);
  const bool all = !any(bad);
  Floats omega = broadcast(b.omega[p]);
  if (!all) omega = choose(bad, Floats{}, omega);
  const auto kept = [&](Floats x) { return all ? x : choose(bad, Floats{}, x); };
  sums[0] += omega * kept(kl);
  sums[1] += omega * kept(L);
  Floats* const gain = sums + 2;  // d
  if constexpr (!Extras) {
    for (std::int64_t j = 0; j < J; ++j) gain[j] += omega * kept(columns[j] * inverse);
    return bad;
  }
  const Floats chi2 = (s.c - s.m * s.m) * (inverse * inverse), share = reciprocal(chi2 + 1.0f), ratio = peak - L;
  Floats* const mass = gain + J;  // d o
  Floats* const win = mass + J;   // o win
  Floats* const whole = win + J;
  Floats* pair = whole + 4;  // d d'
  Floats d[kBatchValues];
  for (std::int64_t j = 0; j < J; ++j) {
    d[j] = omega * kept(columns[j] * inverse - loadu<float>(pilot + j * b.n_tilts));
    gain[j] += d[j];
    mass[j] += d[j] * b.omega[p];
    win[j] += omega * kept(columns[J + j] * inverse);
    for (std::int64_t i = 0; i <= j; ++i) *pair++ += d[j] * d[i];
  }
  whole[0] += omega * kept(chi2);
  whole[1] += omega * kept(share);
  whole[2] = (all ? Ints(share < whole[2]) : (Ints)(share < whole[2]) & ~bad) ? share : whole[2];
  whole[3] = (all ? Ints(ratio > whole[3]) : (Ints)(ratio > whole[3]) & ~bad) ? ratio : whole[3];
  return bad;
}

/// All prompts of a batch for the vector of tilts that starts at lane `at`.
template <bool Extras>
void tilt_vector(const TiltBatch& b, std::int64_t at, Floats* columns, Floats* sums) {
  const std::int64_t J = b.n_values, panel = b.panel[at / kPad], lane = at % kPad, extremes = ess_min_row(J);
  const std::int64_t n_sums = tilt_sums(J, Extras);
  for (std::int64_t i = 0; i < n_sums; ++i) sums[i] = Floats{};
  if constexpr (Extras) {
    sums[extremes] = broadcast(__builtin_inff());
    sums[extremes + 1] = broadcast(-__builtin_inff());
  }
  const Floats given = loadu<float>(b.lam + at), lam = given < 0.0f ? Floats{} : given;
  // some prompts' sums first, then what is made of them: the long chains of one prompt's logarithm run beside others'
  TiltSum part[kTogether];
  const std::int64_t F = b.n_columns;
  for (std::int64_t first = 0; first < b.n_prompts; first += kTogether) {
    const std::int64_t used = b.n_prompts - first < kTogether ? b.n_prompts - first : kTogether;
    for (std::int64_t i = 0, p = first; i < used; ++i, ++p) {
      const std::int64_t rows = b.offsets[p + 1] - b.offsets[p];
      const float* const t = b.score + (b.offsets[p] * b.n_panels + panel * rows) * kPad + lane;
      const Floats reach = loadu<float>(b.reach + (p * b.n_panels + panel) * kPad + lane);
      part[i] = tilt_any<Extras>(b, p, t, lam, reach, columns + i * F);
    }
    for (std::int64_t i = 0, p = first; i < used; ++i, ++p) {
      const Floats top = loadu<float>(b.top + (p * b.n_panels + panel) * kPad + lane);
      const Ints bad = tilt_close<Extras>(b, p, part[i], given, top, columns + i * F, b.pilot + at, sums);
      if (any(bad))
        for (int j = 0; j < kSingle; ++j) b.left_out[p * b.n_tilts + at + j] = bad[j] != 0;
    }
  }
  for (std::int64_t i = 0; i < n_sums; ++i) {
    double* const to = b.sums + i * b.n_tilts + at;
    for (int j = 0; Extras && (i == extremes || i == extremes + 1) && j < kSingle; ++j) {
      const double x = double(sums[i][j]);
      to[j] = i == extremes ? (x < to[j] ? x : to[j]) : (x > to[j] ? x : to[j]);
    }
    if (!Extras || (i != extremes && i != extremes + 1)) add_to(to, sums[i]);
  }
}

void tilt_batch(const TiltBatch& b) {
  Floats columns[kTogether * 2 * kBatchValues], sums[tilt_sums(kBatchValues, true)];
  for (std::int64_t at = 0; at < b.n_tilts; at += kSingle)
    b.extras ? tilt_vector<true>(b, at, columns, sums) : tilt_vector<false>(b, at, columns, sums);
}

template <Way R, bool Square>
void tilt_slice(const TiltBatch& b, std::int64_t p, std::int64_t at, Floats lam, const float* t, Floats* columns) {
  const TiltSum s = tilt_weighted<R, Square>(b, p, t, lam, columns);
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
