"""Bootstrap over independent units on sums that were taken once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap_counts", "bootstrap_sums", "bucketed"]

Floats = NDArray[np.float64]
UNITS = 4096
CHUNK = 1 << 20


def bucketed(sums: Floats) -> Floats:
    """Sums of units (C, m) in at most 4096 buckets: buckets of independent units are independent, and enough."""
    if len(sums) <= UNITS:
        return sums
    out = np.zeros((UNITS, *sums.shape[1:]))
    np.add.at(out, np.arange(len(sums)) % UNITS, sums)
    return out


def bootstrap_counts(units: int, replicates: int, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """How often each unit is drawn, in blocks (replicates, units); the same seed gives the same counts."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // max(units, 1))
    share = np.full(units, 1 / units)
    for start in range(0, replicates, step):
        yield rng.multinomial(units, share, size=min(step, replicates - start))


def bootstrap_sums(sums: Floats, replicates: int, seed: int = 0) -> Floats:
    """Totals (replicates, m) of units drawn with replacement from sums (C, m)."""
    units = bucketed(sums)
    return np.concatenate([counts @ units for counts in bootstrap_counts(len(units), replicates, seed)])
