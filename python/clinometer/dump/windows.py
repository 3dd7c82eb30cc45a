"""The rows of a dump that a pass is at, those that have to be fetched a window at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.files.streams import ahead
from clinometer.sources import window
from clinometer.sources.window import Window, filler, runs

from .dump import Dump
from .segments import Segment


def is_windowed(dump: Dump) -> bool:
    """Whether any of its rows have to be fetched."""
    return any(isinstance(s.array, Window) for s in dump.segments)


_Span = tuple[Segment, int, int]  # rows [low, high) of a segment


def _present(dump: Dump, wanted: NDArray[np.int64] | tuple[int, int]) -> list[tuple[NDArray[Any], int]]:
    """Pieces of the whole dump in which `wanted` rows, sorted or a range, are there, and the others are NaN.

    A window looks at its own of 100,000 files: what it has is in few pieces, and so is what lies between them.
    """
    out: list[tuple[NDArray[Any], int]] = []
    at = 0
    for run in _adjacent(_spans(dump, wanted)):
        first = run[0][0].row_start + run[0][1]
        if first > at:
            out.append((filler(run[0][0].array, first - at), at))
        out.append((_rows(run), first))
        at = first + sum(high - low for _, low, high in run)
    if at < dump.n_rows:
        out.append((filler(dump.segments[0].array, dump.n_rows - at), at))
    return out


def _spans(dump: Dump, wanted: NDArray[np.int64] | tuple[int, int]) -> Iterator[_Span]:
    """Where the wanted rows lie, in order."""
    if isinstance(wanted, tuple):
        yield from dump.spans(*wanted)
        return
    for segment, low, high in dump.spans(int(wanted[0]), int(wanted[-1]) + 1):
        if not isinstance(segment.array, Window):
            yield segment, low, high
            continue
        own = wanted[slice(*np.searchsorted(wanted, [segment.row_start + low, segment.row_start + high]))]
        for a, b, _, _ in runs(own - segment.row_start, segment.array.row_bytes, len(segment.array)):
            yield segment, a, b


def _adjacent(spans: Iterable[_Span]) -> Iterator[list[_Span]]:
    """Spans of windows that follow one another; rows in memory are alone."""
    run: list[_Span] = []
    end = -1
    for segment, low, high in spans:
        fetched = isinstance(segment.array, Window)
        if run and not (fetched and end == segment.row_start + low):
            yield run
            run = []
        run.append((segment, low, high))
        end = segment.row_start + high if fetched else -1
    if run:
        yield run


def _rows(run: list[_Span]) -> NDArray[Any]:
    """The rows of adjacent spans in one array."""
    segment, low, high = run[0]
    if len(run) == 1:
        rows = segment.array[low:high]
        return np.ascontiguousarray(rows) if isinstance(segment.array, Window) else rows
    out = np.empty((sum(b - a for _, a, b in run), segment.array.shape[1]), segment.array.dtype)
    at = 0
    for segment, low, high in run:
        out[at : at + high - low] = segment.array[low:high]
        at += high - low
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
