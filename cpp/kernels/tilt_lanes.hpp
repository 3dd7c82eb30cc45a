// Sums of the exact tilt over a batch of prompts in f32 lanes, one lane a tilt (a direction and a beta).
// Scores are centred under the base policy, so with x = lam t, E = expm1(x) and q = E - x >= 0
//   m = sum w q, L = log1p(m), KL = sum w x E / (1 + m) - L, chi2 = (sum w E^2 - m^2) / (1 + m)^2,
//   gain_j = sum w E f_j / (1 + m), reverse KL = L                                  (theory 2)
// and no term cancels at small tilts. A lane where f32 would not do is left out and reported: the caller
// forms it in f64 (tilt.hpp). One exponential a row, one logarithm a prompt.
#pragma once
#include "kernels/simd.hpp"
#include "kernels/table.hpp"
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

using Floats = Vec<float>;
using Ints = Vec<std::int32_t>;
constexpr int kSingle = kLanes<float>;
constexpr std::int64_t kTiltRows = 64;  // rows between visits to the columns

CLINOMETER_INLINE Floats choose(Ints mask, Floats yes, Floats no) { return mask ? yes : no; }

CLINOMETER_INLINE bool any(Ints mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_testz_si256((__m256i)mask, (__m256i)mask) == 0;
#else
  std::int32_t all = 0;
  for (int j = 0; j < kSingle; ++j) all |= mask[j];
  return all != 0;
#endif
}

/// The nearest integer, for |x| < 2^22.
CLINOMETER_INLINE Floats nearest(Floats x) {
#if defined(__AVX512F__)
  return (Floats)_mm512_roundscale_ps((__m512)x, 8);
#else
  return (x + 0x1.8p23f) - 0x1.8p23f;
#endif
}

/// x 2^k for integers k in [-126, 127].
CLINOMETER_INLINE Floats times_power(Floats x, Floats k) {
#if defined(__AVX512F__)
  return (Floats)_mm512_scalef_ps((__m512)x, (__m512)k);
#else
  return (Floats)((Ints)x + (((Ints)(k + 0x1.8p23f)) << 23));
#endif
}

/// E = expm1(x) and q = expm1(x) - x to about 2 ulp of each; `Near`: every |x| <= 0.34.
template <bool Near>
CLINOMETER_INLINE void grow(Floats x, Floats& grown, Floats& excess) {
  Floats k = {}, r = x;
  if constexpr (!Near) {
    Floats held = x < -86.0f ? broadcast(-86.0f) : x;  // e^-86 is nothing beside 1
    held = held > 86.0f ? broadcast(86.0f) : held;     // reported anyway
    k = nearest(held * 0x1.715476p0f);
    r = held - k * 0x1.62e4p-1f;  // k has few bits: exact
    r = r - k * 0x1.7f7d1cp-20f;
  }
  Floats p = broadcast(0x1.a04688p-13f);  // (e^r - 1 - r) / r^2 for |r| <= 0.3475, fitted to 1.2e-8
  p = p * r + 0x1.6d444ap-10f;
  p = p * r + 0x1.111168p-7f;
  p = p * r + 0x1.5554e8p-5f;
  p = p * r + 0x1.555556p-3f;
  p = p * r + 0.5f;
  const Floats near_excess = p * (r * r), near_grown = r + near_excess;
  if constexpr (Near) {
    grown = near_grown;
    excess = near_excess;
  } else {
    const Floats far = times_power(near_grown + 1.0f, k) - 1.0f;
    const Ints near = (Ints)(k == 0.0f) & (Ints)(x > -80.0f);
    grown = choose(near, near_grown, far);
    excess = choose(near, near_excess, far - x);
  }
}

/// log(1 + m) for m >= 0, to about 2 ulp also where m is small.
CLINOMETER_INLINE Floats log_of_one_plus(Floats m) {
  const Floats u = m + 1.0f;
  const Ints k = (((Ints)u + (0x3f800000 - 0x3f3504f3)) >> 23) - 127;
  const Floats f = (Floats)((Ints)u - (k << 23));
  const Ints same = k == 0;
  const Floats top = choose(same, m, f - 1.0f), s = top / choose(same, m + 2.0f, f + 1.0f), z = s * s;
  Floats p = broadcast(2.0f / 9.0f);
  p = p * z + 2.0f / 7.0f;
  p = p * z + 2.0f / 5.0f;
  p = p * z + 2.0f / 3.0f;
  const Floats power = __builtin_convertvector(k, Floats);
  return power * 0x1.62e43p-1f + (power * -0x1.05c61p-29f + ((p * z) * s + 2.0f * s));
}

