// The game over a simplex, max t with M x >= t, sum x = 1, 0 <= x <= high, one problem a lane, by the revised simplex
// method: with few rows and many columns the (k + 1)^2 inverse of the basis is far smaller than a dictionary, and a
// pivot reads M once without writing it. t is always basic, in the last place; its row of the inverse holds the
// prices. Nothing here decides a status.
#pragma once
#include <cstring>

#include "kernels/lp_certify.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// Unknowns: x_j is j, slack i is n + i. A basic unknown q is w[q] times the right-hand sides (0, .., 0, 1), less what
/// columns at their upper bounds take. Without caps that is the last column of w and `value` is not kept.
template <int kRows, bool kCapped>
struct Mixture {
  using Index = Wide::Index;
  static constexpr int kSide = kRows > 0 ? kRows + 1 : 1;
  std::int64_t rows, n;
  const double *m, *high;
  Doubles own[kSide * (kSide + 4)];
  Index own_names[kSide];
  Doubles *w, *entering, *change, *value, *room;  // (k + 1, k + 1), then (k + 1,) each
  Index* name;
  Doubles* side;  // (n,) of columns: 1 at 0, -1 at high, 0 basic or closed

  CLINOMETER_INLINE explicit Mixture(const MixtureGame& game)
      : rows(kRows > 0 ? kRows : game.k), n(game.n), m(game.m), high(game.high) {
    const std::int64_t s = rows + 1;
    Doubles* const work = reinterpret_cast<Doubles*>(game.work);
    Doubles* const at = kRows > 0 ? own : work + n;
    side = work;
    w = at, entering = at + s * s, change = entering + s, value = change + s, room = value + s;
    name = kRows > 0 ? own_names : reinterpret_cast<Index*>(room + s);
  }
  CLINOMETER_INLINE std::int64_t k() const { return kRows > 0 ? kRows : rows; }
  CLINOMETER_INLINE Doubles entry(std::int64_t i, std::int64_t j) const {
    return loadu<double>(m + (i * n + j) * kPace);
  }
  CLINOMETER_INLINE Doubles& at(std::int64_t q, std::int64_t c) { return w[q * (k() + 1) + c]; }
  CLINOMETER_INLINE Doubles held(std::int64_t q) { return kCapped ? value[q] : at(q, k()); }
};

/// Columns of the largest sums, the best at equal prices: all mass on the first, or as much as each may hold.
/// Returns the one that takes the remainder.
template <int kRows, bool kCapped>
CLINOMETER_INLINE Wide::Index fill(Mixture<kRows, kCapped>& d, Doubles& left) {
  const Doubles none{};
  const auto infinite = broadcast(__builtin_inf());
  Doubles top = -infinite, bottom = infinite;
  Wide::Index best{};
  left = broadcast(1.0);
  for (std::int64_t j = 0; j < d.n; ++j) {
    Doubles sum{};
    for (std::int64_t i = 0; i < d.k(); ++i) sum = sum + d.entry(i, j);
    if constexpr (kCapped) {
      const auto closed = ~less(none, loadu<double>(d.high + j * kPace));
      sum = choose(closed, -infinite, sum);
      d.side[j] = sum;
      bottom = choose(less(sum, bottom) & ~closed, sum, bottom);
    }
    const auto better = less(top, sum);
    top = choose(better, sum, top);
    best = choose(better, index<Wide>(j), best);
  }
  if constexpr (!kCapped) return best;
  // All columns above a level are filled; the level is halved onto, then lowered column by column.
  Doubles low = bottom, level = top, mass{};
  for (int halving = 0; halving < 6; ++halving) {
    const Doubles middle = 0.5 * (low + level);
    Doubles above{};
    for (std::int64_t j = 0; j < d.n; ++j)
      above = above + choose(less(middle, d.side[j]), loadu<double>(d.high + j * kPace), none);
    const auto fits = less(above, broadcast(1.0));
    level = choose(fits, middle, level);
    mass = choose(fits, above, mass);
    low = choose(fits, low, middle);
  }
  left = 1.0 - mass;
  const auto filled = broadcast(__builtin_inf());  // marks columns that are at their bound
  for (std::int64_t j = 0; j < d.n; ++j) d.side[j] = choose(less(level, d.side[j]), filled, d.side[j]);
  auto open = ~Wide::Index{};
  Wide::Index last{};
  for (std::int64_t step = 0; step < d.n && any(open); ++step) {
    top = -infinite;
    auto found = Wide::Index{};
    Doubles most{};
    for (std::int64_t j = 0; j < d.n; ++j) {
      const auto better = less(top, d.side[j]) & less(d.side[j], filled);
      top = choose(better, d.side[j], top);
      best = choose(better, index<Wide>(j), best);
      most = choose(better, loadu<double>(d.high + j * kPace), most);
      found = found | better;
    }
    const auto ends = open & (~less(most, left) | ~found);
    last = choose(open & (found | ends), best, last);
    open = open & ~ends;
    left = choose(open, left - most, left);
    for (std::int64_t j = 0; j < d.n; ++j) d.side[j] = choose(open & equal(best, j), filled, d.side[j]);
  }
  for (std::int64_t j = 0; j < d.n; ++j) {
    const Doubles sum = d.side[j];
    const Doubles mark = choose(equal(last, j) | ~less(-infinite, sum), none, broadcast(1.0));
    d.side[j] = choose(less(sum, filled), mark, -1.0 * mark);
  }
  return last;
}

