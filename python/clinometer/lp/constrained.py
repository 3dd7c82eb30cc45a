"""The best mixture that keeps every value above its floor (theory 9.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.engine.inputs import thread_count

from .arrays import real_array, table
from .ensemble import as_floors, stacked, unpacked
from .result import LPResult

__all__ = ["constrained"]

Floats = NDArray[np.float64]


def constrained(m: Any, c: Any, tau: Any, *, n_threads: int | None = None) -> LPResult:
    """max c.w with M w >= tau, w in the simplex; `dual` says what each floor costs (theory 9.2).

    First the game of M - tau is played until its sign is known: if its value is negative no mixture meets the
    floors, status "infeasible", and `dual` is the Farkas certificate in the simplex, max_i (dual'(M - tau))_i < 0.
    Otherwise "optimal": c.w >= value, and by prices mu = dual >= 0 no mixture has more than upper =
    max_i (c + M' mu)_i - tau' mu. `violation` is the largest shortfall of a floor by `weights` in units of its row's
    largest entry (of M and tau): at most 1e-13 where optimal. "undecided" if neither could be proved.

    Parameters
    ----------
    m : array (k, m) or (P, k, m)
    c : array (m,) or (P, m); the value to raise
    tau : array (k,) or (P, k); finite floors
    n_threads : share the passes

    Returns
    -------
    LPResult
        weights w (m,), dual (k,) in units of c per unit of the floor. Cost: one copy of M
        and c, and some passes (`n_passes`).

    Errors: ValueError where shapes differ, for NaN or Inf (one problem alone), or n_threads below 1.

    >>> from clinometer import lp
    >>> found = lp.constrained([[1.0, 0.0]], [0.0, 1.0], [0.25])
    >>> found.status, found.weights.tolist(), found.dual.tolist()
    ('optimal', [0.25, 0.75], [1.0])
    >>> lp.constrained([[1.0, 0.0]], [0.0, 1.0], [1.0 + 1e-10]).status
    'infeasible'
    """
    problems, single = table("m", m)
    count, k, n = problems.shape
    threads = thread_count(n_threads)
    if single:
        goals, floors = as_floors("c", c, n)[None], as_floors("tau", tau, k)[None]
    else:
        goals = np.broadcast_to(real_array("c", c), (count, n))
        floors = np.broadcast_to(real_array("tau", tau), (count, k))
    found = []
    for problem, goal, floor in zip(problems, goals, floors, strict=True):
        rows = np.vstack([goal, problem])
        if np.isfinite(floor).all():
            answer = _core.lp_constrained(rows, np.ascontiguousarray(floor), threads)
        else:
            answer = (3, np.nan, np.nan, np.nan, np.zeros(0, np.int64), np.zeros(0), np.zeros(k), 0)
        one = unpacked("m", problem, single, answer)
        if one["status"] == "infeasible":  # the core's is of the game M - tau, whose rows are scaled otherwise
            one["violation"] = _shortfall(problem, floor, one["weights"])
        found.append(one)
    return LPResult(**found[0]) if single else stacked(found, (k, n))


def _shortfall(m: Floats, tau: Floats, w: Floats) -> float:
    """Largest tau_j - (M w)_j over the largest entry of row j of M and tau."""
    size = np.maximum(np.abs(m).max(axis=1), np.abs(tau))
    size = np.where(size > 0, size, 1.0)
    return float(np.max(tau / size - (m / size[:, None]) @ w))
