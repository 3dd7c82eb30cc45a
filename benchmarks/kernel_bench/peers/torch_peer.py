"""torch: float32 products; half precision widened in chunks into memory that is there already."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from clinometer.bench.problem import Problem
from clinometer.bench.rows import Rows

from . import Settings

__all__ = ["KERNELS", "VERSION", "set_threads", "tensor"]

VERSION = str(torch.__version__)
CHUNKS = {"1 MiB chunks": 1 << 20, "8 MiB chunks": 8 << 20}
TILT_CELLS = 1 << 20
GRAM_ROWS = 2048
Chunks = Callable[[], Iterator[tuple[int, Any]]]


def set_threads(threads: int) -> None:
    """Threads inside every operation."""
    torch.set_num_threads(threads)


def tensor(rows: Rows) -> Any:
    """The rows as a tensor over the map."""
    held = rows.stored.view(np.int16) if rows.dtype == "bfloat16" else rows.stored
    return _shared(held).view(torch.bfloat16) if rows.dtype == "bfloat16" else _shared(held)


def _shared(array: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the map is read-only, and nothing here writes
        return torch.from_numpy(array)


def _chunks(rows: Rows, n_bytes: int) -> Chunks:
    stored, group = tensor(rows), rows.group
    step = max(n_bytes // (4 * rows.d) // group, 1) * group
    wide = torch.empty((min(step, rows.n), rows.d))

    def chunks() -> Iterator[tuple[int, Any]]:
        for begin in range(0, rows.n, step):
            part = stored[begin : begin + step]
            yield begin, part if rows.dtype == "float32" else wide[: len(part)].copy_(part)

    return chunks


def _by_chunk(p: Problem, make: Callable[[Chunks], Callable[[], Any]]) -> Settings:
    return {name: make(_chunks(p.rows, n_bytes)) for name, n_bytes in CHUNKS.items()}


def score(p: Problem) -> Settings:
    """Scores (N, K)."""
    right, out = torch.from_numpy(np.ascontiguousarray(p.single.T)), torch.empty((p.rows.n, p.k))
    if p.rows.dtype == "float32":
        whole = tensor(p.rows)
        return {"matmul": lambda: torch.matmul(whole, right, out=out).numpy()}

    def make(chunks: Chunks) -> Callable[[], Any]:
        def call() -> Any:
            for begin, x in chunks():
                torch.matmul(x, right, out=out[begin : begin + len(x)])
            return out.numpy()

        return call

    return _by_chunk(p, make)


def _tilt_sums(t: Any, f: Any, betas: Any, top: Any) -> tuple[Any, Any, Any]:
    """Of one chunk (G, n, K): sums of e, of e f and of x e, for x the scaled distance from the top; (G, M)."""
    x = ((t - top)[..., None] / betas).reshape(len(t), t.shape[1], -1)
    e = torch.exp(x)
    return e.sum(1), torch.bmm(f.transpose(1, 2), e), x.mul_(e).sum(1)


def tilt(p: Problem) -> Settings:
    """Gain (K, B, J), KL and log partition (K, B): exp, then one batched product."""
    t, f = torch.from_numpy(p.scores), torch.from_numpy(p.values)
    betas, group = torch.from_numpy(p.betas.astype(np.float32)), p.rows.group
    m = p.k * len(p.betas)
    step = max(TILT_CELLS // (group * m), 1) * group

    def call() -> tuple[Any, Any, Any]:
        sums = torch.zeros((f.shape[1] + 2, m), dtype=torch.float64)
        for i in range(0, p.rows.n, step):
            s, v = (a[i : i + step].reshape(-1, group, a.shape[1]) for a in (t, f))
            top = s.amax(1, keepdim=True)
            z, gain, kl = _tilt_sums(s, v - v.mean(1, keepdim=True), betas, top)
            log = torch.log(z / group)
            sums[:-2] += (gain / z[:, None]).sum(0, dtype=torch.float64)
            sums[-2] += (kl / z - log).sum(0, dtype=torch.float64)
            sums[-1] += (log + (top[:, 0, :, None] / betas).reshape(len(s), m)).sum(0, dtype=torch.float64)
        mean = (sums.numpy() * (group / p.rows.n)).reshape(-1, p.k, len(p.betas))
        return mean[:-2].transpose(1, 2, 0), mean[-2], mean[-1]

    return {"exp, bmm": call}


def tilt_global(p: Problem) -> Settings:
    """The same with all rows in one group, where sums in float32 may be too short."""
    return {f"exp, matmul, {name}": _tilt_global(p, dtype) for name, dtype in
            (("float32", torch.float32), ("float64", torch.float64))}  # fmt: skip


def _tilt_global(p: Problem, dtype: Any) -> Callable[[], Any]:
    t, f = torch.from_numpy(p.scores).to(dtype), torch.from_numpy(p.values).double()
    f = (f - f.mean(0)).to(dtype)
    betas, m = torch.from_numpy(p.betas).to(dtype), p.k * len(p.betas)
    step = max(TILT_CELLS // m, 16)

    def call() -> tuple[Any, Any, Any]:
        sums, top = torch.zeros((f.shape[1] + 2, m), dtype=torch.float64), t.amax(0)
        for i in range(0, p.rows.n, step):
            z, gain, kl = _tilt_sums(t[None, i : i + step], f[None, i : i + step], betas, top)
            sums[:-2] += gain[0]
            sums[-2] += kl[0]
            sums[-1] += z[0]
        z, log = sums[-1].clone(), torch.log(sums[-1] / p.rows.n)
        sums[:-1] /= z
        sums[-2] -= log
        sums[-1] = log + (top.double()[:, None] / torch.from_numpy(p.betas)).reshape(-1)
        mean = sums.numpy().reshape(-1, p.k, len(p.betas))
        return mean[:-2].transpose(1, 2, 0), mean[-2], mean[-1]

    return call


def tilted_mean(p: Problem) -> Settings:
    """Mean rows (K, B, d) under each tilt."""
    right, betas = torch.from_numpy(np.ascontiguousarray(p.single.T)), torch.from_numpy(p.betas.astype(np.float32))
    group, m = p.rows.group, p.k * len(p.betas)

    def make(chunks: Chunks) -> Callable[[], Any]:
        def call() -> Any:
            out = torch.zeros((m, p.rows.d), dtype=torch.float64)
            for _, x in chunks():
                t = (x @ right).reshape(-1, group, p.k)
                w = torch.softmax((t[..., None] / betas).reshape(len(t), group, m), 1).reshape(-1, m)
                out += w.T @ x
            return (out.numpy() * (group / p.rows.n)).reshape(p.k, len(p.betas), -1)

        return call

    return _by_chunk(p, make)


def covariance_projection(p: Problem) -> Settings:
    """Within-prompt Sigma u (K, d)."""
    right = torch.from_numpy(np.ascontiguousarray(p.single.T))

    def make(chunks: Chunks) -> Callable[[], Any]:
        def call() -> Any:
            out = torch.zeros((p.k, p.rows.d), dtype=torch.float64)
            for _, x in chunks():
                s = (x @ right).reshape(-1, p.rows.group, p.k)
                out += (s - s.mean(1, keepdim=True)).reshape(-1, p.k).T @ x
            return out.numpy() / p.rows.n

        return call

    return _by_chunk(p, make)


def _gram(p: Problem, centre: Callable[[Any], Any]) -> Settings:
    chunks = _chunks(p.rows, 4 * GRAM_ROWS * p.rows.d)

    def call() -> Any:
        out, total = torch.zeros((p.rows.d, p.rows.d), dtype=torch.float64), torch.zeros(p.rows.d, dtype=torch.float64)
        for _, x in chunks():
            c = centre(x)
            out += c.T @ c
            total += c.sum(0, dtype=torch.float64)
        mean = total / p.rows.n
        return (out / p.rows.n - torch.outer(mean, mean)).numpy()

    return {"matmul": call}


def covariance(p: Problem) -> Settings:
    """Covariance (d, d) about an approximate mean, corrected at the end."""
    pilot = torch.from_numpy(p.rows.exact(slice(0, 1024)).mean(axis=0).astype(np.float32))
    return _gram(p, lambda x: x - pilot)


def covariance_within(p: Problem) -> Settings:
    """Within-prompt covariance (d, d)."""

    def centre(x: Any) -> Any:
        grouped = x.reshape(-1, p.rows.group, p.rows.d)
        return (grouped - grouped.mean(1, keepdim=True)).reshape(-1, p.rows.d)

    return _gram(p, centre)


def bradley_terry(p: Problem) -> Settings:
    """Loss (K,) and gradient (K, d) of pairs of neighbouring rows: two products on a chunk in cache."""
    right, chosen = torch.from_numpy(np.ascontiguousarray(p.single.T)), torch.from_numpy(p.chosen)[:, None]

    def make(chunks: Chunks) -> Callable[[], Any]:
        def call() -> tuple[Any, Any]:
            loss = torch.zeros(p.k, dtype=torch.float64)
            gradient = torch.zeros((p.k, p.rows.d), dtype=torch.float64)
            for begin, x in chunks():
                s = (x @ right).double()
                margin, y = s[0::2] - s[1::2], chosen[begin // 2 : (begin + len(x)) // 2]
                loss += (torch.nn.functional.softplus(margin) - y * margin).sum(0)
                off = torch.sigmoid(margin) - y
                gradient += torch.stack([off, -off], 1).reshape(-1, p.k).float().T @ x
            return (loss / len(p.chosen)).numpy(), (gradient / len(p.chosen)).numpy()

        return call

    return _by_chunk(p, make)


KERNELS: dict[str, Callable[[Problem], Settings]] = {
    "score": score, "tilt": tilt, "tilt_global": tilt_global, "tilted_mean": tilted_mean,
    "covariance_projection": covariance_projection, "covariance": covariance,
    "covariance_within": covariance_within, "bradley_terry": bradley_terry,
}  # fmt: skip
