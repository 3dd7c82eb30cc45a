"""Rows that no memory holds: decoded, or read over a network, a window at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DumpError
from .ahead import ahead

if TYPE_CHECKING:
    from .dump import Dump

__all__ = ["Window", "is_windowed", "placeholder", "resident", "sub"]

_WINDOW_BYTES = 64 << 20
_GAP_BYTES = 64 << 10  # rows between two wanted ones that are read along: cheaper than another request


class Window:
    """Rows (n, d) that are fetched when indexed: by a slice of rows or an array of row numbers.

    It stands where a memory map would; nothing turns it into an array as a whole, so no memory is taken that a
    caller did not ask for by a range of rows.

    Parameters
    ----------
    shape : (n, d)
    dtype : dtype of the stored items in native order (uint16 for bfloat16)
    fetch : function of (first, last) that gives the rows [first, last) as an array (last - first, d)
    """

    ndim = 2

    def __init__(
        self, shape: tuple[int, int], dtype: Any, fetch: Callable[[int, int], NDArray[Any]], name: str = "rows"
    ) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = np.dtype(dtype)
        self.name = name
        self._fetch = fetch

    @property
    def itemsize(self) -> int:
        return int(self.dtype.itemsize)

    @property
    def row_bytes(self) -> int:
        """Stored bytes of a row."""
        return self.shape[1] * self.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        raise TypeError(f"{self.name}: these rows are read in windows; take a range of them")

    def fetch(self, first: int, last: int) -> NDArray[Any]:
        """The rows [first, last) as an array, contiguous and of the stated dtype."""
        if last <= first:
            return np.zeros((0, self.shape[1]), self.dtype)
        out = self._fetch(first, last)
        if out.shape != (last - first, self.shape[1]) or out.dtype != self.dtype:
            raise DumpError(f"{self.name}: rows {first} to {last} came as {out.shape} {out.dtype}")
        return out

    def __getitem__(self, key: Any) -> NDArray[Any]:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if step != 1:
                raise IndexError("rows of a window are taken in order")
            return self.fetch(first, last)[:, columns]
        wanted = np.asarray(rows, np.int64)
        out = np.empty((len(wanted), len(range(*columns.indices(self.shape[1])))), self.dtype)
        sort = np.argsort(wanted, kind="stable")
        for first, last, low, high in _runs(wanted[sort], self.row_bytes, len(self)):
            piece = self.fetch(first, last)
            out[sort[low:high]] = piece[wanted[sort[low:high]] - first][:, columns]
        return out


def sub(array: Any, first: int, last: int) -> Any:
    """Rows [first, last) without reading them: a view of an array, a narrower Window of a Window."""
    if not isinstance(array, Window):
        return array[first:last]
    return Window(
        (last - first, array.shape[1]), array.dtype, lambda a, b: array.fetch(first + a, first + b), array.name
    )


def is_windowed(dump: Dump) -> bool:
    """Whether any of its rows have to be fetched."""
    return any(isinstance(s.array, Window) for s in dump.segments)


def _runs(rows: NDArray[np.int64], row_bytes: int, n: int) -> Iterator[tuple[int, int, int, int]]:
    """(first, last, low, high): fetch [first, last) to have rows[low:high], which are sorted; in bounded pieces."""
    if not len(rows):
        return
    if rows[0] < 0 or rows[-1] >= n:
        raise IndexError(f"rows {rows[0]} to {rows[-1]} of {n}")
    gap = 1 + _GAP_BYTES // max(row_bytes, 1)
    most = max(1, _WINDOW_BYTES // max(row_bytes, 1))
    borders = np.append(np.flatnonzero(np.diff(rows) > gap) + 1, len(rows))
    low = 0
    for border in borders.tolist():
        while low < border:
            high = int(np.searchsorted(rows[:border], rows[low] + most))
            yield int(rows[low]), int(rows[high - 1]) + 1, low, high
            low = high


def _filler(array: Any, rows: int) -> NDArray[Any]:
    """`rows` rows of NaN in the memory of one: a pass that looked at a row not fetched would say so."""
    dtype = array.dtype
    one = np.full((1, array.shape[1]), 0x7FC0 if dtype.kind == "u" else np.nan, dtype)
    return np.lib.stride_tricks.as_strided(one, (rows, array.shape[1]), (0, dtype.itemsize), writeable=False)


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
            runs = [(low, high)] if low < high else []
        else:
            cut = np.searchsorted(rows, [start, start + n])
            runs = [(a, b) for a, b, _, _ in _runs(rows[cut[0] : cut[1]] - start, s.array.row_bytes, n)]
        for first, last in runs:
            if first > at:
                out.append((_filler(s.array, first - at), start + at))
            out.append((np.ascontiguousarray(s.array.fetch(first, last)), start + first))
            at = last
        if at < n:
            out.append((_filler(s.array, n - at), start + at))
    return out


def placeholder(dump: Dump) -> list[tuple[NDArray[Any], int]]:
    """Segments of the right shape for a pass that reads no row."""
    return _present(dump, (0, 0))


def resident(
    dump: Dump, order: NDArray[np.int64] | None, offsets: NDArray[np.int64] | None, begin: int, end: int, leaf: int
) -> Iterator[tuple[int, int, list[tuple[NDArray[Any], int]]]]:
    """Cut canonical rows [begin, end) into windows of whole leaves; each with segments that hold its rows.

    With `offsets` of prompts, the first row of one that a window continues is there too: its scores are relative to
    that row.

    The next window is fetched while the caller works on one, so at most two are in memory: each of 64 MiB, or one
    leaf where that is more.
    """
    row_bytes = max(dump.dim * s.array.itemsize for s in dump.segments)
    step = max(1, _WINDOW_BYTES // max(row_bytes * leaf, 1)) * leaf
    spans = [(a, min(a + step, end)) for a in range(begin, end, step)]

    def load(a: int, b: int) -> list[tuple[NDArray[Any], int]]:
        origin = a if offsets is None else int(offsets[np.searchsorted(offsets, a, side="right") - 1])
        if order is None and origin == a:
            return _present(dump, (a, b))
        rows = np.append(origin, np.arange(a, b))
        return _present(dump, np.unique(rows if order is None else order[rows]))

    held = ahead(partial(load, a, b) for a, b in spans)
    try:
        for a, b in spans:
            yield a, b, next(held)
    finally:
        held.close()
