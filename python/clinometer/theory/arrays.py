"""Coercion shared by the theory functions: rows of directions and anything that can stand for Sigma."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.threads import heard
from clinometer.common.visible import few
from clinometer.dump.directions import features_of
from clinometer.engine.intake import numbers

Floats = NDArray[np.float64]


def need_same_features(**given: Any) -> None:
    """Refuse directions and covariances whose entries are named otherwise, or in another order, than each other's."""
    named = {name: names for name, value in given.items() if (names := features_of(value)) is not None}
    first = next(iter(named), None)
    for name, names in named.items():
        if names != named[first or name]:
            raise ValueError(
                f"{name} has entries for {few(names)} where {first} has them for {few(named[first or name])}: bring "
                f"both into one order ({name}[list of names]), or pass arrays"
            )


def as_rows(name: str, value: Any, dim: int | None = None) -> Floats:
    """`value` as finite float64 rows (K, d); 1-D is one row, an object with `.vectors` is unwrapped."""
    value = getattr(value, "vectors", value)
    rows: Floats = numbers(name, value)
    if rows.ndim == 1:
        rows = rows[None, :]
    if rows.ndim != 2:
        raise ValueError(f"{name} has {rows.ndim} axes; wanted one direction (d,) or rows (K, d)")
    if dim is not None and rows.shape[1] != dim:
        raise ValueError(f"{name} has {rows.shape[1]} columns; wanted {dim}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} holds a NaN or an infinity; wanted finite numbers")
    return rows


def as_vector(name: str, value: Any, dim: int | None = None) -> Floats:
    """`value` as one finite float64 vector (d,); a single row (1, d) is accepted."""
    rows = as_rows(name, value, dim)
    if rows.shape[0] != 1:
        raise ValueError(f"{name} holds {rows.shape[0]} rows; wanted one direction (d,)")
    return np.asarray(rows[0], np.float64)


def as_covariance(sigma: Any, dim: int | None = None) -> Floats | None:
    """The matrix behind `sigma`: None is the identity, an object with `.covariance` is unwrapped."""
    if sigma is None:
        return None
    if hasattr(sigma, "covariance"):
        sigma = sigma.covariance
        if sigma is None:
            raise ValueError("sigma carries no covariance; compute its moments with covariance=True")
    return as_gram("sigma", sigma, dim)


def as_gram(name: str, value: ArrayLike, dim: int | None = None) -> Floats:
    """A finite symmetric matrix, symmetrised after checking that it is one to 1e-6 of its largest entry."""
    matrix = numbers(name, value)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} has shape {matrix.shape}; wanted a square matrix")
    if dim is not None and matrix.shape[0] != dim:
        raise ValueError(f"{name} is {matrix.shape[0]} x {matrix.shape[0]}; wanted {dim} x {dim}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} holds a NaN or an infinity; wanted finite numbers")
    largest = float(np.abs(matrix).max(initial=0.0))
    if float(np.abs(matrix - matrix.T).max(initial=0.0)) > 1e-6 * largest:
        raise ValueError(f"{name} is not symmetric; wanted a covariance or Gram matrix")
    # Halves first: the sum of two entries near the largest double would overflow.
    return 0.5 * matrix + 0.5 * matrix.T


def times_sigma(rows: Floats, sigma: Floats | None) -> Floats:
    """Rows Sigma u_k, (K, d); Sigma = I is not multiplied."""
    return rows if sigma is None else rows @ sigma


def spectrum(sigma: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (descending, null ones exactly 0) and eigenvectors (columns) of a PSD matrix.

    A diagonal matrix keeps its entries untouched, so that exact inputs stay exact.
    """
    d = sigma.shape[0]
    if np.array_equal(sigma, np.diag(np.diagonal(sigma))):
        values, vectors = np.diagonal(sigma).copy(), np.eye(d)
    else:
        values, vectors = heard(lambda: np.linalg.eigh(sigma))
    order = np.argsort(-values, kind="stable")
    values, vectors = values[order], vectors[:, order]
    largest = float(values.max(initial=0.0))
    if values.size and float(values.min()) < -1e-6 * max(largest, float(-values.min()) * 1e-6):
        raise ValueError(f"sigma has a negative eigenvalue {float(values.min()):.3g}; wanted a covariance")
    # Below d eps lam_max an eigenvalue is rounding, not variance (theory 10.2).
    floor = d * np.finfo(np.float64).eps * largest
    is_diagonal = np.count_nonzero(vectors) == d
    return np.where(values > (0.0 if is_diagonal else floor), values, 0.0), vectors


def check_metric(metric: str) -> None:
    """Refuse anything but the two metrics of theory 8.3."""
    if metric not in ("kl", "euclid"):
        raise ValueError(f"metric is {metric!r}; wanted 'kl' or 'euclid'")
