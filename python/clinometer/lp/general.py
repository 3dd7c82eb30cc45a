"""Linear programs that are none of our forms, by HiGHS (extra `lp`), with bounds evaluated here."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, inf
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..results import Axes, Result
from .arrays import finite, real_array

__all__ = ["SolveResult", "solve"]

Floats = NDArray[np.float64]
CLOSE = 1e-7  # what HiGHS promises of feasibility and of the gap, over the size of what is compared


@dataclass(frozen=True, repr=False, eq=False)
class SolveResult(Result):
    """Answer of `solve`.

    Attributes
    ----------
    status : "optimal" (feasible to 1e-7 and the gap closed to 1e-7), "infeasible", "unbounded" (both as HiGHS says),
        "undecided"
    value : c.x; weights : x (n,); dual : (m,) prices of the rows
    upper : what the prices prove, for any feasible x (weak duality); infinite where they prove nothing
    violation : largest excess over a bound of a row or unknown, over that row's largest entry
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
    together, groups of candidates with budgets. HiGHS works to a tolerance of 1e-7: unlike theirs its status is no
    proof. What x attains and what the prices prove is evaluated here, with sums rounded once.

    Parameters
    ----------
    c : array (n,); a : array (m, n), finite
    row_lower, row_upper : number or array (m,); lower, upper : number or array (n,); may be infinite

    Returns
    -------
    SolveResult
        Needs highspy: ``pip install 'clinometer[lp]'``.

    Examples
    --------
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
    solver: Any = highspy.Highs()  # type: ignore[no-untyped-call, unused-ignore]
    solver.setOptionValue("output_flag", False)
    model: Any = highspy.HighsLp()
    model.num_col_, model.num_row_, model.sense_ = n, m, highspy.ObjSense.kMaximize
    model.col_cost_, model.col_lower_, model.col_upper_ = goal, low, high
    model.row_lower_, model.row_upper_ = row_low, row_high
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.arange(m + 1) * n
    model.a_matrix_.index_, model.a_matrix_.value_ = np.tile(np.arange(n), m), rows.ravel()
    solver.passModel(model)
    solver.run()
    status, kinds = solver.getModelStatus(), highspy.HighsModelStatus
    if status in (kinds.kInfeasible, kinds.kUnbounded):
        none, empty = np.full(n, np.nan), np.full(m, np.nan)
        if status == kinds.kInfeasible:
            return SolveResult("infeasible", -inf, none, empty, -inf, np.nan)
        return SolveResult("unbounded", inf, none, empty, inf, np.nan)
    answer = solver.getSolution()
    x, y = np.array(answer.col_value), np.array(answer.row_dual)
    if len(x) != n or len(y) != m:
        return SolveResult("undecided", np.nan, np.full(n, np.nan), np.full(m, np.nan), inf, np.nan)
    value, bound = fsum(goal * x), _proved(goal, rows, y, (row_low, row_high), (low, high))
    violation = _violation(rows, x, (row_low, row_high), (low, high))
    size = max(1.0, abs(value), float(np.abs(goal).max()))
    good = status == kinds.kOptimal and violation <= CLOSE and bound - value <= CLOSE * size
    return SolveResult("optimal" if good else "undecided", value, x, y, bound, violation)


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


def _proved(
    goal: Floats, rows: Floats, y: Floats, of_rows: tuple[Floats, Floats], of_columns: tuple[Floats, Floats]
) -> float:
    """c.x = y.(A x) + (c - A'y).x, each term at its largest. Rates that rounding leaves count for nothing only where
    the unknown is bounded: elsewhere one within 1e-9 of zero is taken for zero, as HiGHS does."""
    rate = np.array([fsum([g, *(-y * column)]) for g, column in zip(goal, rows.T, strict=True)])
    noise = 1e-9 * (np.abs(goal) + np.abs(y) @ np.abs(rows))
    terms: list[float] = []
    for price, (low, high), slack in ((y, of_rows, 0 * y), (rate, of_columns, noise)):
        end = np.where(price > 0, high, low)
        counts = (price != 0) & ~(np.isinf(end) & (np.abs(price) <= slack))
        terms += (price[counts] * end[counts]).tolist()
    return inf if inf in terms else fsum(terms)


def _violation(rows: Floats, x: Floats, of_rows: tuple[Floats, Floats], of_columns: tuple[Floats, Floats]) -> float:
    product = np.array([fsum(row * x) for row in rows])
    size = np.maximum(np.abs(rows).max(axis=1), np.finfo(float).tiny)
    over = np.maximum(of_rows[0] - product, product - of_rows[1]) / size
    beyond = np.maximum(of_columns[0] - x, x - of_columns[1])
    return float(max(0.0, over.max(), beyond.max()))
