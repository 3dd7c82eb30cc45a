"""The share of directions that improve every value: an orthant probability (theory 8.5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Floats, as_gram
from .hull import smallest_point

# A Gram known to double precision fixes its rows to the square root of that.
RESOLUTION = 1e-8


def pareto_fraction(gram: ArrayLike, *, n_points: int = 8192, n_shifts: int = 12, random_state: int = 0) -> float:
    """Share of isotropic directions that improve all k values.

    P(Z > 0) for Z ~ N(0, R), R the normalised Gram (theory 8.5). The metric is the Gram's:
    U Sigma U' makes Sigma^(1/2) v isotropic, U Sigma^2 U' makes v isotropic. Closed forms for k <= 3, one
    integral for equal correlations >= 0, and 0 exactly for a cone that is empty to the Gram's resolution
    1e-8. Otherwise separation of variables over a pivoted Cholesky factor (singular R is fine), averaged
    over randomly shifted rank-1 lattices.

    Parameters
    ----------
    gram : array (k, k), positive semi-definite; a zero variance gives 0
    n_points, n_shifts : size of a lattice and number of shifts; the relative error is near 1e-4 at k = 8
    random_state : seed of the shifts

    Returns
    -------
    float
        Costs O(n_points n_shifts k^2) beyond the closed forms; imports SciPy.

    Errors: ValueError for a gram that is not square, symmetric and finite, or has a negative diagonal entry.

    >>> round(pareto_fraction([[2.0, 1.0], [1.0, 2.0]]), 6)
    0.333333
    """
    if n_points < 1 or n_shifts < 1:
        raise ValueError(f"n_points, n_shifts are {n_points!r}, {n_shifts!r}; wanted whole numbers >= 1")
    correlation = normalised(as_gram("gram", gram))
    if correlation is None:
        return 0.0
    k = correlation.shape[0]
    pairs = correlation[np.triu_indices(k, 1)]
    if k == 1:
        return 0.5
    if k == 2:
        return float(0.25 + np.arcsin(pairs[0]) / (2.0 * np.pi))
    factor, _ = pivoted_factor(correlation)
    if not smallest_point(factor, dependent=RESOLUTION).open:
        return 0.0
    if k == 3:
        return max(0.0, float(0.125 + np.arcsin(pairs).sum() / (4.0 * np.pi)))
    if np.ptp(pairs) <= 4.0 * np.finfo(np.float64).eps and pairs[0] >= 0.0:
        return _equicorrelated(k, float(pairs.mean()))
    return _lattice(correlation, n_points, n_shifts, random_state)


def normalised(gram: Floats) -> Floats | None:
    """Correlations of a Gram, or None if a variance is zero; refuses what no rows can have."""
    variance = np.diagonal(gram)
    if gram.shape[0] == 0:
        raise ValueError("gram is empty; wanted at least one value")
    if (variance < 0.0).any():
        raise ValueError("gram has a negative diagonal entry; wanted a positive semi-definite matrix")
    if (variance == 0.0).any():
        return None
    sd = np.sqrt(variance)
    correlation = (gram / sd[:, None]) / sd[None, :]
    np.fill_diagonal(correlation, 1.0)
    if float(np.linalg.eigvalsh(correlation).min()) < -1e-6:
        raise ValueError("gram has a negative eigenvalue; wanted a positive semi-definite matrix")
    return np.clip(correlation, -1.0, 1.0)


def pivoted_factor(correlation: Floats, floor: float = 1e-14) -> tuple[Floats, list[int]]:
    """Rows L (k, r) with L L' = R, the largest remaining variance first, and the pivots in order."""
    k = correlation.shape[0]
    left = np.diagonal(correlation).copy()
    factor = np.zeros((k, k))
    pivots: list[int] = []
    for column in range(k):
        candidate = left.copy()
        candidate[pivots] = -1.0
        pivot = int(np.argmax(candidate))
        if candidate[pivot] <= floor:
            break
        root = np.sqrt(candidate[pivot])
        factor[:, column] = (correlation[:, pivot] - factor[:, :column] @ factor[pivot, :column]) / root
        factor[pivots, column] = 0.0
        factor[pivot, column] = root
        left -= factor[:, column] ** 2
        pivots.append(pivot)
    factor = factor[:, : len(pivots)]
    return factor / np.linalg.norm(factor, axis=1)[:, None], pivots


def _equicorrelated(k: int, r: float) -> float:
    """int pdf(z) cdf(z sqrt(r/(1-r)))^k dz; exactly 2^-k, 1/(k+1) and 1/2 at r = 0, 1/2 and 1."""
    from scipy.special import log_ndtr

    known = {0.0: 0.5**k, 0.5: 1.0 / (k + 1), 1.0: 0.5}
    if r in known:
        return known[r]
    slope = np.sqrt(r / (1.0 - r))
    # The step resolves both the density and the transition of the cdf, of width 1 / slope.
    step = 1.0 / (32.0 * min(max(1.0, slope), 1e4))
    nodes = np.arange(-12.0, 12.0 + step, step)
    return float(step * np.exp(k * log_ndtr(slope * nodes) - 0.5 * nodes**2).sum() / np.sqrt(2.0 * np.pi))


def _lattice(correlation: Floats, n_points: int, n_shifts: int, random_state: int) -> float:
    factor, _ = pivoted_factor(correlation)
    factor = np.where(np.abs(factor) < 1e-9, 0.0, factor)
    rank = factor.shape[1]
    # Rows are grouped by their last nonzero column: each bounds that variable given the earlier ones.
    last = rank - 1 - np.argmax(factor[:, ::-1] != 0.0, axis=1)
    generator = np.sqrt(_primes(rank))
    shifts = np.random.default_rng(random_state).random((n_shifts, rank))
    base = np.arange(1, n_points + 1)[:, None] * generator[None, :]
    return float(np.mean([_volume(factor, last, (base + shift) % 1.0) for shift in shifts]))


def _volume(factor: Floats, last: Floats, points: Floats) -> float:
    """Mean over the points of the product of conditional probabilities."""
    from scipy.special import ndtr, ndtri

    uniform = np.clip(np.abs(2.0 * points - 1.0), 1e-15, 1.0 - 1e-15)
    normal = np.zeros_like(uniform)
    weight = np.ones(uniform.shape[0])
    for column in range(factor.shape[1]):
        # Masses are counted from the upper end: with only lower bounds, as is usual, no digits cancel.
        top, bottom = np.ones_like(weight), np.zeros_like(weight)
        for row in np.flatnonzero(last == column):
            bound = (normal[:, :column] @ factor[row, :column]) / factor[row, column]
            if factor[row, column] > 0.0:
                top = np.minimum(top, ndtr(bound))
            else:
                bottom = np.maximum(bottom, ndtr(bound))
        mass = np.maximum(top - bottom, 0.0)
        weight *= mass
        normal[:, column] = -ndtri(np.clip(bottom + uniform[:, column] * mass, 1e-300, 1.0 - 1e-16))
    return float(weight.mean())


def _primes(count: int) -> Floats:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % p for p in found if p * p <= candidate):
            found.append(candidate)
        candidate += 1
    return np.array(found, dtype=np.float64)
