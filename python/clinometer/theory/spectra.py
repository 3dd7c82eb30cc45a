"""Effective rank, and how much of a value lies in the leading eigenspace (theory 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from clinometer.common.notices import tell
from clinometer.common.results import Axes, Result

from .arrays import Floats, as_covariance, as_rows, spectrum

__all__ = ["EffectiveRank", "ValueConcentration", "effective_rank", "value_concentration"]


@dataclass(frozen=True, repr=False, eq=False)
class EffectiveRank(Result):
    """Four effective ranks of one spectrum, numbers of dimensions; all are 0 for a zero spectrum.

    `participation` = (sum lam)^2 / sum lam^2, `entropy` = exp(H(lam / sum lam)), `stable` = sum lam / max lam, and
    `energy`, the fewest eigenvalues that reach the share `threshold` of the trace.
    """

    participation: float
    entropy: float
    stable: float
    energy: int
    threshold: float


def effective_rank(eigenvalues_or_moments: Any, *, threshold: float = 0.9) -> EffectiveRank:
    """Effective number of dimensions of a covariance.

    participation = (sum lam)^2 / sum lam^2 (theory 5.1), entropy = exp(H(lam / sum lam)),
    stable = sum lam / max lam, energy = the fewest eigenvalues that reach `threshold` of the trace.
    From N samples, a true identity shows a participation near d / (1 + d / N).

    Parameters
    ----------
    eigenvalues_or_moments : array (d,) of eigenvalues, covariance (d, d), or object with ``.covariance``
    threshold : share of the trace, in (0, 1]

    Returns
    -------
    EffectiveRank
        ``.participation``, ``.entropy``, ``.stable``, ``.energy``. Costs O(d) from eigenvalues, else O(d^3).

    Errors: ValueError for eigenvalues below 0 or not finite, a matrix that is not square and symmetric, or a
    threshold outside (0, 1].

    >>> effective_rank([1.0, 1.0, 0.0]).participation
    2.0
    """
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold is {threshold!r}; wanted a share in (0, 1]")
    eigenvalues = eigenvalues_of(eigenvalues_or_moments)
    largest = float(eigenvalues.max(initial=0.0))
    if largest == 0.0:
        return EffectiveRank(0.0, 0.0, 0.0, 0, threshold)
    # Scaled by a power of two and then the largest: squares of 1e300 or 1e-300 stay in range.
    scaled = np.sort(np.ldexp(eigenvalues, -int(np.frexp(largest)[1])))[::-1]
    scaled = scaled / scaled[0]
    total = float(scaled.sum())
    shares = scaled[scaled > 0.0] / total
    entropy = float(np.exp(-(shares * np.log(shares)).sum()))
    reached = np.cumsum(scaled) >= threshold * total * (1.0 - 4.0 * np.finfo(np.float64).eps)
    return EffectiveRank(total**2 / float(scaled @ scaled), entropy, total, int(np.argmax(reached)) + 1, threshold)


def eigenvalues_of(source: Any) -> Floats:
    if not hasattr(source, "covariance") and np.ndim(source) == 1:
        eigenvalues = np.asarray(source, dtype=np.float64)
        if not np.isfinite(eigenvalues).all():
            raise ValueError("eigenvalues holds a NaN or an infinity; wanted finite numbers")
        if float(eigenvalues.min(initial=0.0)) < -1e-6 * float(np.abs(eigenvalues).max(initial=0.0)):
            raise ValueError(f"eigenvalues holds {float(eigenvalues.min()):.3g}; wanted numbers >= 0")
        return np.maximum(eigenvalues, 0.0)
    matrix = as_covariance(source)
    if matrix is None:
        raise TypeError("eigenvalues_or_moments is None; wanted eigenvalues, a covariance or moments")
    return spectrum(matrix)[0]


@dataclass(frozen=True, repr=False, eq=False)
class ValueConcentration(Result):
    """Shares of K directions in the m leading eigenvectors, with their nulls for an isotropic direction.

    `share` and `variance_share` (K,), in [0, 1], have the means `null_mean` and `variance_null_mean` under the
    null and the p-values `p_value` and `variance_p_value` (K,). `tie` says that eigenvalue m equals eigenvalue m +
    1, so that the leading space is not defined (always so after whitening). `estimator` names how the directions
    were fitted.
    """

    axes: ClassVar[Axes] = {"direction": "share p_value variance_share variance_p_value"}

    m: int
    share: Floats
    null_mean: float
    p_value: Floats
    variance_share: Floats
    variance_null_mean: float
    variance_p_value: Floats
    tie: bool
    estimator: str


def value_concentration(
    u: Any, moments: Any, m: int | None = None, *, draws: int = 20_000, random_state: int = 0
) -> ValueConcentration:
    """Share of a direction inside the m leading eigenvectors of Sigma.

    share = |P_m u|^2 / |u|^2 with null mean m / d and null law Beta(m/2, (d-m)/2); the variance share
    u' Sigma_m u / u' Sigma u has its own null, simulated (theory 5.2). Use least-squares or LDA
    directions: mean differences and covariances are Sigma times a direction and look concentrated always.

    Parameters
    ----------
    u : array (K, d) or (d,)
        A `DirectionFit` says its own estimator, and "mean_difference" warns.
    moments : covariance (d, d) or object with ``.covariance``
    m : number of eigenvectors, 0 to d; None takes ceil(participation)
    draws, random_state : size and seed of the simulated null of the variance share

    Returns
    -------
    ValueConcentration
        Arrays (K,). Costs O(d^3 + K d^2 + draws d); imports SciPy.

    Errors: ValueError where moments and directions differ in size, or m is not from 0 to d.

    >>> value_concentration([1.0, 0.0, 0.0], [[9.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], 1).share.tolist()
    [1.0]
    """
    from scipy.special import betainc

    rows = as_rows("u", u)
    d = rows.shape[1]
    matrix = as_covariance(moments, d)
    if matrix is None:
        raise TypeError("moments is None; wanted a covariance or moments")
    eigenvalues, vectors = spectrum(matrix)
    if m is None:
        m = min(d, int(np.ceil(effective_rank(eigenvalues).participation - 1e-9)))
    if not 0 <= m <= d:
        raise ValueError(f"m is {m}; wanted a number of eigenvectors from 0 to {d}")
    if draws < 1:
        raise ValueError(f"draws is {draws!r}; wanted a whole number >= 1")
    squares = (rows @ vectors) ** 2
    share = _share(squares[:, :m].sum(axis=1), squares.sum(axis=1))
    weighted = squares * eigenvalues
    variance_share = _share(weighted[:, :m].sum(axis=1), weighted.sum(axis=1))
    p_value = (
        np.ones_like(share)
        if m in (0, d)
        else np.asarray(betainc((d - m) / 2.0, m / 2.0, np.maximum(1.0 - share, 0.0)))
    )
    null = _variance_null(eigenvalues, m, draws, random_state)
    exceed = (null[None, :] >= variance_share[:, None] * (1.0 - 1e-12)).sum(axis=1)
    variance_p = np.where(np.isnan(variance_share), np.nan, (1.0 + exceed) / (1.0 + draws))
    largest = float(eigenvalues.max(initial=0.0))
    tie = 0 < m < d and bool(eigenvalues[m - 1] - eigenvalues[m] <= 1e-9 * largest)
    return ValueConcentration(
        m,
        share,
        m / d,
        np.where(np.isnan(share), np.nan, p_value),
        variance_share,
        float(null.mean()) if null.size else float("nan"),
        variance_p,
        tie,
        _estimator(u),
    )


def _estimator(u: Any) -> str:
    """How the directions were fitted, with a warning where the estimator itself concentrates (theory 5.2)."""
    method = str(getattr(u, "method", "given"))
    if method in ("mean_difference", "ridge"):
        reason = "are Sigma times a direction" if method == "mean_difference" else "shrink where variance is small"
        tell(
            f"u: directions fitted by {method!r} {reason} and look concentrated whatever the value; "
            "test least-squares or LDA directions",
            stacklevel=3,
        )
    return method


def _share(part: Floats, whole: Floats) -> Floats:
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0.0)
    return np.asarray(np.minimum(out, 1.0), dtype=np.float64)


def _variance_null(eigenvalues: Floats, m: int, draws: int, random_state: int) -> Floats:
    """Variance shares of isotropic directions, in blocks so that memory stays at a few megabytes."""
    rng = np.random.default_rng(random_state)
    block = max(1, 1_000_000 // max(1, eigenvalues.size))
    parts = []
    for start in range(0, draws, block):
        weighted = rng.standard_normal((min(block, draws - start), eigenvalues.size)) ** 2 * eigenvalues
        parts.append(_share(weighted[:, :m].sum(axis=1), weighted.sum(axis=1)))
    return np.concatenate(parts) if parts else np.zeros(0)
