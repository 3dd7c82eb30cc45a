"""Ridge solutions of many penalties from one Krylov space: no factorisation, one product with Sigma a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..threads import images

__all__ = ["STEPS", "ridge_shifted"]

Floats = NDArray[np.float64]
STEPS, EVERY, TOLERANCE = 160, 8, 1e-11
NOTHING = 1e-13  # of the largest eigenvalue: an eigenvalue that is 0 but for rounding


def ridge_shifted(
    sigma: Floats, c: Floats, ridges: Floats, *, plain: bool = False, steps: int = STEPS
) -> tuple[Floats, NDArray[np.bool_]]:  # fmt: skip
    """(Sigma + r I)^-1 c for each ridge r > 0 and row of c, (A, J, d), and which ridges (A,) are solved.

    Lanczos with full orthogonalisation from each row of c, the rows in step so that they share the reads of Sigma;
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
    out = np.zeros((len(ridges), *rows.shape))
    if not len(live):
        return out, np.ones(len(ridges), bool)
    space = _Space(sigma, rows[live] / size[live, None], steps)
    solved: NDArray[np.bool_] = np.zeros(len(ridges), bool)
    more = steps
    while not solved.all() and more and space.step():
        more -= 1
        if space.n_steps % EVERY and more and not space.closed:
            continue
        weights, residual = space.solve(ridges)
        solved = np.asarray(((residual <= TOLERANCE) | ~asked[:, live]).all(axis=1))
        if solved[:wanted].all():
            more = min(more, EVERY)
        elif steps < STEPS and space.n_steps >= 2 * EVERY:
            pace = residual[:wanted][asked[:wanted, live]].max() ** (1 / space.n_steps)
            more = more if pace**steps <= TOLERANCE else 0
    out[:, live] = space.combined(weights) * size[live, None]
    return out[:, : len(c)], solved


class _Space:
    """Krylov spaces of unit rows (J, d), grown in step."""

    def __init__(self, sigma: Floats, first: Floats, steps: int) -> None:
        self.sigma, self.next = sigma, first
        self.frame = np.empty((len(first), min(steps, first.shape[1]), first.shape[1]))
        self.diagonal: list[Floats] = []
        self.beside: list[Floats] = []

    @property
    def n_steps(self) -> int:
        return len(self.diagonal)

    @property
    def closed(self) -> bool:
        """Whether Sigma leads out of some space no more, or there is no room."""
        return self.n_steps == self.frame.shape[1] or not self.beside[-1].all()

    def step(self) -> bool:
        """One more vector of every space; False where there is none."""
        if self.diagonal and self.closed:
            return False
        if self.diagonal:
            self.next = self.next / self.beside[-1][:, None]
        q, n = self.next, self.n_steps + 1
        self.frame[:, n - 1] = q
        w = images(self.sigma, q)
        self.diagonal.append(np.einsum("jd,jd->j", w, q))
        seen = self.frame[:, :n]
        for _ in range(2):  # the second pass takes what the first one's rounding left
            w -= np.einsum("js,jsd->jd", np.einsum("jsd,jd->js", seen, w), seen)
        self.beside.append(np.linalg.norm(w, axis=1))
        self.next = w
        return True

    def solve(self, ridges: Floats) -> tuple[Floats, Floats]:
        """Coordinates (A, J, m) of the solutions and their residuals over |c|, (A, J)."""
        diagonal, beside = np.array(self.diagonal), np.array(self.beside)
        m, J = diagonal.shape
        weights, lost = np.empty((len(ridges), J, m)), np.empty((len(ridges), J), bool)
        for j in range(J):
            t = np.diag(diagonal[:, j]) + np.diag(beside[:-1, j], 1) + np.diag(beside[:-1, j], -1)
            lam, turn = np.linalg.eigh(t)
            below = np.maximum(lam, 0.0) + ridges[:, None]
            known = below > NOTHING * lam.max()  # no ridge and no eigenvalue: not to be solved
            weights[:, j] = np.where(known, turn[0] / np.where(known, below, 1.0), 0.0) @ turn.T
            lost[:, j] = ~known.all(axis=1)
        return weights, np.where(lost, np.inf, np.abs(weights[:, :, -1]) * beside[-1])

    def combined(self, weights: Floats) -> Floats:
        """Vectors (A, J, d) of coordinates (A, J, m)."""
        return (weights.transpose(1, 0, 2) @ self.frame[:, : weights.shape[2]]).transpose(1, 0, 2)
