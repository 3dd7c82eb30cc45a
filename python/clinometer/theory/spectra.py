"""Effective rank, and how much of a value lies in the leading eigenspace, exactly or for large d (theory 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import tell
from clinometer.common.options import listed
from clinometer.common.results import Axes, Moments, Result
from clinometer.common.threads import applied
from clinometer.engine import passes
from clinometer.engine.intake import numbers

from .arrays import Floats, as_covariance, as_rows, spectrum
from .geometry import unit_rows, unit_sigma


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
    From N samples (of moments inside prompts: rows less prompts), a true identity shows a participation near
    d / (1 + d / N).

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
        eigenvalues = numbers("eigenvalues", source)
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

    share = |P_m u|^2 / |u|^2 with null mean m / r and null law Beta(m/2, (r-m)/2), r = d, or the rank of Sigma for a
    direction in its span, as one fitted on fewer rows than dimensions is; the variance share u' Sigma_m u / u' Sigma u
    has its own null, simulated (theory 5.2). Use least-squares or LDA directions: mean differences and covariances
    are Sigma times a direction and look concentrated always.

    Parameters
    ----------
    u : array (K, d) or (d,)
        A `DirectionFit` says its own estimator, and "mean_difference" warns.
    moments : covariance (d, d) or object with ``.covariance``; of `clinometer.moments` the rank is known from its
        rows, of a bare matrix from its eigenvalues
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

    rows, _ = unit_rows(as_rows("u", u))
    d = rows.shape[1]
    matrix, _ = unit_sigma(as_covariance(moments, d))
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
    room = _room(squares, eigenvalues, moments)
    rest = np.maximum(room - m, 0) / 2.0
    p_value = np.ones_like(share)
    if m > 0:
        p_value = np.where(rest > 0, betainc(np.maximum(rest, 0.5), m / 2.0, np.maximum(1.0 - share, 0.0)), 1.0)
    null = _variance_null(eigenvalues, m, draws, random_state)
    exceed = (null[None, :] >= variance_share[:, None] * (1.0 - 1e-12)).sum(axis=1)
    variance_p = np.where(np.isnan(variance_share), np.nan, (1.0 + exceed) / (1.0 + draws))
    largest = float(eigenvalues.max(initial=0.0))
    tie = 0 < m < d and bool(eigenvalues[m - 1] - eigenvalues[m] <= 1e-9 * largest)
    return ValueConcentration(
        m,
        share,
        min(m / float(room.max(initial=1)), 1.0),
        np.where(np.isnan(share), np.nan, p_value),
        variance_share,
        float(null.mean()) if null.size else float("nan"),
        variance_p,
        tie,
        _estimator(u),
    )


OUTSIDE = 1e-6  # share of a direction outside the span of Sigma that is rounding


def _room(squares: Floats, eigenvalues: Floats, moments: Any) -> NDArray[np.int64]:
    """Dimensions (K,) that a direction can lie in: the rank of Sigma where it is in its span, else all of them."""
    rank = int((eigenvalues > 0.0).sum())
    if isinstance(moments, Moments):
        rank = min(rank, moments.n_rows - (moments.n_prompts if moments.within else 1))
    outside = squares[:, rank:].sum(axis=1)
    return np.where(outside <= OUTSIDE * squares.sum(axis=1), rank, squares.shape[1])


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


DEPENDENT = 1e-12  # norm of the residual of a unit row that lies in the span of others


@dataclass(frozen=True, repr=False, eq=False)
class RandomisedSpectrum(Result):
    """The leading part of a spectrum (rank,) with what is known of the rest.

    `residual` (rank,) bounds the error of each value in `eigenvalues`: |Sigma v - lam v|, within which an exact
    eigenvalue lies; `eigenvectors` (rank, d), each with its largest entry positive. `trace` is exact; `square`
    estimates |Sigma|_F^2 with `square_se`, and `participation` = trace^2 / square with `participation_se` from it.
    `stable` = trace / lam_max is high by at most residual_1 / lam_1 relative. `energy_share` (rank,) is the share of
    the trace reached.

    `n_passes` counts the multiplications by Sigma of all its columns: passes over a dump.
    """

    axes: ClassVar[Axes] = {
        "component": "eigenvalues residual energy_share",
        "component feature": "eigenvectors",
    }

    eigenvalues: Floats
    residual: Floats
    eigenvectors: Floats
    trace: float
    square: float
    square_se: float
    participation: float
    participation_se: float
    stable: float
    energy_share: Floats
    n_passes: int


@listed("within", "clusters")
def randomised_spectrum(
    source: Any, rank: int = 16, *, oversample: int = 16, n_iterations: int = 3, n_probes: int = 32,
    trace: float | None = None, dim: int | None = None, random_state: int = 0, **options: Any,
) -> RandomisedSpectrum:  # fmt: skip
    """Leading eigenvalues by subspace iteration, and tr(Sigma)^2 / |Sigma|_F^2 by probing the remainder.

    With Q an orthonormal basis of the sketch, |Sigma|_F^2 = |Sigma Q|^2 + E |(I - Q Q')Sigma (I - Q Q') g|^2 +
    |(I - Q Q')Sigma Q|^2 over random signs g: only the small remainder is estimated, from `n_probes` of them
    (theory 5.1). Needs d x (rank + oversample) numbers where a covariance needs d x d.

    Parameters
    ----------
    source : dump, or a function from rows (K, d) to rows Sigma u_k, with `trace` and `dim`
    rank, oversample : eigenvalues wanted, and extra columns
    n_iterations : multiplications by Sigma after the first
    n_probes, random_state : random vectors for the remainder, at least 2, and their seed
    **options : those of the passes, for a dump

    Returns
    -------
    RandomisedSpectrum
        Cost: n_iterations + 4 passes over a dump, each of 4 N d (rank + oversample) flops.

    Errors: ValueError where rank or n_probes is too small, rank is above d, or a function comes without trace and
    dim.

    >>> import numpy as np
    >>> sigma = np.diag(1.0 / np.arange(1, 101))
    >>> found = randomised_spectrum(lambda u: u @ sigma, 4, trace=float(np.trace(sigma)), dim=100)
    >>> found.eigenvalues.round(3).tolist()
    [1.0, 0.5, 0.333, 0.25]
    """
    for name, number, least in (
        ("rank", rank, 1), ("oversample", oversample, 0), ("n_iterations", n_iterations, 0), ("n_probes", n_probes, 2),
    ):  # fmt: skip
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
            raise ValueError(f"{name} is {number!r}; wanted a whole number >= {least}")
    image, d, total = _operator(source, trace, dim, options)
    columns = min(d, rank + oversample)
    if rank > d:
        raise ValueError(f"rank is {rank} but there are {d} dimensions")
    rng = np.random.default_rng(random_state)
    with np.errstate(over="ignore", invalid="ignore"):
        values, turn, basis, mapped = subspace(image, d, columns, n_iterations, rng)
        square, se = _square(image, basis, mapped, n_probes, rng)
    if total > 0.0 and not 1e-290 < square < np.inf:
        raise ValueError(
            f"source: squares of covariances with trace {total:.3g} leave float64: divide the rows by a constant"
        )
    values, turn = values[:rank], turn[:rank]
    vectors = turn @ basis
    sign = np.where(np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], 1) < 0, -1.0, 1.0)
    vectors, images = sign * vectors, sign * (turn @ mapped)
    residual = np.linalg.norm(images - values[:, None] * vectors, axis=1)
    positive = np.maximum(values, 0.0)
    part = total / square * total if square > 0.0 else 0.0
    return RandomisedSpectrum(
        values, residual, vectors, total, square, se, part, part * se / square if square > 0.0 else 0.0,
        total / positive[0] if positive[0] > 0.0 else 0.0,
        np.cumsum(positive) / total if total > 0.0 else np.zeros(rank), n_iterations + 4,
    )  # fmt: skip


def subspace(
    image: Callable[[Floats], Floats], d: int, columns: int, n_iterations: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats]:
    """Ritz values of Sigma on a subspace, largest first, their coordinates (columns, columns), its basis and image."""
    basis = _orthonormal(image(rng.standard_normal((columns, d))))
    for _ in range(n_iterations):
        basis = _orthonormal(image(basis))
    mapped = image(basis)
    ritz = basis @ mapped.T
    values, turn = np.linalg.eigh(0.5 * (ritz + ritz.T))
    order = np.argsort(-values)
    return values[order], turn[:, order].T, basis, mapped


def _operator(
    source: Any, trace: float | None, dim: int | None, options: dict[str, Any]
) -> tuple[Callable[[Floats], Floats], int, float]:
    if callable(source):
        if trace is None or dim is None:
            raise ValueError("source is a function; wanted trace= and dim= with it")
        if options:
            raise TypeError(f"{', '.join(options)}: pass options need a dump as source")
        return source, int(dim), float(trace)
    moments = passes.moments(source, covariance=False, **options)
    if options.get("within", True) is False:
        raise ValueError("within is False; wanted True: the pooled covariance is not one a policy can use")
    return (
        lambda u: passes.covariance_projection(source, u, **options),
        len(moments.mean),
        float(moments.variances.sum()),
    )


def _orthonormal(rows: Floats) -> Floats:
    """Orthonormal rows of the same span; directions that Sigma sends to 0 are replaced, which adds nothing.

    Row by row, each cleared of those before it twice; for so few rows LAPACK's threads would mostly wait.
    """
    out, spare = np.zeros_like(rows), np.random.default_rng(0)
    for i, row in enumerate(rows):
        size = np.linalg.norm(row)
        left = _cleared(row / size, out[:i]) if size > 0 else np.zeros_like(row)
        while not np.linalg.norm(left) > DEPENDENT:
            left = _cleared(_unit(spare.standard_normal(len(row))), out[:i])
        out[i] = _unit(_cleared(_unit(left), out[:i]))
    return out


def _cleared(row: Floats, frame: Floats) -> Floats:
    return np.asarray(row - applied(frame.T, applied(frame, row)))


def _unit(row: Floats) -> Floats:
    return np.asarray(row / np.linalg.norm(row))


def _square(
    image: Callable[[Floats], Floats], basis: Floats, mapped: Floats, n_probes: int, rng: np.random.Generator
) -> tuple[float, float]:
    """|Sigma|_F^2 and its error: exact on the sketch and its complement's coupling, probed beyond."""
    inside = (mapped @ basis.T) @ basis
    known = float((inside**2).sum() + 2.0 * ((mapped - inside) ** 2).sum())
    if basis.shape[0] == basis.shape[1]:
        return known, 0.0
    signs = rng.choice([-1.0, 1.0], (n_probes, basis.shape[1]))
    probes = signs - (signs @ basis.T) @ basis
    out = image(probes)
    out -= (out @ basis.T) @ basis
    draws = (out**2).sum(axis=1)
    return known + float(draws.mean()), float(draws.std(ddof=1) / np.sqrt(n_probes))
