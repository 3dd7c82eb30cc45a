// The bounded game by the primal simplex method on its dictionary. Bounds of x are implicit, so a box costs no
// rows; the start is feasible by construction, so there is no first phase. Rows: k - 1 slacks or variables, the
// objective t as row k - 1, and the basic variable of sum x = 1 as row k. Columns: x, and the slack that made
// room for t. Basic = value + sum over columns of T (nonbasic - its bound).
// Nothing here decides a status: a pivot tolerance can cost digits, and what is returned is evaluated afterwards.
#pragma once
#include "kernels/lp_lanes.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

template <class K>
struct Dictionary {
  using Real = typename K::Real;
  using Index = typename K::Index;
  std::int64_t k, n, rows, columns;
  Real* t;                                            // (rows, columns)
  Real *value, *row_low, *row_high, *enter, *factor;  // (rows,): enter is the entering column
  Real *column_low, *column_high, *side, *leave;      // (columns,): side 1 at low, -1 at high, 0 never enters
  Index *row_name, *column_name;                      // x_j is j, slack i is n + i, t and the dead are -1

  CLINOMETER_INLINE Dictionary(const Game& game)
      : k(game.k), n(game.n), rows(game.k + (game.sum_to_one ? 1 : 0)), columns(game.n + 1) {
    Real* at = reinterpret_cast<Real*>(game.work);
    const auto take = [&at](std::int64_t count) {
      Real* const here = at;
      at += count;
      return here;
    };
    t = take(rows * columns);
    value = take(rows), row_low = take(rows), row_high = take(rows), enter = take(rows), factor = take(rows);
    column_low = take(columns), column_high = take(columns), side = take(columns), leave = take(columns);
    row_name = reinterpret_cast<Index*>(take(rows));
    column_name = reinterpret_cast<Index*>(take(columns));
  }
};

constexpr double kInfinite = __builtin_inf();

/// Element `at` of each lane of a strided array of Real.
template <class K>
CLINOMETER_INLINE typename K::Real pick(const typename K::Real* from, typename K::Index at) {
  if constexpr (K::kCount > 1) {
    typename K::Real out;
    for (int l = 0; l < K::kCount; ++l) out[l] = from[at[l]][l];
    return out;
  } else {
    return from[at];
  }
}

/// Sides of x at the start and, with sum x = 1, the column that takes the remainder (else -1).
/// Best columns by their sum over rows are filled first: that is optimal at equal prices.
template <class K>
CLINOMETER_INLINE typename K::Index begin_sides(Dictionary<K>& d, const Game& game, typename K::Real& left) {
  using Real = typename K::Real;
  const Real none = real<K>(0), one = real<K>(1);
  Real* const total = d.leave;
  for (std::int64_t j = 0; j < d.n; ++j) {
    Real sum = none;
    for (std::int64_t i = 0; i < d.k; ++i) sum = sum + load<K>(game.m + (i * d.n + j) * K::kCount);
    total[j] = sum;
    d.side[j] = game.sum_to_one ? one : choose(less(sum, none), one, none - one);
  }
  auto held = index<K>(-1);
  left = one;
  if (!game.sum_to_one) return held;
  if (game.start >= 0) return index<K>(game.start);
  auto open = index<K>(-1);
  for (std::int64_t step = 0; step < d.n && any(open); ++step) {
    auto best = index<K>(-1);
    Real top = real<K>(-kInfinite);
    for (std::int64_t j = 0; j < d.n; ++j) {
      const auto better = less(none, d.side[j]) & (less(top, total[j]) | equal(best, -1));
      top = choose(better, total[j], top);
      best = choose(better, index<K>(j), best);
    }
    const Real room = pick<K>(d.column_high, best);
    const auto last = ~less(room, left) | (step + 1 == d.n ? index<K>(-1) : index<K>(0));
    held = choose(open & last, best, held);
    const auto fill = open & ~last;
    left = choose(fill, left - room, left);
    for (std::int64_t j = 0; j < d.n; ++j) d.side[j] = choose(fill & equal(best, j), none - one, d.side[j]);
    open = fill;
  }
  return held;
}

