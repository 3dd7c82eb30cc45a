"""Random features of scaled rows, their moments fold by fold, and ridge fits whose penalties are chosen inside folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.errors import DumpError
from clinometer.fit.solve import ridge_path
from clinometer.theory._arrays import Floats
from clinometer.theory._gauge import BLOCK, _blocks_of_clusters
from clinometer.theory._rows import Weights, rows_at

__all__ = ["Choice", "Columns", "Maker", "chosen", "feature_maker", "fold_moments", "row_blocks"]

Ints = NDArray[np.int64]
Columns = Callable[[Floats], tuple[Floats, Floats]]  # rows (m, d) to scaled rows (m, d) and features (m, M)
Maker = Callable[[float], Columns]
CUTOFF = 1e-10  # eigenvalues of a correlation matrix that are rounding


def row_blocks(dump: Any, w: Weights, width: int) -> Iterator[tuple[int, int, Floats]]:
    """Ranges of prompts and their rows in float64, some BLOCK numbers of `width` columns at a time."""
    for first, last, _ in _blocks_of_clusters(w.p, width):
        at = w.p.rows[w.p.offsets[first] : w.p.offsets[last]]
        phi = rows_at(dump, at)
        if not np.isfinite(phi).all():
            bad = int(at[int(np.argmax(~np.isfinite(phi).all(axis=1)))])
            raise DumpError(f"{dump.name}: row {bad} holds NaN or Inf; open the dump with nonfinite='drop'")
        yield first, last, phi


def feature_maker(dump: Any, w: Weights, kind: str, n_features: int, seed: int) -> Maker:
    """For a bandwidth gamma, in units of 1/d, the map from rows to scaled rows and features of exp(-gamma |x - y|^2/d).

    Columns are scaled to unit variance over all rows, by their weights, before distances are taken: one of 2^13 times
    the scale would be the only one that a kernel sees. No label is looked at.
    """
    from sklearn.kernel_approximation import Nystroem, RBFSampler
    from sklearn.preprocessing import StandardScaler

    scaler, weight = StandardScaler(), w.row * w.spread(w.prompt)
    for first, last, phi in row_blocks(dump, w, dump.dim):
        own = weight[w.p.offsets[first] : w.p.offsets[last]]
        if own.any():
            scaler.partial_fit(phi, sample_weight=own)
    landmarks = np.zeros((1, dump.dim))
    if kind == "nystroem":
        seen = np.flatnonzero(weight > 0)
        drawn = np.random.default_rng(seed).choice(seen, min(n_features, len(seen)), replace=False)
        landmarks = scaler.transform(rows_at(dump, w.p.rows[np.sort(drawn)]))

    def make(gamma: float) -> Columns:
        at = gamma / dump.dim
        if kind == "nystroem":
            kernel = Nystroem(kernel="rbf", gamma=at, n_components=len(landmarks), random_state=seed)
        else:
            kernel = RBFSampler(gamma=at, n_components=n_features, random_state=seed)
        kernel.fit(landmarks)

        def columns(phi: Floats) -> tuple[Floats, Floats]:
            scaled = scaler.transform(phi)
            return scaled, np.asarray(kernel.transform(scaled), np.float64)

        return columns

    return make


def fold_moments(dump: Any, w: Weights, labels: Floats, columns: Columns, M: int, fold: Ints, folds: int) -> Floats:
    """Within-prompt second moments of [scaled rows, features, labels (N, J)] of every fold, (F, d+M+J, d+M+J)."""
    width = dump.dim + M + labels.shape[1]
    out, share = np.zeros((folds, width, width)), w.row * w.spread(w.prompt)
    for first, last, phi in row_blocks(dump, w, width):
        rows = slice(int(w.p.offsets[first]), int(w.p.offsets[last]))
        table = np.concatenate([*columns(phi), labels[rows]], axis=1)
        sizes = w.p.sizes[first:last]
        inner = w.row[rows, None]
        for _ in range(2):
            table -= np.repeat(np.add.reduceat(inner * table, w.p.offsets[first:last] - rows.start), sizes, axis=0)
        at = np.repeat(fold[first:last], sizes)
        for f in np.unique(at):
            own = table[at == f]
            out[f] += (share[rows][at == f, None] * own).T @ own
    return out


@dataclass
class Choice:
    """What one outer fold takes: weights on scaled rows (d, J) and on features (M, J), and how they were chosen."""

    linear: Floats
    features: Floats
    error: Floats  # of the features' fit over the inner folds, (J,)
    linear_alpha: Floats
    alpha: Floats  # inf: no feature is used
    gamma: Floats = field(default_factory=lambda: np.zeros(0))


def chosen(moments: Floats, fold: int, d: int, M: int, alphas: Floats) -> Choice:
    """Both penalties of an outer fold by inner folds of its training prompts alone, and the fit to all of those.

    The linear part is fitted first and the features to what it leaves. They are taken only if that lowers the error
    by more than its standard error over the inner folds (Breiman et al. 1984), so that a value that is linear keeps
    its linear fit. Errors over an inner fold come from its moments: no row is read again.
    """
    inner = [g for g in range(len(moments)) if g != fold]
    training, columns = moments.sum(axis=0) - moments[fold], np.arange(moments.shape[1] - d - M)
    paths = {g: _linear(training - moments[g], d, M, alphas) for g in inner}
    none = np.zeros((M, len(columns)))
    at = np.argmin(sum(np.stack([_error(moments[g], u, none) for u in paths[g]]) for g in inner), axis=0)
    first = {g: paths[g][at, :, columns].T for g in inner}
    after = {g: _features(training - moments[g], first[g], d, M, alphas) for g in inner}
    errors = np.stack([[_error(moments[g], first[g], v) for v in after[g]] for g in inner])
    pick = np.argmin(errors.sum(axis=0), axis=0)
    gain = errors[:, -1] - errors[:, pick, columns]
    pick = np.where(gain.mean(axis=0) > gain.std(axis=0, ddof=1) / np.sqrt(len(inner)), pick, len(alphas))
    u = _linear(training, d, M, alphas)[at, :, columns].T
    v = _features(training, u, d, M, alphas)[pick, :, columns].T
    return Choice(u, v, errors[:, pick, columns].sum(axis=0), alphas[at], np.append(alphas, np.inf)[pick])


def _linear(a: Floats, d: int, M: int, alphas: Floats) -> Floats:
    """Ridge on columns of unit within-prompt variance, (A, d, J)."""
    sd = np.sqrt(np.diagonal(a)[:d])
    scale = np.where(sd > 1e-10, sd, np.inf)  # of columns of unit variance: constant inside prompts
    u = ridge_path(np.ascontiguousarray(a[:d, :d] / np.outer(scale, scale)), a[d + M :, :d] / scale, alphas, CUTOFF)
    return np.moveaxis(u / scale, 1, 2)


def _features(a: Floats, u: Floats, d: int, M: int, alphas: Floats) -> Floats:
    """Ridge of what the linear part u (d, J) leaves on the features, (A + 1, M, J); the last is none at all."""
    left = a[d + M :, d : d + M] - u.T @ a[:d, d : d + M]
    v = ridge_path(np.ascontiguousarray(a[d : d + M, d : d + M]), np.ascontiguousarray(left), alphas, CUTOFF)
    return np.moveaxis(np.concatenate([v, np.zeros((1, *left.shape))]), 1, 2)


def _error(a: Floats, u: Floats, v: Floats) -> Floats:
    """Squared error (J,) of weights u (d, J) and v (M, J) on the rows behind moments a."""
    b = np.concatenate([u, v])
    n = len(b)
    return np.asarray(np.diagonal(a)[n:] - 2 * np.einsum("mj,mj->j", b, a[:n, n:]) + np.einsum("mj,mj->j", b, a[:n, :n] @ b))
