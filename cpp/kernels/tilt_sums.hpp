// Sums of the exact tilt of one prompt in f32 lanes: how E is formed depends on the reach of its exponents (`Way`), and
// costs ten operations a row in the two usual ways.
#pragma once
#include "kernels/columns.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

// m below which sums of E have lost too much, and |x| below which that is likely
constexpr float kSmallForFar = 0.02f, kSmallReach = 0.4f;

struct TiltSum {
  Floats m = {}, a = {}, c = {};  // a is yet to be multiplied by lam
};

/// E and E - x of one row, or E in both places where that is as good; rate = lam / log 2.
template <Way R>
CLINOMETER_INLINE void grow_row(Floats score, Floats lam, Floats rate, Floats& grown, Floats& excess) {
  if constexpr (R == Way::near) {
    const Floats x = lam * score;
    excess = near_series(x) * (x * x);
    grown = x + excess;
  } else if constexpr (R == Way::far) {
    excess = grown = far_growth(score, rate);
  } else {
    grow<R == Way::careful>(lam * score, grown, excess);
  }
}

/// Rows of one vector of lanes: the sums, and w E of each row, either kept for the columns or summed over C of them at
/// once, which so few that registers hold them allow. `Even`: every weight is 1 here.
template <Across A, Way R, bool Even, bool Square, int C>
CLINOMETER_INLINE void tilt_rows(const float* t, const float* w, const float* f, std::int64_t n, Floats lam, TiltSum& s,
                                 Floats* moved, Floats* columns) {
  const Floats rate = lam * 0x1.715476p0f;
  Floats sum[C + 1] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const Floats score = loadu<float>(t + i * kPad);
    Floats grown, excess;
    grow_row<R>(score, lam, rate, grown, excess);
    const Floats weight = Even ? Floats{} : of_row<A>(w, i), weighted = Even ? grown : weight * grown;
    s.m += Even ? excess : weight * excess;
    s.a += weighted * score;
    if constexpr (Square) s.c += weighted * grown;
    if constexpr (C == 0) moved[i] = weighted;
    CLINOMETER_UNROLL for (int j = 0; j < C; ++j) sum[j] += weighted * of_row<A>(f, i * C + j);
  }
  CLINOMETER_UNROLL for (int j = 0; j < C; ++j) columns[j] = sum[j];
}

/// One prompt's sums. Runs of rows are added in f32; what a long prompt loses so is some 1e-7 of a sum of
/// terms of one sign, because runs are added pairwise through `part`.
template <Across A, Way R, bool Even, bool Square, int C>
CLINOMETER_INLINE TiltSum tilt_prompt(const float* t, const float* w, const float* f, std::int64_t rows, Floats lam,
                                      std::int64_t F, Floats* columns) {
  TiltSum total;
  Floats moved[C == 0 ? kTiltRows : 1], all[C + 1] = {};
  for (std::int64_t j = 0; C == 0 && j < F; ++j) columns[j] = Floats{};
  for (std::int64_t i = 0; i < rows; i += kTiltRows) {
    const std::int64_t n = rows - i < kTiltRows ? rows - i : kTiltRows;
    const float* const from = f + i * F * kFold<A>;
    TiltSum part;
    tilt_rows<A, R, Even, Square, C>(t + i * kPad, w + i * kFold<A>, from, n, lam, part, moved, columns);
    if constexpr (C == 0) add_all_columns<A>(moved, from, n, F, F, columns);
    CLINOMETER_UNROLL for (int j = 0; j < C; ++j) all[j] += columns[j];
    total.m += part.m;
    total.a += part.a;
    if constexpr (Square) total.c += part.c;
  }
  CLINOMETER_UNROLL for (int j = 0; j < C; ++j) columns[j] = all[j];
  return total;
}
template <Across A, Way R, bool Even, bool Square>
CLINOMETER_INLINE TiltSum tilt_prompt(const float* t, const float* w, const float* f, std::int64_t rows, Floats lam,
                                      std::int64_t F, Floats* columns) {
  constexpr bool kRoom = kRegisters >= 32;
  if (kRoom && F == 8) return tilt_prompt<A, R, Even, Square, 8>(t, w, f, rows, lam, F, columns);
  if (kRoom && F == 4) return tilt_prompt<A, R, Even, Square, 4>(t, w, f, rows, lam, F, columns);
  return tilt_prompt<A, R, Even, Square, 0>(t, w, f, rows, lam, F, columns);
}

/// The same with the weights of prompt p put right: sums and columns as of w, a as of w x E.
template <Across A, Way R, bool Square>
CLINOMETER_INLINE TiltSum tilt_weighted(const TiltBatch& b, std::int64_t p, std::int64_t side, const float* t,
                                        Floats lam, Floats* columns) {
  const std::int64_t begin = b.offsets[p], rows = b.offsets[p + 1] - begin, F = b.n_columns;
  const float *const w = b.weight + begin * kFold<A> + side, *const f = b.columns + begin * F * kFold<A> + side;
  if (b.even[p * kFold<A>] == 0.0f) {
    TiltSum s = tilt_prompt<A, R, false, Square>(t, w, f, rows, lam, F, columns);
    s.a *= lam;
    return s;
  }
  TiltSum s = tilt_prompt<A, R, true, Square>(t, w, f, rows, lam, F, columns);
  const Floats each = of_row<A>(b.even + side, p);
  s.m *= each;
  s.a *= each * lam;
  if constexpr (Square) s.c *= each;
  for (std::int64_t j = 0; j < F; ++j) columns[j] *= each;
  return s;
}

/// The way that is cheapest and right, as far as the reach of the exponents says. A lane with no tilt at all, as
/// padding has, is right in every way.
CLINOMETER_INLINE Way way_of(Floats lam, Floats reach) {
  const Floats widest = lam * reach;
  if (!any((Ints) !(widest <= kNear))) return Way::near;
  if (any((Ints) !(widest <= kFar))) return Way::careful;
  return any((Ints)(widest < kSmallReach) & ~(Ints)(widest == 0.0f)) ? Way::between : Way::far;
}
/// Whether sums of E have lost too much somewhere.
CLINOMETER_INLINE bool lost(const TiltSum& s, Floats lam, Floats reach) {
  return any((Ints)(s.m < kSmallForFar) & ~(Ints)(lam * reach == 0.0f));
}

/// In whichever way is right.
template <Across A, bool Square>
__attribute__((noinline)) TiltSum tilt_any(const TiltBatch& b, std::int64_t p, std::int64_t side, const float* t,
                                           Floats lam, Floats reach, Floats* columns) {
  const Way way = way_of(lam, reach);
  if (way == Way::near) return tilt_weighted<A, Way::near, Square>(b, p, side, t, lam, columns);
  if (way == Way::careful) return tilt_weighted<A, Way::careful, Square>(b, p, side, t, lam, columns);
  if (way == Way::far) {
    const TiltSum s = tilt_weighted<A, Way::far, Square>(b, p, side, t, lam, columns);
    if (!lost(s, lam, reach)) return s;
  }
  return tilt_weighted<A, Way::between, Square>(b, p, side, t, lam, columns);
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