template <int kRows, bool kCapped>
CLINOMETER_INLINE void begin(Mixture<kRows, kCapped>& d) {
  const Doubles none{}, one = broadcast(1.0), infinite = broadcast(__builtin_inf());
  const std::int64_t k = d.k();
  Doubles left;
  const auto held = fill(d, left), column = interleaved(held);
  Doubles least = infinite;
  Wide::Index active{};
  for (std::int64_t i = 0; i < k; ++i) {
    d.entering[i] = gather(d.m + i * d.n * kPace, column);
    Doubles product = d.entering[i];
    if constexpr (kCapped) {
      product = product * left;
      for (std::int64_t j = 0; j < d.n; ++j)
        product = multiply_add(choose(less(d.side[j], none), loadu<double>(d.high + j * kPace), none), d.entry(i, j),
                               product);
      d.value[i] = product;
    }
    const auto lower = less(product, least);
    least = choose(lower, product, least);
    active = choose(lower, index<Wide>(i), active);
  }
  Doubles base{};
  for (std::int64_t i = 0; i < k; ++i) base = choose(equal(active, i), d.entering[i], base);
  for (std::int64_t q = 0; q < k; ++q) {  // slack q, but in the active place the column that holds the remainder
    const auto here = equal(active, q);
    for (std::int64_t c = 0; c < k; ++c) {
      const Doubles entry = choose(equal(active, c), one, c == q ? -one : none);
      d.at(q, c) = choose(here, none, entry);
    }
    d.at(q, k) = choose(here, one, d.entering[q] - base);
    d.name[q] = choose(here, held, index<Wide>(d.n + q));
    if constexpr (kCapped) {
      d.value[q] = choose(here, left, d.value[q] - least);
      d.room[q] = choose(here, gather(d.high, column), infinite);
    }
  }
  for (std::int64_t c = 0; c < k; ++c) d.at(k, c) = choose(equal(active, c), -one, none);
  d.at(k, k) = base;
}