template <class K>
CLINOMETER_INLINE void begin(Dictionary<K>& d, const Game& game) {
  using Real = typename K::Real;
  const Real none = real<K>(0), one = real<K>(1);
  for (std::int64_t j = 0; j < d.n; ++j) {
    d.column_low[j] = load<K>(game.low + j * K::kCount);
    d.column_high[j] = load<K>(game.high + j * K::kCount);
    d.column_name[j] = index<K>(j);
  }
  Real left;
  const auto held = begin_sides(d, game, left);
  const std::int64_t width = d.columns;
  const auto m = [&game, &d](std::int64_t i, std::int64_t j) { return load<K>(game.m + (i * d.n + j) * K::kCount); };
  const auto g = [&game](std::int64_t i) { return load<K>(game.g + i * K::kCount); };
  // M x and, with sum x = 1, the columns against the one that is basic; products stand in `enter` for now.
  Real worst = real<K>(kInfinite);
  auto active = index<K>(0);
  for (std::int64_t i = 0; i < d.k; ++i) {
    Real product = none, base = none;
    if (game.sum_to_one)
      for (std::int64_t j = 0; j < d.n; ++j) base = choose(equal(held, j), m(i, j), base);
    for (std::int64_t j = 0; j < d.n; ++j) {
      const Real at = choose(less(none, d.side[j]), d.column_low[j], d.column_high[j]);
      product = product + m(i, j) * choose(equal(held, j), left, at);
    }
    d.enter[i] = product;
    d.factor[i] = base;
    const Real level = choose(less(none, g(i)), product / choose(less(none, g(i)), g(i), one), real<K>(kInfinite));
    const auto lower = less(level, worst);
    worst = choose(lower, level, worst);
    active = choose(lower, index<K>(i), active);
  }
  Real scale = none, base = none;  // of the active row, whose slack leaves for t
  for (std::int64_t i = 0; i < d.k; ++i) {
    scale = choose(equal(active, i), g(i), scale);
    base = choose(equal(active, i), d.factor[i], base);
  }
  const Real inverse = one / scale;
  Real* const objective = d.t + (d.k - 1) * width;
  for (std::int64_t j = 0; j < d.n; ++j) {
    Real entry = none;
    for (std::int64_t i = 0; i < d.k; ++i) entry = choose(equal(active, i), m(i, j), entry);
    objective[j] = (entry - base) * inverse;
  }
  objective[d.n] = none - inverse;
  d.value[d.k - 1] = worst;
  d.row_low[d.k - 1] = real<K>(-kInfinite);
  d.row_high[d.k - 1] = real<K>(kInfinite);
  d.row_name[d.k - 1] = index<K>(-1);
  for (std::int64_t i = 0; i + 1 < d.k; ++i) {
    const auto moved = equal(active, i);  // the last row takes the place of the active one
    const Real gi = choose(moved, g(d.k - 1), g(i)), bi = choose(moved, d.factor[d.k - 1], d.factor[i]);
    Real* const row = d.t + i * width;
    for (std::int64_t j = 0; j < d.n; ++j) row[j] = choose(moved, m(d.k - 1, j), m(i, j)) - bi - gi * objective[j];
    row[d.n] = gi * inverse;
    const Real slack = choose(moved, d.enter[d.k - 1], d.enter[i]) - gi * worst;
    d.value[i] = choose(less(slack, none), none, slack);
    d.row_low[i] = none;
    d.row_high[i] = real<K>(kInfinite);
    d.row_name[i] = choose(moved, index<K>(d.n + d.k - 1), index<K>(d.n + i));
  }
  d.column_low[d.n] = none;
  d.column_high[d.n] = real<K>(kInfinite);
  d.column_name[d.n] = active + d.n;
  d.side[d.n] = one;
  if (!game.sum_to_one) return;
  // x of `held` is basic in the last row; its own column is dead and stays zero.
  Real* const row = d.t + d.k * width;
  d.value[d.k] = left;
  d.row_low[d.k] = pick<K>(d.column_low, held);
  d.row_high[d.k] = pick<K>(d.column_high, held);
  d.row_name[d.k] = held;
  for (std::int64_t j = 0; j < d.n; ++j) {
    const auto here = equal(held, j);
    row[j] = choose(here, none, none - one);
    d.side[j] = choose(here, none, d.side[j]);
    d.column_low[j] = choose(here, none, d.column_low[j]);
    d.column_high[j] = choose(here, none, d.column_high[j]);
    d.column_name[j] = choose(here, index<K>(-1), d.column_name[j]);
    for (std::int64_t i = 0; i < d.k; ++i) d.t[i * width + j] = choose(here, none, d.t[i * width + j]);
  }
  row[d.n] = none;
}

