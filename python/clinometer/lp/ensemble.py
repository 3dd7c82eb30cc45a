"""The best mixture of many candidates, with floors of values or without (theory 9.1 and 9.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.engine.inputs import thread_count

from .candidates import Game, play
from .result import LPResult, factors, finite, named, real_array, table

Floats = NDArray[np.float64]


def ensemble(m: Any, *, scale_rows: Any = None, scale_columns: Any = None, n_threads: int | None = None) -> LPResult:
    """max over w in the simplex of min_j (M w)_j = min over prices lambda of max_i (M' lambda)_i (theory 9.1).

    Column generation: a game of some hundred columns gives prices, one pass prices all columns, the best of them
    join. lower > 0: the mixture `weights` improves every value ("improvable"). upper <= 0: the prices `dual` prove
    that no mixture improves the dual-weighted sum ("blocked"). Otherwise "undecided", which needs a true margin below
    1e-13 after each row is scaled to largest entry 1. The gap is at most 1e-9 of the value, or 1e-15 of the largest
    entry. Shifting M shifts the value; scaling rows or columns changes the game.

    Parameters
    ----------
    m : array (k, m) of k values by m candidates, or (P, k, m), float64 or float32 in C order, read in place, memory
        maps too; or a `Game` of candidate directions on a dump, which is scaled by sd and whose certificate is formed
        anew in float64
    scale_rows, scale_columns : array (k,) and (m,) of positive factors, or None
        The game solved is scale_rows_j M_ji scale_columns_i, and everything returned belongs to it.
    n_threads : share the passes; no number of threads changes a bit

    Returns
    -------
    LPResult
        weights w (m,) with at most k non-zeros, dual (k,), n_passes reads of M (from 65,536 columns usually 1 or 2,
        with a game of the columns that can matter solved apart). Memory beyond M is O(m) for the weights and O(k
        sqrt(m)) columns; scaling makes one copy.

    Errors: ValueError for another shape, NaN or Inf (one problem alone), or a factor that is not above 0.

    >>> from clinometer import lp
    >>> found = lp.ensemble([[2.0, -1.0, 0.1], [-1.0, 2.0, 0.1]])
    >>> found.status, round(found.value, 4), found.weights.round(4).tolist()
    ('improvable', 0.5, [0.5, 0.5, 0.0])
    """
    threads = thread_count(n_threads)
    if isinstance(m, Game):
        if scale_rows is not None or scale_columns is not None:
            raise ValueError("scale_rows, scale_columns: wanted None for a Game, which was scaled as it was made")
        found = unpacked("m", m.table, True, play(m, threads))
        return LPResult(**found, scale_rows=m.scale_rows, scale_columns=m.scale_columns)
    problems, single = table("m", m, narrow=True)
    rows = factors("scale_rows", scale_rows, problems.shape[1])
    columns = factors("scale_columns", scale_columns, problems.shape[2])
    if rows is not None:
        problems = problems * rows[:, None]
    if columns is not None:
        problems = problems * columns
    if single:
        found = unpacked("m", problems[0], True, _core.lp_ensemble(problems[0], threads))
        return LPResult(**found, scale_rows=rows, scale_columns=columns)
    status, lower, upper, weights, dual, passes = _core.lp_ensembles(problems, threads)
    return LPResult(
        status=named(status, False), value=lower, weights=weights, dual=dual, lower=lower, upper=upper,
        violation=np.where(np.isnan(lower), np.nan, 0.0), scale_rows=rows, scale_columns=columns,
        n_passes=int(passes.max(initial=0)),
    )  # fmt: skip


def unpacked(name: str, m: NDArray[Any], single: bool, answer: Any) -> dict[str, Any]:
    """Fields of one answer; NaN or Inf raises for one problem and marks it in a batch."""
    code, lower, upper, violation, at, weight, dual, passes = answer
    status = named(np.array([code], np.int8), True)
    weights = np.zeros(m.shape[-1])
    weights[at] = weight
    value = lower
    if status == "invalid":
        if single:
            finite(name, m)
        weights[:] = lower = upper = value = violation = np.nan
        dual = np.full(m.shape[0], np.nan)
    elif status == "infeasible":
        value = lower = upper = -np.inf
    return {
        "status": status, "value": value, "weights": weights, "dual": dual, "lower": lower, "upper": upper,
        "violation": violation, "n_passes": passes,
    }  # fmt: skip


def stacked(found: list[dict[str, Any]], shape: tuple[int, ...], **more: Any) -> LPResult:
    """Answers of a batch as one result."""
    k, n = shape
    numbers = {name: np.array([f[name] for f in found], float) for name in ("value", "lower", "upper", "violation")}
    return LPResult(
        status=np.array([f["status"] for f in found], dtype="<U10"), **numbers,
        weights=np.array([f["weights"] for f in found]).reshape(-1, n),
        dual=np.array([f["dual"] for f in found]).reshape(-1, k),
        n_passes=max((f["n_passes"] for f in found), default=0), **more,
    )  # fmt: skip


def as_floors(name: str, value: Any, k: int) -> Floats:
    """A finite float64 vector (k,)."""
    given = real_array(name, value)
    if given.shape != (k,):
        raise ValueError(f"{name} has shape {given.shape}; wanted ({k},)")
    finite(name, given)
    return given


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
