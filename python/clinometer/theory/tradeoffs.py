"""Several values at once: profiles of constitutions and their classes, optima, scalarisations and their slopes, and
classes under joint errors (theory 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.results import Axes, Result
from clinometer.engine.intake import numbers

from .arrays import Floats, as_covariance, as_rows, as_vector, check_metric, need_same_features, times_sigma
from .geometry import score_correlation, sigma_sd, unit_rows, unit_sigma


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
    need_same_features(values=values, sigma=sigma, directions=directions)
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
    table = numbers("profile", profile)
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
        errors = numbers("se", se)
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
    need_same_features(values=values, sigma=sigma)
    rows = as_rows("values", values)
    matrix, half = unit_sigma(as_covariance(sigma, rows.shape[1]))
    weight, _ = unit_rows(as_vector("weights", weights, rows.shape[0])[None])
    combined, _ = unit_rows(weight @ np.ldexp(rows, -int(np.frexp(np.abs(rows).max(initial=0.0))[1])))
    sd = sigma_sd(combined, matrix)[0]
    if sd == 0.0:
        return np.full(rows.shape[1], np.nan)
    if metric == "kl":
        return np.asarray(np.ldexp(combined[0] / sd, -half))
    image = times_sigma(combined, matrix)[0]
    return np.asarray(image / np.linalg.norm(image))


KINDS = ("weighted", "worst_case", "constrained")


@dataclass(frozen=True, repr=False, eq=False)
class Scalarised(Result):
    """`value` (...,) and its one-sided derivative `rate` (...,) along the rates given (NaN without them).

    `active` (..., J): values that decide: the worst ones, or the constraints that hold with equality. `feasible`
    (...,) is False where a constraint is broken, and the value is -inf there. Units are those of levels, over
    `scale` for `kind` "worst_case".
    """

    axes: ClassVar[Axes] = {
        "...": "value rate feasible",
        "... value": "active",
    }

    kind: str
    value: Floats
    rate: Floats
    active: NDArray[np.bool_]
    feasible: NDArray[np.bool_]


def scalarise(
    levels: ArrayLike,
    rates: ArrayLike | None = None,
    *,
    kind: Literal["weighted", "worst_case", "constrained"] = "weighted",
    weights: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    floors: ArrayLike | None = None,
    tol: float = 1e-9,
) -> Scalarised:
    """Weighted sum, worst case, or the first value subject to floors on the others (theory 8.2).

    weighted: w'A, slope w'p. worst_case: min_j A_j / sd_j, slope the least p_j / sd_j over the values that attain the
    minimum: a trade-off that lowers another value does no harm until that one becomes the bottleneck (Remark 7 needs
    this). constrained: A_1 if A_j >= tau_j for j > 1, else -inf; its slope is p_1, or -inf where an active constraint
    is about to break.

    Parameters
    ----------
    levels : array (..., J) of A_j, for example baseline + gain
    rates : array (..., J) of dA_j, for example a first-order gain or a profile; None for none
    kind : "weighted", "worst_case" or "constrained"
    weights : (J,) >= 0 for "weighted"; default ones
    scale : (J,) > 0 that makes units commensurate for "worst_case", for example within sds; default ones
    floors : (J - 1,) for "constrained", tau_2 .. tau_J
    tol : levels within tol (relative) of the minimum, or of a floor, are active

    Returns
    -------
    Scalarised

    Cost: O(size of levels).
    Errors: ValueError for an unknown kind, and for weights, a scale or floors of another length or out of range;
    TypeError where floors are wanted and missing.

    >>> scalarise([1.0, 2.0], [0.5, -1.0], kind="worst_case").rate.item()
    0.5
    >>> scalarise([1.0, 1.0], [0.5, -1.0], kind="worst_case").rate.item()
    -1.0
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; wanted one of {', '.join(KINDS)}")
    A = numbers("levels", levels)
    if A.ndim == 0 or A.shape[-1] == 0:
        raise ValueError(f"levels has shape {A.shape}; wanted (..., J) with at least one value")
    p = np.full_like(A, np.nan) if rates is None else numbers("rates", rates)
    if p.shape != A.shape:
        raise ValueError(f"rates has shape {p.shape}; wanted that of levels, {A.shape}")
    J = A.shape[-1]
    if kind == "weighted":
        w = _vector("weights", weights, J, least=0.0)
        return Scalarised(kind, A @ w, p @ w, np.broadcast_to(w > 0.0, A.shape).copy(), np.ones(A.shape[:-1], bool))
    if kind == "worst_case":
        sd = _vector("scale", scale, J, least=0.0, strict=True)
        unit, slope = A / sd, p / sd
        worst = unit.min(axis=-1)
        active = unit <= (worst + tol * np.maximum(1.0, np.abs(worst)))[..., None]
        rate = np.where(active, slope, np.inf).min(axis=-1)
        return Scalarised(kind, worst, rate, active, np.ones(A.shape[:-1], bool))
    return _constrained(A, p, floors, tol)