struct TiltSum {
  Floats m = {}, a = {}, c = {};
};

/// Rows [from, to) of one vector of tilts: the sums, and w E of each row for the columns.
template <bool Near>
CLINOMETER_INLINE void tilt_rows(const float* t, const float* w, std::int64_t n, Floats lam, TiltSum& s,
                                 Floats* moved) {
  for (std::int64_t i = 0; i < n; ++i) {
    const Floats x = lam * loadu<float>(t + i * kPad), weight = broadcast(w[i]);
    Floats grown, excess;
    grow<Near>(x, grown, excess);
    moved[i] = weight * grown;
    s.m += weight * excess;
    s.a += moved[i] * x;
    s.c += moved[i] * grown;
  }
}

/// to[j] += sum over rows of moved_i f_ij for C columns at once.
template <int C>
CLINOMETER_INLINE void add_columns(const Floats* moved, const float* f, std::int64_t n, std::int64_t width,
                                   Floats* to) {
  Floats sum[C];
  CLINOMETER_UNROLL for (int j = 0; j < C; ++j) sum[j] = to[j];
  for (std::int64_t i = 0; i < n; ++i)
    CLINOMETER_UNROLL for (int j = 0; j < C; ++j) sum[j] += moved[i] * broadcast(f[i * width + j]);
  CLINOMETER_UNROLL for (int j = 0; j < C; ++j) to[j] = sum[j];
}

CLINOMETER_INLINE void add_all_columns(const Floats* moved, const float* f, std::int64_t n, std::int64_t width,
                                       Floats* to) {
  std::int64_t j = 0;
  for (; j + 8 <= width; j += 8) add_columns<8>(moved, f + j, n, width, to + j);
  for (; j + 2 <= width; j += 2) add_columns<2>(moved, f + j, n, width, to + j);
  if (j < width) add_columns<1>(moved, f + j, n, width, to + j);
}

/// One prompt's sums. Runs of rows are added in f32; what a long prompt loses so is some 1e-7 of a sum of
/// terms of one sign, because runs are added pairwise through `part`.
CLINOMETER_INLINE TiltSum tilt_prompt(const TiltBatch& b, std::int64_t p, const float* t, Floats lam, bool near,
                                      Floats* columns) {
  const std::int64_t begin = b.offsets[p], end = b.offsets[p + 1], F = 2 * b.n_values;
  TiltSum total;
  Floats moved[kTiltRows];
  for (std::int64_t j = 0; j < F; ++j) columns[j] = Floats{};
  for (std::int64_t i = begin; i < end; i += kTiltRows) {
    const std::int64_t n = end - i < kTiltRows ? end - i : kTiltRows;
    TiltSum part;
    if (near)
      tilt_rows<true>(t + i * kPad, b.weight + i, n, lam, part, moved);
    else
      tilt_rows<false>(t + i * kPad, b.weight + i, n, lam, part, moved);
    add_all_columns(moved, b.columns + i * F, n, F, columns);
    total.m += part.m;
    total.a += part.a;
    total.c += part.c;
  }
  return total;
}

