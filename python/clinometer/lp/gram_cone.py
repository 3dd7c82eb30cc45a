"""Cones by the products of their rows: one per prompt, layer or bootstrap replicate (theory 8.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from clinometer import _core
from clinometer.engine.inputs import thread_count

from .arrays import batch, number_or_array
from .result import GramConeResult, named

__all__ = ["gram_cone"]


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
