// Sums of the exact tilt over a batch of prompts in f32 lanes, one lane a tilt (a direction and a beta).
// Scores are centred under the base policy, so with x = lam t, E = expm1(x) and q = E - x >= 0
//   m = sum w q, L = log1p(m), KL = sum w x E / (1 + m) - L, chi2 = (sum w E^2 - m^2) / (1 + m)^2,
//   gain_j = sum w E f_j / (1 + m), reverse KL = L                                  (theory 2)
// and no term cancels at small tilts. A lane where f32 would not do is left out and reported: the caller
// forms it in f64 (tilt.hpp). One exponential a row, one logarithm a prompt. How E is formed depends on the
// reach of a prompt's exponents, and costs ten operations a row in the two usual ways.
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
constexpr std::int64_t kTogether = 8;   // prompts between visits to the logarithms

template <int N>
struct Count {
  static constexpr int value = N;
};

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

/// 1 / x for x of common size, to about 1 ulp: a division would hold up the pipe as long as three rows.
CLINOMETER_INLINE Floats reciprocal(Floats x) {
#if defined(__AVX512F__)
  const Floats y = (Floats)_mm512_rcp14_ps((__m512)x);
  return y + y * (1.0f - x * y);
#elif defined(__AVX2__)
  const Floats y = (Floats)_mm256_rcp_ps((__m256)x);
  return y + y * (1.0f - x * y);
#else
  return 1.0f / x;
#endif
}

/// How E = expm1(x) and what sums to m are formed, with all |x| of the prompt at most 1 (near), at most 86 (far), or
/// any (careful). Far rows sum E itself, which is right where m has not come out small beside its terms.
enum class Reach { near, far, careful };
constexpr float kNear = 1.0f, kFar = 86.0f, kSmallForFar = 0.02f;

/// (e^x - 1 - x) / x^2 for |x| <= 1, fitted to 9e-8.
CLINOMETER_INLINE Floats near_series(Floats x) {
  Floats p = broadcast(0x1.a2c58ep-16f);
  p = p * x + 0x1.aa419cp-13f;
  p = p * x + 0x1.6c272ep-10f;
  p = p * x + 0x1.10fceap-7f;
  p = p * x + 0x1.555504p-5f;
  p = p * x + 0x1.55557cp-3f;
  return p * x + 0.5f;
}

/// expm1(t lam) for |t lam| <= 86, rate = lam / log 2: 2^k times a fit of 2^r to 1e-7 that is 1 at 0.
CLINOMETER_INLINE Floats far_growth(Floats t, Floats rate) {
  const Floats kRound = broadcast(0x1.8p23f + 127.0f);  // leaves k and the bias of an exponent in the low bits
  const Floats shifted = t * rate + kRound, k = shifted - kRound, r = t * rate - k;
  Floats p = broadcast(0x1.5bba12p-10f);
  p = p * r + 0x1.3cea88p-7f;
  p = p * r + 0x1.c6b752p-5f;
  p = p * r + 0x1.ebf9bcp-3f;
  p = p * r + 0x1.62e42ap-1f;
  p = p * r + 1.0f;
  return p * (Floats)((Ints)shifted << 23) - 1.0f;
}

/// E = expm1(x) and q = expm1(x) - x to about 2 ulp of each, whatever x.
CLINOMETER_INLINE void grow(Floats x, Floats& grown, Floats& excess) {
  Floats held = x < -86.0f ? broadcast(-86.0f) : x;  // e^-86 is nothing beside 1
  held = held > 86.0f ? broadcast(86.0f) : held;     // reported anyway
  const Floats k = nearest(held * 0x1.715476p0f);
  Floats r = held - k * 0x1.62e4p-1f;  // k has few bits: exact
  r = r - k * 0x1.7f7d1cp-20f;
  const Floats near_excess = near_series(r) * (r * r), near_grown = r + near_excess;
  const Floats far = times_power(near_grown + 1.0f, k) - 1.0f;
  const Ints near = (Ints)(k == 0.0f) & (Ints)(x > -80.0f);
  grown = choose(near, near_grown, far);
  excess = choose(near, near_excess, far - x);
}

