"""Errors over independent units (prompts or clusters): t bounds, and the bootstrap on sums that were taken once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .threads import product

Floats = NDArray[np.float64]
UNITS = 4096
CHUNK = 1 << 20


def bucketed(sums: Floats) -> Floats:
    """Sums of units (C, m) in at most 4096 buckets: buckets of independent units are independent, and enough."""
    if len(sums) <= UNITS:
        return sums
    padded = np.zeros((-(-len(sums) // UNITS) * UNITS, *sums.shape[1:]))
    padded[: len(sums)] = sums
    return np.asarray(padded.reshape(len(padded) // UNITS, UNITS, *sums.shape[1:]).sum(axis=0))


def bootstrap_counts(units: int, replicates: int, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """How often each unit is drawn, in blocks (replicates, units); the same seed gives the same counts."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // max(units, 1))
    share = np.full(units, 1 / units)
    for start in range(0, replicates, step):
        yield rng.multinomial(units, share, size=min(step, replicates - start))


def effective_units(held: Floats) -> Floats:
    """(sum h)^2 / sum h^2 of the weights of units (C, m): C where they are equal, fewer where a few carry most."""
    square = (held * held).sum(axis=0)
    return np.asarray(held.sum(axis=0) ** 2 / np.where(square > 0, square, 1.0))


def worth(psi: Floats, held: Floats, most: Any = np.inf) -> Floats:
    """Effective number of units of influence psi (C, m) and weight held (C, m): 1 + degrees of freedom, (m,).

    A variance of n numbers of kurtosis 3 + e has itself the variance s^4 (2/(n - 1) + e/n), that of a chi^2 of
    2/(2/(n - 1) + e/n) degrees of freedom (Satterthwaite 1946; Box 1953). n is `effective_units`, no more than
    `most`; e/n is sum psi^4/(sum psi^2)^2 less 3 sum h^4/(sum h^2)^2, what it is for normal numbers of these weights,
    and at least 0: few units cannot show that their tails are short.
    """
    top = np.abs(psi).max(axis=0, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = (psi / np.where((top > 0) & np.isfinite(top), top, 1.0)) ** 2
        excess = (power**2).sum(axis=0) / power.sum(axis=0) ** 2 - 3 * (held**4).sum(axis=0) / (
            (held**2).sum(axis=0) ** 2
        )
    free = np.minimum(effective_units(held), most) - 1
    inner = free > 0
    spread = 2 / np.where(inner, free, 1.0) + np.where(excess > 0, excess, 0.0)  # NaN: nothing to judge tails by
    return np.asarray(1 + np.where(inner, 2 / spread, free))


def unit_covariance(psi: Floats, held: Floats) -> Floats:
    """C/(C-1) sum psi psi' (m, m) of influences (C, m) on units of weight held (C, m) > 0 (theory 2.6); NaN for one."""
    count = (held > 0).sum(axis=0).astype(float)
    scale = np.sqrt(np.where(count > 1, count / np.where(count > 1, count - 1, 1.0), np.nan))
    return np.asarray(product(psi.T, psi) * np.outer(scale, scale))


def unit_errors(psi: Floats, held: Floats) -> Floats:
    """Roots of its diagonal, (m,)."""
    count = (held > 0).sum(axis=0).astype(float)
    scale = np.where(count > 1, count / np.where(count > 1, count - 1, 1.0), np.nan)
    return np.asarray(np.sqrt(scale * (psi * psi).sum(axis=0)))


def t_bounds(x: Floats, se: Floats, units: Floats, level: float) -> Floats:
    """Lower and upper bound on a new last axis, by Student's t with units - 1 degrees of freedom.

    An error estimated from C units is itself known to 1 part in sqrt(2 C): with 10 clusters normal bounds of 95 %
    hold the target 92 % of the time. NaN where there are fewer than two units.
    """
    z = t_factor(np.broadcast_to(np.asarray(units, np.float64) - 1, np.shape(x)), level)
    return np.asarray(x[..., None] + (z * se)[..., None] * np.array([-1.0, 1.0]))


def t_factor(freedom: Floats, level: float) -> Floats:
    """How many errors the bounds of Student's t lie from the estimate; NaN without degrees of freedom."""
    from scipy.special import stdtrit

    return np.where(freedom > 0, stdtrit(np.where(freedom > 0, freedom, 1.0), 0.5 + level / 2), np.nan)
