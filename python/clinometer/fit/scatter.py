"""One pass: covariance of rows and labels by fold of prompts, and the solves on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..inputs import Call, run
from ..population import Population
from .solve import ridge_path, unbiased_solve

__all__ = ["FoldScatter", "fold_scatter", "label_groups"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ROUNDING = 1.2e-7  # f32 lanes bound what sums of rows can resolve, whatever the stored dtype


def label_groups(values: Floats) -> list[list[int]]:
    """Values labelled on the same rows share their matrices."""
    groups: dict[bytes, list[int]] = {}
    for j in range(values.shape[1]):
        groups.setdefault(np.packbits(np.isnan(values[:, j])).tobytes(), []).append(j)
    return list(groups.values())


@dataclass(frozen=True)
class FoldScatter:
    """Scatter (F, d + m, d + m) of rows and m labels inside prompts, by the fold of the prompt."""

    by_fold: Floats
    total: Floats
    mass: Floats  # (F,) share of the prompt weight in each fold
    d: int
    cutoff: float
    freedom: int  # N - G of the labelled rows
    resolved: bool  # enough rows without each fold for the noise-corrected quality, N - G > 2 d

    @property
    def n_folds(self) -> int:
        return len(self.by_fold)

    def matrix(self, fold: int | None) -> Floats:
        """The scatter without a fold (None: of all rows), symmetric, per mass of prompts; made when asked for."""
        a = self.total if fold is None else (self.total - self.by_fold[fold]) / max(1 - self.mass[fold], 1e-300)
        return np.asarray((a + a.T) / 2)

    def part(self, fold: int | None) -> tuple[Floats, Floats]:
        """Sigma (d, d) and c (m, d) of that matrix."""
        a = self.matrix(fold)
        return np.ascontiguousarray(a[: self.d, : self.d]), np.ascontiguousarray(a[self.d :, : self.d])

    def map(self, solve: Callable[[Floats, Floats], Floats]) -> tuple[Floats, Floats]:
        """A solve of all rows, and one without each fold (F, ...)."""
        return solve(*self.part(None)), np.stack([solve(*self.part(f)) for f in range(self.n_folds)])

    def path(self, alphas: Floats) -> Floats:
        """Ridge fits without each fold, (F, A, m, d)."""
        return np.stack([ridge_path(*self.part(f), alphas, self.cutoff) for f in range(self.n_folds)])

    def best(self, paths: Floats, j: int) -> int:
        """Index of the penalty with the least out-of-fold error u'S u - 2 u'c of label j, paths (F, A, m, d)."""
        d, error = self.d, np.zeros(paths.shape[1])
        for u, s in zip(paths[:, :, j], self.by_fold, strict=True):
            error += np.einsum("ad,ad->a", u @ s[:d, :d] - 2 * s[:d, d + j], u)
        return int(np.argmin(error))

    def unbiased(self) -> Floats | None:
        """Least squares without each fold, (F, m, d), where the rows are enough to make them unbiased."""
        if not self.resolved:
            return None
        fits = [unbiased_solve(*self.part(f)) for f in range(self.n_folds)]
        return None if any(u is None for u in fits) else np.stack([u for u in fits if u is not None])

    def calibrated(self, fold_vectors: Floats, j: int) -> Floats:
        """Fold vectors (F, d) on the scale that predicts label j best in the rows they saw."""
        out = []
        for f, u in enumerate(fold_vectors):
            sigma, c = self.part(f)
            power = u @ sigma @ u
            out.append(u * (u @ c[j] / power if power > 0 else 0.0))
        return np.stack(out)


def fold_scatter(call: Call, values: Floats, p: Population, fold: Ints, n_folds: int) -> FoldScatter:
    """Scatter by fold of the rows p counts with labels values (N, m); fold is of each prompt of p."""
    held = np.nan_to_num(values)
    one = replace(call, values=np.ascontiguousarray(held), population=p, fold=fold, within=True)
    state = _core.Moments(call.dump.dim, held.shape[1], n_folds, 0, True)
    done = run(one, [state], population=p)[0].finish()
    by_fold, mass = done["scatter"], done["mass"]
    if mass.sum() > 0:
        by_fold /= mass.sum()
        mass = mass / mass.sum()
    d, counted = call.dump.dim, p.row_weight() > 0
    rows = np.add.reduceat(counted, p.offsets[:-1])
    free = np.bincount(fold, np.maximum(rows - 1, 0), n_folds)
    freedom = int(free.sum())
    eps = 2.3e-16 if call.dump.dtype == "float64" else ROUNDING
    cutoff = min(max(freedom, d) * eps, 1e-3)
    return FoldScatter(by_fold, by_fold.sum(axis=0), mass, d, cutoff, freedom, bool((freedom - free > 2 * d).all()))
