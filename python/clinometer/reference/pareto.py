"""Pareto k-hat: how heavy the tail of importance ratios is (theory 2.7)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import Array

__all__ = ["pareto_k"]

PRIOR_DRAWS, PRIOR_K = 10, 0.5  # shrinks k towards 1/2 with the strength of ten tail points
FEWEST = 5
TIE = 1e-12  # equal ratios of different prompts differ by the rounding of a logarithm
LEAST = 1e-290  # excesses below it, beside a largest of at most 1, have no digits


def pareto_k(log_ratios: npt.ArrayLike) -> float:
    """Shape of a generalised Pareto law fitted to the largest ratios, after Zhang and Stephens (2009) (theory 2.7).

    The tail is the `ceil(min(S/5, 3 sqrt S))` largest of S ratios, measured from the largest ratio outside
    it; ratios that tie with that cutoff stay in the tail with excess 0, as in loo, posterior and ArviZ. k below
    `min(1 - 1/log10 S, 0.7)` is usable; above 1 the ratios have no mean.

    Parameters
    ----------
    log_ratios : (S,); -inf is a ratio of zero.

    Returns
    -------
    k, or NaN, never "good": with fewer than five tail points (S below 21) or five of them above the cutoff, where
    half of the tail or more ties with the cutoff, or where all of it is equal (a constant tail has no shape).
    inf where a quarter of the tail is 1e-290 of its largest or less: float64 cannot tell how heavy it is.

    >>> pareto_k([0.0, 0.0, 0.0])
    nan
    """
    ordered = np.sort(np.asarray(log_ratios, dtype=np.float64))
    size = len(ordered)
    tail = int(np.ceil(min(0.2 * size, 3 * np.sqrt(size))))
    if tail < FEWEST or size <= tail or not np.isfinite(ordered[-1]):
        return float("nan")
    cutoff, top, largest = ordered[-tail - 1], ordered[-1], ordered[-tail:]
    tie = TIE * max(1.0, abs(cutoff if np.isfinite(cutoff) else top))
    above = largest[largest > cutoff + tie]
    if len(above) < FEWEST or 2 * len(above) <= tail or (len(above) == tail and top - above[0] <= tie):
        return float("nan")
    # exp(a) - exp(cutoff) up to the common scale exp(top), without cancellation for nearly equal ratios
    ties = tail - len(above)
    excess = np.concatenate([np.zeros(ties), -np.exp(above - top) * np.expm1(cutoff - above)])
    return float((tail * _shape(excess, ties) + PRIOR_DRAWS * PRIOR_K) / (tail + PRIOR_DRAWS))


def _shape(excess: Array, ties: int) -> float:
    """Posterior mean of the shape on Zhang and Stephens' grid; `excess` ascending, the first `ties` of them 0.

    The law is 1 - (1 - theta x)^(-1/k) in their parametrisation: given theta the likelihood is largest at
    k(theta) = mean log(1 - theta x), so a one-dimensional grid over theta is enough. It is scaled by the first
    quartile; where that is among the ties, by the least excess above it, which is the quartile with a tie fewer.
    """
    n = len(excess)
    points = 30 + int(np.sqrt(n))
    scale = excess[max(ties, int(n / 4 + 0.5) - 1)]
    if scale < LEAST:
        return float("inf")
    steps = np.arange(1, points + 1) - 0.5
    theta = 1 / excess[-1] + (1 - np.sqrt(points / steps)) / (3 * scale)
    k = np.array([np.mean(np.log1p(-value * excess)) for value in theta])
    rate = np.divide(-theta, k, where=k != 0, out=np.full(points, 1 / np.mean(excess)))  # at theta = 0 the exponential
    log_likelihood = n * (np.log(rate) - k - 1)
    weight = np.exp(log_likelihood - log_likelihood.max())
    best = float(theta @ weight / weight.sum())
    return float(np.mean(np.log1p(-best * excess)))