/// Adds one prompt's finished figures to the batch's sums of this vector; returns the lanes left out.
CLINOMETER_INLINE Ints tilt_close(const TiltBatch& b, std::int64_t p, const TiltSum& s, Floats lam, Floats top,
                                  const Floats* columns, const float* pilot, std::int64_t stride, Floats* sums) {
  const std::int64_t J = b.n_values;
  const Floats inverse = 1.0f / (s.m + 1.0f), L = log_of_one_plus(s.m), kl = s.a * inverse - L;
  const Floats chi2 = (s.c - s.m * s.m) * (inverse * inverse), share = 1.0f / (chi2 + 1.0f);
  // f32 will not do: exponents too large, KL lost between two terms, squares near underflow, a tilt out of range
  const Ints unsafe = (Ints)(lam * top > 40.0f) | (Ints)(kl * 32.0f < L) | (Ints)(kl < 1e-24f) | (Ints)(kl != kl);
  const Ints bad = (unsafe & (Ints)(lam * top != 0.0f)) | (Ints)(lam < 0.0f) | (Ints)(top != top);
  const Floats omega = choose(bad, Floats{}, broadcast(b.omega[p]));
  const auto add = [&](int at, Floats x) { sums[at] += choose(bad, Floats{}, x); };
  add(0, omega * kl);
  add(1, omega * L);
  add(2, omega * chi2);
  add(3, omega * share);
  const Floats ratio = lam * top - L;
  sums[4] = choose((Ints)(share < sums[4]) & ~bad, share, sums[4]);
  sums[5] = choose((Ints)(ratio > sums[5]) & ~bad, ratio, sums[5]);
  Floats* const gain = sums + 6;  // d
  Floats* const mass = gain + J;  // d o
  Floats* const win = mass + J;   // o win
  Floats* pair = win + J;         // d d'
  Floats d[kBatchValues];
  for (std::int64_t j = 0; j < J; ++j) {
    d[j] = choose(bad, Floats{}, omega * (columns[j] * inverse - loadu<float>(pilot + j * stride)));
    gain[j] += d[j];
    mass[j] += d[j] * b.omega[p];
    win[j] += choose(bad, Floats{}, omega * (columns[J + j] * inverse));
    for (std::int64_t i = 0; i <= j; ++i) *pair++ += d[j] * d[i];
  }
  return bad;
}

/// All prompts of a batch for the vector of tilts that starts at lane `at`.
void tilt_vector(const TiltBatch& b, std::int64_t at, Floats* columns, Floats* sums) {
  const std::int64_t J = b.n_values, rows = b.offsets[b.n_prompts], panel = b.panel[at / kPad], lane = at % kPad;
  const std::int64_t n_sums = tilt_sums(J);
  for (std::int64_t i = 0; i < n_sums; ++i) sums[i] = Floats{};
  sums[4] = broadcast(__builtin_inff());
  sums[5] = broadcast(-__builtin_inff());
  const Floats given = loadu<float>(b.lam + at), lam = given < 0.0f ? Floats{} : given;
  const float* const t = b.score + panel * rows * kPad + lane;
  for (std::int64_t p = 0; p < b.n_prompts; ++p) {
    const Floats top = loadu<float>(b.top + (panel * b.n_prompts + p) * kPad + lane);
    const Floats reach = loadu<float>(b.reach + (panel * b.n_prompts + p) * kPad + lane);
    const TiltSum s = tilt_prompt(b, p, t, lam, !any((Ints) !(lam * reach <= 0.34f)), columns);
    const Ints bad = tilt_close(b, p, s, given, top, columns, b.pilot + at, b.n_tilts, sums);
    if (any(bad))
      for (int j = 0; j < kSingle; ++j) b.left_out[p * b.n_tilts + at + j] = bad[j] != 0;
  }
  for (std::int64_t i = 0; i < n_sums; ++i) storeu<float>(b.sums + i * b.n_tilts + at, sums[i]);
}

/// out[i * stride] = w(f < f_i) + w(f = f_i) / 2 - 1/2, counted pair by pair: for short columns.
void mid_ranks(const double* f, const double* w, std::int64_t n, float* out, std::int64_t stride) {
  for (std::int64_t i = 0; i < n; i += kPace) {
    const std::int64_t used = n - i < kPace ? n - i : kPace;
    double own[kPace] = {};
    for (std::int64_t j = 0; j < used; ++j) own[j] = f[i + j];
    const Doubles mine = loadu<double>(own);
    Doubles below = {}, tied = {};
    for (std::int64_t j = 0; j < n; ++j) {
      const Doubles other = broadcast(f[j]), weight = broadcast(w[j]);
      below += other < mine ? weight : Doubles{};
      tied += other == mine ? weight : Doubles{};
    }
    const Doubles rank = below + 0.5 * tied - 0.5;
    for (std::int64_t j = 0; j < used; ++j) out[(i + j) * stride] = static_cast<float>(rank[j]);
  }
}

void tilt_batch(const TiltBatch& b) {
  Floats columns[2 * kBatchValues], sums[tilt_sums(kBatchValues)];
  for (std::int64_t at = 0; at < b.n_tilts; at += kSingle) tilt_vector(b, at, columns, sums);
}

