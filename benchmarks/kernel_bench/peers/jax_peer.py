"""JAX on the CPU: XLA's products, compiled once per shape; half precision widened chunk by chunk in the program."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from clinometer.bench.problem import Problem
from clinometer.bench.rows import Rows

from . import Settings

__all__ = ["KERNELS", "VERSION", "set_threads"]

VERSION = str(jax.__version__)
CHUNK_ROWS = 256
Program = Callable[..., Any]


def set_threads(threads: int) -> None:
    """XLA's pool is as large as the number of CPUs this process may use."""


def _stored(rows: Rows) -> Any:
    """The rows as chunks (C, n, d), a copy in memory; bfloat16 as bits, which XLA widens faster than it converts."""
    step = math.gcd(rows.n, CHUNK_ROWS)
    if step % rows.group:
        step = rows.group
    return jnp.asarray(np.ascontiguousarray(rows.stored).reshape(-1, step, rows.d))


def _wide(x: Any) -> Any:
    if x.dtype == jnp.uint16:
        return jax.lax.bitcast_convert_type(x.astype(jnp.uint32) << 16, jnp.float32)
    return x.astype(jnp.float32)


def _product(a: Any, b: Any) -> Any:
    return jnp.matmul(a, b, precision="highest")


def _run(program: Program, *operands: Any) -> Callable[[], Any]:
    compiled = jax.jit(program).lower(*operands).compile()
    return lambda: jax.tree.map(np.asarray, compiled(*operands))


