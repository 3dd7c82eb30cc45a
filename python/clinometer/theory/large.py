"""Leading eigenvalues and effective ranks of a covariance that is never formed, with their errors (theory 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.common.threads import applied
from clinometer.engine import passes

from .arrays import Floats

__all__ = ["RandomisedSpectrum", "randomised_spectrum"]

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
    values, turn, basis, mapped = subspace(image, d, columns, n_iterations, rng)
    values, turn = values[:rank], turn[:rank]
    vectors = turn @ basis
    sign = np.where(np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], 1) < 0, -1.0, 1.0)
    vectors, images = sign * vectors, sign * (turn @ mapped)
    residual = np.linalg.norm(images - values[:, None] * vectors, axis=1)
    square, se = _square(image, basis, mapped, n_probes, rng)
    positive = np.maximum(values, 0.0)
    part = total**2 / square if square > 0.0 else 0.0
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
