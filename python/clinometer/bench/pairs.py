"""Two calls timed in turn in one process, and what the pairs say about their ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import comb
from typing import Any

__all__ = ["interval", "median", "timed_pairs"]

LEAST_PAIRS = 3


def timed_pairs(
    ours: Callable[[], Any], other: Callable[[], Any], repeats: int, budget: float | None
) -> tuple[list[float], list[float], Any, Any]:
    """Seconds of each call and the last results; after an untimed call of ours, who goes first alternates.

    The other has been called before, when its threads were chosen.

    With a budget in seconds the pairs stop once it is spent, but not before three of them.
    """
    ours()
    times: tuple[list[float], list[float]] = ([], [])
    results: list[Any] = [None, None]
    start = time.perf_counter()
    for r in range(repeats):
        if budget is not None and r >= LEAST_PAIRS and time.perf_counter() - start > budget:
            break
        for which in (0, 1) if r % 2 == 0 else (1, 0):
            begin = time.perf_counter()
            results[which] = (ours, other)[which]()
            times[which].append(time.perf_counter() - begin)
    return *times, results[0], results[1]


def median(x: list[float]) -> float:
    """The middle of the sorted numbers.

    >>> median([3.0, 1.0, 2.0, 10.0])
    2.5
    """
    s, n = sorted(x), len(x)
    return (s[(n - 1) // 2] + s[n // 2]) / 2


def interval(x: list[float]) -> tuple[float, float] | None:
    """Order statistics that cover the median with probability at least 0.95; None for fewer than six numbers.

    >>> interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    (2.0, 8.0)
    """
    n, k = len(x), 0
    while 2 * sum(comb(n, i) for i in range(k + 1)) <= 0.05 * 2**n:
        k += 1
    s = sorted(x)
    return (s[k - 1], s[n - k]) if k else None