/// The unknown of the largest rate of t and, without caps, the price of the best column.
template <int kRows, bool kCapped>
CLINOMETER_INLINE Wide::Index enter(Mixture<kRows, kCapped>& d, Wide::Index& chosen, Doubles& top) {
  const std::int64_t k = d.k();
  const Doubles none{}, level = d.at(k, k);
  Doubles best = none - broadcast(__builtin_inf()), other = best;
  Wide::Index at{}, other_at{};
  for (std::int64_t i = 0; i < k; ++i) d.entering[i] = none - d.at(k, i);
  const auto rate = [&](std::int64_t j) __attribute__((always_inline)) {
    Doubles sum = d.entering[0] * d.entry(0, j);
    for (std::int64_t i = 1; i < k; ++i) sum = multiply_add(d.entering[i], d.entry(i, j), sum);
    if constexpr (kCapped) sum = (sum - level) * d.side[j];
    return sum;
  };
  std::int64_t j = 0;
  for (; j + 2 <= d.n; j += 2) {  // even and odd columns apart: the comparisons of one wait for each other
    const Doubles a = rate(j), b = rate(j + 1);
    const auto more = less(best, a), more_other = less(other, b);
    best = choose(more, a, best), at = choose(more, index<Wide>(j), at);
    other = choose(more_other, b, other), other_at = choose(more_other, index<Wide>(j + 1), other_at);
  }
  for (; j < d.n; ++j) {
    const Doubles a = rate(j);
    const auto more = less(best, a);
    best = choose(more, a, best), at = choose(more, index<Wide>(j), at);
  }
  const auto right = less(best, other);
  best = choose(right, other, best), at = choose(right, other_at, at);
  top = best;
  if constexpr (!kCapped) best = best - level;
  for (std::int64_t i = 0; i < k; ++i) {  // prices below zero: more slack in row i would raise t
    const Doubles a = d.at(k, i);
    const auto more = less(best, a);
    best = choose(more, a, best), at = choose(more, index<Wide>(d.n + i), at);
  }
  chosen = at;
  return less(broadcast(Wide::kRelative), best);
}

/// `change`: how fast each basic unknown falls as the chosen one enters.
template <int kRows, bool kCapped>
CLINOMETER_INLINE void lift(Mixture<kRows, kCapped>& d, Wide::Index chosen) {
  const std::int64_t k = d.k();
  const Doubles none{}, one = broadcast(1.0);
  const auto slack = (Wide::Index)(chosen >= d.n);
  const auto column = interleaved(choose(slack, Wide::Index{}, chosen));
  for (std::int64_t i = 0; i < k; ++i)
    d.entering[i] = choose(slack, choose(equal(chosen, d.n + i), -one, none), gather(d.m + i * d.n * kPace, column));
  d.entering[k] = choose(slack, none, one);
  for (std::int64_t q = 0; q <= k; ++q) {
    Doubles sum = d.at(q, 0) * d.entering[0];
    for (std::int64_t c = 1; c <= k; ++c) sum = multiply_add(d.at(q, c), d.entering[c], sum);
    d.change[q] = sum;
  }
}

/// The basic unknown that stops the entering one (-1: its own bound does), and how far it goes. Quotients are compared
/// by cross products: a division costs more than the rest of the test.
template <int kRows, bool kCapped>
CLINOMETER_INLINE Wide::Index stop(Mixture<kRows, kCapped>& d, Doubles sign, Doubles range, Doubles& step) {
  const Doubles none{}, tiny = broadcast(Wide::kPivot), infinite = broadcast(__builtin_inf());
  Doubles number = range, over = broadcast(1.0);
  auto row = index<Wide>(-1);
  for (std::int64_t q = 0; q < d.k(); ++q) {
    Doubles speed = d.change[q], space = d.held(q);
    auto moves = less(tiny, speed);
    if constexpr (kCapped) {
      speed = speed * sign;
      space = choose(less(speed, none), d.room[q] - space, space);
      speed = magnitude(speed);
      moves = less(tiny, speed) & less(space, infinite);
    }
    space = choose(less(space, none), none, space);
    const Doubles mine = space * over, theirs = number * speed, tie = Wide::kTie * (over * speed);
    const auto sooner =
        moves & (less(mine, theirs - tie) | (~less(theirs + tie, mine) & less(over, speed) & less(mine, infinite)));
    number = choose(sooner, space, number);
    over = choose(sooner, speed, over);
    row = choose(sooner, index<Wide>(q), row);
  }
  step = number / over;
  return row;
}

