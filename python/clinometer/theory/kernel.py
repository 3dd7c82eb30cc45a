"""Random features of scaled rows, and their moments fold by fold (theory 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.weights import Weights
from clinometer.errors import DumpError

from .arrays import Floats
from .gauge import _blocks_of_clusters
from .rows import rows_at

__all__ = ["Columns", "Maker", "feature_maker", "fold_moments", "row_blocks"]

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
