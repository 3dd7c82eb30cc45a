"""A linear fit and a fit of features to what it leaves, with penalties chosen inside the training folds alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.checks import need_squares
from clinometer.engine.weights import Weights
from clinometer.errors import DumpError
from clinometer.fit.solve import ridge_path

from .arrays import Floats
from .gauge import _blocks_of_clusters
from .rows import rows_at

CUTOFF = 1e-10  # eigenvalues of a correlation matrix that are rounding


@dataclass(frozen=True)
class FoldFit:
    """What one outer fold takes, for J labels: weights on scaled rows (d, J) and on features (M, J).

    `pull` are the slopes of its squared error, H^-1 of them, by which a training row moves that error: of the linear
    fit alone (d, J), and of both by their linear part (d, J) and by the features (M, J).
    """

    linear: Floats
    features: Floats
    pull: Floats
    pull_linear: Floats
    pull_features: Floats
    error: Floats  # over the inner folds, (J,)
    linear_alpha: Floats
    alpha: Floats  # inf: no feature is used
    gamma: Floats


def out_of_fold(
    dump: Any, w: Weights, labels: Floats, make: Maker, gammas: Floats, alphas: Floats, fold: NDArray[np.int64],
    folds: int,
) -> tuple[Floats, list[FoldFit]]:  # fmt: skip
    """What every row is given by the fold fits, (5, N, J), and the choices of the folds.

    Linear and nonlinear predictions out of fold, and what the row pulls at the errors of the
    others: of linear fits, and of both parts of nonlinear ones.
    """
    best: list[FoldFit] = []
    for gamma in gammas:
        columns = make(float(gamma))
        M = columns(np.zeros((1, dump.dim)))[1].shape[1]
        moments = fold_moments(dump, w, labels, columns, M, fold, folds)
        found = [_chosen(moments, f, dump.dim, M, alphas, float(gamma)) for f in range(folds)]
        best = [_better(a, b) for a, b in zip(best, found, strict=True)] if best else found
    out, J = np.zeros((5, *labels.shape)), labels.shape[1]
    for gamma in np.unique([c.gamma for c in best]):
        columns = make(float(gamma))
        for first, last, phi in row_blocks(dump, w, dump.dim + len(best[0].features)):
            scaled, kernel = columns(phi)
            rows = slice(int(w.p.offsets[first]), int(w.p.offsets[last]))
            of_row = np.repeat(fold[first:last], w.p.sizes[first:last])
            for f, c in enumerate(best):
                on = c.gamma == gamma
                plain = (scaled @ np.concatenate([c.linear, c.pull, c.pull_linear], axis=1)).reshape(-1, 3, J)
                curved = (kernel @ np.concatenate([c.features, c.pull_features], axis=1)).reshape(-1, 2, J)
                parts = (plain[:, 0], plain[:, 0] + curved[:, 0], plain[:, 1], plain[:, 2], curved[:, 1])
                for i, part in enumerate(parts):
                    out[i][rows] += np.where(((of_row == f) == (i < 2))[:, None] & on, part, 0.0)
    return out, best


def _better(a: FoldFit, b: FoldFit) -> FoldFit:
    """Of each label the choice of less error."""
    take = b.error < a.error
    return FoldFit(*(np.where(take, getattr(b, f.name), getattr(a, f.name)) for f in fields(FoldFit)))


def _chosen(moments: Floats, fold: int, d: int, M: int, alphas: Floats, gamma: float) -> FoldFit:
    """Both penalties of an outer fold by inner folds of its training prompts alone, and the fit to all of those.

    The linear part is fitted first and the features to what it leaves. They are taken only if that lowers the error
    by more than its standard error over the inner folds (Breiman et al. 1984), so that a value that is linear keeps
    its linear fit. Errors over an inner fold come from its moments: no row is read again.
    """
    inner, columns = [g for g in range(len(moments)) if g != fold], np.arange(moments.shape[1] - d - M)
    # sums, because a difference would keep the rounding of what it takes out
    training, without = (
        moments[inner].sum(axis=0),
        {g: moments[[i for i in inner if i != g]].sum(axis=0) for g in inner},
    )
    paths = {g: _linear(without[g], d, M, alphas) for g in inner}
    none = np.zeros((M, len(columns)))
    at = np.argmin(sum(np.stack([_error(moments[g], u, none) for u in paths[g]]) for g in inner), axis=0)
    first = {g: paths[g][at, :, columns].T for g in inner}
    after = {g: _features(without[g], first[g], d, M, alphas) for g in inner}
    errors = np.stack([[_error(moments[g], first[g], v) for v in after[g]] for g in inner])
    pick = np.argmin(errors.sum(axis=0), axis=0)
    gain = errors[:, -1] - errors[:, pick, columns]
    pick = np.where(gain.mean(axis=0) > gain.std(axis=0, ddof=1) / np.sqrt(len(inner)), pick, len(alphas))
    u = _linear(training, d, M, alphas)[at, :, columns].T
    v = _features(training, u, d, M, alphas)[pick, :, columns].T
    taken = np.append(alphas, np.inf)[pick]
    plain, of_linear, of_features = _pulls(training, moments[fold], u, v, alphas[at], taken)
    error, same = errors[:, pick, columns].sum(axis=0), np.full(len(columns), gamma)
    return FoldFit(u, v, plain, of_linear, of_features, error, alphas[at], taken, same)


def _linear(a: Floats, d: int, M: int, alphas: Floats) -> Floats:
    """Ridge on columns of unit within-prompt variance, (A, d, J)."""
    return _solved_linear(a, d, a[d + M :, :d], alphas)


def _solved_linear(a: Floats, d: int, right: Floats, alphas: Floats) -> Floats:
    """(A, d, J) for right-hand sides (J, d); columns that are constant inside prompts, up to rounding, get 0."""
    sd = np.sqrt(np.diagonal(a)[:d])
    scale = np.where(sd > 1e-10, sd, np.inf)  # of columns of unit variance over all rows
    u = ridge_path(np.ascontiguousarray(a[:d, :d] / np.outer(scale, scale)), right / scale, alphas, CUTOFF)
    return np.moveaxis(u / scale, 1, 2)


def _features(a: Floats, u: Floats, d: int, M: int, alphas: Floats) -> Floats:
    """Ridge of what the linear part u (d, J) leaves on the features, (A + 1, M, J); the last is none at all."""
    left = a[d + M :, d : d + M] - u.T @ a[:d, d : d + M]
    v = _solved_features(a, d, left, alphas)
    return np.concatenate([v, np.zeros((1, *v.shape[1:]))])


def _solved_features(a: Floats, d: int, right: Floats, alphas: Floats) -> Floats:
    """(A, M, J) for right-hand sides (J, M)."""
    inner = np.ascontiguousarray(a[d : d + right.shape[1], d : d + right.shape[1]])
    return np.moveaxis(ridge_path(inner, np.ascontiguousarray(right), alphas, CUTOFF), 1, 2)


def _error(a: Floats, u: Floats, v: Floats) -> Floats:
    """Squared error (J,) of weights u (d, J) and v (M, J) on the rows behind moments a."""
    b = np.concatenate([u, v])
    cross, inner = a[: len(b), len(b) :], a[: len(b), : len(b)]
    return np.asarray(np.diagonal(a)[len(b) :] - 2 * (b * cross).sum(axis=0) + (b * (inner @ b)).sum(axis=0))


def _slope(a: Floats, b: Floats, n: int) -> Floats:
    """Derivative of the squared error in weights b on the first columns, the last n - len(b) left out."""
    m = len(b)
    return np.asarray(2 * (a[:m, :m] @ b - a[:m, n:]))


def _pulls(
    training: Floats, held: Floats, u: Floats, v: Floats, linear_alpha: Floats, alpha: Floats
) -> tuple[Floats, Floats, Floats]:
    """H^-1 times the slopes of the error on the fold held out (see `FoldFit`).

    du = H_x^-1 x e_u for a training row of residual e_u, and dv = H_z^-1 (z e - Z'X du) for the second stage.
    """
    d, n = len(u), len(u) + len(v)
    plain, both = _slope(held, u, n), _slope(held, np.concatenate([u, v]), n)
    of_features, alone, of_linear = np.zeros_like(v), np.zeros_like(u), np.zeros_like(u)
    for j, a in enumerate(alpha):
        if np.isfinite(a):
            of_features[:, j] = _solved_features(training, d, both[None, d:, j], np.array([a]))[0, :, 0]
        left = both[:d, j] - training[:d, d:n] @ of_features[:, j]
        for out, right in ((alone, plain[:, j]), (of_linear, left)):
            out[:, j] = _solved_linear(training, d, right[None], linear_alpha[j : j + 1])[0, :, 0]
    return alone, of_linear, of_features


Ints = NDArray[np.int64]
Columns = Callable[[Floats], tuple[Floats, Floats]]  # rows (m, d) to scaled rows (m, d) and features (m, M)
Maker = Callable[[float], Columns]


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
    the scale would be the only one that counts in a kernel. No label is read.
    """
    from sklearn.kernel_approximation import Nystroem, RBFSampler
    from sklearn.preprocessing import StandardScaler

    scaler, weight = StandardScaler(), w.row * w.p.on_rows(w.prompt)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # refused after it
        for first, last, phi in row_blocks(dump, w, dump.dim):
            own = weight[w.p.offsets[first] : w.p.offsets[last]]
            if own.any():
                scaler.partial_fit(phi, sample_weight=own)
        need_squares(dump, np.asarray(scaler.var_) + np.asarray(scaler.mean_) ** 2)
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
    out, share = np.zeros((folds, width, width)), w.row * w.p.on_rows(w.prompt)
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
