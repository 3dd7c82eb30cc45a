"""Python work shared by a call's threads: NumPy and the core let go of the lock while they compute.

And products that stay on the thread that calls. BLAS shares even small ones among threads of its own, which wait for
each other: on a busy machine a product of a millisecond then takes thirty, and several callers wait in a line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STRIP = 1 << 18  # multiply-adds of one product, up to which BLAS starts no threads
SIDE = 64  # of a block of one
S = TypeVar("S")
T = TypeVar("T")


def shared(work: Callable[[S], T], items: Iterable[S], n_threads: int) -> list[T]:
    """work(item) of each item, in their order; the first error is raised. One item or thread starts no thread."""
    held = list(items)
    workers = min(n_threads, len(held))
    if workers < 2:
        return [work(item) for item in held]
    contexts = [copy_context() for _ in held]  # NumPy's error state and who listens to notes
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(lambda context, item: context.run(work, item), contexts, held))


def heard(work: Callable[[], T]) -> T:
    """work() in a thread of its own where this is the main one: LAPACK hears no Ctrl-C, and who waits for it does."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    done, context = Future[T](), copy_context()

    def run() -> None:
        try:
            done.set_result(context.run(work))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result()


def applied(x: Floats, w: Floats) -> Floats:
    """x @ w of (..., N) and (N,)."""
    return np.asarray(np.einsum("...n,n->...", x, w))


def product(a: Any, b: Any) -> Floats:
    """a @ b of (n, k) and (k, m) in blocks for which BLAS starts no threads: bits do not depend on how many it has."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    (n, k), m = a.shape, b.shape[1]
    if min(n, k, m) < 2:  # a matrix and a vector have thresholds of their own
        return np.asarray(np.einsum("nk,km->nm", a, b))
    if np.may_share_memory(a, b):  # else x.T @ x is another routine, with another threshold
        b = b.copy()
    wide, deep = min(m, SIDE), min(k, STRIP // (min(n, SIDE) * min(m, SIDE)))
    high = STRIP // (deep * wide)
    out = np.zeros((n, m))
    for i in range(0, n, high):
        for j in range(0, m, wide):
            for c in range(0, k, deep):
                out[i : i + high, j : j + wide] += a[i : i + high, c : c + deep] @ b[c : c + deep, j : j + wide]
    return out


def images(sigma: Floats, rows: Floats) -> Floats:
    """Rows Sigma u of a symmetric Sigma (d, d) and rows u (K, d)."""
    return product(rows, sigma)
