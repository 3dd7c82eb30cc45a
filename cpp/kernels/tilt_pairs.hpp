// Two tilts of sixteen prompts in one walk over the rows, where registers hold the sums of both: what is read of a row
// serves twice, and the rows of columns do not quite fit the first-level cache.
#pragma once
#include "kernels/tilt_sums.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// One direction's prompts at two tilts: `columns` (2, F) and `sum` (2,) are written.
template <Way R, bool Even, bool Square, int C>
CLINOMETER_INLINE void walk_twice(const float* t, const float* w, const float* f, std::int64_t n, const Floats* lam,
                                  TiltSum* sum, Floats* columns) {
  const Floats rate[2] = {lam[0] * 0x1.715476p0f, lam[1] * 0x1.715476p0f};
  Floats m[2] = {}, a[2] = {}, c[2] = {}, all[2][C] = {};
  for (std::int64_t i = 0; i < n; ++i) {
    const Floats score = loadu<float>(t + i * kPad), weight = Even ? Floats{} : loadu<float>(w + i * kPad);
    Floats weighted[2];
    CLINOMETER_UNROLL for (int s = 0; s < 2; ++s) {
      Floats grown, excess;
      grow_row<R>(score, lam[s], rate[s], grown, excess);
      weighted[s] = Even ? grown : weight * grown;
      m[s] += Even ? excess : weight * excess;
      a[s] += weighted[s] * score;
      if constexpr (Square) c[s] += weighted[s] * grown;
    }
    CLINOMETER_UNROLL for (int j = 0; j < C; ++j) {
      const Floats value = loadu<float>(f + (i * C + j) * kPad);
      all[0][j] += weighted[0] * value;
      all[1][j] += weighted[1] * value;
    }
  }
  CLINOMETER_UNROLL for (int s = 0; s < 2; ++s) {
    sum[s] = {m[s], a[s], c[s]};
    CLINOMETER_UNROLL for (int j = 0; j < C; ++j) columns[s * C + j] = all[s][j];
  }
}

template <Way R, bool Square, int C>
void tilt_twice(const TiltBatch& b, std::int64_t p, std::int64_t side, const float* t, const Floats* lam, TiltSum* sum,
                Floats* columns) {
  const std::int64_t begin = b.offsets[p], rows = b.offsets[p + 1] - begin;
  const float *const w = b.weight + begin * kPad + side, *const f = b.columns + begin * C * kPad + side;
  const bool even = b.even[p * kPad] != 0.0f;
  const Floats each = even ? loadu<float>(b.even + p * kPad + side) : broadcast(1.0f);
  even ? walk_twice<R, true, Square, C>(t, w, f, rows, lam, sum, columns)
       : walk_twice<R, false, Square, C>(t, w, f, rows, lam, sum, columns);
  CLINOMETER_UNROLL for (int s = 0; s < 2; ++s) {
    sum[s] = {sum[s].m * each, sum[s].a * (each * lam[s]), sum[s].c * each};
    CLINOMETER_UNROLL for (int j = 0; j < C; ++j) columns[s * C + j] *= each;
  }
}

/// Two tilts of group p in whichever ways are right; `columns` (2, F).
template <bool Square>
CLINOMETER_INLINE void tilt_pair(const TiltBatch& b, std::int64_t p, std::int64_t side, const float* t,
                                 const Floats* lam, Floats reach, TiltSum* sum, Floats* columns) {
  const std::int64_t F = b.n_columns;
  const Way way = way_of(lam[0], reach);
  const bool room = kRegisters >= 32 && (F == 4 || F == 8) && way_of(lam[1], reach) == way;
  const bool twice = room && (way == Way::near || way == Way::far);
  if (twice && way == Way::near)
    (F == 8 ? tilt_twice<Way::near, Square, 8> : tilt_twice<Way::near, Square, 4>)(b, p, side, t, lam, sum, columns);
  if (twice && way == Way::far)
    (F == 8 ? tilt_twice<Way::far, Square, 8> : tilt_twice<Way::far, Square, 4>)(b, p, side, t, lam, sum, columns);
  for (int s = 0; s < 2; ++s)
    if (!twice || (way == Way::far && lost(sum[s], lam[s], reach)))
      sum[s] = tilt_any<Across::prompts, Square>(b, p, side, t, lam[s], reach, columns + s * F);
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