/// Raw sums of slices [from, to) of one long prompt: m, sum w x E, sum w E^2 and the columns of each.
void tilt_slices(const TiltBatch& b, std::int64_t from, std::int64_t to) {
  const std::int64_t F = 2 * b.n_values, rows = b.offsets[b.n_prompts];
  Floats columns[2 * kBatchValues];
  for (std::int64_t at = 0; at < b.n_tilts; at += kSingle) {
    const std::int64_t panel = b.panel[at / kPad], lane = at % kPad;
    const Floats given = loadu<float>(b.lam + at), lam = given < 0.0f ? Floats{} : given;
    const bool near = !any((Ints) !(lam * loadu<float>(b.reach + panel * kPad + lane) <= 0.34f));
    for (std::int64_t p = from; p < to; ++p) {
      const TiltSum s = tilt_prompt(b, p, b.score + panel * rows * kPad + lane, lam, near, columns);
      float* const out = b.sums + p * (3 + F) * b.n_tilts + at;
      storeu<float>(out, s.m);
      storeu<float>(out + b.n_tilts, s.a);
      storeu<float>(out + 2 * b.n_tilts, s.c);
      for (std::int64_t j = 0; j < F; ++j) storeu<float>(out + (3 + j) * b.n_tilts, columns[j]);
    }
  }
}

/// One prompt's k2, k3, k4 of one vector of scores into the batch's sums, and its unbiased covariances.
CLINOMETER_INLINE void cumulant_prompt(const TiltBatch& b, std::int64_t p, const float* t, const float* pilot,
                                       Floats* sums) {
  const std::int64_t J = b.n_values, F = 2 * J, begin = b.offsets[p], end = b.offsets[p + 1];
  Floats k2[kBatchValues] = {}, k3[kBatchValues] = {}, k4[kBatchValues] = {}, variance = {};
  for (std::int64_t i = begin; i < end; i += kTiltRows) {
    const std::int64_t n = end - i < kTiltRows ? end - i : kTiltRows;
    Floats first[kTiltRows], second[kTiltRows], third[kTiltRows], part = {};
    for (std::int64_t r = 0; r < n; ++r) {
      const Floats x = loadu<float>(t + (i + r) * kPad);
      first[r] = broadcast(b.weight[i + r]) * x;
      second[r] = first[r] * x;
      third[r] = second[r] * x;
      part += second[r];
    }
    variance += part;
    for (std::int64_t j = 0; j < J; ++j) {
      add_columns<1>(first, b.columns + i * F + j, n, F, k2 + j);
      add_columns<1>(second, b.columns + i * F + j, n, F, k3 + j);
      add_columns<1>(third, b.columns + i * F + j, n, F, k4 + j);
    }
  }
  const float omega = b.omega[p], factor = b.unbias[p], counted = factor != 0.0f ? omega : 0.0f;
  Floats* const moment = sums;       // 3 J
  Floats* const d = moment + 3 * J;  // J
  Floats* const mass = d + J;        // J
  Floats* pair = mass + J;           // J (J + 1) / 2
  Floats one[kBatchValues];
  for (std::int64_t j = 0; j < J; ++j) {
    moment[j] += k2[j] * omega;
    moment[J + j] += k3[j] * omega;
    moment[2 * J + j] += (k4[j] - 3.0f * (k2[j] * variance)) * omega;
    one[j] = (k2[j] * factor - loadu<float>(pilot + j * b.n_tilts)) * counted;
    d[j] += one[j];
    mass[j] += one[j] * counted;
    for (std::int64_t i = 0; i <= j; ++i) *pair++ += one[j] * one[i];
  }
}

void cumulant_batch(const TiltBatch& b) {
  const std::int64_t rows = b.offsets[b.n_prompts], n_sums = cumulant_sums(b.n_values);
  Floats sums[cumulant_sums(kBatchValues)];
  for (std::int64_t at = 0; at < b.n_tilts; at += kSingle) {
    for (std::int64_t i = 0; i < n_sums; ++i) sums[i] = Floats{};
    const float* const t = b.score + b.panel[at / kPad] * rows * kPad + at % kPad;
    for (std::int64_t p = 0; p < b.n_prompts; ++p) cumulant_prompt(b, p, t, b.pilot + at, sums);
    for (std::int64_t i = 0; i < n_sums; ++i) storeu<float>(b.sums + i * b.n_tilts + at, sums[i]);
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