/// The entering column of each lane: largest rate of the objective, or the first by name when `careful`.
template <class K>
CLINOMETER_INLINE typename K::Index price_columns(const Dictionary<K>& d, bool careful, typename K::Index& column) {
  using Real = typename K::Real;
  Real best = real<K>(K::kRelative);
  auto found = index<K>(0), first = index<K>(0);
  column = index<K>(0);
  const Real* const objective = d.t + (d.k - 1) * d.columns;
  for (std::int64_t j = 0; j < d.columns; ++j) {
    const Real rate = objective[j] * d.side[j];
    auto better = less(best, rate);
    if constexpr (K::kCount == 1) {
      if (careful && better && found && d.column_name[j] > first) better = 0;
      if (careful && better) first = d.column_name[j];
    }
    if (!careful) best = choose(better, rate, best);
    column = choose(better, index<K>(j), column);
    found = found | better;
  }
  return found;
}

/// The row that stops the entering column, and how far it lets it go; -1 where its own range is shorter.
template <class K>
CLINOMETER_INLINE typename K::Index ratio_test(const Dictionary<K>& d, bool careful, typename K::Real sign,
                                               typename K::Real range, typename K::Real& step,
                                               typename K::Index& at_high) {
  using Real = typename K::Real;
  const Real none = real<K>(0), tie = real<K>(K::kTie), tiny = real<K>(K::kPivot);
  auto row = index<K>(-1), name = index<K>(0);
  at_high = index<K>(0);
  step = range;
  Real strength = none;
  for (std::int64_t i = 0; i < d.rows; ++i) {
    if (i == d.k - 1) continue;
    const Real rate = d.enter[i] * sign, speed = size_of(rate);
    const auto moves = less(tiny, speed), falls = less(rate, none);
    const Real room = choose(falls, d.value[i] - d.row_low[i], d.row_high[i] - d.value[i]);
    Real ratio = choose(less(room, none), none, room) / choose(moves, speed, real<K>(1));
    ratio = choose(moves, ratio, real<K>(kInfinite));
    auto better =
        less(ratio, step - tie) | (~less(step + tie, ratio) & less(strength, speed) & less(ratio, real<K>(kInfinite)));
    if constexpr (K::kCount == 1) {
      if (careful && better && !less(ratio, step) && any(~equal(row, -1)) && d.row_name[i] > name) better = 0;
      if (careful && better) name = d.row_name[i];
    }
    step = choose(better, ratio, step);
    strength = choose(better, speed, strength);
    row = choose(better, index<K>(i), row);
    at_high = choose(better, ~falls, at_high);
  }
  return row;
}

/// Columns of the leaving row and of the entering column, out of the dictionary.
template <class K>
CLINOMETER_INLINE void lift_column(Dictionary<K>& d, typename K::Index column) {
  if constexpr (K::kCount > 1) {
    for (int l = 0; l < K::kCount; ++l) {
      const double* from = reinterpret_cast<const double*>(d.t + column[l]) + l;
      double* to = reinterpret_cast<double*>(d.enter) + l;
      for (std::int64_t i = 0; i < d.rows; ++i) to[i * K::kCount] = from[i * d.columns * K::kCount];
    }
  } else {
    for (std::int64_t i = 0; i < d.rows; ++i) d.enter[i] = d.t[i * d.columns + column];
  }
}

