// Smallest point of a hull from its Gram, one problem a lane: min y'Gy / 2 - sum y over y >= 0 by symmetric
// principal pivoting (Keller; Cottle and Dantzig). The dictionary (u_N, y_S) = q + H (y_N, u_S), u = Gy - 1, starts
// as G itself; a driving y_e rises until its u_e vanishes, and members of the support that reach zero leave.
// Each step lowers the objective strictly, so no support returns.
#pragma once
#include "kernels/lp_lanes.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

struct Hulls {
  using Index = Wide::Index;
  std::int64_t k;
  Doubles *h, *value, *column, *row;  // (k, k), (k,) each
  Index* inside;                      // (k,): -1 for the support
};

CLINOMETER_INLINE void lift(const Hulls& s, Wide::Index at) {
  for (int l = 0; l < kPace; ++l) {
    const double* from = reinterpret_cast<const double*>(s.h + at[l]) + l;
    double* to = reinterpret_cast<double*>(s.column) + l;
    for (std::int64_t i = 0; i < s.k; ++i) to[i * kPace] = from[i * s.k * kPace];
  }
}

/// Exchange u and y of index `at` in the lanes of `pivots`; their values are the caller's.
CLINOMETER_INLINE void exchange(const Hulls& s, Wide::Index pivots, Wide::Index at) {
  lift(s, at);
  const Doubles none{};
  Wide::Index was{};
  Doubles corner = broadcast(1.0);
  for (std::int64_t i = 0; i < s.k; ++i) {
    const auto here = equal(at, i) & pivots;
    was = choose(here, s.inside[i], was);
    corner = choose(here, s.column[i], corner);
  }
  const Doubles inverse = 1.0 / corner;
  for (std::int64_t j = 0; j < s.k; ++j) {
    const auto here = equal(at, j) & pivots;
    const auto flips = s.inside[j] ^ was;  // H is symmetric up to the sign between support and the rest
    const Doubles entry = choose(flips, s.column[j], none - s.column[j]);
    s.row[j] = choose(here, inverse, choose(pivots, entry * inverse, none));
  }
  for (int l = 0; l < kPace; ++l)
    if (pivots[l])
      for (std::int64_t i = 0; i < s.k; ++i) reinterpret_cast<double*>(s.h + i * s.k + at[l])[l] = 0;
  for (std::int64_t i = 0; i < s.k; ++i) {
    const auto here = equal(at, i) & pivots;
    const Doubles by = choose(pivots, s.column[i], none);
    Doubles* const to = s.h + i * s.k;
    for (std::int64_t j = 0; j < s.k; ++j) to[j] = choose(here, s.row[j], multiply_add(by, s.row[j], to[j]));
    s.inside[i] = choose(here, ~s.inside[i], s.inside[i]);
  }
}

void min_norm(const double* gram, std::int64_t k, double floor, double* work, double* y, std::int64_t* done) {
  Doubles* const at = reinterpret_cast<Doubles*>(work);
  const Hulls s{
      k, at, at + k * k, at + k * (k + 1), at + k * (k + 2), reinterpret_cast<Wide::Index*>(at + k * (k + 3))};
  const Doubles none{}, infinite = broadcast(__builtin_inf());
  for (std::int64_t i = 0; i < k * k; ++i) s.h[i] = loadu<double>(gram + i * kPace);
  for (std::int64_t i = 0; i < k; ++i) s.value[i] = broadcast(-1.0), s.inside[i] = Wide::Index{};
  Doubles* const flat = at + k * (k + 4);
  for (std::int64_t i = 0; i < k; ++i) flat[i] = none;
  auto open = ~Wide::Index{}, driving = Wide::Index{}, good = ~Wide::Index{};
  Wide::Index e{};
  Doubles risen{}, mass{};
  for (std::int64_t round = 0; round < 8 * k + 16; ++round) {
    Doubles worst = -1e-14 * (1.0 + mass);
    auto found = Wide::Index{}, next = Wide::Index{};
    for (std::int64_t i = 0; i < k; ++i) {
      const auto lower = less(s.value[i], worst) & ~s.inside[i];
      worst = choose(lower, s.value[i], worst);
      next = choose(lower, index<Wide>(i), next);
      found = found | lower;
    }
    risen = choose(driving, risen, none);
    e = choose(driving, e, next);
    open = open & (driving | found);
    if (!any(open)) break;
    lift(s, e);
    Doubles own{}, slack{};
    for (std::int64_t i = 0; i < k; ++i) {
      own = choose(equal(e, i), s.column[i], own);
      slack = choose(equal(e, i), s.value[i], slack);
    }
    const auto curved = less(broadcast(floor), own);
    Doubles step = choose(curved, -slack / choose(curved, own, broadcast(1.0)), infinite);
    step = choose(less(step, none), none, step);
    auto stop = e;
    for (std::int64_t i = 0; i < k; ++i) {
      const auto falls = s.inside[i] & less(s.column[i], broadcast(-1e-14));
      Doubles ratio = choose(falls, s.value[i] / choose(falls, -s.column[i], broadcast(1.0)), infinite);
      ratio = choose(less(ratio, none), none, ratio);
      const auto sooner = less(ratio, step);
      step = choose(sooner, ratio, step);
      stop = choose(sooner, index<Wide>(i), stop);
    }
    // Flat to rounding and nothing in the way: the rows of this direction sum to nothing, which is the answer.
    const auto endless = open & ~less(step, infinite);
    for (std::int64_t i = 0; i < k; ++i) {
      const Doubles along = choose(equal(e, i), broadcast(1.0), choose(s.inside[i], s.column[i], none));
      flat[i] = choose(endless, along, flat[i]);
    }
    good = good & ~endless;
    open = open & ~endless;
    const Doubles move = choose(open, step, none);
    for (std::int64_t i = 0; i < k; ++i) s.value[i] = multiply_add(s.column[i], move, s.value[i]);
    risen = risen + move;
    mass = none;
    const auto full = open & (Wide::Index)(stop == e);
    for (std::int64_t i = 0; i < k; ++i) {
      const auto here = open & equal(stop, i);
      s.value[i] = choose(here, choose(full, risen, none), s.value[i]);
      const auto counts = s.inside[i] ^ (here & ~Wide::Index{});
      mass = mass + choose(counts, s.value[i], none);
    }
    exchange(s, open, stop);
    driving = open & ~full;
  }
  for (std::int64_t i = 0; i < k; ++i) {
    const Doubles held = choose(good, choose(s.inside[i], s.value[i], none), flat[i]);
    storeu<double>(y + i * kPace, choose(less(none, held), held, none));
  }
  for (int l = 0; l < kPace; ++l) done[l] = good[l] != 0 && open[l] == 0;
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
