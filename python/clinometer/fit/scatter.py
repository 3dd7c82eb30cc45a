"""One pass: covariance of rows and labels by fold of prompts, and the solves on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common import memory
from clinometer.common.threads import applied, images, product, shared
from clinometer.engine.checks import need_squares
from clinometer.engine.inputs import Call, run
from clinometer.engine.population import Population

from .solve import ridge_path, ridge_path_and_plain

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
T = TypeVar("T")
# Of the largest eigenvalue of correlations: what rounding leaves of a null one is 4e-8 with f32 lanes, 1e-15 in f64.
# Rows count as stored: what sums of them can resolve is up to the lanes and not to the dtype.
NULL, NULL_IN_DOUBLE = 1e-6, 1e-12


def label_groups(values: Floats) -> list[list[int]]:
    """Values labelled on the same rows share their matrices."""
    groups: dict[bytes, list[int]] = {}
    for j in range(values.shape[1]):
        groups.setdefault(np.packbits(np.isnan(values[:, j])).tobytes(), []).append(j)
    return list(groups.values())


@dataclass(frozen=True)
class FoldScatter:
    """Scatter (F, d + m, d + m) of rows and m labels inside prompts, by the fold of the prompt; or inside folds, with
    the means of folds less that of all rows `between` them (F, d + m), which make it one of all rows."""

    by_fold: Floats
    total: Floats
    mass: Floats  # (F,) share of the prompt weight in each fold
    d: int
    cutoff: float
    freedom: int  # N - G of the labelled rows
    resolved: bool  # enough rows without each fold for the noise-corrected quality, N - G > 2 d
    n_threads: int = 1
    between: Floats | None = None

    @property
    def n_folds(self) -> int:
        return len(self.by_fold)

    def matrix(self, fold: int | None) -> Floats:
        """The scatter without a fold (None: of all rows) per mass of prompts; made when asked for."""
        return self._block(fold, slice(None), slice(None))

    def sigma(self, fold: int | None) -> Floats:
        """Sigma (d, d) of that matrix, symmetric to the bit."""
        return self._block(fold, slice(self.d), slice(self.d))

    def cross(self, fold: int | None) -> Floats:
        """Its covariances c (m, d) of labels and rows."""
        return self._block(fold, slice(self.d, None), slice(self.d))

    def _block(self, fold: int | None, rows: slice, columns: slice) -> Floats:
        if fold is None:
            return np.ascontiguousarray(self.total[rows, columns])
        out = self.total[rows, columns] - self.by_fold[fold, rows, columns]
        left = float(np.delete(self.mass, fold).sum())
        if not left > 0:  # all prompts are in this fold, and nothing is left without it
            return np.zeros_like(out)
        if self.between is not None:  # the mean of the others is -m/(1 - m) times as far from that of all
            out -= self.mass[fold] / left * np.outer(self.between[fold, rows], self.between[fold, columns])
        out /= left
        return np.asarray(out)

    def part(self, fold: int | None) -> tuple[Floats, Floats]:
        """Sigma (d, d) and c (m, d) without a fold."""
        return self.sigma(fold), self.cross(fold)

    def without_each(self, solve: Callable[[Floats, Floats], T]) -> list[T]:
        """solve(Sigma, c) without each fold, in their order; the folds share the threads."""
        return shared(lambda f: solve(*self.part(f)), range(self.n_folds), self.n_threads)

    def whole(self, alphas: Floats) -> list[Floats]:
        """Ridge fits of all rows, (m, d) for each penalty; they share the threads."""
        sigma, c = self.part(None)
        return shared(lambda a: ridge_path(sigma, c, np.array([a]), self.cutoff)[0], alphas, self.n_threads)

    def fits(self, alphas: Floats) -> tuple[Floats, Floats | None]:
        """Ridge fits without each fold, (F, A, m, d), and least squares (F, m, d), None unless `resolved`."""

        both = self.without_each(lambda s, c: ridge_path_and_plain(s, c, alphas, self.cutoff, plain=self.resolved))
        plain = [u for _, u in both if u is not None]
        return np.stack([path for path, _ in both]), np.stack(plain) if len(plain) == self.n_folds else None

    def best(self, paths: Floats) -> list[int]:
        """Index of the penalty with the least out-of-fold error u'S u - 2 u'c of each label, paths (F, A, m, d)."""
        d, error = self.d, np.zeros(paths.shape[1:3])
        for u, s in zip(paths, self.by_fold, strict=True):
            image = images(s[:d, :d], u.reshape(-1, d)).reshape(u.shape) - 2 * s[d:, :d]
            error += np.einsum("amd,amd->am", image, u)
        return [int(a) for a in np.argmin(error, axis=0)]

    def calibrated(self, fold_vectors: Floats, j: int) -> Floats:
        """Fold vectors (F, d) on the scale that predicts label j best in the rows they saw."""
        out = []
        for f, u in enumerate(fold_vectors):
            sigma, c = self.part(f)
            power = applied(images(sigma, u[None])[0], u)
            out.append(u * (applied(c[j], u) / power if power > 0 else 0.0))
        return np.stack(out)


def fold_scatter(
    call: Call, values: Floats, p: Population, fold: Ints, n_folds: int, *, pooled: bool = False
) -> FoldScatter:
    """Scatter by fold of the rows p counts with labels values (N, m); fold is of each prompt of p.

    Pooled: about the mean of all rows, where the prompts of p are the folds.
    """
    held, wide = np.nan_to_num(values), call.dump.dim + values.shape[1]
    if wide > 4096:
        what = f"the scatter of {wide:,} columns in {n_folds} folds"
        instead = "method='ridge' of fit_value_direction needs no such matrix"
        memory.need_memory(16 * n_folds * wide * wide, what, instead)
    one = replace(call, values=np.ascontiguousarray(held), population=p, fold=fold, within=True)
    state = _core.Moments(call.dump.dim, held.shape[1], n_folds, 0, True)
    done = run(one, [state], population=p)[0].finish()
    by_fold, mass = done["scatter"], done["mass"]
    if mass.sum() > 0:
        by_fold /= mass.sum()
        mass = mass / mass.sum()
    d, counted = call.dump.dim, p.row_weight() > 0
    rows = p.sums(counted)
    free = np.bincount(fold, np.maximum(rows - 1, 0), n_folds)
    freedom = int(free.sum())
    cutoff = NULL_IN_DOUBLE if call.in_double else NULL
    with np.errstate(invalid="ignore"):
        total, between = by_fold.sum(axis=0), None
    need_squares(call.dump, np.diagonal(total)[:d])
    if pooled:
        between = _between(one, held, p, fold, n_folds)
        total += product(between.T * mass, between)
    return FoldScatter(
        by_fold, total, mass, d, cutoff, freedom, bool((freedom - free > 2 * d).all()), call.n_threads, between
    )


def _between(call: Call, values: Floats, p: Population, fold: Ints, n_folds: int) -> Floats:
    """Mean of each fold less that of all rows, (F, d + m); weights that sum to 0, so that far means cost no digits."""
    weight = p.row_weight() * p.on_rows(p.prompt_weight())
    own = weight[:, None] * (p.on_rows(fold)[:, None] == np.arange(n_folds))
    mass = own.sum(axis=0)
    apart = np.where(mass > 0, own / np.where(mass > 0, mass, 1.0) - weight[:, None], 0.0)
    state = _core.WeightedRows(call.dump.dim, np.ascontiguousarray(apart))
    rows = run(replace(call, values=None, progress=None), [state], population=p)[0].finish()["sum"]
    return np.concatenate([rows, product(apart.T, values[p.rows])], axis=1)
