"""Scores of every row by the fold fit that did not see its prompt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.inputs import Call

Floats = NDArray[np.float64]


def out_of_fold(call: Call, fold_vectors: Floats, fold: NDArray[np.int64]) -> Floats:
    """Canonical scores (N, J) of fold vectors (F, J, d), each prompt by the vector of its fold; one pass."""
    n_folds, J, d = fold_vectors.shape
    stacked = np.ascontiguousarray(np.moveaxis(fold_vectors, 0, 1).reshape(-1, d))
    return _scores(call, stacked, J, n_folds, fold)


def scores_of(call: Call, vectors: Floats) -> Floats:
    """Canonical scores (N, K) of vectors (K, d); one pass."""
    return _scores(call, np.ascontiguousarray(vectors), len(vectors), 1, None)


def _scores(call: Call, stacked: Floats, K: int, n_folds: int, fold: NDArray[np.int64] | None) -> Floats:
    from clinometer.engine.passes import kept_scores

    names = tuple(map(str, range(K)))
    alone = replace(call, directions=stacked, n_folds=n_folds, fold=fold, columns=None, order=None, names=names)
    return kept_scores(alone, absolute=True)
