"""Several values as one number: scalarisations, their slopes, classes under joint errors (theory 8.2 and 8.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.results import Axes, Result

from .arrays import Floats, as_rows
from .geometry import score_correlation

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
    A = np.asarray(levels, np.float64)
    if A.ndim == 0 or A.shape[-1] == 0:
        raise ValueError(f"levels has shape {A.shape}; wanted (..., J) with at least one value")
    p = np.full_like(A, np.nan) if rates is None else np.asarray(rates, np.float64)
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
    v = np.ones(J) if given is None else np.atleast_1d(np.asarray(given, np.float64))
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
    table = np.atleast_2d(np.asarray(profile, np.float64))
    joint = np.asarray(covariance, np.float64)
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
