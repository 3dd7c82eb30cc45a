"""Trade-off profiles of constitutions over several values, and the optimum of a weighted sum (theory 8)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import Floats, as_covariance, as_rows, as_vector, check_metric, times_sigma
from .geometry import _sigma_sd


def tradeoff_profile(values: Any, sigma: Any, directions: Any) -> Floats:
    """First-order gain of every value under every direction, times beta.

    p = U Sigma u_C (theory 8.1); the gain is p / beta to first order.

    Parameters
    ----------
    values : array (J, d) or (d,)
    sigma : array (d, d), object with ``.covariance``, or None (identity)
    directions : array (K, d) or (d,)

    Returns
    -------
    array (K, J)
        Axes: direction, value. Costs O(J d^2 + K J d).

    Errors: ValueError where widths differ or numbers are not finite.

    >>> tradeoff_profile([[1.0, 0.0], [0.0, 1.0]], None, [2.0, -1.0]).tolist()
    [[2.0, -1.0]]
    """
    rows = as_rows("values", values)
    candidates = as_rows("directions", directions, rows.shape[1])
    return candidates @ times_sigma(rows, as_covariance(sigma, rows.shape[1])).T


def classify(profile: ArrayLike, *, se: ArrayLike | None = None, z: float = 1.96) -> NDArray[np.str_]:
    """Class of every direction by the signs of its profile.

    The classes of theory 8.4 (Proposition 21, completed): ``pareto_improving`` (all > 0), ``pareto_degrading``
    (all < 0), ``tradeoff`` (some sign each way), ``weakly_improving`` / ``weakly_degrading`` (one sign and
    zeros), ``neutral`` (all zero). With standard errors an entry has a sign only if |p| > z se, and a
    direction that is not settled is ``undetermined``, unless it has a significant entry each way.

    Parameters
    ----------
    profile : array (K, J) or (J,)
    se : array that broadcasts to (K, J), or None for exact profiles
    z : how many standard errors a sign needs

    Returns
    -------
    array (K,) of str

    Errors: ValueError for NaN in the profile.

    Cost: O(K J).

    >>> classify([[1.0, 2.0], [1.0, -1.0], [1.0, 0.0]]).tolist()
    ['pareto_improving', 'tradeoff', 'weakly_improving']
    >>> classify([1.0, 0.1], se=[0.2, 0.2]).tolist()
    ['undetermined']
    """
    table = np.asarray(profile, dtype=np.float64)
    table = table[None, :] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"profile has shape {np.shape(profile)}; wanted (K, J) with at least one value")
    if np.isnan(table).any():
        k, j = (int(i) for i in np.argwhere(np.isnan(table))[0])
        raise ValueError(f"profile is NaN at direction {k}, value {j}; wanted numbers: leave out what was not measured")
    if not z >= 0.0:
        raise ValueError(f"z is {z!r}; wanted a number >= 0")
    known = np.ones(table.shape, bool)
    if se is not None:
        errors = np.asarray(se, dtype=np.float64)
        if (errors < 0.0).any():
            raise ValueError("se holds a negative number; wanted standard errors >= 0")
        errors = np.broadcast_to(errors, table.shape)
        # An entry known without error may be exactly zero; everything else must clear its error.
        known &= (np.abs(table) > z * errors) | (errors == 0.0)
    sign = np.where(known, np.sign(table), 0.0)
    up, down = (sign > 0).any(axis=1), (sign < 0).any(axis=1)
    settled, zeros = known.all(axis=1), (sign == 0).any(axis=1)
    names = np.select(
        [up & down, ~settled, up & ~zeros, down & ~zeros, up, down],
        [
            "tradeoff",
            "undetermined",
            "pareto_improving",
            "pareto_degrading",
            "weakly_improving",
            "weakly_degrading",
        ],
        "neutral",
    )
    return names.astype(np.str_)


def optimal_direction(values: Any, sigma: Any, weights: ArrayLike, *, metric: Literal["kl", "euclid"] = "kl") -> Floats:
    """Direction that raises a weighted sum of values most for its budget.

    With u_w = sum_j w_j u_j (theory 8.6): "kl" (v' Sigma v = 1) gives u_w / sd(<u_w, phi>), with value
    sd(<u_w, phi>); "euclid" (|v| = 1) gives Sigma u_w / |Sigma u_w|. They agree only where u_w is an
    eigenvector of Sigma.

    Parameters
    ----------
    values : array (J, d) or (d,)
    sigma : array (d, d), object with ``.covariance``, or None (identity)
    weights : array (J,)
    metric : "kl" or "euclid"

    Returns
    -------
    array (d,)
        NaN where Sigma u_w = 0: nothing to gain, so no optimum.

    Cost: O(J d + d^2).
    Errors: ValueError for weights of another length, or an unknown metric.

    >>> optimal_direction([[1.0, 0.0], [0.0, 1.0]], [[4.0, 0.0], [0.0, 1.0]], [1.0, 0.0]).tolist()
    [0.5, 0.0]
    """
    check_metric(metric)
    rows = as_rows("values", values)
    matrix = as_covariance(sigma, rows.shape[1])
    combined = as_vector("weights", weights, rows.shape[0])[None, :] @ rows
    sd = _sigma_sd(combined, matrix)[0]
    if sd == 0.0:
        return np.full(rows.shape[1], np.nan)
    if metric == "kl":
        return np.asarray(combined[0] / sd)
    image = times_sigma(combined, matrix)[0]
    return np.asarray(image / np.linalg.norm(image))