/// log(1 + m) for m >= 0, to about 2 ulp also where m is small.
CLINOMETER_INLINE Floats log_of_one_plus(Floats m) {
  const Floats u = m + 1.0f;
  const Ints k = (((Ints)u + (0x3f800000 - 0x3f3504f3)) >> 23) - 127;
  const Floats f = (Floats)((Ints)u - (k << 23));
  const Ints same = k == 0;
  const Floats top = choose(same, m, f - 1.0f), s = top * reciprocal(choose(same, m + 2.0f, f + 1.0f)), z = s * s;
  Floats p = broadcast(2.0f / 9.0f);
  p = p * z + 2.0f / 7.0f;
  p = p * z + 2.0f / 5.0f;
  p = p * z + 2.0f / 3.0f;
  const Floats power = __builtin_convertvector(k, Floats);
  return power * 0x1.62e43p-1f + (power * -0x1.05c61p-29f + ((p * z) * s + 2.0f * s));
}

struct TiltSum {
  Floats m = {}, a = {}, c = {};  // a is yet to be multiplied by lam
};

/// Rows of one vector of tilts: the sums, and w E of each row for the columns. `Even`: every weight is 1 here.
template <Reach R, bool Even, bool Square>
CLINOMETER_INLINE void tilt_rows(const float* t, const float* w, std::int64_t n, Floats lam, TiltSum& s,
                                 Floats* moved) {
  const Floats rate = lam * 0x1.715476p0f;
  for (std::int64_t i = 0; i < n; ++i) {
    const Floats score = loadu<float>(t + i * kPad);
    Floats grown, excess;
    if constexpr (R == Reach::near) {
      const Floats x = lam * score;
      excess = near_series(x) * (x * x);
      grown = x + excess;
    } else if constexpr (R == Reach::far) {
      excess = grown = far_growth(score, rate);
    } else {
      grow(lam * score, grown, excess);
    }
    if constexpr (Even) {
      moved[i] = grown;
      s.m += excess;
    } else {
      const Floats weight = broadcast(w[i]);
      moved[i] = weight * grown;
      s.m += weight * excess;
    }
    s.a += moved[i] * score;
    if constexpr (Square) s.c += moved[i] * grown;
  }
}

/// to[j] += sum over rows of moved_i f_ij for C columns at once; few columns take two rows at a time, because an
/// addition waits for the one before.
template <int C>
CLINOMETER_INLINE void add_columns(const Floats* moved, const float* f, std::int64_t n, std::int64_t width,
                                   Floats* to) {
  constexpr int kStep = C <= 4 ? 2 : 1;
  Floats sum[kStep][C] = {};
  CLINOMETER_UNROLL for (int j = 0; j < C; ++j) sum[0][j] = to[j];
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep)
    CLINOMETER_UNROLL for (int s = 0; s < kStep; ++s) CLINOMETER_UNROLL for (int j = 0; j < C; ++j) sum[s][j] +=
        moved[i + s] * broadcast(f[(i + s) * width + j]);
  if (kStep == 2 && i < n)
    CLINOMETER_UNROLL for (int j = 0; j < C; ++j) sum[0][j] += moved[i] * broadcast(f[i * width + j]);
  CLINOMETER_UNROLL for (int j = 0; j < C; ++j) to[j] = kStep == 2 ? sum[0][j] + sum[kStep - 1][j] : sum[0][j];
}

/// The first `used` of `width` columns.
CLINOMETER_INLINE void add_all_columns(const Floats* moved, const float* f, std::int64_t n, std::int64_t width,
                                       std::int64_t used, Floats* to) {
  std::int64_t j = 0;
  for (; j + 8 <= used; j += 8) add_columns<8>(moved, f + j, n, width, to + j);
  if (j + 4 <= used) {
    add_columns<4>(moved, f + j, n, width, to + j);
    j += 4;
  }
  for (; j < used; ++j) add_columns<1>(moved, f + j, n, width, to + j);
}

/// One prompt's sums. Runs of rows are added in f32; what a long prompt loses so is some 1e-7 of a sum of
/// terms of one sign, because runs are added pairwise through `part`.
template <Reach R, bool Even, bool Square>
CLINOMETER_INLINE TiltSum tilt_prompt(const float* t, const float* w, const float* f, std::int64_t rows, Floats lam,
                                      std::int64_t F, Floats* columns) {
  TiltSum total;
  Floats moved[kTiltRows];
  for (std::int64_t j = 0; j < F; ++j) columns[j] = Floats{};
  for (std::int64_t i = 0; i < rows; i += kTiltRows) {
    const std::int64_t n = rows - i < kTiltRows ? rows - i : kTiltRows;
    TiltSum part;
    tilt_rows<R, Even, Square>(t + i * kPad, w + i, n, lam, part, moved);
    add_all_columns(moved, f + i * F, n, F, F, columns);
    total.m += part.m;
    total.a += part.a;
    if constexpr (Square) total.c += part.c;
  }
  return total;
}

