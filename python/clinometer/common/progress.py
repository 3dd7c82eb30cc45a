"""A progress line for passes that take more than a second, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

PATIENCE, EVERY = 1.0, 0.2  # seconds before the first line, and between two
_open = [False]  # whether the cursor stands behind an unfinished line


def bar(*, row_bytes: int = 0, unit: str = "rows") -> Callable[[int, int], None]:
    """A function of (done, total) that keeps one line on standard error up to date.

    `row_bytes` is what a row takes on disk: with it the line says GB/s as well.
    """
    start = time.monotonic()
    last = [0.0]

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        if now - start < PATIENCE or (now - last[0] < EVERY and done < total) or not sys.stderr.isatty():
            return
        last[0] = now
        rate = done / (now - start)
        parts = [f"{done:,} of {total:,} {unit}", f"{rate:,.3g} {unit}/s" if rate < 100 else f"{rate:,.0f} {unit}/s"]
        if row_bytes:
            parts.append(f"{rate * row_bytes / 1e9:.2f} GB/s")
        parts.append(f"{_clock((total - done) / rate)} left" if rate else "waiting")
        # \x1b[K: a shorter line leaves nothing of the longer one before it
        print(f"\r{', '.join(parts)}\x1b[K", end="\n" if done >= total else "", file=sys.stderr, flush=True)
        _open[0] = done < total

    return show


def shown(progress: bool | Callable[[int, int], None] | None, begun: int = 0) -> Callable[[int, int], None]:
    """What a call's progress= stands for; a line counts from `begun`, where a stopped run goes on, for its rate."""
    if callable(progress):
        return progress
    if not progress:
        return lambda done, total: None
    line = bar()
    return lambda done, total: line(done - begun, total - begun)


def clear() -> None:
    """End a line that a stopped pass left open, so that what is said next starts on its own."""
    if _open[0]:
        _open[0] = False
        print(file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    """Seconds as people say them.

    >>> _clock(7.2), _clock(200), _clock(7300)
    ('7 s', '3 min 20 s', '2 h 1 min')
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
