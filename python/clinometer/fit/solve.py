"""Small dense solves on finished d x d states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.threads import heard, product

from .columns import column_scale, null_space, without_null
from .shifted import STEPS, ridge_shifted

__all__ = ["least_norm", "penalty_unit", "ridge_path", "ridge_path_and_plain", "ridge_solve"]

Floats = NDArray[np.float64]
SMALL = 1024  # d up to which one thread solves
FEW = 500  # d up to which many penalties are cheaper one by one, whatever the spectrum
FEW_ROWS, FEW_STEPS = 8, 48  # of one or two penalties: where a space costs no more than a factorisation


def penalty_unit(variance: Floats) -> float:
    """tr(Sigma)/d from the diagonal (d,), the unit of alpha (theory 10.2); massive columns are in their own unit."""
    return float((variance * column_scale(variance) ** 2).mean())


def ridge_path(sigma: Floats, c: Floats, alphas: Floats, cutoff: float) -> Floats:
    """(Sigma + alpha tr(Sigma)/d I)^+ c for each alpha and row of c, (A, J, d), with massive columns in their own unit.

    Many penalties of a large matrix share a Krylov space; what that leaves, and all of a small one, is factorised.
    """
    return ridge_path_and_plain(sigma, c, alphas, cutoff, plain=False)[0]


def ridge_path_and_plain(
    sigma: Floats, c: Floats, alphas: Floats, cutoff: float, *, plain: bool = True
) -> tuple[Floats, Floats | None]:
    """`ridge_path`, and plain least squares (J, d) of a Sigma of full rank; None if it is not, or not asked for."""
    scale = column_scale(np.diagonal(sigma))
    if (scale == 1).all():
        return _path(sigma, c, alphas, cutoff, plain)
    path, without = _path(sigma * np.outer(scale, scale), c * scale, alphas, cutoff, plain)
    return path * scale, None if without is None else without * scale


def _path(
    sigma: Floats, c: Floats, alphas: Floats, cutoff: float, plain: bool
) -> tuple[Floats, Floats | None]:  # fmt: skip
    unit, some = float(np.trace(sigma)) / len(sigma), alphas > 0
    solved, out = np.zeros(len(alphas), bool), np.zeros((len(alphas), *c.shape))
    without = None
    many = some.sum() > 2
    if len(sigma) > FEW and unit > 0 and (many or (some.any() and len(c) <= FEW_ROWS)):
        found, good = ridge_shifted(sigma, c, alphas[some] * unit, plain=plain, steps=STEPS if many else FEW_STEPS)
        out[some], solved[some] = found[: some.sum()], good[: some.sum()]
        without = found[-1] if plain and good[-1] else None
    for i in np.flatnonzero(~solved):
        out[i] = ridge_solve(sigma, alphas[i] * unit, c) if some[i] else least_norm(sigma, c, cutoff)
    return out, unbiased_solve(sigma, c) if plain and without is None else without


def ridge_solve(sigma: Floats, ridge: float, c: Floats) -> Floats:
    """By Cholesky: on one thread to d = 1024, which stays quick on a busy machine, and by SciPy beyond."""
    if ridge == 0:
        return np.zeros_like(c)
    out = cholesky_solve(sigma, ridge, c)
    if out is None:  # a penalty below the rounding of Sigma
        whole = sigma + ridge * np.eye(len(sigma))
        out = np.asarray(heard(lambda: np.linalg.lstsq(whole, c.T, rcond=None))[0].T, np.float64)
    return np.ascontiguousarray(out)


def cholesky_solve(sigma: Floats, ridge: float, c: Floats) -> Floats | None:
    """(Sigma + ridge I)^-1 c, (J, d); None where the matrix is not positive definite."""
    if len(sigma) <= SMALL:
        return _core.solve_ridge(sigma, ridge, c)  # type: ignore[no-any-return]
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    try:
        whole = sigma + ridge * np.eye(len(sigma))
        return np.asarray(heard(lambda: cho_solve(cho_factor(whole, lower=True), c.T)).T)
    except LinAlgError:
        return None


def unbiased_solve(sigma: Floats, c: Floats) -> Floats | None:
    """Plain least squares where Sigma is well of full rank, on coordinates of unit variance; else None."""
    sd = np.sqrt(np.diagonal(sigma))
    if not (sd > 0).all():
        return None
    scaled = np.ascontiguousarray(sigma / np.outer(sd, sd))
    out = cholesky_solve(scaled, 0.0, np.ascontiguousarray(c / sd))
    return None if out is None or not np.isfinite(out).all() else out / sd


def least_norm(sigma: Floats, c: Floats, cutoff: float) -> Floats:
    """Minimum-norm solution; of columns of like deviation, eigenvalues up to `cutoff` of the largest are null."""
    lam, q, D, Z = null_space(sigma, cutoff)
    return without_null(product(product(c * D, q) / lam, q.T) * D, Z)
