// Sums of the exact tilt over a batch of prompts in f32 lanes: one lane a tilt (a direction and a beta), or one lane a
// prompt and tilts one by one.
// Scores are centred under the base policy, so with x = lam t, E = expm1(x) and q = E - x >= 0
//   m = sum w q, L = log1p(m), KL = sum w x E / (1 + m) - L, chi2 = (sum w E^2 - m^2) / (1 + m)^2,
//   gain_j = sum w E f_j / (1 + m), reverse KL = L                                  (theory 2.2)
// and no term cancels at small tilts. A lane where f32 would not do is left out and reported: the caller
// forms it in f64 (tilt.hpp). One exponential a row, one logarithm a prompt. How E is formed depends on the
// reach of a prompt's exponents, and costs ten operations a row in the two usual ways.
#pragma once
#include "kernels/lane_sums.hpp"
#include "kernels/tilt_pairs.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

constexpr std::int64_t kTogether = 8;  // prompts between visits to the logarithms

/// Where a vector of lanes stands: its first tilt, or its tilt and the first of its sixteen prompts.
struct LanesAt {
  std::int64_t tilt, panel, lane, side;
};

/// Adds one prompt's finished figures to the batch's sums of this vector; returns the lanes left out, of which
/// nothing is added. N: how many values there are, or 0 where the compiler does not know.
template <Across A, bool Extras, int N>
CLINOMETER_INLINE Ints tilt_close(const TiltBatch& b, std::int64_t p, const LanesAt& at, const TiltSum& s, Floats lam,
                                  Floats* columns, Floats* sums) {
  const std::int64_t J = N > 0 ? N : b.n_values;
  const Floats top = loadu<float>(b.top + (p * b.n_panels + at.panel) * kPad + at.lane);
  const Floats inverse = reciprocal(s.m + 1.0f), L = log_of_one_plus(s.m), kl = s.a * inverse - L, peak = lam * top;
  // f32 will not do: exponents too large, KL lost between two terms, squares near underflow, a tilt out of range
  const Ints unsafe = (Ints)(peak > 40.0f) | (Ints)(kl * 32.0f < L) | (Ints) !(kl >= 1e-24f);
  const Ints bad = (unsafe & (Ints)(peak != 0.0f)) | (Ints)(lam < 0.0f) | (Ints)(top != top);
  const bool all = !any(bad);
  const Floats given = of_row<A>(b.omega + at.side, p);
  const Floats omega = all ? given : choose(bad, Floats{}, given);
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
  Floats d[N > 0 ? N : kBatchValues];
  for (std::int64_t j = 0; j < J; ++j) {
    d[j] = omega * kept(columns[j] * inverse - of_tilt<A>(b.pilot + j * b.n_tilts + at.tilt));
    gain[j] += d[j];
    mass[j] += d[j] * given;
    win[j] += omega * kept(columns[J + j] * inverse);
    for (std::int64_t i = 0; i <= j; ++i) *pair++ += d[j] * d[i];
  }
  whole[0] += omega * kept(chi2);
  whole[1] += omega * kept(share);
  whole[2] = (all ? Ints(share < whole[2]) : (Ints)(share < whole[2]) & ~bad) ? share : whole[2];
  whole[3] = (all ? Ints(ratio > whole[3]) : (Ints)(ratio > whole[3]) & ~bad) ? ratio : whole[3];
  return bad;
}

template <Across A>
CLINOMETER_INLINE void report(const TiltBatch& b, std::int64_t p, const LanesAt& at, Ints bad) {
  char* const to = b.left_out + (p * b.n_tilts + at.tilt) * kFold<A> + at.side;
  for (int j = 0; j < kSingle; ++j) to[j] = bad[j] != 0;
}

/// Figures near those of the batch's first prompt, where the caller has none.
CLINOMETER_INLINE void find_pilots(const TiltBatch& b, std::int64_t tilt, const TiltSum& s, const Floats* columns) {
  for (std::int64_t j = 0; j < b.n_values; ++j) {
    const float near = columns[j][0] / (s.m[0] + 1.0f);
    b.pilot[j * b.n_tilts + tilt] = near - near == 0 ? near : 0;
  }
}

