"""What one would run instead: each kernel from its definition in NumPy, torch or JAX, float32, whole prompts at a time.

One spelling serves the three, so it holds only what they share. Peers with every trick of theirs are in the
repository's benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from .problem import Problem
from .rows import Rows

__all__ = ["DEFINED", "LIBRARIES", "calls"]

CHUNK_CELLS = 1 << 20  # elements of rows, or exponentials, held at once: 4 MiB
Call = Callable[[], Any]


@dataclass(frozen=True)
class Library:
    """What the definitions need of a library beside operators."""

    module: Any
    array: Callable[[Any], Any]
    rows: Callable[[Rows], Callable[[slice], Any]]  # the stored rows, once; then a slice of them in float32
    largest: Callable[[Any, int], Any]
    compiled: Callable[[Any], Any] = lambda call: call


def _numpy() -> Library:
    def rows(r: Rows) -> Callable[[slice], Any]:
        return lambda cut: r.wide(r.stored[cut], np.empty(r.stored[cut].shape, np.float32))

    return Library(np, np.asarray, rows, np.max)


def _torch() -> Library:
    import torch

    def rows(r: Rows) -> Callable[[slice], Any]:
        held = torch.tensor(r.stored.view(np.int16) if r.dtype == "bfloat16" else r.stored)
        held = held.view(torch.bfloat16) if r.dtype == "bfloat16" else held
        return lambda cut: held[cut].float()

    return Library(torch, torch.tensor, rows, torch.amax)


def _jax() -> Library:
    import jax
    import jax.numpy as jnp

    def rows(r: Rows) -> Callable[[slice], Any]:
        held = jnp.array(r.stored.view(jnp.bfloat16) if r.dtype == "bfloat16" else r.stored)
        return lambda cut: held[cut].astype(jnp.float32)

    return Library(jnp, jnp.array, rows, jnp.max, jax.jit)


LIBRARIES: dict[str, Callable[[], Library]] = {"numpy": _numpy, "torch": _torch, "jax": _jax}


def _score(lib: Library, group: int, u: Any, betas: Any, x: Any, f: Any) -> Any:
    return x @ u


def _weights(lib: Library, group: int, u: Any, betas: Any, x: Any) -> tuple[Any, Any, Any]:
    """Of whole prompts (G, n): tilted weights (G, n, K B), KL and log partition (K B,), summed over prompts."""
    t = (x @ u).reshape(-1, group, u.shape[1])
    top = lib.largest(t, 1)
    y = ((t - top[:, None])[..., None] / betas).reshape(len(t), group, -1)
    e = lib.module.exp(y)
    z = e.sum(1)
    w, log = e / z[:, None], lib.module.log(z / group)
    return w, ((w * y).sum(1) - log).sum(0), (log + (top[..., None] / betas).reshape(len(t), -1)).sum(0)


def _tilt(lib: Library, group: int, u: Any, betas: Any, x: Any, f: Any) -> Any:
    w, kl, log = _weights(lib, group, u, betas, x)
    f = f.reshape(len(w), group, -1)
    gain = w.reshape(len(x), -1).T @ (f - f.mean(1)[:, None]).reshape(len(x), -1)
    return lib.module.concatenate([gain, kl[:, None], log[:, None]], 1)


def _tilted_mean(lib: Library, group: int, u: Any, betas: Any, x: Any, f: Any) -> Any:
    return _weights(lib, group, u, betas, x)[0].reshape(len(x), -1).T @ x


def _projection(lib: Library, group: int, u: Any, betas: Any, x: Any, f: Any) -> Any:
    t = (x @ u).reshape(-1, group, u.shape[1])
    return (t - t.mean(1)[:, None]).reshape(len(x), -1).T @ x


def _covariance(lib: Library, group: int, u: Any, betas: Any, x: Any, f: Any) -> Any:
    x = x.reshape(-1, group, x.shape[1])
    x = (x - x.mean(1)[:, None]).reshape(-1, x.shape[2])
    return x.T @ x


def _bradley_terry(lib: Library, group: int, u: Any, betas: Any, x: Any, f: Any) -> Any:
    """Loss and gradient of pairs of neighbouring rows; f: the probability that the first wins."""
    x, y = x[0::2] - x[1::2], f[0::2, None]
    m = x @ u
    loss = lib.module.log(1 + lib.module.exp(-abs(m))) + (m + abs(m)) / 2 - y * m
    return lib.module.concatenate([loss.sum(0)[:, None], (1 / (1 + lib.module.exp(-m)) - y).T @ x], 1)


def _as_tilt(p: Problem, total: Any) -> Any:
    mean = (total * p.rows.group / p.rows.n).reshape(p.k, len(p.betas), -1)
    return mean[..., :-2], mean[..., -2], mean[..., -1]


# what is summed over chunks (scores are joined), and the result from it
DEFINED: dict[str, tuple[Callable[..., Any], Callable[[Problem, Any], Any]]] = {
    "score": (_score, lambda p, total: total),
    "fused": (_tilt, _as_tilt),
    "tilted_mean": (_tilted_mean, lambda p, t: (t * p.rows.group / p.rows.n).reshape(p.k, len(p.betas), -1)),
    "covariance_projection": (_projection, lambda p, total: total / p.rows.n),
    "covariance_within": (_covariance, lambda p, total: total / p.rows.n),
    "bradley_terry": (_bradley_terry, lambda p, total: (total[:, 0] / len(p.chosen), total[:, 1:] / len(p.chosen))),
}


def calls(p: Problem, names: list[str]) -> dict[str, Call]:
    """For each library that is installed and has a definition of the kernel, the call that gives what ours gives."""
    return {n: _call(p, LIBRARIES[n]()) for n in names if p.kernel in DEFINED and find_spec(n) is not None}


def _beside(p: Problem) -> Any:
    """What a definition reads beside the rows, one line a row."""
    if p.kernel == "bradley_terry":
        return np.repeat(p.chosen, 2).astype(np.float32)
    return p.values if p.kernel == "fused" else np.zeros((p.rows.n, 0), np.float32)


def _call(p: Problem, lib: Library) -> Call:
    define, finish = DEFINED[p.kernel]
    group, width = p.rows.group, max(p.rows.d, p.k * len(p.betas) if p.kernel in ("fused", "tilted_mean") else 0)
    u, betas, beside = (lib.array(a) for a in (p.single.T.copy(), p.betas.astype(np.float32), _beside(p)))
    part, take = lib.compiled(partial(define, lib, group)), lib.rows(p.rows)
    step = max(CHUNK_CELLS // width // group, 1) * group
    cuts = [slice(first, first + step) for first in range(0, p.rows.n, step)]

    def call() -> Any:
        found = (np.asarray(part(u, betas, take(cut), beside[cut])) for cut in cuts)
        return (
            np.concatenate(list(found)) if p.kernel == "score" else finish(p, sum(a.astype(np.float64) for a in found))
        )

    return call
