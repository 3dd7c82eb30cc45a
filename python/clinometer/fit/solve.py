"""Small dense solves on finished d x d states; ridge solutions of many penalties from one Krylov space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.threads import heard, images, product

from .scale import column_scale, null_space, without_null

Floats = NDArray[np.float64]
SMALL = 1024  # d up to which one thread solves
FEW = 500  # d up to which many penalties are cheaper one by one, whatever the spectrum
SHORT = 768  # d up to which they are unless a short space does
FEW_ROWS, FEW_STEPS = 8, 48  # of a short space, and of one or two penalties: no dearer than a factorisation


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
        steps = STEPS if many and len(sigma) > SHORT else FEW_STEPS
        found, good = ridge_shifted(sigma, c, alphas[some] * unit, plain=plain, steps=steps)
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


STEPS, EVERY, TOLERANCE = 160, 8, 1e-11
NOTHING = 1e-13  # of the largest eigenvalue: an eigenvalue that is 0 but for rounding


def ridge_shifted(
    sigma: Floats, c: Floats, ridges: Floats, *, plain: bool = False, steps: int = STEPS
) -> tuple[Floats, NDArray[np.bool_]]:  # fmt: skip
    """(Sigma + r I)^-1 c for each ridge r > 0 and row of c, (A, J, d), and which ridges (A,) are solved.

    Lanczos with full orthogonalisation from each row of c, all rows together so that they share the reads of Sigma;
    every penalty has the same Krylov space, and its residual is known from the small problem. A ridge is solved
    once all its residuals are below TOLERANCE of |c|; small ridges on a steep spectrum may not be.

    `plain` adds a last ridge, 0, where a few steps more than for the others are enough. It counts as solved only if a
    random vector is solved for too: that has a part in every null direction, so Sigma then has none. With fewer than
    STEPS `steps` it gives up as soon as they would not be enough at the pace so far.

    Cost: at most `steps` products of (J, d) with Sigma, `steps` J d numbers.
    """
    rows = np.concatenate([c, np.random.default_rng(0).standard_normal((1, c.shape[1]))]) if plain else c
    ridges = np.append(ridges, 0.0) if plain else ridges
    wanted, asked = len(ridges) - plain, np.ones((len(ridges), len(rows)), bool)
    asked[:wanted, len(c) :] = False
    size = np.linalg.norm(rows, axis=1)
    live = np.flatnonzero(size > 0)
    out, solved = np.zeros((len(ridges), *rows.shape)), np.ones(len(ridges), bool)
    if not len(live):
        return out, solved
    space, asked = _Space(sigma, rows[live] / size[live, None], ridges, steps), asked[:, live]
    solved, more, last = ~solved, steps, steps
    while more and not solved.all() and space.step():
        residual = space.residual()
        solved = np.asarray(solved | ((residual <= TOLERANCE) | ~asked).all(axis=1))
        if solved[:wanted].all():
            last = min(last, space.n_steps + EVERY)
        elif steps < STEPS and space.n_steps >= 2 * EVERY:
            pace = residual[:wanted][asked[:wanted]].max() ** (1 / space.n_steps)
            last = last if pace**steps <= TOLERANCE else 0
        more = max(last - space.n_steps, 0)
    out[:, live] = space.solutions() * size[live, None]
    return out[:, : len(c)], solved


class _Space:
    """Krylov spaces of unit rows (J, d), grown together, with Sigma + r I factorised on them for each ridge r (A,).

    On a space Sigma is tridiagonal, T. A step adds a row to its factors L D L': pivots D, ratios L and what elimination
    makes of the first unit vector, all (A, J). The residual needs the last of them alone.
    """

    def __init__(self, sigma: Floats, first: Floats, ridges: Floats, steps: int) -> None:
        self.sigma, self.next, self.ridges = sigma, first, ridges[:, None]
        self.frame = np.empty((len(first), min(steps, first.shape[1]), first.shape[1]))
        self.pivots: list[Floats] = []
        self.ratios: list[Floats] = []
        self.heads: list[Floats] = []
        self.beside, self.largest = np.ones(len(first)), np.zeros(len(first))
        self.lost = np.zeros((len(ridges), len(first)), bool)  # null but for rounding: not to be solved

    @property
    def n_steps(self) -> int:
        return len(self.pivots)

    def step(self) -> bool:
        """One more vector of every space; False where some space is whole or there is no room."""
        n = self.n_steps + 1
        if n > self.frame.shape[1] or not self.beside.all():
            return False
        q = self.next / self.beside[:, None]
        self.frame[:, n - 1] = q
        w = images(self.sigma, q)
        self._factorise(np.einsum("jd,jd->j", w, q))
        seen = self.frame[:, :n]
        for _ in range(2):  # the second pass takes what the first one's rounding left
            w -= np.einsum("js,jsd->jd", np.einsum("jsd,jd->js", seen, w), seen)
        self.next, self.beside = w, np.linalg.norm(w, axis=1)
        return True

    def _factorise(self, diagonal: Floats) -> None:
        self.largest = np.maximum(self.largest, diagonal)
        pivot, head, ratio = diagonal + self.ridges, np.ones(self.lost.shape), np.zeros(self.lost.shape)
        if self.pivots:
            ratio = self.beside / self.pivots[-1]
            pivot, head = pivot - self.beside * ratio, -ratio * self.heads[-1]
        self.lost |= ~(pivot > NOTHING * self.largest)
        self.pivots.append(np.where(self.lost, 1.0, pivot))
        self.heads.append(head)
        self.ratios.append(ratio)

    def residual(self) -> Floats:
        """Of every solution over |c|, (A, J)."""
        return np.where(self.lost, np.inf, np.abs(self.heads[-1] / self.pivots[-1]) * self.beside)

    def solutions(self) -> Floats:
        """Vectors (A, J, d); zeros where lost."""
        at = np.empty((self.n_steps, *self.lost.shape))
        for i in range(self.n_steps - 1, -1, -1):
            at[i] = self.heads[i] / self.pivots[i]
            if i + 1 < self.n_steps:
                at[i] -= self.ratios[i + 1] * at[i + 1]
        at[:, self.lost] = 0.0
        return np.asarray(np.einsum("saj,jsd->ajd", at, self.frame[:, : self.n_steps]))