template <class K>
CLINOMETER_INLINE void lift_row(Dictionary<K>& d, typename K::Index row) {
  if constexpr (K::kCount > 1) {
    for (int l = 0; l < K::kCount; ++l) {
      const double* from = reinterpret_cast<const double*>(d.t + row[l] * d.columns) + l;
      double* to = reinterpret_cast<double*>(d.leave) + l;
      for (std::int64_t j = 0; j < d.columns; ++j) to[j * K::kCount] = from[j * K::kCount];
    }
  } else {
    for (std::int64_t j = 0; j < d.columns; ++j) d.leave[j] = d.t[row * d.columns + j];
  }
}

/// Exchange the basic variable of `row` and the nonbasic one of `column` in the lanes of `pivots`.
template <class K>
CLINOMETER_INLINE void pivot(Dictionary<K>& d, typename K::Index pivots, typename K::Index row,
                             typename K::Index column, typename K::Real entered, typename K::Index at_high) {
  using Real = typename K::Real;
  const Real none = real<K>(0), one = real<K>(1);
  lift_row(d, row);
  const Real inverse = one / choose(pivots, pick<K>(d.leave, column), one);
  Real* const to = d.leave;
  Real low = none, high = none;
  auto name = index<K>(0);
  for (std::int64_t j = 0; j < d.columns; ++j) {
    const auto here = equal(column, j) & pivots;
    to[j] = choose(here, inverse, choose(pivots, none - to[j] * inverse, none));
    low = choose(here, d.column_low[j], low);
    high = choose(here, d.column_high[j], high);
    name = choose(here, d.column_name[j], name);
  }
  Real out_low = none, out_high = none;
  auto out_name = index<K>(0);
  for (std::int64_t i = 0; i < d.rows; ++i) {
    const auto here = equal(row, i) & pivots;
    out_low = choose(here, d.row_low[i], out_low);
    out_high = choose(here, d.row_high[i], out_high);
    out_name = choose(here, d.row_name[i], out_name);
    d.value[i] = choose(here, entered, d.value[i]);
    d.row_low[i] = choose(here, low, d.row_low[i]);
    d.row_high[i] = choose(here, high, d.row_high[i]);
    d.row_name[i] = choose(here, name, d.row_name[i]);
  }
  const auto fixed = ~less(out_low, out_high);
  const Real out_side = choose(fixed, none, choose(at_high, none - one, one));
  for (std::int64_t j = 0; j < d.columns; ++j) {
    const auto here = equal(column, j) & pivots;
    d.column_low[j] = choose(here, out_low, d.column_low[j]);
    d.column_high[j] = choose(here, out_high, d.column_high[j]);
    d.column_name[j] = choose(here, out_name, d.column_name[j]);
    d.side[j] = choose(here, out_side, d.side[j]);
  }
  // The entering column starts from zero: what stood there is in `enter`.
  if constexpr (K::kCount > 1) {
    for (int l = 0; l < K::kCount; ++l)
      if (pivots[l])
        for (std::int64_t i = 0; i < d.rows; ++i) reinterpret_cast<double*>(d.t + i * d.columns + column[l])[l] = 0;
  } else {
    for (std::int64_t i = 0; i < d.rows; ++i) d.t[i * d.columns + column] = none;
  }
  for (std::int64_t i = 0; i < d.rows; ++i) {
    const auto here = equal(row, i) & pivots;
    const Real by = choose(pivots, d.enter[i], none);
    Real* const at = d.t + i * d.columns;
    if constexpr (K::kCount > 1) {
      for (std::int64_t j = 0; j < d.columns; ++j) at[j] = choose(here, to[j], multiply_add(by, to[j], at[j]));
    } else if (here) {
      for (std::int64_t j = 0; j < d.columns; ++j) at[j] = to[j];
    } else {
      for (std::int64_t j = 0; j < d.columns; ++j) at[j] = multiply_add(by, to[j], at[j]);
    }
  }
}

