"""Pareto k-hat: how heavy the tail of importance ratios is (theory 2, "Pareto k-hat")."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import Array

__all__ = ["pareto_k"]

PRIOR_DRAWS, PRIOR_K = 10, 0.5  # shrinks k towards 1/2 with the strength of ten tail points
FEWEST = 5


def pareto_k(log_ratios: npt.ArrayLike) -> float:
    """Shape of a generalised Pareto law fitted to the largest ratios, after Zhang and Stephens (2009).

    The tail is the `ceil(min(S/5, 3 sqrt S))` largest of S ratios, measured from the largest ratio outside
    it. k below `min(1 - 1/log10 S, 0.7)` is usable; above 1 the ratios have no mean.

    Parameters
    ----------
    log_ratios : (S,); -inf is a ratio of zero.

    Returns
    -------
    k, or NaN with fewer than five tail points or a constant tail (never "good").

    Examples
    --------
    >>> pareto_k([0.0, 0.0, 0.0])
    nan
    """
    ordered = np.sort(np.asarray(log_ratios, dtype=np.float64))
    size = len(ordered)
    tail = int(np.ceil(min(0.2 * size, 3 * np.sqrt(size))))
    if tail < FEWEST or size <= tail:
        return float("nan")
    cutoff, top = ordered[-tail - 1], ordered[-1]
    above = ordered[-tail:]
    above = above[above > cutoff]
    # exp(a) - exp(cutoff) up to the common scale exp(top), without cancellation for nearly equal ratios
    excess = -np.exp(above - top) * np.expm1(cutoff - above)
    excess = excess[excess > 0]
    if len(excess) < FEWEST or excess[0] == excess[-1]:
        return float("nan")
    n = len(excess)
    return float((n * _shape(excess) + PRIOR_DRAWS * PRIOR_K) / (n + PRIOR_DRAWS))


def _shape(excess: Array) -> float:
    """Posterior mean of the shape on Zhang and Stephens' grid; `excess` ascending and positive.

    The law is 1 - (1 - theta x)^(-1/k) in their parametrisation: given theta the likelihood is largest at
    k(theta) = mean log(1 - theta x), so a one-dimensional grid over theta is enough.
    """
    n = len(excess)
    points = 30 + int(np.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    steps = np.arange(1, points + 1) - 0.5
    theta = 1 / excess[-1] + (1 - np.sqrt(points / steps)) / (3 * quartile)
    k = np.array([np.mean(np.log1p(-value * excess)) for value in theta])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_likelihood = n * (np.log(-theta / k) - k - 1)
    log_likelihood = np.where(np.isnan(log_likelihood), -np.inf, log_likelihood)  # theta = 0 = k
    weight = np.exp(log_likelihood - log_likelihood.max())
    best = float(theta @ weight / weight.sum())
    return float(np.mean(np.log1p(-best * excess)))
