"""Is there a direction that improves every value, and which is best in a box (theory 8.3)."""

from __future__ import annotations

from typing import Any

from clinometer import _core
from clinometer.engine.inputs import thread_count

from .arrays import batch, number_or_array
from .result import LPResult, named

__all__ = ["cone"]


def cone(a: Any, *, n_threads: int | None = None) -> LPResult:
    """max t with A v >= t and |v|_inf <= 1, in the given coordinates: min |A' lambda|_1 over the simplex (theory 8.3).

    The value is never negative (v = 0); it is positive iff the cone {v: A v > 0} is not empty, and then the
    `weights` v lie in it: status "improvable". "blocked" is proved by a Gordan certificate: some lambda in the
    simplex with lambda' A = 0 exactly exists, of which `dual` is the rounding; then value, lower and upper are 0.
    "undecided" happens only where the true margin is below 1e-13 after each row is scaled to largest entry 1.
    The sign does not depend on row lengths or on the box, the value does.

    Parameters
    ----------
    a : array (k, d), or (P, k, d) for P problems; k values, d coordinates
    n_threads : of a batch; no number of threads and no order of problems changes a bit

    Returns
    -------
    LPResult
        weights v (d,), dual (k,). A batch marks problems with NaN or Inf "invalid"; a single one raises. Costs
        about k pivots of k d multiply-adds; problems of a batch share vector lanes.

    Errors: ValueError for another shape, NaN or Inf (one problem alone), or n_threads below 1.

    >>> from clinometer import lp
    >>> lp.cone([[1.0, 0.0], [-1.0, 1e-9]]).status
    'improvable'
    >>> found = lp.cone([[1.0, 2.0], [-2.0, -4.0]])
    >>> found.status, found.dual.round(4).tolist()
    ('blocked', [0.6667, 0.3333])
    """
    problems, single = batch("a", a, "(k, d)")
    status, lower, upper, weights, dual = _core.lp_cones(problems, thread_count(n_threads))
    return LPResult(
        status=named(status, single), value=number_or_array(lower, single),
        weights=weights[0] if single else weights, dual=dual[0] if single else dual,
        lower=number_or_array(lower, single), upper=number_or_array(upper, single),
        violation=0.0,
    )  # fmt: skip