template <class K>
CLINOMETER_INLINE void write(const Dictionary<K>& d, const Game& game) {
  constexpr int w = K::kCount;
  const auto lane = [](const auto& v, int l) -> double {
    if constexpr (w > 1) {
      return v[l];
    } else if constexpr (sizeof(v) == sizeof(Twofold)) {
      return v.hi;
    } else {
      return v;
    }
  };
  const auto name_of = [](const auto& v, int l) -> std::int64_t {
    if constexpr (w > 1) {
      return v[l];
    } else {
      return v;
    }
  };
  const typename K::Real* const objective = d.t + (d.k - 1) * d.columns;
  for (int l = 0; l < w; ++l) {
    for (std::int64_t i = 0; i < d.k; ++i) game.y[i * w + l] = 0;
    if (game.y_low != nullptr)
      for (std::int64_t i = 0; i < d.k; ++i) game.y_low[i * w + l] = 0;
    for (std::int64_t j = 0; j < d.columns; ++j) {
      const std::int64_t name = name_of(d.column_name[j], l);
      if (name >= d.n) {
        const double price = -lane(objective[j], l);
        game.y[(name - d.n) * w + l] = price > 0 ? price : 0;
        if constexpr (sizeof(typename K::Real) == sizeof(Twofold) && w == 1)
          if (game.y_low != nullptr) game.y_low[name - d.n] = price > 0 ? -objective[j].lo : 0;
      } else if (name >= 0) {
        game.x[name * w + l] = lane(d.side[j], l) < 0 ? lane(d.column_high[j], l) : lane(d.column_low[j], l);
      }
    }
    for (std::int64_t i = 0; i < d.rows; ++i) {
      const std::int64_t name = name_of(d.row_name[i], l);
      if (name < 0 || name >= d.n) continue;
      const double at = lane(d.value[i], l), low = lane(d.row_low[i], l), high = lane(d.row_high[i], l);
      game.x[name * w + l] = at < low ? low : at > high ? high : at;
    }
  }
}

template <class K>
void solve(const Game& game) {
  using Real = typename K::Real;
  Dictionary<K> d(game);
  const Real none = real<K>(0), one = real<K>(1);
  begin(d, game);
  auto open = index<K>(-1);
  const std::int64_t patience = 8 * (d.k + d.n) + 32;
  const std::int64_t most = K::kCount > 1 ? patience : 8 * patience;
  for (std::int64_t round = 0; round < most; ++round) {
    typename K::Index column;
    open = open & price_columns(d, round > patience, column);
    if (!any(open)) break;
    lift_column(d, column);
    const Real sign = choose(open, pick<K>(d.side, column), one);
    const Real low = pick<K>(d.column_low, column), high = pick<K>(d.column_high, column);
    Real step;
    typename K::Index at_high;
    const auto row = ratio_test(d, round > patience, sign, high - low, step, at_high);
    const auto stays = equal(row, -1);
    const auto unbounded = open & stays & ~less(step, real<K>(kInfinite));  // rounding: the game is bounded
    open = open & ~unbounded;
    const Real move = choose(open, sign * step, none);
    for (std::int64_t i = 0; i < d.rows; ++i) d.value[i] = multiply_add(d.enter[i], move, d.value[i]);
    for (std::int64_t j = 0; j < d.columns; ++j)
      d.side[j] = choose(open & stays & equal(column, j), none - d.side[j], d.side[j]);
    const auto pivots = open & ~stays;
    if (any(pivots))
      pivot(d, pivots, choose(stays, index<K>(0), row), column, choose(less(none, sign), low, high) + move, at_high);
  }
  write(d, game);
  for (int l = 0; l < K::kCount; ++l) {
    if constexpr (K::kCount > 1) {
      game.done[l] = open[l] == 0;
    } else {
      game.done[l] = open == 0;
    }
  }
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
