"""numba: the tilt as one fused parallel loop, nothing stored between score and sum; compiled before it is timed."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from clinometer.bench.problem import Problem

from . import Settings

__all__ = ["KERNELS", "VERSION", "set_threads"]

VERSION = str(numba.__version__)
BLOCKS = 64  # parts of the rows that threads take
_jit = numba.njit(parallel=True, fastmath=True)
_threads = 1


def set_threads(threads: int) -> None:
    """Threads of numba's pool."""
    global _threads
    _threads = threads
    numba.set_num_threads(min(threads, int(numba.config.NUMBA_NUM_THREADS)))


@_jit  # type: ignore[untyped-decorator]
def _grouped(t: Any, f: Any, lam: Any, group: int, sums: Any) -> None:  # pragma: no cover - compiled
    groups, n_k, n_b, n_j = t.shape[0] // group, t.shape[1], lam.shape[0], f.shape[1]
    blocks = sums.shape[0]
    for block in numba.prange(blocks):
        mean, part = np.empty(n_j, np.float32), np.empty(n_j, np.float32)
        shifted = np.empty(group, np.float32)
        for g in range(groups * block // blocks, groups * (block + 1) // blocks):
            base = g * group
            for j in range(n_j):
                mean[j] = 0
                for i in range(group):
                    mean[j] += f[base + i, j] / group
            for k in range(n_k):
                top = t[base, k]
                for i in range(1, group):
                    top = max(top, t[base + i, k])
                for i in range(group):
                    shifted[i] = t[base + i, k] - top
                for b in range(n_b):
                    z, zx = np.float32(0), np.float32(0)
                    part[:] = 0
                    for i in range(group):
                        x = shifted[i] * lam[b]
                        e = np.exp(x)
                        z += e
                        zx += e * x
                        for j in range(n_j):
                            part[j] += e * (f[base + i, j] - mean[j])
                    log = np.log(z / np.float32(group))
                    for j in range(n_j):
                        sums[block, j, k, b] += part[j] / z
                    sums[block, n_j, k, b] += zx / z - log
                    sums[block, n_j + 1, k, b] += log + top * lam[b]


@_jit  # type: ignore[untyped-decorator]
def _pooled(t: Any, f: Any, lam: Any, top: Any, sums: Any) -> None:  # pragma: no cover - compiled
    n, n_k, n_b, n_j = t.shape[0], t.shape[1], lam.shape[0], f.shape[1]
    blocks = sums.shape[0]
    for block in numba.prange(blocks):
        for i in range(n * block // blocks, n * (block + 1) // blocks):
            for k in range(n_k):
                shifted = t[i, k] - top[k]
                for b in range(n_b):
                    x = shifted * lam[b]
                    e = np.exp(x)
                    sums[block, n_j + 1, k, b] += e
                    sums[block, n_j, k, b] += e * x
                    for j in range(n_j):
                        sums[block, j, k, b] += e * f[i, j]


def tilt(p: Problem) -> Settings:
    """Gain (K, B, J), KL and log partition (K, B), averaged over prompts."""
    lam, group = (1 / p.betas).astype(np.float32), p.rows.group
    _grouped(p.scores[:group], p.values[:group], lam, group, np.zeros((1, p.values.shape[1] + 2, p.k, len(lam))))

    def call() -> tuple[Any, Any, Any]:
        sums = np.zeros((BLOCKS, p.values.shape[1] + 2, p.k, len(lam)))
        _grouped(p.scores, p.values, lam, group, sums)
        mean = sums.sum(axis=0) * (group / p.rows.n)
        return mean[:-2].transpose(1, 2, 0), mean[-2], mean[-1]

    return {"fused, parallel": call}


def tilt_global(p: Problem) -> Settings:
    """The same with all rows in one group."""
    lam = (1 / p.betas).astype(np.float32)
    _pooled(p.scores[:1], p.values[:1], lam, p.scores[0], np.zeros((1, p.values.shape[1] + 2, p.k, len(lam))))

    def call() -> tuple[Any, Any, Any]:
        sums, top = np.zeros((BLOCKS, p.values.shape[1] + 2, p.k, len(lam))), p.scores.max(axis=0)
        centred = p.values - p.values.mean(axis=0, dtype=np.float64).astype(np.float32)
        _pooled(p.scores, centred, lam, top, sums)
        mean = sums.sum(axis=0)
        z, log = mean[-1].copy(), np.log(mean[-1] / p.rows.n)
        mean[:-1] /= z
        return mean[:-2].transpose(1, 2, 0), mean[-2] - log, log + top.astype(np.float64)[:, None] / p.betas

    return {"fused, parallel": call}


KERNELS = {"tilt": tilt, "tilt_global": tilt_global}
