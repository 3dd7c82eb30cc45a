"""A progress line for passes that take more than a second, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["bar"]


def bar() -> Callable[[int, int], None]:
    """A function of (done, total) that keeps one line on standard error up to date."""
    start = time.monotonic()
    last = [0.0]

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or now - start < 1 or (now - last[0] < 0.2 and done < total):
            return
        last[0] = now
        rate = done / (now - start)
        left = (total - done) / rate if rate else 0.0
        end = "\n" if done >= total else ""
        print(
            f"\r{done:,} of {total:,} rows, {rate:,.0f} rows/s, {left:.0f} s left ",
            end=end,
            file=sys.stderr,
            flush=True,
        )

    return show