def score(p: Problem) -> Settings:
    """Scores (N, K): one product for float32; for halves by chunk; for bfloat16 also with directions in bfloat16.

    Those directions are rounded, which costs the accuracy, or a sum of two rounded parts, which keeps it.
    """
    right = jnp.asarray(np.ascontiguousarray(p.single.T))
    if p.rows.dtype == "float32":
        return {"dot": _run(_product, jnp.asarray(p.rows.stored), right)}

    def by_chunk(x: Any, u: Any) -> Any:
        return jax.lax.map(lambda part: _product(_wide(part), u), x).reshape(-1, u.shape[1])

    def rounded(x: Any, u: Any) -> Any:
        return jax.lax.dot_general(x, u, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    def in_two(x: Any, u: Any) -> Any:
        both = rounded(x, u)
        return both[:, : p.k] + both[:, p.k :]

    found: Settings = {"by chunk": _run(by_chunk, _stored(p.rows), right)}
    if p.rows.dtype == "bfloat16":
        bits = jnp.asarray(np.ascontiguousarray(p.rows.stored))
        half = jax.lax.bitcast_convert_type(bits, jnp.bfloat16)
        first = right.astype(jnp.bfloat16)
        rest = (right - first.astype(jnp.float32)).astype(jnp.bfloat16)
        found["bfloat16 dot"] = _run(rounded, half, first)
        found["bfloat16 dots, directions in two parts"] = _run(in_two, half, jnp.concatenate([first, rest], 1))
    return found


def _sums(program: Callable[[Any, Any], Any], zero: Any, chunks: Any) -> Any:
    """Sum of a program over chunks; f32 inside one, a compensated sum across them, since JAX has no f64 here."""

    def step(carry: Any, part: Any) -> Any:
        total, lost = carry
        y = program(part, None) - lost
        new = total + y
        return (new, (new - total) - y), None

    (total, _), _ = jax.lax.scan(step, (zero, jnp.zeros_like(zero)), chunks)
    return total


def tilt(p: Problem) -> Settings:
    """Gain (K, B, J), KL and log partition (K, B), averaged over prompts, one fused program by chunk."""
    group, m, j = p.rows.group, p.k * len(p.betas), p.values.shape[1]
    per = math.gcd(p.rows.n // group, max((1 << 18) // (group * m), 1))
    t = jnp.asarray(p.scores.reshape(-1, per, group, p.k))
    f = jnp.asarray(p.values.reshape(-1, per, group, j))
    betas = jnp.asarray(p.betas.astype(np.float32))

    def chunk(part: Any, _: Any) -> Any:
        s, v = part
        top = s.max(1, keepdims=True)
        x = ((s - top)[..., None] / betas).reshape(per, group, m)
        e = jnp.exp(x)
        z = e.sum(1)
        log = jnp.log(z / group)
        v = v - v.mean(1, keepdims=True)
        gain = (jnp.einsum("gij,gim->gjm", v, e, precision="highest") / z[:, None]).sum(0)
        kl = ((e * x).sum(1) / z - log).sum(0)
        return jnp.concatenate([gain, kl[None], (log + (top[:, 0, :, None] / betas).reshape(per, m)).sum(0)[None]])

    sums = _run(lambda t, f: _sums(chunk, jnp.zeros((j + 2, m)), (t, f)), t, f)

    def call() -> tuple[Any, Any, Any]:
        mean = (sums().astype(np.float64) * (group / p.rows.n)).reshape(-1, p.k, len(p.betas))
        return mean[:-2].transpose(1, 2, 0), mean[-2], mean[-1]

    return {"by chunk": call}


def tilted_mean(p: Problem) -> Settings:
    """Mean rows (K, B, d) under each tilt."""
    group, m = p.rows.group, p.k * len(p.betas)
    right, betas = jnp.asarray(np.ascontiguousarray(p.single.T)), jnp.asarray(p.betas.astype(np.float32))

    def chunk(part: Any, _: Any) -> Any:
        x = _wide(part)
        t = _product(x, right).reshape(-1, group, p.k)
        w = jax.nn.softmax((t[..., None] / betas).reshape(len(t), group, m), 1).reshape(-1, m)
        return _product(w.T, x)

    sums = _run(lambda x: _sums(chunk, jnp.zeros((m, p.rows.d)), x), _stored(p.rows))
    return {"by chunk": lambda: (sums().astype(np.float64) * (group / p.rows.n)).reshape(p.k, len(p.betas), -1)}


def covariance_projection(p: Problem) -> Settings:
    """Within-prompt Sigma u (K, d)."""
    right = jnp.asarray(np.ascontiguousarray(p.single.T))

    def chunk(part: Any, _: Any) -> Any:
        x = _wide(part)
        s = _product(x, right).reshape(-1, p.rows.group, p.k)
        return _product((s - s.mean(1, keepdims=True)).reshape(-1, p.k).T, x)

    sums = _run(lambda x: _sums(chunk, jnp.zeros((p.k, p.rows.d)), x), _stored(p.rows))
    return {"by chunk": lambda: sums().astype(np.float64) / p.rows.n}


def bradley_terry(p: Problem) -> Settings:
    """Loss (K,) and gradient (K, d) of pairs of neighbouring rows."""
    right, x = jnp.asarray(np.ascontiguousarray(p.single.T)), _stored(p.rows)
    chosen = jnp.asarray(p.chosen.reshape(len(x), -1).astype(np.float32))

    def chunk(part: Any, _: Any) -> Any:
        wide, y = _wide(part[0]), part[1][:, None]
        s = _product(wide, right)
        margin = s[0::2] - s[1::2]
        off = jax.nn.sigmoid(margin) - y
        gradient = _product(jnp.stack([off, -off], 1).reshape(-1, p.k).T, wide)
        return jnp.concatenate([(jax.nn.softplus(margin) - y * margin).sum(0)[:, None], gradient], 1)

    sums = _run(lambda x, y: _sums(chunk, jnp.zeros((p.k, p.rows.d + 1)), (x, y)), x, chosen)

    def call() -> tuple[Any, Any]:
        found = sums().astype(np.float64) / len(p.chosen)
        return found[:, 0], found[:, 1:]

    return {"by chunk": call}


KERNELS: dict[str, Callable[[Problem], Settings]] = {
    "score": score, "tilt": tilt, "tilted_mean": tilted_mean, "covariance_projection": covariance_projection,
    "bradley_terry": bradley_terry,
}  # fmt: skip
