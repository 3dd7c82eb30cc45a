"""Scales of labels and columns, as powers of two, which scale rows and matrices without rounding (theory 10.2).

Labels of any size: their squares must fit the f32 lanes of the pass. Whole dimensions of a model's states, massive
activations, deviate hundreds of times as much as the median one. Multiplying a column by a power of two changes nothing
about what the rows know, so it must not change which directions count as null and what a penalty means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer.common.threads import heard, product

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


MASSIVE = 5  # doublings of the median deviation, rounded: fewer are ordinary columns, which a penalty treats alike
FAINT = 20  # doublings below it: further down is what rounding leaves of a column that does not vary


def column_scale(variance: Floats) -> Floats:
    """What each column is multiplied by in a fit, (d,): 1, and for massive ones what makes them like the median.

    A penalty in units of the mean variance would else be in units of the one massive column, and no multiple of it
    that is worth trying leaves anything of the others. Columns within 23 times the median deviation (2^4.5) stay as
    they are, so that a ridge fit of ordinary rows is one in the rows' own coordinates.
    """
    doublings = _doublings(variance)
    return np.ldexp(1.0, np.where(doublings >= MASSIVE, -doublings, 0))


def unit_scale(variance: Floats) -> Floats:
    """What brings each column to about the same deviation, (d,): what may be null is a matter of correlations."""
    return np.ldexp(1.0, -np.maximum(_doublings(variance), -FAINT))


def _doublings(variance: Floats) -> NDArray[np.int64]:
    """log2 of each column's deviation over the lower median one, rounded; 0 where a column does not vary."""
    some = variance > 0
    out = np.zeros(len(variance), np.int64)
    if some.any():
        log = np.log2(variance[some]) / 2
        out[some] = np.rint(log - np.sort(log)[(len(log) - 1) // 2])
    return out


def null_space(sigma: Floats, cutoff: float) -> tuple[Floats, Floats, Floats, Floats]:
    """(eigenvalues, eigenvectors, D, Z) of D Sigma D with columns of like deviation: lam (q,), (d, q), (d,), (d, r).

    Eigenvalues up to `cutoff` of the largest are null; Z spans the null space of Sigma itself.
    """
    D = unit_scale(np.diagonal(sigma))
    lam, q = heard(lambda: np.linalg.eigh(sigma * np.outer(D, D)))
    keep = lam > cutoff * max(lam.max(initial=0.0), 0.0)
    return lam[keep], q[:, keep], D, D[:, None] * q[:, ~keep]


def without_null(u: Floats, Z: Floats) -> Floats:
    """Rows u (J, d) less their parts in the span of Z (d, r): of equal predictions the one of least norm."""
    if not Z.shape[1]:
        return u
    frame = np.linalg.qr(Z)[0]
    for _ in range(2):  # the second pass takes what the first one's rounding left
        u = u - product(product(u, frame), frame.T)
    return u
