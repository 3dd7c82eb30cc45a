"""NumPy as a careful user would write it: float32 in chunks that stay in cache, one read of the rows.

Two settings: chunks in turn with BLAS on all threads, or a pool of threads that takes parts of the rows with BLAS on
one thread each, which also widens half precision on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from clinometer.bench.problem import Problem
from clinometer.bench.rows import Floats, Rows, Singles

from ..blas import Blas
from . import Settings

__all__ = ["KERNELS", "VERSION", "set_threads"]

VERSION = np.__version__
TILT_CELLS = 1 << 17  # exponentials held at once: 512 KiB
GRAM_ROWS = 2048  # rows whose products are summed in float32
Work = Callable[[Rows, int], Any]
_threads = 1
_blas = Blas()


def set_threads(threads: int) -> None:
    """Threads of the pool."""
    global _threads
    _threads = threads


def _settings(rows: Rows, work: Work, gather: Callable[[list[Any]], Any]) -> Settings:
    """`work(part, first row)` on all rows at once or on parts in a pool, then `gather` of what it returned."""
    share = -(-rows.n // _threads // rows.group) * rows.group
    parts = [(Rows(rows.dtype, rows.stored[i : i + share], rows.group), i) for i in range(0, rows.n, share)]
    pool = ThreadPoolExecutor(_threads)

    def in_turn() -> Any:
        with _blas.limit(_blas.most):
            return gather([work(rows, 0)])

    def pooled() -> Any:
        with _blas.limit(1):
            return gather(list(pool.map(lambda part: work(*part), parts)))

    found: Settings = {"BLAS threads": in_turn}
    if len(parts) > 1 and _blas.most is not None:
        found["thread pool"] = pooled
    return found


def _total(parts: list[Any]) -> Any:
    return sum(parts[1:], start=parts[0])


def score(p: Problem) -> Settings:
    """Scores (N, K)."""
    out, right = np.empty((p.rows.n, p.k), np.float32), np.ascontiguousarray(p.single.T)

    def work(part: Rows, first: int) -> None:
        if part.dtype == "float32":
            np.matmul(part.stored, right, out=out[first : first + part.n])
            return
        for begin, x in part.chunks():
            np.matmul(x, right, out=out[first + begin : first + begin + len(x)])

    return _settings(p.rows, work, lambda _: out)


def _tilt_sums(t: Singles, f: Singles, betas: Singles) -> Floats:
    """Sums over prompts (G, n, .) of gain, KL and log partition, stacked (J + 2, K B)."""
    groups, n, k = t.shape
    m = k * len(betas)
    top = t.max(axis=1, keepdims=True)
    x = ((t - top)[..., None] / betas).reshape(groups, n, m)
    e = np.exp(x)
    z = e.sum(axis=1, keepdims=True)
    e /= z
    log_z = np.log(z[:, 0].astype(np.float64) / n)
    gain = np.matmul((f - f.mean(axis=1, keepdims=True)).transpose(0, 2, 1), e).sum(axis=0, dtype=np.float64)
    x *= e
    kl = x.sum(axis=1).sum(axis=0, dtype=np.float64) - log_z.sum(axis=0)
    log = (log_z + (top[:, 0, :, None] / betas).reshape(groups, m)).sum(axis=0)
    return np.concatenate([gain, kl[None], log[None]])


def _as_three(sums: Floats, p: Problem, groups: int) -> tuple[Floats, Floats, Floats]:
    mean = (sums / groups).reshape(-1, p.k, len(p.betas))
    return mean[:-2].transpose(1, 2, 0), mean[-2], mean[-1]


def tilt(p: Problem) -> Settings:
    """Gain (K, B, J), KL and log partition (K, B), averaged over prompts."""
    scores, values, betas, group = p.scores, p.values, p.betas.astype(np.float32), p.rows.group
    step = max(TILT_CELLS // (group * p.k * len(betas)), 1) * group

    def work(part: Rows, first: int) -> Floats:
        cuts = (slice(i, min(i + step, first + part.n)) for i in range(first, first + part.n, step))
        each = (
            _tilt_sums(scores[c].reshape(-1, group, p.k), values[c].reshape(-1, group, values.shape[1]), betas)
            for c in cuts
        )
        return np.asarray(_total(list(each)))

    return _settings(p.rows, work, lambda parts: _as_three(_total(parts), p, p.rows.n // group))


def tilt_global(p: Problem) -> Settings:
    """The same with all rows in one group, where sums in float32 may be too short."""
    return {
        f"{name}, {np.dtype(dtype).name}": call
        for dtype in (np.float32, np.float64)
        for name, call in _tilt_global(p, p.scores.astype(dtype), p.values.astype(np.float64), dtype).items()
    }


def _tilt_global(p: Problem, scores: Any, values: Floats, dtype: Any) -> Settings:
    values, betas = (values - values.mean(axis=0)).astype(dtype), p.betas.astype(dtype)
    n, m = p.rows.n, p.k * len(betas)
    step = max(TILT_CELLS // m, 16)

    def work(part: Rows, first: int) -> Floats:
        top, sums = scores.max(axis=0), np.zeros((values.shape[1] + 2, m))
        for i in range(first, first + part.n, step):
            cut = slice(i, min(i + step, first + part.n))
            x = ((scores[cut] - top)[..., None] / betas).reshape(-1, m)
            e = np.exp(x)
            sums[:-2] += values[cut].T @ e
            sums[-1] += e.sum(axis=0)
            x *= e
            sums[-2] += x.sum(axis=0)
        return sums

    def gather(parts: list[Floats]) -> tuple[Floats, Floats, Floats]:
        sums = _total(parts)
        z, log_z = sums[-1].copy(), np.log(sums[-1] / n)
        sums[-1] = log_z + (scores.max(axis=0).astype(np.float64)[:, None] / p.betas).reshape(-1)
        sums[:-1] /= z
        sums[-2] -= log_z
        return _as_three(sums, p, 1)

    return _settings(p.rows, work, gather)


def tilted_mean(p: Problem) -> Settings:
    """Mean rows (K, B, d) under each tilt."""
    group, betas, m = p.rows.group, p.betas.astype(np.float32), p.k * len(p.betas)

    def work(part: Rows, _: int) -> Floats:
        out = np.zeros((m, part.d))
        for _begin, x in part.chunks():
            t = (x @ p.single.T).reshape(-1, group, p.k)
            w = np.exp(((t - t.max(axis=1, keepdims=True))[..., None] / betas).reshape(len(t), group, m))
            w /= w.sum(axis=1, keepdims=True)
            out += w.reshape(-1, m).T @ x
        return out

    return _settings(p.rows, work, lambda s: (_total(s) * (group / p.rows.n)).reshape(p.k, len(betas), -1))


def _centred(x: Singles, group: int) -> Singles:
    grouped = x.reshape(-1, group, x.shape[1])
    return np.asarray(grouped - grouped.mean(axis=1, keepdims=True)).reshape(x.shape)


def covariance_projection(p: Problem) -> Settings:
    """Within-prompt Sigma u (K, d): centring the scores inside prompts is enough."""

    def work(part: Rows, _: int) -> Floats:
        out = np.zeros((p.k, part.d))
        for _begin, x in part.chunks():
            out += _centred(x @ p.single.T, part.group).T @ x
        return out

    return _settings(p.rows, work, lambda parts: _total(parts) / p.rows.n)


def covariance(p: Problem) -> Settings:
    """Covariance (d, d) about an approximate mean, corrected at the end; X^T X of one array is a SYRK in NumPy."""
    pilot = p.rows.exact(slice(0, 1024)).mean(axis=0).astype(np.float32)

    def work(part: Rows, _: int) -> Floats:
        out = np.zeros((part.d + 1, part.d))
        for _begin, x in part.chunks(4 * GRAM_ROWS * part.d):
            centred = x - pilot
            out[1:] += centred.T @ centred
            out[0] += centred.sum(axis=0, dtype=np.float64)
        return out

    def gather(parts: list[Floats]) -> Floats:
        sums = _total(parts) / p.rows.n
        return np.asarray(sums[1:] - np.outer(sums[0], sums[0]))

    return _settings(p.rows, work, gather)


def covariance_within(p: Problem) -> Settings:
    """Within-prompt covariance (d, d)."""

    def work(part: Rows, _: int) -> Floats:
        out = np.zeros((part.d, part.d))
        for _begin, x in part.chunks(4 * GRAM_ROWS * part.d):
            centred = _centred(x, part.group)
            out += centred.T @ centred
        return out

    return _settings(p.rows, work, lambda parts: _total(parts) / p.rows.n)


def bradley_terry(p: Problem) -> Settings:
    """Loss (K,) and gradient (K, d) of pairs of neighbouring rows: two products on a chunk in cache."""

    def work(part: Rows, first: int) -> Floats:
        out = np.zeros((p.k, part.d + 1))
        for begin, x in part.chunks():
            s = (x @ p.single.T).astype(np.float64)
            margin = s[0::2] - s[1::2]
            chosen = p.chosen[(first + begin) // 2 : (first + begin + len(x)) // 2, None]
            out[:, 0] += (np.logaddexp(0, margin) - chosen * margin).sum(axis=0)
            off = np.repeat(1 / (1 + np.exp(-margin)) - chosen, 2, axis=0).astype(np.float32)
            off[1::2] *= -1
            out[:, 1:] += off.T @ x
        return out

    def gather(parts: list[Floats]) -> tuple[Floats, Floats]:
        sums = _total(parts) / len(p.chosen)
        return sums[:, 0], sums[:, 1:]

    return _settings(p.rows, work, gather)


KERNELS: dict[str, Callable[[Problem], Settings]] = {
    "score": score, "tilt": tilt, "tilt_global": tilt_global, "tilted_mean": tilted_mean,
    "covariance_projection": covariance_projection, "covariance": covariance,
    "covariance_within": covariance_within, "bradley_terry": bradley_terry,
}  # fmt: skip
