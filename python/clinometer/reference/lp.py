"""The small linear programs in rational arithmetic: no rounding, so signs are certain (theory 8.3 and 9).

A dictionary simplex with Bland's rule, which cannot cycle. Slow, and meant for problems of a few rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from .base import Array

__all__ = ["ExactLP", "cone_value", "constrained_value", "exact_lp", "game_value", "prompt_value"]

Rational = Fraction | float | int


@dataclass(frozen=True)
class ExactLP:
    """`status` "optimal", "infeasible" or "unbounded"; `value` and `x` (n,) are exact fractions."""

    status: str
    value: Fraction
    x: list[Fraction]


def exact_lp(c: Sequence[Rational], a: Sequence[Sequence[Rational]], b: Sequence[Rational]) -> ExactLP:
    """max c.x with A (m, n) x <= b and x >= 0, in fractions: Bland's simplex method (theory 9).

    >>> exact_lp([1, 1], [[2, 1], [1, 3]], [4, 6]).value
    Fraction(14, 5)
    """
    n = len(c)
    rows = [[Fraction(y) for y in (bound, *row)] for row, bound in zip(a, b, strict=True)]
    basic, free = list(range(n, n + len(rows))), list(range(n))
    # basic_i = rows[i][0] - sum_j rows[i][1 + j] free_j
    if rows and min(row[0] for row in rows) < 0:
        # An artificial variable, subtracted from every row, enters where the shortfall is largest.
        for row in rows:
            row.append(Fraction(-1))
        free.append(-1)
        goal = [Fraction(0)] * (n + 1) + [Fraction(-1)]
        worst = min(range(len(rows)), key=lambda i: rows[i][0])
        _pivot(rows, goal, basic, free, worst, n)
        _run(rows, goal, basic, free)
        if goal[0] != 0:
            return ExactLP("infeasible", Fraction(0), [])
        if -1 in basic:
            at = basic.index(-1)
            column = next((j for j in range(len(free)) if rows[at][1 + j] != 0), None)
            if column is not None:
                _pivot(rows, goal, basic, free, at, column)
        if -1 in free:
            out = free.index(-1)
            del free[out]
            for row in rows:
                del row[1 + out]
    goal = [Fraction(0)] * (1 + len(free))
    for j, name in enumerate(free):
        if name < n:
            goal[1 + j] += Fraction(c[name])
    for i, name in enumerate(basic):
        if 0 <= name < n and c[name] != 0:
            goal[0] += Fraction(c[name]) * rows[i][0]
            for j in range(len(free)):
                goal[1 + j] -= Fraction(c[name]) * rows[i][1 + j]
    if not _run(rows, goal, basic, free):
        return ExactLP("unbounded", Fraction(0), [])
    x = [Fraction(0)] * n
    for i, name in enumerate(basic):
        if 0 <= name < n:
            x[name] = rows[i][0]
    return ExactLP("optimal", goal[0], x)


def _run(rows: list[list[Fraction]], goal: list[Fraction], basic: list[int], free: list[int]) -> bool:
    while True:
        rising = [j for j in range(len(free)) if goal[1 + j] > 0]
        if not rising:
            return True
        column = min(rising, key=lambda j: free[j])
        stops = [(row[0] / row[1 + column], basic[i], i) for i, row in enumerate(rows) if row[1 + column] > 0]
        if not stops:
            return False
        _pivot(rows, goal, basic, free, min(stops)[2], column)


def _pivot(
    rows: list[list[Fraction]], goal: list[Fraction], basic: list[int], free: list[int], at: int, column: int
) -> None:
    pivot = rows[at][1 + column]
    new = [y / pivot for y in rows[at]]
    new[1 + column] = 1 / pivot
    for i, row in enumerate(rows):
        if i != at and row[1 + column] != 0:
            by = row[1 + column]
            row[1 + column] = Fraction(0)
            rows[i] = [y - by * z for y, z in zip(row, new, strict=True)]
    by = goal[1 + column]
    goal[1 + column] = Fraction(0)
    for j, z in enumerate(new):
        goal[j] += by * z if j == 0 else -by * z
    rows[at] = new
    basic[at], free[column] = free[column], basic[at]


def _exact(a: npt.ArrayLike) -> list[list[Fraction]]:
    rows: Array = np.asarray(a, dtype=np.float64)
    return [[Fraction(float(y)) for y in row] for row in rows]


def cone_value(a: npt.ArrayLike) -> Fraction:
    """max t with A (k, d) v >= t, |v|_inf <= 1 (theory 8.3).

    >>> cone_value([[1.0, 0.0], [-1.0, 0.5]])
    Fraction(1, 4)
    """
    rows = _exact(a)
    d = len(rows[0])
    # t - A p + A q <= 0, p + q <= 1 with v = p - q
    table: list[list[Rational]] = [[1, *(-y for y in row), *row] for row in rows]
    for j in range(d):
        box = [0] * (1 + 2 * d)
        box[1 + j] = box[1 + d + j] = 1
        table.append([*box])
    return exact_lp([1, *([0] * (2 * d))], table, [*([0] * len(rows)), *([1] * d)]).value


def game_value(m: npt.ArrayLike) -> Fraction:
    """max over w in the simplex of min_j (M w)_j, M (k, m) (theory 9.1).

    >>> game_value([[1.0, -1.0], [-1.0, 1.0]])
    Fraction(0, 1)
    """
    rows = _exact(m)
    shift = 1 - min(min(row) for row in rows)
    # A game with positive entries: its value is 1 / max sum(mu) with M' mu <= 1.
    table = [[row[i] + shift for row in rows] for i in range(len(rows[0]))]
    return 1 / exact_lp([1] * len(rows), table, [1] * len(table)).value - shift


def constrained_value(m: npt.ArrayLike, c: npt.ArrayLike, tau: npt.ArrayLike) -> Fraction | None:
    """max c.w with M (k, m) w >= tau, w in the simplex; None where no w meets the floors (theory 9.2).

    >>> constrained_value([[1.0, 0.0]], [0.0, 1.0], [0.5])
    Fraction(1, 2)
    """
    rows, floors, goal = _exact(m), _exact(np.atleast_2d(tau))[0], _exact(np.atleast_2d(c))[0]
    n = len(goal)
    table: list[list[Rational]] = [[-y for y in row] for row in rows]
    table += [[1] * n, [-1] * n]
    found = exact_lp(goal, table, [*(-y for y in floors), 1, -1])
    return found.value if found.status == "optimal" else None


def prompt_value(m: npt.ArrayLike, caps: npt.ArrayLike) -> Fraction:
    """max over q in the simplex with q <= caps (n,) of min_j (M q)_j, M (k, n); caps sum to 1 or more (theory 9.3).

    >>> prompt_value([[1.0, -1.0]], [0.75, 1.0])
    Fraction(1, 2)
    """
    rows, most = _exact(m), _exact(np.atleast_2d(caps))[0]
    n = len(most)
    shift = -min([Fraction(0), *(min(row) for row in rows)])
    table: list[list[Rational]] = [[1, *(-y - shift for y in row)] for row in rows]
    table += [[0, *(int(i == j) for j in range(n))] for i in range(n)]
    table += [[0, *([1] * n)], [0, *([-1] * n)]]
    return exact_lp([1, *([0] * n)], table, [*([0] * len(rows)), *most, 1, -1]).value - shift
