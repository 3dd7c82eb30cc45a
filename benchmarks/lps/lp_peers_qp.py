"""More peers of the small LPs, again one problem at a time: ProxQP, Clarabel, GLOP of OR-tools, TorchJD's MGDA."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from lp_peers import bounds_of
from numpy.typing import NDArray

__all__ = ["MODULES", "clarabel_game", "clarabel_margin", "glop_game", "proxqp_margin", "torchjd_margin"]

Floats = NDArray[np.float64]
Solve = Callable[[Floats], float]
MODULES = ("highspy", "daqp", "quadprog", "proxsuite", "clarabel", "ortools", "torchjd")


def proxqp_margin() -> Solve | None:
    """Margin from a Gram by ProxQP's dense solver at 1e-9, or None if it is not installed."""
    if find_spec("proxsuite") is None:
        return None
    from proxsuite import proxqp

    def solve(gram: Floats) -> float:
        k = len(gram)
        qp = proxqp.dense.QP(k, 1, k)
        qp.settings.eps_abs = 1e-9
        qp.init(gram, np.zeros(k), np.ones((1, k)), np.ones(1), np.eye(k), np.zeros(k), np.full(k, 1e20))
        qp.solve()
        x = qp.results.x
        return float(np.sqrt(x @ gram @ x))

    return solve


def clarabel_margin() -> Solve | None:
    """Margin from a Gram by Clarabel, or None if it is not installed."""
    if find_spec("clarabel") is None:
        return None
    import clarabel
    from scipy.sparse import csc_matrix

    settings = clarabel.DefaultSettings()
    settings.verbose = False

    def solve(gram: Floats) -> float:
        k = len(gram)
        rows = csc_matrix(np.vstack([np.ones(k), -np.eye(k)]))
        cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(k)]
        solver = clarabel.DefaultSolver(
            csc_matrix(np.triu(gram)), np.zeros(k), rows, np.r_[1.0, np.zeros(k)], cones, settings
        )
        return float(np.sqrt(2 * max(solver.solve().obj_val, 0.0)))

    return solve


def clarabel_game(kind: str) -> Solve | None:
    """max t, M x >= t, over a box ("cone") or the simplex ("game") by Clarabel, or None if it is not installed."""
    if find_spec("clarabel") is None:
        return None
    import clarabel
    from scipy.sparse import csc_matrix

    settings = clarabel.DefaultSettings()
    settings.verbose = False

    def solve(m: Floats) -> float:
        k, n = m.shape
        rows = [np.c_[-m, np.ones(k)], np.c_[-np.eye(n), np.zeros(n)]]
        limits = [np.zeros(k), -bounds_of(n, kind)[0]]
        cones = []
        if kind == "cone":
            rows.append(np.c_[np.eye(n), np.zeros(n)])
            limits.append(np.ones(n))
        else:
            rows.insert(0, np.r_[np.ones(n), 0.0][None])
            limits.insert(0, np.ones(1))
            cones.append(clarabel.ZeroConeT(1))
        table = csc_matrix(np.vstack(rows))
        cones.append(clarabel.NonnegativeConeT(table.shape[0] - len(cones)))
        goal = np.r_[np.zeros(n), -1.0]
        solver = clarabel.DefaultSolver(
            csc_matrix((n + 1, n + 1)), goal, table, np.concatenate(limits), cones, settings
        )
        return -float(solver.solve().obj_val)

    return solve


def glop_game(kind: str) -> Solve | None:
    """The same by GLOP through OR-tools, or None if it is not installed."""
    if find_spec("ortools") is None:
        return None
    from ortools.linear_solver import pywraplp

    def solve(m: Floats) -> float:
        n = m.shape[1]
        solver = pywraplp.Solver.CreateSolver("GLOP")
        infinite = solver.infinity()
        low, high = bounds_of(n, kind)
        x = [solver.NumVar(float(a), min(float(b), infinite), "") for a, b in zip(low, high, strict=True)]
        t = solver.NumVar(-infinite, infinite, "")
        for row in m.tolist():
            constraint = solver.Constraint(0.0, infinite)
            for variable, entry in zip(x, row, strict=True):
                constraint.SetCoefficient(variable, entry)
            constraint.SetCoefficient(t, -1.0)
        if kind == "game":
            constraint = solver.Constraint(1.0, 1.0)
            for variable in x:
                constraint.SetCoefficient(variable, 1.0)
        solver.Objective().SetCoefficient(t, 1.0)
        solver.Objective().SetMaximization()
        solver.Solve()
        return float(solver.Objective().Value())

    return solve


def torchjd_margin() -> Solve | None:
    """Margin from a Gram by TorchJD's MGDA weights as they come (Frank and Wolfe, 1e-3), or None without TorchJD."""
    if find_spec("torchjd") is None or find_spec("torch") is None:
        return None
    import torch
    from torchjd.aggregation import MGDAWeighting

    weigh = MGDAWeighting()

    def solve(gram: Floats) -> float:
        products = torch.from_numpy(gram)
        with torch.no_grad():
            weights = weigh(products)
            return float((weights @ products @ weights).sqrt())

    return solve
