"""Labels of any size: their squares must fit the f32 lanes of the pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["in_range", "in_units"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def in_range(values: Floats) -> tuple[Floats, Ints]:
    """Columns over a power of two each, which is exact, and the exponents."""
    top = np.abs(np.nan_to_num(values)).max(axis=0, initial=0.0)
    exponent = np.frexp(top)[1].astype(np.int64)
    return np.ascontiguousarray(np.ldexp(values, -exponent)), exponent


def in_units(vectors: Floats, exponent: Ints, names: tuple[str, ...]) -> Floats:
    """Directions (..., J, d) of such columns in the columns' own units; a direction beyond float64 is refused."""
    with np.errstate(over="ignore", under="ignore"):
        out = np.ldexp(vectors, exponent[:, None])
    lost = ~np.isfinite(out).all(axis=(*range(out.ndim - 2), -1))
    if lost.any():
        raise ValueError(f"values: {names[int(np.argmax(lost))]!r} is too large for a direction in float64")
    return np.asarray(out)
