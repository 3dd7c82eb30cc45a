"""Python work shared by a call's threads: NumPy and the core let go of the lock while they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["shared"]

S = TypeVar("S")
T = TypeVar("T")


def shared(work: Callable[[S], T], items: Iterable[S], n_threads: int) -> list[T]:
    """work(item) of each item, in their order; the first error is raised. One item or thread starts no thread."""
    held = list(items)
    workers = min(n_threads, len(held))
    if workers < 2:
        return [work(item) for item in held]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(work, held))
