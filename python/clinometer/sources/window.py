"""Rows that no memory holds: fetched when they are indexed, in runs that are worth a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.errors import DumpError

WINDOW_BYTES = 64 << 20


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
        for first, last, low, high in runs(wanted[sort], self.row_bytes, len(self)):
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


def runs(rows: NDArray[np.int64], row_bytes: int, n: int) -> Iterator[tuple[int, int, int, int]]:
    """(first, last, low, high): fetch [first, last) to have rows[low:high], which are sorted; in bounded pieces."""
    if not len(rows):
        return
    if rows[0] < 0 or rows[-1] >= n:
        raise IndexError(f"rows {rows[0]} to {rows[-1]} of {n}")
    gap = 1 + _GAP_BYTES // max(row_bytes, 1)
    most = max(1, WINDOW_BYTES // max(row_bytes, 1))
    borders = np.append(np.flatnonzero(np.diff(rows) > gap) + 1, len(rows))
    low = 0
    for border in borders.tolist():
        while low < border:
            high = int(np.searchsorted(rows[:border], rows[low] + most))
            yield int(rows[low]), int(rows[high - 1]) + 1, low, high
            low = high


def filler(array: Any, rows: int) -> NDArray[Any]:
    """`rows` rows of NaN in the memory of one: a pass that looked at a row not fetched would say so."""
    dtype = array.dtype
    one = np.full((1, array.shape[1]), 0x7FC0 if dtype.kind == "u" else np.nan, dtype)
    return np.lib.stride_tricks.as_strided(one, (rows, array.shape[1]), (0, dtype.itemsize), writeable=False)