/// The same with the weights of prompt p put right: sums and columns as of w, a as of w x E.
template <Reach R, bool Square>
CLINOMETER_INLINE TiltSum tilt_weighted(const TiltBatch& b, std::int64_t p, const float* t, Floats lam,
                                        Floats* columns) {
  const std::int64_t begin = b.offsets[p], rows = b.offsets[p + 1] - begin, F = b.n_columns;
  const float *const w = b.weight + begin, *const f = b.columns + begin * F;
  if (b.even[p] == 0.0f) {
    TiltSum s = tilt_prompt<R, false, Square>(t, w, f, rows, lam, F, columns);
    s.a *= lam;
    return s;
  }
  TiltSum s = tilt_prompt<R, true, Square>(t, w, f, rows, lam, F, columns);
  const Floats each = broadcast(b.even[p]);
  s.m *= each;
  s.a *= each * lam;
  if constexpr (Square) s.c *= each;
  for (std::int64_t j = 0; j < F; ++j) columns[j] *= each;
  return s;
}

/// In whichever way is cheapest and right. A lane with no tilt at all, as padding has, is right in every way.
template <bool Square>
CLINOMETER_INLINE TiltSum tilt_any(const TiltBatch& b, std::int64_t p, const float* t, Floats lam, Floats reach,
                                   Floats* columns) {
  const Floats widest = lam * reach;
  if (!any((Ints) !(widest <= kNear))) return tilt_weighted<Reach::near, Square>(b, p, t, lam, columns);
  if (!any((Ints) !(widest <= kFar))) {
    const TiltSum s = tilt_weighted<Reach::far, Square>(b, p, t, lam, columns);
    if (!any((Ints)(s.m < kSmallForFar) & (Ints)(widest != 0.0f))) return s;
  }
  return tilt_weighted<Reach::careful, Square>(b, p, t, lam, columns);
}

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

/// out[i * stride] = w(f < f_i) + w(f = f_i) / 2 - 1/2, counted pair by pair in lanes of T.
template <class T>
CLINOMETER_INLINE void count_ranks(const T* f, const T* w, std::int64_t n, float* out, std::int64_t stride) {
  constexpr int kWidth = kLanes<T>;
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const std::int64_t used = n - i < kWidth ? n - i : kWidth;
    const Vec<T> mine = loadu<T>(f + i);
    Vec<T> below = {}, not_above = {};
    for (std::int64_t j = 0; j < n; ++j) {
      const Vec<T> other = broadcast(f[j]), weight = broadcast(w[j]);
      below += other < mine ? weight : Vec<T>{};
      not_above += other <= mine ? weight : Vec<T>{};
    }
    T rank[kWidth];
    storeu<T>(rank, T(0.5) * (below + not_above) - T(0.5));
    for (std::int64_t j = 0; j < used; ++j) out[(i + j) * stride] = static_cast<float>(rank[j]);
  }
}

/// For short columns, n <= kTiltRows.
void mid_ranks(const double* f, const double* w, std::int64_t n, float* out, std::int64_t stride) {
  float narrow_f[kTiltRows + kSingle] = {}, narrow_w[kTiltRows + kSingle] = {};
  bool exact = true;
  for (std::int64_t i = 0; i < n; ++i) {
    narrow_f[i] = static_cast<float>(f[i]);
    narrow_w[i] = static_cast<float>(w[i]);
    exact = exact && static_cast<double>(narrow_f[i]) == f[i];
  }
  if (exact) return count_ranks<float>(narrow_f, narrow_w, n, out, stride);
  double wide_f[kTiltRows + kPace] = {};
  for (std::int64_t i = 0; i < n; ++i) wide_f[i] = f[i];
  count_ranks<double>(wide_f, w, n, out, stride);
}

void tilt_batch(const TiltBatch& b) {
  Floats columns[kTogether * 2 * kBatchValues], sums[tilt_sums(kBatchValues, true)];
  for (std::int64_t at = 0; at < b.n_tilts; at += kSingle)
    b.extras ? tilt_vector<true>(b, at, columns, sums) : tilt_vector<false>(b, at, columns, sums);
}

