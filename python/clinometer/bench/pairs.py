"""Calls timed in turn in one process, and what the rounds say about their ratios."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from math import comb
from typing import Any

__all__ = ["LEAST", "Rounds", "interval", "median", "once", "ratios", "spread", "timed_rounds"]

LEAST = 9


class Rounds:
    """Seconds of every call and rates of every probe, one number a round; the last results of the calls."""

    def __init__(self, calls: Mapping[str, Any], probes: Mapping[str, Any]) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in calls}
        self.rates: dict[str, list[float]] = {name: [] for name in probes}
        self.results: dict[str, Any] = {}


def once(call: Callable[[], Any], pause: float = 0.0) -> tuple[float, Any]:
    """Seconds of a call, and its result. The pause before it lets the threads of another library go to sleep."""
    time.sleep(pause)
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def timed_rounds(
    calls: Mapping[str, Callable[[], Any]], probes: Mapping[str, Callable[[], float]], *, least: int = LEAST,
    most: int = 25, budget: float = 1.0, pause: float = 0.0,
) -> Rounds:  # fmt: skip
    """Each round makes every call and every probe once, forwards and backwards in turn.

    `least` rounds are made whatever they take, then more up to `most` until `budget` seconds are spent.
    The calls have been made before: nothing here is a first call.
    """
    out = Rounds(calls, probes)
    order = [*calls, *probes]
    start = time.perf_counter()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for r in range(most):
            if r >= least and time.perf_counter() - start > budget:
                break
            for name in order if r % 2 == 0 else reversed(order):
                if name in calls:
                    seconds, out.results[name] = once(calls[name], pause)
                    out.seconds[name].append(seconds)
                else:
                    time.sleep(pause)
                    out.rates[name].append(probes[name]())
    finally:
        if collecting:
            gc.enable()
    return out


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Ratio of each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


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


def spread(found: list[float], places: int = 2) -> str:
    """A median with its interval."""
    if not found:
        return "-"
    low_high = interval(found)
    text = f"{median(found):.{places}f}"
    return f"{text} [{low_high[0]:.{places}f}, {low_high[1]:.{places}f}]" if low_high else text
