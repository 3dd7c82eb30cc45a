"""The solution that HiGHS returns for a scaled program, evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scaling import Program

__all__ = ["CLOSE", "SURE", "Attempt", "attempt", "proof"]

Floats = NDArray[np.float64]
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
