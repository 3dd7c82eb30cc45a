"""Is there a direction that improves every value, by rows in a box or by their products (theory 8.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from clinometer import _core
from clinometer.engine.inputs import thread_count

from .result import GramConeResult, LPResult, batch, named, number_or_array


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


def gram_cone(grams: Any, *, n_threads: int | None = None) -> GramConeResult:
    """Margin of the cone {v: <a_j, v> > 0} from its rows' Gram: min over the simplex of sqrt(l' R l) (theory 8.3).

    R holds the cosines of the rows. The margin is the best worst-case product with unit rows over unit
    directions; arcsin of it is the half-angle of the widest round cone inside. In the metric U Sigma U' it is the
    best worst-case score correlation. A Gram holds half the digits of its rows: a margin below about 2e-8 is
    "undecided" (use `cone` on the rows), and "blocked" needs a row of length 0.

    Parameters
    ----------
    grams : array (k, k), or (P, k, k) for P problems; symmetric, the lower triangle is read
    n_threads : of a batch; no number of threads and no order of problems changes a bit

    Returns
    -------
    GramConeResult
        Costs about 2 k pivots of k^2 multiply-adds a problem; problems share vector lanes.

    Errors: ValueError for another shape, NaN or Inf (one problem alone), or what is no Gram.

    >>> from clinometer import lp
    >>> found = lp.gram_cone([[1.0, 0.5], [0.5, 1.0]])
    >>> found.status, round(found.margin, 4), found.weights.round(4).tolist()
    ('improvable', 0.866, [0.5, 0.5])
    """
    problems, single = batch("grams", grams, "(k, k)")
    if problems.shape[1] != problems.shape[2]:
        raise ValueError(f"grams has shape {np.shape(grams)}; wanted square matrices (k, k)")
    status, lower, upper, weights = _core.lp_gram_cones(problems, thread_count(n_threads))
    if single and status[0] == 3:
        raise ValueError("grams is not a Gram: a diagonal entry is negative or a cosine is beyond 1")
    margin = number_or_array(lower, single)
    half_angle = number_or_array(np.arcsin(lower), single)
    return GramConeResult(
        status=named(status, single), margin=margin, weights=weights[0] if single else weights,
        half_angle=half_angle, lower=margin, upper=number_or_array(upper, single),
    )  # fmt: skip