def _constrained(A: Floats, p: Floats, floors: ArrayLike | None, tol: float) -> Scalarised:
    if floors is None:
        raise TypeError("floors is None; wanted one floor for every value but the first")
    tau = _vector("floors", floors, A.shape[-1] - 1, least=-np.inf)
    room = A[..., 1:] - tau
    slack = tol * np.maximum(1.0, np.abs(tau))
    feasible = (room >= -slack).all(axis=-1)
    active = np.concatenate([np.zeros((*A.shape[:-1], 1), bool), np.abs(room) <= slack], axis=-1)
    breaking = (active & (p < 0.0)).any(axis=-1)
    rate = np.where(feasible, np.where(breaking, -np.inf, p[..., 0]), np.nan)
    return Scalarised("constrained", np.where(feasible, A[..., 0], -np.inf), rate, active, np.asarray(feasible))


def _vector(name: str, given: ArrayLike | None, J: int, *, least: float, strict: bool = False) -> Floats:
    v = np.ones(J) if given is None else np.atleast_1d(numbers(name, given))
    if v.shape != (J,):
        raise ValueError(f"{name} has shape {v.shape}; wanted ({J},)")
    if not np.isfinite(v).all() or (v < least).any() or (strict and (v == least).any()):
        raise ValueError(f"{name} is {v.tolist()}; wanted finite numbers {'>' if strict else '>='} {least:g}")
    return v


@dataclass(frozen=True, repr=False, eq=False)
class ClassProbabilities(Result):
    """Chances of three classes for K directions, given a profile and the joint covariance of its error.

    `improving`, `degrading` and `tradeoff`, the rest, are (K,) and sum to 1.
    """

    axes: ClassVar[Axes] = {"direction": "improving degrading tradeoff"}

    improving: Floats
    degrading: Floats
    tradeoff: Floats


def class_probabilities(profile: ArrayLike, covariance: ArrayLike) -> ClassProbabilities:
    """How sure the class of a direction is when its errors are correlated (theory 8.4).

    P(all p > 0), P(all p < 0) and the rest for p ~ N(profile, covariance): with correlated errors, a
    direction can be settled that looks undetermined one value at a time. Use `CrossCovarianceResult.covariance` or
    `TiltResult.gain_cov`. A posterior under a flat prior, not a test.

    Parameters
    ----------
    profile : array (K, J) or (J,)
    covariance : array (K, J, J) or (J, J), positive semi-definite

    Returns
    -------
    ClassProbabilities
        NaN where an entry is NaN. Within 1e-4 for J > 2 (randomised lattices of SciPy, seeded); imports SciPy.

    Cost: at most 200,000 points of a normal integral for each direction and sign.
    Errors: ValueError for a covariance of another shape, or one whose correlations are not positive semi-definite.

    >>> both = class_probabilities([1.0, 1.0], [[1.0, 1.0], [1.0, 1.0]])
    >>> round(float(both.improving[0]), 4)
    0.8413
    """
    table = np.atleast_2d(numbers("profile", profile))
    joint = numbers("covariance", covariance)
    K, J = table.shape
    if joint.ndim == 2:
        joint = np.broadcast_to(joint, (K, *joint.shape))
    if joint.shape != (K, J, J):
        raise ValueError(f"covariance has shape {np.shape(covariance)}; wanted ({K}, {J}, {J}) or ({J}, {J})")
    up, down = np.empty(K), np.empty(K)
    for k in range(K):
        up[k], down[k] = (_orthant(sign * table[k], joint[k]) for sign in (1.0, -1.0))
    return ClassProbabilities(up, down, np.maximum(1.0 - up - down, 0.0))


def _orthant(mean: Floats, covariance: Floats) -> float:
    """P(p > 0) for p ~ N(mean, covariance); an entry without variance is certain."""
    from scipy.stats import multivariate_normal

    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        return float("nan")
    sd = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    if (mean[sd == 0.0] <= 0.0).any():
        return 0.0
    some = sd > 0.0
    if not some.any():
        return 1.0
    unit = covariance[np.ix_(some, some)] / np.outer(sd[some], sd[some])
    law = multivariate_normal(np.zeros(int(some.sum())), unit, allow_singular=True, seed=0)
    law.maxpts, law.abseps = 200_000, 1e-6  # arguments since SciPy 1.12
    return float(np.clip(law.cdf(mean[some] / sd[some]), 0.0, 1.0))


def value_angles(values: Any, sigma: Any = None) -> Floats:
    """Angles between values, arccos of their score correlations in radians (theory 8.5).

    The Sigma-angle and not the one between raw directions decides what can be improved together: width pi - theta,
    share of improving directions (pi - theta) / (2 pi), of trade-offs theta / pi (Proposition 22).

    Parameters
    ----------
    values : array (J, d)
    sigma : array (d, d), object with ``.covariance``, or None (identity: raw angles)

    Returns
    -------
    array (J, J)
        NaN for a value without variance.

    Cost: O(J d^2).
    Errors: ValueError where sigma and values differ in size, or numbers are not finite.

    >>> value_angles([[1.0, 0.0], [0.0, 2.0]]).round(4).tolist()
    [[0.0, 1.5708], [1.5708, 0.0]]
    """
    rows = as_rows("values", values)
    angles = np.arccos(score_correlation(rows, rows, sigma))
    np.fill_diagonal(angles, np.where(np.isnan(np.diagonal(angles)), np.nan, 0.0))
    return np.asarray(angles)