template <Across A, bool Extras, int N = 0>
void close_some(const TiltBatch& b, std::int64_t first, std::int64_t used, const LanesAt& at, const TiltSum* part,
                std::int64_t step, Floats* columns, Floats* sums) {
  const Floats lam = of_tilt<A>(b.lam + at.tilt);
  for (std::int64_t i = 0, p = first; i < used; ++i, ++p) {
    const Ints bad = tilt_close<A, Extras, N>(b, p, at, part[i * step], lam, columns + i * step * b.n_columns, sums);
    if (any(bad)) report<A>(b, p, at, bad);
  }
}

/// The same for however many values there are; prompt i is at part[i * step].
template <Across A, bool Extras>
CLINOMETER_INLINE void close_all(const TiltBatch& b, std::int64_t first, std::int64_t used, const LanesAt& at,
                                 const TiltSum* part, std::int64_t step, Floats* columns, Floats* sums) {
  const auto with = [&](auto close) { close(b, first, used, at, part, step, columns, sums); };
  if (Extras && b.n_values == 1) return with(close_some<A, Extras, 1>);
  if (Extras && b.n_values == 2) return with(close_some<A, Extras, 2>);
  if (Extras && b.n_values == 3) return with(close_some<A, Extras, 3>);
  if (Extras && b.n_values == 4) return with(close_some<A, Extras, 4>);
  with(close_some<A, Extras>);
}

/// Where the scores of one panel of prompt p stand, and their reach.
CLINOMETER_INLINE const float* scores_at(const TiltBatch& b, std::int64_t p, const LanesAt& at) {
  const std::int64_t rows = b.offsets[p + 1] - b.offsets[p];
  return b.score + (b.offsets[p] * b.n_panels + at.panel * rows) * kPad + at.lane;
}
CLINOMETER_INLINE Floats reach_at(const TiltBatch& b, std::int64_t p, const LanesAt& at) {
  return loadu<float>(b.reach + (p * b.n_panels + at.panel) * kPad + at.lane);
}
template <Across A>
CLINOMETER_INLINE Floats lam_at(const TiltBatch& b, std::int64_t tilt) {
  const Floats given = of_tilt<A>(b.lam + tilt);
  return given < 0.0f ? Floats{} : given;
}

/// One tilt, or two, of all groups for some of their lanes. Some groups' sums first, then what is made of them: the
/// long chains of one logarithm run beside others'.
template <bool Extras>
void tilt_lanes_of_prompts(const TiltBatch& b, std::int64_t tilt, std::int64_t count, std::int64_t side,
                           Floats* columns, Floats* sums, std::int64_t n_sums) {
  const LanesAt at{tilt, b.panel[tilt], side, side};
  const Floats lam[2] = {lam_at<Across::prompts>(b, tilt), lam_at<Across::prompts>(b, tilt + count - 1)};
  TiltSum part[2 * kTogether];
  const std::int64_t F = b.n_columns;
  for (std::int64_t first = 0; first < b.n_prompts; first += kTogether) {
    const std::int64_t used = b.n_prompts - first < kTogether ? b.n_prompts - first : kTogether;
    for (std::int64_t i = 0, p = first; i < used; ++i, ++p) {
      const float* const t = scores_at(b, p, at);
      const Floats reach = reach_at(b, p, at);
      if (count == 2)
        tilt_pair<Extras>(b, p, side, t, lam, reach, part + 2 * i, columns + 2 * i * F);
      else
        part[i] = tilt_any<Across::prompts, Extras>(b, p, side, t, lam[0], reach, columns + i * F);
    }
    for (std::int64_t s = 0; s < count; ++s) {
      if (b.no_pilots && first + side == 0) find_pilots(b, tilt + s, part[s], columns + s * F);
      close_all<Across::prompts, Extras>(b, first, used, {tilt + s, at.panel, side, side}, part + s, count,
                                         columns + s * F, sums + s * n_sums);
    }
  }
}

