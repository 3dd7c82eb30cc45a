"""Linear programs that are none of our forms, by HiGHS (extra `lp`), with bounds evaluated here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum, inf
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import Axes, Result

from .result import finite, real_array

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class SolveResult(Result):
    """Answer of `solve`.

    Attributes
    ----------
    status : "optimal" (feasible to 1e-7 and the gap closed to 1e-7), "infeasible" (prices contradict the rows),
        "unbounded" (a feasible point and a direction of endless gain), "undecided" (none of them shown)
    value : c.x; weights : x (n,); dual : (m,) prices of the rows
    upper : what the prices prove, for any feasible x (weak duality); infinite where they prove nothing
    violation : largest excess over a bound of a row, over the sizes of its terms; unknowns keep theirs exactly
    """

    axes: ClassVar[Axes] = {"unknown": "weights", "row": "dual"}

    status: str
    value: float
    weights: Floats
    dual: Floats
    upper: float
    violation: float


def solve(
    c: Any, a: Any, *, row_lower: Any = -inf, row_upper: Any = inf, lower: Any = 0.0, upper: Any = inf
) -> SolveResult:
    """max c.x with row_lower <= A x <= row_upper and lower <= x <= upper, by HiGHS.

    For what `cone`, `ensemble`, `constrained` and `prompt` cannot say: several goals in one, floors and ceilings
    together, groups of candidates with budgets. Rows, unknowns and goal are scaled by powers of two first, so that
    their units do not matter. HiGHS works to a tolerance of 1e-7 and its status is no proof: what x attains, what the
    prices prove, a contradiction and an endless gain are evaluated here, with sums rounded once.

    Parameters
    ----------
    c : array (n,); a : array (m, n), finite
    row_lower, row_upper : number or array (m,); lower, upper : number or array (n,); may be infinite

    Returns
    -------
    SolveResult
        Needs highspy: ``pip install 'clinometer[lp]'``.

    Cost: the solver's, beside O(m n) for the evaluation.
    Errors: ValueError where shapes differ or numbers are not finite; ImportError without highspy.

    >>> from clinometer import lp  # doctest: +SKIP
    >>> lp.solve([1.0, 2.0], [[1.0, 1.0]], row_upper=1.0, upper=0.75).value  # doctest: +SKIP
    1.75
    """
    try:
        import highspy
    except ImportError as error:
        raise ImportError("lp.solve needs highspy: pip install 'clinometer[lp]'") from error
    rows, goal = real_array("a", a), real_array("c", c)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"a has shape {rows.shape}; wanted (m, n) with m and n at least 1")
    m, n = rows.shape
    if goal.shape != (n,):
        raise ValueError(f"c has shape {goal.shape}; wanted ({n},)")
    finite("a", rows)
    finite("c", goal)
    row_low, row_high = _bounds("row_lower", row_lower, "row_upper", row_upper, m)
    low, high = _bounds("lower", lower, "upper", upper, n)
    p = Program(goal, rows, row_low, row_high, low, high)
    plain = Units.of(p)
    for finer in (0, 30, 60):  # the tolerance is absolute: bounds that are small beside others need to be lifted
        units = replace(plain, bound=plain.bound + finer)
        status, found = _decided(highspy, units.scaled(p))
        if status != "undecided":
            break
    return _in_given_units(status, found, units)


def _decided(highspy: Any, p: Program) -> tuple[str, Attempt]:
    m, n = p.rows.shape
    best = attempt(highspy, p)
    if best.good:
        return "optimal", best
    needed = attempt(highspy, p.elastic())
    terms = proof(np.zeros(n), p.rows, needed.y[:m] + needed.y[m:], (p.low, p.high), (p.least, p.most))
    if fsum(terms) < -SURE * fsum(map(abs, terms)):
        return "infeasible", Attempt.nowhere(m, n, -inf)
    endless = attempt(highspy, p.directions())
    if needed.good and needed.value >= -CLOSE and endless.violation <= SURE and endless.value > SURE:
        return "unbounded", Attempt.nowhere(m, n, inf)
    return "undecided", best


def _in_given_units(status: str, found: Attempt, units: Units) -> SolveResult:
    with np.errstate(over="ignore", under="ignore"):
        weights = np.ldexp(found.x, units.column - units.bound)
        dual = np.ldexp(found.y, units.row - units.goal)
        value, upper = (float(np.ldexp(v, -units.goal - units.bound)) for v in (found.value, found.bound))
    if status == "optimal" and not (np.isfinite(weights).all() and np.isfinite(value)):
        status = "undecided"  # beyond float64 in the units given
    return SolveResult(status, value, weights, dual, upper, found.violation)


def _bounds(low_name: str, low: Any, high_name: str, high: Any, count: int) -> tuple[Floats, Floats]:
    found = []
    for name, value in ((low_name, low), (high_name, high)):
        given = real_array(name, value)  # of one dimension at least
        if np.ndim(value) and given.shape != (count,):
            raise ValueError(f"{name} has shape {given.shape}; wanted a number or ({count},)")
        if np.isnan(given).any():
            raise ValueError(f"{name} holds NaN; wanted numbers, infinite where there is no bound")
        found.append(np.array(np.broadcast_to(given, (count,))))
    if (found[0] > found[1]).any():
        at = int(np.argmax(found[0] > found[1]))
        raise ValueError(f"{low_name}[{at}] is {found[0][at]}, above {high_name}[{at}], {found[1][at]}")
    return found[0], found[1]


CLOSE = 1e-7  # what HiGHS promises of feasibility and of the gap, over the size of what is compared
SURE = 1e-9  # what a contradiction or an endless gain comes to at least, over the size of its terms
ROUNDING = 1e-6  # of CLOSE: what a row may exceed its bound by, over the largest unknown


@dataclass(frozen=True)
class Attempt:
    """The solution that HiGHS returns for a scaled program, with its bounds, all evaluated here."""

    x: Floats
    y: Floats
    value: float
    bound: float
    violation: float

    @classmethod
    def nowhere(cls, m: int, n: int, value: float, bound: float | None = None) -> Attempt:
        return cls(np.full(n, np.nan), np.full(m, np.nan), value, value if bound is None else bound, np.nan)

    @property
    def good(self) -> bool:
        return self.violation <= CLOSE and self.bound - self.value <= CLOSE * max(1.0, abs(self.value))


def attempt(highspy: Any, p: Program) -> Attempt:
    """Its point and prices; NaN where it gives none. Whatever it says of them is left to what they prove."""
    m, n = p.rows.shape
    solver = _silent(highspy)
    for option, wanted in (("output_flag", False), ("small_matrix_value", 1e-12)):  # entries dropped cost proof only
        solver.setOptionValue(option, wanted)
    model: Any = highspy.HighsLp()
    model.num_col_, model.num_row_, model.sense_ = n, m, highspy.ObjSense.kMaximize
    model.col_cost_, model.col_lower_, model.col_upper_ = p.goal, p.least, p.most
    model.row_lower_, model.row_upper_ = p.low, p.high
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.arange(m + 1) * n
    model.a_matrix_.index_, model.a_matrix_.value_ = np.tile(np.arange(n), m), p.rows.ravel()
    failed = highspy.HighsStatus.kError
    if solver.passModel(model) == failed or solver.run() == failed:
        return Attempt.nowhere(m, n, np.nan, inf)
    answer = solver.getSolution()
    x, y = np.array(answer.col_value), np.array(answer.row_dual)
    if len(x) != n or len(y) != m or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return Attempt.nowhere(m, n, np.nan, inf)
    x = np.clip(x, p.least, p.most)
    terms = proof(p.goal, p.rows, y, (p.low, p.high), (p.least, p.most))
    return Attempt(x, y, fsum(p.goal * x), inf if inf in terms else fsum(terms), _violation(p, x))


def _silent(highspy: Any) -> Any:
    """A solver that prints no banner: to subscribe to callbacks, of which none is used, prints one before any option
    can turn it off."""
    return type("Silent", (highspy.Highs,), {"enableCallbacks": lambda self: None})()


def proof(
    goal: Floats, rows: Floats, y: Floats, of_rows: tuple[Floats, Floats], of_columns: tuple[Floats, Floats]
) -> list[float]:
    """Terms of c.x = y.(A x) + (c - A'y).x, each at its largest. Rates that rounding leaves count for nothing only
    where the unknown is bounded: elsewhere one within 1e-9 of zero is taken for zero, as HiGHS does."""
    rate = np.array([fsum([g, *(-y * column)]) for g, column in zip(goal, rows.T, strict=True)])
    noise = SURE * (np.abs(goal) + np.abs(y) @ np.abs(rows))
    terms: list[float] = []
    for price, (low, high), slack in ((y, of_rows, 0 * y), (rate, of_columns, noise)):
        end = np.where(price > 0, high, low)
        counts = (price != 0) & ~(np.isinf(end) & (np.abs(price) <= slack))
        terms += (price[counts] * end[counts]).tolist()
    return terms


def _violation(p: Program, x: Floats) -> float:
    """Largest excess over a bound of a row, over the sizes of its terms and of the bound; what rounding of the largest
    unknown amounts to passes."""
    product = np.array([fsum(row * x) for row in p.rows])
    size = np.abs(p.rows) @ np.abs(x) + ROUNDING * np.abs(x).max()
    worst = 0.0
    for over, bound in ((p.low - product, p.low), (product - p.high, p.high)):
        k = over > 0
        worst = max(worst, float((over[k] / (size[k] + np.abs(bound[k]))).max(initial=0.0)))
    return worst


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
