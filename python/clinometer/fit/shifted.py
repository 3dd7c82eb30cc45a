"""Ridge solutions of many penalties from one Krylov space: no factorisation, one product with Sigma a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ridge_shifted"]

Floats = NDArray[np.float64]
STEPS, EVERY, TOLERANCE = 160, 8, 1e-11


def ridge_shifted(sigma: Floats, c: Floats, ridges: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(Sigma + r I)^-1 c for each ridge r and row of c, (A, J, d), and which ridges (A,) are solved.

    Lanczos with full orthogonalisation from each row of c, the rows in step so that they share the reads of Sigma;
    every penalty has the same Krylov space, and its residual is known from the small problem. A ridge is solved
    once all its residuals are below TOLERANCE of |c|; small ridges on a steep spectrum may not be.

    Cost: at most STEPS products of (J, d) with Sigma, STEPS J d numbers.
    """
    size = np.linalg.norm(c, axis=1)
    live = np.flatnonzero(size > 0)
    out = np.zeros((len(ridges), *c.shape))
    q = c[live] / size[live, None]
    solved: NDArray[np.bool_] = np.zeros(len(ridges), bool)
    limit = min(STEPS, c.shape[1])
    frame = np.empty((len(live), limit, c.shape[1]))
    diagonal, beside = [], []
    for step in range(1, limit + 1 if len(live) else 0):
        frame[:, step - 1] = q
        w = np.ascontiguousarray((sigma @ q.T).T)  # Sigma is symmetric, and this way it is read in place
        diagonal.append(np.einsum("jd,jd->j", w, q))
        for _ in range(2):  # the second pass takes what the first one's rounding left
            seen = frame[:, :step]
            w -= ((seen @ w[:, :, None]).transpose(0, 2, 1) @ seen)[:, 0]
        beside.append(np.linalg.norm(w, axis=1))
        if step % EVERY == 0 or step == limit or not beside[-1].all():
            weights, residual = _small(np.array(diagonal), np.array(beside), ridges)
            solved = np.asarray((residual <= TOLERANCE).all(axis=1))
            if solved.all() or step == limit or not beside[-1].all():
                out[:, live] = (weights.transpose(1, 0, 2) @ frame[:, :step]).transpose(1, 0, 2) * size[live, None]
                break
        q = w / beside[-1][:, None]
    return out, solved if len(live) else ~solved


def _small(diagonal: Floats, beside: Floats, ridges: Floats) -> tuple[Floats, Floats]:
    """Solutions (A, J, m) of the tridiagonal problems and their residuals over |c|, (A, J)."""
    m, J = diagonal.shape
    weights = np.empty((len(ridges), J, m))
    for j in range(J):
        t = np.diag(diagonal[:, j]) + np.diag(beside[:-1, j], 1) + np.diag(beside[:-1, j], -1)
        lam, turn = np.linalg.eigh(t)
        weights[:, j] = (turn[0] / (np.maximum(lam, 0.0) + ridges[:, None])) @ turn.T
    return weights, np.abs(weights[:, :, -1]) * beside[-1]