/// Basic place `row` of the lanes of `pivots` is taken by the entering unknown.
template <int kRows, bool kCapped>
CLINOMETER_INLINE void exchange(Mixture<kRows, kCapped>& d, Wide::Index pivots, Wide::Index row) {
  const std::int64_t k = d.k();
  const Doubles none{}, one = broadcast(1.0);
  Doubles pivot = one;
  for (std::int64_t c = 0; c <= k; ++c) d.entering[c] = none;
  for (std::int64_t q = 0; q < k; ++q) {
    const auto here = equal(row, q) & pivots;
    pivot = choose(here, d.change[q], pivot);
    for (std::int64_t c = 0; c <= k; ++c) d.entering[c] = choose(here, d.at(q, c), d.entering[c]);
    d.change[q] = choose(here, d.change[q] - one, d.change[q]);  // r - (p - 1) r / p = r / p: its own row, scaled
  }
  const Doubles inverse = none - one / pivot;
  for (std::int64_t c = 0; c <= k; ++c) d.entering[c] = d.entering[c] * inverse;
  for (std::int64_t q = 0; q <= k; ++q)
    for (std::int64_t c = 0; c <= k; ++c) d.at(q, c) = multiply_add(d.change[q], d.entering[c], d.at(q, c));
}

/// Sides of a column that left and of the one that entered, lane by lane.
template <int kRows>
CLINOMETER_INLINE void turn(Mixture<kRows, true>& d, Wide::Index lanes, Wide::Index column, Doubles side) {
  double* const at = reinterpret_cast<double*>(d.side);
  for (int l = 0; l < kPace; ++l)
    if (lanes[l] && column[l] < d.n) {
      const std::int64_t here = column[l] * kPace + l;
      at[here] = d.high[here] > 0 ? side[l] : 0;
    }
}

/// Weights of the columns, and by columns at their bounds; returns their sum.
template <int kRows>
CLINOMETER_INLINE Doubles write(Mixture<kRows, true>& d, const MixtureGame& game) {
  const Doubles none{};
  Doubles mass{};
  for (std::int64_t j = 0; j < d.n; ++j) {
    const Doubles x = choose(less(d.side[j], none), loadu<double>(d.high + j * kPace), none);
    storeu<double>(game.x + j * kPace, x);
    mass = mass + x;
  }
  for (std::int64_t q = 0; q < d.k(); ++q) {
    Doubles x = choose(less(d.value[q], none), none, d.value[q]);
    x = choose(less(d.room[q], x), d.room[q], x);
    mass = mass + choose((Wide::Index)(d.name[q] < d.n), x, none);
    for (int l = 0; l < kPace; ++l)
      if (d.name[q][l] < d.n) game.x[d.name[q][l] * kPace + l] = x[l];
  }
  return mass;
}

/// Without caps: weights by place, what they attain in twice the precision, and what the prices prove.
template <int kRows>
CLINOMETER_INLINE Doubles write(Mixture<kRows, false>& d, const MixtureGame& game, Doubles top) {
  const std::int64_t k = d.k();
  const Doubles none{};
  Doubles mass{}, size{}, clipped{}, least = broadcast(__builtin_inf());
  for (std::int64_t q = 0; q < k; ++q) {
    const auto slack = (Wide::Index)(d.name[q] >= d.n);
    const Doubles x = choose(slack | less(d.at(q, k), none), none, d.at(q, k)), price = none - d.at(k, q);
    storeu<double>(game.x + q * kPace, x);
    std::memcpy(game.at + q * kPace, &d.name[q], sizeof d.name[q]);
    d.entering[q] = x;
    d.name[q] = interleaved(choose(slack, Wide::Index{}, d.name[q]));
    mass = mass + x;
    storeu<double>(game.y + q * kPace, choose(less(none, price), price, none));
    size = size + choose(less(none, price), price, none);
    clipped = clipped + choose(less(price, none), none - price, none);
  }
  const double terms = double((k + 2) * (k + 2)) * 0x1p-98;
  for (std::int64_t i = 0; i < k; ++i) {
    Compensated<Doubles> dot{none, none};
    for (std::int64_t q = 0; q < k; ++q) dot.add(gather(d.m + i * d.n * kPace, d.name[q]), d.entering[q]);
    const Doubles row = dot.sum + dot.error, lowest = row - (magnitude(row) * 0x1p-52 + terms);
    least = choose(less(lowest, least), lowest, least);
  }
  // `top` is the largest of sums of k products of entries within 1 in size, before prices were clipped at 0
  const Doubles slack = clipped + 0x1p-52 * double(k + 4) * (size + clipped + magnitude(top));
  storeu<double>(game.bounds, least);
  storeu<double>(game.bounds + kPace, (top + slack) / size * (1 + 0x1p-51));
  return mass;
}