template <bool Extras>
void tilts_of_prompts(const TiltBatch& b, std::int64_t tilt, std::int64_t count, Floats* columns, Floats* sums) {
  const std::int64_t n_sums = tilt_sums(b.n_values, Extras), extremes = ess_min_row(b.n_values);
  float* const held = b.extremes + tilt * 2 * kPad;
  for (std::int64_t i = 0; i < count * n_sums; ++i) sums[i] = Floats{};
  for (std::int64_t i = 0; Extras && i < 2 * count; ++i)
    sums[i / 2 * n_sums + extremes + i % 2] = loadu<float>(held + i * kPad);
  for (std::int64_t side = 0; side < kPad; side += kSingle)
    tilt_lanes_of_prompts<Extras>(b, tilt, count, side, columns, sums, n_sums);
  for (std::int64_t i = 0; Extras && i < 2 * count; ++i) {
    Floats& extreme = sums[i / 2 * n_sums + extremes + i % 2];
    storeu<float>(held + i * kPad, extreme);
    extreme = Floats{};
  }
  for (std::int64_t s = 0; s < count; ++s)
    add_lane_sums(sums + s * n_sums, n_sums, b.sums + (tilt + s) * padded(n_sums));
}

/// All prompts of a batch for one vector of tilts.
template <bool Extras>
void tilt_vector(const TiltBatch& b, const LanesAt& at, Floats* columns, Floats* sums) {
  const Floats lam = lam_at<Across::tilts>(b, at.tilt);
  TiltSum part[kTogether];
  for (std::int64_t first = 0; first < b.n_prompts; first += kTogether) {
    const std::int64_t used = b.n_prompts - first < kTogether ? b.n_prompts - first : kTogether;
    for (std::int64_t i = 0, p = first; i < used; ++i, ++p)
      part[i] = tilt_any<Across::tilts, Extras>(b, p, 0, scores_at(b, p, at), lam, reach_at(b, p, at),
                                                columns + i * b.n_columns);
    close_all<Across::tilts, Extras>(b, first, used, at, part, 1, columns, sums);
  }
}

template <bool Extras>
void tilts_in_lanes(const TiltBatch& b, std::int64_t tilt, Floats* columns, Floats* sums) {
  const std::int64_t n_sums = tilt_sums(b.n_values, Extras), extremes = ess_min_row(b.n_values);
  for (std::int64_t i = 0; i < n_sums; ++i) sums[i] = Floats{};
  if constexpr (Extras) {
    sums[extremes] = broadcast(__builtin_inff());
    sums[extremes + 1] = broadcast(-__builtin_inff());
  }
  tilt_vector<Extras>(b, {tilt, b.panel[tilt / kPad], tilt % kPad, 0}, columns, sums);
  for (std::int64_t i = 0; i < n_sums; ++i) {
    double* const to = b.sums + i * b.n_tilts + tilt;
    for (int j = 0; Extras && (i == extremes || i == extremes + 1) && j < kSingle; ++j) {
      const double x = double(sums[i][j]);
      to[j] = i == extremes ? (x < to[j] ? x : to[j]) : (x > to[j] ? x : to[j]);
    }
    if (!Extras || (i != extremes && i != extremes + 1)) add_to(to, sums[i]);
  }
}

void tilt_batch(const TiltBatch& b) {
  Floats columns[kTogether * 2 * kBatchValues], sums[tilt_sums(kBatchValues, true)];
  for (std::int64_t tilt = 0; tilt < b.n_tilts; tilt += kSingle)
    b.extras ? tilts_in_lanes<true>(b, tilt, columns, sums) : tilts_in_lanes<false>(b, tilt, columns, sums);
}

void tilt_groups(const TiltBatch& b) {
  Floats columns[2 * kTogether * 2 * kBatchValues], sums[2 * tilt_sums(kBatchValues, true)];
  for (std::int64_t tilt = 0, count; tilt < b.n_tilts; tilt += count) {
    count = tilt + 1 < b.n_tilts && b.panel[tilt] == b.panel[tilt + 1] ? 2 : 1;
    b.extras ? tilts_of_prompts<true>(b, tilt, count, columns, sums)
             : tilts_of_prompts<false>(b, tilt, count, columns, sums);
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