template <Reach R, bool Square>
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
      const Floats widest = lam * loadu<float>(b.reach + panel * kPad + lane);
      const float* const t = b.score + (b.offsets[p] * b.n_panels + panel * rows) * kPad + lane;
      if (!any((Ints) !(widest <= kNear)))
        tilt_slice<Reach::near, Square>(b, p, at, lam, t, columns);
      else if (!b.careful && !any((Ints) !(widest <= kFar)))
        tilt_slice<Reach::far, Square>(b, p, at, lam, t, columns);
      else
        tilt_slice<Reach::careful, Square>(b, p, at, lam, t, columns);
    }
}

void tilt_slices(const TiltBatch& b, std::int64_t from, std::int64_t to) {
  b.extras ? all_slices<true>(b, from, to) : all_slices<false>(b, from, to);
}

struct Cumulants {
  Floats k2[kBatchValues] = {}, k3[kBatchValues] = {}, k4[kBatchValues] = {}, variance = {};
};

/// Sums of w f t, w f t^2, w f t^3 and w t^2 of one prompt or slice and one vector of scores.
CLINOMETER_INLINE void cumulate(const TiltBatch& b, std::int64_t p, const float* t, Cumulants& c) {
  const std::int64_t J = b.n_values, F = b.n_columns, begin = b.offsets[p], end = b.offsets[p + 1];
  for (std::int64_t i = begin; i < end; i += kTiltRows) {
    const std::int64_t n = end - i < kTiltRows ? end - i : kTiltRows;
    Floats first[kTiltRows], second[kTiltRows], third[kTiltRows], part = {};
    for (std::int64_t r = 0; r < n; ++r) {
      const Floats x = loadu<float>(t + (i - begin + r) * kPad);
      first[r] = broadcast(b.weight[i + r]) * x;
      second[r] = first[r] * x;
      third[r] = second[r] * x;
      part += second[r];
    }
    c.variance += part;
    add_all_columns(first, b.columns + i * F, n, F, J, c.k2);
    add_all_columns(second, b.columns + i * F, n, F, J, c.k3);
    add_all_columns(third, b.columns + i * F, n, F, J, c.k4);
  }
}

/// One prompt's k2, k3, k4 of one vector of scores into the batch's sums, and its unbiased covariances.
CLINOMETER_INLINE void cumulant_prompt(const TiltBatch& b, std::int64_t p, const float* t, const float* pilot,
                                       Floats* sums) {
  const std::int64_t J = b.n_values;
  Cumulants c;
  cumulate(b, p, t, c);
  const float omega = b.omega[p], factor = b.unbias[p], counted = factor != 0.0f ? omega : 0.0f;
  Floats* const moment = sums;       // 3 J
  Floats* const d = moment + 3 * J;  // J
  Floats* const mass = d + J;        // J
  Floats* pair = mass + J;           // J (J + 1) / 2
  Floats one[kBatchValues];
  for (std::int64_t j = 0; j < J; ++j) {
    moment[j] += c.k2[j] * omega;
    moment[J + j] += c.k3[j] * omega;
    moment[2 * J + j] += (c.k4[j] - 3.0f * (c.k2[j] * c.variance)) * omega;
    one[j] = (c.k2[j] * factor - loadu<float>(pilot + j * b.n_tilts)) * counted;
    d[j] += one[j];
    mass[j] += one[j] * counted;
    for (std::int64_t i = 0; i <= j; ++i) *pair++ += one[j] * one[i];
  }
}

void cumulant_batch(const TiltBatch& b) {
  const std::int64_t n_sums = cumulant_sums(b.n_values);
  Floats sums[cumulant_sums(kBatchValues)];
  for (std::int64_t at = 0; at < b.n_tilts; at += kSingle) {
    const std::int64_t panel = at / kPad, lane = at % kPad;
    for (std::int64_t i = 0; i < n_sums; ++i) sums[i] = Floats{};
    for (std::int64_t p = 0; p < b.n_prompts; ++p) {
      const std::int64_t rows = b.offsets[p + 1] - b.offsets[p];
      const float* const t = b.score + (b.offsets[p] * b.n_panels + panel * rows) * kPad + lane;
      cumulant_prompt(b, p, t, b.pilot + at, sums);
    }
    for (std::int64_t i = 0; i < n_sums; ++i) add_to(b.sums + i * b.n_tilts + at, sums[i]);
  }
}

