"""A linear program, and the powers of two that bring its entries, bounds and costs to a common size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Program", "Units"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Program:
    """max goal.x subject to low <= rows x <= high and least <= x <= most."""

    goal: Floats
    rows: Floats
    low: Floats
    high: Floats
    least: Floats
    most: Floats

    def directions(self) -> Program:
        """What a feasible point may go on along without end, of entries of at most 1."""
        low, high = (np.where(np.isinf(x), x, 0.0) for x in (self.low, self.high))
        least, most = np.where(np.isinf(self.least), -1.0, 0.0), np.where(np.isinf(self.most), 1.0, 0.0)
        return Program(self.goal, self.rows, low, high, least, most)

    def elastic(self) -> Program:
        """The least e >= 0 by which all rows must be widened to leave a point: rows for `high`, then for `low`."""
        m, n = self.rows.shape
        both, e, none = np.vstack([self.rows, self.rows]), np.repeat([-1.0, 1.0], m), np.full(m, np.inf)
        return Program(
            np.append(np.zeros(n), -1.0), np.column_stack([both, e]), np.append(-none, self.low),
            np.append(self.high, none), np.append(self.least, 0.0), np.append(self.most, np.inf),
        )  # fmt: skip


@dataclass(frozen=True)
class Units:
    """Exponents of two of each row, of each unknown, of what bounds are in and of the goal."""

    row: Ints
    column: Ints
    bound: int
    goal: int

    @classmethod
    def of(cls, p: Program) -> Units:
        """Logarithms of all that is not zero to the least sum of squares, then no row or column above 1.

        Another unit of a row, an unknown or the goal changes its exponent by as much and nothing else.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.linalg import lsmr

        m, n = p.rows.shape
        value, first, second, sign = _equations(p)
        if not len(value):
            return cls(np.zeros(m, np.int64), np.zeros(n, np.int64), 0, 0)
        at = np.arange(len(value))
        places = np.concatenate([at, at]), np.concatenate([first, second])
        table = coo_array((np.concatenate([sign, np.ones(len(at))]), places), shape=(len(at), m + n + 2)).tocsr()
        z = np.rint(lsmr(table, -np.log2(np.abs(value)), atol=1e-10, btol=1e-10, maxiter=200)[0]).astype(np.int64)
        for part, over in ((slice(0, m), first), (slice(m, m + n), second)):
            # an entry negligible beside all others of its row and column must not make them large
            entries = at[: np.count_nonzero(p.rows)]
            size = np.log2(np.abs(value[entries])) + z[first[entries]] + z[second[entries]]
            top = np.full(m + n + 2, -np.inf)
            np.maximum.at(top, over[entries], size)
            z[part] -= np.where(np.isneginf(top), 0, np.ceil(top)).astype(np.int64)[part]
        return cls(z[:m], z[m : m + n], *_tops(p, z))

    def scaled(self, p: Program) -> Program:
        """The program in these units: unknowns are x 2^(bound - column)."""
        along = self.bound - self.column
        return Program(
            _ldexp(p.goal, self.column + self.goal), _ldexp(p.rows, self.row[:, None] + self.column),
            _ldexp(p.low, self.row + self.bound), _ldexp(p.high, self.row + self.bound),
            _ldexp(p.least, along), _ldexp(p.most, along),
        )  # fmt: skip


def _equations(p: Program) -> tuple[Floats, Ints, Ints, Floats]:
    """Of each number that is not 0 or infinite: itself and the two exponents that scale it, the first with a sign."""
    m, n = p.rows.shape
    i, j = np.nonzero(p.rows)
    found = [(p.rows[i, j], i, m + j, 1.0)]
    for bounds, start, sign in ((p.low, 0, 1.0), (p.high, 0, 1.0), (p.least, m, -1.0), (p.most, m, -1.0)):
        k = np.flatnonzero(np.isfinite(bounds) & (bounds != 0))
        found.append((bounds[k], start + k, np.full(len(k), m + n), sign))
    k = np.flatnonzero(p.goal)
    found.append((p.goal[k], m + k, np.full(len(k), m + n + 1), 1.0))
    value, first, second = (np.concatenate([part[at] for part in found]) for at in range(3))
    return value, first, second, np.concatenate([np.full(len(part[0]), part[3]) for part in found])


def _tops(p: Program, z: Ints) -> tuple[int, int]:
    """Exponents of the bounds and of the goal that bring the largest of each to 1."""
    m = len(p.rows)
    row, column = z[:m], z[m:-2]
    bounds = [_size(x, row) for x in (p.low, p.high)] + [_size(x, -column) for x in (p.least, p.most)]
    tops = [np.concatenate(bounds).max(initial=-np.inf), _size(p.goal, column).max(initial=-np.inf)]
    bound, goal = (0 if np.isneginf(top) else -int(np.ceil(top)) for top in tops)
    return bound, goal


def _size(x: Floats, exponent: Ints) -> Floats:
    """log2 |x 2^exponent| of what is not 0 or infinite."""
    known = np.isfinite(x) & (x != 0)
    return np.asarray(np.log2(np.abs(x[known])) + exponent[known])


def _ldexp(x: Floats, exponent: Ints) -> Floats:
    """x 2^exponent; what was finite stays so."""
    top = np.finfo(np.float64).max
    with np.errstate(over="ignore", under="ignore"):
        moved = np.ldexp(x, np.clip(exponent, -3000, 3000).astype(np.int32))
    return np.where(np.isinf(x), x, np.clip(moved, -top, top))
