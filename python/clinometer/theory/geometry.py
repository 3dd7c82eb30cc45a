"""Directions under Sigma: correlations of scores, the tilted direction, worst cases (theory 0.5, 2.1 and 6.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.results import Axes, Result
from clinometer.engine.intake import numbers

from .arrays import Floats, as_covariance, as_rows, as_vector, check_metric, need_same_features, spectrum, times_sigma


def unit_rows(rows: Floats) -> tuple[Floats, NDArray[np.int32]]:
    """Rows divided by a power of two near their largest entry, which is exact, and the powers (K,)."""
    power = np.frexp(np.abs(rows).max(axis=1, initial=0.0))[1]
    return np.ldexp(rows, -power[:, None]), power


def unit_sigma(sigma: Floats | None) -> tuple[Floats | None, int]:
    """Sigma / 4^half with entries near 1, and half: score sds are 2^half times those under it."""
    if sigma is None:
        return None, 0
    half = (int(np.frexp(np.abs(sigma).max(initial=0.0))[1]) + 1) // 2
    return np.ldexp(sigma, -2 * half), half


def sigma_sd(rows: Floats, sigma: Floats | None) -> Floats:
    """Score standard deviations sqrt(u' Sigma u), rounding below zero (or inside the null space) set to 0.

    For rows and Sigma near 1 (`unit_rows`, `unit_sigma`): elsewhere squares leave float64.
    """
    image = times_sigma(rows, sigma)
    variance = np.einsum("kd,kd->k", rows, image)
    if sigma is not None:
        scale = np.einsum("kd,kd->k", np.abs(rows), np.abs(rows) @ np.abs(sigma))
        variance = np.where(variance > 4.0 * np.finfo(np.float64).eps * scale, variance, 0.0)
    return np.asarray(np.sqrt(variance), dtype=np.float64)


def score_correlation(u: Any, v: Any, sigma: Any = None) -> Floats:
    """Correlation of the scores of two sets of directions.

    r = u' Sigma v / sqrt(u' Sigma u * v' Sigma v), the Sigma-cosine (theory 0.5). It does not
    change under phi -> A phi, u -> A^-T u, whereas raw cosines do.

    Parameters
    ----------
    u, v : array (K, d) and (J, d), or one direction (d,)
    sigma : array (d, d), object with ``.covariance``, or None
        The within-prompt covariance; None means the identity (raw cosines).

    Returns
    -------
    array (K, J)
        Axes: row of `u`, row of `v`; NaN where a direction has no variance. Costs O((K + J) d^2).

    Errors: ValueError where widths differ, numbers are not finite, or sigma is not square and symmetric.

    >>> score_correlation([1.0, 0.0], [[0.6, 0.8], [0.0, 0.0]]).round(3).tolist()
    [[0.6, nan]]
    """
    need_same_features(u=u, v=v, sigma=sigma)
    left = as_rows("u", u)
    right = as_rows("v", v, left.shape[1])
    matrix, _ = unit_sigma(as_covariance(sigma, left.shape[1]))
    left, right = unit_rows(left)[0], unit_rows(right)[0]
    scale = sigma_sd(left, matrix)[:, None] * sigma_sd(right, matrix)[None, :]
    product = times_sigma(left, matrix) @ right.T
    correlation = np.full(product.shape, np.nan)
    np.divide(product, scale, out=correlation, where=scale > 0.0)
    clipped: Floats = np.clip(correlation, -1.0, 1.0)
    return clipped


def policy_direction(u_gen: Any, u_c: Any, beta: ArrayLike) -> Floats:
    """Direction of the tilted policy's log-probability.

    log pi_C(y given x) = <u_gen + u_C / beta, phi> - c'(x) (theory 2.1). The norm of the result is an
    inverse temperature: normalising it gives another policy (theory 3.4).

    Parameters
    ----------
    u_gen : array (d,)
    u_c : array (K, d) or (d,)
    beta : positive number, inf allowed, or array (B,)

    Returns
    -------
    array (K, d) for one beta, (K, B, d) for several
        Axes: direction, beta, coordinate.

    Cost: O(K B d).
    Errors: ValueError where widths differ or a beta is not above 0.

    >>> policy_direction([0.1, 0.995], [0.9, 0.436], 1.0).round(3).tolist()
    [[1.0, 1.431]]
    """
    need_same_features(u_gen=u_gen, u_c=u_c)
    base = as_vector("u_gen", u_gen)
    rows = as_rows("u_c", u_c, base.size)
    betas = numbers("beta", beta)
    if betas.ndim > 1 or not (betas > 0.0).all():
        raise ValueError(f"beta is {beta!r}; wanted positive numbers, one or a 1-D array")
    if betas.ndim == 0:
        return base + rows / betas
    return base + rows[:, None, :] / betas[None, :, None]


def robustness_radius(u_star: Any, u_c: Any, sigma: Any = None, *, metric: Literal["kl", "euclid"] = "kl") -> Floats:
    """How far a constitution's direction can move before its first-order gain turns negative.

    u*' Sigma u_C / |Sigma u*| in Euclidean length, u*' Sigma u_C / sd(<u*, phi>) in units of the score's
    standard deviation (theory 6.1). Negative: the direction already harms.

    Parameters
    ----------
    u_star : array (J, d) or (d,)
    u_c : array (K, d) or (d,)
    sigma : array (d, d), object with ``.covariance``, or None (identity)
    metric : "kl" measures the move by its score sd, "euclid" by its length

    Returns
    -------
    array (K, J)
        Axes: direction, value; NaN where the value has no variance.

    Cost: O(J d^2 + J K d).
    Errors: ValueError where widths differ or the metric is unknown.

    >>> robustness_radius([1.0, 3.0], [1.0, -1.0], [[10.0, 0.0], [0.0, 0.1]]).round(3).tolist()
    [[2.938]]
    """
    check_metric(metric)
    need_same_features(u_star=u_star, u_c=u_c, sigma=sigma)
    values = unit_rows(as_rows("u_star", u_star))[0]
    rows, power = unit_rows(as_rows("u_c", u_c, values.shape[1]))
    matrix, half = unit_sigma(as_covariance(sigma, values.shape[1]))
    image = times_sigma(values, matrix)
    scale = sigma_sd(values, matrix)
    if metric == "euclid":
        scale = np.where(scale > 0.0, np.linalg.norm(image, axis=1), 0.0)
    gains = rows @ image.T
    radius = np.full(gains.shape, np.nan)
    np.divide(gains, scale[None, :], out=radius, where=scale[None, :] > 0.0)
    return np.asarray(np.ldexp(radius, power[:, None] + (half if metric == "kl" else 0)))


@dataclass(frozen=True, repr=False, eq=False)
class WorstDirection(Result):
    """The most harmful `direction` (d,) of a span, and the `value` u*' Sigma v it reaches (beta times the gain)."""

    axes: ClassVar[Axes] = {"feature": "direction"}

    direction: Floats
    value: float


def worst_direction(
    u: Any,
    sigma: Any = None,
    basis: Any = None,
    *,
    metric: Literal["kl", "euclid"] = "kl",
    radius: float = 1.0,
) -> WorstDirection:
    """The direction of a span that lowers the value most.

    With Q an orthonormal basis of the span and a = Q' Sigma u (theory 6.1):
    "euclid", |v| <= r: v = -r Q a / |a|, value -r |a|;
    "kl", v' Sigma v <= r^2: z = (Q' Sigma Q)^+ a, v = -r Q z / sqrt(a'z), value -r sqrt(a'z).

    Parameters
    ----------
    u : array (d,)
        The value's direction.
    sigma : array (d, d), object with ``.covariance``, or None (identity)
    basis : array (m, d) whose rows span the promptable set, or None for the whole space
    metric : "kl" or "euclid"
    radius : r; for a KL budget K at strength beta it is beta sqrt(2 K)

    Returns
    -------
    WorstDirection
        ``.direction`` (d,), NaN if the span cannot move the value, and ``.value`` = u' Sigma v,
        in units of the value.

    Cost: O(m d^2 + m^3), m = d without a basis.
    Errors: ValueError where widths differ, the metric is unknown, or radius is below 0.

    >>> worst = worst_direction([1.0, 0.0], [[4.0, 0.0], [0.0, 1.0]])
    >>> worst.direction.tolist(), worst.value
    ([-0.5, -0.0], -2.0)
    """
    check_metric(metric)
    need_same_features(u=u, sigma=sigma, basis=basis)
    (value,), (power,) = unit_rows(as_vector("u", u)[None])
    matrix, half = unit_sigma(as_covariance(sigma, value.size))
    if not (np.isfinite(radius) and radius >= 0.0):
        raise ValueError(f"radius is {radius!r}; wanted a finite number >= 0")
    frame = _span(basis, value.size)
    image = times_sigma(value[None, :], matrix)[0]
    pull = image @ frame
    magnitude = np.abs(value) if matrix is None else np.abs(value) @ np.abs(matrix)
    if np.linalg.norm(pull) <= 4.0 * value.size * np.finfo(np.float64).eps * np.linalg.norm(magnitude):
        return WorstDirection(np.full(value.size, np.nan), 0.0)
    step = pull
    if metric == "kl" and matrix is not None:
        eigenvalues, vectors = spectrum(frame.T @ matrix @ frame)
        inverse = np.divide(1.0, eigenvalues, out=np.zeros_like(eigenvalues), where=eigenvalues > 0.0)
        step = vectors @ (inverse * (vectors.T @ pull))
    reach = float(np.sqrt(pull @ step))
    direction, level = -radius * (frame @ step) / reach, -radius * reach
    if metric == "kl":
        return WorstDirection(np.ldexp(direction, -half), float(np.ldexp(level, int(power) + half)))
    return WorstDirection(direction, float(np.ldexp(level, int(power) + 2 * half)))


def _span(basis: Any, dim: int) -> Floats:
    """Orthonormal columns (d, m') spanning the rows of `basis`, rank-revealing."""
    if basis is None:
        return np.eye(dim)
    rows, _ = unit_rows(as_rows("basis", basis, dim))
    _, singular, right = np.linalg.svd(rows, full_matrices=False)
    keep = singular > max(rows.shape) * np.finfo(np.float64).eps * singular.max(initial=0.0)
    return np.ascontiguousarray(right[keep].T)