template <int kRows, bool kCapped>
void mixtures(const MixtureGame& game) {
  Mixture<kRows, kCapped> d(game);
  const Doubles none{}, one = broadcast(1.0), infinite = broadcast(__builtin_inf());
  begin(d);
  auto open = ~Wide::Index{};
  Doubles top;
  const std::int64_t most = 8 * (d.k() + d.n) + 32;
  for (std::int64_t round = 0; round < most; ++round) {
    Wide::Index chosen;
    open = open & enter(d, chosen, top);
    if constexpr (!kCapped)  // a basic column of positive rate: rounding is all that is left
      for (std::int64_t q = 0; q < d.k(); ++q) open = open & ~(Wide::Index)(d.name[q] == chosen);
    if (!any(open)) break;
    lift(d, chosen);
    Doubles sign = one, range = infinite, step;
    if constexpr (kCapped) {
      const auto column = choose((Wide::Index)(chosen >= d.n), Wide::Index{}, chosen);
      sign = choose((Wide::Index)(chosen >= d.n), one, gather(reinterpret_cast<double*>(d.side), interleaved(column)));
      range = choose((Wide::Index)(chosen >= d.n), infinite, gather(d.high, interleaved(column)));
    }
    const auto row = stop(d, sign, range, step);
    const auto stays = equal(row, -1);
    open = open & less(step, infinite);  // without end only by rounding: the game is bounded
    const auto pivots = open & ~stays;
    for (std::int64_t q = 0; q < d.k(); ++q) {
      const auto here = equal(row, q) & pivots;
      if constexpr (kCapped) {
        const Doubles from = choose(less(sign, none), range, none);
        const Doubles speed = d.change[q] * sign;
        turn(d, here, d.name[q], choose(less(speed, none), none - one, one));
        d.value[q] = choose(here, from + sign * step, d.value[q] - choose(open, speed * step, none));
        d.room[q] = choose(here, range, d.room[q]);
      }
      d.name[q] = choose(here, chosen, d.name[q]);
    }
    if constexpr (kCapped) turn(d, open, chosen, choose(stays, none - sign, none));
    for (std::int64_t q = 0; q <= d.k(); ++q) d.change[q] = choose(pivots, d.change[q], none);
    exchange(d, pivots, row);
  }
  Doubles mass;
  if constexpr (kCapped) {
    mass = write(d, game);
    for (std::int64_t i = 0; i < d.k(); ++i) {
      const Doubles price = none - d.at(d.k(), i);
      storeu<double>(game.y + i * kPace, choose(less(none, price), price, none));
    }
  } else {
    mass = write(d, game, top);
  }
  const auto whole = less(magnitude(mass - 1.0), broadcast(1e-12));
  for (int l = 0; l < kPace; ++l) game.done[l] = open[l] == 0 && whole[l] != 0;
}

template <bool kCapped>
void mixtures_of(const MixtureGame& game) {
  switch (game.k) {
    case 2:
      return mixtures<2, kCapped>(game);
    case 3:
      return mixtures<3, kCapped>(game);
    case 4:
      return mixtures<4, kCapped>(game);
    case 8:
      return mixtures<8, kCapped>(game);
    default:
      return mixtures<0, kCapped>(game);
  }
}

void mixture(const MixtureGame& game) { game.high == nullptr ? mixtures_of<false>(game) : mixtures_of<true>(game); }

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