void cumulant_slices(const TiltBatch& b, std::int64_t from, std::int64_t to) {
  const std::int64_t J = b.n_values;
  for (std::int64_t p = from; p < to; ++p)
    for (std::int64_t at = 0; at < b.n_tilts; at += kSingle) {
      const std::int64_t rows = b.offsets[p + 1] - b.offsets[p];
      Cumulants c;
      cumulate(b, p, b.score + (b.offsets[p] * b.n_panels + at / kPad * rows) * kPad + at % kPad, c);
      float* const out = b.raw + p * (1 + 3 * J) * b.n_tilts + at;
      storeu<float>(out, c.variance);
      for (std::int64_t j = 0; j < J; ++j) {
        storeu<float>(out + (1 + j) * b.n_tilts, c.k2[j]);
        storeu<float>(out + (1 + J + j) * b.n_tilts, c.k3[j]);
        storeu<float>(out + (1 + 2 * J + j) * b.n_tilts, c.k4[j]);
      }
    }
}

constexpr int kPadDoubles = static_cast<int>(kPad) / kPace;

/// f(a constant of the value n) for n < kPace: what is left of a row has loops of a length the compiler knows.
template <int N = kPace - 1, class F>
CLINOMETER_INLINE void with_width(std::int64_t n, const F& f) {
  if constexpr (N > 0) {
    if (n == N) return f(Count<N>{});
    with_width<N - 1>(n, f);
  }
}

/// sum[k] += sum over rows of w (x_k - pilot_k) for up to kPad columns at x.
void weighted_differences(const double* x, std::int64_t stride, const double* w, std::int64_t n, std::int64_t used,
                          const double* pilot, double* sum) {
  std::int64_t k = 0;
  for (; k + kPace <= used; k += kPace) {
    const Doubles from = loadu<double>(pilot + k);
    Doubles total = {};
    for (std::int64_t i = 0; i < n; ++i) total += w[i] * (loadu<double>(x + i * stride + k) - from);
    add_to(sum + k, total);
  }
  with_width(used - k, [&](auto rest) {
    constexpr int kRest = decltype(rest)::value;
    double total[kRest] = {};
    for (std::int64_t i = 0; i < n; ++i)
      CLINOMETER_UNROLL for (int j = 0; j < kRest; ++j) total[j] += w[i] * (x[i * stride + k + j] - pilot[k + j]);
    for (int j = 0; j < kRest; ++j) sum[k + j] += total[j];
  });
}

/// out[i][k] = x_ik - mean_k as floats for kPad columns, 0 beyond `used`; top and reach (kPad,) their largest value
/// and magnitude so far.
void centred_floats(const double* x, std::int64_t stride, std::int64_t n, std::int64_t used, const double* mean,
                    float* out, float* top, float* reach) {
  constexpr int kWidth = kPace;
  using Half = Vec<float, kWidth>;
  std::int64_t k = 0;
  for (; k + kWidth <= used; k += kWidth) {
    const Doubles from = loadu<double>(mean + k);
    Half high = loadu<float, kWidth>(top + k), low = -loadu<float, kWidth>(reach + k);
    for (std::int64_t i = 0; i < n; ++i) {
      const Half c = __builtin_convertvector(loadu<double>(x + i * stride + k) - from, Half);
      high = c > high ? c : high;
      low = c < low ? c : low;
      storeu<float, kWidth>(out + i * kPad + k, c);
    }
    storeu<float, kWidth>(top + k, high);
    storeu<float, kWidth>(reach + k, high > -low ? high : -low);
  }
  for (std::int64_t z = k; z < kPad; z += kWidth)
    for (std::int64_t i = 0; i < n; ++i) storeu<float, kWidth>(out + i * kPad + z, Half{});
  with_width(used - k, [&](auto rest) {
    constexpr int kRest = decltype(rest)::value;
    CLINOMETER_UNROLL for (int j = 0; j < kRest; ++j) {
      float high = top[k + j], low = -reach[k + j];
      for (std::int64_t i = 0; i < n; ++i) {
        const float c = static_cast<float>(x[i * stride + k + j] - mean[k + j]);
        high = c > high ? c : high;
        low = c < low ? c : low;
        out[i * kPad + k + j] = c;
      }
      top[k + j] = high;
      reach[k + j] = high > -low ? high : -low;
    }
  });
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
