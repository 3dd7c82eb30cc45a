"""The rows of a dump that a pass is at, those that have to be fetched a window at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.files.prefetch import ahead
from clinometer.sources import window
from clinometer.sources.window import Window, filler, runs

from .dump import Dump

__all__ = ["is_windowed", "placeholder", "resident"]


def is_windowed(dump: Dump) -> bool:
    """Whether any of its rows have to be fetched."""
    return any(isinstance(s.array, Window) for s in dump.segments)


def _present(dump: Dump, rows: NDArray[np.int64] | tuple[int, int]) -> list[tuple[NDArray[Any], int]]:
    """Segments of the whole dump in which `rows`, sorted or a range, are there, and the others are NaN."""
    out: list[tuple[NDArray[Any], int]] = []
    for s in dump.segments:
        if not isinstance(s.array, Window):
            out.append((s.array, s.row_start))
            continue
        start, n, at = s.row_start, len(s.array), 0
        if isinstance(rows, tuple):
            low, high = max(rows[0], start) - start, min(rows[1], start + n) - start
            spans = [(low, high)] if low < high else []
        else:
            cut = np.searchsorted(rows, [start, start + n])
            spans = [(a, b) for a, b, _, _ in runs(rows[cut[0] : cut[1]] - start, s.array.row_bytes, n)]
        for first, last in spans:
            if first > at:
                out.append((filler(s.array, first - at), start + at))
            out.append((np.ascontiguousarray(s.array.fetch(first, last)), start + first))
            at = last
        if at < n:
            out.append((filler(s.array, n - at), start + at))
    return out


def placeholder(dump: Dump) -> list[tuple[NDArray[Any], int]]:
    """Segments of the right shape for a pass that reads no row."""
    return _present(dump, (0, 0))


def resident(
    dump: Dump, order: NDArray[np.int64] | None, offsets: NDArray[np.int64] | None, begin: int, end: int, leaf: int,
    first_row: int = 0,
) -> Iterator[tuple[int, int, list[tuple[NDArray[Any], int]]]]:  # fmt: skip
    """Cut canonical rows [begin, end) into windows of whole leaves; each with segments that hold its rows.

    With `offsets` of prompts, the first row of one that a window continues is there too: its scores are relative to
    that row. `order` holds the rows from the canonical `first_row` on.

    The next window is fetched while the caller works on one, so at most two are in memory: each of 64 MiB, or one
    leaf where that is more.
    """
    row_bytes = max(dump.dim * s.array.itemsize for s in dump.segments)
    step = max(1, window.WINDOW_BYTES // max(row_bytes * leaf, 1)) * leaf
    spans = [(a, min(a + step, end)) for a in range(begin, end, step)]

    def load(a: int, b: int) -> list[tuple[NDArray[Any], int]]:
        origin = a if offsets is None else int(offsets[np.searchsorted(offsets, a, side="right") - 1])
        if order is None and origin == a:
            return _present(dump, (a, b))
        rows = np.append(origin, np.arange(a, b))
        return _present(dump, np.unique(rows if order is None else order[rows - first_row]))

    held = ahead(partial(load, a, b) for a, b in spans)
    try:
        for a, b in spans:
            yield a, b, next(held)
    finally:
        held.close()
