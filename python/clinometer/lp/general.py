"""Linear programs that are none of our forms, by HiGHS (extra `lp`), with bounds evaluated here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum, inf
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import Axes, Result

from .arrays import finite, real_array
from .attempt import CLOSE, SURE, Attempt, attempt, proof
from .scaling import Program, Units

__all__ = ["SolveResult", "solve"]

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
