"""Rows from something that only reads forward: a compressed member, the pages of a row group, a batch at a time."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stream"]


class Stream:
    """`fetch(first, last)` for a Window: goes on where the last one ended, else back to the nearest start.

    Parameters
    ----------
    starts : rows at which reading can begin, ascending, the first 0
    begin : function of k that gives blocks (m, d) of the rows from starts[k] to the end, in order

    Cost: reading from the nearest start; a pass in order reads everything once. One block and what was asked for are
    in memory.
    """

    def __init__(self, starts: Sequence[int], begin: Callable[[int], Iterator[NDArray[Any]]]) -> None:
        self._starts = list(starts)
        self._begin = begin
        self._lock = threading.Lock()
        self._blocks: Iterator[NDArray[Any]] | None = None
        self._block: NDArray[Any] | None = None
        self._at = 0  # the row at which the block in hand begins

    def fetch(self, first: int, last: int) -> NDArray[Any]:
        """Rows [first, last); fewer where the source ends before."""
        with self._lock:
            try:
                self._seek(first)
                pieces = list(self._take(first, last))
            except BaseException:
                self._blocks = None  # a generator that raised is at its end: the next call begins anew
                raise
        if not pieces:
            return np.zeros((0, 0))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _take(self, first: int, last: int) -> Iterator[NDArray[Any]]:
        while first < last and self._block is not None:
            piece = self._block[first - self._at : last - self._at]
            first += len(piece)
            if len(piece):
                yield piece
            if first < last:
                self._next()

    def _seek(self, first: int) -> None:
        nearest = bisect.bisect_right(self._starts, first) - 1
        if self._blocks is None or first < self._at or self._starts[nearest] > self._at + len(self._held()):
            self._blocks = self._begin(nearest)
            self._at, self._block = self._starts[nearest], None
            self._block = next(self._blocks, None)
        while self._block is not None and first >= self._at + len(self._block):
            self._next()

    def _held(self) -> NDArray[Any]:
        return np.zeros((0, 1)) if self._block is None else self._block

    def _next(self) -> None:
        assert self._blocks is not None and self._block is not None
        self._at += len(self._block)
        self._block = next(self._blocks, None)
        if self._block is None:
            self._blocks = None  # at the end: whoever comes next begins anew
