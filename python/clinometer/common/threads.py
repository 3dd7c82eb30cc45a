"""Python work shared by a call's threads: NumPy and the core let go of the lock while they compute.

And products that stay on the thread that calls. BLAS shares even small ones among threads of its own, which wait for
each other: on a busy machine a product of a millisecond then takes thirty, and several callers wait in a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["applied", "images", "product", "shared"]

Floats = NDArray[np.float64]
STRIP = 1 << 18  # multiply-adds of one product, up to which BLAS starts no threads
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


def applied(x: Floats, w: Floats) -> Floats:
    """x @ w of (..., N) and (N,)."""
    return np.asarray(np.einsum("...n,n->...", x, w))


def product(a: Any, b: Any) -> Floats:
    """a @ b of (n, k) and (k, m) in an order of its own: the bits do not depend on how many threads BLAS has.

    For the small products behind printed numbers; a thousand million multiply-adds take about a second.
    """
    return np.einsum("nk,km->nm", np.asarray(a, np.float64), np.asarray(b, np.float64))  # type: ignore[no-any-return]


def images(sigma: Floats, rows: Floats) -> Floats:
    """Rows Sigma u of a symmetric Sigma (d, d) and rows u (K, d), strip by strip."""
    step = max(1, STRIP // max(rows.size, 1))
    out, columns = np.empty((len(sigma), len(rows))), np.ascontiguousarray(rows.T)
    for a in range(0, len(sigma), step):
        np.matmul(sigma[a : a + step], columns, out=out[a : a + step])
    return np.ascontiguousarray(out.T)
