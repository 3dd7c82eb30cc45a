"""The small LPs by their peers, one problem at a time as their users must: SciPy, highspy, quadprog, daqp."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Highs", "bounds_of", "daqp_cone", "quadprog_margin", "scipy_game"]

Floats = NDArray[np.float64]
Solve = Callable[[Floats], float]
Bounds = tuple[Floats, Floats]


def bounds_of(n: int, kind: str) -> Bounds:
    """Bounds of the variables: a box for cones, a simplex's for games."""
    return (np.full(n, -1.0), np.ones(n)) if kind == "cone" else (np.zeros(n), np.full(n, np.inf))


def scipy_game(kind: str) -> Solve:
    """max t, M x >= t, over a box ("cone") or the simplex ("game"), by scipy.optimize.linprog."""
    from scipy.optimize import linprog

    def solve(m: Floats) -> float:
        k, n = m.shape
        low, high = bounds_of(n, kind)
        bounds = [*zip(low, high, strict=True), (None, None)]
        simplex = {} if kind == "cone" else {"A_eq": np.r_[np.ones(n), 0.0][None], "b_eq": [1.0]}
        return -float(
            linprog(np.r_[np.zeros(n), -1.0], np.c_[-m, np.ones(k)], np.zeros(k), bounds=bounds, **simplex).fun
        )

    return solve


class Highs:
    """highspy with one solver object, silent, presolve off; `inside` sums the seconds of its C++ solves."""

    def __init__(self, kind: str, *, primal: bool = False) -> None:
        import highspy

        self.highspy, self.kind, self.inside = highspy, kind, 0.0
        self.solver: Any = highspy.Highs()  # type: ignore[no-untyped-call, unused-ignore]
        for name, value in (("output_flag", False), ("presolve", "off"), ("threads", 1)):
            self.solver.setOptionValue(name, value)
        if primal:
            self.solver.setOptionValue("simplex_strategy", 4)

    def model(self, m: Floats) -> Any:
        """The arrays of one problem; building them for a game of 1e6 columns is not part of its time."""
        (k, n), infinite = m.shape, self.highspy.kHighsInf
        simplex = self.kind == "game"
        table = np.empty((n + 1, k + simplex))
        table[:n, :k], table[n, :k] = m.T, -1.0
        if simplex:
            table[:, k] = np.r_[np.ones(n), 0.0]
        low, high = bounds_of(n, self.kind)
        lp = self.highspy.HighsLp()
        lp.num_col_, lp.num_row_, lp.sense_ = n + 1, k + simplex, self.highspy.ObjSense.kMaximize
        lp.col_cost_ = np.r_[np.zeros(n), 1.0]
        lp.col_lower_, lp.col_upper_ = np.r_[low, -infinite], np.r_[np.minimum(high, infinite), infinite]
        lp.row_lower_ = np.r_[np.zeros(k), np.ones(int(simplex))]
        lp.row_upper_ = np.r_[np.full(k, infinite), np.ones(int(simplex))]
        lp.a_matrix_.format_ = self.highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.arange(n + 2) * (k + simplex)
        lp.a_matrix_.index_ = np.tile(np.arange(k + simplex), n + 1)
        lp.a_matrix_.value_ = table.ravel()
        return lp

    def run(self, model: Any) -> float:
        """Value of a model."""
        self.solver.passModel(model)
        before = self.solver.getRunTime()
        self.solver.run()
        self.inside += max(0.0, self.solver.getRunTime() - before)
        return float(self.solver.getInfo().objective_function_value)

    def __call__(self, m: Floats) -> float:
        return self.run(self.model(m))


def quadprog_margin() -> Solve | None:
    """Margin from a Gram by quadprog, or None if it is not installed."""
    if find_spec("quadprog") is None:
        return None
    from quadprog import solve_qp

    def solve(gram: Floats) -> float:
        k = len(gram)
        constraints = np.c_[np.ones(k), np.eye(k)]
        return float(np.sqrt(2 * solve_qp(gram, np.zeros(k), constraints, np.r_[1.0, np.zeros(k)], 1)[1]))

    return solve


def daqp_cone() -> Solve | None:
    """The cone by daqp with a zero Hessian, or None if it is not installed."""
    if find_spec("daqp") is None:
        return None
    import daqp

    def solve(a: Floats) -> float:
        k, d = a.shape
        rows = np.ascontiguousarray(np.c_[a, -np.ones(k)])
        upper = np.r_[np.ones(d), 1e30, np.full(k, 1e30)]
        lower = np.r_[-np.ones(d), -1e30, np.zeros(k)]
        goal, sense = np.r_[np.zeros(d), -1.0], np.zeros(d + 1 + k, np.int32)
        answer = daqp.solve(np.zeros((d + 1, d + 1)), goal, rows, upper, lower, sense)
        return float(-answer[1])

    return solve
