"""faiss: inner products of all rows with all directions, in float32; half precision is widened in chunks."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from clinometer.bench.problem import Problem

from . import Settings

__all__ = ["KERNELS", "VERSION", "set_threads"]

VERSION = str(faiss.__version__)


def set_threads(threads: int) -> None:
    """faiss's OpenMP threads."""
    faiss.omp_set_num_threads(threads)


def score(p: Problem) -> Settings:
    """Scores (N, K)."""
    out = np.empty((p.rows.n, p.k), np.float32)

    def call() -> Any:
        for begin, x in p.rows.chunks():
            out[begin : begin + len(x)] = faiss.pairwise_distances(x, p.single, metric=faiss.METRIC_INNER_PRODUCT)
        return out

    return {"pairwise_distances": call}


KERNELS = {"score": score}
