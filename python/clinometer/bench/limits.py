"""What this machine can do, measured in the run whose times are compared with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blas import Blas

__all__ = ["Limits", "measure"]

L1_DOUBLES = 1024


@dataclass
class Limits:
    """Rates per second; `by_probe` keeps each probe, the rest is the highest of its kind."""

    bandwidth: float
    flops: float
    exps: float
    by_probe: dict[str, float]

    def seconds(self, n_bytes: float, n_flops: float, n_exps: float) -> float:
        """The least time the work can take: max over bytes, flops and exponentials, as if they overlapped."""
        return max(n_bytes / self.bandwidth, n_flops / self.flops, n_exps / self.exps)

    def raise_to(self, seconds: float, n_bytes: float, n_flops: float, n_exps: float) -> list[str]:
        """Take over any rate that a timed call beat: a weak probe would flatter every fraction."""
        raised = []
        for name, count in (("bandwidth", n_bytes), ("flops", n_flops), ("exps", n_exps)):
            if count / seconds > getattr(self, name):
                setattr(self, name, count / seconds)
                raised.append(name)
        return raised


def measure(threads: int, n_bytes: int, budget: float) -> Limits:
    """Probe reading, multiply-adds and exp, each for about `budget` seconds.

    Parameters
    ----------
    threads : int
        The probes run with one thread and with this many.
    n_bytes : int
        Size of the array that is read.
    budget : float
        Seconds per probe.
    """
    probes: dict[str, float] = {}
    array = np.ones(max(n_bytes // 4, threads), np.float32)  # ones, not zeros: zero pages would all be one page
    with ThreadPoolExecutor(threads) as pool:
        for n in sorted({1, threads}):
            probes[f"read bandwidth, {_count(n)}"] = _read_rate(pool, array, n, budget)
        probes["float32 matmul"] = _matmul_rate(budget)
        for n in sorted({1, threads}):
            probes[f"exp, {_count(n)}"] = _exp_rate(pool, n, budget)
    read, exp = (max(v for k, v in probes.items() if k.startswith(kind)) for kind in ("read", "exp"))
    # small calls from several threads wait for the interpreter lock, so threads x one thread counts too
    return Limits(read, probes["float32 matmul"], max(exp, threads * probes["exp, 1 thread"]), probes)


def _count(n: int) -> str:
    return f"{n} thread" + "s" * (n > 1)


def _best(call: Callable[[], Any], budget: float) -> float:
    call()
    best, end = np.inf, time.perf_counter() + budget
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return float(best)


def _read_rate(pool: ThreadPoolExecutor, array: NDArray[np.float32], n: int, budget: float) -> float:
    slices = np.array_split(array, n)
    return float(array.nbytes / _best(lambda: list(pool.map(np.sum, slices)), budget))


def _matmul_rate(budget: float, n: int = 768) -> float:
    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    out = np.empty_like(a)
    blas = Blas()

    def rate(threads: int | None) -> float:
        with blas.limit(threads):
            return 2 * n**3 / _best(lambda: np.matmul(a, a, out=out), budget / len(blas.choices))

    return max(rate(threads) for threads in blas.choices)


def _exp_rate(pool: ThreadPoolExecutor, n: int, budget: float, repeats: int = 200) -> float:
    def work(_: int) -> None:
        x, out = np.linspace(-8.0, 0.0, L1_DOUBLES), np.empty(L1_DOUBLES)
        for _ in range(repeats):
            np.exp(x, out=out)

    return n * repeats * L1_DOUBLES / _best(lambda: list(pool.map(work, range(n))), budget)
